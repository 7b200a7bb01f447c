//! How a room's media flows, as its members are told: topology, the forwarding unit, the relay.

use std::time::Duration;

use call_protocol::limits::RESUME_GRACE_MS;
use call_protocol::wire::{
    ClientMessage, RelayGrant, ServerMessage, SfuSlot, SfuTrack, Subscription, TopologyMode,
};
use call_protocol::{ErrorCode, MediaSource, MemberId};
use call_room::relay::RelaySecret;
use call_room::{Input, RoomsConfig, SfuCommand, SfuEvent, TopologyChoice};

use crate::server::{AUTH, SEED, START_UNIX_S, Server, join, room_id};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn server(mesh_limit: usize, topology: TopologyChoice) -> Server {
    Server::new(RoomsConfig {
        mesh_limit,
        topology,
        ..RoomsConfig::default()
    })
}

/// Joins room 1; the topology one is told.
fn enter(server: &mut Server, conn: u64, resume: Option<&str>) -> TopologyMode {
    server.greet(conn);
    server.say(conn, join(1, AUTH, &format!("profile-{conn}"), resume));
    match server.take(conn).first() {
        Some(ServerMessage::Joined { topology, .. }) => *topology,
        other => panic!("not joined: {other:?}"),
    }
}

/// The topologies somebody was told since the last look, with the reasons.
fn told(server: &mut Server, conn: u64) -> Vec<(TopologyMode, String)> {
    let topology = |message| match message {
        ServerMessage::Topology { mode, reason } => Some((mode, reason)),
        _ => None,
    };
    server.take(conn).into_iter().filter_map(topology).collect()
}

fn report(relayed: &[u32], uplink_short: bool, cpu_short: bool) -> ClientMessage {
    ClientMessage::Report {
        relayed: relayed.iter().copied().map(MemberId).collect(),
        uplink_short,
        cpu_short,
    }
}

#[test]
fn a_room_moves_to_the_sfu_with_one_member_too_many_and_returns_later() {
    let mut server = server(2, TopologyChoice::Auto);
    assert_eq!(enter(&mut server, 1, None), TopologyMode::Mesh);
    assert_eq!(enter(&mut server, 2, None), TopologyMode::Mesh);
    assert_eq!(told(&mut server, 1), []);
    assert_eq!(enter(&mut server, 3, None), TopologyMode::Sfu);
    let sfu = || vec![(TopologyMode::Sfu, "members".to_owned())];
    assert_eq!(told(&mut server, 1), sfu());
    assert_eq!(told(&mut server, 2), sfu());
    assert_eq!(told(&mut server, 3), [], "learnt it from joined");
    // A lost connection changes nothing; the end of its seat does, after a while.
    server.drop_connection(3);
    server.advance(Duration::from_millis(RESUME_GRACE_MS) + Duration::from_millis(9_999));
    assert_eq!(told(&mut server, 1), []);
    server.advance(Duration::from_millis(1));
    let mesh = || vec![(TopologyMode::Mesh, "fits".to_owned())];
    assert_eq!(told(&mut server, 1), mesh());
    assert_eq!(told(&mut server, 2), mesh());
    assert_eq!(
        server.rooms.poll_timeout(),
        None,
        "nothing is left to wait for"
    );
}

#[test]
fn who_resumes_learns_what_changed_meanwhile() {
    let mut server = server(2, TopologyChoice::Auto);
    let (_, token) = server.enter(1, 1);
    enter(&mut server, 2, None);
    server.drop_connection(1);
    enter(&mut server, 3, None);
    assert_eq!(enter(&mut server, 4, Some(&token)), TopologyMode::Sfu);
    assert_eq!(told(&mut server, 4), []);
}

#[test]
fn reports_move_a_room() {
    let cases = [
        (report(&[2], false, false), "relay"),
        (report(&[], true, false), "uplink"),
        (report(&[], false, true), "cpu"),
    ];
    for (message, reason) in cases {
        let mut server = server(4, TopologyChoice::Auto);
        enter(&mut server, 1, None);
        enter(&mut server, 2, None);
        server.say(1, message);
        let sfu = vec![(TopologyMode::Sfu, reason.to_owned())];
        assert_eq!(told(&mut server, 1), sfu);
        assert_eq!(told(&mut server, 2), sfu);
        // Nothing to complain about any more. A relayed pair is one nevertheless, as long as its
        // links do not exist.
        server.say(1, report(&[], false, false));
        server.advance(seconds(11));
        let mesh = vec![(TopologyMode::Mesh, "fits".to_owned())];
        let want = if reason == "relay" {
            Vec::new()
        } else {
            mesh.clone()
        };
        assert_eq!(told(&mut server, 2), want);
        if reason == "relay" {
            enter(&mut server, 3, None);
            server.say(2, ClientMessage::Leave);
            server.advance(seconds(11));
            assert_eq!(told(&mut server, 1), mesh, "the pair is none any more");
        }
    }
}

