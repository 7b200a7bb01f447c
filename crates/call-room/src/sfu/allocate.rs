//! How a receiver's bandwidth is shared among the pictures it wants, as pure functions.
//!
//! Everybody's smallest layer comes first. After that, always the picture grows that is furthest
//! from the size it is shown in, so that large tiles come before small ones and equal tiles grow
//! together. What is bought in steps is a [`Step`]: a layer, with its upper temporal layers or
//! without.

use call_protocol::limits::SFU_LAYERS;

/// How much more than a larger layer needs must be there to change to it, in percent. More changes
/// less often; less uses the bandwidth better.
pub(super) const UPGRADE_PERCENT: u64 = 115;
/// A layer serves a tile up to this much larger than itself, in percent of the tile.
const GOOD_PERCENT: u64 = 75;

/// What one layer costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LayerCost {
    /// All of it.
    pub(super) full_bps: u64,
    /// Temporal layer 0 alone; equals `full_bps` where there is no other.
    pub(super) base_bps: u64,
    /// Pixels of a picture.
    pub(super) area_px: u64,
}

/// A layer of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// 0 is the largest.
    pub(super) layer: usize,
    /// Whether upper temporal layers are left out.
    pub(super) base_only: bool,
}

/// A picture a receiver wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Pixels it is shown in, weighted.
    pub(super) area_px: u64,
    /// The largest layer that is of use; smaller numbers are larger.
    pub(super) largest: usize,
    /// What there is.
    pub(super) layers: [Option<LayerCost>; SFU_LAYERS],
    /// What it gets now.
    pub(super) current: Option<Step>,
}

/// The largest layer that is of use for a tile, given the layers' sizes: the smallest that nearly
/// fills it, or else the largest there is.
pub(super) fn largest_useful(sizes: &[Option<(u32, u32)>; SFU_LAYERS], tile: (u32, u32)) -> usize {
    let fills = |size: (u32, u32)| {
        let enough = |have: u32, want: u32| u64::from(have) * 100 >= u64::from(want) * GOOD_PERCENT;
        enough(size.0, tile.0) || enough(size.1, tile.1)
    };
    let there = |fills_only: bool| {
        move |layer: &usize| sizes[*layer].is_some_and(|size| !fills_only || fills(size))
    };
    (0..SFU_LAYERS)
        .rev()
        .find(there(true))
        .or_else(|| (0..SFU_LAYERS).find(there(false)))
        .unwrap_or(0)
}

/// What a request can have, cheapest first; each costs more than the one before.
fn ladder(request: &Request) -> Vec<(Step, u64, u64)> {
    let mut steps: Vec<(Step, u64, u64)> = Vec::new();
    for layer in (0..SFU_LAYERS).rev() {
        let Some(cost) = request.layers[layer] else {
            continue;
        };
        if layer < request.largest && !steps.is_empty() {
            break;
        }
        for (base_only, bps, area_px) in [
            (true, cost.base_bps, cost.area_px / 2),
            (false, cost.full_bps, cost.area_px),
        ] {
            if base_only && cost.base_bps >= cost.full_bps {
                continue;
            }
            if steps.last().is_none_or(|(_, cheaper, _)| bps > *cheaper) {
                steps.push((Step { layer, base_only }, bps, area_px.max(1)));
            }
        }
    }
    steps
}

/// What everything costs as large as it is shown, in bits per second.
pub(super) fn desired_bps(requests: &[Request]) -> u64 {
    let largest = |request| ladder(request).last().map_or(0, |(_, bps, _)| *bps);
    requests.iter().map(largest).sum()
}

/// Shares `budget_bps`, indifferent to what there was before.
fn share(budget_bps: u64, ladders: &[Vec<(Step, u64, u64)>], areas: &[u64]) -> Vec<Option<usize>> {
    let mut chosen: Vec<Option<usize>> = vec![None; ladders.len()];
    let mut left = budget_bps;
    let mut order: Vec<usize> = (0..ladders.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(areas[*index]));
    for index in order {
        if let Some((_, bps, _)) = ladders[index].first()
            && *bps <= left
        {
            left -= bps;
            chosen[index] = Some(0);
        }
    }
    let mut is_done: Vec<bool> = chosen.iter().map(Option::is_none).collect();
    loop {
        // How many pixels of the tile each pixel of the picture has to fill.
        let need = |index: usize| {
            let at = chosen[index].unwrap_or(0);
            u128::from(areas[index]) * 1_000 / u128::from(ladders[index][at].2)
        };
        let next = (0..ladders.len())
            .filter(|index| !is_done[*index])
            .max_by_key(|index| (need(*index), std::cmp::Reverse(*index)));
        let Some(index) = next else {
            return chosen;
        };
        let at = chosen[index].unwrap_or(0);
        let now_bps = ladders[index][at].1;
        match ladders[index].get(at + 1) {
            Some((_, bps, _)) if bps - now_bps <= left => {
                left -= bps - now_bps;
                chosen[index] = Some(at + 1);
            }
            _ => is_done[index] = true,
        }
    }
}

