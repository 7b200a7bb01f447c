//! What the interceptors (on the connection's driver task), the link's tasks and its handle share:
//! counters, the negotiated formats, wake-ups. Locks are held for a few instructions only.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::estimator::START_BPS;
use crate::formats::Formats;
use crate::meter::Meter;

/// Assumed until the first measurement; between a LAN and another continent.
const RTT_UNKNOWN_US: u32 = 100_000;

/// One link's shared state.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Counts every packet.
    meter: Mutex<Meter>,
    /// What was negotiated last.
    formats: Mutex<Arc<Formats>>,
    /// The congestion controller's target, bits per second.
    pub(crate) target_bps: Arc<AtomicU64>,
    rtt_us: AtomicU32,
    /// Whether packets may be handed to the stack.
    pub(crate) is_connected: AtomicBool,
    /// The peer asked for a keyframe.
    pub(crate) keyframe_wanted: Notify,
    /// PLI and FIR that arrived.
    pub(crate) keyframe_requests_in: AtomicU64,
    /// PLI that we sent.
    pub(crate) keyframe_requests_out: AtomicU64,
    /// Packets of ours that were not sent: not connected, not negotiated, queue full.
    pub(crate) dropped_out: AtomicU64,
    /// Packets of the peer the owner had no room for.
    pub(crate) dropped_in: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            meter: Mutex::default(),
            formats: Mutex::default(),
            target_bps: Arc::new(AtomicU64::new(START_BPS as u64)),
            rtt_us: AtomicU32::new(0),
            is_connected: AtomicBool::new(false),
            keyframe_wanted: Notify::new(),
            keyframe_requests_in: AtomicU64::new(0),
            keyframe_requests_out: AtomicU64::new(0),
            dropped_out: AtomicU64::new(0),
            dropped_in: AtomicU64::new(0),
        }
    }

    /// The counters. A poisoned lock is taken over: they are plain numbers.
    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn formats(&self) -> Arc<Formats> {
        Arc::clone(&self.formats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_formats(&self, formats: Formats) {
        *self.formats.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(formats);
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
