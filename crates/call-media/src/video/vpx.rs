//! VP8 and VP9 through libvpx, set up for live calls: constant bit rate, no look-ahead, frames
//! dropped rather than delayed.
//!
//! Error resilience is off on purpose: a receiver here never decodes past a missing frame (the
//! assembler waits for a keyframe instead), so the contexts of both sides always agree and there
//! is nothing to be resilient against.

use std::time::Instant;

use bytes::Bytes;
use call_protocol::VideoCodec;
use vpx_sys as vpx;
use vpx_sys::vp8e_enc_control_id as control;

use super::bitstream;
use super::codec::{CodecError, EncodedFrame, EncoderConfig, VideoDecoder, VideoEncoder};
use super::ffi::{Control, DecoderContext, EncoderContext, VpxKind};
use crate::frame::I420Frame;

/// Ticks of the encoder's clock per second, the RTP clock of video.
const TICKS_PER_SECOND: u32 = 90_000;

impl VpxKind {
    fn codec(self) -> VideoCodec {
        match self {
            Self::Vp8 => VideoCodec::Vp8,
            Self::Vp9 => VideoCodec::Vp9,
        }
    }
}

/// An encoder whose context is made anew when the picture size changes.
pub(super) struct VpxEncoder {
    kind: VpxKind,
    config: EncoderConfig,
    context: EncoderContext,
    first_captured_at: Option<Instant>,
    last_pts: i64,
}

impl VpxEncoder {
    pub(super) fn new(kind: VpxKind, config: EncoderConfig) -> Result<Self, CodecError> {
        let context = open(kind, &config)?;
        Ok(Self {
            kind,
            config,
            context,
            first_captured_at: None,
            last_pts: -1,
        })
    }
}

impl VideoEncoder for VpxEncoder {
    fn encode(
        &mut self,
        frame: &I420Frame,
        force_keyframe: bool,
    ) -> Result<Option<EncodedFrame>, CodecError> {
        if (frame.width(), frame.height()) != (self.config.width, self.config.height) {
            self.config.width = frame.width();
            self.config.height = frame.height();
            self.context = open(self.kind, &self.config)?;
        }
        let first = *self.first_captured_at.get_or_insert(frame.captured_at);
        let elapsed = frame.captured_at.saturating_duration_since(first);
        let pts = (elapsed.as_micros() as i64 * i64::from(TICKS_PER_SECOND) / 1_000_000)
            .max(self.last_pts + 1);
        self.last_pts = pts;
        let duration = TICKS_PER_SECOND / self.config.fps;
        let packet = self
            .context
            .encode(frame, pts, duration, force_keyframe)
            .map_err(|error| CodecError::Encode(error.to_string()))?;
        Ok(packet
            .filter(|packet| !packet.data.is_empty())
            .map(|packet| EncodedFrame {
                codec: self.kind.codec(),
                keyframe: packet.keyframe,
                width: frame.width(),
                height: frame.height(),
                data: Bytes::from(packet.data),
                timestamp_90khz: 0,
                captured_at: frame.captured_at,
            }))
    }

    fn set_bitrate_bps(&mut self, bitrate_bps: u32) {
        self.config = EncoderConfig {
            bitrate_bps,
            ..self.config
        }
        .clamped();
        let kbps = self.config.bitrate_bps / 1000;
        if let Err(error) = self
            .context
            .reconfigure(|config| config.rc_target_bitrate = kbps)
        {
            tracing::warn!(%error, kbps, "encoder refused a bit rate");
        }
    }

    fn set_framerate(&mut self, fps: u32) {
        // libvpx derives the frame rate from the durations it is given.
        self.config = EncoderConfig { fps, ..self.config }.clamped();
    }
}

