//! Rooms that move between mesh and SFU. In every one of them, except where a test itself breaks a
//! path, a pair that has a path keeps one at every moment.

use std::time::Duration;

use call_core::{CallEvent, Input, LinkOp, LinkPeer};
use call_protocol::ErrorCode;
use call_protocol::ui::{LinkView, UiCommand};
use call_protocol::wire::{ClientMessage, TopologyMode};

use crate::world::{SETTLE, SFU, World};

const SECOND: Duration = Duration::from_secs(1);
const MESH: TopologyMode = TopologyMode::Mesh;
const TO_SFU: TopologyMode = TopologyMode::Sfu;

/// Moments within a switch: before anything is heard, while links are set up, when media begins to
/// flow, when words cross, and when all is over.
const MOMENTS_MS: [u64; 9] = [0, 5, 15, 25, 40, 60, 75, 100, 3_000];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A call with `count` people in it out of `all`, in this mode.
fn in_mode(all: usize, count: usize, mode: TopologyMode) -> World {
    let mut world = World::new(all);
    world.strict = true;
    world.command(0, UiCommand::StartCall);
    world.run(2 * SECOND);
    for client in 1..count {
        world.join(client, 0);
        world.run(2 * SECOND);
    }
    if mode == TO_SFU {
        world.set_mode(mode);
        world.run(3 * SECOND);
    }
    assert_in(&world, &(0..count).collect::<Vec<_>>(), mode);
    world
}

fn assert_in(world: &World, clients: &[usize], mode: TopologyMode) {
    match mode {
        TopologyMode::Mesh => world.assert_full_mesh(clients),
        TopologyMode::Sfu => world.assert_on_sfu(clients),
    }
}

fn other(mode: TopologyMode) -> TopologyMode {
    match mode {
        TopologyMode::Mesh => TO_SFU,
        TopologyMode::Sfu => MESH,
    }
}

/// The states of connections that a client reported since its log held `from` entries.
fn states(world: &World, client: usize, from: usize) -> Vec<(LinkPeer, LinkView)> {
    let state = |event: &CallEvent| match event {
        CallEvent::Link { peer, state } => Some((*peer, *state)),
        _ => None,
    };
    let events = &world.clients[client].events[from..];
    events.iter().filter_map(state).collect()
}

#[test]
fn a_room_grows_to_the_sfu_and_shrinks_back() {
    let mut world = in_mode(5, 2, MESH);
    world.set_mode(TO_SFU);
    for client in 2..5 {
        world.join(client, 0);
        world.run(ms(130));
    }
    world.run(2 * SECOND);
    world.assert_on_sfu(&[0, 1, 2, 3, 4]);
    let opened = |world: &World, client: usize| {
        let ops = world.clients[client].ops.iter();
        let open = |op: &LinkOp| match op {
            LinkOp::Open { link, .. } => Some(link.peer),
            _ => None,
        };
        ops.filter_map(open).collect::<Vec<_>>()
    };
    for client in 2..5 {
        assert_eq!(opened(&world, client), [LinkPeer::Sfu], "straight to it");
    }
    world.command(1, UiCommand::LeaveCall);
    world.command(3, UiCommand::LeaveCall);
    world.set_mode(MESH);
    world.run(3 * SECOND);
    world.assert_full_mesh(&[0, 2, 4]);
    world.assert_idle(1);
}

#[test]
fn the_servers_own_rule_moves_a_room_both_ways() {
    let mut world = World::new(6);
    world.auto = true;
    world.strict = true;
    world.command(0, UiCommand::StartCall);
    world.run(SECOND);
    for client in 1..6 {
        world.join(client, 0);
        world.run(SECOND * 2);
        let all: Vec<_> = (0..=client).collect();
        assert_in(&world, &all, if client < 4 { MESH } else { TO_SFU });
    }
    world.command(5, UiCommand::LeaveCall);
    world.command(1, UiCommand::LeaveCall);
    world.run(9 * SECOND);
    world.assert_on_sfu(&[0, 2, 3, 4]);
    world.run(4 * SECOND);
    world.assert_full_mesh(&[0, 2, 3, 4]);

    let relayed = vec![world.me(3)];
    world.input(
        2,
        Input::PathReport {
            relayed,
            uplink_short: false,
            cpu_short: false,
        },
    );
    world.run(3 * SECOND);
    world.assert_on_sfu(&[0, 2, 3, 4]);
    world.command(3, UiCommand::LeaveCall);
    world.run(60 * SECOND);
    world.assert_full_mesh(&[0, 2, 4]);
}

