//! Limits: rooms, seats, connections, messages, joins, addresses, silence before hello.

use std::time::Duration;

use call_protocol::ErrorCode;
use call_protocol::wire::{ClientMessage, ParseError, ServerMessage};
use call_room::{ConnId, Input, Rate, RoomsConfig};

use crate::server::{AUTH, OTHER_AUTH, Server, join};

fn bad(code: ErrorCode) -> Input {
    Input::ParseFailed {
        conn: ConnId(1),
        error: ParseError {
            code,
            detail: "test".into(),
        },
    }
}

#[test]
fn rooms_seats_and_connections_are_limited() {
    let config = RoomsConfig {
        max_rooms: 2,
        room_members: 2,
        max_connections: 4,
        ..RoomsConfig::default()
    };
    let mut server = Server::new(config);
    server.enter(1, 1);
    server.enter(2, 1);
    server.enter(3, 2);
    server.greet(4);
    server.say(4, join(1, AUTH, "p", None));
    assert_eq!(server.take_errors(4), [(ErrorCode::RoomFull, false)]);
    server.say(4, join(3, AUTH, "p", None));
    assert_eq!(server.take_errors(4), [(ErrorCode::ServerFull, false)]);
    server.connect_from(5, None);
    assert_eq!(server.take_errors(5), [(ErrorCode::ServerFull, true)]);
    server.say(2, ClientMessage::Leave);
    server.say(4, join(1, AUTH, "p", None));
    assert!(matches!(
        server.take(4).as_slice(),
        [ServerMessage::Joined { .. }]
    ));
}

#[test]
fn hello_is_due() {
    let mut server = Server::new(RoomsConfig::default());
    server.connect_from(1, None);
    server.greet(2);
    server.advance(Duration::from_millis(9_999));
    assert_eq!(server.take(1), []);
    server.advance(Duration::from_millis(1));
    assert_eq!(server.take_errors(1), [(ErrorCode::TimedOut, true)]);
    assert_eq!(server.take(2), []);
}

#[test]
fn bad_messages_are_answered_until_there_are_too_many_in_a_row() {
    let mut server = Server::new(RoomsConfig {
        bad_messages: 3,
        ..RoomsConfig::default()
    });
    server.enter(1, 1);
    for code in [ErrorCode::BadMessage, ErrorCode::UnknownType] {
        server.input(bad(code));
        assert_eq!(server.take_errors(1), [(code, false)]);
    }
    server.say(
        1,
        ClientMessage::Update {
            profile: "good".into(),
        },
    );
    for fatal in [false, false, true] {
        server.input(bad(ErrorCode::BadMessage));
        assert_eq!(server.take_errors(1), [(ErrorCode::BadMessage, fatal)]);
    }
    assert_eq!(server.closed(1), Some(ErrorCode::BadMessage));
}

#[test]
fn an_oversized_message_closes() {
    let mut server = Server::new(RoomsConfig::default());
    server.enter(1, 1);
    server.input(bad(ErrorCode::MessageTooLarge));
    assert_eq!(server.take_errors(1), [(ErrorCode::MessageTooLarge, true)]);
}

#[test]
fn messages_are_limited_per_connection() {
    let config = RoomsConfig {
        message_rate: Rate::per_second(5, 10),
        bad_messages: 3,
        ..RoomsConfig::default()
    };
    let mut server = Server::new(config);
    server.enter(1, 1);
    server.enter(2, 1);
    server.take(1);
    let update = || ClientMessage::Update {
        profile: "p".into(),
    };
    for _ in 0..3 {
        server.say(1, update());
    }
    assert_eq!(server.take(1), []);
    server.say(1, update());
    assert_eq!(server.take_errors(1), [(ErrorCode::RateLimited, false)]);
    assert_eq!(server.take(2).len(), 3, "a refused update was relayed");
    server.advance(Duration::from_millis(100));
    server.say(1, update());
    assert_eq!(server.take(1), []);
    // What does not parse counts as well, and a flood ends the connection.
    server.say(1, update());
    server.input(bad(ErrorCode::BadMessage));
    server.say(1, update());
    assert_eq!(server.closed(1), Some(ErrorCode::RateLimited));
    assert_eq!(server.closed(2), None);
}

