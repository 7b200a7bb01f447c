//! What each output of the session does.

use std::sync::PoisonError;
use std::time::Instant;

use bytes::Bytes;
use call_core::{Input, LinkOp, MediaOp, Output, SocketOp};
use call_e2ee::MediaSealer;
use call_protocol::ui::frame::SELF_MEMBER;
use call_protocol::ui::{SettingsView, SoundTestState};
use call_protocol::{MediaSource, MemberId};
use call_transport::ChannelLabel;

use super::{Answer, Driver};
use crate::config::{Observed, voice_options};
use crate::sound_test::{SoundTest, SoundTestReport, TestKind};

impl Driver {
    pub(super) fn apply(&mut self, now: Instant, output: Output) {
        match output {
            Output::DeriveKeys { attempt, code } => self.derive_keys(attempt, code),
            Output::LocateServer {
                attempt,
                purpose,
                lan_tag,
            } => {
                self.locate(attempt, purpose, lan_tag);
            }
            Output::ReleaseServer => self.release_server(),
            Output::Socket(SocketOp::Connect { socket, url }) => self.connect(socket, url),
            Output::Socket(SocketOp::Send { socket, message }) => self.send(now, socket, &message),
            Output::Socket(SocketOp::Probe { socket }) => self.probe(socket),
            Output::Socket(SocketOp::Close { socket }) => self.close_socket(socket),
            Output::Link(LinkOp::Open {
                link,
                polite,
                initiator,
            }) => {
                self.open_link(link, polite, initiator);
            }
            Output::Link(LinkOp::UseIceServers { stun, relay }) => {
                self.stun = stun;
                self.relay = relay;
            }
            Output::Link(LinkOp::Signal { link, signal }) => self.signal_link(link, signal),
            Output::Link(LinkOp::Restart { link }) => self.restart_link(link),
            Output::Link(LinkOp::Close { link }) => self.close_link(now, link),
            Output::Channel { to, data } => {
                self.send_channel(to, ChannelLabel::Control, &Bytes::from(data));
            }
            Output::File(op) => self.disk.handle(op),
            Output::Media(op) => self.apply_media(now, op),
            Output::Ui(event) => self.ui.event(event),
            Output::Call(event) => {
                self.follow_members(&event);
                self.remember_room(&event);
                self.end_of_call(&event);
                self.observe(Observed::Call(event));
            }
            Output::Settings(view) => self.keep_settings(view),
        }
    }

    fn apply_media(&mut self, now: Instant, op: MediaOp) {
        match op {
            MediaOp::SetMuted { muted } => self.devices.set_muted(muted),
            MediaOp::Run {
                camera,
                microphone,
                speaker,
            } => {
                self.devices.run(camera, microphone, speaker);
                self.update_watcher();
                self.update_encoder();
            }
            MediaOp::SelectDevice { kind, id } => self.select_device(kind, id),
            MediaOp::RefreshDevices => self.list_devices(),
            MediaOp::SetVoice { voice } => self.devices.set_voice(voice_options(voice)),
            MediaOp::SetMemberSound {
                member,
                volume_percent,
                muted_here,
            } => self.set_member_sound(member, volume_percent, muted_here),
            MediaOp::StartSoundTest => self.start_sound_test(TestKind::Echo),
            MediaOp::PlayTestTone => self.start_sound_test(TestKind::Tone),
            MediaOp::StopSoundTest => {
                if let Some(test) = &self.sound_test {
                    test.stop();
                }
            }
            MediaOp::ForceKeyframe {
                source: MediaSource::Camera,
                layer,
            } => {
                if let Some(encoder) = &self.encoder {
                    encoder.request_keyframe(layer);
                }
            }
            MediaOp::ForceKeyframe {
                source: MediaSource::Screen,
                ..
            } => self.sharing.request_keyframe(),
            MediaOp::ListShares => self.list_shares(),
            MediaOp::Share { id } => self.share(now, id),
            MediaOp::SetLayers { source, wanted } => {
                tracing::debug!(?source, ?wanted, "wanted layers");
                if source == MediaSource::Camera {
                    self.layers_wanted = wanted;
                }
                // The first picture of a call must not wait for the next report.
                self.report_quality(now);
            }
            MediaOp::EncodePicture {
                source: MediaSource::Camera,
                plan,
            } => {
                self.picture_plan = plan;
                self.update_encoder();
            }
            MediaOp::EncodePicture {
                source: MediaSource::Screen,
                plan,
            } => self.set_screen_plan(plan),
            MediaOp::HoldPicture { source, members } => self.hold_picture(source, &members),
            MediaOp::EncodeSound { plan } => {
                self.outlet.set_sound_copies(plan.copies);
                self.devices.set_sound_plan(plan);
            }
            MediaOp::LimitFiles { limit_bps } => self.limit_files(limit_bps),
            // A microphone has neither.
            MediaOp::ForceKeyframe { .. } | MediaOp::EncodePicture { .. } => {}
            MediaOp::SealAs { member, salt } => self.seal_as(member, salt),
            MediaOp::Reseal { salt } => self.reseal(salt),
            MediaOp::OpenMember { member, salt } => self.hub.open_member(member, salt),
            MediaOp::ForgetMember { member } => self.hub.forget_member(member),
            MediaOp::RequestKeyframe { member, source } => {
                self.pump.handle_need_keyframe(now, (member, source));
                self.hub.request_keyframe(now, member, source);
            }
            MediaOp::SetVisibleTiles { tiles } => {
                self.pump.set_visible(now, &tiles);
                self.update_own_picture();
            }
            MediaOp::FrameCredit { epoch, messages } => {
                self.pump.handle_credit(now, epoch, messages);
            }
            MediaOp::SetDelivery {
                member,
                source,
                delivery,
            } => {
                if member != SELF_MEMBER {
                    self.pump.set_delivery(now, (member, source), delivery);
                }
            }
        }
    }

