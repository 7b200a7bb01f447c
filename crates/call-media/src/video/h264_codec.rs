//! H.264 constrained baseline through openh264 (built from source), annex B in both directions.
//!
//! Odd sizes are cut to even ones: 4:2:0 H.264 cannot state an odd size.

use std::time::Instant;

use call_protocol::VideoCodec;
use openh264::encoder::{
    BitRate, Complexity, EncodedBitStream, Encoder, FrameRate, FrameType, IntraFramePeriod,
    Profile, RateControlMode, SpsPpsStrategy, UsageType,
};
use openh264::formats::YUVSource;
use openh264::{OpenH264API, Timestamp};

use super::bitstream;
use super::codec::{CodecError, Content, EncodedFrame, EncoderConfig, VideoDecoder, VideoEncoder};
use super::ffi::set_openh264_rate;
use super::h264;
use crate::frame::I420Frame;
use crate::pool::{BytesPool, FramePool};

/// The planes of a frame, cut to even sides.
struct EvenPlanes<'a>(&'a I420Frame);

impl YUVSource for EvenPlanes<'_> {
    fn dimensions(&self) -> (usize, usize) {
        (self.0.width() as usize & !1, self.0.height() as usize & !1)
    }

    fn strides(&self) -> (usize, usize, usize) {
        let chroma = self.0.chroma_width() as usize;
        (self.0.width() as usize, chroma, chroma)
    }

    fn y(&self) -> &[u8] {
        self.0.y()
    }

    fn u(&self) -> &[u8] {
        self.0.u()
    }

    fn v(&self) -> &[u8] {
        self.0.v()
    }
}

/// An encoder that is made anew when the picture size changes.
pub(super) struct H264Encoder {
    config: EncoderConfig,
    encoder: Encoder,
    /// The options of a context that has not encoded yet cannot be set.
    has_encoded: bool,
    first_captured_at: Option<Instant>,
    last_pts_ms: Option<u64>,
    pool: BytesPool,
}

impl H264Encoder {
    pub(super) fn new(config: EncoderConfig) -> Result<Self, CodecError> {
        let encoder = open(&config)?;
        Ok(Self {
            config,
            encoder,
            has_encoded: false,
            first_captured_at: None,
            last_pts_ms: None,
            pool: BytesPool::new(),
        })
    }

    fn reopen(&mut self) -> Result<(), CodecError> {
        self.encoder = open(&self.config)?;
        self.has_encoded = false;
        Ok(())
    }

    fn apply_rate(&mut self) {
        let fps = self.config.fps as f32;
        let is_set = if self.has_encoded {
            set_openh264_rate(&mut self.encoder, self.config.bitrate_bps, fps)
        } else {
            self.reopen().is_ok()
        };
        if !is_set {
            tracing::warn!(
                bitrate_bps = self.config.bitrate_bps,
                fps,
                "encoder refused a rate"
            );
        }
    }
}

impl VideoEncoder for H264Encoder {
    fn encode(
        &mut self,
        frame: &I420Frame,
        force_keyframe: bool,
    ) -> Result<Option<EncodedFrame>, CodecError> {
        let (width, height) = (frame.width() & !1, frame.height() & !1);
        if width < 16 || height < 16 {
            return Err(CodecError::PictureSize { width, height });
        }
        if (width, height) != (self.config.width, self.config.height) {
            self.config.width = width;
            self.config.height = height;
            self.reopen()?;
        }
        if force_keyframe && self.has_encoded {
            self.encoder.force_intra_frame();
        }
        let first = *self.first_captured_at.get_or_insert(frame.captured_at);
        let elapsed_ms = frame
            .captured_at
            .saturating_duration_since(first)
            .as_millis() as u64;
        let pts_ms = self
            .last_pts_ms
            .map_or(elapsed_ms, |last| elapsed_ms.max(last + 1));
        self.last_pts_ms = Some(pts_ms);
        let stream = self
            .encoder
            .encode_at(&EvenPlanes(frame), Timestamp::from_millis(pts_ms))
            .map_err(|error| CodecError::Encode(error.to_string()))?;
        let keyframe = matches!(stream.frame_type(), FrameType::IDR);
        let is_skipped = matches!(stream.frame_type(), FrameType::Skip | FrameType::Invalid);
        self.has_encoded = true;
        let mut len = 0;
        if !is_skipped {
            for_each_nal(&stream, |nal| len += nal.len());
        }
        if len == 0 {
            return Ok(None);
        }
        let writer = self.pool.writer(len);
        for_each_nal(&stream, |nal| writer.extend_from_slice(nal));
        let data = writer.split().freeze();
        Ok(Some(EncodedFrame {
            codec: VideoCodec::H264,
            keyframe,
            width,
            height,
            data,
            timestamp_90khz: 0,
            captured_at: frame.captured_at,
            layer: 0,
            temporal_id: 0,
            temporal_layers: 1,
        }))
    }

