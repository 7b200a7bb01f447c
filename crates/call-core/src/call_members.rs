//! The members of a call: their profiles, their links, and the signals between.
//!
//! What a member does wrong (a profile or a signal that does not open, does not parse or exceeds
//! its limits) is dropped and logged; at worst that member is shown as "Guest" without a link.

use call_protocol::peer::{PeerSignal, Profile, SdpKind};
use call_protocol::ui::LinkView;
use call_protocol::wire::{ClientMessage, RosterEntry};
use call_protocol::{ErrorCode, MediaSource, MemberId};

use crate::call::Call;
use crate::context::Ctx;
use crate::input::{LinkEvent, LinkId, LinkPeer, LinkState};
use crate::output::{CallEvent, LinkOp, LinkPurpose, Output};
use crate::peer_link::Action;
use crate::roster::Member;

/// Own signals kept while the connection to the server is lost. A link in setup makes about 20.
pub(crate) const PENDING_SIGNALS: usize = 256;

impl Call {
    /// Somebody is in the room.
    pub(crate) fn add_member(&mut self, ctx: &mut Ctx<'_>, id: MemberId, sealed: &str) {
        let Some(me) = self.me else { return };
        if self.roster.contains(id) {
            return self.update_member(ctx, id, sealed);
        }
        let profile = self.open_profile(id, sealed);
        let Some(member) = self.roster.add(id, me) else {
            tracing::debug!(member = %id, "roster entry refused");
            return;
        };
        if let Some(profile) = &profile {
            member.apply(profile);
        }
        let name = member.name.clone();
        ctx.event(CallEvent::MemberJoined { member: id, name });
        self.open_first_link(ctx, id, profile.is_some());
    }

    /// Somebody's profile changed, or could be read at last.
    pub(crate) fn update_member(&mut self, ctx: &mut Ctx<'_>, id: MemberId, sealed: &str) {
        if !self.roster.contains(id) {
            return;
        }
        let profile = self.open_profile(id, sealed);
        if let (Some(profile), Some(member)) = (&profile, self.roster.get_mut(id)) {
            member.apply(profile);
        }
        self.open_first_link(ctx, id, profile.is_some());
    }

