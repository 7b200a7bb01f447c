//! Packets of pictures that were sent, to be sent again: when the peer asks (RFC 4585) and as padding
//! of probes ([`crate::estimator::probe`]), on the stream's retransmission stream (RFC 4588) where
//! there is one.
//!
//! Invariants: at most [`HISTORY_PACKETS`] packets per stream are kept, the oldest dropped; a packet
//! is repeated on request at most once per round trip (twice where the answerer,
//! [`crate::responder`], wants it so), so that a peer cannot multiply our traffic; padding and second
//! copies need a retransmission stream, because on the original one they would be replays, which
//! the peer's SRTP refuses.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rtc::rtp;

use crate::formats::Formats;

/// A second of 10 Mbit/s.
const HISTORY_PACKETS: usize = 1_024;
/// Padding repeats the latest packets: receivers remember those, and drop them.
const PADDING_PACKETS: usize = 32;

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
    padded: usize,
}

impl History {
    fn new(rtx_ssrc: Option<u32>, rtx_sequence: u16) -> Self {
        Self {
            rtx_ssrc,
            rtx_sequence,
            packets: VecDeque::new(),
            padded: 0,
        }
    }

    fn push(&mut self, packet: rtp::Packet) {
        if self.packets.len() == HISTORY_PACKETS {
            self.packets.pop_front();
        }
        self.padded = 0;
        self.packets.push_back(Sent {
            packet,
            repeated_at: None,
        });
    }

    /// Where the packet with this number is.
    fn place(&self, sequence: u16) -> Option<usize> {
        let newest = self.packets.back()?.packet.header.sequence_number;
        let age = newest.wrapping_sub(sequence) as usize;
        // Sequence numbers are consecutive here up to packets the queue before us dropped, so the
        // place is a first guess and the search goes on towards the newer end.
        let from = self
            .packets
            .len()
            .checked_sub(1 + age.min(self.packets.len() - 1))?;
        (from..self.packets.len())
            .find(|place| self.packets[*place].packet.header.sequence_number == sequence)
    }

    fn repeat(
        &mut self,
        now: Instant,
        sequence: u16,
        not_before: Duration,
        formats: &Formats,
    ) -> Option<rtp::Packet> {
        let place = self.place(sequence)?;
        let sent = &mut self.packets[place];
        if sent
            .repeated_at
            .is_some_and(|at| now.saturating_duration_since(at) < not_before)
        {
            return None;
        }
        sent.repeated_at = Some(now);
        let original = sent.packet.clone();
        Some(self.rtx(&original, formats).unwrap_or(original))
    }

    fn copy(&mut self, sequence: u16, formats: &Formats) -> Option<rtp::Packet> {
        let original = self.packets[self.place(sequence)?].packet.clone();
        self.rtx(&original, formats)
    }

    fn pad(&mut self, formats: &Formats) -> Option<rtp::Packet> {
        let place = self.packets.len().checked_sub(1 + self.padded)?;
        let original = self.packets[place].packet.clone();
        let packet = self.rtx(&original, formats)?;
        self.padded = (self.padded + 1) % PADDING_PACKETS.min(self.packets.len());
        Some(packet)
    }

    fn rtx(&mut self, original: &rtp::Packet, formats: &Formats) -> Option<rtp::Packet> {
        let (payload_type, ssrc) = formats
            .rtx
            .get(&original.header.payload_type)
            .copied()
            .zip(self.rtx_ssrc)?;
        let mut payload = Vec::with_capacity(2 + original.payload.len());
        payload.extend_from_slice(&original.header.sequence_number.to_be_bytes());
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

/// The histories of all streams of a link.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    streams: BTreeMap<u32, History>,
    newest: Option<u32>,
}

impl Histories {
    /// Keeps a stream's packets from now on.
    pub(crate) fn bind(&mut self, ssrc: u32, rtx_ssrc: Option<u32>) {
        let history = || History::new(rtx_ssrc, rand::random());
        self.streams.entry(ssrc).or_insert_with(history);
    }

    pub(crate) fn unbind(&mut self, ssrc: u32) {
        self.streams.remove(&ssrc);
    }

    /// Nothing that was sent before on this stream is worth sending again.
    pub(crate) fn forget(&mut self, ssrc: u32) {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.packets.clear();
            stream.padded = 0;
        }
    }

    /// A packet is about to be sent. Whether its stream is kept.
    pub(crate) fn push(&mut self, packet: &rtp::Packet) -> bool {
        let Some(stream) = self.streams.get_mut(&packet.header.ssrc) else {
            return false;
        };
        stream.push(packet.clone());
        self.newest = Some(packet.header.ssrc);
        true
    }

    /// A packet to be sent again, unless it is unknown or was repeated less than `not_before` ago.
    pub(crate) fn repeat(
        &mut self,
        now: Instant,
        (ssrc, sequence): (u32, u16),
        not_before: Duration,
        formats: &Formats,
    ) -> Option<rtp::Packet> {
        let stream = self.streams.get_mut(&ssrc)?;
        stream.repeat(now, sequence, not_before, formats)
    }

    /// A second copy of a packet that was just repeated; none without a retransmission stream.
    pub(crate) fn copy(
        &mut self,
        (ssrc, sequence): (u32, u16),
        formats: &Formats,
    ) -> Option<rtp::Packet> {
        self.streams.get_mut(&ssrc)?.copy(sequence, formats)
    }

    /// A packet that may be sent in vain.
    pub(crate) fn pad(&mut self, formats: &Formats) -> Option<rtp::Packet> {
        self.streams.get_mut(&self.newest?)?.pad(formats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPEAT_MIN: Duration = Duration::from_millis(10);

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

    #[test]
    fn second_copies_go_on_the_retransmission_stream_or_not_at_all() {
        let mut formats = Formats::default();
        let mut history = History::new(Some(2), 10);
        history.push(packet(7, 96));
        assert!(history.copy(7, &formats).is_none(), "no such format");
        formats.rtx.insert(96, 97);
        let copy = history.copy(7, &formats).unwrap();
        assert_eq!((copy.header.ssrc, copy.header.sequence_number), (2, 11));
        assert_eq!(copy.payload[..], [0, 7, 0xaa, 0xbb]);
        assert!(history.copy(8, &formats).is_none(), "never sent");
    }

    #[test]
    fn padding_is_the_latest_packets_over_and_over() {
        let mut formats = Formats::default();
        let mut histories = Histories::default();
        assert!(histories.pad(&formats).is_none(), "nothing sent");
        histories.bind(1, Some(2));
        for sequence in 7..10 {
            histories.push(&packet(sequence, 96));
        }
        assert!(
            histories.pad(&formats).is_none(),
            "no retransmission format"
        );
        formats.rtx.insert(96, 97);
        let padding: Vec<(u32, u16)> = (0..4)
            .map(|_| histories.pad(&formats).unwrap())
            .map(|packet| {
                let original = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
                (packet.header.ssrc, original)
            })
            .collect();
        assert_eq!(padding, [(2, 9), (2, 8), (2, 7), (2, 9)]);
        let now = Instant::now();
        let repeated = histories.repeat(now, (1, 9), REPEAT_MIN, &formats);
        assert!(repeated.is_some(), "padding does not count as an answer");
    }
}
