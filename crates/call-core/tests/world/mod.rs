//! Sessions, a server and the links between members, all in virtual time.
//!
//! The server is the real `Rooms`; sockets, links, the SFU and, unless a test wants the server's own,
//! the choice of topology are modelled: messages take [`LATENCY`] and keep their order, a link connects once offer and answer met and
//! the path between the two is up, and media flows wherever a link is connected at both ends.

mod channels;
mod link;
mod network;
mod sfu;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use call_core::{
    CallEvent, FileOp, Input, LinkEvent, LinkId, LinkOp, LinkState, LocatePurpose, MediaOp, Output,
    Session, SessionConfig, SocketId, TopologyWish,
};
use call_e2ee::RoomKeys;
use call_protocol::ui::{
    AppView, CallPhase, CallView, ChatMessageView, NetworkView, UiCommand, UiEvent, VoiceView,
};
use call_protocol::wire::{ClientMessage, ServerMessage, TopologyMode};
use call_protocol::{ErrorCode, MemberId};
use call_room::{ConnId, Rooms, RoomsConfig};
use channels::Channels;
use link::FakeLink;
use sfu::FakeSfu;
pub(crate) use sfu::SFU;

pub(crate) const LATENCY: Duration = Duration::from_millis(10);
pub(crate) const SERVER: &str = "ws://server.test:1";
/// Long enough for everything to settle: longer than every back-off plus every timeout.
pub(crate) const SETTLE: Duration = Duration::from_secs(150);

#[derive(Debug)]
enum Event {
    ToSession {
        client: usize,
        input: Input,
    },
    ToServer {
        conn: ConnId,
        message: ClientMessage,
    },
    HangUp {
        conn: ConnId,
    },
    PathDown {
        client: usize,
        link: LinkId,
        outage: u64,
        state: LinkState,
    },
    /// The SFU says something to a seat.
    SfuSays(call_room::Input),
    /// The other end was closed some time ago.
    Lonely {
        client: usize,
        link: LinkId,
        state: LinkState,
    },
}

pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) view: Option<AppView>,
    pub(crate) events: Vec<CallEvent>,
    pub(crate) media: Vec<MediaOp>,
    pub(crate) failed: Vec<ErrorCode>,
    pub(crate) ops: Vec<LinkOp>,
    pub(crate) sent: Vec<ClientMessage>,
    pub(crate) connects: Vec<Instant>,
    pub(crate) sockets: BTreeMap<SocketId, ConnId>,
    links: BTreeMap<LinkId, FakeLink>,
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) muted: Option<bool>,
    /// The chat as its window shows it, by order.
    pub(crate) chat: BTreeMap<String, ChatMessageView>,
    pub(crate) reactions: Vec<(MemberId, String)>,
    pub(crate) networks: Vec<NetworkView>,
    pub(crate) file_ops: Vec<FileOp>,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) clients: Vec<Client>,
    rooms: Rooms,
    pub(crate) server_up: bool,
    /// Clients that the server does not let in.
    pub(crate) refused: BTreeSet<usize>,
    /// Accepts connections but answers nothing.
    pub(crate) server_silent: bool,
    queue: BTreeMap<(Instant, u64), Event>,
    count: u64,
    owners: BTreeMap<ConnId, (usize, SocketId)>,
    /// Pairs of clients (smaller first) that cannot reach each other, with the outage's number.
    outages: BTreeMap<(usize, usize), u64>,
    roots: BTreeMap<String, RoomKeys>,
    sfu: FakeSfu,
    mode: TopologyMode,
    /// The server chooses the topology by its own rule; otherwise the test does.
    pub(crate) auto: bool,
    /// Clients that never send anything, whatever their view says.
    pub(crate) quiet: BTreeSet<usize>,
    /// Clients that no sealed signal reaches.
    pub(crate) deaf: BTreeSet<usize>,
    /// Demands that no pair that has a path ever loses it. Not while a test breaks paths.
    pub(crate) strict: bool,
    /// What happens to messages on data channels.
    pub(crate) channels: Channels,
    /// By client: over which link whose media flowed already.
    flowing: BTreeSet<(usize, LinkId, MemberId)>,
    /// Pairs that have a path, with their ids and since when.
    paths: BTreeMap<(usize, usize), ((MemberId, MemberId), Instant)>,
}

