//! The state machine, spoken to in its own messages.

use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::wire::RelayGrant;
use call_room::relay::RelaySecret;

use super::requests::PACKET_OVERHEAD;
use super::*;
use crate::turn::address::Policy;
use crate::turn::address::tests::DENIED;
use crate::turn::config::TurnLimits;

const UNIX_S: u64 = 1_700_000_000;
const TTL_S: u32 = 3_600;
const RELAY: &str = "8.8.8.8";
const RELAY_V6: &str = "2600::8";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp(text: &str) -> Client {
    Client {
        transport: Transport::Udp,
        addr: addr(text),
    }
}

/// A server with its shell played by the test.
struct World {
    server: TurnServer,
    now: Instant,
    secret: RelaySecret,
    transaction: u64,
    next_port: u16,
    sent: Vec<(Client, Bytes)>,
    relayed: Vec<(RelayId, SocketAddr, Bytes)>,
    closed: Vec<RelayId>,
    closed_streams: Vec<Client>,
    refuse_sockets: bool,
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    class: Class,
    code: u16,
    bytes: Bytes,
}

impl Answer {
    fn u32(&self, kind: u16) -> Option<u32> {
        Message::parse(&self.bytes).unwrap().u32(kind)
    }
}

impl World {
    fn new(config: impl FnOnce(&mut TurnConfig)) -> Self {
        let mut all = TurnConfig {
            relay_ips: vec![RELAY.parse().unwrap(), RELAY_V6.parse().unwrap()],
            media: vec![(addr("8.8.8.8:3478"), addr("127.0.0.1:3478"))],
            policy: Policy {
                allow_private: false,
                own: vec![RELAY.parse().unwrap(), RELAY_V6.parse().unwrap()],
            },
            limits: TurnLimits {
                challenge_burst: 1_000_000,
                ..TurnLimits::default()
            },
        };
        config(&mut all);
        let now = Instant::now();
        let secret = RelaySecret::new([1; 32]);
        Self {
            server: TurnServer::new(all, secret.clone(), [2; 32], (now, UNIX_S)),
            now,
            secret,
            transaction: 0,
            next_port: 50_000,
            sent: Vec::new(),
            relayed: Vec::new(),
            closed: Vec::new(),
            closed_streams: Vec::new(),
            refuse_sockets: false,
        }
    }

    fn grant(&self, member: u64) -> RelayGrant {
        let unix_s = self.server.unix_s(self.now);
        self.secret.grant(unix_s, TTL_S, member, &[])
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                TurnOutput::Send { client, bytes } => self.sent.push((client, bytes)),
                TurnOutput::OpenRelay { relay, is_ipv6 } => {
                    let ip = if is_ipv6 { RELAY_V6 } else { RELAY }.parse().unwrap();
                    let relayed = SocketAddr::new(ip, self.next_port);
                    self.next_port += 1;
                    let relayed = (!self.refuse_sockets).then_some(relayed);
                    self.server.handle_relay_opened(self.now, relay, relayed);
                }
                TurnOutput::CloseRelay { relay } => self.closed.push(relay),
                TurnOutput::Relay { relay, peer, bytes } => self.relayed.push((relay, peer, bytes)),
                TurnOutput::CloseStream { client } => self.closed_streams.push(client),
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.server.handle_timeout(self.now);
        self.drain();
    }

    fn raw(&mut self, client: Client, bytes: Vec<u8>) -> Option<Bytes> {
        self.server.handle_message(self.now, client, &bytes.into());
        let before = self.sent.len();
        self.drain();
        let answer = self.sent.get(before)?;
        assert_eq!(answer.0, client);
        Some(answer.1.clone())
    }

    fn builder(&mut self, method: u16) -> Builder {
        self.transaction += 1;
        let mut transaction = [0; 12];
        transaction[4..].copy_from_slice(&self.transaction.to_be_bytes());
        Builder::new(Class::Request, method, transaction)
    }

