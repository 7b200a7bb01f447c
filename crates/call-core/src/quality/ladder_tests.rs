//! The ladder in virtual time: what is sent follows the rung, and the estimate follows what is sent.

use super::*;

const TICK: Duration = Duration::from_millis(250);

fn signal(budget_kbps: u64) -> Signal {
    Signal {
        target_bps: (budget_kbps + 50) * 1_000,
        budget_bps: budget_kbps * 1_000,
        is_filled: true,
        is_easy: false,
        is_calm: true,
        may_try: true,
    }
}

fn differ(_: Rung, _: Rung) -> bool {
    false
}

/// The steps taken while signals come four times a second, with the second of each.
fn steps(source: MediaSource, signals: impl IntoIterator<Item = Signal>) -> Vec<(f64, Step)> {
    let start = Instant::now();
    let mut ladder = Ladder::new(source);
    let mut steps = vec![(0.0, ladder.step())];
    for (tick, signal) in (0..).zip(signals) {
        let now = start + TICK * tick;
        ladder.handle(now, signal, differ);
        if steps
            .last()
            .is_some_and(|(_, known)| *known != ladder.step())
        {
            steps.push((f64::from(tick) * 0.25, ladder.step()));
        }
    }
    steps
}

fn seconds(count: u64, signal: Signal) -> impl Iterator<Item = Signal> {
    (0..count * 4).map(move |_| signal)
}

#[test]
fn budgets_fit_rungs_by_content() {
    let cases = [
        // kbit/s; camera: shorter side and rate; screen: likewise.
        (5_000, Some((u32::MAX, 60)), Some((u32::MAX, 30))),
        (450, Some((u32::MAX, 60)), Some((u32::MAX, 15))),
        (449, Some((540, 30)), Some((u32::MAX, 15))),
        (299, Some((360, 30)), Some((u32::MAX, 8))),
        (169, Some((270, 20)), Some((u32::MAX, 8))),
        (99, Some((180, 15)), Some((u32::MAX, 5))),
        (64, Some((180, 7)), Some((720, 2))),
        (45, Some((180, 7)), Some((720, 2))),
        (44, None, None),
        (0, None, None),
    ];
    for (kbps, camera, screen) in cases {
        for (source, want) in [(MediaSource::Camera, camera), (MediaSource::Screen, screen)] {
            let rungs = rungs(source);
            let rung = fitting(rungs, kbps * 1_000).map(|index| rungs[index]);
            let got = rung.map(|rung| (rung.short_side_px, rung.fps));
            assert_eq!(got, want, "{kbps} kbit/s, {source:?}");
        }
    }
}

#[test]
fn rungs_get_smaller_and_cheaper_and_enter_above_what_they_keep() {
    for source in [MediaSource::Camera, MediaSource::Screen] {
        for pair in rungs(source).windows(2) {
            assert!(pair[0].keep_bps > pair[1].keep_bps, "{pair:?}");
            assert!(pair[0].short_side_px >= pair[1].short_side_px, "{pair:?}");
            assert!(pair[0].fps >= pair[1].fps, "{pair:?}");
            // An estimate that swings by 15 % stays between the two, the sound's reserve included.
            let [keep, enter] = [pair[0].keep_bps, pair[0].enter_bps].map(|bps| bps + 50_000);
            assert!(keep * 100 <= enter * 85, "{pair:?}");
        }
    }
}

#[test]
fn a_dip_falls_at_once_and_climbs_to_what_fitted_all_the_time() {
    let dip = || seconds(2, signal(2_000)).chain(seconds(10, signal(120)));
    let fallen = [(0.0, Step::On(0)), (2.5, Step::On(3))];
    let run = dip().chain(seconds(30, signal(2_000)));
    let want = [&fallen[..], &[(17.0, Step::On(0))]].concat();
    assert_eq!(steps(MediaSource::Camera, run), want);
    // What was there for a moment less is not waited for again, and not climbed to.
    let run = dip()
        .chain(seconds(2, signal(2_000)))
        .chain(seconds(2, signal(300)))
        .chain(seconds(30, signal(2_000)));
    let want = [&fallen[..], &[(17.0, Step::On(2)), (22.25, Step::On(0))]].concat();
    assert_eq!(steps(MediaSource::Camera, run), want);
    // From sound only as well, where nothing can be tried.
    let restless = Signal {
        is_calm: false,
        ..signal(500)
    };
    let run = seconds(2, signal(20)).chain(seconds(8, restless));
    let want = [&OFF[..], &[(7.0, Step::On(1))]].concat();
    assert_eq!(steps(MediaSource::Camera, run), want);
}

