//! A speaker through cpal: an open device, and the lock-free ring in front of it.
//!
//! The device's real-time callback only pops from the ring, fills what is missing with silence
//! and counts it. The ring is kept at [`TARGET_BLOCKS`] blocks, or at what one callback takes plus
//! a block if that is more. Opening again after trouble is the owner's business.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use call_protocol::ErrorCode;
use cpal::traits::DeviceTrait;
use cpal::{FromSample, Sample, SizedSample};

use super::device::{
    Direction, GlitchWindow, StreamEnd, StreamHealth, find, open_error_code, start_stream,
    with_sample_type,
};
use super::format::{Block, SAMPLE_RATE_HZ};
use super::latency::DeviceLatency;
use super::resample::StreamResampler;

/// Blocks kept ready for the device: 20 ms. Raising it survives longer scheduling delays and
/// adds as much latency.
const TARGET_BLOCKS: usize = 2;
/// How often the ring is topped up.
pub(crate) const POLL: Duration = Duration::from_millis(3);
/// A device that asked for nothing for this long is closed and opened again.
const STALLED: Duration = Duration::from_secs(3);
/// Callbacks that prove that the device plays: the first few only fill its own buffer.
const PLAYING_CALLBACKS: u64 = 4;
/// Most samples a target may be, in milliseconds, however large the callbacks are.
const LONGEST_TARGET_MS: usize = 400;

/// What is to happen to an open device.
pub(crate) enum Fate {
    Fine,
    /// It turned out to play.
    Started,
    /// It works, with too many glitches for its period or another configuration.
    Reopen {
        period_ms: u32,
    },
    Lost,
}

/// An open output device and the ring that feeds it.
pub(crate) struct Playback {
    /// Dropping it closes the device.
    _stream: cpal::Stream,
    ring: rtrb::Producer<f32>,
    pub(crate) health: Arc<StreamHealth>,
    latency: Arc<DeviceLatency>,
    resampler: StreamResampler,
    rate_hz: u32,
    scratch: Vec<f32>,
    callbacks_seen: u64,
    last_callback: Instant,
    started: bool,
    glitches: GlitchWindow,
    glitches_counted: u64,
}

impl Playback {
    pub(crate) fn new(id: Option<&str>, period_ms: u32, now: Instant) -> Result<Self, ErrorCode> {
        let code = |error: cpal::Error| {
            tracing::debug!(%error, "speaker does not open");
            open_error_code(error.kind(), Direction::Output)
        };
        let device = find(id, Direction::Output).map_err(code)?;
        let supported = device.default_output_config().map_err(code)?;
        let rate_hz = supported.sample_rate();
        let resampler =
            StreamResampler::new(SAMPLE_RATE_HZ, rate_hz).map_err(|_| ErrorCode::SpeakerLost)?;
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
            rate_hz,
            scratch: Vec::new(),
            callbacks_seen: 0,
            last_callback: now,
            started: false,
            glitches: GlitchWindow::new(now),
            glitches_counted: 0,
        })
    }

    pub(crate) fn fate(&mut self, now: Instant, period_ms: u32) -> Fate {
        let callbacks = self.health.callbacks.load(Ordering::Relaxed);
        if callbacks != self.callbacks_seen {
            (self.callbacks_seen, self.last_callback) = (callbacks, now);
        }
        match self.health.end() {
            // What ends right after opening is not opened again at once.
            Some(StreamEnd::Reconfigured) if self.started => return Fate::Reopen { period_ms },
            Some(_) => return Fate::Lost,
            None if now.duration_since(self.last_callback) > STALLED => return Fate::Lost,
            None => {}
        }
        if !self.started && callbacks >= PLAYING_CALLBACKS {
            self.started = true;
            return Fate::Started;
        }
        let xruns = self.health.xruns.load(Ordering::Relaxed);
        match self.glitches.longer_period_ms(now, xruns, period_ms) {
            Some(period_ms) => Fate::Reopen { period_ms },
            None => Fate::Fine,
        }
    }

    /// Glitches since this was last asked.
    pub(crate) fn new_glitches(&mut self) -> u64 {
        let xruns = self.health.xruns.load(Ordering::Relaxed);
        xruns - std::mem::replace(&mut self.glitches_counted, xruns)
    }

    pub(crate) fn push(&mut self, block: &Block) {
        self.scratch.clear();
        self.resampler.push(block, &mut self.scratch);
        // The ring is larger than any target; what does not fit is dropped.
        let (_, dropped) = self.ring.push_partial_slice(&self.scratch);
        if !dropped.is_empty() {
            tracing::debug!(samples = dropped.len(), "playout ring full");
        }
    }

    /// Samples waiting in the ring.
    pub(crate) fn buffered(&self) -> usize {
        self.ring.buffer().capacity() - self.ring.slots()
    }

    pub(crate) fn buffered_ms(&self) -> u64 {
        self.buffered() as u64 * 1_000 / u64::from(self.rate_hz)
    }

    /// Time from now until a block pushed next is heard.
    pub(crate) fn delay(&self) -> Duration {
        let waiting_us = self.buffered() as u64 * 1_000_000 / u64::from(self.rate_hz.max(1));
        Duration::from_micros(waiting_us) + self.latency.get()
    }

    /// Samples the ring should hold.
    pub(crate) fn target(&self) -> usize {
        let block = (self.rate_hz / 100) as usize;
        let callback = self.health.largest_callback.load(Ordering::Relaxed) as usize;
        let longest = self.rate_hz as usize * LONGEST_TARGET_MS / 1_000;
        (TARGET_BLOCKS * block).max(callback + block).min(longest)
    }
}

