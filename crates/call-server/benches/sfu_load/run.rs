//! Rounds, medians, tables.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result};

use super::bare::{self, BareLoad};
use super::counts::Counts;
use super::load::{Load, packets_per_s};
use super::process::{self, Server};
use super::{janus, ours};

const ROUNDS: usize = 3;
const SECONDS: u64 = 8;
/// Until links work, and until everything that is sent arrives.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const WARM_UP_PHASES: u32 = 40;
/// For what is under way when a phase ends.
const TAIL: Duration = Duration::from_millis(500);

/// Who sends and who watches; everybody sees every publisher but itself.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    name: &'static str,
    pub(crate) publishers: usize,
    watchers: usize,
    frames_per_s: u32,
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "1 to 49",
        publishers: 1,
        watchers: 49,
        frames_per_s: 60,
    },
    Shape {
        name: "10 to 10",
        publishers: 10,
        watchers: 0,
        frames_per_s: 30,
    },
];

impl Shape {
    pub(crate) fn members(self) -> usize {
        self.publishers + self.watchers
    }

    /// How many streams a member sees.
    pub(crate) fn seen_by(self, publishes: bool) -> usize {
        self.publishers - usize::from(publishes)
    }

    /// Packets that should arrive for one that is sent.
    fn copies(self) -> u64 {
        self.members() as u64 - 1
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Bare,
    Ours,
    Janus,
}

const CONTENDERS: [(Contender, &str); 3] = [
    (Contender::Bare, "bare"),
    (Contender::Ours, "ours"),
    (Contender::Janus, "janus"),
];

/// What one round measured.
#[derive(Clone, Copy)]
struct Outcome {
    packets: u64,
    lost: f64,
    cpu: Duration,
    wall: Duration,
}

impl Outcome {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn per_cpu_second(self) -> f64 {
        self.packets as f64 / self.cpu.as_secs_f64()
    }
}

/// Runs everything and prints the tables.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)
    };
    let rounds = value("--rounds").map_or(Ok(ROUNDS), |text| text.parse())?;
    let seconds = value("--seconds").map_or(Ok(SECONDS), |text| text.parse())?;
    let (only, shape) = (value("--only"), value("--shape"));
    process::pin_load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let ip = process::own_ip()?;
    for shape in SHAPES
        .into_iter()
        .filter(|known| shape.is_none_or(|name| known.name.starts_with(name.as_str())))
    {
        let mut outcomes: Vec<(Contender, Vec<Outcome>)> = CONTENDERS
            .into_iter()
            .filter(|(_, name)| only.is_none_or(|only| only == name))
            .map(|(contender, _)| (contender, Vec::new()))
            .collect();
        if janus::program().is_none() {
            eprintln!("Janus is not installed: no comparison with it");
            outcomes.retain(|(contender, _)| *contender != Contender::Janus);
        }
        for round in 1..=rounds {
            for (contender, outcomes) in &mut outcomes {
                let name = name(*contender);
                let outcome = runtime
                    .block_on(round_of(*contender, ip, shape, seconds))
                    .with_context(|| format!("{name}, {}", shape.name))?;
                eprintln!(
                    "{}, round {round}, {name}: {:.0} packets per CPU-second, {:.2}% lost",
                    shape.name,
                    outcome.per_cpu_second(),
                    outcome.lost * 100.0
                );
                outcomes.push(outcome);
            }
        }
        print(shape, &outcomes);
    }
    Ok(())
}

fn name(contender: Contender) -> &'static str {
    match contender {
        Contender::Bare => "bare loop",
        Contender::Ours => "visavis-server",
        Contender::Janus => "Janus",
    }
}

