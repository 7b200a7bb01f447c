//! Links for files, beside whatever carries the call.

use std::time::Duration;

use call_core::{CallEvent, Input, LinkId, LinkOp, LinkPeer};
use call_protocol::MemberId;
use call_protocol::ui::{LinkView, UiCommand};
use call_protocol::wire::TopologyMode;

use crate::world::{SETTLE, World};

const SECOND: Duration = Duration::from_secs(1);
const MODES: [TopologyMode; 2] = [TopologyMode::Mesh, TopologyMode::Sfu];

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// `count` clients in one call; none loses its path to another from now on.
fn in_mode(count: usize, mode: TopologyMode) -> World {
    let mut world = World::in_call(count);
    world.strict = true;
    if mode == TopologyMode::Sfu {
        world.set_mode(TopologyMode::Sfu);
        world.run(3 * SECOND);
    }
    assert_only_call(&world, &(0..count).collect::<Vec<_>>());
    world
}

/// The call is as it shall be, and there is no data link.
fn assert_only_call(world: &World, clients: &[usize]) {
    match world.mode() {
        TopologyMode::Mesh => world.assert_full_mesh(clients),
        TopologyMode::Sfu => world.assert_on_sfu(clients),
    }
}

fn want(world: &mut World, client: usize, other: usize, wanted: bool) {
    let member = world.me(other);
    world.input(client, Input::WantData { member, wanted });
}

fn data_links(world: &World, client: usize) -> Vec<LinkId> {
    let links = world.open_links(client).into_iter();
    links
        .filter(|link| matches!(link.peer, LinkPeer::Data(_)))
        .collect()
}

fn is_up(world: &World, a: usize, b: usize) -> bool {
    world.is_data_connected(a, b) && world.is_data_connected(b, a)
}

/// The data links a client opened so far.
fn opens(world: &World, client: usize) -> usize {
    let is_data = |op: &&LinkOp| matches!(op, LinkOp::Open { link, .. } if matches!(link.peer, LinkPeer::Data(_)));
    world.clients[client].ops.iter().filter(is_data).count()
}

#[test]
fn a_data_link_is_there_while_needed_whoever_needs_it() {
    for mode in MODES {
        for (one, other) in [(0, 1), (1, 0)] {
            let mut world = in_mode(3, mode);
            let from = world.clients[one].events.len();
            want(&mut world, one, other, true);
            want(&mut world, one, other, true);
            world.run(SECOND);
            assert!(is_up(&world, one, other));
            assert_eq!((opens(&world, one), opens(&world, other)), (1, 1));
            assert!(data_links(&world, 2).is_empty());
            let call = world.open_links(one).len() - 1;
            assert_eq!(call, if mode == TopologyMode::Mesh { 2 } else { 1 });
            want(&mut world, one, other, false);
            world.run(SECOND);
            assert_only_call(&world, &[0, 1, 2]);
            let peer = LinkPeer::Data(world.me(other));
            let link = |state| CallEvent::Link { peer, state };
            let told = [LinkView::Connecting, LinkView::Connected].map(link);
            assert_eq!(world.clients[one].events[from..], told);
        }
    }
}

#[test]
fn both_may_need_it_at_once_and_the_last_one_closes_it() {
    for mode in MODES {
        for apart_ms in [0, 5, 15, 40] {
            for last in [0, 1] {
                let mut world = in_mode(2, mode);
                want(&mut world, 0, 1, true);
                world.run(ms(apart_ms));
                want(&mut world, 1, 0, true);
                world.run(10 * SECOND);
                assert!(is_up(&world, 0, 1), "{apart_ms} ms apart");
                want(&mut world, 1 - last, last, false);
                world.run(10 * SECOND);
                assert!(is_up(&world, 0, 1), "{last} still needs it");
                assert_eq!((opens(&world, 0), opens(&world, 1)), (1, 1), "the same one");
                want(&mut world, last, 1 - last, false);
                world.run(10 * SECOND);
                assert_only_call(&world, &[0, 1]);
            }
        }
    }
}

