//! From a source to Opus packets, with the mute gate in between.
//!
//! One thread owns the source and does everything: voice processing of a microphone (the
//! `capture` module beside this one), level meter, mute gate, encoder (the `pipeline` module).
//!
//! **Mute** acts right behind the processing, which goes on so that it knows the room when the
//! person speaks again. While muted, captured samples reach the level meter
//! ("you are muted and talking") and nothing else: the encoder is reset and never sees them. Only
//! [`AudioSender::set_muted`] changes it; switching, losing and regaining a device do not. Once
//! `set_muted(true)` has returned, no captured sound leaves any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::capture::CaptureStage;
use super::codec::{AudioEncoderConfig, CodecError, OpusEncoder};
use super::device::AudioDeviceState;
use super::ending::{DeviceThread, STOP_TIMEOUT};
use super::format::{BLOCK_MS, BLOCK_SAMPLES, Block};
use super::pipeline::{EncodedAudio, InputLevel, SendPipeline};
use super::reference::RenderReference;
use super::source::{AudioSource, AudioSourceConfig, SourcePoll, open_source};
use super::voice::VoiceOptions;

/// Pause after a driver panicked before its device is opened again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a source before commands are looked at regardless.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What [`AudioSender::start`] needs.
#[derive(Debug, Default)]
pub struct AudioSenderConfig {
    /// The first source.
    pub source: AudioSourceConfig,
    /// Whether to begin muted.
    pub muted: bool,
    /// Encoder settings.
    pub encoder: AudioEncoderConfig,
    /// What is done to a microphone's sound; other sources pass untouched.
    pub voice: VoiceOptions,
    /// What the speaker plays, from [`render_reference`](super::reference::render_reference).
    /// Without it there is no echo to cancel.
    pub reference: Option<RenderReference>,
}

/// Held while a block is processed and callbacks run, so that muting and dropping are exact.
#[derive(Debug)]
struct Gate {
    muted: bool,
    /// Sound captured before this time was captured while muted, however late it is delivered.
    unmuted_at: Instant,
    closed: bool,
}

impl Gate {
    fn is_muted_at(&self, captured_at: Instant) -> bool {
        self.muted || captured_at < self.unmuted_at
    }
}

/// What the thread has not picked up yet; the latest of each kind wins.
#[derive(Debug, Default)]
struct Requests {
    source: Option<AudioSourceConfig>,
    bitrate_bps: Option<u32>,
    packet_loss_perc: Option<u8>,
    voice: Option<VoiceOptions>,
    retry: bool,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    gate: Mutex<Gate>,
    requests: Mutex<Requests>,
    wake: Condvar,
}

impl Shared {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, change: impl FnOnce(&mut Requests)) {
        change(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }
}

/// Opens sources; replaced by scripted ones in tests.
type OpenSource = Box<dyn FnMut(&AudioSourceConfig, Instant) -> Box<dyn AudioSource> + Send>;
type OnPacket = Box<dyn FnMut(EncodedAudio) + Send>;
type OnLevel = Box<dyn FnMut(InputLevel) + Send>;
type OnState = Box<dyn FnMut(AudioDeviceState) + Send>;

/// A running sender. See the [module documentation](self).
///
/// Dropping it ends all callbacks at once and lets the thread close its device on its own.
#[derive(Debug)]
pub struct AudioSender {
    shared: Arc<Shared>,
    thread: Option<DeviceThread>,
}

impl AudioSender {
    /// Starts the thread.
    ///
    /// The callbacks run on it and must return quickly; none of them may call
    /// [`AudioSender::set_muted`] or [`AudioSender::is_muted`], which would wait for themselves. `on_packet` is called every 20 ms
    /// of sound, `on_level` every 100 ms (also while muted), `on_state` on each change.
    ///
    /// # Errors
    /// The encoder could not be created. A missing device is a state, not an error.
    pub fn start(
        config: AudioSenderConfig,
        on_packet: impl FnMut(EncodedAudio) + Send + 'static,
        on_level: impl FnMut(InputLevel) + Send + 'static,
        on_state: impl FnMut(AudioDeviceState) + Send + 'static,
    ) -> Result<Self, CodecError> {
        Self::start_with(
            config,
            Box::new(open_source),
            Box::new(on_packet),
            Box::new(on_level),
            Box::new(on_state),
        )
    }

