//! How fast the echo of the render stream moves within the capture stream: drift, by ear.
//!
//! Two sound cards' clocks differ by some parts per million, so the echo of a sample arrives at
//! an index that moves. Segments of 256 ms are cross-correlated with the render stream; a second
//! correlation, of one such result with the one half a second before, peaks at the distance the
//! whole echo path has moved meanwhile, whatever reflections it is made of (the double
//! cross-correlation of A. Chinaev, P. Thüne, G. Enzner, "Double-Cross-Correlation Processing for
//! Blind Sampling-Rate and Time-Offset Estimation", IEEE/ACM TASLP 29, 2021). Spectra are
//! whitened, so that every frequency with an echo counts alike. Unlike callback times, which
//! jitter by milliseconds, sound tells a shift of a microsecond; and it can tell nothing only
//! where there is no echo to cancel.
//!
//! Pure: samples in, measurements out. Both streams are matched by their sample counts since the
//! last [`EchoShift::restart`], which whoever breaks the count (a gap, dropped blocks) must call.
//!
//! Deliberately not here: what becomes of the measurements (`drift`), and the delay itself, which
//! the canceller finds on its own.

use std::collections::VecDeque;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::format::{Block, SAMPLE_RATE_HZ};

/// Samples at 48 kHz per sample analysed (16 kHz): speech has little above 8 kHz, and less to
/// correlate is less to compute.
const DECIMATION: usize = 3;
/// Render samples correlated with a segment: 1024 ms, which finds echoes up to 768 ms late.
const RENDER: usize = 16_384;
/// Captured samples in a segment: 256 ms. Longer resolves weaker echoes and blurs larger drifts.
const SEGMENT: usize = 4_096;
/// Samples from one segment to the next: 128 ms.
const HOP: usize = 2_048;
/// Segments between the two that are compared: 512 ms. More measures finer, and later.
const SPAN_SEGMENTS: usize = 4;
/// Most samples by which one stream may be ahead of the other before matching starts anew.
const SLACK: usize = 8_192;
/// Bins of [`RENDER`] used: 200 Hz to 7 kHz, the decimating filter's passband.
const BINS: std::ops::Range<usize> = 205..7_168;
/// Largest shift believed, in samples: 1000 ppm over the span.
const MOST_SHIFT: f64 = 1e-3 * (HOP * SPAN_SEGMENTS) as f64;
/// Least height of the peak, in standard deviations of what surrounds it. Chance reaches 4 within
/// the few shifts looked at; echoes in a quiet room reach 20 to 60.
const LEAST_QUALITY: f64 = 8.0;
/// Next best peak, at least [`RIVAL_DISTANCE`] samples away, relative to the best, from which the
/// sound is taken for periodic: its shift is known up to whole periods only.
const MOST_RIVAL: f32 = 0.6;
const RIVAL_DISTANCE: i32 = 3;
/// Least mean square of a segment, and of the render stream beside it: -70 dBFS after
/// pre-emphasis. Below it there is nothing to hear.
const LEAST_POWER: f32 = 1e-7;
/// Shares of the edges of the render samples that are faded: oldest and newest.
const FADE: usize = 512;

type Spectrum = Vec<Complex<f32>>;

/// See the [module documentation](self).
pub(crate) struct EchoShift {
    forward: Arc<dyn RealToComplex<f32>>,
    backward: Arc<dyn ComplexToReal<f32>>,
    render: Track,
    capture: Track,
    /// Count of samples at which the next segment ends.
    next_end: u64,
    /// Whitened cross spectra of the last segments, the oldest first; `None`: nothing to hear.
    segments: VecDeque<Option<Spectrum>>,
    window: Vec<f32>,
    time: Vec<f32>,
    scratch: Spectrum,
}

impl std::fmt::Debug for EchoShift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EchoShift")
            .field("next_end", &self.next_end)
            .finish_non_exhaustive()
    }
}

