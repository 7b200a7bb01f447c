//! VP9 payload descriptor, RFC 9628 section 4.2.
//!
//! Written in non-flexible mode with layer indices, TL0PICIDX, and a scalability structure on
//! every keyframe: libwebrtc drops non-flexible frames that lack any of them.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::codec::EncodedFrame;
use super::{MAX_PAYLOAD_BYTES, Part, PictureIds, balanced_chunks};

const PICTURE_ID: u8 = 0x80;
const INTER_PREDICTED: u8 = 0x40;
const LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGIN: u8 = 0x08;
const END: u8 = 0x04;
const STRUCTURE: u8 = 0x02;
const NOT_UPPER_REFERENCE: u8 = 0x01;

/// Flags, 15-bit picture id, layer indices, TL0PICIDX.
const DESCRIPTOR_BYTES: usize = 5;
/// One layer with its size, at most two pictures in the group with one reference each.
const STRUCTURE_BYTES: usize = 10;
const SWITCHING_UP_POINT: u8 = 0x10;

pub(super) fn packetize(
    frame: &EncodedFrame,
    ids: PictureIds,
    writer: &mut BytesMut,
    out: &mut Vec<Bytes>,
) {
    let chunks = balanced_chunks(
        &frame.data,
        MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES - STRUCTURE_BYTES,
    );
    let last = chunks.len() - 1;
    let has_layers = frame.temporal_layers > 1;
    let is_upper = frame.temporal_id > 0;
    for (index, chunk) in chunks.enumerate() {
        let has_structure = frame.keyframe && index == 0;
        let mut flags = PICTURE_ID | LAYERS | NOT_UPPER_REFERENCE;
        for (flag, is_set) in [
            (INTER_PREDICTED, !frame.keyframe),
            (BEGIN, index == 0),
            (END, index == last),
            (STRUCTURE, has_structure),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        writer.put_u8(flags);
        writer.put_u16(0x8000 | ids.picture);
        // Frames of the upper layer refer to the lower one only, so each is a point to switch up.
        writer.put_u8(frame.temporal_id << 5 | if is_upper { SWITCHING_UP_POINT } else { 0 });
        writer.put_u8(ids.tl0);
        if has_structure {
            // N_S = 0 (one layer), Y (sizes follow), G (group follows).
            writer.put_u8(0x18);
            writer.put_u16(frame.width as u16);
            writer.put_u16(frame.height as u16);
            if has_layers {
                // Lower layer, referring two pictures back; upper layer, referring one back.
                writer.put_slice(&[2, 1 << 2, 2, 1 << 5 | 1 << 4 | 1 << 2, 1]);
            } else {
                // One picture: temporal layer 0, one reference, to the picture before.
                writer.put_slice(&[1, 1 << 2, 1]);
            }
        }
        writer.put_slice(chunk);
        out.push(writer.split().freeze());
    }
}

pub(super) fn parse(payload: &Bytes) -> Option<Part> {
    let flags = *payload.first()?;
    let mut len = 1;
    if flags & PICTURE_ID != 0 {
        len += if payload.get(len)? & 0x80 != 0 { 2 } else { 1 };
    }
    let mut spatial_layer = 0;
    if flags & LAYERS != 0 {
        spatial_layer = payload.get(len)? >> 1 & 7;
        len += if flags & FLEXIBLE == 0 { 2 } else { 1 };
    }
    if flags & FLEXIBLE != 0 && flags & INTER_PREDICTED != 0 {
        for reference in 0.. {
            let has_more = payload.get(len)? & 1 != 0;
            len += 1;
            if !has_more {
                break;
            }
            if reference == 2 {
                return None;
            }
        }
    }
    if flags & STRUCTURE != 0 {
        len += structure_bytes(payload.get(len..)?)?;
    }
    if payload.len() <= len {
        return None;
    }
    // Upper spatial layers of a picture continue the frame the base layer started.
    let starts_frame = flags & BEGIN != 0 && spatial_layer == 0;
    Some(Part {
        starts_frame: Some(starts_frame),
        starts_keyframe: starts_frame && flags & INTER_PREDICTED == 0,
        body: payload.slice(len..),
    })
}

fn structure_bytes(data: &[u8]) -> Option<usize> {
    let first = *data.first()?;
    let mut len = 1;
    if first & 0x10 != 0 {
        len += 4 * (usize::from(first >> 5) + 1);
    }
    if first & 0x08 != 0 {
        let pictures = *data.get(len)?;
        len += 1;
        for _ in 0..pictures {
            let references = usize::from(data.get(len)? >> 2 & 3);
            len += 1 + references;
        }
    }
    Some(len)
}
