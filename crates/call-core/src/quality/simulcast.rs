//! Which layers of one's own picture the SFU gets, and what each may cost. Pure.
//!
//! The smallest layer comes first with what it is worth, the largest gets what is left. A larger
//! layer is left out while less than [`LEAST_PERCENT`] of its worth would be left for it; it is tried
//! again and again, because the congestion controller only finds out what a link carries by what is
//! sent.
//!
//! Deliberately not here: which layers anybody wants ([`crate::layers`]), and the smallest layer's
//! own size and rate ([`super::ladder`]).

use std::time::{Duration, Instant};

use call_protocol::limits::SFU_LAYERS;

use super::worth::layer_picture_bps;

/// The least share of its worth with which a larger layer is tried: the controller's estimate never
/// exceeds half again of what is sent, so waiting for more would be waiting for ever.
const TRY_PERCENT: u64 = 15;
/// The least share with which it stays after [`TRIAL`]: below, the next smaller layer looks better.
const LEAST_PERCENT: u64 = 35;
/// How long a larger layer may stay below that: an estimate grows by half in a second.
const TRIAL: Duration = Duration::from_secs(5);
/// After a trial that failed. Shorter shows the viewers more keyframes for nothing.
const PAUSE: Duration = Duration::from_secs(30);
/// No encoder makes anything of less.
pub(crate) const LEAST_ENCODER_BPS: u32 = 20_000;

/// Sizes of layers 0 (largest) to 2, in pixels; `None` for layers that are not made or not wanted.
pub(crate) type Sizes = [Option<(u32, u32)>; SFU_LAYERS];

/// Remembers which layers were tried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Simulcast {
    layers: [Trial; SFU_LAYERS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    is_on: bool,
    /// Since when it has less than it should.
    poor_since: Option<Instant>,
    paused_until: Option<Instant>,
}

impl Simulcast {
    /// Shares `left_bps` among the wanted layers; `None`: nothing is known yet, and each gets its
    /// worth. The smallest may take up to `smallest_bps` if that is more than it is worth.
    pub(crate) fn share(
        &mut self,
        now: Instant,
        wanted: &Sizes,
        fps: u32,
        left_bps: Option<u64>,
        smallest_bps: u64,
    ) -> [Option<u32>; SFU_LAYERS] {
        let is_known = left_bps.is_some();
        let mut left_bps = left_bps.unwrap_or(u64::MAX);
        let mut bitrates = [None; SFU_LAYERS];
        let mut is_smallest = true;
        for layer in (0..SFU_LAYERS).rev() {
            let trial = &mut self.layers[layer];
            let Some(size) = wanted[layer] else {
                *trial = Trial {
                    is_on: false,
                    poor_since: None,
                    ..*trial
                };
                continue;
            };
            let mut worth_bps = u64::from(layer_picture_bps(size, fps));
            if is_smallest && is_known {
                worth_bps = worth_bps.max(smallest_bps);
            }
            let is_in = !is_known
                || std::mem::take(&mut is_smallest)
                || trial.carries(now, left_bps, worth_bps);
            trial.is_on = is_in;
            if is_in {
                let bitrate_bps = left_bps.min(worth_bps);
                left_bps -= bitrate_bps;
                let bitrate_bps = u32::try_from(bitrate_bps).unwrap_or(u32::MAX);
                bitrates[layer] = Some(bitrate_bps.max(LEAST_ENCODER_BPS));
            }
        }
        bitrates
    }
}

impl Trial {
    /// Whether a layer that is not the smallest is sent with what is left for it.
    fn carries(&mut self, now: Instant, left_bps: u64, worth_bps: u64) -> bool {
        let has = |percent: u64| left_bps.saturating_mul(100) >= worth_bps * percent;
        if self.paused_until.is_some_and(|until| now < until) && !has(LEAST_PERCENT) {
            return false;
        }
        self.paused_until = None;
        if has(LEAST_PERCENT) {
            self.poor_since = None;
            return true;
        }
        if !has(TRY_PERCENT) && !self.is_on {
            return false;
        }
        let since = *self.poor_since.get_or_insert(now);
        if now.saturating_duration_since(since) < TRIAL {
            return true;
        }
        self.poor_since = None;
        self.paused_until = Some(now + PAUSE);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sizes = [Some((1_280, 720)), Some((640, 360)), Some((320, 180))];

    fn kbps(bitrates: [Option<u32>; SFU_LAYERS]) -> [Option<u32>; SFU_LAYERS] {
        bitrates.map(|bps| bps.map(|bps| bps / 1_000))
    }

    #[test]
    fn smaller_layers_come_first() {
        let now = Instant::now();
        let [first, second] = [[ALL[0], None, None], [None, ALL[1], None]];
        #[allow(clippy::type_complexity, reason = "a table")]
        let cases: [(Sizes, Option<u64>, u64, [Option<u32>; SFU_LAYERS]); 9] = [
            (ALL, Some(4_950), 0, [Some(1_700), Some(450), Some(130)]),
            (ALL, Some(1_580), 0, [Some(1_000), Some(450), Some(130)]),
            (ALL, Some(550), 0, [None, Some(420), Some(130)]),
            (ALL, None, 700, [Some(1_700), Some(450), Some(130)]),
            (ALL, Some(100), 0, [None, None, Some(100)]),
            (first, Some(10), 0, [Some(20), None, None]),
            ([None; SFU_LAYERS], Some(5_000), 0, [None; SFU_LAYERS]),
            (second, Some(5_000), 0, [None, Some(450), None]),
            (second, Some(5_000), 700, [None, Some(700), None]),
        ];
        for (wanted, left_kbps, smallest_kbps, want) in cases {
            let left_bps = left_kbps.map(|left| left * 1_000);
            let mut plan = Simulcast::default();
            let got = plan.share(now, &wanted, 30, left_bps, smallest_kbps * 1_000);
            assert_eq!(kbps(got), want, "{wanted:?} of {left_kbps:?}");
        }
    }

    #[test]
    fn a_larger_layer_is_tried_and_left_out_again_where_it_does_not_fit() {
        let start = Instant::now();
        let mut plan = Simulcast::default();
        let mut at = |ms: u64, kbps_left: u64| {
            let now = start + Duration::from_millis(ms);
            kbps(plan.share(now, &ALL, 30, Some(kbps_left * 1_000), 0))[0]
        };
        assert_eq!(at(0, 895), Some(315), "tried");
        assert_eq!(at(1_000, 1_350), Some(770), "and it fits");
        assert_eq!(at(60_000, 850), Some(270), "a dip");
        assert_eq!(at(62_000, 750), Some(170), "is endured");
        assert_eq!(at(66_000, 750), None, "for a while");
        assert_eq!(at(90_000, 895), None, "and not tried at once");
        assert_eq!(at(97_000, 895), Some(315), "but later");
        assert_eq!(at(103_000, 895), None);
        assert_eq!(at(104_000, 1_350), Some(770), "or when there is room");
    }
}