#[test]
fn what_is_not_filled_is_not_short_and_what_is_easy_climbs() {
    let easy = Signal {
        is_filled: false,
        is_easy: true,
        ..signal(120)
    };
    let still = steps(MediaSource::Camera, seconds(20, easy));
    assert_eq!(still, [(0.0, Step::On(0))], "a still picture");
    let run = seconds(3, signal(120)).chain(seconds(8, easy));
    let want = [(0.0, Step::On(0)), (0.5, Step::On(3)), (8.0, Step::On(2))];
    assert_eq!(steps(MediaSource::Camera, run), want);
    let queue = Signal {
        is_calm: false,
        ..easy
    };
    let run = seconds(3, signal(120)).chain(seconds(20, queue));
    let want = [(0.0, Step::On(0)), (0.5, Step::On(3))];
    assert_eq!(steps(MediaSource::Camera, run), want);
}

/// With much too little from the beginning on: the least picture first, for what is short may be over soon.
const OFF: [(f64, Step); 3] = [(0.0, Step::On(0)), (0.5, Step::On(5)), (1.0, Step::Off)];

#[test]
fn a_moment_without_anything_costs_size_and_not_the_picture() {
    let run = seconds(5, signal(2_000)).chain(seconds(20, signal(0)).take(3));
    let run = run.chain(seconds(20, signal(2_000)));
    let want = [(0.0, Step::On(0)), (5.5, Step::On(5)), (10.75, Step::On(0))];
    assert_eq!(steps(MediaSource::Camera, run), want);
}

#[test]
fn at_the_bottom_there_is_sound_only_and_trials_that_fail_change_nothing() {
    // 90 kbit/s in all.
    let run = seconds(20, signal(40));
    let steps = steps(MediaSource::Camera, run);
    assert_eq!(steps[..3], OFF);
    let trials = steps.iter().filter(|(_, step)| *step == Step::Trial);
    assert!((2..=4).contains(&trials.count()), "{steps:?}");
    let is_picture = |(_, step): &(f64, Step)| matches!(step, Step::On(_));
    assert_eq!(steps.iter().filter(|step| is_picture(step)).count(), 2);
    for pair in steps.windows(2) {
        let lasted = pair[1].0 - pair[0].0;
        assert!(pair[0].1 != Step::Trial || lasted <= 1.25, "{steps:?}");
    }
}

#[test]
fn nothing_is_tried_on_a_path_with_a_queue_or_while_others_see_the_picture() {
    for (is_calm, may_try) in [(false, true), (true, false)] {
        let signal = Signal {
            is_calm,
            may_try,
            ..signal(0)
        };
        let steps = steps(MediaSource::Camera, seconds(60, signal));
        assert_eq!(steps, OFF);
    }
}

/// A path and an estimator that never believes in more than half again of what is sent.
struct Path {
    capacity_kbps: f64,
    target_kbps: f64,
}

impl Path {
    fn signal(&mut self, ladder: &Ladder) -> Signal {
        const SOUND_KBPS: f64 = 42.0;
        let left = (self.target_kbps - 50.0).max(0.0);
        let video = match ladder.step() {
            Step::Off => 0.0,
            Step::Trial => TRIAL_BPS as f64 / 1e3,
            Step::On(_) => {
                let most = ladder
                    .next_enter_bps()
                    .map_or(2_000.0, |bps| bps as f64 / 1e3);
                left.min(most.max(150.0)).max(20.0)
            }
        };
        let sent = video + SOUND_KBPS;
        let is_over = sent > self.capacity_kbps;
        if is_over {
            self.target_kbps = self.target_kbps.min(0.85 * self.capacity_kbps);
        } else {
            let most = self.target_kbps.max(1.5 * sent + 10.0);
            self.target_kbps = (self.target_kbps * 1.45_f64.powf(0.25)).min(most);
        }
        let kbps = |kbps: f64| (kbps * 1e3) as u64;
        Signal {
            target_bps: kbps(self.target_kbps),
            budget_bps: kbps((self.target_kbps - 50.0).max(0.0)),
            is_filled: true,
            is_easy: false,
            is_calm: !is_over,
            may_try: true,
        }
    }
}

