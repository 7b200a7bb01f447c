//! The links of a call: to every member of a mesh, to the SFU, and the data links.

use std::time::Instant;

use call_protocol::ui::LinkView;
use call_protocol::wire::TopologyMode;
use call_protocol::{ErrorCode, MediaSource, MemberId};

use crate::call::Call;
use crate::context::Ctx;
use crate::input::{LinkEvent, LinkId, LinkPeer, LinkState};
use crate::output::{CallEvent, LinkOp, Reason};
use crate::peer_link::{Action, PeerLink};
use crate::roster::Member;
use crate::signalling::Signalling;

impl Call {
    /// A link reports something.
    pub(crate) fn handle_link(&mut self, ctx: &mut Ctx<'_>, link: LinkId, event: LinkEvent) {
        let Some(policy) = self.policy_mut(link.peer) else {
            return;
        };
        if policy.current() != Some(link) {
            return;
        }
        match event {
            LinkEvent::Signal(signal) => self.queue_signal(ctx, link, signal),
            LinkEvent::AddressGone => policy.handle_address_gone(ctx.now),
            LinkEvent::State(state) => {
                let actions = policy.handle_state(ctx.now, state);
                self.act(ctx, actions);
                if state == LinkState::Reconnecting
                    && let Some(signalling) = &mut self.signalling
                {
                    // What took the path may have taken the server's connection as well.
                    signalling.doubt(ctx);
                }
                if state == LinkState::Connected {
                    self.handle_connected(ctx, link.peer);
                }
                self.drop_failed_data(link.peer);
            }
            LinkEvent::Codec(codec) => {
                if let LinkPeer::Member(id) = link.peer
                    && let Some(member) = self.roster.get_mut(id)
                {
                    member.codec = Some(codec);
                }
            }
            LinkEvent::KeyframeRequested { source, layer } => {
                self.keyframes.request(ctx.now, source, layer);
            }
        }
    }

    fn handle_connected(&mut self, ctx: &Ctx<'_>, peer: LinkPeer) {
        match peer {
            LinkPeer::Sfu => {
                // The SFU asks for what its receivers need.
                self.subscriptions.forget_sent();
                self.chat.handle_paths(ctx.now);
            }
            LinkPeer::Member(id) => {
                self.chat.handle_path(ctx.now, id);
                if let Some(member) = self.roster.get_mut(id) {
                    member.shown.forget_told();
                }
                self.keyframes.request(ctx.now, MediaSource::Camera, 0);
                self.keyframes.request(ctx.now, MediaSource::Screen, 0);
            }
            LinkPeer::Data(_) => {}
        }
    }

    pub(crate) fn policy_mut(&mut self, peer: LinkPeer) -> Option<&mut PeerLink> {
        match peer {
            LinkPeer::Sfu => Some(&mut self.sfu),
            LinkPeer::Member(id) => self.roster.get_mut(id).map(|member| &mut member.direct),
            LinkPeer::Data(id) => self.roster.get_mut(id).map(|member| &mut member.data),
        }
    }

    fn policy(&self, peer: LinkPeer) -> Option<&PeerLink> {
        match peer {
            LinkPeer::Sfu => Some(&self.sfu),
            LinkPeer::Member(id) => self.roster.get(id).map(|member| &member.direct),
            LinkPeer::Data(id) => self.roster.get(id).map(|member| &member.data),
        }
    }

    /// The machine's addresses changed.
    pub(crate) fn handle_network(&mut self, ctx: &mut Ctx<'_>, online: bool) {
        let was_online = std::mem::replace(&mut self.online, online);
        if was_online != online && !self.is_over() {
            tracing::info!(online, "the machine's network changed");
            ctx.event(if online {
                CallEvent::Online
            } else {
                CallEvent::Offline
            });
        }
        if !online {
            return;
        }
        if let Some(signalling) = &mut self.signalling {
            signalling.handle_network(ctx.now);
        }
        for peer in self.peers() {
            if let Some(policy) = self.policy_mut(peer) {
                policy.handle_network(ctx.now);
            }
        }
        self.handle_timeout(ctx);
    }

    /// Whether nobody can be reached: there is no network, and neither the server nor a member is on
    /// this very machine.
    pub(crate) fn is_offline(&self) -> bool {
        let mut members = self.roster.iter().map(|(_, member)| member);
        let reaches_any = members.any(|member| member.direct.connected_since().is_some())
            || self.sfu.connected_since().is_some();
        let is_alone_and_served = self.roster.is_empty() && self.is_joined();
        !(self.online || reaches_any || is_alone_and_served)
    }

    fn peers(&self) -> impl Iterator<Item = LinkPeer> + use<> {
        let members = self.roster.ids().into_iter();
        let both = members.flat_map(|id| [LinkPeer::Member(id), LinkPeer::Data(id)]);
        both.chain([LinkPeer::Sfu])
    }

    /// Does what is due on the links that signals reach.
    pub(crate) fn care_for_links(&mut self, ctx: &mut Ctx<'_>) {
        for peer in self.peers() {
            let now = ctx.now;
            if self.is_away(peer) {
                continue;
            }
            let waits = |policy: &PeerLink| !self.online && policy.is_reconnecting();
            if self.policy(peer).is_none_or(waits) {
                continue;
            }
            let Some(policy) = self.policy_mut(peer) else {
                continue;
            };
            let actions = policy.handle_timeout(now, || ctx.ids.link(peer));
            self.act(ctx, actions);
            self.drop_failed_data(peer);
        }
    }

    /// Signals travel again after an interruption.
    pub(crate) fn resume_links(&mut self, ctx: &mut Ctx<'_>) {
        for peer in self.peers() {
            if !self.is_away(peer) {
                self.resume_link(ctx, peer);
            }
        }
    }