    fn start_with(
        config: AudioSenderConfig,
        open: OpenSource,
        on_packet: OnPacket,
        on_level: OnLevel,
        on_state: OnState,
    ) -> Result<Self, CodecError> {
        let encoder = Box::new(OpusEncoder::new(config.encoder)?);
        let now = Instant::now();
        let shared = Arc::new(Shared {
            gate: Mutex::new(Gate {
                muted: config.muted,
                unmuted_at: now,
                closed: false,
            }),
            requests: Mutex::default(),
            wake: Condvar::new(),
        });
        let thread_shared = Arc::clone(&shared);
        let thread = DeviceThread::spawn("audio-send", move || {
            let pipeline = SendPipeline::new(encoder, Instant::now());
            let mut worker = Worker {
                shared: thread_shared,
                stage: CaptureStage::new(config.voice, config.reference),
                pipeline,
                open,
                on_packet,
                on_level,
                on_state,
            };
            worker.run(config.source);
        });
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                // Like a missing device: the call goes on without sound from here.
                tracing::error!(%error, "no thread for the microphone");
                None
            }
        };
        Ok(Self { shared, thread })
    }

    /// Mutes or unmutes. Once `set_muted(true)` has returned, no captured sound leaves. Waits for
    /// the packet being handed out, if any.
    pub fn set_muted(&self, muted: bool) {
        let mut gate = self.shared.gate();
        if gate.muted && !muted {
            gate.unmuted_at = Instant::now();
        }
        gate.muted = muted;
    }

    /// Whether the sender is muted.
    pub fn is_muted(&self) -> bool {
        self.shared.gate().muted
    }

    /// Switches to another source; mute stays as it is.
    pub fn set_source(&self, source: AudioSourceConfig) {
        self.shared
            .request(|requests| requests.source = Some(source));
    }

    /// Ends the pause before a missing device is opened again; mute stays as it is.
    pub fn retry_now(&self) {
        self.shared.request(|requests| requests.retry = true);
    }

    /// Changes the target bitrate in bit/s, clamped to what the codec takes.
    pub fn set_bitrate_bps(&self, bitrate_bps: u32) {
        self.shared
            .request(|requests| requests.bitrate_bps = Some(bitrate_bps));
    }

    /// Changes the loss the encoder prepares for, in percent.
    pub fn set_packet_loss_perc(&self, percent: u8) {
        self.shared
            .request(|requests| requests.packet_loss_perc = Some(percent));
    }

    /// Switches parts of the voice processing on and off.
    pub fn set_voice(&self, options: VoiceOptions) {
        self.shared
            .request(|requests| requests.voice = Some(options));
    }

    /// Stops and waits for the thread to close its device, which may take some 100 ms; a driver
    /// that hangs is waited for one second.
    pub fn stop(mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            thread.join(STOP_TIMEOUT);
        }
    }

    fn close(&self) {
        self.shared.gate().closed = true;
        self.shared.request(|requests| requests.stop = true);
    }
}

impl Drop for AudioSender {
    fn drop(&mut self) {
        self.close();
    }
}

struct Worker {
    shared: Arc<Shared>,
    stage: CaptureStage,
    pipeline: SendPipeline,
    open: OpenSource,
    on_packet: OnPacket,
    on_level: OnLevel,
    on_state: OnState,
}

