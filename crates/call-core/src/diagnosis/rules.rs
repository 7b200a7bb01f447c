//! What the newest second looks like, seen with those before it: the rules of the
//! [module](super) as pure functions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use call_protocol::MemberId;
use call_protocol::ui::network::{Cause, PathView, Severity, Verdict};

use super::sample::{LinkSample, MemberSample, StatsSample};
use crate::input::{LinkId, LinkPeer};

/// Seconds of which the middle one counts. More is calmer and later.
const RECENT: usize = 3;
/// Seconds over which a still picture is counted: a freeze is told when it ends, all at once.
const FROZEN: usize = 5;

/// A figure from which on something is noticed, and from which on talking is hard.
#[derive(Clone, Copy)]
struct Limits {
    mild: f64,
    severe: f64,
}

impl Limits {
    fn above(self, figure: f64) -> Option<Severity> {
        if figure >= self.severe {
            Some(Severity::Severe)
        } else if figure >= self.mild {
            Some(Severity::Mild)
        } else {
            None
        }
    }
}

/// Share of packets lost before repair. Mild: what a conversation tolerates by ITU-T G.1010, table
/// I.1 (3 %). Severe: where congestion control gives way (RFC 8698 and draft-ietf-rmcat-gcc-02 §6,
/// 10 %). Lower limits tell of losses that repair hides.
const LOSS: Limits = Limits {
    mild: 0.03,
    severe: 0.1,
};
/// Share of sound made up; as for loss, but after repair, so it is heard.
const CONCEALED: Limits = LOSS;
/// Share of the time the picture stands still. Mild: half a second in two. Less happens with every
/// lost keyframe.
const FROZEN_SHARE: Limits = Limits {
    mild: 0.25,
    severe: 0.5,
};
/// Share of the wanted rate that a link does not carry. Half of the rate is about two thirds of the
/// picture's width and height, which one sees; three quarters is half of both.
const SHORTAGE: Limits = Limits {
    mild: 0.5,
    severe: 0.75,
};
/// Seconds a link has to find its rate before it counts as short. Estimates start at 600 kbit/s and
/// grow by half in a second at most; on a slow start ten seconds are enough for 2.5 Mbit/s.
const RATE_GRACE_S: u32 = 10;
/// Round trip in milliseconds: twice 150 ms and twice 400 ms, up to which ITU-T G.114 finds one way
/// fit for most uses, and for any.
const ROUND_TRIP_MS: Limits = Limits {
    mild: 300.0,
    severe: 800.0,
};
/// Share of the time the encoder works. From four fifths on pictures are left out, sooner or later.
const BUSY: Limits = Limits {
    mild: 0.8,
    severe: 0.95,
};
/// How late the engine's timer is, in milliseconds. It waits for nothing but a processor, so ten
/// sound packets' time is a machine that is not to be had.
const LAG_MS: Limits = Limits {
    mild: 200.0,
    severe: 500.0,
};
/// Share of a second's packets lost that makes it part of a burst. Steady loss of 3 % reaches it in
/// one second of thousands.
const BURST_LOSS: f64 = 0.15;
/// Jitter that makes a second part of a burst, in milliseconds, and how many times the usual of the
/// window. RFC 3550 jitter forgets in 16 packets: a gap of 300 ms leaves about this.
const BURST_JITTER_MS: f64 = 30.0;
const BURST_JITTER_TIMES: f64 = 3.0;
/// Bursts in the window: one is an accident.
const BURSTS: usize = 2;
/// Seconds of the window that may be bad: beyond, it is not "for moments".
const BURST_SECONDS: usize = 5;
/// Bad seconds from which on they are severe: a third of the time.
const BURST_SEVERE_SECONDS: usize = 4;

type Window = VecDeque<StatsSample>;