fn rooms(now: Instant, seed: u8) -> Rooms {
    Rooms::new(RoomsConfig::default(), [seed; 32], (now, 1_767_225_600))
}

impl World {
    /// `count` sessions named `C0`, `C1`, … that use the server.
    pub(crate) fn new(count: usize) -> Self {
        Self::with_server(count, SERVER, 1)
    }

    pub(crate) fn with_server(count: usize, server: &str, seed: u8) -> Self {
        let now = Instant::now();
        let client = |index: usize| Client {
            session: Session::new(
                SessionConfig {
                    unix_ms: 1_700_000_000_000,
                    seed: [seed.wrapping_mul(31).wrapping_add(index as u8); 32],
                    name: format!("C{index}"),
                    server: server.to_owned(),
                    voice: VoiceView::default(),
                    low_data: false,
                    tint: None,
                    muted: false,
                    camera_on: true,
                    sealed_media: true,
                    topology_wish: TopologyWish::Auto,
                },
                now,
            ),
            view: None,
            events: Vec::new(),
            media: Vec::new(),
            failed: Vec::new(),
            ops: Vec::new(),
            sent: Vec::new(),
            connects: Vec::new(),
            sockets: BTreeMap::new(),
            links: BTreeMap::new(),
            hosts: BTreeSet::new(),
            muted: None,
            chat: BTreeMap::new(),
            reactions: Vec::new(),
            networks: Vec::new(),
            file_ops: Vec::new(),
        };
        let mut world = Self {
            now,
            clients: (0..count).map(client).collect(),
            rooms: rooms(now, 1),
            server_up: true,
            refused: BTreeSet::new(),
            server_silent: false,
            queue: BTreeMap::new(),
            count: 0,
            owners: BTreeMap::new(),
            outages: BTreeMap::new(),
            roots: BTreeMap::new(),
            sfu: FakeSfu::default(),
            mode: TopologyMode::Mesh,
            auto: false,
            quiet: BTreeSet::new(),
            deaf: BTreeSet::new(),
            strict: false,
            channels: Channels::new(seed),
            flowing: BTreeSet::new(),
            paths: BTreeMap::new(),
        };
        (0..count).for_each(|client| world.drain(client));
        world
    }

    /// Clients 0 to `count` in one call, settled.
    pub(crate) fn in_call(count: usize) -> Self {
        let mut world = Self::new(count);
        world.command(0, UiCommand::StartCall);
        world.run(Duration::from_secs(2));
        for client in 1..count {
            world.join(client, 0);
            world.run(Duration::from_secs(2));
        }
        world.assert_full_mesh(&(0..count).collect::<Vec<_>>());
        world
    }

    pub(crate) fn command(&mut self, client: usize, command: UiCommand) {
        self.input(client, Input::Command(command));
    }

    /// `client` joins the call that `host` is in.
    pub(crate) fn join(&mut self, client: usize, host: usize) {
        let code = self.call(host).code.clone();
        self.command(client, UiCommand::JoinCall { code });
    }

    pub(crate) fn input(&mut self, client: usize, input: Input) {
        self.clients[client].session.handle_input(self.now, input);
        self.drain(client);
    }

    pub(crate) fn call(&self, client: usize) -> &CallView {
        self.view(client).call.as_ref().expect("there is a call")
    }

    pub(crate) fn view(&self, client: usize) -> &AppView {
        self.clients[client].view.as_ref().expect("a view was sent")
    }

    pub(crate) fn phase(&self, client: usize) -> Option<CallPhase> {
        self.view(client).call.as_ref().map(|call| call.phase)
    }

    pub(crate) fn me(&self, client: usize) -> MemberId {
        self.call(client).me.expect("joined")
    }

    pub(crate) fn open_links(&self, client: usize) -> Vec<LinkId> {
        self.clients[client].links.keys().copied().collect()
    }

    /// Everybody named sees exactly the others, connected, under their names.
    pub(crate) fn assert_full_mesh(&self, clients: &[usize]) {
        use call_protocol::ui::LinkView::Connected;
        for &client in clients {
            let call = self.call(client);
            assert_eq!(call.phase, CallPhase::Joined, "client {client}");
            let mut seen: Vec<_> = call
                .members
                .iter()
                .map(|m| (m.id, m.name.clone(), m.muted, m.link))
                .collect();
            let mut want: Vec<_> = clients
                .iter()
                .filter(|other| **other != client)
                .map(|&other| {
                    let view = self.view(other);
                    (
                        self.me(other),
                        view.settings.name.clone(),
                        view.muted,
                        Connected,
                    )
                })
                .collect();
            want.sort_by_key(|member| member.0);
            seen.sort_by_key(|member| member.0);
            assert_eq!(seen, want, "as client {client} sees it");
            assert_eq!(self.open_links(client).len(), clients.len() - 1);
        }
    }