async fn round_of(contender: Contender, ip: IpAddr, shape: Shape, seconds: u64) -> Result<Outcome> {
    let counts = Arc::new(Counts::default());
    match contender {
        Contender::Bare => {
            let (mut server, address) = bare::start(ip)?;
            let counted = Arc::clone(&counts);
            let _load = BareLoad::start(&mut server, address, shape, counted, shape.frames_per_s)?;
            measure(&server, &counts, shape, seconds).await
        }
        Contender::Ours => {
            let load = Load::start(Arc::clone(&counts), shape.frames_per_s)?;
            let (server, url) = ours::start(ip)?;
            ours::fill(&url, ip, shape, &load).await?;
            connected(&counts, shape.members()).await?;
            measure(&server, &counts, shape, seconds).await
        }
        Contender::Janus => {
            let load = Load::start(Arc::clone(&counts), shape.frames_per_s)?;
            let program = janus::program().context("Janus is not installed")?;
            let (server, url, _directory) = janus::start(program, ip).await?;
            janus::fill(&url, ip, shape, &load).await?;
            let watching = if shape.publishers > 1 {
                shape.members()
            } else {
                shape.watchers
            };
            connected(&counts, shape.publishers + watching).await?;
            measure(&server, &counts, shape, seconds).await
        }
    }
}

async fn connected(counts: &Counts, links: usize) -> Result<()> {
    let wait = async {
        while (counts.connected.load(Relaxed) as usize) < links {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, wait)
        .await
        .ok()
        .with_context(|| {
            let working = counts.connected.load(Relaxed);
            format!("only {working} of {links} links work")
        })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn measure(server: &Server, counts: &Counts, shape: Shape, seconds: u64) -> Result<Outcome> {
    counts.started.store(1, Relaxed);
    let share = |phase| {
        let expected = counts.sent(phase) * shape.copies();
        counts.received(phase) as f64 / expected.max(1) as f64
    };
    // Estimators need their time until they let everything through.
    let mut good = 0;
    for _ in 0..WARM_UP_PHASES {
        let phase = counts.next_phase()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        counts.next_phase()?;
        tokio::time::sleep(TAIL).await;
        good = if share(phase) > 0.99 { good + 1 } else { 0 };
        if good == 2 {
            break;
        }
    }
    if good < 2 {
        eprintln!("{}: not everything arrives", shape.name);
    }
    let phase = counts.next_phase()?;
    let (cpu, start) = (server.cpu()?, tokio::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (cpu, wall) = (server.cpu()? - cpu, start.elapsed());
    counts.next_phase()?;
    tokio::time::sleep(TAIL).await;
    Ok(Outcome {
        packets: counts.received(phase),
        lost: 1.0 - share(phase),
        cpu,
        wall,
    })
}

fn print(shape: Shape, outcomes: &[(Contender, Vec<Outcome>)]) {
    let median = |wanted: Contender| {
        let (_, outcomes) = outcomes
            .iter()
            .find(|(contender, _)| *contender == wanted)?;
        let mut outcomes = outcomes.clone();
        outcomes.sort_by(|one, other| one.per_cpu_second().total_cmp(&other.per_cpu_second()));
        outcomes.get(outcomes.len() / 2).copied()
    };
    let against = |outcome: Outcome, other: Contender| {
        median(other).map_or("–".to_owned(), |other| {
            format!("{:.2}", outcome.per_cpu_second() / other.per_cpu_second())
        })
    };
    println!(
        "| {}, {} packets/s each | packets per CPU-second | µs per packet | load, % of a core | lost at most, % | against Janus | against the bare loop |",
        shape.name,
        packets_per_s(shape.frames_per_s),
    );
    println!("|---|---|---|---|---|---|---|");
    for (contender, rounds) in outcomes {
        let Some(outcome) = median(*contender) else {
            continue;
        };
        println!(
            "| {} | {:.0} | {:.2} | {:.1} | {:.2} | {} | {} |",
            name(*contender),
            outcome.per_cpu_second(),
            1e6 / outcome.per_cpu_second(),
            outcome.cpu.as_secs_f64() / outcome.wall.as_secs_f64() * 100.0,
            rounds.iter().map(|round| round.lost).fold(0.0, f64::max) * 100.0,
            against(outcome, Contender::Janus),
            against(outcome, Contender::Bare),
        );
    }
    println!();
}
