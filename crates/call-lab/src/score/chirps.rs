//! A train of short chirps as test sound, and the longest gap in what was heard of it.
//!
//! A chirp every [`PERIOD_MS`] rises from 600 to 3,000 Hz within 20 ms. Received sound is compared
//! with it by normalised correlation at 16 kHz, so that loudness does not matter, and what a
//! decoder makes up for lost packets (it fades or repeats) is not taken for a chirp that was sent.
//!
//! Invariants: no state, no chance. Deliberately not here: how the sound is damaged otherwise
//! ([`super::sound`]).

/// From the beginning of one chirp to that of the next, in milliseconds.
pub const PERIOD_MS: f64 = 40.0;
/// Sample rate of what is made and judged, in Hz.
const RATE_HZ: usize = 48_000;
/// Samples of the period.
const PERIOD: usize = RATE_HZ * 40 / 1_000;
/// Samples of a chirp.
const CHIRP: usize = RATE_HZ * 20 / 1_000;
/// Correlation runs at a third of the rate: chirps end at 3 kHz.
const DECIMATION: usize = 3;
/// Correlation from which a chirp counts as heard. A voice codec at 24 kbit/s leaves 0.8 and more;
/// noise and tones stay below 0.3.
const HEARD: f32 = 0.55;

/// Whole periods of the train, full scale 0.4; repeated without a seam it goes on for ever.
pub fn train(periods: usize) -> Vec<f32> {
    let mut sound = Vec::with_capacity(periods * PERIOD);
    for _ in 0..periods {
        sound.extend((0..PERIOD).map(|n| if n < CHIRP { sample(n) } else { 0.0 }));
    }
    sound
}

fn sample(n: usize) -> f32 {
    let t = n as f32 / RATE_HZ as f32;
    let length = CHIRP as f32 / RATE_HZ as f32;
    let cycles = 600.0 * t + (3_000.0 - 600.0) / (2.0 * length) * t * t;
    let window = (std::f32::consts::PI * n as f32 / CHIRP as f32).sin();
    0.4 * window * (std::f32::consts::TAU * cycles).sin()
}

/// What was heard of a train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChirpScore {
    /// Chirps heard.
    pub chirps: usize,
    /// The longest time without a chirp beyond the period, between the first and the last one, in
    /// milliseconds: 0 where every chirp came in time.
    pub longest_gap_ms: f64,
    /// When it began, in milliseconds from the start of the sound.
    pub at_ms: f64,
}

/// Looks for chirps in 48 kHz sound; `None` with fewer than two.
pub fn score(sound: &[f32]) -> Option<ChirpScore> {
    let template: Vec<f32> = decimate(&(0..CHIRP).map(sample).collect::<Vec<_>>());
    let sound = decimate(sound);
    let own: f32 = template.iter().map(|sample| sample * sample).sum();
    let length = template.len();
    let mut power: f32 = sound.get(..length)?.iter().map(|s| s * s).sum();
    let mut heard: Vec<(usize, f32)> = Vec::new();
    for start in 0..sound.len() - length {
        if power > 1e-4 {
            let there = &sound[start..start + length];
            let product: f32 = there.iter().zip(&template).map(|(a, b)| a * b).sum();
            let alike = product / (power * own).sqrt();
            if alike > HEARD {
                match heard.last_mut() {
                    // Still the same chirp: its best place counts.
                    Some((at, best)) if start - *at < length => {
                        if alike > *best {
                            (*at, *best) = (start, alike);
                        }
                    }
                    _ => heard.push((start, alike)),
                }
            }
        }
        power += sound[start + length].powi(2) - sound[start].powi(2);
    }
    let ms = |samples: usize| samples as f64 * 1e3 * DECIMATION as f64 / RATE_HZ as f64;
    let longest = heard
        .windows(2)
        .map(|pair| (ms(pair[1].0 - pair[0].0) - PERIOD_MS, ms(pair[0].0)))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(ChirpScore {
        chirps: heard.len(),
        longest_gap_ms: longest.0.max(0.0),
        at_ms: longest.1,
    })
}

/// Every third sample of the mean over three: enough of a low-pass for chirps up to 3 kHz.
fn decimate(sound: &[f32]) -> Vec<f32> {
    let means = sound.as_chunks::<DECIMATION>().0.iter();
    means
        .map(|three| three.iter().sum::<f32>() / DECIMATION as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_train_has_no_gap() {
        let score = score(&train(50)).expect("there are chirps");
        assert_eq!(score.chirps, 50);
        assert!(score.longest_gap_ms < 1.0, "{score:?}");
    }

    #[test]
    fn what_is_missing_is_measured() {
        for (lost_ms, want_ms) in [(20, 40.0), (60, 80.0), (100, 120.0), (500, 520.0)] {
            let mut sound = train(60);
            // From the beginning of a chirp on.
            let from = 20 * PERIOD;
            sound[from..from + lost_ms * RATE_HZ / 1_000].fill(0.0);
            let score = score(&sound).expect("there are chirps");
            let off = (score.longest_gap_ms - want_ms).abs();
            assert!(off < 2.0, "{lost_ms} ms lost: {score:?}");
        }
    }

    #[test]
    fn a_pause_put_in_is_measured_as_long_as_it_is() {
        let mut sound = train(40);
        let pause = vec![0.0; RATE_HZ * 70 / 1_000];
        let tail = sound.split_off(20 * PERIOD + CHIRP);
        sound.extend(pause);
        sound.extend(tail);
        let score = score(&sound).expect("there are chirps");
        assert!((score.longest_gap_ms - 70.0).abs() < 1.0, "{score:?}");
        let at_ms = 20.0 * PERIOD_MS;
        assert!((score.at_ms - at_ms).abs() < 2.0, "{score:?}");
    }

    #[test]
    fn other_sound_holds_no_chirps() {
        let tone: Vec<f32> = (0..RATE_HZ)
            .map(|n| (n as f32 * 0.06).sin() * 0.4)
            .collect();
        assert_eq!(score(&tone), None);
        assert_eq!(score(&vec![0.0; RATE_HZ]), None);
        assert_eq!(score(&[]), None);
    }
}
