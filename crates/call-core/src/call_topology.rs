//! Which links there shall be: the switch between mesh and SFU, and data links on demand.
//!
//! | the room's mode | pair | direct link | link to the SFU |
//! |---|---|---|---|
//! | mesh | | for the call | until every pair has left it |
//! | SFU | still leaving the mesh | for the call | open |
//! | SFU | settled, or never in the mesh | for data, while either side wants it | open |
//!
//! Data links: whoever wants one opens and offers it; both may at once (perfect negotiation settles
//! that). Who no longer wants one that the other side offered as well says `Settled` and leaves it
//! to them; otherwise it hangs up.
//!
//! What the links do once they are wanted is in `call_links` and `peer_link`, when a pair may leave
//! its old path in `topology`.

use std::time::Instant;

use call_protocol::peer::PeerSignal;
use call_protocol::wire::TopologyMode;
use call_protocol::{MediaSource, MemberId};

use crate::call::Call;
use crate::context::Ctx;
use crate::input::{LinkId, LinkPeer};
use crate::output::{CallEvent, LinkOp, LinkPurpose, Reason};
use crate::peer_link::PeerLink;
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
                    TopologyMode::Sfu => member.call_link().is_some_and(PeerLink::was_connected),
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
                    TopologyMode::Mesh => member.direct_since(),
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
                TopologyMode::Mesh => member.direct_since(),
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
    pub(crate) fn handle_settled(&mut self, ctx: &mut Ctx<'_>, id: MemberId, mode: TopologyMode) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if mode != self.topology {
            tracing::debug!(member = %id, ?mode, "settled for a mode that is over");
        } else if member.passage.is_leaving() {
            member.passage.handle_word();
        } else if mode == TopologyMode::Sfu {
            member.they_want_data = false;
            self.align(ctx, id);
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
        self.drop_failed_data(id);
    }

    /// A data link that is gone stays away unless it is ours to open: theirs comes with an offer.
    pub(crate) fn drop_failed_data(&mut self, id: MemberId) {
        if let Some(member) = self.roster.get_mut(id)
            && member.purpose == LinkPurpose::Data
            && member.direct.current().is_none()
        {
            member.they_want_data = false;
            if !member.we_want_data {
                member.direct.retire(false);
            }
        }
    }

    /// Makes a half for an offer that finds none, where one is welcome.
    pub(crate) fn prepare_for_offer(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: MemberId,
        purpose: LinkPurpose,
    ) {
        let mode = self.topology;
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        let peer = LinkPeer::Member(id);
        if purpose == LinkPurpose::Call {
            if member.call_link().is_some() && member.direct.accepts_offer(ctx.now) {
                let action = member.direct.open(ctx.now, ctx.ids.link(peer));
                self.act(ctx, vec![action]);
            }
            return;
        }
        if mode != TopologyMode::Sfu || !member.is_known {
            return;
        }
        if member.purpose == LinkPurpose::Call && member.direct.is_rested(ctx.now) {
            // Who offers this has left the old path for good.
            member.passage.end();
            let old = member.direct.retire(member.we_want_data);
            member.purpose = LinkPurpose::Data;
            if let Some(link) = old {
                self.close(ctx, link);
            }
        }
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if member.purpose == LinkPurpose::Data {
            member.they_want_data = true;
            if member.direct.current().is_none() && member.direct.is_rested(ctx.now) {
                let action = member.direct.open_for_offer(ctx.now, ctx.ids.link(peer));
                self.act(ctx, vec![action]);
            }
        }
    }

    /// Whether files shall go to or come from a member.
    pub(crate) fn want_direct(&mut self, ctx: &mut Ctx<'_>, id: MemberId, wanted: bool) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut member.we_want_data, wanted) == wanted {
            return;
        }
        if member.purpose == LinkPurpose::Data {
            member.direct.set_initiator(wanted);
            if !wanted
                && member.they_want_data
                && let Some(link) = member.direct.current()
            {
                let mode = TopologyMode::Sfu;
                self.queue_signal(ctx, link, PeerSignal::Settled { mode });
            }
        }
        self.align(ctx, id);
    }

    /// Makes the direct link to a member what it shall be.
    pub(crate) fn align(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let Some(me) = self.me else { return };
        let mode = self.topology;
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        let is_call = member.purpose == LinkPurpose::Call;
        if member.is_known && (mode == TopologyMode::Mesh || member.passage.is_leaving()) {
            if !is_call || member.direct.is_absent() {
                // Both sides do this at the same word of the server: a `Bye` for the old one would
                // hit the new one.
                let old = member.direct.retire(me > id);
                member.purpose = LinkPurpose::Call;
                member.they_want_data = false;
                if let Some(link) = old {
                    self.close(ctx, link);
                }
                self.open_direct(ctx, id);
            }
            return;
        }
        if is_call {
            member.purpose = LinkPurpose::Data;
            if let Some(link) = member.direct.retire(member.we_want_data) {
                if member.we_want_data {
                    member.direct.open_later(ctx.now, link);
                }
                self.close(ctx, link);
                return self.send_bye(ctx, link);
            }
        }
        let is_wanted = member.we_want_data || member.they_want_data;
        if member.we_want_data && member.is_known && member.direct.is_absent() {
            self.open_direct(ctx, id);
        } else if !is_wanted && let Some(link) = member.direct.retire(false) {
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
