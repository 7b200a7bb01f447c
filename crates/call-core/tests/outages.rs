//! Outages of any length, changes of network, sleep: who stays in the call, what is touched, what the
//! person is told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use call_core::{CallEvent, Input, LinkEvent, LinkOp, LinkState};
use call_e2ee::SeedStream;
use call_protocol::ui::{CallPhase, LinkView, UiCommand};

use crate::reconnecting::settled;
use crate::world::{SERVER, SETTLE, World};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_loses_the_server_for_long_stays_in_the_call() {
    for outage_s in [45, 3_600] {
        let mut world = settled(3);
        let before = world.me(1);
        world.refused.insert(1);
        world.cut_socket(1, None);
        world.run(SECOND * outage_s);
        assert_eq!(world.phase(1), Some(CallPhase::Reconnecting));
        assert_eq!(world.call(0).members.len(), 2, "who is heard is there");
        world.refused.clear();
        world.run(SECOND * 20);
        world.assert_full_mesh(&[0, 1, 2]);
        assert_eq!(world.me(1), before, "the same seat");
        for client in 0..3 {
            assert!(world.clients[client].ops.is_empty(), "no link was touched");
        }
        assert!(world.clients[0].events.is_empty() && world.clients[2].events.is_empty());
    }
}

#[test]
fn who_loses_server_and_path_for_long_is_gone_and_comes_back_as_themselves() {
    let mut world = settled(3);
    let before = world.me(1);
    world.refused.insert(1);
    world.cut_socket(1, None);
    for other in [0, 2] {
        world.set_path(1, other, false);
    }
    world.run(SECOND * 45);
    assert_eq!(world.call(0).members.len(), 1, "the others are told");
    world.refused.clear();
    for other in [0, 2] {
        world.set_path(1, other, true);
    }
    world.run(SETTLE);
    world.assert_full_mesh(&[0, 1, 2]);
    assert_eq!(world.me(1), before);
    let left = |event: &CallEvent| matches!(event, CallEvent::Left { .. });
    assert!(!world.clients[1].events.iter().any(left));
}

#[test]
fn a_restarted_server_changes_nothing_in_a_mesh() {
    for down_s in [0, 1, 20, 600] {
        let mut world = settled(4);
        world.command(2, UiCommand::SetMuted { muted: true });
        world.run(SECOND * 3);
        let ids = [0, 1, 2, 3].map(|client| world.me(client));
        for client in &mut world.clients {
            client.events.clear();
            client.ops.clear();
        }
        world.restart_server();
        world.server_up = down_s == 0;
        world.run(SECOND * down_s);
        world.server_up = true;
        world.run(SETTLE);
        world.assert_full_mesh(&[0, 1, 2, 3]);
        assert_eq!([0, 1, 2, 3].map(|client| world.me(client)), ids);
        for client in &world.clients {
            assert!(client.ops.is_empty(), "{down_s}: {:?}", client.ops);
            // A server without memory takes whoever is back first as host.
            let mut seen = client.events.clone();
            seen.retain(|event| !matches!(event, CallEvent::Host { .. }));
            let want = [CallEvent::Reconnecting, CallEvent::Resumed];
            assert_eq!(seen, want, "{down_s}");
        }
    }
}

#[test]
fn who_left_while_the_server_was_away_is_gone_soon() {
    let mut world = settled(3);
    world.restart_server();
    world.server_up = false;
    world.run(SECOND * 5);
    world.command(1, UiCommand::LeaveCall);
    world.server_up = true;
    world.run(SECOND * 60);
    world.assert_full_mesh(&[0, 2]);
}

#[test]
fn somebody_else_under_a_known_id_is_somebody_new() {
    let mut world = settled(3);
    let (stranger, known) = (world.me(1), world.me(2));
    world.refused.extend([0, 1, 2]);
    world.restart_server();
    world.run(SECOND);
    // They leave, and come back first: the fresh server gives them the first id.
    world.command(0, UiCommand::LeaveCall);
    world.command(2, UiCommand::LeaveCall);
    world.run(SECOND);
    world.refused.clear();
    world.join(2, 1);
    world.run(SETTLE);
    world.assert_full_mesh(&[1, 2]);
    assert!(world.me(2) != known || world.me(1) == stranger);
    let names: Vec<_> = world.call(1).members.iter().map(|it| &it.name).collect();
    assert_eq!(names, ["C2"]);
}

