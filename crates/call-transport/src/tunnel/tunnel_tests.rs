//! Whole tunnels in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use call_lab::network::{Jitter, Loss, PathConfig};
use call_lab::random::Random;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::endpoint::{Endpoint, Incoming};
use super::frame;
use super::simulation::Simulation;

const MBIT: u64 = 1_000_000;
const DEAD: PathConfig = PathConfig {
    loss: Loss::Random(1.0),
    delay: Duration::ZERO,
    jitter: Jitter::None,
    reorders: false,
    rate_bps: None,
    queue_bytes: 0,
};

fn path(rate_bps: u64, rtt_ms: u64, loss: f64, queue_ms: u64) -> PathConfig {
    PathConfig {
        delay: Duration::from_millis(rtt_ms) / 2,
        loss: Loss::Random(loss),
        rate_bps: Some(rate_bps),
        queue_bytes: usize::try_from(rate_bps / 8 * queue_ms / 1_000).unwrap(),
        ..PathConfig::default()
    }
}

#[test]
fn a_link_is_used_whatever_its_loss_and_the_queue_stays_short() {
    for rtt_ms in [20, 60, 150] {
        for loss in [0.0, 0.005, 0.01, 0.02] {
            let forward = path(100 * MBIT, rtt_ms, loss, 100);
            let mut simulation = Simulation::new(forward, forward, 1);
            simulation.run_until(simulation.after(10_000));
            let share = simulation.rate_bps(3_000, 10_000) / 100e6;
            let early = simulation.rate_bps(1_500, 3_000) / 100e6;
            let queued_ms = simulation.queueing_ms(3_000, 0.95);
            println!(
                "{rtt_ms} ms, {loss}: {share:.3}, at first {early:.3}, queue {queued_ms:.1} ms"
            );
            assert!(share > 0.88 && early > 0.8, "{rtt_ms} ms, {loss}");
            assert!(queued_ms < 8.0, "{rtt_ms} ms, {loss}: {queued_ms} ms");
        }
    }
}

#[test]
fn machines_that_stand_still_now_and_then_do_not_stand_for_queues() {
    for rtt_ms in [20, 60, 150] {
        let shares: Vec<f64> = (0..12)
            .map(|seed| {
                let forward = path(100 * MBIT, rtt_ms, 0.005, 50);
                let mut simulation = Simulation::new(forward, forward, seed).with_busy_ends();
                simulation.run_until(simulation.after(10_000));
                simulation.rate_bps(2_000, 10_000) / 100e6
            })
            .collect();
        println!("{rtt_ms} ms: {shares:.3?}");
        assert!(shares.iter().all(|share| *share > 0.75), "{rtt_ms} ms");
    }
}

#[test]
fn datagrams_arrive_once_and_in_order_over_bad_paths() {
    for (loss, jitter_ms, duplicates) in [
        (0.0, 0, 0.0),
        (0.01, 5, 0.0),
        (0.05, 20, 0.05),
        (0.2, 40, 0.2),
    ] {
        for seed in 0..4 {
            let forward = PathConfig {
                jitter: Jitter::Uniform(Duration::from_millis(jitter_ms)),
                reorders: true,
                ..path(20 * MBIT, 100, loss, 100)
            };
            let mut simulation =
                Simulation::new(forward, forward, seed).with_duplicates(duplicates);
            simulation.stop_after(4_000);
            simulation.drain_until(simulation.after(120_000));
            assert_eq!(simulation.arrived, 4_000, "loss {loss}, seed {seed}");
        }
    }
}

#[test]
fn large_datagrams_travel_in_pieces_and_arrive_whole() {
    for bytes in [1_241, 2_480, 8_680, 16_000] {
        let forward = PathConfig {
            jitter: Jitter::Uniform(Duration::from_millis(10)),
            reorders: true,
            ..path(50 * MBIT, 60, 0.03, 100)
        };
        let mut simulation = Simulation::new(forward, forward, 8)
            .with_datagrams_of(bytes)
            .with_duplicates(0.05);
        simulation.stop_after(2_000);
        simulation.drain_until(simulation.after(60_000));
        assert_eq!(simulation.arrived, 2_000, "{bytes} bytes");
    }
    for rtt_ms in [1, 60, 150] {
        let forward = path(100 * MBIT, rtt_ms, 0.01, 100);
        let mut simulation = Simulation::new(forward, forward, 1).with_datagrams_of(8_680);
        simulation.run_until(simulation.after(8_000));
        let share = simulation.rate_bps(3_000, 8_000) / 100e6;
        println!("{rtt_ms} ms: {share:.3}");
        assert!(share > 0.85, "{rtt_ms} ms: {share}");
    }
}

