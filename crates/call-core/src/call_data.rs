//! The data links of a call: for files, between two members, beside whatever carries the call.
//!
//! A data link is there while either member needs it. Whoever needs one opens and offers it; both may
//! at once (perfect negotiation settles that). Who needs it no longer says so where the other side
//! needs it, and hangs up otherwise. After a failure whoever needs it opens it anew ([`PeerLink`]'s
//! back-off); the other side forgets it, as theirs comes with an offer.
//!
//! Invariants: the room's topology and how its pairs move never touch a data link, nor does a data
//! link change what is shown of a member's connection; whoever does not need one opens none but for
//! an offer; `they_want_data` holds only while there is a link.
//!
//! Deliberately not here: what goes over it.
//!
//! [`PeerLink`]: crate::peer_link::PeerLink

use call_protocol::MemberId;
use call_protocol::peer::{PeerSignal, SdpKind};
use call_protocol::ui::LinkView;

use crate::call::Call;
use crate::context::Ctx;
use crate::input::LinkPeer;
use crate::output::CallEvent;

impl Call {
    /// Whether files shall go to or come from a member. Does nothing for somebody who is not there.
    pub(crate) fn want_data(&mut self, ctx: &mut Ctx<'_>, id: MemberId, wanted: bool) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut member.we_want_data, wanted) == wanted {
            return;
        }
        member.data.set_initiator(wanted);
        if wanted || member.they_want_data {
            self.tell_need(ctx, id, wanted);
        }
        self.align_data(ctx, id);
    }

    /// How the data link to a member does; `None` where nobody needs one.
    pub(crate) fn data_state(&self, id: MemberId) -> Option<LinkView> {
        let member = self.roster.get(id)?;
        (!member.data.is_absent()).then(|| member.data.view())
    }

    /// A member says something about the data link.
    pub(crate) fn handle_data_signal(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: MemberId,
        signal: PeerSignal,
    ) {
        let peer = LinkPeer::Data(from);
        let Some(member) = self.roster.get_mut(from) else {
            return;
        };
        match signal {
            PeerSignal::Bye => {
                let actions = member.data.handle_bye(ctx.now);
                self.act(ctx, actions);
                self.drop_failed_data(peer);
            }
            PeerSignal::Need { needed } => {
                member.they_want_data = needed && member.data.current().is_some();
                self.align_data(ctx, from);
            }
            PeerSignal::Description { kind, ref sdp } => {
                let is_offer = kind == SdpKind::Offer;
                if is_offer {
                    self.prepare_for_data_offer(ctx, from);
                }
                self.compare_halves(ctx, peer, sdp, is_offer);
                self.pass_to_link(ctx, peer, signal);
            }
            PeerSignal::Candidate { .. } => self.pass_to_link(ctx, peer, signal),
            PeerSignal::Settled { .. }
            | PeerSignal::Shown { .. }
            | PeerSignal::AskMute
            | PeerSignal::Data { .. } => {
                tracing::debug!(member = %from, "not about a data link");
            }
        }
    }

    /// Makes a half for an offer that finds none.
    fn prepare_for_data_offer(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let now = ctx.now;
        let Some(member) = self.roster.get_mut(id).filter(|member| member.is_known) else {
            return;
        };
        if member.data.current().is_some() {
            member.they_want_data = true;
        } else if member.data.is_rested(now) {
            member.they_want_data = true;
            let is_needed = member.we_want_data;
            let link = ctx.ids.link(LinkPeer::Data(id));
            let action = member.data.open_for_offer(now, link);
            self.act(ctx, vec![action]);
            if is_needed {
                self.tell_need(ctx, id, true);
            }
        } else {
            // They would wait for an answer that never comes; so they offer again in a second.
            self.send_data_signal(ctx, id, PeerSignal::Bye);
        }
    }

    fn tell_need(&mut self, ctx: &mut Ctx<'_>, id: MemberId, needed: bool) {
        let member = self.roster.get(id);
        if let Some(link) = member.and_then(|member| member.data.current()) {
            self.queue_signal(ctx, link, PeerSignal::Need { needed });
        }
    }

    /// Makes the data link to a member what it shall be.
    pub(crate) fn align_data(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if member.we_want_data {
            if member.is_known && member.data.is_absent() {
                let link = ctx.ids.link(LinkPeer::Data(id));
                let action = member.data.open(ctx.now, link);
                self.act(ctx, vec![action]);
            }
        } else if !member.they_want_data
            && let Some(link) = member.data.retire(false)
        {
            self.close(ctx, link);
            self.send_bye(ctx, link);
        }
    }

    /// A data link that is gone stays away unless it is ours to open: theirs comes with an offer.
    pub(crate) fn drop_failed_data(&mut self, peer: LinkPeer) {
        if let LinkPeer::Data(id) = peer
            && let Some(member) = self.roster.get_mut(id)
            && member.data.current().is_none()
        {
            member.they_want_data = false;
            if !member.we_want_data {
                member.data.retire(false);
            }
        }
    }

    /// Reports every data link whose state changed. Their failing is nothing the person could mend:
    /// transfers show that they wait.
    pub(crate) fn report_data_links(&mut self, ctx: &mut Ctx<'_>) {
        for id in self.roster.ids() {
            let state = self.data_state(id);
            let Some(member) = self.roster.get_mut(id) else {
                continue;
            };
            if std::mem::replace(&mut member.data_reported, state) != state
                && let Some(state) = state
            {
                let peer = LinkPeer::Data(id);
                ctx.event(CallEvent::Link { peer, state });
            }
        }
    }
}
