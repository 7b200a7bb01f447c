//! Files against the data channels of others: a gibibyte on loopback, and goodput over links with
//! delay and loss. Prints Markdown; what it is doing goes to standard error.
//!
//! `cargo xtask bench files` brings what it needs: our binaries of the release profile in
//! `VISAVIS_BIN_DIR`, the npm packages in `PEER_PACKAGES`. Who is not there is left out.

// A benchmark prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
mod contenders;
#[cfg(target_os = "linux")]
mod report;

/// Elsewhere there are no namespaces to run it in.
#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    use clap::Parser;

    let arguments = linux::Arguments::parse();
    linux::run(&arguments);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use call_lab::link::Plan;
    use call_lab::network::{Loss, PathConfig};
    use clap::Parser;
    use visavis_tests::support::link::Apart;

    use crate::contenders::{Contender, present};
    use crate::report::{grid, loopback};

    /// What goes over loopback.
    const LOOPBACK_BYTES: u64 = 1 << 30;
    /// More than a link carries while it is measured.
    const LINK_BYTES: u64 = 256 << 20;
    /// Of every link.
    const RATE_BPS: u64 = 100_000_000;
    /// 50 ms of it: what a home router has, and one of the reference figures was taken with.
    const QUEUE_BYTES: usize = 625_000;
    const RTTS_MS: [u32; 3] = [20, 60, 150];
    const LOSSES_PERCENT: [f64; 4] = [0.0, 0.5, 1.0, 2.0];
    /// Start-up that is not measured, and what is.
    const WARM_UP: Duration = Duration::from_secs(2);
    const MEASURED: Duration = Duration::from_secs(8);

    /// Which parts to run; without any, all.
    #[derive(Parser)]
    pub(crate) struct Arguments {
        /// Only the gibibyte on loopback
        #[arg(long)]
        loopback: bool,
        /// Only links of this round trip in ms and loss in percent
        #[arg(long, value_name = "RTT,LOSS", value_parser = cell)]
        cell: Vec<(u32, f64)>,
        /// Only these
        #[arg(long)]
        contender: Vec<String>,
        /// What cargo says to every benchmark
        #[arg(long, hide = true)]
        bench: bool,
    }

    fn cell(text: &str) -> Result<(u32, f64), String> {
        let (rtt, loss) = text.split_once(',').ok_or("RTT,LOSS")?;
        let rtt = rtt.parse().map_err(|_| "the RTT is in whole ms")?;
        let loss = loss.parse().map_err(|_| "the loss is in percent")?;
        Ok((rtt, loss))
    }

    pub(crate) fn run(arguments: &Arguments) {
        let contenders: Vec<Contender> = present()
            .into_iter()
            .filter(|one| {
                arguments.contender.is_empty()
                    || arguments.contender.iter().any(|n| n == one.name())
            })
            .collect();
        let all = !arguments.loopback && arguments.cell.is_empty();
        if all || arguments.loopback {
            let results: Vec<_> = contenders
                .iter()
                .map(|one| (one.name(), one.move_all(LOOPBACK_BYTES)))
                .inspect(|(name, result)| eprintln!("loopback, {name}: {result:.2?}"))
                .collect();
            println!("{}", loopback(&results));
        }
        let cells: Vec<(u32, f64)> = if all {
            let of_rtt = |rtt| LOSSES_PERCENT.map(|loss| (rtt, loss));
            RTTS_MS.into_iter().flat_map(of_rtt).collect()
        } else {
            arguments.cell.clone()
        };
        if cells.is_empty() {
            return;
        }
        let names: Vec<&str> = contenders.iter().map(Contender::name).collect();
        let rows: Vec<_> = cells
            .into_iter()
            .filter_map(|(rtt_ms, loss)| {
                let rates = contenders.iter().map(|one| over_link(one, rtt_ms, loss));
                Some((rtt_ms, loss, rates.collect::<Option<Vec<_>>>()?))
            })
            .collect();
        println!("{}", grid(&names, &rows));
    }

    /// Mbit/s of a contender over a link; `None` where there is none to be had.
    fn over_link(contender: &Contender, rtt_ms: u32, loss_percent: f64) -> Option<f64> {
        let path = PathConfig {
            loss: Loss::Random(loss_percent / 1e2),
            delay: Duration::from_millis(rtt_ms.into()) / 2,
            rate_bps: Some(RATE_BPS),
            queue_bytes: QUEUE_BYTES,
            ..PathConfig::default()
        };
        let apart = Apart::new("files", Plan::constant(path, 1))?;
        let places = apart.places();
        let rate = contender.rate_bps(&places, LINK_BYTES, WARM_UP, MEASURED) / 1e6;
        eprintln!(
            "{rtt_ms} ms, {loss_percent} %, {}: {rate:.1} Mbit/s",
            contender.name()
        );
        Some(rate)
    }
}
