//! Notices that the machine was asleep.
//!
//! On Linux and macOS the monotonic clock stands still meanwhile and the wall clock does not; on
//! Windows both go on, and what shows is that a tick came late. Setting the wall clock forward looks
//! the same as the former, which costs one new connection to the server that nobody notices.

use std::time::{Duration, Instant};

/// How far the wall clock must get ahead of the monotonic one. Raising it misses naps after which
/// connections may be gone, lowering it takes small corrections of the clock for one.
const JUMP: Duration = Duration::from_secs(5);
/// How late a tick must come. A machine under load is late by less; the server gives connections up
/// after 15 s.
const STALL: Duration = Duration::from_secs(10);
/// How often time must be handed in for that, while it matters.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// Compares the clocks.
#[derive(Debug)]
pub(crate) struct SleepWatch {
    at: Instant,
    unix_ms: u64,
    is_ticking: bool,
}

impl SleepWatch {
    pub(crate) fn new(now: Instant, unix_ms: u64) -> Self {
        Self {
            at: now,
            unix_ms,
            is_ticking: false,
        }
    }

    /// When time must be handed in again at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.is_ticking.then_some(self.at + TICK)
    }

    /// What the clocks say now; `is_ticking`: time will be handed in at [`due`](Self::due). Gives
    /// whether the machine slept since the last call.
    pub(crate) fn handle_time(&mut self, now: Instant, unix_ms: u64, is_ticking: bool) -> bool {
        let passed = now.saturating_duration_since(self.at);
        let wall_passed = Duration::from_millis(unix_ms.saturating_sub(self.unix_ms));
        let was_ticking = std::mem::replace(&mut self.is_ticking, is_ticking);
        (self.at, self.unix_ms) = (now, unix_ms);
        wall_passed > passed + JUMP || was_ticking && passed > STALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_shows_in_either_clock() {
        let start = Instant::now();
        let hour_ms = 3_600_000;
        // Milliseconds by the monotonic and by the wall clock, whether ticks were due, and the answer.
        let cases = [
            (1_000, 1_000, true, false),
            (1_000, hour_ms, true, true),
            (1_000, hour_ms, false, true),
            (1_000, 5_900, true, false),
            (9_900, 9_900, true, false),
            (11_000, 11_000, true, true),
            (hour_ms, hour_ms, false, false),
            (1_000, 0, true, false),
        ];
        for (passed_ms, wall_ms, is_ticking, want) in cases {
            let mut watch = SleepWatch::new(start, hour_ms);
            assert!(!watch.handle_time(start, hour_ms, is_ticking));
            assert_eq!(watch.due(), is_ticking.then_some(start + TICK));
            let now = start + Duration::from_millis(passed_ms);
            let slept = watch.handle_time(now, hour_ms + wall_ms, true);
            assert_eq!(slept, want, "{passed_ms} {wall_ms} {is_ticking}");
        }
        // The clock was set back: what follows is judged by itself.
        let mut watch = SleepWatch::new(start, hour_ms);
        watch.handle_time(start, 0, true);
        assert!(!watch.handle_time(start + TICK, 1_000, true));
    }
}
