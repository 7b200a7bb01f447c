//! Sound sent more than once: a packet that carries copies of the frames before its own, in the
//! format of RFC 2198, so that a frame is missing only where all packets that carry it are lost.
//!
//! ```text
//! copy:    1 | type, 7 bits | ticks before the own frame, 14 bits | bytes, 10 bits     4 bytes each
//! own:     0 | type, 7 bits                                                            1 byte
//! then the copies' bytes, oldest first, and the own frame's, which are the rest
//! ```
//!
//! Copies are of the packets right before, without a hole, so that the n-th from the end has the
//! sequence number n less (in RFC 2198 that follows from nothing but the timestamps).
//!
//! Invariants: at most [`MOST_COPIES`] are sent and [`MOST_READ`] read; what does not follow the
//! format is refused whole; reading copies no bytes.
//!
//! Deliberately not here: how many copies what loss is worth (call-core), and where copies go
//! (the [jitter buffer](super::jitter)).

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

/// Most copies sent of a frame.
pub const MOST_COPIES: usize = 3;
/// Most copies read: those of senders that do more.
pub const MOST_READ: usize = 8;
/// Payload type of an Opus frame inside.
const OPUS: u8 = 111;
const FOLLOWED: u8 = 0x80;
const COPY_HEADER_BYTES: usize = 4;
/// Ticks that fit: 341 ms at 48 kHz. What lies further back is not worth a copy.
const MOST_TICKS: u32 = (1 << 14) - 1;
const MOST_BYTES: usize = (1 << 10) - 1;

/// Remembers what was sent and adds it to what is sent next.
#[derive(Debug, Default)]
pub struct RedWriter {
    copies: usize,
    /// The last packets' timestamps and frames, oldest first.
    sent: VecDeque<(u32, Bytes)>,
}

impl RedWriter {
    /// How many packets more each frame is sent in, at most [`MOST_COPIES`].
    pub fn set_copies(&mut self, copies: usize) {
        self.copies = copies.min(MOST_COPIES);
    }

    /// The next packet has a number that does not follow the last one's.
    pub fn clear(&mut self) {
        self.sent.clear();
    }

    /// The payload that carries this frame (RTP timestamp at 48 kHz) and copies.
    pub fn write(&mut self, timestamp_48khz: u32, frame: &Bytes) -> Bytes {
        let fits = |(timestamp, copy): &&(u32, Bytes)| {
            timestamp_48khz.wrapping_sub(*timestamp) <= MOST_TICKS && copy.len() <= MOST_BYTES
        };
        let newest_first = self.sent.iter().rev().take(self.copies).take_while(fits);
        let count = newest_first.count();
        let copies = self.sent.range(self.sent.len() - count..);
        let mut payload = BytesMut::with_capacity(self.bytes(count) + 1 + frame.len());
        for (timestamp, copy) in copies.clone() {
            let ticks = timestamp_48khz.wrapping_sub(*timestamp);
            payload.put_u8(FOLLOWED | OPUS);
            payload.put_uint(u64::from(ticks << 10) | copy.len() as u64, 3);
        }
        payload.put_u8(OPUS);
        copies.for_each(|(_, copy)| payload.extend_from_slice(copy));
        payload.extend_from_slice(frame);
        while self.sent.len() >= MOST_COPIES {
            self.sent.pop_front();
        }
        self.sent.push_back((timestamp_48khz, frame.clone()));
        payload.freeze()
    }

    fn bytes(&self, count: usize) -> usize {
        let copies = self.sent.range(self.sent.len() - count..);
        copies.map(|(_, copy)| COPY_HEADER_BYTES + copy.len()).sum()
    }
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Red {
    /// Its own frame.
    pub frame: Bytes,
    /// The frames sent before, oldest first.
    pub copies: [Option<Copied>; MOST_READ],
}

/// A frame alone.
impl From<Bytes> for Red {
    fn from(frame: Bytes) -> Self {
        Self {
            frame,
            copies: [const { None }; MOST_READ],
        }
    }
}

/// A frame sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How many packets before, from 1.
    pub packets_before: u16,
    /// How much sound before, in ticks of 48 kHz.
    pub ticks_before: u32,
    /// The frame.
    pub frame: Bytes,
}

