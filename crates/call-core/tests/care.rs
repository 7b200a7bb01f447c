//! The host, the door, removals and questions to mute, between whole sessions and a server that may lie.

use std::time::Duration;

use call_core::{CallEvent, MediaOp};
use call_protocol::care::{Door, Moderation};
use call_protocol::ui::{CallPhase, CareCommand, CareView, UiCommand};
use call_protocol::wire::{ClientMessage, ServerMessage};
use call_protocol::{ErrorCode, MemberId};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn care(world: &mut World, client: usize, command: CareCommand) {
    world.command(client, UiCommand::Care { command });
    world.run(2 * SECOND);
}

fn view(world: &World, client: usize) -> &CareView {
    &world.call(client).care
}

fn hosts(world: &World) -> Vec<Option<MemberId>> {
    (0..world.clients.len())
        .map(|client| view(world, client).host)
        .collect()
}

fn ended(code: ErrorCode) -> Option<CallPhase> {
    Some(CallPhase::Ended { code: Some(code) })
}

#[test]
fn a_stranger_knocks_shows_a_name_and_nothing_else_and_is_let_in() {
    let mut world = World::new(4);
    world.command(0, UiCommand::StartCall);
    world.run(2 * SECOND);
    world.join(1, 0);
    world.run(2 * SECOND);
    care(&mut world, 0, CareCommand::SetDoor { door: Door::Knock });
    assert_eq!(view(&world, 1).door, Door::Knock);
    for stranger in [2, 3] {
        world.join(stranger, 0);
        world.run(2 * SECOND);
        let call = world.call(stranger);
        assert_eq!(call.phase, CallPhase::Knocking);
        assert_eq!(
            (call.me, call.members.len(), call.care.host),
            (None, 0, None)
        );
        assert!(world.open_links(stranger).is_empty());
    }
    let names: Vec<_> = view(&world, 0)
        .knocks
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(names, ["C2", "C3"]);
    assert_eq!(view(&world, 1).knocks, [], "for the host alone");
    let numbers: Vec<u32> = view(&world, 0).knocks.iter().map(|it| it.knock).collect();
    care(&mut world, 0, CareCommand::Admit { knock: numbers[0] });
    care(&mut world, 0, CareCommand::Refuse { knock: numbers[1] });
    assert_eq!(world.phase(3), ended(ErrorCode::NotAdmitted));
    world.assert_full_mesh(&[0, 1, 2]);
    world.assert_idle(3);
    assert_eq!(view(&world, 0).knocks, []);
    // Giving up is seen, too.
    world.join(3, 0);
    world.run(2 * SECOND);
    assert_eq!(view(&world, 0).knocks.len(), 1);
    world.command(3, UiCommand::LeaveCall);
    world.run(2 * SECOND);
    assert_eq!(view(&world, 0).knocks, []);
    care(&mut world, 0, CareCommand::SetDoor { door: Door::Locked });
    world.join(3, 0);
    world.run(2 * SECOND);
    assert_eq!(world.phase(3), ended(ErrorCode::RoomLocked));
}

#[test]
fn who_waits_goes_on_waiting_over_a_new_connection() {
    let mut world = World::new(2);
    world.command(0, UiCommand::StartCall);
    world.run(2 * SECOND);
    care(&mut world, 0, CareCommand::SetDoor { door: Door::Knock });
    world.join(1, 0);
    world.run(20 * SECOND);
    world.cut_socket(1, None);
    world.run(5 * SECOND);
    assert_eq!(world.phase(1), Some(CallPhase::Knocking));
    let knocks = &view(&world, 0).knocks;
    assert_eq!(knocks.len(), 1, "the first one is over");
    let knock = knocks[0].knock;
    care(&mut world, 0, CareCommand::Admit { knock });
    world.assert_full_mesh(&[0, 1]);
}

#[test]
fn a_removed_member_is_out_and_all_others_seal_anew_while_staying_heard() {
    let mut world = World::in_call(3);
    let (removed, others) = (world.me(2), [0, 1]);
    let salts = |world: &World, client: usize| -> Vec<[u8; 16]> {
        let media = world.clients[client].media.iter();
        media
            .filter_map(|op| match op {
                MediaOp::Reseal { salt } => Some(*salt),
                _ => None,
            })
            .collect()
    };
    care(&mut world, 0, CareCommand::Remove { member: removed });
    assert_eq!(world.phase(2), ended(ErrorCode::Removed));
    world.assert_idle(2);
    world.assert_full_mesh(&others);
    for client in others {
        let told = CallEvent::Removed { member: removed };
        assert!(world.clients[client].events.contains(&told));
        let fresh = salts(&world, client);
        assert_eq!(fresh.len(), 1, "client {client}");
        let opened =
            |op: &MediaOp| matches!(op, MediaOp::OpenMember { salt, .. } if *salt == fresh[0]);
        assert!(
            world.clients[1 - client].media.iter().any(opened),
            "announced"
        );
        assert!(
            !world.clients[2].media.iter().any(opened),
            "not to the removed"
        );
    }
    // The code alone lets them in again, which the host prevents by locking the room.
    care(&mut world, 0, CareCommand::SetDoor { door: Door::Locked });
    world.join(2, 0);
    world.run(2 * SECOND);
    assert_eq!(world.phase(2), ended(ErrorCode::RoomLocked));
}

