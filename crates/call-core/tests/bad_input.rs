//! Members and servers that do not keep to the rules.

use std::time::Duration;

use call_core::{Input, LinkOp, LinkPeer, MediaOp};
use call_e2ee::SignalSealer;
use call_protocol::care::Door;
use call_protocol::limits;
use call_protocol::peer::{PeerSignal, Profile, SdpKind};
use call_protocol::ui::{LinkView, UiCommand};
use call_protocol::wire::{
    ClientMessage, LeaveReason, RosterEntry, ServerMessage, SfuSlot, TopologyMode,
};
use call_protocol::{ErrorCode, MediaSource, MemberId, RoomId};

use crate::world::{SETTLE, World};

const SECOND: Duration = Duration::from_secs(1);
const EVE: MemberId = MemberId(500);

/// A sealer that knows the room's keys and client 0.
fn insider(world: &mut World) -> SignalSealer {
    let code = world.call(0).code.clone();
    let mut sealer = SignalSealer::new(&world.keys(&code), [0xee; 16]);
    let joined = world.clients[0]
        .sent
        .iter()
        .find_map(|message| match message {
            ClientMessage::Join { profile, .. } => Some(profile.clone()),
            _ => None,
        });
    let me = world.me(0);
    sealer.open_profile(me, &joined.unwrap()).unwrap();
    sealer
}

fn profile(sealer: &mut SignalSealer, name: &str) -> String {
    let profile = Profile {
        name: name.to_owned(),
        muted: false,
        camera_on: false,
        media_salt: String::new(),
        hand_raised: false,
        sharing: false,
        sound_only: false,
        sound_only_for: Vec::new(),
        tint: None,
        sound_copies: 0,
        host: None,
    };
    sealer
        .seal_profile(&serde_json::to_vec(&profile).unwrap())
        .unwrap()
}

fn view_of(world: &World, id: MemberId) -> (String, LinkView) {
    let member = world
        .call(0)
        .members
        .iter()
        .find(|member| member.id == id)
        .unwrap();
    (member.name.clone(), member.link)
}

#[test]
fn a_profile_that_does_not_open_makes_a_guest_without_a_link() {
    for bad in ["", "%", "AAAA", &"A".repeat(3_000)] {
        let mut world = World::in_call(2);
        let links = world.open_links(0);
        world.say(
            0,
            ServerMessage::MemberJoined {
                member: EVE,
                profile: bad.into(),
            },
        );
        assert_eq!(view_of(&world, EVE), ("Guest".to_owned(), LinkView::Failed));
        world.say(
            0,
            ServerMessage::Signal {
                from: EVE,
                sealed: "AAAA".into(),
            },
        );
        assert_eq!(world.open_links(0), links);
        let mut sealer = insider(&mut world);
        let good = profile(&mut sealer, "Late");
        world.say(
            0,
            ServerMessage::MemberUpdated {
                member: EVE,
                profile: good,
            },
        );
        assert_eq!(
            view_of(&world, EVE),
            ("Late".to_owned(), LinkView::Connecting)
        );
        world.say(
            0,
            ServerMessage::MemberLeft {
                member: EVE,
                reason: LeaveReason::Removed,
            },
        );
        world.assert_full_mesh(&[0, 1]);
    }
}

#[test]
fn a_hundred_members_may_come_and_go() {
    let mut world = World::in_call(1);
    let code = world.call(0).code.clone();
    let keys = world.keys(&code);
    for n in 0..100 {
        let member = MemberId(1_000 + u32::from(n));
        let profile = profile(&mut SignalSealer::new(&keys, [n; 16]), "Guest star");
        world.say(0, ServerMessage::MemberJoined { member, profile });
        assert_eq!(
            view_of(&world, member),
            ("Guest star".to_owned(), LinkView::Connecting)
        );
        world.say(
            0,
            ServerMessage::MemberLeft {
                member,
                reason: LeaveReason::Left,
            },
        );
    }
    assert!(world.open_links(0).is_empty());
}

#[test]
fn a_sealed_profile_that_is_no_profile_makes_a_guest() {
    let mut world = World::in_call(1);
    let mut sealer = insider(&mut world);
    let profile = sealer.seal_profile(b"{\"name\":7}").unwrap();
    world.say(
        0,
        ServerMessage::MemberJoined {
            member: EVE,
            profile,
        },
    );
    assert_eq!(view_of(&world, EVE), ("Guest".to_owned(), LinkView::Failed));
}

