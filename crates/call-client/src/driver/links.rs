//! Peer connections: opening and closing them, what they report, and the frames that came over them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use call_core::{
    CallEvent, Input, LinkEvent as SessionEvent, LinkId, LinkPeer, LinkState as SessionState,
};
use call_media::video::codec::DEFAULT_VIDEO_CODEC;
use call_protocol::peer::PeerSignal;
use call_protocol::ui::Delivery;
use call_protocol::{MediaSource, MemberId, VideoCodec, limits};
use call_transport::{ChannelLabel, IceServer, Link, LinkConfig, LinkEvent, LinkShape, LinkState};

use super::Driver;
use crate::channels::{self, OpenLink};
use crate::config::Observed;
use crate::frames::EncodedFrame;
use crate::inbound::{self, LinkReport, Received, ReceivedFrame, Report};
use crate::pictures::Decoding;
use crate::stats::{FrameMeter, FrozenMeter, RateMeter, ShareMeter};

/// Signals kept until the connection object exists, some milliseconds; more are dropped and the
/// negotiation fails and is repeated.
const PENDING_SIGNALS: usize = 128;

/// A peer connection.
pub(super) struct LinkSlot {
    pub(super) link: Option<Arc<Link>>,
    pending: VecDeque<PeerSignal>,
    pub(super) state: LinkState,
    pub(super) rtt_ms: Option<f64>,
    /// Of our sound at the other end.
    pub(super) jitter_ms: f64,
    /// Shares of our and their packets that were lost in the last second, 0 to 1.
    pub(super) loss: f64,
    pub(super) loss_in: f64,
    /// Of media, in bit/s of payload.
    pub(super) received_bps: u64,
    /// Packets of pictures sent and received so far.
    pub(super) video_packets: [u64; 2],
}

/// What is measured of a member, from joining to leaving.
#[derive(Debug, Default)]
pub(super) struct MemberFigures {
    /// No large packets get through to them.
    is_narrow: bool,
    pub(super) codec: Option<VideoCodec>,
    pub(super) frames: FrameMeter,
    /// Of their screen, while they share one.
    pub(super) screen: Option<FrameMeter>,
    pub(super) sound: RateMeter,
    pub(super) concealed: ShareMeter,
    pub(super) sound_lost: ShareMeter,
    pub(super) frozen: FrozenMeter,
}

impl Driver {
    fn ice_servers(&self) -> Vec<IceServer> {
        let stun = (!self.stun.is_empty()).then(|| IceServer {
            urls: self.stun.clone(),
            ..IceServer::default()
        });
        let relay = self.relay.as_ref().map(|grant| IceServer {
            urls: grant.urls.clone(),
            username: grant.username.clone(),
            credential: grant.credential.clone(),
        });
        stun.into_iter().chain(relay).collect()
    }

    pub(super) fn open_link(&mut self, id: LinkId, polite: bool, initiator: bool) {
        let mut codecs = vec![VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264];
        codecs.sort_by_key(|codec| *codec != DEFAULT_VIDEO_CODEC);
        let config = LinkConfig {
            polite,
            initiator,
            include_loopback: self.include_loopback,
            ice_servers: self.ice_servers(),
            video_codecs: codecs,
            shape: shape(id.peer),
            relay_only: self.relay_only,
            large_packets: match id.peer {
                LinkPeer::Data(member) => !self.relay_only && !self.is_narrow(member),
                LinkPeer::Member(_) | LinkPeer::Sfu => false,
            },
        };
        let run = inbound::run(
            id,
            config,
            self.hub.clone(),
            self.bulk.clone(),
            self.reports.clone(),
        );
        self.link_tasks.spawn(run);
        let slot = LinkSlot {
            link: None,
            pending: VecDeque::new(),
            state: LinkState::Connecting,
            rtt_ms: None,
            jitter_ms: 0.0,
            loss: 0.0,
            loss_in: 0.0,
            received_bps: 0,
            video_packets: [0; 2],
        };
        self.links.insert(id, slot);
    }

