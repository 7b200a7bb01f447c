//! Opening a link: builds the connection, its tracks and channels, and starts its tasks.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use call_protocol::limits;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodecParameters, RtpCodecKind};
use rtc::rtp_transceiver::{
    RTCRtpTransceiverDirection, RTCRtpTransceiverId, RTCRtpTransceiverInit,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use webrtc::data_channel::DataChannel;
use webrtc::error::Result;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::peer_connection::{PeerConnection, PeerConnectionBuilder};
use webrtc::runtime::TokioRuntime;

use crate::channels::{self, ChannelNotice, ChannelOut};
use crate::config::{LinkConfig, LinkShape};
use crate::event::{ChannelLabel, LinkEvent, LinkState, MediaKind, RtpIn};
use crate::handler::{Forwarder, NOTICES, Notice};
use crate::link::{COMMANDS, Link, Running};
use crate::outgoing::{self, NewTrack, OutStreams, TrackOut};
use crate::progress;
use crate::runtime::BufferedRuntime;
use crate::setup;
use crate::shared::Shared;
use crate::task::{Inputs, Task};
use crate::tunnel::control::BulkControl;
use crate::turn_shim::TurnShims;
use crate::ws;

/// Messages of the data channels between their tasks and the link's.
const CHANNEL_NOTICES: usize = 64;

/// Builds the connection with its tracks and channels and starts its tasks.
pub(crate) async fn open(
    config: LinkConfig,
    events: mpsc::Sender<LinkEvent>,
    media: mpsc::Sender<RtpIn>,
    bulk_sink: Option<mpsc::Sender<Bytes>>,
) -> Result<Link> {
    let mut turn_shims = TurnShims::new(ws::tls());
    let config = LinkConfig {
        ice_servers: turn_shims.rewrite(&config.ice_servers),
        ..config
    };
    let is_data = config.shape == LinkShape::Data;
    let bulk = is_data.then(Arc::<BulkControl>::default);
    let shared = Arc::new(Shared::new(OutStreams::new(&config), bulk));
    let (notice_sender, notices) = mpsc::channel(NOTICES);
    let is_flooded = Arc::new(AtomicBool::new(false));
    let connection = PeerConnectionBuilder::new()
        .with_configuration(setup::configuration(&config))
        .with_media_engine(setup::media_engine(&config)?)
        .with_setting_engine(setup::setting_engine(&config))
        .with_interceptor_registry(setup::interceptors(&shared))
        .with_runtime(Arc::new(BufferedRuntime {
            inner: TokioRuntime,
            bulk: shared.bulk.clone(),
            arrivals: Arc::clone(&shared.arrivals),
        }))
        .with_handler(Arc::new(Forwarder::new(
            notice_sender,
            Arc::clone(&is_flooded),
        )))
        .with_udp_addrs(setup::udp_addresses(&config))
        .with_data_channel_send_buffer_limit(setup::channel_send_bytes(&config))
        .build()
        .await?;
    let connection: Arc<dyn PeerConnection> = Arc::new(connection);
    match assemble(&config, &connection, &shared, bulk_sink).await {
        Ok(parts) => {
            let mut task = Task::new(config, &connection, events, media, &shared, is_flooded);
            task.turn_shims = Some(turn_shims);
            Ok(start(task, parts, connection, shared, notices))
        }
        Err(error) => {
            // Dropping would leak the driver's task and sockets.
            let _ = connection.close().await;
            Err(error)
        }
    }
}

/// What a link owns besides its connection.
struct Parts {
    audio: Option<TrackOut>,
    layers: Vec<TrackOut>,
    screen: Option<TrackOut>,
    channels: Channels,
    children: JoinSet<()>,
}

/// The data channels.
struct Channels {
    outs: Vec<ChannelOut>,
    bulk: Arc<dyn DataChannel>,
    notices: mpsc::Receiver<ChannelNotice>,
}

/// Adds sections in the order the shape promises: the stack describes them in the order in which
/// they were added, and data channels last.
async fn assemble(
    config: &LinkConfig,
    connection: &Arc<dyn PeerConnection>,
    shared: &Arc<Shared>,
    bulk_sink: Option<mpsc::Sender<Bytes>>,
) -> Result<Parts> {
    let mut children = JoinSet::new();
    let is_sfu = matches!(config.shape, LinkShape::Sfu { .. });
    let mut audio = None;
    if let Some(track) = TrackOut::audio(shared) {
        audio = Some(add_track(track, None, is_sfu, connection, &mut children).await?);
    } else {
        add_receivers(MediaKind::Audio, config, connection).await?;
    }
    // The stack would offer the one codec a track was announced with.
    let codecs = Some(setup::video_parameters(&config.video_codecs));
    let mut layers = Vec::new();
    for track in TrackOut::video(&config.video_codecs, shared) {
        layers.push(add_track(track, codecs.clone(), is_sfu, connection, &mut children).await?);
    }
    let mut screen = None;
    if let Some(track) = TrackOut::screen(&config.video_codecs, shared) {
        screen = Some(add_track(track, codecs, is_sfu, connection, &mut children).await?);
    }
    if is_sfu {
        add_receivers(MediaKind::Audio, config, connection).await?;
    }
    add_receivers(MediaKind::Video, config, connection).await?;
    let channels = add_channels(shared, connection, &mut children, bulk_sink).await?;
    Ok(Parts {
        audio,
        layers,
        screen,
        channels,
        children,
    })
}

/// Adds a section that sends, and receives unless it is towards the SFU.
async fn add_track(
    track: NewTrack,
    codecs: Option<Vec<RTCRtpCodecParameters>>,
    is_sfu: bool,
    connection: &Arc<dyn PeerConnection>,
    children: &mut JoinSet<()>,
) -> Result<TrackOut> {
    let NewTrack {
        local,
        out,
        packets,
    } = track;
    let stack_track: Arc<dyn TrackLocal> = Arc::clone(&local) as Arc<dyn TrackLocal>;
    let transceiver = if is_sfu {
        let init = Some(init(RTCRtpTransceiverDirection::Sendonly));
        let transceiver = connection
            .add_transceiver_from_track(stack_track, init)
            .await?;
        Some(transceiver)
    } else {
        // Unlike a transceiver added as such, one of a track takes the place of the peer's section.
        let sender = connection.add_track(stack_track).await?;
        let transceivers = connection.get_transceivers().await;
        let id = RTCRtpTransceiverId::from(sender.id());
        transceivers.into_iter().find(|known| known.id() == id)
    };
    if let (Some(codecs), Some(transceiver)) = (codecs, transceiver) {
        transceiver.set_codec_preferences(codecs).await?;
    }
    children.spawn(outgoing::run(local, packets));
    Ok(out)
}

/// Adds the sections that only receive.
async fn add_receivers(
    kind: MediaKind,
    config: &LinkConfig,
    connection: &Arc<dyn PeerConnection>,
) -> Result<()> {
    let stack_kind = match kind {
        MediaKind::Audio => RtpCodecKind::Audio,
        MediaKind::Video => RtpCodecKind::Video,
    };
    for _ in 0..config.receiving_sections(kind) {
        let init = Some(init(RTCRtpTransceiverDirection::Recvonly));
        connection
            .add_transceiver_from_kind(stack_kind, init)
            .await?;
    }
    Ok(())
}

fn init(direction: RTCRtpTransceiverDirection) -> RTCRtpTransceiverInit {
    RTCRtpTransceiverInit {
        direction,
        ..RTCRtpTransceiverInit::default()
    }
}

async fn add_channels(
    shared: &Arc<Shared>,
    connection: &Arc<dyn PeerConnection>,
    children: &mut JoinSet<()>,
    bulk_sink: Option<mpsc::Sender<Bytes>>,
) -> Result<Channels> {
    let (notice_sender, channel_notices) = mpsc::channel(CHANNEL_NOTICES);
    let way = Arc::new(watch::channel(false).0);
    let ready = connection
        .create_data_channel("ready", Some(channels::ready_init()))
        .await?;
    children.spawn(channels::run_ready(ready, Arc::clone(&way)));
    let mut outs = Vec::new();
    let mut bulk_channel = None;
    for label in ChannelLabel::ALL {
        let init = Some(channels::init(label));
        let channel = connection.create_data_channel(label.name(), init).await?;
        let bulk = shared.bulk.clone();
        let bulk = bulk.filter(|_| label == ChannelLabel::Bulk);
        let part = if bulk.is_some() { 8 } else { 2 };
        let (out, queue) = channels::queue(limits::CHANNEL_PENDING_BYTES / part);
        if label == ChannelLabel::Bulk {
            bulk_channel = Some(Arc::clone(&channel));
        }
        children.spawn(channels::run_out(
            Arc::clone(&channel),
            queue,
            way.subscribe(),
            bulk,
        ));
        if label == ChannelLabel::Control {
            let (channel, shared) = (Arc::clone(&channel), Arc::clone(shared));
            children.spawn(progress::run_watch(channel, out.sent(), shared));
        }
        children.spawn(channels::run_in(
            label,
            channel,
            notice_sender.clone(),
            Arc::clone(&way),
            bulk_sink.clone().filter(|_| label == ChannelLabel::Bulk),
        ));
        outs.push(out);
    }
    let bulk_channel = bulk_channel.expect("invariant: bulk is one of the three labels");
    Ok(Channels {
        outs,
        bulk: bulk_channel,
        notices: channel_notices,
    })
}

fn start(
    mut task: Task,
    parts: Parts,
    connection: Arc<dyn PeerConnection>,
    shared: Arc<Shared>,
    notices: mpsc::Receiver<Notice>,
) -> Link {
    let (commands, command_receiver) = mpsc::channel(COMMANDS);
    let (hang_up, hung_up) = oneshot::channel();
    let (state_sender, state) = watch::channel(LinkState::Connecting);
    task.children = parts.children;
    task.state = state_sender;
    let inputs = Inputs {
        commands: command_receiver,
        notices,
        channels: parts.channels.notices,
        hung_up,
    };
    let channels = parts
        .channels
        .outs
        .try_into()
        .expect("invariant: one queue was made for each of the three labels");
    Link {
        commands,
        audio: parts.audio,
        layers: parts.layers,
        screen: parts.screen,
        channels,
        bulk: parts.channels.bulk,
        shared,
        connection,
        state,
        running: Mutex::new(Some(Running {
            hang_up,
            task: tokio::spawn(task.run(inputs)),
        })),
    }
}
