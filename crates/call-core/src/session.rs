//! The session: settings, devices, mute and camera wishes, and at most one call.
//!
//! Invariants:
//!
//! * sound is unmuted by [`UiCommand::SetMuted`] and nothing else;
//! * devices run only for a call or a preview ([`MediaOp::Run`] says which, whenever it changes);
//! * a sound test runs only outside a call, and one at a time; it never touches mute;
//! * one input causes a bounded number of outputs, all of which must be drained before the next;
//! * the view goes out at most once per drain, and only when it changed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use call_e2ee::{RoomCode, SeedStream};
use call_protocol::channel::PeerMessage;
use call_protocol::peer::{Profile, clean_name, clean_tint};
use call_protocol::ui::frame::SELF_MEMBER;
use call_protocol::ui::{
    AppView, DeviceKind, DeviceState, MOST_VOLUME_PERCENT, SettingsView, SoundTestState, UiCommand,
    UiEvent, VoiceView,
};
use call_protocol::{ErrorCode, MemberId, limits};

use crate::call::{Call, CallConfig};
use crate::call_channels::REACTIONS;
use crate::config::SessionConfig;
use crate::context::{Ctx, Ids};
use crate::files::Files;
use crate::input::{AttemptId, Input};
use crate::output::{CallEvent, LocatePurpose, MediaOp, Output, Reason};
use crate::quality::Quality;
use crate::server_url::websocket_url;
use crate::share::Share;
use crate::view::{Devices, is_loss};

/// Tiles the UI may show at once: camera and screen of everybody.
const TILES: usize = 2 * limits::ROOM_MEMBERS;
/// Folders remembered in which received files may be unfinished.
const FOLDERS: usize = 4;
/// Longest device id, in bytes.
const DEVICE_ID_BYTES: usize = 1_024;

/// The whole client, see the crate's documentation.
#[derive(Debug)]
pub struct Session {
    settings: SettingsView,
    devices: Devices,
    muted: bool,
    camera_on: bool,
    preview: bool,
    /// As reported, and [`SoundTestState::Starting`] from the command to the first report.
    sound_test: SoundTestState,
    call: Option<Call>,
    call_config: CallConfig,
    attempts: u32,
    seed: SeedStream,
    ids: Ids,
    /// The time of the last input.
    now: Instant,
    /// What the wall clock said, and when.
    wall_clock: (Instant, u64),
    hand_raised: bool,
    share: Share,
    out: VecDeque<Output>,
    run: Option<MediaOp>,
    view_stale: bool,
    shown: Option<AppView>,
}

impl Session {
    /// Starts without a call. Outputs are waiting already, and nothing is due at `now`.
    pub fn new(config: SessionConfig, now: Instant) -> Self {
        let settings = SettingsView {
            name: clean_name(&config.name),
            server: config.server.trim().to_owned(),
            voice: config.voice,
            low_data: config.low_data,
            tint: clean_tint(config.tint),
        };
        let muted = config.muted;
        let mut session = Self {
            settings,
            devices: Devices::new(),
            muted,
            camera_on: config.camera_on,
            preview: false,
            sound_test: SoundTestState::Idle,
            call: None,
            call_config: CallConfig {
                sealed_media: config.sealed_media,
                topology_wish: config.topology_wish,
                online: true,
                folders: Vec::new(),
            },
            attempts: 0,
            seed: SeedStream::new(config.seed),
            ids: Ids::default(),
            now,
            wall_clock: (now, config.unix_ms),
            hand_raised: false,
            share: Share::default(),
            out: VecDeque::from([Output::Media(MediaOp::SetMuted { muted })]),
            run: None,
            view_stale: true,
            shown: None,
        };
        session.run_devices();
        session
    }

