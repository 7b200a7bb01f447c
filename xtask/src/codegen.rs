//! `cargo xtask codegen`: the UI protocol's TypeScript types, out of call-protocol by ts-rs.
//!
//! The types are exported into the target directory, formatted by the UI's own prettier, and
//! only then compared with or copied to `ui/src/generated`, so `--check` touches nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{process, ui};

/// File contents by path relative to the directory of generated files.
type Files = BTreeMap<PathBuf, String>;

/// Makes `ui/src/generated` what call-protocol says, removing what it no longer says.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let exported = export(workspace)?;
    let generated = generated_directory(workspace);
    let committed = read(&generated)?;
    for path in committed
        .keys()
        .filter(|path| !exported.contains_key(*path))
    {
        fs::remove_file(generated.join(path))?;
    }
    for (path, text) in &exported {
        if committed.get(path) != Some(text) {
            let path = generated.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
    }
    println!("codegen: {} files in ui/src/generated", exported.len());
    Ok(())
}

/// Fails if [`write()`] would change anything.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let differences = differences(&export(workspace)?, &read(&generated_directory(workspace))?);
    if !differences.is_empty() {
        for line in &differences {
            eprintln!("codegen: ui/src/generated/{line}");
        }
        bail!("generated files are stale: run `cargo xtask codegen` and commit the result");
    }
    Ok(())
}

fn generated_directory(workspace: &Workspace) -> PathBuf {
    workspace.ui().join("src/generated")
}

fn export(workspace: &Workspace) -> Result<Files> {
    ui::install_packages(workspace)?;
    let directory = workspace.target().join("codegen");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;

    process::run(
        process::cargo(workspace.root())
            .args(["test", "--quiet", "--package", "call-protocol", "--lib"])
            .args(["--features", "codegen", "export_bindings"])
            .env("TS_RS_EXPORT_DIR", &directory)
            // The IPC is JSON: what serde writes as a number arrives as one, whatever its width.
            .env("TS_RS_LARGE_INT", "number"),
    )?;
    let exported = read(&directory)?;
    if exported.is_empty() {
        bail!("call-protocol exported no type: is #[ts(export)] on its ui module?");
    }
    format(workspace, &directory)?;
    read(&directory)
}

/// Formats by the rules that hold for files in `ui/src/generated`, although these lie elsewhere.
fn format(workspace: &Workspace, directory: &Path) -> Result<()> {
    let ui = workspace.ui();
    let prettier = ui.join("node_modules/prettier/bin/prettier.cjs");
    if !prettier.is_file() {
        bail!("prettier is not among the UI's npm packages");
    }
    let node = |arguments: &[&str]| {
        let mut command = std::process::Command::new("node");
        command.current_dir(&ui).arg(&prettier).args(arguments);
        command
    };
    let mut command = node(&["--write", "--log-level=warn", "--ignore-path=no-such-file"]);
    let found = node(&["--find-config-path", "src/main.ts"])
        .output()
        .context("cannot start node")?;
    let config = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if found.status.success() && !config.is_empty() {
        command.arg("--config").arg(config);
    } else {
        command.arg("--no-config");
    }
    process::run(command.arg(directory))
}

fn read(directory: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop() {
        if !next.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                // A checkout on Windows may have other line ends; that is no difference.
                let text = fs::read_to_string(&path)?.replace("\r\n", "\n");
                files.insert(path.strip_prefix(directory)?.to_path_buf(), text);
            }
        }
    }
    Ok(files)
}

fn differences(exported: &Files, committed: &Files) -> Vec<String> {
    let missing = exported
        .keys()
        .filter(|path| !committed.contains_key(*path))
        .map(|path| format!("{}: missing", path.display()));
    let other = committed.iter().filter_map(|(path, text)| {
        let name = path.display();
        match exported.get(path) {
            None => Some(format!("{name}: no longer exported")),
            Some(fresh) if fresh != text => Some(format!("{name}: differs")),
            Some(_) => None,
        }
    });
    missing.chain(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> Files {
        entries
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn every_kind_of_difference_is_reported() {
        let exported = files(&[("A.ts", "new"), ("B.ts", "same"), ("C.ts", "")]);
        let committed = files(&[("A.ts", "old"), ("B.ts", "same"), ("D.ts", "")]);
        assert_eq!(
            differences(&exported, &committed),
            ["C.ts: missing", "A.ts: differs", "D.ts: no longer exported"]
        );
        assert!(differences(&exported, &exported).is_empty());
    }

    #[test]
    fn line_ends_are_no_difference() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("deep")).unwrap();
        fs::write(directory.path().join("deep/A.ts"), "a\r\nb\r\n").unwrap();
        let read = read(directory.path()).unwrap();
        assert_eq!(read[Path::new("deep/A.ts")], "a\nb\n");
    }
}
