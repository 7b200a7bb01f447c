//! `cargo xtask bench`: what the engine costs, measured and written to `docs/benchmarks.md`.
//!
//! Figures depend on the machine and on what else it does, so nothing passes or fails by them.

use std::fs;

use anyhow::{Context, Result};
use clap::Args;

use crate::process;
use crate::workspace::Workspace;

/// What `bench` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Build with the release profile; the development profile optimises what counts as well and
    /// is usually built already
    #[arg(long)]
    release: bool,
}

/// Runs the benchmark, prints its tables and writes them down.
pub(crate) fn bench(workspace: &Workspace, options: &Options) -> Result<()> {
    let profile = if options.release { "release" } else { "dev" };
    let mut command = process::cargo(workspace.root());
    command.args(["bench", "--package", "call-media", "--bench", "call_cost"]);
    command.args(["--profile", profile]);
    let tables = process::output(&mut command)?;
    println!("{tables}");
    let path = workspace.root().join("docs/benchmarks.md");
    let flag = if options.release { " --release" } else { "" };
    let text = document(&machine(), flag, profile, tables.trim());
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn document(machine: &str, flag: &str, profile: &str, tables: &str) -> String {
    format!(
        "# Benchmarks

Written by `cargo xtask bench{flag}` ({profile} profile, in which the codecs are optimised). Do not edit by hand.

Machine: {machine}.

Both sides encode and decode the same pictures (the test pattern with fixed detail and sensor noise, 1280×720 at 30 per second, 1.2 Mbit/s) and the same sound in the same run. *Bare* calls libvpx and libopus directly with the engine's settings. *Engine* is everything between pictures and packets and back: pacing and scaling, encoder, packetizer, assembler, decoder and copy of the picture; for sound encoder, jitter buffer, decoder and mixer. Voice processing, capture, encryption and transport are not in it. Figures are processor time of all threads, the smallest of four alternating rounds of four seconds of call.

{tables}
"
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_command_and_machine() {
        let text = document("a machine", " --release", "release", "| a |");
        assert!(text.contains("`cargo xtask bench --release`"));
        assert!(text.contains("a machine") && text.ends_with("| a |\n"));
    }
}
