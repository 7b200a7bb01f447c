//! `cargo xtask bench`: what the engine and the server cost, measured and written to
//! `docs/benchmarks.md`.
//!
//! Figures depend on the machine and on what else it does, so nothing passes or fails by them.

mod document;

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

#[derive(Clone, Copy, Subcommand)]
enum Subject {
    /// The engine against the bare codecs; what `bench` alone does
    Media,
    /// The server's forwarding against Janus and a bare loop, in the release profile; Linux only
    Sfu,
}

/// Runs one benchmark, prints its tables and writes them down.
pub(crate) fn bench(workspace: &Workspace, options: &Options) -> Result<()> {
    let subject = options.part.unwrap_or(Subject::Media);
    let (part, flag, profile, (package, bench)) = match (subject, options.release) {
        (Subject::Media, false) => (Part::Media, "", "dev", ("call-media", "call_cost")),
        (Subject::Media, true) => (
            Part::Media,
            " --release",
            "release",
            ("call-media", "call_cost"),
        ),
        (Subject::Sfu, _) => {
            if !cfg!(target_os = "linux") {
                bail!("the SFU is measured on Linux only");
            }
            install::install_janus()?;
            (Part::Sfu, " sfu", "release", ("call-server", "sfu_load"))
        }
    };
    let mut command = process::cargo(workspace.root());
    command.args(["bench", "--package", package, "--bench", bench]);
    command.args(["--profile", profile]);
    let tables = process::output(&mut command)?;
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
