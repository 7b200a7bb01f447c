//! One room: its auth key, its seats and its topology.
//!
//! A seat is `Here` (a connection carries it) or `Lost` (it waits for a resume until it expires).
//! The others cannot tell the two apart. A room lives as long as it has seats; member ids grow and
//! are never used twice in one lifetime.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use call_protocol::MemberId;
use call_protocol::wire::{RosterEntry, ServerMessage, TopologyMode};

use crate::connection::ConnId;
use crate::rate::Bucket;
use crate::token::{AuthKey, ResumeToken};
use crate::topology::{Situation, Topology};

/// Signals kept for a lost seat. The newest are dropped beyond it: what was sent first is what
/// later signals build on.
const PENDING_SIGNALS: usize = 64;
/// Base64 characters kept for a lost seat, over all its signals.
const PENDING_CHARS: usize = 256 * 1024;
/// Messages of the forwarding unit kept for a lost seat.
const MISSED_NEWS: usize = 16;

pub(crate) enum Presence {
    Here(ConnId),
    Lost {
        expires: Instant,
        pending: PendingSignals,
        missed: MissedNews,
    },
}

/// Signals that arrived while a seat was lost.
#[derive(Default)]
pub(crate) struct PendingSignals {
    signals: VecDeque<(MemberId, String)>,
    chars: usize,
}

impl PendingSignals {
    /// Keeps a signal; false when it was dropped.
    pub(crate) fn push(&mut self, from: MemberId, sealed: String) -> bool {
        let fits = self.signals.len() < PENDING_SIGNALS
            && self.chars.saturating_add(sealed.len()) <= PENDING_CHARS;
        if fits {
            self.chars += sealed.len();
            self.signals.push_back((from, sealed));
        }
        fits
    }
}

impl IntoIterator for PendingSignals {
    type Item = (MemberId, String);
    type IntoIter = std::collections::vec_deque::IntoIter<(MemberId, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.signals.into_iter()
    }
}

/// What the forwarding unit said while a seat was lost: the latest of each kind, about each link
/// and source. The oldest are dropped beyond [`MISSED_NEWS`].
#[derive(Default)]
pub(crate) struct MissedNews {
    news: VecDeque<ServerMessage>,
}

impl MissedNews {
    pub(crate) fn push(&mut self, message: ServerMessage) {
        self.news.retain(|older| !replaces(&message, older));
        if self.news.len() == MISSED_NEWS {
            self.news.pop_front();
        }
        self.news.push_back(message);
    }

    pub(crate) fn into_messages(self) -> impl Iterator<Item = ServerMessage> {
        self.news.into_iter()
    }
}

fn replaces(new: &ServerMessage, old: &ServerMessage) -> bool {
    use ServerMessage::{SfuAnswer, SfuClosed, SfuLayers, SfuSlots};
    match (new, old) {
        (SfuLayers { source, .. }, SfuLayers { source: before, .. }) => source == before,
        (SfuAnswer { link, .. }, SfuAnswer { link: before, .. })
        | (SfuSlots { link, .. }, SfuSlots { link: before, .. })
        | (SfuClosed { link, .. }, SfuClosed { link: before, .. }) => link == before,
        _ => false,
    }
}

/// What a member last reported of its links.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathReport {
    relayed: BTreeSet<MemberId>,
    uplink_short: bool,
    cpu_short: bool,
}

pub(crate) struct Seat {
    pub(crate) profile: String,
    pub(crate) token: ResumeToken,
    pub(crate) presence: Presence,
    pub(crate) report: PathReport,
    /// Whether the forwarding unit knows of it.
    pub(crate) uses_sfu: bool,
    /// When its relay grant is renewed.
    pub(crate) relay_due: Option<Instant>,
}

impl Seat {
    pub(crate) fn new(profile: String, token: ResumeToken, conn: ConnId) -> Self {
        Self {
            profile,
            token,
            presence: Presence::Here(conn),
            report: PathReport::default(),
            uses_sfu: false,
            relay_due: None,
        }
    }
}

pub(crate) struct Room {
    pub(crate) auth: AuthKey,
    pub(crate) joins: Bucket,
    pub(crate) topology: Topology,
    seats: BTreeMap<MemberId, Seat>,
    last_member: u32,
}

impl Room {
    pub(crate) fn new(auth: AuthKey) -> Self {
        Self {
            auth,
            joins: Bucket::default(),
            topology: Topology::default(),
            seats: BTreeMap::new(),
            last_member: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Adds a seat. `None` when every id has been used.
    pub(crate) fn add(&mut self, seat: Seat) -> Option<MemberId> {
        self.last_member = self.last_member.checked_add(1)?;
        let member = MemberId(self.last_member);
        self.seats.insert(member, seat);
        Some(member)
    }

    pub(crate) fn remove(&mut self, member: MemberId) -> Option<Seat> {
        for seat in self.seats.values_mut() {
            seat.report.relayed.remove(&member);
        }
        self.seats.remove(&member)
    }

    /// Takes a member's report. At the SFU there are no links to say anything about, so that a
    /// relayed pair stays one.
    pub(crate) fn report(
        &mut self,
        member: MemberId,
        relayed: &[MemberId],
        uplink_short: bool,
        cpu_short: bool,
    ) {
        let seats = &self.seats;
        let known: Vec<MemberId> = relayed
            .iter()
            .copied()
            .filter(|other| *other != member && seats.contains_key(other))
            .collect();
        let keeps = self.topology.mode() == TopologyMode::Sfu;
        if let Some(seat) = self.seats.get_mut(&member) {
            if !keeps {
                seat.report.relayed.clear();
            }
            seat.report.relayed.extend(known);
            seat.report.uplink_short = uplink_short;
            seat.report.cpu_short = cpu_short;
        }
    }

    /// What the topology is chosen by.
    pub(crate) fn situation(&self) -> Situation {
        let any =
            |is_so: fn(&PathReport) -> bool| self.seats.values().any(|seat| is_so(&seat.report));
        Situation {
            members: self.seats.len(),
            is_relayed: any(|report| !report.relayed.is_empty()),
            uplink_short: any(|report| report.uplink_short),
            cpu_short: any(|report| report.cpu_short),
        }
    }

    pub(crate) fn seat_mut(&mut self, member: MemberId) -> Option<&mut Seat> {
        self.seats.get_mut(&member)
    }

    pub(crate) fn contains(&self, member: MemberId) -> bool {
        self.seats.contains_key(&member)
    }

    /// Whose seat the token proves. Compares with every seat, whatever it finds.
    pub(crate) fn member_of_token(&self, token: &str) -> Option<MemberId> {
        self.seats.iter().fold(None, |found, (member, seat)| {
            if seat.token.matches(token) {
                Some(*member)
            } else {
                found
            }
        })
    }

    /// Everybody but one, for `joined`.
    pub(crate) fn roster_without(&self, member: MemberId) -> Vec<RosterEntry> {
        self.seats
            .iter()
            .filter(|(other, _)| **other != member)
            .map(|(other, seat)| RosterEntry {
                member: *other,
                profile: seat.profile.clone(),
            })
            .collect()
    }

    /// Connections of everybody, but one perhaps.
    pub(crate) fn connections_without(&self, member: Option<MemberId>) -> Vec<ConnId> {
        self.seats
            .iter()
            .filter(|(other, _)| Some(**other) != member)
            .filter_map(|(_, seat)| match seat.presence {
                Presence::Here(conn) => Some(conn),
                Presence::Lost { .. } => None,
            })
            .collect()
    }
}
