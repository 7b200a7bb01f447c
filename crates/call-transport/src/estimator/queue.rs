//! How long packets wait at the bottleneck, from their one-way delays alone.
//!
//! The clocks of both ends differ by an unknown offset, so only differences of delays mean anything.
//! What the path takes without a queue, the *base*, is taken from the least delays in each tenth of
//! a second; what the least delay of the last tenth has on top of that is the *standing* queue.
//! Least delays, because a picture's own packets wait for each other, and because jitter only adds to
//! them. The base is a low quantile of the last ten seconds, because the very least would be the
//! luckiest packet and jitter would look like a queue; but it stays close to the least of half a
//! minute, because a queue that lasts would become part of it, and several flows that each
//! believe so build a tower.
//!
//! Invariants: bounded windows; delays may be of any sign.

use std::collections::VecDeque;

/// The standing queue is the least of this long: two pictures and some sound. Longer notices
/// later, shorter takes jitter for a queue.
const WINDOW_MS: f64 = 100.0;
/// A fast look after a sudden drop: a picture and a packet of sound.
const GLANCE_MS: f64 = 45.0;
/// Tenths of a second that are remembered. More survives longer without an empty queue, fewer
/// follow a drifting clock (100 ppm are 3 ms in half a minute) and a longer route sooner.
const BUCKETS: usize = 300;
/// Of which the quantile is taken from so many, and which it is. Higher is less afraid of jitter.
const RECENT_BUCKETS: usize = 100;
const QUANTILE: f64 = 0.1;
/// The least of all are those after the luckiest few.
const LUCKY: usize = 2;
/// How far the quantile may be above the least. More lets queues become part of the base.
const ABOVE_LEAST_MS: f64 = 7.0;
/// A path that became this much faster is another one.
const FASTER_MS: f64 = 8.0;
/// For that many tenths.
const FASTER_BUCKETS: usize = 3;
/// What arrives within this time arrives at once. Longer takes what a bottleneck lets through for that.
const AT_ONCE_MS: f64 = 10.0;
/// Packets that took so much longer than the path waited for each other. Lower couples what jitter delays.
const WAITED_MS: f64 = 8.0;
/// How long a train has a rate that no other measure knows better.
const TRAIN_MS: (f64, f64) = (40.0, 400.0);
/// Delays kept for the windows: 8 Mbit/s of small packets in a tenth of a second.
const MAX_SAMPLES: usize = 2_048;

#[derive(Clone, Copy, Debug)]
struct Sample {
    arrived_ms: f64,
    delay_ms: f64,
    bytes: usize,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct QueueDelay {
    recent: VecDeque<Sample>,
    buckets: VecDeque<f64>,
    current: Option<(f64, f64)>,
    base_ms: Option<f64>,
    train: Option<Train>,
}

/// Packets that waited for each other.
#[derive(Clone, Copy, Debug)]
struct Train {
    /// When the bottleneck began with the first of them.
    from_ms: f64,
    arrived_ms: f64,
    bytes: usize,
}

impl QueueDelay {
    /// A packet that arrived at `arrived_ms` on the receiver's clock, `delay_ms` after it was sent
    /// on the sender's.
    pub(super) fn handle_packet(&mut self, arrived_ms: f64, delay_ms: f64, bytes: usize) {
        self.recent.push_back(Sample {
            arrived_ms,
            delay_ms,
            bytes,
        });
        while self.recent.len() > MAX_SAMPLES
            || self
                .recent
                .front()
                .is_some_and(|sample| sample.arrived_ms < arrived_ms - WINDOW_MS)
        {
            self.recent.pop_front();
        }
        match &mut self.current {
            Some((from_ms, least_ms)) if arrived_ms < *from_ms + WINDOW_MS => {
                *least_ms = least_ms.min(delay_ms);
            }
            current => {
                let done = current.replace((arrived_ms, delay_ms));
                if let Some((_, least_ms)) = done {
                    self.close(least_ms);
                }
            }
        }
        let base_ms = self.base_ms.get_or_insert(delay_ms);
        if self.buckets.len() < FASTER_BUCKETS {
            *base_ms = base_ms.min(delay_ms);
        }
        let above_ms = delay_ms - *base_ms;
        self.couple(arrived_ms, above_ms, bytes);
    }

    fn couple(&mut self, arrived_ms: f64, above_ms: f64, bytes: usize) {
        if above_ms < WAITED_MS {
            self.train = None;
            return;
        }
        let train = self.train.get_or_insert(Train {
            from_ms: arrived_ms - above_ms,
            arrived_ms,
            bytes: 0,
        });
        train.arrived_ms = arrived_ms;
        train.bytes += bytes;
    }

