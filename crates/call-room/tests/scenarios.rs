//! What members see of each other: join, signal, update, leave, resume, drain.

use std::time::Duration;

use call_protocol::care::{Door, Moderation};
use call_protocol::limits::RESUME_GRACE_MS;
use call_protocol::wire::{ClientMessage, LeaveReason, RosterEntry, ServerMessage, TopologyMode};
use call_protocol::{ErrorCode, MemberId};
use call_room::{ConnId, Input, RoomsConfig};

use crate::server::{AUTH, OTHER_AUTH, Server, join, moderate, signal};

fn server() -> Server {
    Server::new(RoomsConfig::default())
}

#[test]
fn two_members_meet_signal_update_and_part() {
    let told = "stun:203.0.113.5:3478".to_owned();
    let mut server = Server::new(RoomsConfig {
        stun: vec![told.clone()],
        ..RoomsConfig::default()
    });
    let (anna, _) = server.enter(1, 9);
    server.greet(2);
    server.say(2, join(9, AUTH, "ben", None));
    let joined = server.take(2);
    let [
        ServerMessage::Joined {
            member: ben,
            resume,
            resumed,
            members,
            topology,
            host,
            door: Door::Open,
            stun,
            relay: None,
        },
    ] = joined.as_slice()
    else {
        panic!("{joined:?}")
    };
    assert!(!resumed && *topology == TopologyMode::Mesh);
    assert_eq!(*host, Some(anna), "who came first");
    assert_eq!(resume.len(), format!("{ben}.").len() + 48);
    assert_eq!(stun, &[told]);
    assert_eq!(
        members,
        &[RosterEntry {
            member: anna,
            profile: "profile-1".into()
        }]
    );
    assert_eq!(
        server.take(1),
        [ServerMessage::MemberJoined {
            member: *ben,
            profile: "ben".into()
        }]
    );

    server.say(1, signal(*ben, "offer"));
    assert_eq!(
        server.take(2),
        [ServerMessage::Signal {
            from: anna,
            sealed: "offer".into()
        }]
    );
    assert_eq!(server.take(1), []);

    server.say(
        2,
        ClientMessage::Update {
            profile: "ben-muted".into(),
        },
    );
    assert_eq!(
        server.take(1),
        [ServerMessage::MemberUpdated {
            member: *ben,
            profile: "ben-muted".into()
        }]
    );

    server.say(2, ClientMessage::Leave);
    assert_eq!(
        server.take(1),
        [ServerMessage::MemberLeft {
            member: *ben,
            reason: LeaveReason::Left
        }]
    );
    // The connection may take a new seat, and ids are not reused.
    server.say(2, join(9, AUTH, "ben", None));
    let again = server.take(2);
    assert!(
        matches!(
            again.as_slice(),
            [ServerMessage::Joined {
                member: MemberId(3),
                ..
            }]
        ),
        "{again:?}"
    );
}

#[test]
fn phases_refuse_what_does_not_fit() {
    use ErrorCode::{AlreadyJoined, BadMessage, BadVersion, NotJoined, UnknownMember};
    let hello = || ClientMessage::Hello { version: 1 };
    let enter = || join(1, AUTH, "p", None);
    // (said in order, error of the last one, whether it is fatal)
    let cases: Vec<(Vec<ClientMessage>, ErrorCode, bool)> = vec![
        (vec![enter()], BadVersion, true),
        (vec![ClientMessage::Leave], BadVersion, true),
        (vec![ClientMessage::Hello { version: 2 }], BadVersion, true),
        (vec![hello(), hello()], BadMessage, false),
        (vec![hello(), ClientMessage::Leave], NotJoined, false),
        (
            vec![
                hello(),
                ClientMessage::Update {
                    profile: "p".into(),
                },
            ],
            NotJoined,
            false,
        ),
        (vec![hello(), signal(MemberId(1), "s")], NotJoined, false),
        (
            vec![hello(), join(1, "short", "p", None)],
            BadMessage,
            false,
        ),
        (
            vec![hello(), ClientMessage::SfuClose { link: 1 }],
            NotJoined,
            false,
        ),
        (
            vec![hello(), ClientMessage::Subscribe { tiles: Vec::new() }],
            NotJoined,
            false,
        ),
        (vec![hello(), enter(), enter()], AlreadyJoined, false),
        (
            vec![hello(), enter(), join(2, AUTH, "p", None)],
            AlreadyJoined,
            false,
        ),
        (
            vec![hello(), enter(), signal(MemberId(77), "s")],
            UnknownMember,
            false,
        ),
        (
            vec![hello(), enter(), signal(MemberId(1), "s")],
            UnknownMember,
            false,
        ),
        (vec![hello(), moderate(Moderation::End)], NotJoined, false),
        (
            vec![hello(), enter(), moderate(Moderation::Admit { knock: 1 })],
            UnknownMember,
            false,
        ),
    ];
    for (messages, code, fatal) in cases {
        let mut server = server();
        server.connect_from(1, None);
        for message in &messages {
            server.take(1);
            server.say(1, message.clone());
        }
        assert_eq!(server.take_errors(1), [(code, fatal)], "{messages:?}");
        assert_eq!(server.closed(1), fatal.then_some(code), "{messages:?}");
        if !fatal {
            // Still usable: the same connection can be told about others or join.
            server.say(1, enter());
            assert_eq!(server.closed(1), None, "{messages:?}");
            assert!(!server.take(1).is_empty(), "{messages:?}");
        }
    }
}

