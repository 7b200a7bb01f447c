//! What a weak network does to a call: what is encoded, what the person and the others see.

use std::time::Duration;

use call_core::{CallEvent, Input, LinkFigures, LinkPeer, MediaOp, PictureFigures, QualityReport};
use call_protocol::MediaSource;
use call_protocol::ui::{TileSize, UiCommand};
use call_protocol::wire::ClientMessage;

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(250);

/// Reports for so many seconds that the links to these members carry so much; the picture fills
/// what it may take.
fn report(world: &mut World, client: usize, seconds: u32, targets_kbps: &[(usize, u64)]) {
    for _ in 0..seconds * 4 {
        let links = world.open_links(client);
        let figures = targets_kbps.iter().filter_map(|(other, kbps)| {
            let peer = LinkPeer::Member(world.me(*other));
            let link = *links.iter().find(|link| link.peer == peer)?;
            Some(LinkFigures {
                link,
                target_bps: kbps * 1_000,
                loss: 0.0,
                rtt_ms: Some(40.0),
                jitter_ms: 1.0,
                loss_in: 0.0,
                received_bps: 0,
            })
        });
        let camera = PictureFigures {
            layer_sizes: [Some((1_280, 720)), Some((640, 360)), Some((320, 180))],
            fps: 30,
            sent_bps: sent_bps(world, client),
        };
        let report = QualityReport {
            links: figures.collect(),
            camera: Some(camera),
            screen: None,
            encoder_busy: 0.3,
        };
        world.input(client, Input::Quality(report));
        world.run(TICK);
    }
}

fn encoded(world: &World, client: usize) -> Option<Option<u32>> {
    let media = world.clients[client].media.iter().rev();
    media.into_iter().find_map(|op| match op {
        MediaOp::EncodePicture { plan, .. } => Some(plan.map(|plan| plan.max_width_px)),
        _ => None,
    })
}

fn sent_bps(world: &World, client: usize) -> u64 {
    let media = world.clients[client].media.iter().rev();
    let plan = media.into_iter().find_map(|op| match op {
        MediaOp::EncodePicture { plan, .. } => Some(*plan),
        _ => None,
    });
    plan.flatten().map_or(2_000_000, |plan| plan.bitrate_bps())
}

/// Whether the tile of `other` says at `client` that there is only sound.
fn shows_sound_only(world: &World, client: usize, other: usize) -> bool {
    let id = world.me(other);
    let members = &world.call(client).members;
    members.iter().any(|it| it.id == id && it.sound_only)
}

fn told(world: &World, client: usize) -> Vec<(bool, bool)> {
    let events = world.clients[client].events.iter();
    let told = events.filter_map(|event| match event {
        CallEvent::SoundOnly { member, on } => Some((member.is_some(), *on)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_path_for_sound_only_is_told_to_everybody_and_the_camera_stays_wanted() {
    let mut world = World::in_call(2);
    report(&mut world, 0, 2, &[(1, 2_000)]);
    assert_eq!(encoded(&world, 0), Some(Some(1_280)));
    report(&mut world, 0, 2, &[(1, 70)]);
    assert_eq!(encoded(&world, 0), Some(None));
    world.run(SECOND);
    assert!(world.view(0).camera_on && world.call(0).sound_only);
    assert!(shows_sound_only(&world, 1, 0) && !world.call(1).sound_only);
    assert!(world.call(1).members[0].camera_on);
    assert_eq!(
        (told(&world, 0), told(&world, 1)),
        (vec![(false, true)], vec![(true, true)])
    );
    world.command(0, UiCommand::SetCamera { on: false });
    world.run(SECOND);
    assert!(
        !shows_sound_only(&world, 1, 0),
        "a camera that is off says enough"
    );
    world.command(0, UiCommand::SetCamera { on: true });
    report(&mut world, 0, 8, &[(1, 2_000)]);
    world.run(SECOND);
    assert!(!world.call(0).sound_only && !shows_sound_only(&world, 1, 0));
    assert_eq!(told(&world, 0), [(false, true), (false, false)]);
    assert_eq!(told(&world, 1), [(true, true), (true, false)]);
    world.command(0, UiCommand::LeaveCall);
    let stopped = world.clients[0]
        .media
        .contains(&MediaOp::LimitFiles { limit_bps: None });
    assert!(stopped, "files are free again");
}

#[test]
fn one_weak_member_of_a_mesh_costs_the_others_nothing() {
    let mut world = World::in_call(3);
    report(&mut world, 0, 5, &[(1, 70), (2, 4_000)]);
    world.run(SECOND);
    let members = vec![world.me(1)];
    let source = MediaSource::Camera;
    assert!(
        world.clients[0]
            .media
            .contains(&MediaOp::HoldPicture { source, members })
    );
    assert_eq!(encoded(&world, 0), Some(Some(1_280)));
    assert!(!world.call(0).sound_only);
    assert!(shows_sound_only(&world, 1, 0) && !shows_sound_only(&world, 2, 0));
    report(&mut world, 0, 8, &[(1, 4_000), (2, 4_000)]);
    world.run(SECOND);
    let members = Vec::new();
    assert!(
        world.clients[0]
            .media
            .contains(&MediaOp::HoldPicture { source, members })
    );
    assert!(!shows_sound_only(&world, 1, 0));
}

fn show(world: &mut World, client: usize, other: usize, width_px: u32, height_px: u32) {
    let tile = TileSize {
        member: world.me(other),
        source: MediaSource::Camera,
        width_px,
        height_px,
    };
    let tiles = vec![tile];
    world.command(client, UiCommand::SetVisibleTiles { tiles });
}

#[test]
fn a_mesh_sends_no_larger_picture_than_is_shown() {
    let mut world = World::in_call(2);
    let good = [(1, 4_000)];
    report(&mut world, 0, 1, &good);
    world.clients[1].sent.clear();
    for width in 0..40 {
        show(&mut world, 1, 0, 300 + width, 180);
        world.run(Duration::from_millis(5));
    }
    world.run(SECOND);
    let signals = world.clients[1].sent.iter();
    let signals = signals.filter(|it| matches!(it, ClientMessage::Signal { .. }));
    assert_eq!(signals.count(), 2, "the first and the last size");
    report(&mut world, 0, 1, &good);
    assert_eq!(encoded(&world, 0), Some(Some(320)));
    show(&mut world, 1, 0, 1_200, 700);
    world.run(SECOND);
    assert_eq!(encoded(&world, 0), Some(Some(1_280)), "at once");
    world.command(1, UiCommand::SetLowData { on: true });
    world.run(SECOND);
    assert_eq!(
        encoded(&world, 0),
        Some(Some(640)),
        "who saves data asks for less"
    );
    report(&mut world, 1, 3, &[(0, 4_000)]);
    assert!(sent_bps(&world, 1) <= 250_000, "and sends less");
}
