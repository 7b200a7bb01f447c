//! Keeps a person's picture and sound together.
//!
//! Sender reports tell when what is heard and what is shown was captured, on one clock (RFC 3550,
//! section 6.4.1). From one pair of observations follows the delay the picture needs to be in
//! step. The picture waits for the sound; when the path of the picture is so uneven that it cannot
//! be shown that early, the sound is held back instead, step by step.
//!
//! Bounds after ITU-R BT.1359: sound up to 45 ms early or 125 ms late is not noticed; the aim here
//! is 40 ms either way, so the sound is left alone within 20 ms.
//!
//! Pure. Deliberately not here: reading reports, and applying the delays
//! ([`crate::video::playout`], the jitter buffer).

use std::time::Instant;

/// Decoding, the hand-over to the screen and half a refresh, in µs: what passes between a picture's
/// due time and its light.
pub const DISPLAY_US: i64 = 20_000;
/// Lag of the picture, in µs, within which the sound is not held back.
const TOLERANCE_US: i64 = 20_000;
/// Largest change of the sound's delay per update, in µs. The jitter buffer stretches that in
/// without a gap within the time between two updates.
const SOUND_STEP_US: i64 = 10_000;
/// The sound is never held back by more than this, in µs.
const MOST_SOUND_US: i64 = 300_000;
/// Share of a new observation in the smoothed delay: one eighth. Blocks are pulled unevenly by
/// ten milliseconds and more.
const SMOOTHING: i64 = 8;
/// An observation this far from the smoothed delay, in µs, is a new situation.
const JUMP_US: i64 = 150_000;

/// Reports that put sound and picture further apart than this, in µs, are wrong.
const MOST_APART_US: i64 = 10_000_000;

/// A sample of sound: when it was captured (µs of the sender's clock) and when it is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Capture time in µs of the sender's wall clock.
    pub capture_us: i64,
    /// When it leaves the speaker.
    pub at: Instant,
}

/// A picture: when it was captured (µs of the same clock) and when it could be shown at the
/// earliest, without any delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Capture time in µs of the sender's wall clock.
    pub capture_us: i64,
    /// See [`crate::video::playout::VideoPlayout::undelayed_at`].
    pub undelayed_at: Instant,
}

/// What both sides are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPlan {
    /// Delay of the picture above its fastest transit, in µs; may be negative.
    pub picture_delay_us: i64,
    /// Extra delay of the sound, in milliseconds.
    pub sound_delay_ms: u32,
}

/// See the [module documentation](self).
#[derive(Clone, Debug, Default)]
pub struct LipSync {
    picture_delay_us: Option<i64>,
    sound_delay_us: i64,
}

impl LipSync {
    /// Takes what is heard and seen at about the same time, and the delay the picture needs
    /// anyway for its jitter. Meant a few times a second.
    pub fn handle_observation(
        &mut self,
        heard: Heard,
        seen: Seen,
        jitter_delay_us: i64,
    ) -> SyncPlan {
        let apart_us = seen.capture_us.saturating_sub(heard.capture_us);
        let observed_us = signed_us(heard.at, seen.undelayed_at)
            .saturating_add(apart_us)
            .saturating_sub(DISPLAY_US)
            .clamp(-MOST_APART_US, MOST_APART_US);
        let picture_delay_us = match self.picture_delay_us {
            Some(smoothed) if smoothed.abs_diff(observed_us) < JUMP_US as u64 => {
                smoothed + (observed_us - smoothed) / SMOOTHING
            }
            _ => observed_us,
        };
        self.picture_delay_us = Some(picture_delay_us);
        let lag_us = jitter_delay_us - picture_delay_us;
        let step_us = match lag_us {
            ..0 => lag_us.max(-SOUND_STEP_US),
            0..=TOLERANCE_US => 0,
            _ => (lag_us - TOLERANCE_US).min(SOUND_STEP_US),
        };
        self.sound_delay_us = (self.sound_delay_us + step_us).clamp(0, MOST_SOUND_US);
        SyncPlan {
            picture_delay_us,
            sound_delay_ms: u32::try_from(self.sound_delay_us / 1_000).unwrap_or(0),
        }
    }
}

