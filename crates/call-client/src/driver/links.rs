//! Peer connections: opening and closing them, what they report, and the encoder that feeds them.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use call_core::{Input, LinkEvent as SessionEvent, LinkId, LinkState as SessionState};
use call_media::video::codec::{DEFAULT_VIDEO_CODEC, EncoderConfig};
use call_media::video::send::{VideoSender, VideoSenderConfig};
use call_media::video::source_config::VideoSourceConfig;
use call_protocol::peer::PeerSignal;
use call_protocol::ui::Delivery;
use call_protocol::{MediaSource, MemberId, VideoCodec};
use call_transport::{IceServer, Link, LinkConfig, LinkEvent, LinkState};

use super::Driver;
use crate::config::Observed;
use crate::frames::EncodedFrame;
use crate::inbound::{self, LinkReport, ReceivedFrame};
use crate::pictures::Decoding;
use crate::stats::{FrameMeter, RateMeter, ShareMeter, picture_bitrate_bps};

/// Signals kept until the connection object exists, some milliseconds; more are dropped and the
/// negotiation fails and is repeated.
const PENDING_SIGNALS: usize = 128;
/// Shortest time between two keyframe requests for a decoder.
const KEYFRAME_REQUEST: Duration = Duration::from_millis(300);

/// A peer connection.
pub(super) struct LinkSlot {
    pub(super) link: Option<Arc<Link>>,
    pending: VecDeque<PeerSignal>,
    pub(super) state: LinkState,
    pub(super) rtt_ms: Option<f64>,
    codec: Option<VideoCodec>,
    keyframe_asked: Option<Instant>,
    pub(super) frames: FrameMeter,
    pub(super) sound: RateMeter,
    pub(super) concealed: ShareMeter,
}

impl Driver {
    fn ice_servers(&self) -> Vec<IceServer> {
        if self.stun.is_empty() {
            return Vec::new();
        }
        vec![IceServer {
            urls: self.stun.clone(),
            ..IceServer::default()
        }]
    }

    pub(super) fn open_link(&mut self, id: LinkId, polite: bool, initiator: bool) {
        let Some(member) = id.member() else { return };
        let mut codecs = vec![VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264];
        codecs.sort_by_key(|codec| *codec != DEFAULT_VIDEO_CODEC);
        let config = LinkConfig {
            polite,
            initiator,
            include_loopback: self.include_loopback,
            ice_servers: self.ice_servers(),
            video_codecs: codecs,
            ..LinkConfig::default()
        };
        let mut mixer = self.mixer.lock().unwrap_or_else(PoisonError::into_inner);
        // A new link starts its sound anew: sequence numbers and timestamps begin elsewhere.
        mixer.remove_member(member);
        if let Err(error) = mixer.add_member(member) {
            tracing::error!(?error, "no sound decoder");
        }
        drop(mixer);
        let run = inbound::run(
            id,
            member,
            config,
            Arc::clone(&self.mixer),
            self.reports.clone(),
        );
        self.link_tasks.spawn(run);
        let slot = LinkSlot {
            link: None,
            pending: VecDeque::new(),
            state: LinkState::Connecting,
            rtt_ms: None,
            codec: None,
            keyframe_asked: None,
            frames: FrameMeter::default(),
            sound: RateMeter::default(),
            concealed: ShareMeter::default(),
        };
        self.links.insert(id, slot);
    }

    pub(super) fn signal_link(&mut self, id: LinkId, signal: PeerSignal) {
        let Some(slot) = self.links.get_mut(&id) else {
            return;
        };
        match &slot.link {
            Some(link) => link.handle_signal(signal),
            None if slot.pending.len() < PENDING_SIGNALS => slot.pending.push_back(signal),
            None => tracing::debug!("a signal before the link exists was dropped"),
        }
    }

    pub(super) fn restart_link(&self, id: LinkId) {
        if let Some(link) = self.links.get(&id).and_then(|slot| slot.link.as_ref()) {
            link.restart_ice();
        }
    }

