//! Which devices run, with which source: wishes of the person and changes of the machine in, what
//! to open and close out. Pure.
//!
//! Invariants: a change of the machine's devices mutes or unmutes nothing, and opens nothing of a
//! kind that is not running.

use call_media::audio::{AudioSourceConfig, SpeakerConfig};
use call_media::video::source_config::{CAMERA_DEFAULT, VideoSourceConfig};
use call_media::watch::{DeviceChange, DeviceEntry};
use call_protocol::ui::DeviceKind;

use crate::device_choice::DeviceChoice;

/// Something to do with a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeviceOp {
    /// Capture from this camera instead of the current one, or from none.
    Camera(Option<VideoSourceConfig>),
    /// Record from this source instead of the current one.
    Microphone(AudioSourceConfig),
    /// Play here instead, or not at all.
    Speaker(Option<SpeakerConfig>),
    /// Mute or unmute.
    Mute(bool),
    /// If it waits to be opened again, wait no longer.
    Retry(DeviceKind),
}

/// Which kinds are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) camera: bool,
    pub(crate) microphone: bool,
    pub(crate) speaker: bool,
}

/// What a device of each kind was called when it was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChosenNames {
    pub(crate) camera: Option<String>,
    pub(crate) microphone: Option<String>,
    pub(crate) speaker: Option<String>,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct DevicePlan {
    video: VideoSourceConfig,
    audio: AudioSourceConfig,
    speaker: SpeakerConfig,
    running: Running,
    muted: bool,
    choices: [DeviceChoice; 3],
}

const KINDS: [DeviceKind; 3] = [
    DeviceKind::Camera,
    DeviceKind::Microphone,
    DeviceKind::Speaker,
];

fn index(kind: DeviceKind) -> usize {
    match kind {
        DeviceKind::Camera => 0,
        DeviceKind::Microphone => 1,
        DeviceKind::Speaker => 2,
    }
}

impl DevicePlan {
    /// Nothing runs, and the microphone is muted.
    pub(crate) fn new(
        video: VideoSourceConfig,
        audio: AudioSourceConfig,
        speaker: SpeakerConfig,
        names: ChosenNames,
    ) -> Self {
        let camera_id = match &video {
            VideoSourceConfig::Camera { id, .. } => id.clone(),
            _ => None,
        };
        let microphone_id = match &audio {
            AudioSourceConfig::Microphone { id } => id.clone(),
            _ => None,
        };
        let speaker_id = match &speaker {
            SpeakerConfig::Device { id } => id.clone(),
            SpeakerConfig::Null => None,
        };
        Self {
            choices: [
                DeviceChoice::new(camera_id, names.camera),
                DeviceChoice::new(microphone_id, names.microphone),
                DeviceChoice::new(speaker_id, names.speaker),
            ],
            video,
            audio,
            speaker,
            running: Running::default(),
            muted: true,
        }
    }

    pub(crate) fn video(&self) -> &VideoSourceConfig {
        &self.video
    }

    pub(crate) fn audio(&self) -> &AudioSourceConfig {
        &self.audio
    }

    pub(crate) fn speaker(&self) -> &SpeakerConfig {
        &self.speaker
    }

    pub(crate) fn running(&self) -> Running {
        self.running
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.muted
    }

    /// Whether any device of the machine is in use, or would be if it were there.
    pub(crate) fn uses_hardware(&self) -> bool {
        KINDS
            .into_iter()
            .any(|kind| self.is_hardware(kind) && self.runs(kind))
    }

    /// The id to show as chosen; `None` while the system's default is used.
    pub(crate) fn selected(&self, kind: DeviceKind) -> Option<String> {
        self.choices[index(kind)].selected().map(str::to_owned)
    }

    /// What the chosen device is called.
    pub(crate) fn chosen_name(&self, kind: DeviceKind) -> Option<String> {
        self.choices[index(kind)].name().map(str::to_owned)
    }

    pub(crate) fn set_muted(&mut self, muted: bool) -> DeviceOp {
        self.muted = muted;
        DeviceOp::Mute(muted)
    }

