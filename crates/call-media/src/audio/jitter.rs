//! The jitter buffer of one audio track: packets in at any time, one decision every 20 ms out.
//!
//! ```text
//! Idle -> Buffering { until } -> Playing -> (empty for a while) Idle
//! ```
//!
//! **Delay.** Each packet's *relative delay* is its transit time (arrival minus media time)
//! above the smallest transit of the last `DELAY_WINDOW` packets. The target delay is the 95th
//! percentile of those plus one frame, within [`MIN_DELAY_MS`]..=[`MAX_DELAY_MS`]. After a pause
//! of the sender playout re-aligns to the target exactly; within speech it is corrected one frame
//! at a time: two frames are merged into one when the delay exceeds the target by more than
//! `EXCESS_MS`, one is stretched in when it falls short by a frame, both at most every
//! `ADJUST_FRAMES` frames.
//!
//! **Loss and pauses.** A hole in the sequence numbers is loss: it is concealed, from the next
//! packet's redundancy where that packet is there. A jump of the timestamp without a hole in the
//! sequence numbers is a pause (DTX, mute), not loss. An empty buffer may be either: the first
//! `UNDERRUN_CONCEAL` frames are concealed and silence follows; what turns out to have been a
//! pause is not counted as concealed.
//!
//! Invariants: at most `MAX_PACKETS` packets are held; sequence numbers and timestamps may wrap;
//! a packet too old, a duplicate, or one from a far away stream position never grows anything.
//!
//! Deliberately not here: decoding, and stretching in time smoothly; a time-stretching buffer can
//! replace this one behind the same two calls.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::format::{FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ};

/// Smallest target delay in milliseconds: two frames. Lowering it gains latency on perfect
/// networks only and conceals at every scheduling hiccup.
pub const MIN_DELAY_MS: u32 = 40;
/// Largest target delay in milliseconds. Beyond it conversation suffers more than from losses.
pub const MAX_DELAY_MS: u32 = 200;
/// Largest delay the owner may add, in milliseconds.
pub const MAX_EXTRA_MS: u32 = 300;
/// Packets the delay statistics look back on: 5 s. A longer window forgets spikes later.
const DELAY_WINDOW: usize = 250;
/// Delay above the target, in milliseconds, that is worth an audible correction.
const EXCESS_MS: i64 = 40;
/// Delay above the target, in milliseconds, at which whole frames are thrown away.
const HOPELESS_MS: i64 = 400;
/// Frames between two corrections (100 ms), so that they stay inaudible one by one.
const ADJUST_FRAMES: u32 = 5;
/// Frames concealed before an empty buffer becomes silence: 60 ms, what Opus bridges well.
const UNDERRUN_CONCEAL: u32 = 3;
/// Frames of an empty buffer (1 s) after which the next packet starts over with buffering.
const IDLE_FRAMES: u32 = 50;
/// Most packets held: 1 s.
const MAX_PACKETS: usize = 50;
/// A sequence number this far from the newest belongs to a restarted stream.
const RESTART_DISTANCE: i64 = 500;
/// Largest payload held, in bytes; the largest Opus packet plus room for sealing.
const PAYLOAD_BYTES: usize = 1_500;

/// A transit this different from the one before (2 s) is a new clock, not jitter.
const CLOCK_JUMP_TICKS: u64 = 2 * SAMPLE_RATE_HZ as u64;
const FRAME_TICKS: i64 = FRAME_SAMPLES as i64;
const TICKS_PER_MS: i64 = SAMPLE_RATE_HZ as i64 / 1_000;

