//! The sending end of one tunnel: numbers datagrams and pieces of large ones, paces them, and repeats
//! what got lost. Below, a piece is a datagram like any other.
//!
//! Every transmission is a packet with a number of its own, so that an acknowledgement is never
//! ambiguous (as in QUIC, RFC 9002). Loss is detected by time (RACK, RFC 8985): a packet is lost
//! when one sent later by more than the reordering window has arrived. After silence the oldest is
//! sent again as a probe; while it lasts, nothing else is.
//!
//! Invariants: a datagram is kept until the receiver's count passes it, whatever single packets'
//! acknowledgements say of its neighbours; packets under way stay within the rate control's window
//! but for probes and small datagrams. Bounds: [`QUEUE_BYTES`], beyond which the newest is refused;
//! the receiver's [`WINDOW`]. [`Sender::is_over`] after [`GIVE_UP`] without progress.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{self, Ack, DATA_HEADER_BYTES, PIECE_BYTES, expand};
use super::rate::{Feedback, RateControl};
use super::receiver::WINDOW;

/// Bytes not yet known to have arrived. SCTP above has at most 8 MiB of data under way and this is
/// twice that; more would only wait longer.
pub(crate) const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Without progress for this long the tunnel is given up and SCTP repairs what is missing. ICE
/// looks for a new path after 15 s.
const GIVE_UP: Duration = Duration::from_secs(30);
/// Datagrams up to this size, which hold SCTP's acknowledgements and short messages, are sent at
/// once: they are no load, and delaying them slows the other direction.
const SMALL_BYTES: usize = 256;
/// Time's worth sent in one go. Timers have 1 ms; longer bursts queue and overflow small buffers.
const BURST_S: f64 = 0.001;
/// How much of a late timer is made up for: such a burst queues on the path for as long.
const CATCH_UP_S: f64 = 0.008;
/// The same in bytes where that is more: a dozen packets, 26 ms at 5 Mbit/s.
const CATCH_UP_BYTES: f64 = 16_000.0;
/// Bytes of one go at most, one coalesced transmission.
const MAX_BURST_BYTES: f64 = 64_000.0;
/// Bounds of the reordering window and its share of the round trip (RFC 8985 begins with a quarter).
const MIN_REORDERING: Duration = Duration::from_millis(2);
const REORDERING_SHARE: u32 = 8;
/// Longest silence between probes: an outage's end is noticed this late at most.
const MAX_PROBE: Duration = Duration::from_secs(1);
/// Probes without an answer after which the path is taken for a new one.
const OUTAGE_PROBES: u32 = 3;

#[derive(Debug)]
struct Datagram {
    payload: Bytes,
    /// Whether the next one holds more of the same.
    has_more: bool,
    has_arrived: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    UnderWay,
    Lost,
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    datagram: u64,
    sent_at: Instant,
    bytes: usize,
    fate: Fate,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Untold {
    acknowledged: usize,
    lost: usize,
}

/// Counters of one tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Data frames sent.
    pub(crate) packets: u64,
    /// Of these, repetitions.
    pub(crate) repeated: u64,
    /// Datagrams refused because too many waited.
    pub(crate) refused: u64,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Sender {
    token: u32,
    epoch: Instant,
    datagrams: VecDeque<Datagram>,
    /// Number of the first of them.
    first_datagram: u64,
    /// The datagram that was never sent.
    fresh: u64,
    queued_bytes: usize,
    unsent_bytes: usize,
    lost: BTreeSet<u64>,
    packets: VecDeque<Packet>,
    first_packet: u64,
    /// No packet before this one is under way.
    oldest: u64,
    under_way_bytes: usize,
    largest: Option<u64>,
    arrived_us: Option<u64>,
    rate: RateControl,
    /// What the rate control has not been told yet.
    untold: Untold,
    rtt: Duration,
    rtt_deviation: Duration,
    reordering_factor: u32,
    tokens: f64,
    refilled_at: Instant,
    is_bursting: bool,
    /// Whether nothing but the pace held the last datagram back.
    is_pacing: bool,
    last_sent_at: Instant,
    progress_at: Instant,
    silent_probes: u32,
    probes: u32,
    counts: Counts,
}

impl Sender {
    /// `rtt` is the handshake's.
    pub(crate) fn new(now: Instant, token: u32, rtt: Duration) -> Self {
        Self {
            token,
            epoch: now,
            datagrams: VecDeque::new(),
            first_datagram: 0,
            fresh: 0,
            queued_bytes: 0,
            unsent_bytes: 0,
            lost: BTreeSet::new(),
            packets: VecDeque::new(),
            first_packet: 0,
            oldest: 0,
            under_way_bytes: 0,
            largest: None,
            arrived_us: None,
            rate: RateControl::new(rtt),
            untold: Untold::default(),
            rtt,
            rtt_deviation: rtt / 2,
            reordering_factor: 1,
            tokens: 0.0,
            refilled_at: now,
            is_bursting: false,
            is_pacing: false,
            last_sent_at: now,
            progress_at: now,
            silent_probes: 0,
            probes: 0,
            counts: Counts::default(),
        }
    }