    /// Signals for this end travel again.
    pub(crate) fn resume_link(&mut self, ctx: &mut Ctx<'_>, peer: LinkPeer) {
        let policy = self.policy_mut(peer);
        let actions = policy.map(|policy| policy.handle_resumed(ctx.now));
        self.act(ctx, actions.unwrap_or_default());
    }

    /// When the links that signals reach need care.
    pub(crate) fn link_timeouts(&self) -> impl Iterator<Item = (Instant, Reason)> {
        self.peers().filter_map(|peer| {
            let policy = self.policy(peer).filter(|_| !self.is_away(peer))?;
            let is_held = !self.online && policy.is_reconnecting();
            let at = policy.timeout().filter(|_| !is_held)?;
            Some((at, Reason::Link(peer)))
        })
    }

    /// When somebody else's network is to blame for a dead path.
    pub(crate) fn blame_timeouts(&self, now: Instant) -> impl Iterator<Item = (Instant, Reason)> {
        self.roster.iter().filter_map(move |(id, member)| {
            let at = member.direct.blame_at().filter(|at| *at > now)?;
            Some((at, Reason::Link(LinkPeer::Member(id))))
        })
    }

    /// Carries out what a link's policy wants.
    pub(crate) fn act(&mut self, ctx: &mut Ctx<'_>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Open { link, initiator } => self.open_link(ctx, link, initiator),
                Action::Restart(link) => ctx.link_op(LinkOp::Restart { link }),
                Action::Close(link) => self.close(ctx, link),
                Action::SendBye(link) => self.send_bye(ctx, link),
            }
        }
    }

    fn open_link(&mut self, ctx: &mut Ctx<'_>, link: LinkId, initiator: bool) {
        let me = self.me;
        let mut heard = Vec::new();
        let polite = match link.peer {
            LinkPeer::Sfu => {
                for member in self.roster.iter_mut() {
                    member.passage.handle_opened(TopologyMode::Sfu);
                }
                heard = self.roster.ids();
                false
            }
            LinkPeer::Data(id) => me < Some(id),
            LinkPeer::Member(id) => {
                let Some(member) = self.roster.get_mut(id) else {
                    return;
                };
                member.passage.handle_opened(TopologyMode::Mesh);
                heard.push(id);
                me < Some(id)
            }
        };
        ctx.link_op(LinkOp::Open {
            link,
            polite,
            initiator,
        });
        // A link begins with the sound as it is sent.
        for id in heard {
            let member = self.roster.get(id);
            if let Some(member) = member.filter(|member| member.is_heard_differently()) {
                ctx.media(member.sound(id));
            }
        }
    }

    /// How the connection to a member does, whichever path it takes.
    pub(crate) fn link_view(&self, now: Instant, member: &Member) -> LinkView {
        let by_sfu = self.sfu.connected_since().is_some();
        let direct = member.direct.connected_since().is_some();
        match self.topology {
            _ if !member.is_known => LinkView::Failed,
            TopologyMode::Mesh if by_sfu && member.passage.is_leaving() => LinkView::Connected,
            TopologyMode::Sfu if direct && member.passage.is_leaving() => LinkView::Connected,
            TopologyMode::Mesh if self.is_to_blame(now, member) => LinkView::Weak,
            TopologyMode::Mesh => member.direct.view(),
            TopologyMode::Sfu => self.sfu.view(),
        }
    }

    /// Whether a dead path is the other end's: we reach the server and somebody else.
    fn is_to_blame(&self, now: Instant, member: &Member) -> bool {
        let is_dead = member.direct.blame_at().is_some_and(|at| at <= now);
        let mut others = self.roster.iter().map(|(_, member)| member);
        is_dead
            && self.signalling.as_ref().is_some_and(Signalling::is_trusted)
            && others.any(|other| other.direct.connected_since().is_some())
    }

    /// Reports every connection whose state changed.
    pub(crate) fn report_links(&mut self, ctx: &mut Ctx<'_>) {
        let sfu = (!self.sfu.is_absent()).then(|| self.sfu.view());
        if self.sfu_reported != sfu {
            self.sfu_reported = sfu;
            if let Some(state) = sfu {
                let detail = "the link to the SFU failed repeatedly";
                report(
                    ctx,
                    LinkPeer::Sfu,
                    state,
                    Some((ErrorCode::LinkFailed, detail)),
                );
            }
        }
        self.report_data_links(ctx);
        let views: Vec<(MemberId, LinkView)> = self
            .roster
            .iter()
            .map(|(id, member)| (id, self.link_view(ctx.now, member)))
            .collect();
        for (id, state) in views {
            let by_sfu = self.topology == TopologyMode::Sfu;
            let Some(member) = self.roster.get_mut(id) else {
                continue;
            };
            if member.reported.replace(state) == Some(state) {
                continue;
            }
            let error = match member.is_known {
                false => Some((
                    ErrorCode::SealBroken,
                    "the profile of a member does not open",
                )),
                true if by_sfu => None,
                true => Some((
                    ErrorCode::LinkFailed,
                    "the link to a member failed repeatedly",
                )),
            };
            report(ctx, LinkPeer::Member(id), state, error);
        }
    }
}

/// Reports a state, and the error if it is a failure.
fn report(
    ctx: &mut Ctx<'_>,
    peer: LinkPeer,
    state: LinkView,
    error: Option<(ErrorCode, &'static str)>,
) {
    ctx.event(CallEvent::Link { peer, state });
    if let (LinkView::Failed, Some((code, detail))) = (state, error) {
        tracing::debug!(?peer, ?code, detail);
        ctx.event(CallEvent::Error {
            code,
            detail: detail.to_owned(),
        });
    }
}
