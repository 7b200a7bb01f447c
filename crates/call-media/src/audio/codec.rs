//! Opus behind two traits, so that another codec (or Opus with neural redundancy) can take its
//! place.
//!
//! One packet is one mono frame of 20 ms at 48 kHz. The encoder runs in VoIP mode with in-band
//! forward error correction (RFC 6716 §2.1.7) and optional DTX; the decoder conceals losses.
//! Whatever a peer sends, decoding ends in sound or in a [`CodecError`], never in a panic.

use bytes::{Bytes, BytesMut};

use super::format::{FRAME_SAMPLES, Frame, SAMPLE_RATE_HZ};

/// Largest Opus packet accepted or produced, in bytes. RFC 6716 allows 1275 per frame.
pub const PACKET_BYTES: usize = 1_275;
/// Packets up to this size say "nothing to transmit" (DTX), see `opus_encode`.
const DTX_BYTES: usize = 2;
/// From this expected loss on, in percent, everything is coded as speech. Only SILK carries redundancy
/// (RFC 6716, section 2.1.7), and what libopus takes for music it codes without: of whistles and
/// chirps hardly a packet could be repaired. Lower costs music quality on paths that lose nothing.
const SPEECH_FROM_PERCENT: u8 = 6;
/// Bounds of the bitrate in bit/s: below 6 kbit/s Opus refuses, above 128 kbit/s a mono voice
/// gains nothing.
const BITRATE_BPS: std::ops::RangeInclusive<u32> = 6_000..=128_000;

/// An audio codec could not be set up, or refused a frame.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// libopus reported an error.
    #[error("opus: {0}")]
    Opus(#[from] opus::Error),
    /// The packet is empty, longer than [`PACKET_BYTES`] or not a 20 ms frame.
    #[error("not a 20 ms Opus packet")]
    BadPacket,
}

/// How to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioEncoderConfig {
    /// Target bitrate in bit/s, clamped to 6 000..=128 000. 32 000 is transparent for a voice.
    pub bitrate_bps: u32,
    /// Send nothing while the input is silent, except a comfort noise update every 400 ms.
    pub dtx: bool,
    /// Expected loss in percent, 0..=100. Raising it spends bitrate on redundancy: at 0 the
    /// in-band correction is idle, from about 5 it carries every onset.
    pub packet_loss_perc: u8,
}

impl Default for AudioEncoderConfig {
    fn default() -> Self {
        Self {
            bitrate_bps: 32_000,
            dtx: true,
            packet_loss_perc: 10,
        }
    }
}

/// Whether a packet of one frame holds the frame before once more (RFC 6716, section 4.2.4): one bit
/// after the voice activity of its SILK frames (sections 3.1 and 4.2.3), CELT has none.
pub(super) fn carries_redundancy(packet: &[u8]) -> bool {
    let [toc, first, ..] = packet else {
        return false;
    };
    let silk_frames = match toc >> 3 {
        // 10, 20, 40 and 60 ms of narrow, medium and wide band.
        config @ 0..=11 => (config % 4).max(1),
        // Hybrid.
        12..=15 => 1,
        _ => return false,
    };
    let is_single = toc & 0b11 == 0;
    is_single && first >> (7 - silk_frames) & 1 == 1
}

/// Turns 20 ms frames into packets.
pub trait AudioEncoder: Send {
    /// Encodes one frame. `None`: nothing needs to be transmitted (DTX).
    ///
    /// # Errors
    /// The codec refused the frame; the next one may succeed.
    fn encode(&mut self, frame: &Frame) -> Result<Option<Bytes>, CodecError>;
    /// Changes the target bitrate in bit/s, clamped.
    fn set_bitrate_bps(&mut self, bitrate_bps: u32);
    /// Changes the expected loss in percent, clamped to 100.
    fn set_packet_loss_perc(&mut self, percent: u8);
    /// Forgets all sound encoded so far: nothing of it can leak into later packets.
    fn reset(&mut self);
}

