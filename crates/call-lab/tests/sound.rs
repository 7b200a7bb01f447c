//! A voice through Opus, a bad network, and the receive path, in virtual time.
//!
//! `cargo test -p call-lab --test main -- sound --nocapture` prints the tables of docs/media.md.

use std::time::{Duration, Instant};

use bytes::Bytes;
use call_lab::network::{Input, Jitter, Loss, Path, PathConfig};
use call_lab::score::sound::{SoundScore, score};
use call_lab::signal::speech;
use call_media::audio::{
    AudioEncoder, AudioEncoderConfig, BLOCK_SAMPLES, FRAME_SAMPLES, JitterStats, Mixer,
    OpusEncoder, Red, RedWriter,
};
use call_protocol::MemberId;

const MEMBER: MemberId = MemberId(1);
const SECONDS: usize = 60;
/// Time the buffer has to get to know the network before delays count.
const SETTLING_MS: usize = 5_000;
/// Bytes that RTP, SRTP, the seal, UDP and IP add.
const OVERHEAD_BYTES: usize = 80;
/// Longest delay looked for by the score.
const LONGEST_DELAY_MS: u32 = 600;
const DELAY: Duration = Duration::from_millis(120);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A voice and its packets; `None` is DTX.
struct Talk {
    sound: Vec<f32>,
    packets: Vec<Option<Bytes>>,
}

fn talk(expected_loss_perc: u8) -> Talk {
    encode(AudioEncoderConfig {
        packet_loss_perc: expected_loss_perc,
        ..AudioEncoderConfig::default()
    })
}

fn encode(config: AudioEncoderConfig) -> Talk {
    let sound = speech(11, SECONDS * 48_000);
    let mut encoder = OpusEncoder::new(config).expect("libopus takes the settings");
    let packets = sound
        .as_chunks::<FRAME_SAMPLES>()
        .0
        .iter()
        .map(|frame| encoder.encode(frame).expect("a frame is encoded"))
        .collect();
    Talk { sound, packets }
}

impl Talk {
    fn bitrate_kbps(&self) -> f64 {
        let bytes: usize = self.packets.iter().flatten().map(Bytes::len).sum();
        bytes as f64 * 8.0 / 1_000.0 / SECONDS as f64
    }
}

struct Outcome {
    stats: JitterStats,
    /// `delay_ms` of the jitter buffer in each block, once settled.
    delays: Vec<u32>,
    score: SoundScore,
    sent: u64,
    lost: u64,
}

impl Outcome {
    fn mean_delay_ms(&self) -> f64 {
        self.delays.iter().map(|d| f64::from(*d)).sum::<f64>() / self.delays.len() as f64
    }

    fn p95_delay_ms(&self) -> u32 {
        let mut sorted = self.delays.clone();
        sorted.sort_unstable();
        sorted[sorted.len() * 95 / 100]
    }

    fn concealed_ratio(&self) -> f64 {
        self.stats.concealed as f64 / self.stats.played as f64
    }

    fn lost_ratio(&self) -> f64 {
        self.lost as f64 / self.sent as f64
    }

    fn stretched_ratio(&self) -> f64 {
        let changed = self.stats.accelerated_samples + self.stats.expanded_samples;
        changed as f64 / (self.stats.played * FRAME_SAMPLES as u64) as f64
    }

    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {:.1} | {:.1} | {} | {:.0} / {} | {} | {:.2} | {} | {:.2} | {:.1} |",
            self.lost_ratio() * 100.0,
            self.concealed_ratio() * 100.0,
            self.stats.concealment_events,
            self.mean_delay_ms(),
            self.p95_delay_ms(),
            self.stats.target_delay_ms,
            self.stretched_ratio() * 100.0,
            self.score.gaps,
            self.score.distance_db,
            self.score.damaged_ratio * 100.0,
        )
    }
}

const HEAD: &str = "| network | lost % | concealed % | events | delay mean / p95 ms | target ms | stretched % | gaps | distance dB | damaged % |\n|---|---|---|---|---|---|---|---|---|---|";

/// How a run differs from a call on one unchanging path with perfect clocks.
#[derive(Default)]
struct Plan {
    /// How much faster the sender's clock runs.
    skew_ppm: i64,
    /// The path from a time on.
    then: Option<(Duration, PathConfig)>,
    /// From when and for how long nothing is delivered.
    stall: Option<(Duration, Duration)>,
    /// In how many packets more each frame is sent.
    copies: usize,
}

