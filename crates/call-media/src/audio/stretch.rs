//! Decoded sound that waits to be played, and changing its length without changing its pitch.
//!
//! ```text
//! | played before | pending, not played yet |
//! 0            start                      end
//! ```
//!
//! Speech repeats itself with every vibration of the vocal cords. One such period can be left
//! out, or played twice, and blended over where the waveforms match (WSOLA: Verhelst and Roelands,
//! "An overlap-add technique based on waveform similarity", ICASSP 1993). The period is the lag
//! with the highest normalised correlation between `LEAST_LAG` and `MOST_LAG`. Nothing is cut
//! where no lag matches, except in sound too quiet to hear the seam.
//!
//! Invariants: at least `HISTORY` samples stand before `start` (silence at first), the storage
//! is one fixed array, and what does not fit is not taken.
//!
//! Deliberately not here: when and how far to stretch, which the jitter buffer decides.

use super::format::{BLOCK_SAMPLES, Block, FRAME_SAMPLES};

/// Shortest change in samples: 2.5 ms, the period of a high child's voice (400 Hz). Lowering it
/// takes formants for a pitch.
pub(crate) const LEAST_LAG: usize = 120;
/// Longest change in samples: 15 ms, the period of a very low voice (67 Hz). With the overlap it
/// just fits into a frame; raising it needs more sound in advance, which is delay.
pub(crate) const MOST_LAG: usize = 720;
/// Samples blended at a seam: 5 ms. Raising it softens seams and leaves less room for the lag.
const OVERLAP: usize = 240;
/// Samples compared for a match, half of them on either side of the seam's begin.
const TEMPLATE: usize = 2 * OVERLAP;
/// Played samples kept: the longest lag and half a template before the seam.
const HISTORY: usize = MOST_LAG + OVERLAP;
/// Pending sound the storage takes: what is left of a block, a frame, and one longest change, and
/// once more for a frame that is asked for early.
const PENDING: usize = BLOCK_SAMPLES + 2 * FRAME_SAMPLES + MOST_LAG;
const CAPACITY: usize = HISTORY + PENDING;
/// The search for the lag looks at every fourth sample of the sound averaged over four: voices
/// are told apart below 6 kHz.
const DECIMATION: usize = 4;
/// Mean square below which a seam is not heard: -50 dBov.
const QUIET_POWER: f32 = 1e-5;

/// A change of the delay that the jitter buffer wants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Adjustment {
    /// The delay is right.
    #[default]
    Keep,
    /// Play faster: leave out one period.
    Accelerate {
        /// Longest period to leave out, in samples at 48 kHz.
        samples: usize,
        /// Least normalised correlation (at most 1.0) of what meets at the seam.
        least_match: f32,
    },
    /// Play slower: insert one period.
    Expand {
        /// Longest period to insert, in samples at 48 kHz.
        samples: usize,
        /// Least normalised correlation (at most 1.0) of what meets at the seam.
        least_match: f32,
    },
}

/// Which way the other side of a seam lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Later,
    Earlier,
}

/// See the [module documentation](self).
pub(crate) struct PlayoutBuffer {
    samples: Box<[f32; CAPACITY]>,
    /// Range of the pending sound.
    start: usize,
    end: usize,
    /// `samples` around the seam, decimated; scratch of the search.
    coarse: [f32; (MOST_LAG + TEMPLATE) / DECIMATION],
}

impl PlayoutBuffer {
    pub(crate) fn new() -> Self {
        Self {
            samples: Box::new([0.0; CAPACITY]),
            start: HISTORY,
            end: HISTORY,
            coarse: [0.0; (MOST_LAG + TEMPLATE) / DECIMATION],
        }
    }

    /// Samples that wait to be played.
    pub(crate) fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Appends sound; what exceeds the storage is cut off.
    pub(crate) fn push(&mut self, sound: &[f32]) {
        let length = sound.len().min(CAPACITY - self.end);
        self.samples[self.end..self.end + length].copy_from_slice(&sound[..length]);
        self.end += length;
    }

    /// Takes the next block out; what is missing is silence.
    pub(crate) fn take_block(&mut self, out: &mut Block) {
        let length = self.pending().min(BLOCK_SAMPLES);
        out[..length].copy_from_slice(&self.samples[self.start..self.start + length]);
        out[length..].fill(0.0);
        self.start += length;
        let surplus = self.start - HISTORY;
        self.samples.copy_within(surplus..self.end, 0);
        self.start -= surplus;
        self.end -= surplus;
    }

    /// Changes the length of the last `fresh` samples pushed, and says by how much: negative for
    /// samples left out, 0 where the sound offers no place for a seam.
    pub(crate) fn adjust(&mut self, fresh: usize, adjustment: Adjustment) -> isize {
        if fresh > self.pending() {
            return 0;
        }
        match adjustment {
            Adjustment::Keep => 0,
            Adjustment::Accelerate {
                samples,
                least_match,
            } => -(self.accelerate(fresh, samples, least_match) as isize),
            Adjustment::Expand {
                samples,
                least_match,
            } => self.expand(fresh, samples, least_match) as isize,
        }
    }

