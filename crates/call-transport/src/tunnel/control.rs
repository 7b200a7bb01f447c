//! What a link's handle and the tunnels of its sockets share: the bound one sets, the figures the
//! other reads. Locks are held for a few instructions only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::endpoint::Endpoint;

/// No bound.
const UNLIMITED: u64 = u64::MAX;
/// Bytes that may always wait, so that slow paths are kept busy.
const LEAST_BACKLOG: usize = 256 * 1024;
/// What may wait besides what is under way, in time at the present pace. More survives longer
/// pauses of the application, less keeps SCTP from timing out when the path gets slower.
const BACKLOG_TIME: Duration = Duration::from_millis(200);

/// Figures of the tunnel that application data goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// When application data was last given to it.
    pub(crate) active_at: Option<Instant>,
    /// Whether the peer welcomed it.
    pub(crate) is_up: bool,
    pub(crate) pace_bps: u64,
    pub(crate) base_rtt: Duration,
    pub(crate) rtt: Duration,
    /// Bytes sent that have not all arrived.
    pub(crate) held_bytes: usize,
    /// Bytes that were never sent.
    pub(crate) unsent_bytes: usize,
    pub(crate) packets: u64,
    pub(crate) repeated: u64,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct BulkControl {
    limit_bps: AtomicU64,
    figures: Mutex<Figures>,
    narrow: watch::Sender<bool>,
}

impl Default for BulkControl {
    fn default() -> Self {
        Self {
            limit_bps: AtomicU64::new(UNLIMITED),
            figures: Mutex::default(),
            narrow: watch::Sender::new(false),
        }
    }
}

impl BulkControl {
    pub(crate) fn set_limit_bps(&self, limit_bps: Option<u64>) {
        self.limit_bps
            .store(limit_bps.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }

    pub(crate) fn limit_bps(&self) -> Option<u64> {
        let limit = self.limit_bps.load(Ordering::Relaxed);
        (limit != UNLIMITED).then_some(limit)
    }

    /// The stack's packets are too large for the path.
    fn tell_narrow(&self) {
        self.narrow
            .send_if_modified(|narrow| !std::mem::replace(narrow, true));
    }

    /// Waits until the stack's packets turn out to be too large for the path, or for ever.
    pub(crate) async fn narrowed(&self) {
        let mut narrow = self.narrow.subscribe();
        // The sender is this value's own.
        let _ = narrow.wait_for(|narrow| *narrow).await;
    }

    pub(crate) fn figures(&self) -> Figures {
        *self.lock()
    }

    /// Takes whether a path is narrow, and the figures of one socket's endpoint unless another was used
    /// later.
    pub(crate) fn handle_endpoint(&self, endpoint: &Endpoint) {
        if endpoint.is_narrow() {
            self.tell_narrow();
        }
        let Some(active_at) = endpoint.active_at() else {
            return;
        };
        let mut figures = self.lock();
        if figures.active_at.is_some_and(|at| at > active_at) {
            return;
        }
        let mut fresh = Figures {
            active_at: Some(active_at),
            ..Figures::default()
        };
        if let Some(sender) = endpoint.active() {
            let counts = sender.counts();
            fresh.is_up = true;
            fresh.pace_bps = (sender.rate().pace() * 8.0) as u64;
            fresh.base_rtt = Duration::from_secs_f64(sender.rate().least_rtt_s());
            fresh.rtt = sender.rtt();
            fresh.held_bytes = sender.held_bytes();
            fresh.unsent_bytes = sender.unsent_bytes();
            fresh.packets = counts.packets;
            fresh.repeated = counts.repeated;
        }
        *figures = fresh;
    }

    /// Bytes the channel may have given to SCTP without hearing that they arrived, at most `most`;
    /// `otherwise` where no tunnel is up. What the receiver holds while it waits for a repetition
    /// counts as under way, and so does a round trip of SCTP's acknowledgements.
    pub(crate) fn backlog_bytes(&self, most: usize, otherwise: usize) -> usize {
        let figures = self.figures();
        if !figures.is_up {
            return otherwise;
        }
        let time = (figures.base_rtt + BACKLOG_TIME).as_secs_f64();
        let waiting = (figures.pace_bps as f64 / 8.0 * time) as usize;
        (figures.held_bytes + waiting).clamp(LEAST_BACKLOG, most)
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
