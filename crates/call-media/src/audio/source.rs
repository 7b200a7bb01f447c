//! Where outgoing sound comes from: nothing, a tone, ticks, a WAV file, or a microphone.
//!
//! A source is polled by the thread that owns it (a device stream may not move between threads)
//! and answers with the next 10 ms block, a change of its state, or when to ask again. Synthetic
//! sources are paced by absolute deadlines, so they neither drift nor depend on a sound card.

use std::f64::consts::TAU;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use call_protocol::ErrorCode;

use super::device::AudioDeviceState;
use super::format::{BLOCK_SAMPLES, Block, SAMPLE_RATE_HZ};
use super::microphone::Microphone;
use super::pace::BlockTicker;
use super::resample::StreamResampler;
use super::wav::{WavError, read_wav};
use crate::video::mark::now_us;

/// Frequencies accepted for `tone:HZ`, in Hz: what Opus carries and small speakers play.
pub const TONE_HZ: std::ops::RangeInclusive<u32> = 50..=8_000;
/// Amplitude of the tone: -6 dBFS, so that two of them can be mixed without limiting.
const TONE_AMPLITUDE: f64 = 0.5;
/// Frequency of the ticks, in Hz.
pub const TICK_HZ: u32 = 1_000;
/// Length of a tick in milliseconds: two blocks, long enough to survive Opus, short enough to time.
pub const TICK_MS: u32 = 20;
/// Longest text of a source description, in bytes.
const TEXT_BYTES: usize = 4_096;

/// Which source to open; parsed from `none`, `tone:HZ`, `ticks`, `FILE.wav`, `mic` or `mic:ID`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AudioSourceConfig {
    /// No sound at all.
    #[default]
    None,
    /// A sine wave.
    Tone {
        /// Its frequency in Hz, within [`TONE_HZ`].
        hz: u32,
    },
    /// A beep of [`TICK_HZ`] and [`TICK_MS`] at every full second of the system's clock: what a
    /// receiver measures the sound's delay with, as it does the picture's with the mark.
    Ticks,
    /// A WAV file, played over and over.
    Wav(PathBuf),
    /// A microphone.
    Microphone {
        /// An id from `list_microphones`; `None` is the system's default.
        id: Option<String>,
    },
}

/// The text names no audio source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAudioSource {
    /// None of the known forms.
    #[error("expected none, tone:HZ, ticks, FILE.wav or mic[:ID]")]
    Unknown,
    /// Not a whole number, or outside [`TONE_HZ`].
    #[error("a tone is a whole number of hertz between 50 and 8000")]
    BadTone,
}

impl FromStr for AudioSourceConfig {
    type Err = BadAudioSource;

    fn from_str(text: &str) -> Result<Self, BadAudioSource> {
        if text.len() > TEXT_BYTES {
            return Err(BadAudioSource::Unknown);
        }
        match text.split_once(':') {
            _ if text == "none" => Ok(Self::None),
            _ if text == "ticks" => Ok(Self::Ticks),
            _ if text == "mic" => Ok(Self::Microphone { id: None }),
            Some(("mic", id)) if !id.is_empty() => Ok(Self::Microphone {
                id: Some(id.to_owned()),
            }),
            Some(("tone", hz)) => match hz.parse() {
                Ok(hz) if TONE_HZ.contains(&hz) => Ok(Self::Tone { hz }),
                _ => Err(BadAudioSource::BadTone),
            },
            _ if text.len() > 4 && text.to_ascii_lowercase().ends_with(".wav") => {
                Ok(Self::Wav(PathBuf::from(text)))
            }
            _ => Err(BadAudioSource::Unknown),
        }
    }
}

/// What a source answers when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourcePoll {
    /// The block was filled.
    Block {
        /// When its first sample was recorded (or would have been, for synthetic sound).
        captured_at: Instant,
    },
    /// The source's state changed.
    State(AudioDeviceState),
    /// Nothing before this time.
    Wait(Instant),
}

/// A source of 10 ms blocks, owned and polled by one thread.
pub trait AudioSource {
    /// Fills `block`, reports a state, or says when to ask again. Called until it waits.
    fn poll(&mut self, now: Instant, block: &mut Block) -> SourcePoll;

    /// The machine's devices changed: one that is waited for is tried at once.
    fn retry_now(&mut self, now: Instant) {
        let _ = now;
    }
}

/// Opens the source `config` describes. Never fails: what cannot be opened says so by its state.
pub fn open_source(config: &AudioSourceConfig, now: Instant) -> Box<dyn AudioSource> {
    match config {
        AudioSourceConfig::None => Box::new(NoSource { announced: false }),
        AudioSourceConfig::Tone { hz } => Box::new(LoopSource::new(Tone::new(*hz), now)),
        AudioSourceConfig::Ticks => Box::new(LoopSource::new(Ticks::new(now_us()), now)),
        AudioSourceConfig::Wav(path) => match WavLoop::open(path) {
            Ok(sound) => Box::new(LoopSource::new(sound, now)),
            Err(error) => {
                tracing::info!(%error, "the WAV file cannot be played");
                Box::new(BrokenFile { announced: false })
            }
        },
        AudioSourceConfig::Microphone { id } => Box::new(Microphone::new(id.clone(), now)),
    }
}