#[test]
fn paths_without_a_tunnel_are_narrow_for_large_datagrams_only() {
    let (_, to) = addresses();
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut end = endpoint(1);
    assert!(!end.handle_outgoing(start, to, &[23; 1_228], None));
    end.handle_timeout(at(60_000));
    assert!(!end.is_narrow(), "nothing large was sent");
    assert!(
        end.handle_outgoing(at(60_000), to, &[23; 8_593], None),
        "it waits"
    );
    end.handle_timeout(at(63_999));
    assert!(!end.is_narrow());
    assert!(end.poll_timeout().is_some_and(|wake| wake <= at(64_000)));
    end.handle_timeout(at(64_000));
    assert!(end.is_narrow());

    // What begins with 64 is a relay's (RFC 8656, section 12).
    let mut end = endpoint(2);
    assert!(!end.handle_outgoing(start, to, &[64; 1_232], None));
    assert!(!end.is_narrow());
    assert!(end.handle_outgoing(start, to, &[64; 8_600], None));
    assert!(end.is_narrow());
}

#[test]
fn twenty_seconds_without_a_path_lose_nothing() {
    let forward = path(20 * MBIT, 60, 0.01, 100);
    let mut simulation = Simulation::new(forward, forward, 3);
    simulation.run_until(simulation.after(2_000));
    for direction in 0..2 {
        simulation.set_path(direction, DEAD);
    }
    simulation.run_until(simulation.after(22_000));
    assert!(simulation.rate_bps(2_200, 22_000) < 1.0);
    for direction in 0..2 {
        simulation.set_path(direction, forward);
    }
    simulation.run_until(simulation.after(30_000));
    let sender = simulation.ends[0].active().expect("the tunnel lives on");
    assert_eq!(sender.counts().refused, 0);
    let again = simulation.rate_bps(24_000, 30_000) / 20e6;
    assert!(again > 0.8, "{again}");
    simulation.stop_after(simulation.sent);
    simulation.drain_until(simulation.after(40_000));
    assert_eq!(simulation.arrived, simulation.sent);
}

#[test]
fn a_changed_rate_is_followed() {
    let at = |mbit: u64| path(mbit * MBIT, 60, 0.005, 200);
    let mut simulation = Simulation::new(at(50), at(50), 5);
    for (step, mbit) in [(0, 50), (1, 10), (2, 50)] {
        simulation.set_path(0, at(mbit));
        let begin = step * 8_000;
        simulation.run_until(simulation.after(begin + 8_000));
        let share = simulation.rate_bps(begin + 3_000, begin + 8_000) / (mbit * MBIT) as f64;
        println!("{mbit} Mbit/s: {share:.3}");
        assert!(share > 0.8, "{mbit} Mbit/s: {share}");
    }
}

#[test]
fn a_longer_route_is_not_taken_for_a_queue_for_ever() {
    let at = |rtt_ms: u64| path(20 * MBIT, rtt_ms, 0.0, 100);
    let mut simulation = Simulation::new(at(20), at(20), 5);
    simulation.run_until(simulation.after(5_000));
    for direction in 0..2 {
        simulation.set_path(direction, at(120));
    }
    simulation.run_until(simulation.after(20_000));
    let share = simulation.rate_bps(15_000, 20_000) / 20e6;
    assert!(share > 0.8, "{share}");
}

#[test]
fn a_call_on_the_same_link_keeps_its_delay_and_loses_nothing() {
    // 2 Mbit/s of a call on 5 Mbit/s, with a queue of 300 ms that a file could fill.
    for rtt_ms in [20, 60, 150] {
        let forward = path(5 * MBIT, rtt_ms, 0.0, 300);
        let simulation = Simulation::new(forward, forward, 2);
        let mut simulation = simulation.with_media(Box::new(|_, _| 2e6));
        simulation.run_until(simulation.after(20_000));
        let (_, lost, delays) = simulation.media(0, 19_000);
        let of = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
        let share = simulation.rate_bps(5_000, 20_000) / 3e6;
        println!(
            "{rtt_ms} ms: queue p50 {:.1}, p95 {:.1}, most {:.1} ms; the file gets {share:.3}",
            of(0.5),
            of(0.95),
            of(1.0)
        );
        assert_eq!(lost, 0);
        assert!(of(0.95) < 10.0 && of(1.0) < 100.0);
        assert!(share > 0.75, "{share}");
    }
}

#[test]
fn a_limit_holds_and_is_lifted() {
    let forward = path(100 * MBIT, 60, 0.01, 100);
    let mut simulation = Simulation::new(forward, forward, 2);
    simulation.ends[0].set_limit_bps(Some(4 * MBIT));
    simulation.run_until(simulation.after(10_000));
    let limited = simulation.rate_bps(1_000, 10_000);
    assert!((3.4e6..4.1e6).contains(&limited), "{limited}");
    simulation.ends[0].set_limit_bps(None);
    simulation.run_until(simulation.after(16_000));
    let lifted = simulation.rate_bps(14_000, 16_000);
    assert!(lifted > 80e6, "{lifted}");
}