    pub(super) fn close_link(&mut self, id: LinkId) {
        let Some(slot) = self.links.remove(&id) else {
            return;
        };
        self.outlet.remove(id);
        if let Some(member) = id.member()
            && !self.links.keys().any(|other| other.peer == id.peer)
        {
            self.mixer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove_member(member);
            self.pictures.remove(member);
            self.pump.remove((member, MediaSource::Camera));
        }
        self.update_encoder();
        // A link that is still being opened reports itself later and is closed then: stopping the
        // opening halfway would leave its sockets behind.
        if let Some(link) = slot.link {
            self.hang_up(link);
        }
    }

    fn hang_up(&mut self, link: Arc<Link>) {
        self.goodbyes.spawn(async move {
            // Whoever still looks at its figures drops the last reference, which closes it too.
            if let Some(link) = Arc::into_inner(link) {
                link.close().await;
            }
        });
    }

    pub(super) fn handle_link(&mut self, now: Instant, id: LinkId, report: LinkReport) {
        match report {
            LinkReport::Opened(link) => match self.links.get_mut(&id) {
                Some(slot) => {
                    for signal in slot.pending.drain(..) {
                        link.handle_signal(signal);
                    }
                    slot.link = Some(Arc::clone(&link));
                    self.outlet.add(id, link);
                }
                None => self.hang_up(link),
            },
            LinkReport::NotOpened(error) => {
                tracing::warn!(%error, "link not opened");
                self.tell_session(now, id, SessionEvent::State(SessionState::Failed));
            }
            LinkReport::Event(event) if self.links.contains_key(&id) => {
                self.handle_link_event(now, id, event);
            }
            LinkReport::Frame(frame) if self.links.contains_key(&id) => {
                self.handle_frame(now, id, frame);
            }
            LinkReport::Event(_) | LinkReport::Frame(_) => {}
        }
    }

    fn tell_session(&mut self, now: Instant, link: LinkId, event: SessionEvent) {
        self.session.handle_input(now, Input::Link { link, event });
    }

    fn handle_link_event(&mut self, now: Instant, id: LinkId, event: LinkEvent) {
        match event {
            LinkEvent::Signal(signal) => self.tell_session(now, id, SessionEvent::Signal(signal)),
            LinkEvent::State(state) => {
                // An interrupted link keeps its media: what comes through shortens the gap.
                let carries =
                    matches!(state, LinkState::Connected { .. } | LinkState::Reconnecting);
                self.outlet.set_connected(id, carries);
                self.update_encoder();
                let mut rtt_ms = None;
                if let Some(slot) = self.links.get_mut(&id) {
                    slot.state = state;
                    rtt_ms = slot.rtt_ms;
                }
                self.observe(Observed::Link {
                    peer: id.peer,
                    state,
                    rtt_ms,
                });
                self.tell_session(now, id, SessionEvent::State(session_state(state)));
            }
            LinkEvent::Codecs { video, .. } => {
                self.outlet.set_codecs(id, video);
                self.update_encoder();
            }
            LinkEvent::KeyframeRequested { layer } => {
                let source = MediaSource::Camera;
                self.tell_session(now, id, SessionEvent::KeyframeRequested { source, layer });
            }
            // Chat and files travel here once they exist.
            LinkEvent::ChannelOpen(_)
            | LinkEvent::ChannelMessage { .. }
            | LinkEvent::ChannelClosed(_) => {}
        }
    }

