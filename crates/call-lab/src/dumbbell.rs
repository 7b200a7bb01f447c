//! Several flows that share one bottleneck in each direction (RFC 8867, section 3).
//!
//! ```text
//! flow 0 ─┐                         ┌─ access 0 (delay, jitter, loss) ─ flow 0
//! flow 1 ─┼─ queue and rate limit ──┼─ access 1 ─────────────────────── flow 1
//! ```
//!
//! After the pure crates' contract: [`Dumbbell::handle_packet`] and [`Dumbbell::handle_timeout`],
//! then drain [`Dumbbell::poll_output`], then [`Dumbbell::poll_timeout`] says when to come again.
//!
//! Invariants: those of [`Path`], per bottleneck and per access; a packet's queueing delay is what
//! it spent at the bottleneck beyond its own transmission.
//!
//! Deliberately not here: more than one bottleneck in a direction, queues that are not drop-tail.

use std::time::{Duration, Instant};

use crate::link::Direction;
use crate::network::{Input, Path, PathConfig, PathStats};

/// What arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered<P> {
    /// Whose.
    pub flow: usize,
    /// Which way it went.
    pub direction: Direction,
    /// As it went in.
    pub packet: P,
    /// What it waited for others at the bottleneck.
    pub queued: Duration,
}

#[derive(Debug)]
struct Waiting<P> {
    flow: usize,
    entered: Instant,
    transmission: Duration,
    packet: P,
}

#[derive(Debug)]
struct Way<P> {
    bottleneck: Path<Waiting<P>>,
    rate_bps: Option<u64>,
    access: Vec<Path<(Duration, P)>>,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Dumbbell<P> {
    ways: [Way<P>; 2],
}

impl<P> Dumbbell<P> {
    /// Of one access path per flow, the same both ways; the bottlenecks carry everything until
    /// [`set_bottleneck`](Self::set_bottleneck).
    pub fn new(access: &[PathConfig], seed: u64) -> Self {
        let way = |salt: u64| Way {
            bottleneck: Path::new(PathConfig::default(), seed ^ salt),
            rate_bps: None,
            access: (0..)
                .zip(access)
                .map(|(flow, config)| Path::new(*config, seed ^ salt.rotate_left(flow + 1)))
                .collect(),
        };
        Self {
            ways: [way(0x1111_2222), way(0x5555_7777)],
        }
    }

    /// Changes the bottleneck of a direction from the next packet on: its rate, and for how long
    /// a packet may wait there.
    pub fn set_bottleneck(&mut self, direction: Direction, rate_bps: u64, queue: Duration) {
        let way = &mut self.ways[direction as usize];
        way.rate_bps = Some(rate_bps);
        way.bottleneck.set_config(PathConfig {
            rate_bps: Some(rate_bps),
            queue_bytes: (rate_bps as f64 / 8.0 * queue.as_secs_f64()) as usize,
            ..PathConfig::default()
        });
    }

    /// Changes the access of a flow from the next packet on, both ways: another route.
    pub fn set_access(&mut self, flow: usize, config: PathConfig) {
        for way in &mut self.ways {
            way.access[flow].set_config(config);
        }
    }

    /// Takes a packet of `bytes` bytes on the wire. `now` never goes back.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        direction: Direction,
        flow: usize,
        packet: P,
        bytes: usize,
    ) {
        let way = &mut self.ways[direction as usize];
        let transmission = way.rate_bps.map_or(Duration::ZERO, |rate_bps| {
            Duration::from_nanos(bytes as u64 * 8_000_000_000 / rate_bps.max(1))
        });
        let packet = Waiting {
            flow,
            entered: now,
            transmission,
            packet,
        };
        way.bottleneck
            .handle_input(now, Input::Packet { packet, bytes });
        way.pass_on(now);
    }

    /// Takes the time.
    pub fn handle_timeout(&mut self, now: Instant) {
        for way in &mut self.ways {
            way.bottleneck.handle_input(now, Input::Timeout);
            way.pass_on(now);
        }
    }