impl EchoShift {
    pub(crate) fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(RENDER);
        let backward = planner.plan_fft_inverse(RENDER);
        let scratch =
            vec![Complex::default(); forward.get_scratch_len().max(backward.get_scratch_len())];
        let window = (0..SEGMENT)
            .map(|n| {
                (std::f32::consts::PI * n as f32 / SEGMENT as f32)
                    .sin()
                    .powi(2)
            })
            .collect();
        Self {
            forward,
            backward,
            render: Track::new(),
            capture: Track::new(),
            next_end: SEGMENT as u64,
            segments: VecDeque::with_capacity(SPAN_SEGMENTS + 1),
            window,
            time: vec![0.0; RENDER],
            scratch,
        }
    }

    /// Forgets both streams: their counts no longer match.
    pub(crate) fn restart(&mut self) {
        self.render.restart();
        self.capture.restart();
        self.next_end = SEGMENT as u64;
        self.segments.clear();
    }

    /// Compares no segment from before this with one after it: the render stream's rate changed.
    pub(crate) fn handle_rate_change(&mut self) {
        self.segments.clear();
        self.next_end = self.capture.count.max(self.render.count) + SEGMENT as u64;
    }

    /// Takes the next 10 ms of the render stream.
    pub(crate) fn handle_render(&mut self, block: &Block) {
        self.render.push(block);
    }

    /// Takes the next 10 ms of the microphone, before any processing. Returns, if it can be told,
    /// by how much the render stream as given runs faster than the capture stream, in parts per
    /// million, over the last [`SPAN_SEGMENTS`]. At most one segment comes due per block.
    pub(crate) fn handle_capture(&mut self, block: &Block) -> Option<f64> {
        self.capture.push(block);
        if self.render.count.abs_diff(self.capture.count) > SLACK as u64 {
            self.restart();
            return None;
        }
        if self.render.count.min(self.capture.count) < self.next_end {
            return None;
        }
        let spectrum = self.cross_spectrum(self.next_end);
        self.next_end += HOP as u64;
        if self.segments.len() > SPAN_SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(spectrum);
        if self.segments.len() <= SPAN_SEGMENTS {
            return None;
        }
        let shift = self.shift()?;
        let span = (HOP * SPAN_SEGMENTS) as f64;
        // A render clock that runs fast lets echoes appear at ever smaller indices.
        Some(-shift / span * 1e6)
    }

    /// Phases of the echo path as heard in the segment that ends at `end`.
    fn cross_spectrum(&mut self, end: u64) -> Option<Spectrum> {
        self.time.fill(0.0);
        let newest = &mut self.time[RENDER - SEGMENT..];
        self.capture.copy_until(end, newest)?;
        let mut power = mean_square(newest);
        for (sample, weight) in newest.iter_mut().zip(&self.window) {
            *sample *= weight;
        }
        let captured = self.transform()?;
        self.render.copy_until(end, &mut self.time)?;
        power = power.min(mean_square(&self.time));
        if power < LEAST_POWER {
            return None;
        }
        for n in 0..FADE {
            let weight = n as f32 / FADE as f32;
            self.time[n] *= weight;
            self.time[RENDER - 1 - n] *= weight;
        }
        let rendered = self.transform()?;
        let phases = captured[BINS].iter().zip(&rendered[BINS]).map(|(y, x)| {
            let product = y * x.conj();
            let size = product.norm();
            if size > 0.0 { product / size } else { product }
        });
        Some(phases.collect())
    }

    /// The spectrum of `self.time`, whose content is lost.
    fn transform(&mut self) -> Option<Spectrum> {
        let mut spectrum = self.forward.make_output_vec();
        self.forward
            .process_with_scratch(&mut self.time, &mut spectrum, &mut self.scratch)
            .ok()?;
        Some(spectrum)
    }

    /// Samples by which the echo path moved over the span, if it can be told.
    fn shift(&mut self) -> Option<f64> {
        let (Some(Some(old)), Some(Some(new))) = (self.segments.front(), self.segments.back())
        else {
            return None;
        };
        let moved: Spectrum = new
            .iter()
            .zip(old)
            .map(|(new, old)| new * old.conj())
            .collect();
        let mut spectrum = self.backward.make_input_vec();
        spectrum[BINS].copy_from_slice(&moved);
        self.backward
            .process_with_scratch(&mut spectrum, &mut self.time, &mut self.scratch)
            .ok()?;
        let correlation = &self.time;
        let at = |shift: i32| correlation[shift.rem_euclid(RENDER as i32) as usize];
        let most = MOST_SHIFT.ceil() as i32;
        let best = (-most..=most).max_by(|a, b| at(*a).total_cmp(&at(*b)))?;
        let rival = (-most..=most)
            .filter(|shift| (shift - best).abs() >= RIVAL_DISTANCE)
            .map(at)
            .fold(0.0, f32::max);
        let surrounds = f64::from(mean_square(&correlation[RENDER / 4..3 * RENDER / 4])).sqrt();
        let is_clear =
            f64::from(at(best)) > LEAST_QUALITY * surrounds && rival < MOST_RIVAL * at(best);
        if !is_clear {
            return None;
        }
        let shift = refine(&moved, f64::from(best));
        (shift.abs() <= MOST_SHIFT).then_some(shift)
    }
}