    fn handle_frame(&mut self, now: Instant, id: LinkId, received: ReceivedFrame) {
        let ReceivedFrame {
            frame,
            timestamp_us,
        } = received;
        let (Some(slot), Some(member)) = (self.links.get_mut(&id), id.member()) else {
            return;
        };
        slot.frames
            .handle_frame(now, frame.width, frame.height, frame.data.len());
        if slot.codec != Some(frame.codec) {
            slot.codec = Some(frame.codec);
            self.tell_session(now, id, SessionEvent::Codec(frame.codec));
        }
        let key = (member, MediaSource::Camera);
        let demand = self.pump.demand(key);
        if demand.is_some_and(|(_, delivery)| delivery == Delivery::Encoded) {
            let encoded = EncodedFrame {
                codec: frame.codec,
                keyframe: frame.keyframe,
                width_px: u16::try_from(frame.width).unwrap_or(0),
                height_px: u16::try_from(frame.height).unwrap_or(0),
                timestamp_us,
                data: frame.data.clone(),
            };
            if frame.discontinuity {
                self.pump.handle_gap(key);
            }
            self.pump.handle_frame(now, key, encoded);
        }
        let raw = demand
            .filter(|(_, delivery)| *delivery == Delivery::I420)
            .map(|(size, _)| size);
        if raw.is_none() && !self.pictures.observed() {
            self.pictures.remove(member);
        } else if self.pictures.decode(member, frame, raw) == Decoding::NeedsKeyframe {
            self.request_keyframe(now, member);
        }
    }

    /// Asks a member for a keyframe, not too often.
    pub(super) fn request_keyframe(&mut self, now: Instant, member: MemberId) {
        for (id, slot) in &mut self.links {
            let early = slot
                .keyframe_asked
                .is_some_and(|asked| now.saturating_duration_since(asked) < KEYFRAME_REQUEST);
            if id.member() == Some(member)
                && !early
                && let Some(link) = &slot.link
            {
                slot.keyframe_asked = Some(now);
                link.request_keyframe(None);
            }
        }
    }

    /// Encodes exactly while a picture is captured and somebody receives it.
    pub(super) fn update_encoder(&mut self) {
        let wanted = self.devices.camera_runs() && self.outlet.has_receivers();
        let codec = self.outlet.codec();
        if self.encoder.is_none() && wanted {
            self.encoder = self.start_encoder(codec);
            self.encoder_codec = codec;
        }
        let Some(encoder) = &self.encoder else { return };
        if codec != self.encoder_codec {
            self.encoder_codec = codec;
            encoder.set_codec(codec);
        }
        let (width, height, fps) = picture_box(self.devices.video());
        encoder.set_max_size(width, height);
        encoder.set_framerate(fps);
        encoder.set_paused(!wanted);
    }

    fn start_encoder(&self, codec: VideoCodec) -> Option<VideoSender> {
        let (width, height, fps) = picture_box(self.devices.video());
        let bitrate_bps = picture_bitrate_bps(width, height, fps);
        let config = VideoSenderConfig {
            codec,
            encoder: EncoderConfig {
                width,
                height,
                fps,
                bitrate_bps,
                ..EncoderConfig::default()
            },
            timestamp_offset: self.timestamp_offset,
        };
        let (outlet, meter) = (self.outlet.clone(), Arc::clone(&self.sent_frames));
        let on_frame = move |frame: call_media::video::codec::EncodedFrame| {
            let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            meter.handle_frame(Instant::now(), frame.width, frame.height, frame.data.len());
            drop(meter);
            outlet.send_video(&frame);
        };
        let on_error = |error| tracing::warn!(?error, "the picture was not encoded");
        match VideoSender::start(self.camera_out.clone(), config, on_frame, on_error) {
            Ok(encoder) => Some(encoder),
            Err(error) => {
                tracing::error!(%error, "no encoder thread");
                None
            }
        }
    }
}

/// Largest picture sent and its rate.
pub(super) fn picture_box(config: &VideoSourceConfig) -> (u32, u32, u32) {
    match config {
        VideoSourceConfig::Pattern { width, height, fps }
        | VideoSourceConfig::Camera {
            width, height, fps, ..
        } => (*width, *height, *fps),
        VideoSourceConfig::File(_) | VideoSourceConfig::None => (1280, 720, 30),
    }
}

fn session_state(state: LinkState) -> SessionState {
    match state {
        LinkState::Connecting => SessionState::Connecting,
        LinkState::Connected { .. } => SessionState::Connected,
        LinkState::Reconnecting => SessionState::Reconnecting,
        LinkState::Failed => SessionState::Failed,
        LinkState::Closed => SessionState::Closed,
    }
}
