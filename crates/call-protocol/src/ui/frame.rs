//! The binary frame message: the one place where its layout is defined.
//!
//! A message is a concatenation of frames. Each frame is a header of [`HEADER_BYTES`] bytes,
//! little-endian, followed by `payload_bytes` bytes and no padding. The TypeScript reader parses
//! the same golden file (`tests/golden/frames.bin`) as the test of this module.
//!
//! ```text
//! offset size field
//!      0    4 magic          "VVF1"
//!      4    4 payload_bytes  u32
//!      8    4 member         u32, MemberId; SELF_MEMBER for one's own picture
//!     12    1 source         0 camera, 1 screen
//!     13    1 format         0 VP8, 1 VP9, 2 H.264 (avcC, length-prefixed), 3 I420
//!     14    1 flags          bit 0 keyframe, bit 1 discontinuity (frames before it are missing)
//!     15    1 description    bytes of decoder description (avcC) at the start of the payload
//!     16    2 width_px       u16
//!     18    2 height_px      u16
//!     20    4 sequence       u32, counts the frames of this tile
//!     24    8 timestamp_us   u64, presentation time, monotonic per tile
//!     32    4 epoch          u32, see UiEvent::FrameEpoch
//!     36    4 reserved       0
//! ```

use crate::ids::{MediaSource, MemberId, VideoCodec};
use crate::limits;

/// Size of a frame header.
pub const HEADER_BYTES: usize = 40;
/// First four bytes of every header.
pub const MAGIC: [u8; 4] = *b"VVF1";
/// Stands for one's own picture, before and in a call. Never assigned by a server.
pub const SELF_MEMBER: MemberId = MemberId(u32::MAX);

/// What the payload of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFormat {
    /// One encoded frame. H.264 comes with 4-byte length prefixes.
    Encoded(VideoCodec),
    /// Planes Y, U, V without padding; chroma is `ceil(width/2) × ceil(height/2)`.
    I420,
}

/// The header in front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes that follow the header.
    pub payload_bytes: u32,
    /// Whose picture.
    pub member: MemberId,
    /// Camera or screen; a microphone has no frames.
    pub source: MediaSource,
    /// What the payload is.
    pub format: FrameFormat,
    /// Decodable on its own.
    pub keyframe: bool,
    /// Frames before this one are missing.
    pub discontinuity: bool,
    /// Length of the decoder description at the start of the payload (H.264 keyframes), else 0.
    pub description_bytes: u8,
    /// Width in pixels.
    pub width_px: u16,
    /// Height in pixels.
    pub height_px: u16,
    /// Counts the frames of this tile.
    pub sequence: u32,
    /// Presentation time in microseconds, monotonic per tile.
    pub timestamp_us: u64,
    /// Epoch of the frame channel.
    pub epoch: u32,
}

/// Why bytes are not a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameHeaderError {
    /// Fewer than [`HEADER_BYTES`] bytes, or fewer than the header announces.
    #[error("frame is cut short")]
    Short,
    /// A field holds a value that means nothing.
    #[error("frame header is malformed")]
    Malformed,
}