/// What each picture gets out of `budget_bps`; `None` where not even its smallest layer fits.
/// `may_grow` false keeps pictures from growing beyond what they are.
pub(super) fn allocate(budget_bps: u64, may_grow: bool, requests: &[Request]) -> Vec<Option<Step>> {
    let ladders: Vec<_> = requests.iter().map(ladder).collect();
    let areas: Vec<u64> = requests.iter().map(|request| request.area_px).collect();
    let most = share(budget_bps, &ladders, &areas);
    let sure = share(budget_bps * 100 / UPGRADE_PERCENT, &ladders, &areas);
    let choices: Vec<Option<usize>> = requests
        .iter()
        .enumerate()
        .map(|(index, request)| {
            let at = |step: Step| ladders[index].iter().position(|(other, ..)| *other == step);
            let current = request.current.and_then(at);
            match (most[index], current) {
                (None, _) => None,
                // Nothing to keep: it is new, or what it had is not offered any more.
                (most, None) => sure[index].or(most.map(|_| 0)),
                (Some(most), Some(current)) if current >= most => Some(most),
                (Some(most), Some(current)) if may_grow => {
                    Some(sure[index].map_or(current, |sure| sure.clamp(current, most)))
                }
                (Some(_), Some(current)) => Some(current),
            }
        })
        .collect();
    let cost = |choices: &[Option<usize>]| -> u64 {
        let each = choices.iter().zip(&ladders);
        each.filter_map(|(choice, ladder)| Some(ladder.get((*choice)?)?.1))
            .sum()
    };
    let chosen = if cost(&choices) <= budget_bps {
        choices
    } else {
        most
    };
    chosen
        .iter()
        .zip(&ladders)
        .map(|(choice, ladder)| Some(ladder.get((*choice)?)?.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: [Option<LayerCost>; 3] = [
        Some(LayerCost {
            full_bps: 1_200_000,
            base_bps: 800_000,
            area_px: 1_280 * 720,
        }),
        Some(LayerCost {
            full_bps: 400_000,
            base_bps: 260_000,
            area_px: 640 * 360,
        }),
        Some(LayerCost {
            full_bps: 120_000,
            base_bps: 80_000,
            area_px: 320 * 180,
        }),
    ];

    fn request(area_px: u64, largest: usize) -> Request {
        Request {
            area_px,
            largest,
            layers: COSTS,
            current: None,
        }
    }

    fn full(layer: usize) -> Option<Step> {
        Some(Step {
            layer,
            base_only: false,
        })
    }

    fn base(layer: usize) -> Option<Step> {
        Some(Step {
            layer,
            base_only: true,
        })
    }

    #[test]
    fn bandwidth_goes_to_all_first_and_to_large_tiles_then() {
        let large = request(1_280 * 720, 0);
        let small = request(320 * 180, 2);
        let middle = request(640 * 360, 1);
        type Case = (&'static str, u64, Vec<Request>, Vec<Option<Step>>);
        let cases: [Case; 10] = [
            ("nothing wanted", 1_000_000, vec![], vec![]),
            (
                "plenty",
                10_000_000,
                vec![small, large, middle],
                vec![full(2), full(0), full(1)],
            ),
            ("nothing", 0, vec![large, small], vec![None, None]),
            (
                "one smallest fits: the larger tile's",
                100_000,
                vec![small, large],
                vec![None, base(2)],
            ),
            (
                "both smallest",
                200_000,
                vec![small, large],
                vec![base(2), base(2)],
            ),
            (
                "one more step: the larger tile's",
                260_000,
                vec![small, large],
                vec![base(2), full(2)],
            ),
            (
                "between layers",
                450_000,
                vec![large, small],
                vec![base(1), full(2)],
            ),
            (
                "equal tiles grow together",
                1_000_000,
                vec![large, large],
                vec![full(1), full(1)],
            ),
            (
                "the small one is served before the large one is full",
                1_200_000,
                vec![large, small],
                vec![base(0), full(2)],
            ),
            (
                "no more than is shown",
                10_000_000,
                vec![small, small],
                vec![full(2), full(2)],
            ),
        ];
        for (what, budget_bps, requests, want) in cases {
            assert_eq!(allocate(budget_bps, true, &requests), want, "{what}");
        }
    }

    #[test]
    fn only_layers_that_are_there_are_chosen() {
        let mut only_large = request(320 * 180, 2);
        only_large.layers = [COSTS[0], None, None];
        assert_eq!(allocate(2_000_000, true, &[only_large]), [full(0)]);
        assert_eq!(allocate(900_000, true, &[only_large]), [base(0)]);
        only_large.layers = [None; 3];
        assert_eq!(allocate(2_000_000, true, &[only_large]), [None]);
    }

    #[test]
    fn a_wavering_estimate_changes_nothing() {
        let mut wanted = request(1_280 * 720, 0);
        let mut changes = Vec::new();
        for (round, budget_bps) in [
            1_000_000, 1_210_000, 1_190_000, 1_250_000, 1_390_000, 1_210_000, 1_390_000, 1_199_000,
            1_250_000, 1_300_000,
        ]
        .into_iter()
        .enumerate()
        {
            let step = allocate(budget_bps, true, &[wanted])[0];
            if step != wanted.current {
                changes.push((round, step));
            }
            wanted.current = step;
        }
        assert_eq!(changes, [(0, base(0)), (4, full(0)), (7, base(0))]);
        wanted.current = full(1);
        assert_eq!(
            allocate(10_000_000, false, &[wanted]),
            [full(1)],
            "may not grow"
        );
        assert_eq!(allocate(10_000_000, true, &[wanted]), [full(0)]);
        wanted.current = full(0);
        wanted.largest = 1;
        assert_eq!(
            allocate(10_000_000, true, &[wanted]),
            [full(1)],
            "shown smaller now"
        );
    }

    #[test]
    fn the_budget_is_never_exceeded() {
        let requests: Vec<Request> = (0..12_u64)
            .map(|index| Request {
                current: [None, full(0), full(1), base(2)][index as usize % 4],
                ..request((index + 1) * 40_000, (index % 3) as usize)
            })
            .collect();
        for budget_bps in (0..12_000_000).step_by(37_000) {
            let chosen = allocate(budget_bps, true, &requests);
            let cost: u64 = chosen
                .iter()
                .flatten()
                .map(|step| {
                    let cost = COSTS[step.layer].unwrap();
                    if step.base_only {
                        cost.base_bps
                    } else {
                        cost.full_bps
                    }
                })
                .sum();
            assert!(cost <= budget_bps, "{cost} of {budget_bps}");
            // Nobody grows while somebody has nothing.
            let smallest = |step: &Option<Step>| step.is_none_or(|step| step.layer == 2);
            if chosen.iter().any(Option::is_none) {
                assert!(chosen.iter().all(smallest), "{chosen:?} at {budget_bps}");
            }
        }
    }

    #[test]
    fn everything_is_wanted_as_large_as_it_is_shown() {
        assert_eq!(desired_bps(&[request(1, 0), request(1, 2)]), 1_320_000);
        assert_eq!(desired_bps(&[]), 0);
    }

    #[test]
    fn a_tile_gets_the_smallest_layer_that_nearly_fills_it() {
        let all = [Some((1_280, 720)), Some((640, 360)), Some((320, 180))];
        let cases = [
            (all, (1_920, 1_080), 0),
            (all, (1_280, 720), 0),
            (all, (900, 506), 0),
            (all, (800, 450), 1),
            (all, (640, 360), 1),
            (all, (400, 225), 2),
            (all, (0, 0), 2),
            // A narrow tile shows the middle of the picture.
            (all, (200, 360), 2),
            ([Some((640, 360)), None, None], (100, 100), 0),
            (
                [None, Some((640, 360)), Some((320, 180))],
                (1_920, 1_080),
                1,
            ),
            ([None; 3], (640, 360), 0),
        ];
        for (sizes, tile, want) in cases {
            assert_eq!(largest_useful(&sizes, tile), want, "{sizes:?} {tile:?}");
        }
    }
}
