//! Which layers of a picture its sender is told to encode: one somebody uses at once, one nobody
//! uses any more after a while, so that a tile that is resized to and fro stops no encoder.

use std::time::{Duration, Instant};

use call_protocol::limits::SFU_LAYERS;

/// How long a layer nobody uses is still wanted. Longer costs the sender's uplink, shorter makes
/// switching back wait for an encoder and its keyframe.
const LINGER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Wanted {
    /// Until when each layer is wanted.
    until: [Instant; SFU_LAYERS],
    told: Option<[bool; SFU_LAYERS]>,
    since: Instant,
}

impl Wanted {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            until: [now; SFU_LAYERS],
            told: None,
            since: now,
        }
    }

    /// The sender has forgotten what it was told, or is another one.
    pub(super) fn tell_again(&mut self, now: Instant) {
        self.told = None;
        self.since = now;
    }

    /// What to tell the sender, if that changed.
    pub(super) fn update(
        &mut self,
        now: Instant,
        in_use: [bool; SFU_LAYERS],
    ) -> Option<[bool; SFU_LAYERS]> {
        for (until, used) in self.until.iter_mut().zip(in_use) {
            if used {
                *until = now + LINGER;
            }
        }
        let wanted = self.until.map(|until| now < until);
        // Nobody has subscribed to a picture yet when it is first offered; others soon will.
        let is_early = self.told.is_none() && now < self.since + LINGER;
        if self.told == Some(wanted) || (is_early && wanted == [false; SFU_LAYERS]) {
            return None;
        }
        self.told = Some(wanted);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_start_at_once_and_stop_after_a_while() {
        let start = Instant::now();
        let mut wanted = Wanted::new(start);
        let (none, small, both) = ([false; 3], [false, false, true], [true, false, true]);
        let cases = [
            (0, none, None),
            (100, small, Some(small)),
            (200, both, Some(both)),
            (300, small, None),
            (400, both, None),
            (500, small, None),
            (2_399, small, None),
            (2_400, small, Some(small)),
            (2_500, none, None),
            (4_400, none, Some(none)),
            (9_000, none, None),
        ];
        for (ms, in_use, want) in cases {
            let now = start + Duration::from_millis(ms);
            assert_eq!(wanted.update(now, in_use), want, "at {ms} ms");
        }
        let now = start + Duration::from_secs(10);
        wanted.tell_again(now);
        assert_eq!(wanted.update(now, none), None);
        assert_eq!(wanted.update(now + LINGER, none), Some(none));
    }
}