/// `a - b` in µs.
fn signed_us(a: Instant, b: Instant) -> i64 {
    let us =
        |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match a.checked_duration_since(b) {
        Some(after) => us(after),
        None => -us(b.duration_since(a)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A call in which sound takes `sound_ms` from capture to the ear (plus what is asked for) and
    /// a picture `picture_ms` to the earliest moment it could be shown, with `jitter_ms` on top.
    /// Returns how far the picture lags behind the sound in the end, in ms, and the sound's extra
    /// delay.
    fn settle(sound_ms: i64, picture_ms: i64, jitter_ms: i64, clock_offset_ms: i64) -> (i64, u32) {
        let start = Instant::now() + Duration::from_secs(3_600);
        let mut sync = LipSync::default();
        let mut plan = SyncPlan {
            picture_delay_us: 0,
            sound_delay_ms: 0,
        };
        let mut lag_ms = 0;
        for tick in 0..200u32 {
            let now = start + Duration::from_millis(200) * tick;
            let now_us = i64::from(tick) * 200_000 + clock_offset_ms * 1_000;
            // Blocks are pulled up to 10 ms early or late.
            let unevenness_us = i64::from(tick * 7_919 % 20) * 1_000 - 10_000;
            let sound_us = (sound_ms + i64::from(plan.sound_delay_ms)) * 1_000;
            let heard = Heard {
                capture_us: now_us - sound_us + unevenness_us,
                at: now,
            };
            let seen = Seen {
                capture_us: now_us - picture_ms * 1_000,
                undelayed_at: now,
            };
            plan = sync.handle_observation(heard, seen, jitter_ms * 1_000);
            let picture_us = plan.picture_delay_us.max(jitter_ms * 1_000).max(0);
            lag_ms = (picture_ms * 1_000 + picture_us + DISPLAY_US - sound_us) / 1_000;
        }
        (lag_ms, plan.sound_delay_ms)
    }

    #[test]
    fn pictures_wait_for_sound_and_sound_for_late_pictures() {
        // Sound, picture, jitter of the picture; lag allowed; whether the sound is to wait.
        let cases = [
            (80, 20, 5, 10, false),
            (120, 20, 60, 10, false),
            (300, 15, 0, 10, false),
            (60, 30, 0, 20, false),
            (60, 30, 100, 40, true),
            (40, 100, 150, 40, true),
        ];
        for (sound_ms, picture_ms, jitter_ms, most_ms, sound_waits) in cases {
            for clock_offset_ms in [0, -3_600_000, 1_000_000_000] {
                let (lag_ms, extra_ms) = settle(sound_ms, picture_ms, jitter_ms, clock_offset_ms);
                let case = format!("{sound_ms}/{picture_ms}/{jitter_ms}: lag {lag_ms}, {extra_ms}");
                assert!(lag_ms.abs() <= most_ms, "{case}");
                assert_eq!(extra_ms > 0, sound_waits, "{case}");
            }
        }
    }

    #[test]
    fn nonsense_reports_stay_within_bounds() {
        let now = Instant::now();
        let mut sync = LipSync::default();
        for capture_us in [i64::MIN, i64::MAX, 0, -1, 1 << 40] {
            for _ in 0..100 {
                let heard = Heard {
                    capture_us,
                    at: now,
                };
                let seen = Seen {
                    capture_us: 0,
                    undelayed_at: now,
                };
                let plan = sync.handle_observation(heard, seen, 500_000);
                assert!(i64::from(plan.sound_delay_ms) * 1_000 <= MOST_SOUND_US);
                assert!(plan.picture_delay_us.abs() <= MOST_APART_US);
            }
        }
    }
}
