//! A router that translates addresses, after the terms of RFC 4787: pure.
//!
//! What a host behind it sends leaves from the router's own address and a port that stands for the
//! host's (a *mapping*). What comes to that port is let in if the host has sent there before (*filtering*).
//! Both may look at all of the far end's address, at its host, or not at all ([`Dependence`]), which
//! decides who reaches whom without a relay.
//!
//! Invariants: no two mappings share a port; a mapping nobody used for [`NatConfig::lasts`] is gone; at most
//! [`MOST_MAPPINGS`] are kept, and the one used longest ago makes room.
//!
//! Deliberately not here: TCP, hairpinning (what a host sends to its own router is dropped), two routers
//! in a row.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::random::Random;

/// Mappings of one router. A home has some hundred.
pub const MOST_MAPPINGS: usize = 4_096;
/// Ports that are given out (RFC 6335: the dynamic ones).
const FIRST_PORT: u16 = 49_152;

/// What of the far end's address something depends on (RFC 4787, sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// Nothing.
    Independent,
    /// Its host.
    Address,
    /// Its host and port.
    AddressAndPort,
}

impl Dependence {
    fn is_same(self, one: SocketAddr, other: SocketAddr) -> bool {
        match self {
            Self::Independent => true,
            Self::Address => one.ip() == other.ip(),
            Self::AddressAndPort => one == other,
        }
    }
}

/// What a router does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// Which destinations share a port.
    pub mapping: Dependence,
    /// Which sources are let in.
    pub filtering: Dependence,
    /// How long a mapping lasts without a packet from inside (RFC 4787, section 4.3: two minutes at
    /// least; many routers: 30 s).
    pub lasts: Duration,
}

impl NatConfig {
    const fn new(mapping: Dependence, filtering: Dependence) -> Self {
        Self {
            mapping,
            filtering,
            lasts: Duration::from_secs(120),
        }
    }

    /// By their names in RFC 3489, section 5, which people still use.
    pub const FULL_CONE: Self = Self::new(Dependence::Independent, Dependence::Independent);
    /// See [`FULL_CONE`](Self::FULL_CONE).
    pub const RESTRICTED_CONE: Self = Self::new(Dependence::Independent, Dependence::Address);
    /// See [`FULL_CONE`](Self::FULL_CONE). Most homes.
    pub const PORT_RESTRICTED_CONE: Self =
        Self::new(Dependence::Independent, Dependence::AddressAndPort);
    /// See [`FULL_CONE`](Self::FULL_CONE). Many offices and mobile networks.
    pub const SYMMETRIC: Self = Self::new(Dependence::AddressAndPort, Dependence::AddressAndPort);
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    /// The first destination: others share the port if the router's mapping says so.
    made_for: SocketAddr,
    port: u16,
    used_at: Instant,
    /// Where the host sent to.
    sent_to: Vec<SocketAddr>,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Nat {
    config: NatConfig,
    outside: IpAddr,
    random: Random,
    mappings: Vec<Mapping>,
}

impl Nat {
    /// A router with this address on the outside. Ports are drawn by chance.
    pub fn new(config: NatConfig, outside: IpAddr, seed: u64) -> Self {
        Self {
            config,
            outside,
            random: Random::new(seed),
            mappings: Vec::new(),
        }
    }

    /// A host sends: where the packet seems to come from outside.
    pub fn handle_outbound(
        &mut self,
        now: Instant,
        inside: SocketAddr,
        to: SocketAddr,
    ) -> SocketAddr {
        self.forget_old(now);
        let known = self.mappings.iter().position(|mapping| {
            mapping.inside == inside && self.config.mapping.is_same(mapping.made_for, to)
        });
        let at = known.unwrap_or_else(|| {
            let port = self.free_port();
            self.mappings.push(Mapping {
                inside,
                made_for: to,
                port,
                used_at: now,
                sent_to: Vec::new(),
            });
            self.mappings.len() - 1
        });
        let mapping = &mut self.mappings[at];
        mapping.used_at = now;
        if !mapping.sent_to.contains(&to) {
            if mapping.sent_to.len() == MOST_MAPPINGS {
                mapping.sent_to.remove(0);
            }
            mapping.sent_to.push(to);
        }
        SocketAddr::new(self.outside, mapping.port)
    }

