//! What outlives the app: `settings.json` in the profile directory.
//!
//! Every field is read and validated by itself; what does not fit is told in the log and falls back to
//! its default. A file that is not readable as settings at all is kept aside as `settings.json.broken` and replaced at the next
//! change, so a defect never costs more than the choices themselves.
//!
//! Deliberately not here: which server a call uses (the session decides) and device handling.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use call_core::websocket_url;
use call_protocol::ErrorCode;
use call_protocol::peer::clean_name;
use call_protocol::ui::{ChoicesView, VoiceView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keep::replace;

/// The version written; files of a newer one are read as far as they are understood.
const VERSION: u32 = 1;
/// Longest file read, in bytes. A real one has under 1 KiB.
const FILE_BYTES: u64 = 64 * 1024;
/// Longest device id or name, in bytes.
const DEVICE_ID_BYTES: usize = 512;

/// The persisted choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Format of the file.
    pub version: u32,
    /// Display name, clean.
    pub name: String,
    /// Signalling server or empty.
    pub server: String,
    /// Chosen camera; `None` follows the system.
    pub camera: Option<String>,
    /// What the chosen camera is called: it may come back under another id.
    pub camera_name: Option<String>,
    /// Chosen microphone; `None` follows the system.
    pub microphone: Option<String>,
    /// What the chosen microphone is called.
    pub microphone_name: Option<String>,
    /// Chosen speaker; `None` follows the system.
    pub speaker: Option<String>,
    /// What the chosen speaker is called.
    pub speaker_name: Option<String>,
    /// Whether echo is removed from the microphone's sound.
    pub echo_cancellation: bool,
    /// Whether noise is lowered.
    pub noise_suppression: bool,
    /// Whether voices are brought to one level.
    pub gain_control: bool,
    /// Whether pictures are kept small to save data.
    pub low_data: bool,
    /// The colour to be shown in.
    pub tint: Option<u8>,
    /// Whether the microphone is muted before the person unmutes it, as they last left it outside a
    /// call.
    pub start_muted: bool,
    /// Whether the camera is off before the person turns it on, as they last left it outside a call.
    pub start_camera_off: bool,
    /// The window's.
    #[serde(flatten)]
    pub choices: ChoicesView,
}

impl Default for Settings {
    fn default() -> Self {
        let voice = VoiceView::default();
        Self {
            version: VERSION,
            name: clean_name(""),
            server: String::new(),
            camera: None,
            camera_name: None,
            microphone: None,
            microphone_name: None,
            speaker: None,
            speaker_name: None,
            echo_cancellation: voice.echo_cancellation,
            noise_suppression: voice.noise_suppression,
            gain_control: voice.gain_control,
            low_data: false,
            tint: None,
            start_muted: false,
            start_camera_off: false,
            choices: ChoicesView::default(),
        }
    }
}

impl Settings {
    /// Reads the settings of a profile; defaults where there are none. Blocks on the disk.
    pub fn load(profile: &Path) -> Self {
        let path = file(profile);
        match read(&path) {
            Ok(settings) => settings.validated(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                let aside = path.with_extension("json.broken");
                tracing::warn!(%error, "settings are unreadable, kept aside");
                if let Err(error) = fs::rename(&path, &aside) {
                    tracing::debug!(%error, "settings could not be kept aside");
                }
                Self::default()
            }
        }
    }

    /// Writes the settings so that a crash leaves either the old or the new file.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self, profile: &Path) -> io::Result<()> {
        replace(&file(profile), &serde_json::to_vec_pretty(self)?)
    }

    /// The switches of the voice processing.
    pub fn voice(&self) -> VoiceView {
        VoiceView {
            echo_cancellation: self.echo_cancellation,
            noise_suppression: self.noise_suppression,
            gain_control: self.gain_control,
        }
    }

    /// Takes over the switches of the voice processing.
    pub fn set_voice(&mut self, voice: VoiceView) {
        self.echo_cancellation = voice.echo_cancellation;
        self.noise_suppression = voice.noise_suppression;
        self.gain_control = voice.gain_control;
    }

    fn validated(self) -> Self {
        let device =
            |id: Option<String>| id.filter(|id| !id.is_empty() && id.len() <= DEVICE_ID_BYTES);
        Self {
            version: VERSION,
            name: clean_name(&self.name),
            server: if check_server(&self.server).is_ok() {
                self.server
            } else {
                String::new()
            },
            camera: device(self.camera),
            camera_name: device(self.camera_name),
            microphone: device(self.microphone),
            microphone_name: device(self.microphone_name),
            speaker: device(self.speaker),
            speaker_name: device(self.speaker_name),
            choices: if self.choices.is_bounded() {
                self.choices
            } else {
                tracing::warn!("choices out of bounds in the settings");
                ChoicesView::default()
            },
            ..self
        }
    }
}