    /// Nothing of a call is left: no link, no socket, no timer, no host.
    pub(crate) fn assert_idle(&self, client: usize) {
        let it = &self.clients[client];
        assert!(it.links.is_empty(), "links left: {:?}", it.links.keys());
        assert!(it.sockets.is_empty(), "sockets left: {:?}", it.sockets);
        assert!(it.hosts.is_empty(), "still hosting");
        assert_eq!(it.session.poll_timeout(), None, "client {client}");
    }

    /// Breaks or mends the path between two clients, or between one and the [`SFU`].
    pub(crate) fn set_path(&mut self, a: usize, b: usize, up: bool) {
        let pair = (a.min(b), a.max(b));
        if up {
            self.outages.remove(&pair);
            if b == SFU {
                return self.meet_sfu(a);
            }
            return self.meet(a, b);
        }
        self.count += 1;
        let outage = self.count;
        self.outages.insert(pair, outage);
        for (client, other) in [(a, b), (b, a)] {
            let Some(fakes) = self.clients.get(client).map(|it| it.links.iter()) else {
                continue;
            };
            let hit: Vec<LinkId> = fakes
                .filter(|(link, fake)| fake.is_to(other) || other == SFU && link.member().is_none())
                .map(|(link, _)| *link)
                .collect();
            for link in hit {
                let down = |state| Event::PathDown {
                    client,
                    link,
                    outage,
                    state,
                };
                self.at(Duration::from_secs(5), down(LinkState::Reconnecting));
                self.at(Duration::from_secs(30), down(LinkState::Failed));
            }
        }
    }

    /// A new server process without any memory of the old one.
    pub(crate) fn restart_server(&mut self) {
        self.cut_server(false);
        self.forget_sfu();
        self.count += 1;
        self.rooms = rooms(self.now, self.count as u8);
    }

    /// What a server (or somebody in its place) says to a client.
    pub(crate) fn say(&mut self, client: usize, message: ServerMessage) {
        let socket = *self.clients[client]
            .sockets
            .keys()
            .next()
            .expect("connected");
        self.input(client, Input::Server { socket, message });
    }

