//! Memory that is used again: picture buffers and chunks for encoded bytes.
//!
//! A call makes the same objects thirty times a second for hours. Pools keep their memory, so that
//! a steady call allocates nothing per frame; `tests/allocations.rs` holds this.
//!
//! Neither pool needs to be told that a buffer is free: it keeps a reference to every buffer, and
//! a buffer whose other references are gone is free. A stage owns its pool alone, so there is no
//! lock. Bounds: a [`FramePool`] keeps [`FRAMES_KEPT`] pictures, a [`BytesPool`] [`CHUNKS_KEPT`]
//! chunks. When all are in use, more are allocated and counted, never waited for; what exceeds the
//! bound is freed with its last reference.
//!
//! Deliberately not here: buffers of sound (blocks are arrays) and of the codecs' C libraries.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::frame::I420Frame;

/// Pictures a pool keeps. Each stage's pictures are at most in the slot behind it, at its taker,
/// at the self view (slot and thread) and at a recording. Higher keeps more memory (1.4 MB each at
/// 720p); lower allocates when consumers are slow.
pub const FRAMES_KEPT: usize = 6;
/// Bytes of a chunk: six frames at 1.2 Mbit/s; a larger frame gets a larger chunk. Higher keeps more memory alive through a
/// single late reference; lower makes large frames miss the pool.
pub const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks a pool keeps, 1 MiB together: what a transport holds for a second of retransmissions at
/// 2.5 Mbit/s, three times over.
pub const CHUNKS_KEPT: usize = 32;
/// A free buffer this many times larger than needed is given back instead of used.
const MAX_SURPLUS: usize = 4;

/// Buffers for pictures. See the [module documentation](self).
#[derive(Debug, Default)]
pub struct FramePool {
    buffers: Vec<Arc<Vec<u8>>>,
    allocations: u64,
}

impl FramePool {
    /// An empty pool; buffers come with use.
    pub fn new() -> Self {
        Self {
            buffers: Vec::with_capacity(FRAMES_KEPT),
            allocations: 0,
        }
    }

    /// Makes a picture: `fill` gets exactly [`I420Frame::data_len`] bytes and must write all of
    /// them, for they hold an older picture. `None` when the size is out of bounds.
    pub fn frame(
        &mut self,
        width: u32,
        height: u32,
        captured_at: Instant,
        fill: impl FnOnce(&mut [u8]),
    ) -> Option<I420Frame> {
        let fill = |data: &mut [u8]| {
            fill(data);
            Ok::<(), Infallible>(())
        };
        match self.try_frame(width, height, captured_at, fill) {
            Ok(frame) => frame,
            Err(never) => match never {},
        }
    }

