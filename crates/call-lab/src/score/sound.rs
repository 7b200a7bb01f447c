//! Received sound against the sound that was sent.
//!
//! Both are cut into frames of 10 ms and turned into the loudness of [`BANDS`] frequency bands
//! (0.1 to 7.5 kHz, in dB). Received frames are then aligned with sent ones by dynamic
//! programming (dynamic time warping after Sakoe and Chiba, IEEE Trans. ASSP 26(1), 1978), so that
//! a delay that changes during the call is followed and measured, and does not count as damage;
//! each sent frame is finally compared at the best place within 7.5 ms around, in steps of 2.5 ms.
//! What remains is the *log-spectral distance*: the root mean square of the differences between the
//! bands. An Opus voice at 32 kbit/s without loss is at 2 to 3 dB, a wrong vowel at 12 and more.
//!
//! Invariants: no state, no chance; frames in which the sent sound is silent do not count.
//!
//! Deliberately not here: models of what people hear (PESQ, PLCMOS).

/// Bands compared; equally wide on the mel scale.
pub const BANDS: usize = 20;
/// Length of a frame in milliseconds.
pub const FRAME_MS: f64 = 10.0;
/// Samples of a frame at 48 kHz.
const FRAME_SAMPLES: usize = 480;
/// The analysis runs at 16 kHz: a frame is 160 samples there, seen through a window of 256.
const DECIMATION: usize = 3;
const HOP: usize = FRAME_SAMPLES / DECIMATION;
const WINDOW: usize = 256;
/// Received frames begin this many times more often, so that half a frame of delay costs nothing.
const FINE: usize = 4;
/// Loudness below this, in dB relative to full scale, counts as nothing. Raising it ignores more
/// background; lowering it compares comfort noise with room noise.
const FLOOR_DB: f32 = -65.0;
/// A sent frame louder than this is spoken.
const SPOKEN_DB: f32 = -45.0;
/// A received frame quieter than this is silent.
const SILENT_DB: f32 = -60.0;
/// Silent frames in a row, while the sent sound is spoken, that make a gap.
const GAP_FRAMES: u32 = 2;
/// Distance of a frame, in dB, from which it counts as damaged: about two neighbouring vowels.
const DAMAGED_DB: f32 = 9.0;
/// Cost of a step of the alignment by one frame, in dB. Raising it follows a changing delay
/// later; lowering it explains damage away by wandering about.
const STEP_DB: f32 = 4.0;
/// Largest step from one frame to the next.
const STEPS: usize = 2;

/// See the [module documentation](self). Without a spoken frame everything is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SoundScore {
    /// Mean time from sending to hearing, in milliseconds.
    pub delay_ms: f64,
    /// The 95th percentile of it.
    pub delay_p95_ms: f64,
    /// Mean log-spectral distance of the spoken frames, in dB; 0 is identical.
    pub distance_db: f64,
    /// Share of the spoken frames that are off by more than 9 dB, 0.0..=1.0.
    pub damaged_ratio: f64,
    /// Runs of silence of at least 20 ms where the sent sound is not silent.
    pub gaps: u32,
}

/// Scores `received` against `sent`, both 48 kHz mono. `received` begins when `sent` does, and
/// its delay is looked for from 0 to `longest_delay_ms`.
pub fn score(sent: &[f32], received: &[f32], longest_delay_ms: u32) -> SoundScore {
    let (sent, fine) = (analyse(sent, HOP), analyse(received, HOP / FINE));
    let received: Vec<&Frame> = fine.iter().step_by(FINE).collect();
    let offsets = (f64::from(longest_delay_ms) / FRAME_MS) as usize + 1;
    let frames = sent.len().min((received.len() + 1).saturating_sub(offsets));
    if frames == 0 {
        return SoundScore::default();
    }
    let path = align(&sent[..frames], &received, offsets);

    let mut delays: Vec<f64> = Vec::new();
    let (mut distance, mut damaged) = (0.0, 0u32);
    let (mut gaps, mut silent, mut heard) = (0, 0, path[0]);
    for (n, offset) in path.iter().enumerate() {
        if sent[n].level_db < SPOKEN_DB {
            (silent, heard) = (0, n + offset + 1);
            continue;
        }
        let place = (n + offset) * FINE;
        let off = fine[place.saturating_sub(FINE - 1)..(place + FINE).min(fine.len())]
            .iter()
            .map(|frame| sent[n].distance_db(frame))
            .fold(f32::INFINITY, f32::min);
        distance += f64::from(off);
        damaged += u32::from(off > DAMAGED_DB);
        delays.push(*offset as f64 * FRAME_MS);
        // All frames heard since the last one, also those the alignment steps over.
        for frame in &received[heard.min(n + offset)..=n + offset] {
            silent = if frame.level_db < SILENT_DB {
                silent + 1
            } else {
                0
            };
            gaps += u32::from(silent == GAP_FRAMES);
        }
        heard = n + offset + 1;
    }
    if delays.is_empty() {
        return SoundScore::default();
    }
    let spoken = delays.len() as f64;
    let delay_ms = delays.iter().sum::<f64>() / spoken;
    delays.sort_by(f64::total_cmp);
    SoundScore {
        delay_ms,
        delay_p95_ms: delays[(delays.len() * 95 / 100).min(delays.len() - 1)],
        distance_db: distance / spoken,
        damaged_ratio: f64::from(damaged) / spoken,
        gaps,
    }
}

