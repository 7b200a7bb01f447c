//! Which sources an engine begins with: what its configuration names, else what the settings chose.

use call_media::audio::{AudioSourceConfig, SpeakerConfig};
use call_media::video::source_config::VideoSourceConfig;

use crate::config::EngineConfig;
use crate::device_plan::{ChosenNames, DevicePlan};
use crate::settings::Settings;

/// A device without id is the setting's.
pub(super) fn plan(config: &EngineConfig, settings: &Settings) -> DevicePlan {
    DevicePlan::new(
        camera(config.video.clone(), settings),
        microphone(config.audio.clone(), settings),
        speaker(config.speaker.clone(), settings),
        names(config, settings),
    )
}

/// The names that belong to the settings' devices, where these are used.
fn names(config: &EngineConfig, settings: &Settings) -> ChosenNames {
    let camera = matches!(config.video, VideoSourceConfig::Camera { id: None, .. });
    let microphone = config.audio == AudioSourceConfig::Microphone { id: None };
    let speaker = config.speaker == SpeakerConfig::Device { id: None };
    let of_setting = |is_used: bool, name: &Option<String>| name.clone().filter(|_| is_used);
    ChosenNames {
        camera: of_setting(camera, &settings.camera_name),
        microphone: of_setting(microphone, &settings.microphone_name),
        speaker: of_setting(speaker, &settings.speaker_name),
    }
}

fn camera(config: VideoSourceConfig, settings: &Settings) -> VideoSourceConfig {
    match config {
        VideoSourceConfig::Camera {
            id: None,
            width,
            height,
            fps,
        } => VideoSourceConfig::Camera {
            id: settings.camera.clone(),
            width,
            height,
            fps,
        },
        other => other,
    }
}

fn microphone(config: AudioSourceConfig, settings: &Settings) -> AudioSourceConfig {
    match config {
        AudioSourceConfig::Microphone { id: None } => AudioSourceConfig::Microphone {
            id: settings.microphone.clone(),
        },
        other => other,
    }
}

fn speaker(config: SpeakerConfig, settings: &Settings) -> SpeakerConfig {
    match config {
        SpeakerConfig::Device { id: None } => SpeakerConfig::Device {
            id: settings.speaker.clone(),
        },
        other => other,
    }
}
