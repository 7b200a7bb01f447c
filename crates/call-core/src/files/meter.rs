//! How far a transfer is, how fast it goes, and what of that is due to be told.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What the rate is measured over. Longer is steadier, shorter follows sooner.
const WINDOW: Duration = Duration::from_secs(3);
/// Distance of the samples in it.
const SAMPLE: Duration = Duration::from_millis(200);
/// Shortest time a rate is told from: less says nothing.
const SHORTEST: Duration = Duration::from_millis(400);

/// Counts the bytes of one transfer that the receiver verified.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    done_bytes: u64,
    /// When how much was done; at most [`WINDOW`] / [`SAMPLE`] and one before.
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    pub(crate) fn done_bytes(&self) -> u64 {
        self.done_bytes
    }

    /// So much is done now.
    pub(crate) fn set(&mut self, now: Instant, done_bytes: u64) {
        if done_bytes < self.done_bytes {
            // It began anew.
            self.samples.clear();
        }
        let is_next = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) >= SAMPLE;
        if self.samples.back().is_none_or(is_next) {
            self.samples
                .push_back((now, self.done_bytes.min(done_bytes)));
            self.forget(now);
        }
        self.done_bytes = done_bytes;
    }

    /// What was there before counts for no rate.
    pub(crate) fn start_at(&mut self, done_bytes: u64) {
        self.done_bytes = done_bytes;
        self.samples.clear();
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) >= WINDOW;
        while self.samples.get(1).is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// Bytes per second, of the last [`WINDOW`]; 0 when nothing came for as long.
    pub(crate) fn rate_bytes_per_s(&self, now: Instant) -> u64 {
        let Some((last, _)) = self.samples.back() else {
            return 0;
        };
        if now.saturating_duration_since(*last) >= WINDOW {
            return 0;
        }
        let is_recent = |(at, _): &&(Instant, u64)| now.saturating_duration_since(*at) <= WINDOW;
        let first = self.samples.iter().find(is_recent);
        let Some((since, before)) = first else {
            return 0;
        };
        let time = now.saturating_duration_since(*since).max(SHORTEST);
        let bytes = self.done_bytes.saturating_sub(*before);
        (bytes as f64 / time.as_secs_f64()) as u64
    }

    /// Whether the rate changes by itself: until it has come down to nothing.
    pub(crate) fn is_moving(&self, now: Instant) -> bool {
        let last = self.samples.back();
        last.is_some_and(|(at, _)| now.saturating_duration_since(*at) < WINDOW + SAMPLE)
    }

    /// Seconds until `size_bytes` are done at this rate, rounded up; `None` while nothing flows.
    pub(crate) fn remaining_s(&self, now: Instant, size_bytes: u64) -> Option<u32> {
        let rate = self.rate_bytes_per_s(now);
        let left = size_bytes.saturating_sub(self.done_bytes);
        (rate > 0).then(|| u32::try_from(left.div_ceil(rate)).unwrap_or(u32::MAX))
    }
}

/// Lets a changing number through at most once per interval.
#[derive(Debug)]
pub(crate) struct Pace {
    every: Duration,
    told: u64,
    next_at: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            every,
            told: 0,
            next_at: None,
        }
    }

    /// Whether the number is to be told now; then it counts as told.
    pub(crate) fn is_due(&mut self, now: Instant, number: u64) -> bool {
        let is_due = number != self.told && self.next_at.is_none_or(|at| at <= now);
        if is_due {
            self.mark(now, number);
        }
        is_due
    }

    /// The number is being told otherwise.
    pub(crate) fn mark(&mut self, now: Instant, number: u64) {
        self.told = number;
        self.next_at = Some(now + self.every);
    }

    /// When it is to be told; `None` if it was.
    pub(crate) fn due_at(&self, now: Instant, number: u64) -> Option<Instant> {
        (number != self.told).then(|| self.next_at.unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn the_rate_follows_and_falls_to_nothing() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut meter = Meter::default();
        meter.start_at(500 * MIB);
        assert_eq!(meter.rate_bytes_per_s(at(0)), 0);
        for ms in (0..10_000).step_by(50) {
            meter.set(at(ms), (500 * MIB) + (ms + 50) * MIB / 1_000);
        }
        let rate = meter.rate_bytes_per_s(at(9_950)) as f64 / MIB as f64;
        assert!((0.9..1.1).contains(&rate), "{rate}");
        let left = meter.remaining_s(at(9_950), 520 * MIB).unwrap();
        assert!((9..=11).contains(&left), "{left}");
        let slowing = meter.rate_bytes_per_s(at(11_000));
        assert!(slowing > 0 && (slowing as f64) < 0.9 * rate * MIB as f64);
        assert!(meter.is_moving(at(11_000)));
        assert_eq!(meter.rate_bytes_per_s(at(13_000)), 0);
        assert_eq!(meter.remaining_s(at(13_000), 600 * MIB), None);
        assert!(!meter.is_moving(at(14_000)) && meter.samples.len() <= 18);
        meter.set(at(14_000), 3);
        assert_eq!(
            (meter.done_bytes(), meter.rate_bytes_per_s(at(14_100))),
            (3, 0)
        );
    }

    #[test]
    fn a_number_is_told_once_per_interval() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::new(Duration::from_millis(500));
        assert!(!pace.is_due(at(0), 0));
        let told: Vec<u64> = (0..2_000)
            .step_by(100)
            .filter(|ms| pace.is_due(at(*ms), 1 + ms))
            .collect();
        assert_eq!(told, [0, 500, 1_000, 1_500]);
        assert_eq!(pace.due_at(at(1_900), 1_501), None);
        assert_eq!(pace.due_at(at(1_900), 1_901), Some(at(2_000)));
    }
}
