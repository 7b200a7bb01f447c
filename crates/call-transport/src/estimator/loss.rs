//! What losses say: pure.
//!
//! Losses by chance (radio) do not get fewer when less is sent, those of a full queue do. So up to
//! [`TOLERATED`] nothing is bounded at all; beyond that the bound goes to what arrived, once, and
//! then it is looked whether that helped. If it did not, the losses are the path's and tolerated, and
//! what was sent and allowed before is given back. That goes up to [`MOST_TOLERATED`]; above, the bound
//! falls as in Google congestion control (draft-ietf-rmcat-gcc-02, section 6).
//!
//! Losses in a row are one chance, so that a share says as much as there were bursts.
//!
//! Invariants: the bound never rises above what the caller limits it to, nor falls below [`MIN_BPS`],
//! which is sent anyway and from where the way back would be long; nothing is concluded from fewer than
//! [`LEAST_PACKETS`] packets, nor from what chance makes of a share that is tolerated.

use std::collections::VecDeque;

use super::control::MIN_BPS;

/// Lost of all, up to which a call is good with retransmissions and the sound's redundancy (GCC
/// reacts from here on, too). Higher lets short queues overflow for longer.
const TOLERATED: f64 = 0.10;
/// Lost by chance of all, up to which nothing is bounded. Repairing more costs more than it brings.
/// Pictures over a fifth lost still come at 14 a second; Chromium sends over as much.
const MOST_TOLERATED: f64 = 0.30;
/// From this share on nothing is tried: too little comes through to judge by.
const HOPELESS: f64 = 0.40;
/// Lost of all that is never held against the rate that arrives, tried or not. With more, a full
/// queue's losses would be.
const CREDITED: f64 = 0.12;
/// With more untold than that, rates are not made up for any further.
const MOST_UNTOLD: f64 = 0.5;
/// Tolerated beyond what was found to be the path's own, at least.
const MARGIN: f64 = 0.05;
/// And beyond any share, in standard deviations of what chance makes of it among so many packets.
/// What was never tried is tolerated for less: a full queue's losses would be, too.
const DEVIATIONS: f64 = 2.5;
const UNTRIED_DEVIATIONS: f64 = 1.5;
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
    /// Lost of how many.
    before: f64,
    chances: usize,
    /// What was sent and allowed before; given back if less did not help.
    rate_bps: f64,
    bound_bps: Option<f64>,
    judged_at_ms: f64,
}

/// Lost of all whatever is sent, as a trial found.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Own {
    share: f64,
    /// Standard deviation of that, 0 for the most that is tolerated.
    deviation: f64,
    until_ms: f64,
}

/// The standard deviation of the share that is lost of `chances` packets, each with the chance `share`.
fn deviation(share: f64, chances: usize) -> f64 {
    (share * (1.0 - share) / chances.max(1) as f64).sqrt()
}

/// What feedback told of packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) lost: usize,
    /// How often one was lost whose predecessor was not.
    pub(super) bursts: usize,
    /// With those that were lost.
    pub(super) total: usize,
    /// Sent besides, and told of by feedback that got lost.
    pub(super) untold: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at_ms: f64,
    told: Told,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct LossJudge {
    entries: VecDeque<Entry>,
    /// Of all packets, those no feedback told of.
    untold: f64,
    share: f64,
    /// As many packets, each lost for itself, would say as much as those that were told of.
    chances: usize,
    own: Option<Own>,
    bound_bps: Option<f64>,
    trial: Option<Trial>,
    bounded_at_ms: f64,
    seen_at_ms: f64,
}

impl Default for LossJudge {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            untold: 0.0,
            share: 0.0,
            chances: 0,
            own: None,
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

    /// Of what passed the bottleneck, or would have without losses by chance, the share that feedback
    /// says arrived, above 0.
    pub(super) fn told_share(&self) -> f64 {
        let most = self.own.map_or(CREDITED, |_| self.tolerated());
        (1.0 - self.share.min(most)) * (1.0 - self.untold.min(MOST_UNTOLD))
    }

    /// Lost of all, up to which nothing is bounded. Among few packets chance makes more of the same.
    fn tolerated(&self) -> f64 {
        let own = self.own.map_or(0.0, |own| {
            let seen = deviation(own.share, self.chances);
            own.share + MARGIN.max(DEVIATIONS * own.deviation.hypot(seen))
        });
        own.max(self.with_chance(TOLERATED))
    }

    /// The most that a share which was never tried may look like.
    fn with_chance(&self, share: f64) -> f64 {
        share + UNTRIED_DEVIATIONS * deviation(share, self.chances)
    }

    /// What losses allow, if they bound anything.
    pub(super) fn bound_bps(&self) -> Option<f64> {
        self.bound_bps
    }