#[test]
fn nobody_sees_a_switch_except_as_what_it_is() {
    for mode in [MESH, TO_SFU] {
        let mut world = in_mode(3, 3, mode);
        let before: Vec<_> = world.clients.iter().map(|it| it.events.len()).collect();
        world.set_mode(other(mode));
        world.run(3 * SECOND);
        assert_in(&world, &[0, 1, 2], other(mode));
        for (client, from) in before.into_iter().enumerate() {
            let events = &world.clients[client].events[from..];
            assert!(
                matches!(&events[0], CallEvent::Topology { mode: to, .. } if *to == other(mode)),
                "{events:?}"
            );
            let members = states(&world, client, from);
            let members = members.iter().filter(|(peer, _)| *peer != LinkPeer::Sfu);
            assert_eq!(members.count(), 0, "{events:?}");
        }
        world.set_mode(other(mode));
        world.run(SECOND);
        let topologies = world.clients[0].events.iter();
        let is_topology = |event: &&CallEvent| matches!(event, CallEvent::Topology { .. });
        let count = topologies.filter(is_topology).count();
        assert_eq!(count, if mode == MESH { 1 } else { 2 }, "the same again");
    }
}

#[test]
fn a_room_may_turn_back_at_any_moment() {
    for mode in [MESH, TO_SFU] {
        for first in MOMENTS_MS {
            for second in MOMENTS_MS {
                let mut world = in_mode(3, 3, mode);
                world.set_mode(other(mode));
                world.run(ms(first));
                world.set_mode(mode);
                world.run(ms(second));
                world.set_mode(other(mode));
                world.run(ms(first));
                world.set_mode(mode);
                world.run(70 * SECOND);
                assert_in(&world, &[0, 1, 2], mode);
            }
        }
    }
}

#[test]
fn people_come_and_go_during_a_switch() {
    for mode in [MESH, TO_SFU] {
        for moment in MOMENTS_MS {
            let mut world = in_mode(4, 3, mode);
            world.set_mode(other(mode));
            world.run(ms(moment));
            world.join(3, 0);
            world.run(ms(moment));
            world.command(1, UiCommand::LeaveCall);
            world.run(4 * SECOND);
            assert_in(&world, &[0, 2, 3], other(mode));
            world.assert_idle(1);
        }
    }
}

#[test]
fn whoever_sends_nothing_settles_too() {
    for mode in [MESH, TO_SFU] {
        let mut world = in_mode(3, 3, other(mode));
        world.set_mode(mode);
        world.run(3 * SECOND);
        // What flowed over earlier links proves nothing about the new ones.
        world.quiet.extend([1, 2]);
        world.set_mode(other(mode));
        world.run(4 * SECOND);
        for client in 0..3 {
            let links = world.open_links(client);
            assert_eq!(links.len(), 3, "both paths so far: {links:?}");
            let link = world.call(client).members[0].link;
            assert_eq!(link, LinkView::Connected);
        }
        world.run(2 * SECOND);
        assert_in(&world, &[0, 1, 2], other(mode));
    }
}

#[test]
fn a_word_on_its_way_when_the_server_is_lost_is_said_again() {
    for mode in [MESH, TO_SFU] {
        for moment in (20..140).step_by(3) {
            let mut world = in_mode(2, 2, mode);
            world.set_mode(other(mode));
            world.run(ms(moment));
            world.cut_server(false);
            world.run(4 * SECOND);
            assert_in(&world, &[0, 1], other(mode));
        }
    }
}

#[test]
fn a_word_that_is_lost_costs_ten_seconds() {
    let mut world = in_mode(2, 2, MESH);
    world.deaf.insert(0);
    world.set_mode(TO_SFU);
    world.run(9 * SECOND);
    assert_eq!(world.open_links(0).len(), 2);
    world.run(2 * SECOND);
    world.assert_on_sfu(&[0, 1]);
}

#[test]
fn whoever_cannot_reach_the_sfu_is_not_dropped_at_once() {
    let mut world = in_mode(2, 2, MESH);
    world.set_path(1, SFU, false);
    world.set_mode(TO_SFU);
    world.run(50 * SECOND);
    for client in [0, 1] {
        let link = world.call(client).members[0].link;
        assert_eq!(link, LinkView::Connected, "by the direct link");
    }
    world.set_path(1, SFU, true);
    world.run(SETTLE);
    world.assert_on_sfu(&[0, 1]);
}

#[test]
fn the_server_may_be_lost_during_a_switch() {
    for mode in [MESH, TO_SFU] {
        for moment in MOMENTS_MS {
            for (everybody, outage_s) in [(true, 1), (true, 20), (false, 1), (false, 20)] {
                let mut world = in_mode(3, 3, mode);
                world.set_mode(other(mode));
                world.run(ms(moment));
                if everybody {
                    world.cut_server(true);
                } else {
                    world.cut_socket(1, None);
                    world.server_up = false;
                }
                world.run(SECOND * outage_s);
                world.server_up = true;
                world.run(SETTLE);
                assert_in(&world, &[0, 1, 2], other(mode));
                let resumed = world.clients[1].events.contains(&CallEvent::Resumed);
                assert!(resumed, "{moment} {outage_s}");
            }
        }
    }
}

