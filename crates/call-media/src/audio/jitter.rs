//! The jitter buffer of one audio track: packets in at any time, one decision out whenever the
//! playout needs sound.
//!
//! ```text
//! Idle -> Buffering { until } -> Playing -> (empty for a while) Idle
//! ```
//!
//! **Delay.** The target is estimated from the packets' transit times (see `delay`), within
//! [`MIN_DELAY_MS`]..=[`MAX_DELAY_MS`]. After a pause of the sender playout re-aligns to it at
//! once; within speech each frame comes with an [`Adjustment`] that shortens or lengthens it by a
//! period of the voice where the delay is off by more than `TOLERANCE_TICKS`, and shortens it only
//! while more waits. This also absorbs the difference between the sender's clock and ours.
//!
//! **Loss and pauses.** A frame is missed when it is due and not before. A hole in the sequence
//! numbers is loss: it is concealed, from the next packet's redundancy where that packet is there.
//! A jump of the timestamp without a hole in the sequence numbers is a pause (DTX, mute), not
//! loss. An empty buffer may be either: playout stands still, block by block, until the next
//! packet tells which it was. If packets were late, it goes on where it stopped; if they were lost
//! and the delay is long enough already, the time that has passed counts as their concealment;
//! what was a pause is not counted at all.
//!
//! Invariants: a second of packets is held at most (`packets`); sequence numbers
//! and timestamps may wrap; a packet too old, a duplicate, or one from a far away stream position
//! never grows anything; nothing is allocated after creation.
//!
//! Deliberately not here: decoding, and the stretching itself (`stretch`).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::codec::carries_redundancy;

use super::delay::DelayEstimator;
pub use super::delay::{MAX_DELAY_MS, MIN_DELAY_MS};
use super::format::{BLOCK_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ};
use super::packets::{Packet, PacketRing};
pub use super::stretch::Adjustment;
use super::stretch::{LEAST_LAG, MOST_LAG};

/// Largest delay the owner may add, in milliseconds.
pub const MAX_EXTRA_MS: u32 = 300;
/// Delay off the target, in RTP ticks (6 ms), that is left alone. Lowering it stretches more often
/// for less.
const TOLERANCE_TICKS: i64 = 288;
/// Delay off the target, in RTP ticks (60 ms), from which getting there matters more than how it
/// sounds.
const URGENT_TICKS: i64 = 2_880;
/// Delay above the target, in RTP ticks (400 ms), at which whole frames are thrown away.
const HOPELESS_TICKS: i64 = 400 * TICKS_PER_MS;
/// Frames from one change to the next that is not urgent (40 ms). Lowering it gets to the target
/// sooner and lets changes be heard as roughness.
const ADJUST_FRAMES: u32 = 2;
/// Frames after packets were late, or fewer than [`SPARE_TICKS`] waited (200 ms), in which nothing is
/// accelerated: the target needs some packets to learn of a new delay. Raising it works a spike off
/// later.
const HOLD_FRAMES: u32 = 10;
/// Sound that has to wait in the buffer, in RTP ticks (20 ms), for anything to be accelerated. A delay
/// above the target without that is one of the network's, of a queue that is full at the moment:
/// what is left out then is missing a moment later. Raising it follows a fast sender's clock later.
const SPARE_TICKS: i64 = FRAME_TICKS;
/// Least correlation at a seam for a change that has time. Lowering it makes changes come sooner
/// and roughens vowels in motion.
const GOOD_MATCH: f32 = 0.9;
/// Least correlation at a seam for an urgent change: rough is better than late.
const FAIR_MATCH: f32 = 0.5;
/// What every frame without a seam takes off these: after a second any sound is stretched, so that
/// music and noise cannot hold the delay where it is.
const MATCH_DECAY: f32 = 0.02;
/// Blocks of an empty buffer (1 s) after which the next packet starts over with buffering.
const IDLE_BLOCKS: u64 = 100;
/// A sequence number this far from the newest belongs to a restarted stream.
const RESTART_DISTANCE: i64 = 500;
/// Largest payload held, in bytes; the largest Opus packet plus room for sealing.
const PAYLOAD_BYTES: usize = 1_500;

