//! How sound is encoded: bit rate, and the loss it is prepared for. Pure.
//!
//! The bit rate is the last thing that falls, only where no picture is left to fall. The loss is
//! followed upwards at once and downwards after [`FORGET`], because losses come in bursts.
//!
//! Deliberately not here: the encoder, and what redundancy does to loss (call-media; measured in
//! `docs/media.md`).

use std::time::{Duration, Instant};

/// How long a loss is prepared for after it was last seen.
const FORGET: Duration = Duration::from_secs(10);
/// How long a higher bit rate must fit before it is used.
const UP_AFTER: Duration = Duration::from_secs(5);
/// Redundancy where nothing is lost yet: from about 5 percent on Opus protects every onset, so that
/// the first loss of a burst is not heard. Lower sounds a little better while nothing is lost.
const LEAST_PERCENT: u8 = 5;
/// Through a server nobody knows what the receivers lose on their side.
const LEAST_PERCENT_SFU: u8 = 10;
/// More makes Opus spend most of its bits on redundancy.
const MOST_PERCENT: u8 = 30;
/// From this loss on the redundancy gets bits of its own.
const LOSSY_PERCENT: u8 = 10;

/// How to encode sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundPlan {
    /// Target of the encoder in bit/s, 16 000 to 40 000.
    pub bitrate_bps: u32,
    /// Loss to be prepared for by in-band FEC (RFC 6716, section 2.1.7), in percent, 5 to 30.
    pub expected_loss_percent: u8,
}

impl Default for SoundPlan {
    /// As a call begins.
    fn default() -> Self {
        Self {
            bitrate_bps: 32_000,
            expected_loss_percent: LEAST_PERCENT_SFU,
        }
    }
}

/// Least that must be there for each bit rate, best first, both in bit/s. 32 kbit/s is transparent
/// for a voice, 16 still sounds wide (RFC 6716, section 2.1.1: 16 to 20 for wideband, 28 to 40 for
/// fullband speech); each packet has 60 bytes of headers beside, which is 24 kbit/s.
const RATES: [(u64, u32); 3] = [(80_000, 32_000), (65_000, 24_000), (0, 16_000)];
/// What must be there before redundancy gets bits of its own.
const ROOM_BPS: u64 = 300_000;
const LOSSY_BPS: u32 = 40_000;

/// What is known at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    /// What the narrowest path carries in all, in bit/s.
    pub(crate) target_bps: u64,
    /// Largest loss of all paths, 0 to 1.
    pub(crate) loss: f64,
    /// Whether a picture is sent: then its bits are there to be taken first.
    pub(crate) has_picture: bool,
    /// Whether a server forwards it.
    pub(crate) is_forwarded: bool,
}

/// See the module's text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sound {
    plan: SoundPlan,
    lost: Option<(u8, Instant)>,
    fits_since: Option<Instant>,
}

impl Sound {
    pub(crate) fn plan(&self) -> SoundPlan {
        self.plan
    }

    pub(crate) fn handle(&mut self, now: Instant, signal: Signal) {
        let seen = prepared_percent(signal.loss);
        let (percent, _) = match self.lost {
            Some((known, at)) if seen < known && now.saturating_duration_since(at) < FORGET => {
                (known, at)
            }
            _ => *self.lost.insert((seen, now)),
        };
        let least = if signal.is_forwarded {
            LEAST_PERCENT_SFU
        } else {
            LEAST_PERCENT
        };
        self.plan.expected_loss_percent = percent.max(least);
        let fitting = fitting_bps(&signal, self.plan.expected_loss_percent);
        if signal.has_picture {
            // A picture comes back later than the sound's bits.
            self.plan.bitrate_bps = self.plan.bitrate_bps.max(RATES[0].1);
        }
        if fitting <= self.plan.bitrate_bps {
            self.fits_since = None;
            self.plan.bitrate_bps = fitting;
        } else {
            let since = *self.fits_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= UP_AFTER {
                self.fits_since = None;
                self.plan.bitrate_bps = fitting;
            }
        }
    }
}

/// Opus is told half again of what is lost, in steps, so that a wavering figure changes nothing.
fn prepared_percent(loss: f64) -> u8 {
    let steps = [(0.02, LEAST_PERCENT), (0.05, 10), (0.10, 15), (0.15, 20)];
    let step = steps.into_iter().find(|(below, _)| loss < *below);
    // NaN is nothing anybody measured.
    step.map_or(
        if loss.is_nan() {
            LEAST_PERCENT
        } else {
            MOST_PERCENT
        },
        |(_, percent)| percent,
    )
}

fn fitting_bps(signal: &Signal, percent: u8) -> u32 {
    if percent >= LOSSY_PERCENT && signal.target_bps >= ROOM_BPS && signal.loss > 0.0 {
        return LOSSY_BPS;
    }
    // An unknown path is no narrow one.
    if signal.has_picture || signal.target_bps == 0 {
        return RATES[0].1;
    }
    let rate = RATES.iter().find(|(least, _)| *least <= signal.target_bps);
    rate.map_or(RATES[2].1, |(_, bps)| *bps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redundancy_follows_loss_and_bits_fall_last() {
        let cases = [
            // Target in kbit/s, loss, picture, forwarded; kbit/s and percent.
            (2_000, 0.0, true, false, (32, 5)),
            (2_000, 0.0, true, true, (32, 10)),
            (2_000, 0.03, true, false, (40, 10)),
            (2_000, 0.08, true, false, (40, 15)),
            (2_000, 0.5, true, false, (40, 30)),
            (2_000, f64::NAN, true, false, (32, 5)),
            (200, 0.12, true, false, (32, 20)),
            (60, 0.0, true, false, (32, 5)),
            (90, 0.0, false, false, (32, 5)),
            (70, 0.0, false, false, (24, 5)),
            (50, 0.12, false, false, (16, 20)),
            (0, 0.0, false, false, (32, 5)),
        ];
        let start = Instant::now();
        for (kbps, loss, has_picture, is_forwarded, (rate, percent)) in cases {
            let mut sound = Sound::default();
            let signal = Signal {
                target_bps: kbps * 1_000,
                loss,
                has_picture,
                is_forwarded,
            };
            sound.handle(start, signal);
            sound.handle(start + UP_AFTER, signal);
            let want = SoundPlan {
                bitrate_bps: rate * 1_000,
                expected_loss_percent: percent,
            };
            assert_eq!(sound.plan(), want, "{signal:?}");
        }
    }

    #[test]
    fn losses_are_remembered_and_bits_come_back_after_a_while() {
        let start = Instant::now();
        let mut sound = Sound::default();
        let mut at = |second: u64, kbps: u64, loss: f64| {
            let signal = Signal {
                target_bps: kbps * 1_000,
                loss,
                has_picture: false,
                is_forwarded: false,
            };
            sound.handle(start + Duration::from_secs(second), signal);
            let plan = sound.plan();
            (plan.bitrate_bps / 1_000, plan.expected_loss_percent)
        };
        assert_eq!(at(0, 200, 0.0), (32, 5));
        assert_eq!(at(1, 60, 0.12), (16, 20), "both at once");
        assert_eq!(at(2, 60, 0.0), (16, 20));
        assert_eq!(at(3, 200, 0.0), (16, 20));
        assert_eq!(at(7, 200, 0.0), (16, 20));
        assert_eq!(at(8, 200, 0.03), (32, 20), "five seconds of room");
        assert_eq!(at(11, 200, 0.0), (32, 5), "ten seconds without");
    }
}
