//! H.264 byte streams: NAL units of annex B, sizes from parameter sets, and the `avcC` form that
//! WebCodecs wants.
//!
//! Everything here takes bytes from the network: any input gives an answer, none panics.
//!
//! Deliberately not here: slices; nothing outside the codec looks into them.

use super::bitstream::{BitReader, FrameInfo};

/// NAL unit types (ITU-T H.264 table 7-1) that matter here.
pub(super) mod nal_type {
    pub(in super::super) const IDR: u8 = 5;
    pub(in super::super) const SPS: u8 = 7;
    pub(in super::super) const PPS: u8 = 8;
    /// RFC 6184 section 5.7.1.
    pub(in super::super) const STAP_A: u8 = 24;
    /// RFC 6184 section 5.8.
    pub(in super::super) const FU_A: u8 = 28;
}

/// The type of a NAL unit, 0 when it is empty.
pub(super) fn nal_type_of(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// The NAL units of an annex B stream, without start codes and trailing zeros; empty ones skipped.
pub fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    // What stands before the first start code is not a NAL unit.
    rest = find_start_code(rest).map_or(&[][..], |(_, after)| &rest[after..]);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let nal = match find_start_code(rest) {
            Some((before, after)) => {
                let nal = &rest[..before];
                rest = &rest[after..];
                nal
            }
            None => std::mem::take(&mut rest),
        };
        let len = nal
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        Some(&nal[..len])
    })
    .filter(|nal| !nal.is_empty())
}

/// Start and end of the first `00 00 01`.
fn find_start_code(data: &[u8]) -> Option<(usize, usize)> {
    let mut position = 0;
    while let Some(window) = data.get(position..position + 3) {
        if window[2] > 1 {
            position += 3;
        } else if window == [0, 0, 1] {
            return Some((position, position + 3));
        } else {
            position += 1;
        }
    }
    None
}

/// Whether an access unit can start decoding (it has an IDR slice), and the size its sequence
/// parameter set states. `None` when there is no NAL unit in it.
pub(super) fn frame_info(data: &[u8]) -> Option<FrameInfo> {
    let mut info = None;
    for nal in nal_units(data) {
        let info = info.get_or_insert(FrameInfo {
            keyframe: false,
            size: None,
        });
        match nal_type_of(nal) {
            nal_type::IDR => info.keyframe = true,
            nal_type::SPS => info.size = sps_size(nal).or(info.size),
            _ => {}
        }
    }
    info
}

