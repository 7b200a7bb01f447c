//! The real cpal paths against a private PulseAudio with a null sink: what our speaker path
//! plays, our microphone path hears.
//!
//! The sound library reads its configuration from the environment of the process, so the test
//! starts itself again with that environment; skipped aloud where PulseAudio is missing.

#![allow(
    clippy::print_stderr,
    reason = "the figures belong into the test's log"
)]

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use call_media::audio::{
    AudioDecoder, AudioDeviceState, AudioEncoderConfig, AudioSender, AudioSenderConfig,
    AudioSourceConfig, Block, EncodedAudio, FRAME_SAMPLES, OpusDecoder, Speaker, SpeakerConfig,
    VoiceOptions, list_microphones, list_speakers, tone_strength,
};
use call_protocol::ErrorCode;

const INSIDE: &str = "VISAVIS_TEST_PRIVATE_PULSE";
const TEST_NAME: &str = "audio_devices::a_tone_played_to_a_null_sink_is_heard_by_the_microphone";
const PATIENCE: Duration = Duration::from_secs(20);

/// Ends PulseAudio with the test, however it ends.
struct Pulse(Child);

impl Drop for Pulse {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_pulse(dir: &Path) -> Pulse {
    let socket = dir.join("native");
    let protocol = format!(
        "module-native-protocol-unix auth-anonymous=1 socket={}",
        socket.display()
    );
    let child = Command::new("pulseaudio")
        .args([
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--disable-shm=yes",
        ])
        .args([
            "--use-pid-file=no",
            "--realtime=no",
            "--high-priority=no",
            "--log-level=error",
        ])
        .args([
            "-L",
            "module-null-sink sink_name=call rate=48000 channels=2",
            "-L",
            &protocol,
        ])
        .env_remove("PULSE_SERVER")
        .env("PULSE_RUNTIME_PATH", dir)
        .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("pulseaudio starts");
    let mut pulse = Pulse(child);
    let deadline = Instant::now() + PATIENCE;
    while UnixStream::connect(&socket).is_err() {
        assert!(matches!(pulse.0.try_wait(), Ok(None)), "pulseaudio ended");
        assert!(Instant::now() < deadline, "pulseaudio does not answer");
        std::thread::yield_now();
    }
    pulse
}

#[test]
fn a_tone_played_to_a_null_sink_is_heard_by_the_microphone() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return play_and_listen(Path::new(&dir));
    }
    if let Err(error) = Command::new("pulseaudio").arg("--version").output() {
        eprintln!("SKIPPED: no test of real sound devices: pulseaudio does not run: {error}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let alsa_config = dir.path().join("asound.conf");
    let text = "pcm.!default { type pulse hint { show on description \"Private sound server\" } }\n\
                ctl.!default { type pulse }\n";
    std::fs::write(&alsa_config, text).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST_NAME, "--nocapture"])
        .env(INSIDE, dir.path())
        .env(
            "PULSE_SERVER",
            format!("unix:{}", dir.path().join("native").display()),
        )
        .env("PULSE_SOURCE", "call.monitor")
        .env("PULSE_SINK", "call")
        .env("PULSE_COOKIE", dir.path().join("cookie"))
        .env("HOME", dir.path())
        .env("XDG_RUNTIME_DIR", dir.path())
        .env("ALSA_CONFIG_PATH", &alsa_config)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    // A name that matches no test would succeed as well.
    assert!(text.contains("1 passed"), "{text}");
    for line in text.lines().filter(|line| line.starts_with("measured:")) {
        eprintln!("{line}");
    }
}

fn wait_for(states: &mpsc::Receiver<AudioDeviceState>, wanted: AudioDeviceState) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match states.recv_timeout(left) {
            Ok(state) if state == wanted => return,
            Ok(_) => {}
            Err(error) => panic!("no {wanted:?}: {error}"),
        }
    }
}

/// Decodes one second of what arrives from now on.
fn record_second(packets: &mpsc::Receiver<EncodedAudio>) -> Vec<f32> {
    packets.try_iter().for_each(drop);
    let mut decoder = OpusDecoder::new().expect("a decoder");
    let mut frame = [0.0; FRAME_SAMPLES];
    let mut sound = Vec::new();
    for _ in 0..50 {
        let packet = packets
            .recv_timeout(PATIENCE)
            .expect("the microphone delivers");
        decoder
            .decode(&packet.payload, &mut frame)
            .expect("our own packet");
        sound.extend_from_slice(&frame);
    }
    sound
}

