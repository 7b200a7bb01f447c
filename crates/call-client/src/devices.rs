//! The local devices: opens and closes what the plan says, and reports how they are doing.
//!
//! Nothing here waits for a device: the camera has a thread for that (`camera_control`), microphone
//! and speaker have theirs inside call-media. States come back through a watch channel: the newest
//! of each device, never a queue.
//!
//! Camera off means the device is closed, not merely ignored.
//!
//! Deliberately not here: which device runs when (`device_plan`) and which listed device is the
//! chosen one (`device_choice`), both pure.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use call_core::SoundPlan;
use call_media::audio::{
    AudioDeviceState, AudioEncoderConfig, AudioSender, AudioSenderConfig, AudioSourceConfig, Block,
    InputLevel, Mixer, PlayoutDelay, RenderTap, SILENCE_DBOV, Speaker, SpeakerConfig, VoiceOptions,
    render_reference,
};
use call_media::frame::{I420Frame, LatestSlot};
use call_media::video::send::SelfView;
use call_media::video::source_config::VideoSourceConfig;
use call_media::watch::{DeviceChange, DeviceEntry};
use call_protocol::ErrorCode;
use call_protocol::ui::{DeviceKind, DeviceState};
use tokio::sync::watch;

use crate::camera_control::CameraControl;
use crate::config::{CallObserver, Observed};
use crate::device_plan::{DeviceOp, DevicePlan, Running};
use crate::outbound::Outlet;

/// How all devices are doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DeviceStates {
    pub(crate) camera: DeviceState,
    pub(crate) microphone: DeviceState,
    pub(crate) speaker: DeviceState,
    /// Of the microphone, also while muted; every 100 ms while it runs.
    pub(crate) level: Option<InputLevel>,
    /// Counts the camera's openings; a state of an earlier one is void.
    pub(crate) camera_run: u64,
}

impl DeviceStates {
    pub(crate) fn new() -> Self {
        Self {
            camera: DeviceState::Off,
            microphone: DeviceState::Off,
            speaker: DeviceState::Off,
            level: None,
            camera_run: 0,
        }
    }
}

/// Everything the devices feed or are fed by.
pub(crate) struct Wiring {
    pub(crate) states: watch::Sender<DeviceStates>,
    pub(crate) outlet: Outlet,
    pub(crate) mixer: Arc<Mutex<Mixer>>,
    /// Pictures to the encoder.
    pub(crate) camera_out: LatestSlot<I420Frame>,
    pub(crate) self_view: Option<SelfView>,
    pub(crate) own_wanted: Arc<AtomicBool>,
    pub(crate) observer: Option<Arc<dyn CallObserver>>,
    /// Colours of a synthetic picture, so that two members differ.
    pub(crate) seed: u64,
    pub(crate) voice: VoiceOptions,
}

/// The three devices.
pub(crate) struct Devices {
    states: watch::Sender<DeviceStates>,
    outlet: Outlet,
    mixer: Arc<Mutex<Mixer>>,
    observer: Option<Arc<dyn CallObserver>>,
    plan: DevicePlan,
    camera: CameraControl,
    microphone: Option<AudioSender>,
    /// Where the microphone's echo canceller learns what is played; speakers come and go.
    voice: VoiceOptions,
    sound_plan: SoundPlan,
    render_tap: Arc<Mutex<Option<RenderTap>>>,
    /// From the running speaker to the microphone's echo canceller.
    playout_delay: PlayoutDelay,
    speaker: Option<Speaker>,
    /// What a sound test holds: started again, as wanted by then, when it is given back.
    lent: Lending,
}

/// Devices a sound test holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lending {
    microphone: bool,
    speaker: bool,
}

impl Devices {
    /// Nothing runs yet, and the microphone is muted until [`Self::set_muted`] says otherwise.
    pub(crate) fn new(wiring: Wiring, plan: DevicePlan) -> Self {
        let Wiring {
            states,
            outlet,
            mixer,
            camera_out,
            self_view,
            own_wanted,
            observer,
            seed,
            voice,
        } = wiring;
        let camera = CameraControl::start(states.clone(), seed, move |frame: I420Frame| {
            if let Some(self_view) = &self_view
                && own_wanted.load(Ordering::Relaxed)
            {
                self_view.put(frame.clone());
            }
            camera_out.put(frame);
        });
        Self {
            states,
            outlet,
            mixer,
            observer,
            plan,
            camera,
            microphone: None,
            voice,
            sound_plan: SoundPlan::default(),
            render_tap: Arc::default(),
            playout_delay: PlayoutDelay::default(),
            speaker: None,
            lent: Lending::default(),
        }
    }

    /// What is planned and chosen.
    pub(crate) fn plan(&self) -> &DevicePlan {
        &self.plan
    }

    /// The picture's source.
    pub(crate) fn video(&self) -> &VideoSourceConfig {
        self.plan.video()
    }

    /// Whether a picture is being captured, or would be if the device were there.
    pub(crate) fn camera_runs(&self) -> bool {
        self.plan.running().camera && !self.plan.video().is_none()
    }

