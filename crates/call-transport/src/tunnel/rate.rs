//! How fast one tunnel sends: a model of the path in the manner of BBR (Cardwell et al., 2017,
//! draft-ietf-ccwg-bbr), with the manners of a scavenger towards calls (LEDBAT, RFC 6817).
//!
//! The model is the path's `capacity` for us, measured as bytes that arrived over the receiver's
//! time, and its least round trip. Loss is not a signal by itself. Queueing delay is, whoever causes
//! it: beyond [`TARGET`] the capacity is taken to be less than what arrives, and the queue is
//! drained first. A call's estimator thus sees little more than [`TARGET`] of ours and wins.
//!
//! | phase | pace | until |
//! |---|---|---|
//! | `Startup` | a window that doubles each round trip | a queue, or nothing gained in three rounds |
//! | `Drain` | below the capacity | the queue is gone |
//! | `Hold` | just below the capacity | [`HOLD`] |
//! | `Up` | above by the probe's gain | one round |
//! | `Judge` | the capacity | the probe's packets arrived: again with twice the gain, or `Drain` |
//!
//! A round lasts until a packet sent in it is acknowledged. Rounds in which the application had less
//! to send than allowed raise the model and never lower it; a queue counts always. Where the machine
//! is too busy to keep the pace, the model may exceed what arrives by [`MOST_UNTESTED`].
//!
//! Invariants: pace and window are finite and at least [`FLOOR`] and four packets. Deliberately not
//! here: pacing, loss detection, the clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::delay::{Least, QueueDelay};

/// Queueing delay beyond which we are too fast. Higher fills more of jittery links, lower is more
/// polite. LEDBAT's 100 ms ruin a call (RFC 6817 allows any value up to that). Beside our own media
/// estimator, which wants 2.5 of 5 Mbit/s at 60 ms, 12 ms left it 0.8 and 5 ms leave it all.
const TARGET: Duration = Duration::from_millis(5);
/// At or below this the queue counts as empty: jitter of timers and interfaces.
const EMPTY: Duration = Duration::from_millis(4);
/// What the window has beyond the path's own content: the target and late acknowledgements.
const SLACK_S: f64 = 0.025;
/// How late acknowledgements come at most: the receiver gathers packets, and both ends' timers have
/// 1 ms. On short paths this, and not the round trip, is what a window must last for.
const ACK_S: f64 = 0.005;
/// Bytes per second kept whatever happens, 128 kbit/s: a lasting foreign queue must not end us.
const FLOOR: f64 = 16_000.0;
/// A packet, roughly.
const PACKET_BYTES: f64 = 1_300.0;
/// The first window (RFC 6928: 10 packets). More queues on narrow links, and SCTP above begins with
/// four and doubles as we do.
const FIRST_WINDOW: f64 = 10.0 * PACKET_BYTES;
/// Shortest round; timers of 1 ms make shorter ones too coarse.
const MIN_ROUND_US: u64 = 10_000;
/// What a round has at least, so that single packets do not make its rate, unless it gets this long.
const ROUND_BYTES: f64 = 8.0 * PACKET_BYTES;
const LONG_ROUND_US: u64 = 1_000_000;
/// Between probes that found nothing. Longer is more polite, shorter finds freed capacity sooner.
const HOLD: Duration = Duration::from_millis(300);
/// Excess of the first probe; each that finds more doubles it.
const FIRST_EXCESS: f64 = 0.1;
/// What a first probe may queue on a path that is full: well below [`TARGET`], and too little for a
/// call's estimator to react.
const PROBE_QUEUE_S: f64 = 0.003;
const LAST_GAIN: f64 = 2.0;
/// What later probes may queue before the first acknowledgement tells. More finds freed capacity on
/// long paths sooner, and overflows the queues of most routers.
const LAST_QUEUE_S: f64 = 0.06;
/// What a probe must bring to have found something, of its excess.
const PROBE_YIELD: f64 = 0.6;
/// How far the pace may go beyond what arrives while a busy machine does not keep it.
const MOST_UNTESTED: f64 = 8.0;
/// Kept of what arrived when there is a queue.
const BACK_OFF: f64 = 0.85;
/// Rounds whose least loss is taken for the path's own: it is made up for.
const LOSS_ROUNDS: usize = 8;
/// Most that is made up for.
const MOST_LOSS: f64 = 0.25;
/// Between two answers to a queue at least, as on short paths samples outlive several round trips.
const PATIENCE: Duration = Duration::from_millis(50);
/// At the start a queue must last for this part of a round trip, at most for so long: then it is no
/// process that did not run for a moment. More overshoots by as much.
const STARTUP_PATIENCE: f64 = 8.0;
const MOST_STARTUP_PATIENCE: Duration = Duration::from_millis(16);
/// After a queue we do not look for more for this long: what a call's estimator gets back of it
/// takes seconds (8 % each, draft-ietf-rmcat-gcc-02).
const SHARED: Duration = Duration::from_secs(10);
/// How long a queue may stay at our least pace before it counts as the path's own. LEDBAT, which
/// never doubts, starves behind whatever keeps queues full.
const DOUBT: Duration = Duration::from_secs(5);
/// Loss beyond the usual at which we follow what arrives: a queue too short to be seen drops what
/// it cannot carry. Random loss varies by less in a round of [`TELLING_BYTES`] and more.
const EXCESS_LOSS: f64 = 0.2;
const TELLING_BYTES: f64 = 24.0 * PACKET_BYTES;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Startup {
        best: f64,
        stalled: u8,
    },
    /// `is_own`: the queue is of our own making.
    Drain {
        is_own: bool,
    },
    Hold {
        until: Instant,
    },
    /// `before`: the capacity the probe began with.
    Up {
        before: f64,
    },
    Judge {
        before: f64,
    },
}

