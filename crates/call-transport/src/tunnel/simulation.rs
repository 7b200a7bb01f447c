//! Two endpoints and the laboratory's paths between them, in virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use call_lab::network::{Input, Path, PathConfig};
use call_lab::random::Random;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::endpoint::{Endpoint, Incoming};
use super::frame;

/// Bytes of IP and UDP headers.
const HEADERS: usize = 28;

/// What goes over the path.
#[derive(Clone, Debug)]
enum Packet {
    Tunnel(Vec<u8>),
    /// Of a call that shares the bottleneck, with its time of sending.
    Media(Instant),
}

/// A flow of media through the forward path.
pub(crate) struct Media {
    pub(crate) bytes: usize,
    pub(crate) every: Duration,
    next_at: Instant,
    pub(crate) sent: u64,
    pub(crate) delays: Vec<Duration>,
}

pub(crate) struct Simulation {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) ends: [Endpoint; 2],
    paths: [Path<Packet>; 2],
    addresses: [SocketAddr; 2],
    /// The shell's timers.
    tick: Duration,
    duplicates: f64,
    random: Random,
    /// Next datagram to send and to arrive.
    pub(crate) sent: u64,
    pub(crate) arrived: u64,
    pub(crate) arrived_bytes: u64,
    /// Bytes arrived by tenths of a second.
    pub(crate) by_tenth: BTreeMap<u64, u64>,
    backlog: usize,
    stop_at: u64,
    pub(crate) media: Option<Media>,
    /// How long frames of the tunnel took on the way, beyond the path's own delay.
    pub(crate) queueing: Vec<(Duration, Duration)>,
    pub(crate) own_delay: Duration,
    size: usize,
}