fn run(talk: &Talk, config: PathConfig, plan: &Plan) -> Outcome {
    let start = Instant::now();
    let mut path: Path<(u16, u32, Bytes)> = Path::new(config, 77);
    let mut mixer = Mixer::new();
    mixer.add_member(MEMBER).expect("a decoder is created");
    let frame_ns = (20_000_000i64 - 20 * plan.skew_ppm).unsigned_abs();
    let (mut frame, mut seq) = (0usize, 0u16);
    let mut red = RedWriter::default();
    red.set_copies(plan.copies);
    let (mut received, mut block) = (Vec::new(), [0.0; BLOCK_SAMPLES]);
    let mut delays = Vec::new();
    let mut held: Vec<(u16, u32, Bytes)> = Vec::new();
    let mut then = plan.then;
    // The playout's blocks begin at an odd time, so that nothing coincides by chance.
    for tick in 0..(SECONDS * 100 + 60) as u64 {
        let now = start + ms(tick * 10) + Duration::from_micros(3_700);
        loop {
            let due = start + Duration::from_nanos(frame as u64 * frame_ns + 20_000_000);
            let arrival = path.poll_timeout();
            if frame < talk.packets.len() && due <= now && arrival.is_none_or(|at| due <= at) {
                if let Some((_, next)) = then.filter(|(from, _)| start + *from <= due) {
                    path.set_config(next);
                    then = None;
                }
                if let Some(payload) = &talk.packets[frame] {
                    let timestamp = frame as u32 * 960;
                    let payload = red.write(timestamp, payload);
                    let bytes = payload.len() + OVERHEAD_BYTES;
                    let packet = (seq, timestamp, payload);
                    path.handle_input(due, Input::Packet { packet, bytes });
                    seq = seq.wrapping_add(1);
                }
                frame += 1;
            } else if let Some(at) = arrival.filter(|at| *at <= now) {
                path.handle_input(at, Input::Timeout);
            } else {
                break;
            }
            while let Some((at, packet)) = path.poll_output() {
                held.push(packet);
                let stalled = plan.stall.is_some_and(|(from, length)| {
                    (start + from..start + from + length).contains(&at)
                });
                if !stalled {
                    for (seq, timestamp, payload) in held.drain(..) {
                        let red = Red::read(&payload).expect("what the writer wrote");
                        mixer.handle_packet(at, MEMBER, seq, timestamp, red);
                    }
                }
            }
        }
        mixer.mix(now, &mut block);
        received.extend_from_slice(&block);
        let stats = mixer
            .receiver(MEMBER)
            .expect("the member was added")
            .stats();
        if tick as usize * 10 >= SETTLING_MS {
            delays.push(stats.delay_ms);
        }
    }
    let stats = mixer
        .receiver(MEMBER)
        .expect("the member was added")
        .stats();
    Outcome {
        stats,
        delays,
        score: score(&talk.sound, &received, LONGEST_DELAY_MS),
        sent: path.stats().sent,
        lost: path.stats().lost,
    }
}

fn network(loss: Loss, jitter_ms: u64) -> PathConfig {
    let jitter = match jitter_ms {
        0 => Jitter::None,
        most => Jitter::Uniform(ms(most)),
    };
    PathConfig {
        loss,
        delay: DELAY,
        jitter,
        reorders: true,
        ..PathConfig::default()
    }
}

#[test]
fn loss_and_jitter_are_bridged_without_a_gap_and_with_little_delay() {
    println!("{HEAD}");
    let mut unprotected_talk = None;
    for loss_perc in [0u8, 5, 10, 20] {
        let talk = talk(loss_perc);
        let loss = Loss::Random(f64::from(loss_perc) / 100.0);
        for jitter_ms in [0, 30, 100] {
            let outcome = run(&talk, network(loss, jitter_ms), &Plan::default());
            let name = format!("loss {loss_perc} %, jitter ±{jitter_ms} ms");
            println!("{}", outcome.row(&name));
            if loss_perc <= 5 {
                assert_eq!(outcome.score.gaps, 0, "{name}");
                let bound = [50.0, 80.0, 240.0][[0, 30, 100]
                    .iter()
                    .position(|j| *j == jitter_ms)
                    .expect("one of these")];
                assert!(outcome.mean_delay_ms() <= bound, "{name}");
                assert!(f64::from(outcome.p95_delay_ms()) <= bound, "{name}");
            }
            if (loss_perc, jitter_ms) == (0, 0) {
                assert_eq!(outcome.stats.concealed, 0);
            }
            let margin = outcome.concealed_ratio() - outcome.lost_ratio();
            assert!(margin < 0.02, "{name}: {margin}");

            // The same network for a sender that expects no loss, and so sends no redundancy.
            if jitter_ms == 30 && loss_perc >= 5 {
                let unprotected = unprotected_talk.as_ref().expect("0 % comes first");
                let without = run(unprotected, network(loss, jitter_ms), &Plan::default());
                println!("{}", without.row(&format!("{name}, no FEC")));
                assert!(
                    without.score.distance_db > outcome.score.distance_db
                        && without.score.damaged_ratio > 1.5 * outcome.score.damaged_ratio,
                    "{name}: {:?} with, {:?} without FEC",
                    outcome.score,
                    without.score
                );
            }
        }
        println!("{loss_perc} % expected: {:.1} kbit/s", talk.bitrate_kbps());
        if loss_perc == 0 {
            unprotected_talk = Some(talk);
        }
    }
}

