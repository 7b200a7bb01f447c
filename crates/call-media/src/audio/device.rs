//! Microphones and speakers: listing them, finding one, and what their errors mean.
//!
//! State of a device as its user sees it:
//!
//! ```text
//! Starting -> Running <-> Silent        (Silent: microphone, 3 s of exact zeros)
//! Starting -> Failed(code) -> Starting  (after 1..5 s)
//! Running/Silent -> Lost -> Starting    (after 1..5 s)
//! ```
//!
//! Every pause ends early when the machine's devices change. A stream whose format changed while
//! it ran (another rate, another profile of a headset) is opened anew at once and stays `Running`.
//!
//! A missing device is never an error that ends anything: the call goes on without it.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use call_protocol::ErrorCode;
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};

/// Most devices listed; more are left out.
const LISTED_DEVICES: usize = 64;

/// One microphone or speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioDeviceInfo {
    /// Stable identifier, as accepted by `mic:ID` and `SpeakerConfig::Device`.
    pub id: String,
    /// Name to show.
    pub name: String,
    /// Whether it is the one opened when no id is given.
    pub is_default: bool,
}

/// What a microphone, speaker or synthetic source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioDeviceState {
    /// There is deliberately no source.
    Off,
    /// Being opened.
    Starting,
    /// Sound moves.
    Running,
    /// The microphone delivers nothing but exact zeros: muted in hardware or by the system.
    Silent,
    /// Could not be opened; tried again after a pause.
    Failed(ErrorCode),
    /// Stopped while running; opened again after a pause.
    Lost,
}

/// Which way the sound flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Input,
    Output,
}

/// The system's microphones, default first. Empty where there is no sound system.
///
/// Asks the sound system and may take some 100 ms; not for an async task's own thread.
pub fn list_microphones() -> Vec<AudioDeviceInfo> {
    list(Direction::Input)
}

/// The system's speakers, default first. Empty where there is no sound system.
///
/// Asks the sound system and may take some 100 ms; not for an async task's own thread.
pub fn list_speakers() -> Vec<AudioDeviceInfo> {
    list(Direction::Output)
}

fn default_device(host: &cpal::Host, direction: Direction) -> Option<cpal::Device> {
    match direction {
        Direction::Input => host.default_input_device(),
        Direction::Output => host.default_output_device(),
    }
}

fn list(direction: Direction) -> Vec<AudioDeviceInfo> {
    let host = cpal::default_host();
    let default_id = default_device(&host, direction)
        .and_then(|device| device.id().ok())
        .map(|id| id.to_string());
    let devices = match host.devices() {
        Ok(devices) => devices,
        Err(error) => {
            tracing::debug!(%error, "no list of sound devices");
            return Vec::new();
        }
    };
    let mut listed: Vec<AudioDeviceInfo> = Vec::new();
    for device in devices {
        let fits = match direction {
            Direction::Input => device.supports_input(),
            Direction::Output => device.supports_output(),
        };
        let Ok(id) = device.id() else { continue };
        if !fits || !is_for_people(id.id()) {
            continue;
        }
        let id = id.to_string();
        let name = device
            .description()
            .map_or_else(|_| id.clone(), |d| d.name().to_owned());
        let is_default = Some(&id) == default_id.as_ref();
        let is_listed = |name: &str| listed.iter().any(|other| other.name == name);
        // What the sound system lists by name comes first; by number it is the same once more.
        if is_default || !is_listed(&name) || !is_numbered(&id) {
            let name = (1..)
                .map(|n| match n {
                    1 => name.clone(),
                    n => format!("{name} ({n})"),
                })
                .find(|name| !is_listed(name))
                .unwrap_or_default();
            listed.push(AudioDeviceInfo {
                id,
                name,
                is_default,
            });
        }
        if listed.len() == LISTED_DEVICES {
            break;
        }
    }
    listed.sort_by_key(|device| !device.is_default);
    listed
}

/// Whether an ALSA id names its card by number.
fn is_numbered(id: &str) -> bool {
    id.split_once("CARD=")
        .is_some_and(|(_, card)| card.starts_with(|first: char| first.is_ascii_digit()))
}

