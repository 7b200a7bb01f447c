//! From pictures to encoded frames, on a thread of its own; and the small self view.
//!
//! One [`VideoSender`] serves all peers: it takes the newest picture from a [`LatestSlot`], shrinks
//! it to the wanted box, encodes it and hands the frame out. Pictures that arrive faster than the
//! frame rate, or while one is being encoded, are dropped; nothing queues.
//!
//! Invariants: RTP timestamps increase strictly; a keyframe that was asked for is sent, though not
//! more often than every [`KEYFRAME_INTERVAL`]; a codec that fails is made anew after
//! [`CODEC_RETRY`] and never ends the thread; a change of codec, and the end of a pause, begin with
//! a keyframe.
//!
//! Deliberately not here: what bit rate, size and rate are right (call-core decides), packets
//! ([`super::rtp`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use call_protocol::VideoCodec;

use super::codec::{CodecError, EncodedFrame, EncoderConfig, VideoEncoder, new_encoder};
use super::scale::Scaler;
use crate::frame::{I420Frame, LatestSlot, Taken};

/// Least time between two keyframes. Every member of a mesh may ask at the same moment; one answer
/// serves all.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);
/// How long to wait before a codec that failed is made anew.
pub const CODEC_RETRY: Duration = Duration::from_secs(1);
/// Largest side of the self view, in pixels.
pub const SELF_VIEW_PX: u32 = 320;
/// Highest rate of the self view, in frames per second.
pub const SELF_VIEW_FPS: u32 = 15;
/// How long a thread waits for a picture before it looks at its settings again.
const POLL: Duration = Duration::from_millis(200);

/// What a sender starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoSenderConfig {
    /// Codec.
    pub codec: VideoCodec,
    /// Rate and size; width and height are the box pictures are shrunk into.
    pub encoder: EncoderConfig,
    /// RTP timestamp of the first picture; random, so that streams cannot be correlated.
    pub timestamp_offset: u32,
}

/// An encoder thread. Dropping it stops it; the source slot stays open.
pub struct VideoSender {
    settings: Arc<Mutex<Settings>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
struct Settings {
    codec: VideoCodec,
    encoder: EncoderConfig,
    is_paused: bool,
    is_stopping: bool,
    wants_keyframe: bool,
}

impl VideoSender {
    /// Starts encoding what arrives in `source`, until the slot is closed or the sender dropped.
    /// The callbacks run on the encoder thread.
    ///
    /// # Errors
    /// When the system refuses a thread. Codec trouble is reported to `on_error` instead.
    pub fn start(
        source: LatestSlot<I420Frame>,
        config: VideoSenderConfig,
        on_frame: impl FnMut(EncodedFrame) + Send + 'static,
        on_error: impl FnMut(CodecError) + Send + 'static,
    ) -> std::io::Result<Self> {
        let settings = Arc::new(Mutex::new(Settings {
            codec: config.codec,
            encoder: config.encoder.clamped(),
            is_paused: false,
            is_stopping: false,
            wants_keyframe: true,
        }));
        let shared = Arc::clone(&settings);
        let thread = std::thread::Builder::new()
            .name("video-send".to_owned())
            .spawn(move || {
                let stage = EncodeStage::new(config.codec, config.timestamp_offset);
                run(&source, &shared, stage, on_frame, on_error);
            })?;
        Ok(Self {
            settings,
            thread: Some(thread),
        })
    }

    /// Makes the next possible picture a keyframe. Requests in quick succession are answered by
    /// one.
    pub fn request_keyframe(&self) {
        self.settings().wants_keyframe = true;
    }

    /// Target bit rate in bits per second, clamped like [`EncoderConfig::clamped`].
    pub fn set_bitrate_bps(&self, bitrate_bps: u32) {
        let mut settings = self.settings();
        settings.encoder = EncoderConfig {
            bitrate_bps,
            ..settings.encoder
        }
        .clamped();
    }