    /// A seat has its sealer for good: a second one would use the same nonces again.
    fn seal_as(&mut self, member: MemberId, salt: [u8; 16]) {
        if self.sealed_as == Some((member, salt)) {
            return;
        }
        let Some((_, keys)) = &self.keys else {
            return tracing::error!("a seat before the keys");
        };
        self.outlet.set_sealer(MediaSealer::new(keys, member, salt));
        self.sealed_as = Some((member, salt));
    }

    /// The seat goes on with another salt.
    fn reseal(&mut self, salt: [u8; 16]) {
        if let (Some((_, keys)), Some((member, _))) = (&self.keys, self.sealed_as) {
            self.outlet.renew_sealer(keys, salt);
            self.sealed_as = Some((member, salt));
        }
    }

    fn set_member_sound(&self, member: MemberId, volume_percent: u16, muted_here: bool) {
        self.hub.add_member(member);
        let mut mixer = self.mixer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = mixer.receiver_mut(member) {
            receiver.set_volume(f32::from(volume_percent) / 100.0);
            receiver.set_locally_muted(muted_here);
        }
    }

    /// The session asks only while no test runs.
    fn start_sound_test(&mut self, kind: TestKind) {
        let lent = self.devices.lend(kind == TestKind::Echo);
        let answers = self.answers.clone();
        self.sound_test = Some(SoundTest::start(kind, lent, move |report| {
            // The driver being gone is the only failure, and then nobody asks any more.
            let _ = answers.blocking_send(Answer::SoundTest(report));
        }));
    }

    pub(super) fn handle_sound_test(&mut self, now: Instant, report: SoundTestReport) {
        let state = match report {
            SoundTestReport::State(state) => state,
            SoundTestReport::MicrophoneFree => return self.devices.take_back_microphone(),
            SoundTestReport::Ended => {
                self.sound_test = None;
                self.devices.take_back();
                SoundTestState::Idle
            }
        };
        self.session.handle_input(now, Input::SoundTest { state });
    }

    /// Whether the camera's pictures are scaled for the self view.
    pub(super) fn update_own_picture(&self) {
        let own = (SELF_MEMBER, MediaSource::Camera);
        self.pictures
            .set_own_wanted(self.pump.demand(own).is_some());
    }

    /// What was given for this run only stays out of the file, unless the person changed it.
    fn keep_settings(&mut self, view: SettingsView) {
        if self.server_override.as_ref() != Some(&view.server) {
            self.server_override = None;
            self.settings.server = view.server;
        }
        if self.name_override.as_ref() != Some(&view.name) {
            self.name_override = None;
            self.settings.name = view.name;
        }
        self.settings.low_data = view.low_data;
        self.settings.tint = view.tint;
        if self.voice_override != Some(view.voice) {
            self.voice_override = None;
            self.settings.set_voice(view.voice);
        }
        self.save_settings();
    }

    pub(super) fn save_settings(&mut self) {
        if let Some(saver) = &self.saver {
            let work = saver.save(self.settings.clone());
            self.background.spawn_blocking(work);
        }
    }
}