#[test]
fn whoever_needs_it_again_at_once_gets_it_within_seconds() {
    for held_ms in [0, 5, 15, 40, 2_000] {
        for pause_ms in [0, 5, 15, 40, 600] {
            for (one, other) in [(0, 1), (1, 0)] {
                let mut world = in_mode(2, TopologyMode::Mesh);
                want(&mut world, one, other, true);
                world.run(ms(held_ms));
                want(&mut world, one, other, false);
                world.run(ms(pause_ms));
                want(&mut world, one, other, true);
                world.run(3 * SECOND);
                assert!(is_up(&world, one, other), "{held_ms} {pause_ms}");
                want(&mut world, one, other, false);
                world.run(SECOND);
                assert_only_call(&world, &[0, 1]);
            }
        }
    }
}

#[test]
fn a_data_link_that_fails_is_opened_anew_while_needed() {
    for mode in MODES {
        for outage_s in [3, 20, 40, 100] {
            for wanted_by in [&[0][..], &[1], &[0, 1]] {
                let mut world = in_mode(2, mode);
                world.strict = mode == TopologyMode::Sfu;
                for &one in wanted_by {
                    want(&mut world, one, 1 - one, true);
                }
                world.run(SECOND);
                world.set_path(0, 1, false);
                world.run(SECOND * outage_s);
                if mode == TopologyMode::Sfu {
                    let link = world.call(0).members[0].link;
                    assert_eq!(link, LinkView::Connected, "the call is not touched");
                }
                world.set_path(0, 1, true);
                world.run(SETTLE);
                assert!(is_up(&world, 0, 1), "{outage_s} {wanted_by:?}");
                for &one in wanted_by {
                    want(&mut world, one, 1 - one, false);
                }
                world.run(SECOND);
                assert_only_call(&world, &[0, 1]);
            }
        }
    }
}

#[test]
fn a_short_outage_is_repaired_within_seconds_on_the_same_link() {
    for wanted_by in [0, 1] {
        let mut world = in_mode(2, TopologyMode::Sfu);
        want(&mut world, wanted_by, 1 - wanted_by, true);
        world.run(SECOND);
        let before = data_links(&world, 0);
        world.set_path(0, 1, false);
        world.run(9 * SECOND);
        let peer = LinkPeer::Data(world.me(1));
        let state = LinkView::Reconnecting;
        let told = CallEvent::Link { peer, state };
        assert_eq!(world.clients[0].events.last(), Some(&told));
        let restarts = |client: usize| {
            let is_restart = |op: &&LinkOp| matches!(op, LinkOp::Restart { .. });
            let ops: &Vec<LinkOp> = &world.clients[client].ops;
            ops.iter().filter(is_restart).count()
        };
        assert!(restarts(wanted_by) >= 2, "from the fifth second on");
        world.set_path(0, 1, true);
        world.run(SECOND);
        assert!(is_up(&world, 0, 1));
        assert_eq!(data_links(&world, 0), before);
    }
}

#[test]
fn a_long_outage_ends_with_another_link_within_seconds() {
    for wanted_by in [&[0][..], &[1], &[0, 1]] {
        let mut world = in_mode(2, TopologyMode::Sfu);
        for &one in wanted_by {
            want(&mut world, one, 1 - one, true);
        }
        world.run(SECOND);
        let before = [0, 1].map(|client| data_links(&world, client));
        world.set_path(0, 1, false);
        world.run(20 * SECOND);
        world.set_path(0, 1, true);
        world.run(5 * SECOND);
        assert!(is_up(&world, 0, 1), "{wanted_by:?}");
        for client in [0, 1] {
            // What SCTP waits to repeat on the old one would come as late again.
            assert_ne!(data_links(&world, client), before[client], "{wanted_by:?}");
        }
    }
}

