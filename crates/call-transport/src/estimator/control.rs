//! The target, from the standing queue and the rate that arrives: pure.
//!
//! ```text
//! Starting ──queue──┐
//! Climbing ──queue──┴► Draining ──queue gone──► Climbing
//!                          └──futile──► Climbing, more patient
//! ```
//!
//! *Starting* and far from any known capacity the target grows fast, near it slowly. When more
//! queues than [`limit_ms`](RateControl::limit_ms), what arrives then **is** the capacity: nothing
//! else comes through a bottleneck whose queue does not run empty. *Draining*, the target stays below
//! that until the queue is gone, the lower the longer the queue, and then comes back close to
//! it. The limit falls with the rate, so that of several flows the largest yields first: that makes them
//! alike, whatever their round trips. A queue that does not fall while we send less is somebody
//! else's: it becomes part of the path, and the limit rises for a while. One that is gone in packets
//! from before we yielded was jitter: nothing follows but a higher limit. So it does where packets come
//! in clumps that no bottleneck of this rate would let through. Where jitter was seen, a queue is *doubtful*
//! until the path has answered: only the pace yields, and a moment without arrivals is no capacity.
//!
//! Invariants: `MIN_BPS ≤ target ≤ MAX_BPS`; the target does not grow while less is sent than
//! it allows (but where jitter hides what probes would find), and never beyond [`UNTESTED`] times
//! what arrives; what grows beyond is tested by probes ([`super::probe`]).

use std::collections::VecDeque;

/// Sound and a slide show. Lower stops pictures, higher floods a modem.
pub(super) const MIN_BPS: f64 = 50_000.0;
/// More brings nothing a person sees.
pub(super) const MAX_BPS: f64 = 8_000_000.0;

/// The queue, in milliseconds, that [`MAX_BPS`] yields to. Lower takes jitter for a queue, higher
/// makes everybody wait.
const LIMIT_MS: f64 = 5.0;
/// What each halving of the rate adds to it, in milliseconds. Higher makes flows alike sooner and
/// lets small ones queue more.
const LIMIT_STEP_MS: f64 = 3.0;
/// A glance has to see this many limits more.
const GLANCE_LIMITS: f64 = 3.0;
/// For so long has a queue to be above the limit: jitter does not last.
const LASTING_MS: f64 = 45.0;
/// A queue counts as gone below this many limits.
const GONE_LIMITS: f64 = 0.4;
/// And only when so many are left in the newest report, which cannot show our yielding yet.
const SHOWN_LIMITS: f64 = 1.5;
/// A queue is drained within about this time: the share of the capacity left unused is the queue
/// over this. Shorter drains sooner and starves the pictures for it.
const DRAIN_MS: f64 = 350.0;
/// Bounds of what is used of the capacity meanwhile. The higher one is what ends a small queue at all.
const DRAIN_LEAST: f64 = 0.25;
const DRAIN_MOST: f64 = 0.92;
/// Used of the measured capacity once the queue is gone.
const RESUME: f64 = 0.95;
/// Growth near the capacity: of the target, and of everybody, in a second. Higher finds more sooner
/// and queues oftener.
const NEAR_PER_S: f64 = 0.012;
const NEAR_BPS_PER_S: f64 = 20_000.0;
/// Without even so many limits queueing for this many seconds there is probably more capacity: growth
/// near what is known gets faster by this for each further such time.
const QUIET_LIMITS: f64 = 0.35;
const QUIET_S: f64 = 0.7;
const HASTE: f64 = 4.0;
/// Where no capacity is known, a probe is worth it after this many seconds without a queue.
const CURIOUS_S: f64 = 0.35;
/// Growth in a second where nothing is known (1.08 in GCC, which is why it takes half a minute).
const FAR_PER_S: f64 = 1.4;
/// Growth in a second at first, where no probes are possible.
const START_PER_S: f64 = 2.5;
/// A target beyond this many capacities without a queue says that the capacity is another.
const BEYOND: f64 = 1.05;
/// The target may be this many times what arrives.
const UNTESTED: f64 = 1.5;
/// Less than this share of the target sent means that there is nothing to send (libwebrtc: 0.65 of
/// the pacer's budget).
const LIMITED: f64 = 0.8;
/// A probe that finds less than this share of a target nobody used refutes it; jitter finds a little
/// less of any.
const REFUTED: f64 = 0.8;
/// A drain that has not helped after this much more than a round trip is futile.
const PATIENCE_MS: f64 = 1_300.0;
/// What more of the capacity is left unused as patience ends: of several flows each alone would
/// not yield enough for all to see it.
const VAIN: f64 = 0.3;
/// More tolerant than this we compete with somebody who fills queues: yielding more than this
/// share of the capacity would be a gift.
const COMPETING: f64 = 1.5;
const DRAIN_COMPETING: f64 = 0.85;
/// So long after a probe raised the target a queue says that it was too much, and what arrives
/// does not say yet how much too much.
const GUESS_MS: f64 = 700.0;
/// How long after yielding what arrives still shows the capacity rather than what we send.
const RATCHET_MS: f64 = 150.0;
/// A capacity seen again at a short queue is at most this much smaller: an encoder that used less
/// looks like one.
const SMALLER: f64 = 0.96;
/// Helping means so many limits less.
const HELPED_LIMITS: f64 = 0.5;
/// What futility multiplies the limit with, at most how often, and how long that lasts.
const TOLERANCE_STEP: f64 = 2.0;
const TOLERANCE_MOST: f64 = 8.0;
const TOLERANCE_DECAY_PER_S: f64 = 0.93;

