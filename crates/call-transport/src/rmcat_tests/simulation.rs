//! Runs a test case in virtual time: senders, receivers and competition over one network.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use call_lab::dumbbell::Dumbbell;
use call_lab::link::Direction;
use call_lab::network::PathConfig;
use call_lab::random::Random;
use call_lab::rmcat::{Case, Tcp};
use call_lab::tcp;

use super::sender::{Kind, Media, Sender};
use crate::loss::{LossDetector, Verdict};

/// Bytes of a NACK on the wire, and of a report without its entries.
const NACK_BYTES: usize = 60;
const FEEDBACK_BYTES: usize = 64;

#[derive(Clone, Debug)]
enum Wire {
    Media(Media),
    Feedback(Vec<(u64, Option<Duration>)>),
    Nack(Vec<u16>),
    Segment(u64),
    Ack(u64),
}

/// The far end of a flow: transport-wide feedback at a fixed rhythm, NACK as they come.
struct Receiver {
    arrivals: BTreeMap<u64, Duration>,
    next: u64,
    feedback_at: Instant,
    losses: LossDetector,
    rtt: Duration,
}

impl Receiver {
    fn handle_media(&mut self, now: Instant, start: Instant, media: Media) -> Option<Vec<u16>> {
        if media.number >= self.next {
            self.arrivals.insert(media.number, now - start);
        }
        let verdict = match media.kind {
            Kind::Sound => return None,
            Kind::Picture(sequence) => self.losses.handle_packet(now, sequence, false),
            Kind::Repeated(sequence) => self.losses.handle_packet(now, sequence, true),
        };
        match verdict {
            Verdict::Gap(lost) => Some(lost),
            _ => None,
        }
    }

    fn feedback(&mut self) -> Option<Vec<(u64, Option<Duration>)>> {
        let last = *self.arrivals.last_key_value()?.0;
        let entries = (self.next..=last).map(|number| (number, self.arrivals.remove(&number)));
        let entries = entries.collect();
        self.next = last + 1;
        Some(entries)
    }
}

struct Competitor {
    sender: tcp::Sender,
    is_short: bool,
    begins_at: Instant,
}

/// What a flow did, each by hundred milliseconds since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// Bits that came through the bottleneck, headers included.
    pub(super) bits: Vec<f64>,
    /// Least queueing delay in milliseconds, if anything arrived.
    pub(super) least_queue_ms: Vec<Option<f64>>,
    /// Target in bits per second.
    pub(super) target_bps: Vec<f64>,
    /// Queueing delay of every packet, in milliseconds.
    pub(super) queue_ms: Vec<f64>,
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) padding_bits: f64,
    /// Longest wait of a packet of pictures before it left.
    pub(super) paced_most_ms: f64,
}

/// What a case came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) flows: Vec<Trace>,
    /// Bits of the competition that arrived, by the same slots.
    pub(super) tcp_bits: Vec<f64>,
}

struct Simulation<'a> {
    case: &'a Case,
    start: Instant,
    now: Instant,
    network: Dumbbell<Wire>,
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    competitors: Vec<Competitor>,
    random: Random,
    feedback_every: Duration,
    run: Run,
    slot: u64,
}

/// Of the length of the traces' slots.
pub(super) const SLOT: Duration = Duration::from_millis(100);

