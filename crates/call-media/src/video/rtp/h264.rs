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

pub(super) fn packetize(data: &[u8]) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    // Parameter sets wait here to travel together.
    let mut pending: Vec<&[u8]> = Vec::new();
    for nal in nal_units(data) {
        if matches!(nal_type_of(nal), nal_type::SPS | nal_type::PPS) && nal.len() < 400 {
            let pending_bytes: usize = pending.iter().map(|nal| nal.len() + 2).sum();
            if 1 + pending_bytes + nal.len() + 2 > MAX_PAYLOAD_BYTES {
                payloads.extend(aggregate(&mut pending));
            }
            pending.push(nal);
            continue;
        }
        payloads.extend(aggregate(&mut pending));
        if nal.len() <= MAX_PAYLOAD_BYTES {
            payloads.push(Bytes::copy_from_slice(nal));
        } else {
            fragment(nal, &mut payloads);
        }
    }
    payloads.extend(aggregate(&mut pending));
    payloads
}

fn aggregate(nals: &mut Vec<&[u8]>) -> Option<Bytes> {
    let payload = match nals[..] {
        [] => None,
        [nal] => Some(Bytes::copy_from_slice(nal)),
        _ => {
            let reference = nals.iter().map(|nal| nal[0] & 0x60).max().unwrap_or(0);
            let mut payload = BytesMut::new();
            payload.put_u8(reference | nal_type::STAP_A);
            for nal in nals.iter() {
                payload.put_u16(nal.len() as u16);
                payload.put_slice(nal);
            }
            Some(payload.freeze())
        }
    };
    nals.clear();
    payload
}

fn fragment(nal: &[u8], payloads: &mut Vec<Bytes>) {
    let indicator = nal[0] & 0xe0 | nal_type::FU_A;
    let chunks = balanced_chunks(&nal[1..], MAX_PAYLOAD_BYTES - FU_HEADER_BYTES);
    let last = chunks.len() - 1;
    for (index, chunk) in chunks.enumerate() {
        let mut payload = BytesMut::with_capacity(FU_HEADER_BYTES + chunk.len());
        let start = if index == 0 { FU_START } else { 0 };
        let end = if index == last { FU_END } else { 0 };
        payload.put_u8(indicator);
        payload.put_u8(start | end | nal_type_of(nal));
        payload.put_slice(chunk);
        payloads.push(payload.freeze());
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
    let mut nals = Vec::new();
    let mut rest = payload.get(1..)?;
    while !rest.is_empty() {
        let len = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let nal = rest.get(2..2 + len)?;
        if nal.is_empty() {
            return None;
        }
        nals.push(nal);
        rest = &rest[2 + len..];
    }
    (!nals.is_empty()).then(|| nals.into_iter())
}

/// Annex B of the payloads of one access unit.
pub(super) fn join(parts: &[&Part]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
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
                    out.push(body[0] & 0xe0 | body[1] & 0x1f);
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
    (!is_in_fragment && !out.is_empty()).then_some(out)
}
