//! What each layer of one's own picture may cost, and whether the links carry it. Pure.
//!
//! A layer is worth [`layer_worth_bps`]: at 30 frames per second 1.7 Mbit/s for 1280x720, 450 kbit/s
//! for 640x360 and 130 kbit/s for 320x180, in between and beyond in proportion. The link to the SFU
//! carries all layers: the smallest gets its worth first, the largest what is left. A larger layer
//! is left out while less than [`LEAST_PERCENT`] of its worth would be left for it; it is tried
//! again and again, because the congestion controller only finds out what a link carries by what is
//! sent. Direct links carry layer 0 only, bounded by the narrowest of them.
//!
//! Deliberately not here: which layers anybody wants (call-core), and encoding.

use std::time::{Duration, Instant};

use call_media::video::layers::{LAYERS, LayerTarget, LayerTargets, layer_size};

use crate::outbound::Targets;

/// What sound takes with all its headers.
pub(crate) const SOUND_BPS: u64 = 50_000;
/// No encoder gets less: a slide show.
const FLOOR_BPS: u32 = 100_000;
/// The least share of its worth with which a larger layer is tried: the controller's estimate never
/// exceeds half again of what is sent, so waiting for more would be waiting for ever.
const TRY_PERCENT: u64 = 15;
/// The least share with which it stays after [`TRIAL`]: below, the next smaller layer looks better.
const LEAST_PERCENT: u64 = 35;
/// How long a larger layer may stay below that: an estimate grows by half in a second.
const TRIAL: Duration = Duration::from_secs(5);
/// After a trial that failed. Shorter shows the viewers more keyframes for nothing.
const PAUSE: Duration = Duration::from_secs(30);

/// Pixels per second and what they are worth in bit/s, to be interpolated.
const WORTH: [(u64, u64); 4] = [
    (0, 0),
    (320 * 180 * 30, 130_000),
    (640 * 360 * 30, 450_000),
    (1_280 * 720 * 30, 1_700_000),
];
/// Larger pictures than 720p30 get no more than this.
const MOST_BPS: u32 = 2_500_000;
const LEAST_BPS: u32 = 60_000;

/// Bits per second a layer of this size and rate is worth in real time.
pub(crate) fn layer_worth_bps(size: (u32, u32), fps: u32) -> u32 {
    let pixels = u64::from(size.0) * u64::from(size.1) * u64::from(fps.clamp(1, 60));
    let at = WORTH
        .iter()
        .position(|(known, _)| *known >= pixels)
        .unwrap_or(WORTH.len() - 1)
        .max(1);
    let ((from, low), (to, high)) = (WORTH[at - 1], WORTH[at]);
    let worth = low + (pixels - from) * (high - low) / (to - from);
    u32::try_from(worth)
        .unwrap_or(MOST_BPS)
        .clamp(LEAST_BPS, MOST_BPS)
}

/// What the layers get; remembers which of them were tried.
#[derive(Debug, Default)]
pub(crate) struct LayerPlan {
    layers: [Trial; LAYERS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    is_on: bool,
    /// Since when it has less than it should.
    poor_since: Option<Instant>,
    paused_until: Option<Instant>,
}

impl LayerPlan {
    /// The targets of the wanted layers of a picture of this size and rate. `worth_mesh_bps` is what
    /// layer 0 is worth to members with direct links.
    pub(crate) fn targets(
        &mut self,
        now: Instant,
        wanted: [bool; LAYERS],
        full: (u32, u32),
        fps: u32,
        worth_mesh_bps: u32,
        links: &Targets,
    ) -> LayerTargets {
        let mut bitrates = [None; LAYERS];
        if let Some(sfu_bps) = links.sfu_bps {
            bitrates = self.share(now, wanted, full, fps, sfu_bps);
        }
        if !links.members_bps.is_empty() && wanted[0] {
            let direct_bps = crate::stats::camera_bitrate_bps(worth_mesh_bps, &links.members_bps);
            bitrates[0] = Some(bitrates[0].map_or(direct_bps, |sfu: u32| sfu.min(direct_bps)));
        }
        bitrates.map(|bitrate| bitrate.map(|bitrate_bps| LayerTarget { bitrate_bps, fps }))
    }