/// Jitter looks like a queue of so many limits at least: pictures make shorter ones, which go as
/// fast. Lower lets us queue more where there is no jitter.
const NOISE_LIMITS: f64 = 3.0;
/// What the limit then grows by, as a share of what was seen, and at most; and what is left of that
/// after a second. More makes better use of a path with much jitter, and lets real queues grow there.
const NOISE_SHARE: f64 = 0.5;
const NOISE_MOST_MS: f64 = 150.0;
const NOISE_DECAY_PER_S: f64 = 0.97;
/// Of what the limit rose by, the share of a queue that is not worth draining: a picture's size should
/// not follow every gust. Higher empties real queues later.
const NOISE_UNDRAINED: f64 = 0.5;
/// What came together was held back by jitter if it is worth so much: pictures and probes come in
/// shorter clumps. The limit grows by what is above, and by this at most: a real queue may come in
/// clumps as well.
const CLUMP_MS: f64 = 50.0;
const CLUMP_MOST_MS: f64 = 80.0;

/// What was seen with one feedback.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sight {
    /// The sender's clock.
    pub(super) now_ms: f64,
    /// When the newest reported packet was sent.
    pub(super) newest_sent_ms: f64,
    /// Standing queue, and at a glance.
    pub(super) queue_ms: f64,
    pub(super) glance_ms: f64,
    /// Of what was sent over so long and came together, see [`super::queue::QueueDelay::clump_ms`].
    pub(super) clump_ms: f64,
    /// Arrived over half a second, and over the last moment.
    pub(super) received_bps: Option<f64>,
    pub(super) just_received_bps: Option<f64>,
    /// The same of what was sent.
    pub(super) sent_bps: Option<f64>,
    pub(super) just_sent_bps: Option<f64>,
    /// Smoothed round trip, feedback's waiting included.
    pub(super) rtt_ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Drain {
    began_ms: f64,
    /// Since when it does not help.
    vain_since_ms: f64,
    least_queue_ms: f64,
    most_queue_ms: f64,
    /// Whether the rate was rising too fast for what arrived to be the capacity.
    is_guess: bool,
    /// Whether a report covers what was sent since.
    is_answered: bool,
    /// What was before.
    target_before_bps: f64,
    capacity_before_bps: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Starting,
    Climbing,
    Draining(Drain),
}

/// What the caller has to do besides publishing the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Advice {
    /// More may be possible: a probe would tell.
    pub(super) is_curious: bool,
    /// What stands is not ours: measure from here.
    pub(super) is_rebased: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct RateControl {
    target_bps: f64,
    phase: Phase,
    capacity_bps: Option<f64>,
    tolerance: f64,
    /// What the limit is raised by for jitter, in milliseconds.
    noise_ms: f64,
    seen_at_ms: Option<f64>,
    is_limited: bool,
    queued_since_ms: Option<f64>,
    /// When there was last a queue worth the name.
    quiet_since_ms: f64,
    /// When a probe raised the target last.
    found_at_ms: f64,
    /// What of the capacity was left free since when, for what the newest report cannot show yet.
    spare: VecDeque<(f64, f64)>,
}

impl RateControl {
    pub(super) fn new(start_bps: f64) -> Self {
        Self {
            target_bps: start_bps,
            phase: Phase::Starting,
            capacity_bps: None,
            tolerance: 1.0,
            noise_ms: 0.0,
            seen_at_ms: None,
            is_limited: false,
            queued_since_ms: None,
            quiet_since_ms: 0.0,
            found_at_ms: f64::MIN,
            spare: VecDeque::new(),
        }
    }