/// What seems to be the matter now. `window` is not empty, oldest first.
pub(super) fn judge(window: &Window, ages_s: &BTreeMap<LinkId, u32>) -> Option<Verdict> {
    let state = State::of(window, ages_s)?;
    let my_cpu = cpu(window).map(|severity| verdict(Cause::MyCpu, None, severity));
    my_cpu
        .or_else(|| state.bursts())
        .or_else(|| state.steady())
        .or_else(|| state.long_way())
}

fn verdict(cause: Cause, member: Option<MemberId>, severity: Severity) -> Verdict {
    Verdict {
        cause,
        member,
        severity,
    }
}

/// One link's outgoing direction.
struct Out {
    peer: LinkPeer,
    bad: Option<Severity>,
    bursts: Option<Severity>,
    /// Of a relayed one.
    long: Option<Severity>,
}

/// What comes from one member who sends anything.
struct In {
    member: MemberId,
    bad: Option<Severity>,
    bursts: Option<Severity>,
}

/// The newest second in terms of good and bad.
struct State {
    outs: Vec<Out>,
    ins: Vec<In>,
    /// Whether what is sent goes to the server first.
    is_by_sfu: bool,
}

impl State {
    /// `None`: there is nothing to judge by yet.
    fn of(window: &Window, ages_s: &BTreeMap<LinkId, u32>) -> Option<Self> {
        let newest = window.back()?;
        let outs = newest.links.iter().filter_map(|link| {
            let seconds = seconds_of(window, |sample| find_link(sample, link.id));
            let age_s = ages_s.get(&link.id).copied().unwrap_or(0);
            (seconds.len() >= RECENT).then(|| out(link.id.peer, &seconds, age_s))
        });
        let ins = newest.members.iter().filter_map(|member| {
            let seconds = seconds_of(window, |sample| Incoming::of(sample, member.id));
            let recent = last(&seconds, RECENT);
            let sends = recent.iter().any(|second| second.sends);
            (seconds.len() >= RECENT && sends).then(|| incoming(member.id, &seconds))
        });
        let is_sfu = |link: &LinkSample| link.id.peer == LinkPeer::Sfu;
        Some(Self {
            outs: outs.collect(),
            ins: ins.collect(),
            is_by_sfu: newest.links.iter().any(is_sfu),
        })
    }

    /// Moments of heavy loss, with everybody or with one.
    fn bursts(&self) -> Option<Verdict> {
        let by_sfu = self
            .outs
            .iter()
            .find(|out| out.peer == LinkPeer::Sfu && out.bursts.is_some());
        if let Some(severity) = by_sfu.and_then(|out| out.bursts) {
            return Some(verdict(Cause::Bursts, None, severity));
        }
        let members: BTreeSet<_> = self.members().collect();
        let bursty: BTreeMap<_, _> = members
            .iter()
            .filter_map(|member| Some((*member, self.bursts_with(*member)?)))
            .collect();
        let worst = bursty.values().copied().max()?;
        if bursty.len() == members.len() {
            return Some(verdict(Cause::Bursts, None, worst));
        }
        // Theirs is told with what is steadily bad, or not at all.
        let (member, severity) = bursty.first_key_value()?;
        let alone = bursty.len() == 1 && !self.is_steadily_bad();
        alone.then(|| verdict(Cause::OtherSide, Some(*member), *severity))
    }

    fn bursts_with(&self, member: MemberId) -> Option<Severity> {
        let outs = self.outs.iter();
        let out = outs.filter(|out| out.peer == LinkPeer::Member(member));
        let ins = self.ins.iter().filter(|it| it.member == member);
        let both = out.map(|it| it.bursts).chain(ins.map(|it| it.bursts));
        both.flatten().max()
    }

    fn members(&self) -> impl Iterator<Item = MemberId> {
        let direct = self.outs.iter().filter_map(|out| match out.peer {
            LinkPeer::Member(member) => Some(member),
            LinkPeer::Sfu | LinkPeer::Data(_) => None,
        });
        self.ins.iter().map(|it| it.member).chain(direct)
    }

    fn is_steadily_bad(&self) -> bool {
        let outs = self.outs.iter().any(|out| out.bad.is_some());
        outs || self.ins.iter().any(|it| it.bad.is_some())
    }

