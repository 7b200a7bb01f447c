//! Losing the server while in a call.

use std::time::Duration;

use call_core::{CallEvent, Input, LinkEvent, LinkOp, LinkState};
use call_protocol::ErrorCode;
use call_protocol::peer::PeerSignal;
use call_protocol::ui::{CallPhase, UiCommand};
use call_protocol::wire::ServerMessage;

use crate::world::{SETTLE, World};

const SECOND: Duration = Duration::from_secs(1);

/// Clears what was recorded so far, once the call is stable.
pub(crate) fn settled(count: usize) -> World {
    let mut world = World::in_call(count);
    world.run(SECOND * 20);
    for client in &mut world.clients {
        client.events.clear();
        client.ops.clear();
        client.sent.clear();
        client.connects.clear();
    }
    world
}

#[test]
fn a_short_loss_is_resumed_and_the_others_see_nothing() {
    let mut world = settled(3);
    world.cut_socket(1, None);
    world.run(Duration::from_millis(10));
    assert_eq!(world.phase(1), Some(CallPhase::Reconnecting));
    assert_eq!(world.call(1).members.len(), 2, "the call stays on screen");
    world.run(SECOND);
    world.assert_full_mesh(&[0, 1, 2]);
    assert_eq!(
        world.clients[1].events,
        [CallEvent::Reconnecting, CallEvent::Resumed]
    );
    for client in 0..3 {
        assert!(world.clients[client].ops.is_empty(), "no link was touched");
    }
    assert!(world.clients[0].events.is_empty() && world.clients[2].events.is_empty());
}

#[test]
fn back_off_grows_to_seven_seconds() {
    let mut world = settled(1);
    let start = world.now;
    world.cut_server(true);
    world.run(SECOND * 60);
    assert_eq!(
        world.phase(0),
        Some(CallPhase::Reconnecting),
        "never gives up"
    );
    let connects = &world.clients[0].connects;
    assert!(connects[0] - start < Duration::from_millis(20), "at once");
    let waits: Vec<f64> = connects
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    for (index, want) in [0.3, 1.2, 2.7, 4.8, 7.0, 7.0, 7.0].into_iter().enumerate() {
        let latency = 0.01;
        assert!((waits[index] - latency) / want >= 0.79 && (waits[index] - latency) / want <= 1.21);
    }
    assert!(waits.iter().all(|wait| *wait < 8.5));
}

#[test]
fn a_server_that_drops_everybody_at_once_is_not_stormed() {
    let mut world = World::new(1);
    world.command(0, UiCommand::StartCall);
    for _ in 0..600 {
        world.run(Duration::from_millis(100));
        if world.phase(0) == Some(CallPhase::Joined) {
            world.cut_socket(0, None);
        }
    }
    let count = world.clients[0].connects.len();
    assert!((5..=15).contains(&count), "{count} connects in a minute");
}

#[test]
fn what_happened_meanwhile_is_caught_up_with() {
    let mut world = settled(4);
    world.cut_socket(1, None);
    world.server_up = false;
    world.run(SECOND * 2);
    world.command(2, UiCommand::LeaveCall);
    world.command(3, UiCommand::SetMuted { muted: true });
    world.command(
        1,
        UiCommand::SetName {
            name: "Renamed".into(),
        },
    );
    world.run(SECOND);
    world.server_up = true;
    world.run(SECOND * 20);
    world.assert_full_mesh(&[0, 1, 3]);
    assert_eq!(world.call(0).members[0].name, "Renamed");
    let events = &world.clients[0].events;
    let lost =
        |event: &CallEvent| matches!(event, CallEvent::MemberLeft { name, .. } if name != "C2");
    assert!(
        !events.iter().any(lost),
        "only the one who left is gone: {events:?}"
    );
}

#[test]
fn a_member_who_joins_meanwhile_is_connected_after_the_resume() {
    let mut world = World::new(3);
    world.command(0, UiCommand::StartCall);
    world.run(SECOND);
    world.join(1, 0);
    world.run(SECOND * 20);
    world.cut_socket(0, None);
    world.join(2, 0);
    world.run(Duration::from_millis(400));
    world.run(SETTLE);
    world.assert_full_mesh(&[0, 1, 2]);
}

#[test]
fn a_link_set_up_while_the_server_is_gone_finishes_afterwards() {
    for cut_ms in (0..60).step_by(3) {
        let mut world = World::new(2);
        world.command(0, UiCommand::StartCall);
        world.run(SECOND);
        world.join(1, 0);
        world.run(Duration::from_millis(140 + cut_ms));
        world.cut_server(true);
        world.run(SECOND);
        world.server_up = true;
        world.run(SETTLE);
        world.assert_full_mesh(&[0, 1]);
    }
}

