//! The one sound format inside Visavis: 48 kHz, mono, `f32` in -1.0..=1.0, blocks of 10 ms.
//!
//! Mono because a call carries one voice per microphone; 48 kHz because it is Opus' own rate and
//! the RTP clock (RFC 7587 §4.1); 10 ms because echo cancellers and mixers work in that unit.

use std::time::Duration;

/// Samples per second, and the RTP clock rate of Opus.
pub const SAMPLE_RATE_HZ: u32 = 48_000;
/// Length of one [`Block`] in milliseconds.
pub const BLOCK_MS: u64 = 10;
/// Samples in one [`Block`].
pub const BLOCK_SAMPLES: usize = 480;
/// Length of one Opus frame (and packet) in milliseconds.
pub const FRAME_MS: u64 = 20;
/// Samples in one Opus frame: two blocks.
pub const FRAME_SAMPLES: usize = 960;
/// Length of one [`Block`].
pub const BLOCK_DURATION: Duration = Duration::from_millis(BLOCK_MS);

/// 10 ms of mono sound.
pub type Block = [f32; BLOCK_SAMPLES];
/// 20 ms of mono sound: what one Opus packet carries.
pub type Frame = [f32; FRAME_SAMPLES];

/// Silence.
pub const SILENT_BLOCK: Block = [0.0; BLOCK_SAMPLES];

/// Converts to 16-bit PCM; values outside -1.0..=1.0 are clipped, NaN becomes 0.
pub fn f32_to_i16(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

/// Converts from 16-bit PCM.
pub fn i16_to_f32(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

#[cfg(test)]
mod tests {
    use super::{f32_to_i16, i16_to_f32};

    #[test]
    fn every_16_bit_value_survives_a_round_trip() {
        for value in i16::MIN..=i16::MAX {
            assert_eq!(f32_to_i16(i16_to_f32(value)), value);
        }
    }

    #[test]
    fn out_of_range_values_are_clipped() {
        for (sample, expected) in [(2.0, 32_767), (-2.0, -32_768), (f32::NAN, 0), (1.0, 32_767)] {
            assert_eq!(f32_to_i16(sample), expected, "{sample}");
        }
    }
}
