//! Benchmarks of our binaries, of the release profile, against others: of files against npm packages,
//! by lock file and below `target/`, and of calls and windows against Chromium.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::{FEATURES, Workspace};
use crate::{process, ui};

/// Where the packages are listed and locked.
const LISTED: &str = "tests/benches/files/peers";
/// Copy of the lock file that the packages were installed from.
const STAMP: &str = "installed-lock.json";

/// Builds, installs and runs the benchmark of files; the tables.
pub(super) fn bench_files(workspace: &Workspace, arguments: &[&str]) -> Result<String> {
    let packages = install_packages(workspace)?;
    build(workspace, &[])?;
    let environment = [("PEER_PACKAGES", packages)];
    bench(workspace, "files", arguments, &environment)
}

/// Builds and runs the benchmark of calls over bad networks; the tables.
pub(super) fn bench_networks(workspace: &Workspace, arguments: &[&str]) -> Result<String> {
    build(workspace, &[])?;
    bench(workspace, "networks", arguments, &[])
}

/// Builds the app and runs the benchmarks of its window; the tables.
pub(super) fn bench_window(workspace: &Workspace) -> Result<String> {
    ui::build(workspace)?;
    // Together, so that what they share is built once.
    build(
        workspace,
        &[&["--package", "visavis"], &FEATURES[..]].concat(),
    )?;
    let calls = bench(workspace, "window", &[], &[])?;
    Ok(format!("{calls}\n{}", ui::responsiveness(workspace)?))
}

/// Builds client and server, and what `more` says.
fn build(workspace: &Workspace, more: &[&str]) -> Result<()> {
    let packages = ["--package", "call-client", "--package", "call-server"];
    let mut command = process::cargo(workspace.root());
    command.args(["build", "--release", "--bins"]);
    process::run(command.args(packages).args(more))
}

fn bench(
    workspace: &Workspace,
    name: &str,
    arguments: &[&str],
    environment: &[(&str, PathBuf)],
) -> Result<String> {
    // The benchmark itself only starts and counts: the development profile, as built for the tests.
    let mut command = process::cargo(workspace.root());
    command
        .args(["bench", "--profile", "dev", "--workspace"])
        .args(FEATURES)
        .args(["--bench", name, "--"])
        .args(arguments)
        .env("VISAVIS_BIN_DIR", workspace.binaries(true))
        .envs(environment.iter().map(|(name, value)| (name, value)));
    process::output(&mut command)
}

fn install_packages(workspace: &Workspace) -> Result<PathBuf> {
    let listed = workspace.root().join(LISTED);
    let packages = workspace.target().join("bench-peers");
    fs::create_dir_all(&packages)?;
    let lock =
        fs::read(listed.join("package-lock.json")).context("the peers' lock file is missing")?;
    if fs::read(packages.join(STAMP)).is_ok_and(|stamp| stamp == lock) {
        return Ok(packages);
    }
    for name in ["package.json", "package-lock.json"] {
        fs::copy(listed.join(name), packages.join(name))?;
    }
    process::run(process::npm(&packages).args(["ci", "--no-audit", "--no-fund"]))?;
    fs::write(packages.join(STAMP), lock).context("cannot note what npm installed")?;
    Ok(packages)
}
