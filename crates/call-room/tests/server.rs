//! A [`Rooms`] with a virtual clock and one inbox per connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use call_protocol::care::Moderation;
use call_protocol::wire::{ClientMessage, ServerMessage};
use call_protocol::{ErrorCode, MemberId, RoomId};
use call_room::{ClientAddr, ConnId, Input, Output, Rooms, RoomsConfig, SfuCommand};

/// Base64 of 32 bytes of 7.
pub(crate) const AUTH: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
/// Base64 of 32 bytes of 8.
pub(crate) const OTHER_AUTH: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

pub(crate) struct Server {
    pub(crate) rooms: Rooms,
    pub(crate) now: Instant,
    inboxes: BTreeMap<ConnId, Vec<ServerMessage>>,
    closed: BTreeMap<ConnId, ErrorCode>,
    sfu: Vec<SfuCommand>,
}

/// The seed of every server here.
pub(crate) const SEED: [u8; 32] = [42; 32];
/// Seconds since 1970 when a server starts.
pub(crate) const START_UNIX_S: u64 = 1_700_000_000;

impl Server {
    pub(crate) fn new(config: RoomsConfig) -> Self {
        let now = Instant::now();
        Self {
            rooms: Rooms::new(config, SEED, (now, START_UNIX_S)),
            now,
            inboxes: BTreeMap::new(),
            closed: BTreeMap::new(),
            sfu: Vec::new(),
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.poll_output() {
            match output {
                Output::Send { conn, message } => {
                    assert!(
                        !self.closed.contains_key(&conn),
                        "{conn:?} is closed: {message:?}"
                    );
                    self.inboxes.entry(conn).or_default().push(message);
                }
                Output::Close { conn, reason } => {
                    let last = self.inboxes.get(&conn).and_then(|inbox| inbox.last());
                    let is_told = matches!(last, Some(ServerMessage::Error { code, fatal: true, .. }) if *code == reason);
                    assert!(is_told, "{conn:?} closed without a fatal error: {last:?}");
                    assert!(
                        self.closed.insert(conn, reason).is_none(),
                        "{conn:?} closed twice"
                    );
                }
                Output::Sfu(command) => self.sfu.push(command),
            }
        }
    }

    /// Lets time pass, waking the rooms exactly when they ask to.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, _)) = self.rooms.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    pub(crate) fn connect_from(&mut self, conn: u64, addr: Option<u128>) {
        self.input(Input::Connected {
            conn: ConnId(conn),
            addr: addr.map(ClientAddr),
        });
    }

    /// Connects and says hello.
    pub(crate) fn greet(&mut self, conn: u64) {
        self.connect_from(conn, None);
        self.say(conn, ClientMessage::Hello { version: 1 });
        assert_eq!(self.take(conn), [ServerMessage::Hello { version: 1 }]);
    }

    pub(crate) fn say(&mut self, conn: u64, message: ClientMessage) {
        self.input(Input::Message {
            conn: ConnId(conn),
            message,
        });
    }

    pub(crate) fn drop_connection(&mut self, conn: u64) {
        self.input(Input::Disconnected { conn: ConnId(conn) });
    }

    /// What came since the last take.
    pub(crate) fn take(&mut self, conn: u64) -> Vec<ServerMessage> {
        self.inboxes.remove(&ConnId(conn)).unwrap_or_default()
    }

    /// What the forwarding unit was asked since the last take.
    pub(crate) fn take_sfu(&mut self) -> Vec<SfuCommand> {
        std::mem::take(&mut self.sfu)
    }

    pub(crate) fn closed(&self, conn: u64) -> Option<ErrorCode> {
        self.closed.get(&ConnId(conn)).copied()
    }

    /// Connects, joins and returns the member id and the resume token.
    pub(crate) fn enter(&mut self, conn: u64, room: u8) -> (MemberId, String) {
        self.greet(conn);
        self.say(conn, join(room, AUTH, &format!("profile-{conn}"), None));
        match self.take(conn).as_slice() {
            [
                ServerMessage::Joined {
                    member,
                    resume,
                    resumed: false,
                    ..
                },
            ] => (*member, resume.clone()),
            other => panic!("not joined: {other:?}"),
        }
    }

    /// The codes of the errors that came, which must be all that came.
    pub(crate) fn take_errors(&mut self, conn: u64) -> Vec<(ErrorCode, bool)> {
        self.take(conn)
            .into_iter()
            .map(|message| match message {
                ServerMessage::Error { code, fatal, .. } => (code, fatal),
                other => panic!("not an error: {other:?}"),
            })
            .collect()
    }
}

pub(crate) fn room_id(room: u8) -> RoomId {
    RoomId::from_bytes([room; 16])
}

pub(crate) fn join(room: u8, auth: &str, profile: &str, resume: Option<&str>) -> ClientMessage {
    ClientMessage::Join {
        room: room_id(room),
        auth: auth.to_owned(),
        profile: profile.to_owned(),
        resume: resume.map(str::to_owned),
    }
}

pub(crate) fn signal(to: MemberId, sealed: &str) -> ClientMessage {
    ClientMessage::Signal {
        to,
        sealed: sealed.to_owned(),
    }
}

pub(crate) fn moderate(action: Moderation) -> ClientMessage {
    ClientMessage::Moderate { action }
}
