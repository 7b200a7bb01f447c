//! Which sources are processed, and how the render reference reaches the processor.

use super::*;
use crate::audio::format::{BLOCK_DURATION, BLOCK_SAMPLES};
use crate::audio::reference::render_reference;
use crate::audio::voice::tests::{Room, Talker, energy};

fn ramp() -> Block {
    std::array::from_fn(|n| n as f32 / BLOCK_SAMPLES as f32 - 0.5)
}

#[test]
fn synthetic_sound_passes_untouched() {
    let (mut tap, reference) = render_reference();
    let mut stage = CaptureStage::new(VoiceOptions::default(), Some(reference));
    stage.handle_source(false);
    let now = Instant::now();
    for n in 0..20 {
        tap.handle_block(&ramp());
        let at = now + BLOCK_DURATION * n;
        let mut block = ramp();
        assert_eq!(stage.process(&mut block, at), at);
        assert_eq!(block, ramp());
    }
}

/// Playout and capture on two threads that do not keep step: the echo goes all the same.
#[test]
fn the_echo_of_what_the_tap_was_told_is_removed() {
    let (mut tap, reference) = render_reference();
    let mut stage = CaptureStage::new(VoiceOptions::default(), Some(reference));
    stage.handle_source(true);
    let (mut talker, mut room) = (Talker::new(5), Room::new(60, 6));
    // What was played long before the microphone came; it must not shift the reference.
    for _ in 0..80 {
        tap.handle_block(&ramp());
    }
    let begun = Instant::now();
    let (mut echo_energy, mut left) = (0.0, 0.0);
    for n in 0..500u32 {
        // The first two blocks are played before the microphone begins, then a device with a
        // period of 20 ms asks for two blocks every other time.
        let renders = if n % 2 == 0 { 2 } else { 0 };
        for _ in 0..renders {
            let render = talker.next_block();
            tap.handle_block(&render);
            room.handle_render(&render);
        }
        let mut block = room.next_echo();
        let before = energy(&block);
        stage.process(&mut block, begun + BLOCK_DURATION * n);
        if n >= 300 {
            echo_energy += before;
            left += energy(&block);
        }
    }
    let removed_db = 10.0 * (echo_energy / left).log10();
    println!("echo lowered by {removed_db:.1} dB through the ring");
    assert!(removed_db > 25.0, "{removed_db}");
}

#[test]
fn processed_sound_is_dated_by_the_oldest_it_may_carry() {
    let mut stage = CaptureStage::new(VoiceOptions::default(), None);
    stage.handle_source(true);
    let begun = Instant::now();
    let at = |n: u32| begun + BLOCK_DURATION * n;
    let oldest: Vec<Instant> = (0..5).map(|n| stage.process(&mut ramp(), at(n))).collect();
    assert_eq!(oldest, [at(0), at(0), at(0), at(1), at(2)]);
    // After a gap the first blocks still carry sound from before it.
    assert_eq!(stage.process(&mut ramp(), at(90)), at(3));
    assert_eq!(stage.process(&mut ramp(), at(91)), at(4));
    assert_eq!(stage.process(&mut ramp(), at(92)), at(90));
    stage.handle_source(true);
    assert_eq!(stage.process(&mut ramp(), at(93)), at(93));
}

#[test]
fn a_playout_that_stands_still_is_silence_and_stops_nothing() {
    let (_tap, reference) = render_reference();
    let mut stage = CaptureStage::new(VoiceOptions::default(), Some(reference));
    stage.handle_source(true);
    let mut talker = Talker::new(9);
    let begun = Instant::now();
    let (mut said, mut sent) = (0.0, 0.0);
    for n in 0..300u32 {
        let mut block = talker.next_block();
        said += energy(&block);
        stage.process(&mut block, begun + BLOCK_DURATION * n);
        sent += energy(&block);
    }
    assert!(sent > said / 4.0, "{said} became {sent}");
}

/// The mute gate goes by the date: whatever is dated after the last word must not carry it. The
/// high-pass filter's ring is let through.
#[test]
fn nothing_said_before_its_date_is_left_in_a_block() {
    let mut stage = CaptureStage::new(VoiceOptions::default(), None);
    stage.handle_source(true);
    let mut talker = Talker::new(14);
    let begun = Instant::now();
    let silent_from = begun + BLOCK_DURATION * 101;
    let (mut loudest, mut held_back, mut passed) = (0.0f64, 0.0f64, 0.0f64);
    for n in 0..130u32 {
        let at = begun + BLOCK_DURATION * n;
        let mut block = talker.next_block().map(|sample| sample * 3.0);
        if at >= silent_from {
            block = SILENT_BLOCK;
        }
        let oldest = stage.process(&mut block, at);
        if oldest >= silent_from {
            passed = passed.max(energy(&block));
        } else if at >= silent_from {
            held_back = held_back.max(energy(&block));
        } else {
            loudest = loudest.max(energy(&block));
        }
    }
    let below_db = |energy: f64| 10.0 * (loudest / energy).log10();
    println!(
        "below the voice: {:.1} dB held back, {:.1} dB passed",
        below_db(held_back),
        below_db(passed)
    );
    assert!(below_db(held_back) < 35.0, "the delay is real");
    assert!(below_db(passed) > 40.0, "{}", below_db(passed));
}

/// Switching any part on or off leaves no step beyond the tone's own, and the tone goes on.
#[test]
fn switching_parts_is_not_heard_as_a_click() {
    const AMPLITUDE: f32 = 0.1;
    let step = std::f32::consts::TAU * 330.0 / 48_000.0;
    let all = VoiceOptions::default();
    let echo_only = VoiceOptions {
        echo_cancellation: true,
        ..VoiceOptions::OFF
    };
    let without_gain = VoiceOptions {
        gain_control: false,
        ..all
    };
    let changes = [
        (echo_only, without_gain),
        (all, VoiceOptions::OFF),
        (all, without_gain),
        (all, echo_only),
        (without_gain, all),
        (VoiceOptions::OFF, all),
        (VoiceOptions::OFF, echo_only),
    ];
    for (from, to) in changes {
        let mut stage = CaptureStage::new(from, None);
        stage.handle_source(true);
        let begun = Instant::now();
        let mut sound = Vec::new();
        for n in 0..260u32 {
            if n == 200 {
                stage.set_options(to);
            }
            let first = n as usize * BLOCK_SAMPLES;
            let mut block = std::array::from_fn(|i| AMPLITUDE * ((first + i) as f32 * step).sin());
            stage.process(&mut block, begun + BLOCK_DURATION * n);
            sound.extend_from_slice(&block);
        }
        let largest_step = |from_block: usize, blocks: usize| {
            let samples = &sound[from_block * BLOCK_SAMPLES..(from_block + blocks) * BLOCK_SAMPLES];
            let steps = samples.windows(2).map(|pair| (pair[1] - pair[0]).abs());
            steps.fold(0.0, f32::max)
        };
        // Gain control makes either side of a change louder, and its steps with it.
        let own = largest_step(150, 40).max(largest_step(215, 40));
        let changing = largest_step(198, 16);
        assert!(
            changing < own * 1.5,
            "{from:?} to {to:?}: {changing}, own {own}"
        );
        assert!(largest_step(250, 10) > 0.0, "{to:?} is silent");
    }
}