impl Simulation {
    pub(crate) fn new(forward: PathConfig, back: PathConfig, seed: u64) -> Self {
        let start = Instant::now();
        let endpoint = |seed| Endpoint::new(StdRng::seed_from_u64(seed));
        let mut simulation = Self {
            start,
            now: start,
            ends: [endpoint(seed), endpoint(seed + 1)],
            paths: [Path::new(forward, seed), Path::new(back, seed + 7)],
            addresses: [([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into()],
            tick: Duration::from_millis(1),
            duplicates: 0.0,
            random: Random::new(seed),
            sent: 0,
            arrived: 0,
            arrived_bytes: 0,
            by_tenth: BTreeMap::new(),
            backlog: 512 * 1024,
            stop_at: u64::MAX,
            media: None,
            queueing: Vec::new(),
            own_delay: forward.delay,
            size: 1_250,
        };
        // Both ends sent their part of the handshake.
        for end in 0..2 {
            let to = simulation.addresses[1 - end];
            let taken = simulation.ends[end].handle_outgoing(start, to, &[22; 100], None);
            assert!(!taken, "a handshake is not for the tunnel");
        }
        simulation
    }

    pub(crate) fn with_duplicates(mut self, share: f64) -> Self {
        self.duplicates = share;
        self
    }

    pub(crate) fn with_media(mut self, bytes: usize, every: Duration) -> Self {
        self.media = Some(Media {
            bytes,
            every,
            next_at: self.start,
            sent: 0,
            delays: Vec::new(),
        });
        self
    }

    pub(crate) fn set_path(&mut self, direction: usize, config: PathConfig) {
        self.paths[direction].set_config(config);
        if direction == 0 {
            self.own_delay = config.delay;
        }
    }

    pub(crate) fn stop_after(&mut self, datagrams: u64) {
        self.stop_at = datagrams;
    }

    pub(crate) fn after(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Runs until a time, with the sender's queue always filled.
    pub(crate) fn run_until(&mut self, until: Instant) {
        while self.now < until {
            self.feed();
            self.send_media();
            for end in 0..2 {
                self.transmit(end);
            }
            self.advance(until);
        }
    }

    /// Runs until everything arrived or the time is over.
    pub(crate) fn drain_until(&mut self, until: Instant) {
        while self.now < until && self.arrived < self.stop_at {
            let next = (self.now + Duration::from_millis(20)).min(until);
            self.run_until(next);
        }
    }

    fn feed(&mut self) {
        while self.sent < self.stop_at {
            let sender = self.ends[0].active();
            if sender.is_some_and(|sender| sender.unsent_bytes() >= self.backlog) {
                return;
            }
            let is_up = sender.is_some();
            let mut datagram = vec![23; self.size];
            datagram[1..9].copy_from_slice(&self.sent.to_be_bytes());
            let to = self.addresses[1];
            let taken = self.ends[0].handle_outgoing(self.now, to, &datagram, None);
            assert_eq!(taken, is_up);
            if !taken {
                return;
            }
            self.sent += 1;
        }
    }

    fn send_media(&mut self) {
        let Some(media) = &mut self.media else {
            return;
        };
        while media.next_at <= self.now {
            media.sent += 1;
            let packet = Packet::Media(media.next_at);
            let bytes = media.bytes;
            self.paths[0].handle_input(self.now, Input::Packet { packet, bytes });
            media.next_at += media.every;
        }
    }

    fn transmit(&mut self, end: usize) {
        self.ends[end].handle_timeout(self.now);
        let mut frames = 0;
        loop {
            let mut bytes = Vec::new();
            if self.ends[end].poll_transmit(self.now, &mut bytes).is_none() {
                return;
            }
            frames += 1;
            assert!(frames < 100_000, "sends without end");
            let copies = 1 + usize::from(self.random.chance(self.duplicates));
            for _ in 0..copies {
                let length = bytes.len() + HEADERS;
                // The laboratory's path carries what it is given; the time is in front.
                let mut stamped = self.stamp().to_vec();
                stamped.extend_from_slice(&bytes);
                let packet = Packet::Tunnel(stamped);
                let input = Input::Packet {
                    packet,
                    bytes: length,
                };
                self.paths[end].handle_input(self.now, input);
            }
        }
    }

    fn stamp(&self) -> [u8; 8] {
        let micros = (self.now - self.start).as_micros();
        u64::try_from(micros).unwrap().to_be_bytes()
    }

    fn advance(&mut self, until: Instant) {
        let on_tick = |at: Instant| {
            let since = at.saturating_duration_since(self.start).as_micros();
            let tick = self.tick.as_micros();
            self.start + Duration::from_micros(u64::try_from(since.div_ceil(tick) * tick).unwrap())
        };
        let timers = self.ends.iter().filter_map(Endpoint::poll_timeout);
        let next = timers
            .map(|at| on_tick(at.max(self.now + Duration::from_micros(1))))
            .chain(self.paths.iter().filter_map(Path::poll_timeout))
            .chain(self.media.as_ref().map(|media| media.next_at))
            .chain([until, self.now + Duration::from_millis(10)])
            .min();
        self.now = next.unwrap_or(until).max(self.now);
        for direction in 0..2 {
            self.paths[direction].handle_input(self.now, Input::Timeout);
            while let Some((at, packet)) = self.paths[direction].poll_output() {
                self.deliver(1 - direction, at, packet);
            }
        }
    }

    fn deliver(&mut self, end: usize, at: Instant, packet: Packet) {
        let bytes = match packet {
            Packet::Tunnel(bytes) => bytes,
            Packet::Media(sent_at) => {
                if let Some(media) = &mut self.media {
                    media.delays.push(at - sent_at);
                }
                return;
            }
        };
        let (stamp, bytes) = bytes.split_first_chunk::<8>().expect("stamped");
        if end == 1 {
            let sent_at = self.start + Duration::from_micros(u64::from_be_bytes(*stamp));
            let queued = (at - sent_at).saturating_sub(self.own_delay);
            self.queueing.push((at - self.start, queued));
        }
        let from = self.addresses[1 - end];
        let incoming = self.ends[end].handle_incoming(self.now, from, bytes);
        if incoming == Incoming::Next {
            self.take(&bytes[frame::DATA_HEADER_BYTES..]);
            while let Some(datagram) = self.ends[end].poll_released(from) {
                self.take(&datagram);
            }
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        let number = u64::from_be_bytes(datagram[1..9].try_into().expect("eight bytes"));
        assert_eq!(number, self.arrived, "in order, once and without a gap");
        self.arrived += 1;
        self.arrived_bytes += datagram.len() as u64;
        let tenth = (self.now - self.start).as_millis() / 100;
        let tenth = u64::try_from(tenth).unwrap();
        *self.by_tenth.entry(tenth).or_default() += datagram.len() as u64;
    }

    /// Bits per second that arrived between two times, in milliseconds.
    pub(crate) fn rate_bps(&self, from_ms: u64, to_ms: u64) -> f64 {
        let tenths = self.by_tenth.range(from_ms / 100..to_ms / 100);
        let bytes: u64 = tenths.map(|(_, bytes)| bytes).sum();
        bytes as f64 * 8_000.0 / (to_ms - from_ms) as f64
    }

    /// The queueing delay that this share of frames did not exceed from a time on, in milliseconds.
    pub(crate) fn queueing_ms(&self, from_ms: u64, share: f64) -> f64 {
        let from = Duration::from_millis(from_ms);
        let late = self.queueing.iter().filter(|(at, _)| *at >= from);
        let mut delays: Vec<Duration> = late.map(|(_, queued)| *queued).collect();
        delays.sort_unstable();
        let index = ((delays.len() as f64 - 1.0) * share) as usize;
        delays[index].as_secs_f64() * 1e3
    }
}
