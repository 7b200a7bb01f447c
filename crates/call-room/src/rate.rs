//! Token buckets.
//!
//! A [`Bucket`] stores one instant: when it will be full again. Taking a token moves that instant
//! one refill period on; a take that would move it further than a whole burst ahead is refused.
//! This is the generic cell rate algorithm (ITU-T I.371), exact in integers.

use std::time::{Duration, Instant};

/// How many events are allowed: `burst` at once, then one per `refill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events allowed at once after a pause; 0 refuses everything.
    pub burst: u32,
    /// Time until one more event is allowed.
    pub refill: Duration,
}

impl Rate {
    /// `burst` at once, then `per_second` (at least 1) each second.
    pub const fn per_second(burst: u32, per_second: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        Self {
            burst,
            refill: Duration::from_nanos(1_000_000_000 / per_second as u64),
        }
    }

    /// Time in which an empty bucket fills up.
    pub(crate) fn fill_time(self) -> Duration {
        self.refill.saturating_mul(self.burst)
    }
}

/// One counted party; starts full.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one token; false when there is none.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.refill;
        if full_at.duration_since(now) > rate.fill_time() {
            return false;
        }
        self.full_at = Some(full_at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_one_per_refill() {
        let rate = Rate::per_second(3, 2);
        let mut bucket = Bucket::default();
        let start = Instant::now();
        let at_ms = |ms| start + Duration::from_millis(ms);
        let cases = [
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (499, false),
            (500, true),
            (501, false),
            (1_000, true),
            (10_000, true),
            (10_000, true),
            (10_000, true),
            (10_000, false),
        ];
        for (index, (ms, want)) in cases.into_iter().enumerate() {
            assert_eq!(
                bucket.take(at_ms(ms), rate),
                want,
                "case {index} at {ms} ms"
            );
        }
    }

    #[test]
    fn no_burst_refuses_everything() {
        let mut bucket = Bucket::default();
        assert!(!bucket.take(Instant::now(), Rate::per_second(0, 10)));
    }
}
