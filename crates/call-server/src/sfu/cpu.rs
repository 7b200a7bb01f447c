//! The CPU time of a thread, for `/metrics`.

use std::time::{Duration, Instant};

/// Between looks at the clock of the system.
const EVERY: Duration = Duration::from_millis(100);

/// The calling thread's CPU time. Zero where the system does not tell.
#[derive(Debug, Default)]
pub(super) struct ThreadClock {
    counted_us: u64,
    looked_at: Option<Instant>,
}

impl ThreadClock {
    /// CPU time since the last call that did not return 0, in microseconds.
    pub(super) fn elapsed_us(&mut self, now: Instant) -> u64 {
        let is_recent = self
            .looked_at
            .is_some_and(|at| now.saturating_duration_since(at) < EVERY);
        if is_recent {
            return 0;
        }
        self.looked_at = Some(now);
        let total = thread_us();
        let elapsed = total.saturating_sub(self.counted_us);
        self.counted_us = total;
        elapsed
    }
}

#[cfg(target_os = "linux")]
fn thread_us() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |time| {
        let time = Duration::from(time);
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    })
}

#[cfg(not(target_os = "linux"))]
fn thread_us() -> u64 {
    0
}