    fn ask(&mut self, client: Client, request: Builder) -> Option<Answer> {
        let bytes = self.raw(client, request.build())?;
        let message = Message::parse(&bytes).expect("answers are STUN");
        let code = message.u32(message::ERROR_CODE).unwrap_or(0);
        Some(Answer {
            class: message.class,
            code: (code >> 8) as u16 * 100 + (code & 0xff) as u16,
            bytes: bytes.clone(),
        })
    }

    /// A nonce by way of a challenge.
    fn nonce(&mut self, client: Client) -> Vec<u8> {
        let request = self
            .builder(message::REFRESH)
            .attribute(message::LIFETIME, &[0; 4]);
        let answer = self.ask(client, request).unwrap();
        assert_eq!(answer.code, 401);
        let message = Message::parse(&answer.bytes).unwrap();
        assert_eq!(message.text(message::REALM), Some(REALM));
        message.attribute(message::NONCE).unwrap().to_vec()
    }

    fn signed(request: Builder, grant: &RelayGrant, nonce: &[u8]) -> Builder {
        let key = message::long_term_key(&grant.username, REALM, &grant.credential);
        request
            .attribute(message::USERNAME, grant.username.as_bytes())
            .attribute(message::REALM, REALM.as_bytes())
            .attribute(message::NONCE, nonce)
            .sign(&key)
    }

    fn ask_signed(&mut self, client: Client, grant: &RelayGrant, request: Builder) -> Answer {
        let nonce = self.nonce(client);
        let answer = self
            .ask(client, Self::signed(request, grant, &nonce))
            .unwrap();
        let key = message::long_term_key(&grant.username, REALM, &grant.credential);
        let is_signed = Message::parse(&answer.bytes).unwrap().is_signed_with(&key);
        assert!(is_signed || matches!(answer.code, 400 | 401 | 438));
        answer
    }

    fn allocate(&mut self, client: Client, grant: &RelayGrant) -> SocketAddr {
        let answer = self.try_allocate(client, grant);
        assert_eq!((answer.class, answer.code), (Class::Success, 0));
        let port = self.next_port - 1;
        let relayed = SocketAddr::new(RELAY.parse().unwrap(), port);
        assert_eq!(self.server.allocations[&client].relayed, Some(relayed));
        relayed
    }

    fn try_allocate(&mut self, client: Client, grant: &RelayGrant) -> Answer {
        let request = self
            .builder(message::ALLOCATE)
            .attribute(message::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        self.ask_signed(client, grant, request)
    }

    fn permit(&mut self, client: Client, grant: &RelayGrant, peer: SocketAddr) -> u16 {
        let request = self
            .builder(message::CREATE_PERMISSION)
            .address(message::XOR_PEER_ADDRESS, peer);
        self.ask_signed(client, grant, request).code
    }

    fn bind(&mut self, client: Client, grant: &RelayGrant, number: u16, peer: SocketAddr) -> u16 {
        let [high, low] = number.to_be_bytes();
        let request = self
            .builder(message::CHANNEL_BIND)
            .attribute(message::CHANNEL_NUMBER, &[high, low, 0, 0])
            .address(message::XOR_PEER_ADDRESS, peer);
        self.ask_signed(client, grant, request).code
    }

    fn send_indication(&mut self, client: Client, peer: SocketAddr, data: &[u8]) {
        let bytes = Builder::new(Class::Indication, message::SEND, [9; 12])
            .address(message::XOR_PEER_ADDRESS, peer)
            .attribute(message::DATA_ATTRIBUTE, data)
            .build();
        self.server.handle_message(self.now, client, &bytes.into());
        self.drain();
    }

    fn channel_data(&mut self, client: Client, number: u16, data: &[u8]) {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        self.server.handle_message(self.now, client, &bytes.into());
        self.drain();
    }

    fn arrive(&mut self, relay: u64, peer: SocketAddr, data: &[u8]) {
        self.server
            .handle_relay_data(self.now, RelayId(relay), peer, data);
        self.drain();
    }
}

#[test]
fn data_passes_both_ways_by_indication_and_channel() {
    let mut world = World::new(|_| {});
    let (client, peer) = (udp("192.0.2.1:1000"), addr("9.9.9.9:7"));
    let grant = world.grant(1);
    world.allocate(client, &grant);
    world.send_indication(client, peer, b"early");
    world.arrive(0, peer, b"early");
    assert!(world.relayed.is_empty(), "no permission yet");
    assert_eq!(world.permit(client, &grant, peer), 0);
    world.send_indication(client, peer, b"out");
    assert_eq!(
        world.relayed.pop(),
        Some((RelayId(0), peer, Bytes::from_static(b"out")))
    );
    world.arrive(0, peer, b"in");
    let (to, bytes) = world.sent.pop().unwrap();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        (to, message.class, message.method),
        (client, Class::Indication, message::DATA)
    );
    assert_eq!(message.peers(), Some(vec![peer]));
    assert_eq!(message.attribute(message::DATA_ATTRIBUTE), Some(&b"in"[..]));

