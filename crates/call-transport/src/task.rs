//! The link's own task: runs the steps of [`Negotiation`], follows [`Recovery`], and hands events to the
//! owner.
//!
//! Events wait in an outbox while the owner is busy, and the task keeps working meanwhile; only when
//! [`OUTBOX`] events wait does it stop reading commands and channel messages, so that the peer is
//! held back and nothing is lost.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use call_protocol::VideoCodec;
use call_protocol::peer::{PeerSignal, SdpKind};
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use webrtc::error::Result;
use webrtc::peer_connection::{
    PeerConnection, RTCIceCandidateInit, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
    RTCSessionDescription,
};

use crate::channels::ChannelNotice;
use crate::config::LinkConfig;
use crate::event::{Codec, LinkEvent, LinkState, MediaKind, RtpIn};
use crate::formats::{self, Formats};
use crate::handler::Notice;
use crate::incoming;
use crate::link::Command;
use crate::negotiation::{Candidate, Negotiation, Step};
use crate::recovery::{Change, PathState, Recovery};
use crate::setup;
use crate::shared::Shared;
use crate::stats;
use crate::tracks::VideoTracks;
use crate::turn_shim::TurnShims;

/// Events that may wait before the peer is held back.
const OUTBOX: usize = 256;
/// How long a hang-up waits for room for its last events.
const FAREWELL: Duration = Duration::from_millis(200);
/// Candidates of ours kept for a peer that dropped them.
const MAX_CANDIDATES: usize = 64;

/// What wakes the task, besides time and the owner's room for events.
pub(crate) struct Inputs {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) channels: mpsc::Receiver<ChannelNotice>,
    pub(crate) hung_up: oneshot::Receiver<()>,
}

/// Whether the task goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    End(LinkState),
}

/// See the module's text.
pub(crate) struct Task {
    config: LinkConfig,
    connection: Arc<dyn PeerConnection>,
    events: mpsc::Sender<LinkEvent>,
    media: mpsc::Sender<RtpIn>,
    shared: Arc<Shared>,
    is_flooded: Arc<AtomicBool>,
    negotiation: Negotiation,
    recovery: Recovery,
    outbox: VecDeque<LinkEvent>,
    pub(crate) children: JoinSet<()>,
    /// Held for as long as the connection may use them.
    pub(crate) turn_shims: Option<TurnShims>,
    pub(crate) state: watch::Sender<LinkState>,
    codecs: Option<(Vec<VideoCodec>, bool)>,
    local_candidates: VecDeque<Candidate>,
    /// The last one made.
    offer: String,
    /// This machine's, as last told.
    addresses: Option<Arc<BTreeSet<IpAddr>>>,
    video_tracks: VideoTracks,
    is_hung_up: bool,
}