/// Turns packets into 20 ms frames.
pub trait AudioDecoder: Send {
    /// Decodes one packet.
    ///
    /// # Errors
    /// The packet is not one of this codec's 20 ms frames; treat it as lost.
    fn decode(&mut self, payload: &[u8], out: &mut Frame) -> Result<(), CodecError>;
    /// Makes up sound for some that is missing, fading out over repeated calls; after a DTX
    /// packet this is comfort noise. `out` is 2.5 to 20 ms long in steps of 2.5 ms; any other
    /// length is filled with silence.
    fn conceal(&mut self, out: &mut [f32]);
    /// Recovers the frame *before* `next_payload` from its redundancy; falls back to concealment
    /// where there is none.
    ///
    /// # Errors
    /// As for [`AudioDecoder::decode`].
    fn decode_fec(&mut self, next_payload: &[u8], out: &mut Frame) -> Result<(), CodecError>;
}

/// libopus as [`AudioEncoder`].
pub struct OpusEncoder {
    encoder: opus::Encoder,
    buffer: [u8; PACKET_BYTES],
    packets: PacketPool,
}

/// Storage of packets under way: two halves that take turns, so that one is filled while what the
/// other holds is played and dropped. Each half lasts for 2 s or more; only a packet that is kept
/// longer makes the pool allocate another half.
struct PacketPool {
    filling: BytesMut,
    resting: BytesMut,
}

impl PacketPool {
    /// Bytes of one half: 2 s at 64 kbit/s, and 1 s at the highest bitrate.
    const HALF_BYTES: usize = 16 * 1_024;

    fn new() -> Self {
        Self {
            filling: BytesMut::with_capacity(Self::HALF_BYTES),
            resting: BytesMut::with_capacity(Self::HALF_BYTES),
        }
    }

    fn copy(&mut self, packet: &[u8]) -> Bytes {
        if self.filling.capacity() < packet.len() {
            std::mem::swap(&mut self.filling, &mut self.resting);
            if !self.filling.try_reclaim(Self::HALF_BYTES) {
                self.filling = BytesMut::with_capacity(Self::HALF_BYTES);
            }
        }
        self.filling.extend_from_slice(packet);
        self.filling.split().freeze()
    }
}

impl OpusEncoder {
    /// Creates the encoder.
    ///
    /// # Errors
    /// libopus could not allocate or refused a setting.
    pub fn new(config: AudioEncoderConfig) -> Result<Self, CodecError> {
        let mut encoder = opus::Encoder::new(
            SAMPLE_RATE_HZ,
            opus::Channels::Mono,
            opus::Application::Voip,
        )?;
        encoder.set_inband_fec(true)?;
        encoder.set_dtx(config.dtx)?;
        let mut this = Self {
            encoder,
            buffer: [0; PACKET_BYTES],
            packets: PacketPool::new(),
        };
        this.set_bitrate_bps(config.bitrate_bps);
        this.set_packet_loss_perc(config.packet_loss_perc);
        Ok(this)
    }
}

impl AudioEncoder for OpusEncoder {
    fn encode(&mut self, frame: &Frame) -> Result<Option<Bytes>, CodecError> {
        let length = self.encoder.encode_float(frame, &mut self.buffer)?;
        Ok((length > DTX_BYTES).then(|| self.packets.copy(&self.buffer[..length])))
    }

    fn set_bitrate_bps(&mut self, bitrate_bps: u32) {
        let bits = bitrate_bps.clamp(*BITRATE_BPS.start(), *BITRATE_BPS.end());
        if let Err(error) = self.encoder.set_bitrate(opus::Bitrate::Bits(bits as i32)) {
            tracing::warn!(%error, bits, "opus refused the bitrate");
        }
    }

    fn set_packet_loss_perc(&mut self, percent: u8) {
        if let Err(error) = self
            .encoder
            .set_packet_loss_perc(i32::from(percent.min(100)))
        {
            tracing::warn!(%error, percent, "opus refused the expected loss");
        }
        let signal = if percent >= SPEECH_FROM_PERCENT {
            opus::Signal::Voice
        } else {
            opus::Signal::Auto
        };
        if let Err(error) = self.encoder.set_signal(signal) {
            tracing::warn!(%error, "opus refused the kind of sound");
        }
    }

