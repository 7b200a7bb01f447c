//! How sound is encoded, and how often it is sent: bit rate, the loss the encoder is prepared for, and
//! copies in the packets that follow (RFC 2198). Pure.
//!
//! The bit rate is the last thing that falls, only where no picture is left to fall. Loss is
//! followed upwards at once and downwards after [`FORGET`], because losses come in bursts. Copies are
//! sent where something is lost and there is room for them: a frame is then missing only if all
//! packets that carry it are, while in-band FEC leaves out what it takes for no speech.
//!
//! Deliberately not here: the encoder, and what redundancy does to loss (call-media; measured in
//! `docs/media.md`).

use std::time::{Duration, Instant};

/// How long a loss is prepared for after it was last seen.
const FORGET: Duration = Duration::from_secs(10);
/// How long room must have been there before it is used.
const UP_AFTER: Duration = Duration::from_secs(5);
/// Redundancy where nothing is lost yet: from about 5 percent on Opus protects every onset, so that
/// the first loss of a burst is not heard. Lower sounds a little better while nothing is lost.
const LEAST_PERCENT: u8 = 5;
/// Through a server nobody knows what the receivers lose on their side.
const LEAST_PERCENT_SFU: u8 = 10;
/// More makes Opus spend most of its bits on redundancy.
const MOST_PERCENT: u8 = 30;

/// How to encode and send sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundPlan {
    /// Target of the encoder in bit/s, 16 000 to 32 000.
    pub bitrate_bps: u32,
    /// Loss to be prepared for by in-band FEC (RFC 6716, section 2.1.7), in percent, 5 to 30.
    pub expected_loss_percent: u8,
    /// In how many packets more each frame is sent, 0 to 3.
    pub copies: u8,
}

impl Default for SoundPlan {
    /// As a call begins.
    fn default() -> Self {
        Self {
            bitrate_bps: 32_000,
            expected_loss_percent: LEAST_PERCENT_SFU,
            copies: 0,
        }
    }
}

/// Least that must be there for each bit rate, best first, both in bit/s. 32 kbit/s is transparent
/// for a voice, 16 still sounds wide (RFC 6716, section 2.1.1: 16 to 20 for wideband, 28 to 40 for
/// fullband speech); each packet has 60 bytes of headers beside, which is 24 kbit/s.
const RATES: [(u64, u32); 3] = [(80_000, 32_000), (65_000, 24_000), (0, 16_000)];
/// Least that must be there for each copy of a frame, in bit/s. Lower takes too much of a small
/// picture, higher leaves narrow and lossy paths with in-band FEC.
const ROOM_BPS: [u64; 3] = [250_000, 400_000, 600_000];
/// Loss, 0 to 1, from which each copy is sent: what is left after one copy is the square of it, after
/// two the cube. More copies hold back the sound longer at the receiver where they are needed.
const WORTH_COPIES: [f64; 3] = [0.005, 0.03, 0.15];

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
    /// What loss is worth, and since when no loss is worth more.
    lost: Option<(Worth, Instant)>,
    fits_since: Option<Instant>,
    /// Copies there is room for, and since when there is room for more.
    room: Option<u8>,
    room_since: Option<Instant>,
}

/// What a loss is worth: percent to prepare for, and copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    percent: u8,
    copies: u8,
}

impl Sound {
    pub(crate) fn plan(&self) -> SoundPlan {
        self.plan
    }

