//! Direct links for files in a room that uses the SFU.

use std::time::Duration;

use call_core::{Input, LinkId, LinkOp, LinkPeer, LinkPurpose};
use call_protocol::MemberId;
use call_protocol::ui::{LinkView, UiCommand};
use call_protocol::wire::TopologyMode;

use crate::world::{SETTLE, World};

const SECOND: Duration = Duration::from_secs(1);

fn on_sfu(count: usize) -> World {
    let mut world = World::in_call(count);
    world.strict = true;
    world.set_mode(TopologyMode::Sfu);
    world.run(3 * SECOND);
    world.assert_on_sfu(&(0..count).collect::<Vec<_>>());
    world
}

fn want(world: &mut World, client: usize, other: usize, wanted: bool) {
    let member = world.me(other);
    world.input(client, Input::WantDirect { member, wanted });
}

fn data_links(world: &World, client: usize) -> Vec<LinkId> {
    let links = world.open_links(client).into_iter();
    links.filter(|link| link.peer != LinkPeer::Sfu).collect()
}

/// Whether these two have a data link and nothing else between them.
fn is_up(world: &World, a: usize, b: usize) -> bool {
    world.is_data_connected(a, b) && world.is_data_connected(b, a)
}

fn opens_for(world: &World, client: usize, wanted: LinkPurpose) -> usize {
    let is_wanted = |op: &&LinkOp| {
        matches!(op, LinkOp::Open { link, purpose, .. }
            if *purpose == wanted && link.peer != LinkPeer::Sfu)
    };
    world.clients[client].ops.iter().filter(is_wanted).count()
}

fn opens(world: &World, client: usize) -> usize {
    opens_for(world, client, LinkPurpose::Data)
}

#[test]
fn a_data_link_is_there_while_wanted_whoever_wants_it() {
    for (one, other) in [(0, 1), (1, 0)] {
        let mut world = on_sfu(3);
        want(&mut world, one, other, true);
        want(&mut world, one, other, true);
        world.run(SECOND);
        assert!(is_up(&world, one, other));
        assert_eq!((opens(&world, one), opens(&world, other)), (1, 1));
        assert!(data_links(&world, 2).is_empty());
        want(&mut world, one, other, false);
        world.run(SECOND);
        world.assert_on_sfu(&[0, 1, 2]);
    }
}

#[test]
fn both_may_want_it_at_once_and_the_last_one_closes_it() {
    for apart_ms in [0, 5, 15, 40] {
        for last in [0, 1] {
            let mut world = on_sfu(2);
            want(&mut world, 0, 1, true);
            world.run(Duration::from_millis(apart_ms));
            want(&mut world, 1, 0, true);
            world.run(10 * SECOND);
            assert!(is_up(&world, 0, 1), "{apart_ms} ms apart");
            want(&mut world, 1 - last, last, false);
            world.run(10 * SECOND);
            assert!(is_up(&world, 0, 1), "{last} still wants it");
            want(&mut world, last, 1 - last, false);
            world.run(10 * SECOND);
            world.assert_on_sfu(&[0, 1]);
        }
    }
}

#[test]
fn a_data_link_that_fails_is_opened_anew_while_wanted() {
    for outage_s in [3, 20, 40, 100] {
        for wanted_by in [&[0][..], &[1], &[0, 1]] {
            let mut world = on_sfu(2);
            for &one in wanted_by {
                want(&mut world, one, 1 - one, true);
            }
            world.run(SECOND);
            world.set_path(0, 1, false);
            world.run(SECOND * outage_s);
            let link = world.call(0).members[0].link;
            assert_eq!(link, LinkView::Connected, "the call is not touched");
            world.set_path(0, 1, true);
            world.run(SETTLE);
            assert!(is_up(&world, 0, 1), "{outage_s} {wanted_by:?}");
            for &one in wanted_by {
                want(&mut world, one, 1 - one, false);
            }
            world.run(SECOND);
            world.assert_on_sfu(&[0, 1]);
        }
    }
}

#[test]
fn in_a_mesh_the_link_of_the_call_serves_and_the_wish_outlives_a_switch() {
    for wanted_by in [&[0][..], &[1], &[0, 1]] {
        let mut world = World::in_call(2);
        world.strict = true;
        for &one in wanted_by {
            want(&mut world, one, 1 - one, true);
        }
        world.run(SECOND);
        assert_eq!((opens(&world, 0), opens(&world, 1)), (0, 0));
        for switch in 0..3 {
            world.set_mode(TopologyMode::Sfu);
            world.run(SETTLE);
            assert!(is_up(&world, 0, 1), "{wanted_by:?}");
            world.set_mode(TopologyMode::Mesh);
            world.run(SETTLE);
            world.assert_full_mesh(&[0, 1]);
            let opened = opens_for(&world, 0, LinkPurpose::Call);
            assert_eq!(opened, 2 + switch, "one for each time in the mesh");
        }
        for &one in wanted_by {
            want(&mut world, one, 1 - one, false);
        }
        world.set_mode(TopologyMode::Sfu);
        world.run(3 * SECOND);
        world.assert_on_sfu(&[0, 1]);
    }
}

#[test]
fn the_server_may_be_lost_while_a_data_link_is_set_up_or_given_up() {
    for moment_ms in [0, 5, 15, 40] {
        for wanted in [true, false] {
            let mut world = on_sfu(2);
            want(&mut world, 1, 0, true);
            if !wanted {
                world.run(SECOND);
                want(&mut world, 1, 0, false);
            }
            world.run(Duration::from_millis(moment_ms));
            world.cut_server(false);
            world.run(SETTLE);
            if wanted {
                assert!(is_up(&world, 0, 1), "{moment_ms}");
            } else {
                world.assert_on_sfu(&[0, 1]);
            }
        }
    }
}

#[test]
fn wishes_about_strangers_and_those_who_left_are_void() {
    let mut world = on_sfu(3);
    for member in [MemberId(99), world.me(0)] {
        world.input(
            0,
            Input::WantDirect {
                member,
                wanted: true,
            },
        );
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
fn a_pair_whose_call_link_is_down_gets_its_data_link_when_the_path_is_back() {
    for outage_s in [10, 32, 60] {
        for wanted_by in [0, 1] {
            let mut world = World::in_call(2);
            world.set_path(0, 1, false);
            world.run(SECOND * outage_s);
            want(&mut world, wanted_by, 1 - wanted_by, true);
            world.set_mode(TopologyMode::Sfu);
            world.run(SETTLE);
            world.set_path(0, 1, true);
            world.run(SETTLE);
            assert!(is_up(&world, 0, 1), "{outage_s} {wanted_by}");
        }
    }
}
