//! What losses say: pure.
//!
//! Losses by chance (radio) do not get fewer when less is sent, those of a full queue do. So up to
//! [`TOLERATED`] nothing is bounded at all; beyond that the bound goes to what arrived, once, and
//! then it is looked whether that helped. If it did not, the losses are the path's and tolerated,
//! up to [`MOST_TOLERATED`]; above, the bound falls as in Google congestion control
//! (draft-ietf-rmcat-gcc-02, section 6).
//!
//! Invariants: the bound never rises above what the caller limits it to, nor falls below [`MIN_BPS`],
//! which is sent anyway and from where the way back would be long; nothing is concluded from fewer than
//! [`LEAST_PACKETS`] packets.

use std::collections::VecDeque;

use super::control::MIN_BPS;

/// Lost of all, up to which a call is good with retransmissions and the sound's redundancy (GCC
/// reacts from here on, too). Higher lets short queues overflow for longer.
const TOLERATED: f64 = 0.10;
/// Lost by chance of all, up to which nothing is bounded. Repairing more costs more than it brings.
const MOST_TOLERATED: f64 = 0.20;
/// Tolerated beyond what was found to be the path's own.
const MARGIN: f64 = 0.05;
/// How long what was found holds.
const REMEMBERED_MS: f64 = 30_000.0;
/// Losses are judged over this long: in less, bursts look like more than they are (GCC: 1 s).
const WINDOW_MS: f64 = 2_000.0;
/// Between two judgements above the most that is tolerated (GCC: 300 ms).
const PAUSE_MS: f64 = 300.0;
/// With less the share means nothing.
const LEAST_PACKETS: usize = 20;
/// Losses that fell to less than this part when less was sent were those of a queue.
const HELPED: f64 = 0.6;
/// And more than this is not what is left of a queue's losses, however bad the moment before was.
const CHANCE: f64 = 0.04;
/// Growth of the bound in a second without losses to speak of (GCC: 8 %).
const RECOVERY_PER_S: f64 = 1.25;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Trial {
    before: f64,
    judged_at_ms: f64,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct LossJudge {
    entries: VecDeque<(f64, usize, usize)>,
    share: f64,
    tolerated: f64,
    tolerated_until_ms: f64,
    bound_bps: Option<f64>,
    trial: Option<Trial>,
    bounded_at_ms: f64,
    seen_at_ms: f64,
}

impl Default for LossJudge {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            share: 0.0,
            tolerated: TOLERATED,
            tolerated_until_ms: 0.0,
            bound_bps: None,
            trial: None,
            bounded_at_ms: f64::MIN,
            seen_at_ms: 0.0,
        }
    }
}

impl LossJudge {
    /// Lost of all in the last second.
    pub(super) fn share(&self) -> f64 {
        self.share
    }

    /// What losses allow, if they bound anything.
    pub(super) fn bound_bps(&self) -> Option<f64> {
        self.bound_bps
    }