#[test]
fn a_picture_is_back_within_eight_seconds_of_a_path_that_is_good_again() {
    for dip_s in (5..40).step_by(2) {
        let start = Instant::now();
        let mut ladder = Ladder::new(MediaSource::Camera);
        let mut path = Path {
            capacity_kbps: 2_000.0,
            target_kbps: 2_000.0,
        };
        let mut back_after = None;
        for tick in 0..400 {
            let at = f64::from(tick) * 0.25;
            let is_dip = at < f64::from(dip_s);
            path.capacity_kbps = if is_dip { 80.0 } else { 2_000.0 };
            let signal = path.signal(&ladder);
            ladder.handle(start + TICK * tick, signal, differ);
            let has_picture = matches!(ladder.step(), Step::On(_));
            if at > 2.0 && is_dip {
                assert!(!has_picture, "a picture at {at} of {dip_s}");
            }
            if !is_dip && has_picture && back_after.is_none() {
                back_after = Some(at - f64::from(dip_s));
            }
        }
        let back_after = back_after.expect("it comes back");
        assert!(back_after <= 8.0, "{back_after} s after {dip_s} s");
        assert_eq!(ladder.step(), Step::On(0), "at the end");
    }
}

#[test]
fn random_targets_never_make_it_oscillate() {
    for seed in 0..300_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % below
        };
        let start = Instant::now();
        let mut ladder = Ladder::new(MediaSource::Camera);
        let (mut budget, mut hold) = (2_000, 0);
        let (mut down_at, mut short_since) = (None::<f64>, None::<f64>);
        let mut changes: Vec<f64> = Vec::new();
        for tick in 0..1_200 {
            let at = f64::from(tick) * 0.25;
            if hold == 0 {
                budget = [0, 30, 55, 80, 130, 200, 350, 600, 3_000][draw(9) as usize];
                hold = 1 + draw(if seed % 2 == 0 { 6 } else { 60 });
            }
            hold -= 1;
            let noise = 85 + draw(16);
            let budget_bps = budget * 10 * noise;
            let before = ladder.step();
            let signal = Signal {
                target_bps: budget_bps + 50_000,
                budget_bps,
                ..signal(0)
            };
            ladder.handle(start + TICK * tick, signal, differ);
            let place = |step| match step {
                Step::On(index) => index,
                Step::Off | Step::Trial => CAMERA.len(),
            };
            let (from, to) = (place(before), place(ladder.step()));
            let needs = |index: usize| CAMERA.get(index).map_or(0, |rung| rung.keep_bps);
            short_since = if budget_bps < needs(to) {
                short_since.or(Some(at))
            } else {
                None
            };
            let short_for = short_since.map_or(0.0, |since| at - since);
            assert!(
                short_for <= 1.5,
                "seed {seed}: short for {short_for} s at {at}"
            );
            if to < from {
                let since_down = down_at.map_or(f64::INFINITY, |down| at - down);
                assert!(since_down >= 5.0, "seed {seed}: up at {at}");
            }
            if to > from {
                down_at = Some(at);
            }
            if to != from {
                changes.push(at);
            }
        }
        for window in changes.windows(21) {
            let span = window[20] - window[0];
            assert!(span > 60.0, "seed {seed}: 20 changes in {span} s");
        }
    }
}

#[test]
fn gusts_make_the_wait_longer_and_do_not_begin_it_anew() {
    let (low, high) = (signal(120), signal(280));
    let small = Step::On(3);
    let climb = |gust_ticks: u64, pause_ticks: u64| {
        let gusty = (0..80).map(move |tick| {
            let is_gust = tick % (gust_ticks + pause_ticks) >= pause_ticks;
            if is_gust { low } else { high }
        });
        let steps = steps(
            MediaSource::Camera,
            seconds(3, low).chain(gusty).collect::<Vec<_>>(),
        );
        let up = steps.iter().skip_while(|(_, step)| *step != small).nth(1);
        up.map(|(at, step)| (at - 3.0, *step))
    };
    assert_eq!(climb(0, 20), Some((5.0, Step::On(2))), "no gusts");
    let (after, step) = climb(2, 6).expect("half a second every two");
    assert!(
        (6.0..8.0).contains(&after) && step == Step::On(2),
        "{after}"
    );
    assert_eq!(climb(3, 5), None, "as long as a second is no gust");
}