    pub(crate) fn token(&self) -> u32 {
        self.token
    }

    pub(crate) fn rate(&self) -> &RateControl {
        &self.rate
    }

    pub(crate) fn set_limit_bps(&mut self, limit_bps: Option<u64>) {
        self.rate.set_limit_bps(limit_bps);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Smoothed round trip.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Bytes sent that the receiver's count has not passed.
    pub(crate) fn held_bytes(&self) -> usize {
        self.queued_bytes - self.unsent_bytes
    }

    /// Bytes never sent yet.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Whether this tunnel carries nothing any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        !self.datagrams.is_empty() && now.saturating_duration_since(self.progress_at) >= GIVE_UP
    }

    /// Takes a datagram to send, in pieces of [`PIECE_BYTES`] where it is larger; refuses and counts it
    /// when too many wait.
    pub(crate) fn enqueue(&mut self, now: Instant, payload: Bytes) {
        if self.queued_bytes + payload.len() > QUEUE_BYTES {
            self.counts.refused += 1;
            return;
        }
        if self.datagrams.is_empty() {
            self.progress_at = now;
        }
        self.queued_bytes += payload.len();
        self.unsent_bytes += payload.len();
        let mut rest = payload;
        while rest.len() > PIECE_BYTES {
            let piece = rest.split_to(PIECE_BYTES);
            self.push(piece, true);
        }
        self.push(rest, false);
    }

    fn push(&mut self, payload: Bytes, has_more: bool) {
        self.datagrams.push_back(Datagram {
            payload,
            has_more,
            has_arrived: false,
        });
    }

    /// Appends the next frame if one may be sent now; returns whether it did.
    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(number) = self.next_datagram() else {
            if self.under_way_bytes < self.rate.window() {
                self.rate.handle_idle(self.next_packet());
            }
            self.is_bursting = false;
            return false;
        };
        let index = (number - self.first_datagram) as usize;
        let (payload, has_more) = {
            let datagram = &self.datagrams[index];
            (datagram.payload.clone(), datagram.has_more)
        };
        if self.probes > 0 {
            self.probes -= 1;
        } else if self.silent_probes > 0 || !self.may_send(now, payload.len()) {
            return false;
        }
        let bytes = payload.len() + DATA_HEADER_BYTES;
        self.tokens -= bytes as f64;
        let packet = self.next_packet();
        frame::write_data(out, self.token, packet, number, has_more, &payload);
        self.packets.push_back(Packet {
            datagram: number,
            sent_at: now,
            bytes,
            fate: Fate::UnderWay,
        });
        self.under_way_bytes += bytes;
        self.last_sent_at = now;
        self.counts.packets += 1;
        if number == self.fresh {
            self.fresh += 1;
            self.unsent_bytes -= payload.len();
        } else {
            self.lost.remove(&number);
            self.counts.repeated += 1;
        }
        true
    }

    fn next_packet(&self) -> u64 {
        self.first_packet + self.packets.len() as u64
    }

    /// Repetitions first: the receiver waits for the oldest.
    fn next_datagram(&self) -> Option<u64> {
        let is_waiting = self.fresh < self.first_datagram + self.datagrams.len() as u64;
        let has_room = self.fresh < self.first_datagram + WINDOW;
        let fresh = (is_waiting && has_room).then_some(self.fresh);
        self.lost.first().copied().or(fresh)
    }

    fn may_send(&mut self, now: Instant, bytes: usize) -> bool {
        let pace = self.refill(now);
        if bytes <= SMALL_BYTES {
            return true;
        }
        if self.under_way_bytes + bytes > self.rate.window() {
            self.is_bursting = false;
            return false;
        }
        let enough = if self.is_bursting { 0.0 } else { burst(pace) };
        self.is_bursting = self.tokens >= enough;
        self.is_pacing = !self.is_bursting;
        self.is_bursting
    }

