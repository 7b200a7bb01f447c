//! What a person sets and tests about sound, by what is about to be played.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use call_client::{
    AudioSourceConfig, CallObserver, Engine, EngineConfig, Observed, SpeakerConfig, UiSink,
    VideoSourceConfig, VoiceOptions,
};
use call_media::audio::test_tone::CHIME_HZ;
use call_media::audio::tone_strength;
use call_media::frame::I420Frame;
use call_protocol::ui::{
    AppView, DeviceState, MemberLevel, SoundTestState, UiCommand, UiEvent, VoiceView,
};
use call_protocol::{MediaSource, MemberId};
use call_server::{ServerConfig, serve};
use visavis_tests::support::engine::eventually;
use visavis_tests::support::in_real_time;

const PATIENCE: Duration = Duration::from_secs(20);
const RATE_HZ: usize = 48_000;
/// Sound and reports kept: more than a sound test takes.
const KEPT_SAMPLES: usize = 30 * RATE_HZ;
const HZ: f32 = 440.0;

#[derive(Default)]
struct Heard {
    playout: Vec<f32>,
    view: Option<AppView>,
    /// Every state of the sound test, without repetitions.
    tests: Vec<SoundTestState>,
    microphone: f32,
    /// Loudest microphone level while a test recorded.
    recorded_level: f32,
    members: Vec<MemberLevel>,
    active_speaker: Option<MemberId>,
    /// Whether mute was ever seen off.
    unmuted: bool,
}

/// Ears and eyes of one engine.
#[derive(Clone, Default)]
struct Person(Arc<Mutex<Heard>>);

impl Person {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until(&self, what: &str, done: impl Fn(&Heard) -> bool) {
        let came = eventually(PATIENCE, || done(&self.heard())).await;
        let heard = self.heard();
        assert!(
            came,
            "no {what}; tests {:?}, members {:?}, view {:?}",
            heard.tests, heard.members, heard.view
        );
    }
}

impl UiSink for Person {
    fn event(&self, event: UiEvent) {
        let mut heard = self.heard();
        match event {
            UiEvent::View { view } => {
                if heard.tests.last() != Some(&view.sound_test) {
                    heard.tests.push(view.sound_test);
                }
                heard.unmuted |= !view.muted;
                heard.view = Some(view);
            }
            UiEvent::Levels {
                microphone,
                members,
                active_speaker,
            } => {
                heard.microphone = microphone;
                if matches!(heard.tests.last(), Some(SoundTestState::Recording { .. })) {
                    heard.recorded_level = heard.recorded_level.max(microphone);
                }
                heard.members = members;
                heard.active_speaker = active_speaker;
            }
            _ => {}
        }
    }
}

impl CallObserver for Person {
    fn observe(&self, _observed: Observed) {}
    fn picture(&self, _member: MemberId, _source: MediaSource, _picture: &I420Frame) {}
    fn sound(&self, _member: MemberId, _samples: &[f32]) {}
    fn playout(&self, samples: &[f32]) {
        let mut heard = self.heard();
        if heard.playout.len() < KEPT_SAMPLES {
            heard.playout.extend_from_slice(samples);
        }
    }
}

fn config(person: &Person, name: &str, server: &str) -> EngineConfig {
    EngineConfig {
        server: Some(server.to_owned()),
        name: Some(name.to_owned()),
        video: VideoSourceConfig::None,
        audio: AudioSourceConfig::Tone { hz: HZ as u32 },
        speaker: SpeakerConfig::Null,
        observer: Some(Arc::new(person.clone())),
        ..EngineConfig::new(Arc::new(person.clone()))
    }
}

fn send(engine: &Engine, command: UiCommand) {
    engine.dispatch(command).expect("the command is accepted");
}

/// The newest 300 ms.
fn newest(heard: &Heard) -> &[f32] {
    &heard.playout[heard.playout.len().saturating_sub(RATE_HZ * 3 / 10)..]
}

/// Root mean square of the newest 300 ms.
fn loudness(heard: &Heard) -> f32 {
    let window = newest(heard);
    (window.iter().map(|sample| sample * sample).sum::<f32>() / window.len().max(1) as f32).sqrt()
}

/// How much of the sound is not silent, in milliseconds, and the share of a tone in that. A stalled
/// machine costs some of both.
fn tone_of(samples: &[f32], hz: f32) -> (usize, f32) {
    let loud = |window: &&[f32]| window.iter().any(|sample| sample.abs() > 0.01);
    let windows: Vec<_> = samples.chunks(RATE_HZ / 50).filter(loud).collect();
    (windows.len() * 20, tone_strength(&windows.concat(), hz))
}

