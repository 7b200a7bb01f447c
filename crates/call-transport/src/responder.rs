//! Answers the peer's NACKs from a history of sent packets ([`crate::history`]).
//!
//! Replaces the stack's responder because that one fixes the RTX payload type when the stream is
//! bound, which is wrong as soon as another negotiated codec is sent, and because it answers every
//! repeat of a request at once.
//!
//! What is lost again comes a round trip later still, which on a far path is after its picture was due.
//! So there, and where much is lost without a queue, each answer is followed by a second copy. Of a
//! layer that was [cut](crate::budget::Budget::cut) nothing is sent again: a keyframe will follow.
//!
//! Invariant: a packet is sent again at most once per round trip, and then at most twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::interceptor::{
    Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket,
};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::sansio::Protocol;
use rtc::shared::{TransportContext, error::Error};

use crate::shared::Shared;

/// A request repeated sooner than this is a duplicate even on a LAN.
const REPEAT_MIN: Duration = Duration::from_millis(10);
/// From this round trip on, answers are sent twice. On nearer paths a second request is in time.
const FAR: Duration = Duration::from_millis(100);
/// Where this share of packets is lost. Of 5 %, one in 400 is lost twice, which few pictures notice.
const LOSSY: f64 = 0.07;

/// See the module's text.
pub(crate) struct NackResponder {
    shared: Arc<Shared>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl NackResponder {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    fn handle_nack(&mut self, now: Instant, nack: &TransportLayerNack) {
        if self.shared.cut_layer(nack.media_ssrc).is_some() {
            return;
        }
        // Before the first measurement the peer may know the round trip better than we do.
        let rtt = self.shared.measured_rtt().unwrap_or_default();
        let not_before = rtt.mul_f32(0.9).max(REPEAT_MIN);
        let budget = &self.shared.budget;
        let is_twice = rtt >= FAR && budget.lost() >= LOSSY && !budget.is_draining();
        let formats = self.shared.formats();
        let mut histories = self.shared.histories();
        let repair = |packet| TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtp(packet)).with(Attribute::Retransmission),
        };
        let mut repeated = Vec::new();
        for pair in &nack.nacks {
            let following = (0..16_u16).filter(|bit| pair.lost_packets & (1 << bit) != 0);
            let lost = std::iter::once(0).chain(following.map(|bit| bit + 1));
            for offset in lost {
                let sequence = pair.packet_id.wrapping_add(offset);
                let place = (nack.media_ssrc, sequence);
                if let Some(packet) = histories.repeat(now, place, not_before, &formats) {
                    self.outbound.push_back(repair(packet));
                    repeated.push(place);
                }
            }
        }
        if is_twice {
            // Behind all of the first, so that a burst of losses does not take both.
            let copies = repeated
                .into_iter()
                .filter_map(|place| histories.copy(place, &formats));
            self.outbound.extend(copies.map(repair));
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for NackResponder {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &msg.message.packet {
            for packet in packets {
                if let Some(nack) = packet.as_any().downcast_ref::<TransportLayerNack>() {
                    self.handle_nack(msg.now, nack);
                }
            }
        }
        self.inbound.push_back(msg);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = &msg.message.packet {
            self.shared.histories().push(packet);
        }
        self.outbound.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }
}

impl Interceptor for NackResponder {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        let wants_nack = info.rtcp_feedback.iter().any(|feedback| {
            feedback.typ.eq_ignore_ascii_case("nack") && feedback.parameter.is_empty()
        });
        if wants_nack {
            self.shared.histories().bind(info.ssrc, info.ssrc_rtx);
        }
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.shared.histories().unbind(info.ssrc);
    }

    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}

    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;
    use rtc::rtp;

    use super::*;
    use crate::formats::Formats;
    use crate::outgoing::OutStreams;

    /// SSRCs of a stream and of its retransmissions.
    const STREAM: (u32, u32) = (1, 2);

    fn responder() -> NackResponder {
        let streams = OutStreams {
            audio: None,
            layers: vec![STREAM],
            screen: None,
        };
        let shared = Arc::new(Shared::new(streams, None));
        let mut formats = Formats::default();
        formats.rtx.insert(96, 97);
        shared.set_formats(formats);
        shared.histories().bind(STREAM.0, Some(STREAM.1));
        for sequence_number in 0..3 {
            shared.histories().push(&rtp::Packet {
                header: rtp::Header {
                    version: 2,
                    ssrc: STREAM.0,
                    payload_type: 96,
                    sequence_number,
                    ..rtp::Header::default()
                },
                payload: vec![0xaa].into(),
            });
        }
        NackResponder::new(shared)
    }

    /// The numbers of the packets a request for 0 and 2 is answered with.
    fn answers(responder: &mut NackResponder, now: Instant) -> Vec<u16> {
        let nack = TransportLayerNack {
            sender_ssrc: 9,
            media_ssrc: STREAM.0,
            nacks: vec![NackPair {
                packet_id: 0,
                lost_packets: 0b10,
            }],
        };
        responder.handle_nack(now, &nack);
        std::iter::from_fn(|| responder.poll_write())
            .map(|packet| match packet.message.packet {
                Packet::Rtp(packet) => u16::from_be_bytes([packet.payload[0], packet.payload[1]]),
                _ => panic!("an answer is RTP"),
            })
            .collect()
    }

    #[test]
    fn far_and_lossy_paths_get_each_answer_twice_and_no_others() {
        for (rtt_ms, lost, is_draining, want) in [
            (250, 0.10, false, vec![0, 2, 0, 2]),
            (250, 0.05, false, vec![0, 2]),
            (90, 0.20, false, vec![0, 2]),
            // A queue loses more if more is sent.
            (250, 0.10, true, vec![0, 2]),
        ] {
            let mut responder = responder();
            responder.shared.set_rtt(Duration::from_millis(rtt_ms));
            responder.shared.budget.set_estimate(1e6, is_draining, lost);
            let now = Instant::now();
            assert_eq!(answers(&mut responder, now), want, "{rtt_ms} ms, {lost}");
            let soon = now + Duration::from_millis(rtt_ms / 2);
            assert!(answers(&mut responder, soon).is_empty(), "asked too soon");
        }
    }
}
