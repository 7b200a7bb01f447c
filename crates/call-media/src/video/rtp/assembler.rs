//! Packets to frames: reordering, waiting for retransmissions, skipping to a keyframe.
//!
//! ```text
//!              keyframe starts in the buffer
//!  searching ----------------------------------> following
//!      ^                                             |
//!      +---------------------------------------------+
//!        a missing packet did not come in time, a frame
//!        was malformed, or the buffer overflowed
//! ```
//!
//! While *following*, frames leave in order and without gaps; every frame delivered is decodable
//! if all before it since the last `discontinuity` were decoded. While *searching*, nothing leaves
//! and [`VideoAssembler::needs_keyframe`] is true, unless nothing arrived yet.
//!
//! Bounds: a window of [`MAX_SLOTS`] packets, [`limits::ENCODED_FRAME_BYTES`] in total,
//! [`READY_FRAMES`]. On overflow everything is dropped and the search begins anew.
//!
//! Gaps are gaps in the sequence numbers and nothing else. Who drops frames of an upper temporal
//! layer on the way renumbers the packets behind them; picture ids and timestamps may jump.
//!
//! Deliberately not here: asking for retransmissions (the transport sees RTP headers), pacing of
//! PLI messages, and any playout delay; frames leave as soon as they are complete.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::{VideoCodec, limits};

use super::super::bitstream;
use super::ring::{MAX_SLOTS, PacketRing, WindowExceeded};
use super::{Part, RtpVideoPacket, join, parse};
use crate::pool::BytesPool;

/// How long a missing packet is waited for at least. Longer freezes longer before asking for a keyframe; shorter gives up on what would have come.
pub const REORDER_WAIT: Duration = Duration::from_millis(250);
/// The same in round trips: two retransmissions, the second asked for half a round trip after the
/// first should have come.
const REORDER_WAIT_ROUND_TRIPS: f64 = 2.5;
/// How long at most: transports ask no longer. On a long path a packet that was given up comes later
/// all the same, and tells how long the next one is worth waiting for.
const REORDER_WAIT_MOST: Duration = Duration::from_secs(1);
/// Most complete frames waiting to be taken.
const READY_FRAMES: usize = 64;
/// A forward jump beyond this is a restarted stream, not loss.
const MAX_JUMP: u64 = MAX_SLOTS as u64;
/// As many old packets in a row mean that the stream restarted with a lower sequence number.
const RESTART_RUN: u32 = 64;

/// A complete frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssembledFrame {
    /// The codec of `data`.
    pub codec: VideoCodec,
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// Width in pixels as the last keyframe stated it, 0 when none did.
    pub width: u32,
    /// Height in pixels as the last keyframe stated it, 0 when none did.
    pub height: u32,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// The frame; H.264 as annex B.
    pub data: Bytes,
    /// Whether frames before it are missing.
    pub discontinuity: bool,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssemblerStats {
    /// Frames delivered.
    pub frames: u64,
    /// Frames seen in part or whole and not delivered (counted by their last packets).
    pub dropped_frames: u64,
    /// Packets given up on.
    pub lost_packets: u64,
    /// Packets received twice.
    pub duplicate_packets: u64,
    /// Packets that came after they were given up on.
    pub late_packets: u64,
    /// Packets whose payload could not be read.
    pub malformed_packets: u64,
}

struct Stored {
    timestamp: u32,
    marker: bool,
    arrived_at: Instant,
    payload_bytes: usize,
    /// `None` for padding, which takes a sequence number but carries nothing.
    part: Option<Part>,
}

/// Puts the frames of one stream together.
pub struct VideoAssembler {
    codec: VideoCodec,
    /// By unwrapped sequence number.
    packets: PacketRing<Stored>,
    pool: BytesPool,
    buffered_bytes: usize,
    highest: Option<u64>,
    /// First packet of the next frame; `None` while searching.
    next: Option<u64>,
    /// All packets from `next` up to here (exclusive) are there.
    contiguous_until: u64,
    /// No frame ends between `next` and here (exclusive).
    scanned_until: u64,
    awaits_keyframe: bool,
    is_discontinuous: bool,
    rtt: Duration,
    /// How long what was given up would have had to be waited for.
    learned: Duration,
    /// What was given up last, and since when it had been waited for.
    given_up: Option<(std::ops::Range<u64>, Instant)>,
    old_run: u32,
    size: (u32, u32),
    ready: VecDeque<AssembledFrame>,
    stats: AssemblerStats,
}

