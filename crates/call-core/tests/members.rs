//! What members see of each other, and what passes through to the media engine.

use std::time::Duration;

use call_core::{CallEvent, Input, MediaOp};
use call_protocol::ui::frame::SELF_MEMBER;
use call_protocol::ui::{Delivery, DeviceKind, DeviceOption, DeviceState, TileSize, UiCommand};
use call_protocol::wire::{ClientMessage, TopologyMode};
use call_protocol::{ErrorCode, MediaSource, MemberId, limits};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn updates(world: &World, client: usize) -> usize {
    let is_update = |message: &&ClientMessage| matches!(message, ClientMessage::Update { .. });
    world.clients[client].sent.iter().filter(is_update).count()
}

#[test]
fn mute_camera_name_and_colour_reach_the_others() {
    let mut world = World::in_call(2);
    world.command(1, UiCommand::SetMuted { muted: true });
    world.command(1, UiCommand::SetCamera { on: false });
    world.command(
        1,
        UiCommand::SetName {
            name: "Anna".into(),
        },
    );
    world.command(1, UiCommand::SetTint { tint: Some(5) });
    world.run(SECOND);
    let member = &world.call(0).members[0];
    assert_eq!(
        (member.name.as_str(), member.muted, member.camera_on),
        ("Anna", true, false)
    );
    assert_eq!(member.tint, Some(5));
    let tint = Some(limits::TINTS);
    world.command(1, UiCommand::SetTint { tint });
    world.run(SECOND);
    let member = &world.call(0).members[0];
    assert_eq!(member.tint, None, "there is no such colour");
}

#[test]
fn a_nervous_finger_is_coalesced_and_the_last_state_wins() {
    let mut world = World::in_call(2);
    for round in 0..51 {
        world.command(
            1,
            UiCommand::SetMuted {
                muted: round % 2 == 0,
            },
        );
        world.run(Duration::from_millis(10));
    }
    world.run(SECOND);
    assert!(world.call(0).members[0].muted);
    assert!(
        (2..=5).contains(&updates(&world, 1)),
        "{} updates",
        updates(&world, 1)
    );
}

#[test]
fn commands_that_change_nothing_send_nothing() {
    let mut world = World::in_call(2);
    world.command(1, UiCommand::SetMuted { muted: false });
    world.command(1, UiCommand::SetCamera { on: true });
    world.command(1, UiCommand::SetName { name: "C1".into() });
    world.run(SECOND);
    assert_eq!(updates(&world, 1), 0);
}

#[test]
fn a_camera_that_fails_is_off_for_the_others_and_the_call_goes_on() {
    let mut world = World::in_call(2);
    let device = |state| Input::Device {
        kind: DeviceKind::Camera,
        state,
    };
    let code = ErrorCode::CameraLost;
    world.input(1, device(DeviceState::Failed { code }));
    world.run(SECOND);
    assert!(!world.call(0).members[0].camera_on);
    assert!(world.view(1).camera_on, "still wanted");
    assert_eq!(world.clients[1].failed, [code]);
    assert!(matches!(
        world.clients[1].events.last(),
        Some(CallEvent::Error { .. })
    ));
    world.input(1, device(DeviceState::Running));
    world.run(SECOND);
    assert!(world.call(0).members[0].camera_on);
    world.assert_full_mesh(&[0, 1]);
}

#[test]
fn devices_are_listed_and_chosen() {
    let mut world = World::new(1);
    let options = vec![DeviceOption {
        id: "cam".into(),
        name: "Camera".into(),
    }];
    let kind = DeviceKind::Camera;
    world.input(
        0,
        Input::Devices {
            kind,
            options: options.clone(),
            selected: None,
        },
    );
    world.command(
        0,
        UiCommand::SelectDevice {
            kind,
            id: Some("cam".into()),
        },
    );
    let camera = &world.view(0).devices.camera;
    assert_eq!(
        (&camera.options, camera.selected.as_deref()),
        (&options, Some("cam"))
    );
    let chosen = MediaOp::SelectDevice {
        kind,
        id: Some("cam".into()),
    };
    assert_eq!(world.clients[0].media.last(), Some(&chosen));
    world.command(
        0,
        UiCommand::SelectDevice {
            kind,
            id: Some("x".repeat(5_000)),
        },
    );
    assert_eq!(world.clients[0].failed, [ErrorCode::BadArgument]);
}

