//! The few header fields of VP8 and VP9 frames that are needed outside a decoder: whether a frame
//! is a keyframe, and its size, which bounds what a decoder is allowed to allocate.
//!
//! Everything here takes bytes from the network: any input gives an answer, none panics.

use call_protocol::VideoCodec;

use super::h264;
use crate::frame::I420Frame;

/// Reads bits, most significant first. Past the end it returns `None`.
#[derive(Clone)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = (value << 1) | u32::from(self.flag()?);
        }
        Some(value)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = *self.data.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }
}

/// What an encoded frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// Width and height in pixels, where the frame states them.
    pub size: Option<(u32, u32)>,
}

/// Reads a frame's header. `None` when it is not a frame of this codec at all. H.264 is annex B.
pub fn frame_info(codec: VideoCodec, data: &[u8]) -> Option<FrameInfo> {
    match codec {
        VideoCodec::Vp8 => vp8_info(data),
        VideoCodec::Vp9 => vp9_info(data),
        VideoCodec::H264 => h264::frame_info(data),
    }
}

/// Whether a picture of this size may be decoded.
pub(super) fn is_size_allowed((width, height): (u32, u32)) -> bool {
    I420Frame::is_size_allowed(width, height)
}

/// RFC 6386 section 9.1.
fn vp8_info(data: &[u8]) -> Option<FrameInfo> {
    let first = *data.first()?;
    if first & 1 == 1 {
        return Some(FrameInfo {
            keyframe: false,
            size: None,
        });
    }
    let header = data.get(3..10)?;
    if header[..3] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    // The two bits above a side ask for upscaling after decoding; they are not part of the size.
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    let size = (side(header[3], header[4]), side(header[5], header[6]));
    Some(FrameInfo {
        keyframe: true,
        size: Some(size),
    })
}

/// VP9 bitstream specification section 6.2, up to the frame size.
fn vp9_info(data: &[u8]) -> Option<FrameInfo> {
    const SYNC_CODE: u32 = 0x49_83_42;
    const COLOR_SPACE_RGB: u32 = 7;
    let mut bits = BitReader::new(data);
    if bits.bits(2)? != 2 {
        return None;
    }
    let profile = bits.bits(1)? | bits.bits(1)? << 1;
    if profile == 3 && bits.flag()? {
        return None;
    }
    if bits.flag()? {
        // An index to a frame shown before.
        return Some(FrameInfo {
            keyframe: false,
            size: None,
        });
    }
    let is_keyframe = !bits.flag()?;
    let is_shown = bits.flag()?;
    let is_error_resilient = bits.flag()?;
    let color_config = |bits: &mut BitReader<'_>| {
        if profile >= 2 {
            bits.flag()?;
        }
        let is_rgb = bits.bits(3)? == COLOR_SPACE_RGB;
        let has_subsampling_bits = profile == 1 || profile == 3;
        if !is_rgb {
            bits.flag()?;
        }
        match (is_rgb, has_subsampling_bits) {
            (false, true) => bits.bits(3).map(drop),
            (true, true) => bits.flag().map(drop),
            (true, false) => None,
            (false, false) => Some(()),
        }
    };
    let frame_size = |bits: &mut BitReader<'_>| Some((bits.bits(16)? + 1, bits.bits(16)? + 1));
    if is_keyframe {
        if bits.bits(24)? != SYNC_CODE {
            return None;
        }
        color_config(&mut bits)?;
        return Some(FrameInfo {
            keyframe: true,
            size: Some(frame_size(&mut bits)?),
        });
    }
    let is_intra_only = !is_shown && bits.flag()?;
    if !is_error_resilient {
        bits.bits(2)?;
    }
    if is_intra_only {
        if bits.bits(24)? != SYNC_CODE {
            return None;
        }
        if profile > 0 {
            color_config(&mut bits)?;
        }
        bits.bits(8)?;
        return Some(FrameInfo {
            keyframe: false,
            size: Some(frame_size(&mut bits)?),
        });
    }
    // Refresh flags, three references with their sign bias.
    bits.bits(8 + 3 * 4)?;
    for _ in 0..3 {
        if bits.flag()? {
            return Some(FrameInfo {
                keyframe: false,
                size: None,
            });
        }
    }
    Some(FrameInfo {
        keyframe: false,
        size: Some(frame_size(&mut bits)?),
    })
}

/// The frames of a VP9 superframe (specification annex B), or the one frame `data` is.
pub(super) fn vp9_frames(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (frames, sizes, size_bytes) = superframe_index(data).unwrap_or((data, &[], 1));
    let mut rest = frames;
    let split = sizes.chunks_exact(size_bytes).map(move |size| {
        let size = size
            .iter()
            .rev()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (frame, tail) = rest.split_at(size.min(rest.len()));
        rest = tail;
        frame
    });
    let single = (sizes.is_empty() && !data.is_empty()).then_some(data);
    split.chain(single)
}

/// The frames' bytes, their sizes, and the bytes of one size. `None` when it is no superframe.
fn superframe_index(data: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let &marker = data.last()?;
    if marker & 0xe0 != 0xc0 {
        return None;
    }
    let count = usize::from(marker & 7) + 1;
    let size_bytes = usize::from(marker >> 3 & 3) + 1;
    let index_start = data.len().checked_sub(2 + count * size_bytes)?;
    if data[index_start] != marker {
        return None;
    }
    let sizes = &data[index_start + 1..data.len() - 1];
    Some((&data[..index_start], sizes, size_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_headers() {
        let key = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0x01];
        let info = frame_info(VideoCodec::Vp8, &key).unwrap();
        assert_eq!(
            info,
            FrameInfo {
                keyframe: true,
                size: Some((640, 360))
            }
        );
        let delta = frame_info(VideoCodec::Vp8, &[0x11, 0, 0]).unwrap();
        assert_eq!(
            delta,
            FrameInfo {
                keyframe: false,
                size: None
            }
        );
        for bad in [&[][..], &key[..9], &[0x10, 0, 0, 1, 2, 3, 0, 0, 0, 0]] {
            assert_eq!(frame_info(VideoCodec::Vp8, bad), None);
        }
    }

    #[test]
    fn vp9_keyframe_header() {
        // Marker 10, profile 0, not existing, key, shown, resilient 0; sync; space 2, range 0;
        // 16 bit width - 1 = 639, height - 1 = 359.
        let bits = format!(
            "10000010{:024b}0100{:016b}{:016b}0000",
            0x49_83_42, 639, 359
        );
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks_exact(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect();
        let info = frame_info(VideoCodec::Vp9, &bytes).unwrap();
        assert_eq!(
            info,
            FrameInfo {
                keyframe: true,
                size: Some((640, 360))
            }
        );
        for len in 0..bytes.len() {
            let _ = frame_info(VideoCodec::Vp9, &bytes[..len]);
        }
        assert_eq!(frame_info(VideoCodec::Vp9, &[0x00]), None);
    }

    #[test]
    fn superframes_are_split() {
        // Two frames of 3 and 1 bytes, one byte per size.
        let data = [1, 2, 3, 4, 0xc1, 3, 1, 0xc1];
        let split = |data| vp9_frames(data).collect::<Vec<_>>();
        assert_eq!(split(&data), vec![&[1, 2, 3][..], &[4][..]]);
        assert_eq!(split(&[1, 2, 0xc7]), vec![&[1, 2, 0xc7][..]]);
        // Sizes beyond the data give short frames, never a panic.
        assert_eq!(split(&[1, 0xc0, 200, 0xc0]), vec![&[1][..]]);
    }
}