    /// Lets time pass. Panics when something spins.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut steps = 0;
        loop {
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            let timers = self
                .clients
                .iter()
                .filter_map(|it| it.session.poll_timeout());
            let server = self.rooms.poll_timeout().map(|(at, _)| at);
            let next = timers.map(|(at, _)| at).chain(queued).chain(server).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            steps += 1;
            assert!(steps < 200_000, "something spins");
            self.now = self.now.max(at);
            self.step(queued == Some(at));
            self.flow();
        }
        self.now = end;
    }

    fn step(&mut self, queued: bool) {
        if queued {
            let (_, event) = self.queue.pop_first().expect("something is queued");
            return self.handle(event);
        }
        for client in 0..self.clients.len() {
            let due = self.clients[client].session.poll_timeout();
            if due.is_some_and(|(at, _)| at <= self.now) {
                self.input(client, Input::Timeout);
                let again = self.clients[client].session.poll_timeout();
                assert!(
                    again.is_none_or(|(at, _)| at > self.now),
                    "{again:?} is due again"
                );
            }
        }
        if self
            .rooms
            .poll_timeout()
            .is_some_and(|(at, _)| at <= self.now)
        {
            self.server(call_room::Input::Timeout);
        }
    }

    fn at(&mut self, delay: Duration, event: Event) {
        self.count += 1;
        self.queue.insert((self.now + delay, self.count), event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::ToSession { client, input } => {
                // A link that was closed meanwhile reports nothing, like a socket that was.
                let is_gone = match &input {
                    Input::Link { link, .. } | Input::MediaFlows { link, .. } => {
                        !self.clients[client].links.contains_key(link)
                    }
                    Input::Server { socket, .. }
                    | Input::SocketOpened { socket }
                    | Input::SocketAlive { socket } => {
                        !self.clients[client].sockets.contains_key(socket)
                    }
                    _ => false,
                };
                if let Input::SocketClosed { socket, .. } = &input {
                    self.clients[client].sockets.remove(socket);
                }
                if !is_gone {
                    self.input(client, input);
                }
            }
            Event::ToServer { conn, message } => {
                if self.server_silent {
                    return;
                }
                let text = serde_json::to_string(&message).unwrap();
                let message = ClientMessage::parse(&text).expect("only valid messages are sent");
                self.server(call_room::Input::Message { conn, message });
            }
            Event::HangUp { conn } => self.server(call_room::Input::Disconnected { conn }),
            Event::PathDown {
                client,
                link,
                outage,
                state,
            } => {
                let fake = self.clients[client].links.get_mut(&link);
                let is_hit = self.outages.values().any(|number| *number == outage);
                if is_hit && fake.is_some_and(|fake| fake.lose(state)) {
                    self.link_event(client, link, LinkEvent::State(state));
                }
            }
            Event::SfuSays(input) => self.server(input),
            Event::Lonely {
                client,
                link,
                state,
            } => {
                let is_lonely = self.is_lonely(client, link);
                let fake = self.clients[client].links.get_mut(&link);
                if is_lonely && fake.is_some_and(|fake| fake.lose(state)) {
                    self.link_event(client, link, LinkEvent::State(state));
                }
            }
        }
    }

    fn drain(&mut self, client: usize) {
        let mut views = 0;
        while let Some(output) = self.clients[client].session.poll_output() {
            assert_eq!(views, 0, "the view comes last");
            match output {
                Output::DeriveKeys { attempt, code } => {
                    let keys = self.keys(&code.to_string());
                    let input = Input::KeysReady { attempt, keys };
                    self.at(
                        Duration::from_millis(100),
                        Event::ToSession { client, input },
                    );
                }
                Output::LocateServer {
                    attempt,
                    purpose,
                    lan_tag,
                } => {
                    let found = self.clients.iter().any(|it| it.hosts.contains(&lan_tag));
                    if purpose == LocatePurpose::Host {
                        self.clients[client].hosts.insert(lan_tag);
                    }
                    let input = if found || purpose == LocatePurpose::Host {
                        Input::ServerLocated {
                            attempt,
                            url: "ws://127.0.0.1:1".into(),
                        }
                    } else {
                        let code = ErrorCode::RoomNotFoundOnLan;
                        Input::ServerNotFound { attempt, code }
                    };
                    self.at(LATENCY * 20, Event::ToSession { client, input });
                }
                Output::ReleaseServer => self.clients[client].hosts.clear(),
                Output::Socket(op) => self.socket_op(client, op),
                Output::Link(op) => self.link_op(client, op),
                Output::Media(op) => {
                    if let MediaOp::SetMuted { muted } = op {
                        self.clients[client].muted = Some(muted);
                    }
                    self.clients[client].media.push(op);
                }
                Output::Ui(UiEvent::View { view }) => {
                    views += 1;
                    assert_ne!(
                        self.clients[client].view.as_ref(),
                        Some(&view),
                        "unchanged view"
                    );
                    self.clients[client].view = Some(view);
                }
                Output::Ui(UiEvent::Failed { code }) => self.clients[client].failed.push(code),
                Output::Ui(UiEvent::Chat { reset, messages }) => {
                    self.show_chat(client, reset, messages);
                }
                Output::Ui(UiEvent::Reaction { member, emoji }) => {
                    self.clients[client].reactions.push((member, emoji));
                }
                Output::Ui(UiEvent::Network { view }) => self.clients[client].networks.push(view),
                Output::Channel { to, data } => self.send_channel(client, to, &data),
                // What a disk would say, tests say.
                Output::File(op) => self.clients[client].file_ops.push(op),
                Output::Ui(event) => panic!("{event:?} is not the session's"),
                Output::Call(event) => self.clients[client].events.push(event),
                Output::Settings(_) => {}
            }
        }
    }

    /// Keys without the price of Argon2: the code's text fills the root.
    pub(crate) fn keys(&mut self, code: &str) -> RoomKeys {
        let make = || {
            let mut root = [0; 32];
            root[..code.len()].copy_from_slice(code.as_bytes());
            RoomKeys::from_root(root)
        };
        self.roots
            .entry(code.to_owned())
            .or_insert_with(make)
            .clone()
    }
}
