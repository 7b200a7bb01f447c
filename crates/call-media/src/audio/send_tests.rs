//! The running sender with scripted sources, and with a real one.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};

use super::*;
use crate::audio::pipeline::TRAILING_FRAMES;
use crate::audio::pipeline::tests::{decode, tone_block};
use crate::audio::tone_strength;

/// A source that delivers tone blocks as fast as it is asked and fails as told.
struct Scripted {
    states: VecDeque<AudioDeviceState>,
    next: u64,
    block_in_a_row: u32,
}

impl AudioSource for Scripted {
    fn poll(&mut self, now: Instant, block: &mut Block) -> SourcePoll {
        if let Some(state) = self.states.pop_front() {
            return SourcePoll::State(state);
        }
        self.block_in_a_row += 1;
        if self.block_in_a_row > 4 {
            self.block_in_a_row = 0;
            return SourcePoll::Wait(now + Duration::from_micros(200));
        }
        // Lost and reopened every now and then, in the middle of whatever goes on.
        if self.next % 37 == 36 {
            self.states
                .extend([AudioDeviceState::Lost, AudioDeviceState::Starting]);
            self.states.push_back(AudioDeviceState::Running);
        }
        *block = tone_block(self.next);
        self.next += 1;
        SourcePoll::Block { captured_at: now }
    }
}

fn scripted(_: &AudioSourceConfig, _: Instant) -> Box<dyn AudioSource> {
    let states = VecDeque::from([AudioDeviceState::Starting, AudioDeviceState::Running]);
    Box::new(Scripted {
        states,
        next: 0,
        block_in_a_row: 0,
    })
}

/// Random switching, muting and device failures: no sound of the tone ever leaves while muted.
#[test]
fn nothing_is_heard_while_muted_whatever_happens() {
    for seed in 1..=6u64 {
        let (sender_packets, packets) = mpsc::sync_channel(4_096);
        let (sender_levels, levels) = mpsc::sync_channel(65_536);
        let config = AudioSenderConfig {
            source: AudioSourceConfig::Tone { hz: 440 },
            muted: true,
            encoder: AudioEncoderConfig {
                dtx: false,
                ..AudioEncoderConfig::default()
            },
            ..AudioSenderConfig::default()
        };
        let sender = AudioSender::start_with(
            config,
            Box::new(scripted),
            Box::new(move |packet| {
                let _ = sender_packets.try_send(packet);
            }),
            Box::new(move |level| {
                let _ = sender_levels.try_send(level);
            }),
            Box::new(|_| {}),
        )
        .unwrap();
        let wait_for_level = || {
            levels
                .recv_timeout(Duration::from_secs(10))
                .expect("blocks flow")
        };
        let mut state = seed;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed);
            (state >> 33) % below
        };
        let mut muted = true;
        let (mut heard_open, mut heard_muted) = (0u32, 0u32);
        for step in 0..120 {
            match random(3) {
                0 => sender.set_source(AudioSourceConfig::Microphone { id: None }),
                1 => {
                    muted = !muted;
                    sender.set_muted(muted);
                    // What left before the call returned is of no interest.
                    while let Ok(packet) = packets.try_recv() {
                        drop(packet);
                    }
                }
                _ => {}
            }
            assert_eq!(sender.is_muted(), muted, "seed {seed}, step {step}");
            for _ in 0..=random(3) {
                wait_for_level();
            }
            let received: Vec<EncodedAudio> = packets.try_iter().collect();
            if muted {
                heard_muted += received.len() as u32;
                let loud = decode(&received).iter().any(|sample| sample.abs() > 1e-3);
                assert!(!loud, "sound while muted: seed {seed}, step {step}");
            } else {
                heard_open += received.len() as u32;
            }
        }
        assert!(
            heard_open > 100,
            "seed {seed}: {heard_open} packets while open"
        );
        assert!(heard_muted <= 120 * TRAILING_FRAMES, "seed {seed}");
        sender.stop();
        while packets.try_recv().is_ok() {}
        assert_eq!(
            packets.recv_timeout(Duration::ZERO).unwrap_err(),
            RecvTimeoutError::Disconnected
        );
    }
}

#[test]
fn what_was_captured_while_muted_stays_muted_however_late_it_is_delivered() {
    let now = Instant::now();
    let mut gate = Gate {
        muted: false,
        unmuted_at: now,
        closed: false,
    };
    assert!(gate.is_muted_at(now - Duration::from_millis(1)));
    assert!(!gate.is_muted_at(now));
    gate.muted = true;
    assert!(gate.is_muted_at(now + Duration::from_secs(1)));
}

#[test]
fn a_real_tone_runs_in_real_time_and_ends_with_the_sender() {
    let (to_test, packets) = mpsc::sync_channel(64);
    let (to_test_state, states) = mpsc::sync_channel(8);
    let config = AudioSenderConfig {
        source: "tone:440".parse().unwrap(),
        ..AudioSenderConfig::default()
    };
    let begun = Instant::now();
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
    .unwrap();
    let received: Vec<EncodedAudio> = (0..25)
        .map(|_| packets.recv_timeout(Duration::from_secs(5)).unwrap())
        .collect();
    assert!(
        begun.elapsed() >= Duration::from_millis(485),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        states.recv_timeout(Duration::from_secs(5)),
        Ok(AudioDeviceState::Running)
    );
    assert!(tone_strength(&decode(&received)[9_600..], 440.0) > 0.95);
    drop(sender);
    // The channel's other end goes away with the thread.
    loop {
        match packets.recv_timeout(Duration::from_secs(5)) {
            Ok(_) => {}
            Err(error) => break assert_eq!(error, RecvTimeoutError::Disconnected),
        }
    }
}

/// A source whose driver panics at every second poll and while closing.
struct Panicking {
    polls: u32,
}

impl AudioSource for Panicking {
    fn poll(&mut self, now: Instant, block: &mut Block) -> SourcePoll {
        self.polls += 1;
        assert!(self.polls < 2, "a driver's bug");
        *block = tone_block(0);
        SourcePoll::Block { captured_at: now }
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        assert!(self.polls < 2, "a driver's bug");
    }
}

#[test]
fn a_driver_that_panics_is_a_lost_device_and_opened_again_still_muted() {
    let (to_test, packets) = mpsc::sync_channel(64);
    let (to_test_state, states) = mpsc::sync_channel(8);
    let (to_test_open, opens) = mpsc::sync_channel(8);
    let config = AudioSenderConfig {
        source: AudioSourceConfig::Microphone { id: None },
        muted: true,
        ..AudioSenderConfig::default()
    };
    let sender = AudioSender::start_with(
        config,
        Box::new(move |_, _| {
            let _ = to_test_open.try_send(());
            Box::new(Panicking { polls: 0 })
        }),
        Box::new(move |packet| {
            let _ = to_test.try_send(packet);
        }),
        Box::new(|_| {}),
        Box::new(move |state| {
            let _ = to_test_state.try_send(state);
        }),
    )
    .unwrap();
    let patience = Duration::from_secs(20);
    for _ in 0..3 {
        opens.recv_timeout(patience).expect("it is opened");
        let state = states.recv_timeout(patience);
        assert_eq!(state, Ok(AudioDeviceState::Lost));
        assert!(sender.is_muted());
        sender.retry_now();
    }
    sender.stop();
    let loud = decode(&packets.try_iter().collect::<Vec<_>>());
    assert!(loud.iter().all(|sample| sample.abs() < 1e-3));
}
