//! What the interceptors (on the connection's driver task), the link's tasks and its handle share:
//! counters, the negotiated formats, wake-ups. Locks are held for a few instructions only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use call_protocol::MediaSource;
use tokio::sync::Notify;

use crate::arrivals::Arrivals;
use crate::budget::Budget;
use crate::estimator::START_BPS;
use crate::formats::Formats;
use crate::history::Histories;
use crate::meter::Meter;
use crate::outgoing::OutStreams;
use crate::tunnel::control::BulkControl;

/// Assumed until the first measurement; between a LAN and another continent.
const RTT_UNKNOWN_US: u32 = 100_000;

/// The screen's among the bits of [`Shared::keyframe_layers`].
const SCREEN_BIT: u8 = 7;

/// One link's shared state.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What we send.
    pub(crate) streams: OutStreams,
    /// Counts every packet.
    meter: Mutex<Meter>,
    /// What was negotiated last.
    formats: Mutex<Arc<Formats>>,
    /// The peer's streams and the media ids of their sections.
    media_ids: Mutex<BTreeMap<u32, String>>,
    /// What was sent and may be sent again.
    histories: Mutex<Histories>,
    /// What may be sent.
    pub(crate) budget: Arc<Budget>,
    /// When packets arrived.
    pub(crate) arrivals: Arc<Arrivals>,
    rtt_us: AtomicU32,
    wall_clock: WallClock,
    /// Whether packets may be handed to the stack.
    pub(crate) is_connected: AtomicBool,
    /// Whether control messages stand still.
    pub(crate) is_stalled: AtomicBool,
    /// Wakes the link's task when they do so without hope.
    pub(crate) gave_up: Notify,
    /// Wakes the link's task when the peer asked for a keyframe.
    pub(crate) keyframe_wanted: Notify,
    /// Of which layers of the camera: a bit each, the highest is the screen's.
    keyframe_layers: AtomicU8,
    /// PLI and FIR that arrived.
    pub(crate) keyframe_requests_in: AtomicU64,
    /// PLI that we sent.
    pub(crate) keyframe_requests_out: AtomicU64,
    /// Packets of ours that were not sent: not connected, not negotiated, queue full.
    pub(crate) dropped_out: AtomicU64,
    /// Packets of the peer the owner had no room for.
    pub(crate) dropped_in: AtomicU64,
    /// The tunnel of a link that carries data only.
    pub(crate) bulk: Option<Arc<BulkControl>>,
}

