//! The render reference in the microphone's clock.
//!
//! ```text
//! what the speaker plays -> resampler -> 10 ms blocks -> canceller
//!                              ^ ratio       |
//!                           tracker <- echo shift <- microphone
//! ```
//!
//! The clocks of two sound cards differ by up to some hundred parts per million. To the canceller
//! that is an echo whose delay never stands still. [`DriftCompensation`] resamples the reference
//! so that it does: `echo_shift` measures how the echo moves, [`DriftTracker`] decides what to
//! believe, and the resampler is steered by it. The ratio's change never jumps the phase.
//!
//! While nothing is measured that agrees, the reference keeps the drift learnt before, at first
//! none. A gap restarts the measurement and keeps the drift, a device reopened with it.
//!
//! Invariants: the drift is within ±[`MOST_DRIFT_PPM`]; it changes only on [`AGREEING`]
//! measurements that agree, so no single one moves it. Pure, no clock.

use super::echo_shift::EchoShift;
use super::format::{BLOCK_SAMPLES, Block, SAMPLE_RATE_HZ};
use super::resample::StreamResampler;

/// Largest drift believed. Crystals keep 100 ppm, cheap ones 300; beyond it something else is
/// being measured.
pub(crate) const MOST_DRIFT_PPM: f64 = 1_000.0;
/// Measurements that must agree, of the last [`RECENT`]. They come every 128 ms: more is surer
/// and later.
const AGREEING: usize = 3;
const RECENT: usize = 5;
/// How far apart agreeing measurements may lie. A measurement spreads by about 5 ppm in a quiet
/// room; a microphone being moved spreads by hundreds.
const AGREEMENT_PPM: f64 = 30.0;
/// What the drift itself adds to that: within a segment, too, the echo moves.
const AGREEMENT_SHARE: f64 = 0.1;
/// A difference taken over at once; smaller ones are approached.
const STEP_PPM: f64 = 20.0;
/// Share of a small difference taken over per measurement: lower is steadier and follows the
/// warming of a crystal later.
const APPROACH: f64 = 0.2;
/// Silence before the first block, in samples: the resampler's output varies by a few samples per
/// block, and no block should wait for the last of them.
const LEAD_SAMPLES: usize = 48;

/// See the [module documentation](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct DriftTracker {
    drift_ppm: f64,
    recent: [Option<f64>; RECENT],
}

/// What a measurement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DriftChange {
    None,
    /// By little.
    Approached,
    /// At once, by more than [`STEP_PPM`].
    Stepped,
}

impl DriftTracker {
    /// By how much the render clock runs faster than the capture clock, in parts per million.
    pub(crate) fn drift_ppm(&self) -> f64 {
        self.drift_ppm
    }

    /// Takes a drift measured in all, not only what is left of it.
    pub(crate) fn handle_drift(&mut self, drift_ppm: f64) -> DriftChange {
        if drift_ppm.is_nan() || drift_ppm.abs() > MOST_DRIFT_PPM {
            return DriftChange::None;
        }
        self.recent.rotate_left(1);
        self.recent[RECENT - 1] = Some(drift_ppm);
        let Some(agreed) = self.agreed_ppm() else {
            return DriftChange::None;
        };
        let difference = agreed - self.drift_ppm;
        if difference.abs() > STEP_PPM {
            tracing::debug!(
                drift_ppm = agreed,
                "clock drift between speaker and microphone"
            );
            self.drift_ppm = agreed;
            self.recent = [None; RECENT];
            return DriftChange::Stepped;
        }
        self.drift_ppm += APPROACH * difference;
        DriftChange::Approached
    }

    /// Forgets the measurements, not what was learnt.
    pub(crate) fn restart(&mut self) {
        self.recent = [None; RECENT];
    }

    /// Mean of the newest [`AGREEING`] measurements that lie together, if that many do.
    fn agreed_ppm(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.recent.iter().copied().flatten().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let closest = sorted
            .windows(AGREEING)
            .min_by(|a, b| (a[AGREEING - 1] - a[0]).total_cmp(&(b[AGREEING - 1] - b[0])))?;
        let spread = closest[AGREEING - 1] - closest[0];
        let mean = closest.iter().sum::<f64>() / AGREEING as f64;
        let left_ppm = (mean - self.drift_ppm).abs();
        (spread <= AGREEMENT_PPM + AGREEMENT_SHARE * left_ppm).then_some(mean)
    }
}

/// See the [module documentation](self).
pub(crate) struct DriftCompensation {
    resampler: StreamResampler,
    ready: Vec<f32>,
    shift: EchoShift,
    tracker: DriftTracker,
}

impl std::fmt::Debug for DriftCompensation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriftCompensation")
            .field("tracker", &self.tracker)
            .finish_non_exhaustive()
    }
}

impl DriftCompensation {
    /// `None` if the resampler cannot be built, which its fixed rates exclude.
    pub(crate) fn new() -> Option<Self> {
        let resampler = StreamResampler::steerable(SAMPLE_RATE_HZ).ok()?;
        let mut ready = Vec::with_capacity(4 * BLOCK_SAMPLES);
        ready.resize(LEAD_SAMPLES, 0.0);
        Some(Self {
            resampler,
            ready,
            shift: EchoShift::new(),
            tracker: DriftTracker::default(),
        })
    }

    /// The drift compensated at present, in parts per million.
    pub(crate) fn drift_ppm(&self) -> f64 {
        self.tracker.drift_ppm()
    }

    /// Takes 10 ms in the render clock; [`Self::poll_render`] gives what becomes of them.
    pub(crate) fn handle_render(&mut self, block: &Block) {
        self.resampler.push(block, &mut self.ready);
    }

    /// The next 10 ms of the reference in the capture clock.
    pub(crate) fn poll_render(&mut self) -> Option<Block> {
        let block: Block = self.ready.get(..BLOCK_SAMPLES)?.try_into().ok()?;
        self.ready.drain(..BLOCK_SAMPLES);
        self.shift.handle_render(&block);
        Some(block)
    }

    /// Listens to the next 10 ms of the microphone.
    pub(crate) fn handle_capture(&mut self, block: &Block) {
        let Some(residual_ppm) = self.shift.handle_capture(block) else {
            return;
        };
        let change = self
            .tracker
            .handle_drift(self.tracker.drift_ppm() + residual_ppm);
        if change != DriftChange::None {
            self.resampler
                .set_relative_ratio(1.0 / (1.0 + self.tracker.drift_ppm() * 1e-6));
        }
        if change == DriftChange::Stepped {
            self.shift.handle_rate_change();
        }
    }

    /// Either stream was interrupted: their counts no longer match.
    pub(crate) fn handle_gap(&mut self) {
        self.shift.restart();
        self.tracker.restart();
    }
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;
