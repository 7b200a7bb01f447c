//! What is said to the SFU and heard from it, beside the negotiation of its link.
//!
//! What the server says about a link that is not the current one, or out of its limits, is dropped.

use std::time::Instant;

use call_protocol::peer::{PeerSignal, SdpKind};
use call_protocol::ui::TileSize;
use call_protocol::wire::{ClientMessage, TopologyMode};
use call_protocol::{ErrorCode, MemberId, limits};

use crate::call::Call;
use crate::context::Ctx;
use crate::input::LinkId;
use crate::output::LinkOp;
use crate::roster::Member;

impl Call {
    /// The SFU answers an offer.
    pub(crate) fn handle_sfu_answer(&mut self, ctx: &mut Ctx<'_>, link: u32, sdp: String) {
        let Some(link) = self.current_sfu(link) else {
            tracing::debug!(link, "answer for another link");
            return;
        };
        if sdp.len() > limits::SFU_SDP_BYTES {
            tracing::debug!(bytes = sdp.len(), "answer of the SFU too large");
            return;
        }
        let kind = SdpKind::Answer;
        let signal = PeerSignal::Description { kind, sdp };
        ctx.link_op(LinkOp::Signal { link, signal });
    }

    /// The SFU gave the link up: a new one is opened after a while.
    pub(crate) fn handle_sfu_closed(&mut self, ctx: &mut Ctx<'_>, link: u32, code: ErrorCode) {
        if self.current_sfu(link).is_none() {
            return;
        }
        tracing::debug!(?code, "the SFU closed the link");
        let actions = self.sfu.handle_bye(ctx.now);
        self.act(ctx, actions);
    }

    fn current_sfu(&self, generation: u32) -> Option<LinkId> {
        let current = self.sfu.current();
        current.filter(|link| link.generation == generation)
    }

    /// Whether anything may flow through the SFU, now or soon.
    pub(crate) fn uses_sfu(&self) -> bool {
        self.topology == TopologyMode::Sfu || !self.sfu.is_absent()
    }

    /// What is shown from now on.
    pub(crate) fn set_tiles(&mut self, tiles: &[TileSize]) {
        self.subscriptions.want(tiles);
    }

    pub(crate) fn subscribe_timeout(&self) -> Option<Instant> {
        let is_there = |member| self.roster.contains(member);
        let due = self.subscriptions.timeout(is_there);
        let due = due.filter(|_| self.uses_sfu());
        due.into_iter().chain(self.shown_timeouts()).min()
    }

    /// The links were looked at.
    pub(crate) fn handle_path_report(
        &mut self,
        now: Instant,
        relayed: &[MemberId],
        uplink_short: bool,
        cpu_short: bool,
    ) {
        let roster = &self.roster;
        let member = |id| roster.get(id);
        let since = |id| member(id).and_then(|member| member.direct.connected_since());
        let has_direct = |id| since(id).is_some();
        self.reports
            .note(now, relayed, uplink_short, cpu_short, has_direct);
    }

    /// Tells the server what is watched and how the links do, if that is news.
    pub(crate) fn tell_server(&mut self, ctx: &mut Ctx<'_>) {
        if self.uses_sfu() {
            let is_there = |member| self.roster.contains(member);
            if let Some(tiles) = self.subscriptions.poll(ctx.now, is_there) {
                self.send(ctx, ClientMessage::Subscribe { tiles });
            }
        }
        if let Some(report) = self.reports.poll() {
            self.send(ctx, report);
        }
    }

    /// Has the layers encoded that somebody receives.
    pub(crate) fn set_layers(&mut self, ctx: &mut Ctx<'_>) {
        let has_direct = |member: &Member| member.direct.current().is_some();
        let direct = self.roster.iter().any(|(_, member)| has_direct(member));
        let sfu = self.sfu.current().is_some();
        let mut is_news = false;
        while let Some(op) = self.layers.poll(direct, sfu) {
            is_news = true;
            ctx.media(op);
        }
        if is_news {
            self.handle_wanted(ctx);
        }
    }
}
