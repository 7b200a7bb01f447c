//! Starting, joining, leaving, and what can go wrong before the first seat.

use std::time::Duration;

use call_core::{AttemptId, CallEvent, Input, LinkOp, LinkPeer, MediaOp};
use call_protocol::ErrorCode;
use call_protocol::ui::{CallPhase, LinkView, UiCommand};
use call_protocol::wire::{ClientMessage, ServerMessage};

use crate::world::{SETTLE, World};

const SECOND: Duration = Duration::from_secs(1);

fn ended(code: ErrorCode) -> Option<CallPhase> {
    Some(CallPhase::Ended { code: Some(code) })
}

#[test]
fn two_people_meet_by_code() {
    let mut world = World::in_call(2);
    let (host, guest) = (world.me(0), world.me(1));
    let opens = |ops: &[LinkOp]| match ops[0] {
        LinkOp::Open {
            link,
            polite,
            initiator,
            ..
        } => (link.member().unwrap(), polite, initiator),
        _ => panic!("{ops:?}"),
    };
    assert_eq!(
        opens(&world.clients[1].ops),
        (host, false, true),
        "the newcomer offers"
    );
    assert_eq!(opens(&world.clients[0].ops), (guest, true, false));
    let call = world.call(0);
    let (code, link) = (call.code.clone(), call.link.clone());
    assert_eq!(link, format!("visavis://join/{code}"));
    let name = "C1".to_owned();
    assert_eq!(
        world.clients[0].events,
        [
            CallEvent::Room { code, link },
            CallEvent::Joined {
                member: host,
                members: vec![]
            },
            CallEvent::Host { member: host },
            CallEvent::MemberJoined {
                member: guest,
                name: name.clone()
            },
            CallEvent::Link {
                peer: LinkPeer::Member(guest),
                state: LinkView::Connecting
            },
            CallEvent::Link {
                peer: LinkPeer::Member(guest),
                state: LinkView::Connected
            },
        ]
    );
    world.command(1, UiCommand::LeaveCall);
    assert_eq!(world.view(1).call, None);
    assert_eq!(
        world.clients[1].events.last(),
        Some(&CallEvent::Left { code: None })
    );
    world.assert_idle(1);
    world.run(SECOND);
    assert!(world.call(0).members.is_empty() && world.open_links(0).is_empty());
    let left = CallEvent::MemberLeft {
        member: guest,
        name,
    };
    assert_eq!(world.clients[0].events.last(), Some(&left));
}

#[test]
fn four_people_meet_and_one_comes_back() {
    let mut world = World::in_call(4);
    world.command(2, UiCommand::LeaveCall);
    world.run(SECOND);
    world.assert_full_mesh(&[0, 1, 3]);
    world.join(2, 0);
    world.run(SECOND * 2);
    world.assert_full_mesh(&[0, 1, 2, 3]);
    assert_eq!(
        world.call(0).members.last().map(|m| m.name.as_str()),
        Some("C2")
    );
}

#[test]
fn everybody_joining_at_once_ends_in_a_full_mesh() {
    let mut world = World::new(6);
    world.command(0, UiCommand::StartCall);
    for client in 1..6 {
        world.join(client, 0);
    }
    world.run(SECOND * 5);
    world.assert_full_mesh(&[0, 1, 2, 3, 4, 5]);
}

#[test]
fn without_a_server_the_app_hosts_and_others_find_it() {
    let mut world = World::with_server(3, "", 1);
    world.command(0, UiCommand::StartCall);
    world.run(SECOND);
    assert_eq!(world.clients[0].hosts.len(), 1);
    world.join(1, 0);
    world.run(SECOND);
    world.assert_full_mesh(&[0, 1]);
    world.command(
        2,
        UiCommand::JoinCall {
            code: "0000-0000-0000".into(),
        },
    );
    assert_eq!(world.phase(2), Some(CallPhase::Connecting));
    world.run(SECOND);
    assert_eq!(world.phase(2), ended(ErrorCode::RoomNotFoundOnLan));
    world.assert_idle(2);
    world.command(2, UiCommand::LeaveCall);
    assert_eq!(world.view(2).call, None, "dismissed");
    world.command(0, UiCommand::LeaveCall);
    world.assert_idle(0);
}

#[test]
fn a_wrong_code_does_not_leave_home() {
    let mut world = World::new(1);
    for code in ["", "hello", "K7MQ-2X9D-RTBU", "visavis://join/K7MQ"] {
        world.command(0, UiCommand::JoinCall { code: code.into() });
        assert_eq!(
            world.clients[0].failed.pop(),
            Some(ErrorCode::CodeInvalid),
            "{code}"
        );
        assert_eq!(world.view(0).call, None);
    }
    world.assert_idle(0);
}

