//! Loudness in the terms of RFC 6464, and the decision "is speaking".
//!
//! A level is the magnitude of -dBov: 0 is a full-scale square wave, 127 is silence. A *smaller*
//! number is louder.

use super::format::BLOCK_MS;

/// The level of digital silence, and the lowest RFC 6464 can say.
pub const SILENCE_DBOV: u8 = 127;
/// A block louder than this counts as voice, in -dBov. Raising it reacts to breath and fans;
/// lowering it misses quiet speakers. Speech at arm's length measures 20 to 40.
pub const VOICE_THRESHOLD_DBOV: u8 = 45;
/// Loud blocks in a row before somebody counts as speaking; keeps clicks out.
const VOICE_ON_BLOCKS: u32 = 2;
/// Quiet time before speaking ends, in milliseconds. Bridges the pauses between words.
const VOICE_OFF_MS: u64 = 400;

/// Level of `samples` in -dBov, 0 (loudest) to 127 (silence), RFC 6464 §3.
pub fn level_dbov(samples: &[f32]) -> u8 {
    if samples.is_empty() {
        return SILENCE_DBOV;
    }
    let energy: f64 = samples
        .iter()
        .map(|sample| f64::from(*sample).powi(2))
        .sum();
    let mean = energy / samples.len() as f64;
    if mean.is_nan() || mean <= 0.0 {
        return SILENCE_DBOV;
    }
    (-10.0 * mean.log10())
        .round()
        .clamp(0.0, f64::from(SILENCE_DBOV)) as u8
}

/// "Speaking" with hysteresis: on after `VOICE_ON_BLOCKS` blocks louder than
/// [`VOICE_THRESHOLD_DBOV`], off after `VOICE_OFF_MS` of quiet.
#[derive(Clone, Debug, Default)]
pub struct VoiceDetector {
    loud_blocks: u32,
    quiet_ms: u64,
    speaking: bool,
}

impl VoiceDetector {
    /// Takes the level of the next 10 ms block and says whether somebody is speaking.
    pub fn handle_level(&mut self, level_dbov: u8) -> bool {
        if level_dbov < VOICE_THRESHOLD_DBOV {
            self.loud_blocks = self.loud_blocks.saturating_add(1);
            self.quiet_ms = 0;
            self.speaking |= self.loud_blocks >= VOICE_ON_BLOCKS;
        } else {
            self.loud_blocks = 0;
            self.quiet_ms = self.quiet_ms.saturating_add(BLOCK_MS);
            self.speaking &= self.quiet_ms < VOICE_OFF_MS;
        }
        self.speaking
    }

    /// The current decision.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }
}

#[cfg(test)]
mod tests {
    use super::{SILENCE_DBOV, VoiceDetector, level_dbov};

    #[test]
    fn levels_of_known_signals() {
        let square = [1.0, -1.0, 1.0, -1.0];
        let sine: Vec<f32> = (0..480).map(|n| (n as f32 * 0.1309).sin()).collect();
        let tiny = [1e-7f32; 16];
        for (samples, expected) in [
            (&square[..], 0),
            (&sine, 3),
            (&[0.1, -0.1], 20),
            (&tiny, 127),
            (&[0.0; 4], 127),
            (&[], 127),
        ] {
            assert_eq!(level_dbov(samples), expected);
        }
        assert_eq!(level_dbov(&[f32::NAN]), SILENCE_DBOV);
    }

    #[test]
    fn speaking_needs_two_loud_blocks_and_ends_after_400_ms() {
        let mut voice = VoiceDetector::default();
        assert!(!voice.handle_level(30));
        assert!(!voice.handle_level(90), "one click is not speech");
        assert!(!voice.handle_level(30));
        assert!(voice.handle_level(30));
        for block in 1..40 {
            assert!(voice.handle_level(100), "pause of {} ms", block * 10);
        }
        assert!(!voice.handle_level(100));
        assert!(!voice.is_speaking());
    }
}
