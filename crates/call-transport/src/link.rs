//! The handle of one link: one peer connection to one member or to the SFU.
//!
//! States are [`LinkState`]. The link's own task ([`crate::task`]) runs negotiation, recovery and
//! events; this handle only queues, so none of its synchronous methods waits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use call_protocol::VideoCodec;
use call_protocol::peer::PeerSignal;
use rtc::statistics::StatsSelector;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use webrtc::data_channel::DataChannel;
use webrtc::peer_connection::{PeerConnection, RTCStatsReportEntry};

use crate::channels::{ChannelError, ChannelOut};
use crate::config::LinkConfig;
use crate::event::{ChannelLabel, Codec, LinkEvent, LinkState, RtpIn, RtpOut, SenderClock};
use crate::open;
use crate::outgoing::TrackOut;
use crate::shared::Shared;
use crate::stats::{BulkStats, LinkStats};

/// A link could not be opened: no socket, a malformed ICE server URL, or a defect of the stack.
#[derive(Debug, thiserror::Error)]
#[error("the peer connection could not be opened: {0}")]
pub struct LinkError(#[from] pub(crate) webrtc::error::Error);

/// What the handle asks its task for.
#[derive(Debug)]
pub(crate) enum Command {
    Signal(PeerSignal),
    RequestKeyframe(Option<u32>),
    RestartIce,
    Addresses(Arc<BTreeSet<IpAddr>>),
    Renegotiate,
}

/// Commands that may wait; signals of a peer who sends faster than they can be worked off are
/// dropped beyond it.
pub(crate) const COMMANDS: usize = 512;

/// One peer connection to one member or to the SFU. See the crate's text.
pub struct Link {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) audio: Option<TrackOut>,
    pub(crate) layers: Vec<TrackOut>,
    pub(crate) screen: Option<TrackOut>,
    pub(crate) channels: [ChannelOut; 3],
    pub(crate) bulk: Arc<dyn DataChannel>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Arc<dyn PeerConnection>,
    pub(crate) state: watch::Receiver<LinkState>,
    /// Until it is closed.
    pub(crate) running: Mutex<Option<Running>>,
}

/// What ends a link's task: dropping the one, after which the other ends.
pub(crate) struct Running {
    pub(crate) hang_up: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
}

impl Link {
    /// Opens a link and starts its task. Must run inside a tokio runtime.
    ///
    /// `events` is lossless: the link waits while it is full. `media` is not: the newest packet is
    /// dropped and counted while it is full.
    ///
    /// # Errors
    /// No socket could be bound or an ICE server is malformed.
    pub async fn open(
        config: LinkConfig,
        events: mpsc::Sender<LinkEvent>,
        media: mpsc::Sender<RtpIn>,
    ) -> Result<Self, LinkError> {
        Ok(open::open(config, events, media, None).await?)
    }