    fn set_bitrate_bps(&mut self, bitrate_bps: u32) {
        self.config = EncoderConfig {
            bitrate_bps,
            ..self.config
        }
        .clamped();
        self.apply_rate();
    }

    fn set_framerate(&mut self, fps: u32) {
        self.config = EncoderConfig { fps, ..self.config }.clamped();
        self.apply_rate();
    }

    fn set_content(&mut self, content: Content) {
        if content == self.config.content {
            return;
        }
        self.config.content = content;
        if let Err(error) = self.reopen() {
            tracing::warn!(%error, ?content, "encoder refused a kind of content");
        }
    }
}

/// Shows the NAL units of a frame with their start codes.
fn for_each_nal(stream: &EncodedBitStream<'_>, mut visit: impl FnMut(&[u8])) {
    for layer in (0..stream.num_layers()).filter_map(|index| stream.layer(index)) {
        for nal in (0..layer.nal_count()).filter_map(|index| layer.nal_unit(index)) {
            visit(nal);
        }
    }
}

fn open(config: &EncoderConfig) -> Result<Encoder, CodecError> {
    let usage = match config.content {
        Content::Camera => UsageType::CameraVideoRealTime,
        Content::Screen => UsageType::ScreenContentRealTime,
    };
    let config = openh264::encoder::EncoderConfig::new()
        .bitrate(BitRate::from_bps(config.bitrate_bps))
        .max_frame_rate(FrameRate::from_hz(config.fps as f32))
        .rate_control_mode(RateControlMode::Bitrate)
        .skip_frames(true)
        .usage_type(usage)
        .complexity(Complexity::Medium)
        .profile(Profile::Baseline)
        .sps_pps_strategy(SpsPpsStrategy::ConstantId)
        .scene_change_detect(false)
        .intra_frame_period(IntraFramePeriod::auto())
        .num_threads(1);
    Encoder::with_api_config(OpenH264API::from_source(), config)
        .map_err(|error| CodecError::Start(error.to_string()))
}

/// A decoder that refuses pictures beyond the limit before openh264 allocates for them.
pub(super) struct H264Decoder {
    decoder: openh264::decoder::Decoder,
    pool: FramePool,
}

impl H264Decoder {
    pub(super) fn new() -> Result<Self, CodecError> {
        let config = openh264::decoder::DecoderConfig::new()
            .flush_after_decode(openh264::decoder::Flush::NoFlush);
        openh264::decoder::Decoder::with_api_config(OpenH264API::from_source(), config)
            .map(|decoder| Self {
                decoder,
                pool: FramePool::new(),
            })
            .map_err(|error| CodecError::Start(error.to_string()))
    }
}

impl VideoDecoder for H264Decoder {
    fn decode(&mut self, data: &[u8]) -> Result<Option<I420Frame>, CodecError> {
        if data.is_empty() {
            return Err(CodecError::Decode("no data".to_owned()));
        }
        for nal in h264::nal_units(data) {
            if h264::nal_type_of(nal) != h264::nal_type::SPS {
                continue;
            }
            let size = h264::sps_size(nal)
                .ok_or_else(|| CodecError::Decode("malformed parameter set".to_owned()))?;
            if !bitstream::is_size_allowed(size) {
                return Err(CodecError::PictureSize {
                    width: size.0,
                    height: size.1,
                });
            }
        }
        let picture = self
            .decoder
            .decode(data)
            .map_err(|error| CodecError::Decode(error.to_string()))?;
        Ok(picture.and_then(|picture| copy_picture(&picture, &mut self.pool)))
    }
}

fn copy_picture(
    picture: &openh264::decoder::DecodedYUV<'_>,
    pool: &mut FramePool,
) -> Option<I420Frame> {
    let (width, height) = picture.dimensions();
    let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
    let strides = picture.strides();
    let planes = [
        (picture.y(), strides.0, width, height),
        (picture.u(), strides.1, chroma_width, chroma_height),
        (picture.v(), strides.2, chroma_width, chroma_height),
    ];
    let fill = |data: &mut [u8]| {
        let mut rest = data;
        for (plane, stride, columns, rows) in planes {
            let (target, behind) = rest.split_at_mut(columns * rows);
            rest = behind;
            for (row, line) in target.chunks_exact_mut(columns).enumerate() {
                let source = plane.get(row * stride..row * stride + columns);
                line.copy_from_slice(source.ok_or(())?);
            }
        }
        Ok::<(), ()>(())
    };
    let (width_px, height_px) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let frame = pool.try_frame(width_px, height_px, Instant::now(), fill);
    frame.ok().flatten()
}