    assert_eq!(world.bind(client, &grant, 0x4001, peer), 0);
    world.channel_data(client, 0x4001, b"fast");
    assert_eq!(
        world.relayed.pop(),
        Some((RelayId(0), peer, Bytes::from_static(b"fast")))
    );
    world.arrive(0, peer, b"fast");
    assert_eq!(&world.sent.pop().unwrap().1[..], b"\x40\x01\0\x04fast");
    // Another port of the same address is permitted, and has no channel.
    world.arrive(0, addr("9.9.9.9:8"), b"x");
    assert_eq!(
        Message::parse(&world.sent.pop().unwrap().1).unwrap().method,
        message::DATA
    );
    let before = world.sent.len();
    world.arrive(0, addr("9.9.9.10:7"), b"x");
    world.arrive(7, peer, b"x");
    world.channel_data(client, 0x4002, b"x");
    assert_eq!((world.sent.len(), world.relayed.len()), (before, 0));
}

#[test]
fn streams_get_padded_channel_data_and_end_their_allocation() {
    let mut world = World::new(|_| {});
    let client = Client {
        transport: Transport::Stream(4),
        addr: addr("192.0.2.1:1000"),
    };
    let (grant, peer) = (world.grant(1), addr("9.9.9.9:7"));
    assert!(world.server.handle_stream(world.now, client));
    world.allocate(client, &grant);
    assert_eq!(world.bind(client, &grant, 0x4000, peer), 0);
    world.arrive(0, peer, b"odd");
    assert_eq!(&world.sent.pop().unwrap().1[..], b"\x40\0\0\x03odd\0");
    world.server.handle_stream_gone(world.now, client);
    world.drain();
    assert_eq!((world.server.allocations(), world.closed.len()), (0, 1));
    let idle = Client {
        transport: Transport::Stream(5),
        ..client
    };
    assert!(world.server.handle_stream(world.now, idle));
    world.advance(Duration::from_secs(29));
    assert!(world.closed_streams.is_empty());
    world.advance(Duration::from_secs(2));
    assert_eq!(world.closed_streams, [idle]);
}

#[test]
fn requests_without_valid_credentials_are_challenged() {
    let mut world = World::new(|_| {});
    let client = udp("192.0.2.1:1000");
    let grant = world.grant(1);
    let nonce = world.nonce(client);
    let request = |world: &mut World| {
        world
            .builder(message::ALLOCATE)
            .attribute(message::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    };
    let wrong_password = RelayGrant {
        credential: "x".to_owned(),
        ..grant.clone()
    };
    let wrong_user = RelayGrant {
        username: "2000000000:0123456789abcdeg".to_owned(),
        ..grant.clone()
    };
    for (name, grant, nonce, code) in [
        ("password", &wrong_password, &nonce[..], 401),
        ("user", &wrong_user, &nonce, 401),
        ("nonce", &grant, b"AAAAAAAAAAAAAAAA", 438),
        ("no nonce", &grant, b"", 438),
    ] {
        let request = World::signed(request(&mut world), grant, nonce);
        let answer = world.ask(client, request).unwrap();
        assert_eq!((answer.class, answer.code), (Class::Error, code), "{name}");
        assert!(
            Message::parse(&answer.bytes)
                .unwrap()
                .attribute(message::NONCE)
                .is_some()
        );
    }
    let bare = request(&mut world).sign(b"key");
    assert_eq!(world.ask(client, bare).unwrap().code, 400);
    // Somebody else's nonce.
    let request = World::signed(request(&mut world), &grant, &nonce);
    assert_eq!(world.ask(udp("192.0.2.1:1001"), request).unwrap().code, 438);
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.try_allocate(client, &grant).code, 0);
}