    /// `lost` of `total` packets were reported at `now_ms`, while `delivered_bps` arrived, the
    /// target was `target_bps` and the round trip `rtt_ms`.
    pub(super) fn handle_reports(
        &mut self,
        now_ms: f64,
        (lost, total): (usize, usize),
        delivered_bps: f64,
        target_bps: f64,
        rtt_ms: f64,
    ) {
        self.entries.push_back((now_ms, lost, total));
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.0 < now_ms - WINDOW_MS)
        {
            self.entries.pop_front();
        }
        let lost: usize = self.entries.iter().map(|entry| entry.1).sum();
        let total: usize = self.entries.iter().map(|entry| entry.2).sum();
        let elapsed_s = (now_ms - self.seen_at_ms).clamp(0.0, 300.0) / 1e3;
        self.seen_at_ms = now_ms;
        if total < LEAST_PACKETS {
            return;
        }
        self.share = lost as f64 / total as f64;
        if now_ms > self.tolerated_until_ms {
            self.tolerated = TOLERATED;
        }
        if let Some(trial) = self.trial.filter(|trial| now_ms >= trial.judged_at_ms) {
            self.trial = None;
            if self.share > (HELPED * trial.before).min(CHANCE) {
                self.tolerated = (self.share + MARGIN).clamp(TOLERATED, MOST_TOLERATED);
                self.tolerated_until_ms = now_ms + REMEMBERED_MS;
            }
        }
        if self.share <= self.tolerated {
            self.recover(elapsed_s, target_bps);
        } else if self.trial.is_none() && now_ms >= self.bounded_at_ms + PAUSE_MS {
            self.bound(now_ms, delivered_bps, target_bps, rtt_ms);
        }
    }

    fn recover(&mut self, elapsed_s: f64, target_bps: f64) {
        if self.trial.is_some() {
            return;
        }
        if let Some(bound_bps) = &mut self.bound_bps {
            *bound_bps *= RECOVERY_PER_S.powf(elapsed_s);
            if *bound_bps > 2.0 * target_bps {
                self.bound_bps = None;
            }
        }
    }

    fn bound(&mut self, now_ms: f64, delivered_bps: f64, target_bps: f64, rtt_ms: f64) {
        self.bounded_at_ms = now_ms;
        let before_bps = self.bound_bps.map_or(target_bps, |bps| bps.min(target_bps));
        let is_tried = self.tolerated > TOLERATED || self.share > 2.0 * MOST_TOLERATED;
        let factor = if is_tried {
            1.0 - 0.5 * self.share
        } else {
            (delivered_bps / before_bps).clamp(0.5, 0.9)
        };
        let bound_bps = (before_bps * factor).max(MIN_BPS);
        self.bound_bps = Some(bound_bps);
        // Where nothing less can be sent, there is nothing to try.
        if !is_tried && bound_bps > MIN_BPS {
            self.trial = Some(Trial {
                before: self.share,
                judged_at_ms: now_ms + WINDOW_MS + rtt_ms + PAUSE_MS,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends at the bound, at most 2 Mbit/s, for some seconds; `lost_share` tells what of a rate
    /// is lost. Returns the last rate.
    fn run(judge: &mut LossJudge, seconds: u32, lost_share: impl Fn(f64) -> f64) -> f64 {
        let mut rate_bps = 2e6;
        let from_ms = judge.seen_at_ms;
        for step in 1..=seconds * 10 {
            let total = (rate_bps / 8.0 / 1_000.0 / 10.0) as usize;
            let lost = (total as f64 * lost_share(rate_bps)).round() as usize;
            let delivered = rate_bps * (1.0 - lost_share(rate_bps));
            let now_ms = from_ms + f64::from(step) * 100.0;
            judge.handle_reports(now_ms, (lost, total), delivered, rate_bps, 100.0);
            rate_bps = judge.bound_bps().unwrap_or(2e6).min(2e6);
        }
        rate_bps
    }

    #[test]
    fn losses_by_chance_do_not_throttle() {
        for share in [0.0, 0.05, 0.09, 0.14] {
            let mut judge = LossJudge::default();
            let rate = run(&mut judge, 20, |_| share);
            assert!(rate > 1.8e6, "{share}: {rate}");
        }
    }

    #[test]
    fn losses_of_a_queue_do() {
        let mut judge = LossJudge::default();
        let policer = |rate: f64| (1.0 - 1e6 / rate).max(0.0);
        let rate = run(&mut judge, 20, policer);
        assert!((0.8e6..1.2e6).contains(&rate), "{rate}");
    }

    #[test]
    fn what_no_repair_can_follow_throttles_by_chance_or_not() {
        let mut judge = LossJudge::default();
        assert!(run(&mut judge, 20, |_| 0.3) < 0.5e6);
        assert!(run(&mut judge, 30, |_| 0.0) > 1.9e6, "and comes back");
    }

    #[test]
    fn a_path_that_lost_nearly_everything_is_back_within_seconds() {
        let mut judge = LossJudge::default();
        // Sound alone: five packets each time.
        let mut bound_after = |from_s: u32, to_s: u32, lost: usize| {
            for step in from_s * 10..to_s * 10 {
                let target_bps = judge.bound_bps().unwrap_or(500_000.0).max(MIN_BPS);
                let now_ms = f64::from(step) * 100.0;
                judge.handle_reports(now_ms, (lost, 5), 40_000.0, target_bps, 100.0);
            }
            judge.bound_bps()
        };
        assert_eq!(bound_after(0, 30, 4), Some(MIN_BPS));
        assert!(bound_after(30, 38, 0).is_none_or(|bps| bps > 2.0 * MIN_BPS));
    }

    #[test]
    fn a_few_packets_say_nothing() {
        let mut judge = LossJudge::default();
        judge.handle_reports(0.0, (9, 19), 0.0, 1e6, 100.0);
        assert_eq!(judge.bound_bps(), None);
    }
}
