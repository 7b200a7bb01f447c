//! What sockets and links do in the world.

use std::time::Duration;

use call_core::{Input, LinkEvent, LinkId, LinkOp, LinkPeer, LinkState, SocketOp};
use call_protocol::ErrorCode;
use call_protocol::peer::PeerSignal;
use call_protocol::wire::ServerMessage;
use call_room::ConnId;

use super::link::{FakeLink, Remote};
use super::{Event, LATENCY, World};

impl World {
    /// Cuts every connection to the server; with `down` it also refuses new ones.
    pub(crate) fn cut_server(&mut self, down: bool) {
        self.server_up = !down;
        for client in 0..self.clients.len() {
            self.cut_socket(client, None);
        }
    }

    /// Cuts one client's connection.
    pub(crate) fn cut_socket(&mut self, client: usize, code: Option<ErrorCode>) {
        let sockets = std::mem::take(&mut self.clients[client].sockets);
        for (socket, conn) in sockets {
            self.owners.remove(&conn);
            self.at(Duration::ZERO, Event::HangUp { conn });
            let input = Input::SocketClosed { socket, code };
            self.at(LATENCY, Event::ToSession { client, input });
        }
    }

    pub(super) fn socket_op(&mut self, client: usize, op: SocketOp) {
        match op {
            SocketOp::Connect { socket, url } => {
                assert!(url.starts_with("ws://") && url.ends_with("/v1/ws"), "{url}");
                self.clients[client].connects.push(self.now);
                if !self.server_up || self.refused.contains(&client) {
                    let code = Some(ErrorCode::ServerUnreachable);
                    let input = Input::SocketClosed { socket, code };
                    return self.at(LATENCY, Event::ToSession { client, input });
                }
                self.count += 1;
                let conn = ConnId(self.count);
                self.owners.insert(conn, (client, socket));
                self.clients[client].sockets.insert(socket, conn);
                self.server(call_room::Input::Connected { conn, addr: None });
                let input = Input::SocketOpened { socket };
                self.at(LATENCY, Event::ToSession { client, input });
            }
            SocketOp::Send { socket, message } => {
                self.clients[client].sent.push(message.clone());
                if let Some(conn) = self.clients[client].sockets.get(&socket).copied() {
                    self.at(LATENCY, Event::ToServer { conn, message });
                }
            }
            SocketOp::Probe { socket } => {
                let hears = self.clients[client].sockets.contains_key(&socket);
                if hears && !self.server_silent {
                    let input = Input::SocketAlive { socket };
                    self.at(LATENCY * 2, Event::ToSession { client, input });
                }
            }
            SocketOp::Close { socket } => {
                if let Some(conn) = self.clients[client].sockets.remove(&socket) {
                    self.owners.remove(&conn);
                    self.at(LATENCY, Event::HangUp { conn });
                }
            }
        }
    }

    /// Hands something to the server and delivers what it says.
    pub(super) fn server(&mut self, input: call_room::Input) {
        self.rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.poll_output() {
            match output {
                call_room::Output::Send { conn, message } => {
                    let text = serde_json::to_string(&message).unwrap();
                    let mut message = ServerMessage::parse(&text).unwrap();
                    if let ServerMessage::Joined { member, .. } = &message
                        && let Some((client, _)) = self.owners.get(&conn)
                    {
                        self.sfu.seats.insert(*member, *client);
                    }
                    match &mut message {
                        ServerMessage::Topology { mode, .. } if self.auto => self.mode = *mode,
                        ServerMessage::Topology { .. } => continue,
                        ServerMessage::Joined { topology, .. } if self.auto => {
                            self.mode = *topology;
                        }
                        ServerMessage::Joined { topology, .. } => *topology = self.mode,
                        _ => {}
                    }
                    let is_signal = matches!(message, ServerMessage::Signal { .. });
                    if let Some((client, socket)) = self.owners.get(&conn).copied()
                        && !(is_signal && self.deaf.contains(&client))
                    {
                        let input = Input::Server { socket, message };
                        self.at(LATENCY, Event::ToSession { client, input });
                    }
                }
                call_room::Output::Sfu(command) => self.sfu_command(command),
                call_room::Output::Close { conn, .. } => {
                    if let Some((client, socket)) = self.owners.remove(&conn) {
                        let input = Input::SocketClosed { socket, code: None };
                        self.at(LATENCY, Event::ToSession { client, input });
                        self.at(LATENCY, Event::HangUp { conn });
                    }
                }
            }
        }
    }

