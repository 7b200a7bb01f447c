//! `cargo xtask test`: every check and test in order, timed, with a table at the end.
//!
//! A failed step does not stop the later ones, except those that need what it should have
//! made. The order is: cheap checks, then what is embedded (`ui/dist`), then what is compiled.
//! Test runners write straight to the terminal: their summaries are the record of what ran.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::workspace::{FEATURES, Workspace};
use crate::{codegen, install, process, tidy, ui};

/// What `test` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Run the camera and sound tests inside a virtual machine with test drivers, and only them
    #[arg(long, conflicts_with = "only")]
    devices: bool,
    /// Run this step only, and what it needs (may be repeated)
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Step {
    /// cargo fmt --check
    Fmt,
    /// The rules of the source tree
    Tidy,
    /// Generated files are what the sources say
    Codegen,
    /// The web UI: format, lint, types, unit tests, build, accessibility
    Ui,
    /// Lints of all targets
    Clippy,
    /// The documentation builds without a warning
    Rustdoc,
    /// Licences, banned crates and sources of the dependencies
    Deny,
    /// Binaries and tests
    Build,
    /// Examples in the documentation
    Doctest,
    /// Unit, scenario, stack, end-to-end and app tests
    Tests,
    /// Cameras and sound cards in a virtual machine
    #[value(skip)]
    Devices,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Tidy => "tidy",
            Self::Codegen => "codegen",
            Self::Ui => "ui",
            Self::Clippy => "clippy",
            Self::Rustdoc => "rustdoc",
            Self::Deny => "deny",
            Self::Build => "build",
            Self::Doctest => "doctest",
            Self::Tests => "tests",
            Self::Devices => "devices",
        }
    }

    /// The app embeds the built UI, so whatever compiles the app needs it.
    fn needs_ui(self) -> bool {
        matches!(self, Self::Clippy | Self::Rustdoc | Self::Build)
    }

    fn needs_build(self) -> bool {
        matches!(self, Self::Doctest | Self::Tests | Self::Devices)
    }
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs the chosen steps; an error if any of them failed.
pub(crate) fn test(workspace: &Workspace, options: &Options) -> Result<()> {
    install::install(workspace, install::Purpose::Test)?;
    let mut results = Vec::new();
    for step in plan(options) {
        println!("\n=== {} ===", step.name());
        let started = Instant::now();
        let outcome = perform(workspace, step, &results);
        match &outcome {
            Outcome::Passed => {}
            Outcome::Failed(why) => eprintln!("{}: {why}", step.name()),
            Outcome::Skipped(why) => eprintln!("{}: SKIPPED: {why}", step.name()),
        }
        results.push((step, outcome, started.elapsed()));
    }
    println!("\n{}", table(&results));
    let failed: Vec<&str> = results
        .iter()
        .filter(|(_, outcome, _)| !matches!(outcome, Outcome::Passed))
        .map(|(step, ..)| step.name())
        .collect();
    if !failed.is_empty() {
        bail!("not passed: {}", failed.join(", "));
    }
    Ok(())
}

fn plan(options: &Options) -> Vec<Step> {
    let mut steps = if options.devices {
        vec![Step::Devices]
    } else if options.only.is_empty() {
        Step::value_variants()
            .iter()
            .copied()
            .filter(|step| *step != Step::Devices)
            .collect()
    } else {
        options.only.clone()
    };
    if steps.iter().any(|step| step.needs_build()) {
        steps.push(Step::Build);
    }
    steps.sort_unstable();
    steps.dedup();
    steps
}