    /// What is bad all the time.
    fn steady(&self) -> Option<Verdict> {
        let worst_out = self.outs.iter().filter_map(|out| out.bad).max();
        let worst_in = self.ins.iter().filter_map(|it| it.bad).max();
        let worst = worst_out.max(worst_in)?;
        let is_out_all = !self.outs.is_empty() && self.outs.iter().all(|out| out.bad.is_some());
        let is_in_all = !self.ins.is_empty() && self.ins.iter().all(|it| it.bad.is_some());
        if is_out_all {
            return Some(match (&self.ins[..], &self.outs[..]) {
                ([_, _, ..], _) if is_in_all => verdict(Cause::MyConnection, None, worst),
                ([one], [_]) if is_in_all && !self.is_by_sfu => {
                    verdict(Cause::Between, Some(one.member), worst)
                }
                _ => verdict(Cause::MyUplink, None, worst_out?),
            });
        }
        if is_in_all && self.ins.len() >= 2 {
            return Some(verdict(Cause::MyDownlink, None, worst_in?));
        }
        let bad_ins = self.ins.iter().filter(|it| it.bad.is_some());
        let bad_outs = self.outs.iter().filter(|out| out.bad.is_some());
        // Of one of several links to the SFU nobody else can be blamed.
        let bad_outs = bad_outs.map(|out| match out.peer {
            LinkPeer::Member(member) => Some(member),
            LinkPeer::Sfu | LinkPeer::Data(_) => None,
        });
        let blamed: BTreeSet<_> = bad_ins.map(|it| Some(it.member)).chain(bad_outs).collect();
        match blamed.into_iter().collect::<Vec<_>>()[..] {
            [Some(member)] => Some(verdict(Cause::OtherSide, Some(member), worst)),
            _ => None,
        }
    }

    /// A detour that takes long.
    fn long_way(&self) -> Option<Verdict> {
        let long: Vec<_> = self.outs.iter().filter(|out| out.long.is_some()).collect();
        let severity = long.iter().filter_map(|out| out.long).max()?;
        let member = match long[..] {
            [one] => match one.peer {
                LinkPeer::Member(member) => Some(member),
                LinkPeer::Sfu | LinkPeer::Data(_) => None,
            },
            _ => None,
        };
        Some(verdict(Cause::RelayPath, member, severity))
    }
}

fn cpu(window: &Window) -> Option<Severity> {
    let seconds: Vec<_> = window.iter().collect();
    let recent = last(&seconds, RECENT);
    if recent.len() < RECENT {
        return None;
    }
    let busy = median(recent.iter().map(|sample| sample.encoder_busy));
    let lag_ms = median(recent.iter().map(|sample| sample.lag_ms));
    BUSY.above(busy).max(LAG_MS.above(lag_ms))
}

/// `seconds`: of the link in the window, oldest first, not empty.
fn out(peer: LinkPeer, seconds: &[LinkSample], age_s: u32) -> Out {
    let recent = last(seconds, RECENT);
    let loss = |link: &LinkSample| {
        if link.is_interrupted {
            1.0
        } else {
            link.loss_out
        }
    };
    let bursts = bursts_in(seconds.iter().map(|link| loss(link) >= BURST_LOSS));
    let lost = LOSS.above(median(recent.iter().map(loss)));
    let short = if age_s < RATE_GRACE_S {
        None
    } else {
        SHORTAGE.above(median(recent.iter().map(shortage)))
    };
    let is_relayed = recent.iter().all(|link| link.path == PathView::Relay);
    let rtt_ms = median(recent.iter().map(|link| link.rtt_ms.unwrap_or(0.0)));
    Out {
        peer,
        bad: lost.filter(|_| bursts.is_none()).max(short),
        bursts,
        long: ROUND_TRIP_MS.above(rtt_ms).filter(|_| is_relayed),
    }
}

