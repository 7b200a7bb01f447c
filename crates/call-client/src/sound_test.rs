//! A running sound test: a thread with a sender, a speaker and call-media's [`EchoTest`] between
//! them.
//!
//! ```text
//! preview's sender stopped -> own sender -> EchoTest -> own speaker
//!                             (microphone given back)   (speaker given back) -> Ended
//! ```
//!
//! The microphone must be closed before it is opened again, so the preview's sender is stopped
//! first and the test has one of its own. That also keeps mute what it is: the test's sender is
//! connected to nothing but the loopback, and the one that can send is not running meanwhile.
//!
//! Invariants: every test reports [`SoundTestReport::Ended`] once, last, with both devices closed;
//! nothing is recorded to disk or sent; memory is bounded by the loopback.
//!
//! Deliberately not here: whether a test may run (the session decides), and what becomes of the
//! devices afterwards (see [`crate::devices`]).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use call_media::audio::{
    AudioDeviceState, AudioSender, AudioSenderConfig, AudioSourceConfig, EchoTest, EchoTestState,
    RenderReference, RenderTap, Speaker, SpeakerConfig, render_reference,
};
use call_protocol::ErrorCode;
use call_protocol::ui::SoundTestState;
use tokio::sync::watch;

use crate::config::CallObserver;
use crate::devices::{DeviceStates, Lent, audio_state};

/// Longest sleep of the thread, should a wake-up ever be missed.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestKind {
    /// Microphone and speaker, by one's own voice.
    Echo,
    /// The speaker, by a chime.
    Tone,
}

/// What a test tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SoundTestReport {
    /// Never [`SoundTestState::Idle`].
    State(SoundTestState),
    /// The microphone is closed; what is played may go on.
    MicrophoneFree,
    /// Everything is closed. Nothing follows.
    Ended,
}

/// A running test. Dropping it lets the thread end on its own.
pub(crate) struct SoundTest {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl SoundTest {
    /// Starts the thread. `on_report` is called on it.
    pub(crate) fn start(
        kind: TestKind,
        lent: Lent,
        on_report: impl FnMut(SoundTestReport) + Send + 'static,
    ) -> Self {
        let now = Instant::now();
        let test = match kind {
            TestKind::Echo => EchoTest::echo(now),
            TestKind::Tone => EchoTest::tone(now),
        };
        let test = test
            .map_err(|error| tracing::error!(?error, "no codec for the sound test"))
            .ok();
        let shared = Arc::new(Shared {
            test: Mutex::new(test),
            wake: Condvar::new(),
        });
        let worker = Worker {
            kind,
            shared: Arc::clone(&shared),
            on_report: Box::new(on_report),
        };
        let thread = std::thread::Builder::new()
            .name("sound-test".into())
            .spawn(move || worker.run(lent));
        if let Err(error) = &thread {
            tracing::error!(%error, "no thread for the sound test");
        }
        Self {
            shared,
            thread: thread.ok(),
        }
    }

    /// Asks it to end; the report follows when the devices are closed.
    pub(crate) fn stop(&self) {
        self.shared.with(EchoTest::cancel);
    }

    /// Ends it and waits until the devices are closed.
    pub(crate) fn finish(mut self) {
        self.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sound test's thread panicked");
        }
    }
}

