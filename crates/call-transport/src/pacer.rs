//! Spreads video over time so that a keyframe does not fill the bottleneck's queue at once: the
//! clock comes in with the packets.
//!
//! Sound and RTCP pass at once; retransmissions go before new video, and smaller layers of a
//! picture before larger ones, so that what runs short is the largest. Replaces the stack's pacer,
//! which holds everything, sound included, in one queue at exactly the target rate.
//!
//! A probe ([`crate::estimator::probe`]) begins with a packet of a picture and takes the pace for
//! its few milliseconds: what waits goes first, then padding, which is packets sent before, once
//! more on their retransmission stream (RFC 4588) as libwebrtc does it; receivers drop them.
//!
//! Where a queue in the path is being emptied and the pictures of the camera that wait here would take
//! longer than [`STALE_S`] at the target, the path became much narrower: they and what is to be
//! repeated would keep it full for seconds, with the sound behind them. They are dropped, and their
//! layers [cut](Budget::cut). A screen is not: its keyframes are that large, and come seldom.
//!
//! Invariants: the queue empties within [`DRAIN`], whatever the target; at most [`MAX_PACKETS`]
//! wait, beyond that the oldest leave unpaced; padding leaves only within a probe and only when
//! nothing waits.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use call_protocol::limits;
use rtc::interceptor::{
    Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket,
};
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use rtc::shared::error::Error;
use rtc::shared::marshal::MarshalSize;

use crate::budget::Budget;
use crate::estimator::START_BPS;
use crate::estimator::probe::{self, Probes};
use crate::outgoing::OutStreams;

/// Multiple of the target video may leave at. Higher delays pictures less where the path carries
/// more than we send; lower queues less in the network, where sound waits behind (libwebrtc: 2.5,
/// and 1.1 where it trusts its estimate).
const FACTOR: f64 = 1.1;
/// No packet of a picture waits longer. Longer keeps what an encoder produced too much of here, where
/// sound passes it, instead of in the network; the budget makes encoders catch up meanwhile.
const DRAIN: Duration = Duration::from_millis(1_500);
/// Retransmissions that wait are at most what the target carries in this time; more are dropped and
/// asked for again. When a path got slower, its queue has lost more than it can carry again.
const REPAIRS_S: f64 = 0.25;
/// Over which the rate of retransmissions is averaged.
const REPAIRS_AVERAGE_S: f64 = 0.5;
/// Pictures that would leave later than this are stale. Longer keeps a narrow path full; shorter drops
/// what a queue's drain, which is over soon, only makes wait.
const STALE_S: f64 = 0.7;
/// Some seconds of video; a bound for memory, not for behaviour.
const MAX_PACKETS: usize = 2_048;
/// Saved-up time is worth at most this much sending.
const BURST: Duration = Duration::from_millis(5);

/// Makes a packet that may be sent in vain.
pub(crate) type Padding = Box<dyn FnMut() -> Option<rtp::Packet> + Send + Sync>;

/// A probe under way.
#[derive(Clone, Copy, Debug)]
struct Running {
    rate_bps: f64,
    left_bits: f64,
    packets: usize,
}

