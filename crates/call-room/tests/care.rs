//! The host, the door and who waits before it, removals, and the end for everybody.

use std::time::Duration;

use call_protocol::care::{Door, Moderation};
use call_protocol::limits::{RESUME_GRACE_MS, WAITING};
use call_protocol::wire::{ClientMessage, LeaveReason, ServerMessage};
use call_protocol::{ErrorCode, MemberId};
use call_room::RoomsConfig;

use crate::server::{AUTH, Server, join, moderate};

fn server() -> Server {
    Server::new(RoomsConfig::default())
}

/// Sets the door of connection 1's room and checks that it is told so.
fn set_door(server: &mut Server, door: Door) {
    server.take(1);
    server.say(1, moderate(Moderation::Door { door }));
    assert_eq!(server.take(1)[0], ServerMessage::Door { door });
}

/// Connects and asks to be let in.
fn knock(server: &mut Server, conn: u64) {
    server.greet(conn);
    server.say(conn, join(1, AUTH, &format!("profile-{conn}"), None));
}

fn knock_of(knock: u32, conn: u64) -> ServerMessage {
    let profile = format!("profile-{conn}");
    ServerMessage::Knock { knock, profile }
}

fn is_seated(messages: &[ServerMessage]) -> bool {
    matches!(messages, [ServerMessage::Joined { .. }])
}

#[test]
fn a_locked_room_lets_nobody_in_but_those_who_had_a_seat() {
    let mut server = server();
    server.enter(1, 1);
    let (ben, token) = server.enter(2, 1);
    set_door(&mut server, Door::Locked);
    assert_eq!(server.take(2), [ServerMessage::Door { door: Door::Locked }]);
    knock(&mut server, 3);
    assert_eq!(server.take_errors(3), [(ErrorCode::RoomLocked, false)]);
    assert_eq!(server.take(1), []);
    // Whose connection is lost keeps the seat, and gets it again after its time.
    server.drop_connection(2);
    server.advance(Duration::from_millis(RESUME_GRACE_MS));
    server.greet(4);
    server.say(4, join(1, AUTH, "profile-2", Some(&token)));
    let [
        ServerMessage::Joined {
            member,
            door: Door::Locked,
            ..
        },
    ] = &server.take(4)[..]
    else {
        panic!("not let in")
    };
    assert_eq!(*member, ben);
    // A token of a seat nobody knows is no way around.
    server.say(3, join(1, AUTH, "p", Some("7.0123")));
    assert_eq!(server.take_errors(3), [(ErrorCode::ResumeFailed, false)]);
    set_door(&mut server, Door::Open);
    server.say(3, join(1, AUTH, "p", None));
    assert!(is_seated(&server.take(3)));
}

#[test]
fn who_knocks_hears_nothing_until_the_host_decides() {
    let mut server = server();
    let (anna, _) = server.enter(1, 1);
    server.enter(2, 1);
    set_door(&mut server, Door::Knock);
    server.take(2);
    for conn in [3, 4, 5] {
        knock(&mut server, conn);
        assert_eq!(server.take(conn), [ServerMessage::Waiting]);
    }
    let want = [knock_of(1, 3), knock_of(2, 4), knock_of(3, 5)];
    assert_eq!(server.take(1), want);
    assert_eq!(server.take(2), [], "the host alone is told");
    assert_eq!(server.rooms.occupancy().waiting, 3);
    // Nothing of the room reaches who waits, and nothing of theirs the room.
    let profile = "other".to_owned();
    server.say(2, ClientMessage::Update { profile });
    server.say(3, crate::server::signal(anna, "psst"));
    assert_eq!(server.take_errors(3), [(ErrorCode::NotJoined, false)]);
    server.say(3, join(1, AUTH, "p", None));
    assert_eq!(server.take_errors(3), [(ErrorCode::AlreadyJoined, false)]);
    assert_eq!(server.take(4), []);
    server.take(1);

    server.say(1, moderate(Moderation::Admit { knock: 1 }));
    let [
        ServerMessage::Joined {
            member,
            members,
            host,
            door: Door::Knock,
            ..
        },
    ] = &server.take(3)[..]
    else {
        panic!("not let in")
    };
    assert_eq!((members.len(), *host), (2, Some(anna)));
    let profile = "profile-3".to_owned();
    let joined = ServerMessage::MemberJoined {
        member: *member,
        profile,
    };
    let gone = |knock| ServerMessage::KnockGone { knock };
    assert_eq!(server.take(1), [gone(1), joined.clone()]);
    assert_eq!(server.take(2), [joined]);

    server.say(1, moderate(Moderation::Refuse { knock: 2 }));
    assert_eq!(server.take_errors(4), [(ErrorCode::NotAdmitted, false)]);
    server.say(5, ClientMessage::Leave);
    assert_eq!(server.take(1), [gone(2), gone(3)]);
    for (action, who) in [
        (Moderation::Admit { knock: 2 }, 1),
        (Moderation::Refuse { knock: 9 }, 1),
    ] {
        server.say(who, moderate(action));
        assert_eq!(server.take_errors(who), [(ErrorCode::UnknownMember, false)]);
    }
    assert_eq!(server.rooms.occupancy().waiting, 0);
}

