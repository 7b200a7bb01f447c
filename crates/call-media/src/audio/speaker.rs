//! Playout: a mixer is asked for 10 ms at a time and heard on a device, or on none.
//!
//! One thread owns the output. With a device it keeps a small ring filled as fast as the device
//! drains it: the device's clock sets the pace. Without a device (headless, missing, lost, being
//! reopened) the mixer is asked at absolute 10 ms ticks instead, so jitter buffers, levels and
//! recordings go on as if somebody listened. A device that glitches is reopened with a longer
//! period.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::device::{AudioDeviceState, FIRST_PERIOD_MS};
use super::ending::{DeviceThread, STOP_TIMEOUT};
use super::format::{BLOCK_SAMPLES, Block};
use super::latency::PlayoutDelay;
use super::pace::{Backoff, BlockTicker};
use super::playback::{Fate, POLL, Playback};

/// Produces the next 10 ms to play. Called on an ordinary thread; it may lock and log, but must
/// finish well within 10 ms.
pub type PlayoutMixer = Box<dyn FnMut(&mut Block) + Send>;
type OnState = Box<dyn FnMut(AudioDeviceState) + Send>;

/// Most blocks mixed in one go: half a second.
const MOST_BLOCKS: u32 = 50;

/// Where to play.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpeakerConfig {
    /// Nowhere; the mixer is asked every 10 ms all the same.
    #[default]
    Null,
    /// On a device.
    Device {
        /// An id from `list_speakers`; `None` is the system's default.
        id: Option<String>,
    },
}

/// `system` is the system's default, `none` plays nowhere, anything else is a device id of at most
/// 256 bytes.
impl FromStr for SpeakerConfig {
    type Err = BadSpeaker;

    fn from_str(text: &str) -> Result<Self, BadSpeaker> {
        match text {
            "system" => Ok(Self::Device { id: None }),
            "none" => Ok(Self::Null),
            id if (1..=256).contains(&id.len()) => Ok(Self::Device {
                id: Some(id.to_owned()),
            }),
            _ => Err(BadSpeaker),
        }
    }
}

/// The text names no speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a speaker is `system`, `none` or a device id")]
pub struct BadSpeaker;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpeakerStats {
    /// Blocks the mixer was asked for.
    pub blocks: u64,
    /// Samples the device wanted and did not get; it played silence.
    pub underrun_samples: u64,
    /// Glitches the sound system reported (buffer underruns of its own).
    pub glitches: u64,
    /// Sound waiting in the ring at the last look, in milliseconds.
    pub buffered_ms: u64,
    /// Time from mixing to hearing at the last block: the ring, and the device's own latency
    /// where it tells one.
    pub delay: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    blocks: AtomicU64,
    underrun_samples: AtomicU64,
    glitches: AtomicU64,
    buffered_ms: AtomicU64,
}

/// What the thread has not picked up yet; the latest device wins.
#[derive(Debug, Default)]
struct Requests {
    device: Option<SpeakerConfig>,
    retry: bool,
    stop: bool,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Requests>,
    wake: Condvar,
    counters: Counters,
}

/// A running playout. See the [module documentation](self).
///
/// Dropping it lets the thread finish its block and close the device on its own.
#[derive(Debug)]
pub struct Speaker {
    shared: Arc<Shared>,
    thread: Option<DeviceThread>,
    delay: PlayoutDelay,
}

impl Speaker {
    /// Starts the thread. Never fails: a device that cannot be opened is a state, and is tried
    /// again while the mixer is asked every 10 ms regardless.
    pub fn start(
        config: SpeakerConfig,
        mixer: PlayoutMixer,
        on_state: impl FnMut(AudioDeviceState) + Send + 'static,
    ) -> Self {
        Self::start_telling(config, mixer, PlayoutDelay::default(), on_state)
    }