#[test]
fn only_the_persons_own_action_mutes() {
    let mut world = World::in_call(3);
    let asked = world.me(1);
    world.command(2, UiCommand::SetMuted { muted: true });
    world.run(2 * SECOND);
    care(&mut world, 0, CareCommand::AskToMute { member: None });
    assert!(view(&world, 1).asked_to_mute);
    assert!(!view(&world, 2).asked_to_mute, "muted already");
    assert_eq!(world.clients[1].muted, Some(false), "asked, not muted");
    world.command(
        1,
        UiCommand::Care {
            command: CareCommand::KeepMicrophone,
        },
    );
    assert!(!view(&world, 1).asked_to_mute);
    care(
        &mut world,
        0,
        CareCommand::AskToMute {
            member: Some(asked),
        },
    );
    assert!(view(&world, 1).asked_to_mute);
    world.command(1, UiCommand::SetMuted { muted: true });
    assert!(!view(&world, 1).asked_to_mute);
    world.command(1, UiCommand::SetMuted { muted: false });
    // No more than a few questions, however often they are asked.
    for _ in 0..10 {
        world.command(
            1,
            UiCommand::Care {
                command: CareCommand::KeepMicrophone,
            },
        );
        let command = CareCommand::AskToMute {
            member: Some(asked),
        };
        world.command(0, UiCommand::Care { command });
        world.run(Duration::from_millis(100));
    }
    let questions = world.clients[1].events.iter();
    let questions = questions.filter(|it| matches!(it, CallEvent::AskedToMute { .. }));
    assert!(questions.count() <= 3);
}

#[test]
fn the_role_is_handed_on_and_inherited() {
    let mut world = World::in_call(3);
    let [anna, _, cleo] = [0, 1, 2].map(|client| world.me(client));
    assert_eq!(hosts(&world), [Some(anna); 3]);
    care(&mut world, 0, CareCommand::MakeHost { member: cleo });
    assert_eq!(hosts(&world), [Some(cleo); 3]);
    // The one before has no say any more.
    let command = CareCommand::SetDoor { door: Door::Locked };
    care(&mut world, 0, command);
    assert_eq!(world.clients[0].failed, [ErrorCode::NotHost]);
    world.command(2, UiCommand::LeaveCall);
    world.run(2 * SECOND);
    assert_eq!(
        [0, 1].map(|client| view(&world, client).host),
        [Some(anna); 2]
    );
}

#[test]
fn the_role_survives_a_lost_connection_and_a_restart_of_the_server() {
    let mut world = World::in_call(3);
    let anna = world.me(0);
    world.cut_server(false);
    world.run(5 * SECOND);
    assert_eq!(hosts(&world), [Some(anna); 3]);
    world.restart_server();
    world.run(30 * SECOND);
    world.assert_full_mesh(&[0, 1, 2]);
    let after = hosts(&world);
    assert!(after[0].is_some(), "somebody is host");
    assert_eq!(after, [after[0]; 3], "the same one for all");
}

#[test]
fn a_lying_server_makes_nobody_host_beside_the_host() {
    let mut world = World::in_call(3);
    let [anna, ben, _] = [0, 1, 2].map(|client| world.me(client));
    for client in 0..3 {
        world.say(client, ServerMessage::Host { member: ben });
        world.run(SECOND);
    }
    assert_eq!(hosts(&world), [Some(anna); 3]);
    let command = CareCommand::AskToMute { member: None };
    care(&mut world, 1, command);
    assert_eq!(world.clients[1].failed, [ErrorCode::NotHost]);
    let asked = |event: &CallEvent| matches!(event, CallEvent::AskedToMute { .. });
    assert!(!world.clients.iter().any(|it| it.events.iter().any(asked)));
}

#[test]
fn the_end_is_for_everybody() {
    let mut world = World::in_call(3);
    care(&mut world, 0, CareCommand::EndForAll);
    for client in 0..3 {
        assert_eq!(world.phase(client), ended(ErrorCode::CallEnded));
        world.assert_idle(client);
    }
    let moderations = world.clients[0].sent.iter();
    let action = Moderation::End;
    let want = ClientMessage::Moderate { action };
    assert_eq!(moderations.filter(|it| **it == want).count(), 1);
}

#[test]
fn knocks_nobody_can_read_are_shown_as_guests() {
    let mut world = World::in_call(2);
    for knock in 0..30 {
        let profile = "not sealed".to_owned();
        world.say(0, ServerMessage::Knock { knock, profile });
    }
    let knocks = &view(&world, 0).knocks;
    assert_eq!(knocks.len(), call_protocol::limits::WAITING);
    assert!(knocks.iter().all(|it| it.name == "Guest"));
}