impl Task {
    pub(crate) fn new(
        config: LinkConfig,
        connection: &Arc<dyn PeerConnection>,
        events: mpsc::Sender<LinkEvent>,
        media: mpsc::Sender<RtpIn>,
        shared: &Arc<Shared>,
        is_flooded: Arc<AtomicBool>,
    ) -> Self {
        let negotiation = Negotiation::new(config.polite, setup::sections(&config))
            .with_sdp_bytes(config.sdp_bytes());
        Self {
            negotiation,
            recovery: Recovery::new(Instant::now()),
            config,
            connection: Arc::clone(connection),
            events,
            media,
            shared: Arc::clone(shared),
            is_flooded,
            outbox: VecDeque::new(),
            children: JoinSet::new(),
            turn_shims: None,
            state: watch::channel(LinkState::Connecting).0,
            codecs: None,
            local_candidates: VecDeque::new(),
            offer: String::new(),
            addresses: None,
            video_tracks: VideoTracks::new(Arc::clone(shared)),
            is_hung_up: false,
        }
    }

    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        self.outbox
            .push_back(LinkEvent::State(LinkState::Connecting));
        if self.config.initiator {
            let steps = self.negotiation.handle_wish(false);
            self.execute(steps).await;
        }
        let end = loop {
            let flow = self.turn(&mut inputs).await;
            if let Flow::End(state) = flow {
                break state;
            }
            if self.is_flooded.load(Ordering::Relaxed) {
                tracing::warn!("the peer opens tracks or channels without end; link given up");
                break LinkState::Failed;
            }
        };
        self.finish(end, inputs.hung_up).await;
    }

    /// Waits for one input and handles it.
    async fn turn(&mut self, inputs: &mut Inputs) -> Flow {
        let has_room = self.outbox.len() < OUTBOX;
        let shared = Arc::clone(&self.shared);
        let events = self.events.clone();
        let wake_at = self.poll_timeout();
        tokio::select! {
            // Ends with the handle, whether it was closed or dropped.
            _ = &mut inputs.hung_up => {
                self.is_hung_up = true;
                self.outbox.push_back(LinkEvent::Signal(PeerSignal::Bye));
                return Flow::End(LinkState::Closed);
            }
            permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(event) = self.outbox.pop_front() {
                        permit.send(event);
                    }
                }
                // The owner is gone without closing the link.
                Err(_) => return Flow::End(LinkState::Closed),
            },
            Some(command) = inputs.commands.recv(), if has_room => {
                return self.handle_command(command).await;
            }
            Some(notice) = inputs.notices.recv(), if has_room => self.handle_notice(notice).await,
            Some(notice) = inputs.channels.recv(), if has_room => self.handle_channel(notice),
            () = shared.keyframe_wanted.notified() => self.handle_keyframes_wanted(),
            () = shared.narrowed() => {
                tracing::info!("the path takes no large packets; link given up");
                self.outbox.push_back(LinkEvent::PathNarrow);
                return Flow::End(LinkState::Failed);
            }
            () = shared.gave_up.notified() => {
                tracing::info!("messages stand still on a path that works; link given up");
                return Flow::End(LinkState::Failed);
            }
            () = sleep_until(wake_at) => return self.handle_timeout(Instant::now()).await,
        }
        Flow::Continue
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [
            self.recovery.poll_timeout(),
            self.video_tracks.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    async fn handle_timeout(&mut self, now: Instant) -> Flow {
        self.video_tracks.handle_timeout(now).await;
        let change = self.recovery.handle_timeout(now);
        self.follow(change).await
    }

    async fn handle_command(&mut self, command: Command) -> Flow {
        match command {
            Command::Signal(signal) => {
                let steps = self.negotiation.handle_signal(signal);
                if steps.contains(&Step::HangUp) {
                    return Flow::End(LinkState::Closed);
                }
                self.execute(steps).await;
            }
            Command::RequestKeyframe(ssrc) => {
                let now = Instant::now();
                self.video_tracks.request_keyframe(now, ssrc).await;
            }
            Command::RestartIce => {
                let steps = self.negotiation.handle_wish(true);
                self.execute(steps).await;
            }
            Command::Addresses(addresses) => self.handle_addresses(addresses).await,
            Command::Renegotiate => {
                let steps = self.negotiation.handle_wish(false);
                self.execute(steps).await;
            }
        }
        Flow::Continue
    }

    /// A path whose own address is gone is dead, sooner than its silence shows.
    async fn handle_addresses(&mut self, addresses: Arc<BTreeSet<IpAddr>>) {
        let before = self.addresses.replace(Arc::clone(&addresses));
        let own = stats::own_address(&self.connection).await;
        let is_connected = self.shared.is_connected.load(Ordering::Relaxed);
        if is_connected && own.is_gone(before.as_deref(), &addresses) {
            tracing::debug!("the path's own address is gone");
            self.outbox.push_back(LinkEvent::AddressGone);
            self.set_reconnecting();
        }
    }

    async fn handle_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Candidate(event) => self.handle_local_candidate(&event),
            Notice::State(state) => {
                // Only the deadline gives a link up.
                let _ = self.handle_state(state).await;
            }
            Notice::Channel(channel) => {
                tracing::debug!("closing a channel the peer opened by itself");
                if let Err(error) = channel.close().await {
                    tracing::debug!(%error, "it was closed already");
                }
            }
            Notice::Track(track) => {
                if track.kind().await == RtpCodecKind::Video {
                    self.video_tracks.add(&track);
                }
                let (media, shared) = (self.media.clone(), Arc::clone(&self.shared));
                self.children.spawn(incoming::run(track, media, shared));
            }
        }
    }

    fn handle_channel(&mut self, notice: ChannelNotice) {
        self.outbox.push_back(match notice {
            ChannelNotice::Open(channel) => LinkEvent::ChannelOpen(channel),
            ChannelNotice::Message {
                channel,
                data,
                is_text,
            } => LinkEvent::ChannelMessage {
                channel,
                data,
                is_text,
            },
            ChannelNotice::Closed(channel) => LinkEvent::ChannelClosed(channel),
        });
    }

    fn handle_local_candidate(&mut self, event: &RTCPeerConnectionIceEvent) {
        let is_unspecified = matches!(event.candidate.address.as_str(), "0.0.0.0" | "::" | "");
        if is_unspecified {
            return;
        }
        let Ok(init) = event.candidate.to_json() else {
            return;
        };
        // The stack leaves the media id empty; everything is bundled into the first section.
        let candidate = Candidate {
            candidate: init.candidate,
            mid: None,
            mline_index: Some(0),
        };
        if self.local_candidates.len() == MAX_CANDIDATES {
            self.local_candidates.pop_front();
        }
        self.local_candidates.push_back(candidate.clone());
        self.emit_candidate(candidate);
    }

    fn emit_candidates(&mut self) {
        for candidate in self.local_candidates.clone() {
            self.emit_candidate(candidate);
        }
    }

    fn emit_candidate(&mut self, candidate: Candidate) {
        let Candidate {
            candidate,
            mid,
            mline_index,
        } = candidate;
        let signal = PeerSignal::Candidate {
            candidate,
            mid,
            mline_index,
        };
        self.outbox.push_back(LinkEvent::Signal(signal));
    }

    async fn handle_state(&mut self, state: RTCPeerConnectionState) -> Flow {
        let state = match state {
            RTCPeerConnectionState::Connected => PathState::Connected,
            RTCPeerConnectionState::Disconnected => PathState::Disconnected,
            RTCPeerConnectionState::Failed => PathState::Failed,
            _ => PathState::Connecting,
        };
        let change = self.recovery.handle_state(Instant::now(), state);
        self.follow(change).await
    }

    async fn follow(&mut self, change: Option<Change>) -> Flow {
        match change {
            Some(Change::Connected) => {
                let path = stats::path(&self.connection).await;
                self.shared.is_connected.store(true, Ordering::Relaxed);
                self.set_state(LinkState::Connected { path });
            }
            Some(Change::Interrupted) => self.set_reconnecting(),
            Some(Change::GivenUp) => return Flow::End(LinkState::Failed),
            None => {}
        }
        Flow::Continue
    }

    fn set_reconnecting(&mut self) {
        if self.shared.is_connected.load(Ordering::Relaxed) {
            self.set_state(LinkState::Reconnecting);
        }
    }

    fn set_state(&mut self, state: LinkState) {
        if self.state.send_replace(state) != state {
            self.outbox.push_back(LinkEvent::State(state));
        }
    }

    /// Runs steps to their end. A refused one ends what followed from the same input.
    async fn execute(&mut self, steps: Vec<Step>) {
        let mut queue = VecDeque::from(steps);
        while let Some(step) = queue.pop_front() {
            let Err(error) = self.run_step(&step).await else {
                continue;
            };
            tracing::debug!(%error, step = step.name(), "negotiation step refused");
            if matches!(step, Step::AddCandidate(_)) {
                continue;
            }
            let rest = std::mem::take(&mut queue);
            for refused in std::iter::once(&step).chain(rest.iter().filter(|step| step.is_offer()))
            {
                queue.extend(self.negotiation.handle_failure(refused));
            }
        }
    }

    async fn run_step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Offer { restart_ice } => {
                if *restart_ice {
                    self.local_candidates.clear();
                }
                let options = RTCOfferOptions {
                    ice_restart: *restart_ice,
                };
                let offer = self.connection.create_offer(Some(options)).await?;
                self.connection.set_local_description(offer.clone()).await?;
                self.offer.clone_from(&offer.sdp);
                self.emit_description(SdpKind::Offer, offer.sdp);
            }
            Step::RepeatOffer => {
                self.emit_description(SdpKind::Offer, self.offer.clone());
                self.emit_candidates();
            }
            Step::Rollback => {
                let rollback = RTCSessionDescription::rollback(None)?;
                self.connection.set_local_description(rollback).await?;
            }
            Step::SetRemote {
                kind: SdpKind::Offer,
                sdp,
            } => {
                let offer = RTCSessionDescription::offer(sdp.clone())?;
                self.connection.set_remote_description(offer).await?;
                self.shared.set_media_ids(formats::media_ids(sdp));
            }
            Step::SetRemote {
                kind: SdpKind::Answer,
                sdp,
            } => {
                let answer = RTCSessionDescription::answer(sdp.clone())?;
                self.connection.set_remote_description(answer).await?;
                self.shared.set_media_ids(formats::media_ids(sdp));
                self.handle_answered(sdp);
            }
            Step::Answer { resend_candidates } => {
                let answer = self.connection.create_answer(None).await?;
                self.connection
                    .set_local_description(answer.clone())
                    .await?;
                self.handle_answered(&answer.sdp);
                self.emit_description(SdpKind::Answer, answer.sdp);
                if *resend_candidates {
                    self.emit_candidates();
                }
            }
            Step::AddCandidate(candidate) => {
                let init = RTCIceCandidateInit {
                    candidate: candidate.candidate.clone(),
                    sdp_mid: candidate.mid.clone(),
                    sdp_mline_index: candidate.mline_index,
                    ..RTCIceCandidateInit::default()
                };
                self.connection.add_ice_candidate(init).await?;
            }
            Step::HangUp => {}
        }
        Ok(())
    }

    fn emit_description(&mut self, kind: SdpKind, sdp: String) {
        self.outbox
            .push_back(LinkEvent::Signal(PeerSignal::Description { kind, sdp }));
    }

    /// Offer and answer have met: read what was agreed.
    fn handle_answered(&mut self, answer: &str) {
        let formats = Formats::from_answer(answer);
        let audio =
            self.config.sends(MediaKind::Audio) && formats.payload_type(Codec::Opus).is_some();
        let mut video = self.config.video_codecs.clone();
        video.retain(|codec| {
            self.config.sends(MediaKind::Video)
                && formats.payload_type(Codec::Video(*codec)).is_some()
        });
        video.dedup();
        self.shared.set_formats(formats);
        let codecs = (video, audio);
        if self.codecs.as_ref() != Some(&codecs) {
            let (video, audio) = codecs.clone();
            self.outbox.push_back(LinkEvent::Codecs { video, audio });
            self.codecs = Some(codecs);
        }
    }

    fn handle_keyframes_wanted(&mut self) {
        for wanted in self.shared.take_wanted_keyframes() {
            let is_wanted = |event: &LinkEvent| matches!(event, LinkEvent::KeyframeRequested { source, layer } if (*source, *layer) == wanted);
            if !self.outbox.iter().any(is_wanted) {
                let (source, layer) = wanted;
                self.outbox
                    .push_back(LinkEvent::KeyframeRequested { source, layer });
            }
        }
    }

    /// Reports the end and frees everything: the stack leaks its task and sockets unless closed.
    async fn finish(mut self, end: LinkState, hung_up: oneshot::Receiver<()>) {
        self.shared.is_connected.store(false, Ordering::Relaxed);
        self.set_state(end);
        let outbox = std::mem::take(&mut self.outbox);
        let events = self.events.clone();
        let farewell = async move {
            for event in outbox {
                if events.send(event).await.is_err() {
                    return;
                }
            }
        };
        if self.is_hung_up {
            // The owner may be waiting for us in `close` instead of reading events.
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
            self.release().await;
        } else {
            self.release().await;
            tokio::select! {
                () = farewell => {}
                _ = hung_up => {}
            }
        }
    }

    async fn release(&mut self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing the peer connection");
        }
        self.children.shutdown().await;
        // Only now: closing gives relays back.
        self.turn_shims = None;
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
