//! The target's state machine, one feedback every 50 ms.

use super::*;

/// A controller and what it sees: everything it allows is sent and arrives, unless said otherwise.
struct Bench {
    control: RateControl,
    now_ms: f64,
    used: f64,
    arriving_bps: Option<f64>,
    just_arriving_bps: Option<f64>,
    clump_ms: f64,
}

impl Bench {
    fn new(start_bps: f64) -> Self {
        Self {
            control: RateControl::new(start_bps),
            now_ms: 1_000.0,
            used: 1.0,
            arriving_bps: None,
            just_arriving_bps: None,
            clump_ms: 0.0,
        }
    }

    /// Sees a queue for some seconds; returns all advice that was given.
    fn see(&mut self, seconds: f64, queue_ms: f64) -> Advice {
        let mut all = Advice::default();
        for _ in 0..(seconds * 20.0).round() as u32 {
            self.now_ms += 50.0;
            let sent_bps = self.control.target_bps() * self.used;
            let received_bps = self.arriving_bps.unwrap_or(sent_bps);
            let sight = Sight {
                now_ms: self.now_ms,
                newest_sent_ms: self.now_ms - 100.0,
                queue_ms,
                glance_ms: queue_ms,
                clump_ms: self.clump_ms,
                received_bps: Some(received_bps),
                just_received_bps: self.just_arriving_bps.or(Some(received_bps)),
                sent_bps: Some(sent_bps),
                just_sent_bps: Some(sent_bps),
                rtt_ms: 100.0,
            };
            let advice = self.control.handle_sight(sight, None);
            all.is_curious |= advice.is_curious;
            all.is_rebased |= advice.is_rebased;
        }
        all
    }

    fn target(&self) -> f64 {
        self.control.target_bps()
    }
}

#[test]
fn it_grows_fast_until_it_knows_and_slowly_then() {
    let mut bench = Bench::new(600_000.0);
    bench.see(1.0, 0.0);
    assert!(
        (1.3e6..1.6e6).contains(&bench.target()),
        "{}",
        bench.target()
    );
    bench.arriving_bps = Some(1e6);
    bench.see(0.3, 40.0);
    assert!(bench.control.is_draining());
    assert!(
        (0.7e6..0.93e6).contains(&bench.target()),
        "{}",
        bench.target()
    );
    bench.see(0.1, 1.0);
    let resumed = bench.target();
    assert!((0.94e6..0.96e6).contains(&resumed), "{resumed}");
    bench.arriving_bps = None;
    bench.see(0.5, 8.0);
    let slow = bench.target() - resumed;
    assert!((1e3..40e3).contains(&slow), "{slow}");
}

#[test]
fn quiet_beyond_the_capacity_makes_it_curious() {
    let mut bench = Bench::new(1e6);
    bench.arriving_bps = Some(1e6);
    bench.see(0.3, 40.0);
    bench.see(0.1, 1.0);
    bench.arriving_bps = None;
    assert!(!bench.see(0.5, 0.0).is_curious);
    assert!(bench.see(2.0, 0.0).is_curious);
}

#[test]
fn a_short_queue_has_to_last_and_a_long_one_does_not() {
    let mut bench = Bench::new(1e6);
    bench.see(0.05, 20.0);
    assert!(!bench.control.is_draining(), "jitter");
    bench.see(0.05, 0.0);
    bench.see(0.05, 20.0);
    bench.see(0.05, 20.0);
    assert!(bench.control.is_draining());
    let mut bench = Bench::new(1e6);
    bench.see(0.05, 100.0);
    assert!(bench.control.is_draining());
}

#[test]
fn the_longer_the_queue_the_less_is_sent() {
    let mut targets = Vec::new();
    for queue_ms in [80.0, 150.0, 280.0] {
        let mut bench = Bench::new(2e6);
        bench.arriving_bps = Some(6e5);
        bench.see(0.1, queue_ms);
        targets.push(bench.target());
    }
    assert!(targets.is_sorted_by(|a, b| a > b), "{targets:?}");
    assert!(
        targets[2] >= 0.24 * 6e5 && targets[0] < 0.8 * 6e5,
        "{targets:?}"
    );
}

#[test]
fn of_two_flows_the_larger_yields_first() {
    let draining = |bps: f64| {
        let mut bench = Bench::new(bps);
        bench.see(0.3, 14.0);
        bench.control.is_draining()
    };
    assert!(draining(4e6) && !draining(4e5));
}