    fn reset(&mut self) {
        if let Err(error) = self.encoder.reset_state() {
            tracing::warn!(%error, "opus encoder reset failed");
        }
    }
}

/// libopus as [`AudioDecoder`].
pub struct OpusDecoder {
    decoder: opus::Decoder,
}

impl OpusDecoder {
    /// Creates the decoder.
    ///
    /// # Errors
    /// libopus could not allocate.
    pub fn new() -> Result<Self, CodecError> {
        Ok(Self {
            decoder: opus::Decoder::new(SAMPLE_RATE_HZ, opus::Channels::Mono)?,
        })
    }

    fn checked_decode(
        &mut self,
        payload: &[u8],
        out: &mut Frame,
        fec: bool,
    ) -> Result<(), CodecError> {
        // An empty slice means "conceal" to libopus, and a length beyond RFC 6716 is hostile.
        if payload.is_empty()
            || payload.len() > PACKET_BYTES
            || self.decoder.get_nb_samples(payload)? != FRAME_SAMPLES
        {
            return Err(CodecError::BadPacket);
        }
        let samples = self.decoder.decode_float(payload, out, fec)?;
        if samples == FRAME_SAMPLES {
            Ok(())
        } else {
            Err(CodecError::BadPacket)
        }
    }
}

impl AudioDecoder for OpusDecoder {
    fn decode(&mut self, payload: &[u8], out: &mut Frame) -> Result<(), CodecError> {
        self.checked_decode(payload, out, false)
    }

    fn conceal(&mut self, out: &mut [f32]) {
        if !matches!(self.decoder.decode_float(&[], out, false), Ok(samples) if samples == out.len())
        {
            out.fill(0.0);
        }
    }