const FRAME_TICKS: i64 = FRAME_SAMPLES as i64;
const TICKS_PER_MS: i64 = SAMPLE_RATE_HZ as i64 / 1_000;
/// Blocks in a frame.
const FRAME_BLOCKS: u64 = 2;

/// What to play next: a frame of 20 ms or a block of 10 ms.
#[derive(Clone, Debug, PartialEq)]
pub enum Pull {
    /// Decode this packet to a frame and adjust its length.
    Packet(Bytes, Adjustment),
    /// The frame is lost: make it up, from `fec_from`'s redundancy if that is given.
    Conceal {
        /// The packet right after the lost one; it stays in the buffer.
        fec_from: Option<Bytes>,
    },
    /// The buffer is empty, playout stands still: make up a block.
    Wait,
    /// The sender pauses (DTX or mute): a block of comfort noise or silence.
    Dtx,
    /// Playout has not begun, or nothing arrived for a second: a block of silence.
    Buffering,
}

/// Counters since the track began, and the current delays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JitterStats {
    /// Packets received, without duplicates.
    pub received: u64,
    /// Packets that were missing when they were due and have not arrived since.
    pub lost: u64,
    /// Packets that arrived after they were due.
    pub late: u64,
    /// Packets received more than once.
    pub duplicated: u64,
    /// Frames made up because a packet was lost or late; a begun one counts. As webrtc-stats counts
    /// `concealedSamples`, without those decoded from the next packet's redundancy.
    pub concealed: u64,
    /// Frames decoded from the next packet's redundancy.
    pub repaired: u64,
    /// Packets that were missing and came in time as a copy in a later one.
    pub copied: u64,
    /// Times that frames began to be made up.
    pub concealment_events: u64,
    /// Frames played, including concealed and repaired ones, without pauses and buffering.
    pub played: u64,
    /// Samples left out to shorten the delay.
    pub accelerated_samples: u64,
    /// Samples inserted to lengthen the delay.
    pub expanded_samples: u64,
    /// Interarrival jitter, RFC 3550 §6.4.1, in milliseconds.
    pub jitter_ms: f32,
    /// Current time between a packet's arrival without network jitter and the playout of its
    /// first sample, in milliseconds; 0 while nothing plays.
    pub delay_ms: u32,
    /// The delay aimed at, in milliseconds.
    pub target_delay_ms: u32,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct JitterBuffer {
    state: State,
    packets: PacketRing,
    delay: DelayEstimator,
    delay_ticks_of_last_pull: i64,
    highest_seq: Option<i64>,
    highest_timestamp: i64,
    /// Bit n: `highest_seq - n` was received.
    seen: u128,
    /// Sequence number and timestamp due next, while playing.
    next_seq: i64,
    next_timestamp: i64,
    /// Blocks made up on an empty buffer in a row; they may yet turn out to be a pause.
    waited_blocks: u64,
    concealed_blocks: u64,
    packets_played: u64,
    concealing: bool,
    /// Frames since the last change, and frames in which one was wanted and did not succeed.
    since_adjusted: u32,
    frames_off: u32,
    /// Frames since playout stood still for late packets or had hardly any left.
    since_short: u32,
    /// The last pull was a frame of the stream.
    plays: bool,
    stats: JitterStats,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Buffering {
        until: Instant,
    },
    Playing,
}

