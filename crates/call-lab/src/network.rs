//! One direction of a network path.
//!
//! ```text
//! packet -> loss -> queue (rate limit) -> delay + jitter -> delivered
//! ```
//!
//! After the pure crates' contract: [`Path::handle_input`], then drain [`Path::poll_output`], then
//! [`Path::poll_timeout`] says when to come again.
//!
//! Invariants: what is delivered was sent, at most once, and never before it was sent; without
//! reordering, in the order sent; the same seed and inputs give the same outputs. The queue drops
//! the newest packet when it is full (drop-tail).
//!
//! Deliberately not here: the way back (use a second path), duplication, corruption.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::random::Random;

/// Which packets get lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each by itself, with this probability in 0.0..=1.0.
    Random(f64),
    /// In bursts: a Markov chain of a good state, which loses nothing, and a bad one
    /// (Gilbert–Elliott). All are probabilities per packet in 0.0..=1.0.
    Bursts {
        /// From the good to the bad state.
        enter: f64,
        /// From the bad to the good state; a burst lasts 1/`leave` packets on average.
        leave: f64,
        /// Loss in the bad state.
        loss: f64,
    },
}

impl Loss {
    /// Bursts that lose everything, `length` packets long on average (at least 1), and `ratio` of
    /// all packets in 0.0..1.0.
    pub fn bursts(ratio: f64, length: f64) -> Self {
        let leave = 1.0 / length.max(1.0);
        Self::Bursts {
            enter: leave * ratio / (1.0 - ratio),
            leave,
            loss: 1.0,
        }
    }
}

/// How the delay varies from packet to packet. No packet is faster than light: the sum of delay
/// and jitter is never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Jitter {
    /// Not at all.
    #[default]
    None,
    /// Uniformly within plus or minus this much.
    Uniform(Duration),
    /// Normally with this deviation.
    Normal(Duration),
    /// Normally with this deviation, cut at three of it (RFC 8868, section 4.5.2).
    Bounded(Duration),
}

/// What a path is like. The default is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathConfig {
    /// Which packets get lost.
    pub loss: Loss,
    /// Propagation delay.
    pub delay: Duration,
    /// Variation of the delay.
    pub jitter: Jitter,
    /// Whether jitter may let packets overtake each other. Without, a packet waits for its
    /// predecessors.
    pub reorders: bool,
    /// Capacity in bit/s; `None` is unlimited.
    pub rate_bps: Option<u64>,
    /// Bytes that may wait for the rate limit; a packet that exceeds them is dropped. 0 lets
    /// nothing wait: use a few packets at least.
    pub queue_bytes: usize,
}

/// What a path takes.
#[derive(Clone, Debug)]
pub enum Input<P> {
    /// A packet of this many bytes on the wire.
    Packet {
        /// Anything; it comes out as it went in.
        packet: P,
        /// Bytes, for the rate limit.
        bytes: usize,
    },
    /// The time that [`Path::poll_timeout`] asked for has come.
    Timeout,
}

/// What happened to the packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathStats {
    /// Packets given to the path.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets lost by chance.
    pub lost: u64,
    /// Packets dropped because the queue was full.
    pub overflowed: u64,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Path<P> {
    config: PathConfig,
    random: Random,
    is_bad: bool,
    now: Option<Instant>,
    /// When the rate limit has transmitted everything queued.
    free_at: Option<Instant>,
    last_delivery: Option<Instant>,
    /// By time of delivery, then by order of sending.
    under_way: BTreeMap<(Instant, u64), P>,
    stats: PathStats,
}

impl<P> Path<P> {
    /// An empty path.
    pub fn new(config: PathConfig, seed: u64) -> Self {
        Self {
            config,
            random: Random::new(seed),
            is_bad: false,
            now: None,
            free_at: None,
            last_delivery: None,
            under_way: BTreeMap::new(),
            stats: PathStats::default(),
        }
    }

    /// Changes the path from the next packet on: a new route.
    pub fn set_config(&mut self, config: PathConfig) {
        self.config = config;
    }

    /// Takes a packet or the time. `now` never goes back.
    pub fn handle_input(&mut self, now: Instant, input: Input<P>) {
        self.now = Some(now);
        let Input::Packet { packet, bytes } = input else {
            return;
        };
        let number = self.stats.sent;
        self.stats.sent += 1;
        self.stats.sent_bytes += bytes as u64;
        if self.is_lost() {
            self.stats.lost += 1;
            return;
        }
        let Some(transmitted) = self.transmit(now, bytes) else {
            self.stats.overflowed += 1;
            return;
        };
        let mut at = transmitted + self.travel();
        if !self.config.reorders {
            at = self.last_delivery.map_or(at, |last| at.max(last));
        }
        self.last_delivery = self.last_delivery.max(Some(at));
        self.under_way.insert((at, number), packet);
    }