impl FrameHeader {
    /// Appends the header to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        out.extend_from_slice(&self.member.0.to_le_bytes());
        out.push(match self.source {
            MediaSource::Camera | MediaSource::Microphone => 0,
            MediaSource::Screen => 1,
        });
        out.push(match self.format {
            FrameFormat::Encoded(VideoCodec::Vp8) => 0,
            FrameFormat::Encoded(VideoCodec::Vp9) => 1,
            FrameFormat::Encoded(VideoCodec::H264) => 2,
            FrameFormat::I420 => 3,
        });
        out.push(u8::from(self.keyframe) | u8::from(self.discontinuity) << 1);
        out.push(self.description_bytes);
        out.extend_from_slice(&self.width_px.to_le_bytes());
        out.extend_from_slice(&self.height_px.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.timestamp_us.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    /// Reads the frame at the start of `bytes`; returns header, payload and what follows.
    ///
    /// # Errors
    /// Cut short or malformed; nothing is read beyond the announced length.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8], &[u8]), FrameHeaderError> {
        let (head, rest) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(FrameHeaderError::Short)?;
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u32_at =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let source = match head[12] {
            0 => MediaSource::Camera,
            1 => MediaSource::Screen,
            _ => return Err(FrameHeaderError::Malformed),
        };
        let format = match head[13] {
            0 => FrameFormat::Encoded(VideoCodec::Vp8),
            1 => FrameFormat::Encoded(VideoCodec::Vp9),
            2 => FrameFormat::Encoded(VideoCodec::H264),
            3 => FrameFormat::I420,
            _ => return Err(FrameHeaderError::Malformed),
        };
        let header = Self {
            payload_bytes: u32_at(4),
            member: MemberId(u32_at(8)),
            source,
            format,
            keyframe: head[14] & 1 != 0,
            discontinuity: head[14] & 2 != 0,
            description_bytes: head[15],
            width_px: u16_at(16),
            height_px: u16_at(18),
            sequence: u32_at(20),
            timestamp_us: u64::from(u32_at(24)) | u64::from(u32_at(28)) << 32,
            epoch: u32_at(32),
        };
        let length = header.payload_bytes as usize;
        let largest = (limits::PICTURE_PX * limits::PICTURE_PX * 3 / 2) as usize;
        if head[..4] != MAGIC || head[14] > 3 || length > largest.max(limits::ENCODED_FRAME_BYTES) {
            return Err(FrameHeaderError::Malformed);
        }
        if usize::from(header.description_bytes) > length {
            return Err(FrameHeaderError::Malformed);
        }
        let (payload, rest) = rest
            .split_at_checked(length)
            .ok_or(FrameHeaderError::Short)?;
        Ok((header, payload, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message in `tests/golden/frames.bin`: a VP8 keyframe, an H.264 keyframe with an
    /// 8-byte description, a 4×2 I420 self view. `ui/src/video/header.test.ts` expects the same.
    fn golden() -> Vec<u8> {
        let vp8 = FrameHeader {
            payload_bytes: 5,
            member: MemberId(7),
            source: MediaSource::Camera,
            format: FrameFormat::Encoded(VideoCodec::Vp8),
            keyframe: true,
            discontinuity: false,
            description_bytes: 0,
            width_px: 1280,
            height_px: 720,
            sequence: 1,
            timestamp_us: 0x0001_0203_0405_0607,
            epoch: 3,
        };
        let h264 = FrameHeader {
            payload_bytes: 20,
            member: MemberId(8),
            source: MediaSource::Screen,
            format: FrameFormat::Encoded(VideoCodec::H264),
            discontinuity: true,
            description_bytes: 8,
            sequence: 0xfedc_ba98,
            ..vp8
        };
        let i420 = FrameHeader {
            payload_bytes: 12,
            member: SELF_MEMBER,
            format: FrameFormat::I420,
            keyframe: false,
            width_px: 4,
            height_px: 2,
            sequence: 2,
            timestamp_us: 40_000,
            ..vp8
        };
        let mut message = Vec::new();
        for header in [vp8, h264, i420] {
            header.write(&mut message);
            message.extend((0..header.payload_bytes).map(|byte| byte as u8));
        }
        message
    }

    #[test]
    fn golden_file_holds_what_this_module_writes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/frames.bin");
        assert_eq!(std::fs::read(path).unwrap(), golden());
    }

    #[test]
    fn frames_round_trip() {
        let message = golden();
        let (first, payload, rest) = FrameHeader::read(&message).unwrap();
        assert_eq!(
            (first.member, payload.len(), first.keyframe),
            (MemberId(7), 5, true)
        );
        let (second, _, rest) = FrameHeader::read(rest).unwrap();
        assert_eq!((second.description_bytes, second.discontinuity), (8, true));
        let (third, payload, rest) = FrameHeader::read(rest).unwrap();
        assert_eq!(
            (third.format, payload.len(), rest.len()),
            (FrameFormat::I420, 12, 0)
        );
    }

    #[test]
    fn malformed_headers_are_refused() {
        let good = golden();
        assert_eq!(FrameHeader::read(&good[..39]), Err(FrameHeaderError::Short));
        assert_eq!(FrameHeader::read(&good[..44]), Err(FrameHeaderError::Short));
        for (at, value) in [(0, b'X'), (7, 0xff), (12, 2), (13, 4), (14, 4), (15, 6)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(
                FrameHeader::read(&bad),
                Err(FrameHeaderError::Malformed),
                "byte {at}"
            );
        }
    }
}
