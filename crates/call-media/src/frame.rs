//! Pictures, and the latest-wins slot they travel in between threads.
//!
//! An [`I420Frame`] is immutable once made and cheap to clone, so that one captured picture feeds
//! the encoder, the self view and a recording without copies. Planes lie back to back without
//! padding, which is also the layout of an I420 frame on the way to the UI. Samples are BT.601
//! limited range, the range VP8 mandates (RFC 6386 section 9.2).
//!
//! A [`LatestSlot`] holds at most one value. A value that was not taken is replaced, never queued:
//! for live pictures the newest one is the only one worth showing.
//!
//! Deliberately not here: scaling and colour conversion (see [`crate::video`]).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use call_protocol::limits;

/// A picture: planes Y, U, V (4:2:0, 8 bit), strides equal to the plane widths.
///
/// Invariant: width and height are within `1..=`[`limits::PICTURE_PX`] and the buffer holds at
/// least [`I420Frame::data_len`] bytes, of which the picture is the first. Odd sizes are fine;
/// chroma planes round up.
#[derive(Clone)]
pub struct I420Frame {
    width: u32,
    height: u32,
    data: Arc<Vec<u8>>,
    /// When the picture was taken.
    pub captured_at: Instant,
}

impl I420Frame {
    /// Wraps contiguous planes. `None` when a side is 0 or above [`limits::PICTURE_PX`], or when
    /// `data` is shorter than [`Self::data_len`]; surplus bytes are cut off.
    pub fn new(width: u32, height: u32, mut data: Vec<u8>, captured_at: Instant) -> Option<Self> {
        data.truncate(Self::data_len(width, height));
        Self::from_shared(width, height, Arc::new(data), captured_at)
    }

    /// As [`Self::new`] for a buffer of a [`crate::pool::FramePool`], which may be longer.
    pub(crate) fn from_shared(
        width: u32,
        height: u32,
        data: Arc<Vec<u8>>,
        captured_at: Instant,
    ) -> Option<Self> {
        let is_complete = data.len() >= Self::data_len(width, height);
        (Self::is_size_allowed(width, height) && is_complete).then_some(Self {
            width,
            height,
            data,
            captured_at,
        })
    }

    /// Whether a picture may have this size: `1..=`[`limits::PICTURE_PX`] a side.
    pub fn is_size_allowed(width: u32, height: u32) -> bool {
        let sides = 1..=limits::PICTURE_PX;
        sides.contains(&width) && sides.contains(&height)
    }

    /// A black picture. Sides are clamped to `1..=`[`limits::PICTURE_PX`].
    pub fn black(width: u32, height: u32, captured_at: Instant) -> Self {
        let width = width.clamp(1, limits::PICTURE_PX);
        let height = height.clamp(1, limits::PICTURE_PX);
        let mut data = vec![128; Self::data_len(width, height)];
        data[..width as usize * height as usize].fill(16);
        Self {
            width,
            height,
            data: Arc::new(data),
            captured_at,
        }
    }

    /// Bytes of a picture of this size; saturates for sizes beyond any limit.
    pub fn data_len(width: u32, height: u32) -> usize {
        let (width, height) = (width as usize, height as usize);
        let luma = width.saturating_mul(height);
        let chroma = width.div_ceil(2).saturating_mul(height.div_ceil(2));
        luma.saturating_add(chroma.saturating_mul(2))
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width of the chroma planes in samples.
    pub fn chroma_width(&self) -> u32 {
        self.width.div_ceil(2)
    }

    /// Height of the chroma planes in samples.
    pub fn chroma_height(&self) -> u32 {
        self.height.div_ceil(2)
    }

    /// The luma plane, row by row.
    pub fn y(&self) -> &[u8] {
        &self.data[..self.luma_len()]
    }

    /// The U (Cb) plane, row by row.
    pub fn u(&self) -> &[u8] {
        let start = self.luma_len();
        &self.data[start..start + self.chroma_len()]
    }

    /// The V (Cr) plane, row by row.
    pub fn v(&self) -> &[u8] {
        let start = self.luma_len() + self.chroma_len();
        &self.data[start..start + self.chroma_len()]
    }

    /// All planes back to back.
    pub fn data(&self) -> &[u8] {
        &self.data[..Self::data_len(self.width, self.height)]
    }

    fn luma_len(&self) -> usize {
        self.width as usize * self.height as usize
    }

    fn chroma_len(&self) -> usize {
        self.chroma_width() as usize * self.chroma_height() as usize
    }
}

impl std::fmt::Debug for I420Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "I420Frame({}x{})", self.width, self.height)
    }
}

