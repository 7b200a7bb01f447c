//! The server's SFU and the room's topology, which the test decides, and what flows where.

use std::collections::BTreeMap;

use call_core::{Input, LinkEvent, LinkId, LinkPeer, LinkPurpose, LinkState};
use call_protocol::ui::{CallPhase, LinkView};
use call_protocol::wire::{ClientMessage, ServerMessage, TopologyMode};
use call_protocol::{ErrorCode, MediaSource, MemberId};
use call_room::ConnId;

use super::link::{FakeLink, Remote};
use super::{Event, LATENCY, World};

/// The other end of an outage that concerns the SFU.
pub(crate) const SFU: usize = usize::MAX;

/// What the SFU knows.
#[derive(Default)]
pub(super) struct FakeSfu {
    /// By client: the number of its link and the instance of our end.
    links: BTreeMap<usize, (u32, u64)>,
    /// Closes every link that is offered.
    refuses: bool,
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
        if let Some((link, _)) = self.sfu.links.remove(&client) {
            let code = ErrorCode::LinkFailed;
            self.say(client, ServerMessage::SfuClosed { link, code });
        }
    }

    /// The SFU forgets everything, as with a new process: the links' ends go silent.
    pub(super) fn forget_sfu(&mut self) {
        let links = std::mem::take(&mut self.sfu.links);
        for (client, (generation, _)) in links {
            let peer = LinkPeer::Sfu;
            self.leave_lonely(client, LinkId { peer, generation });
        }
    }

    /// Whether the message is the SFU's; then it is handled.
    pub(super) fn sfu_message(&mut self, conn: ConnId, message: &ClientMessage) -> bool {
        let Some((client, socket)) = self.owners.get(&conn).copied() else {
            return false;
        };
        match message {
            ClientMessage::SfuOffer { link, tracks, .. } => {
                assert_eq!(tracks.len(), 4);
                let link = *link;
                let known = self.sfu.links.get(&client).copied();
                let message = if self.sfu.refuses {
                    let code = ErrorCode::LinkFailed;
                    ServerMessage::SfuClosed { link, code }
                } else {
                    let instance = match known.filter(|(number, _)| *number == link) {
                        Some((_, instance)) => instance,
                        None => {
                            self.count += 1;
                            self.count
                        }
                    };
                    self.sfu.links.insert(client, (link, instance));
                    let sdp = format!("sfu {instance}");
                    ServerMessage::SfuAnswer { link, sdp }
                };
                let input = Input::Server { socket, message };
                self.at(LATENCY, Event::ToSession { client, input });
            }
            ClientMessage::SfuClose { link } => {
                let known = self.sfu.links.get(&client);
                if known.is_some_and(|(number, _)| number == link) {
                    self.sfu.links.remove(&client);
                }
            }
            ClientMessage::Leave => {
                self.sfu.links.remove(&client);
                return false;
            }
            ClientMessage::SfuCandidate { .. }
            | ClientMessage::Subscribe { .. }
            | ClientMessage::Report { .. } => {}
            _ => return false,
        }
        true
    }

    /// Connects a client's link to the SFU if both ends know each other and the path is up.
    pub(super) fn meet_sfu(&mut self, client: usize) {
        if self.outages.contains_key(&(client, SFU)) {
            return;
        }
        let Some((generation, instance)) = self.sfu.links.get(&client).copied() else {
            return;
        };
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
            self.at(std::time::Duration::from_secs(seconds), event);
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
                self.sfu.links.get(&client) != Some(&(link.generation, instance))
            }
            None => false,
        }
    }

    fn member(&self, client: usize) -> Option<MemberId> {
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
                && fake.purpose == LinkPurpose::Call
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
                && fake.purpose == LinkPurpose::Data
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
                self.paths.insert((a, b), (me, member));
            } else if self.paths.remove(&(a, b)) == Some((me, member)) {
                assert!(!self.strict, "{a} and {b} lost their path");
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
