//! The emulated link against its plan: what programs in namespaces get to see of it.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use call_lab::link::{Conditions, Direction, Plan};
use call_lab::network::{Jitter, Loss, PathConfig};
use visavis_tests::support::link::{End, bind_udp, lay};
use visavis_tests::support::network::Namespace;
use visavis_tests::support::{cpu_seconds, real_time};

/// Of a datagram; with IP and UDP headers 28 more.
const PAYLOAD_BYTES: usize = 1_172;
const PACKET_BYTES: f64 = 1_200.0;

/// What arrived of a run of datagrams.
struct Arrived {
    sent: u64,
    /// When each was sent and came, since the run began.
    packets: Vec<(Duration, Duration)>,
}

impl Arrived {
    fn lost(&self) -> f64 {
        1.0 - self.packets.len() as f64 / self.sent as f64
    }

    /// Of the delays of packets sent in this span.
    fn quantile_ms(&self, quantile: f64) -> f64 {
        let mut delays: Vec<f64> = self
            .packets
            .iter()
            .map(|(sent, came)| came.saturating_sub(*sent).as_secs_f64() * 1e3)
            .collect();
        delays.sort_by(f64::total_cmp);
        let at = (delays.len() as f64 * quantile) as usize;
        delays.get(at).copied().unwrap_or(f64::INFINITY)
    }

    /// Payload and headers between the first and the last arrival.
    fn rate_bps(&self) -> f64 {
        let (Some((_, first)), Some((_, last))) = (self.packets.first(), self.packets.last())
        else {
            return 0.0;
        };
        (self.packets.len() - 1) as f64 * PACKET_BYTES * 8.0 / (*last - *first).as_secs_f64()
    }
}

/// Sends at a rate for a while and collects what comes, both with the same clock.
fn run(from: &UdpSocket, to: &UdpSocket, rate_bps: f64, time: Duration) -> Arrived {
    let interval = Duration::from_secs_f64(PACKET_BYTES * 8.0 / rate_bps);
    let started = Instant::now();
    to.set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a socket has timeouts");
    std::thread::scope(|scope| {
        let collect = scope.spawn(|| {
            let mut packets = Vec::new();
            let mut buffer = [0; 2_048];
            while let Ok(bytes) = to.recv(&mut buffer) {
                let came = started.elapsed();
                assert_eq!(bytes, PAYLOAD_BYTES);
                let stamp = buffer[..8].try_into().expect("eight bytes are eight bytes");
                packets.push((Duration::from_nanos(u64::from_be_bytes(stamp)), came));
            }
            packets
        });
        let mut payload = [0; PAYLOAD_BYTES];
        let mut sent = 0_u64;
        while started.elapsed() < time {
            let due = interval * sent as u32;
            std::thread::sleep(due.saturating_sub(started.elapsed()));
            // The socket's own queue is longer than a burst after a pause.
            payload[..8].copy_from_slice(&(started.elapsed().as_nanos() as u64).to_be_bytes());
            from.send(&payload)
                .expect("an interface that is up takes it");
            sent += 1;
        }
        let packets = collect.join().expect("collecting does not panic");
        Arrived { sent, packets }
    })
}

