//! One call, from starting or joining it to its end.
//!
//! ```text
//! keys derived ──► server located (or configured) ──► seat taken ⇄ connection lost ──► ended
//! ```
//!
//! Invariants: media and links live on while the server's connection is lost, however long; a new seat
//! (under another id) drops everybody and starts over; after the end nothing is sent, opened or
//! scheduled. The rest of what a call does is in its siblings: `call_seat` how it takes its seat,
//! `call_members` who is there, `call_away` who is there without a seat, `call_links` their links and the
//! SFU's, `call_data` the data links, `call_signals` what goes to members sealed, `call_topology` the
//! switch between mesh and SFU, `call_sfu` what is said to and by the SFU, `call_quality` what is
//! encoded, `call_chat` what is said and shown, `call_care` who decides over the room and who waits before it,
//! `call_files` what is sent and received.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use call_e2ee::{RoomCode, RoomKeys, SignalSealer};
use call_protocol::channel::chat::AuthorId;
use call_protocol::peer::{PeerSignal, Profile};
use call_protocol::ui::LinkView;
use call_protocol::ui::{CallPhase, CallView, ShareView, UiEvent};
use call_protocol::wire::{ClientMessage, ServerMessage, TopologyMode};
use call_protocol::{ErrorCode, MemberId};

use crate::care::Care;
use crate::chat::Chat;
use crate::config::TopologyWish;
use crate::context::Ctx;
use crate::diagnosis::Diagnosis;
use crate::files::Files;
use crate::ice_servers::IceServers;
use crate::input::{AttemptId, LinkId, SocketId};
use crate::keyframes::Keyframes;
use crate::layers::Layers;
use crate::output::{CallEvent, LinkOp, LocatePurpose, MediaOp, Output, Reason};
use crate::own_profile::OwnProfile;
use crate::path_report::PathReports;
use crate::peer_link::PeerLink;
use crate::quality::Quality;
use crate::rate::Bucket;
use crate::roster::Roster;
use crate::server_url::websocket_url;
use crate::signalling::{Outcome, Signalling};
use crate::subscriptions::Subscriptions;

/// The keys, once derived, and what they seal with.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) keys: RoomKeys,
    pub(crate) sealer: SignalSealer,
}

/// What a call takes over from the session's configuration.
#[derive(Clone, Debug)]
pub(crate) struct CallConfig {
    pub(crate) sealed_media: bool,
    /// Folders in which received files may be unfinished, besides downloads.
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) topology_wish: TopologyWish,
    /// Whether the machine has a network.
    pub(crate) online: bool,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) attempt: AttemptId,
    code: RoomCode,
    purpose: LocatePurpose,
    /// The configured server's URL.
    server: Option<String>,
    pub(crate) phase: CallPhase,
    pub(crate) me: Option<MemberId>,
    pub(crate) topology: TopologyMode,
    ice_servers: IceServers,
    pub(crate) sealed_media: bool,
    /// Whether the machine has a network.
    pub(crate) online: bool,
    /// Whether the last `join` asked for the seat one had.
    pub(crate) asked_to_resume: bool,
    pub(crate) secured: Option<Secured>,
    pub(crate) signalling: Option<Signalling>,
    pub(crate) roster: Roster,
    /// The link to the SFU.
    pub(crate) sfu: PeerLink,
    /// Its state as last reported.
    pub(crate) sfu_reported: Option<LinkView>,
    /// Signals waiting for the seat to be resumed; the oldest are dropped beyond
    /// [`crate::call_signals::PENDING_SIGNALS`].
    pub(crate) pending: VecDeque<(LinkId, PeerSignal)>,
    pub(crate) own_profile: OwnProfile,
    pub(crate) keyframes: Keyframes,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) layers: Layers,
    pub(crate) reports: PathReports,
    pub(crate) diagnosis: Diagnosis,
    pub(crate) quality: Quality,
    /// What was told of the own picture.
    pub(crate) sound_only: bool,
    pub(crate) chat: Chat,
    pub(crate) care: Care,
    /// Questions of the host.
    pub(crate) questions: Bucket,
    /// When keys that were announced are used.
    pub(crate) reseal_at: Option<Instant>,
    /// Own reactions.
    pub(crate) reactions: Bucket,
    pub(crate) files: Files,
    /// Where received files were put before, besides downloads.
    pub(crate) folders: Vec<PathBuf>,
}