/// What one acknowledgement tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feedback {
    /// The latest packet it acknowledges.
    pub(crate) largest: u64,
    /// The packet that will be sent next.
    pub(crate) next_packet: u64,
    /// Bytes newly acknowledged.
    pub(crate) acknowledged: usize,
    /// Bytes newly taken for lost.
    pub(crate) lost: usize,
    /// When the latest packet arrived, on the receiver's clock.
    pub(crate) arrived_us: u64,
    /// Its arrival minus its sending, each on its own clock.
    pub(crate) delay_us: i64,
    /// Its round trip, without what the receiver waited.
    pub(crate) rtt: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// The packets acknowledged in it begin here…
    first: u64,
    /// …and end here.
    end: u64,
    began_us: u64,
    delivered: usize,
    lost: usize,
    queue: Option<Duration>,
}

/// See the module's text. Rates are bytes per second.
#[derive(Debug)]
pub(crate) struct RateControl {
    phase: Phase,
    capacity: f64,
    window: f64,
    gain: f64,
    queue: QueueDelay,
    least_rtt: Least,
    rtt_s: f64,
    round: Round,
    /// Arrival time and all bytes delivered by then.
    history: VecDeque<(u64, u64)>,
    delivered: u64,
    losses: VecDeque<f64>,
    /// Packets before this one were sent while there was too little to send.
    limited_before: u64,
    /// Packets before this one were sent more slowly than was meant.
    late_before: u64,
    /// A queue is answered once, then again from this packet on.
    answered_before: u64,
    answered_at: Option<Instant>,
    /// Until when others are taken to be on the path, whose turn it is to grow.
    shared_until: Option<Instant>,
    /// Whether the capacity was measured while a queue grew and not yet kept to without one: the next
    /// queue is then our own making.
    is_doubtful: bool,
    /// Since when the pace is at its least.
    least_since: Option<Instant>,
    limit: Option<f64>,
}

impl RateControl {
    /// `rtt` is the handshake's.
    pub(crate) fn new(rtt: Duration) -> Self {
        Self {
            phase: Phase::Startup {
                best: 0.0,
                stalled: 0,
            },
            capacity: 0.0,
            window: FIRST_WINDOW,
            gain: 1.0 + FIRST_EXCESS,
            queue: QueueDelay::default(),
            least_rtt: Least::default(),
            rtt_s: rtt.as_secs_f64().max(1e-3),
            round: Round::default(),
            history: VecDeque::new(),
            delivered: 0,
            losses: VecDeque::new(),
            limited_before: 0,
            late_before: 0,
            answered_before: 0,
            answered_at: None,
            shared_until: None,
            is_doubtful: true,
            least_since: None,
            limit: None,
        }
    }

    /// Nothing came back for long: what is known about the path may be wrong.
    pub(crate) fn restart(&mut self) {
        *self = Self {
            limit: self.limit,
            limited_before: self.limited_before,
            late_before: self.late_before,
            answered_before: self.answered_before,
            ..Self::new(Duration::from_secs_f64(self.rtt_s))
        };
    }

