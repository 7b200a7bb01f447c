//! `cargo xtask tidy`: rules of the tree that neither rustc nor clippy checks.
//!
//! Every rule is a pure function from text or metadata to findings, with tests that show it
//! failing; only this module reads files. An error fails the run, a warning is only printed.
//!
//! - [`dependencies`]: which crate may depend on which, and who owns which third-party stack.
//! - [`pure`]: what may not occur in the crates without clock, socket, thread and chance.
//! - [`text`]: sizes, open ends, paths of one machine, and who may talk to Tauri in the UI.

mod dependencies;
mod pure;
mod source;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// Directories that hold nothing written by hand.
const NOT_OURS: [&str; 6] = [".git", "target", "node_modules", "dist", "gen", "generated"];

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    severity: Severity,
    /// `path` or `path:line` relative to the top of the tree, or a crate's name.
    place: String,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

impl Finding {
    fn error(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.into(),
            message: message.into(),
        }
    }

    fn warning(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, message)
        }
    }
}

/// Checks every rule; an error if one is broken.
pub(crate) fn tidy(workspace: &Workspace) -> Result<()> {
    let mut findings = dependencies::check(workspace.metadata());
    for name in pure::CRATES {
        findings.extend(dependencies::check_pure_tree(name, &tree(workspace, name)?));
        findings.extend(pure::check_crate(workspace.root(), name)?);
    }
    for path in files(workspace.root())? {
        let bytes = fs::read(workspace.root().join(&path))?;
        // What is not text is a picture or a recording.
        if let Ok(content) = String::from_utf8(bytes) {
            findings.extend(text::check(&slashed(&path), &content));
        }
    }
    report(&findings)
}

fn report(findings: &[Finding]) -> Result<()> {
    for finding in findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        println!("tidy {word}: {}: {}", finding.place, finding.message);
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    if errors > 0 {
        bail!("tidy: {errors} broken rules");
    }
    Ok(())
}

/// The normal dependencies of `name` at any depth, one `crate vX.Y.Z` a line, with the features
/// that this crate alone asks for.
fn tree(workspace: &Workspace, name: &str) -> Result<String> {
    process::output(
        process::cargo(workspace.root())
            .args(["tree", "--quiet", "--package", name, "--target", "all"])
            .args(["--edges", "normal,no-proc-macro", "--prefix", "none"])
            .args(["--format", "{p}"]),
    )
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                    open.push(entry.path());
                }
            } else if kind.is_file() {
                found.push(entry.path().strip_prefix(root)?.to_path_buf());
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A relative path with `/` on every system.
fn slashed(path: &Path) -> String {
    path.iter()
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_passes_and_an_error_fails() {
        assert!(report(&[]).is_ok());
        assert!(report(&[Finding::warning("a.rs", "long")]).is_ok());
        let both = [
            Finding::warning("a.rs", "long"),
            Finding::error("b.rs", "too long"),
        ];
        assert!(report(&both).is_err());
    }

    #[test]
    fn built_and_generated_directories_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "src/a.rs",
            "ui/node_modules/b.ts",
            "ui/src/generated/c.ts",
            "target/d.rs",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(files(root.path()).unwrap(), [PathBuf::from("src/a.rs")]);
    }
}
