//! What each output of the session does.

use std::time::Instant;

use call_core::{LinkOp, MediaOp, Output, SocketOp};
use call_protocol::MediaSource;
use call_protocol::ui::frame::SELF_MEMBER;
use call_protocol::ui::{DeviceKind, SettingsView};

use super::{Answer, Driver};
use crate::config::Observed;
use crate::devices;

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
            Output::Socket(SocketOp::Close { socket }) => self.close_socket(socket),
            Output::Link(LinkOp::Open {
                link,
                polite,
                initiator,
            }) => {
                self.open_link(link, polite, initiator);
            }
            Output::Link(LinkOp::UseStun { urls }) => self.stun = urls,
            Output::Link(LinkOp::Signal { link, signal }) => self.signal_link(link, signal),
            Output::Link(LinkOp::Restart { link }) => self.restart_link(link),
            Output::Link(LinkOp::Close { link }) => self.close_link(link),
            Output::Media(op) => self.apply_media(now, op),
            Output::Ui(event) => self.ui.event(event),
            Output::Call(event) => {
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
                self.update_encoder();
            }
            MediaOp::SelectDevice { kind, id } => self.select_device(kind, id),
            MediaOp::RefreshDevices => self.list_devices(),
            MediaOp::ForceKeyframe {
                source: MediaSource::Camera,
            } => {
                if let Some(encoder) = &self.encoder {
                    encoder.request_keyframe(0);
                }
            }
            MediaOp::ForceKeyframe { .. } => {}
            MediaOp::RequestKeyframe { member, source } => {
                self.pump.handle_need_keyframe(now, (member, source));
                self.request_keyframe(now, member);
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

    /// Whether the camera's pictures are scaled for the self view.
    pub(super) fn update_own_picture(&self) {
        let own = (SELF_MEMBER, MediaSource::Camera);
        self.pictures
            .set_own_wanted(self.pump.demand(own).is_some());
    }

    fn select_device(&mut self, kind: DeviceKind, id: Option<String>) {
        let chosen = match kind {
            DeviceKind::Camera => &mut self.settings.camera,
            DeviceKind::Microphone => &mut self.settings.microphone,
            DeviceKind::Speaker => &mut self.settings.speaker,
        };
        chosen.clone_from(&id);
        self.save_settings();
        self.devices.select(kind, id);
        self.update_encoder();
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
        self.save_settings();
    }

    fn save_settings(&mut self) {
        if let Some(saver) = &self.saver {
            let work = saver.save(self.settings.clone());
            self.background.spawn_blocking(work);
        }
    }

    pub(super) fn list_devices(&mut self) {
        self.devices_listed = true;
        for kind in [
            DeviceKind::Camera,
            DeviceKind::Microphone,
            DeviceKind::Speaker,
        ] {
            let answers = self.answers.clone();
            self.background.spawn_blocking(move || {
                let options = devices::list(kind);
                // The driver being gone is the only failure, and then nobody asks any more.
                let _ = answers.blocking_send(Answer::DeviceList { kind, options });
            });
        }
    }
}
