//! VP8 payload descriptor, RFC 7741 section 4.2.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::codec::EncodedFrame;
use super::{MAX_PAYLOAD_BYTES, Part, PictureIds, balanced_chunks};

/// Descriptor with extension byte and 15-bit picture id.
const DESCRIPTOR_BYTES: usize = 4;
/// TL0PICIDX, and TID with Y.
const LAYER_BYTES: usize = 2;
const EXTENDED: u8 = 0x80;
const NON_REFERENCE: u8 = 0x20;
const START_OF_PARTITION: u8 = 0x10;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0_PICTURE_ID: u8 = 0x40;
const HAS_TEMPORAL_ID: u8 = 0x20;
/// The frame depends on temporal layer 0 only.
const LAYER_SYNC: u8 = 0x20;

pub(super) fn packetize(
    frame: &EncodedFrame,
    ids: PictureIds,
    writer: &mut BytesMut,
    out: &mut Vec<Bytes>,
) {
    let has_layers = frame.temporal_layers > 1;
    let descriptor = DESCRIPTOR_BYTES + if has_layers { LAYER_BYTES } else { 0 };
    let is_upper = frame.temporal_id > 0;
    for (index, chunk) in balanced_chunks(&frame.data, MAX_PAYLOAD_BYTES - descriptor).enumerate() {
        let start = if index == 0 { START_OF_PARTITION } else { 0 };
        // Nothing refers to a frame of the upper layer.
        let non_reference = if is_upper { NON_REFERENCE } else { 0 };
        writer.put_u8(EXTENDED | non_reference | start);
        if has_layers {
            writer.put_u8(HAS_PICTURE_ID | HAS_TL0_PICTURE_ID | HAS_TEMPORAL_ID);
            writer.put_u16(0x8000 | ids.picture);
            writer.put_u8(ids.tl0);
            writer.put_u8(frame.temporal_id << 6 | if is_upper { LAYER_SYNC } else { 0 });
        } else {
            writer.put_u8(HAS_PICTURE_ID);
            writer.put_u16(0x8000 | ids.picture);
        }
        writer.put_slice(chunk);
        out.push(writer.split().freeze());
    }
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
