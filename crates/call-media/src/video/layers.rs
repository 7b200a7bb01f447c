//! One picture encoded in up to three sizes: what the encoder thread does, without the thread.
//!
//! Layer 0 has the full size, layer 1 half and layer 2 a quarter of it a side. A layer is encoded
//! only while it has a target; its picture is scaled from that of the next larger layer there is.
//! Layers whose short side would be below [`MIN_LAYER_SHORT_PX`] are not made.
//!
//! Invariants:
//! * All layers of one picture have the same RTP timestamp; timestamps increase strictly.
//! * Two keyframes of a layer are at least [`KEYFRAME_INTERVAL`] apart, whatever asks for them: a
//!   request, a change of codec or size, or a layer that is switched on. A keyframe that was asked
//!   for is sent, if later.
//! * Bit rate, frame rate and content change without a keyframe; sizes of VP9 as well, up to the
//!   first one and down to half of the one before.
//! * A codec that fails is made anew after [`CODEC_RETRY`]; the other layers go on.
//!
//! Deliberately not here: the thread ([`super::send`]), and what targets are right (call-core).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use call_protocol::VideoCodec;

use super::capture_rate::CaptureRate;
use super::codec::{CodecError, Content, EncodedFrame, EncoderConfig, VideoEncoder, new_encoder};
use super::scale::{Scaler, fit_size};
use crate::frame::I420Frame;

/// Most simulcast layers.
pub const LAYERS: usize = 3;
/// A layer is not made when its short side would be below this, in pixels: a tile of a quarter of
/// 640x360. Higher saves the smallest layer's bits; lower sends pictures nobody can use.
pub const MIN_LAYER_SHORT_PX: u32 = 90;
/// Least time between two keyframes of a layer. Every member of a mesh may ask at the same moment;
/// one answer serves all. Higher delays who joins; lower lets requests fill the link.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);
/// Least time between a change of size and a larger size. Higher keeps a small picture longer
/// after a short dip; lower lets a wavering estimate pay for keyframes.
pub const GROW_INTERVAL: Duration = Duration::from_secs(2);
/// How long to wait before a codec that failed is made anew.
pub const CODEC_RETRY: Duration = Duration::from_secs(1);

/// What one layer should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTarget {
    /// Target in bits per second, clamped like [`EncoderConfig::clamped`].
    pub bitrate_bps: u32,
    /// Highest rate in frames per second, clamped like [`EncoderConfig::clamped`].
    pub fps: u32,
}

/// The targets of layers 0 (full size), 1 (half) and 2 (a quarter a side); `None` is not encoded.
pub type LayerTargets = [Option<LayerTarget>; LAYERS];

/// What to make of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeSettings {
    /// Codec of all layers.
    pub codec: VideoCodec,
    /// Width of the box that layer 0 is shrunk into, in pixels.
    pub max_width: u32,
    /// Height of that box, in pixels.
    pub max_height: u32,
    /// Which layers.
    pub layers: LayerTargets,
    /// See [`EncoderConfig::temporal_layers`]; a change makes encoders anew.
    pub temporal_layers: u8,
    /// See [`EncoderConfig::content`].
    pub content: Content,
}

impl EncodeSettings {
    /// One layer as `config` says.
    pub fn single(codec: VideoCodec, config: EncoderConfig) -> Self {
        let config = config.clamped();
        let target = LayerTarget {
            bitrate_bps: config.bitrate_bps,
            fps: config.fps,
        };
        Self {
            codec,
            max_width: config.width,
            max_height: config.height,
            layers: [Some(target), None, None],
            temporal_layers: config.temporal_layers,
            content: config.content,
        }
    }
}

/// The size of a layer, even; `None` for a layer too small to be made. Layer 0 always is.
pub fn layer_size(full: (u32, u32), layer: usize) -> Option<(u32, u32)> {
    if layer == 0 {
        return Some(full);
    }
    let side = |side: u32| (side >> layer) & !1;
    let (width, height) = (side(full.0), side(full.1));
    (width.min(height) >= MIN_LAYER_SHORT_PX).then_some((width, height))
}

/// See the [module documentation](self).
pub struct LayeredEncoder {
    size: SizeLimiter,
    capture_rate: CaptureRate,
    clock: RtpClock,
    layers: [Layer; LAYERS],
    ready: VecDeque<Result<EncodedFrame, CodecError>>,
}

impl LayeredEncoder {
    /// `timestamp_offset` is the RTP timestamp of the first picture; random, so that streams
    /// cannot be correlated.
    pub fn new(timestamp_offset: u32) -> Self {
        Self {
            size: SizeLimiter::default(),
            capture_rate: CaptureRate::default(),
            clock: RtpClock::new(timestamp_offset),
            layers: Default::default(),
            ready: VecDeque::with_capacity(LAYERS),
        }
    }

    /// Makes the next possible picture of a layer a keyframe. Unknown layers have none.
    pub fn request_keyframe(&mut self, layer: usize) {
        if let Some(layer) = self.layers.get_mut(layer) {
            layer.wants_keyframe = true;
        }
    }