/// ALSA lists every plugin chain of every card. Of these a person needs the sound servers, the
/// default, and one entry per card with conversions; everything else is a duplicate in disguise.
/// Identifiers of other systems name real devices and all pass.
fn is_for_people(pcm_id: &str) -> bool {
    if !cfg!(any(target_os = "linux", target_os = "freebsd")) {
        return true;
    }
    let plugin = pcm_id.split(':').next().unwrap_or_default();
    matches!(
        plugin,
        "default" | "pulse" | "pipewire" | "plughw" | "bluealsa"
    )
}

/// Finds a device by id, or the default one.
pub(crate) fn find(id: Option<&str>, direction: Direction) -> Result<cpal::Device, cpal::Error> {
    let host = cpal::default_host();
    let missing = || cpal::Error::new(cpal::ErrorKind::DeviceNotAvailable);
    match id {
        None => default_device(&host, direction).ok_or_else(missing),
        Some(id) => {
            let id = cpal::DeviceId::from_str(id)?;
            // The default is not in every system's list.
            default_device(&host, direction)
                .filter(|device| device.id().is_ok_and(|other| other == id))
                .or_else(|| host.device_by_id(&id))
                .ok_or_else(missing)
        }
    }
}

/// Why opening failed, as the code the UI explains.
pub(crate) fn open_error_code(kind: cpal::ErrorKind, direction: Direction) -> ErrorCode {
    match (direction, kind) {
        (Direction::Output, cpal::ErrorKind::DeviceBusy) => ErrorCode::SpeakerBusy,
        (Direction::Output, _) => ErrorCode::SpeakerLost,
        (Direction::Input, cpal::ErrorKind::DeviceBusy) => ErrorCode::MicrophoneBusy,
        (Direction::Input, cpal::ErrorKind::PermissionDenied) => ErrorCode::MicrophoneDenied,
        (Direction::Input, _) => ErrorCode::MicrophoneNotFound,
    }
}

/// The callback size asked for: `period_ms` where the device allows it, else its default.
fn buffer_size(
    supported: &cpal::SupportedBufferSize,
    rate_hz: u32,
    period_ms: u32,
) -> cpal::BufferSize {
    let frames = rate_hz / 1_000 * period_ms;
    match supported {
        cpal::SupportedBufferSize::Range { min, max } if (*min..=*max).contains(&frames) => {
            cpal::BufferSize::Fixed(frames)
        }
        _ => cpal::BufferSize::Default,
    }
}

/// Builds a stream with callbacks of `period_ms` and starts it; where the device refuses that size,
/// with its default one.
///
/// # Errors
/// The device takes neither, or does not start.
pub(crate) fn start_stream<Ring>(
    supported: &cpal::SupportedStreamConfig,
    period_ms: u32,
    mut build: impl FnMut(cpal::StreamConfig) -> Result<(cpal::Stream, Ring), cpal::Error>,
) -> Result<(cpal::Stream, Ring), cpal::Error> {
    let mut config = supported.config();
    config.buffer_size = buffer_size(supported.buffer_size(), config.sample_rate, period_ms);
    let (stream, ring) = match build(config) {
        Err(error) if config.buffer_size != cpal::BufferSize::Default => {
            tracing::debug!(%error, "the period is refused, trying the device's default");
            config.buffer_size = cpal::BufferSize::Default;
            build(config)?
        }
        other => other?,
    };
    stream.play()?;
    let (channels, format) = (config.channels, supported.sample_format());
    tracing::debug!(
        rate_hz = config.sample_rate,
        channels,
        ?format,
        "sound device opened"
    );
    Ok((stream, ring))
}

/// Callback size asked for first, in milliseconds, and the longest tried. Short is low latency;
/// a machine that cannot keep up glitches, and gets the next longer one.
pub(crate) const FIRST_PERIOD_MS: u32 = 10;
const LONGEST_PERIOD_MS: u32 = 40;

