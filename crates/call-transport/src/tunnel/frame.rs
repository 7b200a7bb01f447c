//! The tunnel's frames on the wire; docs/protocol.md has the same for people.
//!
//! All numbers are big-endian. Packet and datagram numbers are the low 32 bits of a 64-bit count;
//! [`expand`] finds the rest. Parsing bounds everything and refuses what it cannot use with `None`.
//!
//! Deliberately not here: what frames mean.

/// What both ends must speak alike.
pub(crate) const VERSION: u8 = 2;
/// Bytes a datagram, or each piece of one, grows by in the tunnel.
pub(crate) const DATA_HEADER_BYTES: usize = 13;
/// What is larger goes in pieces of this size: one packet of the stack's SCTP at its usual size with
/// DTLS around it, and with our header and those of UDP and IPv6 1301 bytes. Larger costs paths with narrow tunnels
/// of their own everything, smaller costs time per byte.
pub(crate) const PIECE_BYTES: usize = 1_240;
/// Largest datagram: one record of DTLS with everything around it (RFC 6347, section 4.1: 2^14 bytes
/// and 2048 of expansion at most).
pub(crate) const DATAGRAM_BYTES: usize = 16_384 + 2_048 + 13;
/// Ranges in one acknowledgement: each is a run of packets that arrived. More survive the loss of
/// more acknowledgements, at 4 bytes each; 64 are six acknowledgements at 20 % loss and 100 Mbit/s.
pub(crate) const MAX_RANGES: usize = 64;
/// Of the first bytes RFC 7983 leaves unassigned.
const HELLO: u8 = 0xc1;
const WELCOME: u8 = 0xc2;
const DATA: u8 = 0xc3;
const ACK: u8 = 0xc4;
const PIECE: u8 = 0xc5;
const ACK_HEADER_BYTES: usize = 20;

/// Whether a datagram could be one of ours, by its first byte (RFC 7983: 192 to 255 are free).
pub(crate) fn is_frame(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first >= 0xc0)
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// "I want to send to you through a tunnel named `token`."
    Hello {
        /// Drawn at random by whoever sends data.
        token: u32,
        /// [`VERSION`].
        version: u8,
    },
    /// "I will take it."
    Welcome {
        /// The one of the hello.
        token: u32,
        /// [`VERSION`].
        version: u8,
    },
    /// One datagram, or a piece of one.
    Data {
        /// The one of the hello.
        token: u32,
        /// Counts transmissions.
        packet: u32,
        /// Counts datagrams and pieces; the same in each transmission of one.
        datagram: u32,
        /// Whether the number after this one holds what follows in the same datagram.
        has_more: bool,
        /// The datagram, or the piece.
        payload: &'a [u8],
    },
    /// What arrived.
    Ack(Ack<'a>),
}

/// What a receiver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack<'a> {
    /// The one of the hello.
    pub(crate) token: u32,
    /// Every datagram before this one has arrived.
    pub(crate) next: u32,
    /// The latest packet that arrived.
    pub(crate) largest: u32,
    /// When it did, in microseconds of any clock.
    pub(crate) arrived_us: u32,
    /// How long ago that was when this frame was made; saturates.
    pub(crate) held_us: u16,
    ranges: &'a [u8],
}

impl Ack<'_> {
    /// The packets that arrived, as inclusive ranges downwards from the latest one, which is
    /// `largest` in full. Ends where the numbers would go below zero.
    pub(crate) fn ranges(&self, largest: u64) -> impl Iterator<Item = (u64, u64)> {
        let mut high = Some(largest);
        self.ranges.chunks_exact(4).map_while(move |pair| {
            let top = high?;
            let count = u64::from(u16::from_be_bytes([pair[0], pair[1]]));
            let gap = u64::from(u16::from_be_bytes([pair[2], pair[3]]));
            let low = top.checked_sub(count.checked_sub(1)?)?;
            high = low.checked_sub(gap + 1);
            Some((low, top))
        })
    }
}