#[test]
fn bursts_stalls_and_new_routes_are_survived_and_worked_off() {
    println!("{HEAD}");
    let talk = talk(10);
    let calm = network(Loss::None, 10);

    let bursts = run(
        &talk,
        network(Loss::bursts(0.05, 3.0), 30),
        &Plan::default(),
    );
    println!("{}", bursts.row("5 % in bursts of 3, jitter ±30 ms"));
    assert!(bursts.concealed_ratio() < bursts.lost_ratio() + 0.02);
    assert!(bursts.p95_delay_ms() <= 90);

    let plan = Plan {
        stall: Some((ms(20_000), ms(300))),
        ..Plan::default()
    };
    let stall = run(&talk, calm, &plan);
    println!("{}", stall.row("nothing for 300 ms, then all at once"));
    assert_eq!(stall.stats.lost, 0);
    // All is heard, and five seconds later the delay is where it was.
    assert!(stall.stats.concealed <= 20, "{:?}", stall.stats);
    assert!(stall.delays[2_100..].iter().all(|delay| *delay <= 70));

    let plan = Plan {
        then: Some((
            ms(20_000),
            PathConfig {
                delay: DELAY + ms(100),
                ..calm
            },
        )),
        ..Plan::default()
    };
    let route = run(&talk, calm, &plan);
    println!("{}", route.row("100 ms longer from 20 s on"));
    assert_eq!(route.stats.lost, 0);
    assert!(route.stats.concealed <= 8, "{:?}", route.stats);
    assert!(route.delays[2_100..].iter().all(|delay| *delay <= 70));
}

/// What is left after copies is about what all packets of a frame together lose.
#[test]
fn copies_leave_next_to_nothing_of_random_loss_and_less_of_bursts() {
    println!("{HEAD}");
    let talk = talk(5);
    let bursts = Loss::bursts(0.1, 3.0);
    let random = |percent: f64| Loss::Random(percent / 100.0);
    // Loss, copies; most that may be concealed without and with jitter, in percent, and the longest
    // mean delay in milliseconds. In bursts of three two copies are often lost with their frame.
    let cases = [
        (random(1.0), 1, [0.1, 0.4], 75.0),
        (random(5.0), 2, [0.2, 1.0], 80.0),
        (random(10.0), 2, [0.8, 1.3], 90.0),
        (random(20.0), 3, [2.0, 2.8], 105.0),
        (bursts, 2, [5.0, 6.0], 90.0),
        (bursts, 3, [4.5, 5.0], 100.0),
    ];
    for (loss, copies, most_concealed, longest_ms) in cases {
        for (jitter_ms, most_percent) in [0, 30].into_iter().zip(most_concealed) {
            let plan = Plan {
                copies,
                ..Plan::default()
            };
            let outcome = run(&talk, network(loss, jitter_ms), &plan);
            let loss = match loss {
                Loss::Random(share) => format!("loss {:.0} %", share * 100.0),
                _ => "10 % in bursts of 3".to_owned(),
            };
            let name = format!("{loss}, jitter ±{jitter_ms} ms, {copies} copies");
            println!("{}", outcome.row(&name));
            assert!(outcome.concealed_ratio() * 100.0 <= most_percent, "{name}");
            assert!(outcome.mean_delay_ms() <= longest_ms, "{name}");
            // What is heard is what the codec alone would give, but for bursts.
            let is_whole = outcome.score.distance_db < 1.2 || loss.contains("bursts");
            assert!(is_whole, "{name}: {:?}", outcome.score);
        }
    }
    println!("{:.1} kbit/s, without copies", talk.bitrate_kbps());
}

/// Without DTX, whose pauses would re-align playout. A minute at 1000 ppm drifts as far as five
/// minutes at 200 ppm.
#[test]
fn clocks_that_differ_cost_nothing_but_stretching() {
    println!("{HEAD}");
    let talk = encode(AudioEncoderConfig {
        dtx: false,
        ..AudioEncoderConfig::default()
    });
    for skew_ppm in [-1_000, -200, 200, 1_000] {
        let plan = Plan {
            skew_ppm,
            ..Plan::default()
        };
        let outcome = run(&talk, network(Loss::None, 10), &plan);
        println!(
            "{}",
            outcome.row(&format!("sender's clock {skew_ppm:+} ppm"))
        );
        assert_eq!((outcome.stats.concealed, outcome.score.gaps), (0, 0));
        assert!(outcome.p95_delay_ms() <= 60);
        let (with, against) = (
            outcome.stats.accelerated_samples as i64,
            outcome.stats.expanded_samples as i64,
        );
        let stretched = (with - against) * skew_ppm.signum();
        // Samples of drift in a minute; the delay may be off by 6 ms at both ends.
        let drift = SECONDS as i64 * 48_000 * skew_ppm.abs() / 1_000_000;
        assert!(
            (stretched - drift).abs() <= 2 * 288,
            "{stretched} for {drift}"
        );
    }
}
