//! How much is asked of others, from how much of it is lost. Pure.
//!
//! What a sender may send is the estimate's of its own link. Where several senders share one
//! downlink, or a receiver's network loses packets without a queue, all of them send too much at
//! once, and the receiver alone can tell: it asks for smaller pictures.

use std::time::{Duration, Instant};

use super::lasting::{Patience, Stepped};
use crate::subscriptions::SizeLimit;

/// From this share of lost packets on pictures stand still more than they move, whatever repairs
/// them. Senders find out by themselves which losses get fewer when they send less; of those by
/// chance they stand as many, and asking for less would only make pictures smaller.
const SHORT: f64 = 0.25;
/// Below this there is room for more.
const GOOD: f64 = 0.02;
/// How long it must be short. Shorter takes a burst for a narrow network.
const SHORT_FOR: Duration = Duration::from_secs(3);
/// How long it must be good before more is asked for.
const GOOD_FOR: Duration = Duration::from_secs(15);
/// What is asked for at most, in pixels, step by step.
const LIMITS: [(u32, u32); 2] = [(640, 360), (320, 180)];

const PATIENCE: Patience = Patience {
    most: LIMITS.len(),
    bad_for: SHORT_FOR,
    good_for: GOOD_FOR,
};

/// See the module's text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Downlink(Stepped);

impl Downlink {
    /// `loss`: the largest share of others' packets lost on a link, 0 to 1.
    pub(crate) fn handle(&mut self, now: Instant, loss: f64) {
        self.0.handle(now, loss > SHORT, loss < GOOD, PATIENCE);
    }

    /// What others are asked for at most; one step less where the person saves data.
    pub(crate) fn limit(&self, saves_data: bool) -> SizeLimit {
        let steps = self.0.steps().max(usize::from(saves_data));
        match steps.checked_sub(1).and_then(|step| LIMITS.get(step)) {
            Some(most_px) => SizeLimit { most_px: *most_px },
            None => SizeLimit::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lossy_downlink_asks_for_less_and_later_for_more() {
        let start = Instant::now();
        let mut downlink = Downlink::default();
        let mut limits = Vec::new();
        for second in 0..60 {
            let loss = match second {
                0..10 => 0.3,
                10..20 => 0.05,
                20 => f64::NAN,
                _ => 0.0,
            };
            downlink.handle(start + Duration::from_secs(second), loss);
            let width = downlink.limit(false).most_px.0;
            if limits.last().is_none_or(|(_, known)| *known != width) {
                limits.push((second, width));
            }
        }
        assert_eq!(
            limits,
            [(0, 4_096), (3, 640), (6, 320), (36, 640), (51, 4_096)]
        );
        assert_eq!(downlink.limit(true).most_px, (640, 360));
    }
}