#[test]
fn signals_out_of_bounds_or_shape_are_dropped() {
    let mut world = World::in_call(1);
    let mut sealer = insider(&mut world);
    let me = world.me(0);
    let good = profile(&mut sealer, "Eve");
    world.say(
        0,
        ServerMessage::MemberJoined {
            member: EVE,
            profile: good,
        },
    );
    let big = "x".repeat(limits::SDP_BYTES + 1);
    let huge = PeerSignal::Description {
        kind: SdpKind::Offer,
        sdp: big,
    };
    let before = world.clients[0].ops.len();
    for plain in [
        serde_json::to_vec(&huge).unwrap(),
        b"{}".to_vec(),
        b"\xff\xfe".to_vec(),
    ] {
        let sealed = sealer.seal(EVE, me, &plain).unwrap();
        world.say(0, ServerMessage::Signal { from: EVE, sealed });
    }
    assert_eq!(world.clients[0].ops.len(), before);
}

#[test]
fn replayed_and_redirected_signals_reach_no_link() {
    let mut world = World::in_call(3);
    let sent: Vec<(MemberId, String)> = world.clients[1]
        .sent
        .iter()
        .filter_map(|message| match message {
            ClientMessage::Signal { to, sealed } => Some((*to, sealed.clone())),
            _ => None,
        })
        .collect();
    assert!(!sent.is_empty());
    let before = [world.clients[0].ops.len(), world.clients[2].ops.len()];
    let from = world.me(1);
    for (_, sealed) in sent {
        for client in [0, 2] {
            world.say(
                client,
                ServerMessage::Signal {
                    from,
                    sealed: sealed.clone(),
                },
            );
        }
    }
    world.run(SECOND);
    assert_eq!(
        [world.clients[0].ops.len(), world.clients[2].ops.len()],
        before
    );
    world.assert_full_mesh(&[0, 1, 2]);
}

#[test]
fn a_member_that_hangs_up_and_offers_all_the_time_cannot_churn_links() {
    let mut world = World::in_call(1);
    let mut sealer = insider(&mut world);
    let me = world.me(0);
    let good = profile(&mut sealer, "Eve");
    world.say(
        0,
        ServerMessage::MemberJoined {
            member: EVE,
            profile: good,
        },
    );
    let offer = PeerSignal::Description {
        kind: SdpKind::Offer,
        sdp: "v=0\r\nm=audio 9 X\r\n".into(),
    };
    for _ in 0..1_000 {
        for signal in [&PeerSignal::Bye, &offer] {
            let plain = serde_json::to_vec(signal).unwrap();
            let sealed = sealer.seal(EVE, me, &plain).unwrap();
            world.say(0, ServerMessage::Signal { from: EVE, sealed });
        }
        world.run(Duration::from_millis(10));
    }
    let is_open = |op: &&LinkOp| matches!(op, LinkOp::Open { .. });
    let opens = world.clients[0].ops.iter().filter(is_open).count();
    assert!((2..=22).contains(&opens), "{opens} links in ten seconds");
}

#[test]
fn a_roster_of_nonsense_is_bounded() {
    let mut world = World::new(1);
    world.command(0, UiCommand::StartCall);
    world.run(Duration::from_millis(135));
    let member = MemberId(7);
    let entry = |n: u32| RosterEntry {
        member: MemberId(n % 600),
        profile: "x".into(),
    };
    world.say(
        0,
        ServerMessage::Joined {
            member,
            resume: "r".into(),
            resumed: true,
            members: (0..2_000).map(entry).collect(),
            topology: TopologyMode::Sfu,
            host: None,
            door: Door::Open,
            relay: None,
            stun: vec![
                "stun:203.0.113.5:3478".into(),
                "turn:x".into(),
                "s".repeat(500),
            ],
        },
    );
    let call = world.call(0);
    assert_eq!(
        (call.me, call.members.len()),
        (Some(member), limits::ROOM_MEMBERS - 1)
    );
    assert!(call.members.iter().all(|other| other.id != member));
    let stun = world.clients[0].ops.iter().rev().find_map(|op| match op {
        LinkOp::UseIceServers { stun, .. } => Some(stun.clone()),
        _ => None,
    });
    assert_eq!(stun.unwrap(), ["stun:203.0.113.5:3478"]);
}

/// What EVE says to client 0.
fn eve_says(world: &mut World, sealer: &mut SignalSealer, signal: &PeerSignal) {
    let plain = serde_json::to_vec(signal).unwrap();
    let sealed = sealer.seal(EVE, world.me(0), &plain).unwrap();
    world.say(0, ServerMessage::Signal { from: EVE, sealed });
}

fn description(kind: SdpKind) -> PeerSignal {
    let sdp = "v=0\r\n".to_owned();
    PeerSignal::Description { kind, sdp }
}

