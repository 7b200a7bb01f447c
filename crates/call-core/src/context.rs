//! What the parts of a call share while they handle one input.

use std::collections::VecDeque;
use std::time::Instant;

use call_e2ee::SeedStream;
use call_protocol::peer::Profile;

use crate::input::{LinkId, LinkPeer, SocketId};
use crate::output::{CallEvent, LinkOp, MediaOp, Output};

/// What a call works with while it handles one input.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Instant,
    pub(crate) out: &'a mut VecDeque<Output>,
    pub(crate) seed: &'a mut SeedStream,
    pub(crate) ids: &'a mut Ids,
    /// One's own profile as it should be, but for the media salt.
    pub(crate) profile: Profile,
    /// Whether the person wants to save data.
    pub(crate) low_data: bool,
}

impl Ctx<'_> {
    pub(crate) fn event(&mut self, event: CallEvent) {
        self.out.push_back(Output::Call(event));
    }

    pub(crate) fn link_op(&mut self, op: LinkOp) {
        self.out.push_back(Output::Link(op));
    }

    pub(crate) fn media(&mut self, op: MediaOp) {
        self.out.push_back(Output::Media(op));
    }
}

/// Counts what needs an id that never repeats within a session.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    sockets: u32,
    links: u32,
}

impl Ids {
    pub(crate) fn socket(&mut self) -> SocketId {
        self.sockets = self.sockets.wrapping_add(1);
        SocketId(self.sockets)
    }

    pub(crate) fn link(&mut self, peer: LinkPeer) -> LinkId {
        self.links = self.links.wrapping_add(1);
        let generation = self.links;
        LinkId { peer, generation }
    }
}
