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
//! On a path that is farther still even the first answer is late. There each packet follows once more
//! unasked, [`COPY_AFTER`] behind the first, while the path loses much: twice the bits for pictures that do
//! not wait for a question and its answer.
//!
//! Invariant: a packet is sent again at most once per round trip, and then at most twice, and once unasked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::interceptor::{
    Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket,
};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::{TransportContext, error::Error};

use crate::shared::Shared;

/// A request repeated sooner than this is a duplicate even on a LAN.
const REPEAT_MIN: Duration = Duration::from_millis(10);
/// From this round trip on, answers are sent twice. On nearer paths a second request is in time.
const FAR: Duration = Duration::from_millis(100);
/// Where this share of packets is lost. Of 5 %, one in 400 is lost twice, which few pictures notice.
const LOSSY: f64 = 0.07;

/// From this round trip on, packets are sent twice unasked. An answer comes one and a half of them after
/// what was lost; nearer, that is within what a picture waits for the sound.
const VERY_FAR: Duration = Duration::from_millis(300);
/// While so much is lost, and for so long after. Lower doubles the bits of a picture for a loss in a second.
const COPIED_LOSS: f64 = 0.04;
const COPY_FOR: Duration = Duration::from_secs(5);
/// How long after the first: longer than most bursts of losses, shorter than what jitter makes pictures
/// wait there.
const COPY_AFTER: Duration = Duration::from_millis(80);
/// Copies that wait; more are not made. Far more than a keyframe has.
const COPIES: usize = 512;

/// See the module's text.
pub(crate) struct NackResponder {
    shared: Arc<Shared>,
    copied_until: Option<Instant>,
    /// Stream and sequence number, by when.
    copies: VecDeque<(Instant, (u32, u16))>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl NackResponder {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            copied_until: None,
            copies: VecDeque::new(),
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    /// Whether each packet is to be sent twice.
    fn copies_all(&mut self, now: Instant) -> bool {
        let budget = &self.shared.budget;
        let is_far = self.shared.measured_rtt() >= Some(VERY_FAR);
        if is_far && budget.lost() >= COPIED_LOSS {
            self.copied_until = Some(now + COPY_FOR);
        }
        is_far && !budget.is_draining() && self.copied_until >= Some(now)
    }

    fn copy(&mut self, now: Instant) {
        let formats = self.shared.formats();
        while let Some((_, place)) = self.copies.pop_front_if(|(at, _)| *at <= now) {
            if self.shared.cut_layer(place.0).is_some() {
                continue;
            }
            let copy = self.shared.histories().copy(place, &formats);
            self.outbound.extend(copy.map(|packet| repair(now, packet)));
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
        let mut repeated = Vec::new();
        for pair in &nack.nacks {
            let following = (0..16_u16).filter(|bit| pair.lost_packets & (1 << bit) != 0);
            let lost = std::iter::once(0).chain(following.map(|bit| bit + 1));
            for offset in lost {
                let sequence = pair.packet_id.wrapping_add(offset);
                let place = (nack.media_ssrc, sequence);
                if let Some(packet) = histories.repeat(now, place, not_before, &formats) {
                    self.outbound.push_back(repair(now, packet));
                    repeated.push(place);
                }
            }
        }
        if is_twice {
            // Behind all of the first, so that a burst of losses does not take both.
            let copies = repeated
                .into_iter()
                .filter_map(|place| histories.copy(place, &formats));
            self.outbound
                .extend(copies.map(|packet| repair(now, packet)));
        }
    }
}

fn repair(now: Instant, packet: rtp::Packet) -> TaggedPacket {
    TaggedPacket {
        now,
        transport: TransportContext::default(),
        message: AttributedPacket::new(Packet::Rtp(packet)).with(Attribute::Retransmission),
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
            let is_kept = self.shared.histories().push(packet);
            let place = (packet.header.ssrc, packet.header.sequence_number);
            if is_kept && self.copies.len() < COPIES && self.copies_all(msg.now) {
                self.copies.push_back((msg.now + COPY_AFTER, place));
            }
        }
        self.outbound.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.copy(now);
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.copies.front().map(|(at, _)| *at)
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
            shared.histories().push(&packet(sequence_number));
        }
        NackResponder::new(shared)
    }

    fn packet(sequence_number: u16) -> rtp::Packet {
        rtp::Packet {
            header: rtp::Header {
                version: 2,
                ssrc: STREAM.0,
                payload_type: 96,
                sequence_number,
                ..rtp::Header::default()
            },
            payload: vec![0xaa].into(),
        }
    }

    /// Sends a packet; returns how many follow it unasked, and after how many milliseconds.
    fn followed(
        responder: &mut NackResponder,
        now: Instant,
        sequence: u16,
    ) -> Option<(usize, u64)> {
        let message = AttributedPacket::new(Packet::Rtp(packet(sequence)));
        let sent = TaggedPacket {
            now,
            transport: TransportContext::default(),
            message,
        };
        responder.handle_write(sent).unwrap();
        assert!(responder.poll_write().is_some(), "at once");
        let at = responder.poll_timeout()?;
        responder.handle_timeout(at).unwrap();
        let copies = std::iter::from_fn(|| responder.poll_write());
        let copies = copies.filter(|copy| match &copy.message.packet {
            Packet::Rtp(packet) => packet.header.ssrc == STREAM.1,
            _ => false,
        });
        let count = copies.count();
        Some((count, (at - now).as_millis() as u64))
    }

    #[test]
    fn where_questions_come_too_late_everything_follows_once_more() {
        let start = Instant::now();
        let mut responder = responder();
        let mut sequence = 2;
        let mut at = |responder: &mut NackResponder, s: u64, rtt_ms, lost, is_draining| {
            sequence += 1;
            responder.shared.set_rtt(Duration::from_millis(rtt_ms));
            responder.shared.budget.set_estimate(1e6, is_draining, lost);
            followed(responder, start + Duration::from_secs(s), sequence)
        };
        assert_eq!(at(&mut responder, 0, 500, 0.02, false), None);
        assert_eq!(at(&mut responder, 1, 250, 0.10, false), None);
        assert_eq!(at(&mut responder, 2, 500, 0.10, false), Some((1, 80)));
        let later = at(&mut responder, 6, 500, 0.0, false);
        assert_eq!(later, Some((1, 80)), "losses come and go");
        assert_eq!(at(&mut responder, 8, 500, 0.0, false), None);
        assert_eq!(at(&mut responder, 9, 500, 0.10, true), None, "into a queue");
        responder.shared.budget.set_estimate(1e6, false, 0.10);
        assert_eq!(at(&mut responder, 10, 500, 0.10, false), Some((1, 80)));
        responder.shared.budget.cut(0);
        let cut = at(&mut responder, 11, 500, 0.10, false);
        assert_eq!(cut, Some((0, 80)), "a keyframe will follow");
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
