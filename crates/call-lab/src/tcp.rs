//! A loss-based flow for competition: the sender of a TCP connection after Reno (RFC 5681) with
//! selective acknowledgements, as it is needed to fill a queue and to share it.
//!
//! States: slow start until `ssthresh`, then congestion avoidance; one halving per round trip with
//! losses; after a timeout back to one segment.
//!
//! After the pure crates' contract: [`Sender::handle_ack`] and [`Sender::handle_timeout`], then
//! drain [`Sender::poll_transmit`]; [`Sender::poll_timeout`] says when to come again. The receiver
//! acknowledges each segment by itself with its number.
//!
//! Deliberately not here: handshakes, delayed acknowledgements, flow control, contents.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bytes of a full segment on the wire.
pub const SEGMENT_BYTES: usize = 1_500;
/// Bytes of an acknowledgement on the wire.
pub const ACK_BYTES: usize = 40;
/// Segments at first (RFC 6928).
const INITIAL_WINDOW: f64 = 10.0;
/// Later segments that arrived before one counts as lost (RFC 5681: the third duplicate).
const REORDERING: u64 = 3;
/// RFC 6298, section 2.4.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Sender {
    /// Segments not yet sent for the first time; `None` never ends.
    left: Option<u64>,
    next: u64,
    outstanding: BTreeMap<u64, Instant>,
    to_repeat: u64,
    window: f64,
    threshold: f64,
    recovering_since: Option<Instant>,
    heard_at: Option<Instant>,
    smoothed_rtt: Option<Duration>,
}

impl Sender {
    /// A flow of this many bytes, or without end.
    pub fn new(bytes: Option<u64>) -> Self {
        Self {
            left: bytes.map(|bytes| bytes.div_ceil(SEGMENT_BYTES as u64)),
            next: 0,
            outstanding: BTreeMap::new(),
            to_repeat: 0,
            window: INITIAL_WINDOW,
            threshold: f64::MAX,
            recovering_since: None,
            heard_at: None,
            smoothed_rtt: None,
        }
    }

    /// Whether everything arrived.
    pub fn is_done(&self) -> bool {
        self.left == Some(0) && self.to_repeat == 0 && self.outstanding.is_empty()
    }

    /// Segments that may be under way.
    pub fn window(&self) -> f64 {
        self.window
    }

    /// A segment arrived.
    pub fn handle_ack(&mut self, now: Instant, number: u64) {
        let Some(sent_at) = self.outstanding.remove(&number) else {
            return;
        };
        self.heard_at = Some(now);
        let rtt = now.saturating_duration_since(sent_at);
        let smoothed = self
            .smoothed_rtt
            .map_or(rtt, |smoothed| smoothed * 7 / 8 + rtt / 8);
        self.smoothed_rtt = Some(smoothed);
        self.window += if self.window < self.threshold {
            1.0
        } else {
            1.0 / self.window
        };
        while let Some((&oldest, &sent_at)) = self.outstanding.first_key_value() {
            if oldest + REORDERING > number {
                break;
            }
            self.outstanding.remove(&oldest);
            self.to_repeat += 1;
            if self.recovering_since.is_none_or(|since| sent_at >= since) {
                self.threshold = (self.window / 2.0).max(2.0);
                self.window = self.threshold;
                self.recovering_since = Some(now);
            }
        }
    }

    /// Takes the time: after silence everything under way counts as lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        self.to_repeat += self.outstanding.len() as u64;
        self.outstanding.clear();
        self.threshold = (self.window / 2.0).max(2.0);
        self.window = 1.0;
        self.recovering_since = Some(now);
        self.heard_at = Some(now);
    }

    /// The number of the next segment to send. A repeated one gets a new number, so that its
    /// round trip is unambiguous.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<u64> {
        if self.outstanding.len() as f64 >= self.window.floor() {
            return None;
        }
        if self.to_repeat > 0 {
            self.to_repeat -= 1;
        } else {
            let left = self.left.as_mut();
            if let Some(left) = left {
                *left = left.checked_sub(1)?;
            }
        }
        self.heard_at.get_or_insert(now);
        let number = self.next;
        self.next += 1;
        self.outstanding.insert(number, now);
        Some(number)
    }

    /// When silence has lasted too long.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let heard_at = self.heard_at.filter(|_| !self.outstanding.is_empty())?;
        let patience = self.smoothed_rtt.map_or(TIMEOUT_MIN, |rtt| rtt * 3);
        Some(heard_at + patience.max(TIMEOUT_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Input, Path, PathConfig};

    const MS: Duration = Duration::from_millis(1);

    /// Runs a flow over a path; returns what arrived in each second, and the greatest window.
    fn run(bytes: Option<u64>, config: PathConfig, seconds: u32) -> (Vec<u64>, f64, Sender) {
        let start = Instant::now();
        let mut sender = Sender::new(bytes);
        let mut path = Path::new(config, 1);
        let mut acks = Path::new(
            PathConfig {
                delay: config.delay,
                ..PathConfig::default()
            },
            1,
        );
        let mut arrived = vec![0; seconds as usize];
        let (mut now, mut most) = (start, 0.0_f64);
        while now < start + MS * 1_000 * seconds {
            path.handle_input(now, Input::Timeout);
            while let Some((at, number)) = path.poll_output() {
                arrived[(at - start).as_secs() as usize] += SEGMENT_BYTES as u64;
                let ack = Input::Packet {
                    packet: number,
                    bytes: ACK_BYTES,
                };
                acks.handle_input(at, ack);
            }
            acks.handle_input(now, Input::Timeout);
            while let Some((at, number)) = acks.poll_output() {
                sender.handle_ack(at, number);
            }
            sender.handle_timeout(now);
            most = most.max(sender.window());
            while let Some(packet) = sender.poll_transmit(now) {
                let bytes = SEGMENT_BYTES;
                path.handle_input(now, Input::Packet { packet, bytes });
            }
            now += MS;
        }
        (arrived, most, sender)
    }

    fn bottleneck(queue_bytes: usize) -> PathConfig {
        PathConfig {
            delay: MS * 50,
            rate_bps: Some(2_000_000),
            queue_bytes,
            ..PathConfig::default()
        }
    }

    #[test]
    fn it_fills_the_bottleneck_and_halves_at_its_losses() {
        let (arrived, most, sender) = run(None, bottleneck(75_000), 60);
        let steady: u64 = arrived[20..].iter().sum();
        assert!(steady as f64 * 8.0 / 40.0 > 1.8e6, "{steady}");
        // 75 000 bytes of queue and 25 000 under way.
        assert!((66.0..140.0).contains(&most), "{most}");
        assert!(sender.window() < most);
    }

    #[test]
    fn it_ends_and_gets_over_a_path_that_is_cut() {
        let (arrived, _, sender) = run(Some(45_000), bottleneck(75_000), 3);
        assert!(sender.is_done());
        assert_eq!(arrived.iter().sum::<u64>(), 45_000);
        let (arrived, ..) = run(Some(45_000), bottleneck(1_600), 60);
        assert_eq!(arrived.iter().sum::<u64>(), 45_000, "repeated until there");
    }
}
