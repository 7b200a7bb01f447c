//! Totals of all shards for `/metrics`. Shards add to them with relaxed atomics, a few per turn.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared by the shards.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) packets_in: AtomicU64,
    pub(super) packets_out: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) rtx_out: AtomicU64,
    pub(super) keyframe_requests: AtomicU64,
    pub(super) dropped_send: AtomicU64,
    pub(super) dropped_handover: AtomicU64,
    pub(super) dropped_garbage: AtomicU64,
    pub(super) dropped_channel: AtomicU64,
    pub(super) links_opened: AtomicU64,
    pub(super) links: AtomicU64,
    pub(super) cpu_us: AtomicU64,
}

/// What the shards did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SfuFigures {
    /// RTP packets received from members.
    pub packets_in: u64,
    /// RTP packets forwarded to members, without retransmissions and padding.
    pub packets_out: u64,
    /// Bytes of these packets, with RTP header and SRTP tag.
    pub bytes_out: u64,
    /// Retransmissions and probing packets sent.
    pub rtx_out: u64,
    /// Keyframe requests (PLI) sent to members.
    pub keyframe_requests: u64,
    /// Datagrams the system did not take.
    pub dropped_send: u64,
    /// Datagrams for another shard whose queue was full.
    pub dropped_handover: u64,
    /// Datagrams that belong to nobody.
    pub dropped_garbage: u64,
    /// Data channel messages a receiver was too slow for.
    pub dropped_channel: u64,
    /// Links that were ever opened.
    pub links_opened: u64,
    /// Links now.
    pub links: u64,
    /// CPU time of the shards in microseconds; 0 where the system does not tell.
    pub cpu_us: u64,
}

impl Counters {
    pub(super) fn figures(&self) -> SfuFigures {
        SfuFigures {
            packets_in: self.packets_in.load(Relaxed),
            packets_out: self.packets_out.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            rtx_out: self.rtx_out.load(Relaxed),
            keyframe_requests: self.keyframe_requests.load(Relaxed),
            dropped_send: self.dropped_send.load(Relaxed),
            dropped_handover: self.dropped_handover.load(Relaxed),
            dropped_garbage: self.dropped_garbage.load(Relaxed),
            dropped_channel: self.dropped_channel.load(Relaxed),
            links_opened: self.links_opened.load(Relaxed),
            links: self.links.load(Relaxed),
            cpu_us: self.cpu_us.load(Relaxed),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Relaxed);
    }
}
