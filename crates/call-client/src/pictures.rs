//! Decoded pictures: the decoder threads of the members whose picture the UI cannot decode itself
//! (or an observer wants), and the self view.
//!
//! Pictures reach the driver through latest-wins slots: a driver that lags skips pictures, it
//! never queues them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use call_media::frame::{I420Frame, LatestSlot};
use call_media::video::receive::{DecoderEvent, DecoderThread};
use call_media::video::rtp::AssembledFrame;
use call_media::video::scale::Scaler;
use call_media::video::send::SelfView;
use call_protocol::MediaSource;
use call_protocol::ui::frame::SELF_MEMBER;
use tokio::sync::Notify;

use crate::config::{CallObserver, Observed};
use crate::frames::{RawPicture, TileKey};

/// A tile that shows I420, as one atomic: width in the upper, height in the lower half; 0: none.
type SharedSize = Arc<AtomicU64>;

/// All decoded pictures on their way to the driver.
pub(crate) struct Pictures {
    observer: Option<Arc<dyn CallObserver>>,
    ready: Arc<Notify>,
    started: Instant,
    own: LatestSlot<I420Frame>,
    own_wanted: Arc<AtomicBool>,
    tiles: BTreeMap<TileKey, Decoder>,
}

struct Decoder {
    thread: DecoderThread,
    size: SharedSize,
    scaled: LatestSlot<I420Frame>,
    /// A frame did not decode since the last look.
    failed: Arc<AtomicBool>,
}

/// What became of a frame handed to a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoding {
    /// On its way.
    Taken,
    /// The decoder needs a keyframe first.
    NeedsKeyframe,
}

impl Pictures {
    pub(crate) fn new(observer: Option<Arc<dyn CallObserver>>) -> Self {
        Self {
            observer,
            ready: Arc::new(Notify::new()),
            started: Instant::now(),
            own: LatestSlot::new(),
            own_wanted: Arc::new(AtomicBool::new(false)),
            tiles: BTreeMap::new(),
        }
    }

    /// Wakes the driver when [`Self::poll`] may have something.
    pub(crate) fn ready(&self) -> Arc<Notify> {
        Arc::clone(&self.ready)
    }

    /// Whether somebody looks at every picture.
    pub(crate) fn observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Makes the self view: what it is fed comes out of [`Self::poll`], small and at most 15 times
    /// a second, while it is wanted.
    pub(crate) fn self_view(&self) -> std::io::Result<SelfView> {
        let (slot, ready) = (self.own.clone(), Arc::clone(&self.ready));
        SelfView::new(move |picture| {
            slot.put(picture);
            ready.notify_one();
        })
    }

    /// Whether the self view is looked at; its camera asks before it scales.
    pub(crate) fn own_wanted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.own_wanted)
    }

    pub(crate) fn set_own_wanted(&self, wanted: bool) {
        self.own_wanted.store(wanted, Ordering::Relaxed);
    }

    /// Decodes one frame. `size_px` is the tile that shows it as I420, if one does.
    pub(crate) fn decode(
        &mut self,
        key: TileKey,
        frame: AssembledFrame,
        size_px: Option<(u32, u32)>,
    ) -> Decoding {
        if !self.tiles.contains_key(&key) {
            match self.decoder(key) {
                Ok(decoder) => self.tiles.insert(key, decoder),
                Err(error) => {
                    tracing::error!(%error, "no decoder thread");
                    return Decoding::Taken;
                }
            };
        }
        let Some(decoder) = self.tiles.get_mut(&key) else {
            return Decoding::Taken;
        };
        let (width, height) = size_px.unwrap_or((0, 0));
        decoder.size.store(
            u64::from(width) << 32 | u64::from(height),
            Ordering::Relaxed,
        );
        let broken = decoder.failed.swap(false, Ordering::Relaxed);
        if decoder.thread.put(frame) && !broken {
            Decoding::Taken
        } else {
            Decoding::NeedsKeyframe
        }
    }

    /// Nobody wants a picture decoded any more.
    pub(crate) fn remove(&mut self, key: TileKey) {
        self.tiles.remove(&key);
    }

    /// The newest picture of each tile since the last call.
    pub(crate) fn poll(&mut self) -> Vec<(TileKey, RawPicture)> {
        let own_key = (SELF_MEMBER, MediaSource::Camera);
        let own = self.own.take().map(|picture| (own_key, picture));
        let tiles = self.tiles.iter();
        let decoded = tiles.filter_map(|(key, decoder)| Some((*key, decoder.scaled.take()?)));
        let raw = |(key, picture): (TileKey, I420Frame)| {
            let since = picture.captured_at.saturating_duration_since(self.started);
            let raw = RawPicture {
                width_px: u16::try_from(picture.width()).ok()?,
                height_px: u16::try_from(picture.height()).ok()?,
                timestamp_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
                i420: picture.data().to_vec(),
            };
            Some((key, raw))
        };
        own.into_iter().chain(decoded).filter_map(raw).collect()
    }

    fn decoder(&self, (member, source): TileKey) -> std::io::Result<Decoder> {
        let size = SharedSize::default();
        let scaled = LatestSlot::new();
        let failed = Arc::new(AtomicBool::new(false));
        let (wanted, slot, ready) = (Arc::clone(&size), scaled.clone(), Arc::clone(&self.ready));
        let observer = self.observer.clone();
        let defect = Arc::clone(&failed);
        let mut first = true;
        let mut scaler = Scaler::new();
        let on_event = move |event| {
            let picture = match event {
                DecoderEvent::Decoded(decoded) => decoded.frame,
                DecoderEvent::NeedsKeyframe(error) => {
                    tracing::debug!(%error, "a frame did not decode");
                    defect.store(true, Ordering::Relaxed);
                    return;
                }
            };
            if let Some(observer) = &observer {
                if std::mem::take(&mut first) {
                    observer.observe(Observed::FirstFrame(member, source));
                }
                observer.picture(member, source, &picture);
            }
            let size = wanted.load(Ordering::Relaxed);
            if size != 0 {
                slot.put(scaler.fit(&picture, (size >> 32) as u32, size as u32));
                ready.notify_one();
            }
        };
        let thread = DecoderThread::start(on_event)?;
        Ok(Decoder {
            thread,
            size,
            scaled,
            failed,
        })
    }
}
