//! What is said to the SFU and heard from it: subscriptions, layers, keys, reports, relays.

use std::time::Duration;

use call_core::{Input, LinkEvent, LinkFigures, LinkId, LinkOp, LinkPeer, MediaOp, QualityReport};
use call_protocol::care::Door;
use call_protocol::peer::{PeerSignal, SdpKind};
use call_protocol::ui::frame::SELF_MEMBER;
use call_protocol::ui::{TileSize, UiCommand};
use call_protocol::wire::{ClientMessage, RelayGrant, ServerMessage, Subscription, TopologyMode};
use call_protocol::{MediaSource, MemberId, limits};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const CAMERA: MediaSource = MediaSource::Camera;

fn on_sfu(count: usize) -> World {
    let mut world = World::in_call(count);
    world.set_mode(TopologyMode::Sfu);
    world.run(3 * SECOND);
    world.clients.iter_mut().for_each(|it| it.sent.clear());
    world.clients.iter_mut().for_each(|it| it.media.clear());
    world
}

fn show(world: &mut World, client: usize, members: &[(MemberId, u32)]) {
    let tile = |(member, width_px): (MemberId, u32)| TileSize {
        member,
        source: CAMERA,
        width_px,
        height_px: 90,
    };
    let tiles = members.iter().copied().map(tile).collect();
    world.command(client, UiCommand::SetVisibleTiles { tiles });
}

fn subscribed(world: &World, client: usize) -> Vec<Vec<(MemberId, u32)>> {
    let size = |tile: &Subscription| (tile.member, tile.width_px);
    let sent = world.clients[client].sent.iter();
    let tiles = sent.filter_map(|message| match message {
        ClientMessage::Subscribe { tiles } => Some(tiles.iter().map(size).collect()),
        _ => None,
    });
    tiles.collect()
}

fn layers(world: &World, client: usize) -> Vec<[bool; 3]> {
    let media = world.clients[client].media.iter();
    let wanted = media.filter_map(|op| match op {
        MediaOp::SetLayers { source, wanted } if *source == CAMERA => Some(*wanted),
        _ => None,
    });
    wanted.collect()
}

/// A client's link to the SFU does so, for a second.
fn report_link(world: &mut World, client: usize, loss_in: f64) {
    let links = world.open_links(client);
    let link = *links
        .iter()
        .find(|link| link.peer == LinkPeer::Sfu)
        .unwrap();
    for _ in 0..4 {
        let figures = LinkFigures {
            link,
            target_bps: 2_000_000,
            loss: 0.0,
            rtt_ms: Some(40.0),
            jitter_ms: 1.0,
            loss_in,
            received_bps: 1_000_000,
        };
        let report = QualityReport {
            links: vec![figures],
            ..QualityReport::default()
        };
        world.input(client, Input::Quality(report));
        world.run(SECOND / 4);
    }
}

#[test]
fn who_loses_sound_on_the_way_from_the_server_is_sent_copies_by_all() {
    let mut world = on_sfu(3);
    // Of what was said last; nothing is said of what does not change.
    let copies = |world: &World, client: usize| {
        let mut media = world.clients[client].media.iter().rev();
        media.find_map(|op| match op {
            MediaOp::EncodeSound { plan } => Some(plan.copies),
            _ => None,
        })
    };
    for client in 0..3 {
        report_link(&mut world, client, 0.0);
        assert_eq!(copies(&world, client), None);
    }
    report_link(&mut world, 1, 0.05);
    for client in [0, 2] {
        report_link(&mut world, client, 0.0);
        assert_eq!(copies(&world, client), Some(2));
    }
    report_link(&mut world, 1, 0.0);
    assert_eq!(copies(&world, 1), None, "nobody else asks");
    for _ in 0..12 {
        report_link(&mut world, 1, 0.0);
    }
    report_link(&mut world, 0, 0.0);
    assert_eq!(copies(&world, 0), Some(0), "nothing is lost any more");
}

fn reports(world: &World, client: usize) -> Vec<ClientMessage> {
    let is_report = |message: &&ClientMessage| matches!(message, ClientMessage::Report { .. });
    let sent = world.clients[client].sent.iter();
    sent.filter(is_report).cloned().collect()
}

