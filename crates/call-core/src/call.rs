//! One call, from starting or joining it to its end.
//!
//! ```text
//! keys derived ──► server located (or configured) ──► seat taken ⇄ connection lost ──► ended
//! ```
//!
//! Invariants: media and links live on while the server's connection is lost and the seat can be
//! resumed; a new seat (new id, perhaps a restarted server) drops everybody and starts over; after
//! the end nothing is sent, opened or scheduled. How members and links are handled is in
//! `call_members`.

use std::collections::VecDeque;
use std::time::Instant;

use call_e2ee::{RoomCode, RoomKeys, SignalSealer};
use call_protocol::peer::{PeerSignal, Profile};
use call_protocol::ui::{CallPhase, CallView};
use call_protocol::wire::{ClientMessage, RosterEntry, ServerMessage, TopologyMode};
use call_protocol::{ErrorCode, MemberId, limits};

use crate::context::Ctx;
use crate::input::{AttemptId, LinkId, LinkPeer, SocketId};
use crate::keyframes::Keyframes;
use crate::output::{CallEvent, LinkOp, LocatePurpose, MediaOp, Output, Reason};
use crate::own_profile::OwnProfile;
use crate::roster::Roster;
use crate::server_url::websocket_url;
use crate::signalling::{Outcome, Signalling};

/// The keys, once derived, and what they seal with.
#[derive(Debug)]
pub(crate) struct Secured {
    keys: RoomKeys,
    pub(crate) sealer: SignalSealer,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) attempt: AttemptId,
    code: RoomCode,
    purpose: LocatePurpose,
    /// The configured server's URL.
    server: Option<String>,
    phase: CallPhase,
    pub(crate) me: Option<MemberId>,
    topology: TopologyMode,
    /// The STUN servers links ask.
    stun: Vec<String>,
    pub(crate) secured: Option<Secured>,
    pub(crate) signalling: Option<Signalling>,
    pub(crate) roster: Roster,
    /// Signals waiting for the seat to be resumed; the oldest are dropped beyond
    /// [`crate::call_members::PENDING_SIGNALS`].
    pub(crate) pending: VecDeque<(LinkId, PeerSignal)>,
    own_profile: OwnProfile,
    pub(crate) keyframes: Keyframes,
}