    /// Whether the microphone's level is measured.
    pub(crate) fn microphone_runs(&self) -> bool {
        self.plan.running().microphone
    }

    /// From mixing to the speaker's sound; zero while nothing plays.
    pub(crate) fn playout_delay(&self) -> Duration {
        self.playout_delay.get()
    }

    pub(crate) fn set_muted(&mut self, muted: bool) {
        let op = self.plan.set_muted(muted);
        self.execute([op]);
    }

    /// Runs exactly these devices.
    pub(crate) fn run(&mut self, camera: bool, microphone: bool, speaker: bool) {
        let ops = self.plan.run(Running {
            camera,
            microphone,
            speaker,
        });
        self.execute(ops);
    }

    /// Processes the microphone's sound so from now on.
    pub(crate) fn set_voice(&mut self, voice: VoiceOptions) {
        self.voice = voice;
        if let Some(microphone) = &self.microphone {
            microphone.set_voice(voice);
        }
    }

    /// Encodes the microphone's sound so from now on.
    pub(crate) fn set_sound_plan(&mut self, plan: SoundPlan) {
        self.sound_plan = plan;
        if let Some(microphone) = &self.microphone {
            microphone.set_bitrate_bps(plan.bitrate_bps);
            microphone.set_packet_loss_perc(plan.expected_loss_percent);
        }
    }

    /// Hands speaker and, if asked, microphone to a sound test. The microphone's sender goes with
    /// it, because a device must be closed before it is opened again, and closing blocks.
    pub(crate) fn lend(&mut self, microphone: bool) -> Lent {
        self.lent.speaker = true;
        self.lent.microphone = microphone;
        Lent {
            sender: self.microphone.take_if(|_| microphone),
            source: self.plan.audio().clone(),
            speaker: self.plan.speaker().clone(),
            voice: self.voice,
            states: self.states.clone(),
            observer: self.observer.clone(),
        }
    }

    /// The test has closed the microphone.
    pub(crate) fn take_back_microphone(&mut self) {
        if std::mem::take(&mut self.lent.microphone) {
            self.states.send_modify(|states| {
                states.microphone = DeviceState::Off;
                states.level = None;
            });
            let op = self.plan.current(DeviceKind::Microphone);
            self.execute([op]);
        }
    }

    /// The test is over.
    pub(crate) fn take_back(&mut self) {
        self.take_back_microphone();
        if std::mem::take(&mut self.lent.speaker) {
            let op = self.plan.current(DeviceKind::Speaker);
            self.execute([op]);
        }
    }

    /// Uses another device from now on.
    pub(crate) fn select(&mut self, kind: DeviceKind, id: Option<String>) {
        let ops = self.plan.select(kind, id);
        self.execute(ops);
    }

    /// The machine's devices changed.
    pub(crate) fn handle_change(&mut self, change: DeviceChange) {
        let ops = self.plan.handle_change(change);
        self.execute(ops);
    }

    /// The devices of one kind, listed because somebody asked.
    pub(crate) fn handle_list(&mut self, kind: DeviceKind, listed: Vec<DeviceEntry>) {
        let ops = self.plan.handle_list(kind, listed, None);
        self.execute(ops);
    }

    fn execute(&mut self, ops: impl IntoIterator<Item = DeviceOp>) {
        for op in ops {
            match op {
                DeviceOp::Camera(source) => self.camera.set(source),
                DeviceOp::Microphone(source) => self.set_microphone(source),
                DeviceOp::Speaker(place) => self.set_speaker(place),
                DeviceOp::Mute(muted) => {
                    if let Some(microphone) = &self.microphone {
                        microphone.set_muted(muted);
                    }
                }
                DeviceOp::Retry(DeviceKind::Camera) => self.camera.retry_now(),
                DeviceOp::Retry(DeviceKind::Microphone) => {
                    if let Some(microphone) = &self.microphone {
                        microphone.retry_now();
                    }
                }
                DeviceOp::Retry(DeviceKind::Speaker) => {
                    if let Some(speaker) = &self.speaker {
                        speaker.retry_now();
                    }
                }
            }
        }
    }

    /// Stops everything. The returned work blocks until every device is closed.
    pub(crate) fn stop(self) -> impl FnOnce() + Send {
        self.camera.set(None);
        let (camera, microphone, speaker) = (self.camera, self.microphone, self.speaker);
        move || {
            if let Some(microphone) = microphone {
                microphone.stop();
            }
            if let Some(speaker) = speaker {
                speaker.stop();
            }
            camera.stop();
        }
    }

    fn set_microphone(&mut self, source: AudioSourceConfig) {
        if self.lent.microphone {
            return;
        }
        if let Some(microphone) = &self.microphone {
            microphone.set_source(source);
        } else if source != AudioSourceConfig::None {
            match self.start_microphone(source) {
                Ok(microphone) => self.microphone = Some(microphone),
                Err(error) => {
                    tracing::error!(?error, "the sound encoder did not start");
                    let state = DeviceState::Failed {
                        code: ErrorCode::CodecFailed,
                    };
                    self.states.send_modify(|states| states.microphone = state);
                }
            }
        }
    }