/// Reads one datagram.
pub(crate) fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let (kind, rest) = bytes.split_first()?;
    let (token, rest) = number(rest)?;
    match *kind {
        HELLO => {
            let version = *rest.first()?;
            Some(Frame::Hello { token, version })
        }
        WELCOME => {
            let version = *rest.first()?;
            Some(Frame::Welcome { token, version })
        }
        DATA | PIECE => {
            let (packet, rest) = number(rest)?;
            let (datagram, payload) = number(rest)?;
            (!payload.is_empty()).then_some(Frame::Data {
                token,
                packet,
                datagram,
                has_more: *kind == PIECE,
                payload,
            })
        }
        ACK => {
            let (next, rest) = number(rest)?;
            let (largest, rest) = number(rest)?;
            let (arrived_us, rest) = number(rest)?;
            let (held, rest) = rest.split_first_chunk::<2>()?;
            let (count, ranges) = rest.split_first()?;
            let ranges = ranges.get(..usize::from(*count) * 4)?;
            (1..=MAX_RANGES)
                .contains(&usize::from(*count))
                .then_some(Frame::Ack(Ack {
                    token,
                    next,
                    largest,
                    arrived_us,
                    held_us: u16::from_be_bytes(*held),
                    ranges,
                }))
        }
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// The count nearest to `reference` whose low 32 bits these are; `None` below zero.
pub(crate) fn expand(low: u32, reference: u64) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    let distance = low.wrapping_sub(reference as u32) as i32;
    reference.checked_add_signed(i64::from(distance))
}

/// Appends a hello.
pub(crate) fn write_hello(out: &mut Vec<u8>, token: u32) {
    out.push(HELLO);
    out.extend_from_slice(&token.to_be_bytes());
    out.push(VERSION);
}

/// Appends the answer to a hello.
pub(crate) fn write_welcome(out: &mut Vec<u8>, token: u32) {
    out.push(WELCOME);
    out.extend_from_slice(&token.to_be_bytes());
    out.push(VERSION);
}

