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
/// (RFC 6817, CURRENT_FILTER), and the time they span at least, so that neither is a process that
/// did not run for a moment. More notice a queue later.
const CURRENT: usize = 8;
const CURRENT_SPAN: Duration = Duration::from_millis(24);
/// Samples kept, should they come faster than that: the oldest are forgotten.
const MOST: usize = 256;
/// The same where it must be noticed soon.
const FEW: usize = 3;
/// Weight of a sample in the jitter (RFC 3550, section 6.4.1).
const JITTER_WEIGHT: f64 = 1.0 / 16.0;

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
    recent: VecDeque<(Instant, i64)>,
    jitter: f64,
}

impl QueueDelay {
    /// Takes the difference of arrival and sending, each on its own clock, and returns how much of
    /// it was queueing and not jitter.
    pub(crate) fn handle_sample(&mut self, now: Instant, delay_us: i64) -> Duration {
        self.base.handle_sample(now, delay_us);
        if let Some((_, last)) = self.recent.back() {
            let change = delay_us.abs_diff(*last) as f64;
            self.jitter += (change - self.jitter) * JITTER_WEIGHT;
        }
        self.recent.push_back((now, delay_us));
        let is_old = |(at, _): &(Instant, i64)| *at + CURRENT_SPAN < now;
        while self.recent.len() > MOST
            || (self.recent.len() > CURRENT && self.recent.front().is_some_and(is_old))
        {
            self.recent.pop_front();
        }
        self.over_base(Some(delay_us))
    }

    /// The present queueing delay.
    pub(crate) fn current(&self) -> Duration {
        self.over_base(self.recent.iter().map(|(_, delay)| *delay).min())
    }

    /// The same of the last few samples and at least of this time: sooner, and taken in by jitter
    /// more often.
    pub(crate) fn over_last(&self, time: Duration) -> Duration {
        let last = self.recent.back().map(|(at, _)| *at);
        let is_recent = |at: Instant| last.is_some_and(|last| at + time >= last);
        let samples = self.recent.iter().rev().enumerate();
        let few = samples.take_while(|(place, (at, _))| *place < FEW || is_recent(*at));
        self.over_base(few.map(|(_, (_, delay))| *delay).min())
    }

    /// How much the delay varies from sample to sample, seconds.
    pub(crate) fn jitter_s(&self) -> f64 {
        self.jitter / 1e6
    }

    /// The path's jitter is subtracted: the base is the luckiest packet of many, others are not.
    fn over_base(&self, delay_us: Option<i64>) -> Duration {
        let over = delay_us.zip(self.base.get());
        let over_us = over.map_or(0, |(delay, base)| delay.saturating_sub(base));
        let over_us = over_us.saturating_sub(self.jitter as i64);
        Duration::from_micros(u64::try_from(over_us).unwrap_or(0))
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
            for delay in [30, 45, 20] {
                now += Duration::from_millis(2);
                queue.handle_sample(now, offset + delay * 1_000);
                assert_eq!(queue.current(), Duration::ZERO);
            }
            for number in 1..=25 {
                now += Duration::from_millis(2);
                let sample = queue.handle_sample(now, offset + 50_000);
                assert!((14..=30).contains(&sample.as_millis()));
                let current = queue.current().as_millis();
                let is_there = number > 12;
                assert_eq!(
                    (25..=30).contains(&current),
                    is_there,
                    "{number}: {current}"
                );
            }
        }
    }

    #[test]
    fn jitter_is_no_queue() {
        let mut now = Instant::now();
        let mut queue = QueueDelay::default();
        let mut random = call_lab::random::Random::new(1);
        let mut above = 0;
        for _ in 0..10_000 {
            now += Duration::from_millis(2);
            queue.handle_sample(now, (random.unit() * 40_000.0) as i64);
            above += usize::from(queue.current() > Duration::from_millis(12));
        }
        assert!(above < 50, "{above} of 10000");
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
