//! VP9 payload descriptor, RFC 9628 section 4.2.
//!
//! Written in non-flexible mode with layer indices, TL0PICIDX, and a scalability structure on
//! every keyframe: libwebrtc drops non-flexible frames that lack any of them.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::codec::EncodedFrame;
use super::{MAX_PAYLOAD_BYTES, Part, balanced_chunks};

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
/// One layer with its size, one picture in the group referring to the one before.
const STRUCTURE_BYTES: usize = 8;

pub(super) fn packetize(frame: &EncodedFrame, picture_id: u16, tl0_picture_id: u8) -> Vec<Bytes> {
    let chunks = balanced_chunks(
        &frame.data,
        MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES - STRUCTURE_BYTES,
    );
    let last = chunks.len() - 1;
    chunks
        .enumerate()
        .map(|(index, chunk)| {
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
            let mut payload =
                BytesMut::with_capacity(DESCRIPTOR_BYTES + STRUCTURE_BYTES + chunk.len());
            payload.put_u8(flags);
            payload.put_u16(0x8000 | picture_id);
            payload.put_u8(0);
            payload.put_u8(tl0_picture_id);
            if has_structure {
                // N_S = 0 (one layer), Y (sizes follow), G (group follows).
                payload.put_u8(0x18);
                payload.put_u16(frame.width as u16);
                payload.put_u16(frame.height as u16);
                // One picture: temporal layer 0, one reference, to the picture before.
                payload.put_slice(&[1, 1 << 2, 1]);
            }
            payload.put_slice(chunk);
            payload.freeze()
        })
        .collect()
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
