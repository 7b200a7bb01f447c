//! Voice processing switches and sound tests: one at a time, outside calls, and never about mute.

use std::time::Duration;

use call_core::{Input, MediaOp, Output};
use call_protocol::ErrorCode;
use call_protocol::ui::{DeviceKind, SoundTestState, UiCommand, VoiceView};

use crate::world::World;

fn report(world: &mut World, state: SoundTestState) {
    world.input(0, Input::SoundTest { state });
}

fn count(world: &World, op: &MediaOp) -> usize {
    world.clients[0]
        .media
        .iter()
        .filter(|seen| *seen == op)
        .count()
}

#[test]
fn voice_switches_reach_the_microphone_and_the_settings_once() {
    let mut world = World::in_call(2);
    assert_eq!(world.view(0).settings.voice, VoiceView::default());
    let voice = VoiceView {
        noise_suppression: false,
        ..VoiceView::default()
    };
    let command = UiCommand::SetVoice {
        echo_cancellation: true,
        noise_suppression: false,
        gain_control: true,
    };
    world.clients[0].media.clear();
    for _ in 0..2 {
        world.command(0, command.clone());
        assert_eq!(world.view(0).settings.voice, voice);
    }
    assert_eq!(world.clients[0].media, [MediaOp::SetVoice { voice }]);
    let now = world.now;
    let session = &mut world.clients[0].session;
    session.handle_input(
        now,
        Input::Command(UiCommand::SetVoice {
            echo_cancellation: false,
            noise_suppression: false,
            gain_control: true,
        }),
    );
    let saved = std::iter::from_fn(|| session.poll_output()).find_map(|output| match output {
        Output::Settings(settings) => Some(settings.voice),
        _ => None,
    });
    assert!(saved.is_some_and(|saved| !saved.echo_cancellation && saved.gain_control));
}

#[test]
fn a_sound_test_runs_once_and_mute_stays_as_it_is() {
    let mut world = World::new(1);
    world.command(0, UiCommand::SetPreview { on: true });
    world.command(0, UiCommand::SetMuted { muted: true });
    world.clients[0].media.clear();
    world.command(0, UiCommand::StartSoundTest);
    assert_eq!(world.view(0).sound_test, SoundTestState::Starting);
    assert_eq!(world.clients[0].media, [MediaOp::StartSoundTest]);
    for command in [UiCommand::StartSoundTest, UiCommand::PlayTestTone] {
        world.command(0, command);
    }
    assert_eq!(world.clients[0].failed, [ErrorCode::BadState; 2]);
    let recording = SoundTestState::Recording { remaining_s: 4 };
    report(&mut world, recording);
    assert_eq!(world.view(0).sound_test, recording);
    assert!(world.view(0).muted);
    world.command(0, UiCommand::StopSoundTest);
    assert_eq!(count(&world, &MediaOp::StopSoundTest), 1);
    report(&mut world, SoundTestState::Idle);
    world.command(0, UiCommand::StopSoundTest);
    assert_eq!(count(&world, &MediaOp::StopSoundTest), 1, "nothing runs");
    world.command(0, UiCommand::PlayTestTone);
    assert_eq!(world.clients[0].media.last(), Some(&MediaOp::PlayTestTone));
    let touched = |op: &MediaOp| matches!(op, MediaOp::SetMuted { .. });
    assert!(world.view(0).muted && !world.clients[0].media.iter().any(touched));
}

#[test]
fn a_call_another_device_and_the_end_of_the_preview_end_a_sound_test() {
    let select = |kind| UiCommand::SelectDevice { kind, id: None };
    let cases = [
        (UiCommand::StartCall, 1),
        (select(DeviceKind::Microphone), 1),
        (select(DeviceKind::Speaker), 1),
        (select(DeviceKind::Camera), 0),
        (UiCommand::SetPreview { on: false }, 1),
        (UiCommand::SetMuted { muted: true }, 0),
    ];
    for (command, stops) in cases {
        let mut world = World::new(1);
        world.command(0, UiCommand::SetPreview { on: true });
        world.command(0, UiCommand::StartSoundTest);
        world.command(0, command.clone());
        assert_eq!(count(&world, &MediaOp::StopSoundTest), stops, "{command:?}");
    }
}

#[test]
fn there_is_no_sound_test_during_a_call() {
    let mut world = World::in_call(2);
    for command in [UiCommand::StartSoundTest, UiCommand::PlayTestTone] {
        world.command(0, command);
    }
    assert_eq!(world.clients[0].failed, [ErrorCode::BadState; 2]);
    assert_eq!(world.view(0).sound_test, SoundTestState::Idle);
    world.command(0, UiCommand::LeaveCall);
    world.run(Duration::from_secs(1));
    world.command(0, UiCommand::PlayTestTone);
    assert_eq!(world.view(0).sound_test, SoundTestState::Starting);
}
