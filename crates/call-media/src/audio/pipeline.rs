//! The pure part of sending: blocks in, packets and levels out.
//!
//! **Timestamps** count samples, and skip whole frames over times without sound (no source, a
//! lost device), so to a receiver every pause, muted or not, looks like DTX: timestamps go on,
//! sequence numbers (the transport's business) do not jump. Muting sends [`TRAILING_FRAMES`]
//! frames of encoded digital silence so that the receiver's concealment fades from silence and
//! not from half a word.
//!
//! Invariants: a block marked as muted reaches the level meter only; a change of mute forgets
//! whatever was half collected or still inside the encoder.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::codec::AudioEncoder;
use super::format::{BLOCK_DURATION, BLOCK_SAMPLES, Block, FRAME_MS, FRAME_SAMPLES, Frame};
use super::level::{SILENCE_DBOV, VoiceDetector, level_dbov};

/// Frames of encoded silence sent after muting: one may be lost, three rarely.
pub(crate) const TRAILING_FRAMES: u32 = 3;
/// Blocks between two level reports: 100 ms, as fast as a meter is worth redrawing.
const LEVEL_BLOCKS: u32 = 10;
/// Time without a block that is a gap in the sound and not just a late callback.
const GAP: Duration = Duration::from_millis(100);

/// One packet to send: 20 ms of sound.
#[derive(Clone, Debug)]
pub struct EncodedAudio {
    /// The Opus packet, before sealing.
    pub payload: Bytes,
    /// RTP timestamp at 48 kHz, relative to the sender's start; it wraps.
    pub timestamp_48khz: u32,
    /// First packet after a pause: the RTP marker bit (RFC 3551 §4.1).
    pub marker: bool,
    /// Level for the RFC 6464 header extension, in -dBov.
    pub level_dbov: u8,
    /// Voice activity for the same extension.
    pub voice: bool,
    /// When the first sample was captured.
    pub captured_at: Instant,
}

/// What the microphone hears, whether muted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputLevel {
    /// Loudest block of the last 100 ms, in -dBov (127 is silence).
    pub level_dbov: u8,
    /// Whether the person speaks, with hysteresis.
    pub voice: bool,
}

/// See the [module documentation](self).
pub(crate) struct SendPipeline {
    encoder: Box<dyn AudioEncoder>,
    frame: Frame,
    /// Samples in `frame`.
    filled: usize,
    frame_captured_at: Instant,
    /// Timestamp of the frame being filled.
    timestamp: u32,
    last_block_at: Option<Instant>,
    was_muted: bool,
    /// Frames of encoded silence still to send.
    trailing: u32,
    /// Whether the next packet is the first after a pause.
    marker: bool,
    voice: VoiceDetector,
    frame_level: u8,
    level: u8,
    level_blocks: u32,
}

/// What came out of one block.
#[derive(Default)]
pub(crate) struct PipelineOutput {
    pub(crate) packet: Option<EncodedAudio>,
    pub(crate) level: Option<InputLevel>,
}

impl SendPipeline {
    pub(crate) fn new(encoder: Box<dyn AudioEncoder>, now: Instant) -> Self {
        Self {
            encoder,
            frame: [0.0; FRAME_SAMPLES],
            filled: 0,
            frame_captured_at: now,
            timestamp: 0,
            last_block_at: None,
            was_muted: false,
            trailing: 0,
            marker: true,
            voice: VoiceDetector::default(),
            frame_level: SILENCE_DBOV,
            level: SILENCE_DBOV,
            level_blocks: 0,
        }
    }

    pub(crate) fn encoder_mut(&mut self) -> &mut dyn AudioEncoder {
        &mut *self.encoder
    }

    /// Takes the next block of the source, and whether it was captured while muted.
    pub(crate) fn handle_block(
        &mut self,
        block: &Block,
        captured_at: Instant,
        muted: bool,
    ) -> PipelineOutput {
        self.handle_mute(muted);
        self.handle_gap(captured_at);
        let level = level_dbov(block);
        let voice = self.voice.handle_level(level);
        let report = self.meter(level, voice);

        if self.filled == 0 {
            self.frame_captured_at = captured_at;
            self.frame_level = SILENCE_DBOV;
        }
        let target = &mut self.frame[self.filled..self.filled + BLOCK_SAMPLES];
        if muted {
            target.fill(0.0);
        } else {
            target.copy_from_slice(block);
            self.frame_level = self.frame_level.min(level);
        }
        self.filled += BLOCK_SAMPLES;
        let packet = if self.filled == FRAME_SAMPLES {
            self.finish_frame(voice, muted)
        } else {
            None
        };
        PipelineOutput {
            packet,
            level: report,
        }
    }

    /// On a change, forgets whatever was half collected or still inside the encoder.
    fn handle_mute(&mut self, muted: bool) {
        if muted == self.was_muted {
            return;
        }
        self.was_muted = muted;
        self.frame[..self.filled].fill(0.0);
        self.frame_level = SILENCE_DBOV;
        self.encoder.reset();
        self.trailing = if muted { TRAILING_FRAMES } else { 0 };
    }

    /// Lets the timestamp skip the frames of a time without blocks.
    fn handle_gap(&mut self, captured_at: Instant) {
        let expected = self
            .last_block_at
            .map_or(captured_at, |last| last + BLOCK_DURATION);
        self.last_block_at = Some(captured_at);
        let gap = captured_at.saturating_duration_since(expected);
        if gap < GAP {
            return;
        }
        let mut frames = gap.as_millis() as u64 / FRAME_MS;
        if self.filled > 0 {
            // The half frame before the gap is dropped, and takes its time with it.
            self.filled = 0;
            frames = frames.max(1);
        }
        let skipped = frames.wrapping_mul(FRAME_SAMPLES as u64) as u32;
        self.timestamp = self.timestamp.wrapping_add(skipped);
        self.marker = true;
    }

    fn meter(&mut self, level: u8, voice: bool) -> Option<InputLevel> {
        self.level = self.level.min(level);
        self.level_blocks += 1;
        if self.level_blocks < LEVEL_BLOCKS {
            return None;
        }
        self.level_blocks = 0;
        let level_dbov = std::mem::replace(&mut self.level, SILENCE_DBOV);
        Some(InputLevel { level_dbov, voice })
    }

    fn finish_frame(&mut self, voice: bool, muted: bool) -> Option<EncodedAudio> {
        self.filled = 0;
        let timestamp_48khz = self.timestamp;
        self.timestamp = self.timestamp.wrapping_add(FRAME_SAMPLES as u32);
        if muted && self.trailing == 0 {
            self.marker = true;
            return None;
        }
        self.trailing = self.trailing.saturating_sub(1);
        let payload = match self.encoder.encode(&self.frame) {
            Ok(Some(payload)) => payload,
            Ok(None) => {
                self.marker = true;
                return None;
            }
            Err(error) => {
                tracing::warn!(%error, "audio frame not encoded");
                return None;
            }
        };
        Some(EncodedAudio {
            payload,
            timestamp_48khz,
            marker: std::mem::replace(&mut self.marker, false),
            level_dbov: self.frame_level,
            voice: voice && !muted,
            captured_at: self.frame_captured_at,
        })
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
pub(crate) mod tests;