    /// Runs exactly these devices.
    pub(crate) fn run(&mut self, wanted: Running) -> Vec<DeviceOp> {
        let before = KINDS.map(|kind| self.runs(kind));
        self.running = wanted;
        KINDS
            .into_iter()
            .zip(before)
            .filter(|(kind, before)| self.runs(*kind) != *before)
            .map(|(kind, _)| self.current(kind))
            .collect()
    }

    /// Uses another device from now on, `None` is the system's default.
    pub(crate) fn select(&mut self, kind: DeviceKind, id: Option<String>) -> Vec<DeviceOp> {
        self.choices[index(kind)].select(id.clone());
        self.open(kind, id).into_iter().collect()
    }

    /// The machine's devices changed.
    pub(crate) fn handle_change(&mut self, change: DeviceChange) -> Vec<DeviceOp> {
        let DeviceChange::Lists(lists) = change else {
            return self.retries(&KINDS);
        };
        let stamp = Some(lists.sound_configuration);
        let mut ops = self.handle_list(DeviceKind::Camera, lists.cameras, None);
        ops.extend(self.handle_list(DeviceKind::Microphone, lists.microphones, stamp));
        ops.extend(self.handle_list(DeviceKind::Speaker, lists.speakers, stamp));
        ops
    }

    /// The devices of one kind, see [`DeviceChoice::handle_list`].
    pub(crate) fn handle_list(
        &mut self,
        kind: DeviceKind,
        listed: Vec<DeviceEntry>,
        stamp: Option<u64>,
    ) -> Vec<DeviceOp> {
        let moved = self.choices[index(kind)].handle_list(listed, stamp);
        match moved {
            Some(id) if self.is_hardware(kind) => self.open(kind, id).into_iter().collect(),
            _ => self.retries(&[kind]),
        }
    }

    fn retries(&self, kinds: &[DeviceKind]) -> Vec<DeviceOp> {
        let waiting = kinds
            .iter()
            .filter(|kind| self.is_hardware(**kind) && self.runs(**kind));
        waiting.map(|kind| DeviceOp::Retry(*kind)).collect()
    }

    fn runs(&self, kind: DeviceKind) -> bool {
        match kind {
            DeviceKind::Camera => self.running.camera,
            DeviceKind::Microphone => self.running.microphone,
            DeviceKind::Speaker => self.running.speaker,
        }
    }

    fn is_hardware(&self, kind: DeviceKind) -> bool {
        match kind {
            DeviceKind::Camera => matches!(self.video, VideoSourceConfig::Camera { .. }),
            DeviceKind::Microphone => matches!(self.audio, AudioSourceConfig::Microphone { .. }),
            DeviceKind::Speaker => matches!(self.speaker, SpeakerConfig::Device { .. }),
        }
    }

    /// Puts a device in place of the source; opens it if its kind runs.
    fn open(&mut self, kind: DeviceKind, id: Option<String>) -> Option<DeviceOp> {
        match kind {
            DeviceKind::Camera => {
                let (width, height, fps) = match self.video {
                    VideoSourceConfig::Camera {
                        width, height, fps, ..
                    } => (width, height, fps),
                    _ => CAMERA_DEFAULT,
                };
                self.video = VideoSourceConfig::Camera {
                    id,
                    width,
                    height,
                    fps,
                };
            }
            DeviceKind::Microphone => self.audio = AudioSourceConfig::Microphone { id },
            DeviceKind::Speaker => self.speaker = SpeakerConfig::Device { id },
        }
        self.runs(kind).then(|| self.current(kind))
    }

    /// What a device of this kind is to do as things stand.
    pub(crate) fn current(&self, kind: DeviceKind) -> DeviceOp {
        let runs = self.runs(kind);
        match kind {
            DeviceKind::Camera => {
                let runs = runs && !self.video.is_none();
                DeviceOp::Camera(runs.then(|| self.video.clone()))
            }
            DeviceKind::Microphone if runs => DeviceOp::Microphone(self.audio.clone()),
            DeviceKind::Microphone => DeviceOp::Microphone(AudioSourceConfig::None),
            DeviceKind::Speaker => DeviceOp::Speaker(runs.then(|| self.speaker.clone())),
        }
    }
}

#[cfg(test)]
#[path = "device_plan_tests.rs"]
mod tests;