#[test]
fn joins_are_limited_per_connection_room_and_address() {
    let quiet = Rate::per_second(1_000, 1_000);
    let tight = Rate::per_second(3, 1);
    let base = RoomsConfig {
        join_rate: quiet,
        room_join_rate: quiet,
        address_join_rate: quiet,
        address_connect_rate: quiet,
        ..RoomsConfig::default()
    };
    let cases = [
        (
            RoomsConfig {
                join_rate: tight,
                ..base.clone()
            },
            "connection",
        ),
        (
            RoomsConfig {
                room_join_rate: tight,
                ..base.clone()
            },
            "room",
        ),
        (
            RoomsConfig {
                address_join_rate: tight,
                ..base.clone()
            },
            "address",
        ),
    ];
    for (config, what) in cases {
        let mut server = Server::new(config);
        // Another member in the room, from elsewhere, keeps it open.
        server.enter(1, 1);
        server.connect_from(2, Some(7));
        server.say(2, ClientMessage::Hello { version: 1 });
        server.take(2);
        let mut codes = Vec::new();
        for _ in 0..6 {
            server.say(2, join(1, OTHER_AUTH, "p", None));
            codes.extend(server.take_errors(2).into_iter().map(|(code, _)| code));
        }
        let refused = codes
            .iter()
            .filter(|code| **code == ErrorCode::RateLimited)
            .count();
        // A room's first joiner opened it without using up a token.
        assert_eq!((codes.len(), refused), (6, 3), "{what}: {codes:?}");
        server.advance(Duration::from_secs(1));
        server.say(2, join(1, AUTH, "p", None));
        assert!(
            matches!(server.take(2).as_slice(), [ServerMessage::Joined { .. }]),
            "{what}"
        );
    }
}

#[test]
fn connections_are_limited_per_address() {
    let config = RoomsConfig {
        address_connections: 2,
        address_connect_rate: Rate::per_second(5, 1),
        ..RoomsConfig::default()
    };
    let mut server = Server::new(config);
    for conn in 1..=3 {
        server.connect_from(conn, Some(7));
    }
    server.connect_from(4, Some(8));
    server.connect_from(5, None);
    let refused: Vec<u64> = (1..=5)
        .filter(|conn| server.closed(*conn).is_some())
        .collect();
    assert_eq!(refused, [3]);
    assert_eq!(server.take_errors(3), [(ErrorCode::RateLimited, true)]);
    server.drop_connection(3);
    server.drop_connection(2);
    // Two of five used at once; the rate now refuses what the count would admit.
    for conn in 10..14 {
        server.connect_from(conn, Some(7));
        server.drop_connection(conn);
    }
    let refused: Vec<u64> = (10..14)
        .filter(|conn| server.closed(*conn).is_some())
        .collect();
    assert_eq!(refused, [13]);
}

#[test]
fn counters_and_occupancy_follow() {
    let mut server = Server::new(RoomsConfig::default());
    server.enter(1, 1);
    server.enter(2, 1);
    server.enter(3, 2);
    server.greet(4);
    server.say(4, ClientMessage::Leave);
    server.drop_connection(3);
    let occupancy = server.rooms.occupancy();
    assert_eq!(
        (occupancy.rooms, occupancy.members, occupancy.connections),
        (2, 3, 3)
    );
    let counters = server.rooms.counters();
    assert_eq!(counters.messages["hello"], 4);
    assert_eq!(counters.messages["join"], 3);
    assert_eq!(counters.errors[&ErrorCode::NotJoined], 1);
}
