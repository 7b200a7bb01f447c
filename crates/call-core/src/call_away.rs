//! Members the server does not know although they may be there: it was restarted and they are on
//! their way back, or their connection to it is lost for longer than it keeps seats.
//!
//! ```text
//! missing in the roster of a server that lost its memory ─┐
//! seat timed out while the direct link works ─────────────┴─► away ──► back, as whom they were
//!                                                               │
//!                                     no word and no path ──────┴────► left
//! ```
//!
//! Invariants: an away member's links carry on untouched, and nothing is tried that needs signals,
//! which would not reach them; only who shows the session their profiles were sealed with before is
//! back, anybody else under their id is somebody new; an away member without a path is gone within
//! bounds.
//!
//! Not at the SFU: no link of ours shows there who is present, so that the server's word counts.

use std::time::{Duration, Instant};

use call_protocol::MemberId;
use call_protocol::wire::{LeaveReason, TopologyMode};

use crate::call::Call;
use crate::context::Ctx;
use crate::input::LinkPeer;
use crate::output::{CallEvent, Reason};

/// How long a member may take to come back. Longer than every wait between two attempts to reach the
/// server and the attempts themselves; raising it shows people longer who left while it was down.
const RETURN_WITHIN: Duration = Duration::from_secs(30);
/// How long the path of one who is overdue may be dead: what an ICE agent's own recovery from a
/// change of networks takes, and then some.
const DEAD_MOST: Duration = Duration::from_secs(10);

impl Call {
    /// The server says that somebody's seat is free.
    pub(crate) fn handle_left(&mut self, ctx: &mut Ctx<'_>, id: MemberId, reason: LeaveReason) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if reason == LeaveReason::Removed {
            ctx.event(CallEvent::Removed { member: id });
            self.change_keys(ctx);
            return self.remove_member(ctx, id);
        }
        let is_there = member.direct.connected_since().is_some();
        let timed_out = reason == LeaveReason::TimedOut;
        if timed_out && is_there && self.topology == TopologyMode::Mesh {
            member.away_until = Some(ctx.now + DEAD_MOST);
        } else {
            self.remove_member(ctx, id);
        }
    }

    /// The server lost its memory, and these are not back yet.
    pub(crate) fn miss_members(&mut self, now: Instant, is_back: impl Fn(MemberId) -> bool) {
        for id in self.roster.ids() {
            if let Some(member) = self.roster.get_mut(id).filter(|_| !is_back(id)) {
                member.away_until = Some(now + RETURN_WITHIN);
            }
        }
    }

    /// Somebody one knows has a seat: whether it is the same one as before. Of a different one all is
    /// forgotten.
    pub(crate) fn recognise(&mut self, ctx: &mut Ctx<'_>, id: MemberId, sealed: &str) -> bool {
        let sealer = self.secured.as_ref().map(|secured| &secured.sealer);
        if sealer.is_some_and(|sealer| sealer.introduces_another(id, sealed)) {
            tracing::debug!(member = %id, "somebody else has the seat");
            self.remove_member(ctx, id);
            return false;
        }
        true
    }

    /// They are back: what waited for them goes on.
    pub(crate) fn take_back(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let member = self.roster.get_mut(id);
        if member.and_then(|member| member.away_until.take()).is_none() {
            return;
        }
        tracing::debug!(member = %id, "back");
        self.send_pending(ctx);
        for peer in [LinkPeer::Member(id), LinkPeer::Data(id)] {
            self.resume_link(ctx, peer);
        }
        self.chat.handle_path(ctx.now, id);
    }

    /// Whether signals for this end reach nobody at present.
    pub(crate) fn is_away(&self, peer: LinkPeer) -> bool {
        let (LinkPeer::Member(id) | LinkPeer::Data(id)) = peer else {
            return false;
        };
        let member = self.roster.get(id);
        member.is_some_and(|member| member.away_until.is_some())
    }

    /// Removes who is overdue and has no path.
    pub(crate) fn care_for_away(&mut self, ctx: &mut Ctx<'_>) {
        for id in self.roster.ids() {
            let Some(member) = self.roster.get_mut(id) else {
                continue;
            };
            let Some(until) = member.away_until else {
                continue;
            };
            if member.direct.connected_since().is_some() {
                member.away_until = Some(until.max(ctx.now + DEAD_MOST));
            } else if until <= ctx.now {
                self.remove_member(ctx, id);
            }
        }
    }

    pub(crate) fn away_timeouts(&self) -> impl Iterator<Item = (Instant, Reason)> {
        self.roster.iter().filter_map(|(_, member)| {
            let is_dead = member.direct.connected_since().is_none();
            let until = member.away_until.filter(|_| is_dead)?;
            Some((until, Reason::Away))
        })
    }
}
