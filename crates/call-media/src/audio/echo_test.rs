//! "How do I sound?": the person's own packets, four seconds later.
//!
//! ```text
//! echo: Starting -> (first packet) Recording 4 s -> Opening -> (speaker runs) Playing -> Done
//! tone:                                             Opening -> (speaker runs) Playing -> Done
//! ```
//!
//! A loopback in place of the network: encoded packets go in as a sender hands them out, are kept
//! with their arrival times, and reach a mixer of their own exactly [`RECORD`] (and the speaker's
//! opening) later. So everything a call does to a voice is heard: capture, voice processing, Opus,
//! jitter buffer, decoder, mixer, limiter. The chime travels the same way.
//!
//! **Mute.** A test is the person's own local wish and works while they are muted; the gate's
//! invariant is kept by construction and not by a rule: the packets come from an
//! [`AudioSender`](super::send::AudioSender) made for the test alone, which no link ever sees, and
//! the call's sender, with its mute, is neither asked nor changed.
//!
//! Invariants: at most [`MOST_PACKETS`] packets are held; nothing is held before, after, or when
//! cancelled; every test ends by itself, whatever the devices do.
//!
//! Deliberately not here: threads and devices, and whether a test may run at all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::MemberId;

use super::codec::{AudioEncoder, AudioEncoderConfig, CodecError, OpusEncoder};
use super::device::AudioDeviceState;
use super::format::{Block, FRAME_MS, FRAME_SAMPLES, Frame};
use super::mixer::Mixer;
use super::pipeline::EncodedAudio;
use super::test_tone::chime;

/// How long is recorded. Longer lets one say more and bores; a sentence takes three seconds.
pub const RECORD: Duration = Duration::from_secs(4);
/// Packets held at most: those of [`RECORD`], and a few more of a device that catches up. Later
/// ones are dropped.
pub const MOST_PACKETS: usize = (RECORD.as_millis() as u64 / FRAME_MS) as usize + 10;
/// How long a microphone may take to deliver. Opening one takes up to a second, trying again
/// after a failure as well.
const MICROPHONE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a speaker may take to open before the sound is played regardless, unheard.
const SPEAKER_PATIENCE: Duration = Duration::from_millis(1_500);
/// Playing goes on this long after the last packet is due: the jitter buffer's largest delay and
/// what waits in the speaker's ring.
const TAIL: Duration = Duration::from_millis(300);
/// Bit rate of the chime in bit/s: no voice, so it gets more than one.
const CHIME_BPS: u32 = 64_000;
/// The one member of the loopback's mixer.
const MEMBER: MemberId = MemberId(0);

/// How a test is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoTestState {
    /// Waiting for a device.
    Starting,
    /// The microphone is recorded.
    Recording {
        /// Time left in seconds, rounded up.
        remaining_s: u32,
    },
    /// The recording is played.
    Playing {
        /// Time left in seconds, rounded up.
        remaining_s: u32,
    },
    /// The chime is played.
    Tone,
    /// Over.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Echo,
    Tone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting { until: Instant },
    Recording { since: Instant },
    Opening { until: Instant },
    Playing { since: Instant },
    Done,
}

#[derive(Debug)]
struct Kept {
    /// Arrival, since the recording began.
    at: Duration,
    timestamp_48khz: u32,
    payload: Bytes,
}

/// See the [module documentation](self).
pub struct EchoTest {
    kind: Kind,
    phase: Phase,
    /// Length of what is played.
    length: Duration,
    packets: VecDeque<Kept>,
    /// Sequence number of the next packet to the mixer.
    seq: u16,
    speaker_runs: bool,
    mixer: Mixer,
}

impl EchoTest {
    /// A test that records as soon as packets come.
    ///
    /// # Errors
    /// The decoder could not be created.
    pub fn echo(now: Instant) -> Result<Self, CodecError> {
        let until = now + MICROPHONE_PATIENCE;
        Self::new(Kind::Echo, Phase::Starting { until }, RECORD)
    }

    /// A test that plays the chime as soon as the speaker runs.
    ///
    /// # Errors
    /// Encoder or decoder could not be created.
    pub fn tone(now: Instant) -> Result<Self, CodecError> {
        let mut encoder = OpusEncoder::new(AudioEncoderConfig {
            bitrate_bps: CHIME_BPS,
            dtx: false,
            packet_loss_perc: 0,
        })?;
        let mut packets = VecDeque::new();
        let (mut at, mut timestamp_48khz) = (Duration::ZERO, 0);
        for samples in chime().chunks(FRAME_SAMPLES) {
            let mut frame: Frame = [0.0; FRAME_SAMPLES];
            frame[..samples.len()].copy_from_slice(samples);
            if let Some(payload) = encoder.encode(&frame)? {
                packets.push_back(Kept {
                    at,
                    timestamp_48khz,
                    payload,
                });
            }
            at += Duration::from_millis(FRAME_MS);
            timestamp_48khz += FRAME_SAMPLES as u32;
        }
        let until = now + SPEAKER_PATIENCE;
        let mut test = Self::new(Kind::Tone, Phase::Opening { until }, at)?;
        test.packets = packets;
        Ok(test)
    }