impl Shared {
    /// Waits until the path turns out to take no large packets; mostly for ever.
    pub(crate) async fn narrowed(&self) {
        match &self.bulk {
            Some(bulk) => bulk.narrowed().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn new(streams: OutStreams, bulk: Option<Arc<BulkControl>>) -> Self {
        Self {
            streams,
            meter: Mutex::default(),
            formats: Mutex::default(),
            media_ids: Mutex::default(),
            histories: Mutex::default(),
            budget: Arc::new(Budget::new(START_BPS)),
            arrivals: Arc::default(),
            rtt_us: AtomicU32::new(0),
            wall_clock: WallClock::new(Instant::now(), SystemTime::now()),
            is_connected: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            gave_up: Notify::new(),
            keyframe_wanted: Notify::new(),
            keyframe_layers: AtomicU8::new(0),
            keyframe_requests_in: AtomicU64::new(0),
            keyframe_requests_out: AtomicU64::new(0),
            dropped_out: AtomicU64::new(0),
            dropped_in: AtomicU64::new(0),
            bulk,
        }
    }

    /// The counters. A poisoned lock is taken over: they are plain numbers.
    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The histories. A poisoned lock is taken over: at worst a packet is missing.
    pub(crate) fn histories(&self) -> MutexGuard<'_, Histories> {
        self.histories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn formats(&self) -> Arc<Formats> {
        Arc::clone(&self.formats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_formats(&self, formats: Formats) {
        *self.formats.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(formats);
    }

    /// The media id of the section a stream of the peer belongs to.
    pub(crate) fn media_id(&self, ssrc: u32) -> Option<String> {
        let ids = self
            .media_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ids.get(&ssrc).cloned()
    }

    pub(crate) fn set_media_ids(&self, ids: BTreeMap<u32, String>) {
        *self
            .media_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = ids;
    }

    /// The layer of the camera with this SSRC, if it was [cut](Budget::cut).
    pub(crate) fn cut_layer(&self, ssrc: u32) -> Option<u8> {
        let layer = self.streams.layer(ssrc);
        layer.filter(|layer| self.budget.is_cut(*layer))
    }

    /// The peer asks for a keyframe of the stream with this SSRC.
    pub(crate) fn handle_keyframe_request(&self, ssrc: u32) {
        if self.want_keyframe(ssrc) {
            self.keyframe_requests_in.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A keyframe of the stream with this SSRC is needed; whether it is one of ours.
    pub(crate) fn want_keyframe(&self, ssrc: u32) -> bool {
        let bit = match self.streams.layer(ssrc) {
            Some(layer) if layer < SCREEN_BIT => layer,
            None if self.streams.is_screen(ssrc) => SCREEN_BIT,
            _ => return false,
        };
        self.keyframe_layers.fetch_or(1 << bit, Ordering::AcqRel);
        self.keyframe_wanted.notify_one();
        true
    }

    /// The pictures and layers asked for since the previous call.
    pub(crate) fn take_wanted_keyframes(&self) -> impl Iterator<Item = (MediaSource, u8)> + use<> {
        let layers = self.keyframe_layers.swap(0, Ordering::AcqRel);
        let asked = (0..=SCREEN_BIT).filter(move |layer| layers & (1 << layer) != 0);
        asked.map(|layer| match layer {
            SCREEN_BIT => (MediaSource::Screen, 0),
            layer => (MediaSource::Camera, layer),
        })
    }

    /// The NTP time our sender reports give for `now`.
    pub(crate) fn ntp_time(&self, now: Instant) -> u64 {
        self.wall_clock.ntp_time(now)
    }

    /// The measured round-trip time, if any yet.
    pub(crate) fn measured_rtt(&self) -> Option<Duration> {
        let micros = self.rtt_us.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros.into()))
    }

    /// The round-trip time to plan with.
    pub(crate) fn rtt(&self) -> Duration {
        self.measured_rtt()
            .unwrap_or(Duration::from_micros(RTT_UNKNOWN_US.into()))
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
        self.rtt_us.store(micros, Ordering::Relaxed);
    }
}

/// Wall clock of all streams of a link: read once, so that setting the system's clock during a
/// call does not tear sound and picture apart.
#[derive(Debug)]
struct WallClock {
    epoch: Instant,
    ntp_at_epoch: u64,
}

impl WallClock {
    fn new(now: Instant, wall: SystemTime) -> Self {
        /// From 1900, where NTP begins, to 1970.
        const NTP_TO_UNIX_S: u64 = 2_208_988_800;
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            epoch: now,
            ntp_at_epoch: ntp(since_1970).wrapping_add(NTP_TO_UNIX_S << 32),
        }
    }

    fn ntp_time(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch);
        self.ntp_at_epoch.wrapping_add(ntp(elapsed))
    }
}

/// A duration in units of 2^-32 s.
fn ntp(duration: Duration) -> u64 {
    let fraction = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
    (duration.as_secs() << 32).wrapping_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_time_runs_from_1900_with_fractions() {
        let now = Instant::now();
        let clock = WallClock::new(now, UNIX_EPOCH + Duration::from_millis(1_250));
        assert_eq!(clock.ntp_time(now), (2_208_988_801 << 32) | (1 << 30));
        let later = now + Duration::from_millis(500);
        assert_eq!(clock.ntp_time(later), (2_208_988_801 << 32) | (3 << 30));
    }
}
