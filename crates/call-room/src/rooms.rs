//! [`Rooms`]: every connection, every room, and the rules between them.
//!
//! Invariants: a `Seated` connection names a seat that names it back; a lost seat has exactly one
//! timer; a room without seats does not exist; nobody is told of another room's members. After a
//! fatal error a connection gets nothing more.
//!
//! Deliberately not here: transport liveness (the shell pings and reports [`Input::Silent`]) and
//! queues towards clients (the shell bounds them and reports [`Input::Overflowed`]).

mod care;
mod join;
mod seats;
mod sfu;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use call_protocol::wire::{
    ClientMessage, LeaveReason, PROTOCOL_VERSION, ParseError, ServerMessage,
};
use call_protocol::{ErrorCode, RoomId};

use crate::address::{Addresses, ClientAddr};
use crate::config::RoomsConfig;
use crate::connection::{ConnId, Connection, Phase};
use crate::counters::{Counters, Occupancy};
use crate::io::{Input, Output, Reason};
use crate::relay::RelaySecret;
use crate::room::Room;
use crate::token::TokenSource;

/// The state of a server. See the module documentation.
pub struct Rooms {
    config: RoomsConfig,
    tokens: TokenSource,
    connections: BTreeMap<ConnId, Connection>,
    rooms: BTreeMap<RoomId, Room>,
    addresses: Addresses,
    timers: BTreeSet<(Instant, Reason)>,
    /// Grows by at most four per connection for one input; the shell empties it after each.
    outputs: VecDeque<Output>,
    counters: Counters,
    is_draining: bool,
    relay: RelaySecret,
    /// Relay grants given so far.
    grants: u64,
    /// Rooms a host ended, and until when that is remembered.
    ended: VecDeque<(Instant, RoomId)>,
    started: (Instant, u64),
}

