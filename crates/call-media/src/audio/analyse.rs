//! Finding a known tone in recorded sound; how tests hear.

use super::format::SAMPLE_RATE_HZ;

/// Share (0..=1) of the energy of `samples` (48 kHz mono) that lies at `hz`.
///
/// 1.0 is the pure tone, noise and silence give about 0. Computed with Goertzel's algorithm over
/// windows of 50 ms and averaged by energy, so that phase jumps (concealed or dropped frames)
/// cost only the window they fall into.
pub fn tone_strength(samples: &[f32], hz: f32) -> f32 {
    const WINDOW: usize = SAMPLE_RATE_HZ as usize / 20;
    let omega = std::f64::consts::TAU * f64::from(hz) / f64::from(SAMPLE_RATE_HZ);
    let coefficient = 2.0 * omega.cos();
    let (mut at_tone, mut total) = (0.0, 0.0);
    for window in samples
        .chunks(WINDOW)
        .filter(|window| window.len() == WINDOW || samples.len() < WINDOW)
    {
        let (mut s1, mut s2, mut energy) = (0.0f64, 0.0f64, 0.0f64);
        for sample in window {
            let sample = f64::from(*sample);
            let s0 = sample + coefficient * s1 - s2;
            (s2, s1) = (s1, s0);
            energy += sample * sample;
        }
        let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
        at_tone += 2.0 * power / window.len() as f64;
        total += energy;
    }
    if total > 0.0 {
        (at_tone / total).clamp(0.0, 1.0) as f32
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::tone_strength;

    fn tone(hz: f32, amplitude: f32) -> Vec<f32> {
        (0..48_000)
            .map(|n| (n as f32 * hz * std::f32::consts::TAU / 48_000.0).sin() * amplitude)
            .collect()
    }

    #[test]
    fn a_pure_tone_is_found_at_any_loudness_and_only_at_its_frequency() {
        for amplitude in [0.001, 0.5] {
            let samples = tone(440.0, amplitude);
            assert!(tone_strength(&samples, 440.0) > 0.99);
            assert!(tone_strength(&samples, 880.0) < 0.01);
            assert!(tone_strength(&samples, 500.0) < 0.05);
        }
    }

    #[test]
    fn silence_and_noise_carry_no_tone() {
        assert_eq!(tone_strength(&[0.0; 48_000], 440.0), 0.0);
        assert_eq!(tone_strength(&[], 440.0), 0.0);
        let mut state = 1u32;
        let noise: Vec<f32> = (0..48_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        assert!(tone_strength(&noise, 440.0) < 0.05);
    }

    #[test]
    fn a_mix_shows_each_tone_with_its_share() {
        let mixed: Vec<f32> = tone(440.0, 0.5)
            .iter()
            .zip(tone(1_000.0, 0.5))
            .map(|(a, b)| a + b)
            .collect();
        for hz in [440.0, 1_000.0] {
            let strength = tone_strength(&mixed, hz);
            assert!((0.4..0.6).contains(&strength), "{hz} Hz: {strength}");
        }
    }
}