/// See the module's text.
pub(crate) struct Pacer {
    target_bps: f64,
    /// Bits that may leave now; negative after a packet larger than what was left.
    budget_bits: f64,
    refilled_at: Option<Instant>,
    queued_bits: f64,
    repair_bits: f64,
    repairs_bps: f64,
    averaged_at: Option<Instant>,
    /// What empties the queue in time, kept until it is empty.
    drain_bps: f64,
    streams: OutStreams,
    budget: Arc<Budget>,
    probes: Probes,
    padding: Padding,
    running: Option<Running>,
    repairs: VecDeque<TaggedPacket>,
    /// The screen, which waits for the camera because that keeps to its share of the budget, then the
    /// camera by layer; what leaves first is at the end.
    queues: [VecDeque<TaggedPacket>; 1 + limits::SFU_LAYERS],
    unpaced: BTreeSet<u32>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl Pacer {
    /// Sends what `probes` asks for, padded with what `padding` makes.
    pub(crate) fn new(
        streams: OutStreams,
        budget: Arc<Budget>,
        probes: Probes,
        padding: Padding,
    ) -> Self {
        Self {
            streams,
            budget,
            probes,
            padding,
            running: None,
            target_bps: START_BPS,
            budget_bits: 0.0,
            refilled_at: None,
            queued_bits: 0.0,
            repair_bits: 0.0,
            repairs_bps: 0.0,
            averaged_at: None,
            drain_bps: 0.0,
            repairs: VecDeque::new(),
            queues: Default::default(),
            unpaced: BTreeSet::new(),
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    fn rate_bps(&self) -> f64 {
        match self.running {
            Some(running) => running.rate_bps,
            None if self.budget.is_draining() => self.target_bps.max(self.drain_bps),
            None => (self.target_bps * FACTOR).max(self.drain_bps),
        }
    }

    fn begin_probe(&mut self, now: Instant) {
        if self.running.is_none()
            && let Some(cluster) = self.probes.wanted()
        {
            self.probes.handle_begun(now);
            self.running = Some(Running {
                rate_bps: cluster.rate_bps,
                left_bits: cluster.bits(),
                packets: 0,
            });
            self.budget_bits = 0.0;
            self.refilled_at = Some(now - BURST);
        }
    }

    /// Ends the probe, too, where nothing is left to send it with.
    fn pad(&mut self, now: Instant) -> Option<TaggedPacket> {
        self.running?;
        let Some(packet) = (self.padding)() else {
            self.running = None;
            self.probes.handle_ended(now, false);
            return None;
        };
        Some(TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtp(packet)),
        })
    }

    fn count_probe(&mut self, now: Instant, bits: f64) {
        if let Some(running) = &mut self.running {
            running.left_bits -= bits;
            running.packets += 1;
            if running.left_bits <= 0.0 && running.packets >= probe::LEAST_PACKETS {
                self.running = None;
                self.probes.handle_ended(now, true);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.repairs.is_empty() && self.queues.iter().all(VecDeque::is_empty)
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    fn pop(&mut self) -> Option<TaggedPacket> {
        let repair = self.repairs.pop_front();
        if let Some(packet) = &repair {
            self.repair_bits = (self.repair_bits - bits_of(packet)).max(0.0);
            self.repairs_bps += bits_of(packet) / REPAIRS_AVERAGE_S;
        }
        let mut queues = self.queues.iter_mut().rev();
        repair.or_else(|| queues.find_map(VecDeque::pop_front))
    }

    /// Drops what the path will not carry in time.
    fn drop_stale(&mut self) {
        if !self.budget.is_draining() {
            return;
        }
        let [_, camera @ ..] = &mut self.queues;
        let waiting_bits: f64 = camera.iter().flatten().map(bits_of).sum();
        if waiting_bits <= STALE_S * self.target_bps {
            return;
        }
        for (layer, queue) in (0..).zip(camera) {
            if !queue.is_empty() {
                queue.clear();
                self.budget.cut(layer);
            }
        }
        self.repairs.clear();
        self.repair_bits = 0.0;
        self.queued_bits = self.queues.iter().flatten().map(bits_of).sum();
        self.drain_bps = self.queued_bits / DRAIN.as_secs_f64();
        tracing::debug!(waiting_bits, self.target_bps, "stale pictures dropped");
    }

    fn report_load(&mut self, now: Instant) {
        let elapsed_s = self
            .averaged_at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.averaged_at = Some(now);
        self.repairs_bps *= (-elapsed_s / REPAIRS_AVERAGE_S).exp();
        self.budget.set_load(self.queued_bits, self.repairs_bps);
    }

    /// Padding only by the timer: while packets come in, more of the same picture may follow.
    fn release(&mut self, now: Instant, may_pad: bool) {
        let rate_bps = self.rate_bps();
        let elapsed = self
            .refilled_at
            .map_or(BURST, |at| now.saturating_duration_since(at));
        self.refilled_at = Some(now);
        let burst_bits = rate_bps * BURST.as_secs_f64();
        self.budget_bits = (self.budget_bits + elapsed.as_secs_f64() * rate_bps).min(burst_bits);
        while self.budget_bits > 0.0 || self.waiting() > MAX_PACKETS {
            let waiting = self.pop();
            if let Some(packet) = &waiting {
                self.queued_bits = (self.queued_bits - bits_of(packet)).max(0.0);
            }
            let Some(mut packet) = waiting.or_else(|| may_pad.then(|| self.pad(now))?) else {
                break;
            };
            let bits = bits_of(&packet);
            self.budget_bits -= bits;
            packet.now = now;
            self.outbound.push_back(packet);
            self.count_probe(now, bits);
        }
        if self.is_empty() {
            self.drain_bps = 0.0;
            self.queued_bits = 0.0;
        }
        self.report_load(now);
    }
}

fn bits_of(packet: &TaggedPacket) -> f64 {
    match &packet.message.packet {
        Packet::Rtp(packet) => packet.marshal_size() as f64 * 8.0,
        _ => 0.0,
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Pacer {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        for attribute in &msg.message.attributes {
            if let Attribute::TargetBitrateChanged { bits_per_second } = attribute {
                self.target_bps = *bits_per_second;
                self.drop_stale();
            }
        }
        self.inbound.push_back(msg);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        let paced = match &msg.message.packet {
            Packet::Rtp(packet) => Some(packet.header.ssrc),
            _ => None,
        };
        let Some(ssrc) = paced.filter(|ssrc| !self.unpaced.contains(ssrc)) else {
            self.outbound.push_back(msg);
            return Ok(());
        };
        let now = msg.now;
        let is_repair = msg.message.has(&Attribute::Retransmission);
        if is_repair && self.repair_bits > REPAIRS_S * self.target_bps {
            tracing::trace!("retransmission dropped");
            return Ok(());
        }
        self.queued_bits += bits_of(&msg);
        self.drain_bps = self.drain_bps.max(self.queued_bits / DRAIN.as_secs_f64());
        if is_repair {
            self.repair_bits += bits_of(&msg);
            self.repairs.push_back(msg);
        } else {
            let queue = if self.streams.is_screen(ssrc) {
                0
            } else {
                let layer = self.streams.layer(ssrc).map_or(0, usize::from);
                1 + layer.min(limits::SFU_LAYERS - 1)
            };
            self.queues[queue].push_back(msg);
            self.begin_probe(now);
        }
        self.release(now, false);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if !self.is_empty() || self.running.is_some() {
            self.release(now, true);
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        if self.is_empty() && self.running.is_none() {
            return None;
        }
        let debt_s = (-self.budget_bits).max(0.0) / self.rate_bps();
        self.refilled_at
            .map(|at| at + Duration::from_secs_f64(debt_s.max(0.001)))
    }
}

impl Interceptor for Pacer {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        if info.mime_type.to_ascii_lowercase().starts_with("audio/") {
            self.unpaced.insert(info.ssrc);
        }
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.unpaced.remove(&info.ssrc);
    }

    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}

    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

#[cfg(test)]
#[path = "pacer_tests.rs"]
mod tests;
