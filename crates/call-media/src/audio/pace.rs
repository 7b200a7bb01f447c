//! Deadlines: the 10 ms tick that never drifts, and the pause between attempts.

use std::time::{Duration, Instant};

use super::format::BLOCK_DURATION;

/// A ticker further behind than this gives up the missed ticks: the machine slept, and nobody
/// wants the sound of that time.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Absolute 10 ms ticks from a start: lateness of one tick never moves the next.
#[derive(Clone, Debug)]
pub(crate) struct BlockTicker {
    start: Instant,
    ticks: u32,
}

impl BlockTicker {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, ticks: 0 }
    }

    /// When the next tick is due.
    pub(crate) fn next_due(&self) -> Instant {
        self.start + BLOCK_DURATION * self.ticks
    }

    /// The tick's due time if it has come, at most one per call.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next_due();
        if now < due {
            return None;
        }
        if now.duration_since(due) > CATCH_UP {
            *self = Self {
                start: now,
                ticks: 1,
            };
            return Some(now);
        }
        self.ticks += 1;
        if self.ticks == u32::MAX {
            *self = Self {
                start: due + BLOCK_DURATION,
                ticks: 0,
            };
        }
        Some(due)
    }
}

/// Pause before opening a device again: 1 s, doubling to 5 s; back to 1 s once it worked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = Self::FIRST * (1 << self.failures.min(3));
        self.failures = self.failures.saturating_add(1);
        pause.min(Self::LONGEST)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_polls_do_not_move_later_ticks() {
        let start = Instant::now();
        let mut ticker = BlockTicker::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(ticker.poll(at(0)), Some(at(0)));
        assert_eq!(ticker.poll(at(9)), None);
        assert_eq!(ticker.poll(at(37)), Some(at(10)));
        assert_eq!(ticker.poll(at(37)), Some(at(20)));
        assert_eq!(ticker.poll(at(37)), Some(at(30)));
        assert_eq!(ticker.poll(at(37)), None);
        assert_eq!(ticker.next_due(), at(40));
    }

    #[test]
    fn a_long_sleep_is_skipped() {
        let start = Instant::now();
        let mut ticker = BlockTicker::new(start);
        let woken = start + Duration::from_secs(60);
        assert_eq!(ticker.poll(woken), Some(woken));
        assert_eq!(ticker.poll(woken), None);
        assert_eq!(ticker.next_due(), woken + BLOCK_DURATION);
    }

    #[test]
    fn pauses_grow_to_five_seconds() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> = (0..5).map(|_| backoff.next_pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next_pause().as_secs(), 1);
    }
}