impl Call {
    /// Starts: asks for the keys.
    pub(crate) fn start(
        ctx: &mut Ctx<'_>,
        attempt: AttemptId,
        code: RoomCode,
        purpose: LocatePurpose,
        server: Option<String>,
        config: CallConfig,
    ) -> Self {
        ctx.event(CallEvent::Room {
            code: code.to_string(),
            link: code.link(),
        });
        ctx.out.push_back(Output::DeriveKeys {
            attempt,
            code: code.clone(),
        });
        ctx.out.push_back(Output::Ui(UiEvent::Chat {
            reset: true,
            messages: Vec::new(),
        }));
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
            ice_servers: IceServers::default(),
            sealed_media: config.sealed_media,
            online: config.online,
            asked_to_resume: false,
            roster: Roster::default(),
            sfu: PeerLink::new(true),
            sfu_reported: None,
            pending: VecDeque::new(),
            own_profile: OwnProfile::default(),
            keyframes: Keyframes::default(),
            subscriptions: Subscriptions::default(),
            layers: Layers::default(),
            reports: PathReports::new(config.topology_wish),
            diagnosis: Diagnosis::default(),
            quality: Quality::default(),
            sound_only: false,
            chat: Chat::new(AuthorId::from_bytes(ctx.seed.draw())),
            care: Care::default(),
            questions: Bucket::default(),
            reseal_at: None,
            reactions: Bucket::default(),
            files: Files::default(),
            folders: config.folders,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, CallPhase::Ended { .. })
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.signalling.as_ref().is_some_and(Signalling::is_joined)
    }

    pub(crate) fn view(
        &self,
        now: Instant,
        hand_raised: bool,
        share: Option<ShareView>,
    ) -> CallView {
        let phase = match self.phase {
            CallPhase::Joined | CallPhase::Reconnecting if self.is_offline() => CallPhase::Offline,
            phase => phase,
        };
        CallView {
            code: self.code.to_string(),
            link: self.code.link(),
            phase,
            me: self.me,
            members: self.roster.view(|member| self.link_view(now, member)),
            topology: self.topology,
            hand_raised,
            sound_only: self.sound_only,
            care: self.care.view(),
            share,
            transfers: self.files.views().to_vec(),
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

    pub(crate) fn handle_alive(&mut self, socket: SocketId) {
        if let Some(signalling) = self.current(socket) {
            signalling.handle_sign_of_life();
        }
    }

    /// The machine slept, for as long as it takes to lose everything.
    pub(crate) fn handle_woken(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(signalling) = &mut self.signalling {
            let step = signalling.step();
            let outcome = signalling.handle_woken(ctx);
            self.follow(ctx, outcome, step);
            self.handle_timeout(ctx);
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
        signalling.handle_sign_of_life();
        let (joined, joining) = (signalling.is_joined(), signalling.is_joining());
        let now = ctx.now;
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
                host,
                door,
                stun,
                relay,
            } if joining => {
                signalling.handle_joined(now, resume);
                self.ice_servers.set_stun(stun);
                self.ice_servers.set_relay(now, relay);
                self.use_ice_servers(ctx);
                self.handle_joined(ctx, member, resumed, &members, topology);
                self.care.handle_joined(host, door);
            }
            ServerMessage::Waiting if joining => {
                signalling.handle_waiting(now);
                self.handle_waiting(ctx);
            }
            ServerMessage::Knock { knock, profile } if joined => {
                self.handle_knock(ctx, knock, &profile);
            }
            ServerMessage::KnockGone { knock } if joined => self.care.end_knock(knock),
            ServerMessage::Door { door } if joined => self.handle_door(ctx, door),
            ServerMessage::Host { member } if joined => self.care.handle_host(member),
            ServerMessage::MemberJoined { member, profile } if joined => {
                self.add_member(ctx, member, &profile);
            }
            ServerMessage::MemberLeft { member, reason } if joined => {
                tracing::debug!(%member, ?reason, "member left");
                self.handle_left(ctx, member, reason);
            }
            ServerMessage::MemberUpdated { member, profile } if joined => {
                self.update_member(ctx, member, &profile);
            }
            ServerMessage::Signal { from, sealed } if joined => {
                self.handle_sealed(ctx, from, &sealed);
            }
            ServerMessage::Topology { mode, reason } if joined => {
                self.set_topology(ctx, mode, reason);
            }
            ServerMessage::Relay { relay } if joined => {
                self.ice_servers.set_relay(now, Some(relay));
            }
            ServerMessage::SfuAnswer { link, sdp } if joined => {
                self.handle_sfu_answer(ctx, link, sdp);
            }
            ServerMessage::SfuClosed { link, code } if joined => {
                self.handle_sfu_closed(ctx, link, code);
            }
            ServerMessage::SfuLayers { source, wanted } if joined => {
                self.layers.handle_wanted(source, wanted);
            }
            // Every packet says the same in a way the server cannot forge.
            ServerMessage::SfuSlots { .. } => tracing::trace!("slots assigned"),
            ServerMessage::Error {
                code,
                detail,
                fatal,
            } => {
                tracing::debug!(?code, detail, fatal, "error from the server");
                let step = signalling.step();
                match signalling.handle_error(ctx, code, fatal) {
                    Outcome::Note => {
                        if code == ErrorCode::RoomFull {
                            // Whom one let in found no seat.
                            ctx.out.push_back(Output::Ui(UiEvent::Failed { code }));
                        }
                        ctx.event(CallEvent::Error { code, detail });
                    }
                    outcome => self.follow(ctx, outcome, step),
                }
            }
            _ => tracing::debug!("message out of turn"),
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
            Outcome::Lost if self.phase == CallPhase::Knocking => {
                self.phase = CallPhase::Connecting;
            }
            Outcome::Lost | Outcome::Note => {}
        }
    }

    /// The next thing due, given one's own profile as it should be.
    pub(crate) fn timeout(&self, now: Instant, profile: &Profile) -> Option<(Instant, Reason)> {
        let signalling = self.signalling.as_ref()?;
        let keyframe = self.keyframes.timeout().map(|at| (at, Reason::Keyframe));
        let relay = self.ice_servers.timeout().map(|at| (at, Reason::Relay));
        let own = signalling
            .timeout()
            .into_iter()
            .chain(keyframe)
            .chain(relay)
            .chain(self.chat.timeout().map(|at| (at, Reason::Chat)))
            .chain(self.files.timeout(now).map(|at| (at, Reason::Files)));
        let joined = signalling.is_joined().then(|| {
            let profile = self.own_profile.due(profile);
            let profile = profile.map(|at| (at, Reason::Profile));
            let subscribe = self.subscribe_timeout().map(|at| (at, Reason::Subscribe));
            let reseal = self.reseal_at.map(|at| (at, Reason::Reseal));
            let others = self.passage_timeouts().chain(self.away_timeouts());
            let others = others.chain(reseal);
            others.chain(profile).chain(subscribe)
        });
        let trusted = signalling.is_trusted().then(|| {
            let blame = self.blame_timeouts(now);
            self.link_timeouts().chain(blame)
        });
        let own = own.chain(trusted.into_iter().flatten());
        own.chain(joined.into_iter().flatten()).min()
    }

    /// Does everything that is due, as far as [`Call::conclude`] does not anyway.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>) {
        let Some(signalling) = &mut self.signalling else {
            return;
        };
        let step = signalling.step();
        let outcome = signalling.handle_timeout(ctx);
        self.follow(ctx, outcome, step);
    }

    /// Does what follows from any input: links that need care, steps of a switch, and what the
    /// others, the encoders and the person must be told.
    pub(crate) fn conclude(&mut self, ctx: &mut Ctx<'_>) {
        if self.is_over() {
            return self.report_chat(ctx);
        }
        if self.signalling.as_ref().is_some_and(Signalling::is_trusted) {
            self.care_for_links(ctx);
        }
        if self.is_joined() {
            self.care_for_away(ctx);
            self.move_on(ctx);
            self.care_for_host(ctx);
            self.publish_profile(ctx);
            self.hand_role_on(ctx);
            self.care_for_keys(ctx);
        }
        self.use_ice_servers(ctx);
        self.set_layers(ctx);
        self.set_quality(ctx);
        if self.is_joined() {
            self.tell_server(ctx);
            self.tell_shown(ctx);
        }
        while let Some((source, layer)) = self.keyframes.poll(ctx.now) {
            ctx.media(MediaOp::ForceKeyframe { source, layer });
        }
        self.report_links(ctx);
        self.forget_stats(ctx);
        self.care_for_chat(ctx);
        self.report_chat(ctx);
        self.care_for_files(ctx);
    }

    /// The person leaves, from any state; the call must be dropped afterwards.
    pub(crate) fn leave(&mut self, ctx: &mut Ctx<'_>) {
        if self.is_over() {
            return;
        }
        for link in self.links() {
            self.send_bye(ctx, link);
        }
        if let Some(signalling) = &self.signalling
            && (signalling.is_joined() || self.phase == CallPhase::Knocking)
        {
            signalling.send(ctx.out, ClientMessage::Leave);
        }
        self.release(ctx);
        self.phase = CallPhase::Ended { code: None };
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

    fn use_ice_servers(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(op) = self.ice_servers.poll(ctx.now) {
            ctx.link_op(op);
        }
    }

    fn release(&mut self, ctx: &mut Ctx<'_>) {
        self.end_files(ctx);
        self.ice_servers.set_stun(Vec::new());
        self.ice_servers.set_relay(ctx.now, None);
        self.use_ice_servers(ctx);
        for link in self.links() {
            ctx.link_op(LinkOp::Close { link });
        }
        for member in self.roster.ids() {
            ctx.media(MediaOp::ForgetMember { member });
        }
        self.roster = Roster::default();
        self.chat.end();
        self.sfu.retire(true);
        self.set_layers(ctx);
        self.end_quality(ctx);
        if let Some(signalling) = self.signalling.take() {
            signalling.close(ctx.out);
        }
        self.secured = None;
        self.pending.clear();
        ctx.out.push_back(Output::ReleaseServer);
    }

    /// Every peer connection there is.
    fn links(&self) -> Vec<LinkId> {
        let to_members = self.roster.iter().flat_map(|(_, member)| member.links());
        to_members.chain(self.sfu.current()).collect()
    }
}
