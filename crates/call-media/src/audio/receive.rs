//! One member's incoming sound: jitter buffer, decoder, level, volume.
//!
//! Packets go in as they arrive, 10 ms blocks come out whenever the playout asks. Between decoder
//! and playout a little decoded sound waits (less than a block after each pull), which the jitter
//! buffer takes into account and stretches. What cannot be decoded is treated as lost. Encryption
//! has been removed before; mixing comes after.

use std::time::Instant;

use super::codec::{AudioDecoder, CodecError, OpusDecoder};
use super::format::{BLOCK_SAMPLES, Block, FRAME_SAMPLES, Frame};
use super::jitter::{JitterBuffer, JitterStats, Pull};
use super::level::{SILENCE_DBOV, VoiceDetector, level_dbov};
use super::red::Red;
use super::stretch::PlayoutBuffer;

/// Largest volume: twice the amplitude, +6 dB. More only makes the limiter work.
pub const MAX_VOLUME: f32 = 2.0;
/// Blocks in a row (1 s) that the decoder fills, with a fading continuation and comfort noise,
/// before plain silence: a sender in DTX refreshes them every 400 ms, so a longer pause is a mute.
const COMFORT_BLOCKS: u32 = 100;

/// What is being played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundPosition {
    /// RTP timestamp of the first sample of the block pulled last, but for what was stretched
    /// within the frame.
    pub timestamp_48khz: u32,
    /// When that block was pulled; it is heard once the speaker has played what lies before it.
    pub pulled_at: Instant,
}

/// See the [module documentation](self).
pub struct TrackReceiver {
    jitter: JitterBuffer,
    decoder: Box<dyn AudioDecoder>,
    frame: Frame,
    position: Option<SoundPosition>,
    playout: PlayoutBuffer,
    /// Blocks in a row without a packet or a frame made up for one.
    empty_blocks: u32,
    volume: f32,
    locally_muted: bool,
    /// Gain at the end of the last block: changes are ramped over one block, without a click.
    applied_gain: f32,
    level_dbov: u8,
    voice: VoiceDetector,
}

impl TrackReceiver {
    /// A receiver for an Opus track.
    ///
    /// # Errors
    /// The decoder could not be created.
    pub fn new() -> Result<Self, CodecError> {
        Ok(Self::with_decoder(Box::new(OpusDecoder::new()?)))
    }

    /// A receiver with another decoder.
    pub fn with_decoder(decoder: Box<dyn AudioDecoder>) -> Self {
        Self {
            jitter: JitterBuffer::new(),
            decoder,
            frame: [0.0; FRAME_SAMPLES],
            position: None,
            playout: PlayoutBuffer::new(),
            empty_blocks: COMFORT_BLOCKS,
            volume: 1.0,
            locally_muted: false,
            applied_gain: 1.0,
            level_dbov: SILENCE_DBOV,
            voice: VoiceDetector::default(),
        }
    }