/// What [`LatestSlot::take_timeout`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// The newest value.
    Value(T),
    /// Nothing arrived in time.
    TimedOut,
    /// The slot is closed and empty; nothing will arrive.
    Closed,
}

/// A slot for one value between two threads; putting replaces what was not taken.
/// Clones share the slot.
pub struct LatestSlot<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<SlotState<T>>,
    changed: Condvar,
}

struct SlotState<T> {
    value: Option<T>,
    is_closed: bool,
}

impl<T> LatestSlot<T> {
    /// An empty, open slot.
    pub fn new() -> Self {
        let state = Mutex::new(SlotState {
            value: None,
            is_closed: false,
        });
        Self {
            shared: Arc::new(Shared {
                state,
                changed: Condvar::new(),
            }),
        }
    }

    /// Puts a value and drops the one nobody took. `false` when the slot is closed.
    pub fn put(&self, value: T) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return false;
        }
        let replaced = state.value.replace(value);
        drop(state);
        self.shared.changed.notify_one();
        // Freed outside the lock: a picture is megabytes.
        drop(replaced);
        true
    }

    /// Takes the value if there is one; never waits.
    pub fn take(&self) -> Option<T> {
        self.lock().value.take()
    }

    /// Takes the value, waiting for it up to `timeout`.
    pub fn take_timeout(&self, timeout: Duration) -> Taken<T> {
        let is_waiting = |state: &mut SlotState<T>| state.value.is_none() && !state.is_closed;
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.lock(), timeout, is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        match state.value.take() {
            Some(value) => Taken::Value(value),
            None if state.is_closed => Taken::Closed,
            None => Taken::TimedOut,
        }
    }

    /// Closes the slot for good and wakes whoever waits. A value inside can still be taken.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.shared.changed.notify_all();
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    fn lock(&self) -> MutexGuard<'_, SlotState<T>> {
        // No code that can panic runs under this lock, and the state is valid at every step.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for LatestSlot<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Default for LatestSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_contiguous_for_even_and_odd_sizes() {
        for (width, height, chroma) in [(4, 2, 2), (5, 3, 6), (1, 1, 1)] {
            let len = I420Frame::data_len(width, height);
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let frame = I420Frame::new(width, height, data, Instant::now()).unwrap();
            assert_eq!(frame.y().len(), (width * height) as usize);
            assert_eq!((frame.u().len(), frame.v().len()), (chroma, chroma));
            assert_eq!(frame.u()[0] as usize, frame.y().len());
            assert_eq!(*frame.v().last().unwrap() as usize, len - 1);
        }
    }

    #[test]
    fn impossible_frames_are_refused() {
        let now = Instant::now();
        let cases = [
            (0, 4, 100),
            (4, 0, 100),
            (4, 4, 23),
            (5000, 1, 100_000),
            (u32::MAX, u32::MAX, 9),
        ];
        for (width, height, len) in cases {
            assert!(
                I420Frame::new(width, height, vec![0; len], now).is_none(),
                "{width}x{height}"
            );
        }
    }

    #[test]
    fn the_newest_value_wins() {
        let slot = LatestSlot::new();
        assert_eq!(slot.take_timeout(Duration::ZERO), Taken::TimedOut);
        assert!(slot.put(1) && slot.put(2));
        assert_eq!(slot.take(), Some(2));
        assert_eq!(slot.take(), None);
    }

    #[test]
    fn closing_wakes_the_waiter_after_the_last_value() {
        let slot = LatestSlot::new();
        let waiter = {
            let slot = slot.clone();
            std::thread::spawn(move || {
                let first = slot.take_timeout(Duration::from_secs(20));
                (first, slot.take_timeout(Duration::from_secs(20)))
            })
        };
        slot.put(7);
        slot.close();
        assert!(!slot.put(8));
        assert_eq!(waiter.join().unwrap(), (Taken::Value(7), Taken::Closed));
    }
}