#[test]
fn what_is_shown_is_subscribed_on_change_and_again_when_it_may_be_forgotten() {
    let mut world = on_sfu(3);
    let (one, two) = (world.me(1), world.me(2));
    show(
        &mut world,
        0,
        &[(one, 100), (SELF_MEMBER, 50), (MemberId(99), 10)],
    );
    show(&mut world, 0, &[(one, 100)]);
    assert_eq!(subscribed(&world, 0), [[(one, 100)]]);
    for width in 0..50 {
        show(&mut world, 0, &[(one, 200 + width), (two, 100)]);
        world.run(Duration::from_millis(5));
    }
    world.run(SECOND);
    let all = subscribed(&world, 0);
    assert!((3..=5).contains(&all.len()), "{all:?}");
    assert_eq!(all.last().unwrap(), &[(one, 249), (two, 100)]);
    world.clients[0].sent.clear();
    world.cut_server(false);
    world.run(SECOND);
    assert_eq!(subscribed(&world, 0), [[(one, 249), (two, 100)]], "resumed");
    world.clients[0].sent.clear();
    world.command(2, UiCommand::LeaveCall);
    world.run(SECOND);
    assert_eq!(
        subscribed(&world, 0),
        [[(one, 249)]],
        "who left is not wanted"
    );
    world.clients[0].sent.clear();
    world.close_sfu_link(0);
    world.run(3 * SECOND);
    assert_eq!(subscribed(&world, 0), [[(one, 249)]], "a new link");
}

#[test]
fn a_mesh_needs_no_subscription_and_a_switch_brings_it() {
    let mut world = World::in_call(2);
    let one = world.me(1);
    show(&mut world, 0, &[(one, 100)]);
    world.run(SECOND);
    assert!(subscribed(&world, 0).is_empty());
    world.set_mode(TopologyMode::Sfu);
    world.run(SECOND);
    let all = subscribed(&world, 0);
    assert!(!all.is_empty() && all.iter().all(|tiles| *tiles == [(one, 100)]));
}

#[test]
fn layers_follow_direct_links_and_what_the_sfu_wants() {
    let mut world = World::in_call(2);
    let [none, first, small] = [[false; 3], [true, false, false], [false, true, true]];
    assert_eq!(layers(&world, 0), [first]);
    world.set_mode(TopologyMode::Sfu);
    world.run(Duration::from_millis(60));
    let say = |world: &mut World, source, wanted| {
        world.say(0, ServerMessage::SfuLayers { source, wanted });
    };
    say(&mut world, CAMERA, small);
    say(&mut world, CAMERA, small);
    say(&mut world, MediaSource::Microphone, [true; 3]);
    assert_eq!(layers(&world, 0), [first, [true; 3]], "both ways");
    world.run(3 * SECOND);
    world.assert_on_sfu(&[0, 1]);
    assert_eq!(layers(&world, 0).last(), Some(&small));
    say(&mut world, CAMERA, none);
    assert_eq!(layers(&world, 0).last(), Some(&none), "nobody watches");
    world.set_mode(TopologyMode::Mesh);
    world.run(3 * SECOND);
    assert_eq!(layers(&world, 0).last(), Some(&first));
    world.command(0, UiCommand::LeaveCall);
    assert_eq!(layers(&world, 0).last(), Some(&none), "nothing is left on");
}

#[test]
fn keyframes_are_forced_by_layer() {
    let mut world = on_sfu(2);
    let link = world.live_sfu_link(0).unwrap();
    for layer in [1, 1, 2, 3, 255] {
        let source = CAMERA;
        let event = LinkEvent::KeyframeRequested { source, layer };
        world.input(0, Input::Link { link, event });
    }
    let force = |layer| MediaOp::ForceKeyframe {
        source: CAMERA,
        layer,
    };
    assert_eq!(world.clients[0].media, [force(1), force(2)]);
    world.run(SECOND);
    assert_eq!(world.clients[0].media, [force(1), force(2), force(1)]);
}

#[test]
fn the_offer_names_its_tracks_and_candidates_follow() {
    let mut world = on_sfu(2);
    let link = world.live_sfu_link(0).unwrap();
    let signal = |world: &mut World, signal| {
        let event = LinkEvent::Signal(signal);
        world.input(0, Input::Link { link, event });
    };
    let candidate = |candidate: &str| PeerSignal::Candidate {
        candidate: candidate.to_owned(),
        mid: None,
        mline_index: Some(0),
    };
    let offer = |bytes| PeerSignal::Description {
        kind: SdpKind::Offer,
        sdp: "x".repeat(bytes),
    };
    signal(&mut world, candidate("candidate:1"));
    signal(&mut world, candidate(""));
    signal(&mut world, offer(limits::SFU_SDP_BYTES));
    signal(&mut world, offer(limits::SFU_SDP_BYTES + 1));
    let number = link.generation;
    let sent = &world.clients[0].sent;
    assert!(matches!(&sent[0], ClientMessage::SfuCandidate { link, .. } if *link == number));
    let ClientMessage::SfuOffer { link, tracks, .. } = &sent[1] else {
        panic!("{sent:?}")
    };
    assert_eq!((*link, sent.len()), (number, 2));
    let tracks: Vec<_> = tracks.iter().map(|it| (it.mline, it.layer)).collect();
    assert_eq!(
        tracks,
        [
            (0, None),
            (1, Some(0)),
            (2, Some(1)),
            (3, Some(2)),
            (4, Some(0))
        ]
    );
}

