//! VP8 and VP9 through libvpx, set up for live calls: constant bit rate, no look-ahead, frames
//! dropped rather than delayed.
//!
//! Error resilience is off on purpose: a receiver here never decodes past a missing frame (the
//! assembler waits for a keyframe instead), so the contexts of both sides always agree and there
//! is nothing to be resilient against. VP9 with two temporal layers is the exception.
//!
//! Changes of bit rate, frame rate and content keep the context. So do changes of size up to the
//! first one: VP9 then goes on from scaled references, VP8 with one keyframe. libvpx 1.12 has
//! memory errors when a context grows beyond its first size (CVE-2023-44488), hence the limit.

use std::time::Instant;

use call_protocol::VideoCodec;
use vpx_sys as vpx;
use vpx_sys::vp8e_enc_control_id as control;

use super::bitstream;
use super::codec::{CodecError, Content, EncodedFrame, EncoderConfig, VideoDecoder, VideoEncoder};
use super::ffi::{Control, DecoderContext, EncoderContext, VpxError, VpxKind};
use crate::frame::I420Frame;
use crate::pool::{BytesPool, FramePool};

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

/// An encoder that follows the size of its pictures: in the running context up to the size of the
/// first picture, beyond that with a context made anew.
pub(super) struct VpxEncoder {
    kind: VpxKind,
    config: EncoderConfig,
    context: EncoderContext,
    /// Size of the context's first picture.
    largest: (u32, u32),
    first_captured_at: Option<Instant>,
    last_pts: i64,
    /// Frames since the keyframe; with two temporal layers the odd ones are droppable. A picture
    /// the encoder drops does not count, so that the layers alternate for the receiver.
    since_keyframe: u32,
    pool: BytesPool,
}

impl VpxEncoder {
    pub(super) fn new(kind: VpxKind, config: EncoderConfig) -> Result<Self, CodecError> {
        let context = open(kind, &config)?;
        Ok(Self {
            kind,
            config,
            context,
            largest: (config.width, config.height),
            first_captured_at: None,
            last_pts: -1,
            since_keyframe: 0,
            pool: BytesPool::new(),
        })
    }

    fn resize(&mut self, width: u32, height: u32) -> Result<(), CodecError> {
        let is_halved = 2 * width < self.config.width || 2 * height < self.config.height;
        let is_keyframe_due = self.kind == VpxKind::Vp8 || is_halved;
        self.config.width = width;
        self.config.height = height;
        if width <= self.largest.0 && height <= self.largest.1 {
            let resized = self.context.reconfigure(|out| {
                out.g_w = width;
                out.g_h = height;
            });
            match resized {
                Ok(()) => {
                    if is_keyframe_due {
                        self.since_keyframe = 0;
                    }
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, width, height, "encoder refused a size"),
            }
        }
        self.context = open(self.kind, &self.config)?;
        self.largest = (width, height);
        self.since_keyframe = 0;
        Ok(())
    }

    /// The temporal layer of the next frame, and the flags that put it there.
    fn temporal_layer(&mut self, force_keyframe: bool) -> Result<(u8, u32), VpxError> {
        if self.config.temporal_layers < 2 {
            return Ok((0, 0));
        }
        let temporal_id = if force_keyframe {
            0
        } else {
            (self.since_keyframe % 2) as u8
        };
        match self.kind {
            VpxKind::Vp8 => {
                let id = (control::VP8E_SET_TEMPORAL_LAYER_ID, temporal_id.into());
                self.context.control(id)?;
            }
            VpxKind::Vp9 => self.context.set_vp9_temporal_id(temporal_id)?,
        }
        let keep_old = vpx::VP8_EFLAG_NO_UPD_GF | vpx::VP8_EFLAG_NO_UPD_ARF;
        let flags = match temporal_id {
            _ if force_keyframe => 0,
            0 => keep_old,
            // Leaves nothing behind that a later frame could miss: no reference, no probabilities.
            _ => keep_old | vpx::VP8_EFLAG_NO_UPD_LAST | vpx::VP8_EFLAG_NO_UPD_ENTROPY,
        };
        Ok((temporal_id, flags))
    }

    fn apply_rate(&mut self) {
        let config = self.config;
        if let Err(error) = self.context.reconfigure(|out| set_rate(out, &config)) {
            let bitrate_bps = config.bitrate_bps;
            tracing::warn!(%error, bitrate_bps, "encoder refused a bit rate");
        }
    }

    fn apply_controls(&mut self, controls: &[Control]) {
        for control in controls {
            if let Err(error) = self.context.control(*control) {
                tracing::warn!(%error, control = ?control.0, "encoder refused a setting");
            }
        }
    }
}

