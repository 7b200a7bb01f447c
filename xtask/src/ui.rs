//! The web UI's part of the build: npm packages by lock file, its checks, and `ui/dist`.
//!
//! `ui/dist` is rebuilt only when something it is made of is newer, because the app embeds it
//! and would be compiled again.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// Copy of the lock file that `node_modules` was installed from.
const STAMP: &str = "node_modules/.installed-lock.json";

/// Installs the npm packages if the lock file is not the one they were installed from.
pub(crate) fn install_packages(workspace: &Workspace) -> Result<()> {
    let ui = workspace.ui();
    let lock = fs::read(ui.join("package-lock.json"))
        .context("ui/package-lock.json is missing: npm packages are installed by lock file only")?;
    if fs::read(ui.join(STAMP)).is_ok_and(|stamp| stamp == lock) {
        return Ok(());
    }
    process::run(process::npm(&ui).args(["ci", "--no-audit", "--no-fund"]))?;
    fs::write(ui.join(STAMP), lock).context("cannot note what npm installed")
}

/// Runs one script of ui/package.json.
pub(crate) fn script(workspace: &Workspace, name: &str) -> Result<()> {
    process::run(process::npm(&workspace.ui()).args(["run", "--silent", name]))
        .with_context(|| format!("ui: {name}"))
}

/// Builds `ui/dist` unless it is newer than all it is made of.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    install_packages(workspace)?;
    if is_fresh(&workspace.ui())? {
        return Ok(());
    }
    script(workspace, "build")?;
    if !workspace.ui().join("dist/index.html").is_file() {
        bail!("`npm run build` left no ui/dist/index.html");
    }
    Ok(())
}

/// Draws every view into `target/screenshots`, or those named, with a headless Chromium.
pub(crate) fn screenshots(workspace: &Workspace, views: &[String]) -> Result<()> {
    build(workspace)?;
    let directory = workspace.target().join("screenshots");
    process::run(
        process::node(&workspace.ui())
            .arg("tools/screenshots.mjs")
            .arg(&directory)
            .args(views),
    )?;
    println!("{}", directory.display());
    Ok(())
}

/// Measures how soon a window of many tiles answers, with a headless Chromium; a table.
pub(crate) fn responsiveness(workspace: &Workspace) -> Result<String> {
    build(workspace)?;
    process::output(process::node(&workspace.ui()).arg("tools/responsiveness.mjs"))
}

fn is_fresh(ui: &Path) -> Result<bool> {
    let Ok(built) = fs::metadata(ui.join("dist/index.html")).and_then(|m| m.modified()) else {
        return Ok(false);
    };
    Ok(newest_input(ui)?.is_none_or(|newest| newest <= built))
}

fn newest_input(directory: &Path) -> Result<Option<SystemTime>> {
    let mut newest = None;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let modified = if entry.file_type()?.is_dir() {
            if matches!(entry.file_name().to_str(), Some("node_modules" | "dist")) {
                continue;
            }
            newest_input(&entry.path())?
        } else {
            Some(entry.metadata()?.modified()?)
        };
        newest = newest.max(modified);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dist_is_stale_once_a_source_is_newer() {
        let ui = tempfile::tempdir().unwrap();
        let source = ui.path().join("src/views");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("Call.svelte"), "").unwrap();
        assert!(!is_fresh(ui.path()).unwrap(), "nothing is built yet");

        fs::create_dir(ui.path().join("dist")).unwrap();
        fs::write(ui.path().join("dist/index.html"), "").unwrap();
        assert!(is_fresh(ui.path()).unwrap());

        let later = SystemTime::now() + Duration::from_secs(60);
        let touched = fs::File::create(source.join("Home.svelte")).unwrap();
        touched.set_modified(later).unwrap();
        assert!(!is_fresh(ui.path()).unwrap());
    }

    #[test]
    fn installed_packages_do_not_make_dist_stale() {
        let ui = tempfile::tempdir().unwrap();
        fs::create_dir_all(ui.path().join("dist")).unwrap();
        fs::write(ui.path().join("dist/index.html"), "").unwrap();
        fs::create_dir_all(ui.path().join("node_modules/x")).unwrap();
        let package = fs::File::create(ui.path().join("node_modules/x/index.js")).unwrap();
        package
            .set_modified(SystemTime::now() + Duration::from_secs(60))
            .unwrap();
        assert!(is_fresh(ui.path()).unwrap());
    }
}