#[test]
fn an_allocation_outlives_its_grant_and_changes_to_a_renewed_one() {
    let mut world = World::new(|_| {});
    let client = udp("192.0.2.1:1000");
    let old = world.grant(1);
    world.allocate(client, &old);
    let refresh = |world: &mut World, grant: &RelayGrant| {
        let request = world
            .builder(message::REFRESH)
            .attribute(message::LIFETIME, &[0, 0, 14, 16]);
        let answer = world.ask_signed(client, grant, request);
        (answer.code, answer.u32(message::LIFETIME))
    };
    assert_eq!(refresh(&mut world, &old), (0, Some(3_600)));
    world.advance(Duration::from_secs(3_590));
    assert_eq!(refresh(&mut world, &old), (0, Some(3_600)));
    world.advance(Duration::from_secs(3_500));
    assert_eq!(
        refresh(&mut world, &old),
        (0, Some(3_600)),
        "expired, but in use"
    );
    assert_eq!(world.try_allocate(udp("192.0.2.1:1001"), &old).code, 401);
    let renewed = world.grant(2);
    assert_ne!(renewed.username, old.username);
    assert_eq!(refresh(&mut world, &renewed), (0, Some(3_600)));
    assert_eq!(refresh(&mut world, &old), (401, None), "replaced");
    for _ in 0..30 {
        world.advance(Duration::from_secs(3_000));
        let renewed = world.grant(1);
        refresh(&mut world, &renewed);
    }
    assert_eq!(world.server.allocations(), 0, "a day at most");
}

#[test]
fn lifetimes_end_what_is_not_refreshed() {
    let mut world = World::new(|_| {});
    let (client, peer) = (udp("192.0.2.1:1000"), addr("9.9.9.9:7"));
    let grant = world.grant(1);
    world.allocate(client, &grant);
    assert_eq!(world.permit(client, &grant, peer), 0);
    world.advance(Duration::from_secs(299));
    world.send_indication(client, peer, b"in time");
    assert_eq!(world.relayed.len(), 1);
    world.advance(Duration::from_secs(2));
    world.send_indication(client, peer, b"late");
    assert_eq!(world.relayed.len(), 1);
    assert_eq!(world.bind(client, &grant, 0x4000, peer), 0);
    world.advance(Duration::from_secs(298));
    assert_eq!((world.server.allocations(), world.closed.len()), (1, 0));
    world.advance(Duration::from_secs(2));
    assert_eq!((world.server.allocations(), world.closed.len()), (0, 1));
    assert_eq!(world.permit(client, &grant, peer), 437);
    world.allocate(client, &grant);
    let release = world
        .builder(message::REFRESH)
        .attribute(message::LIFETIME, &[0; 4]);
    let answer = world.ask_signed(client, &grant, release);
    assert_eq!((answer.code, answer.u32(message::LIFETIME)), (0, Some(0)));
    assert_eq!((world.server.allocations(), world.closed.len()), (0, 2));
    world.advance(Duration::from_secs(60));
    assert_eq!(
        world.server.poll_timeout(),
        None,
        "nothing left to wait for"
    );
}

