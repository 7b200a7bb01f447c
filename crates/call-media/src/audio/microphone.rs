//! A microphone through cpal, kept alive by the thread that polls it.
//!
//! ```text
//! Closed { open_at } -> Open -> (first block: Running) -> Closed after loss or failure
//! ```
//!
//! The device's callback runs on a real-time thread: it mixes each frame down to mono, pushes it
//! into a lock-free ring and bumps atomics; it never locks, logs, allocates or waits. A full ring
//! (nobody polled for half a second) drops the newest samples and counts them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use call_protocol::ErrorCode;
use cpal::traits::DeviceTrait;
use cpal::{FromSample, Sample, SizedSample};

use super::device::{
    AudioDeviceState, Direction, FIRST_PERIOD_MS, GlitchWindow, StreamEnd, StreamHealth, find,
    open_error_code, start_stream, with_sample_type,
};
use super::format::{BLOCK_SAMPLES, Block, SAMPLE_RATE_HZ};
use super::latency::DeviceLatency;
use super::pace::Backoff;
use super::resample::StreamResampler;
use super::source::{AudioSource, SourcePoll};

/// How often the ring is looked at. A third of what a callback brings, so a block waits little.
const POLL: Duration = Duration::from_millis(3);
/// A device that has sent nothing for this long is closed and opened again.
const STALLED: Duration = Duration::from_secs(3);
/// Exact zeros for this many seconds mean that something mutes the device: no converter with a
/// live input produces them.
const SILENT_SECONDS: u32 = 3;

/// A microphone as [`AudioSource`].
pub(crate) struct Microphone {
    id: Option<String>,
    backoff: Backoff,
    period_ms: u32,
    state: State,
}

enum State {
    Closed { announced: bool, open_at: Instant },
    Open(Box<Open>),
}

struct Open {
    /// Dropping it closes the device.
    _stream: cpal::Stream,
    ring: rtrb::Consumer<f32>,
    health: Arc<StreamHealth>,
    latency: Arc<DeviceLatency>,
    resampler: StreamResampler,
    /// 48 kHz samples not yet handed out.
    ready: Vec<f32>,
    scratch: Vec<f32>,
    last_data: Instant,
    silence: SilenceDetector,
    glitches: GlitchWindow,
    /// The state last reported.
    reported: AudioDeviceState,
}

impl Microphone {
    pub(crate) fn new(id: Option<String>, now: Instant) -> Self {
        Self {
            id,
            backoff: Backoff::default(),
            period_ms: FIRST_PERIOD_MS,
            state: State::Closed {
                announced: false,
                open_at: now,
            },
        }
    }

    fn close(&mut self, now: Instant, state: AudioDeviceState) -> SourcePoll {
        let open_at = now + self.backoff.next_pause();
        self.state = State::Closed {
            announced: false,
            open_at,
        };
        SourcePoll::State(state)
    }
}

impl AudioSource for Microphone {
    fn poll(&mut self, now: Instant, block: &mut Block) -> SourcePoll {
        match &mut self.state {
            State::Closed { open_at, .. } if now < *open_at => SourcePoll::Wait(*open_at),
            State::Closed {
                announced: announced @ false,
                ..
            } => {
                *announced = true;
                SourcePoll::State(AudioDeviceState::Starting)
            }
            State::Closed { .. } => match Open::new(self.id.as_deref(), self.period_ms, now) {
                Ok(open) => {
                    self.state = State::Open(Box::new(open));
                    SourcePoll::Wait(now + POLL)
                }
                Err(code) => self.close(now, AudioDeviceState::Failed(code)),
            },
            State::Open(open) => {
                open.drain(now);
                match open.end(now) {
                    None => {}
                    Some(StreamEnd::Reconfigured) if open.has_delivered() => {
                        tracing::debug!("microphone reconfigured, opening it again");
                        self.state = State::Closed {
                            announced: true,
                            open_at: now,
                        };
                        return SourcePoll::Wait(now);
                    }
                    Some(_) => return self.close(now, AudioDeviceState::Lost),
                }
                let xruns = open.health.xruns.load(Ordering::Relaxed);
                if let Some(period_ms) = open.glitches.longer_period_ms(now, xruns, self.period_ms)
                {
                    tracing::debug!(period_ms, "microphone glitches, longer period");
                    self.period_ms = period_ms;
                    self.state = State::Closed {
                        announced: true,
                        open_at: now,
                    };
                    return SourcePoll::Wait(now);
                }
                let Some(state) = open.state_change() else {
                    return open.take_block(now, block);
                };
                self.backoff.reset();
                SourcePoll::State(state)
            }
        }
    }

    fn retry_now(&mut self, now: Instant) {
        if let State::Closed { open_at, .. } = &mut self.state {
            *open_at = (*open_at).min(now);
            self.backoff.reset();
        }
    }
}