    pub(super) fn target_bps(&self) -> f64 {
        self.target_bps
    }

    /// Whether less is sent than the target allows.
    pub(super) fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// Whether a queue is being drained.
    pub(super) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining(_))
    }

    /// What the path carries as far as we are sure. Where jitter looks like queues, one is doubtful until the
    /// path has answered: we yield, and what is made to be sent does not follow yet.
    pub(super) fn believed_bps(&self) -> f64 {
        match self.phase {
            Phase::Draining(drain) if self.is_doubtful() => drain.target_before_bps,
            _ => self.target_bps,
        }
    }

    /// Whether a queue is drained that surely is one.
    pub(super) fn is_certain(&self) -> bool {
        self.is_draining() && !self.is_doubtful()
    }

    fn is_doubtful(&self) -> bool {
        matches!(self.phase, Phase::Draining(drain) if !drain.is_answered && self.is_blind())
    }

    /// The standing queue in milliseconds from which on we yield.
    fn limit_ms(&self) -> f64 {
        self.calm_limit_ms() + self.noise_ms
    }

    /// The same of a path without jitter.
    fn calm_limit_ms(&self) -> f64 {
        let halvings = (MAX_BPS / self.target_bps).log2().max(0.0);
        self.tolerance * (LIMIT_MS + LIMIT_STEP_MS * halvings)
    }

    /// Whether jitter hides what a probe would show.
    fn is_blind(&self) -> bool {
        self.noise_ms > self.calm_limit_ms()
    }

    /// What arrived over the last moment: where jitter holds packets back, over longer, or a moment with
    /// none would be a path that carries nothing.
    fn just_received_bps(&self, sight: Sight) -> Option<f64> {
        let long = sight.received_bps.filter(|_| self.is_blind());
        sight
            .just_received_bps
            .into_iter()
            .chain(long)
            .reduce(f64::max)
    }

    pub(super) fn handle_sight(&mut self, sight: Sight, bound_bps: Option<f64>) -> Advice {
        let elapsed_s = self
            .seen_at_ms
            .map_or(0.0, |at| (sight.now_ms - at).clamp(0.0, 300.0) / 1e3);
        self.seen_at_ms = Some(sight.now_ms);
        self.tolerance = (self.tolerance * TOLERANCE_DECAY_PER_S.powf(elapsed_s)).max(1.0);
        self.noise_ms *= NOISE_DECAY_PER_S.powf(elapsed_s);
        if sight.clump_ms > CLUMP_MS {
            let noise_ms = (sight.clump_ms - CLUMP_MS).min(CLUMP_MOST_MS);
            self.noise_ms = self.noise_ms.max(noise_ms);
        }
        if let Some(sent_bps) = sight.sent_bps {
            self.is_limited = sent_bps < LIMITED * self.target_bps;
        }
        if sight.queue_ms > QUIET_LIMITS * self.limit_ms() {
            self.quiet_since_ms = sight.now_ms;
        }
        let mut advice = Advice::default();
        match self.phase {
            Phase::Draining(drain) => self.drain(sight, drain, &mut advice),
            Phase::Starting | Phase::Climbing => {
                if self.is_queue(sight) {
                    self.begin_draining(sight);
                } else {
                    self.climb(sight, elapsed_s, &mut advice);
                }
            }
        }
        if let Some(bound_bps) = bound_bps {
            self.target_bps = self.target_bps.min(bound_bps);
        }
        self.target_bps = self.target_bps.clamp(MIN_BPS, MAX_BPS);
        self.note_spare(sight);
        advice
    }

    /// A probe carried `carried_bps`, all of it or less.
    pub(super) fn handle_finding(&mut self, carried_bps: f64, is_passed: bool) {
        if self.is_draining() || !is_passed && self.is_blind() {
            return;
        }
        let found_bps = if is_passed {
            carried_bps
        } else {
            DRAIN_MOST * carried_bps
        };
        let is_refuted = !is_passed && self.is_limited && found_bps < REFUTED * self.target_bps;
        if found_bps > self.target_bps || is_refuted {
            self.target_bps = found_bps.clamp(MIN_BPS, MAX_BPS);
            self.capacity_bps = None;
            self.found_at_ms = self.seen_at_ms.unwrap_or(0.0);
        }
        if !is_passed && self.phase == Phase::Starting {
            self.phase = Phase::Climbing;
        }
    }

    /// Losses had bounded `bps`, and turn out to be the same with less.
    pub(super) fn handle_given_back(&mut self, bps: f64) {
        if self.is_draining() {
            return;
        }
        let most_bps = self.capacity_bps.map_or(MAX_BPS, |bps| RESUME * bps);
        self.target_bps = self.target_bps.max(bps.min(most_bps));
    }

    fn is_queue(&mut self, sight: Sight) -> bool {
        let limit_ms = self.limit_ms();
        if sight.queue_ms <= limit_ms {
            self.queued_since_ms = None;
        }
        let is_lasting = sight.queue_ms > limit_ms && {
            let since_ms = *self.queued_since_ms.get_or_insert(sight.now_ms);
            sight.now_ms - since_ms >= LASTING_MS
        };
        is_lasting || sight.glance_ms > GLANCE_LIMITS * limit_ms
    }

    fn begin_draining(&mut self, sight: Sight) {
        let is_long = sight.glance_ms > GLANCE_LIMITS * self.limit_ms();
        let is_guess = self.capacity_bps.is_none() && sight.now_ms - self.found_at_ms < GUESS_MS;
        let (just, long) = (self.just_received_bps(sight), sight.received_bps);
        // Growing or shrinking, only the last moment shows what it is now.
        let measured = if is_long || self.capacity_bps.is_none() {
            just.or(long)
        } else {
            long.or(just)
        };
        let measured = measured.unwrap_or(self.target_bps).max(MIN_BPS);
        let capacity_before_bps = self.capacity_bps;
        self.capacity_bps = Some(match self.capacity_bps {
            Some(known) if !is_long || self.tolerance > COMPETING => measured.max(SMALLER * known),
            _ => measured,
        });
        self.queued_since_ms = None;
        self.phase = Phase::Draining(Drain {
            began_ms: sight.now_ms,
            vain_since_ms: sight.now_ms,
            least_queue_ms: sight.queue_ms,
            most_queue_ms: sight.glance_ms,
            is_guess,
            is_answered: false,
            target_before_bps: self.target_bps,
            capacity_before_bps,
        });
        self.set_drain_target(sight, 0.0);
        tracing::debug!(
            queue_ms = sight.queue_ms,
            glance_ms = sight.glance_ms,
            limit_ms = self.limit_ms(),
            noise_ms = self.noise_ms,
            capacity_bps = self.capacity_bps,
            before_bps = capacity_before_bps,
            "a queue is drained"
        );
    }

    /// `vain` is how much of our patience is used up: the more, the more we yield. Returns what is
    /// left of the queue.
    fn set_drain_target(&mut self, sight: Sight, vain: f64) -> f64 {
        let capacity_bps = self.capacity_bps.unwrap_or(self.target_bps);
        let queue_ms = (sight.queue_ms.max(sight.glance_ms) - self.drained_ms(sight)).max(0.0);
        let share = if self.tolerance > COMPETING {
            DRAIN_COMPETING
        } else {
            let over_ms = (queue_ms - NOISE_UNDRAINED * self.noise_ms).max(0.0);
            (1.0 - over_ms / DRAIN_MS - VAIN * vain.min(1.0)).clamp(DRAIN_LEAST, DRAIN_MOST)
        };
        self.target_bps =
            (share * capacity_bps).min(self.target_bps.max(DRAIN_LEAST * capacity_bps));
        queue_ms
    }

    fn drain(&mut self, sight: Sight, mut drain: Drain, advice: &mut Advice) {
        let limit_ms = self.limit_ms();
        if sight.glance_ms > drain.most_queue_ms + GLANCE_LIMITS * limit_ms {
            drain.began_ms = sight.now_ms;
            drain.most_queue_ms = sight.glance_ms;
        }
        if sight.newest_sent_ms <= drain.began_ms + RATCHET_MS
            && sight.glance_ms > GLANCE_LIMITS * limit_ms
            && let Some(just_bps) = self.just_received_bps(sight)
        {
            let capacity_bps = self.capacity_bps.unwrap_or(just_bps);
            let least_bps = if self.tolerance > COMPETING {
                SMALLER * capacity_bps
            } else {
                MIN_BPS
            };
            self.capacity_bps = Some(capacity_bps.min(just_bps).max(least_bps));
        }
        drain.is_answered = sight.newest_sent_ms > drain.began_ms;
        if !drain.is_answered
            && sight.queue_ms <= GONE_LIMITS * limit_ms
            && drain.most_queue_ms > NOISE_LIMITS * self.calm_limit_ms()
        {
            self.undo(drain);
            return;
        }
        let vain = (sight.now_ms - drain.vain_since_ms) / (PATIENCE_MS + sight.rtt_ms);
        let left_ms = self.set_drain_target(sight, vain);
        // What we think to have drained has to show, or it was somebody else's queue.
        let is_shown = sight.queue_ms <= SHOWN_LIMITS * limit_ms;
        if left_ms <= GONE_LIMITS * limit_ms && is_shown {
            // Over before anything of our yielding was reported, on a path that has jitter.
            if self.is_blind() && !drain.is_answered {
                return self.give_back(drain);
            }
            self.resume();
            if drain.is_guess {
                self.capacity_bps = None;
            }
            return;
        }
        if sight.queue_ms < drain.least_queue_ms - HELPED_LIMITS * limit_ms {
            drain.vain_since_ms = sight.now_ms;
            drain.least_queue_ms = sight.queue_ms;
        } else if !self.has_yielded(sight) {
            drain.vain_since_ms = sight.now_ms;
        } else if vain > 1.0 {
            self.tolerance = (self.tolerance * TOLERANCE_STEP).min(TOLERANCE_MOST);
            advice.is_rebased = true;
            tracing::debug!(tolerance = self.tolerance, "in vain");
            self.resume();
            return;
        }
        self.phase = Phase::Draining(drain);
    }

    /// The queue went before it could have been for us: it was jitter.
    fn undo(&mut self, drain: Drain) {
        let noise_ms = (NOISE_SHARE * drain.most_queue_ms).min(NOISE_MOST_MS);
        self.noise_ms = self.noise_ms.max(noise_ms);
        self.give_back(drain);
    }

    /// What was before the drain is right still.
    fn give_back(&mut self, drain: Drain) {
        self.target_bps = drain.target_before_bps;
        self.capacity_bps = drain.capacity_before_bps;
        self.phase = Phase::Climbing;
        tracing::debug!(target_bps = self.target_bps, "it was jitter");
    }

    /// Whether what the newest report covers was less than the capacity.
    fn has_yielded(&self, sight: Sight) -> bool {
        let capacity_bps = self.capacity_bps.unwrap_or(self.target_bps);
        sight
            .just_sent_bps
            .is_none_or(|bps| bps < 0.97 * capacity_bps)
    }

    fn resume(&mut self) {
        if let Some(capacity_bps) = self.capacity_bps {
            self.target_bps = RESUME * capacity_bps;
        }
        tracing::debug!(target_bps = self.target_bps, "resumed");
        self.phase = Phase::Climbing;
    }

    fn climb(&mut self, sight: Sight, elapsed_s: f64, advice: &mut Advice) {
        if self.is_limited && !self.is_blind() {
            return;
        }
        let quiet_s = (sight.now_ms - self.quiet_since_ms) / 1e3;
        advice.is_curious = self.capacity_bps.is_none() && quiet_s > CURIOUS_S;
        if let Some(capacity_bps) = self.capacity_bps
            && (self.target_bps > BEYOND * capacity_bps
                || self.target_bps > capacity_bps && quiet_s > QUIET_S)
        {
            self.capacity_bps = None;
            advice.is_curious = true;
        }
        let growth = |per_s: f64| self.target_bps * (per_s.powf(elapsed_s) - 1.0);
        let step_bps = match (self.phase, self.capacity_bps) {
            (Phase::Starting, _) => growth(START_PER_S),
            (_, Some(_)) => {
                let haste = 1.0 + (quiet_s / QUIET_S - 1.0).max(0.0) * HASTE;
                (NEAR_PER_S * self.target_bps + NEAR_BPS_PER_S) * haste * elapsed_s
            }
            (_, None) => growth(FAR_PER_S),
        };
        let most_bps = sight
            .received_bps
            .map_or(self.target_bps, |bps| UNTESTED * bps + 10_000.0);
        if self.target_bps + step_bps <= most_bps {
            self.target_bps += step_bps;
        }
    }

    fn note_spare(&mut self, sight: Sight) {
        let share = match (self.phase, self.capacity_bps) {
            (Phase::Draining(_), Some(capacity_bps)) => 1.0 - self.target_bps / capacity_bps,
            _ => 0.0,
        };
        self.spare.push_back((sight.now_ms, share));
        while self
            .spare
            .front()
            .is_some_and(|entry| entry.0 < sight.now_ms - 1_000.0)
        {
            self.spare.pop_front();
        }
    }

    /// What has been drained of the queue by packets the newest report does not cover.
    fn drained_ms(&self, sight: Sight) -> f64 {
        let mut until_ms = sight.now_ms;
        let mut drained_ms = 0.0;
        for (from_ms, share) in self.spare.iter().rev() {
            let from_ms = from_ms.max(sight.newest_sent_ms).min(until_ms);
            drained_ms += share * (until_ms - from_ms);
            until_ms = from_ms;
        }
        drained_ms
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