    pub(crate) fn handle(&mut self, now: Instant, signal: Signal) {
        let seen = worth(signal.loss);
        let (worth, _) = match self.lost {
            Some((known, at)) if seen < known && now.saturating_duration_since(at) < FORGET => {
                (known, at)
            }
            _ => *self.lost.insert((seen, now)),
        };
        self.make_room(now, signal.target_bps);
        self.plan.copies = worth.copies.min(self.room.unwrap_or(0));
        let least = if signal.is_forwarded {
            LEAST_PERCENT_SFU
        } else {
            LEAST_PERCENT
        };
        // A copy is worth more than what in-band FEC would take from the voice.
        self.plan.expected_loss_percent = match self.plan.copies {
            0 => worth.percent.max(least),
            _ => LEAST_PERCENT,
        };
        let fitting = fitting_bps(&signal);
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

    /// Less room counts at once, and the first that is known; more after a while.
    fn make_room(&mut self, now: Instant, target_bps: u64) {
        if target_bps == 0 {
            return;
        }
        let fits = ROOM_BPS.iter().filter(|least| **least <= target_bps);
        let fits = fits.count() as u8;
        if self.room.is_none_or(|room| fits <= room) {
            (self.room, self.room_since) = (Some(fits), None);
            return;
        }
        let since = *self.room_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= UP_AFTER {
            (self.room, self.room_since) = (Some(fits), None);
        }
    }
}

/// Opus is told half again of what is lost, in steps, so that a wavering figure changes nothing.
fn worth(loss: f64) -> Worth {
    let steps = [(0.02, LEAST_PERCENT), (0.05, 10), (0.10, 15), (0.15, 20)];
    let step = steps.into_iter().find(|(below, _)| loss < *below);
    // NaN is nothing anybody measured.
    let percent = step.map_or(
        if loss.is_nan() {
            LEAST_PERCENT
        } else {
            MOST_PERCENT
        },
        |(_, percent)| percent,
    );
    let copies = WORTH_COPIES.iter().filter(|least| loss >= **least).count() as u8;
    Worth { percent, copies }
}

fn fitting_bps(signal: &Signal) -> u32 {
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
            // Target in kbit/s, loss, picture, forwarded; kbit/s, percent and copies.
            (2_000, 0.0, true, false, (32, 5, 0)),
            (2_000, 0.0, true, true, (32, 10, 0)),
            (2_000, 0.004, true, false, (32, 5, 0)),
            (2_000, 0.01, true, true, (32, 5, 1)),
            (2_000, 0.03, true, false, (32, 5, 2)),
            (2_000, 0.14, true, false, (32, 5, 2)),
            (2_000, 0.5, true, false, (32, 5, 3)),
            (500, 0.5, true, false, (32, 5, 2)),
            (300, 0.5, true, false, (32, 5, 1)),
            (2_000, f64::NAN, true, false, (32, 5, 0)),
            (200, 0.12, true, false, (32, 20, 0)),
            (60, 0.0, true, false, (32, 5, 0)),
            (90, 0.0, false, false, (32, 5, 0)),
            (70, 0.0, false, false, (24, 5, 0)),
            (50, 0.12, false, false, (16, 20, 0)),
            (0, 0.0, false, false, (32, 5, 0)),
            (0, 0.12, false, false, (32, 20, 0)),
        ];
        let start = Instant::now();
        for (kbps, loss, has_picture, is_forwarded, (rate, percent, copies)) in cases {
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
                copies,
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
            let percent = plan.expected_loss_percent;
            (plan.bitrate_bps / 1_000, percent, plan.copies)
        };
        assert_eq!(at(0, 200, 0.0), (32, 5, 0));
        assert_eq!(at(1, 60, 0.12), (16, 20, 0), "both at once");
        assert_eq!(at(2, 60, 0.0), (16, 20, 0));
        assert_eq!(at(3, 300, 0.0), (16, 20, 0));
        assert_eq!(at(7, 300, 0.0), (16, 20, 0));
        assert_eq!(at(8, 300, 0.03), (32, 5, 1), "five seconds of room");
        assert_eq!(at(10, 700, 0.2), (32, 5, 1), "no room for more yet");
        assert_eq!(at(15, 700, 0.0), (32, 5, 3));
        assert_eq!(at(16, 500, 0.0), (32, 5, 2), "less room counts at once");
        assert_eq!(at(19, 500, 0.0), (32, 5, 2));
        assert_eq!(at(20, 500, 0.0), (32, 5, 0), "ten seconds without");
        assert_eq!(at(21, 100, 0.06), (32, 15, 0), "no room at all");
    }
}
