//! Rules for every text file: size, open ends, paths of one machine, and the UI's one door to
//! Tauri.

use super::{Finding, source};

/// Lines beyond which a source file fails, and beyond which it is complained about.
const LINES_FAIL: usize = 800;
const LINES_WARN: usize = 500;
/// A view is markup; what needs more lines is logic and belongs elsewhere.
const LINES_FAIL_VIEW: usize = 150;

/// The one module (and its test) that may import Tauri's packages in the UI.
const TAURI_IMPORTERS: [&str; 2] = ["ui/src/backend/tauri.ts", "ui/src/backend/tauri.test.ts"];

/// First directories of absolute paths that exist on one machine only.
const PRIVATE_DIRECTORIES: [&str; 4] = ["home", "Users", "root", "work"];

/// Words for what is left to do; each needs the issue that will do it. Joined here so that this
/// file does not hold them itself.
const OPEN_ENDS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Files that tools write.
const WRITTEN_BY_TOOLS: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// Checks one file; `path` is relative to the top of the tree, with `/`.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let file = path.rsplit('/').next().unwrap_or(path);
    if WRITTEN_BY_TOOLS.contains(&file) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    findings.extend(check_size(path, text));
    // In Rust, only a comment can hold an open end; elsewhere any line.
    let comments = path.ends_with(".rs").then(|| source::split(text).comments);
    for (index, line) in comments.as_deref().unwrap_or(text).lines().enumerate() {
        let place = || format!("{path}:{}", index + 1);
        if let Some(word) = open_end(line) {
            findings.push(Finding::error(
                place(),
                format!("{word} names no issue: write {word}(#N)"),
            ));
        }
    }
    for (index, line) in text.lines().enumerate() {
        let place = || format!("{path}:{}", index + 1);
        if let Some(directory) = private_path(line) {
            let message = format!("names a path of one machine (/{directory}/…)");
            findings.push(Finding::error(place(), message));
        }
        if imports_tauri(path, line) {
            let message = format!("only {} may import Tauri's packages", TAURI_IMPORTERS[0]);
            findings.push(Finding::error(place(), message));
        }
    }
    findings
}

fn check_size(path: &str, text: &str) -> Option<Finding> {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    if !matches!(extension, "rs" | "ts" | "svelte" | "css") {
        return None;
    }
    let lines = text.lines().count();
    let view = extension == "svelte" && path.starts_with("ui/src/views/");
    let limit = if view { LINES_FAIL_VIEW } else { LINES_FAIL };
    if lines > limit {
        Some(Finding::error(
            path,
            format!("{lines} lines, at most {limit} are allowed"),
        ))
    } else if lines > LINES_WARN {
        Some(Finding::warning(
            path,
            format!("{lines} lines, more than {LINES_WARN} is too much"),
        ))
    } else {
        None
    }
}

fn open_end(line: &str) -> Option<&'static str> {
    OPEN_ENDS.into_iter().find(|word| {
        line.match_indices(word).any(|(start, _)| {
            let (before, after) = (&line[..start], &line[start + word.len()..]);
            let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            let number = after
                .strip_prefix("(#")
                .and_then(|rest| rest.split_once(')'));
            let issue = number.is_some_and(|(number, _)| number.parse::<u32>().is_ok());
            whole && !issue
        })
    })
}

fn private_path(line: &str) -> Option<&'static str> {
    PRIVATE_DIRECTORIES.into_iter().find(|directory| {
        let path = format!("/{directory}/");
        line.match_indices(&path).any(|(start, _)| {
            // Inside a longer path or an address it is just a name.
            !line[..start].ends_with(|c: char| c.is_alphanumeric() || "._-/~*}$)".contains(c))
        })
    })
}

fn imports_tauri(path: &str, line: &str) -> bool {
    path.starts_with("ui/src/")
        && !TAURI_IMPORTERS.contains(&path)
        && ['"', '\'', '`']
            .iter()
            .any(|quote| line.contains(&format!("{quote}@tauri-apps")))
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    fn lines(count: usize) -> String {
        "x\n".repeat(count)
    }

    fn places(path: &str, text: &str) -> Vec<String> {
        check(path, text)
            .into_iter()
            .map(|finding| finding.place)
            .collect()
    }

    #[test]
    fn sizes_warn_then_fail() {
        assert_eq!(check("a/b.rs", &lines(500)), []);
        assert_eq!(check("a/b.rs", &lines(501))[0].severity, Severity::Warning);
        assert_eq!(check("a/b.ts", &lines(800))[0].severity, Severity::Warning);
        assert_eq!(check("a/b.css", &lines(801))[0].severity, Severity::Error);
        assert_eq!(check("docs/long.md", &lines(5_000)), []);
    }

    #[test]
    fn views_are_short() {
        assert_eq!(check("ui/src/views/Call.svelte", &lines(150)), []);
        let found = check("ui/src/views/Call.svelte", &lines(151));
        assert_eq!(found[0].severity, Severity::Error);
        assert_eq!(check("ui/src/App.svelte", &lines(151)), []);
    }

    #[test]
    fn an_open_end_needs_an_issue() {
        let word = OPEN_ENDS[0];
        assert_eq!(places("a.rs", &format!("\n// {word}: later\n")), ["a.rs:2"]);
        assert_eq!(places("a.ts", &format!("// {word}(someone)")), ["a.ts:1"]);
        assert_eq!(places("a.md", OPEN_ENDS[1]), ["a.md:1"]);
        assert_eq!(
            places("a.rs", &format!("// {word}(#12): later")),
            Vec::<String>::new()
        );
        assert_eq!(
            places("a.rs", &format!("f(\"{word}\")")),
            Vec::<String>::new()
        );
        assert_eq!(places("a.ts", &format!("X{word}S")), Vec::<String>::new());
    }

    #[test]
    fn paths_of_one_machine_fail() {
        for directory in PRIVATE_DIRECTORIES {
            let text = format!("ok\nlet p = \"/{directory}/me/x\";");
            assert_eq!(places("a.rs", &text), ["a.rs:2"]);
        }
        let elsewhere = format!(
            "https://example.org/{0}/ ./{0}/ a/{0}/b",
            PRIVATE_DIRECTORIES[3]
        );
        assert_eq!(places("a.md", &elsewhere), Vec::<String>::new());
    }

    #[test]
    fn tauri_has_one_door() {
        let import = "import { invoke } from \"@tauri-apps/api/core\";";
        assert_eq!(
            places("ui/src/state/reduce.ts", import),
            ["ui/src/state/reduce.ts:1"]
        );
        assert_eq!(
            places(
                "ui/src/views/Home.svelte",
                "await import('@tauri-apps/api')"
            ),
            ["ui/src/views/Home.svelte:1"]
        );
        assert_eq!(
            places("ui/src/backend/tauri.ts", import),
            Vec::<String>::new()
        );
        assert_eq!(
            places("ui/package.json", "\"@tauri-apps/api\": \"^2\""),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_tools_write_is_theirs() {
        assert_eq!(check("Cargo.lock", &format!("// {}\n", OPEN_ENDS[0])), []);
    }
}
