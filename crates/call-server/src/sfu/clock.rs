//! When a packet was captured, on this machine's clock, so that the sender reports of all streams
//! of one member agree and receivers can keep lips and voice together.
//!
//! A member's own sender reports tie its RTP timestamps to its wall clock (RFC 3550, section 6.4.1).
//! That clock is not ours; the first report anchors it to when its packet arrived. Invariant: no
//! time returned is later than the arrival.

use std::time::{Duration, Instant, SystemTime};

/// A wall clock that jumped further than this is anchored anew.
const MAX_DRIFT: Duration = Duration::from_secs(10);

/// One member's clock.
#[derive(Debug, Default)]
pub(super) struct SourceClock {
    anchor: Option<(SystemTime, Instant)>,
}

impl SourceClock {
    /// The time of a packet that `ticks` of `clock_rate` separate from its stream's last report.
    pub(super) fn captured_at(
        &mut self,
        arrival: Instant,
        report: SystemTime,
        ticks: i32,
        clock_rate: u32,
    ) -> Instant {
        let offset =
            Duration::from_secs_f64(f64::from(ticks.unsigned_abs()) / f64::from(clock_rate.max(1)));
        let captured = if ticks < 0 {
            report.checked_sub(offset)
        } else {
            report.checked_add(offset)
        };
        let Some(captured) = captured else {
            return arrival;
        };
        let (anchor, at) = *self.anchor.get_or_insert((captured, arrival));
        let time = match captured.duration_since(anchor) {
            Ok(later) => at.checked_add(later),
            Err(earlier) => at.checked_sub(earlier.duration()),
        };
        let is_near = time.is_some_and(|time| {
            time.saturating_duration_since(arrival) < MAX_DRIFT
                && arrival.saturating_duration_since(time) < MAX_DRIFT
        });
        match time {
            Some(time) if is_near && time <= arrival => time,
            _ => {
                self.anchor = Some((captured, arrival));
                arrival
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn streams_of_one_member_share_a_clock() {
        let mut clock = SourceClock::default();
        let arrival = Instant::now() + Duration::from_secs(100);
        let report = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        // Sound captured at the report, arriving 20 ms later than what follows by 10 ms.
        assert_eq!(clock.captured_at(arrival, report, 0, 48_000), arrival);
        let picture = clock.captured_at(arrival + 30 * MS, report, 900, 90_000);
        assert_eq!(picture, arrival + 10 * MS);
        let earlier = clock.captured_at(arrival + 30 * MS, report, -480, 48_000);
        assert_eq!(earlier, arrival - 10 * MS);
    }

    #[test]
    fn no_time_is_later_than_the_arrival() {
        let mut clock = SourceClock::default();
        let arrival = Instant::now() + Duration::from_secs(100);
        let report = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        clock.captured_at(arrival, report, 0, 48_000);
        let early = clock.captured_at(arrival + 5 * MS, report, 480, 48_000);
        assert_eq!(early, arrival + 5 * MS);
        let next = clock.captured_at(arrival + 25 * MS, report, 960, 48_000);
        assert_eq!(next, arrival + 15 * MS, "the faster packet is the anchor");
    }

    #[test]
    fn a_clock_that_jumps_is_anchored_anew() {
        let mut clock = SourceClock::default();
        let arrival = Instant::now() + Duration::from_secs(100);
        let report = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        clock.captured_at(arrival, report, 0, 48_000);
        for report in [
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000),
        ] {
            for ticks in [0, i32::MIN, i32::MAX] {
                let time = clock.captured_at(arrival, report, ticks, 0);
                assert!(time <= arrival && arrival - time < MAX_DRIFT);
            }
        }
    }
}