    /// Leaves out one period after the begin of the fresh sound.
    fn accelerate(&mut self, fresh: usize, samples: usize, least_match: f32) -> usize {
        let longest = samples.min(MOST_LAG).min(fresh.saturating_sub(OVERLAP));
        let seam = self.end - fresh;
        let Some(lag) = self.find_lag(seam, longest, Side::Later, least_match) else {
            return 0;
        };
        for n in 0..OVERLAP {
            let (from, to) = (self.samples[seam + n], self.samples[seam + lag + n]);
            self.samples[seam + n] = blend(from, to, n);
        }
        let rest = seam + OVERLAP;
        self.samples.copy_within(rest + lag..self.end, rest);
        self.end -= lag;
        lag
    }

    /// Plays the period before the fresh sound again.
    fn expand(&mut self, fresh: usize, samples: usize, least_match: f32) -> usize {
        if fresh < OVERLAP {
            return 0;
        }
        let longest = samples.min(MOST_LAG).min(CAPACITY - self.end);
        let seam = self.end - fresh;
        let Some(lag) = self.find_lag(seam, longest, Side::Earlier, least_match) else {
            return 0;
        };
        self.samples.copy_within(seam..self.end, seam + lag);
        self.end += lag;
        for n in 0..OVERLAP.max(lag) {
            // What followed the seam stands `lag` further on by now; so does, from there on, the
            // repetition.
            let again = if n < lag {
                self.samples[seam + n - lag]
            } else {
                self.samples[seam + n]
            };
            self.samples[seam + n] = if n < OVERLAP {
                blend(self.samples[seam + lag + n], again, n)
            } else {
                again
            };
        }
        lag
    }

    /// The lag at which the sound around `seam` fits best to the sound that much later or earlier.
    fn find_lag(
        &mut self,
        seam: usize,
        longest: usize,
        side: Side,
        least_match: f32,
    ) -> Option<usize> {
        if longest < LEAST_LAG {
            return None;
        }
        let steps = longest / DECIMATION;
        let template = seam - OVERLAP;
        let first = match side {
            Side::Later => template,
            Side::Earlier => template - steps * DECIMATION,
        };
        let coarse = &mut self.coarse[..steps + TEMPLATE / DECIMATION];
        for (n, value) in coarse.iter_mut().enumerate() {
            let at = first + n * DECIMATION;
            *value = self.samples[at..at + DECIMATION].iter().sum::<f32>() / DECIMATION as f32;
        }
        let power = coarse.iter().map(|value| value * value).sum::<f32>() / coarse.len() as f32;
        if power < QUIET_POWER {
            return Some(longest);
        }
        let length = TEMPLATE / DECIMATION;
        let (mut best, mut best_lag) = (f32::NEG_INFINITY, 0);
        for lag in LEAST_LAG / DECIMATION..=steps {
            let (one, other) = match side {
                Side::Later => (0, lag),
                Side::Earlier => (steps, steps - lag),
            };
            let likeness = correlation(&coarse[one..one + length], &coarse[other..other + length]);
            if likeness > best {
                (best, best_lag) = (likeness, lag);
            }
        }
        if best < least_match {
            return None;
        }
        let around = (best_lag * DECIMATION)
            .saturating_sub(DECIMATION - 1)
            .max(LEAST_LAG)
            ..=(best_lag * DECIMATION + DECIMATION - 1).min(longest);
        let (mut best, mut best_lag) = (f32::NEG_INFINITY, best_lag * DECIMATION);
        for lag in around {
            let other = match side {
                Side::Later => template + lag,
                Side::Earlier => template - lag,
            };
            let likeness = correlation(
                &self.samples[template..template + TEMPLATE],
                &self.samples[other..other + TEMPLATE],
            );
            if likeness > best {
                (best, best_lag) = (likeness, lag);
            }
        }
        Some(best_lag)
    }
}

/// Normalised correlation of two equally long pieces, -1.0..=1.0; 0 where one is silent.
fn correlation(one: &[f32], other: &[f32]) -> f32 {
    let (mut both, mut first, mut second) = (0.0f32, 1e-9f32, 1e-9f32);
    for (a, b) in one.iter().zip(other) {
        both += a * b;
        first += a * a;
        second += b * b;
    }
    both / (first * second).sqrt()
}

