//! Contents of files on the bulk channel. All numbers little-endian.
//!
//! ```text
//! hashes: 1 | offer 16 | file u32 | first group u32 | chaining values, 32 bytes per group
//! piece:  2 | offer 16 | file u32 | offset u64      | bytes
//! ```
//!
//! A chaining value is BLAKE3's of one whole group at its place in the file; together they give the
//! file's hash. Pieces never cross a group's end and come in order within a group.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::file::OfferId;
use crate::limits;

const HASHES: u8 = 1;
const PIECE: u8 = 2;
/// Bytes of one chaining value.
pub const HASH_BYTES: usize = 32;
/// Bytes in front of a piece's data.
pub const PIECE_HEADER_BYTES: usize = 1 + 16 + 4 + 8;
/// Bytes in front of chaining values.
const HASHES_HEADER_BYTES: usize = 1 + 16 + 4 + 4;
/// Most chaining values in one message.
pub const HASHES_PER_MESSAGE: usize =
    (limits::CHANNEL_MESSAGE_BYTES - HASHES_HEADER_BYTES) / HASH_BYTES;

/// One message of the bulk channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkMessage {
    /// Chaining values of consecutive groups.
    Hashes {
        /// Of which offer.
        offer: OfferId,
        /// Of which of its files.
        file: u32,
        /// Of which group on.
        first: u32,
        /// [`HASH_BYTES`] per group, at least one group.
        values: Bytes,
    },
    /// Bytes of a file.
    Piece {
        /// Of which offer.
        offer: OfferId,
        /// Of which of its files.
        file: u32,
        /// Where in the file.
        offset: u64,
        /// At least one byte.
        data: Bytes,
    },
}

impl BulkMessage {
    /// Parses a message without copying its contents. `None`: malformed.
    pub fn parse(mut message: Bytes) -> Option<Self> {
        if message.len() < HASHES_HEADER_BYTES {
            return None;
        }
        let kind = message.get_u8();
        let mut offer = [0; 16];
        message.copy_to_slice(&mut offer);
        let offer = OfferId(offer);
        let file = message.get_u32_le();
        match kind {
            HASHES => {
                let first = message.get_u32_le();
                let is_whole = !message.is_empty() && message.len().is_multiple_of(HASH_BYTES);
                is_whole.then_some(Self::Hashes {
                    offer,
                    file,
                    first,
                    values: message,
                })
            }
            PIECE if message.len() > 8 => {
                let offset = message.get_u64_le();
                Some(Self::Piece {
                    offer,
                    file,
                    offset,
                    data: message,
                })
            }
            _ => None,
        }
    }

    /// The message as it is sent.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Hashes {
                offer,
                file,
                first,
                values,
            } => {
                let mut out = header(HASHES, *offer, *file, HASHES_HEADER_BYTES + values.len());
                out.put_u32_le(*first);
                out.extend_from_slice(values);
                out.freeze()
            }
            Self::Piece {
                offer,
                file,
                offset,
                data,
            } => {
                let mut out = piece_header(*offer, *file, *offset, data.len());
                out.extend_from_slice(data);
                out.freeze()
            }
        }
    }
}

/// The header of a piece with room for `data_bytes` after it, so that a file can be read straight
/// into the message.
pub fn piece_header(offer: OfferId, file: u32, offset: u64, data_bytes: usize) -> BytesMut {
    let mut out = header(PIECE, offer, file, PIECE_HEADER_BYTES + data_bytes);
    out.put_u64_le(offset);
    out
}

fn header(kind: u8, offer: OfferId, file: u32, capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(capacity);
    out.put_u8(kind);
    out.extend_from_slice(&offer.0);
    out.put_u32_le(file);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_layouts_hold() {
        let offer = OfferId([7; 16]);
        let piece = BulkMessage::Piece {
            offer,
            file: 3,
            offset: 0x0102_0304_0506,
            data: Bytes::from_static(b"abc"),
        };
        let bytes = piece.to_bytes();
        assert_eq!(bytes[0], 2);
        assert_eq!(bytes[17..21], [3, 0, 0, 0]);
        assert_eq!(bytes[21..29], [6, 5, 4, 3, 2, 1, 0, 0]);
        assert_eq!(&bytes[PIECE_HEADER_BYTES..], b"abc");
        assert_eq!(BulkMessage::parse(bytes), Some(piece));
        let hashes = BulkMessage::Hashes {
            offer,
            file: 0,
            first: 9,
            values: Bytes::from(vec![5; 64]),
        };
        assert_eq!(BulkMessage::parse(hashes.to_bytes()), Some(hashes));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let whole = BulkMessage::Piece {
            offer: OfferId([7; 16]),
            file: 3,
            offset: 1,
            data: Bytes::from_static(b"a"),
        }
        .to_bytes();
        for len in 0..whole.len() {
            assert_eq!(BulkMessage::parse(whole.slice(..len)), None, "{len}");
        }
        let mut hashes = vec![0; HASHES_HEADER_BYTES + 33];
        hashes[0] = HASHES;
        assert_eq!(BulkMessage::parse(Bytes::from(hashes.clone())), None);
        hashes.truncate(HASHES_HEADER_BYTES);
        assert_eq!(BulkMessage::parse(Bytes::from(hashes)), None);
        assert_eq!(BulkMessage::parse(Bytes::from(vec![9; 100])), None);
    }
}
