//! The chat in whole calls: the same log everywhere, whatever the network does.

use std::collections::BTreeSet;
use std::time::Duration;

use call_core::{CallEvent, Input};
use call_protocol::ui::frame::SELF_MEMBER;
use call_protocol::ui::{ChatDelivery, UiCommand};
use call_protocol::wire::TopologyMode;
use call_protocol::{ErrorCode, MemberId, limits};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn say(world: &mut World, client: usize, text: &str) {
    let text = text.to_owned();
    world.command(client, UiCommand::SendChat { text });
}

/// What was reported step by step.
fn reported(world: &World, client: usize) -> Vec<(Option<MemberId>, String, String)> {
    let events = world.clients[client].events.iter();
    let chat = events.filter_map(|event| match event {
        CallEvent::Chat { from, name, text } => Some((*from, name.clone(), text.clone())),
        _ => None,
    });
    chat.collect()
}

#[test]
fn a_thousand_messages_survive_loss_reconnects_a_switch_and_reach_who_comes_late() {
    let mut world = World::new(6);
    world.command(0, UiCommand::StartCall);
    world.run(2 * SECOND);
    for client in 1..5 {
        world.join(client, 0);
        world.run(2 * SECOND);
    }
    world.channels.lost = 5;
    world.channels.jitter_ms = 120;
    for n in 0..1_000 {
        match n {
            // The seat is taken again.
            200 => world.cut_socket(1, None),
            // Everybody gets a new seat, and ids begin anew.
            400 => world.restart_server(),
            600 => world.set_mode(TopologyMode::Sfu),
            800 => world.join(5, 0),
            _ => {}
        }
        say(&mut world, n % 5, &format!("{n}"));
        world.run(Duration::from_millis([10, 300, 0, 0, 90][n % 5]));
    }
    let before = world.me(1);
    world.run(60 * SECOND);
    assert_eq!(world.me(1), before);
    let all = world.texts(0);
    let unique: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), unique.len()), (1_000, 1_000));
    for client in 0..5 {
        assert_eq!(world.texts(client), all, "client {client}");
        let told = reported(&world, client);
        let said: BTreeSet<_> = told.iter().map(|(_, _, text)| text).collect();
        assert_eq!((told.len(), said.len()), (1_000, 1_000), "client {client}");
        for author in 0..5 {
            let name = format!("C{author}");
            let of_author = told.iter().filter(|it| it.1 == name);
            let numbers: Vec<usize> = of_author.map(|it| it.2.parse().unwrap()).collect();
            assert!(numbers.is_sorted() && numbers.len() == 200, "{name}");
        }
        for message in world.clients[client].chat.values() {
            assert_eq!(message.delivery, ChatDelivery::Delivered, "{message:?}");
            let author = message.text.parse::<usize>().unwrap() % 5;
            assert_eq!(message.from, Some(world.me(author)), "{message:?}");
            assert_eq!(message.mine, author == client);
        }
    }
    let late = world.texts(5);
    assert!(late.len() >= limits::CHAT_HISTORY, "{}", late.len());
    assert!(late.len() <= limits::CHAT_HISTORY + 200, "{}", late.len());
    assert_eq!(late, all[all.len() - late.len()..]);
}

#[test]
fn nothing_is_said_without_words_or_a_call_and_a_new_call_begins_empty() {
    let mut world = World::new(2);
    say(&mut world, 0, "hi");
    assert_eq!(world.clients[0].failed, [ErrorCode::BadState]);
    world.command(0, UiCommand::StartCall);
    say(&mut world, 0, "too early");
    world.run(2 * SECOND);
    say(&mut world, 0, " \n\u{202e}\t");
    let failed = [
        ErrorCode::BadState,
        ErrorCode::BadState,
        ErrorCode::BadArgument,
    ];
    assert_eq!(world.clients[0].failed, failed);
    say(&mut world, 0, "  two\r\nlines ");
    assert_eq!(world.texts(0), ["two\nlines"]);
    world.clients[0].chat.clear();
    world.clients[0].view = None;
    world.command(0, UiCommand::Refresh);
    assert_eq!(world.texts(0), ["two\nlines"]);
    let me = world.me(0);
    let want = (Some(me), "C0".to_owned(), "two\nlines".to_owned());
    assert_eq!(reported(&world, 0), [want]);
    world.command(0, UiCommand::LeaveCall);
    world.command(0, UiCommand::StartCall);
    assert!(world.texts(0).is_empty());
}

#[test]
fn messages_carry_the_wall_clock_of_their_author() {
    let mut world = World::in_call(2);
    let unix_ms = 1_900_000_000_000;
    world.input(0, Input::WallClock { unix_ms });
    world.run(3 * SECOND);
    say(&mut world, 0, "hi");
    world.run(SECOND);
    for client in 0..2 {
        let times = world.clients[client].chat.values();
        let times: Vec<u64> = times.map(|message| message.sent_at_ms).collect();
        assert_eq!(times, [unix_ms + 3_000]);
    }
}

#[test]
fn messages_of_a_member_who_cannot_be_reached_directly_come_through_others() {
    let mut world = World::in_call(3);
    world.set_path(0, 2, false);
    world.run(SECOND);
    // The link does not know yet; nothing comes through.
    world.channels.lost = 100;
    say(&mut world, 0, "lost on the way");
    world.run(SECOND / 10);
    world.channels.lost = 0;
    world.run(60 * SECOND);
    assert_eq!(world.texts(1), ["lost on the way"]);
    assert_eq!(world.texts(2), ["lost on the way"]);
}

#[test]
fn reactions_are_shown_once_and_only_so_many() {
    let mut world = World::in_call(2);
    let react = |world: &mut World, emoji: &str| {
        let emoji = emoji.to_owned();
        world.command(0, UiCommand::SendReaction { emoji });
    };
    for _ in 0..20 {
        react(&mut world, "👍");
    }
    world.run(SECOND);
    let me = world.me(0);
    for (client, member) in [(0, SELF_MEMBER), (1, me)] {
        let want = vec![(member, "👍".to_owned()); 5];
        assert_eq!(world.clients[client].reactions, want);
    }
    react(&mut world, "👩\u{200d}💻");
    world.run(SECOND);
    assert_eq!(world.clients[1].reactions.len(), 6);
    for bad in ["", "two words", &"x".repeat(65)] {
        react(&mut world, bad);
    }
    assert_eq!(world.clients[0].failed, [ErrorCode::BadArgument; 3]);
}

#[test]
fn a_hand_stays_up_through_reconnects_and_goes_down_with_the_call() {
    let mut world = World::in_call(2);
    let raise = UiCommand::SetHandRaised { raised: true };
    world.command(0, raise.clone());
    world.run(SECOND);
    let is_up = |world: &World| {
        (
            world.call(0).hand_raised,
            world.call(1).members[0].hand_raised,
        )
    };
    assert_eq!(is_up(&world), (true, true));
    world.cut_socket(0, None);
    world.run(10 * SECOND);
    assert_eq!(is_up(&world), (true, true));
    world.restart_server();
    world.run(20 * SECOND);
    assert_eq!(is_up(&world), (true, true));
    world.cut_socket(0, Some(ErrorCode::SeatTaken));
    world.run(SECOND);
    assert!(!world.call(0).hand_raised, "the call is over");
    world.command(0, raise);
    assert_eq!(world.clients[0].failed.last(), Some(&ErrorCode::BadState));
    // Until the old seat expires.
    world.run(40 * SECOND);
    world.join(0, 1);
    world.run(5 * SECOND);
    assert!(world.call(1).members.iter().all(|it| !it.hand_raised));
}