impl Open {
    fn new(id: Option<&str>, period_ms: u32, now: Instant) -> Result<Self, ErrorCode> {
        let code = |error: cpal::Error| {
            tracing::debug!(%error, "microphone does not open");
            open_error_code(error.kind(), Direction::Input)
        };
        let device = find(id, Direction::Input).map_err(code)?;
        let supported = device.default_input_config().map_err(code)?;
        let rate_hz = supported.sample_rate();
        let resampler = StreamResampler::new(rate_hz, SAMPLE_RATE_HZ)
            .map_err(|_| ErrorCode::MicrophoneNotFound)?;
        let health = Arc::new(StreamHealth::default());
        let format = supported.sample_format();
        let latency = Arc::new(DeviceLatency::default());
        let build = |config| build(&device, config, format, &health, &latency);
        let (stream, ring) = start_stream(&supported, period_ms, build).map_err(code)?;
        Ok(Self {
            _stream: stream,
            ring,
            health,
            latency,
            resampler,
            ready: Vec::with_capacity(4 * BLOCK_SAMPLES),
            scratch: Vec::new(),
            last_data: now,
            silence: SilenceDetector::new(rate_hz),
            glitches: GlitchWindow::new(now),
            reported: AudioDeviceState::Starting,
        })
    }

    /// Why it is over, if it is.
    fn end(&self, now: Instant) -> Option<StreamEnd> {
        let is_stalled = now.duration_since(self.last_data) > STALLED;
        self.health.end().or(is_stalled.then_some(StreamEnd::Lost))
    }

    /// Whether it worked before it ended; what fails right after opening is not tried at once.
    fn has_delivered(&self) -> bool {
        self.reported != AudioDeviceState::Starting
    }

    fn drain(&mut self, now: Instant) {
        let available = self.ring.slots();
        if available == 0 {
            return;
        }
        self.last_data = now;
        self.scratch.resize(available, 0.0);
        if self.ring.pop_entire_slice(&mut self.scratch).is_ok() {
            self.silence.handle_samples(&self.scratch);
            self.resampler.push(&self.scratch, &mut self.ready);
        }
        let missed = self.health.missed_samples.swap(0, Ordering::Relaxed);
        if missed > 0 {
            tracing::debug!(missed, "microphone samples dropped, polled too late");
        }
    }

    /// The state to report, if it changed. Nothing is `Running` before its first block.
    fn state_change(&mut self) -> Option<AudioDeviceState> {
        if self.ready.len() < BLOCK_SAMPLES {
            return None;
        }
        let state = if self.silence.is_silent() {
            AudioDeviceState::Silent
        } else {
            AudioDeviceState::Running
        };
        (std::mem::replace(&mut self.reported, state) != state).then_some(state)
    }

    fn take_block(&mut self, now: Instant, block: &mut Block) -> SourcePoll {
        let Some(samples) = self.ready.get(..BLOCK_SAMPLES) else {
            return SourcePoll::Wait(now + POLL);
        };
        block.copy_from_slice(samples);
        // What lies in `ready` was handed over up to now: its first sample that much earlier, and
        // heard by as much as the device takes before that.
        let age_us = self.ready.len() as u64 * 1_000_000 / u64::from(SAMPLE_RATE_HZ);
        let captured_at = now
            .checked_sub(Duration::from_micros(age_us) + self.latency.get())
            .unwrap_or(now);
        self.ready.drain(..BLOCK_SAMPLES);
        SourcePoll::Block { captured_at }
    }
}

type Built = Result<(cpal::Stream, rtrb::Consumer<f32>), cpal::Error>;

fn build(
    device: &cpal::Device,
    config: cpal::StreamConfig,
    format: cpal::SampleFormat,
    health: &Arc<StreamHealth>,
    latency: &Arc<DeviceLatency>,
) -> Built {
    with_sample_type!(format, S => build_typed::<S>(device, config, health, latency),
        else Err(cpal::Error::new(cpal::ErrorKind::UnsupportedConfig)))
}

fn build_typed<S>(
    device: &cpal::Device,
    config: cpal::StreamConfig,
    health: &Arc<StreamHealth>,
    latency: &Arc<DeviceLatency>,
) -> Built
where
    S: SizedSample,
    f32: FromSample<S>,
{
    // Half a second: survives any scheduling hiccup of the polling thread.
    let (mut producer, consumer) = rtrb::RingBuffer::new(config.sample_rate as usize / 2);
    let channels = usize::from(config.channels.max(1));
    let (data_health, error_health) = (Arc::clone(health), Arc::clone(health));
    let latency = Arc::clone(latency);
    let rate_hz = config.sample_rate.max(1);
    let stream = device.build_input_stream::<S, _, _>(
        config,
        move |data, info| {
            let frames = (data.len() / channels) as u64;
            let frames = Duration::from_micros(frames * 1_000_000 / u64::from(rate_hz));
            let at = info.timestamp();
            latency.handle_input(at.callback.checked_duration_since(at.capture), frames);
            handle_input(data, channels, &mut producer, &data_health);
        },
        move |error| error_health.handle_error(&error),
        None,
    )?;
    Ok((stream, consumer))
}