    /// As [`Self::start`], and keeps `delay` current.
    pub fn start_telling(
        config: SpeakerConfig,
        mixer: PlayoutMixer,
        delay: PlayoutDelay,
        on_state: impl FnMut(AudioDeviceState) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            mixer,
            on_state: Box::new(on_state),
            config,
            output: Output::None,
            ticker: BlockTicker::new(Instant::now()),
            backoff: Backoff::default(),
            period_ms: FIRST_PERIOD_MS,
            delay: delay.clone(),
        };
        let thread = DeviceThread::spawn("audio-playout", move || worker.run())
            .map_err(|error| tracing::error!(%error, "no thread for the speaker"))
            .ok();
        Self {
            shared,
            thread,
            delay,
        }
    }

    /// Switches to another device, without a pause for the mixer.
    pub fn set_device(&self, config: SpeakerConfig) {
        self.request(|requests| requests.device = Some(config));
    }

    /// Ends the pause before a missing device is opened again.
    pub fn retry_now(&self) {
        self.request(|requests| requests.retry = true);
    }

    /// Counters so far.
    pub fn stats(&self) -> SpeakerStats {
        let counters = &self.shared.counters;
        SpeakerStats {
            blocks: counters.blocks.load(Ordering::Relaxed),
            underrun_samples: counters.underrun_samples.load(Ordering::Relaxed),
            glitches: counters.glitches.load(Ordering::Relaxed),
            buffered_ms: counters.buffered_ms.load(Ordering::Relaxed),
            delay: self.delay.get(),
        }
    }

    /// Stops and waits for the thread to close the device, which may take some 100 ms; a driver
    /// that hangs is waited for one second.
    pub fn stop(mut self) {
        self.request(|requests| requests.stop = true);
        if let Some(thread) = self.thread.take() {
            thread.join(STOP_TIMEOUT);
        }
    }

    fn request(&self, change: impl FnOnce(&mut Requests)) {
        change(
            &mut self
                .shared
                .requests
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.shared.wake.notify_one();
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.request(|requests| requests.stop = true);
    }
}

enum Output {
    /// Paced by the clock; a device, if wanted, is (re)opened at the given time.
    None,
    Closed {
        open_at: Instant,
    },
    Open(Box<Playback>),
}

struct Worker {
    shared: Arc<Shared>,
    mixer: PlayoutMixer,
    on_state: OnState,
    config: SpeakerConfig,
    output: Output,
    ticker: BlockTicker,
    backoff: Backoff,
    period_ms: u32,
    delay: PlayoutDelay,
}

impl Worker {
    fn run(&mut self) {
        self.select(self.config.clone(), Instant::now());
        let mut pause_until = Instant::now();
        loop {
            let requests = self.wait(pause_until);
            if requests.stop {
                return;
            }
            let now = Instant::now();
            if let Some(config) = requests.device {
                self.select(config, now);
            }
            if requests.retry {
                self.retry_now(now);
            }
            let step = catch_unwind(AssertUnwindSafe(|| self.step(now)));
            pause_until = step.unwrap_or_else(|_| self.handle_panic(now));
        }
    }

    fn retry_now(&mut self, now: Instant) {
        if let Output::Closed { open_at } = &mut self.output {
            *open_at = (*open_at).min(now);
            self.backoff.reset();
        }
    }

    /// A driver that panics is a lost device.
    fn handle_panic(&mut self, now: Instant) -> Instant {
        if !self.output_is_null() {
            let output = std::mem::replace(&mut self.output, Output::None);
            // Closing may well panic, too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(output)));
            let open_at = now + self.backoff.next_pause();
            self.close(now, open_at);
            (self.on_state)(AudioDeviceState::Lost);
        }
        now + POLL
    }

    fn select(&mut self, config: SpeakerConfig, now: Instant) {
        self.backoff.reset();
        self.period_ms = FIRST_PERIOD_MS;
        self.ticker = BlockTicker::new(now);
        self.output = match config {
            SpeakerConfig::Null => Output::None,
            SpeakerConfig::Device { .. } => Output::Closed { open_at: now },
        };
        self.config = config;
        if self.output_is_null() {
            (self.on_state)(AudioDeviceState::Off);
        }
    }

    fn output_is_null(&self) -> bool {
        matches!(self.output, Output::None)
    }

    /// Does what is due and returns when to come back.
    fn step(&mut self, now: Instant) -> Instant {
        match &mut self.output {
            Output::Open(open) => {
                let fate = open.fate(now, self.period_ms);
                match fate {
                    Fate::Fine => {
                        self.feed();
                        self.count_glitches();
                        return now + POLL;
                    }
                    Fate::Started => {
                        self.backoff.reset();
                        (self.on_state)(AudioDeviceState::Running);
                        return now;
                    }
                    Fate::Reopen { period_ms } => {
                        tracing::debug!(period_ms, "speaker glitches or changed, opening it again");
                        self.period_ms = period_ms;
                        self.close(now, now);
                    }
                    Fate::Lost => {
                        let open_at = now + self.backoff.next_pause();
                        self.close(now, open_at);
                        (self.on_state)(AudioDeviceState::Lost);
                    }
                }
            }
            Output::Closed { open_at } if now >= *open_at => self.open(now),
            Output::Closed { .. } | Output::None => {}
        }
        if let Output::Open(_) = self.output {
            return now;
        }
        while self.ticker.poll(now).is_some() {
            let mut block = [0.0; BLOCK_SAMPLES];
            self.mix(&mut block);
        }
        self.ticker.next_due()
    }