/// Listens second by second until the tone is there for a whole one; a machine loaded by other
/// tests tears holes into the first.
fn hear_tone(packets: &mpsc::Receiver<EncodedAudio>) -> f32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let strength = tone_strength(&record_second(packets), 440.0);
        if strength > 0.9 {
            return strength;
        }
        assert!(Instant::now() < deadline, "tone strength {strength}");
    }
}

fn play_and_listen(dir: &Path) {
    let pulse = start_pulse(dir);
    let microphones = list_microphones();
    let speakers = list_speakers();
    assert!(
        microphones.iter().any(|device| device.is_default),
        "{microphones:?}"
    );
    assert!(
        speakers.iter().any(|device| device.is_default),
        "{speakers:?}"
    );

    let (to_test, packets) = mpsc::sync_channel::<EncodedAudio>(4_096);
    let (to_test_state, microphone_states) = mpsc::sync_channel(64);
    let config = AudioSenderConfig {
        source: AudioSourceConfig::Microphone {
            id: Some(microphones[0].id.clone()),
        },
        muted: false,
        encoder: AudioEncoderConfig {
            dtx: false,
            ..AudioEncoderConfig::default()
        },
        // The tone is to arrive as it is; to noise suppression it would be noise.
        voice: VoiceOptions::OFF,
        reference: None,
    };
    let sender = AudioSender::start(
        config,
        move |packet| {
            let _ = to_test.try_send(packet);
        },
        |_| {},
        move |state| {
            let _ = to_test_state.try_send(state);
        },
    )
    .expect("an encoder");
    wait_for(&microphone_states, AudioDeviceState::Running);
    // Nothing plays: the monitor sends exact zeros.
    wait_for(&microphone_states, AudioDeviceState::Silent);

    let (to_test_state, speaker_states) = mpsc::sync_channel(64);
    let mut phase = 0.0f64;
    let mixer = move |block: &mut Block| {
        for sample in block {
            *sample = (phase.sin() * 0.5) as f32;
            phase = (phase + 440.0 * std::f64::consts::TAU / 48_000.0) % std::f64::consts::TAU;
        }
    };
    let speaker = Speaker::start(
        SpeakerConfig::Device { id: None },
        Box::new(mixer),
        move |state| {
            let _ = to_test_state.try_send(state);
        },
    );
    wait_for(&speaker_states, AudioDeviceState::Running);
    wait_for(&microphone_states, AudioDeviceState::Running);
    let begun = Instant::now();
    let before = speaker.stats();
    record_second(&packets);
    let took = begun.elapsed();
    let blocks = speaker.stats().blocks - before.blocks;
    let strength = hear_tone(&packets);
    eprintln!(
        "measured: tone strength {strength:.3}, 1 s of sound took {took:?}, {blocks} blocks, {:?}",
        speaker.stats()
    );
    // Both ends run at the pace of the device and not faster.
    assert!(took > Duration::from_millis(800), "{took:?}");
    assert!(
        blocks <= took.as_millis() as u64 / 10 + 30,
        "{blocks} blocks in {took:?}"
    );

    // The sound server dies in the middle of the call and comes back.
    drop(pulse);
    wait_for(&microphone_states, AudioDeviceState::Lost);
    wait_for(&speaker_states, AudioDeviceState::Lost);
    let asked = speaker.stats().blocks;
    wait_for(
        &microphone_states,
        AudioDeviceState::Failed(ErrorCode::MicrophoneNotFound),
    );
    wait_for(
        &speaker_states,
        AudioDeviceState::Failed(ErrorCode::SpeakerLost),
    );
    // The retries come a second later: the mixer was asked all the while.
    let blocks = speaker.stats().blocks - asked;
    assert!(blocks >= 50, "{blocks} blocks without a device");
    let _pulse = start_pulse(dir);
    wait_for(&speaker_states, AudioDeviceState::Running);
    wait_for(&microphone_states, AudioDeviceState::Running);
    let strength = hear_tone(&packets);
    eprintln!("measured: tone strength {strength:.3} after the sound server came back");

    speaker.set_device(SpeakerConfig::Null);
    wait_for(&speaker_states, AudioDeviceState::Off);
    wait_for(&microphone_states, AudioDeviceState::Silent);
    speaker.stop();
    sender.stop();
}
