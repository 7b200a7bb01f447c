//! What a window in a call costs: the app, and a Chromium window in the same call, each on an X display
//! of its own, one after the other. Prints Markdown; what it is doing goes to standard error.
//!
//! `cargo xtask bench ui` brings the app, server and client of the release profile in
//! `VISAVIS_BIN_DIR`. Without a Chromium, the app is measured alone.

// A benchmark prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
mod contenders;

/// Elsewhere there is no display to be had.
#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    use clap::Parser;

    let arguments = linux::Arguments::parse();
    tokio::runtime::Runtime::new()
        .expect("a runtime starts")
        .block_on(linux::run(&arguments));
}

#[cfg(target_os = "linux")]
mod linux {
    use clap::Parser;
    use visavis_tests::support::chromium;

    use crate::contenders::{Cost, Room, browser, ours};

    /// Which parts to run; without any, all.
    #[derive(Parser)]
    pub(crate) struct Arguments {
        /// Only calls of so many
        #[arg(long)]
        people: Vec<usize>,
        /// Only this one: visavis or chromium
        #[arg(long)]
        contender: Vec<String>,
        /// What cargo says to every benchmark
        #[arg(long, hide = true)]
        bench: bool,
    }

    /// The camera of the window itself is 1280x720 at 30 in both.
    const ROOMS: [Room; 2] = [
        Room {
            people: 2,
            others: (1280, 720),
        },
        Room {
            people: 9,
            others: (480, 270),
        },
    ];

    pub(crate) async fn run(arguments: &Arguments) {
        let is_wanted = |name: &str| {
            arguments.contender.is_empty() || arguments.contender.iter().any(|it| it == name)
        };
        println!(
            "| call | window | processor, % of a core | X server, % of a core | memory, MiB | drawn pictures/s per tile, mean | least |\n|---|---|---|---|---|---|---|"
        );
        for room in ROOMS {
            if !arguments.people.is_empty() && !arguments.people.contains(&room.people) {
                continue;
            }
            if is_wanted("visavis") {
                row(&room, "visavis", &ours(&room).await);
            }
            let program = chromium::find().filter(|_| is_wanted("chromium"));
            if let Some(program) = program {
                row(&room, "chromium", &browser(&room, &program));
            }
        }
    }

    fn row(room: &Room, name: &str, cost: &Cost) {
        let drawn = &cost.drawn_per_s;
        println!(
            "| {} people, others {}×{} | {name} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
            room.people,
            room.others.0,
            room.others.1,
            cost.processor * 1e2,
            cost.x_server * 1e2,
            cost.memory_bytes as f64 / f64::from(1 << 20),
            drawn.iter().sum::<f64>() / drawn.len().max(1) as f64,
            drawn.iter().copied().fold(f64::INFINITY, f64::min),
        );
    }
}
