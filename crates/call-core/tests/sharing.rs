//! Sharing a screen: what the others hear of it, and when it ends.

use std::time::Duration;

use call_core::{Input, MediaOp};
use call_protocol::ErrorCode;
use call_protocol::ui::{DeviceState, UiCommand};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn start(world: &mut World, id: &str) {
    let id = id.to_owned();
    world.command(0, UiCommand::StartShare { id });
}

fn tell(world: &mut World, id: &str, state: DeviceState) {
    let id = id.to_owned();
    world.input(0, Input::Share { id, state });
    world.run(SECOND);
}

/// Whether the second client is told that the first one shares.
fn is_told(world: &World) -> bool {
    world.call(1).members[0].sharing
}

fn shares(world: &mut World) -> Vec<Option<String>> {
    let media = std::mem::take(&mut world.clients[0].media).into_iter();
    let share = |op| match op {
        MediaOp::Share { id } => Some(id),
        _ => None,
    };
    media.filter_map(share).collect()
}

#[test]
fn the_others_hear_of_a_share_while_there_is_something_to_see() {
    let mut world = World::in_call(2);
    shares(&mut world);
    start(&mut world, "screen:a");
    world.run(SECOND);
    assert!(!is_told(&world), "no pictures yet");
    tell(&mut world, "screen:a", DeviceState::Running);
    assert!(is_told(&world));
    // Another one in its place, and news of the first that come late.
    start(&mut world, "window:b");
    let code = ErrorCode::ShareLost;
    tell(&mut world, "screen:a", DeviceState::Failed { code });
    assert!(!is_told(&world) && world.call(0).share.is_some());
    tell(&mut world, "window:b", DeviceState::Running);
    assert!(is_told(&world));
    world.command(0, UiCommand::StopShare);
    world.run(SECOND);
    assert!(!is_told(&world) && world.call(0).share.is_none());
    let ids = [Some("screen:a"), Some("window:b"), None];
    assert_eq!(shares(&mut world), ids.map(|id| id.map(str::to_owned)));
}

#[test]
fn a_share_that_fails_is_over_and_says_why() {
    let mut world = World::in_call(2);
    start(&mut world, "window:b");
    tell(&mut world, "window:b", DeviceState::Running);
    shares(&mut world);
    let code = ErrorCode::ShareNotFound;
    tell(&mut world, "window:b", DeviceState::Failed { code });
    assert!(!is_told(&world) && world.call(0).share.is_none());
    assert_eq!(shares(&mut world), [None]);
    assert!(world.clients[0].failed.contains(&code));
}

#[test]
fn a_share_ends_with_the_call_and_there_is_none_without() {
    let mut world = World::in_call(2);
    start(&mut world, "screen");
    tell(&mut world, "screen", DeviceState::Running);
    shares(&mut world);
    world.command(0, UiCommand::LeaveCall);
    world.run(SECOND);
    assert_eq!(shares(&mut world), [None]);
    start(&mut world, "screen");
    world.run(SECOND);
    assert_eq!(shares(&mut world), []);
}
