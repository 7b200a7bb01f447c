//! Which links shall carry the call: the switch between mesh and SFU.
//!
//! | the room's mode | pair | direct link | link to the SFU |
//! |---|---|---|---|
//! | mesh | | open | until every pair has left it |
//! | SFU | still leaving the mesh | open | open |
//! | SFU | settled, or never in the mesh | none | open |
//!
//! What the links do once they are wanted is in `call_links` and `peer_link`, when a pair may leave
//! its old path in `topology`. Data links have nothing to do with it: `call_data`.

use std::time::Instant;

use call_protocol::wire::TopologyMode;
use call_protocol::{MediaSource, MemberId};

use crate::call::Call;
use crate::context::Ctx;
use crate::input::{LinkId, LinkPeer};
use crate::output::{CallEvent, LinkOp, Reason};
use crate::roster::Member;
use crate::topology::Step;

impl Call {
    /// The room's mode is this one.
    pub(crate) fn set_topology(&mut self, ctx: &mut Ctx<'_>, mode: TopologyMode, reason: String) {
        let is_new = self.topology != mode;
        if is_new {
            tracing::info!(?mode, "the room changes its topology");
            self.topology = mode;
            let on_sfu = !self.sfu.is_absent();
            for member in self.roster.iter_mut() {
                let has_old = match mode {
                    // One that never connected holds nothing, and a newcomer may not even know of
                    // it: the room moves because of them, and they go straight to the SFU.
                    TopologyMode::Sfu => member.direct.was_connected(),
                    TopologyMode::Mesh => on_sfu && member.is_known,
                };
                member.passage.begin(ctx.now, has_old);
            }
            if mode == TopologyMode::Sfu {
                self.subscriptions.forget_sent();
            }
            ctx.event(CallEvent::Topology { mode, reason });
        }
        if mode == TopologyMode::Sfu && self.sfu.is_absent() {
            let action = self.sfu.open(ctx.now, ctx.ids.link(LinkPeer::Sfu));
            self.act(ctx, vec![action]);
        }
        if is_new {
            for id in self.roster.ids() {
                self.align(ctx, id);
            }
        }
    }

    /// Goes on with every pair's passage as far as it can; ends the mesh or the SFU for those who
    /// left it.
    pub(crate) fn move_on(&mut self, ctx: &mut Ctx<'_>) {
        let mode = self.topology;
        for id in self.roster.ids() {
            while let Some(member) = self.roster.get_mut(id) {
                let since = match mode {
                    TopologyMode::Mesh => member.direct.connected_since(),
                    TopologyMode::Sfu => self.sfu.connected_since(),
                };
                match member.passage.step(ctx.now, mode, since) {
                    Step::Wait => break,
                    Step::Say => self.send_settled(ctx, id, mode),
                    Step::Leave => {
                        self.align(ctx, id);
                        self.chat.handle_path(ctx.now, id);
                    }
                }
            }
        }
        let is_needed = |(_, member): (_, &Member)| member.passage.is_leaving();
        if mode == TopologyMode::Mesh && !self.roster.iter().any(is_needed) {
            self.close_sfu(ctx);
        }
    }

    pub(crate) fn passage_timeouts(&self) -> impl Iterator<Item = (Instant, Reason)> {
        self.roster.iter().filter_map(|(_, member)| {
            let since = match self.topology {
                TopologyMode::Mesh => member.direct.connected_since(),
                TopologyMode::Sfu => self.sfu.connected_since(),
            };
            let due = member.passage.timeout(self.topology, since);
            due.map(|at| (at, Reason::Passage))
        })
    }

    /// Says again what may have been lost with the server's connection.
    pub(crate) fn repeat_settled(&mut self, ctx: &mut Ctx<'_>) {
        for id in self.roster.ids() {
            let member = self.roster.get(id);
            if member.is_some_and(|member| member.passage.has_unconfirmed_word()) {
                self.send_settled(ctx, id, self.topology);
            }
        }
    }

    /// Media of a member came over a link.
    pub(crate) fn handle_flows(&mut self, link: LinkId, id: MemberId, source: MediaSource) {
        let is_sfu = self.sfu.current() == Some(link);
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if is_sfu {
            member.passage.handle_flows(TopologyMode::Sfu, source);
        } else if member.direct.current() == Some(link) {
            member.passage.handle_flows(TopologyMode::Mesh, source);
        }
    }

    /// A member says that we reach it over the path of this mode.
    pub(crate) fn handle_settled(&mut self, id: MemberId, mode: TopologyMode) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if mode != self.topology {
            tracing::debug!(member = %id, ?mode, "settled for a mode that is over");
        } else if member.passage.is_leaving() {
            member.passage.handle_word();
        }
    }

    /// A member hung up its half of the direct link.
    pub(crate) fn handle_bye(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if self.topology == TopologyMode::Sfu && member.passage.is_leaving() {
            member.passage.handle_word();
        }
        let actions = member.direct.handle_bye(ctx.now);
        self.act(ctx, actions);
    }

    /// Makes a half for an offer that finds none, where one is welcome.
    pub(crate) fn prepare_for_offer(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        if let Some(member) = self.roster.get_mut(id)
            && member.direct.accepts_offer(ctx.now)
        {
            self.open_direct(ctx, id);
        }
    }

    /// Makes the direct link to a member what it shall be.
    pub(crate) fn align(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let Some(me) = self.me else { return };
        let mode = self.topology;
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if member.is_known && (mode == TopologyMode::Mesh || member.passage.is_leaving()) {
            if member.direct.is_absent() {
                self.open_direct(ctx, id);
            }
        } else if let Some(link) = member.direct.retire(me > id) {
            self.close(ctx, link);
            self.send_bye(ctx, link);
        }
    }

    fn open_direct(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let peer = LinkPeer::Member(id);
        if let Some(member) = self.roster.get_mut(id) {
            let action = member.direct.open(ctx.now, ctx.ids.link(peer));
            self.act(ctx, vec![action]);
        }
    }

    fn close_sfu(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(link) = self.sfu.retire(true) {
            self.close(ctx, link);
            self.send_bye(ctx, link);
        }
    }

    /// Closes a peer connection and forgets what was to be said about it.
    pub(crate) fn close(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        self.pending.retain(|(pending, _)| *pending != link);
        ctx.link_op(LinkOp::Close { link });
    }
}