    fn decode_fec(&mut self, next_payload: &[u8], out: &mut Frame) -> Result<(), CodecError> {
        self.checked_decode(next_payload, out, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tone_strength;

    fn tone_frame(index: usize) -> Frame {
        std::array::from_fn(|n| {
            ((index * FRAME_SAMPLES + n) as f32 * 440.0 * std::f32::consts::TAU / 48_000.0).sin()
                * 0.5
        })
    }

    fn encode_tone(frames: usize) -> Vec<Bytes> {
        let mut encoder = OpusEncoder::new(AudioEncoderConfig::default()).unwrap();
        (0..frames)
            .map(|i| {
                encoder
                    .encode(&tone_frame(i))
                    .unwrap()
                    .expect("a tone is not DTX")
            })
            .collect()
    }

    #[test]
    fn a_tone_survives_and_keeps_to_the_bitrate() {
        let packets = encode_tone(100);
        let bits = packets.iter().map(Bytes::len).sum::<usize>() * 8 / 2;
        assert!((8_000..40_000).contains(&bits), "{bits} bit/s");
        let mut decoder = OpusDecoder::new().unwrap();
        let mut sound = Vec::new();
        let mut out = [0.0; FRAME_SAMPLES];
        for packet in &packets {
            decoder.decode(packet, &mut out).unwrap();
            sound.extend_from_slice(&out);
        }
        assert!(tone_strength(&sound[9_600..], 440.0) > 0.97);
    }

    #[test]
    fn packets_share_storage_that_is_used_again_once_they_are_dropped() {
        let mut pool = PacketPool::new();
        let mut kept = std::collections::VecDeque::new();
        let mut places = std::collections::BTreeSet::new();
        for n in 0..10_000u32 {
            let packet = pool.copy(&n.to_le_bytes().repeat(20));
            places.insert(packet.as_ptr() as usize / PacketPool::HALF_BYTES);
            kept.push_back((n, packet));
            if kept.len() > 50 {
                let (n, packet) = kept.pop_front().unwrap();
                assert_eq!(packet[..], n.to_le_bytes().repeat(20)[..]);
            }
        }
        assert!(places.len() <= 4, "{} pieces of storage", places.len());
    }

    #[test]
    fn a_lost_frame_is_recovered_from_the_next_packet() {
        let packets = encode_tone(50);
        let mut decoder = OpusDecoder::new().unwrap();
        let mut out = [0.0; FRAME_SAMPLES];
        for packet in &packets[..40] {
            decoder.decode(packet, &mut out).unwrap();
        }
        decoder.decode_fec(&packets[41], &mut out).unwrap();
        assert!(tone_strength(&out, 440.0) > 0.9);
        decoder.decode(&packets[41], &mut out).unwrap();
        assert!(tone_strength(&out, 440.0) > 0.9);
    }

    #[test]
    fn packets_tell_whether_they_hold_the_frame_before() {
        for (packet_loss_perc, most) in [(0, 0), (10, 50)] {
            let config = AudioEncoderConfig {
                packet_loss_perc,
                ..AudioEncoderConfig::default()
            };
            let mut encoder = OpusEncoder::new(config).unwrap();
            let packets: Vec<Bytes> = (0..50)
                .filter_map(|index| encoder.encode(&tone_frame(index)).unwrap())
                .collect();
            let holding = packets.iter().filter(|it| carries_redundancy(it)).count();
            assert!(holding <= most && holding >= most * 8 / 10, "{holding}");
        }
        // Empty, no frame, CELT, two frames.
        for packet in [&[][..], &[0x48], &[0xf8, 0xff], &[0x49, 0xff, 0xff]] {
            assert!(!carries_redundancy(packet), "{packet:?}");
        }
    }

    #[test]
    fn whistles_hold_the_frame_before_as_speech_does() {
        // A fifth of a second from 300 Hz to 3.3 kHz, over and over.
        let chirp = |index: usize| -> Frame {
            std::array::from_fn(|n| {
                let at = (index * FRAME_SAMPLES + n) % 9_600;
                let seconds = at as f32 / 48_000.0;
                let turns = seconds * (300.0 + 7_500.0 * seconds);
                (turns.fract() * std::f32::consts::TAU).sin() * 0.5
            })
        };
        let mut encoder = OpusEncoder::new(AudioEncoderConfig::default()).unwrap();
        encoder.set_packet_loss_perc(10);
        let packets = (0..500).filter_map(|index| encoder.encode(&chirp(index)).unwrap());
        let holding = packets.filter(|packet| carries_redundancy(packet)).count();
        assert!(holding >= 450, "{holding} of 500");
    }

    #[test]
    fn silence_stops_the_stream_with_dtx_and_not_without() {
        for (dtx, bound) in [(true, 0..20), (false, 100..101)] {
            let config = AudioEncoderConfig {
                dtx,
                ..AudioEncoderConfig::default()
            };
            let mut encoder = OpusEncoder::new(config).unwrap();
            let sent = (0..100)
                .filter(|_| encoder.encode(&[0.0; FRAME_SAMPLES]).unwrap().is_some())
                .count();
            assert!(bound.contains(&sent), "dtx {dtx}: {sent} packets");
        }
    }

    #[test]
    fn hostile_packets_are_errors() {
        let mut decoder = OpusDecoder::new().unwrap();
        let mut out = [0.0; FRAME_SAMPLES];
        let sixty_ms = [0x18u8, 1, 2, 3];
        for packet in [
            &[][..],
            &[0xff; 1_276],
            &[0xff],
            &[0xff, 0xff, 0xff],
            &sixty_ms,
        ] {
            assert!(
                decoder.decode(packet, &mut out).is_err(),
                "{} bytes",
                packet.len()
            );
            assert!(decoder.decode_fec(packet, &mut out).is_err());
        }
        let mut state = 7u32;
        for length in 1..200 {
            let noise: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            let _ = decoder.decode(&noise, &mut out);
            assert!(out.iter().all(|sample| sample.is_finite()));
        }
    }
}