    /// Encodes a picture. Then drain [`Self::poll_frame`].
    pub fn handle_picture(&mut self, now: Instant, picture: &I420Frame, settings: &EncodeSettings) {
        self.capture_rate.handle_picture(picture.captured_at);
        let last_keyframe_at = self.layers.iter().filter_map(|l| l.last_keyframe_at).max();
        let (source, bounds) = (
            (picture.width(), picture.height()),
            (settings.max_width, settings.max_height),
        );
        let full = self.size.limit(now, source, bounds, last_keyframe_at);
        let mut timestamp = None;
        let mut scaled = picture.clone();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (Some(target), Some(size)) = (settings.layers[index], layer_size(full, index))
            else {
                layer.encoder = None;
                continue;
            };
            let config = EncoderConfig {
                width: size.0,
                height: size.1,
                fps: target.fps,
                bitrate_bps: target.bitrate_bps,
                temporal_layers: settings.temporal_layers,
                content: settings.content,
            }
            .clamped();
            if !layer.is_due(now, picture.captured_at, config.fps) {
                continue;
            }
            scaled = layer.scaler.resize(&scaled, size.0, size.1);
            let config = EncoderConfig {
                fps: self.capture_rate.limit(config.fps),
                ..config
            };
            match layer.encode(now, &scaled, settings.codec, config) {
                Ok(None) => {}
                Ok(Some(mut frame)) => {
                    let clock = &mut self.clock;
                    frame.layer = index as u8;
                    frame.timestamp_90khz =
                        *timestamp.get_or_insert_with(|| clock.timestamp(picture.captured_at));
                    self.ready.push_back(Ok(frame));
                }
                Err(error) => self.ready.push_back(Err(error)),
            }
        }
    }

    /// The next encoded frame of the last picture, smaller layers later, or why there is none.
    pub fn poll_frame(&mut self) -> Option<Result<EncodedFrame, CodecError>> {
        self.ready.pop_front()
    }
}