fn of_data(signal: PeerSignal) -> PeerSignal {
    let signal = Box::new(signal);
    PeerSignal::Data { signal }
}

/// The links to EVE that client 0 opened so far.
fn opened_for_eve(world: &World) -> Vec<LinkPeer> {
    let ops = world.clients[0].ops.iter();
    let peers = ops.filter_map(|op| match op {
        LinkOp::Open { link, .. } if link.member() == Some(EVE) => Some(link.peer),
        _ => None,
    });
    peers.collect()
}

/// To which links EVE's signals were passed on so far.
fn passed_on(world: &World) -> Vec<LinkPeer> {
    let ops = world.clients[0].ops.iter();
    let peers = ops.filter_map(|op| match op {
        LinkOp::Signal { link, .. } if link.member() == Some(EVE) => Some(link.peer),
        _ => None,
    });
    peers.collect()
}

#[test]
fn signals_of_one_link_never_reach_the_other() {
    let (call, data) = (LinkPeer::Member(EVE), LinkPeer::Data(EVE));
    let candidate = || PeerSignal::Candidate {
        candidate: "candidate:1".into(),
        mid: None,
        mline_index: None,
    };
    let mut world = World::in_call(1);
    let mut sealer = insider(&mut world);
    let good = profile(&mut sealer, "Eve");
    let joined = ServerMessage::MemberJoined {
        member: EVE,
        profile: good,
    };
    world.say(0, joined);
    world.run(SECOND);
    let mode = TopologyMode::Mesh;
    let (needed, settled) = (true, PeerSignal::Settled { mode });
    let nested = of_data(description(SdpKind::Offer));
    for signal in [
        of_data(description(SdpKind::Answer)),
        of_data(candidate()),
        of_data(PeerSignal::Need { needed }),
        of_data(PeerSignal::Bye),
        of_data(settled),
        of_data(nested),
        PeerSignal::Need { needed },
    ] {
        eve_says(&mut world, &mut sealer, &signal);
    }
    assert_eq!(passed_on(&world), [], "nobody opened a data link");
    assert_eq!(opened_for_eve(&world), [call]);
    for signal in [description(SdpKind::Offer), candidate()] {
        eve_says(&mut world, &mut sealer, &signal);
    }
    assert_eq!(passed_on(&world), [call, call]);
    let offer = of_data(description(SdpKind::Offer));
    for signal in [&offer, &of_data(candidate())] {
        eve_says(&mut world, &mut sealer, signal);
    }
    assert_eq!(opened_for_eve(&world), [call, data]);
    assert_eq!(passed_on(&world), [call, call, data, data]);
    eve_says(&mut world, &mut sealer, &of_data(PeerSignal::Bye));
    assert!(world.open_links(0).iter().all(|link| link.peer == call));

    world.set_mode(TopologyMode::Sfu);
    world.run(SECOND);
    eve_says(&mut world, &mut sealer, &PeerSignal::Bye);
    // Without media for five seconds, and with the hint that the other side has left.
    world.run(6 * SECOND);
    for signal in [SdpKind::Offer, SdpKind::Answer].map(description) {
        eve_says(&mut world, &mut sealer, &signal);
    }
    assert_eq!(passed_on(&world).len(), 4, "the mesh is over");
    assert_eq!(opened_for_eve(&world), [call, data]);
    let (member, wanted) = (EVE, true);
    world.input(0, Input::WantData { member, wanted });
    assert_eq!(opened_for_eve(&world), [call, data, data]);
    for signal in [SdpKind::Offer, SdpKind::Answer].map(description) {
        eve_says(&mut world, &mut sealer, &signal);
    }
    assert_eq!(passed_on(&world).len(), 4, "not for this one");
    eve_says(
        &mut world,
        &mut sealer,
        &of_data(description(SdpKind::Answer)),
    );
    assert_eq!(passed_on(&world)[4..], [data]);
}