#[test]
fn a_door_that_opens_lets_in_who_waits_and_one_that_locks_sends_them_away() {
    for (door, want) in [
        (Door::Open, None),
        (Door::Locked, Some(ErrorCode::RoomLocked)),
    ] {
        let mut server = server();
        server.enter(1, 1);
        set_door(&mut server, Door::Knock);
        knock(&mut server, 3);
        server.take(3);
        set_door(&mut server, door);
        match want {
            None => assert!(is_seated(&server.take(3))),
            Some(code) => assert_eq!(server.take_errors(3), [(code, false)]),
        }
        assert_eq!(server.rooms.occupancy().waiting, 0);
    }
}

#[test]
fn knocks_are_bounded_in_number_and_rate() {
    let mut server = server();
    server.enter(1, 1);
    set_door(&mut server, Door::Knock);
    for conn in 0..WAITING as u64 {
        knock(&mut server, 100 + conn);
        assert_eq!(server.take(100 + conn), [ServerMessage::Waiting]);
    }
    knock(&mut server, 200);
    assert_eq!(server.take_errors(200), [(ErrorCode::RateLimited, false)]);
    server.advance(Duration::from_secs(4));
    server.say(200, join(1, AUTH, "p", None));
    assert_eq!(server.take_errors(200), [(ErrorCode::RoomFull, false)]);
    // Connections that are lost wait no longer.
    server.drop_connection(100);
    server.advance(Duration::from_secs(4));
    server.say(200, join(1, AUTH, "p", None));
    assert_eq!(server.take(200), [ServerMessage::Waiting]);
    // Nobody is left to let them in.
    server.say(1, ClientMessage::Leave);
    assert_eq!(server.take_errors(200), [(ErrorCode::NotAdmitted, false)]);
    assert_eq!(server.rooms.occupancy().rooms, 0);
}

#[test]
fn a_full_room_keeps_who_waits_waiting() {
    let mut server = Server::new(RoomsConfig {
        room_members: 1,
        ..RoomsConfig::default()
    });
    server.enter(1, 1);
    set_door(&mut server, Door::Knock);
    knock(&mut server, 3);
    server.take(1);
    server.say(1, moderate(Moderation::Admit { knock: 1 }));
    assert_eq!(server.take_errors(1), [(ErrorCode::RoomFull, false)]);
    assert_eq!(server.rooms.occupancy().waiting, 1);
    set_door(&mut server, Door::Open);
    assert!(matches!(
        &server.take(3)[..],
        [
            ServerMessage::Waiting,
            ServerMessage::Error {
                code: ErrorCode::RoomFull,
                ..
            }
        ]
    ));
}

#[test]
fn only_the_host_moderates() {
    let mut server = server();
    let (anna, _) = server.enter(1, 1);
    let (ben, _) = server.enter(2, 1);
    let door = Door::Locked;
    for action in [
        Moderation::Door { door },
        Moderation::Admit { knock: 1 },
        Moderation::Refuse { knock: 1 },
        Moderation::Remove { member: anna },
        Moderation::Host { member: ben },
        Moderation::End,
    ] {
        server.say(2, moderate(action));
        assert_eq!(
            server.take_errors(2),
            [(ErrorCode::NotHost, false)],
            "{action:?}"
        );
    }
    server.take(1);
    // Nor does the host what makes no sense.
    for action in [
        Moderation::Remove { member: anna },
        Moderation::Remove {
            member: MemberId(9),
        },
        Moderation::Host {
            member: MemberId(9),
        },
    ] {
        server.say(1, moderate(action));
        assert_eq!(
            server.take_errors(1),
            [(ErrorCode::UnknownMember, false)],
            "{action:?}"
        );
    }
}

