//! One of one's own pictures on its way to everybody: a ladder for each link, one encoding for all.
//! Pure.
//!
//! What is encoded suits the weakest link that gets a picture at all. A link whose path carries only
//! sound is held back, so that it costs the others nothing; where all of them are, the picture is
//! off, and one that is tried there is so small that it is not worth showing.
//!
//! Deliberately not here: what the links carry ([`super::budget`]) and how a path is tried
//! ([`super::ladder`]).

use std::collections::BTreeMap;
use std::time::Instant;

use call_protocol::limits::SFU_LAYERS;
use call_protocol::{MediaSource, MemberId};

use super::ladder::{Ladder, Rung, Signal, Step, TRIAL_BPS};
use super::simulcast::{LEAST_ENCODER_BPS, Simulcast, Sizes};
use super::worth::single_picture_bps;
use super::{LayerTarget, PictureFigures, PicturePlan};
use crate::input::{LinkId, LinkPeer};

/// Bit rates are told in steps, so that a wavering estimate is not news every time.
const STEP_BPS: u32 = 1_000;

/// What one link carries of the picture at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) link: LinkId,
    /// What it carries in all, in bit/s; 0: not known yet.
    pub(crate) target_bps: u64,
    /// For all layers of this picture, in bit/s.
    pub(crate) budget_bps: u64,
    pub(crate) is_calm: bool,
    /// How large the picture is shown at the other end, in pixels; `None`: any size is of use.
    pub(crate) shown_px: Option<(u32, u32)>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Picture {
    source: MediaSource,
    ladders: BTreeMap<LinkId, Ladder>,
    simulcast: Simulcast,
    plan: Option<PicturePlan>,
    /// Direct links that get no picture while others do.
    held: Vec<MemberId>,
    is_sound_only: bool,
}

/// What a link gets of the picture: layer 0, or all that are wanted of the SFU.
fn governed(link: LinkId, wanted: &Sizes) -> Option<usize> {
    match link.peer {
        LinkPeer::Member(_) => wanted[0].map(|_| 0),
        LinkPeer::Sfu => wanted.iter().rposition(Option::is_some),
        LinkPeer::Data(_) => None,
    }
}

impl Picture {
    pub(crate) fn new(source: MediaSource) -> Self {
        Self {
            source,
            ladders: BTreeMap::new(),
            simulcast: Simulcast::default(),
            plan: None,
            held: Vec::new(),
            is_sound_only: false,
        }
    }

    pub(crate) fn plan(&self) -> Option<PicturePlan> {
        self.plan
    }

    pub(crate) fn held(&self) -> &[MemberId] {
        &self.held
    }

    /// Whether there is a picture that nobody gets, because no path carries it.
    pub(crate) fn is_sound_only(&self) -> bool {
        self.is_sound_only
    }

    /// Whether every link gets the best there is.
    pub(crate) fn is_at_best(&self) -> bool {
        let mut ladders = self.ladders.values();
        ladders.all(|ladder| ladder.step() == Step::On(0))
    }

    /// There is no such picture, or nobody to get it.
    pub(crate) fn stop(&mut self) {
        *self = Self::new(self.source);
    }