/// What one layer keeps between pictures.
#[derive(Default)]
struct Layer {
    encoder: Option<Box<dyn VideoEncoder>>,
    /// What `encoder` was last told.
    applied: Option<(VideoCodec, EncoderConfig)>,
    scaler: Scaler,
    pacer: FramePacer,
    wants_keyframe: bool,
    last_keyframe_at: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Layer {
    fn is_due(&mut self, now: Instant, captured_at: Instant, fps: u32) -> bool {
        self.pacer.is_due(captured_at, fps) && self.retry_at.is_none_or(|retry_at| now >= retry_at)
    }

    fn encode(
        &mut self,
        now: Instant,
        picture: &I420Frame,
        codec: VideoCodec,
        wanted: EncoderConfig,
    ) -> Result<Option<EncodedFrame>, CodecError> {
        let is_keyframe_allowed = self
            .last_keyframe_at
            .is_none_or(|last| now.saturating_duration_since(last) >= KEYFRAME_INTERVAL);
        let (codec, wanted) = if is_keyframe_allowed {
            (codec, wanted)
        } else {
            self.without_restart(codec, wanted)
        };
        // A new encoder, or a picture of another size: nothing to go on with.
        if self.needs_keyframe(codec, &wanted) && !is_keyframe_allowed {
            return Ok(None);
        }
        let result = self.encode_now(
            picture,
            codec,
            wanted,
            self.wants_keyframe && is_keyframe_allowed,
        );
        self.retry_at = result.is_err().then(|| now + CODEC_RETRY);
        match &result {
            Ok(Some(frame)) if frame.keyframe => {
                self.last_keyframe_at = Some(now);
                self.wants_keyframe = false;
            }
            Ok(_) => {}
            Err(_) => self.encoder = None,
        }
        result
    }

    /// What is wanted, less what would make the encoder begin anew: it goes on as it is meanwhile,
    /// or a change right after a keyframe would be seen as a picture that stands still.
    fn without_restart(
        &self,
        codec: VideoCodec,
        wanted: EncoderConfig,
    ) -> (VideoCodec, EncoderConfig) {
        match self.applied {
            Some((applied_codec, applied)) if self.encoder.is_some() => {
                let kept = EncoderConfig {
                    temporal_layers: applied.temporal_layers,
                    content: applied.content,
                    ..wanted
                };
                (applied_codec, kept)
            }
            _ => (codec, wanted),
        }
    }

    /// Whether the next frame is a keyframe, asked for or not.
    fn needs_keyframe(&self, codec: VideoCodec, wanted: &EncoderConfig) -> bool {
        let (Some((applied_codec, applied)), true) = (self.applied, self.encoder.is_some()) else {
            return true;
        };
        let size = |config: &EncoderConfig| (config.width, config.height);
        let is_resized = size(&applied) != size(wanted);
        let content_restarts = codec == VideoCodec::H264 && applied.content != wanted.content;
        codec != applied_codec
            || wanted.temporal_layers != applied.temporal_layers
            || content_restarts
            || is_resized && !(codec == VideoCodec::Vp9 && can_refer(size(&applied), size(wanted)))
    }

    fn encode_now(
        &mut self,
        picture: &I420Frame,
        codec: VideoCodec,
        wanted: EncoderConfig,
        force_keyframe: bool,
    ) -> Result<Option<EncodedFrame>, CodecError> {
        let is_same = |(applied_codec, applied): &(VideoCodec, EncoderConfig)| {
            *applied_codec == codec && applied.temporal_layers == wanted.temporal_layers
        };
        if !self.applied.as_ref().is_some_and(is_same) {
            self.encoder = None;
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => {
                if let Some((_, applied)) = self.applied {
                    apply(encoder.as_mut(), &applied, &wanted);
                }
                encoder
            }
            None => self.encoder.insert(new_encoder(codec, wanted)?),
        };
        self.applied = Some((codec, wanted));
        encoder.encode(picture, force_keyframe)
    }
}

/// Whether a smaller VP9 picture can refer to those before it: at most halved a side (VP9
/// specification section 7.2, on frame sizes with references).
fn can_refer(before: (u32, u32), after: (u32, u32)) -> bool {
    let is_near = |before: u32, after: u32| after <= before && before <= 2 * after;
    is_near(before.0, after.0) && is_near(before.1, after.1)
}

/// Tells a running encoder what changed; the size it takes from its pictures.
fn apply(encoder: &mut dyn VideoEncoder, applied: &EncoderConfig, wanted: &EncoderConfig) {
    if applied.fps != wanted.fps {
        encoder.set_framerate(wanted.fps);
    }
    if applied.bitrate_bps != wanted.bitrate_bps {
        encoder.set_bitrate_bps(wanted.bitrate_bps);
    }
    if applied.content != wanted.content {
        encoder.set_content(wanted.content);
    }
}

/// The size of layer 0: the source in its box, with patience, for a change may cost a keyframe.
#[derive(Clone, Copy, Debug, Default)]
struct SizeLimiter {
    source: (u32, u32),
    size: (u32, u32),
    changed_at: Option<Instant>,
}

impl SizeLimiter {
    /// A new source size counts at once, a smaller box after [`KEYFRAME_INTERVAL`], a larger one
    /// after [`GROW_INTERVAL`].
    fn limit(
        &mut self,
        now: Instant,
        source: (u32, u32),
        bounds: (u32, u32),
        last_keyframe_at: Option<Instant>,
    ) -> (u32, u32) {
        let wanted = fit_size(source.0, source.1, bounds.0, bounds.1);
        let is_past = |since: Option<Instant>, wait: Duration| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= wait)
        };
        let wait = if wanted.0 > self.size.0 {
            GROW_INTERVAL
        } else {
            KEYFRAME_INTERVAL
        };
        let is_allowed = source != self.source
            || is_past(self.changed_at, wait) && is_past(last_keyframe_at, KEYFRAME_INTERVAL);
        if wanted != self.size && is_allowed {
            self.size = wanted;
            self.changed_at = Some(now);
        }
        self.source = source;
        self.size
    }
}

/// Lets pictures through at most at a rate, judged by their capture times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FramePacer {
    due_at: Option<Instant>,
}

impl FramePacer {
    /// Whether this picture is to be used. Jitter of half an interval is tolerated, so that a
    /// source at exactly the rate loses nothing.
    pub(super) fn is_due(&mut self, captured_at: Instant, fps: u32) -> bool {
        let interval = Duration::from_secs(1) / fps.max(1);
        let due_at = self.due_at.unwrap_or(captured_at);
        if captured_at + interval / 2 < due_at {
            return false;
        }
        // After a gap the schedule starts anew instead of letting a burst through.
        let is_late = captured_at > due_at + interval;
        self.due_at = Some(if is_late { captured_at } else { due_at } + interval);
        true
    }
}

/// Capture times to RTP timestamps.
#[derive(Clone, Copy, Debug)]
pub(super) struct RtpClock {
    offset: u32,
    epoch: Option<Instant>,
    last_ticks: Option<u64>,
}

impl RtpClock {
    pub(super) fn new(offset: u32) -> Self {
        Self {
            offset,
            epoch: None,
            last_ticks: None,
        }
    }

    /// 90 kHz since the first picture, plus the offset; always above the one before (modulo
    /// 2^32).
    pub(super) fn timestamp(&mut self, captured_at: Instant) -> u32 {
        let epoch = *self.epoch.get_or_insert(captured_at);
        let elapsed_us = captured_at.saturating_duration_since(epoch).as_micros() as u64;
        let ticks = elapsed_us * 9 / 100;
        let ticks = self.last_ticks.map_or(ticks, |last| ticks.max(last + 1));
        self.last_ticks = Some(ticks);
        self.offset.wrapping_add(ticks as u32)
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
