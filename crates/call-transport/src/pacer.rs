//! Spreads video over time so that a keyframe does not fill the bottleneck's queue at once: the
//! clock comes in with the packets.
//!
//! Sound and RTCP pass at once; retransmissions go before new video, and smaller layers of a
//! picture before larger ones, so that what runs short is the largest. Replaces the stack's pacer,
//! which holds everything, sound included, in one queue at exactly the target rate.
//!
//! Invariants: the queue empties within [`DRAIN`], whatever the target; at most [`MAX_PACKETS`]
//! wait, beyond that the oldest leave unpaced (nothing is dropped here).

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use call_protocol::limits;
use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::marshal::MarshalSize;

use crate::estimator::START_BPS;
use crate::outgoing::OutStreams;

/// Multiple of the target video may leave at. Higher delays less, lower queues less in the
/// network (libwebrtc: 2.5).
const FACTOR: f64 = 2.5;
/// No packet waits longer.
const DRAIN: Duration = Duration::from_millis(500);
/// Some seconds of video; a bound for memory, not for behaviour.
const MAX_PACKETS: usize = 2_048;
/// Saved-up time is worth at most this much sending.
const BURST: Duration = Duration::from_millis(5);

/// See the module's text.
pub(crate) struct Pacer {
    target_bps: f64,
    /// Bits that may leave now; negative after a packet larger than what was left.
    budget_bits: f64,
    refilled_at: Option<Instant>,
    queued_bits: f64,
    /// What empties the queue in time, kept until it is empty.
    drain_bps: f64,
    streams: OutStreams,
    repairs: VecDeque<TaggedPacket>,
    /// By layer; what leaves first is at the end.
    queues: [VecDeque<TaggedPacket>; limits::SFU_LAYERS],
    unpaced: BTreeSet<u32>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl Pacer {
    pub(crate) fn new(streams: OutStreams) -> Self {
        Self {
            streams,
            target_bps: START_BPS,
            budget_bits: 0.0,
            refilled_at: None,
            queued_bits: 0.0,
            drain_bps: 0.0,
            repairs: VecDeque::new(),
            queues: Default::default(),
            unpaced: BTreeSet::new(),
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    fn rate_bps(&self) -> f64 {
        (self.target_bps * FACTOR).max(self.drain_bps)
    }

    fn is_empty(&self) -> bool {
        self.repairs.is_empty() && self.queues.iter().all(VecDeque::is_empty)
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    fn pop(&mut self) -> Option<TaggedPacket> {
        let mut queues = self.queues.iter_mut().rev();
        self.repairs
            .pop_front()
            .or_else(|| queues.find_map(VecDeque::pop_front))
    }

    fn release(&mut self, now: Instant) {
        let rate_bps = self.rate_bps();
        let elapsed = self
            .refilled_at
            .map_or(BURST, |at| now.saturating_duration_since(at));
        self.refilled_at = Some(now);
        let burst_bits = rate_bps * BURST.as_secs_f64();
        self.budget_bits = (self.budget_bits + elapsed.as_secs_f64() * rate_bps).min(burst_bits);
        while self.budget_bits > 0.0 || self.waiting() > MAX_PACKETS {
            let Some(mut packet) = self.pop() else {
                break;
            };
            let bits = bits_of(&packet);
            self.queued_bits = (self.queued_bits - bits).max(0.0);
            self.budget_bits -= bits;
            packet.now = now;
            self.outbound.push_back(packet);
        }
        if self.is_empty() {
            self.drain_bps = 0.0;
        }
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
        self.queued_bits += bits_of(&msg);
        self.drain_bps = self.drain_bps.max(self.queued_bits / DRAIN.as_secs_f64());
        if msg.message.has(&Attribute::Retransmission) {
            self.repairs.push_back(msg);
        } else {
            let layer = self.streams.layer(ssrc).map_or(0, usize::from);
            self.queues[layer.min(limits::SFU_LAYERS - 1)].push_back(msg);
        }
        self.release(now);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if !self.is_empty() {
            self.release(now);
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        if self.is_empty() {
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
mod tests {
    use super::*;
    use rtc::interceptor::AttributedPacket;
    use rtc::rtp;
    use rtc::shared::TransportContext;

    const AUDIO: u32 = 1;
    const VIDEO: u32 = 2;
    const LAYER_1: u32 = 3;

    fn packet(now: Instant, ssrc: u32, sequence: u16, bytes: usize) -> TaggedPacket {
        let packet = rtp::Packet {
            header: rtp::Header {
                version: 2,
                ssrc,
                sequence_number: sequence,
                ..Default::default()
            },
            payload: vec![0; bytes].into(),
        };
        TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtp(packet)),
        }
    }

    fn pacer() -> Pacer {
        let streams = OutStreams {
            audio: Some(AUDIO),
            layers: vec![(VIDEO, 12), (LAYER_1, 13)],
        };
        let mut pacer = Pacer::new(streams);
        pacer.bind_local_stream(&StreamInfo {
            ssrc: AUDIO,
            mime_type: "audio/opus".into(),
            ..StreamInfo::default()
        });
        pacer
    }

    fn drain(pacer: &mut Pacer) -> Vec<(u32, u16, Instant)> {
        std::iter::from_fn(|| pacer.poll_write())
            .filter_map(|packet| match packet.message.packet {
                Packet::Rtp(rtp) => Some((rtp.header.ssrc, rtp.header.sequence_number, packet.now)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_keyframe_is_spread_and_sound_passes_it() {
        let start = Instant::now();
        let mut pacer = pacer();
        for sequence in 0..50 {
            pacer
                .handle_write(packet(start, VIDEO, sequence, 1_100))
                .unwrap();
        }
        let at_once = drain(&mut pacer);
        assert!(at_once.len() < 5, "{}", at_once.len());
        pacer.handle_write(packet(start, AUDIO, 7, 100)).unwrap();
        assert_eq!(drain(&mut pacer), vec![(AUDIO, 7, start)]);
        let mut rest = Vec::new();
        while let Some(at) = pacer.poll_timeout() {
            pacer.handle_timeout(at).unwrap();
            rest.extend(drain(&mut pacer));
        }
        assert_eq!(at_once.len() + rest.len(), 50);
        let order: Vec<u16> = rest.iter().map(|entry| entry.1).collect();
        assert!(order.is_sorted());
        let last = rest.last().unwrap().2 - start;
        let ideal = 50.0 * 1_112.0 * 8.0 / (START_BPS * FACTOR);
        assert!(
            (last.as_secs_f64() - ideal).abs() < 0.05,
            "{last:?} for {ideal}"
        );
    }

    #[test]
    fn no_packet_waits_longer_than_the_drain_time() {
        let start = Instant::now();
        let mut pacer = pacer();
        pacer.target_bps = 50_000.0;
        for sequence in 0..500 {
            pacer
                .handle_write(packet(start, VIDEO, sequence, 1_100))
                .unwrap();
        }
        let mut last = start;
        drain(&mut pacer);
        while let Some(at) = pacer.poll_timeout() {
            pacer.handle_timeout(at).unwrap();
            last = drain(&mut pacer).last().map_or(last, |entry| entry.2);
        }
        assert!(last - start < DRAIN + DRAIN / 10, "{:?}", last - start);
    }

    #[test]
    fn repairs_go_first() {
        let start = Instant::now();
        let mut pacer = pacer();
        for sequence in 0..50 {
            pacer
                .handle_write(packet(start, VIDEO, sequence, 1_100))
                .unwrap();
        }
        drain(&mut pacer);
        let mut repair = packet(start, 12, 99, 1_100);
        repair.message.add(Attribute::Retransmission);
        pacer.handle_write(repair).unwrap();
        let at = pacer.poll_timeout().unwrap();
        pacer.handle_timeout(at).unwrap();
        assert_eq!(drain(&mut pacer).first().map(|entry| entry.0), Some(12));
    }

    #[test]
    fn smaller_layers_go_before_larger_ones() {
        let start = Instant::now();
        let mut pacer = pacer();
        for sequence in 0..50 {
            for ssrc in [VIDEO, LAYER_1] {
                pacer
                    .handle_write(packet(start, ssrc, sequence, 1_100))
                    .unwrap();
            }
        }
        let mut order = Vec::new();
        drain(&mut pacer);
        while let Some(at) = pacer.poll_timeout() {
            pacer.handle_timeout(at).unwrap();
            order.extend(drain(&mut pacer).iter().map(|entry| entry.0));
        }
        let small = order.iter().filter(|ssrc| **ssrc == LAYER_1).count();
        assert!(order[..small].iter().all(|ssrc| *ssrc == LAYER_1));
        assert!(small > 45 && order.len() - small > 45);
    }
}