    /// As [`Self::frame`], for a `fill` that can fail.
    ///
    /// # Errors
    /// Those of `fill`; the buffer is free again.
    pub fn try_frame<E>(
        &mut self,
        width: u32,
        height: u32,
        captured_at: Instant,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Option<I420Frame>, E> {
        if !I420Frame::is_size_allowed(width, height) {
            return Ok(None);
        }
        let len = I420Frame::data_len(width, height);
        let index = self.free_buffer(len);
        let buffer = &mut self.buffers[index];
        let Some(data) = Arc::get_mut(buffer) else {
            // Only this pool makes references to a free buffer, and it has just found it free.
            return Ok(None);
        };
        fill(&mut data[..len])?;
        let data = Arc::clone(buffer);
        if index >= FRAMES_KEPT {
            self.buffers.truncate(FRAMES_KEPT);
        }
        Ok(I420Frame::from_shared(width, height, data, captured_at))
    }

    /// Buffers allocated or enlarged since the start. Grows in a steady state only when more
    /// pictures are in use than the pool keeps.
    pub fn allocations(&self) -> u64 {
        self.allocations
    }

    /// The index of a free buffer of at least `len` bytes; beyond [`FRAMES_KEPT`] for one that is
    /// not to be kept.
    fn free_buffer(&mut self, len: usize) -> usize {
        let mut misfit = None;
        for (index, buffer) in self.buffers.iter_mut().enumerate() {
            let Some(buffer) = Arc::get_mut(buffer) else {
                continue;
            };
            if (len..=len.saturating_mul(MAX_SURPLUS)).contains(&buffer.len()) {
                return index;
            }
            misfit = Some(index);
        }
        self.allocations += 1;
        let buffer = Arc::new(vec![0; len]);
        match misfit {
            Some(index) => {
                self.buffers[index] = buffer;
                index
            }
            None => {
                self.buffers.push(buffer);
                self.buffers.len() - 1
            }
        }
    }
}

/// Chunks that encoded frames and packets are cut from. See the [module documentation](self).
#[derive(Debug, Default)]
pub struct BytesPool {
    chunks: Vec<BytesMut>,
    current: usize,
    allocations: u64,
}

impl Clone for BytesPool {
    /// Chunks cannot be shared between writers: a clone starts empty.
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl BytesPool {
    /// An empty pool; chunks come with use.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer with room for `len` bytes. Take what was written with `split().freeze()`; what is
    /// left in it goes to the next caller.
    pub fn writer(&mut self, len: usize) -> &mut BytesMut {
        let count = self.chunks.len();
        let has_room = (0..count)
            .map(|step| (self.current + step) % count)
            .find(|&index| self.chunks[index].try_reclaim(len));
        self.current = match has_room {
            Some(index) => index,
            None => {
                self.allocations += 1;
                let chunk = BytesMut::with_capacity(len.max(CHUNK_BYTES));
                if count < CHUNKS_KEPT {
                    self.chunks.push(chunk);
                    count
                } else {
                    let next = (self.current + 1) % count;
                    self.chunks[next] = chunk;
                    next
                }
            }
        };
        let writer = &mut self.chunks[self.current];
        // An error path of an earlier caller may have left bytes behind.
        writer.clear();
        writer
    }

    /// A copy of `data`.
    pub fn copy(&mut self, data: &[u8]) -> Bytes {
        let writer = self.writer(data.len());
        writer.extend_from_slice(data);
        writer.split().freeze()
    }

    /// Chunks allocated since the start. Grows in a steady state only when consumers hold more
    /// than the pool keeps.
    pub fn allocations(&self) -> u64 {
        self.allocations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(pool: &mut FramePool, width: u32, height: u32, value: u8) -> I420Frame {
        pool.frame(width, height, Instant::now(), |data| data.fill(value))
            .unwrap()
    }

    #[test]
    fn picture_buffers_return_when_their_last_reference_is_gone() {
        let mut pool = FramePool::new();
        let first = frame(&mut pool, 64, 32, 1);
        let kept = first.clone();
        drop(first);
        let second = frame(&mut pool, 64, 32, 2);
        assert_eq!(pool.allocations(), 2);
        assert!(kept.data().iter().all(|sample| *sample == 1));
        drop((kept, second));
        for value in 0..50 {
            // A little smaller fits as well, and shows nothing of the larger picture.
            let picture = frame(&mut pool, 60, 30, value);
            assert_eq!(picture.data().len(), I420Frame::data_len(60, 30));
            assert!(picture.data().iter().all(|sample| *sample == value));
        }
        assert_eq!(pool.allocations(), 2);
        frame(&mut pool, 128, 64, 0);
        frame(&mut pool, 16, 16, 0);
        assert!(pool.allocations() > 2, "neither fits");
    }

    #[test]
    fn an_exhausted_pool_allocates_and_keeps_its_bound() {
        let mut pool = FramePool::new();
        let held: Vec<_> = (0..20)
            .map(|value| frame(&mut pool, 32, 32, value))
            .collect();
        for (value, picture) in held.iter().enumerate() {
            assert!(picture.data().iter().all(|sample| *sample == value as u8));
        }
        assert_eq!(pool.allocations(), 20);
        assert_eq!(pool.buffers.len(), FRAMES_KEPT);
        assert!(pool.frame(0, 4, Instant::now(), |_| {}).is_none());
        assert!(
            pool.try_frame(8, 8, Instant::now(), |_| Err(5))
                .is_err_and(|error| error == 5)
        );
    }

    #[test]
    fn chunks_are_used_again_and_bytes_stay_what_they_are() {
        let mut pool = BytesPool::new();
        let mut held = std::collections::VecDeque::new();
        for number in 0..10_000_u32 {
            let data = number.to_be_bytes().repeat(1 + number as usize % 3000 / 4);
            held.push_back((pool.copy(&data), data));
            if held.len() > 100 {
                let (got, want) = held.pop_front().unwrap();
                assert_eq!(got, want);
            }
        }
        assert!(
            pool.allocations() <= CHUNKS_KEPT as u64,
            "{}",
            pool.allocations()
        );
        let large = vec![7; 3 * CHUNK_BYTES];
        assert_eq!(pool.copy(&large), large);
        assert_eq!(pool.chunks.len().max(CHUNKS_KEPT), CHUNKS_KEPT);
    }
}
