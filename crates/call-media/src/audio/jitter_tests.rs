//! Tables in virtual time: a sender numbers its packets, a network delays, drops and repeats
//! them, the buffer is pulled every 20 ms.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Adjustment, JitterBuffer, JitterStats, Pull};
use crate::audio::packets::MAX_PACKETS;

/// A packet: when it arrives, its number, and its position in frames of 20 ms.
type Arrival = (u64, u64, u64);

struct Outcome {
    /// Numbers of the packets played, in order of playing.
    played: Vec<u64>,
    pulls: Vec<Pull>,
    stats: JitterStats,
}

/// Numbers and timestamps start just below their wrap-around.
const FIRST_SEQ: u16 = 65_530;
const FIRST_TIMESTAMP: u32 = u32::MAX - 5_000;

fn payload(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn number(payload: &Bytes) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

const BLOCK: isize = 480;
const FRAME: isize = 960;

/// A voice with a pitch of 200 Hz: whole periods of 5 ms can be left out and inserted.
fn stretch(adjustment: Adjustment) -> isize {
    match adjustment {
        Adjustment::Keep => 0,
        Adjustment::Accelerate { samples, .. } => -(samples as isize / 240 * 240),
        Adjustment::Expand { samples, .. } => samples as isize / 240 * 240,
    }
}

fn run(arrivals: &[Arrival], until_ms: u64) -> Outcome {
    let start = Instant::now();
    let mut by_time: BTreeMap<u64, Vec<Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        by_time.entry(arrival.0).or_default().push(*arrival);
    }
    let mut buffer = JitterBuffer::new();
    let mut pending = 0;
    let mut outcome = Outcome {
        played: Vec::new(),
        pulls: Vec::new(),
        stats: buffer.stats(),
    };
    for ms in 0..until_ms {
        let now = start + Duration::from_millis(ms);
        for (_, n, frame) in by_time.get(&ms).into_iter().flatten() {
            let seq = FIRST_SEQ.wrapping_add(*n as u16);
            let timestamp = FIRST_TIMESTAMP.wrapping_add(*frame as u32 * 960);
            buffer.handle_packet(now, seq, timestamp, payload(*n));
        }
        if ms % 10 == 7 {
            while pending < BLOCK {
                let pull = buffer.pull(now, pending as usize);
                pending += match &pull {
                    Pull::Packet(packet, adjustment) => {
                        outcome.played.push(number(packet));
                        let change = stretch(*adjustment);
                        buffer.handle_adjusted(change);
                        FRAME + change
                    }
                    Pull::Conceal { .. } => FRAME,
                    Pull::Wait | Pull::Dtx | Pull::Buffering => BLOCK,
                };
                outcome.pulls.push(pull);
            }
            pending -= BLOCK;
        }
    }
    outcome.stats = buffer.stats();
    outcome
}

/// `count` packets, 20 ms apart, each delayed by `delay(n)` milliseconds.
fn stream(count: u64, delay: impl Fn(u64) -> u64) -> Vec<Arrival> {
    (0..count).map(|n| (n * 20 + delay(n), n, n)).collect()
}

#[test]
fn a_perfect_network_plays_everything_in_order_across_the_wrap() {
    let outcome = run(&stream(100, |_| 30), 2_200);
    assert_eq!(outcome.played, (0..100).collect::<Vec<_>>());
    let stats = outcome.stats;
    assert_eq!(
        (stats.received, stats.lost, stats.late, stats.concealed),
        (100, 0, 0, 0)
    );
    assert_eq!((stats.accelerated_samples, stats.expanded_samples), (0, 0));
    assert!((35..=46).contains(&stats.delay_ms), "{stats:?}");
    assert_eq!(stats.jitter_ms, 0.0);
    assert_eq!(stats.target_delay_ms, 40);
    assert_eq!(
        outcome
            .pulls
            .iter()
            .take_while(|pull| **pull == Pull::Buffering)
            .count(),
        6
    );
}

