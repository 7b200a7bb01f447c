//! One room: its auth key and its seats.
//!
//! A seat is `Here` (a connection carries it) or `Lost` (it waits for a resume until it expires).
//! The others cannot tell the two apart. A room lives as long as it has seats; member ids grow and
//! are never used twice in one lifetime.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use call_protocol::MemberId;
use call_protocol::wire::RosterEntry;

use crate::connection::ConnId;
use crate::rate::Bucket;
use crate::token::{AuthKey, ResumeToken};

/// Signals kept for a lost seat. The newest are dropped beyond it: what was sent first is what
/// later signals build on.
const PENDING_SIGNALS: usize = 64;
/// Base64 characters kept for a lost seat, over all its signals.
const PENDING_CHARS: usize = 256 * 1024;

pub(crate) enum Presence {
    Here(ConnId),
    Lost {
        expires: Instant,
        pending: PendingSignals,
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

pub(crate) struct Seat {
    pub(crate) profile: String,
    pub(crate) token: ResumeToken,
    pub(crate) presence: Presence,
}

pub(crate) struct Room {
    pub(crate) auth: AuthKey,
    pub(crate) joins: Bucket,
    seats: BTreeMap<MemberId, Seat>,
    last_member: u32,
}

impl Room {
    pub(crate) fn new(auth: AuthKey) -> Self {
        Self {
            auth,
            joins: Bucket::default(),
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
        self.seats.remove(&member)
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

    /// Connections of everybody but one.
    pub(crate) fn connections_without(&self, member: MemberId) -> Vec<ConnId> {
        self.seats
            .iter()
            .filter(|(other, _)| **other != member)
            .filter_map(|(_, seat)| match seat.presence {
                Presence::Here(conn) => Some(conn),
                Presence::Lost { .. } => None,
            })
            .collect()
    }
}
