//! How long packets take, and from it the delay a jitter buffer should aim at.
//!
//! Each packet's *transit* is its arrival minus its media time; only differences between transits
//! mean anything. The smallest transit of the last [`SHORT_WINDOW`] packets stands for a network
//! without jitter (the *base*), and what a transit exceeds it by is the packet's *relative delay*.
//! The target is the larger one of two high percentiles of the relative delay, one over the
//! short and one over the [`LONG_WINDOW`], so that it rises within a second and falls within ten.
//! Where packets get lost the packet after a hole is worth waiting for, because it carries the lost
//! frame once more.
//!
//! Invariants: storage is fixed; a jump of the sender's clock empties it.
//!
//! Deliberately not here: packets, and what to do about a delay.

use std::time::{Duration, Instant};

use super::format::{FRAME_MS, SAMPLE_RATE_HZ};

/// Smallest target delay in milliseconds: two frames. Lowering it gains latency on perfect
/// networks only and conceals at every scheduling hiccup.
pub const MIN_DELAY_MS: u32 = 40;
/// Largest target delay in milliseconds. Beyond it conversation suffers more than from losses.
pub const MAX_DELAY_MS: u32 = 240;
/// Packets that say what the network does at the moment: 2 s. A longer window follows a new route
/// later, a shorter one sees the fastest packet too rarely.
const SHORT_WINDOW: usize = 100;
/// Packets the network is remembered by: 10 s. A longer window keeps the delay of a spike longer.
const LONG_WINDOW: usize = 500;
/// Share of packets in the short window that should be in time, in percent.
const SHORT_PERCENTILE: usize = 95;
/// The same for the long window. Raising it waits for rarer stragglers.
const LONG_PERCENTILE: usize = 97;
/// Share of packets after a hole that should be in time to repair it, in percent. Raising it
/// repairs more and delays everything.
const REPAIR_PERCENTILE: usize = 70;
/// Time between a packet's arrival and its first sample that playout in blocks of 10 ms, and a
/// delay that is kept within a few milliseconds only, use up.
const PLAYOUT_MS: i64 = 14;
/// Share of lost packets from which repairing is worth its delay: 1 %.
const REPAIR_LOSS: f32 = 0.01;
/// Weight of one packet in the share of lost packets: a memory of 4 s.
const LOSS_WEIGHT: f32 = 1.0 / 200.0;
/// A transit this different from the one before (2 s) is a new clock, not jitter.
const CLOCK_JUMP_TICKS: u64 = 2 * SAMPLE_RATE_HZ as u64;
const TICKS_PER_MS: i64 = SAMPLE_RATE_HZ as i64 / 1_000;

/// See the [module documentation](self). Timestamps are RTP timestamps at 48 kHz, unwrapped.
#[derive(Debug)]
pub(crate) struct DelayEstimator {
    /// The first arrival; transits count from it.
    epoch: Option<(Instant, i64)>,
    /// Transits of the last packets in RTP ticks; a ring that ends before `next`.
    transits: Box<[i64; LONG_WINDOW]>,
    next: usize,
    filled: usize,
    scratch: Box<[i64; LONG_WINDOW]>,
    base_transit: i64,
    target_ms: u32,
    /// What the owner adds.
    extra_ms: u32,
    last_transit: Option<i64>,
    /// RFC 3550 estimate in ticks.
    jitter: f64,
    loss: f32,
}

impl DelayEstimator {
    pub(crate) fn new() -> Self {
        Self {
            epoch: None,
            transits: Box::new([0; LONG_WINDOW]),
            next: 0,
            filled: 0,
            scratch: Box::new([0; LONG_WINDOW]),
            base_transit: 0,
            target_ms: MIN_DELAY_MS,
            extra_ms: 0,
            last_transit: None,
            jitter: 0.0,
            loss: 0.0,
        }
    }

    /// Adds to the delay aimed at.
    pub(crate) fn set_extra_ms(&mut self, extra_ms: u32) {
        self.extra_ms = extra_ms;
    }

    /// Forgets everything but the extra delay, for a stream that begins anew.
    pub(crate) fn reset(&mut self) {
        self.epoch = None;
        (self.next, self.filled, self.base_transit) = (0, 0, 0);
        self.target_ms = MIN_DELAY_MS;
        (self.last_transit, self.jitter, self.loss) = (None, 0.0, 0.0);
    }

