//! What a receiver's bandwidth estimator is told to look for.
//!
//! An estimator finds out what a link carries by what is sent, and probes beyond that when more is
//! wanted than before. Told too much it floods a narrow link, told too seldom it leaves pictures
//! small on a link that got wider.
//!
//! Deliberately not here: estimating, and what the pictures are given ([`super::allocate`]).

use std::time::{Duration, Instant};

/// By how much what is worth probing for must change to be told, in percent. What layers cost
/// wavers; each increase told is a probe.
const TOLD_PERCENT: u64 = 25;
/// At most this many times the estimate is told to be worth probing for: an estimator sends probes
/// of twice what it is told, and a link that is full drops sound then. What is found raises the
/// next step.
const PROBE_FACTOR: u64 = 2;
/// By how much more is asked for each time what was asked for is not there, in bits per second.
const ASK_STEP_BPS: u64 = 1_000;
/// How often an estimator is told to look for the bandwidth that is missing. Left alone it does
/// every 5 s at most, too late for whoever waits for their picture to get sharp again; more often
/// costs a narrow link a larger part of what it has.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// What one receiver's estimator was told.
#[derive(Debug, Default)]
pub(super) struct Probing {
    told_bps: Option<u64>,
    ask_again_at: Option<Instant>,
}

impl Probing {
    /// What to tell, if anything: `desired_bps` would show everything as large as wanted,
    /// `estimate_bps` is what the link was found to carry.
    pub(super) fn update(
        &mut self,
        now: Instant,
        desired_bps: u64,
        estimate_bps: Option<u64>,
    ) -> Option<u64> {
        let told = self.told_bps.unwrap_or(0);
        let is_lacking = estimate_bps.is_some_and(|estimate| estimate < desired_bps);
        let worth_bps = estimate_bps.map_or(desired_bps, |estimate| {
            desired_bps.min(estimate.saturating_mul(PROBE_FACTOR))
        });
        let is_changed =
            worth_bps.abs_diff(told).saturating_mul(100) > told.saturating_mul(TOLD_PERCENT);
        let asks_again = is_lacking && self.ask_again_at.is_none_or(|at| now >= at);
        if !is_changed && !asks_again {
            return None;
        }
        self.ask_again_at = Some(now + ASK_AGAIN);
        // Only an increase is looked for.
        let step_bps = if is_changed {
            worth_bps
        } else {
            told.max(worth_bps).saturating_add(ASK_STEP_BPS)
        };
        self.told_bps = Some(step_bps);
        self.told_bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_asked_for_again_and_within_bounds() {
        let start = Instant::now();
        let mut probing = Probing::default();
        let cases = [
            // (ms, desired, estimate) and what is told.
            (0, 0, None, None),
            (100, 2_000, None, Some(2_000)),
            (600, 2_100, None, None),
            (1_100, 2_000, Some(1_900), None),
            (2_200, 2_000, Some(1_900), Some(2_001)),
            (4_100, 2_000, Some(1_900), None),
            (4_200, 2_000, Some(1_900), Some(2_002)),
            // Enough: nothing is asked for.
            (9_000, 2_000, Some(2_500), None),
            // A link that got narrow is not flooded.
            (9_100, 2_000, Some(400), Some(800)),
            (9_600, 2_000, Some(420), None),
            (11_100, 2_000, Some(420), Some(841)),
            // One that gets wide again is followed at once.
            (11_300, 2_000, Some(840), Some(1_680)),
            (11_500, 2_000, Some(1_700), None),
            (11_600, 3_000, Some(1_700), Some(3_000)),
            // Nothing is wanted any more.
            (12_000, 50, Some(1_700), Some(50)),
        ];
        for (ms, desired_kbps, estimate_kbps, want_kbps) in cases {
            let now = start + Duration::from_millis(ms);
            let estimate_bps = estimate_kbps.map(|kbps: u64| kbps * 1_000);
            let told = probing.update(now, desired_kbps * 1_000, estimate_bps);
            assert_eq!(told, want_kbps.map(|kbps: u64| kbps * 1_000), "{ms} ms");
        }
        assert_eq!(
            probing.update(start, u64::MAX, Some(u64::MAX)),
            Some(u64::MAX)
        );
    }
}