/// What to play for the next 20 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Decode this packet.
    Packet(Bytes),
    /// Decode both packets and blend them into one frame: the delay is too long.
    Merge(Bytes, Bytes),
    /// The frame is lost or late: make it up, from `fec_from`'s redundancy if that is given.
    Conceal {
        /// The packet right after the lost one; it stays in the buffer.
        fec_from: Option<Bytes>,
    },
    /// The sender pauses (DTX or mute): comfort noise or silence.
    Dtx,
    /// Nothing arrived for longer than can be concealed: silence.
    Silence,
    /// Playout has not begun: silence.
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
    /// Frames made up because a packet was lost or late.
    pub concealed: u64,
    /// Frames played, including concealed ones, without pauses and buffering.
    pub played: u64,
    /// Frames merged away to shorten the delay.
    pub merged: u64,
    /// Interarrival jitter, RFC 3550 §6.4.1, in milliseconds.
    pub jitter_ms: f32,
    /// Current time between a packet's arrival without network jitter and its playout, in
    /// milliseconds.
    pub delay_ms: u32,
    /// The delay aimed at, in milliseconds.
    pub target_delay_ms: u32,
}

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct JitterBuffer {
    state: State,
    /// By extended sequence number.
    packets: BTreeMap<i64, Packet>,
    clock: Clock,
    highest_seq: Option<i64>,
    highest_timestamp: i64,
    /// Bit n: `highest_seq - n` was received.
    seen: u128,
    /// Sequence number and timestamp due next, while playing.
    next_seq: i64,
    next_timestamp: i64,
    /// Frames pulled from an empty buffer in a row.
    empty_frames: u32,
    /// Frames concealed on an empty buffer that may yet turn out to be a pause.
    unproven_conceals: u64,
    since_adjusted: u32,
    stats: JitterStats,
}

#[derive(Debug)]
struct Packet {
    timestamp: i64,
    payload: Bytes,
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

impl JitterBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
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
        let seq = highest + i64::from(seq.wrapping_sub(highest as u16) as i16);
        let timestamp = self.highest_timestamp
            + i64::from(timestamp.wrapping_sub(self.highest_timestamp as u32) as i32);
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
        self.clock.handle_arrival(now, timestamp);
        self.stats.jitter_ms = self.clock.jitter_ms();

