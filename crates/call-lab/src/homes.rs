//! Hosts in their homes, each behind a router of its own or none, on one internet.
//!
//! ```text
//! host ── router (addresses translated) ── path up ──┐
//!                                                     ├─ path down ── router ── host
//! host ── path up ───────────────────────────────────┘
//! ```
//!
//! What the homes are like is data ([`Home`]). After the pure crates' contract:
//! [`Homes::handle_packet`] and [`Homes::handle_timeout`], then drain [`Homes::poll_output`], then
//! [`Homes::poll_timeout`] says when to come again.
//!
//! Invariants: those of [`Path`], per home and way, and of [`Nat`]; what is sent to an address nobody has,
//! or is not let in, is gone.
//!
//! Deliberately not here: several hosts in a home, servers (a home without a router is one).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use crate::nat::{Nat, NatConfig};
use crate::network::{Input, Path, PathConfig};

/// What a home is like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Home {
    /// Its router; `None`: the host has an address of the internet.
    pub nat: Option<NatConfig>,
    /// Between it and the internet, each way.
    pub path: PathConfig,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram<P> {
    /// Where it comes from, as its receiver sees it.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// Anything; it comes out as it went in.
    pub payload: P,
    /// Bytes on the wire.
    pub bytes: usize,
}

#[derive(Debug)]
struct Place<P> {
    inside: IpAddr,
    outside: IpAddr,
    nat: Option<Nat>,
    up: Path<Datagram<P>>,
    down: Path<Datagram<P>>,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Homes<P> {
    places: Vec<Place<P>>,
}

impl<P> Homes<P> {
    /// At most 250 homes.
    pub fn new(homes: &[Home], seed: u64) -> Self {
        let place = |(number, home): (u8, &Home)| {
            let outside = IpAddr::from(Ipv4Addr::new(11, 0, 0, number));
            let seed = seed ^ u64::from(number) << 32;
            Place {
                inside: match home.nat {
                    Some(_) => Ipv4Addr::new(10, number, 0, 2).into(),
                    None => outside,
                },
                outside,
                nat: home.nat.map(|nat| Nat::new(nat, outside, seed)),
                up: Path::new(home.path, seed ^ 0x1111),
                down: Path::new(home.path, seed ^ 0x5555),
            }
        };
        Self {
            places: (1..=250).zip(homes).map(place).collect(),
        }
    }

    /// The address a host has.
    pub fn address(&self, home: usize) -> IpAddr {
        self.places[home].inside
    }

    /// Where what a host sends from `inside` to `to` seems to come from: what a STUN server there
    /// would answer.
    pub fn reflexive(
        &mut self,
        now: Instant,
        home: usize,
        inside: SocketAddr,
        to: SocketAddr,
    ) -> SocketAddr {
        match &mut self.places[home].nat {
            Some(nat) => nat.handle_outbound(now, inside, to),
            None => inside,
        }
    }

    /// A host sends. `now` never goes back.
    pub fn handle_packet(&mut self, now: Instant, home: usize, mut packet: Datagram<P>) {
        packet.from = self.reflexive(now, home, packet.from, packet.to);
        let bytes = packet.bytes;
        self.places[home]
            .up
            .handle_input(now, Input::Packet { packet, bytes });
        self.pass_on(now);
    }

    /// Takes the time.
    pub fn handle_timeout(&mut self, now: Instant) {
        for place in &mut self.places {
            place.up.handle_input(now, Input::Timeout);
            place.down.handle_input(now, Input::Timeout);
        }
        self.pass_on(now);
    }

    /// The next packet that has arrived, and at which home.
    pub fn poll_output(&mut self) -> Option<(usize, Datagram<P>)> {
        let places = self.places.iter_mut().enumerate();
        let mut arrived =
            places.filter_map(|(home, place)| Some((home, place.down.poll_output()?.1)));
        arrived.next()
    }

    /// When something happens next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let paths = self
            .places
            .iter()
            .flat_map(|place| [&place.up, &place.down]);
        paths.filter_map(Path::poll_timeout).min()
    }

    /// From the paths up to the routers of whom it is for.
    fn pass_on(&mut self, now: Instant) {
        for home in 0..self.places.len() {
            while let Some((_, mut packet)) = self.places[home].up.poll_output() {
                let mut places = self.places.iter_mut();
                let Some(place) = places.find(|place| place.outside == packet.to.ip()) else {
                    continue;
                };
                if let Some(nat) = &mut place.nat {
                    let Some(inside) = nat.handle_inbound(now, packet.from, packet.to.port())
                    else {
                        continue;
                    };
                    packet.to = inside;
                }
                let bytes = packet.bytes;
                place
                    .down
                    .handle_input(now, Input::Packet { packet, bytes });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_answer_comes_home_and_nothing_else_does() {
        let path = PathConfig {
            delay: MS * 10,
            ..PathConfig::default()
        };
        let nat = Some(NatConfig::PORT_RESTRICTED_CONE);
        let mut homes = Homes::new(&[Home { nat, path }, Home { nat: None, path }], 1);
        let start = Instant::now();
        let [host, server] = [0, 1].map(|home| SocketAddr::new(homes.address(home), 5_000));
        let packet = |from, to, payload| Datagram {
            from,
            to,
            payload,
            bytes: 100,
        };
        let run = |homes: &mut Homes<&'static str>| {
            let mut arrived = Vec::new();
            while let Some(at) = homes.poll_timeout() {
                homes.handle_timeout(at);
                while let Some((home, packet)) = homes.poll_output() {
                    arrived.push((home, packet, (at - start).as_millis()));
                }
            }
            arrived
        };
        homes.handle_packet(start, 0, packet(host, server, "hello"));
        let arrived = run(&mut homes);
        let [(1, hello, 20)] = &arrived[..] else {
            panic!("{arrived:?}");
        };
        assert_ne!(hello.from, host, "translated");
        let (then, outside) = (start + MS * 20, hello.from);
        let elsewhere = SocketAddr::new(server.ip(), 5_001);
        homes.handle_packet(then, 1, packet(elsewhere, outside, "uninvited"));
        homes.handle_packet(then, 1, packet(server, host, "no such address"));
        homes.handle_packet(then, 1, packet(server, outside, "answer"));
        assert_eq!(run(&mut homes), [(0, packet(server, host, "answer"), 40)]);
    }
}