/// How long a source with nothing to say is left alone.
const IDLE: Duration = Duration::from_secs(1);

struct NoSource {
    announced: bool,
}

impl AudioSource for NoSource {
    fn poll(&mut self, now: Instant, _: &mut Block) -> SourcePoll {
        if std::mem::replace(&mut self.announced, true) {
            SourcePoll::Wait(now + IDLE)
        } else {
            SourcePoll::State(AudioDeviceState::Off)
        }
    }
}

struct BrokenFile {
    announced: bool,
}

impl AudioSource for BrokenFile {
    fn poll(&mut self, now: Instant, _: &mut Block) -> SourcePoll {
        if std::mem::replace(&mut self.announced, true) {
            SourcePoll::Wait(now + IDLE)
        } else {
            SourcePoll::State(AudioDeviceState::Failed(ErrorCode::FileFailed))
        }
    }
}

/// Endless sound, computed block by block.
trait Endless {
    fn fill(&mut self, block: &mut Block);
}

/// Paces an [`Endless`] sound by absolute deadlines.
struct LoopSource<S> {
    sound: S,
    ticker: BlockTicker,
    announced: bool,
}

impl<S> LoopSource<S> {
    fn new(sound: S, now: Instant) -> Self {
        Self {
            sound,
            ticker: BlockTicker::new(now),
            announced: false,
        }
    }
}

impl<S: Endless> AudioSource for LoopSource<S> {
    fn poll(&mut self, now: Instant, block: &mut Block) -> SourcePoll {
        if !std::mem::replace(&mut self.announced, true) {
            return SourcePoll::State(AudioDeviceState::Running);
        }
        match self.ticker.poll(now) {
            Some(captured_at) => {
                self.sound.fill(block);
                SourcePoll::Block { captured_at }
            }
            None => SourcePoll::Wait(self.ticker.next_due()),
        }
    }
}

struct Tone {
    step: f64,
    phase: f64,
}

impl Tone {
    fn new(hz: u32) -> Self {
        Self {
            step: TAU * f64::from(hz) / f64::from(SAMPLE_RATE_HZ),
            phase: 0.0,
        }
    }
}

impl Endless for Tone {
    fn fill(&mut self, block: &mut Block) {
        for sample in block.iter_mut() {
            *sample = (self.phase.sin() * TONE_AMPLITUDE) as f32;
            self.phase = (self.phase + self.step) % TAU;
        }
    }
}

/// See [`AudioSourceConfig::Ticks`].
struct Ticks {
    /// Samples since the last full second.
    position: u32,
}

impl Ticks {
    /// `clock_us`: the system's clock at the first sample, in µs since the Unix epoch.
    fn new(clock_us: u64) -> Self {
        let since_second_us = clock_us % 1_000_000;
        let position = since_second_us * u64::from(SAMPLE_RATE_HZ) / 1_000_000;
        Self {
            position: position as u32,
        }
    }
}

impl Endless for Ticks {
    fn fill(&mut self, block: &mut Block) {
        for sample in block.iter_mut() {
            *sample = if self.position < TICK_MS * SAMPLE_RATE_HZ / 1_000 {
                let turns = f64::from(self.position * TICK_HZ) / f64::from(SAMPLE_RATE_HZ);
                ((turns * TAU).sin() * TONE_AMPLITUDE) as f32
            } else {
                0.0
            };
            self.position = (self.position + 1) % SAMPLE_RATE_HZ;
        }
    }
}

/// A WAV file at 48 kHz, repeated without a gap.
struct WavLoop {
    samples: Vec<f32>,
    position: usize,
}

impl WavLoop {
    fn open(path: &std::path::Path) -> Result<Self, WavError> {
        let audio = read_wav(path)?;
        let mut samples = Vec::new();
        let mut resampler = StreamResampler::new(audio.rate_hz, SAMPLE_RATE_HZ)
            .map_err(|_| WavError::Unsupported("sample rate"))?;
        resampler.push(&audio.samples, &mut samples);
        if audio.rate_hz != SAMPLE_RATE_HZ {
            // Flushes the last partial step, then cuts to the exact length: the loop stays in time.
            let length = audio.samples.len() as u64 * u64::from(SAMPLE_RATE_HZ);
            let length = (length / u64::from(audio.rate_hz)) as usize;
            resampler.push(&vec![0.0; audio.rate_hz as usize / 50], &mut samples);
            samples.truncate(length);
        }
        if samples.is_empty() {
            return Err(WavError::Malformed("too short"));
        }
        Ok(Self {
            samples,
            position: 0,
        })
    }
}