    /// Returns the pace in bytes per second.
    fn refill(&mut self, now: Instant) -> f64 {
        let pace = self.rate.pace();
        let passed = now.saturating_duration_since(self.refilled_at);
        self.refilled_at = self.refilled_at.max(now);
        let most = (pace * CATCH_UP_S).max(burst(pace));
        // A dozen packets at a low pace, but only if nothing else held them back.
        let most = if self.is_pacing {
            most.max(CATCH_UP_BYTES)
        } else {
            most
        };
        // Small datagrams go into debt; beyond a burst's worth it is forgiven.
        let least = -burst(pace);
        let tokens = self.tokens.max(least) + pace * passed.as_secs_f64();
        self.tokens = tokens.min(most);
        if tokens > most && self.is_pacing {
            self.rate.handle_late(self.next_packet());
        }
        self.is_pacing = false;
        pace
    }

    /// Takes an acknowledgement that arrived at `arrived_at`; one that speaks of what was never sent
    /// changes nothing.
    pub(crate) fn handle_ack(&mut self, now: Instant, arrived_at: Instant, ack: &Ack<'_>) {
        let (Some(largest), Some(next)) = (
            expand(ack.largest, self.next_packet()),
            expand(ack.next, self.first_datagram),
        ) else {
            return;
        };
        if largest >= self.next_packet() || next > self.fresh {
            return;
        }
        let reference = self.arrived_us.unwrap_or(u64::from(ack.arrived_us));
        let Some(arrived_us) = expand(ack.arrived_us, reference) else {
            return;
        };
        for (low, high) in ack.ranges(largest) {
            if high < self.first_packet {
                break;
            }
            for number in low.max(self.first_packet)..=high {
                self.handle_arrival(number);
            }
        }
        self.release(now, next);
        if self.largest.is_some_and(|known| known >= largest) {
            self.detect_losses(now);
            return;
        }
        self.largest = Some(largest);
        self.arrived_us = Some(arrived_us);
        let was_silent = std::mem::take(&mut self.silent_probes) > 0;
        self.probes = 0;
        let Some(packet) = self.packet(largest).copied() else {
            return;
        };
        let held = Duration::from_micros(u64::from(ack.held_us));
        let rtt = arrived_at.saturating_duration_since(packet.sent_at);
        let rtt = rtt.saturating_sub(held).max(Duration::from_micros(1));
        self.rtt_deviation = (self.rtt_deviation * 3 + self.rtt.abs_diff(rtt)) / 4;
        self.rtt = (self.rtt * 7 + rtt) / 8;
        self.detect_losses(now);
        let mut untold = std::mem::take(&mut self.untold);
        if was_silent {
            // What an outage took says nothing about the rate.
            untold.lost = 0;
        }
        let sent = packet.sent_at.saturating_duration_since(self.epoch);
        let sent_us = i64::try_from(sent.as_micros()).unwrap_or(i64::MAX);
        let feedback = Feedback {
            largest,
            next_packet: self.next_packet(),
            acknowledged: untold.acknowledged,
            lost: untold.lost,
            arrived_us,
            delay_us: i64::try_from(arrived_us).unwrap_or(i64::MAX) - sent_us,
            rtt,
        };
        self.rate.handle_feedback(now, &feedback);
        self.forget(now);
    }

    fn packet(&self, number: u64) -> Option<&Packet> {
        let index = number.checked_sub(self.first_packet)?;
        self.packets.get(usize::try_from(index).ok()?)
    }

    fn handle_arrival(&mut self, number: u64) {
        let index = (number - self.first_packet) as usize;
        let Some(packet) = self.packets.get_mut(index) else {
            return;
        };
        match std::mem::replace(&mut packet.fate, Fate::Done) {
            Fate::Done => return,
            Fate::UnderWay => self.under_way_bytes -= packet.bytes,
            Fate::Lost => {
                // It was only late: packets overtake each other here more than assumed.
                self.reordering_factor = (self.reordering_factor * 2).min(REORDERING_SHARE);
                self.untold.lost = self.untold.lost.saturating_sub(packet.bytes);
            }
        }
        self.untold.acknowledged += packet.bytes;
        let datagram = packet.datagram;
        self.lost.remove(&datagram);
        if let Some(index) = datagram.checked_sub(self.first_datagram)
            && let Some(datagram) = self.datagrams.get_mut(index as usize)
        {
            datagram.has_arrived = true;
        }
    }

    /// Everything before `next` has arrived.
    fn release(&mut self, now: Instant, next: u64) {
        while self.first_datagram < next {
            let Some(datagram) = self.datagrams.pop_front() else {
                break;
            };
            self.queued_bytes -= datagram.payload.len();
            self.lost.remove(&self.first_datagram);
            self.first_datagram += 1;
            self.progress_at = now;
        }
    }

    fn reordering(&self) -> Duration {
        let share = self.rtt / REORDERING_SHARE;
        (share.max(MIN_REORDERING) * self.reordering_factor).min(self.rtt.max(MIN_REORDERING))
    }