    pub(super) fn link_op(&mut self, client: usize, op: LinkOp) {
        self.clients[client].ops.push(op.clone());
        match op {
            LinkOp::Open {
                link,
                polite,
                initiator,
            } => {
                match link.peer {
                    LinkPeer::Sfu => assert!(initiator && !polite),
                    LinkPeer::Member(_) => assert_eq!(polite, !initiator),
                    LinkPeer::Data(_) => {}
                }
                assert!(
                    self.clients[client]
                        .links
                        .keys()
                        .all(|open| open.peer != link.peer)
                );
                let mut fake = FakeLink::new(client, link, polite);
                if initiator {
                    self.link_event(client, link, LinkEvent::Signal(fake.offer()));
                }
                self.clients[client].links.insert(link, fake);
            }
            LinkOp::UseIceServers { .. } => {}
            LinkOp::Signal { link, signal } => self.link_signal(client, link, &signal),
            LinkOp::Restart { link } => {
                let fake = self.clients[client].links.get_mut(&link);
                let offer = fake.expect("only open links are restarted").offer();
                self.link_event(client, link, LinkEvent::Signal(offer));
            }
            LinkOp::Close { link } => {
                let fake = self.clients[client].links.remove(&link);
                let remote = fake.expect("only open links are closed").remote();
                if let Some(Remote::Half(other, id)) = remote {
                    self.leave_lonely(other, id);
                }
            }
        }
    }

    fn link_signal(&mut self, client: usize, link: LinkId, signal: &PeerSignal) {
        let fake = self.clients[client]
            .links
            .get_mut(&link)
            .expect("signals go to open links");
        let taken = fake.take(signal);
        match taken {
            Err(state) => self.link_event(client, link, LinkEvent::State(state)),
            Ok(answer) => {
                let remote = fake.remote();
                if let Some(signal) = answer {
                    self.link_event(client, link, LinkEvent::Signal(signal));
                }
                match remote {
                    Some(Remote::Half(other, _)) => self.meet(client, other),
                    Some(Remote::Sfu(_)) => self.meet_sfu(client),
                    None => {}
                }
            }
        }
    }

    /// Connects the two halves of a link if they know each other and the path is up.
    pub(super) fn meet(&mut self, a: usize, b: usize) {
        if self.outages.contains_key(&(a.min(b), a.max(b))) {
            return;
        }
        let halves: Vec<(usize, LinkId)> = [(a, b), (b, a)]
            .iter()
            .flat_map(|&(client, other)| {
                let links = self.clients[client].links.iter();
                links
                    .filter(move |(_, fake)| fake.is_to(other))
                    .map(move |(link, _)| (client, *link))
            })
            .collect();
        for (client, link) in &halves {
            let remote = self.clients[*client].links[link].remote();
            if remote.is_some()
                && !self.is_lonely(*client, *link)
                && self.clients[*client]
                    .links
                    .get_mut(link)
                    .is_some_and(FakeLink::connect)
            {
                self.link_event(*client, *link, LinkEvent::State(LinkState::Connected));
            }
        }
    }

    pub(super) fn link_event(&mut self, client: usize, link: LinkId, event: LinkEvent) {
        let input = Input::Link { link, event };
        self.at(Duration::from_millis(1), Event::ToSession { client, input });
    }
}
