//! Whether what a channel is given gets acknowledged.
//!
//! SCTP doubles its wait with every repetition, and the stack gives repeating up after the sixth
//! (RFC 9260, section 6.3.3; `max_t3_rtx_retrans` of rtc-sctp, which cannot be set from here): after an
//! interruption of the path its data stands still for as long again, after more than a minute for ever.
//! Who sends looks for another way once [`Progress::is_stalled`], and the link is given up, for another
//! to be opened, once [`Progress::is_hopeless`].
//!
//! Only the control channel is watched: what is slow to read a file would hold up the bulk channel, and
//! nothing is late on the lossy one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use webrtc::data_channel::DataChannel;

use crate::channels::Sent;
use crate::shared::Shared;

/// How often is looked.
const EVERY: Duration = Duration::from_millis(500);
/// Without an acknowledgement for so long, on a path that works or not, other ways are better. Longer than
/// SCTP's first repetition takes.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// The same on a path that works the whole time, before the link is given up. Lower gives up links whose
/// packets get lost now and then, higher leaves messages waiting.
const HOPELESS_AFTER: Duration = Duration::from_secs(10);

/// See the module's text. All of it is pure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    acknowledged: u64,
    /// Since when nothing more was, or there was nothing to acknowledge.
    since: Instant,
    connected_since: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            acknowledged: 0,
            since: now,
            connected_since: None,
        }
    }

    /// Takes how many bytes the channel was `given` in all and how many of them are `outstanding`.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        is_connected: bool,
        given: u64,
        outstanding: u64,
    ) {
        let acknowledged = given.saturating_sub(outstanding);
        if outstanding == 0 || acknowledged > self.acknowledged {
            self.since = now;
        }
        self.acknowledged = acknowledged;
        match is_connected {
            true => _ = self.connected_since.get_or_insert(now),
            false => self.connected_since = None,
        }
    }

    /// Whether a message would wait.
    pub(crate) fn is_stalled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= STALLED_AFTER
    }

    /// Whether the path is not what holds messages up.
    pub(crate) fn is_hopeless(&self, now: Instant) -> bool {
        let both = self.connected_since.map(|at| at.max(self.since));
        both.is_some_and(|at| now.saturating_duration_since(at) >= HOPELESS_AFTER)
    }
}

/// Watches a channel until it closes.
pub(crate) async fn run_watch(channel: Arc<dyn DataChannel>, sent: Sent, shared: Arc<Shared>) {
    let mut progress = Progress::new(Instant::now());
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let given = sent.bytes();
        let Ok(outstanding) = channel.outstanding_bytes().await else {
            return;
        };
        let now = Instant::now();
        let is_connected = shared.is_connected.load(Ordering::Relaxed);
        progress.handle(now, is_connected, given, outstanding as u64);
        let is_stalled = progress.is_stalled(now);
        shared.is_stalled.store(is_stalled, Ordering::Relaxed);
        if progress.is_hopeless(now) {
            shared.gave_up.notify_one();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs (for ms, connected, given a second, acknowledged a second) and tells when it stalled first and
    /// when it was hopeless, in ms.
    fn run(spans: &[(u64, bool, u64, u64)]) -> (Option<u64>, Option<u64>) {
        let begin = Instant::now();
        let mut progress = Progress::new(begin);
        let (mut at_ms, mut given, mut acknowledged) = (0, 0, 0);
        let (mut stalled, mut hopeless) = (None, None);
        for &(for_ms, is_connected, gives, takes) in spans {
            for _ in 0..for_ms / 500 {
                at_ms += 500;
                given += gives / 2;
                acknowledged = given.min(acknowledged + takes / 2);
                let now = begin + Duration::from_millis(at_ms);
                progress.handle(now, is_connected, given, given - acknowledged);
                stalled = stalled.or(progress.is_stalled(now).then_some(at_ms));
                hopeless = hopeless.or(progress.is_hopeless(now).then_some(at_ms));
            }
        }
        (stalled, hopeless)
    }

    #[test]
    fn a_channel_with_nothing_to_do_or_something_done_is_well() {
        assert_eq!(run(&[(60_000, true, 0, 0)]), (None, None));
        assert_eq!(run(&[(60_000, true, 1_000, 100)]), (None, None));
        assert_eq!(run(&[(60_000, false, 0, 0)]), (None, None));
    }

    #[test]
    fn what_stands_still_stalls_soon_and_is_given_up_only_on_a_path_that_works() {
        let well = (10_000, true, 1_000, 1_000);
        let stuck = (60_000, true, 1_000, 0);
        assert_eq!(run(&[well, stuck]), (Some(12_000), Some(20_000)));
        let cut = (60_000, false, 1_000, 0);
        assert_eq!(run(&[well, cut]), (Some(12_000), None));
        assert_eq!(
            run(&[well, cut, stuck]),
            (Some(12_000), Some(80_500)),
            "ten seconds after the path is seen to be back"
        );
        let slow = (9_000, true, 0, 0);
        assert_eq!(run(&[well, cut, slow, well]).1, None, "it came at last");
    }
}
