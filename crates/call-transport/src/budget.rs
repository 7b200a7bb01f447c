//! What a link may send, as its parts know it: the estimator what the path carries, the pacer what
//! already waits for it. What is left is for whoever encodes.
//!
//! One budget for sound, all layers of the picture and retransmissions. Retransmissions come off
//! first, then what is needed to send what waits in time; the sound is not paced and not asked,
//! encoders take it off themselves. Probes are not counted: they are a few milliseconds each few
//! seconds.
//!
//! A path that became much narrower leaves pictures waiting that nobody will want any more when it is
//! their turn. The pacer throws them away then and *cuts* their layers: what follows of those is not sent
//! either, up to a keyframe.
//!
//! Invariants: [`media_bps`](Budget::media_bps) is between a quarter of the estimate and all of it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Waiting is normal for this long: a keyframe. More lets a backlog stay, less takes the bits of
/// every larger picture off the next ones twice, because encoders do that themselves.
const FREE_S: f64 = 0.12;
/// What waits longer is to be gone after this. Shorter starves the next pictures for it.
const CATCH_UP_S: f64 = 0.5;
/// What is left of the estimate at least.
const LEAST: f64 = 0.25;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Budget {
    estimate_bps: AtomicU64,
    is_draining: AtomicBool,
    lost_permille: AtomicU64,
    waiting_bits: AtomicU64,
    repairs_bps: AtomicU64,
    /// A bit for each layer of the camera.
    cut_layers: AtomicU8,
}

impl Budget {
    pub(crate) fn new(estimate_bps: f64) -> Self {
        Self {
            estimate_bps: AtomicU64::new(estimate_bps as u64),
            is_draining: AtomicBool::new(false),
            lost_permille: AtomicU64::new(0),
            waiting_bits: AtomicU64::new(0),
            repairs_bps: AtomicU64::new(0),
            cut_layers: AtomicU8::new(0),
        }
    }

    /// Cuts a layer of the camera, below 8.
    pub(crate) fn cut(&self, layer: u8) {
        self.cut_layers.fetch_or(1 << layer, Ordering::Relaxed);
    }

    /// Whether only a keyframe of this layer is worth sending.
    pub(crate) fn is_cut(&self, layer: u8) -> bool {
        self.cut_layers.load(Ordering::Relaxed) & (1 << layer) != 0
    }

    /// A keyframe of this layer is sent.
    pub(crate) fn mend(&self, layer: u8) {
        self.cut_layers.fetch_and(!(1 << layer), Ordering::Relaxed);
    }

    /// What the path carries, whether that is kept low to empty a queue in it, and the share of
    /// packets it loses.
    pub(crate) fn set_estimate(&self, bps: f64, is_draining: bool, lost: f64) {
        self.estimate_bps.store(bps as u64, Ordering::Relaxed);
        self.is_draining.store(is_draining, Ordering::Relaxed);
        self.lost_permille
            .store((lost * 1e3) as u64, Ordering::Relaxed);
    }

    /// Of what is sent, the share the path lost lately.
    pub(crate) fn lost(&self) -> f64 {
        self.lost_permille.load(Ordering::Relaxed) as f64 / 1e3
    }

    /// Whether a queue in the path is being emptied.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// What waits to be sent, and how much is sent again.
    pub(crate) fn set_load(&self, waiting_bits: f64, repairs_bps: f64) {
        self.waiting_bits
            .store(waiting_bits as u64, Ordering::Relaxed);
        self.repairs_bps
            .store(repairs_bps as u64, Ordering::Relaxed);
    }

    /// What sound and new pictures may have, in bits per second.
    pub(crate) fn media_bps(&self) -> u64 {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        let estimate_bps = load(&self.estimate_bps);
        let late_bits = (load(&self.waiting_bits) - FREE_S * estimate_bps).max(0.0);
        let left_bps = estimate_bps - load(&self.repairs_bps) - late_bits / CATCH_UP_S;
        left_bps.max(LEAST * estimate_bps) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_or_late_is_taken_off() {
        for (waiting_bits, repairs_bps, media_bps) in [
            (0.0, 0.0, 1_000_000),
            (120_000.0, 0.0, 1_000_000),
            (220_000.0, 0.0, 800_000),
            (0.0, 100_000.0, 900_000),
            (220_000.0, 100_000.0, 700_000),
            (9e6, 9e6, 250_000),
        ] {
            let budget = Budget::new(1e6);
            budget.set_load(waiting_bits, repairs_bps);
            assert_eq!(
                budget.media_bps(),
                media_bps,
                "{waiting_bits} {repairs_bps}"
            );
        }
    }
}
