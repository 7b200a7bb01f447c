//! From pictures to encoded frames, on a thread of its own; and the small self view.
//!
//! One [`VideoSender`] serves all peers: it takes the newest picture from a [`LatestSlot`], has it
//! encoded by a [`LayeredEncoder`] and hands the frames out. Pictures that arrive while one is
//! being encoded are dropped; nothing queues. All layers share the thread: the two smaller ones
//! together cost about half of the largest.
//!
//! Invariants: those of [`super::layers`]; codec trouble never ends the thread; the end of a pause
//! begins with a keyframe.
//!
//! Deliberately not here: what bit rate, size and rate are right (call-core decides), packets
//! ([`super::rtp`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use call_protocol::VideoCodec;

use super::codec::{CodecError, Content, EncodedFrame, EncoderConfig};
pub use super::layers::{CODEC_RETRY, KEYFRAME_INTERVAL};
use super::layers::{EncodeSettings, FramePacer, LAYERS, LayerTargets, LayeredEncoder};
use super::scale::Scaler;
use crate::frame::{I420Frame, LatestSlot, Taken};

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
    /// Rate and size of layer 0, the only one at first; width and height are the box pictures are
    /// shrunk into.
    pub encoder: EncoderConfig,
    /// RTP timestamp of the first picture; random, so that streams cannot be correlated.
    pub timestamp_offset: u32,
}

/// An encoder thread. Dropping it stops it; the source slot stays open.
pub struct VideoSender {
    settings: Arc<Mutex<Settings>>,
    busy_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
struct Settings {
    encode: EncodeSettings,
    is_paused: bool,
    is_stopping: bool,
    /// Not yet handed to the encoder.
    wants_keyframe: [bool; LAYERS],
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
            encode: EncodeSettings::single(config.codec, config.encoder),
            is_paused: false,
            is_stopping: false,
            wants_keyframe: [false; LAYERS],
        }));
        let shared = Arc::clone(&settings);
        let busy_us = Arc::new(AtomicU64::new(0));
        let busy = Arc::clone(&busy_us);
        let thread = std::thread::Builder::new()
            .name("video-send".to_owned())
            .spawn(move || {
                let encoder = LayeredEncoder::new(config.timestamp_offset);
                run(&source, &shared, &busy, encoder, on_frame, on_error);
            })?;
        Ok(Self {
            settings,
            busy_us,
            thread: Some(thread),
        })
    }

    /// Makes the next possible picture of a layer a keyframe. Requests in quick succession are
    /// answered by one.
    pub fn request_keyframe(&self, layer: u8) {
        if let Some(wants) = self.settings().wants_keyframe.get_mut(usize::from(layer)) {
            *wants = true;
        }
    }

    /// Which layers to encode, and how. A layer that is switched on begins with a keyframe.
    pub fn set_layers(&self, targets: LayerTargets) {
        self.settings().encode.layers = targets;
    }

    /// Target of layer 0 in bits per second, if it is on.
    pub fn set_bitrate_bps(&self, bitrate_bps: u32) {
        if let Some(target) = &mut self.settings().encode.layers[0] {
            target.bitrate_bps = bitrate_bps;
        }
    }

    /// Highest rate of all layers in frames per second.
    pub fn set_framerate(&self, fps: u32) {
        for target in self.settings().encode.layers.iter_mut().flatten() {
            target.fps = fps;
        }
    }

    /// The box pictures are shrunk into, in pixels, clamped like [`EncoderConfig::clamped`].
    pub fn set_max_size(&self, width: u32, height: u32) {
        let config = EncoderConfig {
            width,
            height,
            ..EncoderConfig::default()
        }
        .clamped();
        let encode = &mut self.settings().encode;
        (encode.max_width, encode.max_height) = (config.width, config.height);
    }

    /// Changes the codec, from the next possible picture on.
    pub fn set_codec(&self, codec: VideoCodec) {
        self.settings().encode.codec = codec;
    }

    /// 1 or 2, see [`EncoderConfig::temporal_layers`]. A change begins with a keyframe.
    pub fn set_temporal_layers(&self, count: u8) {
        self.settings().encode.temporal_layers = count.clamp(1, 2);
    }

    /// What the pictures show.
    pub fn set_content(&self, content: Content) {
        self.settings().encode.content = content;
    }

    /// While paused, pictures are dropped unseen.
    pub fn set_paused(&self, is_paused: bool) {
        let mut settings = self.settings();
        if settings.is_paused && !is_paused {
            settings.wants_keyframe = [true; LAYERS];
        }
        settings.is_paused = is_paused;
    }

    /// Time spent on scaling and encoding since the start. Where it grows nearly as fast as time
    /// passes, pictures are left out.
    pub fn busy(&self) -> Duration {
        Duration::from_micros(self.busy_us.load(Ordering::Relaxed))
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
    busy_us: &AtomicU64,
    mut encoder: LayeredEncoder,
    mut on_frame: impl FnMut(EncodedFrame),
    mut on_error: impl FnMut(CodecError),
) {
    loop {
        let taken = source.take_timeout(POLL);
        let mut shared = lock(settings);
        let current = *shared;
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
        shared.wants_keyframe = [false; LAYERS];
        drop(shared);
        for layer in (0..LAYERS).filter(|layer| current.wants_keyframe[*layer]) {
            encoder.request_keyframe(layer);
        }
        let began = Instant::now();
        encoder.handle_picture(began, &picture, &current.encode);
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        busy_us.fetch_add(took_us, Ordering::Relaxed);
        drop(picture);
        while let Some(result) = encoder.poll_frame() {
            match result {
                Ok(frame) => on_frame(frame),
                Err(error) => {
                    tracing::debug!(%error, "encoding failed");
                    on_error(error);
                }
            }
        }
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
