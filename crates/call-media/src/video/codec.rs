//! Video encoders and decoders behind two traits.
//!
//! An encoder follows the size of the pictures it is given and may drop a picture to keep to its
//! bit rate. A decoder takes complete frames in decoding order; what it cannot decode is an error
//! of that frame, after which the caller waits for a keyframe. Decoders take bytes from the
//! network: no input panics, and no input makes them allocate for a picture beyond
//! [`limits::PICTURE_PX`].
//!
//! Hardware encoders and AV1 will be further implementations of the same traits.
//!
//! Deliberately not here: threads and pacing ([`super::send`], [`super::receive`]).

use std::time::Instant;

use bytes::Bytes;
use call_protocol::{VideoCodec, limits};

use super::ffi::VpxKind;
use super::h264_codec::{H264Decoder, H264Encoder};
use super::vpx::{VpxDecoder, VpxEncoder};
use crate::frame::I420Frame;

/// What a call uses unless its members agree on something else.
///
/// VP8: on camera pictures with their noise it is as good as VP9 (within 0.5 dB either way) at
/// 70 % of the encoding cost. `examples/codec_cost.rs` measures it, `docs/media.md` has the table.
pub const DEFAULT_VIDEO_CODEC: VideoCodec = VideoCodec::Vp8;

/// Why a codec could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The codec could not be set up.
    #[error("the codec did not start: {0}")]
    Start(String),
    /// A picture could not be encoded; the next one may.
    #[error("encoding failed: {0}")]
    Encode(String),
    /// A frame could not be decoded; go on with a keyframe.
    #[error("decoding failed: {0}")]
    Decode(String),
    /// The picture is smaller or larger than can be handled.
    #[error("a picture of {width}x{height} is out of bounds")]
    PictureSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// What the pictures show, which decides how an encoder spends its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// A camera: noise everywhere, motion before sharpness.
    #[default]
    Camera,
    /// A screen: flat areas and text, sharpness before motion, palettes and long references.
    Screen,
}

/// What an encoder should produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Width in pixels, 16 to [`limits::PICTURE_PX`].
    pub width: u32,
    /// Height in pixels, 16 to [`limits::PICTURE_PX`].
    pub height: u32,
    /// Frames per second, 1 to 60.
    pub fps: u32,
    /// Target in bits per second, 20 000 to 20 000 000.
    pub bitrate_bps: u32,
    /// 1, or 2 for every other frame to be droppable on the way. Costs about a tenth of the
    /// quality, so 2 is for streams that something forwards. H.264 knows only 1.
    pub temporal_layers: u8,
    /// What the pictures show.
    pub content: Content,
}

/// 720p30 of a camera at 1.2 Mbit/s in one layer.
impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            width: 1280,
            height: 720,
            fps: 30,
            bitrate_bps: 1_200_000,
            temporal_layers: 1,
            content: Content::Camera,
        }
    }
}

impl EncoderConfig {
    /// The nearest configuration within the bounds of every field.
    pub fn clamped(self) -> Self {
        Self {
            width: self.width.clamp(16, limits::PICTURE_PX),
            height: self.height.clamp(16, limits::PICTURE_PX),
            fps: self.fps.clamp(1, 60),
            bitrate_bps: self.bitrate_bps.clamp(20_000, 20_000_000),
            temporal_layers: self.temporal_layers.clamp(1, 2),
            content: self.content,
        }
    }
}

/// One encoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The codec of `data`.
    pub codec: VideoCodec,
    /// Whether decoding can start with this frame.
    pub keyframe: bool,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The frame; H.264 as annex B with its parameter sets before every keyframe.
    pub data: Bytes,
    /// RTP timestamp. A bare encoder leaves it 0, [`super::send::VideoSender`] sets it.
    pub timestamp_90khz: u32,
    /// When the picture was taken.
    pub captured_at: Instant,
    /// The simulcast layer: 0 is the full size, 1 half and 2 a quarter of it a side. A bare
    /// encoder leaves it 0, [`super::layers::LayeredEncoder`] sets it.
    pub layer: u8,
    /// The temporal layer, below `temporal_layers`.
    pub temporal_id: u8,
    /// How many temporal layers the stream has.
    pub temporal_layers: u8,
}

impl EncodedFrame {
    /// Whether decoding can go on without this frame: no later frame refers to it.
    pub fn is_droppable(&self) -> bool {
        self.temporal_id > 0
    }
}

/// Turns pictures into frames.
pub trait VideoEncoder: Send {
    /// Encodes one picture. `None` when it was dropped to keep to the bit rate; a keyframe that
    /// was asked for is then still owed, so ask again. A changed picture size gives a keyframe,
    /// except in VP9 up to the size of the first picture.
    fn encode(
        &mut self,
        frame: &I420Frame,
        force_keyframe: bool,
    ) -> Result<Option<EncodedFrame>, CodecError>;

    /// Changes the target, in bits per second, without a keyframe. Clamped like
    /// [`EncoderConfig::clamped`].
    fn set_bitrate_bps(&mut self, bitrate_bps: u32);

    /// Changes the frame rate the target is spread over, in frames per second. Clamped like
    /// [`EncoderConfig::clamped`].
    fn set_framerate(&mut self, fps: u32);

    /// Changes what the pictures show. VP8 and VP9 go on, H.264 starts anew with a keyframe.
    fn set_content(&mut self, content: Content);
}

/// Turns frames into pictures.
pub trait VideoDecoder: Send {
    /// Decodes one frame. `None` when it shows nothing (yet). The picture's `captured_at` is the
    /// time of decoding.
    fn decode(&mut self, data: &[u8]) -> Result<Option<I420Frame>, CodecError>;
}

/// Starts an encoder. The configuration is clamped to its bounds.
pub fn new_encoder(
    codec: VideoCodec,
    config: EncoderConfig,
) -> Result<Box<dyn VideoEncoder>, CodecError> {
    let config = config.clamped();
    Ok(match codec {
        VideoCodec::Vp8 => Box::new(VpxEncoder::new(VpxKind::Vp8, config)?),
        VideoCodec::Vp9 => Box::new(VpxEncoder::new(VpxKind::Vp9, config)?),
        VideoCodec::H264 => Box::new(H264Encoder::new(config)?),
    })
}

/// Starts a decoder.
pub fn new_decoder(codec: VideoCodec) -> Result<Box<dyn VideoDecoder>, CodecError> {
    Ok(match codec {
        VideoCodec::Vp8 => Box::new(VpxDecoder::new(VpxKind::Vp8)?),
        VideoCodec::Vp9 => Box::new(VpxDecoder::new(VpxKind::Vp9)?),
        VideoCodec::H264 => Box::new(H264Decoder::new()?),
    })
}