#[test]
fn reordered_and_repeated_packets_play_once_and_in_order() {
    let mut arrivals = stream(50, |n| if n % 5 == 0 { 35 } else { 5 });
    arrivals.extend(stream(50, |n| if n % 3 == 0 { 60 } else { 12 }));
    let outcome = run(&arrivals, 1_300);
    assert_eq!(outcome.played, (0..50).collect::<Vec<_>>());
    assert_eq!((outcome.stats.received, outcome.stats.duplicated), (50, 50));
    assert_eq!(outcome.stats.lost, 0);
}

#[test]
fn a_lost_packet_is_concealed_from_the_next_ones_redundancy() {
    let arrivals: Vec<_> = stream(50, |_| 0)
        .into_iter()
        .filter(|(_, n, _)| *n != 20)
        .collect();
    let outcome = run(&arrivals, 1_100);
    assert_eq!(outcome.played, (0..20).chain(21..50).collect::<Vec<_>>());
    let fec = Pull::Conceal {
        fec_from: Some(payload(21)),
    };
    assert_eq!(outcome.pulls.iter().filter(|pull| **pull == fec).count(), 1);
    assert_eq!((outcome.stats.lost, outcome.stats.concealed), (1, 1));
}

#[test]
fn what_is_decoded_from_redundancy_is_not_made_up() {
    let start = Instant::now();
    let mut buffer = JitterBuffer::new();
    // Hybrid packets of one frame, as voices have them; the bit says that they hold the one before.
    for (number, has_redundancy) in [(0, 0x40), (1, 0x40), (3, 0x40), (5, 0x00), (6, 0x40)] {
        let payload = Bytes::copy_from_slice(&[0x78, has_redundancy, 0]);
        let arrived = start + Duration::from_millis(20) * u32::from(number);
        buffer.handle_packet(arrived, number, u32::from(number) * 960, payload);
    }
    for frame in 7..20 {
        buffer.pull(start + Duration::from_millis(20) * frame, 0);
    }
    let stats = buffer.stats();
    assert_eq!((stats.lost, stats.repaired), (2, 1), "{stats:?}");
    assert_eq!(stats.concealed, 1, "{stats:?}");
    assert_eq!(stats.played, 7, "{stats:?}");
}

#[test]
fn a_hole_that_fills_before_it_is_due_is_no_loss() {
    let outcome = run(&stream(50, |n| if n == 20 { 25 } else { 0 }), 1_100);
    assert_eq!(outcome.played, (0..50).collect::<Vec<_>>());
    let stats = outcome.stats;
    assert_eq!((stats.lost, stats.late, stats.concealed), (0, 0, 0));
    assert_eq!(stats.concealment_events, 0);
}

#[test]
fn a_packet_that_is_late_is_waited_for_while_nothing_else_is_there() {
    // From 20 on everything takes 100 ms longer: a new route.
    let outcome = run(&stream(300, |n| if n < 20 { 0 } else { 100 }), 6_200);
    assert_eq!(outcome.played, (0..300).collect::<Vec<_>>());
    let stats = outcome.stats;
    assert_eq!((stats.lost, stats.concealment_events), (0, 1));
    assert!((3..=5).contains(&stats.concealed), "{stats:?}");
    assert!(stats.delay_ms <= 50, "{stats:?}");
}

#[test]
fn time_spent_waiting_for_lost_packets_is_their_concealment() {
    // Each tenth packet is lost and its successor comes after it was due.
    let arrivals: Vec<_> = stream(400, |n| if n % 10 == 1 && n > 1 { 50 } else { 0 })
        .into_iter()
        .filter(|(_, n, _)| n % 10 != 0 || *n == 0)
        .collect();
    let stats = run(&arrivals, 8_100).stats;
    // The first successor comes even after its own successor; then the target has learned.
    assert!(stats.lost == 39 && stats.late <= 1, "{stats:?}");
    assert!((39..=45).contains(&stats.concealed), "{stats:?}");
    assert!((39..=45).contains(&stats.concealment_events), "{stats:?}");
}