    fn start_microphone(
        &self,
        source: AudioSourceConfig,
    ) -> Result<AudioSender, call_media::audio::CodecError> {
        let (tap, reference) = render_reference();
        *self
            .render_tap
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(tap);
        let config = AudioSenderConfig {
            source,
            muted: self.plan.is_muted(),
            voice: self.voice,
            encoder: AudioEncoderConfig {
                bitrate_bps: self.sound_plan.bitrate_bps,
                packet_loss_perc: self.sound_plan.expected_loss_percent,
                ..AudioEncoderConfig::default()
            },
            reference: Some(reference.with_playout_delay(self.playout_delay.clone())),
        };
        let outlet = self.outlet.clone();
        let (levels, states) = (self.states.clone(), self.states.clone());
        AudioSender::start(
            config,
            move |packet| outlet.send_audio(packet),
            move |level| levels.send_modify(|states| states.level = Some(level)),
            move |state| {
                let state = audio_state(state, ErrorCode::MicrophoneLost);
                states.send_modify(|states| {
                    states.microphone = state;
                    if state == DeviceState::Off {
                        states.level = None;
                    }
                });
            },
        )
    }

    fn set_speaker(&mut self, place: Option<SpeakerConfig>) {
        if self.lent.speaker {
            return;
        }
        let Some(place) = place else {
            if let Some(speaker) = self.speaker.take() {
                // Closing waits for the device.
                tokio::task::spawn_blocking(move || speaker.stop());
            }
            self.states
                .send_modify(|states| states.speaker = DeviceState::Off);
            return;
        };
        if let Some(speaker) = &self.speaker {
            return speaker.set_device(place);
        }
        let states = self.states.clone();
        let playout = playout(
            Arc::clone(&self.mixer),
            self.observer.clone(),
            Arc::clone(&self.render_tap),
            self.playout_delay.clone(),
        );
        let on_state = move |state| {
            let state = audio_state(state, ErrorCode::SpeakerLost);
            states.send_modify(|states| states.speaker = state);
        };
        let delay = self.playout_delay.clone();
        let speaker = Speaker::start_telling(place, playout, delay, on_state);
        self.speaker = Some(speaker);
    }
}

/// What a sound test works with.
pub(crate) struct Lent {
    /// To be stopped before the microphone is opened.
    pub(crate) sender: Option<AudioSender>,
    pub(crate) source: AudioSourceConfig,
    pub(crate) speaker: SpeakerConfig,
    pub(crate) voice: VoiceOptions,
    pub(crate) states: watch::Sender<DeviceStates>,
    pub(crate) observer: Option<Arc<dyn CallObserver>>,
}

/// Pulls the mixed sound; tells the mixer how far ahead of the speaker it is, the observer what each
/// member contributed, and the microphone's echo canceller what will be heard.
fn playout(
    mixer: Arc<Mutex<Mixer>>,
    observer: Option<Arc<dyn CallObserver>>,
    render_tap: Arc<Mutex<Option<RenderTap>>>,
    delay: PlayoutDelay,
) -> Box<dyn FnMut(&mut Block) + Send> {
    let mut heard = std::collections::BTreeSet::new();
    let mut mix = move |out: &mut Block| {
        let mut mixer = mixer.lock().unwrap_or_else(PoisonError::into_inner);
        mixer.set_output_delay(delay.get());
        let Some(observer) = &observer else {
            return mixer.mix(Instant::now(), out);
        };
        mixer.mix_with(Instant::now(), out, |member, block| {
            if block.iter().any(|sample| sample.abs() > 1e-4) && heard.insert(member) {
                observer.observe(Observed::FirstAudio(member));
            }
            observer.sound(member, block);
        });
        observer.playout(out);
    };
    Box::new(move |out| {
        mix(out);
        let mut tap = render_tap.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tap) = tap.as_mut() {
            tap.handle_block(out);
        }
    })
}

pub(crate) fn audio_state(state: AudioDeviceState, lost: ErrorCode) -> DeviceState {
    match state {
        AudioDeviceState::Off => DeviceState::Off,
        AudioDeviceState::Starting => DeviceState::Starting,
        AudioDeviceState::Running => DeviceState::Running,
        AudioDeviceState::Silent => DeviceState::Silent,
        AudioDeviceState::Failed(code) => DeviceState::Failed { code },
        AudioDeviceState::Lost => DeviceState::Failed { code: lost },
    }
}

/// The system's devices of one kind. Blocks for up to some 100 ms.
pub(crate) fn list(kind: DeviceKind) -> Vec<DeviceEntry> {
    match kind {
        DeviceKind::Camera => call_media::watch::camera_entries(),
        DeviceKind::Microphone => call_media::watch::microphone_entries(),
        DeviceKind::Speaker => call_media::watch::speaker_entries(),
    }
}

/// The level of a microphone that is not measured.
pub(crate) const NO_LEVEL_DBOV: u8 = SILENCE_DBOV;
