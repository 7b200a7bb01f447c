//! When keyframes are asked for: pure. Requests for one stream within [`EVERY`] become one; a
//! request that comes too early is made up for later, because the keyframe it wants may be newer
//! than the one that is already on its way.
//!
//! Invariant: at most [`MAX_STREAMS`] streams are remembered, the longest unasked one forgotten
//! first. Not here: the messages, and which streams there are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between requests for one stream; an encoder needs longer than this to answer one.
const EVERY: Duration = Duration::from_millis(100);
/// An SFU link has 16 picture slots.
const MAX_STREAMS: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    is_due_again: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct KeyframeRequests {
    streams: BTreeMap<u32, Asked>,
}

impl KeyframeRequests {
    /// Somebody wants a keyframe of this stream; whether to ask for it at once.
    pub(crate) fn handle_wish(&mut self, now: Instant, ssrc: u32) -> bool {
        if let Some(asked) = self.streams.get_mut(&ssrc)
            && now.saturating_duration_since(asked.at) < EVERY
        {
            asked.is_due_again = true;
            return false;
        }
        if self.streams.len() == MAX_STREAMS && !self.streams.contains_key(&ssrc) {
            let oldest = self.streams.iter().min_by_key(|(_, asked)| asked.at);
            if let Some(ssrc) = oldest.map(|(ssrc, _)| *ssrc) {
                self.streams.remove(&ssrc);
            }
        }
        let asked = Asked {
            at: now,
            is_due_again: false,
        };
        self.streams.insert(ssrc, asked);
        true
    }

    /// The streams to ask now.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        for (ssrc, asked) in &mut self.streams {
            if asked.is_due_again && now.saturating_duration_since(asked.at) >= EVERY {
                asked.at = now;
                asked.is_due_again = false;
                due.push(*ssrc);
            }
        }
        due
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.streams.values().filter(|asked| asked.is_due_again);
        due.map(|asked| asked.at + EVERY).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_merged_per_stream_and_the_last_one_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        assert!(requests.handle_wish(at(0), 1));
        assert!(requests.handle_wish(at(0), 2), "another stream");
        assert!(!requests.handle_wish(at(10), 1) && !requests.handle_wish(at(50), 1));
        assert_eq!(requests.poll_timeout(), Some(at(100)));
        assert!(requests.handle_timeout(at(99)).is_empty());
        assert_eq!(requests.handle_timeout(at(100)), [1]);
        assert_eq!(requests.poll_timeout(), None, "stream 2 was asked once");
        assert!(!requests.handle_wish(at(150), 1) && requests.handle_wish(at(150), 2));
        assert_eq!(requests.handle_timeout(at(300)), [1]);
    }

    #[test]
    fn the_longest_unasked_stream_is_forgotten_first() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        for ssrc in 0..=MAX_STREAMS as u32 {
            let now = start + Duration::from_micros(ssrc.into());
            assert!(requests.handle_wish(now, ssrc));
        }
        assert_eq!(requests.streams.len(), MAX_STREAMS);
        assert!(!requests.handle_wish(start, 1), "still remembered");
        assert!(requests.handle_wish(start, 0), "forgotten");
    }
}
