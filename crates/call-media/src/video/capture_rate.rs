//! How many pictures a source really delivers.
//!
//! A camera halves its rate in the dark without saying so. An encoder that is told 30 frames per
//! second then spends half of its bits and judges its buffer wrongly. The estimate is the smoothed
//! distance of capture times, and holds still until it is clearly off.
//!
//! Pure: capture times in, a rate out.

use std::time::{Duration, Instant};

/// Weight of the newest distance, as a divisor: 16 follows within a second at 30 per second.
/// Higher is calmer, lower faster.
const SMOOTHING: u32 = 16;
/// Change in percent that is taken over. Higher ignores real changes, lower follows jitter.
const CHANGE_PERCENT: f64 = 15.0;
/// Distances before there is an estimate.
const FIRST_COUNT: u32 = 8;
/// A longer distance is a pause, not a rate.
const PAUSE: Duration = Duration::from_secs(2);

/// See the [module documentation](self).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CaptureRate {
    last_at: Option<Instant>,
    count: u32,
    interval: Duration,
    held_fps: Option<f64>,
}

impl CaptureRate {
    /// Takes the capture time of every picture that arrives.
    pub(super) fn handle_picture(&mut self, captured_at: Instant) {
        let Some(last_at) = self.last_at.replace(captured_at) else {
            return;
        };
        let distance = captured_at.saturating_duration_since(last_at);
        if distance > PAUSE || distance.is_zero() {
            return;
        }
        // A plain mean at first, so that the first distance does not weigh for a second.
        self.count = (self.count + 1).min(SMOOTHING);
        self.interval = (self.interval * (self.count - 1) + distance) / self.count;
        if self.count < FIRST_COUNT {
            return;
        }
        let fps = 1.0 / self.interval.as_secs_f64();
        let is_off = |held: f64| (fps / held - 1.0).abs() * 100.0 > CHANGE_PERCENT;
        if self.held_fps.is_none_or(is_off) {
            self.held_fps = Some(fps);
        }
    }

    /// The rate an encoder of at most `fps` sees.
    pub(super) fn limit(&self, fps: u32) -> u32 {
        let held = self.held_fps.map_or(fps, |held| held.round() as u32);
        held.clamp(1, fps.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dark_rooms_are_noticed_and_jitter_is_not() {
        let mut rate = CaptureRate::default();
        let mut at = Instant::now();
        let mut changes = Vec::new();
        let mut feed = |rate: &mut CaptureRate, fps: u32, count: u32| {
            for number in 0..count {
                at += Duration::from_secs(1) / fps;
                // 4 ms of jitter on every third picture.
                rate.handle_picture(at + Duration::from_millis(u64::from(number % 3 == 0) * 4));
                let limited = rate.limit(30);
                if changes.last() != Some(&limited) {
                    changes.push(limited);
                }
            }
            std::mem::take(&mut changes)
        };
        assert_eq!(feed(&mut rate, 30, 300), [30]);
        let dark = feed(&mut rate, 15, 60);
        assert!(
            dark.len() <= 6 && dark.last().unwrap().abs_diff(15) <= 2,
            "{dark:?}"
        );
        let bright = feed(&mut rate, 30, 60);
        assert!(
            bright.len() <= 8 && bright.last().unwrap().abs_diff(30) <= 4,
            "{bright:?}"
        );
        assert_eq!(rate.limit(10), 10, "never above the target");
    }

    #[test]
    fn a_pause_is_no_rate() {
        let mut rate = CaptureRate::default();
        let start = Instant::now();
        for second in 0..30 {
            rate.handle_picture(start + Duration::from_secs(10) * second);
        }
        assert_eq!(rate.limit(30), 30);
    }
}