    /// An upper bound in bits per second.
    pub(crate) fn set_limit_bps(&mut self, limit_bps: Option<u64>) {
        self.limit = limit_bps.map(|bps| (bps as f64 / 8.0).max(FLOOR));
    }

    /// There was nothing to send although it was allowed, before `next_packet`.
    pub(crate) fn handle_idle(&mut self, next_packet: u64) {
        self.limited_before = next_packet;
    }

    /// The pace was not kept before `next_packet`: nobody came in time.
    pub(crate) fn handle_late(&mut self, next_packet: u64) {
        self.late_before = next_packet;
    }

    /// Bytes per second to send now.
    pub(crate) fn pace(&self) -> f64 {
        let pace = match self.phase {
            Phase::Startup { .. } => 1.2 * self.window / self.rtt_s,
            Phase::Drain { .. } => 0.6 * self.gross(),
            Phase::Hold { .. } => 0.98 * self.gross(),
            Phase::Up { .. } => self.gain * self.gross(),
            Phase::Judge { .. } => self.gross(),
        };
        pace.min(self.limit.unwrap_or(f64::MAX)).max(FLOOR)
    }

    /// Bytes that may be under way.
    pub(crate) fn window(&self) -> usize {
        let gain = match self.phase {
            Phase::Startup { .. } => return self.window as usize,
            Phase::Up { .. } | Phase::Judge { .. } => self.gain,
            Phase::Drain { .. } | Phase::Hold { .. } => 1.0,
        };
        // Even jitter lies one and a half times its mean change above the least.
        let time = self.least_rtt_s() + SLACK_S + 2.0 * self.queue.jitter_s();
        let window = gain * self.gross() * time;
        window.max(4.0 * PACKET_BYTES) as usize
    }

    /// The least round trip lately.
    pub(crate) fn least_rtt_s(&self) -> f64 {
        self.least_rtt
            .get()
            .map_or(self.rtt_s, |micros| micros as f64 / 1e6)
    }

    /// Takes an acknowledgement.
    pub(crate) fn handle_feedback(&mut self, now: Instant, feedback: &Feedback) {
        let rtt_us = i64::try_from(feedback.rtt.as_micros()).unwrap_or(i64::MAX);
        self.least_rtt.handle_sample(now, rtt_us);
        self.rtt_s += (feedback.rtt.as_secs_f64().max(1e-4) - self.rtt_s) / 8.0;
        let queue = self.queue.handle_sample(now, feedback.delay_us);
        self.round.queue = Some(self.round.queue.map_or(queue, |least| least.min(queue)));
        self.round.delivered += feedback.acknowledged;
        self.round.lost += feedback.lost;
        self.delivered += feedback.acknowledged as u64;
        self.history
            .push_back((feedback.arrived_us, self.delivered));
        while self.history.len() > 512
            || (self.history.front()).is_some_and(|(at, _)| at + 400_000 < feedback.arrived_us)
        {
            self.history.pop_front();
        }
        self.grow_window(feedback.acknowledged as f64);
        self.doubt_base(now);
        let is_answered = feedback.largest < self.answered_before;
        let is_full = match self.phase {
            Phase::Startup { .. } => {
                let time = Duration::from_secs_f64(self.rtt_s / STARTUP_PATIENCE);
                self.queue.over_last(time.min(MOST_STARTUP_PATIENCE)) > TARGET / 2
            }
            _ => self.queue.current() > TARGET,
        };
        let is_recent = self.answered_at.is_some_and(|at| now < at + PATIENCE);
        if is_full && !is_answered && !is_recent {
            self.answered_before = feedback.next_packet;
            self.answered_at = Some(now);
            self.back_off(now);
        }
        let lasted_us = feedback.arrived_us.saturating_sub(self.round.began_us);
        let has_enough = self.round.delivered as f64 >= ROUND_BYTES || lasted_us >= LONG_ROUND_US;
        if feedback.largest >= self.round.end && lasted_us >= MIN_ROUND_US && has_enough {
            self.end_round(now, feedback);
        }
    }

    /// A lossless path would carry this times what it does.
    fn gross(&self) -> f64 {
        self.capacity.max(FLOOR) / (1.0 - self.own_loss())
    }

