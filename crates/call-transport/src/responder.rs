//! Answers the peer's NACKs from a history of sent packets, on the RTX stream where negotiated
//! (RFC 4588).
//!
//! Replaces the stack's responder because that one fixes the RTX payload type when the stream is
//! bound, which is wrong as soon as another negotiated codec is sent, and because it answers every
//! repeat of a request at once.
//!
//! Invariants: at most [`HISTORY_PACKETS`] packets per stream are kept, the oldest dropped; a packet
//! is sent again at most once per round trip, so that a peer cannot multiply our traffic.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::interceptor::{
    Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket,
};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::{TransportContext, error::Error};

use crate::formats::Formats;
use crate::shared::Shared;

/// A second of 10 Mbit/s.
const HISTORY_PACKETS: usize = 1_024;
/// A request repeated sooner than this is a duplicate even on a LAN.
const REPEAT_MIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Sent {
    packet: rtp::Packet,
    repeated_at: Option<Instant>,
}

#[derive(Debug)]
struct History {
    rtx_ssrc: Option<u32>,
    rtx_sequence: u16,
    packets: VecDeque<Sent>,
}

impl History {
    fn new(rtx_ssrc: Option<u32>, rtx_sequence: u16) -> Self {
        Self {
            rtx_ssrc,
            rtx_sequence,
            packets: VecDeque::new(),
        }
    }

    fn push(&mut self, packet: rtp::Packet) {
        if self.packets.len() == HISTORY_PACKETS {
            self.packets.pop_front();
        }
        self.packets.push_back(Sent {
            packet,
            repeated_at: None,
        });
    }

    fn repeat(
        &mut self,
        now: Instant,
        sequence: u16,
        not_before: Duration,
        formats: &Formats,
    ) -> Option<rtp::Packet> {
        let newest = self.packets.back()?.packet.header.sequence_number;
        let age = newest.wrapping_sub(sequence) as usize;
        // Sequence numbers are consecutive here up to packets the queue before us dropped, so the
        // place is a first guess and the search goes on towards the newer end.
        let from = self
            .packets
            .len()
            .checked_sub(1 + age.min(self.packets.len() - 1))?;
        let sent = self
            .packets
            .iter_mut()
            .skip(from)
            .find(|sent| sent.packet.header.sequence_number == sequence)?;
        if sent
            .repeated_at
            .is_some_and(|at| now.saturating_duration_since(at) < not_before)
        {
            return None;
        }
        sent.repeated_at = Some(now);
        let original = &sent.packet;
        let rtx = formats
            .rtx
            .get(&original.header.payload_type)
            .copied()
            .zip(self.rtx_ssrc);
        let Some((payload_type, ssrc)) = rtx else {
            return Some(original.clone());
        };
        let mut payload = Vec::with_capacity(2 + original.payload.len());
        payload.extend_from_slice(&sequence.to_be_bytes());
        payload.extend_from_slice(&original.payload);
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(rtp::Packet {
            header: rtp::Header {
                version: 2,
                ssrc,
                payload_type,
                sequence_number: self.rtx_sequence,
                timestamp: original.header.timestamp,
                marker: original.header.marker,
                // An SFU reads the descriptor of a repaired packet as of any other.
                extension: original.header.extension,
                extension_profile: original.header.extension_profile,
                extensions: original.header.extensions.clone(),
                extensions_padding: original.header.extensions_padding,
                ..rtp::Header::default()
            },
            payload: payload.into(),
        })
    }
}

/// See the module's text.
pub(crate) struct NackResponder {
    shared: Arc<Shared>,
    streams: BTreeMap<u32, History>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl NackResponder {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            streams: BTreeMap::new(),
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    fn handle_nack(&mut self, now: Instant, nack: &TransportLayerNack) {
        let Some(stream) = self.streams.get_mut(&nack.media_ssrc) else {
            return;
        };
        // Before the first measurement the peer may know the round trip better than we do.
        let rtt = self.shared.measured_rtt().unwrap_or_default();
        let not_before = rtt.mul_f32(0.9).max(REPEAT_MIN);
        let formats = self.shared.formats();
        for pair in &nack.nacks {
            let following = (0..16_u16).filter(|bit| pair.lost_packets & (1 << bit) != 0);
            let lost = std::iter::once(0).chain(following.map(|bit| bit + 1));
            for offset in lost {
                let sequence = pair.packet_id.wrapping_add(offset);
                if let Some(packet) = stream.repeat(now, sequence, not_before, &formats) {
                    self.outbound.push_back(TaggedPacket {
                        now,
                        transport: TransportContext::default(),
                        message: AttributedPacket::new(Packet::Rtp(packet))
                            .with(Attribute::Retransmission),
                    });
                }
            }
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
        if let Packet::Rtp(packet) = &msg.message.packet
            && let Some(stream) = self.streams.get_mut(&packet.header.ssrc)
        {
            stream.push(packet.clone());
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
            let history = History::new(info.ssrc_rtx, rand::random());
            self.streams.entry(info.ssrc).or_insert(history);
        }
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
    }

    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}

    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, payload_type: u8) -> rtp::Packet {
        rtp::Packet {
            header: rtp::Header {
                version: 2,
                ssrc: 1,
                payload_type,
                sequence_number: sequence,
                timestamp: 9,
                marker: true,
                ..rtp::Header::default()
            },
            payload: vec![0xaa, 0xbb].into(),
        }
    }

    #[test]
    fn rtx_carries_the_payload_type_of_the_codec_that_was_sent() {
        let now = Instant::now();
        let mut formats = Formats::default();
        formats.rtx.extend([(96, 97), (98, 99)]);
        let mut history = History::new(Some(2), 10);
        history.push(packet(65_535, 96));
        history.push(packet(0, 98));
        for (sequence, payload_type, rtx_sequence) in [(0, 99, 11), (65_535, 97, 12)] {
            let rtx = history.repeat(now, sequence, REPEAT_MIN, &formats).unwrap();
            assert_eq!((rtx.header.version, rtx.header.ssrc), (2, 2));
            assert_eq!(rtx.header.payload_type, payload_type);
            assert_eq!(rtx.header.sequence_number, rtx_sequence);
            assert_eq!((rtx.header.timestamp, rtx.header.marker), (9, true));
            assert_eq!(rtx.payload[..2], u16::to_be_bytes(sequence));
            assert_eq!(rtx.payload[2..], [0xaa, 0xbb]);
        }
    }

    #[test]
    fn repeats_are_limited_history_is_bounded_and_gaps_are_found() {
        let now = Instant::now();
        let formats = Formats::default();
        let mut history = History::new(None, 0);
        for sequence in 0..2_000 {
            if sequence % 10 != 3 {
                history.push(packet(sequence, 96));
            }
        }
        assert_eq!(history.packets.len(), HISTORY_PACKETS);
        let limit = Duration::from_millis(50);
        assert!(history.repeat(now, 1_900, limit, &formats).is_some());
        assert!(
            history.repeat(now, 1_900, limit, &formats).is_none(),
            "asked again at once"
        );
        assert!(
            history
                .repeat(now + limit, 1_900, limit, &formats)
                .is_some()
        );
        assert!(
            history.repeat(now, 1_100, limit, &formats).is_some(),
            "behind dropped packets"
        );
        assert!(
            history.repeat(now, 1_993, limit, &formats).is_none(),
            "never sent"
        );
        assert!(history.repeat(now, 5, limit, &formats).is_none(), "too old");
        assert!(
            history.repeat(now, 2_500, limit, &formats).is_none(),
            "from the future"
        );
    }
}