impl Call {
    /// Starts: asks for the keys.
    pub(crate) fn start(
        ctx: &mut Ctx<'_>,
        attempt: AttemptId,
        code: RoomCode,
        purpose: LocatePurpose,
        server: Option<String>,
    ) -> Self {
        ctx.event(CallEvent::Room {
            code: code.to_string(),
            link: code.link(),
        });
        ctx.out.push_back(Output::DeriveKeys {
            attempt,
            code: code.clone(),
        });
        Self {
            attempt,
            code,
            purpose,
            server,
            phase: CallPhase::Connecting,
            me: None,
            topology: TopologyMode::Mesh,
            secured: None,
            signalling: None,
            stun: Vec::new(),
            roster: Roster::default(),
            pending: VecDeque::new(),
            own_profile: OwnProfile::default(),
            keyframes: Keyframes::default(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, CallPhase::Ended { .. })
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.signalling.as_ref().is_some_and(Signalling::is_joined)
    }

    pub(crate) fn view(&self) -> CallView {
        CallView {
            code: self.code.to_string(),
            link: self.code.link(),
            phase: self.phase,
            me: self.me,
            members: self.roster.view(),
            topology: self.topology,
        }
    }

    pub(crate) fn handle_keys(&mut self, ctx: &mut Ctx<'_>, keys: RoomKeys) {
        if self.is_over() || self.secured.is_some() {
            return;
        }
        let sealer = SignalSealer::new(&keys, ctx.seed.draw());
        let lan_tag = keys.lan_tag();
        self.secured = Some(Secured { keys, sealer });
        match self.server.clone() {
            Some(url) => self.connect(ctx, url),
            None => {
                let (attempt, purpose) = (self.attempt, self.purpose);
                ctx.out.push_back(Output::LocateServer {
                    attempt,
                    purpose,
                    lan_tag,
                });
            }
        }
    }

    pub(crate) fn handle_located(&mut self, ctx: &mut Ctx<'_>, url: &str) {
        if self.is_over() || self.secured.is_none() || self.signalling.is_some() {
            return;
        }
        match websocket_url(url) {
            Ok(url) => self.connect(ctx, url),
            Err(code) => self.end(ctx, code, "locating the server"),
        }
    }

    pub(crate) fn handle_not_found(&mut self, ctx: &mut Ctx<'_>, code: ErrorCode) {
        if !self.is_over() && self.signalling.is_none() {
            self.end(ctx, code, "locating the server");
        }
    }

    fn connect(&mut self, ctx: &mut Ctx<'_>, url: String) {
        self.signalling = Some(Signalling::new(url, ctx.now));
        self.handle_timeout(ctx);
    }

    pub(crate) fn handle_opened(&mut self, ctx: &mut Ctx<'_>, socket: SocketId) {
        if let Some(signalling) = self.current(socket) {
            signalling.handle_opened(ctx.out);
        }
    }

    pub(crate) fn handle_closed(
        &mut self,
        ctx: &mut Ctx<'_>,
        socket: SocketId,
        code: Option<ErrorCode>,
    ) {
        if let Some(signalling) = self.current(socket) {
            let step = signalling.step();
            let outcome = signalling.handle_closed(ctx, code);
            self.follow(ctx, outcome, step);
        }
    }

    fn current(&mut self, socket: SocketId) -> Option<&mut Signalling> {
        self.signalling
            .as_mut()
            .filter(|signalling| signalling.socket() == Some(socket))
    }

    pub(crate) fn handle_message(
        &mut self,
        ctx: &mut Ctx<'_>,
        socket: SocketId,
        message: ServerMessage,
    ) {
        let Some(signalling) = self.current(socket) else {
            return;
        };
        let (joined, joining) = (signalling.is_joined(), signalling.is_joining());
        match message {
            ServerMessage::Hello { version } => match signalling.handle_hello(version) {
                Some(Outcome::Note) => self.send_join(ctx),
                Some(outcome) => self.follow(ctx, outcome, "greeting the server"),
                None => tracing::debug!("hello out of turn"),
            },
            ServerMessage::Joined {
                member,
                resume,
                resumed,
                members,
                topology,
                stun,
                relay: _,
            } if joining => {
                signalling.handle_joined(ctx.now, resume);
                self.use_stun(ctx, usable_stun(stun));
                self.handle_joined(ctx, member, resumed, &members, topology);
            }
            ServerMessage::MemberJoined { member, profile } if joined => {
                self.add_member(ctx, member, &profile);
            }
            ServerMessage::MemberLeft { member, reason } if joined => {
                tracing::debug!(%member, ?reason, "member left");
                self.remove_member(ctx, member);
            }
            ServerMessage::MemberUpdated { member, profile } if joined => {
                self.update_member(ctx, member, &profile);
            }
            ServerMessage::Signal { from, sealed } if joined => {
                self.handle_sealed(ctx, from, &sealed);
            }
            ServerMessage::Topology { mode, reason } if joined => {
                self.set_topology(ctx, mode, reason)
            }
            ServerMessage::Error {
                code,
                detail,
                fatal,
            } => {
                tracing::debug!(?code, detail, fatal, "error from the server");
                let step = signalling.step();
                match signalling.handle_error(ctx, code, fatal) {
                    Outcome::Note => ctx.event(CallEvent::Error { code, detail }),
                    outcome => self.follow(ctx, outcome, step),
                }
            }
            _ => tracing::debug!("message out of turn"),
        }
    }

    fn handle_joined(
        &mut self,
        ctx: &mut Ctx<'_>,
        member: MemberId,
        resumed: bool,
        members: &[RosterEntry],
        topology: TopologyMode,
    ) {
        self.phase = CallPhase::Joined;
        if resumed && self.me == Some(member) {
            ctx.event(CallEvent::Resumed);
            self.reconcile(ctx, members);
        } else {
            // Ids of another lifetime of the room may mean other people.
            self.drop_everybody(ctx);
            self.me = Some(member);
            tracing::info!(others = members.len(), "joined");
            let others = members.iter().map(|entry| entry.member).collect();
            ctx.event(CallEvent::Joined {
                member,
                members: others,
            });
            for entry in members {
                self.add_member(ctx, entry.member, &entry.profile);
            }
        }
        if topology != self.topology {
            self.set_topology(ctx, topology, "joined".to_owned());
        }
        self.publish_profile(ctx);
    }

    fn set_topology(&mut self, ctx: &mut Ctx<'_>, mode: TopologyMode, reason: String) {
        self.topology = mode;
        ctx.event(CallEvent::Topology { mode, reason });
    }

    /// Sends `join`.
    fn send_join(&mut self, ctx: &mut Ctx<'_>) {
        let (Some(secured), Some(signalling)) = (&mut self.secured, &self.signalling) else {
            return;
        };
        let message = ClientMessage::Join {
            room: secured.keys.room_id(),
            auth: secured.keys.auth(),
            profile: self.own_profile.current(ctx, &mut secured.sealer),
            resume: signalling.resume.clone(),
        };
        signalling.send(ctx.out, message);
    }

    /// Sends one's own profile if it changed and the last one is not too recent.
    pub(crate) fn publish_profile(&mut self, ctx: &mut Ctx<'_>) {
        let (Some(secured), Some(signalling)) = (&mut self.secured, &self.signalling) else {
            return;
        };
        let due = self.own_profile.due(&ctx.profile);
        if signalling.is_joined() && due.is_some_and(|at| at <= ctx.now) {
            let profile = self.own_profile.current(ctx, &mut secured.sealer);
            signalling.send(ctx.out, ClientMessage::Update { profile });
        }
    }

    fn follow(&mut self, ctx: &mut Ctx<'_>, outcome: Outcome, step: &str) {
        match outcome {
            Outcome::End(code) => self.end(ctx, code, step),
            Outcome::JoinAnew => self.send_join(ctx),
            Outcome::Lost if self.phase == CallPhase::Joined => {
                self.phase = CallPhase::Reconnecting;
                tracing::info!("connection to the server lost");
                ctx.event(CallEvent::Reconnecting);
            }
            Outcome::Lost | Outcome::Note => {}
        }
    }

    /// The next thing due, given one's own profile as it should be.
    pub(crate) fn timeout(&self, profile: &Profile) -> Option<(Instant, Reason)> {
        let signalling = self.signalling.as_ref()?;
        let keyframe = self.keyframes.timeout().map(|at| (at, Reason::Keyframe));
        let mut all: Vec<_> = signalling.timeout().into_iter().chain(keyframe).collect();
        if signalling.is_joined() {
            all.extend(
                self.own_profile
                    .due(profile)
                    .map(|at| (at, Reason::Profile)),
            );
            all.extend(self.roster.iter().filter_map(|(id, member)| {
                member
                    .link
                    .timeout()
                    .map(|at| (at, Reason::Link(LinkPeer::Member(id))))
            }));
        }
        all.into_iter().min()
    }

    /// Does everything that is due.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>) {
        let Some(signalling) = &mut self.signalling else {
            return;
        };
        let step = signalling.step();
        let outcome = signalling.handle_timeout(ctx);
        self.follow(ctx, outcome, step);
        if self.is_joined() {
            self.care_for_links(ctx);
            self.publish_profile(ctx);
        }
        self.force_keyframes(ctx);
    }