struct Frame {
    /// Loudness of each band in dB, at least [`FLOOR_DB`].
    bands: [f32; BANDS],
    level_db: f32,
}

impl Frame {
    fn distance_db(&self, other: &Self) -> f32 {
        let squares: f32 = self
            .bands
            .iter()
            .zip(&other.bands)
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        (squares / BANDS as f32).sqrt()
    }
}

/// For each sent frame, how many frames later it is heard.
fn align(sent: &[Frame], received: &[&Frame], offsets: usize) -> Vec<usize> {
    let mut costs: Vec<f32> = (0..offsets)
        .map(|offset| sent[0].distance_db(received[offset]))
        .collect();
    let mut from: Vec<u8> = Vec::with_capacity(sent.len() * offsets);
    let mut next = vec![0.0; offsets];
    for (n, frame) in sent.iter().enumerate().skip(1) {
        for (offset, cost) in next.iter_mut().enumerate() {
            let (mut best, mut best_from) = (f32::INFINITY, offset);
            // Going back by more than one frame would hear the same twice.
            let nearest = offset.saturating_sub(STEPS);
            let reachable = &costs[nearest..=(offset + 1).min(offsets - 1)];
            for (n, so_far) in reachable.iter().enumerate() {
                let before = nearest + n;
                let step = before.abs_diff(offset) as f32 * STEP_DB;
                if so_far + step < best {
                    (best, best_from) = (so_far + step, before);
                }
            }
            *cost = best + frame.distance_db(received[n + offset]);
            from.push((best_from + STEPS - offset) as u8);
        }
        std::mem::swap(&mut costs, &mut next);
    }
    let mut offset = (0..offsets)
        .min_by(|a, b| costs[*a].total_cmp(&costs[*b]))
        .unwrap_or(0);
    let mut path = vec![offset; sent.len()];
    for n in (1..sent.len()).rev() {
        offset = offset + usize::from(from[(n - 1) * offsets + offset]) - STEPS;
        path[n - 1] = offset;
    }
    path
}

fn analyse(sound: &[f32], hop: usize) -> Vec<Frame> {
    let slow: Vec<f32> = sound
        .chunks_exact(DECIMATION)
        .map(|group| group.iter().sum::<f32>() / DECIMATION as f32)
        .collect();
    let fourier = Fourier::new();
    let edges = band_edges();
    let count = (slow.len() + hop).saturating_sub(WINDOW) / hop;
    (0..count)
        .map(|n| fourier.frame(&slow[n * hop..n * hop + WINDOW], &edges))
        .collect()
}

/// First and last bin of each band: from 0.1 to 7.5 kHz, equally wide on the mel scale.
fn band_edges() -> [usize; BANDS + 1] {
    let mel = |hz: f32| 2_595.0 * (1.0 + hz / 700.0).log10();
    let hertz = |mel: f32| 700.0 * (10f32.powf(mel / 2_595.0) - 1.0);
    let bin_hz = 16_000.0 / WINDOW as f32;
    let (low, high) = (mel(100.0), mel(7_500.0));
    let mut edges = [0; BANDS + 1];
    for n in 0..=BANDS {
        let hz = hertz(low + (high - low) * n as f32 / BANDS as f32);
        let bin = (hz / bin_hz).round() as usize;
        // Bands are at least one bin wide.
        edges[n] = if n == 0 {
            bin
        } else {
            bin.max(edges[n - 1] + 1)
        };
    }
    edges
}

/// A Fourier transform of [`WINDOW`] real samples, radix 2.
struct Fourier {
    window: [f32; WINDOW],
    /// Cosine and sine of the nth part of a turn.
    turns: [(f32, f32); WINDOW],
}

impl Fourier {
    fn new() -> Self {
        let angle = |n: usize| std::f32::consts::TAU * n as f32 / WINDOW as f32;
        Self {
            window: std::array::from_fn(|n| 0.5 - 0.5 * angle(n).cos()),
            turns: std::array::from_fn(|n| (angle(n).cos(), -angle(n).sin())),
        }
    }