#[test]
fn commands_that_do_not_fit_are_refused() {
    let mut world = World::new(1);
    world.command(0, UiCommand::LeaveCall);
    world.command(0, UiCommand::StartCall);
    let code = world.call(0).code.clone();
    world.command(0, UiCommand::StartCall);
    world.command(
        0,
        UiCommand::JoinCall {
            code: "0000-0000-0000".into(),
        },
    );
    assert_eq!(world.clients[0].failed, [ErrorCode::BadState; 3]);
    assert_eq!(world.call(0).code, code);
    world.run(SECOND);
    assert_eq!(world.phase(0), Some(CallPhase::Joined));
}

#[test]
fn leaving_works_from_every_state() {
    for steps_ms in [0, 50, 100, 105, 115, 125, 130, 145, 200, 5_000] {
        let mut world = World::in_call(2);
        world.command(1, UiCommand::LeaveCall);
        world.run(SECOND);
        world.join(1, 0);
        world.run(Duration::from_millis(steps_ms));
        world.command(1, UiCommand::LeaveCall);
        assert_eq!(world.view(1).call, None);
        world.assert_idle(1);
        world.run(SETTLE);
        world.assert_idle(1);
        assert!(world.call(0).members.is_empty(), "after {steps_ms} ms");
        world.join(1, 0);
        world.run(SECOND);
        world.assert_full_mesh(&[0, 1]);
    }
}

#[test]
fn answers_to_an_earlier_attempt_are_ignored() {
    let mut world = World::with_server(2, "", 1);
    world.command(
        0,
        UiCommand::JoinCall {
            code: "0000-0000-0000".into(),
        },
    );
    world.command(0, UiCommand::LeaveCall);
    world.command(0, UiCommand::StartCall);
    world.run(SETTLE);
    assert_eq!(world.phase(0), Some(CallPhase::Joined));
    world.command(0, UiCommand::LeaveCall);
    world.command(0, UiCommand::StartCall);
    world.command(0, UiCommand::LeaveCall);
    world.run(SETTLE);
    world.assert_idle(0);
}

#[test]
fn stale_keys_and_servers_start_nothing() {
    let mut world = World::with_server(1, "", 1);
    world.command(0, UiCommand::StartCall);
    let keys = world.keys("0000-0000-0000");
    for attempt in [AttemptId(0), AttemptId(2)] {
        world.input(
            0,
            Input::KeysReady {
                attempt,
                keys: keys.clone(),
            },
        );
    }
    assert!(
        world.clients[0].hosts.is_empty(),
        "nothing is located with stale keys"
    );
    world.input(
        0,
        Input::KeysReady {
            attempt: AttemptId(1),
            keys,
        },
    );
    assert_eq!(world.clients[0].hosts.len(), 1);
    let (attempt, url) = (AttemptId(0), "ws://127.0.0.1:9".to_owned());
    world.input(0, Input::ServerLocated { attempt, url });
    world.input(
        0,
        Input::ServerNotFound {
            attempt,
            code: ErrorCode::HostFailed,
        },
    );
    assert!(world.clients[0].connects.is_empty());
    assert_eq!(world.phase(0), Some(CallPhase::Connecting));
}

#[test]
fn a_host_that_cannot_start_ends_the_call() {
    let mut world = World::with_server(1, "", 1);
    world.command(0, UiCommand::StartCall);
    let attempt = AttemptId(1);
    world.input(
        0,
        Input::ServerNotFound {
            attempt,
            code: ErrorCode::HostFailed,
        },
    );
    assert_eq!(world.phase(0), ended(ErrorCode::HostFailed));
    world.run(SETTLE);
    world.assert_idle(0);
}

#[test]
fn a_server_that_cannot_be_reached_ends_joining_after_a_few_tries() {
    let mut world = World::new(1);
    world.server_up = false;
    world.command(0, UiCommand::StartCall);
    world.run(SECOND * 5);
    assert_eq!(world.phase(0), ended(ErrorCode::ServerUnreachable));
    assert_eq!(world.clients[0].connects.len(), 3);
    let said = &world.clients[0].events;
    let want = "failed while connecting to the server".to_owned();
    assert!(said.contains(&CallEvent::Error {
        code: ErrorCode::ServerUnreachable,
        detail: want
    }));
    world.assert_idle(0);
    world.server_up = true;
    world.command(0, UiCommand::StartCall);
    world.run(SECOND);
    assert_eq!(
        world.phase(0),
        Some(CallPhase::Joined),
        "straight from the ended call"
    );
}