        if self.state == State::Playing && seq < self.next_seq {
            self.stats.late += 1;
            self.stats.lost = self.stats.lost.saturating_sub(1);
            return;
        }
        if self.state == State::Idle {
            self.begin_buffering(now);
        }
        self.packets.insert(seq, Packet { timestamp, payload });
        if self.packets.len() > MAX_PACKETS {
            // Nobody pulls: keep the newest second.
            self.packets.pop_first();
        }
    }

    /// Decides what to play for the next 20 ms. Called exactly every 20 ms of played sound.
    pub fn pull(&mut self, now: Instant) -> Pull {
        self.since_adjusted = self.since_adjusted.saturating_add(1);
        match self.state {
            State::Idle => Pull::Buffering,
            State::Buffering { until } if now < until => Pull::Buffering,
            State::Buffering { .. } => {
                let Some((&seq, packet)) = self.packets.first_key_value() else {
                    self.state = State::Idle;
                    return Pull::Buffering;
                };
                (self.next_seq, self.next_timestamp) = (seq, packet.timestamp);
                self.state = State::Playing;
                self.empty_frames = 0;
                self.pull_playing(now)
            }
            State::Playing => self.pull_playing(now),
        }
    }

    /// RTP timestamp of the frame pulled last; `None` while nothing plays: before the first
    /// packet, and in pauses.
    pub fn playing(&self) -> Option<u32> {
        let plays = self.state == State::Playing && self.empty_frames == 0;
        plays.then(|| (self.next_timestamp - FRAME_TICKS) as u32)
    }

    /// Delays playout by this much beyond what the network asks for.
    pub fn set_extra_delay_ms(&mut self, extra_ms: u32) {
        self.clock.extra_ms = extra_ms.min(MAX_EXTRA_MS);
    }

    /// Counters and current delays.
    pub fn stats(&self) -> JitterStats {
        let delay_ms = match self.state {
            State::Playing => self.clock.delay_ms_of_last_pull,
            State::Idle | State::Buffering { .. } => 0,
        };
        JitterStats {
            delay_ms: u32::try_from(delay_ms).unwrap_or(0),
            target_delay_ms: self.clock.target_ms(),
            ..self.stats
        }
    }

    fn pull_playing(&mut self, now: Instant) -> Pull {
        let Some((&seq, first)) = self.packets.first_key_value() else {
            return self.pull_empty();
        };
        let (timestamp, payload) = (first.timestamp, first.payload.clone());
        let missing = seq - self.next_seq;
        let gap_frames = (timestamp - self.next_timestamp) / FRAME_TICKS;
        self.settle_underrun(missing, gap_frames);

        if missing > 0 && gap_frames > 0 {
            // More frames than packets are missing: the pause came first, then the loss.
            if gap_frames > missing {
                return self.pause_or_align(now, timestamp - missing * FRAME_TICKS);
            }
            let fec_from = (missing == 1).then_some(payload);
            self.next_seq += 1;
            self.next_timestamp += FRAME_TICKS;
            self.stats.lost += 1;
            return self.conceal(fec_from);
        }
        if missing > 0 {
            self.stats.lost += missing.unsigned_abs();
        }
        if gap_frames > 0 && !self.is_due(now, timestamp) {
            return Pull::Dtx;
        }
        self.next_timestamp = timestamp;
        self.play(now, seq)
    }

    /// Plays packet `seq`, the first in the buffer, correcting the delay where needed.
    fn play(&mut self, now: Instant, seq: i64) -> Pull {
        let delay = self.clock.delay_ms(now, self.next_timestamp);
        self.clock.delay_ms_of_last_pull = delay;
        let error = delay - i64::from(self.clock.target_ms());
        if error > HOPELESS_MS && self.packets.len() > 2 {
            self.skip_to_target(now);
            return self.pull_playing(now);
        }
        if error <= -(FRAME_MS as i64) && self.since_adjusted >= ADJUST_FRAMES {
            self.since_adjusted = 0;
            return self.conceal(None);
        }
        let Some(packet) = self.packets.remove(&seq) else {
            return Pull::Silence;
        };
        self.advance(seq);
        self.stats.played += 1;
        if error > EXCESS_MS && self.since_adjusted >= ADJUST_FRAMES {
            let follower = seq + 1;
            let adjacent = self
                .packets
                .get(&follower)
                .is_some_and(|next| next.timestamp == packet.timestamp + FRAME_TICKS);
            if adjacent && let Some(next) = self.packets.remove(&follower) {
                self.since_adjusted = 0;
                self.advance(follower);
                self.stats.merged += 1;
                return Pull::Merge(packet.payload, next.payload);
            }
        }
        Pull::Packet(packet.payload)
    }

    fn advance(&mut self, played_seq: i64) {
        self.next_seq = played_seq + 1;
        self.next_timestamp += FRAME_TICKS;
        self.empty_frames = 0;
    }

    /// Too far behind to catch up frame by frame: drops all but what the target delay holds.
    fn skip_to_target(&mut self, now: Instant) {
        let target = i64::from(self.clock.target_ms());
        while self.packets.len() > 1
            && let Some((&seq, first)) = self.packets.first_key_value()
            && self.clock.delay_ms(now, first.timestamp) > target
        {
            tracing::debug!(seq, "audio packet skipped, playout is far behind");
            self.packets.pop_first();
        }
        if let Some((&seq, first)) = self.packets.first_key_value() {
            (self.next_seq, self.next_timestamp) = (seq, first.timestamp);
        }
    }

    fn pause_or_align(&mut self, now: Instant, resume_timestamp: i64) -> Pull {
        if self.is_due(now, resume_timestamp) {
            self.next_timestamp = resume_timestamp;
            self.pull_playing(now)
        } else {
            Pull::Dtx
        }
    }

    fn is_due(&self, now: Instant, timestamp: i64) -> bool {
        self.clock.delay_ms(now, timestamp) >= i64::from(self.clock.target_ms())
    }

    /// The buffer is empty. Playout stands still: what arrives next continues where it stopped,
    /// and the delay, longer now, is corrected afterwards.
    fn pull_empty(&mut self) -> Pull {
        self.empty_frames += 1;
        if self.empty_frames > IDLE_FRAMES {
            self.state = State::Idle;
            self.unproven_conceals = 0;
            return Pull::Silence;
        }
        if self.empty_frames > UNDERRUN_CONCEAL {
            return Pull::Silence;
        }
        self.unproven_conceals += 1;
        Pull::Conceal { fec_from: None }
    }

    /// The first packet after an underrun tells what it was: with the very next frame in hand,
    /// packets were late or lost; after a jump of the timestamp, the sender paused.
    fn settle_underrun(&mut self, missing: i64, gap_frames: i64) {
        let conceals = std::mem::take(&mut self.unproven_conceals);
        if missing > 0 || gap_frames <= 0 {
            self.stats.concealed += conceals;
            self.stats.played += conceals;
        }
    }

    fn conceal(&mut self, fec_from: Option<Bytes>) -> Pull {
        self.stats.concealed += 1;
        self.stats.played += 1;
        Pull::Conceal { fec_from }
    }

    fn restart(&mut self, now: Instant, seq: u16, timestamp: u32, payload: Bytes) {
        let (seq, timestamp) = (i64::from(seq), i64::from(timestamp));
        self.packets.clear();
        self.clock = Clock {
            extra_ms: self.clock.extra_ms,
            ..Clock::default()
        };
        self.clock.handle_arrival(now, timestamp);
        (self.highest_seq, self.highest_timestamp, self.seen) = (Some(seq), timestamp, 1);
        self.unproven_conceals = 0;
        self.stats.received += 1;
        self.packets.insert(seq, Packet { timestamp, payload });
        self.begin_buffering(now);
    }

    fn begin_buffering(&mut self, now: Instant) {
        let target = Duration::from_millis(u64::from(self.clock.target_ms()));
        self.state = State::Buffering {
            until: now + target,
        };
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

/// Transit times: what the network adds on top of its fastest packet.
#[derive(Debug, Default)]
struct Clock {
    /// The first arrival; transits count from it.
    epoch: Option<(Instant, i64)>,
    /// Transits of the last packets in RTP ticks, oldest first.
    transits: VecDeque<i64>,
    base_transit: i64,
    target_ms: Option<u32>,
    /// Asked for by the owner.
    extra_ms: u32,
    last_transit: Option<i64>,
    /// RFC 3550 estimate in ticks.
    jitter: f64,
    delay_ms_of_last_pull: i64,
}

impl Clock {
    fn handle_arrival(&mut self, now: Instant, timestamp: i64) {
        let (start, start_timestamp) = *self.epoch.get_or_insert((now, timestamp));
        let elapsed = ticks(now.saturating_duration_since(start));
        let transit = elapsed - (timestamp - start_timestamp);
        if let Some(last) = self.last_transit.replace(transit) {
            let difference = (transit - last).unsigned_abs();
            if difference > CLOCK_JUMP_TICKS {
                // The sender's clock jumped: old transits say nothing about the new ones.
                self.transits.clear();
            } else {
                self.jitter += (difference as f64 - self.jitter) / 16.0;
            }
        }
        if self.transits.len() == DELAY_WINDOW {
            self.transits.pop_front();
        }
        self.transits.push_back(transit);

        let mut sorted: Vec<i64> = self.transits.iter().copied().collect();
        let rank = (sorted.len() * 95 / 100).min(sorted.len() - 1);
        let (below, percentile, _) = sorted.select_nth_unstable(rank);
        let smallest = below.iter().copied().min().unwrap_or(*percentile);
        let spread_ms = (*percentile - smallest) / TICKS_PER_MS + FRAME_MS as i64;
        self.base_transit = smallest;
        let bounded = spread_ms.clamp(i64::from(MIN_DELAY_MS), i64::from(MAX_DELAY_MS));
        self.target_ms = u32::try_from(bounded).ok();
    }

    fn target_ms(&self) -> u32 {
        self.target_ms.unwrap_or(MIN_DELAY_MS) + self.extra_ms
    }

    fn jitter_ms(&self) -> f32 {
        (self.jitter / TICKS_PER_MS as f64) as f32
    }

    /// How long after its ideal (fastest) arrival the frame at `timestamp` would play at `now`.
    fn delay_ms(&self, now: Instant, timestamp: i64) -> i64 {
        let Some((start, start_timestamp)) = self.epoch else {
            return 0;
        };
        let elapsed = ticks(now.saturating_duration_since(start));
        (elapsed - (timestamp - start_timestamp) - self.base_transit) / TICKS_PER_MS
    }
}

fn ticks(duration: Duration) -> i64 {
    let ticks = duration.as_nanos() * u128::from(SAMPLE_RATE_HZ) / 1_000_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "jitter_tests.rs"]
mod tests;
