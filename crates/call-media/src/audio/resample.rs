//! Sample rate conversion of one mono stream, chunk by chunk.
//!
//! A windowed sinc interpolator rather than an FFT one: it takes any pair of rates (a device may
//! report 44 099 Hz) and its ratio can be steered, which is how clock drift is corrected.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// Rates accepted on either side, in Hz.
pub(crate) const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// Largest relative ratio, and the inverse of the smallest.
const MOST_STEERING: f64 = 1.01;

/// The rates are outside [`RATES_HZ`], or the resampler could not be built for them.
#[derive(Debug, thiserror::Error)]
#[error("cannot convert {from_hz} Hz to {to_hz} Hz")]
pub(crate) struct BadRates {
    from_hz: u32,
    to_hz: u32,
}

/// Converts a mono stream from one rate to another. Adds about 32 input samples of delay.
pub(crate) struct StreamResampler {
    /// `None`: both rates are equal.
    inner: Option<Async<f32>>,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl StreamResampler {
    /// # Errors
    /// [`BadRates`].
    pub(crate) fn new(from_hz: u32, to_hz: u32) -> Result<Self, BadRates> {
        let bad = || BadRates { from_hz, to_hz };
        if !RATES_HZ.contains(&from_hz) || !RATES_HZ.contains(&to_hz) {
            return Err(bad());
        }
        if from_hz == to_hz {
            return Ok(Self {
                inner: None,
                input: Vec::new(),
                output: Vec::new(),
            });
        }
        Self::build(from_hz, to_hz)
    }

    /// From a rate to almost the same: [`Self::set_relative_ratio`] makes the difference.
    ///
    /// # Errors
    /// [`BadRates`].
    pub(crate) fn steerable(rate_hz: u32) -> Result<Self, BadRates> {
        if !RATES_HZ.contains(&rate_hz) {
            return Err(BadRates {
                from_hz: rate_hz,
                to_hz: rate_hz,
            });
        }
        Self::build(rate_hz, rate_hz)
    }

    fn build(from_hz: u32, to_hz: u32) -> Result<Self, BadRates> {
        let bad = || BadRates { from_hz, to_hz };
        let parameters = SincInterpolationParameters {
            sinc_len: 64,
            f_cutoff: None,
            interpolation: SincInterpolationType::Linear,
            oversampling_factor: 128,
            window: WindowFunction::BlackmanHarris2,
        };
        // 5 ms per step: small against the 10 ms block, so that no block waits for a whole one.
        let chunk = (from_hz / 200) as usize;
        let ratio = f64::from(to_hz) / f64::from(from_hz);
        let inner = Async::new_sinc(
            ratio,
            MOST_STEERING,
            &parameters,
            chunk,
            1,
            FixedAsync::Input,
        )
        .map_err(|_| bad())?;
        let output = vec![0.0; inner.output_frames_max()];
        Ok(Self {
            inner: Some(inner),
            input: Vec::with_capacity(4 * chunk),
            output,
        })
    }

    /// Produces `ratio` times as many samples as the rates alone would, within 1 % of one, from
    /// the next 5 ms on; the ratio glides, the phase never jumps. Nothing to steer where both
    /// rates are equal, unless built by [`Self::steerable`].
    pub(crate) fn set_relative_ratio(&mut self, ratio: f64) {
        let ratio = ratio.clamp(1.0 / MOST_STEERING, MOST_STEERING);
        let Some(steered) = self.inner.as_mut().and_then(Resampler::as_adjustable) else {
            return;
        };
        if let Err(error) = steered.set_resample_ratio_relative(ratio, true) {
            tracing::warn!(%error, "the resampler cannot be steered");
        }
    }

    /// Takes `samples` and appends what can be produced from them to `out`.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let Some(inner) = &mut self.inner else {
            out.extend_from_slice(samples);
            return;
        };
        self.input.extend_from_slice(samples);
        let mut used = 0;
        loop {
            let needed = inner.input_frames_next();
            let Some(chunk) = self.input.get(used..used + needed) else {
                break;
            };
            let capacity = self.output.len();
            let (Ok(from), Ok(mut to)) = (
                InterleavedSlice::new(chunk, 1, needed),
                InterleavedSlice::new_mut(&mut self.output, 1, capacity),
            ) else {
                break;
            };
            match inner.process_into_buffer(&from, &mut to, None) {
                Ok((_, produced)) => out.extend_from_slice(&self.output[..produced]),
                Err(error) => tracing::warn!(%error, "resampler refused a chunk"),
            }
            used += needed;
        }
        self.input.drain(..used);
    }
}

#[cfg(test)]
mod tests {
    use super::StreamResampler;
    use crate::audio::tone_strength;

    #[test]
    fn a_tone_keeps_its_pitch_and_length_from_every_rate() {
        for rate in [
            8_000u32, 11_025, 16_000, 44_100, 44_099, 48_000, 96_000, 192_000,
        ] {
            let mut resampler = StreamResampler::new(rate, 48_000).unwrap();
            let sound: Vec<f32> = (0..2 * rate)
                .map(|n| (n as f32 * 440.0 * std::f32::consts::TAU / rate as f32).sin() * 0.5)
                .collect();
            let mut out = Vec::new();
            for chunk in sound.chunks(333) {
                resampler.push(chunk, &mut out);
            }
            assert!(
                (94_000..=96_000).contains(&out.len()),
                "{rate} Hz: {} samples",
                out.len()
            );
            assert!(tone_strength(&out[4_800..], 440.0) > 0.99, "{rate} Hz");
        }
    }

    #[test]
    fn a_tone_reaches_a_device_at_44100_hz() {
        let mut resampler = StreamResampler::new(48_000, 44_100).unwrap();
        let mut out = Vec::new();
        resampler.push(&vec![0.25; 48_000], &mut out);
        assert!((43_600..=44_100).contains(&out.len()), "{}", out.len());
        assert!(
            out[1_000..]
                .iter()
                .all(|sample| (sample - 0.25).abs() < 0.01)
        );
    }

    #[test]
    fn a_steered_ratio_bends_length_and_pitch_without_a_click() {
        let mut resampler = StreamResampler::steerable(48_000).unwrap();
        let sound: Vec<f32> = (0..192_000)
            .map(|n| (n as f32 * std::f32::consts::TAU / 96.0).sin() * 0.5)
            .collect();
        let mut out = Vec::new();
        for (n, chunk) in sound.chunks(480).enumerate() {
            resampler.set_relative_ratio(if n < 100 { 1.0 } else { 1.001 });
            resampler.push(chunk, &mut out);
        }
        // One second as it is, three longer by a thousandth.
        assert!(out.len().abs_diff(192_144) < 300, "{}", out.len());
        assert!(tone_strength(&out[480..47_000], 500.0) > 0.99);
        assert!(tone_strength(&out[96_000..], 500.0 / 1.001) > 0.99);
        // A tone of this pitch and loudness never steps by more than 0.033.
        let steps = out[480..].windows(2).map(|pair| (pair[1] - pair[0]).abs());
        assert!(steps.fold(0.0, f32::max) < 0.034);
    }

    #[test]
    fn absurd_rates_are_refused() {
        for (from, to) in [(0, 48_000), (48_000, 0), (4_000, 48_000), (48_000, 384_000)] {
            assert!(StreamResampler::new(from, to).is_err());
        }
    }
}