#[test]
fn a_network_that_changed_is_used_at_once() {
    let mut world = settled(3);
    let link = |world: &World, to: usize| {
        let member = world.me(to);
        let links = world.open_links(1).into_iter();
        let mut links = links.filter(|link| link.member() == Some(member));
        links.next().expect("there is a link")
    };
    let links = [link(&world, 0), link(&world, 2)];
    // The address is gone, and with it the connection to the server.
    world.refused.insert(1);
    world.cut_socket(1, None);
    world.run(Duration::from_millis(20));
    for link in links {
        for event in [
            LinkEvent::AddressGone,
            LinkEvent::State(LinkState::Reconnecting),
        ] {
            world.input(1, Input::Link { link, event });
        }
    }
    world.input(1, Input::Network { online: false });
    assert_eq!(world.phase(1), Some(CallPhase::Offline), "at once");
    world.set_path(1, 0, false);
    world.set_path(1, 2, false);
    world.run(SECOND * 15);
    let is_restart = |op: &&LinkOp| matches!(op, LinkOp::Restart { .. });
    let restarts = |world: &World| world.clients[1].ops.iter().filter(is_restart).count();
    assert_eq!(restarts(&world), 0, "there is nothing to restart over");
    world.refused.clear();
    world.clients[1].connects.clear();
    let back = world.now;
    world.input(1, Input::Network { online: true });
    world.run(Duration::from_millis(200));
    let connects = &world.clients[1].connects;
    let soon = back + Duration::from_millis(50);
    assert_eq!(*connects, [soon], "once there is a route");
    assert_eq!(restarts(&world), 2, "whoever initiated them");
    world.set_path(1, 0, true);
    world.set_path(1, 2, true);
    world.run(SECOND * 5);
    world.assert_full_mesh(&[0, 1, 2]);
    let events = &world.clients[0].events;
    assert!(!events.iter().any(|event| matches!(
        event,
        CallEvent::MemberLeft { .. } | CallEvent::MemberJoined { .. }
    )));
}

#[test]
fn another_interface_alone_touches_nothing() {
    let mut world = settled(2);
    world.input(0, Input::Network { online: true });
    world.run(SECOND * 5);
    assert!(world.clients[0].ops.is_empty() && world.clients[0].connects.is_empty());
}

#[test]
fn a_path_is_not_given_up_while_the_server_may_be_gone_as_well() {
    let mut world = settled(2);
    // Everything is lost, and no end of a connection says so.
    world.server_silent = true;
    world.server_up = false;
    world.set_path(0, 1, false);
    // The model's links fail by themselves after thirty.
    world.run(SECOND * 29);
    for client in 0..2 {
        let ops = &world.clients[client].ops;
        assert!(ops.is_empty(), "{ops:?}");
        assert_eq!(world.phase(client), Some(CallPhase::Reconnecting));
    }
    let view = &world.call(0).members[0];
    assert_eq!(view.link, LinkView::Reconnecting);
}

#[test]
fn whose_network_is_weak_is_told_where_others_do_well() {
    let mut world = settled(3);
    world.set_path(0, 1, false);
    // The model notices after five seconds.
    world.run(Duration::from_millis(6_500));
    let links = |world: &World, client: usize| {
        let members = world.call(client).members.iter();
        members.map(|member| member.link).collect::<Vec<_>>()
    };
    assert_eq!(links(&world, 0), [LinkView::Weak, LinkView::Connected]);
    assert_eq!(links(&world, 2), [LinkView::Connected; 2]);
    world.set_path(0, 2, false);
    world.run(SECOND * 6);
    let none = links(&world, 0).iter().all(|link| *link != LinkView::Weak);
    assert!(none, "it is one's own then");
}

#[test]
fn a_machine_that_slept_takes_its_seat_again_at_once() {
    for slept_s in [10, 3_600] {
        let mut world = settled(3);
        let before = world.me(1);
        world.command(1, UiCommand::SetMuted { muted: true });
        world.run(SECOND * 2);
        // Nobody hears it, and it does nothing.
        world.refused.insert(1);
        for other in [0, 2] {
            world.set_path(1, other, false);
        }
        world.cut_socket(1, None);
        world.run(SECOND * slept_s);
        world.refused.clear();
        for other in [0, 2] {
            world.set_path(1, other, true);
        }
        world.input(1, Input::Woken);
        world.run(SETTLE);
        world.assert_full_mesh(&[0, 1, 2]);
        assert_eq!(world.me(1), before);
        assert_eq!(world.clients[1].muted, Some(true));
    }
}

