//! What is checked here is stated anew, by what the systems say of themselves, so that a mistake in
//! the rules is not repeated.

use call_protocol::channel::file::Digest;

use super::*;

/// One JSON string a line.
const HOSTILE: &str = include_str!("../../tests/hostile_names.txt");

fn hostile() -> Vec<String> {
    let lines = HOSTILE.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn assert_safe(part: &str) {
    // Linux and macOS, and what both separate by.
    assert!(
        !part.is_empty() && part != "." && part != ".." && part.len() <= 255,
        "{part:?}"
    );
    assert!(!part.contains(['/', '\\', '\0']), "{part:?}");
    // Windows: "Naming Files, Paths, and Namespaces", and streams.
    assert!(
        !part.contains(['<', '>', ':', '"', '|', '?', '*']),
        "{part:?}"
    );
    assert!(
        part.chars()
            .all(|c| u32::from(c) >= 32 && u32::from(c) != 127),
        "{part:?}"
    );
    assert!(
        !part.ends_with(['.', ' ']) && part.encode_utf16().count() <= 255,
        "{part:?}"
    );
    let upper = part.to_uppercase();
    let stem = upper.split('.').next().unwrap().trim_end();
    let numbered = ["COM", "LPT"].iter().any(|device| {
        let number = stem.strip_prefix(device).unwrap_or_default();
        number.chars().count() == 1 && "0123456789\u{b9}\u{b2}\u{b3}".contains(number)
    });
    let named = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"].contains(&stem);
    assert!(!numbered && !named, "{part:?}");
    // Shells and people.
    assert!(!part.starts_with(['-', '.', ' ']), "{part:?}");
    let invisible = "\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\
        \u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}\
        \u{115f}\u{1160}\u{3164}\u{ffa0}\u{fffe}\u{ffff}";
    assert!(
        !part
            .chars()
            .any(|c| invisible.contains(c) || c.is_control()),
        "{part:?}"
    );
    assert!(
        part.chars().all(|c| c == ' ' || !c.is_whitespace()),
        "{part:?}"
    );
    assert!(unicode_normalization::is_nfc(part), "{part:?}");
}

#[test]
fn no_name_of_the_corpus_escapes() {
    let all = hostile();
    assert!(all.len() >= 300, "{}", all.len());
    for offered in &all {
        let parts = components(offered);
        assert!((1..=DEPTH).contains(&parts.len()), "{offered:?}");
        for part in &parts {
            assert_safe(part);
            assert!(part.len() <= COMPONENT_BYTES, "{offered:?}");
            assert_eq!(
                components(part),
                std::slice::from_ref(part),
                "{offered:?} is not stable"
            );
        }
        // Below a folder it stays, whichever system reads it.
        let path = std::path::Path::new("/downloads").join(parts.join("/"));
        let is_normal =
            |it: std::path::Component<'_>| matches!(it, std::path::Component::Normal(_));
        let below = path.strip_prefix("/downloads").unwrap();
        assert!(below.components().all(is_normal) && below.components().count() == parts.len());
    }
}

#[test]
fn all_of_the_corpus_together_is_told_apart() {
    let digest = Digest([0; 32]);
    let entry = |path: String| FileEntry {
        path,
        size_bytes: 0,
        root: digest,
    };
    let mut offered = hostile();
    offered.extend(hostile().iter().map(|name| name.to_uppercase()));
    let files: Vec<_> = offered.into_iter().map(entry).collect();
    let placed = offer_components(&files);
    let mut seen = BTreeSet::new();
    for parts in &placed {
        parts.iter().for_each(|part| assert_safe(part));
        let key = parts.join("/").to_uppercase().to_lowercase();
        assert!(seen.insert(key), "{parts:?} twice");
    }
    for parts in &placed {
        for above in 1..parts.len() {
            let key = parts[..above].join("/").to_uppercase().to_lowercase();
            assert!(!seen.contains(&key), "{key} is a file and a folder");
        }
    }
    assert_eq!(placed, offer_components(&files));
}

#[test]
fn ordinary_names_stay_as_they_are() {
    let names = [
        "photo.jpg",
        "Über uns.pdf",
        "über/straße/日本語.txt",
        "a/b/c.tar.gz",
        "no extension",
        "😀.png",
        "a (2).txt",
        "concert.mp3",
        "com.example.app",
        "lpt.txt",
        "a-b_c~d#e%f&g'h(i)+,;=@[j]{k}!.x",
    ];
    for name in names {
        assert_eq!(components(name).join("/"), name);
    }
}

#[test]
fn each_rule_shows() {
    let cases = [
        ("../../etc/passwd", "etc/passwd"),
        ("C:\\Users\\x\\a.txt", "Users/x/a.txt"),
        ("\\\\server\\share\\a", "server/share/a"),
        ("ann\u{202e}txt.exe", "anntxt.exe"),
        ("a:b?.txt", "a_b_.txt"),
        ("con.txt", "_con.txt"),
        ("COM¹ .log", "_COM¹ .log"),
        ("conin$", "_conin$"),
        (".bashrc", "_bashrc"),
        ("--help", "_help"),
        ("a. . ", "a"),
        (" . ", "file"),
        ("", "file"),
        ("a//./b", "a/b"),
        ("..", "file"),
        ("e\u{301}.txt", "é.txt"),
        (
            "x.{21EC2020-3AEA-1069-A2DD-08002B30309D}",
            "x._21EC2020-3AEA-1069-A2DD-08002B30309D}",
        ),
        ("a\u{a0}b\u{3000}c", "a b c"),
    ];
    for (offered, want) in cases {
        assert_eq!(components(offered).join("/"), want, "{offered:?}");
    }
    let long = components(&format!("{}.jpeg", "é".repeat(300)));
    assert!(long[0].ends_with("é.jpeg") && long[0].len() > COMPONENT_BYTES - 2);
    let long = components(&format!("a.{}", "b".repeat(300)));
    assert_eq!(long[0].len(), COMPONENT_BYTES);
}

#[test]
fn equal_names_of_one_offer_are_numbered() {
    let offered = [
        "a.txt", "A.TXT", "a.txt", "b", "b/c", "B/d", "c/x", "c", "x:y", "x?y", "ß", "SS",
    ];
    let want = [
        "a.txt",
        "A (2).TXT",
        "a (3).txt",
        "b",
        "b (2)/c",
        "B (2)/d",
        "c/x",
        "c (2)",
        "x_y",
        "x_y (2)",
        "ß",
        "SS (2)",
    ];
    let entry = |path: &&str| FileEntry {
        path: (*path).to_owned(),
        size_bytes: 0,
        root: Digest([0; 32]),
    };
    let files: Vec<_> = offered.iter().map(entry).collect();
    let placed = offer_components(&files)
        .into_iter()
        .map(|parts| parts.join("/"));
    assert_eq!(placed.collect::<Vec<_>>(), want);
}
