//! What must hold for a while before anything follows from it. Pure.

use std::time::{Duration, Instant};

/// For how long something has been so; `None` while it is not. `since` is kept for the next call.
pub(crate) fn lasting(since: &mut Option<Instant>, now: Instant, is_so: bool) -> Option<Duration> {
    if !is_so {
        *since = None;
        return None;
    }
    let since = *since.get_or_insert(now);
    Some(now.saturating_duration_since(since))
}

/// With which patience [`Stepped`] goes up and down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The most steps.
    pub(crate) most: usize,
    /// How long it must be bad before each step up.
    pub(crate) bad_for: Duration,
    /// How long it must be good before each step down.
    pub(crate) good_for: Duration,
}

/// A number of steps, one more each time something was bad for long enough, one less each time it
/// was good.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stepped {
    steps: usize,
    bad_since: Option<Instant>,
    good_since: Option<Instant>,
}

impl Stepped {
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    pub(crate) fn handle(&mut self, now: Instant, is_bad: bool, is_good: bool, with: Patience) {
        let is_due = |since: &mut Option<Instant>, is_so, least| {
            let is_due = lasting(since, now, is_so).is_some_and(|lasted| lasted >= least);
            if is_due {
                *since = Some(now);
            }
            is_due
        };
        if is_due(&mut self.bad_since, is_bad, with.bad_for) {
            self.steps = (self.steps + 1).min(with.most);
        }
        if is_due(&mut self.good_since, is_good, with.good_for) {
            self.steps = self.steps.saturating_sub(1);
        }
    }
}
