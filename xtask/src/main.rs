//! `cargo xtask`: one entry point for building, running and testing Visavis.
//!
//! Every sub-command first installs what it lacks (see [`install`]), so a bare machine needs
//! nothing but a Rust toolchain and Node. Exit codes: 0 done, 1 failed, 2 bad arguments.
//!
//! Not here: anything the application itself needs at run time.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks through its standard streams"
)]

mod bench;
mod codegen;
mod icons;
mod install;
mod process;
mod run;
mod test;
mod tidy;
mod ui;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and tests Visavis")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing, build, and open the app
    Run(run::Options),
    /// Install what is missing, then run every check and test
    Test(test::Options),
    /// Check the rules of the source tree that no compiler knows
    Tidy,
    /// Write the TypeScript types of the UI protocol into ui/src/generated
    Codegen {
        /// Write nothing; fail if what is committed differs
        #[arg(long)]
        check: bool,
    },
    /// Measure what engine or server cost against others and write docs/benchmarks.md
    Bench(bench::Options),
    /// Draw every view of the UI at three sizes, light and dark, into target/screenshots
    Screenshots {
        /// Only these views, by their scenes' names
        view: Vec<String>,
    },
    /// Install what building and testing need, and nothing else
    Install,
    /// Draw the icon files from icons/visavis.svg
    Icons,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Run(options) => run::run(&workspace, &options),
        Command::Test(options) => test::test(&workspace, &options),
        Command::Bench(options) => bench::bench(&workspace, &options),
        Command::Tidy => tidy::tidy(&workspace),
        Command::Codegen { check: true } => codegen::check(&workspace),
        Command::Codegen { check: false } => codegen::write(&workspace),
        Command::Screenshots { view } => ui::screenshots(&workspace, &view),
        Command::Install => install::install(&workspace, install::Purpose::Test),
        Command::Icons => icons::generate(&workspace),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn run_passes_the_rest_to_the_app() {
        let arguments = Arguments::try_parse_from([
            "xtask",
            "run",
            "--second",
            "--server",
            "ws://127.0.0.1:1",
            "--",
            "--video",
            "none",
        ])
        .unwrap();
        let Command::Run(options) = arguments.command else {
            panic!("parsed as another command")
        };
        assert_eq!(
            options.app_arguments(),
            [
                "--profile",
                "second",
                "--server",
                "ws://127.0.0.1:1",
                "--video",
                "none"
            ]
        );
    }

    #[test]
    fn unknown_step_is_refused() {
        assert!(Arguments::try_parse_from(["xtask", "test", "--only", "nonsense"]).is_err());
    }
}