    /// Highest rate in frames per second, clamped like [`EncoderConfig::clamped`].
    pub fn set_framerate(&self, fps: u32) {
        let mut settings = self.settings();
        settings.encoder = EncoderConfig {
            fps,
            ..settings.encoder
        }
        .clamped();
    }

    /// The box pictures are shrunk into, in pixels, clamped like [`EncoderConfig::clamped`].
    pub fn set_max_size(&self, width: u32, height: u32) {
        let mut settings = self.settings();
        settings.encoder = EncoderConfig {
            width,
            height,
            ..settings.encoder
        }
        .clamped();
    }

    /// Changes the codec, from the next picture on.
    pub fn set_codec(&self, codec: VideoCodec) {
        self.settings().codec = codec;
    }

    /// While paused, pictures are dropped unseen.
    pub fn set_paused(&self, is_paused: bool) {
        let mut settings = self.settings();
        settings.wants_keyframe |= settings.is_paused && !is_paused;
        settings.is_paused = is_paused;
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }
}

impl Drop for VideoSender {
    fn drop(&mut self) {
        self.settings().is_stopping = true;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // Bounded: the thread waits POLL at most, or for one picture to be encoded.
            let _ = thread.join();
        }
    }
}

fn lock(settings: &Mutex<Settings>) -> MutexGuard<'_, Settings> {
    // Settings are plain values, valid at every step.
    settings.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(
    source: &LatestSlot<I420Frame>,
    settings: &Mutex<Settings>,
    mut stage: EncodeStage,
    mut on_frame: impl FnMut(EncodedFrame),
    mut on_error: impl FnMut(CodecError),
) {
    loop {
        let taken = source.take_timeout(POLL);
        let current = *lock(settings);
        if current.is_stopping {
            return;
        }
        let picture = match taken {
            Taken::Value(picture) => picture,
            Taken::TimedOut => continue,
            Taken::Closed => return,
        };
        if current.is_paused {
            continue;
        }
        match stage.encode(Instant::now(), &picture, &current) {
            Ok(Some(frame)) => {
                if frame.keyframe {
                    lock(settings).wants_keyframe = false;
                }
                on_frame(frame);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "encoding failed");
                on_error(error);
            }
        }
    }
}

/// Everything the encoder thread keeps between pictures.
struct EncodeStage {
    codec: VideoCodec,
    encoder: Option<Box<dyn VideoEncoder>>,
    applied: Option<EncoderConfig>,
    retry_at: Option<Instant>,
    scaler: Scaler,
    pacer: FramePacer,
    last_keyframe_at: Option<Instant>,
    clock: RtpClock,
}

impl EncodeStage {
    fn new(codec: VideoCodec, timestamp_offset: u32) -> Self {
        Self {
            codec,
            encoder: None,
            applied: None,
            retry_at: None,
            scaler: Scaler::new(),
            pacer: FramePacer::default(),
            last_keyframe_at: None,
            clock: RtpClock::new(timestamp_offset),
        }
    }

    fn encode(
        &mut self,
        now: Instant,
        picture: &I420Frame,
        settings: &Settings,
    ) -> Result<Option<EncodedFrame>, CodecError> {
        let wanted = settings.encoder;
        if !self.pacer.is_due(picture.captured_at, wanted.fps)
            || self.retry_at.is_some_and(|retry_at| now < retry_at)
        {
            return Ok(None);
        }
        let picture = self.scaler.fit(picture, wanted.width, wanted.height);
        if settings.codec != self.codec {
            self.codec = settings.codec;
            self.encoder = None;
        }
        let result = self.encode_scaled(now, &picture, settings);
        self.retry_at = result.is_err().then(|| now + CODEC_RETRY);
        if result.is_err() {
            self.encoder = None;
        }
        let Some(mut frame) = result? else {
            return Ok(None);
        };
        if frame.keyframe {
            self.last_keyframe_at = Some(now);
        }
        frame.timestamp_90khz = self.clock.timestamp(frame.captured_at);
        Ok(Some(frame))
    }