impl Endless for WavLoop {
    fn fill(&mut self, block: &mut Block) {
        let mut filled = 0;
        while filled < BLOCK_SAMPLES {
            let rest = &self.samples[self.position..];
            let count = rest.len().min(BLOCK_SAMPLES - filled);
            block[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            self.position = (self.position + count) % self.samples.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{WavWriter, tone_strength};

    #[test]
    fn the_command_line_contract() {
        use AudioSourceConfig as C;
        let mic = |id: &str| C::Microphone {
            id: Some(id.to_owned()),
        };
        for (text, expected) in [
            ("none", Ok(C::None)),
            ("tone:440", Ok(C::Tone { hz: 440 })),
            ("tone:50", Ok(C::Tone { hz: 50 })),
            ("ticks", Ok(C::Ticks)),
            ("tone:8000", Ok(C::Tone { hz: 8_000 })),
            ("tone:49", Err(BadAudioSource::BadTone)),
            ("tone:8001", Err(BadAudioSource::BadTone)),
            ("tone:", Err(BadAudioSource::BadTone)),
            ("tone:4.5", Err(BadAudioSource::BadTone)),
            ("mic", Ok(C::Microphone { id: None })),
            (
                "mic:alsa:plughw:CARD=0,DEV=0",
                Ok(mic("alsa:plughw:CARD=0,DEV=0")),
            ),
            ("mic:", Err(BadAudioSource::Unknown)),
            ("voice.wav", Ok(C::Wav("voice.wav".into()))),
            (
                "C:\\sound\\Voice.WAV",
                Ok(C::Wav("C:\\sound\\Voice.WAV".into())),
            ),
            (".wav", Err(BadAudioSource::Unknown)),
            ("voice.mp3", Err(BadAudioSource::Unknown)),
            ("", Err(BadAudioSource::Unknown)),
        ] {
            assert_eq!(text.parse::<C>(), expected, "{text}");
        }
    }

    /// Polls for `ms` of virtual time and returns states and sound.
    fn collect(
        source: &mut dyn AudioSource,
        start: Instant,
        ms: u64,
    ) -> (Vec<AudioDeviceState>, Vec<f32>) {
        let (mut states, mut sound, mut block) = (Vec::new(), Vec::new(), [0.0; BLOCK_SAMPLES]);
        let mut now = start;
        while now < start + Duration::from_millis(ms) {
            match source.poll(now, &mut block) {
                SourcePoll::Block { captured_at } => {
                    assert!(captured_at <= now);
                    sound.extend_from_slice(&block);
                }
                SourcePoll::State(state) => states.push(state),
                SourcePoll::Wait(until) => {
                    assert!(until > now);
                    now = until;
                }
            }
        }
        (states, sound)
    }

    #[test]
    fn a_tone_is_exactly_as_long_as_the_time_that_passed() {
        let start = Instant::now();
        let mut source = open_source(&AudioSourceConfig::Tone { hz: 440 }, start);
        let (states, sound) = collect(&mut *source, start, 2_000);
        assert_eq!(states, [AudioDeviceState::Running]);
        assert_eq!(sound.len(), 96_000);
        assert!(tone_strength(&sound, 440.0) > 0.999);
    }

    #[test]
    fn a_wav_file_loops_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let mut writer = WavWriter::create(&path).unwrap();
        // 0.25 s of 440 Hz are whole periods: looped, it is the endless tone.
        let sound: Vec<f32> = (0..12_000)
            .map(|n| (f64::from(n) * 440.0 * TAU / 48_000.0).sin() as f32 * 0.5)
            .collect();
        writer.write(&sound).unwrap();
        writer.finish().unwrap();
        let start = Instant::now();
        let mut source = open_source(&AudioSourceConfig::Wav(path), start);
        let (_, looped) = collect(&mut *source, start, 1_000);
        assert_eq!(looped.len(), 48_000);
        assert!(tone_strength(&looped, 440.0) > 0.999);
    }

    #[test]
    fn a_missing_file_is_a_state() {
        let start = Instant::now();
        let mut source = open_source(&AudioSourceConfig::Wav("/nonexistent/a.wav".into()), start);
        let (states, sound) = collect(&mut *source, start, 3_000);
        assert_eq!(states, [AudioDeviceState::Failed(ErrorCode::FileFailed)]);
        assert!(sound.is_empty());
    }

    #[test]
    fn no_source_is_off() {
        let start = Instant::now();
        let mut source = open_source(&AudioSourceConfig::None, start);
        let (states, sound) = collect(&mut *source, start, 3_000);
        assert_eq!((states, sound.len()), (vec![AudioDeviceState::Off], 0));
    }

    #[test]
    fn ticks_fall_on_full_seconds() {
        let mut ticks = Ticks::new(5_990_000);
        let (mut sound, mut block) = (Vec::new(), [0.0; BLOCK_SAMPLES]);
        for _ in 0..200 {
            ticks.fill(&mut block);
            sound.extend_from_slice(&block);
        }
        let loud = |from: usize, to: usize| sound[from..to].iter().any(|sample| *sample != 0.0);
        let tick = TICK_MS as usize * 48;
        // The first full second comes after 10 ms, the next one second later.
        assert!(!loud(0, 480) && loud(480, 490) && !loud(480 + tick, 48_480));
        assert!(tone_strength(&sound[48_480..48_480 + tick], 1_000.0) > 0.99);
        assert!(!loud(48_480 + tick, 96_000));
    }
}
