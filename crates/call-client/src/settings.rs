//! What outlives the app: `settings.json` in the profile directory.
//!
//! Every field is validated when read; what does not fit falls back to its default. A file that is
//! not readable as settings at all is kept aside as `settings.json.broken` and replaced at the next
//! change, so a defect never costs more than the choices themselves.
//!
//! Deliberately not here: which server a call uses (the session decides) and device handling.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use call_core::websocket_url;
use call_protocol::ErrorCode;
use call_protocol::peer::clean_name;
use call_protocol::ui::VoiceView;
use serde::{Deserialize, Deserializer, Serialize};

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
    #[serde(deserialize_with = "switch")]
    pub echo_cancellation: bool,
    /// Whether noise is lowered.
    #[serde(deserialize_with = "switch")]
    pub noise_suppression: bool,
    /// Whether voices are brought to one level.
    #[serde(deserialize_with = "switch")]
    pub gain_control: bool,
    /// Whether pictures are kept small to save data.
    pub low_data: bool,
}

/// A switch that stands on where the file holds no truth value.
fn switch<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_bool().unwrap_or(true))
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
        fs::create_dir_all(profile)?;
        let path = file(profile);
        let draft = path.with_extension(format!("json.{}.new", std::process::id()));
        let mut out = fs::File::create(&draft)?;
        out.write_all(&serde_json::to_vec_pretty(self)?)?;
        out.sync_all()?;
        fs::rename(&draft, &path)
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
    let value: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
    // A JSON array would pass for a struct of defaults.
    if !value.is_object() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an object"));
    }
    Ok(serde_json::from_value(value)?)
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

/// Writes settings in the background; only the newest are ever written.
#[derive(Debug)]
pub(crate) struct Saver {
    profile: PathBuf,
    newest: Arc<Mutex<Option<Settings>>>,
}

impl Saver {
    pub(crate) fn new(profile: PathBuf) -> Self {
        Self {
            profile,
            newest: Arc::default(),
        }
    }

    /// Takes the settings and returns the work of writing them, which blocks on the disk.
    pub(crate) fn save(&self, settings: Settings) -> impl FnOnce() + Send + use<> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
        let (profile, newest) = (self.profile.clone(), Arc::clone(&self.newest));
        move || write_newest(&profile, &newest)
    }

    /// Writes what is not written yet. Blocks on the disk.
    pub(crate) fn finish(self) {
        write_newest(&self.profile, &self.newest);
    }
}

fn write_newest(profile: &Path, newest: &Mutex<Option<Settings>>) {
    // The lock is held while writing: two writers would race for the same file.
    let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(settings) = newest.take()
        && let Err(error) = settings.save(profile)
    {
        tracing::warn!(%error, "settings were not saved");
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