pub(super) fn run(case: &Case, feedback_every: Duration, seed: u64) -> Run {
    let start = Instant::now();
    let competitors = match case.tcp {
        Tcp::None => 0,
        Tcp::Long => 1,
        Tcp::Short(count) => count,
    };
    let mut access: Vec<PathConfig> = (0..case.flows.len())
        .map(|flow| case.access(flow, 0))
        .collect();
    let tcp_access = PathConfig {
        delay: Duration::from_millis(50),
        ..PathConfig::default()
    };
    access.extend(std::iter::repeat_n(tcp_access, competitors));
    let at = |second: u32| start + Duration::from_secs(second.into());
    let sender = |(index, flow): (u64, &call_lab::rmcat::Flow)| {
        Sender::new(at(flow.seconds.0), seed * 100 + index, flow.most_bps)
    };
    let receiver = |flow: &call_lab::rmcat::Flow| Receiver {
        arrivals: BTreeMap::new(),
        next: 0,
        feedback_at: at(flow.seconds.0) + feedback_every,
        losses: LossDetector::default(),
        rtt: flow.delay * 2,
    };
    let is_short = matches!(case.tcp, Tcp::Short(_));
    let mut simulation = Simulation {
        case,
        start,
        now: start,
        network: Dumbbell::new(&access, seed),
        senders: (0..).zip(&case.flows).map(sender).collect(),
        receivers: case.flows.iter().map(receiver).collect(),
        competitors: Vec::new(),
        random: Random::new(seed ^ 0xabcd),
        feedback_every,
        run: Run {
            flows: vec![Trace::default(); case.flows.len()],
            tcp_bits: Vec::new(),
        },
        slot: 0,
    };
    for _ in 0..competitors {
        let competitor = simulation.competitor(is_short);
        simulation.competitors.push(competitor);
    }
    simulation.open_slot();
    simulation.set_second(0);
    simulation.run();
    simulation.run
}