/// The `n`th sample of a seam. A linear blend keeps the loudness of what matches.
fn blend(from: f32, to: f32, n: usize) -> f32 {
    from + (to - from) * (n as f32 + 0.5) / OVERLAP as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tone_strength;

    fn wave(at: usize) -> f32 {
        // 150 Hz with harmonics: a vowel's period of 320 samples.
        let phase = at as f32 * 150.0 * std::f32::consts::TAU / 48_000.0;
        phase.sin() * 0.3 + (2.0 * phase).sin() * 0.15 + (5.0 * phase + 1.0).sin() * 0.1
    }

    fn noise(state: &mut u32) -> f32 {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Plays `frames` frames of `sound`, adjusting each, and returns what was heard.
    fn play(
        frames: usize,
        mut sound: impl FnMut(usize) -> f32,
        adjustment: Adjustment,
    ) -> (Vec<f32>, isize) {
        let mut buffer = PlayoutBuffer::new();
        let (mut heard, mut block, mut changed) = (Vec::new(), [0.0; BLOCK_SAMPLES], 0);
        for frame in 0..frames {
            let fresh: [f32; FRAME_SAMPLES] =
                std::array::from_fn(|n| sound(frame * FRAME_SAMPLES + n));
            buffer.push(&fresh);
            if frame > 1 {
                changed += buffer.adjust(FRAME_SAMPLES, adjustment);
            }
            while buffer.pending() >= BLOCK_SAMPLES {
                buffer.take_block(&mut block);
                heard.extend_from_slice(&block);
            }
        }
        (heard, changed)
    }

    const FASTER: Adjustment = Adjustment::Accelerate {
        samples: MOST_LAG,
        least_match: 0.9,
    };
    const SLOWER: Adjustment = Adjustment::Expand {
        samples: MOST_LAG,
        least_match: 0.9,
    };

    #[test]
    fn without_adjustment_every_sample_comes_out_as_it_went_in() {
        let (heard, changed) = play(50, wave, Adjustment::Keep);
        assert_eq!(changed, 0);
        assert!(heard.iter().enumerate().all(|(n, s)| *s == wave(n)));
    }

    #[test]
    fn a_vowel_is_shortened_and_lengthened_by_whole_periods_and_keeps_its_pitch() {
        for (adjustment, sign) in [(FASTER, -1), (SLOWER, 1)] {
            let (heard, changed) = play(100, wave, adjustment);
            assert!(changed * sign >= 98 * 320, "{changed}");
            assert_eq!(changed % 320, 0, "whole periods");
            let expected = 100 * FRAME_SAMPLES as isize + changed;
            assert!((expected - heard.len() as isize).unsigned_abs() < BLOCK_SAMPLES);
            // No seam is heard: the steps between samples stay those of the wave.
            let step = |sound: &[f32]| {
                sound
                    .windows(2)
                    .map(|w| (w[1] - w[0]).abs())
                    .fold(0.0, f32::max)
            };
            let steepest = step(&(0..960).map(wave).collect::<Vec<_>>());
            assert!(step(&heard) < steepest * 1.05, "{}", step(&heard));
            let likeness = correlation(&heard[9_600..19_200], &heard[9_920..19_520]);
            assert!(likeness > 0.999, "{likeness}");
        }
    }

    #[test]
    fn a_high_tone_keeps_its_pitch() {
        let tone = |n: usize| (n as f32 * 1_000.0 * std::f32::consts::TAU / 48_000.0).sin() * 0.5;
        for adjustment in [FASTER, SLOWER] {
            let (heard, changed) = play(100, tone, adjustment);
            assert_ne!(changed, 0);
            assert!(tone_strength(&heard, 1_000.0) > 0.99);
        }
    }

    #[test]
    fn loud_noise_is_left_alone_and_quiet_noise_is_changed_most() {
        for (amplitude, expected) in [(0.3, 0), (0.003, 48 * MOST_LAG as isize)] {
            for (adjustment, sign) in [(FASTER, -1), (SLOWER, 1)] {
                let mut state = 1;
                let (_, changed) = play(50, |_| noise(&mut state) * amplitude, adjustment);
                assert_eq!(changed * sign, expected);
            }
        }
    }

    #[test]
    fn a_low_demand_on_the_match_changes_any_sound() {
        let mut state = 1;
        let anyhow = Adjustment::Accelerate {
            samples: MOST_LAG,
            least_match: -1.0,
        };
        let (_, changed) = play(50, |_| noise(&mut state) * 0.3, anyhow);
        assert!(changed <= -48 * LEAST_LAG as isize, "{changed}");
    }

    #[test]
    fn nothing_outgrows_the_storage() {
        let mut buffer = PlayoutBuffer::new();
        for _ in 0..10 {
            buffer.push(&[0.1; FRAME_SAMPLES]);
            buffer.adjust(FRAME_SAMPLES, SLOWER);
        }
        assert!(buffer.pending() <= PENDING);
        assert_eq!(buffer.adjust(10 * FRAME_SAMPLES, FASTER), 0);
        let mut block = [0.0; BLOCK_SAMPLES];
        for _ in 0..20 {
            buffer.take_block(&mut block);
        }
        assert_eq!((buffer.pending(), block), (0, [0.0; BLOCK_SAMPLES]));
    }
}