#[test]
fn an_emulated_link_keeps_to_its_plan() {
    const MS: Duration = Duration::from_millis(1);
    let _machine = real_time();
    let (Some(one), Some(other)) = (Namespace::new(), Namespace::new()) else {
        eprintln!("SKIPPED: no network namespaces here");
        return;
    };
    let there = PathConfig {
        delay: MS * 30,
        rate_bps: Some(20_000_000),
        queue_bytes: 64_000,
        ..PathConfig::default()
    };
    let clean = Conditions {
        there,
        back: PathConfig {
            delay: MS * 5,
            ..PathConfig::default()
        },
    };
    let lossy = Conditions {
        there: PathConfig {
            loss: Loss::bursts(0.05, 3.0),
            jitter: Jitter::Uniform(MS * 20),
            reorders: true,
            ..there
        },
        ..clean
    };
    let plan = Plan {
        seed: 7,
        conditions: clean,
        changes: Vec::new(),
    };
    let ends = [
        End {
            namespace: Some(&one),
            address: "10.79.0.1/24",
        },
        End {
            namespace: Some(&other),
            address: "10.79.0.2/24",
        },
    ];
    let Some(link) = lay("plan", ends, plan) else {
        return;
    };
    let near = bind_udp(&one, "10.79.0.1:4000").expect("the address is there");
    let far = bind_udp(&other, "10.79.0.2:4000").expect("the address is there");
    near.connect("10.79.0.2:4000").expect("it is routed");
    far.connect("10.79.0.1:4000").expect("it is routed");

    let half = run(&near, &far, 10e6, MS * 2_000);
    let (median, late) = (half.quantile_ms(0.5), half.quantile_ms(0.95));
    println!(
        "there, 10 of 20 Mbit/s: {median:.2} ms, 95 % within {late:.2} ms, {:.2} % lost",
        half.lost() * 1e2
    );
    // A packet takes 0.48 ms to transmit; the clock ticks 0.3 ms.
    assert!((30.0..32.0).contains(&median), "{median} ms");
    assert_eq!(half.lost(), 0.0);

    let way_back = run(&far, &near, 10e6, MS * 1_000);
    let median = way_back.quantile_ms(0.5);
    println!(
        "back, unlimited: {median:.2} ms, {:.2} % lost",
        way_back.lost() * 1e2
    );
    assert!((5.0..6.5).contains(&median), "{median} ms");

    let double = run(&near, &far, 40e6, MS * 2_000);
    let (rate, median) = (double.rate_bps() / 1e6, double.quantile_ms(0.5));
    println!(
        "there, 40 into 20 Mbit/s: {rate:.2} Mbit/s, {median:.2} ms, {:.1} % lost",
        double.lost() * 1e2
    );
    assert!((19.4..20.6).contains(&rate), "{rate} Mbit/s");
    // A full queue is 25.6 ms long.
    assert!((54.0..58.0).contains(&median), "{median} ms");

    link.set_conditions(lossy);
    let hurt = run(&near, &far, 10e6, MS * 4_000);
    let (low, high) = (hurt.quantile_ms(0.02), hurt.quantile_ms(0.98));
    println!(
        "there with bursts and jitter: {:.2} % lost, delays {low:.1} to {high:.1} ms",
        hurt.lost() * 1e2
    );
    assert!((0.03..0.07).contains(&hurt.lost()), "{}", hurt.lost());
    assert!((10.0..20.0).contains(&low), "{low} ms at least");
    assert!((45.0..55.0).contains(&high), "{high} ms at most");

    let fast = PathConfig {
        rate_bps: Some(100_000_000),
        // A sender that did not get to run catches up at once.
        queue_bytes: 2_500_000,
        delay: MS * 10,
        ..PathConfig::default()
    };
    link.set_conditions(Conditions::symmetric(fast));
    let cpu = cpu_seconds(std::process::id());
    let full = run(&near, &far, 96e6, MS * 2_000);
    let cpu = cpu_seconds(std::process::id()) - cpu;
    println!(
        "there, 96 of 100 Mbit/s: {:.2} Mbit/s, 95 % within {:.2} ms, {:.2} % lost; sender, \
         receiver and link together {:.0} % of a core",
        full.rate_bps() / 1e6,
        full.quantile_ms(0.95),
        full.lost() * 1e2,
        cpu / 2.5 * 1e2
    );
    assert!(full.rate_bps() > 90e6, "{} bit/s", full.rate_bps());
    let [sent, _] = link.stats();
    let all = half.sent + double.sent + hurt.sent + full.sent;
    assert!(
        sent.sent >= all,
        "{:?}: {sent:?} of {all}",
        Direction::There
    );
}