#[test]
fn the_role_is_handed_on_survives_a_lost_connection_and_falls_to_the_longest_present() {
    let mut server = server();
    let (anna, _) = server.enter(1, 1);
    let (ben, ben_token) = server.enter(2, 1);
    let (cleo, _) = server.enter(3, 1);
    let host = |member| ServerMessage::Host { member };
    server.say(1, moderate(Moderation::Host { member: ben }));
    for conn in [1, 2, 3] {
        assert_eq!(server.take(conn).last(), Some(&host(ben)), "{conn}");
    }
    server.say(2, moderate(Moderation::Door { door: Door::Knock }));
    knock(&mut server, 4);
    assert_eq!(server.take(2).last(), Some(&knock_of(1, 4)));
    // While the host is away somebody gives up and somebody else knocks.
    server.drop_connection(2);
    server.drop_connection(4);
    knock(&mut server, 5);
    server.greet(6);
    server.say(6, join(1, AUTH, "profile-2", Some(&ben_token)));
    let [ServerMessage::Joined { host: told, .. }, rest @ ..] = &server.take(6)[..] else {
        panic!("not back")
    };
    assert_eq!((*told, rest), (Some(ben), &[knock_of(2, 5)][..]));
    // Away for good: Anna came before Cleo.
    server.take(1);
    server.drop_connection(6);
    server.advance(Duration::from_millis(RESUME_GRACE_MS));
    let left = |member, reason| ServerMessage::MemberLeft { member, reason };
    let timed_out = left(ben, LeaveReason::TimedOut);
    assert_eq!(server.take(1), [timed_out, host(anna), knock_of(2, 5)]);
    server.say(1, ClientMessage::Leave);
    let news = server.take(3);
    assert_eq!(
        news[news.len() - 3..],
        [left(anna, LeaveReason::Left), host(cleo), knock_of(2, 5)]
    );
}

#[test]
fn who_was_removed_cannot_come_back_by_token_or_session() {
    // As sealed: version, session, counter.
    let sealed = |session: char, rest: char| format!("AQ{}{rest}", session.to_string().repeat(22));
    for is_away in [false, true] {
        let mut server = server();
        server.enter(1, 1);
        server.greet(2);
        server.say(2, join(1, AUTH, &sealed('x', 'A'), None));
        let [
            ServerMessage::Joined {
                member: ben,
                resume,
                ..
            },
        ] = &server.take(2)[..]
        else {
            panic!("not joined")
        };
        if is_away {
            server.drop_connection(2);
        }
        server.take(1);
        server.say(1, moderate(Moderation::Remove { member: *ben }));
        let reason = LeaveReason::Removed;
        assert_eq!(
            server.take(1),
            [ServerMessage::MemberLeft {
                member: *ben,
                reason
            }]
        );
        let want = (!is_away).then_some(ErrorCode::Removed);
        assert_eq!(server.closed(2), want);
        server.advance(Duration::from_millis(2 * RESUME_GRACE_MS));
        assert_eq!(server.take(1), [], "the seat ended once");
        server.greet(3);
        for (profile, token) in [
            (sealed('y', 'A'), Some(resume.as_str())),
            (sealed('x', 'B'), None),
        ] {
            server.say(3, join(1, AUTH, &profile, token));
            assert_eq!(server.take_errors(3), [(ErrorCode::Removed, false)]);
        }
        // By the code alone anybody may come, unless the host locks the room.
        server.say(3, join(1, AUTH, &sealed('y', 'B'), None));
        assert!(is_seated(&server.take(3)));
    }
}

#[test]
fn a_copied_session_keeps_nobody_from_the_seat_they_have() {
    let mut server = server();
    server.enter(1, 1);
    let profile = format!("AQ{}", "x".repeat(40));
    server.greet(2);
    server.say(2, join(1, AUTH, &profile, None));
    let [ServerMessage::Joined { resume, .. }] = &server.take(2)[..] else {
        panic!("not joined")
    };
    server.greet(3);
    server.say(3, join(1, AUTH, &profile, None));
    server.say(
        1,
        moderate(Moderation::Remove {
            member: MemberId(3),
        }),
    );
    server.drop_connection(2);
    server.greet(4);
    server.say(4, join(1, AUTH, &profile, Some(resume)));
    assert!(is_seated(&server.take(4)));
}

#[test]
fn the_end_is_for_everybody_also_for_who_is_away_or_waits() {
    let mut server = server();
    server.enter(1, 1);
    server.enter(2, 1);
    let (_, token) = server.enter(3, 1);
    set_door(&mut server, Door::Knock);
    knock(&mut server, 4);
    server.take(4);
    server.drop_connection(3);
    server.take(2);
    server.say(1, moderate(Moderation::End));
    for conn in [1, 2] {
        assert_eq!(server.closed(conn), Some(ErrorCode::CallEnded));
    }
    assert_eq!(server.take_errors(2), [(ErrorCode::CallEnded, true)]);
    assert_eq!(server.take_errors(4), [(ErrorCode::CallEnded, false)]);
    assert_eq!(server.rooms.occupancy().rooms, 0);
    server.greet(5);
    server.say(5, join(1, AUTH, "p", Some(&token)));
    assert_eq!(server.take_errors(5), [(ErrorCode::CallEnded, false)]);
    // The code is still good for another call.
    server.say(5, join(1, AUTH, "p", None));
    assert!(is_seated(&server.take(5)));
    server.say(5, ClientMessage::Leave);
    server.advance(Duration::from_millis(RESUME_GRACE_MS));
    server.say(5, join(1, AUTH, "p", Some(&token)));
    assert!(is_seated(&server.take(5)), "not remembered for good");
}