    /// Only a member whose profile opened can be reached: it holds the session to seal for.
    fn open_first_link(&mut self, ctx: &mut Ctx<'_>, id: MemberId, is_known: bool) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if is_known && member.link.is_absent() {
            let action = member.link.open(ctx.now, ctx.ids.link(id));
            self.act(ctx, id, vec![action]);
        } else {
            self.report_link(ctx, id);
        }
    }

    fn open_profile(&mut self, id: MemberId, sealed: &str) -> Option<Profile> {
        let secured = self.secured.as_mut()?;
        let plain = secured
            .sealer
            .open_profile(id, sealed)
            .inspect_err(|error| {
                tracing::debug!(member = %id, %error, code = ?error.code(), "profile dropped");
            });
        serde_json::from_slice(&plain.ok()?).ok()
    }

    /// Somebody is gone.
    pub(crate) fn remove_member(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let Some(member) = self.roster.remove(id) else {
            return;
        };
        if let Some(link) = member.link.current() {
            ctx.out.push_back(Output::Link(LinkOp::Close { link }));
        }
        if let Some(secured) = &mut self.secured {
            secured.sealer.forget(id);
        }
        self.pending.retain(|(link, _)| link.member() != Some(id));
        ctx.event(CallEvent::MemberLeft {
            member: id,
            name: member.name,
        });
    }

    /// One's own seat is a new one.
    pub(crate) fn drop_everybody(&mut self, ctx: &mut Ctx<'_>) {
        for id in self.roster.ids() {
            self.remove_member(ctx, id);
        }
        if let Some(secured) = &mut self.secured {
            secured.sealer.forget_all();
        }
    }

    /// The seat was resumed: catches up with what happened meanwhile.
    pub(crate) fn reconcile(&mut self, ctx: &mut Ctx<'_>, entries: &[RosterEntry]) {
        for id in self.roster.ids() {
            if entries.iter().all(|entry| entry.member != id) {
                self.remove_member(ctx, id);
            }
        }
        for (link, signal) in std::mem::take(&mut self.pending) {
            self.send_link_signal(ctx, link, &signal);
        }
        for id in self.roster.ids() {
            let Some(member) = self.roster.get_mut(id) else {
                continue;
            };
            let actions = member.link.handle_resumed(ctx.now);
            self.act(ctx, id, actions);
        }
        for entry in entries {
            self.add_member(ctx, entry.member, &entry.profile);
        }
        self.care_for_links(ctx);
    }

    /// A sealed signal arrived.
    pub(crate) fn handle_sealed(&mut self, ctx: &mut Ctx<'_>, from: MemberId, sealed: &str) {
        let (Some(me), Some(secured)) = (self.me, &mut self.secured) else {
            return;
        };
        let plain = match secured.sealer.open(from, me, sealed) {
            Ok(plain) => plain,
            Err(error) => {
                tracing::debug!(member = %from, %error, code = ?error.code(), "signal dropped");
                return;
            }
        };
        let signal = serde_json::from_slice(&plain)
            .ok()
            .filter(PeerSignal::is_within_limits);
        let (Some(signal), Some(member)) = (signal, self.roster.get_mut(from)) else {
            tracing::debug!(member = %from, "signal malformed");
            return;
        };
        if matches!(signal, PeerSignal::Settled { .. }) {
            return;
        }
        if signal == PeerSignal::Bye {
            let actions = member.link.handle_bye(ctx.now);
            return self.act(ctx, from, actions);
        }
        let is_offer = matches!(
            signal,
            PeerSignal::Description {
                kind: SdpKind::Offer,
                ..
            }
        );
        if is_offer && member.link.accepts_offer(ctx.now) {
            let action = member.link.open(ctx.now, ctx.ids.link(from));
            self.act(ctx, from, vec![action]);
        }
        match self
            .roster
            .get_mut(from)
            .and_then(|member| member.link.current())
        {
            Some(link) => ctx
                .out
                .push_back(Output::Link(LinkOp::Signal { link, signal })),
            None => tracing::debug!(member = %from, "signal for no link"),
        }
    }

    /// A link reports something.
    pub(crate) fn handle_link(&mut self, ctx: &mut Ctx<'_>, link: LinkId, event: LinkEvent) {
        let Some(id) = link.member() else {
            return;
        };
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if member.link.current() != Some(link) {
            return;
        }
        match event {
            LinkEvent::Signal(signal) => self.queue_signal(ctx, link, signal),
            LinkEvent::State(state) => {
                let actions = member.link.handle_state(ctx.now, state);
                if state == LinkState::Connected {
                    self.keyframes.request(ctx.now, MediaSource::Camera);
                }
                self.act(ctx, id, actions);
                if self.is_joined() {
                    self.care_for_links(ctx);
                }
            }
            LinkEvent::Codec(codec) => member.codec = Some(codec),
            LinkEvent::KeyframeRequested { source, .. } => self.keyframes.request(ctx.now, source),
        }
        self.force_keyframes(ctx);
    }

    /// Does what is due on the links.
    pub(crate) fn care_for_links(&mut self, ctx: &mut Ctx<'_>) {
        for id in self.roster.ids() {
            let Some(member) = self.roster.get_mut(id) else {
                continue;
            };
            let actions = member.link.handle_timeout(ctx.now, || ctx.ids.link(id));
            self.act(ctx, id, actions);
        }
    }

    fn act(&mut self, ctx: &mut Ctx<'_>, id: MemberId, actions: Vec<Action>) {
        for action in actions {
            let op = match action {
                Action::Open { link, initiator } => {
                    ctx.out.push_back(Output::Link(LinkOp::Open {
                        link,
                        polite: !initiator,
                        initiator,
                        purpose: LinkPurpose::Call,
                    }));
                    self.restore_sound(ctx, id);
                    continue;
                }
                Action::Restart(link) => LinkOp::Restart { link },
                Action::Close(link) => {
                    self.pending.retain(|(pending, _)| *pending != link);
                    LinkOp::Close { link }
                }
                Action::SendBye(link) => {
                    self.send_bye(ctx, link);
                    continue;
                }
            };
            ctx.out.push_back(Output::Link(op));
        }
        self.report_link(ctx, id);
    }

    /// Changes how a member is heard here. Does nothing for somebody who is not there.
    pub(crate) fn set_member_sound(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: MemberId,
        change: impl FnOnce(&mut Member),
    ) {
        if let Some(member) = self.roster.get_mut(id) {
            change(member);
            ctx.out.push_back(Output::Media(member.sound(id)));
        }
    }

    /// A link begins with the sound as it is sent.
    fn restore_sound(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        if let Some(member) = self.roster.get_mut(id)
            && member.is_heard_differently()
        {
            ctx.out.push_back(Output::Media(member.sound(id)));
        }
    }

    fn report_link(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        let state = member.link.view();
        if member.reported.replace(state) == Some(state) {
            return;
        }
        ctx.event(CallEvent::Link {
            peer: LinkPeer::Member(id),
            state,
        });
        if state == LinkView::Failed {
            let (code, detail) = if member.link.is_absent() {
                (
                    ErrorCode::SealBroken,
                    "the profile of a member does not open",
                )
            } else {
                (
                    ErrorCode::LinkFailed,
                    "the link to a member failed repeatedly",
                )
            };
            tracing::debug!(member = %id, ?code, detail);
            ctx.event(CallEvent::Error {
                code,
                detail: detail.to_owned(),
            });
        }
    }

    /// Sends a signal of a link, or keeps it until the seat is resumed.
    fn queue_signal(&mut self, ctx: &mut Ctx<'_>, link: LinkId, signal: PeerSignal) {
        if !signal.is_within_limits() {
            tracing::warn!(?link, "own signal exceeds its limits");
        } else if self.is_joined() {
            self.send_link_signal(ctx, link, &signal);
        } else {
            self.keep_signal(link, signal);
        }
    }

    fn keep_signal(&mut self, link: LinkId, signal: PeerSignal) {
        if self.pending.len() >= PENDING_SIGNALS {
            self.pending.pop_front();
        }
        self.pending.push_back((link, signal));
    }

    /// Tells the other half of a link that this half is gone.
    pub(crate) fn send_bye(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        if self.is_joined() {
            self.send_link_signal(ctx, link, &PeerSignal::Bye);
        } else {
            self.keep_signal(link, PeerSignal::Bye);
        }
    }

    fn send_link_signal(&mut self, ctx: &mut Ctx<'_>, link: LinkId, signal: &PeerSignal) {
        if let Some(to) = link.member() {
            self.send_signal(ctx, to, signal);
        }
    }

    fn send_signal(&mut self, ctx: &mut Ctx<'_>, to: MemberId, signal: &PeerSignal) {
        let (Some(me), Some(secured), Some(signalling)) =
            (self.me, &mut self.secured, &self.signalling)
        else {
            return;
        };
        if !signalling.is_joined() {
            return;
        }
        let plain = serde_json::to_vec(signal).unwrap_or_default();
        match secured.sealer.seal(me, to, &plain) {
            Ok(sealed) => signalling.send(ctx.out, ClientMessage::Signal { to, sealed }),
            Err(error) => tracing::warn!(member = %to, %error, "own signal cannot be sealed"),
        }
    }
}
