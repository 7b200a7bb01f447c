//! Bits per second over the latest part of a stream of packets: pure arithmetic.
//!
//! Invariants: at most [`KEPT_MS`] of time and [`MAX_PACKETS`] packets are remembered.

use std::collections::VecDeque;

/// Longest window anybody asks for.
const KEPT_MS: f64 = 1_000.0;
/// A bound for memory: 8 Mbit/s of small packets.
const MAX_PACKETS: usize = 8_192;
/// A rate over less says nothing.
const LEAST_MS: f64 = 50.0;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct RateWindow {
    packets: VecDeque<(f64, usize)>,
}

impl RateWindow {
    /// A packet of `bytes` at `at_ms`; times ascend but for reordering, which does no harm.
    pub(super) fn handle_packet(&mut self, at_ms: f64, bytes: usize) {
        self.packets.push_back((at_ms, bytes));
        while self.packets.len() > MAX_PACKETS
            || self
                .packets
                .front()
                .is_some_and(|packet| packet.0 < at_ms - KEPT_MS)
        {
            self.packets.pop_front();
        }
    }

    /// The rate over the last `window_ms`, if that much is known.
    pub(super) fn bps(&self, window_ms: f64) -> Option<f64> {
        let newest_ms = self.packets.back()?.0;
        let oldest = self.packets.front()?.0.max(newest_ms - window_ms);
        let from = self.packets.partition_point(|packet| packet.0 < oldest);
        let first_ms = self.packets.get(from)?.0;
        let span_ms = newest_ms - first_ms;
        let bytes: usize = self.packets.range(from + 1..).map(|packet| packet.1).sum();
        (span_ms >= LEAST_MS.max(window_ms * 0.3)).then(|| bytes as f64 * 8e3 / span_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_window() {
        let mut rate = RateWindow::default();
        assert_eq!(rate.bps(500.0), None);
        for index in 0..100 {
            rate.handle_packet(f64::from(index) * 10.0, 1_000);
        }
        for index in 0..20 {
            rate.handle_packet(1_000.0 + f64::from(index) * 10.0, 500);
        }
        let short = rate.bps(150.0).unwrap();
        assert!((short - 400_000.0).abs() < 1.0, "{short}");
        let long = rate.bps(1_000.0).unwrap();
        assert!((700_000.0..760_000.0).contains(&long), "{long}");
    }
}
