//! Voice processing of the microphone: echo cancellation, noise suppression, gain control.
//!
//! ```text
//! what the speaker plays -> handle_render -> clock drift taken out -.
//!                                              v--------------------'
//! microphone -> high-pass -> echo canceller -> noise suppression -> gain control -> process_capture
//! ```
//!
//! The algorithms are those of WebRTC's audio processing (AEC3, NS, AGC2) as ported by `sonora`.
//! The echo canceller finds the delay between both streams
//! by itself and follows it, up to about half a second; what it needs is a render stream that
//! runs ahead of the echo. Where speaker and microphone have clocks of their own, the `drift`
//! module beside this one brings the render stream into the microphone's: the canceller alone
//! would follow a moving echo always a little late.
//! Pure: blocks in, blocks out, no clock.
//!
//! Invariants: with everything off, blocks pass untouched, bit for bit. The output lags the input
//! by less than [`VOICE_DELAY_BLOCKS`] blocks. No input value (infinite, NaN, beyond full
//! scale) reaches the adaptive filters, which would never forget it.
//!
//! Deliberately not here: the choice which sources are processed (the `capture` module beside this
//! one).

use sonora::config::{
    AdaptiveDigital, EchoCanceller, GainController2, HighPassFilter, MaxProcessingRate,
    NoiseSuppression, Pipeline,
};
use sonora::{AudioProcessing, Config, StreamConfig};

use super::drift::DriftCompensation;
use super::format::{BLOCK_SAMPLES, Block, SAMPLE_RATE_HZ};

/// Most whole blocks by which the processed sound lags, whatever is switched on: the filters
/// work on overlapping windows.
pub const VOICE_DELAY_BLOCKS: usize = 2;

/// Longest delay hint in milliseconds; beyond it the canceller does not look.
const MOST_DELAY_MS: u32 = 500;

/// Gain in dB before anybody has spoken. More helps the first words of a quiet voice, and raises
/// what is left of the echo by as much: it is the first thing heard of a microphone whose owner
/// only listens. The gain follows a voice by 6 dB per second.
const INITIAL_GAIN_DB: f32 = 9.0;

const MONO: StreamConfig = StreamConfig::new(SAMPLE_RATE_HZ, 1);

/// What is done to the microphone's sound. By default everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoiceOptions {
    /// Removes what the speaker plays into the microphone.
    pub echo_cancellation: bool,
    /// Lowers steady noise by about 12 dB.
    pub noise_suppression: bool,
    /// Brings voices to one level, and limits.
    pub gain_control: bool,
}

impl VoiceOptions {
    /// Nothing is done.
    pub const OFF: Self = Self {
        echo_cancellation: false,
        noise_suppression: false,
        gain_control: false,
    };

    /// Whether anything is done.
    pub fn any(self) -> bool {
        self != Self::OFF
    }

    fn config(self) -> Config {
        Config {
            // The default of 32 kHz would cut everything above 16 kHz.
            pipeline: Pipeline {
                maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
                ..Pipeline::default()
            },
            high_pass_filter: self.any().then(HighPassFilter::default),
            echo_canceller: self.echo_cancellation.then(EchoCanceller::default),
            noise_suppression: self.noise_suppression.then(NoiseSuppression::default),
            // Without an adaptive part it is a limiter only. The microphone's own volume is the
            // user's.
            gain_controller2: self.gain_control.then(|| GainController2 {
                adaptive_digital: Some(AdaptiveDigital {
                    initial_gain_db: INITIAL_GAIN_DB,
                    ..AdaptiveDigital::default()
                }),
                ..GainController2::default()
            }),
            ..Config::default()
        }
    }
}

impl Default for VoiceOptions {
    fn default() -> Self {
        Self {
            echo_cancellation: true,
            noise_suppression: true,
            gain_control: true,
        }
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct VoiceProcessor {
    options: VoiceOptions,
    delay_ms: Option<u32>,
    /// None while everything is off.
    processing: Option<Box<AudioProcessing>>,
    /// None until the echo canceller is given something to cancel.
    drift: Option<Box<DriftCompensation>>,
}

impl VoiceProcessor {
    /// A processor that has heard nothing yet.
    pub fn new(options: VoiceOptions) -> Self {
        let mut processor = Self {
            options: VoiceOptions::OFF,
            delay_ms: None,
            processing: None,
            drift: None,
        };
        processor.set_options(options);
        processor
    }

    /// What is switched on.
    pub fn options(&self) -> VoiceOptions {
        self.options
    }

    /// Switches parts on and off from the next block on. A part that stays on keeps what it has
    /// learnt of the room, unless the frequency bands must be split anew.
    pub fn set_options(&mut self, options: VoiceOptions) {
        if options == self.options {
            return;
        }
        if options.echo_cancellation != self.options.echo_cancellation {
            self.drift = None;
        }
        self.options = options;
        if !options.any() {
            self.processing = None;
        } else if let Some(processing) = &mut self.processing {
            processing.apply_config(options.config());
        } else {
            let processing = AudioProcessing::builder()
                .config(options.config())
                .capture_config(MONO)
                .render_config(MONO)
                .build();
            self.processing = Some(Box::new(processing));
        }
    }

    /// Hints at the time between a block given to [`Self::handle_render`] and its echo, in
    /// milliseconds, at most 500. Only speeds up the first alignment; never needed.
    pub fn set_delay_ms(&mut self, delay_ms: u32) {
        self.delay_ms = Some(delay_ms.min(MOST_DELAY_MS));
    }

    /// By how much the speaker's clock runs faster than the microphone's as far as is known, in
    /// parts per million; 0 while nothing is.
    pub fn drift_ppm(&self) -> f64 {
        self.drift.as_ref().map_or(0.0, |drift| drift.drift_ppm())
    }

    /// Tells that blocks of either stream are missing. What was learnt of room and clocks stays.
    pub fn handle_gap(&mut self) {
        if let Some(drift) = &mut self.drift {
            drift.handle_gap();
        }
    }

    /// Takes the next 10 ms of what the speaker will play.
    pub fn handle_render(&mut self, block: &Block) {
        let Some(processing) = &mut self.processing else {
            return;
        };
        if !self.options.echo_cancellation {
            return;
        }
        if self.drift.is_none() {
            self.drift = DriftCompensation::new().map(Box::new);
        }
        let Some(drift) = &mut self.drift else {
            return;
        };
        drift.handle_render(&sane(block));
        let mut unused = [0.0; BLOCK_SAMPLES];
        while let Some(block) = drift.poll_render() {
            if let Err(error) = processing.process_render_f32(&[&block], &mut [&mut unused]) {
                tracing::error!(%error, "the render reference was refused");
            }
        }
    }

    /// Processes the next 10 ms of the microphone in place.
    pub fn process_capture(&mut self, block: &mut Block) {
        let Some(processing) = &mut self.processing else {
            return;
        };
        if let Some(delay_ms) = self.delay_ms {
            // Within its range, so never refused.
            let _ = processing.set_stream_delay_ms(delay_ms as i32);
        }
        let input = sane(block);
        if let Some(drift) = &mut self.drift {
            drift.handle_capture(&input);
        }
        if let Err(error) = processing.process_capture_f32(&[&input], &mut [block]) {
            tracing::error!(%error, "the microphone's sound was refused");
        }
    }
}

/// Full scale at most, and nothing that is not a number.
fn sane(block: &Block) -> Block {
    block.map(|sample| {
        if sample.is_nan() {
            0.0
        } else {
            sample.clamp(-1.0, 1.0)
        }
    })
}

#[cfg(test)]
#[path = "voice_tests.rs"]
pub(crate) mod tests;