    /// Takes a packet, late ones too.
    pub(crate) fn handle_arrival(&mut self, now: Instant, timestamp: i64) {
        let (start, start_timestamp) = *self.epoch.get_or_insert((now, timestamp));
        let elapsed = ticks(now.saturating_duration_since(start));
        let transit = elapsed - (timestamp - start_timestamp);
        if let Some(last) = self.last_transit.replace(transit) {
            let difference = (transit - last).unsigned_abs();
            if difference > CLOCK_JUMP_TICKS {
                // Old transits say nothing about the new ones.
                (self.next, self.filled) = (0, 0);
            } else {
                self.jitter += (difference as f64 - self.jitter) / 16.0;
            }
        }
        self.note(transit);
    }

    /// Takes a frame that came as a copy only: it is as late as that copy, which the network's jitter
    /// has no part in.
    pub(crate) fn handle_copy(&mut self, now: Instant, timestamp: i64) {
        if let Some((start, start_timestamp)) = self.epoch {
            let elapsed = ticks(now.saturating_duration_since(start));
            self.note(elapsed - (timestamp - start_timestamp));
        }
    }

    fn note(&mut self, transit: i64) {
        self.transits[self.next] = transit;
        self.next = (self.next + 1) % LONG_WINDOW;
        self.filled = (self.filled + 1).min(LONG_WINDOW);
        self.update_target();
    }

    /// Takes what became of a frame that was due: played from its packet, or lost.
    pub(crate) fn handle_due(&mut self, lost: bool) {
        let now = if lost { 1.0 } else { 0.0 };
        self.loss += (now - self.loss) * LOSS_WEIGHT;
    }

    /// The delay to aim at, in milliseconds.
    pub(crate) fn target_ms(&self) -> u32 {
        self.target_ms + self.extra_ms
    }

    /// Interarrival jitter, RFC 3550 §6.4.1, in milliseconds.
    pub(crate) fn jitter_ms(&self) -> f32 {
        (self.jitter / TICKS_PER_MS as f64) as f32
    }

    /// How long after its arrival without jitter the sound at `timestamp` plays if it plays at
    /// `at`, in RTP ticks.
    pub(crate) fn delay_ticks(&self, at: Instant, timestamp: i64) -> i64 {
        let Some((start, start_timestamp)) = self.epoch else {
            return 0;
        };
        let elapsed = ticks(at.saturating_duration_since(start));
        elapsed - (timestamp - start_timestamp) - self.base_transit
    }

    /// How far that is above (positive) or below the target, in RTP ticks.
    pub(crate) fn excess_ticks(&self, at: Instant, timestamp: i64) -> i64 {
        self.delay_ticks(at, timestamp) - i64::from(self.target_ms()) * TICKS_PER_MS
    }

    fn update_target(&mut self) {
        let short = self.filled.min(SHORT_WINDOW);
        for n in 0..short {
            self.scratch[n] = self.transits[(self.next + LONG_WINDOW - 1 - n) % LONG_WINDOW];
        }
        let recent = &mut self.scratch[..short];
        self.base_transit = recent.iter().copied().min().unwrap_or(0);
        let now = percentile(recent, SHORT_PERCENTILE);
        let mut needed = now;
        let mut repair = i64::MIN;
        if self.loss > REPAIR_LOSS {
            repair = percentile(recent, REPAIR_PERCENTILE);
        }
        if self.filled > short {
            let long = &mut self.scratch[..self.filled];
            long.copy_from_slice(&self.transits[..self.filled]);
            needed = needed.max(percentile(long, LONG_PERCENTILE));
        }
        let above_base = |transit: i64| transit.saturating_sub(self.base_transit) / TICKS_PER_MS;
        let wanted = (above_base(needed) + PLAYOUT_MS)
            .max(above_base(repair).saturating_add(PLAYOUT_MS + FRAME_MS as i64));
        let bounded = wanted.clamp(i64::from(MIN_DELAY_MS), i64::from(MAX_DELAY_MS));
        self.target_ms = u32::try_from(bounded).unwrap_or(MIN_DELAY_MS);
    }
}

/// The value that `percent` percent of `values` do not exceed; reorders them.
fn percentile(values: &mut [i64], percent: usize) -> i64 {
    if values.is_empty() {
        return 0;
    }
    let rank = (values.len() * percent / 100).min(values.len() - 1);
    *values.select_nth_unstable(rank).1
}

fn ticks(duration: Duration) -> i64 {
    let ticks = duration.as_nanos() * u128::from(SAMPLE_RATE_HZ) / 1_000_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}
