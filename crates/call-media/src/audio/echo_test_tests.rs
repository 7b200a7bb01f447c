use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::audio::format::{BLOCK_SAMPLES, SAMPLE_RATE_HZ};
use crate::audio::test_tone::CHIME_HZ;
use crate::audio::tone_strength;

const FRAME: Duration = Duration::from_millis(FRAME_MS);

/// Packets of a tone, from the encoder a call uses.
struct Voice {
    encoder: OpusEncoder,
    hz: f32,
    frames: u32,
}

impl Voice {
    fn new(hz: f32) -> Self {
        Self {
            encoder: OpusEncoder::new(AudioEncoderConfig::default()).unwrap(),
            hz,
            frames: 0,
        }
    }

    fn packet(&mut self, captured_at: Instant) -> EncodedAudio {
        let start = self.frames * FRAME_SAMPLES as u32;
        self.frames += 1;
        let frame = std::array::from_fn(|n| {
            let at = (start + n as u32) as f32;
            (at * self.hz * std::f32::consts::TAU / SAMPLE_RATE_HZ as f32).sin() * 0.5
        });
        EncodedAudio {
            payload: self.encoder.encode(&frame).unwrap().unwrap(),
            timestamp_48khz: start,
            marker: start == 0,
            level_dbov: 9,
            voice: true,
            captured_at,
        }
    }
}

/// What a test played, in 10 ms steps of virtual time from `start`, and its states.
fn run(
    test: &mut EchoTest,
    start: Instant,
    mut each: impl FnMut(&mut EchoTest, Instant, u64),
) -> (Vec<f32>, Vec<(u64, EchoTestState)>) {
    let (mut played, mut states) = (Vec::new(), Vec::new());
    let mut block = [0.0; BLOCK_SAMPLES];
    for tick in 0..2_000u64 {
        let now = start + Duration::from_millis(10 * tick);
        each(test, now, tick);
        test.poll_block(now, &mut block);
        played.extend_from_slice(&block);
        let state = test.state(now);
        if states.last().is_none_or(|(_, last)| *last != state) {
            states.push((10 * tick, state));
        }
        if state == EchoTestState::Done {
            return (played, states);
        }
        assert!(test.poll_timeout(now).unwrap() > now, "at {} ms", 10 * tick);
    }
    panic!("no end within 20 s: {states:?}");
}

fn at(ms: usize) -> usize {
    ms * SAMPLE_RATE_HZ as usize / 1_000
}

#[test]
fn what_was_said_comes_back_four_seconds_later_as_the_same_tone() {
    use EchoTestState::{Done, Playing, Recording, Starting};
    let start = Instant::now();
    let mut test = EchoTest::echo(start).unwrap();
    test.handle_speaker(start, AudioDeviceState::Running);
    let (mut low, mut high) = (Voice::new(440.0), Voice::new(880.0));
    let (played, states) = run(&mut test, start, |test, now, tick| {
        // The device takes 300 ms to open; from then on a packet every 20 ms, for ever.
        if tick >= 30 && tick % 2 == 0 {
            let voice = if tick < 230 { &mut low } else { &mut high };
            let mut packet = voice.packet(now);
            packet.timestamp_48khz = (tick as u32 - 30) * BLOCK_SAMPLES as u32;
            test.handle_packet(now, packet);
        }
    });
    let recording = |remaining_s| Recording { remaining_s };
    let playing = |remaining_s| Playing { remaining_s };
    assert_eq!(
        states,
        [
            (0, Starting),
            (300, recording(4)),
            (1_300, recording(3)),
            (2_300, recording(2)),
            (3_300, recording(1)),
            (4_300, playing(4)),
            (5_300, playing(3)),
            (6_300, playing(2)),
            (7_300, playing(1)),
            (8_600, Done),
        ]
    );
    assert!(played[..at(4_300)].iter().all(|sample| *sample == 0.0));
    // Two seconds of each tone, in order, after the jitter buffer's delay.
    assert!(tone_strength(&played[at(4_500)..at(6_250)], 440.0) > 0.99);
    assert!(tone_strength(&played[at(6_500)..at(8_200)], 880.0) > 0.99);
    assert!(test.packets.is_empty());
}

