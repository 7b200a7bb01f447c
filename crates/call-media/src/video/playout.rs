//! When each received picture is shown: paced by its own clock, no later than it needs to be.
//!
//! Frames come in as they are completed, unevenly, and go out at the rhythm they were captured
//! in. Each frame's *transit* is its arrival minus its media time; the fastest transit of the last
//! ten to twenty seconds is what the path takes without jitter. A frame is due at its media time
//! plus the fastest transit plus a delay: the larger of
//!
//! * the *jitter delay*, which 98 of 100 frames of the last seconds would have met, and
//! * the *sync delay*, at which the picture is in step with the sound ([`crate::lip_sync`]).
//!
//! The delay moves slowly, so that a change is a slightly faster or slower picture and no jump.
//!
//! Invariants: frames leave in the order they came, each exactly once; a late frame leaves at
//! once; at most [`QUEUE_FRAMES`] wait, beyond that the oldest leaves early. Nothing is dropped,
//! because what follows may depend on it.
//!
//! Deliberately not here: decoding, and the choice which frame a screen refresh shows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most frames waiting: two seconds at 30 frames per second.
pub const QUEUE_FRAMES: usize = 64;
/// Longest delay, in milliseconds: what is lost on a path of half a second there and back, and sent
/// again, is in time. A picture later than this is no conversation.
pub const MAX_DELAY_MS: u32 = 800;
/// Frames the jitter delay looks back on: 4 s at 30 frames per second. More react later to a path
/// that calmed down.
const JITTER_FRAMES: usize = 128;
/// The share of frames, in percent, that the jitter delay is to meet. More wait longer for the
/// few that are late; those are shown late instead.
const PERCENTILE: usize = 98;
/// The fastest transit is forgotten after one to two of these: clocks drift, routes change.
const FASTEST_WINDOW_US: i64 = 10_000_000;
/// Largest step of the delay per frame upwards: a third of the time since the frame before. More is a
/// visible hitch.
const RISE_DIVISOR: i64 = 3;
/// That time at most, in µs: a pause is none of a frame's.
const LONGEST_FRAME_US: i64 = 200_000;
/// Largest step per frame downwards, in µs. Smaller: catching up must not look hurried.
const FALL_US: i64 = 3_000;
/// A transit this different from the one before is another clock, not jitter.
const CLOCK_JUMP_US: i64 = 2_000_000;

/// See the [module documentation](self). `F` is whatever is shown.
#[derive(Debug)]
pub struct VideoPlayout<F> {
    queue: VecDeque<Waiting<F>>,
    clock: Option<TransitClock>,
    delay_us: i64,
    sync_delay_us: i64,
    last_due: Option<Instant>,
}

#[derive(Debug)]
struct Waiting<F> {
    due: Instant,
    timestamp: u32,
    frame: F,
}

impl<F> Default for VideoPlayout<F> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            clock: None,
            delay_us: 0,
            sync_delay_us: 0,
            last_due: None,
        }
    }
}

impl<F> VideoPlayout<F> {
    /// Takes the next frame in decoding order, with its RTP timestamp (90 kHz).
    pub fn handle_frame(&mut self, now: Instant, timestamp: u32, frame: F) {
        let clock = self
            .clock
            .get_or_insert_with(|| TransitClock::new(now, timestamp));
        let frame_us = clock.handle_arrival(now, timestamp);
        let most_us = frame_us.clamp(0, LONGEST_FRAME_US) / RISE_DIVISOR;
        let step = self.wanted_delay_us() - self.delay_us;
        self.delay_us += step.clamp(-FALL_US, most_us);
        let due = self
            .undelayed_at(timestamp)
            .map_or(now, |at| at + micros(self.delay_us));
        let due = self.last_due.map_or(due, |last| due.max(last));
        // A stream that starts over must not wait for where the old one stood.
        let due = due.min(now + Duration::from_millis(u64::from(MAX_DELAY_MS)));
        self.last_due = Some(due);
        self.queue.push_back(Waiting {
            due,
            timestamp,
            frame,
        });
    }

    /// Takes back the frames waiting at the end that are not older than `timestamp`: another way
    /// to go on was found there. Returns how many.
    pub fn retract(&mut self, timestamp: u32) -> usize {
        let is_newer =
            |waiting: &Waiting<F>| waiting.timestamp.wrapping_sub(timestamp).cast_signed() >= 0;
        let mut count = 0;
        while self.queue.pop_back_if(|last| is_newer(last)).is_some() {
            count += 1;
        }
        if count > 0 {
            self.last_due = self.queue.back().map(|last| last.due);
        }
        count
    }

    /// The next frame that is to be shown by `now`.
    pub fn poll_frame(&mut self, now: Instant) -> Option<F> {
        let first = self.queue.front()?;
        if first.due > now && self.queue.len() <= QUEUE_FRAMES {
            return None;
        }
        self.queue.pop_front().map(|waiting| waiting.frame)
    }

