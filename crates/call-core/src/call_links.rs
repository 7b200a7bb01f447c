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
            LinkEvent::State(state) => {
                let actions = policy.handle_state(ctx.now, state);
                self.act(ctx, actions);
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

    fn peers(&self) -> impl Iterator<Item = LinkPeer> + use<> {
        let members = self.roster.ids().into_iter();
        let both = members.flat_map(|id| [LinkPeer::Member(id), LinkPeer::Data(id)]);
        both.chain([LinkPeer::Sfu])
    }

    /// Does what is due on the links.
    pub(crate) fn care_for_links(&mut self, ctx: &mut Ctx<'_>) {
        for peer in self.peers() {
            let now = ctx.now;
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
            let now = ctx.now;
            let policy = self.policy_mut(peer);
            let actions = policy.map(|policy| policy.handle_resumed(now));
            self.act(ctx, actions.unwrap_or_default());
        }
    }

    /// When the links need care.
    pub(crate) fn link_timeouts(&self) -> impl Iterator<Item = (Instant, Reason)> {
        let members = self.roster.iter().flat_map(|(id, member)| {
            [
                (member.direct.timeout(), LinkPeer::Member(id)),
                (member.data.timeout(), LinkPeer::Data(id)),
            ]
        });
        let all = members.chain([(self.sfu.timeout(), LinkPeer::Sfu)]);
        all.filter_map(|(at, peer)| Some((at?, Reason::Link(peer))))
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
    pub(crate) fn link_view(&self, member: &Member) -> LinkView {
        let by_sfu = self.sfu.connected_since().is_some();
        let direct = member.direct.connected_since().is_some();
        match self.topology {
            _ if !member.is_known => LinkView::Failed,
            TopologyMode::Mesh if by_sfu && member.passage.is_leaving() => LinkView::Connected,
            TopologyMode::Sfu if direct && member.passage.is_leaving() => LinkView::Connected,
            TopologyMode::Mesh => member.direct.view(),
            TopologyMode::Sfu => self.sfu.view(),
        }
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
            .map(|(id, member)| (id, self.link_view(member)))
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