    fn close(&mut self, now: Instant, open_at: Instant) {
        self.output = Output::Closed { open_at };
        self.ticker = BlockTicker::new(now);
        self.shared.counters.buffered_ms.store(0, Ordering::Relaxed);
        self.delay.set(Duration::ZERO);
    }

    fn open(&mut self, now: Instant) {
        let SpeakerConfig::Device { id } = &self.config else {
            return;
        };
        (self.on_state)(AudioDeviceState::Starting);
        match Playback::new(id.as_deref(), self.period_ms, now) {
            Ok(open) => {
                self.output = Output::Open(Box::new(open));
            }
            Err(code) => {
                let open_at = Instant::now() + self.backoff.next_pause();
                self.output = Output::Closed { open_at };
                (self.on_state)(AudioDeviceState::Failed(code));
            }
        }
    }

    fn feed(&mut self) {
        let mut block = [0.0; BLOCK_SAMPLES];
        // Bounded, so that a request is never kept waiting by a device that swallows everything.
        for _ in 0..MOST_BLOCKS {
            if !self.needs_block() {
                break;
            }
            self.mix(&mut block);
            if let Output::Open(open) = &mut self.output {
                self.delay.set(open.delay());
                open.push(&block);
            }
        }
        if let Output::Open(open) = &self.output {
            let counters = &self.shared.counters;
            counters
                .buffered_ms
                .store(open.buffered_ms(), Ordering::Relaxed);
            let missed = open.health.missed_samples.swap(0, Ordering::Relaxed);
            counters
                .underrun_samples
                .fetch_add(missed, Ordering::Relaxed);
        }
    }

    fn count_glitches(&mut self) {
        if let Output::Open(open) = &mut self.output {
            let new = open.new_glitches();
            self.shared
                .counters
                .glitches
                .fetch_add(new, Ordering::Relaxed);
        }
    }

    fn needs_block(&self) -> bool {
        matches!(&self.output, Output::Open(open) if open.buffered() < open.target())
    }

    fn mix(&mut self, block: &mut Block) {
        (self.mixer)(block);
        self.shared.counters.blocks.fetch_add(1, Ordering::Relaxed);
    }

    fn wait(&self, until: Instant) -> Requests {
        let mut requests = self
            .shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pause = until.saturating_duration_since(Instant::now());
        let is_idle = !requests.stop && !requests.retry && requests.device.is_none();
        if !pause.is_zero() && is_idle {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use call_protocol::ErrorCode;

    use super::*;

    #[test]
    fn without_a_device_the_mixer_is_asked_every_ten_milliseconds() {
        for config in [
            SpeakerConfig::Null,
            SpeakerConfig::Device {
                id: Some("alsa:no-such-card".into()),
            },
        ] {
            let (asked, times) = mpsc::sync_channel(256);
            let (to_test, states) = mpsc::sync_channel(16);
            let begun = Instant::now();
            let mixer = move |block: &mut Block| {
                block.fill(0.0);
                let _ = asked.try_send(Instant::now());
            };
            let speaker = Speaker::start(config.clone(), Box::new(mixer), move |state| {
                let _ = to_test.try_send(state);
            });
            let mut last = begun;
            for n in 0..100u32 {
                let at = times.recv_timeout(Duration::from_secs(5)).unwrap();
                assert!(at + Duration::from_millis(1) >= begun + Duration::from_millis(10) * n);
                last = at;
            }
            assert!(
                last.duration_since(begun) < Duration::from_millis(1_600),
                "{config:?}"
            );
            assert!(speaker.stats().blocks >= 99);
            speaker.stop();
            let states: Vec<_> = states.try_iter().collect();
            match config {
                SpeakerConfig::Null => assert_eq!(states, [AudioDeviceState::Off]),
                SpeakerConfig::Device { .. } => assert_eq!(
                    states[..2],
                    [
                        AudioDeviceState::Starting,
                        AudioDeviceState::Failed(ErrorCode::SpeakerLost)
                    ]
                ),
            }
        }
    }

    #[test]
    fn a_mixer_that_panics_is_asked_again() {
        let (asked, times) = mpsc::sync_channel(256);
        let mut blocks = 0;
        let mixer = move |_: &mut Block| {
            blocks += 1;
            let _ = asked.try_send(());
            assert_ne!(blocks, 2, "a bug");
        };
        let speaker = Speaker::start(SpeakerConfig::Null, Box::new(mixer), |_| {});
        for _ in 0..4 {
            times.recv_timeout(Duration::from_secs(5)).unwrap();
        }
        speaker.stop();
    }
}
