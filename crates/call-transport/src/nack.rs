//! Asks for lost packets (RFC 4585, generic NACK): the interceptor around [`LossDetector`].
//!
//! Replaces the stack's generator, which does not see that a retransmission on the RTX stream
//! filled the gap and asks on: at 5 % loss more than nine tenths of the traffic were repeats.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use rtc::sansio::Protocol;
use rtc::shared::{TransportContext, error::Error};

use crate::loss::{LossDetector, Verdict};
use crate::shared::Shared;

/// Streams of one peer that are repaired; later ones are not. An SFU link has 16 picture slots.
const MAX_STREAMS: usize = 32;

/// See the module's text.
pub(crate) struct NackGenerator {
    shared: Arc<Shared>,
    sender_ssrc: u32,
    streams: BTreeMap<u32, LossDetector>,
    primary_of: BTreeMap<u32, u32>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl NackGenerator {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            sender_ssrc: rand::random(),
            streams: BTreeMap::new(),
            primary_of: BTreeMap::new(),
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    fn handle_packet(&mut self, now: Instant, packet: &rtc::rtp::Packet) {
        let header = &packet.header;
        let (ssrc, sequence, is_rtx) = match self.primary_of.get(&header.ssrc) {
            None => (header.ssrc, header.sequence_number, false),
            Some(primary) => match packet.payload.first_chunk::<2>() {
                Some(original) => (*primary, u16::from_be_bytes(*original), true),
                None => return,
            },
        };
        let Some(stream) = self.streams.get_mut(&ssrc) else {
            return;
        };
        match stream.handle_packet(now, sequence, is_rtx) {
            Verdict::Gap(lost) => self.request(now, ssrc, &lost),
            Verdict::Repaired => self.shared.meter().handle_repaired(ssrc),
            Verdict::Stale => self.shared.meter().handle_duplicate(ssrc),
            Verdict::Expected => {}
        }
    }

    fn request(&mut self, now: Instant, ssrc: u32, lost: &[u16]) {
        self.shared.meter().handle_nacks(ssrc, lost.len() as u64);
        let nack = TransportLayerNack {
            sender_ssrc: self.sender_ssrc,
            media_ssrc: ssrc,
            nacks: nack_pairs_from_sequence_numbers(lost),
        };
        self.outbound.push_back(TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(nack)])),
        });
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for NackGenerator {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = &msg.message.packet {
            self.handle_packet(msg.now, packet);
        }
        self.inbound.push_back(msg);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.outbound.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let rtt = self.shared.rtt();
        let mut requests = Vec::new();
        for (ssrc, stream) in &mut self.streams {
            let due = stream.handle_timeout(now, rtt);
            if due.given_up > 0 {
                self.shared.meter().handle_missing(*ssrc, due.given_up);
            }
            if !due.again.is_empty() {
                requests.push((*ssrc, due.again));
            }
        }
        for (ssrc, lost) in requests {
            self.request(now, ssrc, &lost);
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let rtt = self.shared.rtt();
        self.streams
            .values()
            .filter_map(|stream| stream.poll_timeout(rtt))
            .min()
    }
}

impl Interceptor for NackGenerator {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}

    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        let wants_nack = info.rtcp_feedback.iter().any(|feedback| {
            feedback.typ.eq_ignore_ascii_case("nack") && feedback.parameter.is_empty()
        });
        // The retransmission stream is bound in its own right after the one it repairs.
        let is_rtx = self.primary_of.contains_key(&info.ssrc);
        if wants_nack && !is_rtx && self.streams.len() < MAX_STREAMS {
            self.streams.entry(info.ssrc).or_default();
            if let Some(rtx) = info.ssrc_rtx {
                self.primary_of.insert(rtx, info.ssrc);
            }
        }
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
        self.primary_of.remove(&info.ssrc);
    }
}