/// Decides when a device glitches too often for its period: [`GlitchWindow::LIMIT`] times within
/// [`GlitchWindow::LENGTH`].
#[derive(Clone, Debug)]
pub(crate) struct GlitchWindow {
    start: Instant,
    xruns_at_start: u64,
}

impl GlitchWindow {
    const LIMIT: u64 = 4;
    const LENGTH: Duration = Duration::from_secs(5);

    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            xruns_at_start: 0,
        }
    }

    /// The longer period to reopen the device with, if it should be.
    pub(crate) fn longer_period_ms(
        &mut self,
        now: Instant,
        xruns: u64,
        period_ms: u32,
    ) -> Option<u32> {
        if period_ms < LONGEST_PERIOD_MS && xruns - self.xruns_at_start >= Self::LIMIT {
            return Some((period_ms * 2).min(LONGEST_PERIOD_MS));
        }
        if now.duration_since(self.start) >= Self::LENGTH {
            (self.start, self.xruns_at_start) = (now, xruns);
        }
        None
    }
}

/// Counters a device's real-time callbacks write and its owner reads. Atomics only: the callbacks
/// must neither lock nor allocate.
#[derive(Debug, Default)]
pub(crate) struct StreamHealth {
    /// Callbacks so far; standing still means the device hangs.
    pub(crate) callbacks: AtomicU64,
    /// Samples that found no room in the ring (input) or were missing from it (output).
    pub(crate) missed_samples: AtomicU64,
    /// Glitches reported by the sound system.
    pub(crate) xruns: AtomicU64,
    /// Largest callback so far, in frames.
    pub(crate) largest_callback: AtomicU32,
    /// Set by the error callback when the stream is over, to one of [`StreamEnd`]'s values.
    end: AtomicU32,
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The device is gone or does not work.
    Lost = 1,
    /// The device is there with another rate, channel count or format, or another device took the
    /// default's place: opening again at once succeeds.
    Reconfigured = 2,
}

impl StreamHealth {
    /// The error callback; runs on the real-time thread.
    pub(crate) fn handle_error(&self, error: &cpal::Error) {
        use cpal::ErrorKind;
        match error.kind() {
            ErrorKind::Xrun => {
                self.xruns.fetch_add(1, Ordering::Relaxed);
            }
            // The stream goes on: rerouted, without a priority boost, or asked for its latency before
            // a sound server knows it. One that does not go on after all stalls, which its owner
            // notices.
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied | ErrorKind::BackendError => {}
            ErrorKind::StreamInvalidated => self.end_with(StreamEnd::Reconfigured),
            _ => self.end_with(StreamEnd::Lost),
        }
    }

    /// Called first in every data callback.
    pub(crate) fn handle_callback(&self, frames: usize) {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        self.largest_callback.fetch_max(frames, Ordering::Relaxed);
    }

    /// The worse reason stays.
    fn end_with(&self, end: StreamEnd) {
        let merge = |before| match before {
            0 => Some(end as u32),
            _ if end == StreamEnd::Lost => Some(end as u32),
            _ => None,
        };
        // A refused change leaves what is there.
        let _ = self
            .end
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, merge);
    }

    /// Why the stream is over, if it is.
    pub(crate) fn end(&self) -> Option<StreamEnd> {
        match self.end.load(Ordering::Acquire) {
            0 => None,
            2 => Some(StreamEnd::Reconfigured),
            _ => Some(StreamEnd::Lost),
        }
    }
}

