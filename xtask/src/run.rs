//! `cargo xtask run`: from a bare checkout to the app's open window.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::workspace::{FEATURES, Workspace};
use crate::{install, process, ui};

/// What `run` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Signalling server to use instead of the one inside the app (ws:// or wss://)
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Open another window's worth of app, with a profile of its own
    #[arg(long)]
    second: bool,
    /// Build optimised
    #[arg(long)]
    release: bool,
    /// Passed to the app as they are
    #[arg(last = true, value_name = "APP ARGS")]
    rest: Vec<String>,
}

impl Options {
    /// The app's own command line.
    pub(crate) fn app_arguments(&self) -> Vec<&str> {
        let mut arguments = Vec::new();
        if self.second {
            arguments.extend(["--profile", "second"]);
        }
        if let Some(server) = &self.server {
            arguments.extend(["--server", server]);
        }
        arguments.extend(self.rest.iter().map(String::as_str));
        arguments
    }
}

/// Installs, builds, and stays until the app's window is closed.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    require_display()?;
    install::install(workspace, install::Purpose::Build)?;
    ui::build(workspace)?;

    let mut build = process::cargo(workspace.root());
    build.args(["build", "--package", "visavis"]).args(FEATURES);
    if options.release {
        build.arg("--release");
    }
    process::run(&mut build)?;

    let binary = workspace
        .binaries(options.release)
        .join(format!("visavis{}", std::env::consts::EXE_SUFFIX));
    process::run(Command::new(binary).args(options.app_arguments()))
}

/// Says so before minutes of building, rather than after.
fn require_display() -> Result<()> {
    let named = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !named("DISPLAY") && !named("WAYLAND_DISPLAY") {
        bail!(
            "Visavis opens a window and needs a display, but neither DISPLAY nor WAYLAND_DISPLAY \
             is set. Run this in a graphical session, or under `xvfb-run -a cargo xtask run`."
        );
    }
    Ok(())
}
