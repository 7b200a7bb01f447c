//! `cargo xtask bench`: what the engine and the server cost and how calls do, measured and written to
//! `docs/benchmarks.md` and `docs/quality.md`.
//!
//! Figures depend on the machine and on what else it does, so nothing passes or fails by them.

mod document;
mod peers;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::workspace::Workspace;
use crate::{install, process};
use document::{Part, Section};

/// What `bench` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Build with the release profile; the development profile optimises what counts as well and
    /// is usually built already
    #[arg(long)]
    release: bool,
    #[command(subcommand)]
    part: Option<Subject>,
}

#[derive(Clone, Subcommand)]
enum Subject {
    /// The engine against the bare codecs; what `bench` alone does
    Media,
    /// The server's forwarding against Janus and a bare loop, in the release profile; Linux only
    Sfu,
    /// Files against the data channels of others, in the release profile; Linux only, as root.
    /// Takes about ten minutes
    Files(FilesOptions),
    /// The window in calls against Chromium's, and how soon it answers, in the release profile; Linux
    /// only
    Ui,
    /// Calls over bad networks against Chromium's, in the release profile; Linux only, as root.
    /// Takes about a quarter of an hour
    Networks(NetworksOptions),
}

/// Which parts of the benchmark of files; with any of them, the tables are only printed.
#[derive(Args, Clone)]
struct FilesOptions {
    /// The gibibyte on loopback
    #[arg(long)]
    loopback: bool,
    /// A link of this round trip in ms and loss in percent
    #[arg(long, value_name = "RTT,LOSS")]
    cell: Vec<String>,
    /// Only this one: visavis, wrtc, node-datachannel or chromium
    #[arg(long)]
    contender: Vec<String>,
}

/// Which parts of the benchmark of calls; with any of them, the tables are only printed.
#[derive(Args, Clone)]
struct NetworksOptions {
    /// Only networks whose name contains this: "5 % lost", "250 ms", "moderate"
    #[arg(long)]
    network: Vec<String>,
    /// Only this one: visavis or chromium
    #[arg(long)]
    contender: Vec<String>,
}

/// Runs one benchmark, prints its tables and writes them down.
pub(crate) fn bench(workspace: &Workspace, options: &Options) -> Result<()> {
    let (part, flag, profile, tables) = match options.part.clone().unwrap_or(Subject::Media) {
        Subject::Media => {
            let (flag, profile) = if options.release {
                (" --release", "release")
            } else {
                ("", "dev")
            };
            let tables = run(workspace, "call-media", "call_cost", profile)?;
            (Part::Media, flag, profile, tables)
        }
        Subject::Sfu => {
            on_linux("the SFU is")?;
            install::install_janus()?;
            let tables = run(workspace, "call-server", "sfu_load", "release")?;
            (Part::Sfu, " sfu", "release", tables)
        }
        Subject::Files(chosen) => {
            on_linux("files are")?;
            let arguments = chosen.arguments();
            let tables = peers::bench_files(workspace, &arguments)?;
            if !arguments.is_empty() {
                println!("{tables}");
                return Ok(());
            }
            (Part::Files, " files", "release", tables)
        }
        Subject::Ui => {
            on_linux("windows are")?;
            (Part::Ui, " ui", "release", peers::bench_window(workspace)?)
        }
        Subject::Networks(chosen) => return bench_networks(workspace, &chosen),
    };
    println!("{tables}");
    let section = Section {
        command: format!("cargo xtask bench{flag}"),
        profile,
        machine: machine(),
        tables: tables.trim(),
    };
    let path = workspace.root().join("docs/benchmarks.md");
    let former = fs::read_to_string(&path).unwrap_or_default();
    let text = document::with(&former, part, &section);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The table of calls stands beside the others about quality.
fn bench_networks(workspace: &Workspace, chosen: &NetworksOptions) -> Result<()> {
    on_linux("calls over bad networks are")?;
    let arguments = chosen.arguments();
    let tables = peers::bench_networks(workspace, &arguments)?;
    println!("{tables}");
    if !arguments.is_empty() {
        return Ok(());
    }
    let path = workspace.root().join("docs/quality.md");
    let former = fs::read_to_string(&path)?;
    let text = document::between(
        &former,
        "networks",
        &format!("Machine: {}.\n\n{}", machine(), tables.trim()),
    );
    let text = text.context("docs/quality.md has no place for the table")?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn run(workspace: &Workspace, package: &str, bench: &str, profile: &str) -> Result<String> {
    let mut command = process::cargo(workspace.root());
    command.args(["bench", "--package", package, "--bench", bench]);
    command.args(["--profile", profile]);
    process::output(&mut command)
}

impl FilesOptions {
    /// As the benchmark itself takes them.
    fn arguments(&self) -> Vec<&str> {
        let mut arguments = Vec::new();
        if self.loopback {
            arguments.push("--loopback");
        }
        arguments.extend(repeated("--cell", &self.cell));
        arguments.extend(repeated("--contender", &self.contender));
        arguments
    }
}

impl NetworksOptions {
    /// As the benchmark itself takes them.
    fn arguments(&self) -> Vec<&str> {
        let networks = repeated("--network", &self.network);
        networks
            .chain(repeated("--contender", &self.contender))
            .collect()
    }
}

/// An option with each of its values.
fn repeated<'a>(option: &'a str, values: &'a [String]) -> impl Iterator<Item = &'a str> {
    values.iter().flat_map(move |value| [option, value])
}

/// An error where `what` ("the SFU is") cannot be measured.
fn on_linux(what: &str) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("{what} measured on Linux only");
    }
    Ok(())
}

/// Processor and number of cores.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let name = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let name = name.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{name}, {cores} cores, {}", std::env::consts::OS)
}
