//! Opening a link: builds the connection, its tracks and channels, and starts its tasks.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{
    RTCRtpTransceiverDirection, RTCRtpTransceiverId, RTCRtpTransceiverInit,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use webrtc::error::Result;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::peer_connection::{PeerConnection, PeerConnectionBuilder};
use webrtc::runtime::TokioRuntime;

use crate::channels::{self, ChannelNotice, ChannelOut};
use crate::config::LinkConfig;
use crate::event::{ChannelLabel, LinkEvent, LinkState, MediaKind, RtpIn};
use crate::handler::{Forwarder, NOTICES, Notice};
use crate::link::{COMMANDS, Link};
use crate::outgoing::{self, TrackOut};
use crate::runtime::BufferedRuntime;
use crate::setup;
use crate::shared::Shared;
use crate::task::{Inputs, Task};

/// Messages of the data channels between their tasks and the link's.
const CHANNEL_NOTICES: usize = 64;

/// Builds the connection with its tracks and channels and starts its tasks.
pub(crate) async fn open(
    config: LinkConfig,
    events: mpsc::Sender<LinkEvent>,
    media: mpsc::Sender<RtpIn>,
) -> Result<Link> {
    let shared = Arc::new(Shared::new());
    let (notice_sender, notices) = mpsc::channel(NOTICES);
    let is_flooded = Arc::new(AtomicBool::new(false));
    let connection = PeerConnectionBuilder::new()
        .with_configuration(setup::configuration(&config))
        .with_media_engine(setup::media_engine(&config.video_codecs)?)
        .with_setting_engine(setup::setting_engine(&config))
        .with_interceptor_registry(setup::interceptors(&shared))
        .with_runtime(Arc::new(BufferedRuntime(TokioRuntime)))
        .with_handler(Arc::new(Forwarder::new(
            notice_sender,
            Arc::clone(&is_flooded),
        )))
        .with_udp_addrs(setup::udp_addresses(&config))
        .with_data_channel_send_buffer_limit(setup::CHANNEL_SEND_BYTES)
        .build()
        .await?;
    let connection: Arc<dyn PeerConnection> = Arc::new(connection);
    match assemble(&config, &connection, &shared).await {
        Ok(parts) => {
            let task = Task::new(config, &connection, events, media, &shared, is_flooded);
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
    video: Option<TrackOut>,
    channels: Vec<ChannelOut>,
    channel_notices: mpsc::Receiver<ChannelNotice>,
    children: JoinSet<()>,
}

async fn assemble(
    config: &LinkConfig,
    connection: &Arc<dyn PeerConnection>,
    shared: &Arc<Shared>,
) -> Result<Parts> {
    let mut children = JoinSet::new();
    let audio = add_track(MediaKind::Audio, config, connection, shared, &mut children).await?;
    let video = add_track(MediaKind::Video, config, connection, shared, &mut children).await?;
    let (notice_sender, channel_notices) = mpsc::channel(CHANNEL_NOTICES);
    let way = Arc::new(watch::channel(false).0);
    let ready = connection
        .create_data_channel("ready", Some(channels::ready_init()))
        .await?;
    children.spawn(channels::run_ready(ready, Arc::clone(&way)));
    let mut outs = Vec::new();
    for label in ChannelLabel::ALL {
        let init = Some(channels::init(label));
        let channel = connection.create_data_channel(label.name(), init).await?;
        let (out, queue) = channels::queue();
        children.spawn(channels::run_out(
            Arc::clone(&channel),
            queue,
            way.subscribe(),
        ));
        children.spawn(channels::run_in(
            label,
            channel,
            notice_sender.clone(),
            Arc::clone(&way),
        ));
        outs.push(out);
    }
    Ok(Parts {
        audio,
        video,
        channels: outs,
        channel_notices,
        children,
    })
}

/// Adds one media section: with a track where we may send, else only for receiving.
async fn add_track(
    kind: MediaKind,
    config: &LinkConfig,
    connection: &Arc<dyn PeerConnection>,
    shared: &Arc<Shared>,
    children: &mut JoinSet<()>,
) -> Result<Option<TrackOut>> {
    let (may_send, rtp_kind) = match kind {
        MediaKind::Audio => (config.sends(kind), RtpCodecKind::Audio),
        MediaKind::Video => (config.sends(kind), RtpCodecKind::Video),
    };
    if kind == MediaKind::Video && config.video_codecs.is_empty() {
        return Ok(None);
    }
    if !may_send {
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            ..RTCRtpTransceiverInit::default()
        };
        connection
            .add_transceiver_from_kind(rtp_kind, Some(init))
            .await?;
        return Ok(None);
    }
    let (track, out, packets) = TrackOut::new(kind, &config.video_codecs, shared);
    let local: Arc<dyn TrackLocal> = Arc::clone(&track) as Arc<dyn TrackLocal>;
    let sender = connection.add_track(local).await?;
    if kind == MediaKind::Video {
        // The stack would offer the one codec the track was announced with.
        let codecs = setup::video_parameters(&config.video_codecs);
        for transceiver in connection.get_transceivers().await {
            if transceiver.id() == RTCRtpTransceiverId::from(sender.id()) {
                transceiver.set_codec_preferences(codecs.clone()).await?;
            }
        }
    }
    children.spawn(outgoing::run(track, packets));
    Ok(Some(out))
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
        channels: parts.channel_notices,
        hung_up,
    };
    let channels = parts
        .channels
        .try_into()
        .expect("invariant: one queue was made for each of the three labels");
    Link {
        commands,
        audio: parts.audio,
        video: parts.video,
        channels,
        shared,
        connection,
        state,
        hang_up: Some(hang_up),
        task: Some(tokio::spawn(task.run(inputs))),
    }
}
