//! Sound like speech, made from a seed: 48 kHz, mono, in -1.0..=1.0.
//!
//! Words of two to four syllables; a syllable is a noise burst (a consonant), then a buzz with a
//! gliding pitch through three resonances (a vowel), with the loudness of a hump. Between words
//! lies a short pause, and after every few words a long one. This has what matters to codecs and
//! concealment: pitch, formants, onsets, noise and silence. It has no meaning, so recognition
//! scores cannot use it.

use crate::random::Random;

const RATE_HZ: f64 = 48_000.0;

/// Formants (Hz) of some vowels, after Peterson and Barney, "Control methods used in a study of
/// the vowels", JASA 1952.
const VOWELS: [[f64; 3]; 6] = [
    [730.0, 1_090.0, 2_440.0],
    [270.0, 2_290.0, 3_010.0],
    [300.0, 870.0, 2_240.0],
    [530.0, 1_840.0, 2_480.0],
    [570.0, 840.0, 2_410.0],
    [660.0, 1_720.0, 2_410.0],
];
/// Bandwidth (Hz) and loudness of the three resonances.
const BANDS: [(f64, f64); 3] = [(80.0, 1.0), (110.0, 0.6), (160.0, 0.3)];

/// Speech-like sound of this length in samples. Speaks about 70 % of the time, at about -25 dBov.
pub fn speech(seed: u64, samples: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut sound = Vec::with_capacity(samples + 48_000);
    let mut words = 0;
    while sound.len() < samples {
        let pitch_hz = random.between(95.0, 220.0);
        for _ in 0..2 + random.bits() % 3 {
            consonant(&mut random, &mut sound);
            vowel(&mut random, pitch_hz, &mut sound);
        }
        words += 1;
        let pause_s = if words % 4 == 0 {
            random.between(0.3, 0.6)
        } else {
            random.between(0.03, 0.1)
        };
        // A room is never silent: noise at about -75 dBov.
        for _ in 0..(pause_s * RATE_HZ) as usize {
            sound.push(random.normal() as f32 * 1.8e-4);
        }
    }
    sound.truncate(samples);
    sound
}

fn consonant(random: &mut Random, sound: &mut Vec<f32>) {
    let length = (random.between(0.02, 0.08) * RATE_HZ) as usize;
    let loudness = random.between(0.02, 0.08);
    let mut filter = Resonance::new(random.between(2_500.0, 6_500.0), 2_000.0);
    for n in 0..length {
        let hump = (std::f64::consts::PI * n as f64 / length as f64).sin();
        sound.push((filter.next(random.normal()) * hump * loudness) as f32);
    }
}

fn vowel(random: &mut Random, pitch_hz: f64, sound: &mut Vec<f32>) {
    let length = (random.between(0.08, 0.22) * RATE_HZ) as usize;
    let loudness = random.between(0.15, 0.35);
    let (begin_hz, end_hz) = (
        pitch_hz * random.between(0.95, 1.1),
        pitch_hz * random.between(0.85, 1.05),
    );
    let formants = VOWELS[(random.bits() % VOWELS.len() as u64) as usize];
    let mut filters: [Resonance; 3] =
        std::array::from_fn(|n| Resonance::new(formants[n], BANDS[n].0));
    let (mut phase, mut source) = (0.0, 0.0);
    for n in 0..length {
        let along = n as f64 / length as f64;
        phase += (begin_hz + (end_hz - begin_hz) * along) / RATE_HZ;
        let pulse = if phase >= 1.0 {
            phase -= 1.0;
            1.0 + random.normal() * 0.02
        } else {
            random.normal() * 0.004
        };
        // The glottis falls off by 6 dB per octave.
        source = source * 0.95 + pulse;
        let voice: f64 = filters
            .iter_mut()
            .zip(BANDS)
            .map(|(filter, (_, gain))| filter.next(source) * gain)
            .sum();
        let hump = (std::f64::consts::PI * along).sin().sqrt();
        sound.push((voice * hump * loudness * 6.0).clamp(-1.0, 1.0) as f32);
    }
}

/// A two-pole resonance with a gain of about 1 at its centre.
struct Resonance {
    gain: f64,
    first: f64,
    second: f64,
    last: [f64; 2],
}

impl Resonance {
    fn new(centre_hz: f64, bandwidth_hz: f64) -> Self {
        let radius = (-std::f64::consts::PI * bandwidth_hz / RATE_HZ).exp();
        let angle = std::f64::consts::TAU * centre_hz / RATE_HZ;
        Self {
            gain: (1.0 - radius)
                * (1.0 - 2.0 * radius * (2.0 * angle).cos() + radius * radius).sqrt(),
            first: 2.0 * radius * angle.cos(),
            second: -radius * radius,
            last: [0.0; 2],
        }
    }

    fn next(&mut self, input: f64) -> f64 {
        let output = input * self.gain + self.last[0] * self.first + self.last[1] * self.second;
        self.last = [output, self.last[0]];
        output
    }
}

#[cfg(test)]
mod tests {
    use super::speech;

    #[test]
    fn speech_repeats_with_its_seed_and_has_the_loudness_and_pauses_of_speech() {
        let sound = speech(1, 480_000);
        assert_eq!(sound, speech(1, 480_000));
        assert_ne!(sound, speech(2, 480_000));
        let power = |part: &[f32]| {
            part.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / part.len() as f64
        };
        let level_db = 10.0 * power(&sound).log10();
        assert!((-32.0..-18.0).contains(&level_db), "{level_db} dBov");
        assert!(sound.iter().all(|sample| sample.abs() < 1.0));
        let spoken = sound
            .chunks(480)
            .filter(|block| power(block) > 1e-5)
            .count();
        assert!((600..900).contains(&spoken), "{spoken} of 1000 blocks");
    }
}
