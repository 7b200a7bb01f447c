//! How long packets queue: one-way delay over the least one seen lately, as LEDBAT measures it
//! (RFC 6817, section 3). The clocks of the two ends need not agree; only differences count.
//!
//! Deliberately not here: what follows from it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A minimum is remembered for one to two of these. Longer forgets a shorter path's delay too late
/// after a change of route and lets clocks drift apart (at 50 ppm 1 ms per 20 s); shorter takes a
/// standing queue for the path. The rate control empties its own queue several times in this time.
const BUCKET: Duration = Duration::from_secs(10);
/// Samples whose least counts as the present delay, so that jitter is not taken for a queue
/// (RFC 6817: CURRENT_FILTER, at least one, 4 here: one every 2 ms).
const CURRENT: usize = 4;

/// The least value of the last one to two buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Least {
    began: Option<Instant>,
    current: Option<i64>,
    previous: Option<i64>,
}

impl Least {
    pub(crate) fn handle_sample(&mut self, now: Instant, value: i64) {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) >= BUCKET {
            self.previous = self.current.take();
            self.began = Some(now);
        }
        self.current = Some(self.current.map_or(value, |least| least.min(value)));
    }

    pub(crate) fn get(&self) -> Option<i64> {
        self.current.into_iter().chain(self.previous).min()
    }
}

/// See the module's text. Microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueDelay {
    base: Least,
    recent: VecDeque<i64>,
}

impl QueueDelay {
    /// Takes the difference of arrival and sending, each on its own clock, and returns how much of
    /// it was queueing.
    pub(crate) fn handle_sample(&mut self, now: Instant, delay_us: i64) -> Duration {
        self.base.handle_sample(now, delay_us);
        if self.recent.len() == CURRENT {
            self.recent.pop_front();
        }
        self.recent.push_back(delay_us);
        self.over_base(delay_us)
    }

    /// The present queueing delay.
    pub(crate) fn current(&self) -> Duration {
        let least = self.recent.iter().min();
        least.map_or(Duration::ZERO, |least| self.over_base(*least))
    }

    fn over_base(&self, delay_us: i64) -> Duration {
        let over = delay_us.saturating_sub(self.base.get().unwrap_or(delay_us));
        Duration::from_micros(u64::try_from(over).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_what_exceeds_the_least_delay_whatever_the_clocks_say() {
        for offset in [-5_000_000_i64, 0, 5_000_000] {
            let mut now = Instant::now();
            let mut queue = QueueDelay::default();
            for (delay, sample_ms, current_ms) in [
                (30, 0, 0),
                (45, 15, 0),
                (20, 0, 0),
                (50, 30, 0),
                (50, 30, 0),
                (50, 30, 0),
                (50, 30, 30),
            ] {
                now += Duration::from_millis(2);
                let sample = queue.handle_sample(now, offset + delay * 1_000);
                assert_eq!(sample.as_millis(), sample_ms);
                assert_eq!(queue.current().as_millis(), current_ms);
            }
        }
    }

    #[test]
    fn a_longer_route_is_believed_after_two_buckets() {
        let start = Instant::now();
        let mut least = Least::default();
        least.handle_sample(start, 10);
        for second in 1..=30 {
            least.handle_sample(start + Duration::from_secs(second), 90);
            let want = if second < 20 { 10 } else { 90 };
            assert_eq!(least.get(), Some(want), "after {second} s");
        }
    }
}