impl VideoEncoder for VpxEncoder {
    fn encode(
        &mut self,
        frame: &I420Frame,
        force_keyframe: bool,
    ) -> Result<Option<EncodedFrame>, CodecError> {
        let encode_error = |error: VpxError| CodecError::Encode(error.to_string());
        if (frame.width(), frame.height()) != (self.config.width, self.config.height) {
            self.resize(frame.width(), frame.height())?;
        }
        let first = *self.first_captured_at.get_or_insert(frame.captured_at);
        let elapsed = frame.captured_at.saturating_duration_since(first);
        let pts = (elapsed.as_micros() as i64 * i64::from(TICKS_PER_SECOND) / 1_000_000)
            .max(self.last_pts + 1);
        self.last_pts = pts;
        let duration = TICKS_PER_SECOND / self.config.fps;
        let (temporal_id, mut flags) = self.temporal_layer(force_keyframe).map_err(encode_error)?;
        if force_keyframe {
            flags |= vpx::VPX_EFLAG_FORCE_KF;
        }
        let packet = self
            .context
            .encode(frame, pts, duration, flags, &mut self.pool)
            .map_err(encode_error)?;
        let Some(packet) = packet.filter(|packet| !packet.data.is_empty()) else {
            return Ok(None);
        };
        self.since_keyframe = if packet.keyframe {
            1
        } else {
            self.since_keyframe.wrapping_add(1)
        };
        Ok(Some(EncodedFrame {
            codec: self.kind.codec(),
            keyframe: packet.keyframe,
            width: frame.width(),
            height: frame.height(),
            data: packet.data,
            timestamp_90khz: 0,
            captured_at: frame.captured_at,
            layer: 0,
            temporal_id: if packet.keyframe { 0 } else { temporal_id },
            temporal_layers: self.config.temporal_layers,
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
        // libvpx derives the frame rate from the durations it is given.
        self.config = EncoderConfig { fps, ..self.config }.clamped();
        self.apply_controls(&[max_intra(&self.config)]);
    }

    fn set_content(&mut self, content: Content) {
        if content != self.config.content {
            self.config.content = content;
            self.apply_controls(&content_controls(self.kind, content));
        }
    }
}

/// Share of the bit rate that temporal layer 0 gets, in percent. Its frames are predicted over
/// twice the distance and everything else is predicted from them; the value is libwebrtc's.
const TEMPORAL_BASE_PERCENT: u32 = 60;

fn set_rate(out: &mut vpx::vpx_codec_enc_cfg_t, config: &EncoderConfig) {
    let kbps = config.bitrate_bps / 1000;
    out.rc_target_bitrate = kbps;
    if config.temporal_layers > 1 {
        let rates = [kbps * TEMPORAL_BASE_PERCENT / 100, kbps];
        out.ts_target_bitrate[..2].copy_from_slice(&rates);
        out.layer_target_bitrate[..2].copy_from_slice(&rates);
    }
}

/// A keyframe may take half of the optimal buffer (600 ms) in one frame interval; in percent of an
/// average frame, at least 300.
fn max_intra(config: &EncoderConfig) -> Control {
    let percent = (600 * config.fps / 2 / 10).max(300) as i32;
    (control::VP8E_SET_MAX_INTRA_BITRATE_PCT, percent)
}

fn content_controls(kind: VpxKind, content: Content) -> [Control; 1] {
    let is_screen = i32::from(content == Content::Screen);
    match kind {
        VpxKind::Vp8 => [(control::VP8E_SET_SCREEN_CONTENT_MODE, is_screen)],
        VpxKind::Vp9 => [(control::VP9E_SET_TUNE_CONTENT, is_screen)],
    }
}

fn open(kind: VpxKind, config: &EncoderConfig) -> Result<EncoderContext, CodecError> {
    let has_layers = config.temporal_layers > 1;
    let configure = |out: &mut vpx::vpx_codec_enc_cfg_t| {
        out.g_w = config.width;
        out.g_h = config.height;
        out.g_timebase = vpx::vpx_rational {
            num: 1,
            den: TICKS_PER_SECOND as i32,
        };
        out.g_threads = threads(config);
        out.g_lag_in_frames = 0;
        // VP9 predicts motion from the frame before, whatever its layer.
        out.g_error_resilient = u32::from(has_layers && kind == VpxKind::Vp9);
        out.g_pass = vpx::vpx_enc_pass::VPX_RC_ONE_PASS;
        out.rc_end_usage = vpx::vpx_rc_mode::VPX_CBR;
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
        if has_layers {
            out.ts_number_layers = 2;
            out.ts_periodicity = 2;
            out.ts_rate_decimator[..2].copy_from_slice(&[2, 1]);
            out.ts_layer_id[..2].copy_from_slice(&[0, 1]);
            let bypass = vpx::vp9e_temporal_layering_mode::VP9E_TEMPORAL_LAYERING_MODE_BYPASS;
            out.temporal_layering_mode = bypass as i32;
        }
        set_rate(out, config);
    };
    let mut controls: Vec<Control> =
        vec![(control::VP8E_SET_STATIC_THRESHOLD, 1), max_intra(config)];
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
            (control::VP9E_SET_SVC, i32::from(has_layers)),
        ]),
    }
    controls.extend(content_controls(kind, config.content));
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
    pool: FramePool,
}

impl VpxDecoder {
    pub(super) fn new(kind: VpxKind) -> Result<Self, CodecError> {
        let context =
            DecoderContext::new(kind, 1).map_err(|error| CodecError::Start(error.to_string()))?;
        Ok(Self {
            kind,
            context,
            pool: FramePool::new(),
        })
    }
}

impl VpxDecoder {
    /// Refuses what is no frame, or one of a picture that is too large.
    fn check(&self, frame: &[u8]) -> Result<(), CodecError> {
        if frame.is_empty() {
            return Ok(());
        }
        let info = bitstream::frame_info(self.kind.codec(), frame)
            .ok_or_else(|| CodecError::Decode("not a frame of this codec".to_owned()))?;
        match info.size {
            Some((width, height)) if !bitstream::is_size_allowed((width, height)) => {
                Err(CodecError::PictureSize { width, height })
            }
            _ => Ok(()),
        }
    }
}

impl VideoDecoder for VpxDecoder {
    fn decode(&mut self, data: &[u8]) -> Result<Option<I420Frame>, CodecError> {
        match self.kind {
            VpxKind::Vp8 => self.check(data)?,
            VpxKind::Vp9 => {
                for frame in bitstream::vp9_frames(data) {
                    self.check(frame)?;
                }
            }
        }
        if data.is_empty() {
            // libvpx takes this for a request to flush.
            return Err(CodecError::Decode("no data".to_owned()));
        }
        self.context
            .decode(data, Instant::now(), &mut self.pool)
            .map_err(|error| CodecError::Decode(error.to_string()))
    }
}
