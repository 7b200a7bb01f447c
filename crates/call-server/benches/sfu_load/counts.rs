//! What the load counts. Packets carry the number of the phase they were sent in, so that what is
//! late still counts where it belongs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Phases of one run at most.
const PHASES: usize = 128;

/// Shared by the load and whoever measures.
pub(crate) struct Counts {
    phase: AtomicU32,
    sent: [AtomicU64; PHASES],
    received: [AtomicU64; PHASES],
    /// Clients with a working link.
    pub(crate) connected: AtomicU32,
    /// Publishers send nothing before.
    pub(crate) started: AtomicU32,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            phase: AtomicU32::new(0),
            sent: std::array::from_fn(|_| AtomicU64::new(0)),
            received: std::array::from_fn(|_| AtomicU64::new(0)),
            connected: AtomicU32::new(0),
            started: AtomicU32::new(0),
        }
    }
}

impl Counts {
    /// The phase to mark packets with.
    pub(crate) fn phase(&self) -> u32 {
        self.phase.load(Relaxed)
    }

    /// Begins the next phase.
    pub(crate) fn next_phase(&self) -> anyhow::Result<u32> {
        let phase = self.phase.fetch_add(1, Relaxed) + 1;
        anyhow::ensure!((phase as usize) < PHASES, "the servers do not get going");
        Ok(phase)
    }

    pub(crate) fn count_sent(&self, phase: u32) {
        if let Some(count) = self.sent.get(phase as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn count_received(&self, phase: u32) {
        if let Some(count) = self.received.get(phase as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn sent(&self, phase: u32) -> u64 {
        self.sent[phase as usize].load(Relaxed)
    }

    pub(crate) fn received(&self, phase: u32) -> u64 {
        self.received[phase as usize].load(Relaxed)
    }
}