#[test]
fn media_keys_are_there_before_links_and_fresh_with_every_seat() {
    let mut world = World::in_call(2);
    let salt_of = |world: &World, client: usize| {
        let seals = world.clients[client].media.iter();
        let seals: Vec<_> = seals
            .filter_map(|op| match op {
                MediaOp::SealAs { member, salt } => Some((*member, *salt)),
                _ => None,
            })
            .collect();
        seals
    };
    let [one, other] = [0, 1].map(|client| salt_of(&world, client));
    assert_eq!((one.len(), other.len()), (1, 1));
    assert_ne!(one[0].1, other[0].1);
    let (member, salt) = other[0];
    assert_eq!(member, world.me(1));
    let open = MediaOp::OpenMember { member, salt };
    assert!(world.clients[0].media.contains(&open));
    world.cut_server(false);
    world.run(SECOND);
    assert_eq!(salt_of(&world, 1).len(), 1, "resumed: counters go on");

    world.restart_server();
    world.run(10 * SECOND);
    world.assert_full_mesh(&[0, 1]);
    assert_eq!(salt_of(&world, 1).len(), 1, "the same seat as well");

    world.set_mode(TopologyMode::Sfu);
    world.run(10 * SECOND);
    world.restart_server();
    world.run(10 * SECOND);
    world.assert_on_sfu(&[0, 1]);
    let forget = MediaOp::ForgetMember { member };
    assert!(world.clients[0].media.contains(&forget));
    let seats = salt_of(&world, 1);
    assert!(seats.len() == 2 && seats[0].1 != seats[1].1, "{seats:?}");
    let (member, salt) = seats[1];
    let open = MediaOp::OpenMember { member, salt };
    let opens = world.clients[0].media.iter().rev();
    let last = opens
        .clone()
        .find(|op| matches!(op, MediaOp::OpenMember { .. }));
    assert_eq!(last, Some(&open));
}

#[test]
fn a_seat_that_is_not_the_one_asked_for_gets_a_salt_of_its_own() {
    let mut world = World::in_call(2);
    world.cut_socket(0, None);
    world.run(Duration::from_millis(5));
    world.server_silent = true;
    world.run(SECOND);
    let member = world.clients[0]
        .view
        .as_ref()
        .unwrap()
        .call
        .as_ref()
        .unwrap()
        .me
        .unwrap();
    let seals = |world: &World| {
        let media = world.clients[0].media.iter();
        media
            .filter(|op| matches!(op, MediaOp::SealAs { .. }))
            .count()
    };
    assert_eq!(seals(&world), 1);
    // Somebody in the server's place takes the client through a join that resumes nothing.
    world.say(0, ServerMessage::Hello { version: 1 });
    world.say(
        0,
        ServerMessage::Joined {
            member: call_protocol::MemberId(member.0 + 7),
            resume: "r".into(),
            resumed: false,
            members: Vec::new(),
            topology: TopologyMode::Mesh,
            host: None,
            door: Door::Open,
            stun: Vec::new(),
            relay: None,
        },
    );
    world.run(SECOND);
    assert_eq!(seals(&world), 2);
    let salts: Vec<_> = world.clients[0]
        .media
        .iter()
        .filter_map(|op| match op {
            MediaOp::SealAs { salt, .. } => Some(*salt),
            _ => None,
        })
        .collect();
    assert_ne!(
        salts[0], salts[1],
        "the same key would seal with the same counters"
    );
    let told = |message: &&ClientMessage| matches!(message, ClientMessage::Update { .. });
    // That one is host, and the new salt.
    assert_eq!(world.clients[0].sent.iter().filter(told).count(), 2);
}