impl Default for JitterBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl JitterBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self {
            state: State::Idle,
            packets: PacketRing::new(),
            delay: DelayEstimator::new(),
            delay_ticks_of_last_pull: 0,
            highest_seq: None,
            highest_timestamp: 0,
            seen: 0,
            next_seq: 0,
            next_timestamp: 0,
            waited_blocks: 0,
            concealed_blocks: 0,
            packets_played: 0,
            concealing: false,
            since_adjusted: 0,
            frames_off: 0,
            since_short: HOLD_FRAMES,
            plays: false,
            stats: JitterStats::default(),
        }
    }

    /// Takes a packet: its RTP sequence number and timestamp (48 kHz) and its opened payload.
    pub fn handle_packet(&mut self, now: Instant, seq: u16, timestamp: u32, payload: Bytes) {
        if payload.is_empty() || payload.len() > PAYLOAD_BYTES {
            tracing::debug!(
                bytes = payload.len(),
                "audio packet of impossible size dropped"
            );
            return;
        }
        let Some(highest) = self.highest_seq else {
            return self.restart(now, seq, timestamp, payload);
        };
        let (seq, timestamp) = self.unwrap_place(highest, seq, timestamp);
        if (seq - highest).abs() > RESTART_DISTANCE {
            tracing::debug!(distance = seq - highest, "audio stream restarted");
            return self.restart(now, seq as u16, timestamp as u32, payload);
        }
        if !self.mark_seen(seq) {
            self.stats.duplicated += 1;
            return;
        }
        self.stats.received += 1;
        if seq >= highest {
            self.highest_timestamp = timestamp;
        }
        self.delay.handle_arrival(now, timestamp);

        if self.state == State::Playing && seq < self.next_seq {
            self.stats.late += 1;
            self.stats.lost = self.stats.lost.saturating_sub(1);
            return;
        }
        if self.state == State::Idle {
            self.begin_buffering(now);
        }
        self.packets.insert(Packet {
            seq,
            timestamp,
            payload,
        });
    }

    /// Takes a copy of an earlier packet that came within a later one, if the packet itself is missing.
    /// To be called after [`JitterBuffer::handle_packet`] for the later one.
    pub fn handle_copy(&mut self, now: Instant, seq: u16, timestamp: u32, payload: Bytes) {
        let is_size = (1..=PAYLOAD_BYTES).contains(&payload.len());
        let Some(highest) = self.highest_seq.filter(|_| is_size) else {
            return;
        };
        let (seq, timestamp) = self.unwrap_place(highest, seq, timestamp);
        // What lies before the first packet of all is no part of what is played.
        let is_before = self.state != State::Playing
            && self.packets.first().is_none_or(|(first, _)| seq < first);
        if seq > highest || is_before || !self.mark_seen(seq) {
            return;
        }
        self.delay.handle_copy(now, timestamp);
        if self.state == State::Playing && seq < self.next_seq {
            return;
        }
        self.stats.copied += 1;
        self.packets.insert(Packet {
            seq,
            timestamp,
            payload,
        });
    }

    /// Decides what to play next, given how many decoded samples are still to be played before.
    pub fn pull(&mut self, now: Instant, pending_samples: usize) -> Pull {
        let pull = self.decide(now, pending_samples);
        self.plays = matches!(pull, Pull::Packet(..) | Pull::Conceal { .. });
        pull
    }

    fn decide(&mut self, now: Instant, pending_samples: usize) -> Pull {
        let pending = pending_samples as u64 * 1_000_000_000 / u64::from(SAMPLE_RATE_HZ);
        let at = now + Duration::from_nanos(pending);
        match self.state {
            State::Idle => Pull::Buffering,
            State::Buffering { until } if at + BLOCK_DURATION / 2 < until => Pull::Buffering,
            State::Buffering { .. } => {
                let Some((seq, timestamp)) = self.packets.first() else {
                    self.state = State::Idle;
                    return Pull::Buffering;
                };
                (self.next_seq, self.next_timestamp) = (seq, timestamp);
                self.state = State::Playing;
                self.waited_blocks = 0;
                self.pull_playing(at)
            }
            State::Playing => self.pull_playing(at),
        }
    }

    /// Takes by how many samples a packet's frame was really lengthened (negative: shortened).
    pub fn handle_adjusted(&mut self, samples: isize) {
        if samples == 0 {
            return;
        }
        (self.since_adjusted, self.frames_off) = (0, 0);
        let count = samples.unsigned_abs() as u64;
        if samples > 0 {
            self.stats.expanded_samples += count;
        } else {
            self.stats.accelerated_samples += count;
        }
    }

    /// RTP timestamp right behind the frame pulled last; `None` while nothing plays: before the
    /// first packet, and in pauses.
    pub fn played_until(&self) -> Option<u32> {
        self.plays.then_some(self.next_timestamp as u32)
    }

    /// Delays playout by this much beyond what the network asks for, at most [`MAX_EXTRA_MS`].
    pub fn set_extra_delay_ms(&mut self, extra_ms: u32) {
        self.delay.set_extra_ms(extra_ms.min(MAX_EXTRA_MS));
    }

    /// Counters and current delays.
    pub fn stats(&self) -> JitterStats {
        let delay_ticks = match self.state {
            State::Playing => self.delay_ticks_of_last_pull,
            State::Idle | State::Buffering { .. } => 0,
        };
        let concealed = self.concealed_blocks.div_ceil(FRAME_BLOCKS);
        JitterStats {
            concealed,
            played: self.packets_played + self.stats.repaired + concealed,
            jitter_ms: self.delay.jitter_ms(),
            delay_ms: u32::try_from(delay_ticks / TICKS_PER_MS).unwrap_or(0),
            target_delay_ms: self.delay.target_ms(),
            ..self.stats
        }
    }

    fn pull_playing(&mut self, at: Instant) -> Pull {
        let Some((seq, timestamp)) = self.packets.first() else {
            return self.pull_empty();
        };
        self.settle_wait(at, seq, timestamp);
        let excess = self.delay.excess_ticks(at, timestamp);
        if excess > HOPELESS_TICKS && self.packets.len() > 2 {
            self.skip_to_target(at);
            return self.pull_playing(at);
        }
        let missing = seq - self.next_seq;
        let gap_frames = (timestamp - self.next_timestamp) / FRAME_TICKS;

        if missing > 0 && gap_frames > 0 {
            // More frames than packets are missing: the pause came first, then the loss.
            if gap_frames > missing {
                let resume_timestamp = timestamp - missing * FRAME_TICKS;
                if !self.is_due(at, resume_timestamp) {
                    return Pull::Dtx;
                }
                self.next_timestamp = resume_timestamp;
            }
            let fec_from = if missing == 1 {
                self.packets.payload(seq)
            } else {
                None
            };
            self.miss_frame();
            if fec_from.as_deref().is_some_and(carries_redundancy) {
                self.stats.repaired += 1;
                self.concealing = false;
            } else {
                self.count_concealed(FRAME_BLOCKS);
            }
            return Pull::Conceal { fec_from };
        }
        if missing > 0 {
            self.stats.lost += missing.unsigned_abs();
        }
        if gap_frames > 0 && !self.is_due(at, timestamp) {
            return Pull::Dtx;
        }
        self.next_timestamp = timestamp;
        self.play(at, seq)
    }

    /// Plays packet `seq`, the first in the buffer.
    fn play(&mut self, at: Instant, seq: i64) -> Pull {
        let excess = self.delay.excess_ticks(at, self.next_timestamp);
        self.delay_ticks_of_last_pull = self.delay.delay_ticks(at, self.next_timestamp);
        let Some(packet) = self.packets.take(seq) else {
            return Pull::Buffering;
        };
        self.next_seq = seq + 1;
        self.next_timestamp += FRAME_TICKS;
        self.concealing = false;
        self.packets_played += 1;
        self.delay.handle_due(false);
        Pull::Packet(packet.payload, self.choose_adjustment(excess))
    }

    fn choose_adjustment(&mut self, excess_ticks: i64) -> Adjustment {
        self.since_adjusted = self.since_adjusted.saturating_add(1);
        self.since_short = self.since_short.saturating_add(1);
        if self.waiting_ticks() < SPARE_TICKS {
            self.since_short = 0;
        }
        if excess_ticks > 0 && self.since_short <= HOLD_FRAMES {
            return Adjustment::Keep;
        }
        let off = excess_ticks.abs();
        if off <= TOLERANCE_TICKS {
            self.frames_off = 0;
            return Adjustment::Keep;
        }
        let urgent = off > URGENT_TICKS;
        if !urgent && self.since_adjusted < ADJUST_FRAMES {
            return Adjustment::Keep;
        }
        let best = if urgent { FAIR_MATCH } else { GOOD_MATCH };
        let least_match = (best - MATCH_DECAY * self.frames_off as f32).max(0.0);
        self.frames_off = self.frames_off.saturating_add(1);
        // Half the tolerance beyond the target is as good as the target.
        let samples = usize::try_from(off + TOLERANCE_TICKS / 2)
            .unwrap_or(MOST_LAG)
            .clamp(LEAST_LAG, MOST_LAG);
        if excess_ticks > 0 {
            Adjustment::Accelerate {
                samples,
                least_match,
            }
        } else {
            Adjustment::Expand {
                samples,
                least_match,
            }
        }
    }

    /// Sound that waits behind the frame pulled last, holes included, in RTP ticks.
    fn waiting_ticks(&self) -> i64 {
        self.highest_timestamp + FRAME_TICKS - self.next_timestamp
    }

    /// Too far behind to catch up by stretching: drops all but what the target delay holds.
    fn skip_to_target(&mut self, at: Instant) {
        while self.packets.len() > 1
            && let Some((seq, timestamp)) = self.packets.first()
            && self.delay.excess_ticks(at, timestamp) > 0
        {
            tracing::debug!(seq, "audio packet skipped, playout is far behind");
            self.packets.take(seq);
        }
        if let Some((seq, timestamp)) = self.packets.first() {
            (self.next_seq, self.next_timestamp) = (seq, timestamp);
        }
    }

    /// Whether sound that may begin at any block begins best at `at`.
    fn is_due(&self, at: Instant, timestamp: i64) -> bool {
        self.delay.excess_ticks(at + BLOCK_DURATION / 2, timestamp) >= 0
    }

    /// The buffer is empty. Playout stands still: what arrives next continues where it stopped,
    /// and the delay, longer by then, is corrected afterwards.
    fn pull_empty(&mut self) -> Pull {
        self.waited_blocks += 1;
        if self.waited_blocks > IDLE_BLOCKS {
            self.state = State::Idle;
            self.waited_blocks = 0;
            return Pull::Buffering;
        }
        Pull::Wait
    }

    /// The first packet after standing still tells what it was: after a jump of the timestamp
    /// alone the sender paused, else packets were late or lost.
    fn settle_wait(&mut self, at: Instant, seq: i64, timestamp: i64) {
        let mut waited = std::mem::take(&mut self.waited_blocks);
        let pause_frames = (timestamp - self.next_timestamp) / FRAME_TICKS - (seq - self.next_seq);
        if waited == 0 || pause_frames > 0 {
            return;
        }
        self.count_concealed(waited);
        if seq <= self.next_seq {
            self.since_short = 0;
        }
        while waited >= FRAME_BLOCKS
            && self.next_seq < seq
            && self.delay.excess_ticks(at, self.next_timestamp) > 0
        {
            waited -= FRAME_BLOCKS;
            self.miss_frame();
        }
    }

    /// The frame that is due is lost.
    fn miss_frame(&mut self) {
        self.next_seq += 1;
        self.next_timestamp += FRAME_TICKS;
        self.stats.lost += 1;
        self.delay.handle_due(true);
    }

    fn count_concealed(&mut self, blocks: u64) {
        self.concealed_blocks += blocks;
        if !std::mem::replace(&mut self.concealing, true) {
            self.stats.concealment_events += 1;
        }
    }

    fn restart(&mut self, now: Instant, seq: u16, timestamp: u32, payload: Bytes) {
        let (seq, timestamp) = (i64::from(seq), i64::from(timestamp));
        self.packets.clear();
        self.delay.reset();
        self.delay.handle_arrival(now, timestamp);
        (self.highest_seq, self.highest_timestamp, self.seen) = (Some(seq), timestamp, 1);
        self.waited_blocks = 0;
        self.stats.received += 1;
        self.packets.insert(Packet {
            seq,
            timestamp,
            payload,
        });
        self.begin_buffering(now);
    }

    fn begin_buffering(&mut self, now: Instant) {
        let target = Duration::from_millis(u64::from(self.delay.target_ms()));
        self.state = State::Buffering {
            until: now + target,
        };
    }

    /// The number and timestamp nearest to the newest ones.
    fn unwrap_place(&self, highest: i64, seq: u16, timestamp: u32) -> (i64, i64) {
        let newest = self.highest_timestamp;
        (
            highest + i64::from(seq.wrapping_sub(highest as u16) as i16),
            newest + i64::from(timestamp.wrapping_sub(newest as u32) as i32),
        )
    }

    /// Notes `seq` as received; false if it already was, or is older than can be told.
    fn mark_seen(&mut self, seq: i64) -> bool {
        let highest = self.highest_seq.unwrap_or(seq);
        if seq > highest {
            let shift = u32::try_from(seq - highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest_seq = Some(seq);
            return true;
        }
        let age = u32::try_from(highest - seq).unwrap_or(u32::MAX);
        let Some(bit) = 1u128.checked_shl(age) else {
            return false;
        };
        let fresh = self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

#[cfg(test)]
#[path = "jitter_tests.rs"]
mod tests;