#[test]
fn a_member_that_offers_and_hangs_up_data_links_cannot_churn_them() {
    let mut world = World::in_call(1);
    let mut sealer = insider(&mut world);
    world.set_mode(TopologyMode::Sfu);
    world.run(SECOND);
    let joined = ServerMessage::MemberJoined {
        member: EVE,
        profile: "AAAA".into(),
    };
    world.say(0, joined);
    let (member, wanted) = (EVE, true);
    world.input(0, Input::WantData { member, wanted });
    assert!(opened_for_eve(&world).is_empty(), "cannot be reached yet");
    let good = profile(&mut sealer, "Eve");
    let update = ServerMessage::MemberUpdated {
        member: EVE,
        profile: good,
    };
    world.say(0, update);
    assert_eq!(opened_for_eve(&world), [LinkPeer::Data(EVE)]);
    let signals = [
        PeerSignal::Bye,
        description(SdpKind::Offer),
        PeerSignal::Need { needed: true },
        PeerSignal::Need { needed: false },
    ]
    .map(of_data);
    for wanted in [true, false] {
        world.input(0, Input::WantData { member, wanted });
        let before = opened_for_eve(&world).len();
        for _ in 0..1_000 {
            for signal in &signals {
                eve_says(&mut world, &mut sealer, signal);
            }
            world.run(Duration::from_millis(10));
        }
        let opens = opened_for_eve(&world).len() - before;
        assert!((2..=32).contains(&opens), "{opens} links in ten seconds");
    }
    eve_says(&mut world, &mut sealer, &signals[0]);
    let links = world.open_links(0);
    assert!(links.iter().all(|link| link.member() != Some(EVE)));
}

#[test]
fn an_sfu_that_speaks_nonsense_is_not_listened_to() {
    let mut world = World::in_call(2);
    world.set_mode(TopologyMode::Sfu);
    world.run(3 * SECOND);
    let link = world.live_sfu_link(0).unwrap().generation;
    let before = (world.clients[0].ops.len(), world.clients[0].media.len());
    let sdp = "x".repeat(limits::SFU_SDP_BYTES + 1);
    world.say(0, ServerMessage::SfuAnswer { link, sdp });
    for number in [0, link - 1, link + 1, u32::MAX] {
        let (link, sdp, code) = (number, "v=0".to_owned(), ErrorCode::Internal);
        world.say(0, ServerMessage::SfuAnswer { link, sdp });
        world.say(0, ServerMessage::SfuClosed { link, code });
    }
    let slot = |member| SfuSlot {
        mid: "4".repeat(1_000),
        member: MemberId(member),
        source: MediaSource::Screen,
    };
    let slots = (0..1_000).map(slot).collect();
    world.say(0, ServerMessage::SfuSlots { link, slots });
    let (source, wanted) = (MediaSource::Microphone, [true; 3]);
    world.say(0, ServerMessage::SfuLayers { source, wanted });
    let after = (world.clients[0].ops.len(), world.clients[0].media.len());
    assert_eq!(after, before);
    world.assert_on_sfu(&[0, 1]);
}

#[test]
fn media_of_a_member_without_a_usable_salt_stays_closed() {
    let mut world = World::in_call(1);
    let mut sealer = insider(&mut world);
    world.clients[0].media.clear();
    let mut say = |world: &mut World, media_salt: &str| {
        let profile = Profile {
            name: "Eve".into(),
            muted: false,
            camera_on: false,
            media_salt: media_salt.to_owned(),
            hand_raised: false,
            sharing: false,
            sound_only: false,
            sound_only_for: Vec::new(),
            tint: None,
            sound_copies: 0,
            host: None,
        };
        let plain = serde_json::to_vec(&profile).unwrap();
        let (member, profile) = (EVE, sealer.seal_profile(&plain).unwrap());
        world.say(0, ServerMessage::MemberJoined { member, profile });
        let media = std::mem::take(&mut world.clients[0].media).into_iter();
        let keys = |op: &MediaOp| {
            matches!(
                op,
                MediaOp::OpenMember { .. } | MediaOp::ForgetMember { .. }
            )
        };
        media.filter(keys).collect::<Vec<_>>()
    };
    let good = "AAAAAAAAAAAAAAAAAAAAAA==";
    let (open, forget) = (
        MediaOp::OpenMember {
            member: EVE,
            salt: [0; 16],
        },
        MediaOp::ForgetMember { member: EVE },
    );
    let cases = [
        ("", vec![]),
        ("%", vec![]),
        (good, vec![open]),
        (good, vec![]),
        ("AAAA", vec![forget]),
        ("", vec![]),
    ];
    for (salt, want) in cases {
        assert_eq!(say(&mut world, salt), want, "{salt}");
    }
}

#[test]
fn a_room_id_tells_the_server_nothing_that_is_sent_elsewhere() {
    let world = World::in_call(2);
    let code = world.call(0).code.replace('-', "");
    for client in &world.clients {
        for message in &client.sent {
            let text = serde_json::to_string(message).unwrap();
            assert!(
                // Sealed text may hold any two letters; a name would be a string of its own.
                !text.contains(&code) && !text.contains("\"C1\"") && !text.contains("\"C0\""),
                "{text}"
            );
        }
    }
    assert!(RoomId::try_from(code).is_err());
    let mut world = world;
    world.run(SETTLE);
    world.assert_full_mesh(&[0, 1]);
}