    /// What the bottleneck carries by the packets that wait for each other at the moment; `None` where
    /// they are too few, or so many that any rate says the same.
    pub(super) fn train_bps(&self) -> Option<f64> {
        let train = self.train?;
        let span_ms = train.arrived_ms - train.from_ms;
        let is_short = (TRAIN_MS.0..=TRAIN_MS.1).contains(&span_ms);
        is_short.then(|| train.bytes as f64 * 8e3 / span_ms)
    }

    fn close(&mut self, least_ms: f64) {
        if self.buckets.len() == BUCKETS {
            self.buckets.pop_front();
        }
        self.buckets.push_back(least_ms);
        let is_faster = |least: &f64| self.base_ms.is_some_and(|base| *least < base - FASTER_MS);
        let latest = self.buckets.iter().rev().take(FASTER_BUCKETS);
        if latest.filter(|least| is_faster(least)).count() == FASTER_BUCKETS {
            self.buckets.drain(..self.buckets.len() - FASTER_BUCKETS);
        }
        let ranked = |count: usize, rank: usize| {
            let mut latest: Vec<f64> = self.buckets.iter().rev().take(count).copied().collect();
            latest.sort_by(f64::total_cmp);
            latest[rank.min(latest.len() - 1)]
        };
        let recent = self.buckets.len().min(RECENT_BUCKETS);
        let quantile_ms = ranked(recent, (recent as f64 * QUANTILE) as usize);
        let lucky = LUCKY.min(self.buckets.len() / FASTER_BUCKETS);
        let least_ms = ranked(self.buckets.len(), lucky);
        self.base_ms = Some(quantile_ms.min(least_ms + ABOVE_LEAST_MS));
    }

    /// The standing queue in milliseconds.
    pub(super) fn standing_ms(&self) -> f64 {
        self.least_above_base(WINDOW_MS)
    }

    /// The same over a shorter time, so more often too much.
    pub(super) fn glance_ms(&self) -> f64 {
        self.least_above_base(GLANCE_MS)
    }

    /// The most, in milliseconds at `rate_bps`, of what was sent over that long and arrived all at once
    /// in the last tenth of a second. Nothing leaves a bottleneck faster than it carries, so what
    /// lets through several times the rate at once held packets back without being one.
    pub(super) fn clump_ms(&self, rate_bps: f64) -> f64 {
        let mut first = 0;
        // Behind the first, which had passed when it arrived.
        let mut bytes = 0;
        let mut most_ms: f64 = 0.0;
        for (at, sample) in self.recent.iter().enumerate().skip(1) {
            bytes += sample.bytes;
            while first < at && self.recent[first].arrived_ms < sample.arrived_ms - AT_ONCE_MS {
                first += 1;
                bytes -= self.recent[first].bytes;
            }
            let earliest = self.recent[first];
            let arrived_over_ms = sample.arrived_ms - earliest.arrived_ms;
            let sent_over_ms = arrived_over_ms + earliest.delay_ms - sample.delay_ms;
            let worth_ms = bytes as f64 * 8e3 / rate_bps;
            most_ms = most_ms.max(sent_over_ms.min(worth_ms));
        }
        most_ms
    }

    /// What stands now is the path's, not a queue of ours.
    pub(super) fn rebase(&mut self) {
        let standing_ms = self.standing_ms();
        if let Some(base_ms) = &mut self.base_ms {
            *base_ms += standing_ms;
            self.buckets.clear();
            self.buckets.extend([*base_ms; FASTER_BUCKETS]);
        }
    }