    /// A packet comes to a port of the router: the host it is for, if it is let in.
    pub fn handle_inbound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        port: u16,
    ) -> Option<SocketAddr> {
        self.forget_old(now);
        let mapping = self.mappings.iter().find(|mapping| mapping.port == port)?;
        let filtering = self.config.filtering;
        let is_let_in = mapping
            .sent_to
            .iter()
            .any(|to| filtering.is_same(*to, from));
        is_let_in.then_some(mapping.inside)
    }

    fn forget_old(&mut self, now: Instant) {
        let lasts = self.config.lasts;
        self.mappings
            .retain(|mapping| now.saturating_duration_since(mapping.used_at) < lasts);
        if self.mappings.len() >= MOST_MAPPINGS
            && let Some(oldest) =
                (0..self.mappings.len()).min_by_key(|at| self.mappings[*at].used_at)
        {
            self.mappings.remove(oldest);
        }
    }

    fn free_port(&mut self) -> u16 {
        loop {
            let ports = f64::from(u16::MAX - FIRST_PORT) + 1.0;
            let port = FIRST_PORT + (self.random.unit() * ports) as u16;
            if self.mappings.iter().all(|mapping| mapping.port != port) {
                return port;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "10.1.0.2:5000";

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn nat(config: NatConfig) -> Nat {
        Nat::new(config, address("11.0.0.1:0").ip(), 3)
    }

    #[test]
    fn which_destinations_share_a_port() {
        for (config, other_port, other_host) in [
            (NatConfig::FULL_CONE, true, true),
            (NatConfig::PORT_RESTRICTED_CONE, true, true),
            (
                NatConfig::new(Dependence::Address, Dependence::AddressAndPort),
                true,
                false,
            ),
            (NatConfig::SYMMETRIC, false, false),
        ] {
            let (now, mut nat) = (Instant::now(), nat(config));
            let mut seen = |to| nat.handle_outbound(now, address(HOST), address(to));
            let first = seen("12.0.0.1:1000");
            assert_eq!(first.ip(), address("11.0.0.1:0").ip());
            assert_eq!(seen("12.0.0.1:1000"), first, "{config:?}");
            assert_eq!(seen("12.0.0.1:1001") == first, other_port, "{config:?}");
            assert_eq!(seen("12.0.0.2:1000") == first, other_host, "{config:?}");
            let other =
                nat.handle_outbound(now, address("10.1.0.3:5000"), address("12.0.0.1:1000"));
            assert_ne!(other, first, "another host");
        }
    }

    #[test]
    fn who_is_let_in() {
        for (config, other_port, other_host) in [
            (NatConfig::FULL_CONE, true, true),
            (NatConfig::RESTRICTED_CONE, true, false),
            (NatConfig::PORT_RESTRICTED_CONE, false, false),
            (NatConfig::SYMMETRIC, false, false),
        ] {
            let (now, mut nat) = (Instant::now(), nat(config));
            let port = nat
                .handle_outbound(now, address(HOST), address("12.0.0.1:1000"))
                .port();
            let mut comes = |from, port| nat.handle_inbound(now, address(from), port);
            assert_eq!(comes("12.0.0.1:1000", port), Some(address(HOST)));
            assert_eq!(
                comes("12.0.0.1:1001", port).is_some(),
                other_port,
                "{config:?}"
            );
            assert_eq!(
                comes("12.0.0.2:1000", port).is_some(),
                other_host,
                "{config:?}"
            );
            assert_eq!(comes("12.0.0.1:1000", port ^ 1), None, "nobody's port");
        }
    }

    #[test]
    fn mappings_last_while_they_are_used_and_are_bounded() {
        let (start, mut nat) = (Instant::now(), nat(NatConfig::SYMMETRIC));
        let to = address("12.0.0.1:1000");
        let first = nat.handle_outbound(start, address(HOST), to);
        let later = start + Duration::from_secs(119);
        assert_eq!(nat.handle_outbound(later, address(HOST), to), first);
        let late = later + Duration::from_secs(120);
        assert_eq!(nat.handle_inbound(late, to, first.port()), None);
        for number in 0..MOST_MAPPINGS as u32 + 10 {
            let host = SocketAddr::new(std::net::Ipv4Addr::from(number).into(), 1);
            nat.handle_outbound(late, host, to);
        }
        assert!(nat.mappings.len() <= MOST_MAPPINGS);
    }
}
