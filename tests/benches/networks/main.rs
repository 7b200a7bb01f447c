//! Calls over bad networks: two of our clients and two Chromium over the same links in the same run,
//! with the same pictures and sounds. Prints Markdown; what it is doing goes to standard error.
//!
//! `cargo xtask bench networks` brings our binaries of the release profile in `VISAVIS_BIN_DIR`.
//! Without a Chromium, ours are measured alone.

// A benchmark prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
mod clip;
#[cfg(target_os = "linux")]
mod contenders;
#[cfg(target_os = "linux")]
mod networks;
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

    use clap::Parser;
    use visavis_tests::support::link::Apart;

    use crate::clip::Clip;
    use crate::contenders::{Call, Contender, present};
    use crate::networks::{Network, matrix, narrowing, profiles};
    use crate::report::table;

    /// On the bad network, and not measured.
    const WARM_UP: Duration = Duration::from_secs(5);

    /// Which parts to run; without any, all.
    #[derive(Parser)]
    pub(crate) struct Arguments {
        /// Only networks whose name contains this
        #[arg(long)]
        network: Vec<String>,
        /// Only these
        #[arg(long)]
        contender: Vec<String>,
        /// What cargo says to every benchmark
        #[arg(long, hide = true)]
        bench: bool,
    }

    pub(crate) fn run(arguments: &Arguments) {
        let contenders: Vec<Contender> = present()
            .into_iter()
            .filter(|one| {
                arguments.contender.is_empty()
                    || arguments.contender.iter().any(|name| name == one.name())
            })
            .collect();
        let is_wanted = |network: &Network| {
            arguments.network.is_empty()
                || arguments.network.iter().any(|it| network.name.contains(it))
        };
        let clip = Clip::make();
        for (title, networks) in [
            ("Loss and round trip", matrix()),
            ("Profile", profiles()),
            ("Narrow link", narrowing()),
        ] {
            let rows: Vec<_> = networks
                .into_iter()
                .filter(is_wanted)
                .filter_map(|network| {
                    let calls = contenders.iter().map(|one| call(one, &network, &clip));
                    Some((network.name.clone(), calls.collect::<Option<Vec<_>>>()?))
                })
                .collect();
            if !rows.is_empty() {
                let names: Vec<&str> = contenders.iter().map(Contender::name).collect();
                println!("{}", table(title, &names, &rows));
            }
        }
    }

    /// What became of a call over a network; `None` where there is none to be had.
    fn call(contender: &Contender, network: &Network, clip: &Clip) -> Option<Call> {
        // They meet on a good link; it is bad from then on.
        let apart = Apart::new("calls", network.before())?;
        let (link, places) = (&apart.link, apart.places());
        let mut pair = contender.meet(&places, clip);
        link.set_conditions(network.conditions);
        pair.wait(WARM_UP);
        let call = pair.measure(network.measured, |passed| {
            if let Some((from, to, worse)) = &network.episode {
                let is_within = (*from..*to).contains(&passed);
                link.set_conditions(if is_within {
                    *worse
                } else {
                    network.conditions
                });
            }
        });
        let call = pair.end(call, clip);
        eprintln!("{}, {}: {call:.3?}", network.name, contender.name());
        Some(call)
    }
}