fn open(kind: VpxKind, config: &EncoderConfig) -> Result<EncoderContext, CodecError> {
    let configure = |out: &mut vpx::vpx_codec_enc_cfg_t| {
        out.g_w = config.width;
        out.g_h = config.height;
        out.g_timebase = vpx::vpx_rational {
            num: 1,
            den: TICKS_PER_SECOND as i32,
        };
        out.g_threads = threads(config);
        out.g_lag_in_frames = 0;
        out.g_error_resilient = 0;
        out.g_pass = vpx::vpx_enc_pass::VPX_RC_ONE_PASS;
        out.rc_end_usage = vpx::vpx_rc_mode::VPX_CBR;
        out.rc_target_bitrate = config.bitrate_bps / 1000;
        out.rc_dropframe_thresh = 30;
        out.rc_resize_allowed = 0;
        out.rc_min_quantizer = 2;
        out.rc_max_quantizer = if kind == VpxKind::Vp8 { 56 } else { 52 };
        out.rc_undershoot_pct = if kind == VpxKind::Vp8 { 100 } else { 50 };
        out.rc_overshoot_pct = if kind == VpxKind::Vp8 { 15 } else { 50 };
        out.rc_buf_initial_sz = 500;
        out.rc_buf_optimal_sz = 600;
        out.rc_buf_sz = 1000;
        // Keyframes come on request only; a receiver that needs one asks.
        out.kf_mode = vpx::vpx_kf_mode::VPX_KF_FIXED;
        out.kf_min_dist = 0;
        out.kf_max_dist = 100_000;
    };
    // A keyframe may take half of the optimal buffer (600 ms) in one frame interval; in percent
    // of an average frame, at least 300.
    let max_intra_percent = (600 * config.fps / 2 / 10).max(300) as i32;
    let mut controls: Vec<Control> = vec![
        (control::VP8E_SET_STATIC_THRESHOLD, 1),
        (control::VP8E_SET_MAX_INTRA_BITRATE_PCT, max_intra_percent),
    ];
    match kind {
        VpxKind::Vp8 => controls.extend([
            (control::VP8E_SET_CPUUSED, -6),
            (control::VP8E_SET_NOISE_SENSITIVITY, 0),
            (control::VP8E_SET_TOKEN_PARTITIONS, 0),
        ]),
        VpxKind::Vp9 => controls.extend([
            (control::VP8E_SET_CPUUSED, 8),
            (control::VP9E_SET_AQ_MODE, 3),
            (control::VP9E_SET_FRAME_PERIODIC_BOOST, 0),
            (
                control::VP9E_SET_TILE_COLUMNS,
                tile_columns_log2(config.width),
            ),
            (control::VP9E_SET_ROW_MT, 1),
            (
                control::VP9E_SET_COLOR_SPACE,
                vpx::vpx_color_space::VPX_CS_BT_601 as i32,
            ),
        ]),
    }
    EncoderContext::new(kind, configure, &controls)
        .map_err(|error| CodecError::Start(error.to_string()))
}

/// Two threads from 640x480 on where two cores remain for the rest of the call.
fn threads(config: &EncoderConfig) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.width * config.height >= 640 * 480 && cores >= 4 {
        2
    } else {
        1
    }
}

/// VP9 tiles are at least 256 pixels wide.
fn tile_columns_log2(width: u32) -> i32 {
    if width >= 1024 { 1 } else { 0 }
}

/// A decoder that refuses pictures beyond the limit before libvpx allocates for them.
pub(super) struct VpxDecoder {
    kind: VpxKind,
    context: DecoderContext,
}

impl VpxDecoder {
    pub(super) fn new(kind: VpxKind) -> Result<Self, CodecError> {
        let context =
            DecoderContext::new(kind, 1).map_err(|error| CodecError::Start(error.to_string()))?;
        Ok(Self { kind, context })
    }
}

impl VideoDecoder for VpxDecoder {
    fn decode(&mut self, data: &[u8]) -> Result<Option<I420Frame>, CodecError> {
        let frames = match self.kind {
            VpxKind::Vp8 => vec![data],
            VpxKind::Vp9 => bitstream::vp9_frames(data),
        };
        for frame in frames.into_iter().filter(|frame| !frame.is_empty()) {
            let info = bitstream::frame_info(self.kind.codec(), frame)
                .ok_or_else(|| CodecError::Decode("not a frame of this codec".to_owned()))?;
            if let Some(size) = info.size
                && !bitstream::is_size_allowed(size)
            {
                return Err(CodecError::PictureSize {
                    width: size.0,
                    height: size.1,
                });
            }
        }
        if data.is_empty() {
            // libvpx takes this for a request to flush.
            return Err(CodecError::Decode("no data".to_owned()));
        }
        self.context
            .decode(data, Instant::now())
            .map_err(|error| CodecError::Decode(error.to_string()))
    }
}
