//! Where things lie, and what `cargo metadata` says of the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// The one feature choice of every build, lint and test: the app carries its UI inside.
/// One choice everywhere means nothing is compiled twice.
pub(crate) const FEATURES: [&str; 2] = ["--features", "visavis/custom-protocol"];

/// The checked-out tree and the directory cargo builds into.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    metadata: Value,
}

impl Workspace {
    /// Finds the tree this very xtask belongs to and asks cargo about it.
    pub(crate) fn locate() -> Result<Self> {
        // At run time, so that two checkouts sharing a target directory do not mix.
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir
            .parent()
            .context("xtask has no parent directory")?
            .to_path_buf();
        let mut command = process::cargo(&root);
        command.args(["metadata", "--format-version=1", "--no-deps"]);
        let metadata: Value = serde_json::from_str(&process::output(&mut command)?)
            .context("cargo metadata is not JSON")?;
        let target = metadata["target_directory"]
            .as_str()
            .context("cargo metadata names no target directory")?
            .into();
        Ok(Self {
            root,
            target,
            metadata,
        })
    }

    /// The top of the tree.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The web UI's directory.
    pub(crate) fn ui(&self) -> PathBuf {
        self.root.join("ui")
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where the binaries of a dev or release build lie.
    pub(crate) fn binaries(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" })
    }

    /// `cargo metadata --no-deps`: the workspace's own packages and what they declare.
    pub(crate) fn metadata(&self) -> &Value {
        &self.metadata
    }
}
