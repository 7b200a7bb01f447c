//! H.264 payloads, RFC 6184 packetization mode 1.

use bytes::{BufMut, Bytes, BytesMut};
use call_protocol::limits;

use super::super::h264::{nal_type, nal_type_of, nal_units};
use super::{MAX_PAYLOAD_BYTES, Part, balanced_chunks};

/// FU indicator and FU header.
const FU_HEADER_BYTES: usize = 2;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Largest parameter set that travels with others in one payload.
const AGGREGATED_BYTES: usize = 400;

pub(super) fn packetize(data: &[u8], writer: &mut BytesMut, out: &mut Vec<Bytes>) {
    // Parameter sets wait in the writer, as a STAP-A without its header's reference bits.
    let mut pending = 0;
    for nal in nal_units(data) {
        let is_set = matches!(nal_type_of(nal), nal_type::SPS | nal_type::PPS);
        if is_set && nal.len() < AGGREGATED_BYTES {
            if writer.len() + 2 + nal.len() > MAX_PAYLOAD_BYTES {
                flush(&mut pending, writer, out);
            }
            if pending == 0 {
                writer.put_u8(nal_type::STAP_A);
            }
            writer[0] = writer[0].max(nal[0] & 0x60 | nal_type::STAP_A);
            writer.put_u16(nal.len() as u16);
            writer.put_slice(nal);
            pending += 1;
            continue;
        }
        flush(&mut pending, writer, out);
        if nal.len() <= MAX_PAYLOAD_BYTES {
            writer.put_slice(nal);
            out.push(writer.split().freeze());
        } else {
            fragment(nal, writer, out);
        }
    }
    flush(&mut pending, writer, out);
}

/// Sends the waiting parameter sets; one alone goes without the aggregate's header.
fn flush(pending: &mut usize, writer: &mut BytesMut, out: &mut Vec<Bytes>) {
    let mut payload = writer.split();
    match std::mem::take(pending) {
        0 => {}
        1 => out.push(payload.split_off(3).freeze()),
        _ => out.push(payload.freeze()),
    }
}

fn fragment(nal: &[u8], writer: &mut BytesMut, out: &mut Vec<Bytes>) {
    let indicator = nal[0] & 0xe0 | nal_type::FU_A;
    let chunks = balanced_chunks(&nal[1..], MAX_PAYLOAD_BYTES - FU_HEADER_BYTES);
    let last = chunks.len() - 1;
    for (index, chunk) in chunks.enumerate() {
        let start = if index == 0 { FU_START } else { 0 };
        let end = if index == last { FU_END } else { 0 };
        writer.put_u8(indicator);
        writer.put_u8(start | end | nal_type_of(nal));
        writer.put_slice(chunk);
        out.push(writer.split().freeze());
    }
}

pub(super) fn parse(payload: &Bytes) -> Option<Part> {
    let starts_keyframe = match nal_type_of(payload) {
        0 => return None,
        nal_type::SPS => true,
        nal_type::STAP_A => {
            let mut nals = aggregated(payload)?;
            nals.any(|nal| nal_type_of(nal) == nal_type::SPS)
        }
        nal_type::FU_A => {
            payload.get(FU_HEADER_BYTES)?;
            payload[1] & FU_START != 0 && payload[1] & 0x1f == nal_type::SPS
        }
        1..=23 => false,
        _ => return None,
    };
    Some(Part {
        starts_frame: None,
        starts_keyframe,
        body: payload.clone(),
    })
}

/// The NAL units of a STAP-A. `None` when a length points past the end or nothing is inside.
fn aggregated(payload: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut check = payload.get(1..)?;
    if check.is_empty() {
        return None;
    }
    while !check.is_empty() {
        let (nal, rest) = split_nal(check)?;
        if nal.is_empty() {
            return None;
        }
        check = rest;
    }
    let mut rest = &payload[1..];
    Some(std::iter::from_fn(move || {
        let (nal, after) = split_nal(rest)?;
        rest = after;
        Some(nal)
    }))
}

/// A NAL unit with its length before it, and what follows.
fn split_nal(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(u16::from_be_bytes([*data.first()?, *data.get(1)?]));
    data[2..].split_at_checked(len)
}

/// Writes the annex B of the payloads of one access unit.
pub(super) fn join<'a>(parts: impl Iterator<Item = &'a Part>, out: &mut BytesMut) -> Option<()> {
    let mut is_in_fragment = false;
    for part in parts {
        let body = &part.body[..];
        let is_fragment = nal_type_of(body) == nal_type::FU_A;
        let is_fragment_start = is_fragment && body[1] & FU_START != 0;
        if is_in_fragment != (is_fragment && !is_fragment_start) {
            return None;
        }
        match nal_type_of(body) {
            nal_type::STAP_A => {
                for nal in aggregated(body)? {
                    out.extend_from_slice(&START_CODE);
                    out.extend_from_slice(nal);
                }
            }
            nal_type::FU_A => {
                if is_fragment_start {
                    out.extend_from_slice(&START_CODE);
                    out.put_u8(body[0] & 0xe0 | body[1] & 0x1f);
                }
                out.extend_from_slice(&body[FU_HEADER_BYTES..]);
                is_in_fragment = body[1] & FU_END == 0;
            }
            _ => {
                out.extend_from_slice(&START_CODE);
                out.extend_from_slice(body);
            }
        }
        // Aggregates of tiny units grow when start codes replace their lengths.
        if out.len() > limits::ENCODED_FRAME_BYTES {
            return None;
        }
    }
    (!is_in_fragment && !out.is_empty()).then_some(())
}
