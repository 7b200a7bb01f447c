//! Token buckets: how much of something is taken from one member.
//!
//! A [`Bucket`] stores one instant: when it will be full again (the generic cell rate algorithm,
//! ITU-T I.371). What would move it further than a whole burst ahead is refused.

use std::time::{Duration, Instant};

/// How much is allowed: `burst` at once, then one per `refill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Allowed at once after a pause.
    pub(crate) burst: u32,
    /// Time until one more is allowed.
    pub(crate) refill: Duration,
}

/// What one member used of a [`Rate`]; starts full.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes `count`, or nothing and gives false where there is not enough.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate, count: u32) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.refill * count;
        let is_allowed = full_at.duration_since(now) <= rate.refill * rate.burst;
        if is_allowed {
            self.full_at = Some(full_at);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_per_refill() {
        let rate = Rate {
            burst: 3,
            refill: Duration::from_millis(500),
        };
        let mut bucket = Bucket::default();
        let start = Instant::now();
        let cases = [
            (0, 4, false),
            (0, 2, true),
            (0, 1, true),
            (499, 1, false),
            (500, 1, true),
            (501, 1, false),
            (1_500, 2, true),
            (10_000, 3, true),
            (10_000, 1, false),
        ];
        for (at_ms, count, want) in cases {
            let now = start + Duration::from_millis(at_ms);
            assert_eq!(bucket.take(now, rate, count), want, "{count} at {at_ms} ms");
        }
    }
}