#[test]
fn a_queue_that_does_not_fall_is_somebody_elses() {
    let mut bench = Bench::new(1e6);
    bench.arriving_bps = Some(1e6);
    assert!(!bench.see(0.8, 60.0).is_rebased);
    bench.arriving_bps = None;
    assert!(bench.see(0.7, 60.0).is_rebased);
    assert!(bench.target() > 0.8e6, "{}", bench.target());
    let limit_ms = bench.control.limit_ms();
    assert!(limit_ms > 24.0, "more patient: {limit_ms}");
    bench.see(40.0, 0.0);
    assert!(bench.control.limit_ms() < 16.0, "for a while");
}

#[test]
fn unused_targets_neither_grow_nor_shrink_but_are_refuted() {
    let mut bench = Bench::new(2e6);
    bench.used = 0.2;
    bench.see(30.0, 0.0);
    assert!((bench.target() - 2e6).abs() < 1.0);
    assert!(bench.control.is_limited());
    bench.control.handle_finding(4e6, true);
    assert!((bench.target() - 4e6).abs() < 1.0, "tested");
    bench.control.handle_finding(3.9e6, false);
    assert!((bench.target() - 4e6).abs() < 1.0, "jitter");
    bench.control.handle_finding(1e6, false);
    assert!(bench.target() < 1e6, "refuted");
}

#[test]
fn it_stays_within_its_bounds() {
    let mut bench = Bench::new(600_000.0);
    bench.see(60.0, 0.0);
    assert!(bench.target() <= MAX_BPS);
    bench.arriving_bps = Some(1_000.0);
    bench.see(5.0, 300.0);
    assert!(bench.target() >= MIN_BPS);
}

#[test]
fn what_goes_before_we_could_have_emptied_it_was_jitter() {
    for (lasting_s, is_jitter) in [(0.05, true), (0.3, false)] {
        let mut bench = Bench::new(600_000.0);
        bench.see(1.0, 0.0);
        let before = bench.target();
        bench.see(lasting_s, 120.0);
        assert!(bench.target() < 0.95 * before, "{}", bench.target());
        bench.see(0.05, 0.0);
        assert_eq!(bench.target() >= before, is_jitter, "{}", bench.target());
        bench.see(3.0, 0.0);
        let before = bench.target();
        bench.see(0.5, 50.0);
        assert_eq!(bench.target() >= before, is_jitter, "the limit is higher");
    }
}

#[test]
fn clumps_raise_the_limit_and_make_probes_worthless() {
    let mut bench = Bench::new(600_000.0);
    bench.see(0.5, 0.0);
    bench.clump_ms = 120.0;
    bench.see(0.1, 60.0);
    assert!(!bench.control.is_draining(), "60 ms may be jitter");
    bench.clump_ms = 0.0;
    bench.see(1.0, 60.0);
    assert!(!bench.control.is_draining(), "and for a while");
    // Less is sent than is allowed, and no probe shows anything: it grows all the same.
    bench.used = 0.5;
    let before = bench.target();
    bench.arriving_bps = Some(before);
    bench.control.handle_finding(20_000.0, false);
    assert_eq!(bench.target(), before);
    bench.see(0.5, 0.0);
    assert!(bench.target() > before);
    bench.see(0.3, 300.0);
    assert!(bench.control.is_draining(), "300 ms are a queue");
}

#[test]
fn short_clumps_are_pictures() {
    let mut bench = Bench::new(600_000.0);
    bench.clump_ms = CLUMP_MS;
    bench.see(0.2, 60.0);
    assert!(bench.control.is_draining());
}

#[test]
fn where_jitter_looks_like_queues_they_are_doubted_until_the_path_answers() {
    let mut bench = Bench::new(600_000.0);
    bench.clump_ms = 120.0;
    bench.see(0.5, 0.0);
    // A gust lets nothing through for a moment.
    bench.just_arriving_bps = Some(0.0);
    bench.see(0.05, 120.0);
    let before = bench.target();
    bench.see(0.05, 120.0);
    assert!(bench.control.is_draining() && bench.control.is_doubtful());
    assert!(bench.target() < 0.8 * before, "we yield");
    assert!(
        bench.target() > DRAIN_LEAST * before,
        "a moment without anything is no capacity"
    );
    assert_eq!(
        bench.control.believed_bps(),
        before,
        "nothing else does yet"
    );
    bench.see(0.2, 120.0);
    assert!(bench.control.is_draining() && !bench.control.is_doubtful());
    assert_eq!(bench.control.believed_bps(), bench.target());
    // Without jitter there is nothing to doubt, and the last moment counts.
    let mut bench = Bench::new(600_000.0);
    bench.see(0.5, 0.0);
    bench.just_arriving_bps = Some(0.0);
    bench.see(0.1, 400.0);
    assert!(bench.control.is_draining() && !bench.control.is_doubtful());
    assert_eq!(bench.target(), MIN_BPS);
}