#[test]
fn denied_addresses_are_denied_in_every_request() {
    let mut world = World::new(|_| {});
    let grant = world.grant(1);
    let v4 = udp("192.0.2.1:1000");
    let v6 = udp("[2600::1]:1000");
    world.allocate(v4, &grant);
    let request = world
        .builder(message::ALLOCATE)
        .attribute(message::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .attribute(message::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(world.ask_signed(v6, &grant, request).code, 0);
    for (ip, _) in DENIED {
        let peer = SocketAddr::new(ip.parse().unwrap(), 7);
        let mut peers = vec![peer];
        if let IpAddr::V4(ip) = peer.ip() {
            peers.push(SocketAddr::new(ip.to_ipv6_mapped().into(), 7));
        }
        for (client, relay) in [(v4, 0), (v6, 1)] {
            for peer in &peers {
                assert_eq!(world.permit(client, &grant, *peer), 403, "{peer}");
                assert_eq!(world.bind(client, &grant, 0x4000, *peer), 403, "{peer}");
                world.send_indication(client, *peer, b"x");
                let before = world.sent.len();
                world.arrive(relay, *peer, b"x");
                assert_eq!(world.sent.len(), before, "{peer}");
            }
        }
    }
    assert_eq!(world.relayed, []);
    // One bad address among good ones refuses all.
    let request = world
        .builder(message::CREATE_PERMISSION)
        .address(message::XOR_PEER_ADDRESS, addr("9.9.9.9:1"))
        .address(message::XOR_PEER_ADDRESS, addr("10.0.0.1:1"));
    assert_eq!(world.ask_signed(v4, &grant, request).code, 403);
    world.send_indication(v4, addr("9.9.9.9:1"), b"x");
    assert_eq!(world.relayed, []);
    // The other family, and a public address in mapped form.
    for (client, peer) in [
        (v4, "[2600::2]:7"),
        (v4, "[::ffff:9.9.9.9]:7"),
        (v6, "9.9.9.9:7"),
        (v6, "[::ffff:9.9.9.9]:7"),
    ] {
        assert_eq!(world.permit(client, &grant, addr(peer)), 443, "{peer}");
    }
    assert_eq!(world.permit(v6, &grant, addr("[2600::2]:7")), 0);
}

#[test]
fn of_the_server_itself_only_relays_and_the_media_port_are_reached() {
    let mut world = World::new(|_| {});
    let (a, b) = (udp("192.0.2.1:1000"), udp("192.0.2.2:1000"));
    let grants = [world.grant(1), world.grant(2)];
    let relay_a = world.allocate(a, &grants[0]);
    let relay_b = world.allocate(b, &grants[1]);
    for port in [22, 80, 60_000] {
        let own = SocketAddr::new(RELAY.parse().unwrap(), port);
        assert_eq!(world.permit(a, &grants[0], own), 0);
        assert_eq!(world.bind(a, &grants[0], 0x4001, own), 403, "{own}");
        world.send_indication(a, own, b"x");
        assert_eq!(world.relayed, [], "{own}");
    }
    // Relay to relay, in memory, and only where both permit it.
    let before = world.sent.len();
    world.send_indication(a, relay_b, b"x");
    assert_eq!(world.sent.len(), before, "the other side permits nothing");
    assert_eq!(world.bind(b, &grants[1], 0x4002, relay_a), 0);
    world.send_indication(a, relay_b, b"hi");
    assert_eq!(
        world.sent.pop(),
        Some((b, Bytes::from_static(b"\x40\x02\0\x02hi")))
    );
    world.channel_data(b, 0x4002, b"back");
    assert_eq!(world.sent.pop().unwrap().0, a);
    // The media port, at its local address.
    let media = addr("8.8.8.8:3478");
    assert_eq!(world.bind(a, &grants[0], 0x4003, media), 0);
    world.channel_data(a, 0x4003, b"to the SFU");
    let (_, to, _) = world.relayed.pop().unwrap();
    assert_eq!(to, addr("127.0.0.1:3478"));
    world.arrive(0, to, b"hi");
    assert_eq!(
        world.sent.pop(),
        Some((a, Bytes::from_static(b"\x40\x03\0\x02hi")))
    );
    let before = world.sent.len();
    world.arrive(0, addr("127.0.0.1:3479"), b"x");
    assert_eq!(world.sent.len(), before);
}

#[test]
fn quotas_refuse_what_is_beyond_them() {
    let mut world = World::new(|config| {
        config.limits = TurnLimits {
            allocations: 4,
            allocations_per_user: 2,
            allocations_per_ip: 3,
            permissions: 2,
            channels: 1,
            rate_bps: 8_000,
            burst_bytes: 1_500,
            streams: 3,
            streams_per_ip: 2,
            ..config.limits
        };
    });
    let [one, two, three] = [1, 2, 3].map(|member| world.grant(member));
    let codes: Vec<u16> = [
        ("192.0.2.1:1", &one),
        ("192.0.2.1:2", &one),
        ("192.0.2.9:3", &one),
        ("192.0.2.1:4", &two),
        ("192.0.2.1:5", &two),
        ("192.0.2.2:6", &three),
        ("192.0.2.3:7", &three),
    ]
    .into_iter()
    .map(|(from, grant)| world.try_allocate(udp(from), grant).code)
    .collect();
    assert_eq!(codes, [0, 0, 486, 0, 486, 0, 508]);

    let client = udp("192.0.2.1:1");
    let peers = ["9.9.9.1:1", "9.9.9.2:1", "9.9.9.3:1"].map(addr);
    assert_eq!(world.permit(client, &one, peers[0]), 0);
    assert_eq!(world.permit(client, &one, peers[1]), 0);
    assert_eq!(world.permit(client, &one, peers[1]), 0, "again");
    assert_eq!(world.permit(client, &one, peers[2]), 508);
    assert_eq!(world.bind(client, &one, 0x4000, peers[0]), 0);
    assert_eq!(world.bind(client, &one, 0x4000, peers[0]), 0, "again");
    assert_eq!(
        world.bind(client, &one, 0x4000, peers[1]),
        400,
        "number taken"
    );
    assert_eq!(
        world.bind(client, &one, 0x4001, peers[0]),
        400,
        "peer taken"
    );
    assert_eq!(world.bind(client, &one, 0x4001, peers[1]), 508);
    for number in [0, 0x3fff, 0x5000, 0xffff] {
        assert_eq!(
            world.bind(client, &one, number, peers[1]),
            400,
            "{number:x}"
        );
    }
    for _ in 0..3 {
        world.channel_data(client, 0x4000, &[0; 1_000]);
        world.arrive(0, peers[0], &[0; 1_000]);
    }
    assert_eq!(world.relayed.len(), 1, "the burst");
    world.advance(Duration::from_secs(1));
    world.channel_data(client, 0x4000, &[0; 1_000]);
    world.channel_data(client, 0x4000, &[0; 1_000]);
    assert_eq!(world.relayed.len(), 2, "a kilobyte per second");

    let stream = |number, ip: &str| Client {
        transport: Transport::Stream(number),
        addr: addr(ip),
    };
    let opened = [
        stream(1, "192.0.2.1:1"),
        stream(2, "192.0.2.1:2"),
        stream(3, "192.0.2.1:3"),
        stream(4, "192.0.2.2:1"),
        stream(5, "192.0.2.3:1"),
    ]
    .map(|client| world.server.handle_stream(world.now, client));
    assert_eq!(opened, [true, true, false, true, false]);
}

#[test]
fn strangers_get_small_answers_and_few() {
    let mut world = World::new(|config| {
        config.limits.challenge_burst = 3;
        config.limits.challenges_per_s = 1;
        config.limits.challenged_ips = 1;
    });
    let request = |world: &mut World| {
        world
            .builder(message::ALLOCATE)
            .attribute(message::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .build()
    };
    let mut answers = 0;
    for port in 1..20 {
        let bytes = request(&mut world);
        let size = bytes.len() + PACKET_OVERHEAD;
        let from = SocketAddr::new("192.0.2.1".parse().unwrap(), port);
        let from = Client {
            transport: Transport::Udp,
            addr: from,
        };
        if let Some(answer) = world.raw(from, bytes) {
            assert!(2 * (answer.len() + PACKET_OVERHEAD) <= 3 * size);
            answers += 1;
        }
    }
    assert_eq!(answers, 3);
    let flood = (1..200).filter(|n| {
        let bytes = request(&mut world);
        world.raw(udp(&format!("192.0.3.{n}:1")), bytes).is_some()
    });
    assert_eq!(flood.count(), 3, "addresses beyond the table share");
    // Without any attribute the request is shorter than what a challenge may answer.
    world.advance(Duration::from_secs(5));
    let bare = world.builder(message::ALLOCATE).build();
    assert_eq!(world.raw(udp("192.0.2.1:1"), bare), None);
}

#[test]
fn requests_are_checked_in_the_order_of_the_rfc() {
    let mut world = World::new(|config| config.relay_ips.truncate(1));
    let client = udp("192.0.2.1:1000");
    let grant = world.grant(1);
    for (attributes, code) in [
        (vec![], 400),
        (vec![(message::REQUESTED_TRANSPORT, vec![6, 0, 0, 0])], 442),
        (vec![(message::REQUESTED_TRANSPORT, vec![])], 400),
        (
            vec![
                (message::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]),
                (message::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]),
            ],
            440,
        ),
        // EVEN-PORT and DONT-FRAGMENT.
        (
            vec![
                (message::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]),
                (0x18, vec![0x80]),
            ],
            420,
        ),
        (
            vec![
                (message::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]),
                (0x1a, vec![]),
            ],
            420,
        ),
    ] {
        let mut request = world.builder(message::ALLOCATE);
        for (kind, value) in &attributes {
            request = request.attribute(*kind, value);
        }
        assert_eq!(
            world.ask_signed(client, &grant, request).code,
            code,
            "{attributes:?}"
        );
    }
    for method in [
        message::REFRESH,
        message::CREATE_PERMISSION,
        message::CHANNEL_BIND,
    ] {
        let request = world.builder(method);
        assert_eq!(world.ask_signed(client, &grant, request).code, 437);
    }
    world.refuse_sockets = true;
    assert_eq!(world.try_allocate(client, &grant).code, 508);
    world.refuse_sockets = false;
    assert_eq!(world.server.allocations(), 0);

    let nonce = world.nonce(client);
    let request = world
        .builder(message::ALLOCATE)
        .attribute(message::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let bytes = World::signed(request, &grant, &nonce).build();
    let first = world.raw(client, bytes.clone());
    assert_eq!(
        world.raw(client, bytes),
        first,
        "the same transaction, the same answer"
    );
    assert_eq!(world.try_allocate(client, &grant).code, 437, "another one");
    let request = world.builder(message::CREATE_PERMISSION);
    assert_eq!(
        world.ask_signed(client, &grant, request).code,
        400,
        "no peer"
    );
}