impl Drop for SoundTest {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Shared {
    /// `None`: it could not be made.
    test: Mutex<Option<EchoTest>>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<EchoTest>> {
        self.test.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, change: impl FnOnce(&mut EchoTest)) {
        if let Some(test) = self.lock().as_mut() {
            change(test);
        }
        self.wake.notify_one();
    }
}

struct Worker {
    kind: TestKind,
    shared: Arc<Shared>,
    on_report: Box<dyn FnMut(SoundTestReport) + Send>,
}

impl Worker {
    fn run(mut self, lent: Lent) {
        if let Some(preview) = lent.sender {
            preview.stop();
        }
        let (tap, reference) = render_reference();
        let speaker = self.start_speaker(&lent.states, lent.speaker, tap, lent.observer);
        let mut sender = (self.kind == TestKind::Echo)
            .then(|| self.start_sender(&lent.states, lent.source, lent.voice, reference))
            .flatten();
        let mut reported = None;
        loop {
            let now = Instant::now();
            let (state, wants_microphone) = self.look(now);
            let shown = shown(state);
            if shown.is_some() && shown != reported {
                reported = shown;
                if let Some(state) = shown {
                    (self.on_report)(SoundTestReport::State(state));
                }
            }
            if !wants_microphone && let Some(sender) = sender.take() {
                sender.stop();
                (self.on_report)(SoundTestReport::MicrophoneFree);
                continue;
            }
            if state == EchoTestState::Done {
                break;
            }
            self.wait();
        }
        speaker.stop();
        (self.on_report)(SoundTestReport::Ended);
    }

    fn look(&self, now: Instant) -> (EchoTestState, bool) {
        match self.shared.lock().as_mut() {
            Some(test) => {
                test.handle_timeout(now);
                (test.state(now), test.wants_microphone())
            }
            None => (EchoTestState::Done, false),
        }
    }

    /// Until something is due or a device did something.
    fn wait(&self) {
        let test = self.shared.lock();
        let now = Instant::now();
        let due = test.as_ref().and_then(|test| test.poll_timeout(now));
        let pause = due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        if !pause.is_zero() {
            let pause = pause.min(LONGEST_WAIT);
            drop(
                self.shared
                    .wake
                    .wait_timeout(test, pause)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    fn start_sender(
        &self,
        states: &watch::Sender<DeviceStates>,
        source: AudioSourceConfig,
        voice: call_media::audio::VoiceOptions,
        reference: RenderReference,
    ) -> Option<AudioSender> {
        let config = AudioSenderConfig {
            source,
            muted: false,
            voice,
            reference: Some(reference),
            ..AudioSenderConfig::default()
        };
        let shared = Arc::clone(&self.shared);
        let (levels, states) = (states.clone(), states.clone());
        let sender = AudioSender::start(
            config,
            move |packet| shared.with(|test| test.handle_packet(Instant::now(), packet)),
            move |level| levels.send_modify(|states| states.level = Some(level)),
            move |state| {
                let state = audio_state(state, ErrorCode::MicrophoneLost);
                states.send_modify(|states| states.microphone = state);
            },
        );
        match sender {
            Ok(sender) => Some(sender),
            Err(error) => {
                tracing::error!(?error, "no encoder for the sound test");
                self.shared.with(EchoTest::cancel);
                None
            }
        }
    }

    fn start_speaker(
        &self,
        states: &watch::Sender<DeviceStates>,
        config: SpeakerConfig,
        mut tap: RenderTap,
        observer: Option<Arc<dyn CallObserver>>,
    ) -> Speaker {
        let (playing, told) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let states = states.clone();
        Speaker::start(
            config,
            Box::new(move |block| {
                match playing.lock().as_mut() {
                    Some(test) => test.poll_block(Instant::now(), block),
                    None => block.fill(0.0),
                }
                tap.handle_block(block);
                if let Some(observer) = &observer {
                    observer.playout(block);
                }
            }),
            move |state: AudioDeviceState| {
                told.with(|test| test.handle_speaker(Instant::now(), state));
                let state = audio_state(state, ErrorCode::SpeakerLost);
                states.send_if_modified(|states: &mut DeviceStates| {
                    let changed = states.speaker != state;
                    states.speaker = state;
                    changed
                });
            },
        )
    }
}

fn shown(state: EchoTestState) -> Option<SoundTestState> {
    Some(match state {
        EchoTestState::Starting => SoundTestState::Starting,
        EchoTestState::Recording { remaining_s } => SoundTestState::Recording { remaining_s },
        EchoTestState::Playing { remaining_s } => SoundTestState::Playing { remaining_s },
        EchoTestState::Tone => SoundTestState::Tone,
        EchoTestState::Done => return None,
    })
}