#[test]
fn a_device_that_jitters_is_heard_as_in_a_call() {
    let start = Instant::now();
    let mut test = EchoTest::echo(start).unwrap();
    test.handle_speaker(start, AudioDeviceState::Off);
    let mut voice = Voice::new(440.0);
    // Three packets at once every 60 ms.
    let (played, _) = run(&mut test, start, |test, now, tick| {
        if tick % 6 == 0 {
            for _ in 0..3 {
                test.handle_packet(now, voice.packet(now));
            }
        }
    });
    assert!(tone_strength(&played[at(4_500)..at(7_900)], 440.0) > 0.9);
}

#[test]
fn memory_is_bounded_and_nothing_is_held_afterwards() {
    let start = Instant::now();
    let mut test = EchoTest::echo(start).unwrap();
    let packet = |n: u32| EncodedAudio {
        payload: Bytes::from_static(&[1; 100]),
        timestamp_48khz: n * 960,
        marker: false,
        level_dbov: 20,
        voice: true,
        captured_at: start,
    };
    for n in 0..10_000 {
        test.handle_packet(start, packet(n));
    }
    assert_eq!(test.packets.len(), MOST_PACKETS);
    test.cancel();
    test.handle_packet(start, packet(1));
    assert_eq!(
        (test.packets.len(), test.state(start)),
        (0, EchoTestState::Done)
    );
    assert_eq!(test.poll_timeout(start), None);
    let mut block = [1.0; BLOCK_SAMPLES];
    test.poll_block(start, &mut block);
    assert_eq!(block, [0.0; BLOCK_SAMPLES]);
}

#[test]
fn a_microphone_that_never_delivers_ends_the_test() {
    let start = Instant::now();
    let mut test = EchoTest::echo(start).unwrap();
    assert!(test.wants_microphone());
    let (_, states) = run(&mut test, start, |_, _, _| {});
    assert_eq!(
        states,
        [(0, EchoTestState::Starting), (5_000, EchoTestState::Done)]
    );
    assert!(!test.wants_microphone());
}

#[test]
fn playing_waits_for_the_speaker_but_not_for_ever() {
    for (runs_after_ms, plays_at_ms) in [(4_700, 4_700), (60_000, 5_500)] {
        let start = Instant::now();
        let mut test = EchoTest::echo(start).unwrap();
        let mut voice = Voice::new(440.0);
        let (_, states) = run(&mut test, start, |test, now, tick| {
            if tick % 2 == 0 {
                test.handle_packet(now, voice.packet(now));
            }
            if 10 * tick == runs_after_ms {
                test.handle_speaker(now, AudioDeviceState::Running);
            }
            if tick == 410 {
                assert!(!test.wants_microphone(), "closed while the speaker opens");
            }
        });
        let playing = EchoTestState::Playing { remaining_s: 4 };
        let began = states.iter().find(|(_, state)| *state == playing);
        assert_eq!(began.map(|(at_ms, _)| *at_ms), Some(plays_at_ms));
    }
}

#[test]
fn the_tone_needs_no_microphone_and_is_heard_as_two_notes() {
    let start = Instant::now();
    let mut test = EchoTest::tone(start).unwrap();
    assert!(!test.wants_microphone());
    let (played, states) = run(&mut test, start, |test, now, tick| {
        if tick == 20 {
            test.handle_speaker(now, AudioDeviceState::Running);
        }
    });
    assert_eq!(
        states,
        [
            (0, EchoTestState::Starting),
            (200, EchoTestState::Tone),
            (1_500, EchoTestState::Done),
        ]
    );
    assert!(played[..at(200)].iter().all(|sample| *sample == 0.0));
    assert!(tone_strength(&played[at(300)..at(650)], CHIME_HZ[0]) > 0.9);
    assert!(tone_strength(&played[at(800)..at(1_150)], CHIME_HZ[1]) > 0.9);
}

#[test]
fn a_packet_is_played_once() {
    // A frame recorded once must not repeat when the playout is asked late.
    let start = Instant::now();
    let mut test = EchoTest::tone(start).unwrap();
    test.handle_speaker(start, AudioDeviceState::Running);
    let mut block = [0.0; BLOCK_SAMPLES];
    let held = test.packets.len();
    test.poll_block(start, &mut block);
    assert_eq!(test.packets.len(), held - 1);
    test.poll_block(start + 3 * FRAME, &mut block);
    assert_eq!(test.packets.len(), held - 4);
}
