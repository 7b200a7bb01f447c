//! VP8 payload descriptor, RFC 7741 section 4.2.

use bytes::{BufMut, Bytes, BytesMut};

use super::{MAX_PAYLOAD_BYTES, Part, balanced_chunks};

/// Descriptor with extension byte and 15-bit picture id.
const DESCRIPTOR_BYTES: usize = 4;
const EXTENDED: u8 = 0x80;
const START_OF_PARTITION: u8 = 0x10;

pub(super) fn packetize(data: &[u8], picture_id: u16) -> Vec<Bytes> {
    balanced_chunks(data, MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES)
        .enumerate()
        .map(|(index, chunk)| {
            let mut payload = BytesMut::with_capacity(DESCRIPTOR_BYTES + chunk.len());
            payload.put_u8(EXTENDED | if index == 0 { START_OF_PARTITION } else { 0 });
            payload.put_u8(0x80);
            payload.put_u16(0x8000 | picture_id);
            payload.put_slice(chunk);
            payload.freeze()
        })
        .collect()
}

pub(super) fn parse(payload: &Bytes) -> Option<Part> {
    let first = *payload.first()?;
    let mut len = 1;
    if first & EXTENDED != 0 {
        let flags = *payload.get(len)?;
        len += 1;
        if flags & 0x80 != 0 {
            len += if payload.get(len)? & 0x80 != 0 { 2 } else { 1 };
        }
        if flags & 0x40 != 0 {
            len += 1;
        }
        if flags & 0x30 != 0 {
            len += 1;
        }
    }
    if payload.len() <= len {
        return None;
    }
    let body = payload.slice(len..);
    let starts_frame = first & START_OF_PARTITION != 0 && first & 0x07 == 0;
    // The inverse keyframe bit of the frame header, RFC 6386 section 9.1.
    let starts_keyframe = starts_frame && body[0] & 1 == 0;
    Some(Part {
        starts_frame: Some(starts_frame),
        starts_keyframe,
        body,
    })
}
