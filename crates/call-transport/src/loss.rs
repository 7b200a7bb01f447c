//! Finds lost packets of one stream and decides when to ask for them again: pure.
//!
//! Unlike the stack's own generator it is told about retransmissions on the RTX stream (RFC 4588),
//! so that a repaired packet is not asked for again and again.
//!
//! Invariants: at most [`MAX_MISSING`] packets are tracked; a jump further than that is a restart
//! of the stream, not a loss. A packet is given up after [`MAX_TRIES`] requests or [`MAX_AGE`].
//! Not here: NACK packets (see [`crate::nack`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::meter::extend;

/// More than a second of high definition video.
const MAX_MISSING: u64 = 500;
/// Requests for one packet.
const MAX_TRIES: u32 = 10;
/// After this a keyframe is faster than the repair.
const MAX_AGE: Duration = Duration::from_millis(1_000);
/// A repeated request waits for the round trip and this much for the peer's pacing.
const RETRY_MARGIN: Duration = Duration::from_millis(20);
/// On a LAN the round trip says nothing about the peer's scheduling.
const RETRY_MIN: Duration = Duration::from_millis(40);

/// What a packet meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one, or the first.
    Expected,
    /// These before it are missing: ask for them.
    Gap(Vec<u16>),
    /// It filled a gap.
    Repaired,
    /// It was there already, or was given up before.
    Stale,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    tries: u32,
    first_at: Instant,
    last_at: Instant,
}

/// One stream's gaps.
#[derive(Debug, Default)]
pub(crate) struct LossDetector {
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// To be asked for again.
    pub(crate) again: Vec<u16>,
    /// Given up.
    pub(crate) given_up: u64,
}

impl LossDetector {
    /// A packet of the stream, or (`is_rtx`) a retransmission of one.
    pub(crate) fn handle_packet(&mut self, now: Instant, sequence: u16, is_rtx: bool) -> Verdict {
        let extended = extend(self.highest, sequence);
        let Some(highest) = self.highest else {
            if is_rtx {
                return Verdict::Stale;
            }
            self.highest = Some(extended);
            return Verdict::Expected;
        };
        if extended <= highest || is_rtx {
            let was_missing = self.missing.remove(&extended).is_some();
            return if was_missing {
                Verdict::Repaired
            } else {
                Verdict::Stale
            };
        }
        self.highest = Some(extended);
        if extended - highest > MAX_MISSING {
            self.missing.clear();
            return Verdict::Expected;
        }
        let gap: Vec<u64> = (highest + 1..extended).collect();
        for lost in &gap {
            self.missing.insert(
                *lost,
                Missing {
                    tries: 1,
                    first_at: now,
                    last_at: now,
                },
            );
        }
        while self.missing.len() as u64 > MAX_MISSING {
            self.missing.pop_first();
        }
        if gap.is_empty() {
            Verdict::Expected
        } else {
            Verdict::Gap(gap.into_iter().map(|lost| lost as u16).collect())
        }
    }

    /// Collects what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rtt: Duration) -> Due {
        let retry_after = retry_after(rtt);
        let before = self.missing.len();
        self.missing.retain(|_, missing| {
            let is_due = now.saturating_duration_since(missing.last_at) >= retry_after;
            let is_hopeless = missing.tries >= MAX_TRIES && is_due;
            !is_hopeless && now.saturating_duration_since(missing.first_at) < MAX_AGE
        });
        let given_up = (before - self.missing.len()) as u64;
        let mut again = Vec::new();
        for (sequence, missing) in &mut self.missing {
            if now.saturating_duration_since(missing.last_at) >= retry_after {
                missing.tries += 1;
                missing.last_at = now;
                again.push(*sequence as u16);
            }
        }
        Due { again, given_up }
    }

    /// When something is due, given the round-trip time.
    pub(crate) fn poll_timeout(&self, rtt: Duration) -> Option<Instant> {
        self.missing
            .values()
            .map(|missing| missing.last_at + retry_after(rtt))
            .min()
    }
}

fn retry_after(rtt: Duration) -> Duration {
    (rtt + RETRY_MARGIN).max(RETRY_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    #[test]
    fn a_gap_is_asked_for_once_and_repaired_by_rtx() {
        let now = Instant::now();
        let mut detector = LossDetector::default();
        assert_eq!(
            detector.handle_packet(now, 65_534, false),
            Verdict::Expected
        );
        assert_eq!(
            detector.handle_packet(now, 1, false),
            Verdict::Gap(vec![65_535, 0])
        );
        assert_eq!(detector.handle_packet(now, 65_535, true), Verdict::Repaired);
        assert_eq!(detector.handle_packet(now, 65_535, true), Verdict::Stale);
        assert_eq!(
            detector.handle_packet(now, 0, false),
            Verdict::Repaired,
            "late original"
        );
        assert_eq!(detector.poll_timeout(RTT), None, "nothing left to ask for");
        assert_eq!(detector.handle_timeout(now + MAX_AGE, RTT), Due::default());
    }

    #[test]
    fn requests_repeat_at_the_round_trip_and_end() {
        let now = Instant::now();
        let mut detector = LossDetector::default();
        detector.handle_packet(now, 1, false);
        detector.handle_packet(now, 3, false);
        let mut requests = 1;
        let mut given_up = 0;
        let mut last = now;
        while let Some(at) = detector.poll_timeout(RTT) {
            let due = detector.handle_timeout(at, RTT);
            requests += due.again.len();
            given_up += due.given_up;
            last = at;
        }
        assert_eq!((requests, given_up), (9, 1), "every 120 ms for a second");
        assert!(last - now <= MAX_AGE + RTT);
        assert_eq!(detector.handle_packet(last, 2, true), Verdict::Stale);
    }

    #[test]
    fn a_jump_is_not_a_loss_and_tracking_is_bounded() {
        let now = Instant::now();
        let mut detector = LossDetector::default();
        detector.handle_packet(now, 0, false);
        assert_eq!(
            detector.handle_packet(now, 10_000, false),
            Verdict::Expected
        );
        assert_eq!(detector.poll_timeout(RTT), None);
        for step in 1..20_u16 {
            detector.handle_packet(now, 10_000 + step * 400, false);
        }
        assert!(detector.missing.len() as u64 <= MAX_MISSING);
    }

    #[test]
    fn rtx_probes_before_the_stream_are_nothing() {
        let mut detector = LossDetector::default();
        assert_eq!(
            detector.handle_packet(Instant::now(), 7, true),
            Verdict::Stale
        );
    }
}
