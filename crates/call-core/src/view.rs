//! The devices part of the view, and the rest of it put together.

use call_protocol::ErrorCode;
use call_protocol::ui::{
    AppView, CallView, DeviceKind, DeviceOption, DeviceState, DeviceView, DevicesView,
    SettingsView, SoundTestState,
};

/// Options kept per kind; a system that lists more has a broken driver.
const OPTIONS: usize = 64;

/// What there is to capture and play with, as the engine last reported.
#[derive(Debug)]
pub(crate) struct Devices(DevicesView);

impl Devices {
    pub(crate) fn new() -> Self {
        let none = DeviceView {
            options: Vec::new(),
            selected: None,
            state: DeviceState::Off,
        };
        Self(DevicesView {
            camera: none.clone(),
            microphone: none.clone(),
            speaker: none,
        })
    }

    fn get_mut(&mut self, kind: DeviceKind) -> &mut DeviceView {
        match kind {
            DeviceKind::Camera => &mut self.0.camera,
            DeviceKind::Microphone => &mut self.0.microphone,
            DeviceKind::Speaker => &mut self.0.speaker,
        }
    }

    pub(crate) fn select(&mut self, kind: DeviceKind, id: Option<String>) {
        self.get_mut(kind).selected = id;
    }

    pub(crate) fn list(
        &mut self,
        kind: DeviceKind,
        mut options: Vec<DeviceOption>,
        selected: Option<String>,
    ) {
        options.truncate(OPTIONS);
        let view = self.get_mut(kind);
        (view.options, view.selected) = (options, selected);
    }

    /// Takes over a state; gives the error if the device fails now and did not before.
    pub(crate) fn set_state(&mut self, kind: DeviceKind, state: DeviceState) -> Option<ErrorCode> {
        let view = self.get_mut(kind);
        let before = std::mem::replace(&mut view.state, state);
        match state {
            DeviceState::Failed { code } if before != state => Some(code),
            _ => None,
        }
    }

    pub(crate) fn camera_failed(&self) -> bool {
        matches!(self.0.camera.state, DeviceState::Failed { .. })
    }

    pub(crate) fn app_view(
        &self,
        settings: &SettingsView,
        muted: bool,
        camera_on: bool,
        sound_test: SoundTestState,
        call: Option<CallView>,
    ) -> AppView {
        AppView {
            settings: settings.clone(),
            devices: self.0.clone(),
            muted,
            camera_on,
            sound_test,
            call,
        }
    }
}

/// Whether a failing device deserves a message beyond its mark in the view: it worked before.
pub(crate) fn is_loss(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CameraLost | ErrorCode::MicrophoneLost | ErrorCode::SpeakerLost
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_once_and_lists_are_bounded() {
        let mut devices = Devices::new();
        let busy = DeviceState::Failed {
            code: ErrorCode::CameraBusy,
        };
        assert_eq!(
            devices.set_state(DeviceKind::Camera, busy),
            Some(ErrorCode::CameraBusy)
        );
        assert_eq!(devices.set_state(DeviceKind::Camera, busy), None);
        assert!(devices.camera_failed() && !is_loss(ErrorCode::CameraBusy));
        assert_eq!(
            devices.set_state(DeviceKind::Camera, DeviceState::Running),
            None
        );
        assert!(!devices.camera_failed());
        let option = DeviceOption {
            id: "a".into(),
            name: "A".into(),
        };
        devices.list(DeviceKind::Speaker, vec![option; 500], Some("a".into()));
        assert_eq!(devices.get_mut(DeviceKind::Speaker).options.len(), OPTIONS);
    }
}