    fn encode_scaled(
        &mut self,
        now: Instant,
        picture: &I420Frame,
        settings: &Settings,
    ) -> Result<Option<EncodedFrame>, CodecError> {
        let wanted = settings.encoder;
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            None => {
                let (width, height) = (picture.width(), picture.height());
                let config = EncoderConfig {
                    width,
                    height,
                    ..wanted
                };
                self.applied = Some(wanted);
                self.encoder.insert(new_encoder(self.codec, config)?)
            }
        };
        if let Some(applied) = self.applied.replace(wanted) {
            if applied.bitrate_bps != wanted.bitrate_bps {
                encoder.set_bitrate_bps(wanted.bitrate_bps);
            }
            if applied.fps != wanted.fps {
                encoder.set_framerate(wanted.fps);
            }
        }
        let is_allowed = self
            .last_keyframe_at
            .is_none_or(|last| now.saturating_duration_since(last) >= KEYFRAME_INTERVAL);
        encoder.encode(picture, settings.wants_keyframe && is_allowed)
    }
}

/// Lets pictures through at most at a rate, judged by their capture times.
#[derive(Clone, Copy, Debug, Default)]
struct FramePacer {
    due_at: Option<Instant>,
}

impl FramePacer {
    /// Whether this picture is to be used. Jitter of half an interval is tolerated, so that a
    /// source at exactly the rate loses nothing.
    fn is_due(&mut self, captured_at: Instant, fps: u32) -> bool {
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
struct RtpClock {
    offset: u32,
    epoch: Option<Instant>,
    last_ticks: Option<u64>,
}

impl RtpClock {
    fn new(offset: u32) -> Self {
        Self {
            offset,
            epoch: None,
            last_ticks: None,
        }
    }

    /// 90 kHz since the first picture, plus the offset; always above the one before (modulo
    /// 2^32).
    fn timestamp(&mut self, captured_at: Instant) -> u32 {
        let epoch = *self.epoch.get_or_insert(captured_at);
        let elapsed_us = captured_at.saturating_duration_since(epoch).as_micros() as u64;
        let ticks = elapsed_us * 9 / 100;
        let ticks = self.last_ticks.map_or(ticks, |last| ticks.max(last + 1));
        self.last_ticks = Some(ticks);
        self.offset.wrapping_add(ticks as u32)
    }
}

/// One's own picture, small, for the UI: at most [`SELF_VIEW_PX`] a side and [`SELF_VIEW_FPS`].
/// Dropping it stops its thread.
pub struct SelfView {
    slot: LatestSlot<I420Frame>,
    thread: Option<JoinHandle<()>>,
}

impl SelfView {
    /// Starts the scaling thread; `on_preview` runs on it.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(mut on_preview: impl FnMut(I420Frame) + Send + 'static) -> std::io::Result<Self> {
        let slot = LatestSlot::<I420Frame>::new();
        let source = slot.clone();
        let thread = std::thread::Builder::new()
            .name("self-view".to_owned())
            .spawn(move || {
                let mut scaler = Scaler::new();
                let mut pacer = FramePacer::default();
                loop {
                    match source.take_timeout(Duration::from_secs(3600)) {
                        Taken::Value(picture) => {
                            if pacer.is_due(picture.captured_at, SELF_VIEW_FPS) {
                                on_preview(scaler.fit(&picture, SELF_VIEW_PX, SELF_VIEW_PX));
                            }
                        }
                        Taken::TimedOut => {}
                        Taken::Closed => return,
                    }
                }
            })?;
        Ok(Self {
            slot,
            thread: Some(thread),
        })
    }

    /// Offers a picture; the newest wins.
    pub fn put(&self, picture: I420Frame) {
        self.slot.put(picture);
    }

    /// The slot pictures are put into, for a capture callback that outlives this value.
    pub fn slot(&self) -> LatestSlot<I420Frame> {
        self.slot.clone()
    }
}

impl Drop for SelfView {
    fn drop(&mut self) {
        self.slot.close();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