/// Width and height a sequence parameter set states, cropping applied (ITU-T H.264 section
/// 7.3.2.1.1). `None` when it is malformed or larger than 2^16 pixels a side.
pub fn sps_size(nal: &[u8]) -> Option<(u32, u32)> {
    let rbsp = unescape(nal.get(1..)?);
    let mut bits = BitReader::new(&rbsp);
    let profile = bits.bits(8)?;
    bits.bits(16)?;
    unsigned(&mut bits)?;
    let mut chroma_format = 1;
    if matches!(
        profile,
        44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244
    ) {
        chroma_format = unsigned(&mut bits)?;
        if chroma_format == 3 {
            bits.flag()?;
        }
        unsigned(&mut bits)?;
        unsigned(&mut bits)?;
        bits.flag()?;
        if bits.flag()? {
            let lists = if chroma_format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if bits.flag()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    unsigned(&mut bits)?;
    match unsigned(&mut bits)? {
        0 => drop(unsigned(&mut bits)?),
        1 => {
            bits.flag()?;
            signed(&mut bits)?;
            signed(&mut bits)?;
            let cycle = unsigned(&mut bits)?;
            for _ in 0..cycle.min(256) {
                signed(&mut bits)?;
            }
        }
        _ => {}
    }
    unsigned(&mut bits)?;
    bits.flag()?;
    let width_mbs = unsigned(&mut bits)?.checked_add(1)?;
    let height_map_units = unsigned(&mut bits)?.checked_add(1)?;
    if width_mbs > 4096 || height_map_units > 4096 {
        return None;
    }
    let is_frame_only = bits.flag()?;
    if !is_frame_only {
        bits.flag()?;
    }
    bits.flag()?;
    let field_factor = if is_frame_only { 1 } else { 2 };
    let mut width = width_mbs * 16;
    let mut height = height_map_units * 16 * field_factor;
    if bits.flag()? {
        let crop = [
            unsigned(&mut bits)?,
            unsigned(&mut bits)?,
            unsigned(&mut bits)?,
            unsigned(&mut bits)?,
        ];
        let (unit_x, unit_y) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let cut = |side: u32, first: u32, second: u32, unit: u32| {
            side.checked_sub(first.checked_add(second)?.checked_mul(unit)?)
                .filter(|left| *left > 0)
        };
        width = cut(width, crop[0], crop[1], unit_x)?;
        height = cut(height, crop[2], crop[3], unit_y * field_factor)?;
    }
    Some((width, height))
}

/// Converts an annex B access unit for WebCodecs: the decoder description (`avcC`, ISO/IEC
/// 14496-15 section 5.3.3.1) when a sequence and a picture parameter set are in it, and all other
/// NAL units with 4-byte big-endian length prefixes.
pub fn h264_annexb_to_avcc(data: &[u8]) -> (Option<Vec<u8>>, Vec<u8>) {
    let mut sps: Option<&[u8]> = None;
    let mut pps: Vec<&[u8]> = Vec::new();
    let mut body = Vec::with_capacity(data.len() + 16);
    for nal in nal_units(data) {
        match nal_type_of(nal) {
            nal_type::SPS => {
                sps.get_or_insert(nal);
            }
            nal_type::PPS if pps.len() < 255 => pps.push(nal),
            _ => {
                body.extend_from_slice(&(nal.len() as u32).to_be_bytes());
                body.extend_from_slice(nal);
            }
        }
    }
    (sps.and_then(|sps| avcc(sps, &pps)), body)
}

fn avcc(sps: &[u8], pps: &[&[u8]]) -> Option<Vec<u8>> {
    let profile = sps.get(1..4)?;
    if pps.is_empty() {
        return None;
    }
    let mut out = vec![1, profile[0], profile[1], profile[2], 0xff, 0xe1];
    out.extend_from_slice(&u16::try_from(sps.len()).ok()?.to_be_bytes());
    out.extend_from_slice(sps);
    out.push(u8::try_from(pps.len()).ok()?);
    for pps in pps {
        out.extend_from_slice(&u16::try_from(pps.len()).ok()?.to_be_bytes());
        out.extend_from_slice(pps);
    }
    Some(out)
}

/// Removes emulation prevention bytes.
fn unescape(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut zeros = 0;
    for &byte in data {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// Exp-Golomb ue(v).
fn unsigned(bits: &mut BitReader<'_>) -> Option<u32> {
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
        if zeros > 31 {
            return None;
        }
    }
    Some((1_u32 << zeros) - 1 + bits.bits(zeros)?)
}

/// Exp-Golomb se(v).
fn signed(bits: &mut BitReader<'_>) -> Option<i32> {
    let code = i64::from(unsigned(bits)?);
    let value = if code % 2 == 1 {
        (code + 1) / 2
    } else {
        -(code / 2)
    };
    i32::try_from(value).ok()
}

fn skip_scaling_list(bits: &mut BitReader<'_>, len: u32) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..len {
        if next != 0 {
            next = (last + i64::from(signed(bits)?)).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Constrained baseline 3.1, 1280x720: 80x45 macroblocks, no cropping.
    const SPS_720: [u8; 9] = [0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02];

    #[test]
    fn nal_units_are_split_at_both_start_codes() {
        let data = [
            9, 9, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 0, 1, 0, 0, 1, 0x65, 3,
        ];
        let nals: Vec<&[u8]> = nal_units(&data).collect();
        assert_eq!(nals, vec![&[0x67, 1][..], &[0x68, 2][..], &[0x65, 3][..]]);
        assert_eq!(nal_units(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn avcc_takes_parameter_sets_out() {
        let data = [
            0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0, 0, 1, 0x68, 5, 0, 0, 1, 0x65, 7, 7,
        ];
        let (description, body) = h264_annexb_to_avcc(&data);
        let want = [
            1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 1, 0, 2, 0x68, 5,
        ];
        assert_eq!(description.unwrap(), want);
        assert_eq!(body, [0, 0, 0, 3, 0x65, 7, 7]);
        let (description, body) = h264_annexb_to_avcc(&[0, 0, 1, 0x41, 1]);
        assert_eq!((description, body), (None, vec![0, 0, 0, 2, 0x41, 1]));
    }

    #[test]
    fn malformed_parameter_sets_have_no_size() {
        for len in 0..SPS_720.len() {
            let _ = sps_size(&SPS_720[..len]);
        }
        assert_eq!(sps_size(&[0x67, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(sps_size(&[]), None);
    }
}