#[test]
fn a_closed_connection_is_ignored() {
    let mut server = server();
    server.connect_from(1, None);
    server.say(1, ClientMessage::Leave);
    assert_eq!(server.closed(1), Some(ErrorCode::BadVersion));
    server.take(1);
    server.say(1, ClientMessage::Hello { version: 1 });
    server.input(Input::Silent { conn: ConnId(1) });
    server.input(Input::Overflowed { conn: ConnId(1) });
    server.input(Input::Message {
        conn: ConnId(99),
        message: ClientMessage::Leave,
    });
    assert_eq!(server.take(1), []);
    server.drop_connection(1);
    server.drop_connection(1);
    assert_eq!(server.rooms.occupancy().connections, 0);
}

#[test]
fn first_joiner_fixes_the_auth_key() {
    let mut server = server();
    server.enter(1, 1);
    server.greet(2);
    server.say(2, join(1, OTHER_AUTH, "p", None));
    assert_eq!(server.take_errors(2), [(ErrorCode::RoomAuthFailed, false)]);
    assert_eq!(server.take(1), []);
    // Padding does not make another key.
    server.say(2, join(1, AUTH.trim_end_matches('='), "p", None));
    assert!(matches!(
        server.take(2).as_slice(),
        [ServerMessage::Joined { .. }]
    ));
    // Once everybody has left, the room is gone and its key with it.
    server.say(1, ClientMessage::Leave);
    server.say(2, ClientMessage::Leave);
    assert_eq!(server.rooms.occupancy().rooms, 0);
    server.take(2);
    server.say(2, join(1, OTHER_AUTH, "p", None));
    assert!(matches!(
        server.take(2).as_slice(),
        [ServerMessage::Joined { .. }]
    ));
}

#[test]
fn resume_after_a_lost_connection_is_invisible() {
    let mut server = server();
    let (anna, _) = server.enter(1, 1);
    let (ben, token) = server.enter(2, 1);
    server.take(1);
    server.drop_connection(2);
    server.advance(Duration::from_millis(RESUME_GRACE_MS - 1));
    server.say(1, signal(ben, "while away"));
    server.greet(3);
    server.say(3, join(1, AUTH, "profile-2", Some(&token)));
    let got = server.take(3);
    let roster = vec![RosterEntry {
        member: anna,
        profile: "profile-1".into(),
    }];
    assert_eq!(
        got,
        [
            ServerMessage::Joined {
                member: ben,
                resume: token.clone(),
                resumed: true,
                members: roster,
                topology: TopologyMode::Mesh,
                host: Some(anna),
                door: Door::Open,
                stun: Vec::new(),
                relay: None,
            },
            ServerMessage::Signal {
                from: anna,
                sealed: "while away".into()
            },
        ]
    );
    server.advance(Duration::from_millis(10 * RESUME_GRACE_MS));
    assert_eq!(server.take(1), [], "the others saw something");
    // The token works again after the next loss; a changed profile is announced.
    server.drop_connection(3);
    server.greet(4);
    server.say(4, join(1, AUTH, "muted", Some(&token)));
    assert!(matches!(
        server.take(4).as_slice(),
        [ServerMessage::Joined { resumed: true, .. }]
    ));
    assert_eq!(
        server.take(1),
        [ServerMessage::MemberUpdated {
            member: ben,
            profile: "muted".into()
        }]
    );
}