    fn frame(&self, samples: &[f32], edges: &[usize; BANDS + 1]) -> Frame {
        let bits = WINDOW.trailing_zeros();
        let mut values = [(0.0f32, 0.0f32); WINDOW];
        for (n, value) in values.iter_mut().enumerate() {
            let at = (n as u32).reverse_bits() >> (32 - bits);
            value.0 = samples[at as usize] * self.window[at as usize];
        }
        let mut half = 1;
        while half < WINDOW {
            for start in (0..WINDOW).step_by(2 * half) {
                for n in 0..half {
                    let (cos, sin) = self.turns[n * WINDOW / (2 * half)];
                    let (re, im) = values[start + n + half];
                    let turned = (re * cos - im * sin, re * sin + im * cos);
                    let (re, im) = values[start + n];
                    values[start + n] = (re + turned.0, im + turned.1);
                    values[start + n + half] = (re - turned.0, im - turned.1);
                }
            }
            half *= 2;
        }
        let decibel = |power: f32| (10.0 * power.max(1e-12).log10()).max(FLOOR_DB);
        let scale = 1.0 / (WINDOW * WINDOW / 8) as f32;
        let power = |n: usize| (values[n].0.powi(2) + values[n].1.powi(2)) * scale;
        let bands = std::array::from_fn(|band| {
            decibel((edges[band]..edges[band + 1]).map(power).sum::<f32>())
        });
        let middle = &samples[(WINDOW - HOP) / 2..(WINDOW + HOP) / 2];
        let energy = middle.iter().map(|s| s * s).sum::<f32>() / HOP as f32;
        Frame {
            bands,
            level_db: 10.0 * energy.max(1e-12).log10(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::signal::speech;

    const SECONDS: usize = 48_000;

    /// Speech of ten seconds and the same `delay` samples later, with a tail to look for it in.
    fn delayed(delay: usize) -> (Vec<f32>, Vec<f32>) {
        let sent = speech(3, 10 * SECONDS);
        let mut received = vec![0.0; delay];
        received.extend_from_slice(&sent);
        received.extend(vec![0.0; SECONDS]);
        (sent, received)
    }

    #[test]
    fn the_same_sound_is_at_no_distance_and_its_delay_is_found() {
        for delay_ms in [0, 80, 210] {
            let (sent, received) = delayed(delay_ms * 48);
            let score = score(&sent, &received, 400);
            assert!(score.distance_db < 0.1, "{score:?}");
            assert_eq!((score.gaps, score.damaged_ratio), (0, 0.0));
            assert!((score.delay_ms - delay_ms as f64).abs() < 1.0, "{score:?}");
        }
    }

    #[test]
    fn a_delay_that_changes_in_the_middle_is_followed() {
        let (sent, mut received) = delayed(50 * 48);
        received.splice(5 * SECONDS..5 * SECONDS, vec![1e-3; 60 * 48]);
        let score = score(&sent, &received, 400);
        assert!(score.distance_db < 0.5, "{score:?}");
        assert!((75.0..85.0).contains(&score.delay_ms), "{score:?}");
        assert!((105.0..115.0).contains(&score.delay_p95_ms), "{score:?}");
    }

    #[test]
    fn more_noise_is_more_distance() {
        let (sent, received) = delayed(480);
        let mut last = 0.0;
        for amplitude in [0.001, 0.003, 0.01, 0.03] {
            let mut random = Random::new(1);
            let noisy: Vec<f32> = received
                .iter()
                .map(|sample| sample + random.normal() as f32 * amplitude)
                .collect();
            let score = score(&sent, &noisy, 200);
            assert!(score.distance_db > last + 0.2, "{amplitude}: {score:?}");
            last = score.distance_db;
        }
    }

    #[test]
    fn each_hole_in_speech_is_a_gap_and_damage() {
        let (sent, mut received) = delayed(4_800);
        let spoken: Vec<usize> = (0..90)
            .map(|n| n * 5_000 + 10_000)
            .filter(|at| {
                let around = &sent[at - 480..at + 2_880];
                around
                    .chunks(480)
                    .all(|part| part.iter().map(|s| s * s).sum::<f32>() / 480.0 > 1e-4)
            })
            .collect();
        assert!(spoken.len() > 5, "{}", spoken.len());
        for at in &spoken {
            received[at + 4_800..at + 4_800 + 2_400].fill(0.0);
        }
        let score = score(&sent, &received, 200);
        assert_eq!(score.gaps as usize, spoken.len(), "{score:?}");
        assert!(score.damaged_ratio > 0.01, "{score:?}");
    }

    #[test]
    fn other_speech_is_far_away_and_silence_is_one_gap_per_word() {
        let (sent, received) = delayed(0);
        let same = score(&sent, &received, 100);
        let mut other = speech(99, 10 * SECONDS);
        other.extend(vec![0.0; SECONDS]);
        let different = score(&sent, &other, 100);
        assert!(
            different.distance_db > same.distance_db + 8.0,
            "{different:?}"
        );
        let silent = score(&sent, &vec![0.0; 11 * SECONDS], 100);
        assert!(silent.distance_db > 15.0 && silent.gaps > 10, "{silent:?}");
        assert_eq!(score(&[], &[], 100), SoundScore::default());
    }
}
