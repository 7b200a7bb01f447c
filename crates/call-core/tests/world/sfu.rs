//! The server's SFU and the room's topology, which the test decides, and what flows where.

use std::collections::BTreeMap;
use std::time::Duration;

use call_core::{Input, LinkEvent, LinkId, LinkPeer, LinkState};
use call_protocol::ui::{CallPhase, LinkView};
use call_protocol::wire::{ServerMessage, TopologyMode};
use call_protocol::{ErrorCode, MediaSource, MemberId, RoomId};
use call_room::{SfuCommand, SfuEvent};

use super::link::{FakeLink, Remote};
use super::{Event, LATENCY, World};

/// The other end of an outage that concerns the SFU.
pub(crate) const SFU: usize = usize::MAX;

/// What the SFU knows.
#[derive(Default)]
pub(super) struct FakeSfu {
    /// Who has which seat, or had it last.
    pub(super) seats: BTreeMap<MemberId, usize>,
    /// The SFU's ends, by client.
    links: BTreeMap<usize, SfuEnd>,
    /// Closes every link that is offered.
    refuses: bool,
}

struct SfuEnd {
    room: RoomId,
    member: MemberId,
    link: u32,
    instance: u64,
}

impl World {
    /// The server moves the room.
    pub(crate) fn set_mode(&mut self, mode: TopologyMode) {
        self.mode = mode;
        let reason = "the test says so".to_owned();
        let all: Vec<_> = self.owners.values().copied().collect();
        for (client, socket) in all {
            let reason = reason.clone();
            let message = ServerMessage::Topology { mode, reason };
            let input = Input::Server { socket, message };
            self.at(LATENCY, Event::ToSession { client, input });
        }
    }

    pub(crate) fn mode(&self) -> TopologyMode {
        self.mode
    }

    /// Whether the SFU refuses links from now on.
    pub(crate) fn set_sfu_refuses(&mut self, refuses: bool) {
        self.sfu.refuses = refuses;
    }

    /// The SFU gives up the link of a client.
    pub(crate) fn close_sfu_link(&mut self, client: usize) {
        if let Some(end) = self.sfu.links.remove(&client) {
            let (room, member, link) = (end.room, end.member, end.link);
            // Its word may be lost with the client's connection.
            let (peer, generation) = (LinkPeer::Sfu, link);
            self.leave_lonely(client, LinkId { peer, generation });
            let code = ErrorCode::LinkFailed;
            let event = SfuEvent::Closed { link, code };
            self.server(call_room::Input::Sfu {
                room,
                member,
                event,
            });
        }
    }

    /// The SFU forgets everything, as with a new process: the links' ends go silent.
    pub(super) fn forget_sfu(&mut self) {
        self.sfu.seats.clear();
        let links = std::mem::take(&mut self.sfu.links);
        for (client, end) in links {
            let (peer, generation) = (LinkPeer::Sfu, end.link);
            self.leave_lonely(client, LinkId { peer, generation });
        }
    }

    /// What the server asks of the SFU.
    pub(super) fn sfu_command(&mut self, command: SfuCommand) {
        match command {
            SfuCommand::Offer {
                room,
                member,
                link,
                tracks,
                ..
            } => {
                assert_eq!(tracks.len(), 5);
                let client = self.sfu.seats[&member];
                let event = if self.sfu.refuses {
                    let code = ErrorCode::LinkFailed;
                    SfuEvent::Closed { link, code }
                } else {
                    self.count += 1;
                    let known = self.sfu.links.get(&client);
                    let known = known.filter(|end| (end.member, end.link) == (member, link));
                    let instance = known.map_or(self.count, |end| end.instance);
                    let end = SfuEnd {
                        room: room.clone(),
                        member,
                        link,
                        instance,
                    };
                    self.sfu.links.insert(client, end);
                    let sdp = format!("sfu {instance}");
                    SfuEvent::Answer { link, sdp }
                };
                let says = call_room::Input::Sfu {
                    room,
                    member,
                    event,
                };
                self.at(Duration::from_millis(1), Event::SfuSays(says));
            }
            SfuCommand::Close { member, link, .. } => {
                let is_meant =
                    |end: &SfuEnd| end.member == member && link.is_none_or(|link| link == end.link);
                self.sfu.links.retain(|_, end| !is_meant(end));
            }
            SfuCommand::Candidate { .. } | SfuCommand::Subscribe { .. } => {}
        }
    }

    /// Connects a client's link to the SFU if both ends know each other and the path is up.
    pub(super) fn meet_sfu(&mut self, client: usize) {
        if self.outages.contains_key(&(client, SFU)) {
            return;
        }
        let Some(end) = self.sfu.links.get(&client) else {
            return;
        };
        let (generation, instance) = (end.link, end.instance);
        let peer = LinkPeer::Sfu;
        let link = LinkId { peer, generation };
        let fake = self.clients[client].links.get_mut(&link);
        if fake.is_some_and(|fake| fake.remote() == Some(Remote::Sfu(instance)) && fake.connect()) {
            self.link_event(client, link, LinkEvent::State(LinkState::Connected));
        }
    }