/// The share of the wanted rate that the link keeps back. A link whose rate is not used up is not
/// short: estimates follow what is sent, which something else may hold down.
fn shortage(link: &LinkSample) -> f64 {
    let is_full = link.sent_bps.saturating_mul(5) >= link.target_bps.saturating_mul(4);
    if link.target_bps == 0 || link.wanted_bps == 0 || !is_full {
        return 0.0;
    }
    1.0 - link.target_bps as f64 / link.wanted_bps as f64
}

/// One second of what comes from a member.
#[derive(Clone, Copy)]
struct Incoming {
    sends: bool,
    loss: f64,
    concealed: f64,
    frozen: f64,
    jitter_ms: f64,
}

impl Incoming {
    fn of(sample: &StatsSample, id: MemberId) -> Option<Self> {
        let member: &MemberSample = sample.members.iter().find(|member| member.id == id)?;
        let mut links = sample.links.iter();
        let direct = links.find(|link| link.id.peer == LinkPeer::Member(id));
        let is_interrupted = direct.is_some_and(|link| link.is_interrupted);
        let direct_loss = direct.map_or(0.0, |link| link.loss_in);
        Some(Self {
            sends: member.bitrate_bps > 0 || is_interrupted,
            loss: if is_interrupted {
                1.0
            } else {
                member.sound_loss.max(direct_loss)
            },
            concealed: member.concealed,
            frozen: member.frozen,
            jitter_ms: member.jitter_ms,
        })
    }

    fn is_burst(&self, usual_jitter_ms: f64) -> bool {
        let jumps = self.jitter_ms >= BURST_JITTER_MS
            && self.jitter_ms >= BURST_JITTER_TIMES * usual_jitter_ms;
        self.loss.max(self.concealed) >= BURST_LOSS || jumps
    }
}

/// `seconds`: of the member in the window, oldest first, not empty.
fn incoming(member: MemberId, seconds: &[Incoming]) -> In {
    let recent = last(seconds, RECENT);
    let usual_jitter_ms = median(seconds.iter().map(|second| second.jitter_ms));
    let bursts = bursts_in(
        seconds
            .iter()
            .map(|second| second.is_burst(usual_jitter_ms)),
    );
    let lost = LOSS.above(median(recent.iter().map(|second| second.loss)));
    let made_up = CONCEALED.above(median(recent.iter().map(|second| second.concealed)));
    let still = last(seconds, FROZEN);
    let frozen = still.iter().map(|second| second.frozen).sum::<f64>() / FROZEN as f64;
    In {
        member,
        bad: lost
            .max(made_up)
            .max(FROZEN_SHARE.above(frozen))
            .filter(|_| bursts.is_none()),
        bursts,
    }
}

/// Whether these seconds are moments of trouble with good ones between.
fn bursts_in(seconds: impl Iterator<Item = bool>) -> Option<Severity> {
    let (mut bursts, mut bad, mut was_bad) = (0, 0, false);
    for is_bad in seconds {
        bursts += usize::from(is_bad && !was_bad);
        bad += usize::from(is_bad);
        was_bad = is_bad;
    }
    let are_moments = bursts >= BURSTS && bad <= BURST_SECONDS;
    are_moments.then_some(if bad >= BURST_SEVERE_SECONDS {
        Severity::Severe
    } else {
        Severity::Mild
    })
}

fn find_link(sample: &StatsSample, id: LinkId) -> Option<LinkSample> {
    sample.links.iter().find(|link| link.id == id).copied()
}

/// The unbroken run of seconds up to the newest in which there is such a thing.
fn seconds_of<T>(window: &Window, find: impl Fn(&StatsSample) -> Option<T>) -> Vec<T> {
    let mut seconds: Vec<_> = window.iter().rev().map_while(find).collect();
    seconds.reverse();
    seconds
}

fn last<T>(seconds: &[T], most: usize) -> &[T] {
    &seconds[seconds.len().saturating_sub(most)..]
}

/// The middle one, of an even number the smaller of both; 0 of none.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
        .get(figures.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}
