//! The host in the random conversations: who it is, and what follows from what they ask.

use std::collections::{BTreeMap, BTreeSet};

use call_protocol::care::{Door, Moderation};
use call_protocol::{ErrorCode, MemberId};

use super::{Model, RefRoom};
use crate::server::moderate;

impl RefRoom {
    pub(super) fn new(auth: &'static str) -> Self {
        Self {
            auth,
            seats: BTreeMap::new(),
            used: BTreeSet::new(),
            last: 0,
            expired: BTreeMap::new(),
            order: Vec::new(),
            host: MemberId(0),
            door: Door::Open,
            banned: BTreeSet::new(),
        }
    }

    /// After a seat ended: the longest present is host where the host's did. Counts new ones.
    pub(super) fn succeed(&mut self) -> usize {
        let seats = &self.seats;
        self.order.retain(|member| seats.contains_key(member));
        if seats.contains_key(&self.host) {
            return 0;
        }
        let is_lost = |member: &&MemberId| seats[member].conn.is_none();
        let Some(heir) = self.order.iter().min_by_key(is_lost) else {
            return 0;
        };
        self.host = *heir;
        1
    }
}

impl Model {
    pub(super) fn moderate(&mut self, conn: u64) {
        let at = usize::try_from(self.random.below(4)).expect("small");
        let seated = self.seat_of(conn);
        let members = seated.map(|(room, _)| &self.rooms[&room].order);
        let member = members.and_then(|it| it.get(at)).copied();
        let member = member.unwrap_or(MemberId(0));
        let action = match self.random.below(8) {
            0 | 1 => Moderation::Door { door: Door::Open },
            2 => Moderation::Door { door: Door::Locked },
            3 => Moderation::Host { member },
            _ => Moderation::Remove { member },
        };
        self.log.push(format!("  {action:?}"));
        self.server.say(conn, moderate(action));
        let Some((room, from)) = self.seat_of(conn) else {
            return self.expect_error(conn, ErrorCode::NotJoined);
        };
        let state = self.rooms.get_mut(&room).expect("open room");
        if state.host != from {
            return self.expect_error(conn, ErrorCode::NotHost);
        }
        match action {
            Moderation::Door { door } => state.door = door,
            Moderation::Host { member } if state.seats.contains_key(&member) => {
                state.host = member;
            }
            Moderation::Remove { member } if member != from => {
                let Some(seat) = state.seats.remove(&member) else {
                    return self.expect_error(conn, ErrorCode::UnknownMember);
                };
                state.succeed();
                state.banned.insert(seat.token);
                self.removals += 1;
                if let Some(victim) = seat.conn {
                    assert_eq!(self.server.closed(victim), Some(ErrorCode::Removed));
                    self.server.take(victim);
                    self.zombies.remove(&victim);
                    if let Some(id) = self.client_of(victim) {
                        self.forget(id);
                    }
                    self.server.drop_connection(victim);
                }
            }
            _ => self.expect_error(conn, ErrorCode::UnknownMember),
        }
    }
}
