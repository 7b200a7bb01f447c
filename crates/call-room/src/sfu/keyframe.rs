//! When to ask for a keyframe: `Idle → Wanted → Idle` with each keyframe that comes. While one is
//! wanted it is asked for at most every [`INTERVAL`], and less often where a stream stays silent.

use std::time::{Duration, Instant};

/// Shortest time between two requests on one stream. Shorter repairs a lost request sooner;
/// longer spares the sender's uplink, as a keyframe is several times the size of other frames.
const INTERVAL: Duration = Duration::from_millis(500);
/// Longest time between two requests, once several were in vain.
const SLOW_INTERVAL: Duration = Duration::from_secs(2);
/// Requests in vain after which to ask less often.
const QUICK_TRIES: u32 = 6;
/// A receiver that asked and did not ask again within this time got its picture some other way.
const MEMORY: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct KeyframeThrottle {
    /// Until when a receiver's own request counts.
    asked_until: Option<Instant>,
    last: Option<Instant>,
    tries: u32,
}

impl KeyframeThrottle {
    /// A receiver lost its picture.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked_until = Some(now + MEMORY);
    }

    /// A keyframe begins.
    pub(super) fn came(&mut self) {
        self.asked_until = None;
        self.tries = 0;
    }

    /// Whether to send a request now. `is_awaited`: a slot waits to begin with this stream.
    pub(super) fn poll(&mut self, now: Instant, is_awaited: bool) -> bool {
        let is_asked = self.asked_until.is_some_and(|until| now < until);
        if !is_awaited && !is_asked {
            self.tries = 0;
            return false;
        }
        let interval = if self.tries < QUICK_TRIES {
            INTERVAL
        } else {
            SLOW_INTERVAL
        };
        if self.last.is_some_and(|last| now < last + interval) {
            return false;
        }
        self.last = Some(now);
        self.tries = self.tries.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_repeated_until_a_keyframe_came() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttle = KeyframeThrottle::default();
        assert!(!throttle.poll(at(0), false));
        let sent: Vec<u64> = (0..60)
            .map(|step| step * 100)
            .filter(|ms| throttle.poll(at(*ms), true))
            .collect();
        assert_eq!(sent, [0, 500, 1_000, 1_500, 2_000, 2_500, 4_500]);
        throttle.came();
        assert!(!throttle.poll(at(6_000), false));
        throttle.ask(at(6_400));
        assert!(!throttle.poll(at(6_450), true) || at(6_450) >= at(4_500) + INTERVAL);
    }

    #[test]
    fn many_receivers_share_one_request() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttle = KeyframeThrottle::default();
        let mut sent = Vec::new();
        for ms in (0..1_000).step_by(10) {
            throttle.ask(at(ms));
            if throttle.poll(at(ms), false) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 500]);
        // It came; nobody asks any more.
        throttle.came();
        assert!(!throttle.poll(at(1_500), false));
        // A receiver asked once, and its request is forgotten.
        throttle.ask(at(2_000));
        assert!(throttle.poll(at(2_000), false));
        assert!(throttle.poll(at(2_500), false));
        assert!(!throttle.poll(at(4_100), false));
    }
}