/// The steps of a sound test after the views that were on their way when it was asked for, and the
/// seconds they showed.
fn course(states: &[SoundTestState]) -> (Vec<&'static str>, Vec<u32>) {
    let idle = |state: &&SoundTestState| **state == SoundTestState::Idle;
    let (mut kinds, mut seconds) = (Vec::new(), Vec::new());
    for state in states.iter().skip_while(idle) {
        kinds.push(match state {
            SoundTestState::Idle => "idle",
            SoundTestState::Starting => "starting",
            SoundTestState::Recording { remaining_s } => {
                seconds.push(*remaining_s);
                "recording"
            }
            SoundTestState::Playing { remaining_s } => {
                seconds.push(*remaining_s);
                "playing"
            }
            SoundTestState::Tone => "tone",
        });
    }
    kinds.dedup();
    (kinds, seconds)
}

fn has_call(heard: &Heard, members: usize) -> bool {
    let call = heard.view.as_ref().and_then(|view| view.call.as_ref());
    call.is_some_and(|call| call.me.is_some() && call.members.len() == members)
}

#[test]
fn volume_and_local_mute_change_what_is_heard_and_not_who_speaks() {
    in_real_time(volumes());
}

async fn volumes() {
    let server = serve(ServerConfig::default())
        .await
        .expect("the server starts");
    let url = format!("ws://{}", server.http);
    let (ann, bo) = (Person::default(), Person::default());
    let here = Engine::start(config(&ann, "Ann", &url));
    let there = Engine::start(config(&bo, "Bo", &url));
    send(&here, UiCommand::StartCall);
    ann.until("room", |heard| has_call(heard, 0)).await;
    let code = ann
        .heard()
        .view
        .as_ref()
        .and_then(|view| view.call.as_ref())
        .map(|call| call.code.clone());
    send(
        &there,
        UiCommand::JoinCall {
            code: code.expect("a call has a code"),
        },
    );
    ann.until("other member", |heard| has_call(heard, 1)).await;
    let member = bo.0.clone();
    bo.until("seat", |heard| has_call(heard, 1)).await;
    let member = {
        let bo = member.lock().unwrap_or_else(PoisonError::into_inner);
        bo.view
            .as_ref()
            .and_then(|view| view.call.as_ref())
            .and_then(|call| call.me)
            .expect("Bo has a seat")
    };
    let near = |want: f32| {
        move |heard: &Heard| {
            let tone = tone_strength(newest(heard), HZ);
            tone > 0.9 && (loudness(heard) / want - 1.0).abs() < 0.1
        }
    };
    let mark = |person: &Person| person.heard().playout.clear();

    // A tone of half full scale: 0.354 by its mean square.
    ann.until("full volume", near(0.354)).await;
    ann.until("active speaker", |heard| {
        heard.active_speaker == Some(member)
    })
    .await;
    for (volume_percent, want) in [(50, 0.177), (20, 0.0707), (100, 0.354)] {
        mark(&ann);
        send(
            &here,
            UiCommand::SetMemberVolume {
                member,
                volume_percent,
            },
        );
        ann.until("changed volume", near(want)).await;
    }
    mark(&ann);
    send(
        &here,
        UiCommand::SetMemberMutedHere {
            member,
            muted: true,
        },
    );
    ann.until("silence", |heard| {
        heard.playout.len() > RATE_HZ / 2 && loudness(heard) == 0.0
    })
    .await;
    // Half of full scale is -9 dBov: 0.85 on a meter of 60 dB.
    ann.until("a speaker who is not heard", |heard| {
        let member = heard.members[0];
        member.speaking && member.level > 0.8 && loudness(heard) == 0.0
    })
    .await;
    {
        let heard = ann.heard();
        let call = heard
            .view
            .as_ref()
            .and_then(|view| view.call.as_ref())
            .expect("in a call");
        assert!(call.members[0].muted_here && !call.members[0].muted);
    }
    mark(&ann);
    send(
        &here,
        UiCommand::SetMemberMutedHere {
            member,
            muted: false,
        },
    );
    ann.until("sound again", near(0.354)).await;
    here.shutdown().await;
    there.shutdown().await;
    server.shutdown().await;
}

#[test]
fn a_sound_test_plays_back_what_was_said_while_muted_and_gives_the_devices_back() {
    in_real_time(sound_tests());
}