impl Simulation<'_> {
    fn competitor(&mut self, is_short: bool) -> Competitor {
        if !is_short {
            return Competitor {
                sender: tcp::Sender::new(None),
                is_short,
                begins_at: self.now,
            };
        }
        let pause_s = -10.0 * (1.0 - self.random.unit()).ln();
        let bytes = self.random.between(30_000.0, 50_000.0) as u64;
        Competitor {
            sender: tcp::Sender::new(Some(bytes)),
            is_short,
            begins_at: self.now + Duration::from_secs_f64(pause_s),
        }
    }

    fn run(&mut self) {
        let end = self.start + Duration::from_secs(self.case.seconds.into());
        while self.now < end {
            let next = self.next_event();
            self.now = next;
            self.network.handle_timeout(next);
            self.deliver();
            self.act();
            while self.start + SLOT * (self.slot as u32 + 1) <= self.now {
                self.close_slot();
            }
        }
        for (trace, sender) in self.run.flows.iter_mut().zip(&self.senders) {
            trace.paced_most_ms = sender.paced_most.as_secs_f64() * 1e3;
        }
    }

    fn next_event(&mut self) -> Instant {
        let slot_end = self.start + SLOT * (self.slot as u32 + 1);
        let senders = self.senders.iter_mut().map(Sender::poll_timeout);
        let receivers = self.receivers.iter().flat_map(|receiver| {
            [
                Some(receiver.feedback_at),
                receiver.losses.poll_timeout(receiver.rtt),
            ]
        });
        let competitors = self.competitors.iter().map(|competitor| {
            let idle = Some(competitor.begins_at).filter(|at| *at > self.now);
            idle.or(competitor.sender.poll_timeout())
        });
        let network = self.network.poll_timeout();
        senders
            .map(Some)
            .chain(receivers)
            .chain(competitors)
            .chain([network, Some(slot_end)])
            .flatten()
            .min()
            .map_or(slot_end, |at| at.max(self.now))
    }

    fn close_slot(&mut self) {
        self.slot += 1;
        self.open_slot();
        for (trace, sender) in self.run.flows.iter_mut().zip(&self.senders) {
            trace.target_bps.push(sender.target_bps() as f64);
        }
        if self.slot.is_multiple_of(10) {
            self.set_second((self.slot / 10) as u32);
        }
    }

    fn open_slot(&mut self) {
        let slots = self.slot as usize + 1;
        self.run.tcp_bits.resize(slots, 0.0);
        for trace in &mut self.run.flows {
            trace.bits.resize(slots, 0.0);
            trace.least_queue_ms.resize(slots, None);
        }
    }

    fn set_second(&mut self, second: u32) {
        for direction in Direction::BOTH {
            let rate_bps = self.case.capacity_bps(direction, second);
            self.network
                .set_bottleneck(direction, rate_bps, self.case.queue);
        }
        let flows = self.case.flows.iter().enumerate();
        for (index, flow) in flows {
            let pause = flow.pause.unwrap_or_default();
            self.senders[index].is_paused = (pause.0..pause.1).contains(&second);
            if self.case.reroute.is_some_and(|it| it.second == second) {
                let access = self.case.access(index, second);
                self.network.set_access(index, access);
            }
        }
    }

    fn way(&self, flow: usize) -> (Direction, Direction) {
        let there = self
            .case
            .flows
            .get(flow)
            .map_or(Direction::There, |flow| flow.direction);
        match there {
            Direction::There => (Direction::There, Direction::Back),
            Direction::Back => (Direction::Back, Direction::There),
        }
    }

    fn send_back(&mut self, flow: usize, packet: Wire, bytes: usize) {
        let (_, back) = self.way(flow);
        self.network
            .handle_packet(self.now, back, flow, packet, bytes);
    }

    fn deliver(&mut self) {
        while let Some(delivered) = self.network.poll_output() {
            let flow = delivered.flow;
            match delivered.packet {
                Wire::Media(media) => {
                    self.note(flow, media, delivered.queued);
                    let nack = self.receivers[flow].handle_media(self.now, self.start, media);
                    if let Some(lost) = nack {
                        self.send_back(flow, Wire::Nack(lost), NACK_BYTES);
                    }
                }
                Wire::Feedback(entries) => self.senders[flow].handle_feedback(self.now, &entries),
                Wire::Nack(lost) => self.senders[flow].handle_nack(self.now, &lost),
                Wire::Segment(number) => {
                    self.run.tcp_bits[self.slot as usize] += tcp::SEGMENT_BYTES as f64 * 8.0;
                    self.send_back(flow, Wire::Ack(number), tcp::ACK_BYTES);
                }
                Wire::Ack(number) => {
                    let index = flow - self.senders.len();
                    self.competitors[index].sender.handle_ack(self.now, number);
                }
            }
        }
    }

    fn note(&mut self, flow: usize, media: Media, queued: Duration) {
        let slot = self.slot as usize;
        let trace = &mut self.run.flows[flow];
        let (bits, queue_ms) = (media.bytes as f64 * 8.0, queued.as_secs_f64() * 1e3);
        trace.arrived += 1;
        trace.bits[slot] += bits;
        if media.kind == Kind::Repeated(u16::MAX) {
            trace.padding_bits += bits;
        }
        trace.queue_ms.push(queue_ms);
        let least = &mut trace.least_queue_ms[slot];
        *least = Some(least.map_or(queue_ms, |least| least.min(queue_ms)));
    }

    fn act(&mut self) {
        let now = self.now;
        for flow in 0..self.senders.len() {
            let last = self.case.flows[flow].seconds.1;
            let is_over = now >= self.start + Duration::from_secs(last.into());
            self.senders[flow].handle_timeout(now);
            let (there, _) = self.way(flow);
            while let Some(media) = self.senders[flow].poll_transmit() {
                if is_over {
                    continue;
                }
                self.run.flows[flow].sent += 1;
                let bytes = media.bytes;
                self.network
                    .handle_packet(now, there, flow, Wire::Media(media), bytes);
            }
            let receiver = &mut self.receivers[flow];
            let again = receiver.losses.handle_timeout(now, receiver.rtt).again;
            let is_due = now >= receiver.feedback_at;
            let feedback = if is_due { receiver.feedback() } else { None };
            if is_due {
                receiver.feedback_at += self.feedback_every;
            }
            if !again.is_empty() {
                self.send_back(flow, Wire::Nack(again), NACK_BYTES);
            }
            if let Some(entries) = feedback {
                let bytes = FEEDBACK_BYTES + entries.len() * 2;
                self.send_back(flow, Wire::Feedback(entries), bytes);
            }
        }
        for index in 0..self.competitors.len() {
            self.compete(index);
        }
    }

    fn compete(&mut self, index: usize) {
        if self.competitors[index].sender.is_done() {
            self.competitors[index] = self.competitor(self.competitors[index].is_short);
        }
        let competitor = &mut self.competitors[index];
        if self.now < competitor.begins_at {
            return;
        }
        competitor.sender.handle_timeout(self.now);
        let flow = self.senders.len() + index;
        while let Some(number) = competitor.sender.poll_transmit(self.now) {
            let segment = Wire::Segment(number);
            self.network.handle_packet(
                self.now,
                Direction::There,
                flow,
                segment,
                tcp::SEGMENT_BYTES,
            );
        }
    }
}
