//! Between a source and everything that listens to it: processes a real microphone's blocks.
//!
//! Synthetic sound (a tone, a file) passes untouched: it carries no echo and no noise, and tests
//! compare it with what arrives.
//!
//! **The render reference** is taken out of its ring whenever a block was captured, all of it:
//! the echo canceller buffers, and a block left in the ring would only come too late. A microphone
//! that begins, or comes back after a gap, first discards what has piled up. A playout that stands
//! still for [`DRY_BLOCKS`] is silence, so that the canceller's clock goes on.
//!
//! **Switching** parts on and off happens in 20 ms of silence between two fades of a block each.
//!
//! **Mute.** Processing delays, so a block may still carry sound of the blocks before it. What
//! comes out is therefore dated by its oldest sound; the mute gate goes by that date. Only the ring
//! of the high-pass filter outlasts it: a hum below 100 Hz, 40 dB under the voice, gone in 0.1 s.

use std::time::{Duration, Instant};

use super::format::{Block, SILENT_BLOCK};
use super::reference::RenderReference;
use super::voice::{VOICE_DELAY_BLOCKS, VoiceOptions, VoiceProcessor};

/// Captured blocks without any reference after which silence is assumed: 100 ms, longer than any
/// device's period.
const DRY_BLOCKS: u32 = 10;
/// Time between two captured blocks that makes the waiting reference worthless.
const GAP: Duration = Duration::from_millis(100);

/// Change of the delay worth a hint. The canceller works in blocks of 4 ms and finds what is left.
const HINT_STEP: Duration = Duration::from_millis(20);

/// A change of the processing, block by block. Parts differ in how far they lag, so the sound jumps
/// where one takes over from another: a click, unless that happens in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fade {
    #[default]
    None,
    Out,
    /// Until what the parts hold is filled anew.
    Silent {
        blocks: usize,
    },
    In,
}

/// Scales a block by a gain that depends on the share of it that has passed.
fn scale(block: &mut Block, gain: impl Fn(f32) -> f32) {
    let length = block.len() as f32;
    for (n, sample) in block.iter_mut().enumerate() {
        *sample *= gain(n as f32 / length);
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct CaptureStage {
    options: VoiceOptions,
    reference: Option<RenderReference>,
    /// Present while the source is a microphone.
    processor: Option<VoiceProcessor>,
    /// When the last blocks were captured, the oldest first.
    captured: [Option<Instant>; VOICE_DELAY_BLOCKS],
    dry: u32,
    /// The delay last hinted at.
    hinted: Duration,
    fade: Fade,
}

impl CaptureStage {
    pub(crate) fn new(options: VoiceOptions, reference: Option<RenderReference>) -> Self {
        Self {
            options,
            reference,
            processor: None,
            captured: [None; VOICE_DELAY_BLOCKS],
            dry: 0,
            hinted: Duration::ZERO,
            fade: Fade::None,
        }
    }

    /// Begins with a new source, forgetting the old one's sound and room.
    pub(crate) fn handle_source(&mut self, is_microphone: bool) {
        self.processor = is_microphone.then(|| VoiceProcessor::new(self.options));
        self.captured = [None; VOICE_DELAY_BLOCKS];
        self.dry = 0;
        self.hinted = Duration::ZERO;
        self.fade = Fade::None;
    }

    /// Tells how old the next block's first sample is. With the playout's delay, it is the time
    /// between a rendered block and its echo: a hint for the canceller, renewed when it changed
    /// by [`HINT_STEP`].
    pub(crate) fn handle_input_age(&mut self, age: Duration) {
        let (Some(processor), Some(reference)) = (&mut self.processor, &self.reference) else {
            return;
        };
        let delay = reference.playout_delay();
        if delay.is_zero() {
            return;
        }
        let delay = delay + age;
        if delay.abs_diff(self.hinted) < HINT_STEP {
            return;
        }
        self.hinted = delay;
        tracing::debug!(?delay, "time from playout to capture");
        processor.set_delay_ms(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX));
    }

    /// Takes effect after the next block, behind a short fade.
    pub(crate) fn set_options(&mut self, options: VoiceOptions) {
        self.options = options;
        let current = self.processor.as_ref().map(VoiceProcessor::options);
        if current.is_some_and(|current| current != options) {
            self.fade = Fade::Out;
        }
    }

    /// Processes the block in place; returns when the oldest sound it may now carry was captured.
    pub(crate) fn process(&mut self, block: &mut Block, captured_at: Instant) -> Instant {
        let Some(processor) = &mut self.processor else {
            return captured_at;
        };
        let last = self.captured.last().copied().flatten();
        let is_fresh = last.is_none_or(|last| captured_at.saturating_duration_since(last) > GAP);
        if let Some(reference) = &mut self.reference {
            if is_fresh {
                reference.discard();
                processor.handle_gap();
            }
            let mut is_dry = true;
            while let Some(render) = reference.poll_block() {
                processor.handle_render(&render);
                is_dry = false;
            }
            self.dry = if is_dry { self.dry + 1 } else { 0 };
            if self.dry > DRY_BLOCKS {
                self.dry = DRY_BLOCKS;
                processor.handle_render(&SILENT_BLOCK);
            }
            let dropped = reference.take_dropped();
            if dropped > 0 {
                processor.handle_gap();
                tracing::debug!(dropped, "render reference overflowed, captured too late");
            }
        }
        processor.process_capture(block);
        self.fade = match self.fade {
            Fade::None => Fade::None,
            Fade::Out => {
                scale(block, |share| 1.0 - share);
                processor.set_options(self.options);
                Fade::Silent {
                    blocks: VOICE_DELAY_BLOCKS,
                }
            }
            Fade::Silent { blocks } => {
                block.fill(0.0);
                if blocks > 1 {
                    Fade::Silent { blocks: blocks - 1 }
                } else {
                    Fade::In
                }
            }
            Fade::In => {
                scale(block, |share| share);
                Fade::None
            }
        };
        let oldest = self.captured.iter().copied().flatten().next();
        self.captured.rotate_left(1);
        if let Some(newest) = self.captured.last_mut() {
            *newest = Some(captured_at);
        }
        // Also right after everything was switched off: erring towards silence costs 20 ms.
        oldest.map_or(captured_at, |oldest| oldest.min(captured_at))
    }
}

#[cfg(test)]
#[path = "capture_tests.rs"]
mod tests;