    /// The other end of this link is gone: that shows after a while, unless it is closed first.
    pub(super) fn leave_lonely(&mut self, client: usize, link: LinkId) {
        for (seconds, state) in [(5, LinkState::Reconnecting), (30, LinkState::Failed)] {
            let event = Event::Lonely {
                client,
                link,
                state,
            };
            self.at(Duration::from_secs(seconds), event);
        }
    }

    /// Whether the other end knows this one.
    pub(super) fn is_lonely(&self, client: usize, link: LinkId) -> bool {
        let fake = self.clients[client].links.get(&link);
        match fake.and_then(FakeLink::remote) {
            Some(Remote::Half(other, id)) => {
                let back = self.clients[other].links.get(&id);
                back.and_then(FakeLink::remote) != Some(Remote::Half(client, link))
            }
            Some(Remote::Sfu(instance)) => {
                let end = self.sfu.links.get(&client);
                end.map(|end| (end.link, end.instance)) != Some((link.generation, instance))
            }
            None => false,
        }
    }

    pub(super) fn member(&self, client: usize) -> Option<MemberId> {
        let call = self.clients[client].view.as_ref()?.call.as_ref()?;
        let is_in = matches!(call.phase, CallPhase::Joined | CallPhase::Reconnecting);
        call.me.filter(|_| is_in)
    }

    /// The client's link to the SFU if media can flow over it.
    pub(crate) fn live_sfu_link(&self, client: usize) -> Option<LinkId> {
        let mut links = self.clients[client].links.iter();
        let is_live = |link: LinkId, fake: &FakeLink| {
            link.peer == LinkPeer::Sfu && fake.is_connected() && !self.is_lonely(client, link)
        };
        let (link, _) = links.find(|(link, fake)| is_live(**link, fake))?;
        Some(*link)
    }

    /// The client's direct link to another if media can flow over it.
    pub(crate) fn live_direct_link(&self, client: usize, other: usize) -> Option<LinkId> {
        let mut links = self.clients[client].links.iter();
        let is_live = |link: LinkId, fake: &FakeLink| {
            fake.is_to(other)
                && !fake.is_data()
                && fake.is_connected()
                && !self.is_lonely(client, link)
        };
        let (link, _) = links.find(|(link, fake)| is_live(**link, fake))?;
        Some(*link)
    }

    /// Whether the client's half of a data link to another is connected.
    pub(crate) fn is_data_connected(&self, client: usize, other: usize) -> bool {
        let mut links = self.clients[client].links.iter();
        links.any(|(link, fake)| {
            fake.is_to(other)
                && fake.is_data()
                && fake.is_connected()
                && !self.is_lonely(client, *link)
        })
    }

    /// Lets media flow where it newly can, and demands that no pair lost its path.
    pub(super) fn flow(&mut self) {
        let clients = self.clients.len();
        let members: Vec<_> = (0..clients).map(|client| self.member(client)).collect();
        for (a, b) in (0..clients).flat_map(|a| (0..clients).map(move |b| (a, b))) {
            let (Some(me), Some(member)) = (members[a], members[b]) else {
                self.paths.remove(&(a, b));
                continue;
            };
            if a == b {
                continue;
            }
            let direct = self.live_direct_link(b, a).and(self.live_direct_link(a, b));
            let sfu = self.live_sfu_link(b).and(self.live_sfu_link(a));
            let view = self.view(b);
            let sends = (!view.muted || view.camera_on) && !self.quiet.contains(&b);
            for link in [direct, sfu].into_iter().flatten() {
                if sends && self.flowing.insert((a, link, member)) {
                    let source = MediaSource::Microphone;
                    let input = Input::MediaFlows {
                        link,
                        member,
                        source,
                    };
                    self.at(LATENCY * 2, Event::ToSession { client: a, input });
                }
            }
            let sees = |client: usize, id| {
                let call = self.view(client).call.as_ref();
                call.is_some_and(|call| call.members.iter().any(|other| other.id == id))
            };
            if !sees(a, member) || !sees(b, me) {
                self.paths.remove(&(a, b));
            } else if direct.or(sfu).is_some() {
                let since = self.paths.get(&(a, b)).map_or(self.now, |path| path.1);
                self.paths.insert((a, b), ((me, member), since));
            } else if let Some((ids, since)) = self.paths.remove(&(a, b))
                // Before that the sessions have not heard of it.
                && self.now > since + Duration::from_millis(1)
            {
                assert!(
                    !self.strict || ids != (me, member),
                    "{a} and {b} lost their path"
                );
            }
        }
    }

    /// Everybody named sees the others connected and has one link: to the SFU.
    pub(crate) fn assert_on_sfu(&self, clients: &[usize]) {
        for &client in clients {
            let call = self.call(client);
            assert_eq!(call.topology, TopologyMode::Sfu, "client {client}");
            let mut seen: Vec<_> = call.members.iter().map(|it| (it.id, it.link)).collect();
            let others = clients.iter().filter(|other| **other != client);
            let mut want: Vec<_> = others
                .map(|other| (self.me(*other), LinkView::Connected))
                .collect();
            seen.sort_by_key(|it| it.0);
            want.sort_by_key(|it| it.0);
            assert_eq!(seen, want, "as client {client} sees it");
            let links = self.open_links(client);
            assert!(
                links.len() == 1 && self.live_sfu_link(client).is_some(),
                "client {client} has {links:?}"
            );
        }
    }
}