#[test]
fn a_room_that_moves_while_somebody_is_away_is_caught_up_with() {
    for mode in [MESH, TO_SFU] {
        let mut world = in_mode(3, 3, mode);
        world.cut_socket(2, None);
        world.server_up = false;
        world.run(5 * SECOND);
        world.set_mode(other(mode));
        world.run(15 * SECOND);
        world.server_up = true;
        world.run(SETTLE);
        assert_in(&world, &[0, 1, 2], other(mode));
    }
}

#[test]
fn a_link_to_the_sfu_that_fails_is_shown_and_opened_anew() {
    for outage_s in [6, 20, 40, 100] {
        let mut world = in_mode(3, 3, TO_SFU);
        world.strict = false;
        let old = world.live_sfu_link(1).unwrap();
        let from = world.clients[1].events.len();
        world.set_path(1, SFU, false);
        world.run(SECOND * outage_s);
        let shown = world.call(1).members.iter().map(|member| member.link);
        let shown: Vec<_> = shown.collect();
        let want = if outage_s < 100 {
            LinkView::Reconnecting
        } else {
            LinkView::Failed
        };
        assert_eq!(shown, [want; 2]);
        let others = world.call(0).members.iter().map(|member| member.link);
        assert!(others.eq([LinkView::Connected; 2]), "unaffected");
        world.set_path(1, SFU, true);
        world.run(SETTLE);
        world.assert_on_sfu(&[0, 1, 2]);
        let is_old = world.live_sfu_link(1) == Some(old);
        assert_eq!(is_old, outage_s < 30, "a restart repairs a short one");
        let events = states(&world, 1, from);
        let is_shown = events.contains(&(LinkPeer::Sfu, LinkView::Reconnecting));
        assert!(is_shown, "{events:?}");
        let error = |event: &&CallEvent| matches!(event, CallEvent::Error { code, .. } if *code == ErrorCode::LinkFailed);
        let errors = world.clients[1].events.iter().filter(error).count();
        assert_eq!(errors, usize::from(outage_s == 100), "once, for the SFU");
    }
}

#[test]
fn an_sfu_that_closes_links_is_asked_again_ever_more_rarely() {
    let mut world = in_mode(2, 2, TO_SFU);
    world.strict = false;
    world.close_sfu_link(0);
    world.run(3 * SECOND);
    world.assert_on_sfu(&[0, 1]);
    world.set_sfu_refuses(true);
    world.close_sfu_link(0);
    world.clients[0].sent.clear();
    world.run(120 * SECOND);
    let is_offer = |message: &&ClientMessage| matches!(message, ClientMessage::SfuOffer { .. });
    let offers = world.clients[0].sent.iter().filter(is_offer).count();
    assert!((5..=8).contains(&offers), "{offers} in two minutes");
    world.set_sfu_refuses(false);
    world.run(40 * SECOND);
    world.assert_on_sfu(&[0, 1]);
}

#[test]
fn an_sfu_that_refuses_leaves_the_mesh_as_it_is() {
    let mut world = in_mode(3, 3, MESH);
    world.set_sfu_refuses(true);
    world.set_mode(TO_SFU);
    world.run(300 * SECOND);
    for client in 0..3 {
        let members = world.call(client).members.iter();
        assert!(members.map(|it| it.link).eq([LinkView::Connected; 2]));
    }
    world.set_mode(MESH);
    world.run(SECOND);
    world.assert_full_mesh(&[0, 1, 2]);
}

#[test]
fn a_new_server_takes_over_a_room_on_the_sfu() {
    let mut world = in_mode(3, 3, TO_SFU);
    world.strict = false;
    world.restart_server();
    world.run(SETTLE);
    world.assert_on_sfu(&[0, 1, 2]);
    for client in 0..3 {
        world.command(client, UiCommand::LeaveCall);
        world.assert_idle(client);
    }
}

#[test]
fn a_mesh_that_does_not_come_up_keeps_the_sfu() {
    let mut world = in_mode(3, 3, TO_SFU);
    world.set_path(0, 1, false);
    world.set_mode(MESH);
    world.run(200 * SECOND);
    for client in 0..2 {
        assert!(world.live_sfu_link(client).is_some());
        let members = world.call(client).members.iter();
        assert!(members.map(|it| it.link).eq([LinkView::Connected; 2]));
    }
    assert!(world.live_sfu_link(2).is_none(), "reaches everybody");
    world.set_path(0, 1, true);
    world.run(SETTLE);
    world.assert_full_mesh(&[0, 1, 2]);
}

#[test]
fn leaving_closes_the_link_to_the_sfu() {
    let mut world = in_mode(2, 2, TO_SFU);
    let link = world.live_sfu_link(0).unwrap().generation;
    world.clients[0].sent.clear();
    world.command(0, UiCommand::LeaveCall);
    let want = [ClientMessage::SfuClose { link }, ClientMessage::Leave];
    assert_eq!(world.clients[0].sent, want);
    world.assert_idle(0);
}
