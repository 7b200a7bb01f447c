//! When a screen is looked at, and which looks become pictures. Pure.
//!
//! Most of the time a screen stands still or changes a little at a time (somebody types), and now and
//! then something moves for a while (a film, a scrolled page). So it is looked at [`CALM`] times a
//! second; while it changes at nearly every look, [`BUSY`] times. A look that finds a change is a
//! picture, and so is one each [`STILL`]: an encoder needs pictures to sharpen what it sent blurred,
//! and to answer who asks for a keyframe.
//!
//! Invariants: at most [`BUSY`] looks and at least one picture each [`STILL`], unless looking takes so
//! long that it would cost more than [`COST_SHARE`] of a processor.

use std::time::{Duration, Instant};

/// Between looks while little changes, 15 a second. Shorter follows typing better and costs more.
const CALM: Duration = Duration::from_micros(66_667);
/// Between looks while something moves: 30 a second, which is what is worth sending.
const BUSY: Duration = Duration::from_micros(33_333);
/// Between pictures of a screen that stands still, 5 a second. Longer lets those wait who join,
/// shorter encodes the same again and again.
const STILL: Duration = Duration::from_millis(200);
/// Changes in a row from which on something moves: a third of a second.
const MOVES_AFTER: u32 = 5;
/// Looks without a change in a row after which it does not move any more: film has 24 pictures a
/// second, so every fifth look of 30 finds none.
const STANDS_AFTER: u32 = 4;
/// Looking may take this share of a processor: what takes 10 ms is done 25 times a second at most.
const COST_SHARE: u32 = 4;

/// What becomes of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A picture.
    Picture,
    /// Nothing.
    Skip,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Pace {
    next_look: Instant,
    pictured_at: Option<Instant>,
    changes: u32,
    stands: u32,
    moves: bool,
}

impl Pace {
    /// The first look is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next_look: now,
            pictured_at: None,
            changes: 0,
            stands: 0,
            moves: false,
        }
    }

    /// When to look next.
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// A look at `now` found a change or none; `cost` is what the last one took, its picture
    /// included.
    pub(super) fn handle_look(&mut self, now: Instant, changed: bool, cost: Duration) -> Verdict {
        if changed {
            self.changes += 1;
            self.stands = 0;
            self.moves |= self.changes >= MOVES_AFTER;
        } else {
            self.stands += 1;
            if self.stands >= STANDS_AFTER {
                self.moves = false;
                self.changes = 0;
            }
        }
        let interval = if self.moves { BUSY } else { CALM };
        let due = self.next_look + interval;
        // Behind schedule nothing is made up for.
        self.next_look = due.max(now + cost * (COST_SHARE - 1)).max(now);
        let is_stale = self
            .pictured_at
            .is_none_or(|at| now.saturating_duration_since(at) >= STILL);
        if changed || is_stale {
            self.pictured_at = Some(now);
            Verdict::Picture
        } else {
            Verdict::Skip
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures in each of the seconds, where `changes(ms)` tells whether the screen changed since
    /// the look before.
    fn rates(seconds: usize, cost: Duration, mut changes: impl FnMut(u64) -> bool) -> Vec<u32> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut rates = vec![0; seconds];
        loop {
            let now = pace.next_look();
            let passed = now.duration_since(start);
            let Some(rate) = rates.get_mut(passed.as_secs() as usize) else {
                return rates;
            };
            let changed = changes(passed.as_millis() as u64);
            if pace.handle_look(now, changed, cost) == Verdict::Picture {
                *rate += 1;
            }
        }
    }

    #[test]
    fn the_rate_follows_what_happens() {
        let still = rates(3, Duration::ZERO, |_| false);
        assert!(still.iter().all(|rate| (4..=5).contains(rate)), "{still:?}");
        // A film from the second second on.
        let mut last = 0;
        let film = rates(5, Duration::ZERO, |ms| {
            let picture = ms.saturating_sub(1_000) * 24 / 1_000;
            std::mem::replace(&mut last, picture) != picture
        });
        assert!(
            film[2..].iter().all(|rate| (22..=25).contains(rate)),
            "{film:?}"
        );
        // Everything moves: 30, and not more.
        let motion = rates(4, Duration::ZERO, |_| true);
        assert!(
            motion[1..].iter().all(|rate| (29..=31).contains(rate)),
            "{motion:?}"
        );
        // Somebody types eight characters a second.
        let mut last = 0;
        let typing = rates(4, Duration::ZERO, |ms| {
            let typed = ms / 125;
            std::mem::replace(&mut last, typed) != typed
        });
        assert!(
            typing[1..].iter().all(|rate| (8..=12).contains(rate)),
            "{typing:?}"
        );
    }

    #[test]
    fn looking_takes_a_quarter_of_a_processor_at_most() {
        let slow = rates(4, Duration::from_millis(25), |_| true);
        assert!(slow.iter().all(|rate| *rate <= 14), "{slow:?}");
        let very_slow = rates(4, Duration::from_millis(250), |_| true);
        assert!(very_slow.iter().all(|rate| *rate <= 2), "{very_slow:?}");
    }

    #[test]
    fn what_stopped_moving_is_looked_at_less() {
        let mut looks = 0;
        rates(4, Duration::ZERO, |ms| {
            looks += u32::from(ms >= 3_000);
            ms < 2_000
        });
        assert!((14..=16).contains(&looks), "{looks}");
    }
}
