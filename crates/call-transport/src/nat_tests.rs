//! Who reaches whom without a relay: the stack's ICE agents behind routers of every kind, in virtual
//! time.
//!
//! Each agent knows its own address and the one a STUN server would have told it, and is told the other's
//! at once. RFC 5128, section 3.3 and RFC 4787, appendix say which pairs of routers let them through: all but
//! those where one gives every destination another port and the other lets in none but known ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use call_lab::homes::{Datagram, Home, Homes};
use call_lab::nat::NatConfig;
use call_lab::network::{Loss, PathConfig};
use rtc::ice::candidate::candidate_host::CandidateHostConfig;
use rtc::ice::candidate::candidate_server_reflexive::CandidateServerReflexiveConfig;
use rtc::ice::candidate::{Candidate, CandidateConfig};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::ice::state::ConnectionState;
use rtc::ice::{Agent, AgentConfig};
use rtc::sansio::Protocol;
use rtc::shared::{TransportContext, TransportMessage};

use crate::setup::REFLEXIVE_WAIT;

const PORT: u16 = 5_000;
/// A server of the internet, which nobody really sends to.
const STUN: &str = "12.0.0.1:3478";
/// After this a member would be offered a relay long since.
const PATIENCE: Duration = Duration::from_secs(8);

struct Peer {
    agent: Agent,
    inside: SocketAddr,
    candidates: Vec<Candidate>,
}

fn base(address: SocketAddr) -> CandidateConfig {
    CandidateConfig {
        network: "udp".into(),
        address: address.ip().to_string(),
        port: address.port(),
        component: 1,
        ..CandidateConfig::default()
    }
}

impl Peer {
    fn new(now: Instant, homes: &mut Homes<Vec<u8>>, home: usize) -> Self {
        let config = AgentConfig {
            multicast_dns_mode: MulticastDnsMode::Disabled,
            srflx_acceptance_min_wait: Some(REFLEXIVE_WAIT),
            prflx_acceptance_min_wait: Some(REFLEXIVE_WAIT),
            ..AgentConfig::default()
        };
        let provider = rtc::crypto::default_provider().expect("the stack has one");
        let mut agent = Agent::new(now, Arc::new(config), provider).expect("an agent");
        let inside = SocketAddr::new(homes.address(home), PORT);
        let host = CandidateHostConfig {
            base_config: base(inside),
            ..CandidateHostConfig::default()
        };
        let mut candidates = vec![host.new_candidate_host().expect("a host candidate")];
        let stun = STUN.parse().expect("an address");
        let outside = homes.reflexive(now, home, inside, stun);
        if outside != inside {
            let reflexive = CandidateServerReflexiveConfig {
                base_config: base(outside),
                rel_addr: inside.ip().to_string(),
                rel_port: inside.port(),
                url: None,
            };
            let candidate = reflexive.new_candidate_server_reflexive();
            candidates.push(candidate.expect("a reflexive candidate"));
        }
        for candidate in &candidates {
            agent
                .add_local_candidate(candidate.clone())
                .expect("its own candidate");
        }
        Self {
            agent,
            inside,
            candidates,
        }
    }

    fn meet(&mut self, now: Instant, other: &Self, is_controlling: bool) {
        for candidate in &other.candidates {
            self.agent
                .add_remote_candidate(candidate.clone())
                .expect("the other's candidate");
        }
        let credentials = other.agent.get_local_credentials();
        let (ufrag, password) = (credentials.ufrag.clone(), credentials.pwd.clone());
        self.agent
            .start_connectivity_checks(now, is_controlling, ufrag, password)
            .expect("checks begin");
    }

    fn is_connected(&self) -> bool {
        matches!(
            self.agent.state(),
            ConnectionState::Connected | ConnectionState::Completed
        )
    }
}

fn deliver(now: Instant, peer: &mut Peer, packet: &Datagram<Vec<u8>>) {
    let transport = TransportContext {
        local_addr: packet.to,
        peer_addr: packet.from,
        ..TransportContext::default()
    };
    let message = packet.payload[..].into();
    // What it does not know is no reason to stop.
    let _ = peer.agent.handle_read(TransportMessage {
        now,
        transport,
        message,
    });
}

/// How long two behind these routers take to reach each other; `None` if they never do.
fn meet(nats: [Option<NatConfig>; 2], loss: Loss, seed: u64) -> Option<Duration> {
    let path = PathConfig {
        delay: Duration::from_millis(15),
        loss,
        ..PathConfig::default()
    };
    let mut homes = Homes::new(&nats.map(|nat| Home { nat, path }), seed);
    let start = Instant::now();
    let mut peers = [0, 1].map(|home| Peer::new(start, &mut homes, home));
    let [one, other] = &mut peers;
    one.meet(start, other, true);
    other.meet(start, one, false);
    let mut now = start;
    while now < start + PATIENCE {
        if peers.iter().all(Peer::is_connected) {
            return Some(now - start);
        }
        let timers = peers.iter_mut().map(|peer| peer.agent.poll_timeout());
        let next = timers.chain([homes.poll_timeout()]).flatten().min()?;
        now = now.max(next);
        homes.handle_timeout(now);
        while let Some((home, packet)) = homes.poll_output() {
            deliver(now, &mut peers[home], &packet);
        }
        for (home, peer) in peers.iter_mut().enumerate() {
            if peer.agent.poll_timeout().is_some_and(|at| at <= now) {
                peer.agent.handle_timeout(now).expect("it goes on");
            }
            while let Some(packet) = peer.agent.poll_write() {
                assert_eq!(packet.transport.local_addr, peer.inside);
                let payload = packet.message.to_vec();
                let packet = Datagram {
                    from: packet.transport.local_addr,
                    to: packet.transport.peer_addr,
                    bytes: payload.len() + 28,
                    payload,
                };
                homes.handle_packet(now, home, packet);
            }
        }
    }
    None
}

const KINDS: [(&str, Option<NatConfig>); 5] = [
    ("none", None),
    ("full cone", Some(NatConfig::FULL_CONE)),
    ("restricted cone", Some(NatConfig::RESTRICTED_CONE)),
    (
        "port-restricted cone",
        Some(NatConfig::PORT_RESTRICTED_CONE),
    ),
    ("symmetric", Some(NatConfig::SYMMETRIC)),
];

#[test]
fn all_pairs_of_routers_are_passed_that_can_be() {
    for (place, (one_name, one)) in KINDS.into_iter().enumerate() {
        for (other_name, other) in KINDS.into_iter().skip(place) {
            let symmetric = Some(NatConfig::SYMMETRIC);
            let strict = [symmetric, Some(NatConfig::PORT_RESTRICTED_CONE)];
            let is_hopeless = other == symmetric && strict.contains(&one);
            for (name, nats) in [
                (format!("{one_name}, {other_name}"), [one, other]),
                (format!("{other_name}, {one_name}"), [other, one]),
            ] {
                let took = meet(nats, Loss::None, 1);
                println!("{name}: {took:?}");
                assert_eq!(took.is_none(), is_hopeless, "{name}");
                let most = Duration::from_millis(1_000);
                assert!(took.is_none_or(|took| took < most), "{name}: {took:?}");
            }
        }
    }
}

#[test]
fn losses_put_off_and_do_not_prevent() {
    let usual = Some(NatConfig::PORT_RESTRICTED_CONE);
    for seed in 0..20 {
        let took = meet([usual, usual], Loss::Random(0.2), seed);
        assert!(took.is_some(), "seed {seed}");
    }
}