#[test]
fn a_server_that_vanishes_mid_join_ends_joining() {
    for step_ms in [105, 115, 125, 135] {
        let mut world = World::new(1);
        world.command(0, UiCommand::StartCall);
        world.run(Duration::from_millis(step_ms));
        assert_eq!(world.phase(0), Some(CallPhase::Connecting), "{step_ms}");
        world.cut_server(true);
        world.run(SECOND * 5);
        assert_eq!(
            world.phase(0),
            ended(ErrorCode::ServerUnreachable),
            "{step_ms}"
        );
        world.assert_idle(0);
    }
}

#[test]
fn a_server_that_never_answers_ends_joining() {
    let mut world = World::new(1);
    world.server_silent = true;
    world.command(0, UiCommand::StartCall);
    world.run(SECOND * 60);
    assert_eq!(world.phase(0), ended(ErrorCode::ServerUnreachable));
    world.assert_idle(0);
}

#[test]
fn refusals_of_the_server_end_the_call_with_their_code() {
    use ErrorCode as E;
    for (code, fatal) in [
        (E::RoomFull, false),
        (E::ServerFull, true),
        (E::RoomAuthFailed, false),
        (E::RateLimited, true),
        (E::BadVersion, true),
        (E::SeatTaken, true),
    ] {
        let mut world = World::new(1);
        world.command(0, UiCommand::StartCall);
        world.run(Duration::from_millis(125));
        assert_eq!(world.phase(0), Some(CallPhase::Connecting));
        world.say(
            0,
            ServerMessage::Error {
                code,
                detail: String::new(),
                fatal,
            },
        );
        assert_eq!(world.phase(0), ended(code));
        assert_eq!(
            world.clients[0].events.last(),
            Some(&CallEvent::Left { code: Some(code) })
        );
        world.assert_idle(0);
    }
}

#[test]
fn another_protocol_version_is_not_spoken() {
    let mut world = World::new(1);
    world.command(0, UiCommand::StartCall);
    world.run(Duration::from_millis(115));
    world.say(0, ServerMessage::Hello { version: 2 });
    assert_eq!(world.phase(0), ended(ErrorCode::BadVersion));
    world.assert_idle(0);
}

#[test]
fn devices_run_for_a_preview_and_for_a_call() {
    let run = |camera, microphone, speaker| MediaOp::Run {
        camera,
        microphone,
        speaker,
    };
    let mut world = World::new(1);
    let last = |world: &World| world.clients[0].media.last().cloned();
    assert_eq!(last(&world), Some(run(false, false, false)));
    world.command(0, UiCommand::SetPreview { on: true });
    assert_eq!(last(&world), Some(run(true, true, false)));
    world.command(0, UiCommand::StartCall);
    assert_eq!(last(&world), Some(run(true, true, true)));
    world.command(0, UiCommand::SetPreview { on: false });
    world.command(0, UiCommand::SetCamera { on: false });
    assert_eq!(last(&world), Some(run(false, true, true)));
    world.command(0, UiCommand::SetMuted { muted: true });
    assert_eq!(last(&world), Some(MediaOp::SetMuted { muted: true }));
    world.command(0, UiCommand::LeaveCall);
    assert_eq!(last(&world), Some(run(false, false, false)));
    assert!(
        world.view(0).muted && !world.view(0).camera_on,
        "wishes outlive the call"
    );
}

#[test]
fn settings_are_checked_and_used() {
    let mut world = World::with_server(1, "", 1);
    world.command(
        0,
        UiCommand::SetServer {
            url: "not a server".into(),
        },
    );
    assert_eq!(world.clients[0].failed, [ErrorCode::ServerAddressInvalid]);
    assert_eq!(world.view(0).settings.server, "");
    world.command(
        0,
        UiCommand::SetServer {
            url: " ws://server.test:1 ".into(),
        },
    );
    world.command(
        0,
        UiCommand::SetName {
            name: "\u{202e} Zoë  🦊 ".into(),
        },
    );
    assert_eq!(world.view(0).settings.server, "ws://server.test:1");
    assert_eq!(world.view(0).settings.name, "Zoë 🦊");
    world.command(0, UiCommand::StartCall);
    world.run(SECOND);
    assert_eq!(world.phase(0), Some(CallPhase::Joined));
    assert!(
        world.clients[0].hosts.is_empty(),
        "a configured server is used"
    );
    assert!(matches!(
        world.clients[0].sent[0],
        ClientMessage::Hello { version: 1 }
    ));
}

#[test]
fn inputs_of_sockets_that_are_not_there_change_nothing() {
    let mut world = World::in_call(1);
    let before = world.view(0).clone();
    let socket = call_core::SocketId(99);
    world.input(0, Input::SocketClosed { socket, code: None });
    world.input(0, Input::SocketOpened { socket });
    world.input(
        0,
        Input::Server {
            socket,
            message: ServerMessage::Hello { version: 9 },
        },
    );
    assert_eq!(*world.view(0), before);
}