    /// The next packet that has arrived by the time of the last input.
    pub fn poll_output(&mut self) -> Option<Delivered<P>> {
        for (direction, way) in Direction::BOTH.into_iter().zip(&mut self.ways) {
            for (flow, access) in way.access.iter_mut().enumerate() {
                if let Some((_, (queued, packet))) = access.poll_output() {
                    return Some(Delivered {
                        flow,
                        direction,
                        packet,
                        queued,
                    });
                }
            }
        }
        None
    }

    /// When something moves next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of = |way: &Way<P>| {
            let access = way.access.iter().filter_map(Path::poll_timeout);
            access.chain(way.bottleneck.poll_timeout()).min()
        };
        self.ways.iter().filter_map(of).min()
    }

    /// Counters of a direction's bottleneck.
    pub fn bottleneck_stats(&self, direction: Direction) -> PathStats {
        self.ways[direction as usize].bottleneck.stats()
    }
}

impl<P> Way<P> {
    fn pass_on(&mut self, now: Instant) {
        while let Some((at, waiting)) = self.bottleneck.poll_output() {
            let queued = (at - waiting.entered).saturating_sub(waiting.transmission);
            let input = Input::Packet {
                packet: (queued, waiting.packet),
                bytes: 0,
            };
            self.access[waiting.flow].handle_input(at, input);
        }
        for access in &mut self.access {
            access.handle_input(now, Input::Timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn access(ms: u32) -> PathConfig {
        PathConfig {
            delay: MS * ms,
            ..PathConfig::default()
        }
    }

    /// Packets given at times in ms as (at, direction, flow); what arrived as (flow, direction,
    /// number, arrival in ms, queueing delay in ms).
    fn run(
        mut network: Dumbbell<usize>,
        packets: &[(u32, Direction, usize)],
        bytes: usize,
    ) -> Vec<(usize, Direction, usize, u128, u128)> {
        let start = Instant::now();
        let mut arrived = Vec::new();
        let mut note = |network: &mut Dumbbell<usize>, now: Instant| {
            while let Some(it) = network.poll_output() {
                let at = (now - start).as_millis();
                arrived.push((it.flow, it.direction, it.packet, at, it.queued.as_millis()));
            }
        };
        for (number, (ms, direction, flow)) in packets.iter().enumerate() {
            let now = start + MS * *ms;
            while let Some(at) = network.poll_timeout().filter(|at| *at <= now) {
                network.handle_timeout(at);
                note(&mut network, at);
            }
            network.handle_packet(now, *direction, *flow, number, bytes);
        }
        while let Some(at) = network.poll_timeout() {
            network.handle_timeout(at);
            note(&mut network, at);
        }
        arrived
    }

    #[test]
    fn flows_wait_for_each_other_and_then_go_their_own_way() {
        let mut network = Dumbbell::new(&[access(10), access(30)], 1);
        network.set_bottleneck(Direction::There, 80_000, MS * 500);
        let packets = [
            (0, Direction::There, 0),
            (0, Direction::There, 1),
            (0, Direction::Back, 0),
        ];
        // 1000 bytes take 100 ms; the way back has no limit.
        assert_eq!(
            run(network, &packets, 1_000),
            [
                (0, Direction::Back, 2, 10, 0),
                (0, Direction::There, 0, 110, 0),
                (1, Direction::There, 1, 230, 100),
            ]
        );
    }

    #[test]
    fn a_full_queue_drops_and_a_new_route_counts_from_the_next_packet() {
        let mut network = Dumbbell::new(&[access(10)], 1);
        network.set_bottleneck(Direction::There, 80_000, MS * 250);
        for _ in 0..4 {
            network.handle_packet(Instant::now(), Direction::There, 0, 0, 1_000);
        }
        let stats = network.bottleneck_stats(Direction::There);
        assert_eq!((stats.sent, stats.overflowed), (4, 2));

        let mut network = Dumbbell::new(&[access(10)], 1);
        network.set_access(0, access(50));
        let arrived = run(network, &[(0, Direction::There, 0)], 100);
        assert_eq!(arrived, [(0, Direction::There, 0, 50, 0)]);
    }
}