    fn new(kind: Kind, phase: Phase, length: Duration) -> Result<Self, CodecError> {
        let mut mixer = Mixer::new();
        mixer.add_member(MEMBER)?;
        Ok(Self {
            kind,
            phase,
            length,
            packets: VecDeque::new(),
            seq: 0,
            speaker_runs: false,
            mixer,
        })
    }

    /// Takes a packet of the test's own sender; dropped unless it is recorded.
    pub fn handle_packet(&mut self, now: Instant, packet: EncodedAudio) {
        self.handle_timeout(now);
        if let Phase::Starting { .. } = self.phase {
            self.phase = Phase::Recording { since: now };
        }
        let Phase::Recording { since } = self.phase else {
            return;
        };
        if self.packets.len() >= MOST_PACKETS {
            tracing::debug!("more packets than a sound test holds, dropped");
            return;
        }
        self.packets.push_back(Kept {
            at: now.saturating_duration_since(since),
            timestamp_48khz: packet.timestamp_48khz,
            payload: packet.payload,
        });
    }

    /// Takes the speaker's state: playing waits for it.
    pub fn handle_speaker(&mut self, now: Instant, state: AudioDeviceState) {
        // No speaker at all is paced by the clock and begins at once.
        self.speaker_runs = matches!(state, AudioDeviceState::Running | AudioDeviceState::Off);
        self.handle_timeout(now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Starting { until } if now >= until => self.cancel(),
            Phase::Recording { since } if now >= since + RECORD => {
                self.phase = Phase::Opening {
                    until: since + RECORD + SPEAKER_PATIENCE,
                };
                self.handle_timeout(now);
            }
            Phase::Opening { until } if self.speaker_runs || now >= until => {
                self.phase = Phase::Playing { since: now };
            }
            Phase::Playing { since } if now >= since + self.length + TAIL => self.cancel(),
            _ => {}
        }
    }

    /// Ends the test and forgets what was recorded.
    pub fn cancel(&mut self) {
        self.phase = Phase::Done;
        self.packets.clear();
    }

    /// Produces the next 10 ms to play, silence unless the test plays. Called every 10 ms of played
    /// sound.
    pub fn poll_block(&mut self, now: Instant, out: &mut Block) {
        self.handle_timeout(now);
        let Phase::Playing { since } = self.phase else {
            return out.fill(0.0);
        };
        while let Some(packet) = self.packets.pop_front_if(|packet| since + packet.at <= now) {
            self.mixer.handle_packet(
                since + packet.at,
                MEMBER,
                self.seq,
                packet.timestamp_48khz,
                packet.payload,
            );
            self.seq = self.seq.wrapping_add(1);
        }
        self.mixer.mix(now, out);
    }

    /// When [`Self::handle_timeout`] has something to do or [`Self::state`] changes; `None` once
    /// done.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Starting { until } | Phase::Opening { until } => Some(until),
            Phase::Recording { since } => Some(next_second(now, since + RECORD)),
            Phase::Playing { since } => {
                let end = since + self.length;
                let next = if now < end {
                    next_second(now, end)
                } else {
                    end
                };
                Some(if next > now { next } else { end + TAIL })
            }
            Phase::Done => None,
        }
    }

    /// Whether the microphone is still needed.
    pub fn wants_microphone(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Recording { .. })
    }

    /// How the test is doing.
    pub fn state(&self, now: Instant) -> EchoTestState {
        match (self.phase, self.kind) {
            (Phase::Starting { .. } | Phase::Opening { .. }, _) => EchoTestState::Starting,
            (Phase::Recording { since }, _) => EchoTestState::Recording {
                remaining_s: seconds_left(now, since + RECORD),
            },
            (Phase::Playing { .. }, Kind::Tone) => EchoTestState::Tone,
            (Phase::Playing { since }, Kind::Echo) => EchoTestState::Playing {
                // The tail belongs to the last second: nobody waits at zero.
                remaining_s: seconds_left(now, since + self.length).max(1),
            },
            (Phase::Done, _) => EchoTestState::Done,
        }
    }
}

fn seconds_left(now: Instant, end: Instant) -> u32 {
    let left = end.saturating_duration_since(now);
    u32::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// When the seconds left until `end` next become one fewer; `end` at the latest.
fn next_second(now: Instant, end: Instant) -> Instant {
    end - Duration::from_secs(u64::from(seconds_left(now, end).saturating_sub(1)))
}

#[cfg(test)]
#[path = "echo_test_tests.rs"]
mod tests;
