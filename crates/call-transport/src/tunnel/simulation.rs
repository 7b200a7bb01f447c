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
    /// Of a call that shares the bottleneck, by its place in `Media::packets`.
    Media(usize),
}

/// Packets of media of which the call's sender has heard: sent and, unless lost, arrived.
pub(crate) type Report = (Instant, Option<Instant>);
/// Given the time and what was heard since the last time, the call's rate in bits per second.
pub(crate) type Encoder = Box<dyn FnMut(Instant, &[Report]) -> f64>;

/// Bytes of a packet of media.
pub(crate) const MEDIA_BYTES: usize = 1_200;

/// A flow of media through the forward path.
pub(crate) struct Media {
    encoder: Encoder,
    rate_bps: f64,
    next_at: Instant,
    report_at: Instant,
    pub(crate) packets: Vec<Report>,
    reported: usize,
}

impl Media {
    /// What the sender hears every 50 ms.
    fn report(&mut self, now: Instant, way_back: Duration) {
        if now < self.report_at {
            return;
        }
        self.report_at += Duration::from_millis(50);
        let is_heard = |packet: &Report| packet.1.is_some_and(|at| at + way_back <= now);
        let heard = self.packets.iter().rposition(is_heard);
        let end = heard.map_or(self.reported, |last| last + 1);
        let fresh = &self.packets[self.reported.min(end)..end];
        self.rate_bps = (self.encoder)(now, fresh);
        self.reported = self.reported.max(end);
    }
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
    /// Whether the receiving machine stands still now and then, and the application begins slowly.
    is_busy: bool,
    still_until: Instant,
    random: Random,
    /// Next datagram to send and to arrive.
    pub(crate) sent: u64,
    pub(crate) arrived: u64,
    pub(crate) arrived_bytes: u64,
    /// Bytes arrived by tenths of a second.
    pub(crate) by_tenth: BTreeMap<u64, u64>,
    backlog: usize,
    stop_at: u64,
    begin_at: Instant,
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
            is_busy: false,
            still_until: start,
            random: Random::new(seed),
            sent: 0,
            arrived: 0,
            arrived_bytes: 0,
            by_tenth: BTreeMap::new(),
            backlog: 512 * 1024,
            stop_at: u64::MAX,
            begin_at: start,
            media: None,
            queueing: Vec::new(),
            own_delay: forward.delay,
            size: frame::PIECE_BYTES,
        };
        // Both ends sent their part of the handshake.
        for end in 0..2 {
            let to = simulation.addresses[1 - end];
            let taken = simulation.ends[end].handle_outgoing(start, to, &[22; 100], None);
            assert!(!taken, "a handshake is not for the tunnel");
        }
        simulation
    }

    pub(crate) fn with_datagrams_of(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    pub(crate) fn with_duplicates(mut self, share: f64) -> Self {
        self.duplicates = share;
        self
    }

    /// A receiver that does not run for 4 to 12 ms some ten times a second, and above the sender
    /// something that doubles what it has under way each round trip, as SCTP does.
    pub(crate) fn with_busy_ends(mut self) -> Self {
        self.is_busy = true;
        self
    }

    pub(crate) fn with_media(mut self, encoder: Encoder) -> Self {
        self.media = Some(Media {
            encoder,
            rate_bps: 1e6,
            next_at: self.start,
            report_at: self.start,
            packets: Vec::new(),
            reported: 0,
        });
        self
    }

    pub(crate) fn set_path(&mut self, direction: usize, config: PathConfig) {
        self.paths[direction].set_config(config);
        if direction == 0 {
            self.own_delay = config.delay;
        }
    }

    pub(crate) fn begin_at(&mut self, ms: u64) {
        self.begin_at = self.after(ms);
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
        if self.now < self.begin_at {
            return;
        }
        while self.sent < self.stop_at {
            if self.is_busy && self.sent - self.arrived > 4 + self.arrived {
                return;
            }
            let sender = self.ends[0].active();
            if sender.is_some_and(|sender| sender.unsent_bytes() >= self.backlog) {
                return;
            }
            let is_up = sender.is_some();
            // SCTP sends no more before it hears from the other end.
            if !is_up && self.sent == 4 {
                return;
            }
            let mut datagram = vec![23; self.size];
            datagram[1..9].copy_from_slice(&self.sent.to_be_bytes());
            let to = self.addresses[1];
            let taken = self.ends[0].handle_outgoing(self.now, to, &datagram, None);
            let is_large = self.size > frame::PIECE_BYTES;
            assert_eq!(taken, is_up || is_large);
            self.sent += u64::from(taken);
            if !is_up {
                return;
            }
        }
    }

    fn send_media(&mut self) {
        let Some(media) = &mut self.media else {
            return;
        };
        media.report(self.now, self.own_delay);
        while media.next_at <= self.now {
            let packet = Packet::Media(media.packets.len());
            media.packets.push((self.now, None));
            let bytes = MEDIA_BYTES;
            self.paths[0].handle_input(self.now, Input::Packet { packet, bytes });
            media.next_at += Duration::from_secs_f64(bytes as f64 * 8.0 / media.rate_bps);
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
            .chain(
                self.paths[0]
                    .poll_timeout()
                    .map(|at| at.max(self.still_until)),
            )
            .chain(self.paths[1].poll_timeout())
            .chain(self.media.as_ref().map(|media| media.next_at))
            .chain([until, self.now + Duration::from_millis(10)])
            .min();
        self.now = next.unwrap_or(until).max(self.now);
        if self.is_busy && self.now >= self.still_until && self.random.chance(0.01) {
            let lasts_ms = 4.0 + 8.0 * self.random.unit();
            self.still_until = self.now + Duration::from_secs_f64(lasts_ms / 1e3);
        }
        for direction in 0..2 {
            self.paths[direction].handle_input(self.now, Input::Timeout);
            if direction == 0 && self.now < self.still_until {
                continue;
            }
            while let Some((at, packet)) = self.paths[direction].poll_output() {
                self.deliver(1 - direction, at, packet);
            }
        }
    }

    fn deliver(&mut self, end: usize, at: Instant, packet: Packet) {
        let bytes = match packet {
            Packet::Tunnel(bytes) => bytes,
            Packet::Media(place) => {
                if let Some(media) = &mut self.media {
                    media.packets[place].1 = Some(at);
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
        let incoming = self.ends[end].handle_incoming(self.now, self.now, from, bytes);
        if incoming == Incoming::Next {
            self.take(&bytes[frame::DATA_HEADER_BYTES..]);
        }
        if matches!(incoming, Incoming::Next | Incoming::Joined) {
            while let Some(datagram) = self.ends[end].poll_released(from) {
                self.take(&datagram);
            }
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        let number = u64::from_be_bytes(datagram[1..9].try_into().expect("eight bytes"));
        assert_eq!(number, self.arrived, "in order, once and without a gap");
        assert_eq!(datagram.len(), self.size, "whole");
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

    /// Of a call's packets sent between two times, in milliseconds: bits per second that arrived, how
    /// many were lost, and the queueing delays in order.
    pub(crate) fn media(&self, from_ms: u64, to_ms: u64) -> (f64, usize, Vec<f64>) {
        let media = self.media.as_ref().expect("a call");
        let times = self.after(from_ms)..self.after(to_ms);
        let sent = media.packets.iter().filter(|(at, _)| times.contains(at));
        let queued = |(sent, arrived): &Report| {
            let queued = (*arrived)?.saturating_duration_since(*sent + self.own_delay);
            Some(queued.as_secs_f64() * 1e3)
        };
        let all = sent.clone().count();
        let mut delays: Vec<f64> = sent.filter_map(queued).collect();
        delays.sort_by(f64::total_cmp);
        let bits = delays.len() * MEDIA_BYTES * 8;
        let rate = bits as f64 * 1e3 / (to_ms - from_ms) as f64;
        (rate, all - delays.len(), delays)
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
