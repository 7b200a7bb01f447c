//! How sound is encoded, and how often it is sent: bit rate, the loss the encoder is prepared for, and
//! copies in the packets that follow (RFC 2198). Pure.
//!
//! The bit rate is the last thing that falls, only where no picture is left to fall. Loss is
//! followed upwards at once and downwards after [`FORGET`], because losses come in bursts. Copies are
//! sent where something is lost and there is room for them: a frame is then missing only if all
//! packets that carry it are, while in-band FEC leaves out what it takes for no speech. What is lost
//! between a server and a receiver only the receiver knows, who asks for copies ([`Hearing`]).
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
/// Least that must be there for each copy of a frame, in bit/s: the first goes before any picture, the
/// others leave a small one. Lower takes too much of it, higher leaves narrow and lossy paths with
/// in-band FEC.
const ROOM_BPS: [u64; 3] = [100_000, 190_000, 280_000];
/// Loss, 0 to 1, from which each copy is sent: what is left after one copy is the square of it, after
/// two the cube. More copies hold back the sound longer at the receiver where they are needed.
const WORTH_COPIES: [f64; 3] = [0.005, 0.03, 0.15];
/// Most copies sent because a receiver behind a server asks: everybody else gets them as well.
const MOST_ASKED: u8 = 2;

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
    /// Most copies that somebody asks for who gets it from a server.
    pub(crate) asked_copies: u8,
}

/// See the module's text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sound {
    plan: SoundPlan,
    lost: Lost,
    fits_since: Option<Instant>,
    room: Room,
}

impl Sound {
    pub(crate) fn plan(&self) -> SoundPlan {
        self.plan
    }

    pub(crate) fn handle(&mut self, now: Instant, signal: Signal) {
        let worth = self.lost.note(now, signal.loss);
        let (asked, least) = match signal.is_forwarded {
            true => (signal.asked_copies.min(MOST_ASKED), LEAST_PERCENT_SFU),
            false => (0, LEAST_PERCENT),
        };
        let room = self.room.note(now, signal.target_bps);
        self.plan.copies = worth.copies.max(asked).min(room);
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
}

/// How many copies the loss on the way from the server calls for, at the receiver.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hearing {
    lost: Lost,
    room: Room,
    copies: u8,
}

impl Hearing {
    /// How many copies to ask for, at most [`MOST_ASKED`].
    pub(crate) fn copies(&self) -> u8 {
        self.copies
    }

    /// Takes the loss on that way, 0 to 1, and what comes over it, in bit/s: who gets little may be
    /// able to get no more, and nobody knows.
    pub(crate) fn handle(&mut self, now: Instant, loss: f64, received_bps: u64) {
        let room = self.room.note(now, received_bps);
        let worth = self.lost.note(now, loss);
        self.copies = worth.copies.min(room).min(MOST_ASKED);
    }
}

/// What a loss is worth: percent to prepare for, and copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    percent: u8,
    copies: u8,
}

/// The worst of the last [`FORGET`], and since when it has not been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Lost(Option<(Worth, Instant)>);

impl Lost {
    fn note(&mut self, now: Instant, loss: f64) -> Worth {
        let seen = worth(loss);
        match self.0 {
            Some((known, at)) if seen < known && now.saturating_duration_since(at) < FORGET => {
                known
            }
            _ => self.0.insert((seen, now)).0,
        }
    }
}

/// For how many copies there is room, and since when for more.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    copies: Option<u8>,
    more_since: Option<Instant>,
}

impl Room {
    /// Less room counts at once, and the first that is known; more after a while. 0 bit/s: not known.
    fn note(&mut self, now: Instant, carried_bps: u64) -> u8 {
        let fits = ROOM_BPS.iter().filter(|least| **least <= carried_bps);
        let fits = fits.count() as u8;
        if carried_bps > 0 {
            let since = *self.more_since.get_or_insert(now);
            let is_more = self.copies.is_some_and(|copies| fits > copies);
            if !is_more || now.saturating_duration_since(since) >= UP_AFTER {
                *self = Self {
                    copies: Some(fits),
                    more_since: None,
                };
            }
        }
        self.copies.unwrap_or(0)
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
            (270, 0.5, true, false, (32, 5, 2)),
            (180, 0.5, true, false, (32, 5, 1)),
            (2_000, f64::NAN, true, false, (32, 5, 0)),
            (95, 0.12, true, false, (32, 20, 0)),
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
                asked_copies: 0,
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
                asked_copies: 0,
            };
            sound.handle(start + Duration::from_secs(second), signal);
            let plan = sound.plan();
            let percent = plan.expected_loss_percent;
            (plan.bitrate_bps / 1_000, percent, plan.copies)
        };
        assert_eq!(at(0, 90, 0.0), (32, 5, 0));
        assert_eq!(at(1, 60, 0.12), (16, 20, 0), "both at once");
        assert_eq!(at(2, 60, 0.0), (16, 20, 0));
        assert_eq!(at(3, 200, 0.0), (16, 20, 0));
        assert_eq!(at(7, 200, 0.0), (16, 20, 0));
        assert_eq!(at(8, 180, 0.03), (32, 5, 1), "five seconds of room");
        assert_eq!(at(10, 700, 0.2), (32, 5, 1), "no room for more yet");
        assert_eq!(at(15, 700, 0.0), (32, 5, 3));
        assert_eq!(at(16, 270, 0.0), (32, 5, 2), "less room counts at once");
        assert_eq!(at(19, 270, 0.0), (32, 5, 2));
        assert_eq!(at(20, 270, 0.0), (32, 5, 0), "ten seconds without");
        assert_eq!(at(21, 90, 0.06), (32, 15, 0), "no room at all");
    }

    #[test]
    fn who_hears_badly_through_a_server_is_sent_copies_and_others_in_a_mesh_are_not() {
        let start = Instant::now();
        let cases = [
            // Copies asked for, forwarded, target in kbit/s; copies sent.
            (0, true, 2_000, 0),
            (1, true, 2_000, 1),
            (3, true, 2_000, 2),
            (200, true, 180, 1),
            (2, true, 90, 0),
            (2, false, 2_000, 0),
        ];
        for (asked_copies, is_forwarded, kbps, want) in cases {
            let mut sound = Sound::default();
            sound.handle(
                start,
                Signal {
                    target_bps: kbps * 1_000,
                    loss: 0.0,
                    has_picture: true,
                    is_forwarded,
                    asked_copies,
                },
            );
            assert_eq!(
                sound.plan().copies,
                want,
                "{asked_copies} {is_forwarded} {kbps}"
            );
        }
    }

    #[test]
    fn copies_are_asked_for_by_loss_where_more_can_come() {
        let start = Instant::now();
        let mut hearing = Hearing::default();
        let mut at = |second: u64, loss: f64, kbps: u64| {
            hearing.handle(start + Duration::from_secs(second), loss, kbps * 1_000);
            hearing.copies()
        };
        assert_eq!(at(0, 0.2, 0), 0, "nothing comes");
        assert_eq!(at(1, 0.2, 1_000), 2);
        assert_eq!(at(2, 0.0, 180), 1, "less may be all there is");
        assert_eq!(at(3, 0.0, 1_000), 1);
        assert_eq!(at(8, 0.01, 1_000), 2, "more for five seconds");
        assert_eq!(at(13, 0.01, 1_000), 1, "ten seconds with less loss");
        assert_eq!(at(24, 0.0, 1_000), 0);
    }
}