    /// Takes in what is known now. `wanted` are the sizes of the layers somebody wants; `most_bps`
    /// bounds what the picture may take of any link; `least_rung` is the best rung the machine can
    /// encode.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        figures: &PictureFigures,
        wanted: &Sizes,
        shares: &[Share],
        bounds: Bounds,
    ) {
        let shares: Vec<_> = shares
            .iter()
            .filter_map(|share| Some((*share, governed(share.link, wanted)?)))
            .collect();
        self.ladders
            .retain(|link, _| shares.iter().any(|(share, _)| share.link == *link));
        if shares.is_empty() {
            return self.stop();
        }
        let full = figures.layer_sizes[0].unwrap_or_default();
        let useful_px = useful_side_px(full, shares.iter().map(|(share, _)| share.shown_px));
        let allowed_bps = self.plan.map_or(0, |plan| plan.bitrate_bps());
        let is_filled = figures.sent_bps.saturating_mul(5) >= allowed_bps * 4;
        let is_easy = figures.sent_bps.saturating_mul(2) < allowed_bps;
        let source = self.source;
        for (share, layer) in &shares {
            let has_others = |(link, ladder): (&LinkId, &Ladder)| {
                *link != share.link && matches!(ladder.step(), Step::On(_))
            };
            let may_try = !self.ladders.iter().any(has_others);
            let ladder = self.ladders.entry(share.link);
            let ladder = ladder.or_insert_with(|| Ladder::new(source));
            if share.target_bps == 0 {
                continue;
            }
            let signal = Signal {
                target_bps: share.target_bps,
                budget_bps: share.budget_bps.min(bounds.most_bps),
                is_filled,
                is_easy,
                is_calm: share.is_calm,
                may_try,
            };
            let most_px = useful_px >> layer;
            let shown = |rung: Rung| limited(wanted[*layer], most_px, figures.fps, rung);
            ladder.handle(now, signal, |a, b| shown(a) == shown(b));
        }
        self.decide(now, figures, wanted, &shares, bounds, useful_px);
    }

    fn decide(
        &mut self,
        now: Instant,
        figures: &PictureFigures,
        wanted: &Sizes,
        shares: &[(Share, usize)],
        bounds: Bounds,
        useful_px: u32,
    ) {
        let is_on = |link: &LinkId| {
            let step = self.ladders.get(link).map(Ladder::step);
            matches!(step, Some(Step::On(_)))
        };
        let any_on = shares.iter().any(|(share, _)| is_on(&share.link));
        self.is_sound_only = !any_on;
        // Those that get something: all that are on, or else those that are tried.
        let served: Vec<_> = shares
            .iter()
            .filter_map(|(share, layer)| {
                let ladder = self.ladders.get(&share.link)?;
                let is_served = matches!(ladder.step(), Step::On(_)) == any_on;
                Some((
                    *share,
                    *layer,
                    *ladder,
                    ladder.rung().filter(|_| is_served)?,
                ))
            })
            .collect();
        self.held = shares
            .iter()
            .filter(|(share, ..)| !served.iter().any(|(other, ..)| other.link == share.link))
            .filter_map(|(share, _)| match share.link.peer {
                LinkPeer::Member(member) if !served.is_empty() => Some(member),
                _ => None,
            })
            .collect();
        let Some(full) = figures.layer_sizes[0].filter(|_| !served.is_empty()) else {
            self.plan = None;
            return;
        };
        let (mut side_px, mut fps) = (full.0.min(full.1).min(useful_px), figures.fps);
        let machine = super::ladder::rungs(self.source).get(bounds.least_rung);
        let machine = machine.map(|rung| (0, *rung));
        let rungs = served.iter().map(|(_, layer, _, rung)| (*layer, *rung));
        for (layer, rung) in rungs.chain(machine) {
            side_px = side_px.min(rung.short_side_px.saturating_mul(1 << layer));
            fps = fps.min(rung.fps);
        }
        let size = scaled(full, (side_px, full.0.min(full.1)));
        let shrink = |layer: (u32, u32)| scaled(layer, (side_px, full.0.min(full.1)));
        let wanted = wanted.map(|layer| layer.map(shrink));
        let mut bitrates = [None; SFU_LAYERS];
        for (share, layer, ladder, _) in &served {
            let is_trial = ladder.step() == Step::Trial;
            let most_bps = if is_trial { TRIAL_BPS } else { bounds.most_bps };
            let is_known = share.target_bps > 0;
            let left_bps = share.budget_bps.min(most_bps);
            // What proves that the next rung fits must be sent.
            let proof_bps = ladder.next_enter_bps().unwrap_or(0).min(most_bps);
            if is_trial {
                let bitrate_bps = u32::try_from(TRIAL_BPS).unwrap_or(u32::MAX);
                lower(&mut bitrates[*layer], bitrate_bps);
            } else if share.link.peer == LinkPeer::Sfu {
                let left_bps = is_known.then_some(left_bps);
                let layers = self.simulcast.share(now, &wanted, fps, left_bps, proof_bps);
                for (bitrate, layer) in bitrates.iter_mut().zip(layers) {
                    layer.into_iter().for_each(|bps| lower(bitrate, bps));
                }
            } else {
                let worth_bps = u64::from(single_picture_bps(size, fps)).max(proof_bps);
                let bitrate_bps = if is_known {
                    left_bps.min(worth_bps)
                } else {
                    worth_bps
                };
                let bitrate_bps = u32::try_from(bitrate_bps).unwrap_or(u32::MAX);
                lower(&mut bitrates[*layer], bitrate_bps);
            }
        }
        let target = |bps: u32| LayerTarget {
            bitrate_bps: (bps / STEP_BPS * STEP_BPS).max(LEAST_ENCODER_BPS),
            fps,
        };
        self.plan = Some(PicturePlan {
            max_width_px: size.0,
            max_height_px: size.1,
            layers: bitrates.map(|bps| bps.map(target)),
        });
    }
}

/// What else bounds a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bits per second on any link.
    pub(crate) most_bps: u64,
    /// The best rung the machine can encode.
    pub(crate) least_rung: usize,
}

fn lower(bitrate: &mut Option<u32>, bps: u32) {
    *bitrate = Some(bitrate.map_or(bps, |known| known.min(bps)));
}

/// A picture serves a tile up to this much larger than itself, in percent of the tile: as the SFU
/// chooses layers.
const GOOD_PERCENT: u64 = 75;

/// The shorter side beyond which nobody sees a difference, in pixels: all, a half or a quarter of
/// what there is, so that a window that is being resized changes little.
fn useful_side_px(full: (u32, u32), shown: impl Iterator<Item = Option<(u32, u32)>>) -> u32 {
    let serves = |shift: usize, tile: (u32, u32)| {
        let enough =
            |have: u32, want: u32| u64::from(have >> shift) * 100 >= u64::from(want) * GOOD_PERCENT;
        enough(full.0, tile.0) || enough(full.1, tile.1)
    };
    let shift = |tile: Option<(u32, u32)>| {
        let tile = tile?;
        (0..SFU_LAYERS).rev().find(|shift| serves(*shift, tile))
    };
    let least = shown.map(|tile| shift(tile).unwrap_or(0)).min();
    full.0.min(full.1) >> least.unwrap_or(0)
}

/// What becomes of a layer on a rung: its shorter side, of `most_px` at most, and its rate.
fn limited(size: Option<(u32, u32)>, most_px: u32, fps: u32, rung: Rung) -> (u32, u32) {
    let side_px = size.map_or(0, |(width, height)| width.min(height));
    (
        side_px.min(most_px).min(rung.short_side_px),
        fps.min(rung.fps),
    )
}

/// Shrinks a size in a ratio of `of.0` to `of.1`, to even sides of at least 16 pixels.
fn scaled(size: (u32, u32), of: (u32, u32)) -> (u32, u32) {
    if of.0 >= of.1 {
        return size;
    }
    let side = |side: u32| {
        let scaled = u64::from(side) * u64::from(of.0) / u64::from(of.1.max(1));
        (u32::try_from(scaled).unwrap_or(side) & !1).max(16)
    };
    (side(size.0), side(size.1))
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