fn perform(workspace: &Workspace, step: Step, earlier: &[(Step, Outcome, Duration)]) -> Outcome {
    let build_failed = earlier
        .iter()
        .any(|(step, outcome, _)| *step == Step::Build && !matches!(outcome, Outcome::Passed));
    if step.needs_build() && build_failed {
        return Outcome::Skipped("the build failed".into());
    }
    if step.needs_ui()
        && let Err(error) = ui::build(workspace)
    {
        return Outcome::Skipped(format!("there is no ui/dist to embed: {error:#}"));
    }
    match execute(workspace, step) {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

fn execute(workspace: &Workspace, step: Step) -> Result<()> {
    let cargo = || process::cargo(workspace.root());
    match step {
        Step::Fmt => process::run(cargo().args(["fmt", "--all", "--check"])),
        Step::Tidy => tidy::tidy(workspace),
        Step::Codegen => codegen::check(workspace),
        Step::Ui => check_ui(workspace),
        Step::Clippy => process::run(
            cargo()
                .args(["clippy", "--workspace", "--all-targets"])
                .args(FEATURES)
                .args(["--", "-D", "warnings"]),
        ),
        Step::Rustdoc => process::run(
            cargo()
                .args(["doc", "--workspace", "--no-deps"])
                .args(FEATURES)
                .env("RUSTDOCFLAGS", "-D warnings"),
        ),
        // Not `advisories`: their database is a download from one particular host.
        Step::Deny => process::run(cargo().args([
            "deny",
            "--all-features",
            "check",
            "bans",
            "licenses",
            "sources",
        ])),
        // Tests too, so that dependencies get the same features here as when the tests run.
        Step::Build => process::run(
            cargo()
                .args(["build", "--workspace", "--bins", "--tests"])
                .args(FEATURES),
        ),
        Step::Doctest => process::run(
            cargo()
                .args(["test", "--workspace", "--doc", "--quiet"])
                .args(FEATURES),
        ),
        Step::Tests => run_tests(workspace),
        Step::Devices => run_device_tests(workspace),
    }
}

fn check_ui(workspace: &Workspace) -> Result<()> {
    ui::install_packages(workspace)?;
    let mut failed = Vec::new();
    let mut note = |name, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("{error:#}");
            failed.push(name);
        }
    };
    // Each is busy with one core, and silent unless it finds something.
    let silent = ["format:check", "lint", "check"];
    let results = std::thread::scope(|scope| {
        let started = silent.map(|name| scope.spawn(move || ui::script(workspace, name)));
        started.map(|script| script.join().expect("scripts are run without panicking"))
    });
    for (name, result) in silent.into_iter().zip(results) {
        note(name, result);
    }
    note("test", ui::script(workspace, "test"));
    note("build", ui::build(workspace));
    // Looks at what was built, in a Chromium.
    note("accessibility", ui::script(workspace, "accessibility"));
    if !failed.is_empty() {
        bail!("{}", failed.join(", "));
    }
    Ok(())
}

fn run_tests(workspace: &Workspace) -> Result<()> {
    let mut command = process::cargo(workspace.root());
    if process::succeeds(process::cargo(workspace.root()).args(["nextest", "--version"])) {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        command.args([
            "test",
            "--workspace",
            "--bins",
            "--lib",
            "--tests",
            "--no-fail-fast",
        ]);
    }
    process::run(
        command
            .args(FEATURES)
            .env("VISAVIS_BIN_DIR", workspace.binaries(false)),
    )
}

fn run_device_tests(workspace: &Workspace) -> Result<()> {
    let script = workspace.root().join("tests/devices/run");
    if !script.is_file() {
        bail!("there is no tests/devices/run");
    }
    process::run(
        Command::new("bash")
            .arg(script)
            .current_dir(workspace.root())
            .env("VISAVIS_BIN_DIR", workspace.binaries(false)),
    )
}

fn table(results: &[(Step, Outcome, Duration)]) -> String {
    let mut lines = vec![format!("{:<10} {:<8} {:>9}", "step", "result", "seconds")];
    for (step, outcome, took) in results {
        let (word, why) = match outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Failed(why) => ("FAILED", why.as_str()),
            Outcome::Skipped(why) => ("SKIPPED", why.as_str()),
        };
        let why = why.lines().next().unwrap_or_default();
        let line = format!(
            "{:<10} {word:<8} {:>9.1}  {why}",
            step.name(),
            took.as_secs_f64()
        );
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(steps: &[Step]) -> Options {
        Options {
            devices: false,
            only: steps.to_vec(),
        }
    }

    #[test]
    fn everything_but_the_devices_by_default() {
        let steps = plan(&only(&[]));
        assert_eq!(steps.first(), Some(&Step::Fmt));
        assert_eq!(steps.last(), Some(&Step::Tests));
        assert!(!steps.contains(&Step::Devices));
    }

    #[test]
    fn tests_bring_the_build_with_them_and_keep_the_order() {
        assert_eq!(
            plan(&only(&[Step::Tests, Step::Fmt, Step::Tests])),
            [Step::Fmt, Step::Build, Step::Tests]
        );
        let devices = Options {
            devices: true,
            only: vec![],
        };
        assert_eq!(plan(&devices), [Step::Build, Step::Devices]);
    }

    #[test]
    fn table_shows_each_outcome_with_its_reason() {
        let second = Duration::from_millis(1_250);
        let shown = table(&[
            (Step::Fmt, Outcome::Passed, second),
            (Step::Build, Outcome::Failed("first\nsecond".into()), second),
            (Step::Tests, Outcome::Skipped("no build".into()), second),
        ]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], "fmt        ok             1.2");
        assert_eq!(lines[2], "build      FAILED         1.2  first");
        assert_eq!(lines[3], "tests      SKIPPED        1.2  no build");
    }
}
