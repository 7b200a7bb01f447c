//! Links that break.

use std::time::Duration;

use call_core::{CallEvent, Input, LinkEvent, LinkId, LinkOp, LinkPeer, LinkState, MediaOp};
use call_protocol::peer::PeerSignal;
use call_protocol::ui::{LinkView, UiCommand};
use call_protocol::{ErrorCode, MediaSource, MemberId, VideoCodec};

use crate::world::{SETTLE, World};

const SECOND: Duration = Duration::from_secs(1);

fn link_view(world: &World, client: usize) -> LinkView {
    world.call(client).members[0].link
}

fn restarts(world: &World, client: usize) -> usize {
    world.clients[client]
        .ops
        .iter()
        .filter(|op| matches!(op, LinkOp::Restart { .. }))
        .count()
}

fn opens(world: &World, client: usize) -> usize {
    world.clients[client]
        .ops
        .iter()
        .filter(|op| matches!(op, LinkOp::Open { .. }))
        .count()
}

#[test]
fn an_interruption_is_repaired_by_restarts() {
    let mut world = World::in_call(2);
    world.set_path(0, 1, false);
    world.run(SECOND * 6);
    assert_eq!(
        (link_view(&world, 0), link_view(&world, 1)),
        (LinkView::Reconnecting, LinkView::Reconnecting)
    );
    assert_eq!(restarts(&world, 1), 1, "the initiator restarts at once");
    assert_eq!(restarts(&world, 0), 0, "the other leaves it the first try");
    world.set_path(0, 1, true);
    world.run(SECOND);
    world.assert_full_mesh(&[0, 1]);
    assert_eq!(
        (opens(&world, 0), opens(&world, 1)),
        (1, 1),
        "the links are the same"
    );
}

#[test]
fn a_long_interruption_ends_in_new_links_and_nobody_is_lost() {
    for outage_s in [20, 31, 40, 60, 90, 200] {
        let mut world = World::in_call(3);
        world.set_path(0, 1, false);
        world.run(SECOND * outage_s);
        assert_ne!(link_view(&world, 0), LinkView::Connected);
        assert_eq!(
            world.call(0).members[1].link,
            LinkView::Connected,
            "the third is unaffected"
        );
        world.set_path(0, 1, true);
        world.run(SETTLE);
        world.assert_full_mesh(&[0, 1, 2]);
    }
}

#[test]
fn a_link_that_never_comes_up_counts_as_failed_and_is_tried_again() {
    let mut world = World::new(2);
    world.set_path(0, 1, false);
    world.command(0, UiCommand::StartCall);
    world.run(SECOND);
    world.join(1, 0);
    world.run(SECOND * 10);
    assert_eq!(link_view(&world, 1), LinkView::Connecting);
    world.run(SECOND * 110);
    for client in 0..2 {
        assert_eq!(link_view(&world, client), LinkView::Failed);
        let failed = |event: &&CallEvent| {
            matches!(
                event,
                CallEvent::Error {
                    code: ErrorCode::LinkFailed,
                    ..
                }
            )
        };
        assert_eq!(
            world.clients[client].events.iter().filter(failed).count(),
            1,
            "said once"
        );
    }
    assert!(
        (3..8).contains(&opens(&world, 1)),
        "tried again, ever more rarely"
    );
    world.set_path(0, 1, true);
    world.run(SETTLE);
    world.assert_full_mesh(&[0, 1]);
}

#[test]
fn an_outage_of_everything_heals() {
    for outage_s in [3, 12, 25, 50, 100] {
        let mut world = World::in_call(3);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            world.set_path(a, b, false);
        }
        world.cut_server(true);
        world.run(SECOND * outage_s);
        world.server_up = true;
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            world.set_path(a, b, true);
        }
        world.run(SETTLE);
        world.assert_full_mesh(&[0, 1, 2]);
    }
}

#[test]
fn reports_of_links_that_are_not_there_change_nothing() {
    let mut world = World::in_call(2);
    let before = world.view(0).clone();
    let current = world.open_links(0)[0];
    let stale = LinkId {
        generation: current.generation + 7,
        ..current
    };
    let stranger = LinkId {
        peer: LinkPeer::Member(MemberId(77)),
        ..current
    };
    for link in [stale, stranger] {
        for event in [
            LinkEvent::State(LinkState::Failed),
            LinkEvent::Signal(PeerSignal::Bye),
            LinkEvent::Codec(VideoCodec::Vp9),
            LinkEvent::KeyframeRequested {
                source: MediaSource::Camera,
                layer: 0,
            },
        ] {
            world.input(0, Input::Link { link, event });
        }
    }
    assert_eq!(*world.view(0), before);
    world.assert_full_mesh(&[0, 1]);
}

#[test]
fn keyframes_are_forced_for_newcomers_and_requests_but_not_too_often() {
    let mut world = World::in_call(2);
    let forced = MediaOp::ForceKeyframe {
        source: MediaSource::Camera,
        layer: 0,
    };
    let count = |world: &World| {
        world.clients[0]
            .media
            .iter()
            .filter(|op| **op == forced)
            .count()
    };
    assert_eq!(count(&world), 1, "for the newcomer");
    let link = world.open_links(0)[0];
    for _ in 0..100 {
        let event = LinkEvent::KeyframeRequested {
            source: MediaSource::Camera,
            layer: 0,
        };
        world.input(0, Input::Link { link, event });
        world.run(Duration::from_millis(10));
    }
    world.run(SECOND);
    assert!(
        (4..=6).contains(&count(&world)),
        "{} in a second",
        count(&world)
    );
}

#[test]
fn the_codec_of_a_picture_is_shown() {
    let mut world = World::in_call(2);
    let link = world.open_links(0)[0];
    world.input(
        0,
        Input::Link {
            link,
            event: LinkEvent::Codec(VideoCodec::Vp9),
        },
    );
    assert_eq!(world.call(0).members[0].codec, Some(VideoCodec::Vp9));
}
