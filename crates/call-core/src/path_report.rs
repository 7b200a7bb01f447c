//! What the server is told about the links: debounced, and only when it changes.

use std::time::{Duration, Instant};

use call_protocol::wire::ClientMessage;
use call_protocol::{MemberId, limits};

use crate::config::TopologyWish;

/// How long a shortage must hold. A single keyframe or a window being dragged causes one for a
/// moment; raising this keeps people in a mesh that stutters.
const SHORT_HOLD: Duration = Duration::from_secs(3);
/// How long relief must hold. Longer, because going back too early costs two switches.
const RELIEF_HOLD: Duration = Duration::from_secs(5);

/// What one report says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Report {
    relayed: Vec<MemberId>,
    uplink_short: bool,
    cpu_short: bool,
}

/// What holds, and what the server knows of it.
#[derive(Debug)]
pub(crate) struct PathReports {
    wish: TopologyWish,
    relayed: Vec<MemberId>,
    uplink_short: Held,
    cpu_short: Held,
    /// `None`: the server may know anything.
    sent: Option<Report>,
}

/// A flag that changes only when the other value holds for a while.
#[derive(Debug, Default)]
struct Held {
    value: bool,
    other_since: Option<Instant>,
}

impl Held {
    fn note(&mut self, now: Instant, seen: bool) {
        if seen == self.value {
            self.other_since = None;
            return;
        }
        let since = *self.other_since.get_or_insert(now);
        let hold = if seen { SHORT_HOLD } else { RELIEF_HOLD };
        if now >= since + hold {
            self.value = seen;
            self.other_since = None;
        }
    }
}

impl PathReports {
    pub(crate) fn new(wish: TopologyWish) -> Self {
        Self {
            wish,
            relayed: Vec::new(),
            uplink_short: Held::default(),
            cpu_short: Held::default(),
            sent: Some(Report::default()),
        }
    }

    /// The links were looked at. `has_direct` tells whose direct link there is to look at: of the
    /// others, what was known stays, since a pair that needed a relay will need it again.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        relayed: &[MemberId],
        uplink_short: bool,
        cpu_short: bool,
        has_direct: impl Fn(MemberId) -> bool,
    ) {
        self.relayed.retain(|member| !has_direct(*member));
        let seen = relayed.iter().filter(|member| has_direct(**member));
        self.relayed.extend(seen);
        self.relayed.sort_unstable();
        self.relayed.dedup();
        self.relayed.truncate(limits::ROOM_MEMBERS);
        self.uplink_short.note(now, uplink_short);
        self.cpu_short.note(now, cpu_short);
    }

    /// A member is gone.
    pub(crate) fn forget(&mut self, member: MemberId) {
        self.relayed.retain(|relayed| *relayed != member);
    }

    /// The server may not know what it was told.
    pub(crate) fn forget_sent(&mut self) {
        self.sent = None;
    }

    /// A new seat, of which the server knows nothing.
    pub(crate) fn renew(&mut self) {
        self.sent = Some(Report::default());
    }

    /// What to tell now.
    pub(crate) fn poll(&mut self) -> Option<ClientMessage> {
        let report = Report {
            relayed: self.relayed.clone(),
            uplink_short: self.uplink_short.value || self.wish == TopologyWish::Sfu,
            cpu_short: self.cpu_short.value,
        };
        if self.wish == TopologyWish::Mesh || self.sent.as_ref() == Some(&report) {
            return None;
        }
        self.sent = Some(report.clone());
        let Report {
            relayed,
            uplink_short,
            cpu_short,
        } = report;
        Some(ClientMessage::Report {
            relayed,
            uplink_short,
            cpu_short,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(relayed: &[u32], uplink_short: bool, cpu_short: bool) -> ClientMessage {
        ClientMessage::Report {
            relayed: relayed.iter().copied().map(MemberId).collect(),
            uplink_short,
            cpu_short,
        }
    }

    /// Notes one report a second; gives what was told, with the second.
    fn told(seconds: impl Iterator<Item = (bool, bool)>) -> Vec<(u64, ClientMessage)> {
        let mut reports = PathReports::new(TopologyWish::Auto);
        let start = Instant::now();
        let mut told = Vec::new();
        for (second, (uplink, cpu)) in (0..).zip(seconds) {
            let now = start + Duration::from_secs(second);
            reports.note(now, &[], uplink, cpu, |_| true);
            told.extend(reports.poll().map(|message| (second, message)));
        }
        told
    }

    #[test]
    fn a_shortage_must_hold_and_so_must_relief() {
        let flips = (0..20).map(|second| (second % 3 != 2, false));
        assert_eq!(told(flips), [], "never three seconds in a row");
        let short = (0..30).map(|second| ((2..9).contains(&second), second == 20));
        assert_eq!(
            told(short),
            [
                (5, report(&[], true, false)),
                (14, report(&[], false, false))
            ]
        );
        let slow = (0..10).map(|_| (false, true));
        assert_eq!(told(slow), [(3, report(&[], false, true))]);
    }

    #[test]
    fn relayed_pairs_are_told_at_once_and_remembered_while_there_is_no_link() {
        let now = Instant::now();
        let mut reports = PathReports::new(TopologyWish::Auto);
        let note = |reports: &mut PathReports, relayed: &[u32], direct: &[u32]| {
            let relayed: Vec<_> = relayed.iter().copied().map(MemberId).collect();
            reports.note(now, &relayed, false, false, |member| {
                direct.contains(&member.0)
            });
            reports.poll()
        };
        let first = note(&mut reports, &[3, 2, 3, 9], &[2, 3]);
        assert_eq!(first, Some(report(&[2, 3], false, false)), "9 is nobody");
        assert_eq!(note(&mut reports, &[], &[]), None, "the SFU carries it");
        let second = note(&mut reports, &[], &[3]);
        assert_eq!(second, Some(report(&[2], false, false)));
        reports.forget(MemberId(2));
        assert_eq!(reports.poll(), Some(report(&[], false, false)));
    }

    #[test]
    fn a_wish_overrides_what_is_seen() {
        let now = Instant::now();
        let mut sfu = PathReports::new(TopologyWish::Sfu);
        assert_eq!(sfu.poll(), Some(report(&[], true, false)));
        assert_eq!(sfu.poll(), None);
        sfu.renew();
        assert!(sfu.poll().is_some(), "a new seat is told again");
        let mut mesh = PathReports::new(TopologyWish::Mesh);
        for second in 0..10 {
            let now = now + Duration::from_secs(second);
            mesh.note(now, &[MemberId(2)], true, true, |_| true);
            assert_eq!(mesh.poll(), None);
        }
        mesh.forget_sent();
        assert_eq!(mesh.poll(), None);
    }
}