#[test]
fn resume_takes_a_live_connection_over() {
    let mut server = server();
    let (anna, token) = server.enter(1, 1);
    let (ben, _) = server.enter(2, 1);
    server.take(1);
    server.greet(3);
    server.say(3, join(1, AUTH, "profile-1", Some(&token)));
    assert_eq!(server.take_errors(1), [(ErrorCode::SeatTaken, true)]);
    assert_eq!(server.closed(1), Some(ErrorCode::SeatTaken));
    server.drop_connection(1);
    server.advance(Duration::from_millis(2 * RESUME_GRACE_MS));
    assert!(matches!(
        server.take(3).as_slice(),
        [ServerMessage::Joined { member, resumed: true, .. }] if *member == anna
    ));
    server.say(2, signal(anna, "x"));
    assert_eq!(
        server.take(3),
        [ServerMessage::Signal {
            from: ben,
            sealed: "x".into()
        }]
    );
    assert_eq!(server.take(2), []);
}

#[test]
fn a_seat_not_resumed_in_time_is_given_up() {
    let mut server = server();
    server.enter(1, 1);
    let (ben, token) = server.enter(2, 1);
    server.take(1);
    server.drop_connection(2);
    server.advance(Duration::from_millis(RESUME_GRACE_MS - 1));
    assert_eq!(server.take(1), []);
    server.advance(Duration::from_millis(1));
    assert_eq!(
        server.take(1),
        [ServerMessage::MemberLeft {
            member: ben,
            reason: LeaveReason::TimedOut
        }]
    );
    // Nobody else gets the id; with the token it is to be had again, once.
    server.greet(3);
    server.say(3, join(1, AUTH, "p", None));
    assert!(matches!(
        server.take(3).as_slice(),
        [ServerMessage::Joined {
            member: MemberId(3),
            resumed: false,
            ..
        }]
    ));
    server.take(1);
    server.greet(4);
    server.say(4, join(1, AUTH, "ben", Some(&token)));
    let (member, resumed) = seat(&server.take(4));
    assert_eq!((member, resumed), (ben, false));
    assert_eq!(
        server.take(1),
        [ServerMessage::MemberJoined {
            member: ben,
            profile: "ben".into()
        }]
    );
    server.greet(5);
    server.say(5, join(1, AUTH, "p", Some(&token)));
    assert_eq!(server.take_errors(5), [(ErrorCode::ResumeFailed, false)]);
}

fn seat(messages: &[ServerMessage]) -> (MemberId, bool) {
    let [
        ServerMessage::Joined {
            member, resumed, ..
        },
    ] = messages
    else {
        panic!("{messages:?}")
    };
    (*member, *resumed)
}

#[test]
fn members_of_an_earlier_server_have_their_ids_again() {
    let tokens = [1, 2, 3].map(|id| (MemberId(id), format!("{id}.{}", "f".repeat(48))));
    let mut server = server();
    for (index, (member, token)) in tokens.iter().enumerate().skip(1) {
        let conn = 10 + index as u64;
        server.greet(conn);
        server.say(conn, join(1, AUTH, "p", Some(token)));
        assert_eq!(seat(&server.take(conn)), (*member, false));
        if index == 1 {
            // Somebody new takes nobody's place.
            let (newcomer, _) = server.enter(20, 1);
            assert!(tokens.iter().all(|(member, _)| *member != newcomer));
            server.take(conn);
        }
    }
    // An id that is taken is not given to whoever else names it.
    server.greet(30);
    server.say(30, join(1, AUTH, "p", Some(&tokens[2].1)));
    assert_eq!(server.take_errors(30), [(ErrorCode::ResumeFailed, false)]);
    server.say(30, join(1, AUTH, "p", Some(&tokens[0].1)));
    assert_eq!(seat(&server.take(30)), (tokens[0].0, false));
}

#[test]
fn ids_that_make_no_sense_are_not_given() {
    let mut server = server();
    server.greet(1);
    for token in ["0.a", "4294967295.a", "1073741825.a", "4294967296.a", "a"] {
        server.say(1, join(1, AUTH, "p", Some(token)));
        assert_eq!(
            server.take_errors(1),
            [(ErrorCode::ResumeFailed, false)],
            "{token}"
        );
    }
    assert_eq!(server.rooms.occupancy().rooms, 0, "no room was opened");
    server.say(1, join(1, AUTH, "p", Some("1073741824.a")));
    let (member, _) = seat(&server.take(1));
    assert_eq!(member, MemberId(1 << 30));
    let (newcomer, _) = server.enter(2, 1);
    assert!(newcomer > member);
}