/// Waits between attempts that fail at once, without jitter.
const BACK_OFF_MS: [f64; 6] = [0.0, 300.0, 1_200.0, 2_700.0, 4_800.0, 7_000.0];

#[test]
fn the_jitter_comes_from_the_seed() {
    let waits = |seed: u8| {
        let mut world = World::with_server(1, SERVER, seed);
        world.command(0, UiCommand::StartCall);
        world.run(SECOND * 20);
        let lost = world.now;
        world.clients[0].connects.clear();
        world.cut_server(true);
        world.run(SECOND * 40);
        attempts_ms(lost, &world.clients[0].connects)
    };
    for seed in 0..20 {
        let waits = waits(seed);
        assert!(waits.len() >= 8);
        for (index, wait) in waits.iter().enumerate() {
            let want = BACK_OFF_MS[index.min(BACK_OFF_MS.len() - 1)];
            // An attempt takes as long as the news of its failure does.
            let wait = wait - 10.0;
            assert!((wait - want).abs() <= want * 0.2 + 0.01, "{index}: {wait}");
        }
    }
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
}

fn attempts_ms(from: Instant, connects: &[Instant]) -> Vec<f64> {
    let before = std::iter::once(&from).chain(connects);
    let pairs = before.zip(connects);
    pairs
        .map(|(before, at)| (*at - *before).as_secs_f64() * 1e3)
        .collect()
}

/// Everything that can be lost, in any order: nobody's mute changes but by their own command, attempts
/// stay as rare as the back-off has them, and afterwards everybody is there, as whom they were.
#[test]
fn no_way_of_losing_and_finding_a_connection_touches_mute_or_storms_the_server() {
    for seed in 0..60 {
        let mut dice = SeedStream::new([seed; 32]);
        let mut below = move |count: usize| u32::from_be_bytes(dice.draw()) as usize % count;
        let mut world = settled(3);
        let ids = [0, 1, 2].map(|client| world.me(client));
        let mut muted = [false; 3];
        let mut nudges = [0; 3];
        let began = world.now;
        for _ in 0..40 {
            let client = below(3);
            let other = (client + 1 + below(2)) % 3;
            match below(12) {
                0 => {
                    muted[client] = !muted[client];
                    let muted = muted[client];
                    world.command(client, UiCommand::SetMuted { muted });
                }
                1 => world.cut_socket(client, None),
                2 => world.cut_server(true),
                3 => world.restart_server(),
                4 => {
                    world.refused.insert(client);
                    world.cut_socket(client, None);
                }
                5 => world.set_path(client, other, false),
                6 => world.set_path(client, other, true),
                7 | 8 => {
                    let online = below(2) == 0;
                    nudges[client] += 1;
                    world.input(client, Input::Network { online });
                }
                9 => {
                    nudges[client] += 1;
                    world.input(client, Input::Woken);
                }
                10 => {
                    for link in world.open_links(client) {
                        let event = LinkEvent::AddressGone;
                        world.input(client, Input::Link { link, event });
                    }
                }
                _ => {
                    world.refused.clear();
                    world.server_up = true;
                }
            }
            world.run(Duration::from_millis([10, 700, 5_000, 40_000][below(4)]));
            for (client, wanted) in world.clients.iter().zip(muted) {
                assert_eq!(client.muted, Some(wanted), "seed {seed}");
            }
        }
        let seconds = (world.now - began).as_secs_f64();
        for (client, nudges) in nudges.into_iter().enumerate() {
            let connects = world.clients[client].connects.len();
            // Six in the first 16 s after a loss that a stable seat or a nudge preceded, then one every
            // seven seconds or so.
            let most = seconds / 5.6 + 6.0 * (seconds / 10.0 + f64::from(nudges));
            assert!((connects as f64) < most, "seed {seed}: {connects}");
        }
        world.server_up = true;
        world.refused.clear();
        for client in 0..3 {
            world.input(client, Input::Network { online: true });
            for other in 0..3 {
                if other != client {
                    world.set_path(client, other, true);
                }
            }
        }
        world.run(SETTLE);
        let all: BTreeSet<_> = [0, 1, 2].map(|client| world.me(client)).into();
        assert_eq!(all, ids.into(), "seed {seed}");
        world.assert_full_mesh(&[0, 1, 2]);
        for (client, muted) in muted.into_iter().enumerate() {
            assert_eq!(world.view(client).muted, muted);
            assert_eq!(world.clients[client].muted, Some(muted));
        }
    }
}
