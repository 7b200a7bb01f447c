//! The chime by which a person finds out whether the speaker works: two notes, one second.
//!
//! Pure: samples, computed anew each time. Deliberately not here: playing it (see
//! [`echo_test`](super::echo_test)).

use std::f64::consts::TAU;

use super::format::SAMPLE_RATE_HZ;

/// The notes in Hz: E5 and A5, a fourth upwards. Even a phone's speaker plays them.
pub const CHIME_HZ: [f32; 2] = [659.26, 880.0];
/// Length of each note in samples: half a second.
const NOTE_SAMPLES: u32 = SAMPLE_RATE_HZ / 2;
/// Peak of the first note: -9 dBFS, clearly heard and not startling. Raising it helps quiet
/// speakers, lowering it those who wear headphones at full volume.
const AMPLITUDE: f64 = 0.35;
/// Samples over which a note begins: 8 ms, without a click.
const ATTACK_SAMPLES: f64 = 384.0;
/// Time in which a note decays to 1/e, in samples: 150 ms, like a struck bar.
const DECAY_SAMPLES: f64 = 7_200.0;

/// One second at 48 kHz mono.
pub fn chime() -> Vec<f32> {
    let mut samples = Vec::with_capacity(2 * NOTE_SAMPLES as usize);
    for hz in CHIME_HZ {
        let step = TAU * f64::from(hz) / f64::from(SAMPLE_RATE_HZ);
        for n in 0..NOTE_SAMPLES {
            let at = f64::from(n);
            let attack = (at / ATTACK_SAMPLES).min(1.0);
            // The last 5 % fade to zero, so that the next note begins from silence.
            let release = (20.0 * (1.0 - at / f64::from(NOTE_SAMPLES))).min(1.0);
            let envelope = attack * release * (-at / DECAY_SAMPLES).exp();
            samples.push((AMPLITUDE * envelope * (step * at).sin()) as f32);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tone_strength;

    #[test]
    fn the_chime_is_two_notes_of_half_a_second_each_that_begin_and_end_in_silence() {
        let samples = chime();
        assert_eq!(samples.len(), SAMPLE_RATE_HZ as usize);
        for (note, hz) in samples.chunks(NOTE_SAMPLES as usize).zip(CHIME_HZ) {
            assert!(tone_strength(note, hz) > 0.9, "{hz} Hz");
            assert!(note[0].abs() < 1e-3 && note[note.len() - 1].abs() < 1e-3);
            let peak = note
                .iter()
                .fold(0.0f32, |peak, sample| peak.max(sample.abs()));
            assert!((0.2..0.4).contains(&peak), "{peak}");
        }
    }
}