    fn least_above_base(&self, window_ms: f64) -> f64 {
        let (Some(newest), Some(base_ms)) = (self.recent.back(), self.base_ms) else {
            return 0.0;
        };
        let samples = self.recent.iter().rev();
        let least_ms = samples
            .take_while(|sample| sample.arrived_ms >= newest.arrived_ms - window_ms)
            .map(|sample| sample.delay_ms)
            .fold(f64::MAX, f64::min);
        (least_ms - base_ms).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet every 10 ms from a time on, with the delay of its index; returns the time after.
    fn feed(
        queue: &mut QueueDelay,
        from_ms: f64,
        count: usize,
        delay_ms: impl Fn(usize) -> f64,
    ) -> f64 {
        for index in 0..count {
            queue.handle_packet(from_ms + index as f64 * 10.0, delay_ms(index), 1_200);
        }
        from_ms + count as f64 * 10.0
    }

    #[test]
    fn the_standing_queue_is_what_even_the_fastest_packet_waits() {
        let mut queue = QueueDelay::default();
        // An unknown offset of the clocks, and pictures whose later packets wait up to 30 ms.
        let at = feed(&mut queue, 0.0, 200, |index| {
            -5_000.0 + (index % 4) as f64 * 10.0
        });
        assert!(queue.standing_ms() < 0.1);
        let at = feed(&mut queue, at, 20, |index| {
            -4_980.0 + (index % 4) as f64 * 10.0
        });
        assert!((queue.standing_ms() - 20.0).abs() < 0.1);
        let at = feed(&mut queue, at, 5, |_| -4_900.0);
        assert!((queue.glance_ms() - 100.0).abs() < 0.1, "sooner");
        assert!(queue.standing_ms() < 21.0, "and later");
        feed(&mut queue, at, 20, |_| -5_000.0);
        assert!(queue.standing_ms() < 0.1);
    }

    #[test]
    fn what_was_sent_apart_and_comes_together_is_a_clump() {
        // 1 200 bytes each 10 ms are 960 kbit/s.
        let mut even = QueueDelay::default();
        feed(&mut even, 0.0, 10, |_| 50.0);
        assert!(even.clump_ms(960_000.0) <= 10.0);
        // A bottleneck of that rate lets through what was sent twice as fast.
        let mut full = QueueDelay::default();
        feed(&mut full, 0.0, 10, |index| 50.0 + index as f64 * 5.0);
        assert!(full.clump_ms(960_000.0) <= 10.0);
        // Ten packets of a tenth of a second are held back and come within 9 ms.
        let mut held = QueueDelay::default();
        for index in 0..10 {
            let behind = f64::from(9 - index);
            held.handle_packet(1_000.0 - behind, 50.0 + 9.0 * behind, 1_200);
        }
        assert!((held.clump_ms(960_000.0) - 90.0).abs() < 1.0);
        // Of a faster flow they are worth less, and so are small packets.
        assert!((held.clump_ms(9_600_000.0) - 9.0).abs() < 1.0);
    }

    /// At 150 kbit/s: a packet of sound every 20 ms, and a picture of 1 200 bytes before the tenth.
    #[test]
    fn a_picture_and_the_sound_behind_it_tell_the_rate() {
        let mut queue = QueueDelay::default();
        let rate_bps = 150_000.0;
        let mut free_ms = 0.0_f64;
        let mut send = |at_ms: f64, bytes: usize| {
            free_ms = free_ms.max(at_ms) + bytes as f64 * 8e3 / rate_bps;
            queue.handle_packet(free_ms + 20.0, free_ms + 20.0 - at_ms, bytes);
            queue.train_bps()
        };
        for index in 0..10 {
            assert_eq!(send(f64::from(index) * 20.0, 80), None);
        }
        assert!(send(200.0, 1_200).is_some());
        let told_bps = send(200.0, 80).expect("it waits");
        assert!((0.9..1.1).contains(&(told_bps / rate_bps)), "{told_bps}");
        let rates: Vec<Option<f64>> = (11..20)
            .map(|index| send(f64::from(index) * 20.0, 80))
            .collect();
        assert!(rates[0].is_some());
        assert_eq!(rates.last(), Some(&None), "nothing waits any more");
    }

    #[test]
    fn a_longer_route_becomes_the_base_in_time_and_a_shorter_one_soon() {
        let mut queue = QueueDelay::default();
        let at = feed(&mut queue, 0.0, 500, |_| 50.0);
        let at = feed(&mut queue, at, 500, |_| 80.0);
        assert!(
            (queue.standing_ms() - 30.0).abs() < 0.1,
            "after five seconds"
        );
        let at = feed(&mut queue, at, 1_000, |_| 80.0);
        assert!(queue.standing_ms() > 20.0, "hardly after fifteen");
        let at = feed(&mut queue, at, 2_000, |_| 80.0);
        assert!(queue.standing_ms() < 0.1, "after half a minute");
        let at = feed(&mut queue, at, 50, |_| 40.0);
        feed(&mut queue, at, 20, |_| 55.0);
        assert!((queue.standing_ms() - 15.0).abs() < 0.1, "measured from 40");
    }

    #[test]
    fn rebasing_forgets_the_queue_but_not_what_follows() {
        let mut queue = QueueDelay::default();
        let at = feed(&mut queue, 0.0, 500, |_| 50.0);
        let at = feed(&mut queue, at, 50, |_| 90.0);
        queue.rebase();
        assert!(queue.standing_ms() < 0.1);
        feed(&mut queue, at, 50, |_| 100.0);
        assert!((queue.standing_ms() - 10.0).abs() < 0.1);
    }
}