/// The real-time callback: no lock, no log, no allocation.
fn handle_input<S>(
    data: &[S],
    channels: usize,
    producer: &mut rtrb::Producer<f32>,
    health: &StreamHealth,
) where
    S: Sample,
    f32: FromSample<S>,
{
    let frames = data.len() / channels;
    health.handle_callback(frames);
    let count = frames.min(producer.slots());
    if let Ok(chunk) = producer.write_chunk_uninit(count) {
        chunk.fill_from_iter(data.chunks_exact(channels).map(downmix));
    }
    if count < frames {
        health
            .missed_samples
            .fetch_add((frames - count) as u64, Ordering::Relaxed);
    }
}

/// Mean of the first two channels: interfaces with many inputs carry the voice there, and
/// averaging the unused ones would make it quiet.
fn downmix<S>(frame: &[S]) -> f32
where
    S: Sample,
    f32: FromSample<S>,
{
    match frame {
        [] => 0.0,
        [mono] => mono.to_sample(),
        [left, right, ..] => (left.to_sample::<f32>() + right.to_sample::<f32>()) / 2.0,
    }
}

/// Recognises a device that delivers nothing but exact zeros.
#[derive(Debug)]
struct SilenceDetector {
    zeros: u32,
    limit: u32,
}

impl SilenceDetector {
    fn new(rate_hz: u32) -> Self {
        Self {
            zeros: 0,
            limit: rate_hz.saturating_mul(SILENT_SECONDS),
        }
    }

    fn handle_samples(&mut self, samples: &[f32]) {
        if samples.iter().all(|sample| *sample == 0.0) {
            let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
            self.zeros = self.zeros.saturating_add(count);
        } else {
            self.zeros = 0;
        }
    }

    fn is_silent(&self) -> bool {
        self.zeros >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_and_channel_count_becomes_the_same_mono() {
        fn mono<S: Sample>(data: &[S], channels: usize) -> Vec<f32>
        where
            f32: FromSample<S>,
        {
            let (mut producer, mut consumer) = rtrb::RingBuffer::new(64);
            handle_input(data, channels, &mut producer, &StreamHealth::default());
            std::iter::from_fn(|| consumer.pop().ok()).collect()
        }
        let expected = [0.5, -0.5];
        assert_eq!(mono(&[0.5f32, -0.5], 1), expected);
        assert_eq!(mono(&[16_384i16, -16_384], 1), expected);
        assert_eq!(mono(&[49_152u16, 16_384], 1), expected);
        assert_eq!(mono(&[1i32 << 30, -(1 << 30)], 1), expected);
        assert_eq!(mono(&[0.25f32, 0.75, -0.75, -0.25], 2), expected);
        assert_eq!(mono(&[0.5f32, 0.5, 9.0, -0.5, -0.5, 9.0], 3), expected);
    }

    #[test]
    fn a_full_ring_drops_the_newest_and_counts_them() {
        let (mut producer, mut consumer) = rtrb::RingBuffer::new(3);
        let health = StreamHealth::default();
        handle_input(&[0.1f32, 0.2, 0.3, 0.4, 0.5], 1, &mut producer, &health);
        let kept: Vec<f32> = std::iter::from_fn(|| consumer.pop().ok()).collect();
        assert_eq!(kept, [0.1, 0.2, 0.3]);
        assert_eq!(health.missed_samples.load(Ordering::Relaxed), 2);
        assert_eq!(health.callbacks.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn three_seconds_of_zeros_are_silence_and_one_sample_ends_it() {
        let mut silence = SilenceDetector::new(48_000);
        for _ in 0..299 {
            silence.handle_samples(&[0.0; 480]);
        }
        assert!(!silence.is_silent());
        silence.handle_samples(&[0.0; 480]);
        assert!(silence.is_silent());
        silence.handle_samples(&[0.0, 1e-6]);
        assert!(!silence.is_silent());
    }

    #[test]
    fn a_microphone_that_does_not_exist_fails_and_tries_again() {
        let start = Instant::now();
        let mut microphone = Microphone::new(Some("alsa:no-such-card".into()), start);
        let mut block = [0.0; BLOCK_SAMPLES];
        let failed = SourcePoll::State(AudioDeviceState::Failed(ErrorCode::MicrophoneNotFound));
        let mut now = start;
        for pause in [1, 2, 4, 5, 5] {
            let starting = SourcePoll::State(AudioDeviceState::Starting);
            assert_eq!(microphone.poll(now, &mut block), starting);
            assert_eq!(microphone.poll(now, &mut block), failed);
            let retry = now + Duration::from_secs(pause);
            assert_eq!(microphone.poll(now, &mut block), SourcePoll::Wait(retry));
            now = retry;
        }
        // Known to be worth a try: at once, and the pauses begin anew.
        for _ in 0..2 {
            microphone.poll(now, &mut block);
            assert_eq!(microphone.poll(now, &mut block), failed);
            microphone.retry_now(now);
            let starting = SourcePoll::State(AudioDeviceState::Starting);
            assert_eq!(microphone.poll(now, &mut block), starting);
            assert_eq!(microphone.poll(now, &mut block), failed);
            let retry = now + Duration::from_secs(1);
            assert_eq!(microphone.poll(now, &mut block), SourcePoll::Wait(retry));
            now = retry;
        }
    }
}
