//! One room: its auth key, its seats and its topology.
//!
//! A seat is `Here` (a connection carries it) or `Lost` (it waits for a resume until it expires).
//! The others cannot tell the two apart. A room lives as long as it has seats. Within one lifetime a
//! member id is given again only to whoever holds the token of the seat that had it; the ids of
//! newcomers grow.
//!
//! Who had a seat in an earlier lifetime (the server was restarted, or everybody was gone for too
//! long) may have the same id again while nobody in this one has or had it. That is no proof of who
//! they are: it lets members who know each other by id, and recognise each other by what their
//! profiles are sealed with, go on without noticing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use call_protocol::MemberId;
use call_protocol::wire::{RosterEntry, ServerMessage, TopologyMode};

use crate::care::Care;
use crate::connection::ConnId;
use crate::rate::Bucket;
use crate::token::{AuthKey, ResumeToken, claimed_member};
use crate::topology::{Situation, Topology};

/// Signals kept for a lost seat. The newest are dropped beyond it: what was sent first is what
/// later signals build on.
const PENDING_SIGNALS: usize = 64;
/// Base64 characters kept for a lost seat, over all its signals.
const PENDING_CHARS: usize = 256 * 1024;
/// Messages of the forwarding unit kept for a lost seat.
const MISSED_NEWS: usize = 16;
/// Seats whose time was over, to be taken again with their tokens. The oldest are forgotten.
const EXPIRED_SEATS: usize = 64;
/// Ids of an earlier lifetime that a room gives again. More than ever return at once; raising it
/// costs four bytes each.
const CLAIMS: usize = 1_000;
/// Highest id that is given again, so that nobody can use the numbers up.
const HIGHEST_CLAIM: u32 = 1 << 30;
/// In a room that begins with a member of an earlier lifetime newcomers get ids that much higher, so
/// that they do not take those of members still on their way back.
const NEWCOMERS_AFTER: u32 = 1_000;

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
    /// Orders seats by when they were taken first.
    order: u64,
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
            order: 0,
        }
    }

    /// What is to be ended with the seat: its connection, or when it would have expired.
    pub(crate) fn presence_ends(&self) -> (Option<ConnId>, Option<Instant>) {
        match self.presence {
            Presence::Here(conn) => (Some(conn), None),
            Presence::Lost { expires, .. } => (None, Some(expires)),
        }
    }
}

pub(crate) struct Room {
    pub(crate) auth: AuthKey,
    pub(crate) joins: Bucket,
    pub(crate) topology: Topology,
    pub(crate) care: Care,
    /// Seats taken so far.
    taken: u64,
    seats: BTreeMap<MemberId, Seat>,
    /// Before the id of the first newcomer, and the one of the last.
    before_newcomers: u32,
    last_newcomer: u32,
    /// Ids of an earlier lifetime, given again.
    claimed: BTreeSet<MemberId>,
    expired: VecDeque<(MemberId, ResumeToken)>,
}

impl Room {
    /// An empty room. `returning`: who opens it had this id in an earlier one.
    pub(crate) fn new(auth: AuthKey, returning: Option<MemberId>) -> Self {
        let returning = returning.filter(|member| member.0 <= HIGHEST_CLAIM);
        let last_newcomer = returning.map_or(0, |member| member.0 + NEWCOMERS_AFTER);
        Self {
            auth,
            joins: Bucket::default(),
            topology: Topology::default(),
            // Until the first seat is taken, which it is at once.
            care: Care::new(MemberId(0)),
            taken: 0,
            seats: BTreeMap::new(),
            before_newcomers: last_newcomer,
            last_newcomer,
            claimed: BTreeSet::new(),
            expired: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// An id for a newcomer. `None` when every one has been used.
    pub(crate) fn next_member(&mut self) -> Option<MemberId> {
        loop {
            self.last_newcomer = self.last_newcomer.checked_add(1)?;
            let member = MemberId(self.last_newcomer);
            if !self.claimed.contains(&member) {
                return Some(member);
            }
        }
    }

    /// The id a member had before, if the token proves it or nobody in this lifetime has or had it.
    pub(crate) fn claim(&mut self, token: &str) -> Option<MemberId> {
        let proven = self.expired.iter().fold(None, |found, (member, issued)| {
            if issued.matches(token) {
                Some(*member)
            } else {
                found
            }
        });
        if let Some(member) = proven {
            self.expired.retain(|(expired, _)| *expired != member);
            return Some(member);
        }
        let member = claimed_member(token)?;
        let was_newcomer = (self.before_newcomers + 1..=self.last_newcomer).contains(&member.0);
        let is_free = (1..=HIGHEST_CLAIM).contains(&member.0)
            && !was_newcomer
            && self.claimed.len() < CLAIMS
            && !self.claimed.contains(&member);
        if is_free {
            self.claimed.insert(member);
        }
        is_free.then_some(member)
    }

    /// Adds a seat under an id of [`next_member`](Self::next_member) or [`claim`](Self::claim).
    /// Who takes the first one is host.
    pub(crate) fn add(&mut self, member: MemberId, mut seat: Seat) {
        if self.seats.is_empty() {
            self.care.host = member;
        }
        self.taken += 1;
        seat.order = self.taken;
        self.seats.insert(member, seat);
    }

    /// Whether the token is of a seat whose time was over.
    pub(crate) fn had_seat(&self, token: &str) -> bool {
        self.expired
            .iter()
            .fold(false, |found, (_, issued)| found | issued.matches(token))
    }

    /// Who has had a seat for longest; whose connection is lost counts last.
    pub(crate) fn longest_present(&self) -> Option<MemberId> {
        let rank = |seat: &Seat| (matches!(seat.presence, Presence::Lost { .. }), seat.order);
        let longest = self.seats.iter().min_by_key(|(_, seat)| rank(seat));
        longest.map(|(member, _)| *member)
    }

    /// Everybody with a seat.
    pub(crate) fn members(&self) -> Vec<MemberId> {
        self.seats.keys().copied().collect()
    }

    /// A seat's time was over: it may be taken again.
    pub(crate) fn remember_expired(&mut self, member: MemberId, token: ResumeToken) {
        if self.expired.len() == EXPIRED_SEATS {
            self.expired.pop_front();
        }
        self.expired.push_back((member, token));
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