    /// Shares what the SFU's link carries, smaller layers first.
    fn share(
        &mut self,
        now: Instant,
        wanted: [bool; LAYERS],
        full: (u32, u32),
        fps: u32,
        sfu_bps: u64,
    ) -> [Option<u32>; LAYERS] {
        // 0: nothing is known yet.
        let is_known = sfu_bps > 0;
        let mut left_bps = sfu_bps.saturating_sub(SOUND_BPS);
        let mut bitrates = [None; LAYERS];
        let mut is_smallest = true;
        for layer in (0..LAYERS).rev() {
            let trial = &mut self.layers[layer];
            let Some(size) = layer_size(full, layer).filter(|_| wanted[layer]) else {
                *trial = Trial {
                    is_on: false,
                    poor_since: None,
                    ..*trial
                };
                continue;
            };
            let worth_bps = layer_worth_bps(size, fps);
            let bound_bps = u32::try_from(left_bps)
                .unwrap_or(u32::MAX)
                .clamp(FLOOR_BPS.min(worth_bps), worth_bps);
            let is_in = !is_known
                || std::mem::take(&mut is_smallest)
                || trial.carries(now, left_bps, u64::from(worth_bps));
            trial.is_on = is_in;
            if is_in {
                let bitrate_bps = if is_known { bound_bps } else { worth_bps };
                bitrates[layer] = Some(bitrate_bps);
                left_bps = left_bps.saturating_sub(u64::from(bitrate_bps));
            }
        }
        bitrates
    }
}

impl Trial {
    /// Whether a layer that is not the smallest is sent with what is left for it.
    fn carries(&mut self, now: Instant, left_bps: u64, worth_bps: u64) -> bool {
        let has = |percent: u64| left_bps * 100 >= worth_bps * percent;
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

/// Whether the direct links keep one's own picture below what it is worth, for everybody: together
/// they carry less than three quarters of what is wanted, and the picture (`sent_bps`) fills what it
/// may take. One that does not, because little moves, leaves estimates low without being short.
pub(crate) fn is_uplink_short(worth_bps: u32, sent_bps: u64, members_bps: &[u64]) -> bool {
    let wanted_bps = (u64::from(worth_bps) + SOUND_BPS) * members_bps.len() as u64;
    let carried_bps: u64 = members_bps.iter().sum();
    let is_known = members_bps.iter().all(|target| *target > 0);
    let allowed_bps = crate::stats::camera_bitrate_bps(worth_bps, members_bps);
    let is_full = sent_bps * 5 >= u64::from(allowed_bps) * 4;
    is_known && is_full && carried_bps * 4 < wanted_bps * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: (u32, u32) = (1_280, 720);
    const ALL: [bool; LAYERS] = [true; LAYERS];

    fn sfu(bps: u64) -> Targets {
        Targets {
            members_bps: Vec::new(),
            sfu_bps: Some(bps),
        }
    }

    fn kbps(targets: LayerTargets) -> [Option<u32>; LAYERS] {
        targets.map(|target| target.map(|target| target.bitrate_bps / 1_000))
    }

    #[test]
    fn layers_are_worth_what_their_size_and_rate_are() {
        let cases = [
            ((1_280, 720), 30, 1_700_000),
            ((640, 360), 30, 450_000),
            ((320, 180), 30, 130_000),
            ((640, 360), 15, 236_666),
            ((1_920, 1_080), 30, 2_500_000),
            ((16, 16), 1, 60_000),
        ];
        for (size, fps, want) in cases {
            assert_eq!(layer_worth_bps(size, fps), want, "{size:?} at {fps}");
        }
    }

    #[test]
    fn smaller_layers_come_first_and_direct_links_bound_the_largest() {
        let now = Instant::now();
        let cases: [([bool; LAYERS], Targets, [Option<u32>; LAYERS]); 9] = [
            (ALL, sfu(5_000_000), [Some(1_700), Some(450), Some(130)]),
            (ALL, sfu(1_630_000), [Some(1_000), Some(450), Some(130)]),
            (ALL, sfu(600_000), [None, Some(420), Some(130)]),
            (ALL, sfu(0), [Some(1_700), Some(450), Some(130)]),
            ([true, false, false], sfu(60_000), [Some(100), None, None]),
            ([false; LAYERS], sfu(5_000_000), [None; LAYERS]),
            (
                [false, true, false],
                sfu(5_000_000),
                [None, Some(450), None],
            ),
            (ALL, Targets::default(), [None; LAYERS]),
            (
                [true, false, true],
                Targets {
                    members_bps: vec![1_050_000, 4_000_000],
                    sfu_bps: Some(5_000_000),
                },
                [Some(1_000), None, Some(130)],
            ),
        ];
        for (wanted, links, want) in cases {
            let got = LayerPlan::default().targets(now, wanted, FULL, 30, 1_935_360, &links);
            assert_eq!(kbps(got), want, "{wanted:?} over {links:?}");
        }
        let direct = Targets {
            members_bps: vec![850_000],
            sfu_bps: None,
        };
        let got = LayerPlan::default().targets(now, ALL, FULL, 30, 1_935_360, &direct);
        assert_eq!(kbps(got), [Some(800), None, None], "as in a mesh");
        let small = LayerPlan::default().targets(now, ALL, (320, 180), 30, 0, &sfu(5_000_000));
        assert_eq!(kbps(small), [Some(130), Some(60), None], "no tiny layers");
    }

    #[test]
    fn a_larger_layer_is_tried_and_left_out_again_where_it_does_not_fit() {
        let start = Instant::now();
        let mut plan = LayerPlan::default();
        let mut at = |ms: u64, bps: u64| {
            let now = start + Duration::from_millis(ms);
            kbps(plan.targets(now, ALL, FULL, 30, 0, &sfu(bps)))[0]
        };
        assert_eq!(at(0, 945_000), Some(315), "tried");
        assert_eq!(at(1_000, 1_400_000), Some(770), "and it fits");
        assert_eq!(at(60_000, 900_000), Some(270), "a dip");
        assert_eq!(at(62_000, 800_000), Some(170), "is endured");
        assert_eq!(at(66_000, 800_000), None, "for a while");
        assert_eq!(at(90_000, 945_000), None, "and not tried at once");
        assert_eq!(at(97_000, 945_000), Some(315), "but later");
        assert_eq!(at(103_000, 945_000), None);
        assert_eq!(at(104_000, 1_400_000), Some(770), "or when there is room");
    }

    #[test]
    fn an_uplink_is_short_when_all_links_together_carry_too_little() {
        let cases: [(u64, &[u64], bool); 6] = [
            (1_900_000, &[], false),
            (1_900_000, &[2_000_000, 2_500_000], false),
            (600_000, &[700_000, 700_000], true),
            (400_000, &[700_000, 700_000], false),
            (50_000, &[4_000_000, 100_000], false),
            (90_000, &[0, 100_000], false),
        ];
        for (sent_bps, targets, want) in cases {
            let got = is_uplink_short(1_935_360, sent_bps, targets);
            assert_eq!(got, want, "{sent_bps} over {targets:?}");
        }
    }
}
