//! The way of the mixed playout from the speaker's thread to the microphone's.
//!
//! A lock-free ring of whole blocks: neither thread ever waits for the other. Full (nobody
//! captures, or the capturing thread hangs), it drops the newest blocks and counts them; what it
//! then holds is old, which is why a reader that begins anew discards it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::format::Block;
use super::latency::PlayoutDelay;

/// Blocks the ring holds: half a second, more than an echo canceller can look back.
const RING_BLOCKS: usize = 50;

/// The speaker's end: told what is about to be played.
#[derive(Debug)]
pub struct RenderTap {
    ring: rtrb::Producer<Block>,
    dropped: Arc<AtomicU64>,
}

/// The microphone's end: the render reference of an echo canceller.
#[derive(Debug)]
pub struct RenderReference {
    ring: rtrb::Consumer<Block>,
    dropped: Arc<AtomicU64>,
    playout_delay: PlayoutDelay,
}

/// Both ends of a new ring.
pub fn render_reference() -> (RenderTap, RenderReference) {
    let (producer, consumer) = rtrb::RingBuffer::new(RING_BLOCKS);
    let dropped = Arc::new(AtomicU64::new(0));
    let tap = RenderTap {
        ring: producer,
        dropped: Arc::clone(&dropped),
    };
    let reference = RenderReference {
        ring: consumer,
        dropped,
        playout_delay: PlayoutDelay::default(),
    };
    (tap, reference)
}

impl RenderTap {
    /// Takes the next block to be played, after mixing and limiting. Never waits.
    pub fn handle_block(&mut self, block: &Block) {
        if self.ring.push(*block).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl RenderReference {
    /// Reads the speaker's delay from where [`Speaker::start_telling`] writes it.
    ///
    /// [`Speaker::start_telling`]: super::speaker::Speaker::start_telling
    #[must_use]
    pub fn with_playout_delay(mut self, delay: PlayoutDelay) -> Self {
        self.playout_delay = delay;
        self
    }

    /// Time from the tap to the ear.
    pub(crate) fn playout_delay(&self) -> Duration {
        self.playout_delay.get()
    }

    /// The oldest block not yet taken.
    pub(crate) fn poll_block(&mut self) -> Option<Block> {
        self.ring.pop().ok()
    }

    /// Forgets what lies in the ring, and what was dropped.
    pub(crate) fn discard(&mut self) {
        for _ in 0..self.ring.slots() {
            let _ = self.ring.pop();
        }
        self.dropped.store(0, Ordering::Relaxed);
    }

    /// Blocks dropped since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::format::BLOCK_SAMPLES;

    #[test]
    fn a_full_ring_drops_the_newest_blocks_and_counts_them() {
        let (mut tap, mut reference) = render_reference();
        for n in 0..RING_BLOCKS + 7 {
            tap.handle_block(&[n as f32; BLOCK_SAMPLES]);
        }
        assert_eq!(reference.take_dropped(), 7);
        assert_eq!(reference.take_dropped(), 0);
        for n in 0..RING_BLOCKS {
            assert_eq!(reference.poll_block().unwrap()[0], n as f32);
        }
        assert!(reference.poll_block().is_none());
    }

    #[test]
    fn what_is_discarded_is_neither_heard_nor_counted() {
        let (mut tap, mut reference) = render_reference();
        for _ in 0..RING_BLOCKS + 1 {
            tap.handle_block(&[1.0; BLOCK_SAMPLES]);
        }
        reference.discard();
        tap.handle_block(&[2.0; BLOCK_SAMPLES]);
        assert_eq!(reference.take_dropped(), 0);
        assert_eq!(reference.poll_block().unwrap()[0], 2.0);
        assert!(reference.poll_block().is_none());
    }
}
