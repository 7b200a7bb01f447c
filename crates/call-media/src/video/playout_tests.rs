use std::time::{Duration, Instant};

use super::{MAX_DELAY_MS, QUEUE_FRAMES, VideoPlayout};

const FRAME: Duration = Duration::from_nanos(33_333_333);

/// A deterministic sequence of numbers below `bound`.
struct Noise(u32);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u64::from(self.0 >> 8) % bound.max(1)
    }
}

/// Sends `count` frames of 33 ms, each arriving after `transit_us(n)`; returns per frame how long
/// after its capture it was shown, in µs.
fn play(
    playout: &mut VideoPlayout<u32>,
    count: u32,
    mut transit_us: impl FnMut(u32) -> u64,
) -> Vec<u64> {
    let start = Instant::now() + Duration::from_secs(1);
    let mut arrivals: Vec<(Instant, u32)> = Vec::new();
    let mut last = start;
    for n in 0..count {
        // In order, as the assembler delivers.
        last = last.max(start + FRAME * n + Duration::from_micros(transit_us(n)));
        arrivals.push((last, n));
    }
    let mut shown = vec![0; count as usize];
    let mut next_expected = 0;
    let mut show = |playout: &mut VideoPlayout<u32>, now: Instant| {
        while let Some(n) = playout.poll_frame(now) {
            assert_eq!(n, next_expected, "in order, each once");
            next_expected += 1;
            shown[n as usize] = (now - (start + FRAME * n)).as_micros() as u64;
        }
    };
    for (at, n) in arrivals {
        while let Some(due) = playout.poll_timeout().filter(|due| *due <= at) {
            show(playout, due);
        }
        let timestamp = u32::MAX.wrapping_sub(50_000).wrapping_add(n * 3_000);
        playout.handle_frame(at, timestamp, n);
        show(playout, at);
    }
    while let Some(due) = playout.poll_timeout() {
        show(playout, due);
    }
    assert_eq!(next_expected, count);
    shown
}

fn spread(shown: &[u64]) -> u64 {
    shown.iter().max().unwrap() - shown.iter().min().unwrap()
}

#[test]
fn an_even_path_adds_nothing() {
    let mut playout = VideoPlayout::default();
    let shown = play(&mut playout, 300, |_| 40_000);
    assert!(
        shown.iter().all(|us| (40_000..40_100).contains(us)),
        "{shown:?}"
    );
    assert_eq!(playout.delay_ms(), 0);
}

#[test]
fn jitter_is_evened_out_with_little_more_than_it_needs() {
    let mut noise = Noise(7);
    let mut playout = VideoPlayout::default();
    let shown = play(&mut playout, 900, |_| 20_000 + noise.below(30_000));
    let settled = &shown[200..];
    let late = settled.iter().filter(|us| **us > 52_000).count();
    assert!(late == 0, "{late} frames later than the worst transit");
    // Without pacing the spread is the jitter itself, 30 ms.
    let mut sorted = settled.to_vec();
    sorted.sort_unstable();
    let middle = &sorted[sorted.len() / 20..sorted.len() * 19 / 20];
    assert!(spread(middle) < 4_000, "{}", spread(middle));
}

#[test]
fn a_calm_path_is_followed_down_and_a_bad_one_up() {
    let mut noise = Noise(3);
    let mut playout = VideoPlayout::default();
    let shown = play(&mut playout, 900, |n| match n {
        0..300 => 10_000,
        300..600 => 10_000 + noise.below(80_000),
        _ => 10_000,
    });
    assert!(shown[250] < 12_000);
    assert!(
        shown[400..600].iter().all(|us| *us > 60_000),
        "{:?}",
        &shown[400..600]
    );
    assert!(shown[890] < 12_000, "{}", shown[890]);
    // No step between two frames is a visible jump, once the worst has been seen.
    let steps = shown[601..]
        .windows(2)
        .map(|pair| pair[0].abs_diff(pair[1]));
    assert!(steps.max().unwrap() <= 3_100);
}

#[test]
fn pictures_wait_for_the_sound_and_approach_it_gently() {
    let mut playout = VideoPlayout::default();
    playout.set_sync_delay_us(70_000);
    let shown = play(&mut playout, 60, |_| 5_000);
    assert!((74_000..76_000).contains(&shown[40]), "{shown:?}");
    let steps = shown.windows(2).map(|pair| pair[1].abs_diff(pair[0]));
    assert!(steps.max().unwrap() <= 11_200);
    playout.set_sync_delay_us(-20_000);
    let back = play(&mut playout, 90, |_| 5_000);
    assert!(back[89] < 6_000, "{back:?}");
}

#[test]
fn delays_and_queue_are_bounded() {
    let mut playout = VideoPlayout::default();
    playout.set_sync_delay_us(60_000_000);
    let shown = play(&mut playout, 200, |_| 0);
    assert!(*shown.last().unwrap() <= u64::from(MAX_DELAY_MS) * 1_000 + 100);
    let now = Instant::now() + Duration::from_secs(600);
    let mut full = VideoPlayout::default();
    full.set_sync_delay_us(500_000);
    for n in 0..2 * QUEUE_FRAMES as u32 {
        full.handle_frame(now, n * 3_000, n);
    }
    let early = std::iter::from_fn(|| full.poll_frame(now)).count();
    assert!(early >= QUEUE_FRAMES, "{early}");
}

#[test]
fn a_stream_that_starts_over_is_not_held_back() {
    let now = Instant::now() + Duration::from_secs(60);
    let mut playout = VideoPlayout::default();
    for (n, timestamp) in [0, 3_000, 2_000_000_000, 2_000_003_000, 5, 3_005]
        .into_iter()
        .enumerate()
    {
        let at = now + FRAME * n as u32;
        playout.handle_frame(at, timestamp, n);
        assert_eq!(playout.poll_frame(at), Some(n));
    }
}

#[test]
fn what_waits_is_taken_back_from_a_timestamp_on() {
    let now = Instant::now() + Duration::from_secs(60);
    let mut playout = VideoPlayout::default();
    playout.set_sync_delay_us(500_000);
    // Beyond the wrap of the timestamps as well.
    let first = u32::MAX - 5_000;
    for n in 0..6 {
        playout.handle_frame(now + FRAME * n, first.wrapping_add(n * 3_000), n);
    }
    let late = now + Duration::from_secs(1);
    assert_eq!(playout.poll_frame(late), Some(0));
    assert_eq!(playout.retract(first.wrapping_add(3 * 3_000)), 3);
    assert_eq!(playout.retract(first.wrapping_add(3 * 3_000)), 0);
    let rest: Vec<_> = std::iter::from_fn(|| playout.poll_frame(late)).collect();
    assert_eq!(rest, [1, 2]);
}