    /// What feedback told at `now_ms`, while `delivered_bps` arrived, the
    /// target was `target_bps` and the round trip `rtt_ms`. Returns the rate from before a trial that
    /// found losses to be the path's own.
    pub(super) fn handle_reports(
        &mut self,
        now_ms: f64,
        told: Told,
        delivered_bps: f64,
        target_bps: f64,
        rtt_ms: f64,
    ) -> Option<f64> {
        self.entries.push_back(Entry {
            at_ms: now_ms,
            told,
        });
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.at_ms < now_ms - WINDOW_MS)
        {
            self.entries.pop_front();
        }
        let sum = |of: fn(Told) -> usize| self.entries.iter().map(|entry| of(entry.told)).sum();
        let lost: usize = sum(|told| told.lost);
        let total: usize = sum(|told| told.total);
        let untold: usize = sum(|told| told.untold);
        let bursts: usize = sum(|told| told.bursts);
        let elapsed_s = (now_ms - self.seen_at_ms).clamp(0.0, 300.0) / 1e3;
        self.seen_at_ms = now_ms;
        if total < LEAST_PACKETS {
            return None;
        }
        self.share = lost as f64 / total as f64;
        // Those of a burst are lost by one chance.
        self.chances = match lost {
            0 => total,
            _ => (total * bursts / lost).clamp(1, total),
        };
        self.untold = untold as f64 / (untold + total) as f64;
        self.own = self.own.filter(|own| now_ms <= own.until_ms);
        let given_back_bps = self.judge_trial(now_ms);
        if self.share <= self.tolerated() {
            self.recover(elapsed_s, target_bps);
        } else if self.trial.is_none() && now_ms >= self.bounded_at_ms + PAUSE_MS {
            self.bound(now_ms, delivered_bps, target_bps, rtt_ms);
        }
        given_back_bps
    }

    fn judge_trial(&mut self, now_ms: f64) -> Option<f64> {
        let trial = self.trial.filter(|trial| now_ms >= trial.judged_at_ms)?;
        self.trial = None;
        if self.share <= (HELPED * trial.before).min(CHANCE) {
            return None;
        }
        // Losses that are the same with less are so by chance: what was seen before counts as well.
        let chances = trial.chances + self.chances;
        let lost = trial.before * trial.chances as f64 + self.share * self.chances as f64;
        let share = self.share.max(lost / chances as f64);
        let is_most = share >= MOST_TOLERATED;
        let found = Own {
            share: share.min(MOST_TOLERATED),
            deviation: if is_most {
                0.0
            } else {
                deviation(share, chances)
            },
            until_ms: now_ms + REMEMBERED_MS,
        };
        let known = self.own.filter(|known| known.share > found.share);
        self.own = Some(known.map_or(found, |known| Own {
            until_ms: found.until_ms,
            ..known
        }));
        self.bound_bps = trial.bound_bps;
        tracing::debug!(own = ?self.own, rate_bps = trial.rate_bps, "losses are the path's own");
        Some(trial.rate_bps)
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
        // More than was found before is tried again, up to the most.
        let is_tried = self.own.is_some_and(|own| own.share >= MOST_TOLERATED)
            || self.share > self.with_chance(HOPELESS).max(self.tolerated());
        let factor = if is_tried {
            1.0 - 0.5 * self.share
        } else {
            (delivered_bps / before_bps).clamp(0.5, 0.9)
        };
        let bound_bps = (before_bps * factor).max(MIN_BPS);
        let allowed_bps = self.bound_bps;
        self.bound_bps = Some(bound_bps);
        tracing::debug!(
            share = self.share,
            chances = self.chances,
            bound_bps,
            "losses bound what is sent"
        );
        // Where nothing less can be sent, there is nothing to try.
        if !is_tried && bound_bps > MIN_BPS {
            self.trial = Some(Trial {
                before: self.share,
                chances: self.chances,
                rate_bps: before_bps,
                bound_bps: allowed_bps,
                judged_at_ms: now_ms + WINDOW_MS + rtt_ms + PAUSE_MS,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lost: usize, total: usize) -> Told {
        Told {
            lost,
            bursts: lost,
            total,
            untold: 0,
        }
    }

    #[test]
    fn what_nothing_was_told_of_is_neither_lost_nor_slow() {
        let mut judge = LossJudge::default();
        for step in 0..20 {
            let told = Told {
                lost: 0,
                bursts: 0,
                total: 8,
                untold: 2,
            };
            judge.handle_reports(f64::from(step) * 100.0, told, 8e5, 1e6, 100.0);
        }
        assert_eq!((judge.share(), judge.bound_bps()), (0.0, None));
        assert!((judge.told_share() - 0.8).abs() < 1e-9);
    }

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
            judge.handle_reports(now_ms, told(lost, total), delivered, rate_bps, 100.0);
            rate_bps = judge.bound_bps().unwrap_or(2e6).min(2e6);
        }
        rate_bps
    }

    #[test]
    fn losses_by_chance_do_not_throttle() {
        for share in [0.0, 0.05, 0.09, 0.14, 0.2, 0.25] {
            let mut judge = LossJudge::default();
            let rate = run(&mut judge, 20, |_| share);
            assert!(rate > 1.8e6, "{share}: {rate}");
        }
    }

    #[test]
    fn losses_in_a_row_say_less_than_as_many_for_themselves() {
        for (in_a_row, is_bounded) in [(1, true), (3, false)] {
            let mut judge = LossJudge::default();
            for step in 0..10 {
                let told = Told {
                    lost: 3,
                    bursts: 3 / in_a_row,
                    total: 20,
                    untold: 0,
                };
                judge.handle_reports(f64::from(step) * 100.0, told, 3e5, 4e5, 100.0);
            }
            assert_eq!(judge.bound_bps().is_some(), is_bounded, "{in_a_row}");
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
        assert!(run(&mut judge, 20, |_| 0.38) < 0.5e6);
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
                judge.handle_reports(now_ms, told(lost, 5), 40_000.0, target_bps, 100.0);
            }
            judge.bound_bps()
        };
        assert_eq!(bound_after(0, 30, 4), Some(MIN_BPS));
        assert!(bound_after(30, 38, 0).is_none_or(|bps| bps > 2.0 * MIN_BPS));
    }

    #[test]
    fn a_few_packets_say_nothing() {
        let mut judge = LossJudge::default();
        judge.handle_reports(0.0, told(9, 19), 0.0, 1e6, 100.0);
        assert_eq!(judge.bound_bps(), None);
    }
}
