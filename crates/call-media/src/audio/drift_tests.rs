//! Drift found by ear, and what must not be mistaken for it.

use super::*;
use crate::audio::voice::tests::{Noise, Room, Talker};

#[test]
fn three_measurements_that_agree_move_the_drift_and_fewer_do_not() {
    let mut tracker = DriftTracker::default();
    for (measured, change, drift_ppm) in [
        (100.0, DriftChange::None, 0.0),
        (-300.0, DriftChange::None, 0.0),
        (110.0, DriftChange::None, 0.0),
        (f64::NAN, DriftChange::None, 0.0),
        (5_000.0, DriftChange::None, 0.0),
        (105.0, DriftChange::Stepped, 105.0),
        (110.0, DriftChange::None, 105.0),
        (110.0, DriftChange::None, 105.0),
        (110.0, DriftChange::Approached, 106.0),
    ] {
        assert_eq!(tracker.handle_drift(measured), change, "{measured}");
        assert!((tracker.drift_ppm() - drift_ppm).abs() < 1e-9, "{measured}");
    }
    tracker.restart();
    assert_eq!(tracker.handle_drift(300.0), DriftChange::None);
    assert_eq!(tracker.drift_ppm(), 106.0);
}

/// Runs `seconds` of `far` through `room` and hands out the drift found after every block.
fn listen(
    compensation: &mut DriftCompensation,
    room: &mut Room,
    mut far: impl FnMut() -> Block,
    mut near: impl FnMut() -> Block,
    blocks: u32,
) -> Vec<f64> {
    let found = (0..blocks).map(|_| {
        while room.needs_render() {
            let render = far();
            room.handle_render(&render);
            compensation.handle_render(&render);
            while compensation.poll_render().is_some() {}
        }
        let mut block = room.next_echo();
        for (sample, near) in block.iter_mut().zip(near()) {
            *sample += near;
        }
        compensation.handle_capture(&block);
        compensation.drift_ppm()
    });
    found.collect()
}

fn silence() -> Block {
    [0.0; BLOCK_SAMPLES]
}

#[test]
fn drift_is_found_within_three_seconds_and_held_to_a_few_ppm() {
    for (drift_ppm, delay_ms, most_left_ppm) in [
        (-200, 20, 25.0),
        (0, 200, 25.0),
        (50, 80, 25.0),
        (200, 500, 25.0),
        // The echo moves by two samples within a segment: it may be found later.
        (-500, 60, 510.0),
    ] {
        let mut compensation = DriftCompensation::new().unwrap();
        let mut room = Room::with_drift(delay_ms, 21, drift_ppm);
        let mut talker = Talker::new(22);
        let far = || talker.next_block();
        let found = listen(&mut compensation, &mut room, far, silence, 1_000);
        let left = |second: usize| found[second * 100 - 1] - f64::from(drift_ppm);
        println!(
            "drift {drift_ppm} ppm, echo after {delay_ms} ms: {:.1} ppm left after 1 s, \
             {:.1} after 2 s, {:.1} after 3 s, {:.1} after 10 s",
            left(1),
            left(2),
            left(3),
            left(10)
        );
        assert!(
            left(3).abs() < most_left_ppm,
            "{drift_ppm} ppm, {delay_ms} ms"
        );
        assert!(left(10).abs() < 8.0, "{drift_ppm} ppm, {delay_ms} ms");
    }
}

#[test]
fn both_sides_talking_is_no_hindrance() {
    let mut compensation = DriftCompensation::new().unwrap();
    let mut room = Room::with_drift(60, 23, 150);
    let (mut talker, mut near) = (Talker::new(24), Talker::new(25));
    let far = || talker.next_block();
    let near = || near.next_block().map(|sample| 0.3 * sample);
    let found = listen(&mut compensation, &mut room, far, near, 800);
    println!("drift 150 ppm during double talk: found {:.1}", found[799]);
    assert!((found[799] - 150.0).abs() < 20.0);
}

/// A headset: the far end is played and never captured.
#[test]
fn without_an_echo_nothing_is_found() {
    let mut compensation = DriftCompensation::new().unwrap();
    let (mut talker, mut near) = (Talker::new(26), Talker::new(27));
    for _ in 0..2_000 {
        compensation.handle_render(&talker.next_block());
        while compensation.poll_render().is_some() {}
        compensation.handle_capture(&near.next_block());
    }
    assert_eq!(compensation.drift_ppm(), 0.0);
}

/// A periodic sound tells its shift up to whole periods only; better nothing than the wrong one.
#[test]
fn a_tone_does_not_mislead() {
    let mut compensation = DriftCompensation::new().unwrap();
    let mut room = Room::with_drift(60, 28, 100);
    let mut at = 0u32;
    let tone = || {
        std::array::from_fn(|_| {
            at += 1;
            (at as f32 * 1_000.0 * std::f32::consts::TAU / 48_000.0).sin() * 0.3
        })
    };
    let found = listen(&mut compensation, &mut room, tone, silence, 600);
    assert!(
        found.iter().all(|found| (-20.0..=120.0).contains(found)),
        "{:?}",
        found.last()
    );
}

/// What is learnt outlasts a gap, and a changed device is learnt anew.
#[test]
fn a_gap_keeps_the_drift_and_another_device_replaces_it() {
    let mut compensation = DriftCompensation::new().unwrap();
    let mut talker = Talker::new(29);
    let mut room = Room::with_drift(60, 30, 200);
    listen(
        &mut compensation,
        &mut room,
        || talker.next_block(),
        silence,
        300,
    );
    let learnt = compensation.drift_ppm();
    assert!((learnt - 200.0).abs() < 25.0, "{learnt}");
    compensation.handle_gap();
    assert_eq!(compensation.drift_ppm(), learnt);
    let mut room = Room::with_drift(90, 31, -100);
    let found = listen(
        &mut compensation,
        &mut room,
        || talker.next_block(),
        silence,
        300,
    );
    assert!((found[299] + 100.0).abs() < 25.0, "{}", found[299]);
}

/// Blocks that come in bursts, as device callbacks bring them, change nothing: samples are
/// counted, not timed.
#[test]
fn bursts_do_not_matter() {
    let mut compensation = DriftCompensation::new().unwrap();
    let mut room = Room::with_drift(80, 32, -150);
    let (mut talker, mut noise) = (Talker::new(33), Noise(34));
    let mut waiting = Vec::new();
    for _ in 0..500 {
        while room.needs_render() {
            let render = talker.next_block();
            room.handle_render(&render);
            compensation.handle_render(&render);
            while compensation.poll_render().is_some() {}
        }
        waiting.push(room.next_echo());
        if noise.next() > 0.2 {
            for block in waiting.drain(..) {
                compensation.handle_capture(&block);
            }
        }
    }
    let found = compensation.drift_ppm();
    assert!((found + 150.0).abs() < 10.0, "{found}");
}