#[test]
fn reports_about_nobody_move_nothing() {
    let mut server = server(4, TopologyChoice::Auto);
    enter(&mut server, 1, None);
    enter(&mut server, 2, None);
    server.say(1, report(&[1, 7], false, false));
    server.advance(seconds(60));
    assert_eq!(told(&mut server, 2), []);
    server.say(1, ClientMessage::Leave);
    server.say(2, report(&[1], true, true));
    assert_eq!(told(&mut server, 2), [], "alone");
}

#[test]
fn an_operator_may_force_it() {
    let mut meshed = server(1, TopologyChoice::Mesh);
    enter(&mut meshed, 1, None);
    assert_eq!(enter(&mut meshed, 2, None), TopologyMode::Mesh);
    meshed.say(2, ClientMessage::SfuClose { link: 1 });
    assert_eq!(meshed.take_errors(2), [(ErrorCode::NotSupported, false)]);
    meshed.say(2, report(&[1], true, true));
    assert_eq!(meshed.take(2), []);

    let mut forced = server(9, TopologyChoice::Sfu);
    assert_eq!(enter(&mut forced, 1, None), TopologyMode::Mesh, "alone");
    assert_eq!(enter(&mut forced, 2, None), TopologyMode::Sfu);
    assert_eq!(
        told(&mut forced, 1),
        [(TopologyMode::Sfu, "forced".to_owned())]
    );
    forced.say(1, ClientMessage::Leave);
    assert_eq!(
        told(&mut forced, 2),
        [(TopologyMode::Mesh, "fits".to_owned())]
    );
}

#[test]
fn what_is_for_the_sfu_reaches_it_and_what_it_says_comes_back() {
    let mut server = server(4, TopologyChoice::Auto);
    let (anna, token) = server.enter(1, 1);
    let tracks = vec![SfuTrack {
        mline: 0,
        source: MediaSource::Microphone,
        layer: None,
    }];
    let tiles = vec![Subscription {
        member: MemberId(2),
        source: MediaSource::Camera,
        width_px: 640,
        height_px: 360,
    }];
    let messages = [
        ClientMessage::SfuOffer {
            link: 3,
            sdp: "offer".into(),
            tracks: tracks.clone(),
        },
        ClientMessage::SfuCandidate {
            link: 3,
            candidate: "candidate".into(),
            mid: Some("0".into()),
            mline_index: Some(0),
        },
        ClientMessage::Subscribe {
            tiles: tiles.clone(),
        },
        ClientMessage::SfuClose { link: 3 },
    ];
    for message in messages {
        server.say(1, message);
    }
    let (room, member) = (room_id(1), anna);
    let want = [
        SfuCommand::Offer {
            room: room.clone(),
            member,
            link: 3,
            sdp: "offer".into(),
            tracks,
        },
        SfuCommand::Candidate {
            room: room.clone(),
            member,
            link: 3,
            candidate: "candidate".into(),
            mid: Some("0".into()),
            mline_index: Some(0),
        },
        SfuCommand::Subscribe {
            room: room.clone(),
            member,
            tiles,
        },
        SfuCommand::Close {
            room: room.clone(),
            member,
            link: Some(3),
        },
    ];
    assert_eq!(server.take_sfu(), want);
    assert_eq!(server.take(1), []);

    let tell = |server: &mut Server, event| {
        let room = room.clone();
        server.input(Input::Sfu {
            room,
            member,
            event,
        });
    };
    let answer = |sdp: &str| SfuEvent::Answer {
        link: 3,
        sdp: sdp.into(),
    };
    tell(&mut server, answer("answer"));
    assert_eq!(
        server.take(1),
        [ServerMessage::SfuAnswer {
            link: 3,
            sdp: "answer".into()
        }]
    );
    // While the connection is lost, the latest of each kind waits.
    server.drop_connection(1);
    let slots = |mid: &str| {
        vec![SfuSlot {
            mid: mid.into(),
            member: MemberId(2),
            source: MediaSource::Camera,
        }]
    };
    let layers = |source, wanted| SfuEvent::Layers { source, wanted };
    tell(
        &mut server,
        SfuEvent::Slots {
            link: 3,
            slots: slots("4"),
        },
    );
    tell(&mut server, layers(MediaSource::Camera, [true; 3]));
    tell(&mut server, layers(MediaSource::Screen, [true; 3]));
    tell(&mut server, layers(MediaSource::Camera, [false; 3]));
    tell(
        &mut server,
        SfuEvent::Slots {
            link: 3,
            slots: slots("5"),
        },
    );
    let code = ErrorCode::LinkFailed;
    tell(&mut server, SfuEvent::Closed { link: 3, code });
    for link in 100..200 {
        tell(&mut server, SfuEvent::Closed { link, code });
    }
    server.greet(2);
    server.say(2, join(1, AUTH, "profile-1", Some(&token)));
    assert!(
        server.take_sfu().is_empty(),
        "the link outlives the connection"
    );
    let got = server.take(2);
    assert_eq!(got.len(), 1 + 16, "bounded");
    tell(
        &mut server,
        layers(MediaSource::Camera, [true, false, false]),
    );
    assert_eq!(server.take(2).len(), 1);

    // The seat ends, and nobody is there to be told.
    server.say(2, ClientMessage::Leave);
    let close = SfuCommand::Close {
        room: room.clone(),
        member,
        link: None,
    };
    assert_eq!(server.take_sfu(), [close]);
    tell(&mut server, answer("late"));
    assert_eq!(server.take(2), []);
}