    /// Like [`open`](Self::open), but messages of [`ChannelLabel::Bulk`] come to `bulk` instead of
    /// `events`. While `bulk` is full, SCTP's window holds the peer back on all channels of this
    /// link; signals and states go on.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with_bulk(
        config: LinkConfig,
        events: mpsc::Sender<LinkEvent>,
        media: mpsc::Sender<RtpIn>,
        bulk: mpsc::Sender<Bytes>,
    ) -> Result<Self, LinkError> {
        Ok(open::open(config, events, media, Some(bulk)).await?)
    }

    /// A signal of the peer, already opened. Malformed and untimely ones change nothing.
    pub fn handle_signal(&self, signal: PeerSignal) {
        self.command(Command::Signal(signal));
    }

    /// Sends one Opus packet, or drops and counts it: not connected yet, no Opus negotiated, or
    /// more than a second waits already.
    pub fn send_audio(&self, packet: RtpOut) {
        match &self.audio {
            Some(track) => track.send(Codec::Opus, packet),
            None => self.count_dropped(),
        }
    }

    /// Sends one packet of a video frame, or drops and counts it, as [`send_audio`](Self::send_audio).
    /// The receiver sees a dropped packet as a gap.
    /// `layer` is the simulcast layer; a peer gets layer 0 only, other layers are dropped.
    pub fn send_video(&self, layer: u8, codec: VideoCodec, packet: RtpOut) {
        match self.layers.get(usize::from(layer)) {
            Some(track) => track.send(Codec::Video(codec), packet),
            None => self.count_dropped(),
        }
    }

    /// Sends one packet of a frame of the shared screen, or drops and counts it.
    pub fn send_screen(&self, codec: VideoCodec, packet: RtpOut) {
        match &self.screen {
            Some(track) => track.send(Codec::Video(codec), packet),
            None => self.count_dropped(),
        }
    }

    /// Asks the peer for a keyframe on one video stream, or on every one received. Requests for one
    /// stream within 100 ms are one; unknown streams are ignored.
    pub fn request_keyframe(&self, ssrc: Option<u32>) {
        self.command(Command::RequestKeyframe(ssrc));
    }

    /// Queues a message for a channel; it is sent as soon as the channel is open.
    ///
    /// # Errors
    /// Too large, too much queued already, or closed.
    pub fn send_channel(&self, channel: ChannelLabel, data: Bytes) -> Result<(), ChannelError> {
        self.channel(channel).send(data)
    }

    /// Waits until less than half of the channel's queue is taken, or the channel is closed. For
    /// [`ChannelLabel::Bulk`] of a [`LinkShape::Data`](crate::LinkShape::Data) link less than an
    /// eighth: what waits there and below stays at about what the path carries in a round trip and
    /// 200 ms, or 256 KiB if that is more.
    pub async fn channel_writable(&self, channel: ChannelLabel) {
        self.channel(channel).writable().await;
    }

    /// The media id (RFC 8843) of the section a received stream belongs to: which slot of an SFU
    /// link. `None` for streams the peer's newest description does not announce.
    pub fn media_id(&self, ssrc: u32) -> Option<String> {
        self.shared.media_id(ssrc)
    }

    /// Where a received stream stands on the peer's wall clock; `None` before its first report.
    pub fn sender_clock(&self, ssrc: u32) -> Option<SenderClock> {
        self.shared.meter().sender_clock(ssrc)
    }

    /// The figures now. Meant once a second: rates cover the time since the previous call.
    pub async fn stats(&self) -> LinkStats {
        let sums = self.shared.meter().snapshot(Instant::now());
        let state = *self.state.borrow();
        let path = match state {
            LinkState::Connected { path } => Some(path),
            _ => None,
        };
        let rtt_ms = match self.shared.measured_rtt() {
            Some(rtt) => Some(rtt.as_secs_f64() * 1e3),
            None => self.ice_rtt_ms().await,
        };
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        LinkStats {
            state,
            path,
            rtt_ms,
            target_bps: self.target_bitrate_bps(),
            audio_out: sums.audio_out,
            video_out: sums.video_out,
            video_layers_out: sums.video_layers_out,
            audio_in: sums.audio_in,
            video_in: sums.video_in,
            dropped_out: count(&self.shared.dropped_out),
            dropped_in: count(&self.shared.dropped_in),
            keyframe_requests_in: count(&self.shared.keyframe_requests_in),
            keyframe_requests_out: count(&self.shared.keyframe_requests_out),
            bulk: self.bulk_stats().await,
        }
    }

    /// Bounds what bulk data may take of the path, bits per second; `None` lifts it. At least
    /// 128 kbit/s pass. Only data through a tunnel is bounded, see [`BulkStats::is_tunnelled`].
    pub fn set_bulk_limit_bps(&self, limit_bps: Option<u64>) {
        if let Some(bulk) = &self.shared.bulk {
            bulk.set_limit_bps(limit_bps);
        }
    }

    async fn bulk_stats(&self) -> BulkStats {
        let mut stats = BulkStats {
            backlog_bytes: self.channel(ChannelLabel::Bulk).pending_bytes(),
            ..BulkStats::default()
        };
        // An error means that the channel is closed: nothing is under way.
        stats.backlog_bytes += self.bulk.outstanding_bytes().await.unwrap_or(0);
        let bulk = self.shared.bulk.as_ref();
        let Some(figures) = bulk.map(|bulk| bulk.figures()).filter(|f| f.is_up) else {
            return stats;
        };
        stats.is_tunnelled = true;
        stats.rate_bps = figures.pace_bps;
        stats.base_rtt_ms = Some(figures.base_rtt.as_secs_f64() * 1e3);
        stats.rtt_ms = Some(figures.rtt.as_secs_f64() * 1e3);
        stats.repeated = figures.repeated as f64 / figures.packets.max(1) as f64;
        stats
    }

    /// What the congestion controller thinks the path carries, in bits per second, sound included.
    pub fn target_bitrate_bps(&self) -> u64 {
        self.shared.budget.media_bps()
    }

    /// Whether control messages given to this link now would wait: those before them are not acknowledged.
    pub fn is_stalled(&self) -> bool {
        self.shared.is_stalled.load(Ordering::Relaxed)
    }

    /// Looks for a new path. The old one is given up at once, so this is for paths that are dead.
    pub fn restart_ice(&self) {
        self.command(Command::RestartIce);
    }

    /// The machine's addresses changed. A path whose own one is gone is reported dead at once
    /// ([`LinkEvent::AddressGone`]); any other is left alone.
    pub fn handle_addresses(&self, addresses: Arc<BTreeSet<IpAddr>>) {
        self.command(Command::Addresses(addresses));
    }

    /// Makes a new offer without changing anything.
    pub fn renegotiate(&self) {
        self.command(Command::Renegotiate);
    }

    /// Hangs up: reports `Signal(Bye)` and `State(Closed)` if the owner has room for them, and
    /// returns when every task and socket is gone, whoever else still holds the link: what they send
    /// is refused. Dropping the link does the same without waiting; closing it again does nothing.
    pub async fn close(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Running { hang_up, task }) = running {
            drop(hang_up);
            // A panic of the task was reported by the runtime; the link is gone either way.
            let _ = task.await;
        }
    }

    async fn ice_rtt_ms(&self) -> Option<f64> {
        let report = self
            .connection
            .get_stats(Instant::now(), StatsSelector::None)
            .await;
        let rtt_s = report.iter().find_map(|entry| match entry {
            RTCStatsReportEntry::IceCandidatePair(pair) if pair.nominated => {
                Some(pair.current_round_trip_time)
            }
            _ => None,
        })?;
        (rtt_s > 0.0).then_some(rtt_s * 1e3)
    }

    fn channel(&self, label: ChannelLabel) -> &ChannelOut {
        match label {
            ChannelLabel::Control => &self.channels[0],
            ChannelLabel::Bulk => &self.channels[1],
            ChannelLabel::Lossy => &self.channels[2],
        }
    }

    fn command(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.commands.try_send(command) {
            tracing::debug!("link command dropped: too many wait");
        }
    }

    fn count_dropped(&self) {
        self.shared.dropped_out.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the peers agree on to protect media; only the stack's own report tells.
    #[tokio::test]
    async fn aead_is_negotiated_between_ours() {
        let config = |polite| LinkConfig {
            polite,
            initiator: polite,
            include_loopback: true,
            ..LinkConfig::default()
        };
        let (event_sender, mut first_events) = mpsc::channel(64);
        let first = Link::open(config(true), event_sender, mpsc::channel(1).0)
            .await
            .unwrap();
        let (event_sender, mut second_events) = mpsc::channel(64);
        let second = Link::open(config(false), event_sender, mpsc::channel(1).0)
            .await
            .unwrap();
        let mut connected = 0;
        while connected < 2 {
            let (event, peer) = tokio::select! {
                Some(event) = first_events.recv() => (event, &second),
                Some(event) = second_events.recv() => (event, &first),
            };
            match event {
                LinkEvent::Signal(signal) => peer.handle_signal(signal),
                LinkEvent::State(LinkState::Connected { .. }) => connected += 1,
                _ => {}
            }
        }
        let report = first
            .connection
            .get_stats(Instant::now(), StatsSelector::None)
            .await;
        let cipher = report.iter().find_map(|entry| match entry {
            RTCStatsReportEntry::Transport(transport) => Some(transport.srtp_cipher.clone()),
            _ => None,
        });
        assert!(
            cipher
                .as_ref()
                .is_some_and(|cipher| cipher.contains("128_G")),
            "{cipher:?}"
        );
        first.close().await;
        second.close().await;
    }
}