    fn detect_losses(&mut self, now: Instant) {
        let Some(largest) = self.largest else {
            return;
        };
        let Some(arrived_sent_at) = self.packet(largest).map(|packet| packet.sent_at) else {
            return;
        };
        let patience = self.reordering();
        for number in self.oldest.max(self.first_packet)..largest {
            let Some(packet) = self.packet(number).copied() else {
                break;
            };
            if packet.fate == Fate::UnderWay {
                let is_late = packet.sent_at + patience <= arrived_sent_at
                    || packet.sent_at + self.rtt + patience <= now;
                if !is_late {
                    break;
                }
                self.lose(number);
            }
            self.oldest = number + 1;
        }
    }

    fn lose(&mut self, number: u64) {
        let index = (number - self.first_packet) as usize;
        let packet = &mut self.packets[index];
        packet.fate = Fate::Lost;
        self.under_way_bytes -= packet.bytes;
        self.untold.lost += packet.bytes;
        let datagram = packet.datagram;
        let known = datagram.checked_sub(self.first_datagram);
        let is_missing = known
            .and_then(|index| self.datagrams.get(index as usize))
            .is_some_and(|datagram| !datagram.has_arrived);
        if is_missing {
            self.lost.insert(datagram);
        }
    }

    /// Lost packets are remembered a while, to learn whether they were only late.
    fn forget(&mut self, now: Instant) {
        let memory = self.rtt * 2 + Duration::from_millis(50);
        while let Some(packet) = self.packets.front() {
            let is_done = match packet.fate {
                Fate::UnderWay => false,
                Fate::Done => true,
                Fate::Lost => packet.sent_at + memory <= now,
            };
            if !is_done || Some(self.first_packet) >= self.largest {
                break;
            }
            self.packets.pop_front();
            self.first_packet += 1;
        }
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) asked for.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.detect_losses(now);
        if self.probe_at().is_none_or(|at| at > now) {
            return;
        }
        self.silent_probes += 1;
        self.probes = 1;
        self.last_sent_at = now;
        if self.silent_probes == OUTAGE_PROBES {
            self.rate.restart();
        }
        let begin = self.oldest.max(self.first_packet);
        let under_way = |number: &u64| {
            self.packet(*number)
                .is_some_and(|packet| packet.fate == Fate::UnderWay)
        };
        let mut numbers = (begin..self.next_packet()).filter(under_way);
        if self.silent_probes < OUTAGE_PROBES {
            if let Some(number) = numbers.next() {
                self.lose(number);
            }
        } else {
            for number in numbers.collect::<Vec<_>>() {
                self.lose(number);
            }
        }
    }

    fn probe_at(&self) -> Option<Instant> {
        let is_silent = self.silent_probes > 0 && !self.datagrams.is_empty();
        let is_waiting = self.under_way_bytes > 0 || is_silent;
        let usual = self.rtt * 3 / 2 + self.rtt_deviation * 4 + Duration::from_millis(10);
        let patience = usual.saturating_mul(1 << self.silent_probes.min(10));
        is_waiting.then(|| self.last_sent_at + patience.min(MAX_PROBE.max(usual)))
    }

    /// When to come again: something may be sent, is lost, or the silence is too long.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let late = self.largest.and_then(|largest| {
            let number = self.oldest.max(self.first_packet);
            let packet = self.packet(number)?;
            let is_candidate = number < largest && packet.fate == Fate::UnderWay;
            is_candidate.then(|| packet.sent_at + self.rtt + self.reordering())
        });
        [self.send_at(), late, self.probe_at()]
            .into_iter()
            .flatten()
            .min()
    }

    fn send_at(&self) -> Option<Instant> {
        let number = self.next_datagram()?;
        if self.silent_probes > 0 {
            return (self.probes > 0).then_some(self.refilled_at);
        }
        let index = (number - self.first_datagram) as usize;
        let bytes = self.datagrams.get(index)?.payload.len();
        if bytes > SMALL_BYTES && self.under_way_bytes + bytes > self.rate.window() {
            return None;
        }
        let pace = self.rate.pace();
        let missing_s = ((burst(pace) - self.tokens) / pace).clamp(0.0, 1.0);
        // Rounded up: a moment too early nothing could be sent.
        Some(self.refilled_at + Duration::from_secs_f64(missing_s) + Duration::from_micros(1))
    }
}

/// Bytes sent in one go at a pace.
fn burst(pace: f64) -> f64 {
    (pace * BURST_S).clamp(1_300.0, MAX_BURST_BYTES)
}