    /// Whether large packets could not reach a member; see [`LinkEvent::PathNarrow`].
    fn is_narrow(&self, member: MemberId) -> bool {
        self.members.get(&member).is_some_and(|it| it.is_narrow)
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

    pub(super) fn close_link(&mut self, now: Instant, id: LinkId) {
        let Some(slot) = self.links.remove(&id) else {
            return;
        };
        self.outlet.remove(id);
        self.hub.remove_link(now, id);
        id.member().into_iter().for_each(|it| self.update_way(it));
        self.update_encoder();
        if slot.state != LinkState::Closed {
            self.observe(Observed::Link {
                peer: id.peer,
                state: LinkState::Closed,
                rtt_ms: None,
            });
        }
        // A link that is still being opened reports itself later and is closed then: stopping the
        // opening halfway would leave its sockets behind.
        if let Some(link) = slot.link {
            self.hang_up(link);
        }
    }

    fn hang_up(&mut self, link: Arc<Link>) {
        // Whoever waits to send files holds it too, and is told by its closing.
        self.goodbyes.spawn(async move { link.close().await });
    }

    /// Members are heard and seen from joining to leaving, whatever links they have meanwhile.
    pub(super) fn follow_members(&mut self, event: &CallEvent) {
        match event {
            // A new seat: ids may mean other people.
            CallEvent::Joined { .. } | CallEvent::Left { .. } => self.remove_members(),
            CallEvent::MemberJoined { member, .. } => {
                self.hub.add_member(*member);
                self.members.entry(*member).or_default();
            }
            CallEvent::MemberLeft { member, .. } => self.remove_member(*member),
            CallEvent::Sharing { member, on } => self.follow_share(*member, *on),
            _ => {}
        }
    }

    fn remove_members(&mut self) {
        let known: Vec<_> = self.members.keys().copied().collect();
        for member in known {
            self.remove_member(member);
        }
    }

    /// What a member shared before has nothing to do with what they share now.
    fn follow_share(&mut self, member: MemberId, on: bool) {
        if let Some(figures) = self.members.get_mut(&member) {
            figures.screen = on.then(FrameMeter::default);
        }
        if !on {
            self.pictures.remove((member, MediaSource::Screen));
        }
    }

    fn remove_member(&mut self, member: MemberId) {
        self.members.remove(&member);
        self.hub.remove_member(member);
        for source in [MediaSource::Camera, MediaSource::Screen] {
            self.pictures.remove((member, source));
            self.pump.remove((member, source));
        }
    }

    pub(super) fn handle_report(&mut self, now: Instant, report: Report) {
        match report {
            Report::Link(id, report) => self.handle_link(now, id, report),
            Report::Received(received) => self.handle_received(now, received),
        }
    }

    fn handle_link(&mut self, now: Instant, id: LinkId, report: LinkReport) {
        match report {
            LinkReport::Opened(link) => match self.links.get_mut(&id) {
                Some(slot) => {
                    for signal in slot.pending.drain(..) {
                        link.handle_signal(signal);
                    }
                    slot.link = Some(Arc::clone(&link));
                    if matches!(id.peer, LinkPeer::Data(_)) {
                        link.set_bulk_limit_bps(self.files_limit_bps);
                    }
                    self.hub.add_link(id, &link);
                    if !matches!(id.peer, LinkPeer::Data(_)) {
                        self.outlet.add(id, link);
                    }
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
            LinkReport::Event(_) => {}
        }
    }

    fn tell_session(&mut self, now: Instant, link: LinkId, event: SessionEvent) {
        self.session.handle_input(now, Input::Link { link, event });
    }

    fn handle_link_event(&mut self, now: Instant, id: LinkId, event: LinkEvent) {
        match event {
            LinkEvent::Signal(signal) => self.tell_session(now, id, SessionEvent::Signal(signal)),
            LinkEvent::AddressGone => self.tell_session(now, id, SessionEvent::AddressGone),
            LinkEvent::PathNarrow => {
                let member = id.member().and_then(|it| self.members.get_mut(&it));
                member.into_iter().for_each(|it| it.is_narrow = true);
            }
            LinkEvent::State(state) => {
                // An interrupted link keeps its media: what comes through shortens the gap.
                self.outlet.set_connected(id, carries(state));
                let mut rtt_ms = None;
                if let Some(slot) = self.links.get_mut(&id) {
                    slot.state = state;
                    rtt_ms = slot.rtt_ms;
                }
                self.report_quality(now);
                self.update_encoder();
                id.member().into_iter().for_each(|it| self.update_way(it));
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
            LinkEvent::KeyframeRequested { source, layer } => {
                self.tell_session(now, id, SessionEvent::KeyframeRequested { source, layer });
            }
            LinkEvent::ChannelMessage {
                channel,
                data,
                is_text: _,
            } => {
                if let Some((from, data)) = channels::received(id, data) {
                    self.handle_channel_message(now, from, channel, &data);
                }
            }
            LinkEvent::ChannelOpen(_) | LinkEvent::ChannelClosed(_) => {}
        }
    }

    /// A message of a member, whichever way it came.
    fn handle_channel_message(
        &mut self,
        now: Instant,
        from: MemberId,
        channel: ChannelLabel,
        data: &Bytes,
    ) {
        if channel == ChannelLabel::Control {
            let data = data.to_vec();
            self.session
                .handle_input(now, Input::Channel { from, data });
        } else {
            tracing::debug!(%from, channel = channel.name(), "message on an unused channel");
        }
    }

    /// Sends a message to a member or to everybody, whichever way leads there. What a full or closed
    /// channel refuses is dropped.
    pub(super) fn send_channel(&self, to: Option<MemberId>, channel: ChannelLabel, data: &Bytes) {
        let members: Vec<_> = self.members.keys().copied().collect();
        let open = self.links.iter().filter(|(_, slot)| carries(slot.state));
        let open = open.map(|(id, slot)| OpenLink {
            id: *id,
            is_interrupted: slot.state == LinkState::Reconnecting
                || slot.link.as_ref().is_some_and(|link| link.is_stalled()),
        });
        let links: Vec<_> = open.collect();
        for way in channels::route(to, data, &members, &links) {
            let slot = self.links.get(&way.link);
            let Some(link) = slot.and_then(|slot| slot.link.as_ref()) else {
                continue;
            };
            if let Err(error) = link.send_channel(channel, way.data) {
                tracing::debug!(%error, link = ?way.link, "message not taken");
            }
        }
    }

    fn handle_received(&mut self, now: Instant, received: Received) {
        match received {
            Received::Frame {
                member,
                source,
                frame,
            } => self.handle_frame(now, member, source, frame),
            Received::NeedsKeyframe { link, ssrc } => {
                let slot = self.links.get(&link);
                if let Some(link) = slot.and_then(|slot| slot.link.as_ref()) {
                    link.request_keyframe(Some(ssrc));
                }
            }
            Received::Flows {
                link,
                member,
                source,
            } => self.session.handle_input(
                now,
                Input::MediaFlows {
                    link,
                    member,
                    source,
                },
            ),
        }
    }

    fn handle_frame(
        &mut self,
        now: Instant,
        member: MemberId,
        source: MediaSource,
        received: ReceivedFrame,
    ) {
        let ReceivedFrame {
            frame,
            timestamp_us,
        } = received;
        let Some(figures) = self.members.get_mut(&member) else {
            return;
        };
        if source == MediaSource::Camera {
            figures
                .frames
                .handle_frame(now, frame.width, frame.height, frame.data.len());
            if figures.codec != Some(frame.codec) {
                figures.codec = Some(frame.codec);
                self.tell_codec(now, member, frame.codec);
            }
        } else if let Some(meter) = &mut figures.screen {
            meter.handle_frame(now, frame.width, frame.height, frame.data.len());
        }
        let key = (member, source);
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
            self.pictures.remove(key);
        } else if self.pictures.decode(key, frame, raw) == Decoding::NeedsKeyframe {
            self.hub.request_keyframe(now, member, source);
        }
    }

    /// The session keeps codecs by direct link.
    fn tell_codec(&mut self, now: Instant, member: MemberId, codec: VideoCodec) {
        let mut links = self.links.keys();
        if let Some(link) = links
            .find(|id| id.peer == LinkPeer::Member(member))
            .copied()
        {
            self.tell_session(now, link, SessionEvent::Codec(codec));
        }
    }
}

/// Whether a link in this state carries anything.
pub(super) fn carries(state: LinkState) -> bool {
    matches!(state, LinkState::Connected { .. } | LinkState::Reconnecting)
}

fn shape(peer: LinkPeer) -> LinkShape {
    let slots = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    match peer {
        LinkPeer::Sfu => LinkShape::Sfu {
            video_layers: slots(limits::SFU_LAYERS),
            screen: true,
            audio_slots: slots(limits::SFU_AUDIO_SLOTS),
            video_slots: slots(limits::SFU_VIDEO_SLOTS),
        },
        LinkPeer::Data(_) => LinkShape::Data,
        LinkPeer::Member(_) => LinkShape::Peer {
            send_audio: true,
            send_video: true,
            screen: true,
        },
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