/// Expands to a `match` over every PCM sample format with `$sample` bound to its Rust type.
macro_rules! with_sample_type {
    ($format:expr, $sample:ident => $body:expr, else $other:expr) => {
        match $format {
            cpal::SampleFormat::F32 => {
                type $sample = f32;
                $body
            }
            cpal::SampleFormat::F64 => {
                type $sample = f64;
                $body
            }
            cpal::SampleFormat::I8 => {
                type $sample = i8;
                $body
            }
            cpal::SampleFormat::I16 => {
                type $sample = i16;
                $body
            }
            cpal::SampleFormat::I24 => {
                type $sample = cpal::I24;
                $body
            }
            cpal::SampleFormat::I32 => {
                type $sample = i32;
                $body
            }
            cpal::SampleFormat::U8 => {
                type $sample = u8;
                $body
            }
            cpal::SampleFormat::U16 => {
                type $sample = u16;
                $body
            }
            cpal::SampleFormat::U32 => {
                type $sample = u32;
                $body
            }
            _ => $other,
        }
    };
}
pub(crate) use with_sample_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_map_to_what_the_person_can_do() {
        use cpal::ErrorKind::*;
        for (kind, code) in [
            (DeviceBusy, ErrorCode::MicrophoneBusy),
            (PermissionDenied, ErrorCode::MicrophoneDenied),
            (DeviceNotAvailable, ErrorCode::MicrophoneNotFound),
            (HostUnavailable, ErrorCode::MicrophoneNotFound),
            (BackendError, ErrorCode::MicrophoneNotFound),
        ] {
            assert_eq!(open_error_code(kind, Direction::Input), code);
            let speaker = match kind {
                DeviceBusy => ErrorCode::SpeakerBusy,
                _ => ErrorCode::SpeakerLost,
            };
            assert_eq!(open_error_code(kind, Direction::Output), speaker);
        }
    }

    #[test]
    fn only_real_trouble_breaks_a_stream() {
        use cpal::ErrorKind::*;
        for (kind, end) in [
            (Xrun, None),
            (DeviceChanged, None),
            (RealtimeDenied, None),
            (DeviceNotAvailable, Some(StreamEnd::Lost)),
            (StreamInvalidated, Some(StreamEnd::Reconfigured)),
            (BackendError, None),
        ] {
            let health = StreamHealth::default();
            health.handle_error(&cpal::Error::new(kind));
            assert_eq!(health.end(), end, "{kind:?}");
            health.handle_error(&cpal::Error::new(DeviceNotAvailable));
            health.handle_error(&cpal::Error::new(StreamInvalidated));
            assert_eq!(health.end(), Some(StreamEnd::Lost), "gone after {kind:?}");
        }
    }

    #[test]
    fn a_period_outside_the_range_leaves_the_choice_to_the_device() {
        let range = |min, max| cpal::SupportedBufferSize::Range { min, max };
        for (supported, expected) in [
            (range(64, 4_096), cpal::BufferSize::Fixed(480)),
            (range(512, 4_096), cpal::BufferSize::Default),
            (
                cpal::SupportedBufferSize::Unknown,
                cpal::BufferSize::Default,
            ),
        ] {
            assert_eq!(buffer_size(&supported, 48_000, 10), expected);
        }
    }

    #[test]
    fn glitches_in_a_row_lengthen_the_period_and_rare_ones_do_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = GlitchWindow::new(start);
        for n in 0..20 {
            assert_eq!(
                window.longer_period_ms(at(n * 2), n, 10),
                None,
                "one in two seconds"
            );
        }
        for (period_ms, longer) in [(10, Some(20)), (20, Some(40)), (40, None)] {
            let mut window = GlitchWindow::new(start);
            assert_eq!(window.longer_period_ms(at(1), 3, period_ms), None);
            assert_eq!(window.longer_period_ms(at(2), 4, period_ms), longer);
        }
    }

    #[test]
    fn two_equal_cards_are_two_and_a_card_by_number_is_none_more() {
        for (id, numbered) in [
            ("alsa:plughw:CARD=0,DEV=0", true),
            ("alsa:plughw:CARD=Headset_1,DEV=0", false),
            ("alsa:default", false),
            ("wasapi:{0.0.1}", false),
        ] {
            assert_eq!(is_numbered(id), numbered, "{id}");
        }
        for listed in [list_microphones(), list_speakers()] {
            for (at, device) in listed.iter().enumerate() {
                assert!(listed[..at].iter().all(|other| other.name != device.name));
            }
        }
    }

    #[test]
    fn unknown_ids_are_errors_not_panics() {
        for id in ["", "nonsense", "nohost:x", "alsa:no-such-card"] {
            assert!(find(Some(id), Direction::Input).is_err(), "{id}");
        }
    }
}