#[test]
fn a_data_link_does_not_notice_how_the_call_travels() {
    for wanted_by in [&[0][..], &[1], &[0, 1]] {
        let mut world = in_mode(2, TopologyMode::Mesh);
        for &one in wanted_by {
            want(&mut world, one, 1 - one, true);
        }
        world.run(SECOND);
        let before = [0, 1].map(|client| data_links(&world, client));
        for mode in [MODES[1], MODES[0], MODES[1], MODES[0]] {
            for pause in [ms(60), SETTLE] {
                world.set_mode(mode);
                world.run(pause);
                assert!(is_up(&world, 0, 1), "{wanted_by:?}");
                let now = [0, 1].map(|client| data_links(&world, client));
                assert_eq!(now, before, "the same link all along");
            }
            assert_eq!(world.open_links(0).len(), 2);
            assert_eq!(world.call(0).members[0].link, LinkView::Connected);
        }
        for &one in wanted_by {
            want(&mut world, one, 1 - one, false);
        }
        world.run(3 * SECOND);
        assert_only_call(&world, &[0, 1]);
    }
}

#[test]
fn the_server_may_be_lost_while_a_data_link_is_set_up_or_given_up() {
    for mode in MODES {
        for moment_ms in [0, 5, 15, 40] {
            for wanted in [true, false] {
                let mut world = in_mode(2, mode);
                want(&mut world, 1, 0, true);
                if !wanted {
                    world.run(SECOND);
                    want(&mut world, 1, 0, false);
                }
                world.run(ms(moment_ms));
                world.cut_server(false);
                world.run(SETTLE);
                if wanted {
                    assert!(is_up(&world, 0, 1), "{moment_ms}");
                } else {
                    assert_only_call(&world, &[0, 1]);
                }
            }
        }
    }
}

#[test]
fn a_resumed_seat_keeps_data_links_and_a_new_one_ends_them() {
    for mode in MODES {
        let mut world = in_mode(2, mode);
        want(&mut world, 1, 0, true);
        world.run(SECOND);
        let before = data_links(&world, 0);
        world.cut_server(false);
        world.run(20 * SECOND);
        assert!(is_up(&world, 0, 1));
        assert_eq!(data_links(&world, 0), before);
        world.strict = false;
        world.restart_server();
        world.run(SETTLE);
        match mode {
            // The same seat, although the server forgot it.
            TopologyMode::Mesh => assert_eq!(data_links(&world, 0), before),
            TopologyMode::Sfu => assert_only_call(&world, &[0, 1]),
        }
    }
}

#[test]
fn wishes_about_strangers_and_those_who_left_are_void() {
    let mut world = in_mode(3, TopologyMode::Sfu);
    for member in [MemberId(99), world.me(0)] {
        let wanted = true;
        world.input(0, Input::WantData { member, wanted });
    }
    assert!(data_links(&world, 0).is_empty());
    want(&mut world, 0, 1, true);
    world.run(SECOND);
    world.command(1, UiCommand::LeaveCall);
    world.run(SECOND);
    world.assert_on_sfu(&[0, 2]);
    world.join(1, 0);
    world.run(2 * SECOND);
    world.assert_on_sfu(&[0, 1, 2]);
}

#[test]
fn a_pair_that_cannot_reach_each_other_gets_its_data_link_when_the_path_is_back() {
    for mode in MODES {
        for outage_s in [10, 32, 60] {
            for wanted_by in [0, 1] {
                let mut world = World::in_call(2);
                world.set_path(0, 1, false);
                world.run(SECOND * outage_s);
                want(&mut world, wanted_by, 1 - wanted_by, true);
                world.set_mode(mode);
                world.run(SETTLE);
                world.set_path(0, 1, true);
                world.run(SETTLE);
                assert!(is_up(&world, 0, 1), "{outage_s} {wanted_by}");
            }
        }
    }
}