/// A refusal that leaves the connection usable.
type Refusal = (ErrorCode, &'static str);

impl Rooms {
    /// A server without connections. `seed` makes the resume tokens and, by
    /// [`RelaySecret::new`], the relay's credentials: secret, and fresh from the system's randomness
    /// at every start. `started` is one moment by both clocks, the second in seconds since 1970; relay
    /// grants are dated by it.
    pub fn new(config: RoomsConfig, seed: [u8; 32], started: (Instant, u64)) -> Self {
        Self {
            config,
            tokens: TokenSource::new(seed),
            connections: BTreeMap::new(),
            rooms: BTreeMap::new(),
            addresses: Addresses::default(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            is_draining: false,
            relay: RelaySecret::new(seed),
            grants: 0,
            ended: VecDeque::new(),
            started,
        }
    }

    /// Takes one input. What is due by `now` happens before it.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.expire(now);
        match input {
            Input::Connected { conn, addr } => self.handle_connected(now, conn, addr),
            Input::Message { conn, message } => self.handle_message(now, conn, message),
            Input::ParseFailed { conn, error } => self.handle_parse_failed(now, conn, error),
            Input::Silent { conn } => {
                self.close(
                    now,
                    conn,
                    ErrorCode::TimedOut,
                    "neither message nor pong".into(),
                );
            }
            Input::Overflowed { conn } => {
                self.close(now, conn, ErrorCode::TooSlow, "reads too slowly".into());
            }
            Input::Disconnected { conn } => self.handle_disconnected(now, conn),
            Input::Sfu {
                room,
                member,
                event,
            } => self.handle_sfu_event(&room, member, event),
            Input::Timeout => {}
            Input::Drain => self.handle_drain(now),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to report [`Input::Timeout`] at the latest, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.timers.first().cloned()
    }

    /// What is there now.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            rooms: self.rooms.len(),
            members: self.rooms.values().map(Room::len).sum(),
            waiting: self
                .rooms
                .values()
                .map(|room| room.care.waiting().count())
                .sum(),
            connections: self.connections.len(),
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn expire(&mut self, now: Instant) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, reason)) = self.timers.pop_first() else {
                return;
            };
            match reason {
                Reason::HelloDue(conn) => {
                    self.close(now, conn, ErrorCode::TimedOut, "no hello".into());
                }
                Reason::SeatExpired(room, member) => {
                    self.vacate(now, &room, member, LeaveReason::TimedOut);
                }
                Reason::TopologyDue(room) => self.update_topology(now, &room, None),
                Reason::RelayDue(room, member) => self.renew_relay(now, &room, member),
                Reason::AddressIdle(addr) => self.addresses.forget(addr),
            }
        }
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId, addr: Option<ClientAddr>) {
        if self.connections.contains_key(&conn) {
            return;
        }
        let has_room = self.connections.len() < self.config.max_connections;
        let may_connect = addr.is_none_or(|addr| self.addresses.connect(now, addr, &self.config));
        let due = now + self.config.hello_timeout;
        self.connections.insert(conn, Connection::new(addr, due));
        self.timers.insert((due, Reason::HelloDue(conn)));
        if self.is_draining {
            self.close(now, conn, ErrorCode::ServerClosing, "shutting down".into());
        } else if !has_room {
            self.close(
                now,
                conn,
                ErrorCode::ServerFull,
                "too many connections".into(),
            );
        } else if !may_connect {
            self.close(
                now,
                conn,
                ErrorCode::RateLimited,
                "too many connections from here".into(),
            );
        }
    }

    fn handle_message(&mut self, now: Instant, conn: ConnId, message: ClientMessage) {
        let message_rate = self.config.message_rate;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if matches!(connection.phase, Phase::Closed) {
            return;
        }
        self.counters.message(message.kind());
        if !connection.messages.take(now, message_rate) {
            return self.reject_bad(
                now,
                conn,
                ErrorCode::RateLimited,
                "too many messages".into(),
            );
        }
        connection.bad_in_a_row = 0;
        let handled = match (connection.phase.clone(), message) {
            (Phase::Closed, _) => Ok(()),
            (Phase::AwaitingHello { due }, message) => {
                self.handle_first_message(now, conn, due, &message);
                Ok(())
            }
            (_, ClientMessage::Hello { .. }) => Err((ErrorCode::BadMessage, "hello again")),
            (
                Phase::Lobby,
                ClientMessage::Join {
                    room,
                    auth,
                    profile,
                    resume,
                },
            ) => self.handle_join(now, conn, room, &auth, profile, resume.as_deref()),
            (Phase::Seated { .. }, ClientMessage::Join { .. }) => {
                Err((ErrorCode::AlreadyJoined, "this connection has a seat"))
            }
            (Phase::Seated { room, member }, ClientMessage::Signal { to, sealed }) => {
                self.handle_signal(&room, member, to, sealed)
            }
            (Phase::Seated { room, member }, ClientMessage::Update { profile }) => {
                self.change_profile(&room, member, profile);
                Ok(())
            }
            (Phase::Seated { room, member }, ClientMessage::Leave) => {
                self.set_phase(conn, Phase::Lobby);
                self.vacate(now, &room, member, LeaveReason::Left);
                Ok(())
            }
            (Phase::Seated { room, member }, ClientMessage::Moderate { action }) => {
                self.handle_moderate(now, &room, member, action)
            }
            (Phase::Waiting { .. }, ClientMessage::Join { .. }) => {
                Err((ErrorCode::AlreadyJoined, "this connection waits"))
            }
            (Phase::Waiting { room, knock }, ClientMessage::Leave) => {
                self.set_phase(conn, Phase::Lobby);
                self.stop_waiting(&room, knock);
                Ok(())
            }
            (Phase::Lobby | Phase::Waiting { .. }, _) => Err((ErrorCode::NotJoined, "join first")),
            (Phase::Seated { room, member }, message) => {
                self.handle_media_message(now, room, member, message)
            }
        };
        if let Err((code, detail)) = handled {
            self.send_error(conn, code, detail.into(), false);
        }
    }

    fn handle_first_message(
        &mut self,
        now: Instant,
        conn: ConnId,
        due: Instant,
        message: &ClientMessage,
    ) {
        match message {
            ClientMessage::Hello {
                version: PROTOCOL_VERSION,
            } => {
                self.timers.remove(&(due, Reason::HelloDue(conn)));
                self.set_phase(conn, Phase::Lobby);
                self.send(
                    conn,
                    ServerMessage::Hello {
                        version: PROTOCOL_VERSION,
                    },
                );
            }
            ClientMessage::Hello { .. } => {
                let detail = format!("this server speaks version {PROTOCOL_VERSION}");
                self.close(now, conn, ErrorCode::BadVersion, detail);
            }
            _ => self.close(
                now,
                conn,
                ErrorCode::BadVersion,
                "hello must come first".into(),
            ),
        }
    }

    fn handle_parse_failed(&mut self, now: Instant, conn: ConnId, error: ParseError) {
        let message_rate = self.config.message_rate;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if matches!(connection.phase, Phase::Closed) {
            return;
        }
        self.counters.message("unparsable");
        if !connection.messages.take(now, message_rate) {
            self.reject_bad(
                now,
                conn,
                ErrorCode::RateLimited,
                "too many messages".into(),
            );
        } else if error.code == ErrorCode::MessageTooLarge {
            self.close(now, conn, error.code, error.detail);
        } else {
            self.reject_bad(now, conn, error.code, error.detail);
        }
    }

    /// Answers a bad message; fatally when it was one too many.
    fn reject_bad(&mut self, now: Instant, conn: ConnId, code: ErrorCode, detail: String) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.bad_in_a_row += 1;
        if connection.bad_in_a_row >= self.config.bad_messages {
            self.close(now, conn, code, detail);
        } else {
            self.send_error(conn, code, detail, false);
        }
    }

    fn handle_disconnected(&mut self, now: Instant, conn: ConnId) {
        self.retire(now, conn);
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        if let Some(addr) = connection.addr
            && let Some(at) = self.addresses.disconnect(now, addr, &self.config)
        {
            self.timers.insert((at, Reason::AddressIdle(addr)));
        }
    }

    fn handle_drain(&mut self, now: Instant) {
        self.is_draining = true;
        let open: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in open {
            self.close(now, conn, ErrorCode::ServerClosing, "shutting down".into());
        }
        self.rooms.clear();
        self.ended.clear();
        self.timers.clear();
    }

    /// Ends a connection with a fatal error. Its seat waits for a resume.
    fn close(&mut self, now: Instant, conn: ConnId, code: ErrorCode, detail: String) {
        if self.retire(now, conn) {
            self.send_error(conn, code, detail, true);
            self.outputs.push_back(Output::Close { conn, reason: code });
        }
    }

    /// Takes a connection out of the game; false when it was out already.
    fn retire(&mut self, now: Instant, conn: ConnId) -> bool {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return false;
        };
        match std::mem::replace(&mut connection.phase, Phase::Closed) {
            Phase::Closed => return false,
            Phase::Lobby => {}
            Phase::Waiting { room, knock } => self.stop_waiting(&room, knock),
            Phase::AwaitingHello { due } => {
                self.timers.remove(&(due, Reason::HelloDue(conn)));
            }
            Phase::Seated { room, member } => self.lose_seat(now, room, member),
        }
        true
    }

    fn set_phase(&mut self, conn: ConnId, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.phase = phase;
        }
    }

    fn send_error(&mut self, conn: ConnId, code: ErrorCode, detail: String, fatal: bool) {
        self.counters.error(code);
        self.send(
            conn,
            ServerMessage::Error {
                code,
                detail,
                fatal,
            },
        );
    }

    fn send(&mut self, conn: ConnId, message: ServerMessage) {
        self.outputs.push_back(Output::Send { conn, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_addresses_are_forgotten() {
        let mut rooms = Rooms::new(RoomsConfig::default(), [0; 32], (Instant::now(), 0));
        let now = Instant::now();
        for index in 0..100 {
            let conn = ConnId(index);
            let addr = Some(ClientAddr(u128::from(index)));
            rooms.handle_input(now, Input::Connected { conn, addr });
            rooms.handle_input(now, Input::Disconnected { conn });
        }
        assert_eq!(rooms.addresses.len(), 100);
        while let Some((at, _)) = rooms.poll_timeout() {
            rooms.handle_input(at, Input::Timeout);
        }
        assert_eq!(rooms.addresses.len(), 0);
        assert!(rooms.timers.is_empty() && rooms.outputs.is_empty());
    }
}