    /// When [`Self::poll_frame`] has something next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.front().map(|waiting| waiting.due)
    }

    /// The delay, in µs above the fastest transit, at which the picture is in step with the
    /// sound; 0 or less where the sound need not be waited for.
    pub fn set_sync_delay_us(&mut self, sync_delay_us: i64) {
        self.sync_delay_us = sync_delay_us;
    }

    /// When a frame with this timestamp would be shown without any delay; `None` before the first
    /// frame. May lie in the past.
    pub fn undelayed_at(&self, timestamp: u32) -> Option<Instant> {
        self.clock.as_ref()?.undelayed_at(timestamp)
    }

    /// The delay the jitter of the path asks for, in µs above the fastest transit.
    pub fn jitter_delay_us(&self) -> i64 {
        self.clock.as_ref().map_or(0, TransitClock::percentile_us)
    }

    /// The delay applied to the newest frame, in milliseconds above the fastest transit.
    pub fn delay_ms(&self) -> u32 {
        u32::try_from(self.delay_us / 1_000).unwrap_or(0)
    }

    fn wanted_delay_us(&self) -> i64 {
        let most = i64::from(MAX_DELAY_MS) * 1_000;
        self.jitter_delay_us()
            .max(self.sync_delay_us)
            .clamp(0, most)
    }
}

/// What the path adds on top of its fastest frame.
#[derive(Debug)]
struct TransitClock {
    epoch: Instant,
    last_timestamp: u32,
    /// Media time since the first frame, in 90 kHz ticks that do not wrap.
    ticks: i64,
    last_transit_us: i64,
    /// The smallest transits of this window and of the one before.
    fastest_us: [i64; 2],
    window_began_us: i64,
    /// Transits of the last frames, a ring.
    transits_us: [i64; JITTER_FRAMES],
    count: usize,
    next: usize,
}

impl TransitClock {
    fn new(now: Instant, timestamp: u32) -> Self {
        Self {
            epoch: now,
            last_timestamp: timestamp,
            ticks: 0,
            last_transit_us: 0,
            fastest_us: [0; 2],
            window_began_us: 0,
            transits_us: [0; JITTER_FRAMES],
            count: 0,
            next: 0,
        }
    }

    /// Returns the media time since the frame before, in µs.
    fn handle_arrival(&mut self, now: Instant, timestamp: u32) -> i64 {
        let step = i64::from(timestamp.wrapping_sub(self.last_timestamp).cast_signed());
        self.ticks += step;
        self.last_timestamp = timestamp;
        let elapsed_us = since_us(now, self.epoch);
        let transit_us = elapsed_us - media_us(self.ticks);
        if (transit_us - self.last_transit_us).abs() > CLOCK_JUMP_US {
            *self = Self::new(now, timestamp);
            return self.handle_arrival(now, timestamp);
        }
        self.last_transit_us = transit_us;
        if elapsed_us - self.window_began_us > FASTEST_WINDOW_US {
            self.window_began_us = elapsed_us;
            self.fastest_us = [transit_us, self.fastest_us[0]];
        }
        self.fastest_us[0] = self.fastest_us[0].min(transit_us);
        self.transits_us[self.next] = transit_us;
        self.next = (self.next + 1) % JITTER_FRAMES;
        self.count = (self.count + 1).min(JITTER_FRAMES);
        media_us(step)
    }

    fn fastest_us(&self) -> i64 {
        self.fastest_us[0].min(self.fastest_us[1])
    }

    fn percentile_us(&self) -> i64 {
        let mut transits = self.transits_us;
        let known = &mut transits[..self.count];
        if known.is_empty() {
            return 0;
        }
        let rank = (known.len() - 1) * PERCENTILE / 100;
        let (_, transit_us, _) = known.select_nth_unstable(rank);
        (*transit_us - self.fastest_us()).max(0)
    }

    fn undelayed_at(&self, timestamp: u32) -> Option<Instant> {
        let behind = timestamp.wrapping_sub(self.last_timestamp).cast_signed();
        let at_us = media_us(self.ticks + i64::from(behind)) + self.fastest_us();
        match u64::try_from(at_us) {
            Ok(after_us) => self.epoch.checked_add(Duration::from_micros(after_us)),
            Err(_) => self
                .epoch
                .checked_sub(Duration::from_micros(at_us.unsigned_abs())),
        }
    }
}

fn media_us(ticks: i64) -> i64 {
    ticks * 100 / 9
}

fn since_us(now: Instant, epoch: Instant) -> i64 {
    i64::try_from(now.saturating_duration_since(epoch).as_micros()).unwrap_or(i64::MAX)
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

#[cfg(test)]
#[path = "playout_tests.rs"]
mod tests;