impl VideoAssembler {
    /// An assembler that searches its first keyframe.
    pub fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            packets: PacketRing::new(),
            pool: BytesPool::new(),
            buffered_bytes: 0,
            highest: None,
            next: None,
            contiguous_until: 0,
            scanned_until: 0,
            awaits_keyframe: true,
            is_discontinuous: false,
            rtt: Duration::ZERO,
            learned: Duration::ZERO,
            given_up: None,
            old_run: 0,
            size: (0, 0),
            ready: VecDeque::new(),
            stats: AssemblerStats::default(),
        }
    }

    /// The round trip to whoever repeats what got lost.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt.min(REORDER_WAIT_MOST);
    }

    /// How long a missing packet is waited for.
    fn wait(&self) -> Duration {
        let repaired = self.rtt.mul_f64(REORDER_WAIT_ROUND_TRIPS);
        let wait = REORDER_WAIT.max(repaired).max(self.learned);
        wait.min(REORDER_WAIT_MOST)
    }

    /// Takes a packet in any order. Then drain [`Self::poll_frame`].
    pub fn handle_packet(&mut self, now: Instant, packet: RtpVideoPacket) {
        let sequence = self.unwrap_sequence(packet.sequence);
        self.learn(now, sequence);
        if self.next.is_some_and(|next| sequence < next) {
            self.handle_old_packet();
            return;
        }
        self.old_run = 0;
        if self.packets.contains(sequence) {
            self.stats.duplicate_packets += 1;
            return;
        }
        let part = if packet.payload.is_empty() {
            None
        } else {
            let part = parse(self.codec, &packet.payload);
            if part.is_none() {
                self.stats.malformed_packets += 1;
                // Its absence then counts as loss.
                return;
            }
            part
        };
        let payload_bytes = packet.payload.len();
        let RtpVideoPacket {
            timestamp, marker, ..
        } = packet;
        let stored = Stored {
            timestamp,
            marker,
            arrived_at: now,
            payload_bytes,
            part,
        };
        let inserted = self.packets.insert(sequence, stored);
        if inserted.is_ok() {
            self.buffered_bytes += payload_bytes;
        }
        if inserted == Err(WindowExceeded) || self.buffered_bytes > limits::ENCODED_FRAME_BYTES {
            tracing::debug!(bytes = self.buffered_bytes, "reorder buffer overflow");
            self.drop_below(u64::MAX);
            self.search();
            return;
        }
        self.advance(now);
        self.give_up_if_due(now);
    }

    /// To be called at [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.give_up_if_due(now);
    }

    /// The next complete frame.
    pub fn poll_frame(&mut self) -> Option<AssembledFrame> {
        self.ready.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do; `None` while nothing is missing.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next?;
        let (_, after_hole) = self.packets.range(self.contiguous_until..u64::MAX).next()?;
        Some(after_hole.arrived_at + self.wait())
    }

    /// Whether the sender should be asked for a keyframe (PLI). Stays true until one begins to
    /// arrive; how often to ask is the caller's decision.
    pub fn needs_keyframe(&self) -> bool {
        self.next.is_none() && self.highest.is_some()
    }

    /// Drops everything up to the next keyframe: the decoder could not decode what it was given.
    pub fn require_keyframe(&mut self) {
        self.stats.dropped_frames += self.ready.len() as u64;
        self.ready.clear();
        self.drop_below(u64::MAX);
        self.search();
    }

    /// Counters since the start.
    pub fn stats(&self) -> AssemblerStats {
        self.stats
    }

    /// Extends a sequence number by the cycles around the highest one seen.
    fn unwrap_sequence(&mut self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            // Room below, so that earlier packets of a reordered start have a place.
            let first = (1 << 16) + u64::from(sequence);
            self.highest = Some(first);
            return first;
        };
        let ahead = sequence.wrapping_sub(highest as u16) as i16;
        let unwrapped = highest.saturating_add_signed(i64::from(ahead));
        if unwrapped > highest + MAX_JUMP {
            self.restart();
        }
        self.highest = Some(
            self.highest
                .map_or(unwrapped, |highest| highest.max(unwrapped)),
        );
        unwrapped
    }

    /// Waits longer from now on if this was worth waiting for.
    fn learn(&mut self, now: Instant, sequence: u64) {
        if let Some((missing, since)) = &self.given_up
            && missing.contains(&sequence)
        {
            let took = now.saturating_duration_since(*since);
            self.learned = self.learned.max(took * 5 / 4);
            self.given_up = None;
        }
    }

    fn handle_old_packet(&mut self) {
        self.stats.late_packets += 1;
        self.old_run += 1;
        if self.old_run >= RESTART_RUN {
            self.restart();
            self.highest = None;
        }
    }

    fn restart(&mut self) {
        tracing::debug!("the stream restarted");
        self.old_run = 0;
        self.given_up = None;
        self.drop_below(u64::MAX);
        self.search();
    }

    /// Looks for a keyframe among what is buffered.
    fn search(&mut self) {
        self.awaits_keyframe = true;
        self.is_discontinuous |= self.stats.frames > 0;
        let is_start = |stored: &Stored| {
            stored
                .part
                .as_ref()
                .is_some_and(|part| part.starts_keyframe)
        };
        self.next = self
            .packets
            .range(0..u64::MAX)
            .find(|(_, stored)| is_start(stored))
            .map(|(at, _)| at);
        if let Some(next) = self.next {
            self.drop_below(next);
            self.contiguous_until = next;
            self.scanned_until = next;
        }
    }

    /// Delivers what became complete.
    fn advance(&mut self, now: Instant) {
        if self.next.is_none() {
            self.search();
        }
        if self.next.is_none() {
            // Kept for a while: the start of their keyframe may have been overtaken.
            while let Some(first) = self.packets.get(self.packets.base())
                && now.saturating_duration_since(first.arrived_at) > self.wait()
            {
                self.drop_below(self.packets.base() + 1);
            }
            return;
        }
        while self.packets.contains(self.contiguous_until) {
            self.contiguous_until += 1;
        }
        while let Some(next) = self.next {
            let Some(end) = self.frame_end() else { return };
            self.deliver(next, end);
        }
    }

    /// The end (exclusive) of the frame at `next`, when all of it is there.
    fn frame_end(&mut self) -> Option<u64> {
        let next = self.next?;
        let mut timestamp = None;
        for at in self.scanned_until.max(next)..self.contiguous_until {
            let stored = self.packets.get(at)?;
            if stored.part.is_some() {
                // Padding before the first part belongs to no frame.
                let first = match timestamp {
                    Some(first) => first,
                    None => self.first_timestamp(next, at)?,
                };
                timestamp = Some(first);
                if stored.timestamp != first {
                    // The marker bit of the frame before was not set.
                    return Some(at);
                }
                if stored.marker {
                    return Some(at + 1);
                }
            }
            self.scanned_until = at + 1;
        }
        None
    }

    fn first_timestamp(&self, from: u64, to: u64) -> Option<u32> {
        let mut parts = self
            .packets
            .range(from..to + 1)
            .filter(|(_, stored)| stored.part.is_some());
        parts.next().map(|(_, stored)| stored.timestamp)
    }

    fn deliver(&mut self, next: u64, end: u64) {
        let stored = self.packets.range(next..end).map(|(_, stored)| stored);
        let with_part = |stored: &&Stored| stored.part.is_some();
        let timestamp = stored
            .clone()
            .find(with_part)
            .map(|stored| stored.timestamp);
        let parts = stored.filter_map(|stored| stored.part.as_ref());
        let data = join(self.codec, parts, &mut self.pool);
        let info = data
            .as_deref()
            .and_then(|data| bitstream::frame_info(self.codec, data));
        let usable = info.filter(|info| info.keyframe || !self.awaits_keyframe);
        let (Some(data), Some(info), Some(timestamp)) = (data, usable, timestamp) else {
            self.drop_below(end);
            self.search();
            return;
        };
        self.remove_below(end);
        self.next = Some(end);
        self.scanned_until = end;
        self.awaits_keyframe = false;
        self.size = info.size.unwrap_or(self.size);
        if self.ready.len() >= READY_FRAMES {
            self.stats.dropped_frames += self.ready.len() as u64;
            self.ready.clear();
            self.search_after(end);
            return;
        }
        self.stats.frames += 1;
        self.ready.push_back(AssembledFrame {
            codec: self.codec,
            keyframe: info.keyframe,
            width: self.size.0,
            height: self.size.1,
            timestamp,
            data,
            discontinuity: std::mem::take(&mut self.is_discontinuous),
        });
    }

    fn search_after(&mut self, sequence: u64) {
        self.drop_below(sequence);
        self.search();
    }

    /// Gives up on a missing packet that was waited for long enough, as often as that is the case.
    fn give_up_if_due(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            let behind = self.contiguous_until..u64::MAX;
            let Some(after_hole) = self.packets.range(behind).next().map(|(at, _)| at) else {
                return;
            };
            self.stats.lost_packets += after_hole - self.contiguous_until;
            let since = self.packets.get(after_hole).map(|stored| stored.arrived_at);
            self.given_up = since.map(|since| (self.contiguous_until..after_hole, since));
            self.search_after(after_hole);
            self.advance(now);
        }
    }

    /// Removes packets that were not delivered.
    fn drop_below(&mut self, sequence: u64) {
        let stored = self.packets.range(0..sequence);
        let markers = stored.filter(|(_, stored)| stored.marker).count();
        self.stats.dropped_frames += markers as u64;
        self.remove_below(sequence);
    }

    fn remove_below(&mut self, sequence: u64) {
        let buffered_bytes = &mut self.buffered_bytes;
        self.packets
            .remove_below(sequence, |stored| *buffered_bytes -= stored.payload_bytes);
    }
}