#[test]
fn what_concerns_pictures_is_passed_on_for_members_only() {
    let mut world = World::in_call(2);
    let (member, stranger, source) = (world.me(1), MemberId(99), MediaSource::Camera);
    world.clients[0].media.clear();
    let tile = |member| TileSize {
        member,
        source,
        width_px: 640,
        height_px: 360,
    };
    let tiles = vec![tile(member), tile(stranger), tile(SELF_MEMBER)];
    world.command(0, UiCommand::SetVisibleTiles { tiles });
    world.command(
        0,
        UiCommand::FrameCredit {
            epoch: 3,
            messages: 2,
        },
    );
    world.command(0, UiCommand::RefreshDevices);
    for member in [member, stranger] {
        let delivery = Delivery::I420;
        world.command(0, UiCommand::NeedKeyframe { member, source });
        world.command(
            0,
            UiCommand::SetDelivery {
                member,
                source,
                delivery,
            },
        );
    }
    assert_eq!(
        world.clients[0].media,
        [
            MediaOp::SetVisibleTiles {
                tiles: vec![tile(member), tile(SELF_MEMBER)]
            },
            MediaOp::FrameCredit {
                epoch: 3,
                messages: 2
            },
            MediaOp::RefreshDevices,
            MediaOp::RequestKeyframe { member, source },
            MediaOp::SetDelivery {
                member,
                source,
                delivery: Delivery::I420
            },
        ]
    );
}

#[test]
fn refresh_sends_the_view_again() {
    let mut world = World::new(1);
    let before = world.clients[0].view.take();
    world.command(0, UiCommand::SetMuted { muted: false });
    assert_eq!(world.clients[0].view, None, "nothing changed");
    world.command(0, UiCommand::Refresh);
    assert_eq!(world.clients[0].view, before);
}

#[test]
fn the_way_of_media_is_shown() {
    use call_protocol::wire::ServerMessage;
    let mut world = World::in_call(2);
    let (mode, reason) = (TopologyMode::Sfu, "room grew".to_owned());
    world.say(
        0,
        ServerMessage::Topology {
            mode,
            reason: reason.clone(),
        },
    );
    assert_eq!(world.call(0).topology, TopologyMode::Sfu);
    let changed = CallEvent::Topology { mode, reason };
    assert!(world.clients[0].events.contains(&changed));
}

#[test]
fn a_members_volume_is_bounded_kept_over_links_and_gone_with_them() {
    let mut world = World::in_call(2);
    let member = world.me(1);
    let heard = |world: &World| {
        let member = &world.call(0).members[0];
        (member.volume_percent, member.muted_here)
    };
    let sound = |volume_percent, muted_here| MediaOp::SetMemberSound {
        member,
        volume_percent,
        muted_here,
    };
    let volume = |member, volume_percent| UiCommand::SetMemberVolume {
        member,
        volume_percent,
    };
    assert_eq!(heard(&world), (100, false));
    world.command(0, volume(member, 150));
    let muted = true;
    world.command(0, UiCommand::SetMemberMutedHere { member, muted });
    assert_eq!(heard(&world), (150, true));
    assert!(
        !world.call(0).members[0].muted,
        "they did not mute themselves"
    );
    assert_eq!(world.clients[0].media.last(), Some(&sound(150, true)));

    world.command(0, volume(member, 201));
    assert_eq!(world.clients[0].failed, [ErrorCode::BadArgument]);
    world.clients[0].media.clear();
    world.command(0, volume(MemberId(99), 10));
    assert_eq!(heard(&world), (150, true));
    assert_eq!(world.clients[0].media, []);

    // A link that is opened anew begins its sound anew.
    world.set_path(0, 1, false);
    world.run(60 * SECOND);
    world.set_path(0, 1, true);
    world.run(60 * SECOND);
    world.assert_full_mesh(&[0, 1]);
    assert_eq!(heard(&world), (150, true));
    assert!(world.clients[0].media.contains(&sound(150, true)));

    world.command(1, UiCommand::LeaveCall);
    world.run(SECOND);
    world.join(1, 0);
    world.run(2 * SECOND);
    assert_ne!(world.me(1), member);
    assert_eq!(heard(&world), (100, false));
}