    /// The next packet that has arrived by the time of the last input, and when it did.
    pub fn poll_output(&mut self) -> Option<(Instant, P)> {
        let ((at, _), _) = self.under_way.first_key_value()?;
        if Some(*at) > self.now {
            return None;
        }
        let ((at, _), packet) = self.under_way.pop_first()?;
        Some((at, packet))
    }

    /// When the next packet arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// Counters.
    pub fn stats(&self) -> PathStats {
        self.stats
    }

    fn is_lost(&mut self) -> bool {
        match self.config.loss {
            Loss::None => false,
            Loss::Random(ratio) => self.random.chance(ratio),
            Loss::Bursts { enter, leave, loss } => {
                let change = if self.is_bad { leave } else { enter };
                if self.random.chance(change) {
                    self.is_bad = !self.is_bad;
                }
                self.is_bad && self.random.chance(loss)
            }
        }
    }

    /// When the last bit has left the queue; `None` if the queue is full.
    fn transmit(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate_bps) = self.config.rate_bps.filter(|rate| *rate > 0) else {
            return Some(now);
        };
        let time = |bytes: usize| Duration::from_nanos(bytes as u64 * 8_000_000_000 / rate_bps);
        let begins = self.free_at.map_or(now, |free| free.max(now));
        let waiting = begins - now;
        if waiting + time(bytes) > time(self.config.queue_bytes) {
            return None;
        }
        self.free_at = Some(begins + time(bytes));
        self.free_at
    }

    fn travel(&mut self) -> Duration {
        let offset_s = match self.config.jitter {
            Jitter::None => 0.0,
            Jitter::Uniform(most) => self.random.between(-1.0, 1.0) * most.as_secs_f64(),
            Jitter::Normal(deviation) => self.random.normal() * deviation.as_secs_f64(),
            Jitter::Bounded(deviation) => {
                self.random.normal().clamp(-3.0, 3.0) * deviation.as_secs_f64()
            }
        };
        Duration::from_secs_f64((self.config.delay.as_secs_f64() + offset_s).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends a packet of 100 bytes every 20 ms; returns number, sending and arrival time in ms.
    fn run(config: PathConfig, seed: u64, packets: u64) -> (Vec<(u64, f64, f64)>, PathStats) {
        let start = Instant::now();
        let mut path = Path::new(config, seed);
        let mut arrived = Vec::new();
        let mut note = |path: &mut Path<u64>| {
            while let Some((at, n)) = path.poll_output() {
                let ms = (at - start).as_secs_f64() * 1_000.0;
                arrived.push((n, n as f64 * 20.0, ms));
            }
        };
        for n in 0..packets {
            let now = start + MS * (n * 20) as u32;
            while let Some(at) = path.poll_timeout().filter(|at| *at <= now) {
                path.handle_input(at, Input::Timeout);
                note(&mut path);
            }
            path.handle_input(
                now,
                Input::Packet {
                    packet: n,
                    bytes: 100,
                },
            );
            note(&mut path);
        }
        while let Some(at) = path.poll_timeout() {
            path.handle_input(at, Input::Timeout);
            note(&mut path);
        }
        (arrived, path.stats())
    }

    #[test]
    fn a_perfect_path_delivers_everything_at_once_and_a_delay_shifts_it() {
        for delay_ms in [0, 50] {
            let config = PathConfig {
                delay: MS * delay_ms,
                ..PathConfig::default()
            };
            let (arrived, stats) = run(config, 1, 100);
            assert_eq!(arrived.len(), 100);
            assert!(
                arrived
                    .iter()
                    .all(|(_, sent, at)| (at - sent - f64::from(delay_ms)).abs() < 1e-6)
            );
            assert_eq!((stats.sent, stats.lost, stats.overflowed), (100, 0, 0));
        }
    }

    #[test]
    fn loss_has_its_ratio_and_bursts_their_length() {
        for (loss, bursts) in [
            (Loss::Random(0.1), 1.0..1.2),
            (Loss::bursts(0.1, 4.0), 3.5..4.5),
        ] {
            let config = PathConfig {
                loss,
                ..PathConfig::default()
            };
            let (arrived, stats) = run(config, 5, 50_000);
            let ratio = stats.lost as f64 / 50_000.0;
            assert!((0.09..0.11).contains(&ratio), "{loss:?}: {ratio}");
            let holes = arrived
                .windows(2)
                .filter(|pair| pair[1].0 != pair[0].0 + 1)
                .count();
            let length = stats.lost as f64 / holes as f64;
            assert!(bursts.contains(&length), "{loss:?}: {length}");
        }
    }

    #[test]
    fn jitter_spreads_within_its_bounds_and_reorders_only_if_it_may() {
        for reorders in [false, true] {
            let config = PathConfig {
                delay: MS * 60,
                jitter: Jitter::Uniform(MS * 50),
                reorders,
                ..PathConfig::default()
            };
            let (arrived, _) = run(config, 3, 2_000);
            let delays: Vec<f64> = arrived.iter().map(|(_, sent, at)| at - sent).collect();
            let (least, most) = delays.iter().fold((f64::MAX, 0.0f64), |(least, most), d| {
                (least.min(*d), most.max(*d))
            });
            assert!((10.0..15.0).contains(&least) && (105.0..=110.0).contains(&most));
            let in_order = arrived.windows(2).all(|pair| pair[0].0 < pair[1].0);
            assert_eq!(in_order, !reorders);
        }
    }

    #[test]
    fn normal_jitter_is_never_faster_than_no_delay() {
        let config = PathConfig {
            delay: MS * 10,
            jitter: Jitter::Normal(MS * 30),
            reorders: true,
            ..PathConfig::default()
        };
        let (arrived, _) = run(config, 9, 1_000);
        assert!(arrived.iter().all(|(_, sent, at)| at - sent > -1e-6));
    }

    #[test]
    fn bounded_jitter_ends_at_three_deviations() {
        let config = PathConfig {
            delay: MS * 50,
            jitter: Jitter::Bounded(MS * 5),
            reorders: true,
            ..PathConfig::default()
        };
        let (arrived, _) = run(config, 9, 20_000);
        let within = |at: f64, sent: f64| (34.99..65.01).contains(&(at - sent));
        assert!(arrived.iter().all(|(_, sent, at)| within(*at, *sent)));
        let beyond_one = arrived.iter().filter(|(_, sent, at)| at - sent > 55.0);
        let share = beyond_one.count() as f64 / 20_000.0;
        assert!((0.14..0.18).contains(&share), "{share}");
    }

    #[test]
    fn a_rate_limit_queues_up_to_its_bytes_and_drops_the_rest() {
        // 100 bytes every 20 ms are 40 kbit/s; half of that passes.
        let config = PathConfig {
            rate_bps: Some(20_000),
            queue_bytes: 1_000,
            ..PathConfig::default()
        };
        let (arrived, stats) = run(config, 1, 1_000);
        let ratio = arrived.len() as f64 / 1_000.0;
        assert!((0.49..0.52).contains(&ratio), "{ratio}");
        assert_eq!(stats.overflowed as usize + arrived.len(), 1_000);
        let latest = arrived
            .iter()
            .map(|(_, sent, at)| at - sent)
            .fold(0.0, f64::max);
        assert!((360.0..400.1).contains(&latest), "{latest}");
    }

    #[test]
    fn a_seed_repeats_itself_and_another_differs() {
        let config = PathConfig {
            loss: Loss::Random(0.2),
            jitter: Jitter::Uniform(MS * 10),
            delay: MS * 20,
            ..PathConfig::default()
        };
        assert_eq!(run(config, 4, 500), run(config, 4, 500));
        assert_ne!(run(config, 4, 500).0, run(config, 5, 500).0);
    }

    #[test]
    fn a_new_route_takes_effect_from_the_next_packet_on() {
        let start = Instant::now();
        let mut path = Path::new(PathConfig::default(), 1);
        path.handle_input(
            start,
            Input::Packet {
                packet: 1,
                bytes: 1,
            },
        );
        assert_eq!(path.poll_output(), Some((start, 1)));
        path.set_config(PathConfig {
            delay: MS * 100,
            ..PathConfig::default()
        });
        path.handle_input(
            start,
            Input::Packet {
                packet: 2,
                bytes: 1,
            },
        );
        assert_eq!(path.poll_output(), None);
        assert_eq!(path.poll_timeout(), Some(start + MS * 100));
    }
}