#[test]
fn a_resume_nobody_asked_for_is_a_new_seat() {
    let mut world = World::in_call(2);
    let member = world.me(0);
    world.cut_socket(0, None);
    world.run(Duration::from_millis(5));
    world.server_silent = true;
    world.run(SECOND);
    let code = call_protocol::ErrorCode::ResumeFailed;
    let refusal = ServerMessage::Error {
        code,
        detail: String::new(),
        fatal: false,
    };
    let joined = ServerMessage::Joined {
        member,
        resume: "r".into(),
        resumed: true,
        members: Vec::new(),
        topology: TopologyMode::Mesh,
        host: None,
        door: Door::Open,
        stun: Vec::new(),
        relay: None,
    };
    for message in [ServerMessage::Hello { version: 1 }, refusal, joined] {
        world.say(0, message);
    }
    let media = world.clients[0].media.iter();
    let seals = media.filter(|op| matches!(op, MediaOp::SealAs { .. }));
    assert_eq!(seals.count(), 2, "the others were told a new salt");
}

#[test]
fn a_new_seat_has_no_receivers_yet() {
    let mut world = on_sfu(2);
    let (source, wanted) = (CAMERA, [true; 3]);
    world.say(0, ServerMessage::SfuLayers { source, wanted });
    world.close_sfu_link(0);
    world.run(5 * SECOND);
    let [none, all] = [[false; 3], [true; 3]];
    assert_eq!(layers(&world, 0), [all, none, all], "a new link knows them");
    world.restart_server();
    world.run(10 * SECOND);
    world.assert_on_sfu(&[0, 1]);
    assert_eq!(layers(&world, 0), [all, none, all, none]);
}

#[test]
fn a_shortage_that_holds_is_reported_and_relayed_pairs_at_once() {
    let mut world = World::in_call(3);
    let relayed = vec![world.me(1), MemberId(99), world.me(1)];
    let report = |world: &mut World, relayed: &[MemberId], uplink_short| {
        let relayed = relayed.to_vec();
        let cpu_short = false;
        world.input(
            0,
            Input::PathReport {
                relayed,
                uplink_short,
                cpu_short,
            },
        );
        world.run(SECOND);
    };
    let want = |relayed: &[MemberId], uplink_short| ClientMessage::Report {
        relayed: relayed.to_vec(),
        uplink_short,
        cpu_short: false,
    };
    for _ in 0..5 {
        report(&mut world, &relayed, true);
    }
    let member = world.me(1);
    let told = [want(&[member], false), want(&[member], true)];
    assert_eq!(reports(&world, 0), told);
    world.cut_server(false);
    world.run(SECOND);
    assert_eq!(reports(&world, 0).len(), 3, "again after a resume");
    world.command(1, UiCommand::LeaveCall);
    world.run(SECOND);
    assert_eq!(reports(&world, 0).last(), Some(&want(&[], true)));
}

fn relay(ttl_s: u32, urls: &[&str]) -> RelayGrant {
    RelayGrant {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        username: "1:2".into(),
        credential: "secret".into(),
        ttl_s,
    }
}

#[test]
fn a_relay_is_used_while_its_grant_holds() {
    let mut world = World::in_call(2);
    let used = |world: &World| {
        let ops = world.clients[0].ops.iter();
        let used = ops.filter_map(|op| match op {
            LinkOp::UseIceServers { relay, .. } => Some(relay.as_ref().map(|it| it.urls.clone())),
            _ => None,
        });
        used.collect::<Vec<_>>()
    };
    let url = "turn:192.0.2.1:3478?transport=udp";
    let grant = relay(60, &[url, "http://a"]);
    world.say(0, ServerMessage::Relay { relay: grant });
    assert_eq!(used(&world), [Some(vec![url.to_owned()])]);
    world.run(59 * SECOND);
    assert_eq!(used(&world).len(), 1);
    world.cut_server(true);
    world.run(2 * SECOND);
    assert_eq!(used(&world)[1..], [None], "also while the server is away");
}

#[test]
fn reports_of_an_older_link_to_the_sfu_change_nothing() {
    let mut world = on_sfu(2);
    let link = LinkId {
        peer: LinkPeer::Sfu,
        generation: world.live_sfu_link(0).unwrap().generation + 1,
    };
    let before = world.clients[0].ops.len();
    let event = LinkEvent::State(call_core::LinkState::Failed);
    world.input(0, Input::Link { link, event });
    let (number, sdp) = (link.generation, "v=0".to_owned());
    world.say(0, ServerMessage::SfuAnswer { link: number, sdp });
    let code = call_protocol::ErrorCode::LinkFailed;
    world.say(0, ServerMessage::SfuClosed { link: number, code });
    assert_eq!(world.clients[0].ops.len(), before);
    world.assert_on_sfu(&[0, 1]);
}