#[test]
fn the_target_rises_within_a_second_of_worse_jitter_and_falls_slowly() {
    let worse = |n: u64| if n < 200 { 0 } else { n * 7_919 % 101 };
    let rising = run(&stream(250, worse), 5_000).stats;
    assert!(rising.target_delay_ms >= 95, "{rising:?}");
    let better = |n: u64| if n < 300 { n * 7_919 % 101 } else { 0 };
    let soon = run(&stream(400, better), 8_000).stats;
    assert!(soon.target_delay_ms >= 95, "{soon:?}");
    let later = run(&stream(850, better), 17_000).stats;
    assert_eq!(later.target_delay_ms, super::MIN_DELAY_MS);
}

#[test]
fn sound_without_a_seam_is_stretched_after_a_second_at_the_latest() {
    let start = Instant::now();
    let mut buffer = JitterBuffer::new();
    let mut least = Vec::new();
    for n in 0..100u64 {
        // 100 ms less transit from 30 on: the delay is too long by that.
        let earlier = if n < 30 { 0 } else { 30 };
        let now = start + Duration::from_millis(100 + n * 20 - earlier);
        buffer.handle_packet(now, n as u16, n as u32 * 960, payload(n));
        let now = start + Duration::from_millis(100 + n * 20);
        if let Pull::Packet(_, Adjustment::Accelerate { least_match, .. }) = buffer.pull(now, 0) {
            least.push(least_match);
        }
    }
    assert_eq!(least.first(), Some(&0.9));
    assert_eq!(least.last(), Some(&0.0));
    assert!(least.len() <= 75, "{}", least.len());
}

#[test]
fn a_burst_loss_is_concealed_frame_by_frame_and_only_the_last_has_redundancy() {
    let arrivals: Vec<_> = stream(50, |_| 0)
        .into_iter()
        .filter(|(_, n, _)| !(20..24).contains(n))
        .collect();
    let outcome = run(&arrivals, 1_100);
    let conceals: Vec<_> = outcome.pulls[..40]
        .iter()
        .filter(|p| matches!(p, Pull::Conceal { .. }))
        .collect();
    assert!(matches!(
        conceals.last(),
        Some(Pull::Conceal { fec_from: Some(_) })
    ));
    assert_eq!(outcome.stats.lost, 4);
    assert!(outcome.stats.concealed >= 4);
    assert_eq!(outcome.played.len(), 46);
}

#[test]
fn a_pause_of_the_sender_is_not_loss() {
    // 20 packets, a pause of one second, 20 more: numbers go on, timestamps jump.
    let mut arrivals = stream(20, |_| 10);
    arrivals.extend((20..40).map(|n| (n * 20 + 1_010, n, n + 50)));
    let outcome = run(&arrivals, 2_000);
    assert_eq!(outcome.played, (0..40).collect::<Vec<_>>());
    let stats = outcome.stats;
    assert_eq!(
        (stats.lost, stats.late, stats.concealed, stats.played),
        (0, 0, 0, 40)
    );
}

#[test]
fn comfort_noise_updates_every_400_ms_keep_the_track_alive() {
    let arrivals: Vec<_> = (0..10).map(|n| (n * 400, n, n * 20)).collect();
    let outcome = run(&arrivals, 4_300);
    assert_eq!(outcome.played, (0..10).collect::<Vec<_>>());
    assert_eq!((outcome.stats.lost, outcome.stats.concealed), (0, 0));
}

#[test]
fn jitter_raises_the_target_and_then_nothing_is_late() {
    let wobble = |n: u64| n * 7_919 % 97;
    let outcome = run(&stream(500, wobble), 10_500);
    let stats = outcome.stats;
    assert!(
        (100..=130).contains(&stats.target_delay_ms),
        "{}",
        stats.target_delay_ms
    );
    assert!(
        (20.0..60.0).contains(&stats.jitter_ms),
        "{}",
        stats.jitter_ms
    );
    assert!(stats.late < 10, "{stats:?}");
    assert!(stats.concealed < 25, "{stats:?}");
}