async fn sound_tests() {
    let server = serve(ServerConfig::default())
        .await
        .expect("the server starts");
    let person = Person::default();
    let engine = Engine::start(config(&person, "Ann", &format!("ws://{}", server.http)));
    let microphone = |state: DeviceState| {
        move |heard: &Heard| {
            heard
                .view
                .as_ref()
                .is_some_and(|view| view.devices.microphone.state == state)
        }
    };
    send(&engine, UiCommand::SetMuted { muted: true });
    send(&engine, UiCommand::SetPreview { on: true });
    person
        .until("preview", microphone(DeviceState::Running))
        .await;
    {
        let mut heard = person.heard();
        heard.tests.clear();
        heard.unmuted = false;
    }
    send(&engine, UiCommand::StartSoundTest);
    person
        .until("end of the test", |heard| {
            heard.tests.len() > 1 && heard.tests.last() == Some(&SoundTestState::Idle)
        })
        .await;
    person
        .until("preview again", microphone(DeviceState::Running))
        .await;
    {
        let mut heard = person.heard();
        let (kinds, seconds) = course(&heard.tests);
        assert_eq!(
            kinds,
            ["starting", "recording", "playing", "idle"],
            "{:?}",
            heard.tests
        );
        assert!(
            seconds.starts_with(&[4]) && seconds.ends_with(&[1]),
            "{seconds:?}"
        );
        let (said_ms, strength) = tone_of(&heard.playout, HZ);
        assert!(
            (2_500..=4_500).contains(&said_ms) && strength > 0.7,
            "{said_ms} ms came back, {strength} of it the tone"
        );
        let early = &heard.playout[..RATE_HZ * 3];
        assert_eq!(tone_of(early, HZ).0, 0, "played while recording");
        assert!(heard.recorded_level > 0.5, "the level was shown");
        assert!(!heard.unmuted, "mute stays as it is");
        heard.tests.clear();
        heard.playout.clear();
    }

    send(&engine, UiCommand::PlayTestTone);
    let over = |heard: &Heard| {
        heard.tests.contains(&SoundTestState::Tone)
            && heard.tests.last() == Some(&SoundTestState::Idle)
    };
    person.until("end of the chime", over).await;
    let (note_ms, low) = tone_of(&person.heard().playout, CHIME_HZ[0]);
    let high = tone_of(&person.heard().playout, CHIME_HZ[1]).1;
    assert!(
        note_ms > 300 && low > 0.2 && high > 0.2 && low + high > 0.7,
        "{note_ms} ms, {low} and {high}"
    );

    // A call ends a test and finds the devices free.
    person.heard().tests.clear();
    send(&engine, UiCommand::StartSoundTest);
    person
        .until("recording", |heard| {
            matches!(heard.tests.last(), Some(SoundTestState::Recording { .. }))
        })
        .await;
    send(&engine, UiCommand::StartCall);
    person
        .until("call with free devices", |heard| {
            has_call(heard, 0)
                && heard.tests.last() == Some(&SoundTestState::Idle)
                && microphone(DeviceState::Running)(heard)
        })
        .await;
    send(&engine, UiCommand::LeaveCall);
    send(&engine, UiCommand::SetPreview { on: false });
    person
        .until("everything off", microphone(DeviceState::Off))
        .await;
    assert!(!person.heard().unmuted);

    // An engine that ends amid a test ends the test.
    send(&engine, UiCommand::SetPreview { on: true });
    person.heard().tests.clear();
    send(&engine, UiCommand::StartSoundTest);
    person
        .until("recording", |heard| {
            matches!(heard.tests.last(), Some(SoundTestState::Recording { .. }))
        })
        .await;
    engine.shutdown().await;
    server.shutdown().await;
}

#[test]
fn voice_switches_survive_the_app_unless_given_for_one_run() {
    in_real_time(switches());
}

async fn switches() {
    let profile = tempfile::tempdir().expect("a temporary directory");
    let start = |voice: Option<VoiceOptions>| {
        let person = Person::default();
        let engine = Engine::start(EngineConfig {
            profile_dir: Some(profile.path().to_owned()),
            voice,
            ..config(&person, "Ann", "")
        });
        (person, engine)
    };
    let shown = |want: VoiceView| {
        move |heard: &Heard| {
            heard
                .view
                .as_ref()
                .is_some_and(|view| view.settings.voice == want)
        }
    };
    let chosen = VoiceView {
        noise_suppression: false,
        ..VoiceView::default()
    };
    let (person, engine) = start(None);
    person
        .until("everything on", shown(VoiceView::default()))
        .await;
    send(
        &engine,
        UiCommand::SetVoice {
            echo_cancellation: true,
            noise_suppression: false,
            gain_control: true,
        },
    );
    person.until("the choice", shown(chosen)).await;
    engine.shutdown().await;

    let off = VoiceView {
        echo_cancellation: false,
        noise_suppression: false,
        gain_control: false,
    };
    let (person, engine) = start(Some(VoiceOptions::OFF));
    person.until("the run's own", shown(off)).await;
    send(&engine, UiCommand::SetName { name: "Ada".into() });
    engine.shutdown().await;

    let (person, engine) = start(None);
    person.until("the choice again", shown(chosen)).await;
    engine.shutdown().await;
}