/// Appends a data frame.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn write_data(
    out: &mut Vec<u8>,
    token: u32,
    packet: u64,
    datagram: u64,
    has_more: bool,
    payload: &[u8],
) {
    out.push(if has_more { PIECE } else { DATA });
    out.extend_from_slice(&token.to_be_bytes());
    out.extend_from_slice(&(packet as u32).to_be_bytes());
    out.extend_from_slice(&(datagram as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends an acknowledgement. `ranges` are the inclusive runs of packets that arrived, latest first
/// and at least one; beyond [`MAX_RANGES`] the oldest are left out.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn write_ack(
    out: &mut Vec<u8>,
    token: u32,
    next: u64,
    arrived_us: u64,
    held_us: u64,
    ranges: impl IntoIterator<Item = (u64, u64)>,
) {
    let begin = out.len();
    out.resize(begin + ACK_HEADER_BYTES, 0);
    let (mut count, mut below, mut largest) = (0_u8, None, 0);
    'runs: for (low, high) in ranges {
        let mut high = high;
        if let Some(above) = below {
            let gap: u64 = above - high - 1;
            let at = out.len() - 2;
            let Ok(gap) = u16::try_from(gap) else { break };
            out[at..].copy_from_slice(&gap.to_be_bytes());
        } else {
            largest = high;
        }
        loop {
            if usize::from(count) == MAX_RANGES {
                break 'runs;
            }
            let length = (high - low + 1).min(u64::from(u16::MAX));
            out.extend_from_slice(&(length as u16).to_be_bytes());
            out.extend_from_slice(&[0, 0]);
            count += 1;
            let bottom = high - (length - 1);
            below = Some(bottom);
            if bottom == low {
                break;
            }
            high = bottom - 1;
        }
    }
    let header = &mut out[begin..begin + ACK_HEADER_BYTES];
    header[0] = ACK;
    header[1..5].copy_from_slice(&token.to_be_bytes());
    header[5..9].copy_from_slice(&(next as u32).to_be_bytes());
    header[9..13].copy_from_slice(&(largest as u32).to_be_bytes());
    header[13..17].copy_from_slice(&(arrived_us as u32).to_be_bytes());
    let held = u16::try_from(held_us).unwrap_or(u16::MAX);
    header[17..19].copy_from_slice(&held.to_be_bytes());
    header[19] = count;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_written() {
        let mut out = Vec::new();
        write_hello(&mut out, 7);
        let want = Frame::Hello {
            token: 7,
            version: VERSION,
        };
        assert_eq!(parse(&out), Some(want));
        out.clear();
        write_welcome(&mut out, u32::MAX);
        let want = Frame::Welcome {
            token: u32::MAX,
            version: VERSION,
        };
        assert_eq!(parse(&out), Some(want));
        for has_more in [false, true] {
            out.clear();
            write_data(&mut out, 9, (1 << 32) + 5, 3, has_more, b"datagram");
            assert_eq!(out.len(), DATA_HEADER_BYTES + 8);
            let want = Frame::Data {
                token: 9,
                packet: 5,
                datagram: 3,
                has_more,
                payload: b"datagram",
            };
            assert_eq!(parse(&out), Some(want));
        }
    }

    #[test]
    fn acknowledgements_name_every_run() {
        let long = 3 * u64::from(u16::MAX);
        for runs in [
            vec![(0, 0)],
            vec![(10, 12), (7, 8), (0, 3)],
            vec![(long + 9, long + 20), (2, long)],
            (0..200).rev().map(|n| (n * 3 + 1, n * 3 + 2)).collect(),
        ] {
            let mut out = Vec::new();
            write_ack(&mut out, 1, 4, 1 << 33, 70_000, runs.iter().copied());
            let Some(Frame::Ack(ack)) = parse(&out) else {
                panic!("not parsed: {runs:?}");
            };
            let largest = runs[0].1;
            assert_eq!((ack.next, ack.arrived_us, ack.held_us), (4, 0, u16::MAX));
            assert_eq!(expand(ack.largest, largest + 5), Some(largest));
            let mut all: Vec<u64> = Vec::new();
            for (low, high) in ack.ranges(largest) {
                all.extend(low..=high);
            }
            let mut want: Vec<u64> = Vec::new();
            for (low, high) in runs.iter().take(MAX_RANGES) {
                want.extend(*low..=*high);
            }
            all.sort_unstable();
            want.sort_unstable();
            assert_eq!(all, want);
        }
    }

    #[test]
    fn malformed_frames_are_refused() {
        let mut ack = Vec::new();
        write_ack(&mut ack, 1, 0, 0, 0, [(5, 9), (1, 2)]);
        let mut no_ranges = ack.clone();
        no_ranges[19] = 0;
        let mut too_many = ack.clone();
        too_many[19] = 65;
        too_many.resize(20 + 65 * 4, 1);
        for bytes in [&[][..], &[0xc0; 40], &[0xff; 40], &no_ranges, &too_many] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
        let mut data = Vec::new();
        write_data(&mut data, 1, 0, 0, false, b"x");
        let mut hello = Vec::new();
        write_hello(&mut hello, 1);
        for whole in [ack, data, hello] {
            for length in 0..whole.len() {
                assert_eq!(parse(&whole[..length]), None, "{length} of {whole:?}");
            }
        }
    }

    #[test]
    fn ranges_below_zero_and_empty_runs_end_the_list() {
        let mut out = Vec::new();
        write_ack(&mut out, 1, 0, 0, 0, [(100, 120), (1, 50)]);
        let Some(Frame::Ack(ack)) = parse(&out) else {
            panic!("not parsed");
        };
        assert_eq!(ack.ranges(30).collect::<Vec<_>>(), [(10, 30)]);
        assert_eq!(ack.ranges(5).count(), 0);
        out[20..22].copy_from_slice(&[0, 0]);
        let Some(Frame::Ack(ack)) = parse(&out) else {
            panic!("not parsed");
        };
        assert_eq!(ack.ranges(120).count(), 0);
    }

    #[test]
    fn numbers_expand_to_the_nearest() {
        for (low, reference, want) in [
            (5, 3, Some(5)),
            (u32::MAX, 3, None),
            (u32::MAX, 1 << 32, Some((1 << 32) - 1)),
            (2, (1 << 32) - 2, Some((1 << 32) + 2)),
        ] {
            assert_eq!(expand(low, reference), want, "{low} near {reference}");
        }
    }
}