    /// Takes a packet: RTP sequence number, timestamp at 48 kHz, the opened frame, with copies of
    /// earlier ones if it carries any.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        seq: u16,
        timestamp_48khz: u32,
        sound: impl Into<Red>,
    ) {
        let Red { frame, copies } = sound.into();
        self.jitter.handle_packet(now, seq, timestamp_48khz, frame);
        for copy in copies.into_iter().flatten() {
            let seq = seq.wrapping_sub(copy.packets_before);
            let timestamp = timestamp_48khz.wrapping_sub(copy.ticks_before);
            self.jitter.handle_copy(now, seq, timestamp, copy.frame);
        }
    }

    /// Produces the next 10 ms as decoded, before [`TrackReceiver::apply_volume`]. Called every
    /// 10 ms of played sound, also for a muted member: the stream must not queue up.
    pub fn pull_block(&mut self, now: Instant, out: &mut Block) {
        while self.playout.pending() < BLOCK_SAMPLES {
            self.pull_sound(now);
        }
        self.playout.take_block(out);
        let behind = (self.playout.pending() + BLOCK_SAMPLES) as u32;
        self.position = self.jitter.played_until().map(|until| SoundPosition {
            timestamp_48khz: until.wrapping_sub(behind),
            pulled_at: now,
        });
        self.level_dbov = level_dbov(out);
        self.voice.handle_level(self.level_dbov);
    }

    /// Applies volume and local mute to a block, ramping from the gain of the block before.
    pub fn apply_volume(&mut self, block: &mut Block) {
        let gain = if self.locally_muted { 0.0 } else { self.volume };
        let step = (gain - self.applied_gain) / BLOCK_SAMPLES as f32;
        if gain != 1.0 || step != 0.0 {
            for (n, sample) in block.iter_mut().enumerate() {
                *sample *= self.applied_gain + step * n as f32;
            }
        }
        self.applied_gain = gain;
    }

    /// Sets the volume: 1.0 is unchanged, clamped to 0.0..=[`MAX_VOLUME`]; NaN is ignored.
    pub fn set_volume(&mut self, volume: f32) {
        if !volume.is_nan() {
            self.volume = volume.clamp(0.0, MAX_VOLUME);
        }
    }

    /// Mutes this member here only.
    pub fn set_locally_muted(&mut self, muted: bool) {
        self.locally_muted = muted;
    }

    /// Level of the last block before volume, in -dBov (127 is silence).
    pub fn level_dbov(&self) -> u8 {
        self.level_dbov
    }

    /// Whether the member speaks, with hysteresis.
    pub fn is_speaking(&self) -> bool {
        self.voice.is_speaking()
    }

    /// Where the sound stands; `None` while nothing plays.
    pub fn position(&self) -> Option<SoundPosition> {
        self.position
    }

    /// Holds the sound back by this many milliseconds beyond what the network asks for, at most
    /// [`MAX_EXTRA_MS`](super::jitter::MAX_EXTRA_MS).
    pub fn set_extra_delay_ms(&mut self, extra_ms: u32) {
        self.jitter.set_extra_delay_ms(extra_ms);
    }

    /// Counters and delays of the jitter buffer.
    pub fn stats(&self) -> JitterStats {
        self.jitter.stats()
    }

    fn pull_sound(&mut self, now: Instant) {
        let pull = self.jitter.pull(now, self.playout.pending());
        tracing::trace!(?pull, "playout");
        match pull {
            Pull::Packet(payload, adjustment) => {
                self.empty_blocks = 0;
                if let Err(error) = self.decoder.decode(&payload, &mut self.frame) {
                    tracing::debug!(%error, bytes = payload.len(), "audio packet does not decode");
                    self.decoder.conceal(&mut self.frame);
                }
                self.playout.push(&self.frame);
                let changed = self.playout.adjust(FRAME_SAMPLES, adjustment);
                self.jitter.handle_adjusted(changed);
            }
            Pull::Conceal { fec_from } => {
                self.empty_blocks = 0;
                let recovered = fec_from
                    .is_some_and(|next| self.decoder.decode_fec(&next, &mut self.frame).is_ok());
                if !recovered {
                    self.decoder.conceal(&mut self.frame);
                }
                self.playout.push(&self.frame);
            }
            Pull::Wait | Pull::Dtx => self.push_comfort_block(),
            Pull::Buffering => {
                self.empty_blocks = COMFORT_BLOCKS;
                self.playout.push(&[0.0; BLOCK_SAMPLES]);
            }
        }
    }

    fn push_comfort_block(&mut self) {
        let block = &mut self.frame[..BLOCK_SAMPLES];
        self.empty_blocks = self.empty_blocks.saturating_add(1);
        if self.empty_blocks > COMFORT_BLOCKS {
            block.fill(0.0);
        } else {
            self.decoder.conceal(block);
        }
        if self.empty_blocks == COMFORT_BLOCKS {
            for (n, sample) in block.iter_mut().enumerate() {
                *sample *= 1.0 - n as f32 / BLOCK_SAMPLES as f32;
            }
        }
        self.playout.push(block);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::audio::codec::{AudioEncoder, AudioEncoderConfig, OpusEncoder};
    use crate::audio::tone_strength;

    fn tone_packets(count: usize) -> Vec<Bytes> {
        let mut encoder = OpusEncoder::new(AudioEncoderConfig::default()).unwrap();
        (0..count)
            .map(|i| {
                let frame = std::array::from_fn(|n| {
                    let at = (i * FRAME_SAMPLES + n) as f32;
                    (at * 440.0 * std::f32::consts::TAU / 48_000.0).sin() * 0.5
                });
                encoder.encode(&frame).unwrap().unwrap()
            })
            .collect()
    }

    /// Feeds one packet per 20 ms and pulls for `ms`.
    fn play(receiver: &mut TrackReceiver, packets: &[Bytes], ms: u64) -> Vec<f32> {
        let start = Instant::now();
        let (mut sound, mut block) = (Vec::new(), [0.0; BLOCK_SAMPLES]);
        for tick in 0..ms / 10 {
            let now = start + Duration::from_millis(tick * 10);
            if tick % 2 == 0
                && let Some(packet) = packets.get(tick as usize / 2)
            {
                let n = tick as u32 / 2;
                receiver.handle_packet(now, n as u16, n * 960, packet.clone());
            }
            receiver.pull_block(now, &mut block);
            receiver.apply_volume(&mut block);
            sound.extend_from_slice(&block);
        }
        sound
    }

    #[test]
    fn a_tone_comes_out_with_level_and_speaking() {
        let mut receiver = TrackReceiver::new().unwrap();
        let sound = play(&mut receiver, &tone_packets(50), 1_000);
        assert!(tone_strength(&sound[9_600..], 440.0) > 0.95);
        assert!(
            (5..15).contains(&receiver.level_dbov()),
            "{}",
            receiver.level_dbov()
        );
        assert!(receiver.is_speaking());
    }

    #[test]
    fn silence_follows_when_packets_stop() {
        let mut receiver = TrackReceiver::new().unwrap();
        let sound = play(&mut receiver, &tone_packets(50), 3_000);
        // Speech ends at 1 s; concealment and comfort noise fill little more than another.
        assert_eq!(level_dbov(&sound[5 * 24_000..]), SILENCE_DBOV);
        assert!(!receiver.is_speaking());
    }

    #[test]
    fn volume_scales_and_local_mute_silences_while_the_level_stays_true() {
        let packets = tone_packets(50);
        let mut receiver = TrackReceiver::new().unwrap();
        let full = play(&mut receiver, &packets, 1_000);
        let mut receiver = TrackReceiver::new().unwrap();
        receiver.set_volume(0.1);
        receiver.set_volume(f32::NAN);
        let quiet = play(&mut receiver, &packets, 1_000);
        let difference = level_dbov(&quiet[24_000..]) - level_dbov(&full[24_000..]);
        assert_eq!(difference, 20);
        let mut receiver = TrackReceiver::new().unwrap();
        receiver.set_locally_muted(true);
        let muted = play(&mut receiver, &packets, 1_000);
        assert!(muted[480..].iter().all(|sample| *sample == 0.0));
        assert!(receiver.is_speaking());
    }

    #[test]
    fn garbage_is_concealed() {
        let mut receiver = TrackReceiver::new().unwrap();
        let mut packets = tone_packets(50);
        for packet in packets.iter_mut().skip(10).step_by(10) {
            *packet = Bytes::from_static(&[0xff; 40]);
        }
        let sound = play(&mut receiver, &packets, 1_000);
        assert!(tone_strength(&sound[9_600..], 440.0) > 0.9);
        assert!(sound.iter().all(|sample| sample.is_finite()));
    }
}
