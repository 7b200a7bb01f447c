//! What is said to a member about how large their picture is shown, in a mesh. Pure.
//!
//! Deliberately not here: what is shown ([`crate::subscriptions`]), and what the member makes of it
//! ([`super::picture`]).

use std::time::{Duration, Instant};

/// Least time between two sizes. A window that is being resized changes every frame, and each size
/// goes through the server and may cost a keyframe.
const INTERVAL: Duration = Duration::from_millis(500);

/// What one member was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown {
    told: Option<(u32, u32)>,
    at: Option<Instant>,
}

impl Shown {
    /// They may not know what they were told.
    pub(crate) fn forget_told(&mut self) {
        self.told = None;
    }

    /// The size to tell now, in pixels; `wanted` is the size as it should be, if it is known.
    pub(crate) fn poll(&mut self, now: Instant, wanted: Option<(u32, u32)>) -> Option<(u32, u32)> {
        if !self.is_news(wanted) || self.at.is_some_and(|at| now < at + INTERVAL) {
            return None;
        }
        self.told = wanted;
        self.at = Some(now);
        wanted
    }

    /// When [`Shown::poll`] may tell what it could not at the last call.
    pub(crate) fn timeout(&self, wanted: Option<(u32, u32)>) -> Option<Instant> {
        self.at
            .filter(|_| self.is_news(wanted))
            .map(|at| at + INTERVAL)
    }

    fn is_news(&self, wanted: Option<(u32, u32)>) -> bool {
        wanted.is_some() && wanted != self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_once_and_at_a_bounded_rate() {
        let start = Instant::now();
        let mut shown = Shown::default();
        assert_eq!(shown.poll(start, None), None, "nothing is known");
        let mut told = Vec::new();
        for ms in 0..2_000 {
            let now = start + Duration::from_millis(ms);
            let wanted = Some((100 + (ms as u32).min(700), 90));
            told.extend(shown.poll(now, wanted).map(|(width, _)| (ms, width)));
        }
        assert_eq!(told, [(0, 100), (500, 600), (1_000, 800)]);
        assert_eq!(shown.timeout(Some((800, 90))), None);
        shown.forget_told();
        let due = start + Duration::from_millis(1_500);
        assert_eq!(shown.timeout(Some((800, 90))), Some(due));
        assert_eq!(shown.poll(due, Some((800, 90))), Some((800, 90)));
    }
}