    pub(crate) fn force_keyframes(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(source) = self.keyframes.poll(ctx.now) {
            ctx.out
                .push_back(Output::Media(MediaOp::ForceKeyframe { source, layer: 0 }));
        }
    }

    /// The person leaves, from any state; the call must be dropped afterwards.
    pub(crate) fn leave(&mut self, ctx: &mut Ctx<'_>) {
        if self.is_over() {
            return;
        }
        let links: Vec<LinkId> = self
            .roster
            .iter()
            .filter_map(|(_, member)| member.link.current())
            .collect();
        for link in links {
            self.send_bye(ctx, link);
        }
        if let Some(signalling) = &self.signalling
            && signalling.is_joined()
        {
            signalling.send(ctx.out, ClientMessage::Leave);
        }
        self.release(ctx);
        ctx.event(CallEvent::Left { code: None });
    }

    /// The call cannot go on; its view stays until the person dismisses it.
    fn end(&mut self, ctx: &mut Ctx<'_>, code: ErrorCode, step: &str) {
        tracing::info!(?code, step, "call ended");
        self.release(ctx);
        self.phase = CallPhase::Ended { code: Some(code) };
        ctx.event(CallEvent::Error {
            code,
            detail: format!("failed while {step}"),
        });
        ctx.event(CallEvent::Left { code: Some(code) });
    }

    fn use_stun(&mut self, ctx: &mut Ctx<'_>, urls: Vec<String>) {
        if self.stun != urls {
            self.stun.clone_from(&urls);
            ctx.out.push_back(Output::Link(LinkOp::UseIceServers {
                stun: urls,
                relay: None,
            }));
        }
    }

    fn release(&mut self, ctx: &mut Ctx<'_>) {
        self.use_stun(ctx, Vec::new());
        for (_, member) in self.roster.iter() {
            if let Some(link) = member.link.current() {
                ctx.out.push_back(Output::Link(LinkOp::Close { link }));
            }
        }
        if let Some(signalling) = self.signalling.take() {
            signalling.close(ctx.out);
        }
        self.roster = Roster::default();
        self.secured = None;
        self.pending.clear();
        ctx.out.push_back(Output::ReleaseServer);
    }
}

/// The STUN servers worth asking of those a server names: the scheme is `stun:` (RFC 7064), the
/// rest bounded.
fn usable_stun(urls: Vec<String>) -> Vec<String> {
    urls.into_iter()
        .filter(|url| url.starts_with("stun:") && url.len() <= limits::STUN_URL_CHARS)
        .take(limits::STUN_SERVERS)
        .collect()
}