impl Red {
    /// Reads a payload; `None` if it does not follow the format or carries another codec.
    pub fn read(payload: &Bytes) -> Option<Self> {
        let mut sizes = [(0, 0); MOST_READ];
        let (mut count, mut at) = (0, 0);
        loop {
            let first = *payload.get(at)?;
            if first & !FOLLOWED != OPUS {
                return None;
            }
            if first & FOLLOWED == 0 {
                at += 1;
                break;
            }
            let header = payload.get(at..at + COPY_HEADER_BYTES)?;
            let word = u32::from_be_bytes(header.try_into().ok()?);
            *sizes.get_mut(count)? = ((word >> 10) & MOST_TICKS, word as usize & MOST_BYTES);
            count += 1;
            at += COPY_HEADER_BYTES;
        }
        let mut copies = [const { None }; MOST_READ];
        for (index, (ticks_before, bytes)) in sizes.into_iter().take(count).enumerate() {
            let end = at + bytes;
            if end > payload.len() {
                return None;
            }
            // An empty block is one that was left out, a copy of now is none.
            if bytes > 0 && ticks_before > 0 {
                copies[index] = Some(Copied {
                    packets_before: (count - index) as u16,
                    ticks_before,
                    frame: payload.slice(at..end),
                });
            }
            at = end;
        }
        let frame = payload.slice(at..);
        (!frame.is_empty()).then_some(Self { frame, copies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u8) -> Bytes {
        Bytes::from(vec![number; usize::from(number % 5) + 1])
    }

    fn read(payload: &Bytes) -> (Bytes, Vec<(u16, u32, Bytes)>) {
        let Red { frame, copies } = Red::read(payload).unwrap();
        let copies = copies.into_iter().flatten();
        let copies = copies.map(|it| (it.packets_before, it.ticks_before, it.frame));
        (frame, copies.collect())
    }

    #[test]
    fn a_packet_carries_the_frames_before_it() {
        let mut writer = RedWriter::default();
        let first = u32::MAX - 960;
        let at = |n: u8| first.wrapping_add(u32::from(n) * 960);
        assert_eq!(&writer.write(at(0), &frame(0))[..], [OPUS, 0], "no copies");
        writer.set_copies(2);
        let one = (1, 960, frame(0));
        assert_eq!(read(&writer.write(at(1), &frame(1))), (frame(1), vec![one]));
        for n in 2..9 {
            let copies = vec![(2, 1_920, frame(n - 2)), (1, 960, frame(n - 1))];
            assert_eq!(read(&writer.write(at(n), &frame(n))), (frame(n), copies));
        }
        writer.set_copies(9);
        let (_, copies) = read(&writer.write(at(9), &frame(9)));
        assert_eq!(copies.len(), MOST_COPIES);
        // After a pause only what is still worth it goes along.
        let later = at(9).wrapping_add(MOST_TICKS);
        let copies = vec![(1, MOST_TICKS, frame(9))];
        assert_eq!(read(&writer.write(later, &frame(10))), (frame(10), copies));
        writer.clear();
        assert_eq!(read(&writer.write(later, &frame(11))).1, []);
        // Nothing is copied from before a frame that is too large, because numbers would not follow.
        let large = Bytes::from(vec![1; MOST_BYTES + 1]);
        writer.write(later + 1, &large);
        assert_eq!(read(&writer.write(later + 2, &frame(12))).1, []);
    }

    #[test]
    fn what_does_not_follow_the_format_is_refused() {
        let mut writer = RedWriter::default();
        writer.set_copies(3);
        let mut whole = Bytes::new();
        for n in 0..4_u8 {
            whole = writer.write(u32::from(n) * 960, &Bytes::from(vec![n; 7]));
        }
        // Cut off before the last byte of its own frame it is another packet, or none.
        for cut in 0..whole.len() {
            let got = Red::read(&whole.slice(..cut));
            assert_eq!(got.is_some(), cut > whole.len() - 7, "{cut}");
        }
        let copy = |bytes: u8| vec![FOLLOWED | OPUS, 0, 4, bytes];
        let with = |copies: usize| {
            let mut payload = copy(0).repeat(copies);
            payload.extend_from_slice(&[OPUS, 1]);
            Bytes::from(payload)
        };
        assert_eq!(read(&with(MOST_READ)), (Bytes::from_static(&[1]), vec![]));
        assert_eq!(Red::read(&with(MOST_READ + 1)), None);
        for bad in [
            vec![],
            vec![OPUS],
            vec![96, 1],
            vec![FOLLOWED | 96, 0, 4, 0, OPUS, 1],
        ] {
            assert_eq!(Red::read(&Bytes::from(bad.clone())), None, "{bad:?}");
        }
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..state % 40)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let byte = (state >> 24) as u8;
                    if byte < 100 { FOLLOWED | OPUS } else { byte }
                })
                .collect();
            state = state.wrapping_add(1);
            if let Some(red) = Red::read(&Bytes::from(bytes.clone())) {
                let copies = red.copies.iter().flatten();
                let copied: usize = copies.map(|it| it.frame.len()).sum();
                assert!(red.frame.len() + copied < bytes.len());
            }
        }
    }
}