fn file(profile: &Path) -> PathBuf {
    profile.join("settings.json")
}

fn read(path: &Path) -> io::Result<Settings> {
    if fs::metadata(path)?.len() > FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too large"));
    }
    let Value::Object(found) = serde_json::from_slice(&fs::read(path)?)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an object"));
    };
    let mut taken = serde_json::to_value(Settings::default())?;
    for (field, value) in found {
        let before = taken[&field].clone();
        if before.is_null() && value.is_null() {
            continue;
        }
        taken[&field] = value;
        if let Err(error) = Settings::deserialize(&taken) {
            tracing::warn!(field, %error, "a setting is not understood, its default is used");
            taken[&field] = before;
        }
    }
    Ok(serde_json::from_value(taken)?)
}

/// Whether a text may be the configured server: empty, or an address.
///
/// # Errors
/// [`ErrorCode::ServerAddressInvalid`].
pub fn check_server(text: &str) -> Result<(), ErrorCode> {
    if text.is_empty() {
        Ok(())
    } else {
        websocket_url(text).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_round_trip() {
        let profile = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(profile.path()), Settings::default());
        let settings = Settings {
            name: "Anna".into(),
            server: "wss://calls.example:8443".into(),
            camera: Some("cam-1".into()),
            noise_suppression: false,
            ..Settings::default()
        };
        let nested = profile.path().join("a/b");
        settings.save(&nested).unwrap();
        assert_eq!(Settings::load(&nested), settings);
    }

    #[test]
    fn a_broken_file_is_kept_aside() {
        let profile = tempfile::tempdir().unwrap();
        for broken in [&b"{\"name\":"[..], b"[]", b"\xff\xfe", &[b'x'; 70_000]] {
            fs::write(file(profile.path()), broken).unwrap();
            assert_eq!(Settings::load(profile.path()), Settings::default());
            let aside = fs::read(profile.path().join("settings.json.broken")).unwrap();
            assert_eq!(aside, broken);
            assert!(!file(profile.path()).exists());
        }
    }

    #[test]
    fn a_file_without_switches_or_with_broken_ones_has_them_on() {
        let profile = tempfile::tempdir().unwrap();
        for (text, gain_control) in [
            (r#"{"version":1,"name":"A"}"#, true),
            (
                r#"{"name":"A","echo_cancellation":"no","noise_suppression":null,"gain_control":false}"#,
                false,
            ),
        ] {
            fs::write(file(profile.path()), text).unwrap();
            let want = VoiceView {
                gain_control,
                ..VoiceView::default()
            };
            let settings = Settings::load(profile.path());
            assert_eq!((settings.name.as_str(), settings.voice()), ("A", want));
        }
    }

    #[test]
    fn every_field_that_is_not_understood_falls_back_alone() {
        let profile = tempfile::tempdir().unwrap();
        let fields = serde_json::to_value(Settings::default()).unwrap();
        let changed = Settings {
            name: "Anna".into(),
            start_muted: true,
            choices: ChoicesView {
                language: "de".into(),
                theme: call_protocol::ui::Theme::Dark,
                keys: [("toggle_mute".to_owned(), "x".to_owned())].into(),
                ..ChoicesView::default()
            },
            ..Settings::default()
        };
        for field in fields.as_object().unwrap().keys() {
            let mut written = serde_json::to_value(&changed).unwrap();
            written[field] = serde_json::json!([1]);
            fs::write(file(profile.path()), written.to_string()).unwrap();
            let read = serde_json::to_value(Settings::load(profile.path())).unwrap();
            let mut want = serde_json::to_value(&changed).unwrap();
            want[field] = fields[field].clone();
            assert_eq!(read, want, "{field}");
        }
    }

    #[test]
    fn choices_out_of_bounds_fall_back() {
        let profile = tempfile::tempdir().unwrap();
        let text = format!(r#"{{"name":"A","language":"{}"}}"#, "x".repeat(99));
        fs::write(file(profile.path()), text).unwrap();
        let settings = Settings::load(profile.path());
        assert_eq!(settings.name, "A");
        assert_eq!(settings.choices, ChoicesView::default());
    }

    #[test]
    fn fields_out_of_bounds_fall_back_alone() {
        let profile = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{"version":9,"name":" A\u0007 ","server":"ftp://x","camera":"","microphone":"{}","speaker":"s","new":1}}"#,
            "m".repeat(600)
        );
        fs::write(file(profile.path()), text).unwrap();
        let want = Settings {
            name: "A".into(),
            speaker: Some("s".into()),
            ..Settings::default()
        };
        assert_eq!(Settings::load(profile.path()), want);
    }
}