#[test]
fn nonsense_changes_nothing() {
    let mut world = World::new(|_| {});
    let client = udp("192.0.2.1:1000");
    let grant = world.grant(1);
    world.allocate(client, &grant);
    let peer = addr("9.9.9.9:7");
    assert_eq!(world.bind(client, &grant, 0x4000, peer), 0);
    let nonce = world.nonce(client);
    let request = world
        .builder(message::CHANNEL_BIND)
        .attribute(message::CHANNEL_NUMBER, &[0x40, 1, 0, 0])
        .address(message::XOR_PEER_ADDRESS, peer);
    let good = World::signed(request, &grant, &nonce).build();
    world.sent.clear();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            world.server.handle_message(world.now, client, &bad.into());
            world
                .server
                .handle_message(world.now, client, &good[..at].to_vec().into());
            world.drain();
        }
    }
    for number in 0..=u8::MAX {
        for len in 0..8 {
            world
                .server
                .handle_message(world.now, client, &vec![number; len].into());
            world.drain();
        }
    }
    let sent: Vec<_> = world.sent.drain(..).map(|(_, bytes)| bytes).collect();
    let is_error = |bytes: &Bytes| Message::parse(bytes).is_some_and(|m| m.class == Class::Error);
    assert!(sent.iter().all(is_error));
    assert_eq!((world.relayed.len(), world.server.allocations()), (0, 1));
    world.channel_data(client, 0x4001, b"x");
    assert_eq!(world.relayed.len(), 0);
}