#[test]
fn a_token_opens_only_its_own_seat() {
    let mut server = server();
    let (_, token) = server.enter(1, 1);
    server.enter(2, 2);
    server.greet(3);
    let attempts = [
        (join(2, AUTH, "p", Some(&token)), ErrorCode::ResumeFailed),
        (
            join(1, OTHER_AUTH, "p", Some(&token)),
            ErrorCode::RoomAuthFailed,
        ),
        (join(1, AUTH, "p", Some("")), ErrorCode::ResumeFailed),
        (
            join(1, AUTH, "p", Some(&token[1..])),
            ErrorCode::ResumeFailed,
        ),
    ];
    for (message, code) in attempts {
        server.say(3, message.clone());
        assert_eq!(server.take_errors(3), [(code, false)], "{message:?}");
    }
    assert_eq!((server.take(1), server.take(2)), (vec![], vec![]));
    assert_eq!(
        server.rooms.occupancy().rooms,
        2,
        "a failed resume changes nothing"
    );
    // Leaving gives the token up, while the room is there.
    server.enter(4, 1);
    server.say(1, ClientMessage::Leave);
    server.say(3, join(1, AUTH, "p", Some(&token)));
    assert_eq!(server.take_errors(3), [(ErrorCode::ResumeFailed, false)]);
}

#[test]
fn signals_to_a_lost_seat_are_bounded_and_from_present_members_only() {
    let mut server = server();
    server.enter(1, 1);
    let (ben, token) = server.enter(2, 1);
    let (cleo, _) = server.enter(3, 1);
    server.drop_connection(2);
    server.take(1);
    server.say(1, signal(ben, "from the one who leaves"));
    server.say(1, ClientMessage::Leave);
    server.take(3);
    for index in 0..100 {
        server.say(3, signal(ben, &format!("{index}")));
    }
    let refused = server.take_errors(3);
    assert_eq!(refused, vec![(ErrorCode::TooSlow, false); 100 - 63]);
    server.greet(4);
    server.say(4, join(1, AUTH, "profile-2", Some(&token)));
    let got = server.take(4);
    let want = (0..63).map(|index| ServerMessage::Signal {
        from: cleo,
        sealed: index.to_string(),
    });
    assert_eq!(got[1..], want.collect::<Vec<_>>());
}

#[test]
fn silence_and_overflow_lose_the_connection_but_not_the_seat() {
    for (input, code) in [
        (Input::Silent { conn: ConnId(2) }, ErrorCode::TimedOut),
        (Input::Overflowed { conn: ConnId(2) }, ErrorCode::TooSlow),
    ] {
        let mut server = server();
        server.enter(1, 1);
        let (_, token) = server.enter(2, 1);
        server.take(1);
        server.input(input);
        assert_eq!(server.take_errors(2), [(code, true)]);
        server.drop_connection(2);
        server.greet(3);
        server.say(3, join(1, AUTH, "profile-2", Some(&token)));
        assert!(matches!(
            server.take(3).as_slice(),
            [ServerMessage::Joined { resumed: true, .. }]
        ));
        assert_eq!(server.take(1), []);
    }
}

#[test]
fn drain_tells_everybody_and_admits_nobody() {
    let mut server = server();
    server.enter(1, 1);
    server.enter(2, 1);
    server.greet(3);
    server.take(1);
    server.input(Input::Drain);
    for conn in 1..=3 {
        assert_eq!(
            server.take_errors(conn),
            [(ErrorCode::ServerClosing, true)],
            "{conn}"
        );
        assert_eq!(server.closed(conn), Some(ErrorCode::ServerClosing));
    }
    assert_eq!(server.rooms.occupancy().rooms, 0);
    server.connect_from(4, None);
    assert_eq!(server.take_errors(4), [(ErrorCode::ServerClosing, true)]);
    server.input(Input::Drain);
    for conn in 1..=4 {
        server.drop_connection(conn);
    }
    assert_eq!(server.rooms.occupancy(), call_room::Occupancy::default());
    assert_eq!(server.rooms.poll_timeout(), None);
}
