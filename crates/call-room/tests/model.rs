//! Seeded random conversations compared with a reference that knows only rooms, seats and time.
//!
//! After every step each connected member's view, built from nothing but what the server sent it,
//! must equal the reference's roster; answers must be the ones the reference predicts; signals must
//! reach exactly their addressee; everybody in a room is told one topology, which fits its size and
//! what its members report; the forwarding unit hears of every seat it knows that it ended. A failure
//! prints its seed.

mod care;
mod media;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use call_protocol::care::Door;
use call_protocol::limits::RESUME_GRACE_MS;
use call_protocol::wire::{ClientMessage, ServerMessage};
use call_protocol::{ErrorCode, MemberId, RoomId};
use call_room::{Rate, RoomsConfig};

use view::{View, apply};

use crate::server::{AUTH, OTHER_AUTH, Server, join, signal};

const ROOMS: u64 = 3;
const SEATS: usize = 4;
const MESH: usize = 3;
const CLIENTS: u64 = 8;
const STEPS: usize = 400;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[derive(Clone, Debug)]
struct RefSeat {
    profile: String,
    /// Filled in from the `joined` that answered.
    token: String,
    conn: Option<u64>,
    expires: Option<Instant>,
    uplink_short: bool,
}

#[derive(Debug)]
struct RefRoom {
    auth: &'static str,
    seats: BTreeMap<MemberId, RefSeat>,
    /// Ids given to newcomers, and given again to members of an earlier lifetime.
    used: BTreeSet<u32>,
    last: u32,
    /// By token.
    expired: BTreeMap<String, MemberId>,
    /// Members with a seat, in the order in which they took it.
    order: Vec<MemberId>,
    host: MemberId,
    door: Door,
    /// Tokens of who was removed.
    banned: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Client {
    conn: Option<u64>,
    view: Option<View>,
    /// (room, token) of the last seat, whether still good or not.
    old_seat: Option<(u8, String)>,
}

struct Model {
    random: Random,
    server: Server,
    rooms: BTreeMap<u8, RefRoom>,
    clients: BTreeMap<u64, Client>,
    /// Connections whose client is gone without the server knowing yet.
    zombies: BTreeSet<u64>,
    /// Messages taken from the server but not yet applied to a view.
    rest: BTreeMap<u64, Vec<ServerMessage>>,
    next_conn: u64,
    takeovers: usize,
    /// Under the same id, after the seat's time was over.
    returns: usize,
    at_sfu: usize,
    removals: usize,
    heirs: usize,
    /// Seats the forwarding unit knows.
    sfu: BTreeSet<(RoomId, MemberId)>,
    log: Vec<String>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let loose = Rate::per_second(1_000_000, 1_000_000);
        let config = RoomsConfig {
            room_members: SEATS,
            mesh_limit: MESH,
            message_rate: loose,
            join_rate: loose,
            room_join_rate: loose,
            ..RoomsConfig::default()
        };
        Self {
            random: Random(seed),
            server: Server::new(config),
            rooms: BTreeMap::new(),
            clients: (0..CLIENTS).map(|id| (id, Client::default())).collect(),
            zombies: BTreeSet::new(),
            rest: BTreeMap::new(),
            next_conn: 1,
            takeovers: 0,
            returns: 0,
            at_sfu: 0,
            removals: 0,
            heirs: 0,
            sfu: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    fn client(&mut self, id: u64) -> &mut Client {
        self.clients.get_mut(&id).expect("known client")
    }

    fn client_of(&self, conn: u64) -> Option<u64> {
        self.clients
            .iter()
            .find(|(_, client)| client.conn == Some(conn))
            .map(|(id, _)| *id)
    }

    /// The conn's seat according to the reference.
    fn seat_of(&self, conn: u64) -> Option<(u8, MemberId)> {
        self.rooms.iter().find_map(|(room, state)| {
            let seat = state
                .seats
                .iter()
                .find(|(_, seat)| seat.conn == Some(conn))?;
            Some((*room, *seat.0))
        })
    }

    fn step(&mut self) {
        let id = self.random.below(CLIENTS);
        let choice = self.random.below(100);
        let conn = self.client(id).conn;
        self.log
            .push(format!("client {id} conn {conn:?} choice {choice}"));
        match (conn, choice) {
            (_, 0..4) => {
                let ms = self.random.below(2 * RESUME_GRACE_MS);
                self.log.push(format!("  advance {ms} ms"));
                self.advance(Duration::from_millis(ms));
                for conn in std::mem::take(&mut self.zombies) {
                    self.lose(conn);
                }
            }
            (None, _) => self.connect(id),
            (Some(conn), 4..40) => self.join(id, conn),
            (Some(conn), 40..60) => self.signal(conn),
            (Some(conn), 60..65) => self.update(conn),
            (Some(conn), 65..68) => self.report(conn),
            (Some(conn), 68..70) => self.use_sfu(conn),
            (Some(conn), 70..82) => self.leave(id, conn),
            (Some(conn), 82..90) => {
                self.forget(id);
                self.zombies.insert(conn);
            }
            (Some(conn), 90..93) => self.moderate(conn),
            (Some(conn), _) => {
                self.forget(id);
                self.lose(conn);
            }
        }
        self.check();
    }

    fn advance(&mut self, duration: Duration) {
        self.server.advance(duration);
        let now = self.server.now;
        for room in self.rooms.values_mut() {
            let mut over: Vec<(Instant, MemberId)> = room
                .seats
                .iter()
                .filter_map(|(member, seat)| Some((seat.expires.filter(|at| *at <= now)?, *member)))
                .collect();
            over.sort();
            for (_, member) in over {
                let seat = room.seats.remove(&member).expect("a seat that is over");
                room.expired.insert(seat.token, member);
                self.heirs += room.succeed();
            }
        }
        self.rooms.retain(|_, room| !room.seats.is_empty());
    }

    fn connect(&mut self, id: u64) {
        let conn = self.next_conn;
        self.next_conn += 1;
        self.server.greet(conn);
        self.client(id).conn = Some(conn);
    }

    fn join(&mut self, id: u64, conn: u64) {
        let room = u8::try_from(self.random.below(ROOMS)).expect("small");
        let auth = if self.random.below(8) == 0 {
            OTHER_AUTH
        } else {
            AUTH
        };
        let old_seat = self
            .client(id)
            .old_seat
            .clone()
            .filter(|_| self.random.below(3) > 0);
        let room = old_seat.as_ref().map_or(room, |(room, _)| *room);
        let token = old_seat.map(|(_, token)| token);
        let profile = format!("{id}-{}", self.random.below(2));
        self.server
            .say(conn, join(room, auth, &profile, token.as_deref()));
        let resumes = token.as_ref().is_some_and(|token| {
            let seats = self.rooms.get(&room).into_iter();
            let mut seats = seats.flat_map(|room| room.seats.values());
            seats.any(|seat| seat.token == *token)
        });
        let want = self.expect_join(conn, room, auth, &profile, token.as_deref());
        let answer = self.take_first(conn);
        match (want, answer) {
            (
                Err(code),
                ServerMessage::Error {
                    code: got,
                    fatal: false,
                    ..
                },
            ) => {
                assert_eq!(got, code);
            }
            (
                Ok(member),
                ServerMessage::Joined {
                    member: got,
                    resume,
                    resumed,
                    members,
                    topology,
                    host,
                    door,
                    ..
                },
            ) => {
                assert_eq!(got, member);
                assert_eq!(resumed, resumes);
                let others = members
                    .into_iter()
                    .map(|entry| (entry.member, entry.profile));
                let view = View {
                    room,
                    member,
                    others: others.collect(),
                    topology,
                    host: host.expect("a room has a host"),
                    door,
                };
                let state = self.rooms.get_mut(&room).expect("open room");
                state
                    .seats
                    .get_mut(&member)
                    .expect("own seat")
                    .token
                    .clone_from(&resume);
                let client = self.client(id);
                client.old_seat = Some((room, resume));
                client.view = Some(view);
            }
            (want, answer) => panic!("wanted {want:?}, got {answer:?}"),
        }
    }

    /// Predicts the outcome of a join and applies it to the reference.
    fn expect_join(
        &mut self,
        conn: u64,
        room: u8,
        auth: &'static str,
        profile: &str,
        token: Option<&str>,
    ) -> Result<MemberId, ErrorCode> {
        if self.seat_of(conn).is_some() {
            return Err(ErrorCode::AlreadyJoined);
        }
        if self.rooms.get(&room).is_some_and(|room| room.auth != auth) {
            return Err(ErrorCode::RoomAuthFailed);
        }
        let state = self.rooms.get(&room);
        if token.is_some_and(|token| state.is_some_and(|it| it.banned.contains(token))) {
            return Err(ErrorCode::Removed);
        }
        let mine = RefSeat {
            profile: profile.to_owned(),
            token: String::new(),
            conn: Some(conn),
            expires: None,
            uplink_short: false,
        };
        if let Some(token) = token {
            let mut seats = self
                .rooms
                .get_mut(&room)
                .into_iter()
                .flat_map(|room| &mut room.seats);
            if let Some((member, seat)) = seats.find(|(_, seat)| seat.token == token) {
                let member = *member;
                let uplink_short = seat.uplink_short;
                let before = std::mem::replace(seat, mine);
                seat.uplink_short = uplink_short;
                if let Some(old) = before.conn {
                    assert_eq!(self.server.closed(old), Some(ErrorCode::SeatTaken));
                    assert!(
                        self.zombies.remove(&old),
                        "only a zombie's seat can be taken"
                    );
                    self.server.take(old);
                    self.server.drop_connection(old);
                    self.takeovers += 1;
                }
                return Ok(member);
            }
        }
        let is_new = !self.rooms.contains_key(&room);
        let state = self.rooms.entry(room).or_insert_with(|| RefRoom::new(auth));
        if state.door == Door::Locked {
            match token {
                None => return Err(ErrorCode::RoomLocked),
                Some(token) if state.expired.contains_key(token) => {}
                Some(_) => return Err(ErrorCode::ResumeFailed),
            }
        }
        if state.seats.len() >= SEATS {
            return Err(ErrorCode::RoomFull);
        }
        let member = match token {
            None => {
                state.last += 1;
                while state.used.contains(&state.last) {
                    state.last += 1;
                }
                MemberId(state.last)
            }
            Some(token) => {
                let (claimed, _) = token.split_once('.').expect("a token names a member");
                let claimed = MemberId(claimed.parse().expect("an id is a number"));
                if is_new {
                    state.last = claimed.0 + 1_000;
                }
                if state.expired.remove(token).is_none() && state.used.contains(&claimed.0) {
                    return Err(ErrorCode::ResumeFailed);
                }
                self.returns += 1;
                claimed
            }
        };
        state.used.insert(member.0);
        if state.seats.is_empty() {
            state.host = member;
        }
        state.order.push(member);
        state.seats.insert(member, mine);
        Ok(member)
    }

    fn signal(&mut self, conn: u64) {
        let to = MemberId(u32::try_from(self.random.below(8)).expect("small"));
        let text = format!("signal {}", self.log.len());
        self.server.say(conn, signal(to, &text));
        let Some((room, from)) = self.seat_of(conn) else {
            return self.expect_error(conn, ErrorCode::NotJoined);
        };
        match self.rooms[&room].seats.get(&to).filter(|_| to != from) {
            None => self.expect_error(conn, ErrorCode::UnknownMember),
            Some(RefSeat {
                conn: Some(target), ..
            }) => {
                let target = *target;
                assert_eq!(
                    self.take_first(target),
                    ServerMessage::Signal { from, sealed: text }
                );
            }
            Some(RefSeat { conn: None, .. }) => {}
        }
    }

    fn update(&mut self, conn: u64) {
        let id = self.client_of(conn).expect("known");
        let profile = format!("{id}-updated-{}", self.log.len());
        self.server.say(
            conn,
            ClientMessage::Update {
                profile: profile.clone(),
            },
        );
        let Some((room, member)) = self.seat_of(conn) else {
            return self.expect_error(conn, ErrorCode::NotJoined);
        };
        let room = self.rooms.get_mut(&room).expect("open room");
        room.seats.get_mut(&member).expect("own seat").profile = profile;
    }

    fn leave(&mut self, id: u64, conn: u64) {
        self.server.say(conn, ClientMessage::Leave);
        let Some((room, member)) = self.seat_of(conn) else {
            return self.expect_error(conn, ErrorCode::NotJoined);
        };
        let state = self.rooms.get_mut(&room).expect("open room");
        state.seats.remove(&member);
        self.heirs += state.succeed();
        if state.seats.is_empty() {
            self.rooms.remove(&room);
        }
        self.client(id).view = None;
    }

    /// The client starts over; what it knew is void.
    fn forget(&mut self, id: u64) {
        let client = self.client(id);
        client.conn = None;
        client.view = None;
    }

    /// The server notices that a connection is gone.
    fn lose(&mut self, conn: u64) {
        self.server.drop_connection(conn);
        if let Some((room, member)) = self.seat_of(conn) {
            let expires = self.server.now + Duration::from_millis(RESUME_GRACE_MS);
            let room = self.rooms.get_mut(&room).expect("open room");
            let seat = room.seats.get_mut(&member).expect("own seat");
            seat.conn = None;
            seat.expires = Some(expires);
        }
    }

    fn expect_error(&mut self, conn: u64, code: ErrorCode) {
        assert_eq!(self.server.take_errors(conn), [(code, false)]);
    }

    /// The first new message; the rest is applied to the client's view by [`Self::check`].
    fn take_first(&mut self, conn: u64) -> ServerMessage {
        let mut messages = self.server.take(conn).into_iter();
        let first = messages.next().expect("an answer");
        self.rest.entry(conn).or_default().extend(messages);
        first
    }

    fn check(&mut self) {
        for conn in &self.zombies {
            self.server.take(*conn);
            self.rest.remove(conn);
        }
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        for id in ids {
            let Some(conn) = self.client(id).conn else {
                continue;
            };
            let mut news = self.rest.remove(&conn).unwrap_or_default();
            news.extend(self.server.take(conn));
            let client = self.clients.get_mut(&id).expect("known client");
            for message in news {
                apply(client.view.as_mut(), message);
            }
            let seat = self.seat_of(conn);
            let view = &self.clients[&id].view;
            assert_eq!(
                view.as_ref().map(|view| (view.room, view.member)),
                seat,
                "client {id}"
            );
            if let Some(view) = view {
                let want: BTreeMap<MemberId, String> = self.rooms[&view.room]
                    .seats
                    .iter()
                    .filter(|(member, _)| **member != view.member)
                    .map(|(member, seat)| (*member, seat.profile.clone()))
                    .collect();
                assert_eq!(view.others, want, "client {id}");
                let room = &self.rooms[&view.room];
                assert_eq!(
                    (view.host, view.door),
                    (room.host, room.door),
                    "client {id}"
                );
            }
        }
        self.check_topology();
        self.check_sfu();
        self.check_occupancy();
    }

    fn check_occupancy(&self) {
        let occupancy = self.server.rooms.occupancy();
        let members: usize = self.rooms.values().map(|room| room.seats.len()).sum();
        let connections = self
            .clients
            .values()
            .filter(|client| client.conn.is_some())
            .count();
        assert_eq!(
            (occupancy.rooms, occupancy.members, occupancy.connections),
            (self.rooms.len(), members, connections + self.zombies.len())
        );
    }
}

#[test]
fn random_conversations_match_the_reference() {
    let (mut takeovers, mut returns, mut at_sfu) = (0, 0, 0);
    let (mut removals, mut heirs) = (0, 0);
    for seed in 0..150 {
        let mut model = Model::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                model.step();
            }
        }));
        if outcome.is_err() {
            let tail = model.log.len().saturating_sub(12);
            panic!("seed {seed} failed; last steps: {:#?}", &model.log[tail..]);
        }
        takeovers += model.takeovers;
        returns += model.returns;
        at_sfu += model.at_sfu;
        removals += model.removals;
        heirs += model.heirs;
    }
    assert!(
        takeovers > 50,
        "the walk no longer reaches takeovers: {takeovers}"
    );
    assert!(
        returns > 50,
        "the walk no longer reaches returns: {returns}"
    );
    assert!(
        removals > 20 && heirs > 50,
        "the walk no longer reaches hosts: {removals} {heirs}"
    );
    assert!(
        at_sfu > 1_000,
        "the walk no longer reaches the SFU: {at_sfu}"
    );
}