#[test]
fn own_signals_wait_for_the_resume_in_order_and_within_bounds() {
    let mut world = settled(2);
    let link = world.open_links(1)[0];
    world.server_up = false;
    world.cut_socket(1, None);
    world.run(SECOND);
    for n in 0..300 {
        let candidate = PeerSignal::Candidate {
            candidate: format!("candidate:{n}"),
            mid: None,
            mline_index: None,
        };
        world.input(
            1,
            Input::Link {
                link,
                event: LinkEvent::Signal(candidate),
            },
        );
    }
    assert!(world.clients[1].sent.is_empty());
    world.server_up = true;
    world.run(SECOND * 3);
    let numbers: Vec<u32> = world.clients[0]
        .ops
        .iter()
        .filter_map(|op| match op {
            LinkOp::Signal {
                signal: PeerSignal::Candidate { candidate, .. },
                ..
            } => candidate.strip_prefix("candidate:")?.parse().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(
        numbers,
        (44..300).collect::<Vec<_>>(),
        "the oldest were dropped"
    );
}

#[test]
fn a_link_lost_with_the_server_is_restarted_at_the_resume() {
    let mut world = settled(2);
    world.cut_server(true);
    world.set_path(0, 1, false);
    world.run(SECOND * 8);
    let is_restart = |op: &&LinkOp| matches!(op, LinkOp::Restart { .. });
    assert_eq!(
        world.clients[1].ops.iter().find(is_restart),
        None,
        "no signal could travel"
    );
    world.set_path(0, 1, true);
    world.server_up = true;
    world.run(SECOND * 8);
    world.assert_full_mesh(&[0, 1]);
    assert!(
        world.clients[1]
            .ops
            .iter()
            .all(|op| !matches!(op, LinkOp::Open { .. }))
    );
}

#[test]
fn a_seat_taken_over_elsewhere_is_not_fought_for() {
    let mut world = settled(2);
    let detail = String::new();
    world.say(
        0,
        ServerMessage::Error {
            code: ErrorCode::SeatTaken,
            detail,
            fatal: true,
        },
    );
    let code = Some(ErrorCode::SeatTaken);
    assert_eq!(world.phase(0), Some(CallPhase::Ended { code }));
    world.assert_idle(0);
    assert!(world.clients[0].connects.is_empty());
}

#[test]
fn an_error_that_is_not_fatal_is_noted() {
    let mut world = settled(2);
    let (code, detail) = (ErrorCode::UnknownMember, "gone".to_owned());
    world.say(
        0,
        ServerMessage::Error {
            code,
            detail: detail.clone(),
            fatal: false,
        },
    );
    assert_eq!(world.clients[0].events, [CallEvent::Error { code, detail }]);
    world.assert_full_mesh(&[0, 1]);
}

#[test]
fn leaving_while_the_server_is_gone_frees_everything() {
    let mut world = settled(2);
    world.cut_server(true);
    world.run(SECOND);
    world.command(0, UiCommand::LeaveCall);
    world.assert_idle(0);
    assert!(matches!(world.clients[0].ops[..], [LinkOp::Close { .. }]));
    world.server_up = true;
    world.run(SETTLE);
    world.assert_full_mesh(&[1]);
}

#[test]
fn a_link_in_setup_is_offered_again_at_the_resume_instead_of_given_up() {
    let mut world = World::new(2);
    world.set_path(0, 1, false);
    world.command(0, UiCommand::StartCall);
    world.run(SECOND);
    world.join(1, 0);
    world.run(SECOND);
    world.clients[1].ops.clear();
    world.cut_server(true);
    world.run(SECOND * 18);
    world.server_up = true;
    world.run(SECOND * 8);
    let ops = &world.clients[1].ops;
    assert!(
        matches!(ops[..], [LinkOp::Restart { .. }, LinkOp::Signal { .. }]),
        "{ops:?}"
    );
}

#[test]
fn a_link_that_failed_meanwhile_is_hung_up_after_the_resume() {
    let mut world = settled(2);
    let link = world.open_links(1)[0];
    world.server_up = false;
    world.cut_socket(1, None);
    world.run(SECOND);
    world.input(
        1,
        Input::Link {
            link,
            event: LinkEvent::State(LinkState::Failed),
        },
    );
    world.server_up = true;
    world.run(SECOND * 3);
    let is_close = |op: &LinkOp| matches!(op, LinkOp::Close { .. });
    assert!(is_close(&world.clients[0].ops[0]), "the other half is told");
    world.assert_full_mesh(&[0, 1]);
}