#[test]
fn news_of_the_sfu_wait_for_a_lost_member_the_latest_of_each_kind() {
    let mut server = server(4, TopologyChoice::Auto);
    let (member, token) = server.enter(1, 1);
    server.drop_connection(1);
    let layers = |source, wanted| SfuEvent::Layers { source, wanted };
    for event in [
        layers(MediaSource::Camera, [true; 3]),
        layers(MediaSource::Screen, [true; 3]),
        SfuEvent::Closed {
            link: 1,
            code: ErrorCode::LinkFailed,
        },
        layers(MediaSource::Camera, [false; 3]),
    ] {
        let room = room_id(1);
        server.input(Input::Sfu {
            room,
            member,
            event,
        });
    }
    server.greet(2);
    server.say(2, join(1, AUTH, "profile-1", Some(&token)));
    assert_eq!(
        server.take(2)[1..],
        [
            ServerMessage::SfuLayers {
                source: MediaSource::Screen,
                wanted: [true; 3]
            },
            ServerMessage::SfuClosed {
                link: 1,
                code: ErrorCode::LinkFailed
            },
            ServerMessage::SfuLayers {
                source: MediaSource::Camera,
                wanted: [false; 3]
            },
        ]
    );
}

#[test]
fn relay_grants_are_renewed_before_they_expire() {
    let urls = vec!["turn:192.0.2.1:3478?transport=udp".to_owned()];
    let mut server = Server::new(RoomsConfig {
        relay_urls: urls.clone(),
        relay_ttl: seconds(1_800),
        ..RoomsConfig::default()
    });
    let secret = RelaySecret::new(SEED);
    let start = server.now;
    let check = |server: &Server, grant: &RelayGrant| {
        let unix_s = START_UNIX_S + (server.now - start).as_secs();
        assert_eq!((&grant.urls, grant.ttl_s), (&urls, 1_800));
        let password = |at| secret.password(&grant.username, at);
        assert_eq!(password(unix_s + 1_799), Some(grant.credential.clone()));
        assert_eq!(password(unix_s + 1_800), None);
    };
    let grant = |message: &ServerMessage| match message {
        ServerMessage::Joined {
            relay: Some(relay), ..
        }
        | ServerMessage::Relay { relay } => relay.clone(),
        other => panic!("no grant: {other:?}"),
    };
    server.advance(seconds(77));
    server.greet(1);
    server.say(1, join(1, AUTH, "p", None));
    let joined = server.take(1);
    let ServerMessage::Joined { resume: token, .. } = &joined[0] else {
        panic!("{joined:?}")
    };
    let first = grant(&joined[0]);
    check(&server, &first);
    server.advance(seconds(1_499));
    assert_eq!(server.take(1), []);
    server.advance(seconds(1));
    let second = grant(&server.take(1)[0]);
    check(&server, &second);
    assert_ne!(first.username, second.username);
    // A resume brings one of its own, and its own time.
    server.advance(seconds(1_490));
    server.drop_connection(1);
    server.advance(seconds(5));
    server.greet(2);
    server.say(2, join(1, AUTH, "p", Some(token)));
    let renewed = grant(&server.take(2)[0]);
    check(&server, &renewed);
    server.advance(seconds(1_499));
    assert_eq!(server.take(2), []);
    server.advance(seconds(1));
    let renewed = grant(&server.take(2)[0]);
    check(&server, &renewed);
    // Nothing is renewed for a seat that is gone.
    server.say(2, ClientMessage::Leave);
    assert_eq!(server.rooms.poll_timeout(), None);
}
