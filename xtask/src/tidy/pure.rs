//! What may not occur in the pure crates: clocks, sockets, threads, ambient chance, and maps
//! whose order changes from run to run.
//!
//! Test code is exempt: a test has to get its first `Instant` from somewhere. Clippy checks the
//! same through renames (`clippy.toml` in each of these crates); this is the rule as written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Finding, slashed, source};

/// The crates that take the time and all input as arguments.
pub(super) const CRATES: [&str; 4] = ["call-protocol", "call-core", "call-room", "call-e2ee"];

/// What is looked for in code, and why it is not there.
const FORBIDDEN: [(&[&str], &str); 5] = [
    (
        &["Instant::now", "SystemTime::now", "UNIX_EPOCH"],
        "the time is an argument",
    ),
    (
        &["std::thread", "thread::spawn", "thread::sleep", "tokio"],
        "no thread, no task",
    ),
    (
        &[
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
        ],
        "sockets belong to the shells",
    ),
    (
        &[
            "OsRng",
            "SysRng",
            "ThreadRng",
            "thread_rng",
            "getrandom",
            "rand",
        ],
        "chance comes in through the constructor",
    ),
    (
        &["HashMap", "HashSet", "RandomState", "DefaultHasher"],
        "its order changes from run to run: use BTreeMap or BTreeSet",
    ),
];

/// Checks the code of one crate below `crates/`.
pub(super) fn check_crate(root: &Path, name: &str) -> Result<Vec<Finding>> {
    let sources = root.join("crates").join(name).join("src");
    let mut files = Vec::new();
    collect(&sources, &mut files)?;
    files.sort_unstable();

    let mut codes = Vec::new();
    let mut tests = BTreeSet::new();
    for path in files {
        let (code, modules) =
            source::without_tests(&source::split(&fs::read_to_string(&path)?).code);
        let directory = children_of(&path);
        tests.extend(modules.iter().map(|module| directory.join(module)));
        codes.push((path, code));
    }
    Ok(codes
        .into_iter()
        .filter(|(path, _)| !is_test_file(path, &sources, &tests))
        .flat_map(|(path, code)| check(&slashed(path.strip_prefix(root).unwrap_or(&path)), &code))
        .collect())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Where the modules declared in the file `path` lie.
fn children_of(path: &Path) -> PathBuf {
    let is_root = path
        .file_stem()
        .is_some_and(|stem| stem == "mod" || stem == "lib" || stem == "main");
    let parent = path.parent().unwrap_or(path);
    if is_root {
        parent.to_path_buf()
    } else {
        path.with_extension("")
    }
}

/// Whether a file is a test module, or lies below one. By our convention `NAME_tests.rs` holds the
/// tests of `NAME.rs`, whatever module path it is given.
fn is_test_file(path: &Path, sources: &Path, tests: &BTreeSet<PathBuf>) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    if stem.is_some_and(|stem| stem.ends_with("_tests")) {
        return true;
    }
    path.with_extension("")
        .ancestors()
        .take_while(|ancestor| ancestor.starts_with(sources))
        .any(|ancestor| tests.contains(ancestor))
}

/// Checks code that holds neither comments, literals nor tests.
fn check(path: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for (needles, why) in FORBIDDEN {
            for needle in needles.iter().filter(|needle| has_word(line, needle)) {
                let place = format!("{path}:{}", index + 1);
                findings.push(Finding::error(
                    place,
                    format!("`{needle}` in a pure crate: {why}"),
                ));
            }
        }
    }
    findings
}

fn has_word(line: &str, needle: &str) -> bool {
    let bytes = line.as_bytes();
    line.match_indices(needle).any(|(start, _)| {
        let end = start + needle.len();
        let before = start.checked_sub(1).map(|index| bytes[index]);
        !before.is_some_and(source::is_word)
            && !bytes.get(end).copied().is_some_and(source::is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_forbidden_thing_is_found_with_its_line() {
        for (needles, _) in FORBIDDEN {
            for needle in needles {
                let found = check("a.rs", &format!("fn f() {{\n    x({needle});\n}}\n"));
                assert!(
                    found
                        .iter()
                        .any(|f| f.place == "a.rs:2" && f.message.contains(needle))
                );
            }
        }
    }

    #[test]
    fn longer_words_are_other_words() {
        assert!(check("a.rs", "let operand = strand(MyHashMapped, tokio_like);").is_empty());
        assert!(check("a.rs", "fn at(now: Instant) -> BTreeMap<u8, IpAddr>").is_empty());
    }

    #[test]
    fn test_modules_are_exempt_inline_and_in_files() {
        let root = tempfile::tempdir().unwrap();
        let sources = root.path().join("crates/call-core/src");
        fs::create_dir_all(sources.join("session/tests")).unwrap();
        fs::write(
            sources.join("lib.rs"),
            "//! Says HashMap.\nmod session;\n#[cfg(test)]\nmod tests { use std::thread; }\n",
        )
        .unwrap();
        fs::write(sources.join("session.rs"), "#[cfg(test)]\nmod tests;\n").unwrap();
        fs::write(
            sources.join("session/tests.rs"),
            "mod deep; use x::HashMap;",
        )
        .unwrap();
        fs::write(sources.join("session/tests/deep.rs"), "use x::HashMap;").unwrap();
        assert_eq!(check_crate(root.path(), "call-core").unwrap(), []);

        fs::write(sources.join("session/real.rs"), "\nuse x::HashMap;").unwrap();
        let found = check_crate(root.path(), "call-core").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "crates/call-core/src/session/real.rs:2");
    }
}