#[test]
fn the_target_stays_within_its_bounds_and_falls_back() {
    let outcome = run(&stream(300, |n| (n % 2) * 900), 7_200);
    assert_eq!(outcome.stats.target_delay_ms, super::MAX_DELAY_MS);
    let calm = run(
        &stream(900, |n| if n < 300 { n * 31 % 150 } else { 20 }),
        18_100,
    );
    assert_eq!(calm.stats.target_delay_ms, 40);
    assert!(calm.stats.delay_ms <= 100, "{:?}", calm.stats);
}

#[test]
fn a_delay_spike_is_played_and_then_worked_off() {
    // Nothing for 300 ms, then everything at once.
    let spike = |n: u64| {
        if (50..65).contains(&n) {
            (65 - n) * 20
        } else {
            0
        }
    };
    let outcome = run(&stream(400, spike), 8_200);
    assert_eq!(outcome.stats.lost, 0);
    assert!(outcome.stats.accelerated_samples > 0, "{:?}", outcome.stats);
    assert!(
        outcome.stats.delay_ms <= outcome.stats.target_delay_ms + 60,
        "{:?}",
        outcome.stats
    );
    assert_eq!(outcome.played, (0..400).collect::<Vec<_>>());
}

#[test]
fn a_sender_clock_half_a_percent_fast_or_slow_is_followed() {
    for (interval_us, name) in [(19_900, "fast"), (20_100, "slow")] {
        let arrivals: Vec<_> = (0..2_000)
            .map(|n| (n * interval_us / 1_000, n, n))
            .collect();
        let outcome = run(&arrivals, 2_000 * interval_us / 1_000);
        let stats = outcome.stats;
        assert!(stats.delay_ms < 200, "{name}: {stats:?}");
        assert!(stats.concealed < 100, "{name}: {stats:?}");
        assert!(
            outcome.played.len() > 1_980,
            "{name}: {}",
            outcome.played.len()
        );
    }
}

#[test]
fn a_late_packet_is_dropped_and_counted() {
    let outcome = run(&stream(50, |n| if n == 20 { 300 } else { 0 }), 1_500);
    assert!(!outcome.played.contains(&20));
    assert_eq!((outcome.stats.late, outcome.stats.lost), (1, 0));
}

#[test]
fn a_restarted_sender_is_heard_again() {
    let mut arrivals = stream(20, |_| 0);
    arrivals.extend((0..20).map(|n| (1_000 + n * 20, 30_000 + n, 4_000_000 + n)));
    let outcome = run(&arrivals, 1_600);
    assert_eq!(
        outcome.played,
        (0..20).chain(30_000..30_020).collect::<Vec<_>>()
    );
}

#[test]
fn hostile_packets_grow_nothing() {
    let mut buffer = JitterBuffer::new();
    let mut state = 1u64;
    let now = Instant::now();
    for n in 0..20_000u64 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (seq, timestamp) = ((state >> 48) as u16, (state >> 16) as u32);
        let now = now + Duration::from_millis(n / 10);
        buffer.handle_packet(
            now,
            seq,
            timestamp,
            Bytes::from(vec![0; (state % 2_000) as usize]),
        );
        assert!(buffer.packets.len() <= MAX_PACKETS);
        if n % 7 == 0 {
            buffer.pull(now, 0);
        }
    }
}

#[test]
fn nobody_pulling_keeps_the_newest_second() {
    let start = Instant::now();
    let mut buffer = JitterBuffer::new();
    for n in 0..500u64 {
        let now = start + Duration::from_millis(n * 20);
        buffer.handle_packet(now, n as u16, n as u32 * 960, payload(n));
    }
    assert_eq!(buffer.packets.len(), MAX_PACKETS);
    let now = start + Duration::from_secs(10);
    let Pull::Packet(first, _) = buffer.pull(now, 0) else {
        panic!("something plays")
    };
    assert!(number(&first) >= 450);
}
