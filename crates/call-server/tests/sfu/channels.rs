//! Data channels through the SFU.

use call_protocol::fanout::{Target, at_member, to_sfu};
use call_protocol::{ErrorCode, MemberId};

use super::world::{BULK, CONTROL, LOSSY, READY, World};

fn opened(count: usize) -> World {
    let mut world = World::with_members(1, count);
    world.until("channels", |world| {
        world.members.iter().all(|member| {
            [READY, CONTROL, BULK, LOSSY]
                .iter()
                .all(|stream| member.is_open(*stream))
        })
    });
    for member in &mut world.members {
        member.say(READY, &[0]);
    }
    world.until("heard", |world| {
        world
            .members
            .iter()
            .all(|member| member.messages == [(READY, vec![1])])
    });
    for member in &mut world.members {
        member.messages.clear();
    }
    world
}

#[test]
fn messages_reach_whom_they_are_for() {
    let mut world = opened(3);
    for (stream, text) in [(CONTROL, "c"), (BULK, "b"), (LOSSY, "l")] {
        world.members[0].say(stream, &to_sfu(Target::Everybody, text.as_bytes()));
    }
    world.members[1].say(CONTROL, &to_sfu(Target::Member(MemberId(3)), b"only you"));
    world.members[1].say(CONTROL, &to_sfu(Target::Member(MemberId(2)), b"myself"));
    world.members[1].say(CONTROL, &to_sfu(Target::Member(MemberId(9)), b"nobody"));
    world.members[1].say(CONTROL, b"tiny");
    world.members[1].say(CONTROL, b"ti");
    world.until("messages", |world| {
        world.members[1].messages.len() == 3 && world.members[2].messages.len() == 4
    });
    // What was sent before is behind it.
    world.members[1].say(CONTROL, &to_sfu(Target::Member(MemberId(1)), b"last"));
    world.until("the last", |world| !world.members[0].messages.is_empty());
    let got = |member: usize| {
        let mut got: Vec<(u16, MemberId, String)> = world.members[member]
            .messages
            .iter()
            .map(|(stream, message)| {
                let (from, body) = at_member(message).unwrap();
                (*stream, from, String::from_utf8(body.to_vec()).unwrap())
            })
            .collect();
        got.sort();
        got
    };
    let from_first = |stream, text: &str| (stream, MemberId(1), text.to_owned());
    let of_all = [
        from_first(CONTROL, "c"),
        from_first(BULK, "b"),
        from_first(LOSSY, "l"),
    ];
    assert_eq!(got(1), of_all);
    assert_eq!(got(0), [(CONTROL, MemberId(2), "last".to_owned())]);
    let mut third = of_all.to_vec();
    third.push((CONTROL, MemberId(2), "only you".to_owned()));
    third.sort();
    assert_eq!(got(2), third);
}

#[test]
fn large_messages_arrive_whole() {
    let mut world = opened(2);
    let body: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for _ in 0..5 {
        world.members[0].say(BULK, &to_sfu(Target::Everybody, &body));
    }
    world.until("five messages", |world| {
        world.members[1].messages.len() == 5
    });
    for (_, message) in &world.members[1].messages {
        assert_eq!(at_member(message), Some((MemberId(1), &body[..])));
    }
}

#[test]
fn a_member_that_does_not_drain_loses_its_link() {
    let mut world = opened(2);
    world.members[1].is_gone = true;
    let body = vec![1; 200_000];
    let mut sent = 0;
    world.until("the end of the link", |world| {
        if sent < 30 {
            sent += 1;
            world.members[0].say(CONTROL, &to_sfu(Target::Everybody, &body));
        }
        world.members[1].closed == Some(ErrorCode::TooSlow)
    });
    assert_eq!(world.members[0].closed, None);
}