fn addresses() -> (SocketAddr, SocketAddr) {
    (([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into())
}

fn endpoint(seed: u64) -> Endpoint {
    Endpoint::new(StdRng::seed_from_u64(seed))
}

#[test]
fn a_peer_that_does_not_answer_is_left_alone() {
    let (_, to) = addresses();
    let mut now = Instant::now();
    let mut end = endpoint(1);
    let mut hellos = 0;
    for _ in 0..600 {
        now += Duration::from_millis(100);
        assert!(!end.handle_outgoing(now, to, &[23; 50], None));
        end.handle_timeout(now);
        while end.poll_transmit(now, &mut Vec::new()).is_some() {
            hellos += 1;
        }
    }
    assert_eq!(hellos, 8);
    assert_eq!(end.poll_timeout(), None);
}

#[test]
fn only_protected_application_data_is_taken() {
    let forward = path(MBIT, 20, 0.0, 100);
    let mut simulation = Simulation::new(forward, forward, 2);
    simulation.run_until(simulation.after(500));
    let (_, to) = addresses();
    for (first, is_taken) in [
        (0, false),
        (22, false),
        (23, true),
        (64, false),
        (128, false),
    ] {
        let taken = simulation.ends[0].handle_outgoing(simulation.now, to, &[first; 60], None);
        assert_eq!(taken, is_taken, "first byte {first}");
    }
}

#[test]
fn frames_of_strangers_change_nothing() {
    let (stranger, known) = addresses();
    let now = Instant::now();
    let mut end = endpoint(1);
    let mut hello = Vec::new();
    frame::write_hello(&mut hello, 7);
    assert_eq!(
        end.handle_incoming(now, now, stranger, &hello),
        Incoming::Consumed
    );
    assert_eq!(end.poll_transmit(now, &mut Vec::new()), None);
    end.handle_outgoing(now, known, &[22; 50], None);
    assert_eq!(
        end.handle_incoming(now, now, known, &hello),
        Incoming::Consumed
    );
    assert_eq!(end.poll_transmit(now, &mut Vec::new()), Some(known));
    let mut data = Vec::new();
    frame::write_data(&mut data, 8, 0, 0, false, b"another token");
    assert_eq!(
        end.handle_incoming(now, now, known, &data),
        Incoming::Consumed
    );
}

#[test]
fn who_only_receives_welcomes_a_tunnel_on_a_path_that_was_checked() {
    let (unchecked, checked) = addresses();
    let now = Instant::now();
    let mut end = endpoint(1);
    // A request goes to whatever candidates are told, its answer to who knows the password.
    for (to, kind) in [(unchecked, 0), (checked, 1)] {
        let mut check = [0; 60];
        check[..2].copy_from_slice(&[kind, 1]);
        assert!(!end.handle_outgoing(now, to, &check, None));
        assert!(!end.is_used());
    }
    let mut hello = Vec::new();
    frame::write_hello(&mut hello, 7);
    for from in [unchecked, checked] {
        end.handle_incoming(now, now, from, &hello);
    }
    assert!(end.is_used());
    assert_eq!(end.poll_transmit(now, &mut Vec::new()), Some(checked));
    assert_eq!(end.poll_transmit(now, &mut Vec::new()), None);
}

#[test]
fn a_tunnel_without_progress_is_replaced() {
    let forward = path(20 * MBIT, 60, 0.0, 100);
    let mut simulation = Simulation::new(forward, forward, 4);
    simulation.run_until(simulation.after(1_000));
    let token = simulation.ends[0].active().map(|sender| sender.token());
    assert!(token.is_some());
    simulation.set_path(0, DEAD);
    simulation.run_until(simulation.after(31_500));
    let (_, to) = addresses();
    assert!(
        !simulation.ends[0].handle_outgoing(simulation.now, to, &[23; 50], None),
        "plain again, with an offer"
    );
    assert!(simulation.ends[0].active().is_none());
}

#[test]
fn forged_frames_neither_panic_nor_take_memory_without_bound() {
    let forward = path(20 * MBIT, 60, 0.01, 100);
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut simulation = Simulation::new(forward, forward, seed);
        simulation.run_until(simulation.after(300));
        let token = simulation.ends[0].active().expect("up").token();
        let from = addresses();
        for step in 0..3_000 {
            let mut bytes: Vec<u8> = (0..random.bits() % 80)
                .map(|_| random.bits() as u8)
                .collect();
            if let Some(first) = bytes.first_mut() {
                *first = 0xc1 + (random.bits() % 5) as u8;
            }
            if bytes.len() > 5 && random.chance(0.9) {
                bytes[1..5].copy_from_slice(&token.to_be_bytes());
            }
            // Small numbers, so that they are plausible.
            for at in [5, 6, 9, 10, 13, 14] {
                if bytes.len() > at && random.chance(0.7) {
                    bytes[at] = 0;
                }
            }
            let now = simulation.now + Duration::from_millis(step);
            for (end, from) in [(0, from.1), (1, from.0)] {
                let end = &mut simulation.ends[end];
                end.handle_incoming(now, now, from, &bytes);
                while end.poll_released(from).is_some() {}
                end.handle_timeout(now);
                for _ in 0..50 {
                    end.poll_transmit(now, &mut Vec::new());
                }
                end.poll_timeout();
            }
        }
    }
}