    /// What the path loses whatever we do.
    fn own_loss(&self) -> f64 {
        let least = self.losses.iter().copied().reduce(f64::min);
        least.unwrap_or(0.0).min(MOST_LOSS)
    }

    fn first_gain(&self) -> f64 {
        1.0 + FIRST_EXCESS.min(PROBE_QUEUE_S / self.rtt_s)
    }

    fn last_gain(&self) -> f64 {
        let excess = LAST_QUEUE_S / self.rtt_s;
        (1.0 + excess).clamp(self.first_gain(), LAST_GAIN)
    }

    fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Drain { .. })
    }

    fn is_limited(&self) -> bool {
        self.limited_before > self.round.first
    }

    fn is_late(&self) -> bool {
        self.late_before > self.round.first
    }

    fn grow_window(&mut self, acknowledged: f64) {
        if !matches!(self.phase, Phase::Startup { .. }) {
            return;
        }
        if !self.is_limited() {
            self.window += acknowledged;
        }
        let content = self.recent_rate() * self.rtt_s.max(ACK_S);
        let most = (3.0 * content).max(FIRST_WINDOW);
        self.window = self.window.max(2.0 * content).min(most);
    }

    /// What arrived over the last half of a round trip, or 20 ms while that still grows.
    fn recent_rate(&self) -> f64 {
        let Some((last_us, last_bytes)) = self.history.back().copied() else {
            return 0.0;
        };
        let most = match self.phase {
            Phase::Startup { .. } => 20_000,
            _ => 300_000,
        };
        let span = ((self.rtt_s * 5e5) as u64).clamp(20_000, most);
        let before = |(at, _): &&(u64, u64)| at + span <= last_us;
        let from = self.history.iter().rev().find(before);
        let Some((first_us, first_bytes)) = from.or(self.history.front()).copied() else {
            return 0.0;
        };
        let micros = last_us.saturating_sub(first_us).max(MIN_ROUND_US / 2);
        (last_bytes - first_bytes) as f64 / (micros as f64 / 1e6)
    }

    /// A queue that stays although we hardly send is not ours: the path has become longer, or others
    /// keep it full. What is known about it is forgotten.
    fn doubt_base(&mut self, now: Instant) {
        let is_least = self.capacity <= 1.5 * FLOOR && !self.is_limited();
        if !is_least || matches!(self.phase, Phase::Startup { .. }) {
            self.least_since = None;
        } else if now > *self.least_since.get_or_insert(now) + DOUBT {
            self.restart();
        }
    }

    /// There is a queue.
    fn back_off(&mut self, now: Instant) {
        // A probe beyond the first, which is too small for that, makes its queue by itself.
        let is_own = match self.phase {
            Phase::Startup { .. } => true,
            Phase::Up { .. } | Phase::Judge { .. } => self.gain > self.first_gain(),
            Phase::Drain { is_own } => is_own,
            Phase::Hold { .. } => std::mem::take(&mut self.is_doubtful),
        };
        if !is_own {
            self.shared_until = Some(now + SHARED);
        }
        let arriving = BACK_OFF * self.recent_rate();
        self.capacity = match self.phase {
            Phase::Startup { best, .. } => arriving.max(BACK_OFF * best),
            // What arrives of little is little.
            _ if self.is_limited() => BACK_OFF * self.capacity,
            _ => self.capacity.min(arriving),
        }
        .max(FLOOR);
        tracing::debug!(
            phase = ?self.phase,
            queue_us = self.queue.current().as_micros(),
            jitter_us = self.queue.jitter_s() * 1e6,
            arriving_bps = self.recent_rate() * 8.0,
            capacity_bps = self.capacity * 8.0,
            "a queue: sending less"
        );
        // Where the application sent too little or in bursts, the start ended early, and the next
        // probe is a big one.
        self.gain = match self.phase {
            Phase::Startup { .. } if self.is_limited() => self.last_gain(),
            _ => self.first_gain(),
        };
        self.phase = Phase::Drain { is_own };
    }

    fn end_round(&mut self, now: Instant, feedback: &Feedback) {
        let span_s = (feedback.arrived_us - self.round.began_us) as f64 / 1e6;
        let rate = self.round.delivered as f64 / span_s;
        let is_first = self.round.end == 0;
        let (is_limited, is_late) = (self.is_limited(), self.is_late());
        let sum = self.round.delivered + self.round.lost;
        let loss = self.round.lost as f64 / sum.max(1) as f64;
        let is_telling = sum as f64 >= TELLING_BYTES;
        let usual = self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64;
        if is_telling {
            if self.losses.len() == LOSS_ROUNDS {
                self.losses.pop_front();
            }
            self.losses.push_back(loss);
        }
        let queue = self.round.queue.unwrap_or_default();
        self.round = Round {
            first: self.round.end,
            end: feedback.next_packet,
            began_us: feedback.arrived_us,
            ..Round::default()
        };
        // The first one began before anything arrived.
        if is_first {
            return;
        }
        // What is taken for lost after an answer was mostly sent before it.
        let is_answered = self.is_draining() || self.round.first < self.answered_before;
        if is_telling && loss > usual + EXCESS_LOSS && !is_limited && !is_answered {
            self.answered_before = feedback.next_packet;
            self.capacity = match self.phase {
                Phase::Startup { .. } => rate,
                _ => self.capacity.min(rate),
            };
            self.gain = self.first_gain();
            self.phase = Phase::Drain { is_own: true };
            return;
        }
        self.judge(now, rate, queue, is_limited, is_late);
        tracing::trace!(
            phase = ?self.phase,
            rate_bps = rate * 8.0,
            capacity_bps = self.capacity * 8.0,
            gain = self.gain,
            is_limited,
            is_late,
            "a round ended"
        );
    }

    fn judge(&mut self, now: Instant, rate: f64, queue: Duration, is_limited: bool, is_late: bool) {
        let is_big = self.gain > self.first_gain();
        let pause = HOLD.max(Duration::from_secs_f64(4.0 * self.rtt_s));
        let wait = if is_big { now } else { now + pause };
        let until = self.shared_until.map_or(wait, |shared| shared.max(wait));
        let hold = Phase::Hold { until };
        let is_bounded = self.limit.is_some_and(|limit| self.capacity >= limit);
        match &mut self.phase {
            Phase::Startup { best, stalled } => {
                if rate > *best * 1.25 {
                    (*best, *stalled) = (rate, 0);
                } else if !is_limited && !is_late {
                    *stalled += 1;
                }
                if *stalled == 3 {
                    self.capacity = best.max(rate);
                    self.phase = Phase::Drain { is_own: true };
                }
                return;
            }
            Phase::Drain { .. } => {
                // What was sent before the answer may still queue.
                if self.queue.current() <= EMPTY && self.round.first >= self.answered_before {
                    self.phase = hold;
                    // These rounds say how little we sent, not what the path carries.
                    self.limited_before = self.round.end;
                }
            }
            Phase::Hold { until } => {
                if now >= *until && !is_limited && !is_bounded {
                    let before = self.capacity;
                    self.is_doubtful = false;
                    self.phase = Phase::Up { before };
                }
            }
            Phase::Up { before } => self.phase = Phase::Judge { before: *before },
            Phase::Judge { before } => {
                // Short paths answer to a probe before its round is over.
                let (from, seen) = if self.rtt_s * 1e6 < MIN_ROUND_US as f64 {
                    (*before, rate.max(self.capacity))
                } else {
                    (self.capacity, rate)
                };
                let wanted = from * (1.0 + PROBE_YIELD * (self.gain - 1.0));
                // Who sends less than meant does not see what the path carries.
                let untested = self.gain * from;
                let is_untested = is_late && untested <= MOST_UNTESTED * rate;
                if is_untested && queue <= EMPTY {
                    self.capacity = self.capacity.max(untested);
                }
                let has_found = seen >= wanted || is_untested;
                if has_found && queue <= EMPTY && !is_bounded {
                    self.gain = (2.0 * self.gain - 1.0).min(self.last_gain());
                    self.is_doubtful = true;
                    self.phase = Phase::Up {
                        before: self.capacity.max(rate),
                    };
                } else {
                    self.gain = self.first_gain();
                    self.phase = if queue > EMPTY {
                        Phase::Drain { is_own: true }
                    } else {
                        hold
                    };
                }
            }
        }
        if rate > self.capacity {
            self.capacity = rate.min(self.capacity.max(FLOOR) * LAST_GAIN);
        } else if queue > TARGET / 2 && !is_limited && !self.is_draining() {
            // The path is full, so this is what it carries for us.
            self.capacity = f64::midpoint(self.capacity, rate).max(FLOOR);
        }
    }
}
