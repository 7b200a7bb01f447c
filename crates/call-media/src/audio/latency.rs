//! How long sound takes through devices: figures that real-time callbacks write and others read.
//!
//! cpal tells with each callback when its samples were, or will be, at the converter. What a host
//! reports is not always true (zeros, other clocks, seconds), so only figures within
//! [`MOST_LATENCY`] count; without a sane one a device is taken for immediate. One atomic per
//! figure: no lock, no order between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longest latency believed. Wireless headsets take 300 ms.
const MOST_LATENCY: Duration = Duration::from_millis(500);

/// Latency of one direction of one open device.
#[derive(Debug, Default)]
pub(crate) struct DeviceLatency {
    us: AtomicU32,
}

impl DeviceLatency {
    /// From the microphone's callback: its first sample is `since_capture` old, and `frames` were
    /// captured since then by nature.
    pub(crate) fn handle_input(&self, since_capture: Option<Duration>, frames: Duration) {
        self.store(since_capture.map(|time| time.saturating_sub(frames)));
    }

    /// From the speaker's callback: its first sample will be heard in `until_playback`.
    pub(crate) fn handle_output(&self, until_playback: Option<Duration>) {
        self.store(until_playback);
    }

    fn store(&self, latency: Option<Duration>) {
        let Some(latency) = latency.filter(|latency| *latency <= MOST_LATENCY) else {
            return;
        };
        self.us.store(latency.as_micros() as u32, Ordering::Relaxed);
    }

    /// The last figure believed; zero if there was none.
    pub(crate) fn get(&self) -> Duration {
        Duration::from_micros(u64::from(self.us.load(Ordering::Relaxed)))
    }
}

/// Time from mixing a block until it is heard: what waits in the playout ring, and the device.
/// The speaker writes it, the microphone's echo canceller reads it.
#[derive(Clone, Debug, Default)]
pub struct PlayoutDelay {
    us: Arc<AtomicU32>,
}

impl PlayoutDelay {
    /// Longest delay told, in microseconds: a second.
    const MOST_US: u128 = 1_000_000;

    pub(crate) fn set(&self, delay: Duration) {
        let us = delay.as_micros().min(Self::MOST_US) as u32;
        self.us.store(us, Ordering::Relaxed);
    }

    /// The delay of the block mixed last; zero while nothing plays.
    pub fn get(&self) -> Duration {
        Duration::from_micros(u64::from(self.us.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_figures_count() {
        let ms = Duration::from_millis;
        let latency = DeviceLatency::default();
        assert_eq!(latency.get(), Duration::ZERO);
        latency.handle_input(Some(ms(25)), ms(10));
        assert_eq!(latency.get(), ms(15));
        latency.handle_input(None, ms(10));
        latency.handle_input(Some(Duration::from_secs(9)), ms(10));
        latency.handle_output(Some(Duration::MAX));
        assert_eq!(latency.get(), ms(15));
        latency.handle_input(Some(ms(3)), ms(10));
        assert_eq!(latency.get(), Duration::ZERO);
        latency.handle_output(Some(ms(40)));
        assert_eq!(latency.get(), ms(40));
        let delay = PlayoutDelay::default();
        delay.clone().set(Duration::from_secs(70));
        assert_eq!(delay.get(), Duration::from_secs(1));
    }
}