impl Worker {
    fn run(&mut self, mut config: AudioSourceConfig) {
        let mut source = self.open_source(&config);
        let mut block = [0.0; BLOCK_SAMPLES];
        let mut wait_until = None;
        let mut reopen_at: Option<Instant> = None;
        loop {
            let requests = self.wait(wait_until.take());
            if requests.stop {
                return;
            }
            if let Some(bitrate_bps) = requests.bitrate_bps {
                self.pipeline.encoder_mut().set_bitrate_bps(bitrate_bps);
            }
            if let Some(percent) = requests.packet_loss_perc {
                self.pipeline.encoder_mut().set_packet_loss_perc(percent);
            }
            if let Some(options) = requests.voice {
                self.stage.set_options(options);
            }
            let now = Instant::now();
            let is_due = reopen_at.is_some_and(|at| requests.retry || at <= now);
            if requests.source.is_some() || is_due {
                config = requests.source.unwrap_or(config);
                reopen_at = None;
                // The old device is closed first: some can be open only once.
                close(std::mem::replace(&mut source, Box::new(NothingYet)));
                source = self.open_source(&config);
            } else if requests.retry {
                source.retry_now(now);
            }
            let polled = catch_unwind(AssertUnwindSafe(|| source.poll(now, &mut block)));
            let polled = polled.unwrap_or_else(|_| {
                // A driver that panics is a lost device.
                close(std::mem::replace(&mut source, Box::new(NothingYet)));
                reopen_at = Some(now + PANIC_PAUSE);
                SourcePoll::State(AudioDeviceState::Lost)
            });
            match polled {
                SourcePoll::Wait(until) => wait_until = Some(until),
                SourcePoll::State(state) => self.report(state),
                SourcePoll::Block { captured_at } => self.handle_block(&mut block, captured_at),
            }
        }
    }

    fn open_source(&mut self, config: &AudioSourceConfig) -> Box<dyn AudioSource> {
        let is_microphone = matches!(config, AudioSourceConfig::Microphone { .. });
        self.stage.handle_source(is_microphone);
        (self.open)(config, Instant::now())
    }

    fn handle_block(&mut self, block: &mut Block, captured_at: Instant) {
        // Before the gate is taken: muting need not wait for it.
        self.stage
            .handle_input_age(Instant::now().saturating_duration_since(captured_at));
        let oldest_sound_at = self.stage.process(block, captured_at);
        let gate = self.shared.gate();
        if gate.closed {
            return;
        }
        let muted = gate.is_muted_at(oldest_sound_at);
        let output = self.pipeline.handle_block(block, captured_at, muted);
        if let Some(packet) = output.packet {
            tracing::trace!(
                timestamp = packet.timestamp_48khz,
                bytes = packet.payload.len(),
                "audio out"
            );
            (self.on_packet)(packet);
        }
        if let Some(level) = output.level {
            (self.on_level)(level);
        }
    }

    fn report(&mut self, state: AudioDeviceState) {
        let gate = self.shared.gate();
        if !gate.closed {
            (self.on_state)(state);
        }
    }

    /// Takes the requests made, waiting for them until `until` if that is given.
    fn wait(&self, until: Option<Instant>) -> Requests {
        let mut requests = self
            .shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until
            && !requests.stop
            && !requests.retry
            && requests.source.is_none()
        {
            let pause = until
                .saturating_duration_since(Instant::now())
                .min(LONGEST_WAIT);
            requests = self
                .shared
                .wake
                .wait_timeout(requests, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        std::mem::take(&mut requests)
    }
}

/// Closes a source whose driver may panic.
fn close(source: Box<dyn AudioSource>) {
    if catch_unwind(AssertUnwindSafe(|| drop(source))).is_err() {
        tracing::debug!("the sound driver panicked while closing");
    }
}

/// Stands in while one source is closed and the next not yet open.
struct NothingYet;

impl AudioSource for NothingYet {
    fn poll(&mut self, now: Instant, _: &mut Block) -> SourcePoll {
        SourcePoll::Wait(now + Duration::from_millis(BLOCK_MS))
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