    /// Takes in one thing that happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = now;
        self.view_stale |= !leaves_view(&input);
        match input {
            Input::Command(command) => self.handle_command(now, command),
            Input::KeysReady { attempt, keys } => {
                self.with_attempt(now, attempt, |call, ctx| call.handle_keys(ctx, keys));
            }
            Input::ServerLocated { attempt, url } => {
                self.with_attempt(now, attempt, |call, ctx| call.handle_located(ctx, &url));
            }
            Input::ServerNotFound { attempt, code } => {
                self.with_attempt(now, attempt, |call, ctx| call.handle_not_found(ctx, code));
            }
            Input::SocketOpened { socket } => {
                self.with_call(now, |call, ctx| call.handle_opened(ctx, socket));
            }
            Input::SocketClosed { socket, code } => {
                self.with_call(now, |call, ctx| call.handle_closed(ctx, socket, code));
            }
            Input::SocketAlive { socket } => {
                self.with_call(now, |call, _| call.handle_alive(socket));
            }
            Input::Network { online } => {
                self.call_config.online = online;
                self.with_call(now, |call, ctx| call.handle_network(ctx, online));
            }
            Input::Woken => self.with_call(now, Call::handle_woken),
            Input::Server { socket, message } => {
                self.with_call(now, |call, ctx| call.handle_message(ctx, socket, message));
            }
            Input::Link { link, event } => {
                self.with_call(now, |call, ctx| call.handle_link(ctx, link, event));
            }
            Input::Device { kind, state } => self.handle_device(now, kind, state),
            Input::Devices {
                kind,
                options,
                selected,
            } => self.devices.list(kind, options, selected),
            Input::MediaFlows {
                link,
                member,
                source,
            } => {
                self.with_call(now, |call, _| call.handle_flows(link, member, source));
            }
            Input::PathReport {
                relayed,
                uplink_short,
                cpu_short,
            } => self.with_call(now, |call, ctx| {
                call.handle_path_report(ctx.now, &relayed, uplink_short, cpu_short);
            }),
            Input::Stats(sample) => {
                self.with_call(now, |call, ctx| call.handle_stats(ctx, sample));
            }
            Input::Quality(report) => {
                self.with_call(now, |call, ctx| call.handle_quality(ctx, report));
            }
            Input::WantData { member, wanted } => {
                self.with_call(now, |call, ctx| call.want_data(ctx, member, wanted));
            }
            Input::Channel { from, data } => {
                self.with_call(now, |call, ctx| call.handle_channel(ctx, from, &data));
            }
            Input::File(event) => {
                self.with_call(now, |call, ctx| call.files.handle_event(ctx.now, event));
            }
            Input::WallClock { unix_ms } => self.wall_clock = (now, unix_ms),
            Input::SoundTest { state } => self.sound_test = state,
            Input::Share { id, state } => self.handle_share(now, &id, state),
            Input::Timeout => self.with_call(now, |call, ctx| call.handle_timeout(ctx)),
        }
        self.hand_raised &= self.is_in_call();
        if !self.is_in_call() {
            self.stop_share();
        }
        let files = self.call.as_mut().map(|call| &mut call.files);
        self.view_stale |= files.is_some_and(Files::take_changed);
        self.run_devices();
    }

    /// The next thing to do; `None` when all is drained.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.out.pop_front() {
            return Some(output);
        }
        if !std::mem::take(&mut self.view_stale) {
            return None;
        }
        let call = self
            .call
            .as_ref()
            .map(|call| call.view(self.now, self.hand_raised, self.share.view()));
        let view = self.devices.app_view(
            &self.settings,
            self.muted,
            self.camera_on,
            self.sound_test,
            call,
        );
        if self.shown.as_ref() == Some(&view) {
            return None;
        }
        self.shown = Some(view.clone());
        Some(Output::Ui(UiEvent::View { view }))
    }

    /// When [`Input::Timeout`] is to be handed in unless something else happens before, and what
    /// for.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.call.as_ref()?.timeout(self.now, &self.profile())
    }

    fn handle_command(&mut self, now: Instant, command: UiCommand) {
        match command {
            UiCommand::Refresh => self.show_anew(now),
            UiCommand::StartCall => {
                let code = RoomCode::from_entropy(self.seed.draw());
                self.begin(now, code, LocatePurpose::Host);
            }
            UiCommand::JoinCall { code } => match RoomCode::parse(&code) {
                Ok(code) => self.begin(now, code, LocatePurpose::Join),
                Err(error) => self.refuse(error.code(), "join_call"),
            },
            UiCommand::LeaveCall => {
                if self.call.is_none() {
                    return self.refuse(ErrorCode::BadState, "leave_call without a call");
                }
                self.with_call(now, |call, ctx| call.leave(ctx));
                self.call = None;
            }
            UiCommand::SetMuted { muted } => {
                if self.muted != muted {
                    self.muted = muted;
                    self.out
                        .push_back(Output::Media(MediaOp::SetMuted { muted }));
                    self.refresh(now);
                }
            }
            UiCommand::SetCamera { on } => {
                self.camera_on = on;
                self.refresh(now);
            }
            UiCommand::SetName { name } => {
                let name = clean_name(&name);
                self.set_settings(SettingsView {
                    name,
                    ..self.settings.clone()
                });
                self.refresh(now);
            }
            UiCommand::SetServer { url } => {
                let server = url.trim().to_owned();
                match websocket_url(&server) {
                    Err(code) if !server.is_empty() => self.refuse(code, "set_server"),
                    _ => self.set_settings(SettingsView {
                        server,
                        ..self.settings.clone()
                    }),
                }
            }
            UiCommand::SelectDevice { kind, id } => {
                if id.as_ref().is_some_and(|id| id.len() > DEVICE_ID_BYTES) {
                    return self.refuse(ErrorCode::BadArgument, "select_device");
                }
                if kind != DeviceKind::Camera {
                    self.stop_sound_test();
                }
                self.devices.select(kind, id.clone());
                self.out
                    .push_back(Output::Media(MediaOp::SelectDevice { kind, id }));
            }
            UiCommand::SetPreview { on } => {
                self.preview = on;
                if !on {
                    self.stop_sound_test();
                }
            }
            UiCommand::SetVoice {
                echo_cancellation,
                noise_suppression,
                gain_control,
            } => self.set_voice(VoiceView {
                echo_cancellation,
                noise_suppression,
                gain_control,
            }),
            UiCommand::SetLowData { on } => {
                self.set_settings(SettingsView {
                    low_data: on,
                    ..self.settings.clone()
                });
                self.refresh(now);
            }
            UiCommand::SetTint { tint } => {
                self.set_settings(SettingsView {
                    tint: clean_tint(tint),
                    ..self.settings.clone()
                });
                self.refresh(now);
            }
            UiCommand::SetMemberVolume {
                member,
                volume_percent,
            } => {
                if volume_percent > MOST_VOLUME_PERCENT {
                    return self.refuse(ErrorCode::BadArgument, "set_member_volume");
                }
                self.with_call(now, |call, ctx| {
                    call.set_member_sound(ctx, member, |member| {
                        member.volume_percent = volume_percent;
                    });
                });
            }
            UiCommand::SetMemberMutedHere { member, muted } => {
                self.with_call(now, |call, ctx| {
                    call.set_member_sound(ctx, member, |member| member.muted_here = muted);
                });
            }
            UiCommand::StartSoundTest => {
                self.start_sound_test(MediaOp::StartSoundTest, "start_sound_test");
            }
            UiCommand::PlayTestTone => {
                self.start_sound_test(MediaOp::PlayTestTone, "play_test_tone");
            }
            UiCommand::StopSoundTest => self.stop_sound_test(),
            UiCommand::RefreshDevices => self.media(MediaOp::RefreshDevices),
            UiCommand::ListShares => self.media(MediaOp::ListShares),
            UiCommand::StartShare { id } => self.start_share(now, id),
            UiCommand::StopShare => {
                self.stop_share();
                self.refresh(now);
            }
            UiCommand::SetVisibleTiles { mut tiles } => {
                tiles.truncate(TILES);
                tiles.retain(|tile| self.is_shown(tile.member));
                self.with_call(now, |call, _| call.set_tiles(&tiles));
                self.media(MediaOp::SetVisibleTiles { tiles });
            }
            UiCommand::FrameCredit { epoch, messages } => {
                self.media(MediaOp::FrameCredit { epoch, messages });
            }
            UiCommand::NeedKeyframe { member, source } if self.is_shown(member) => {
                self.media(MediaOp::RequestKeyframe { member, source });
            }
            UiCommand::SetDelivery {
                member,
                source,
                delivery,
            } if self.is_shown(member) => {
                self.media(MediaOp::SetDelivery {
                    member,
                    source,
                    delivery,
                });
            }
            UiCommand::SetHandRaised { raised } => {
                if !self.is_in_call() {
                    return self.refuse(ErrorCode::BadState, "set_hand_raised without a call");
                }
                self.hand_raised = raised;
                self.refresh(now);
            }
            UiCommand::Care { command } => {
                let mut done = Err(ErrorCode::BadState);
                self.with_call(now, |call, ctx| {
                    done = call.handle_care_command(ctx, command);
                });
                if let Err(code) = done {
                    self.refuse(code, "care");
                }
            }
            UiCommand::SendReaction { emoji } => self.react(now, emoji),
            UiCommand::SendChat { text } => self.say(now, &text),
            UiCommand::OfferFiles { .. }
            | UiCommand::AcceptFiles { .. }
            | UiCommand::DeclineFiles { .. }
            | UiCommand::PauseTransfer { .. }
            | UiCommand::CancelTransfer { .. }
            | UiCommand::DismissTransfer { .. } => self.transfer(now, command),
            UiCommand::PickFiles { .. }
            | UiCommand::PasteFiles
            | UiCommand::PickFolder { .. }
            | UiCommand::OpenLink { .. }
            | UiCommand::RevealFile { .. }
            | UiCommand::SaveReport { .. }
            | UiCommand::SetMini { .. }
            | UiCommand::SetChoices { .. }
            | UiCommand::ForgetRoom { .. }
            | UiCommand::ForgetRooms
            | UiCommand::Notify { .. }
            | UiCommand::NameTray { .. }
            | UiCommand::AnswerClosing { .. } => {
                self.refuse(ErrorCode::NotSupported, "the engine or the shell does this");
            }
            // A tile of a member who just left.
            UiCommand::NeedKeyframe { .. } | UiCommand::SetDelivery { .. } => {}
        }
    }

    fn show_anew(&mut self, now: Instant) {
        self.shown = None;
        if self.call.is_some() {
            return self.with_call(now, |call, _| call.chat.show_anew());
        }
        let (reset, messages) = (true, Vec::new());
        self.out
            .push_back(Output::Ui(UiEvent::Chat { reset, messages }));
    }

    fn say(&mut self, now: Instant, text: &str) {
        let (at, unix_ms) = self.wall_clock;
        let since = now.saturating_duration_since(at).as_millis();
        let sent_at_ms = unix_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX));
        let mut said = Err(ErrorCode::BadState);
        self.with_call(now, |call, ctx| said = call.say(ctx, text, sent_at_ms));
        if let Err(code) = said {
            self.refuse(code, "send_chat");
        }
    }

    fn react(&mut self, now: Instant, emoji: String) {
        let message = PeerMessage::Reaction { emoji };
        if !message.is_within_limits() {
            return self.refuse(ErrorCode::BadArgument, "send_reaction");
        }
        self.with_call(now, |call, ctx| {
            // What the others would not show is not shown here either.
            if !call.reactions.take(ctx.now, REACTIONS, 1) {
                return;
            }
            call.send_message(ctx, None, &message);
            if let PeerMessage::Reaction { emoji } = message {
                let member = SELF_MEMBER;
                ctx.out
                    .push_back(Output::Ui(UiEvent::Reaction { member, emoji }));
            }
        });
    }

    fn transfer(&mut self, now: Instant, command: UiCommand) {
        if let UiCommand::AcceptFiles {
            folder: Some(folder),
            ..
        } = &command
        {
            let folders = &mut self.call_config.folders;
            let folder = PathBuf::from(folder);
            folders.retain(|known| *known != folder);
            folders.truncate(FOLDERS - 1);
            folders.insert(0, folder);
        }
        let mut done = Err(ErrorCode::BadState);
        self.with_call(now, |call, ctx| {
            done = call.handle_file_command(ctx, command)
        });
        if let Err(code) = done {
            self.refuse(code, "about files");
        }
    }

    fn media(&mut self, op: MediaOp) {
        self.out.push_back(Output::Media(op));
    }

    fn set_voice(&mut self, voice: VoiceView) {
        if self.settings.voice != voice {
            self.media(MediaOp::SetVoice { voice });
            self.set_settings(SettingsView {
                voice,
                ..self.settings.clone()
            });
        }
    }

    fn is_in_call(&self) -> bool {
        self.call.as_ref().is_some_and(|call| !call.is_over())
    }

    fn start_sound_test(&mut self, op: MediaOp, command: &str) {
        if self.is_in_call() || self.sound_test != SoundTestState::Idle {
            return self.refuse(ErrorCode::BadState, command);
        }
        self.sound_test = SoundTestState::Starting;
        self.media(op);
    }

    /// The state follows when the devices are free again.
    fn stop_sound_test(&mut self) {
        if self.sound_test != SoundTestState::Idle {
            self.media(MediaOp::StopSoundTest);
        }
    }

    fn start_share(&mut self, now: Instant, id: String) {
        if !self.is_in_call() || id.is_empty() || id.len() > DEVICE_ID_BYTES {
            return self.refuse(ErrorCode::BadState, "start_share");
        }
        let op = self.share.start(id);
        self.media(op);
        self.refresh(now);
    }

    fn stop_share(&mut self) {
        self.share.stop().into_iter().for_each(|op| self.media(op));
    }

    fn handle_share(&mut self, now: Instant, id: &str, state: DeviceState) {
        if self.share.handle_state(id, state) {
            self.stop_share();
            if let DeviceState::Failed { code } = state {
                self.refuse(code, "what was shared is not there any more");
            }
        }
        self.refresh(now);
    }

    fn is_shown(&self, member: MemberId) -> bool {
        let is_member = |call: &Call| call.roster.contains(member);
        member == SELF_MEMBER || self.call.as_ref().is_some_and(is_member)
    }

    fn begin(&mut self, now: Instant, code: RoomCode, purpose: LocatePurpose) {
        if self.is_in_call() {
            return self.refuse(ErrorCode::BadState, "in a call already");
        }
        let server = match websocket_url(&self.settings.server) {
            Ok(url) => Some(url),
            Err(_) if self.settings.server.is_empty() => None,
            Err(error) => return self.refuse(error, "configured server"),
        };
        self.stop_sound_test();
        self.attempts = self.attempts.wrapping_add(1);
        let attempt = AttemptId(self.attempts);
        let profile = self.profile();
        let low_data = self.settings.low_data;
        let (out, seed, ids) = (&mut self.out, &mut self.seed, &mut self.ids);
        let mut ctx = Ctx {
            now,
            out,
            seed,
            ids,
            profile,
            low_data,
        };
        let config = self.call_config.clone();
        self.hand_raised = false;
        let call = Call::start(&mut ctx, attempt, code, purpose, server, config);
        self.call = Some(call);
    }

    /// A command that cannot be carried out.
    fn refuse(&mut self, code: ErrorCode, detail: &str) {
        tracing::debug!(?code, detail, "command refused");
        self.out.push_back(Output::Ui(UiEvent::Failed { code }));
        let detail = detail.to_owned();
        self.out
            .push_back(Output::Call(CallEvent::Error { code, detail }));
    }

    fn set_settings(&mut self, settings: SettingsView) {
        if self.settings != settings {
            self.settings = settings.clone();
            self.out.push_back(Output::Settings(settings));
        }
    }

    fn handle_device(&mut self, now: Instant, kind: DeviceKind, state: DeviceState) {
        if let Some(code) = self.devices.set_state(kind, state) {
            if is_loss(code) {
                self.out.push_back(Output::Ui(UiEvent::Failed { code }));
            }
            let detail = format!("{kind:?}").to_lowercase();
            self.out
                .push_back(Output::Call(CallEvent::Error { code, detail }));
        }
        self.refresh(now);
    }

    /// What the others shall see of one.
    fn profile(&self) -> Profile {
        let quality = self.call.as_ref().map(|call| &call.quality);
        let host = self.call.as_ref().and_then(|call| call.care.says(call.me));
        Profile {
            host,
            name: self.settings.name.clone(),
            muted: self.muted,
            camera_on: self.camera_on && !self.devices.camera_failed(),
            media_salt: String::new(),
            hand_raised: self.hand_raised,
            sharing: self.share.is_running(),
            sound_only: quality.is_some_and(Quality::is_sound_only),
            sound_only_for: quality.map(|it| it.held().to_vec()).unwrap_or_default(),
            tint: self.settings.tint,
            sound_copies: quality.map_or(0, Quality::asked_copies),
        }
    }

    /// What the others shall see of one may have changed.
    fn refresh(&mut self, now: Instant) {
        self.with_call(now, |_, _| {});
    }

    fn with_attempt(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        work: impl FnOnce(&mut Call, &mut Ctx<'_>),
    ) {
        if self
            .call
            .as_ref()
            .is_some_and(|call| call.attempt == attempt)
        {
            self.with_call(now, work);
        }
    }

    fn with_call(&mut self, now: Instant, work: impl FnOnce(&mut Call, &mut Ctx<'_>)) {
        let profile = self.profile();
        let low_data = self.settings.low_data;
        let Some(call) = &mut self.call else { return };
        let (out, seed, ids) = (&mut self.out, &mut self.seed, &mut self.ids);
        let mut ctx = Ctx {
            now,
            out,
            seed,
            ids,
            profile,
            low_data,
        };
        work(call, &mut ctx);
        call.conclude(&mut ctx);
    }

    fn run_devices(&mut self) {
        let in_call = self.is_in_call();
        let wanted = in_call || self.preview;
        let run = MediaOp::Run {
            camera: wanted && self.camera_on,
            microphone: wanted,
            speaker: in_call,
        };
        if self.run.as_ref() != Some(&run) {
            self.run = Some(run.clone());
            self.out.push_back(Output::Media(run));
        }
    }
}

/// Whether the input is only passed on, many times a second: not worth comparing views.
fn leaves_view(input: &Input) -> bool {
    matches!(
        input,
        // What files change in the view is told apart.
        Input::File(_)
            | Input::Stats(_)
            | Input::Command(
                UiCommand::FrameCredit { .. }
                    | UiCommand::NeedKeyframe { .. }
                    | UiCommand::SetDelivery { .. }
            )
    )
}