/// The shift near `shift` at which the phases of `moved` agree best.
fn refine(moved: &[Complex<f32>], mut shift: f64) -> f64 {
    // A parabola through three values, twice: the second time it spans a quarter of the width.
    for step in [0.5, 0.125] {
        let [before, here, after] =
            [shift - step, shift, shift + step].map(|shift| agreement(moved, shift));
        let curvature = before - 2.0 * here + after;
        if curvature < 0.0 {
            shift += (0.5 * step * (before - after) / curvature).clamp(-2.0 * step, 2.0 * step);
        }
    }
    shift
}

/// Real part of the sum of `moved` after moving it back by `shift`.
fn agreement(moved: &[Complex<f32>], shift: f64) -> f64 {
    let radians = std::f64::consts::TAU * shift / RENDER as f64;
    let step = Complex::from_polar(1.0, radians);
    let mut phase = Complex::from_polar(1.0, radians * BINS.start as f64);
    let mut sum = 0.0;
    for bin in moved {
        sum += f64::from(bin.re) * phase.re - f64::from(bin.im) * phase.im;
        phase *= step;
    }
    sum
}

fn mean_square(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32
}

/// Taps of the decimating filter.
const TAPS: usize = 48;

/// The latest samples of one stream at 16 kHz, pre-emphasised, and the count of all so far.
struct Track {
    taps: [f32; TAPS],
    /// The last samples at 48 kHz, as many as the filter overlaps.
    history: [f32; TAPS],
    emphasis_last: f32,
    samples: VecDeque<f32>,
    count: u64,
}

impl Track {
    const KEPT: usize = RENDER + SLACK + SEGMENT;

    fn new() -> Self {
        // A windowed sinc, cut off at 7.5 kHz.
        let cutoff = 7_500.0 / SAMPLE_RATE_HZ as f32;
        let mut taps = std::array::from_fn(|n| {
            let x = n as f32 - (TAPS as f32 - 1.0) / 2.0;
            let radians = std::f32::consts::TAU * cutoff * x;
            let hann = (std::f32::consts::PI * (n as f32 + 0.5) / TAPS as f32)
                .sin()
                .powi(2);
            2.0 * cutoff * radians.sin() / radians * hann
        });
        let sum: f32 = taps.iter().sum();
        taps = taps.map(|tap| tap / sum);
        Self {
            taps,
            history: [0.0; TAPS],
            emphasis_last: 0.0,
            samples: std::iter::repeat_n(0.0, Self::KEPT).collect(),
            count: 0,
        }
    }

    fn restart(&mut self) {
        self.samples.iter_mut().for_each(|sample| *sample = 0.0);
        self.count = 0;
    }

    fn push(&mut self, block: &Block) {
        for three in block.as_chunks::<DECIMATION>().0 {
            self.history.copy_within(DECIMATION.., 0);
            self.history[TAPS - DECIMATION..].copy_from_slice(three);
            let low: f32 = self
                .history
                .iter()
                .zip(&self.taps)
                .map(|(a, b)| a * b)
                .sum();
            self.samples.pop_front();
            self.samples.push_back(low - 0.9 * self.emphasis_last);
            self.emphasis_last = low;
            self.count += 1;
        }
    }

    /// Fills `out` with the samples before count `end`; `None` if they are gone or still to come.
    fn copy_until(&self, end: u64, out: &mut [f32]) -> Option<()> {
        let after = usize::try_from(self.count.checked_sub(end)?).ok()?;
        let start = Self::KEPT.checked_sub(after + out.len())?;
        let samples = self.samples.range(start..start + out.len());
        out.iter_mut()
            .zip(samples)
            .for_each(|(out, sample)| *out = *sample);
        Some(())
    }
}