type Built = Result<(cpal::Stream, rtrb::Producer<f32>), cpal::Error>;

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
    S: SizedSample + FromSample<f32>,
{
    // Half a second, far beyond any target.
    let (producer, mut consumer) = rtrb::RingBuffer::new(config.sample_rate as usize / 2);
    let channels = usize::from(config.channels.max(1));
    let (data_health, error_health) = (Arc::clone(health), Arc::clone(health));
    let latency = Arc::clone(latency);
    let stream = device.build_output_stream::<S, _, _>(
        config,
        move |data, info| {
            let at = info.timestamp();
            latency.handle_output(at.playback.checked_duration_since(at.callback));
            handle_output(data, channels, &mut consumer, &data_health);
        },
        move |error| error_health.handle_error(&error),
        None,
    )?;
    Ok((stream, producer))
}

/// The real-time callback: no lock, no log, no allocation. Every channel gets the same sound.
fn handle_output<S>(
    data: &mut [S],
    channels: usize,
    consumer: &mut rtrb::Consumer<f32>,
    health: &StreamHealth,
) where
    S: Sample + FromSample<f32>,
{
    let frames = data.len() / channels;
    health.handle_callback(frames);
    let count = frames.min(consumer.slots());
    let mut rest = data.chunks_mut(channels);
    if let Ok(chunk) = consumer.read_chunk(count) {
        for (sample, frame) in chunk.into_iter().zip(&mut rest) {
            frame.fill(S::from_sample(sample));
        }
    }
    for frame in rest {
        frame.fill(S::EQUILIBRIUM);
    }
    if count < frames {
        health
            .missed_samples
            .fetch_add((frames - count) as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callback_plays_what_is_there_and_silence_for_the_rest() {
        let (mut producer, mut consumer) = rtrb::RingBuffer::new(8);
        producer.push_entire_slice(&[0.5, -0.5, 1.0]).unwrap();
        let health = StreamHealth::default();
        let mut stereo = [9.0f32; 4];
        handle_output(&mut stereo, 2, &mut consumer, &health);
        assert_eq!(stereo, [0.5, 0.5, -0.5, -0.5]);
        assert_eq!(health.missed_samples.load(Ordering::Relaxed), 0);
        let mut unsigned = [7u16; 3];
        handle_output(&mut unsigned, 1, &mut consumer, &health);
        assert_eq!(unsigned, [u16::MAX, 32_768, 32_768]);
        assert_eq!(health.missed_samples.load(Ordering::Relaxed), 2);
        assert_eq!(health.largest_callback.load(Ordering::Relaxed), 3);
    }
}
