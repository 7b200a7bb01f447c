//! Lists of devices, the watcher that keeps them current, and the choice among them.
//!
//! The watcher runs while any device of the machine is in use: in a call and in the preview. The
//! lists then follow the machine by themselves; otherwise they are taken when the UI asks.

use std::time::Instant;

use call_core::Input;
use call_media::watch::{DeviceChange, DeviceEntry, DeviceWatcher};
use call_protocol::ui::{DeviceKind, DeviceOption};

use super::{Answer, Driver};
use crate::devices;

impl Driver {
    pub(super) fn list_devices(&mut self) {
        self.devices_listed = true;
        for kind in [
            DeviceKind::Camera,
            DeviceKind::Microphone,
            DeviceKind::Speaker,
        ] {
            let answers = self.answers.clone();
            self.background.spawn_blocking(move || {
                let listed = devices::list(kind);
                // The driver being gone is the only failure, and then nobody asks any more.
                let _ = answers.blocking_send(Answer::DeviceList { kind, listed });
            });
        }
    }

    pub(super) fn update_watcher(&mut self) {
        if !self.devices.plan().uses_hardware() {
            self.watcher = None;
        } else if self.watcher.is_none() {
            let answers = self.answers.clone();
            let watcher = DeviceWatcher::start(move |change| {
                // Dropped when the queue is full, which only a driver that hangs lets it be.
                let _ = answers.try_send(Answer::DeviceChange(change));
            });
            self.watcher = watcher
                .map_err(|error| tracing::error!(%error, "no thread to watch devices"))
                .ok();
        }
    }

    pub(super) fn handle_device_list(
        &mut self,
        now: Instant,
        kind: DeviceKind,
        listed: Vec<DeviceEntry>,
    ) {
        self.devices.handle_list(kind, listed.clone());
        self.show_devices(now, kind, listed);
    }

    pub(super) fn handle_device_change(&mut self, now: Instant, change: DeviceChange) {
        let lists = match &change {
            DeviceChange::Stirred => None,
            DeviceChange::Lists(lists) => Some(lists.clone()),
        };
        tracing::debug!(?change, "devices");
        self.devices.handle_change(change);
        if let Some(lists) = lists {
            self.show_devices(now, DeviceKind::Camera, lists.cameras);
            self.show_devices(now, DeviceKind::Microphone, lists.microphones);
            self.show_devices(now, DeviceKind::Speaker, lists.speakers);
        }
    }

    fn show_devices(&mut self, now: Instant, kind: DeviceKind, listed: Vec<DeviceEntry>) {
        let option = |entry: DeviceEntry| DeviceOption {
            id: entry.id,
            name: entry.name,
        };
        let input = Input::Devices {
            kind,
            options: listed.into_iter().map(option).collect(),
            selected: self.devices.plan().selected(kind),
        };
        self.session.handle_input(now, input);
    }

    pub(super) fn select_device(&mut self, kind: DeviceKind, id: Option<String>) {
        self.devices.select(kind, id.clone());
        let name = self.devices.plan().chosen_name(kind);
        let settings = &mut self.settings;
        let chosen = match kind {
            DeviceKind::Camera => (&mut settings.camera, &mut settings.camera_name),
            DeviceKind::Microphone => (&mut settings.microphone, &mut settings.microphone_name),
            DeviceKind::Speaker => (&mut settings.speaker, &mut settings.speaker_name),
        };
        (*chosen.0, *chosen.1) = (id, name);
        self.save_settings();
        self.update_watcher();
        self.update_encoder();
    }
}
