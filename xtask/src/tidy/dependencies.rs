//! Who may depend on whom inside the workspace, and who may name which third-party stack.
//!
//! Direct dependencies come from `cargo metadata --no-deps`, of every kind (normal, build,
//! dev), optional and platform-specific ones included: what is declared can be named.

use serde_json::Value;

use super::Finding;

/// Each workspace crate and the workspace crates it may depend on.
const EDGES: [(&str, &[&str]); 12] = [
    ("call-protocol", &[]),
    ("call-e2ee", &["call-protocol"]),
    ("call-core", &["call-protocol", "call-e2ee"]),
    ("call-room", &["call-protocol"]),
    ("call-media", &["call-protocol"]),
    ("call-transport", &["call-protocol"]),
    (
        "call-client",
        &[
            "call-protocol",
            "call-core",
            "call-e2ee",
            "call-media",
            "call-transport",
        ],
    ),
    ("call-server", &["call-protocol", "call-room"]),
    ("visavis", &["call-protocol", "call-client", "call-server"]),
    (
        "call-lab",
        &[
            "call-protocol",
            "call-core",
            "call-room",
            "call-e2ee",
            "call-media",
        ],
    ),
    (
        "visavis-tests",
        &[
            "call-protocol",
            "call-e2ee",
            "call-core",
            "call-room",
            "call-media",
            "call-transport",
            "call-client",
            "call-server",
            "visavis",
            "call-lab",
        ],
    ),
    ("xtask", &[]),
];

/// The laboratory: any crate's tests may use it, nothing that ships may.
const LABORATORY: &str = "call-lab";

/// What only tests may use: the laboratory anywhere, and the server's pure rules by the client's
/// pure session, so that its scenarios run against the real rooms.
fn is_test_only(member: &str, on: &str) -> bool {
    on == LABORATORY || (member == "call-core" && on == "call-room")
}

/// Beginnings of third-party crate names and the workspace crates that may depend on them.
const OWNERS: [(&[&str], &[&str]); 3] = [
    (
        &["webrtc", "rtc", "rtc-", "str0m"],
        &["call-transport", "call-server"],
    ),
    (
        &[
            "nokhwa",
            "cpal",
            "opus",
            "audiopus",
            "vpx",
            "env-libvpx",
            "libvpx",
            "openh264",
            "v4l",
        ],
        &["call-media"],
    ),
    (&["tauri", "wry", "tao"], &["visavis"]),
];

/// Crates that a pure crate may not declare: chance and threads from outside.
const NOT_DECLARED_BY_PURE: [&str; 6] = [
    "rand",
    "getrandom",
    "fastrand",
    "rayon",
    "crossbeam-channel",
    "parking_lot",
];

/// Crates that a pure crate may not reach at any depth: runtimes, sockets, devices.
const NOT_REACHED_BY_PURE: [&str; 14] = [
    "tokio",
    "mio",
    "socket2",
    "async-std",
    "async-io",
    "smol",
    "polling",
    "hyper",
    "webrtc",
    "rtc",
    "str0m",
    "nokhwa",
    "cpal",
    "tauri",
];

/// Checks every declared dependency of every workspace crate.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().map_or(&[][..], |p| p);
    let members: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = EDGES.iter().find(|(member, _)| *member == name) else {
            findings.push(Finding::error(
                name,
                "is not in the table of allowed dependencies",
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let dev = dependency["kind"] == "dev";
            let problem = if members.contains(&on) {
                let permitted = allowed.contains(&on) || (dev && is_test_only(name, on));
                (!permitted).then(|| format!("must not depend on {on}"))
            } else {
                outside(name, on, dev)
            };
            findings.extend(problem.map(|message| Finding::error(name, message)));
        }
    }
    findings
}

fn outside(name: &str, on: &str, dev: bool) -> Option<String> {
    if !dev && super::pure::CRATES.contains(&name) && NOT_DECLARED_BY_PURE.contains(&on) {
        return Some(format!("is pure and must not depend on {on}"));
    }
    let (_, owners) = OWNERS
        .iter()
        .find(|(prefixes, _)| prefixes.iter().any(|prefix| belongs(on, prefix)))?;
    (!owners.contains(&name)).then(|| format!("must not use {on}: only {} may", owners.join(", ")))
}

/// Whether `name` is the crate `family` or one of its satellites (`family-x`, `family_x`,
/// `family2`), and not one that merely begins alike (`taos` is not `tao`).
fn belongs(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| {
        !rest.starts_with(|c: char| c.is_ascii_alphabetic()) || family.ends_with('-')
    })
}

/// Checks what a pure crate reaches at any depth; `tree` has one `crate vX.Y.Z` a line.
pub(super) fn check_pure_tree(name: &str, tree: &str) -> Vec<Finding> {
    let mut reached: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|on| NOT_REACHED_BY_PURE.contains(on))
        .collect();
    reached.sort_unstable();
    reached.dedup();
    reached
        .into_iter()
        .map(|on| Finding::error(name, format!("is pure but reaches {on}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(packages: &Value) -> Vec<String> {
        check(&json!({ "packages": packages }))
            .into_iter()
            .map(|finding| format!("{} {}", finding.place, finding.message))
            .collect()
    }

    fn dependency(name: &str, kind: Option<&str>) -> Value {
        json!({ "name": name, "kind": kind })
    }

    #[test]
    fn allowed_edges_pass() {
        let packages = json!([
            { "name": "call-protocol", "dependencies": [dependency("serde", None)] },
            { "name": "call-e2ee", "dependencies": [dependency("call-protocol", None)] },
            { "name": "call-core", "dependencies": [
                dependency("call-e2ee", None), dependency("call-lab", Some("dev"))] },
            { "name": "call-lab", "dependencies": [dependency("call-core", None)] },
            { "name": "call-transport", "dependencies": [dependency("webrtc", None)] },
            { "name": "visavis", "dependencies": [dependency("tauri-build", Some("build"))] },
        ]);
        assert_eq!(messages(&packages), Vec::<String>::new());
    }

    #[test]
    fn forbidden_edges_fail_whatever_their_kind() {
        for kind in [None, Some("dev"), Some("build")] {
            let packages = json!([
                { "name": "call-e2ee", "dependencies": [] },
                { "name": "call-server", "dependencies": [dependency("call-e2ee", kind)] },
            ]);
            assert_eq!(
                messages(&packages),
                ["call-server must not depend on call-e2ee"]
            );
        }
    }

    #[test]
    fn the_laboratory_does_not_ship() {
        let packages = json!([
            { "name": "call-lab", "dependencies": [] },
            { "name": "call-client", "dependencies": [dependency("call-lab", None)] },
        ]);
        assert_eq!(
            messages(&packages),
            ["call-client must not depend on call-lab"]
        );
    }

    #[test]
    fn an_unknown_member_fails() {
        let packages = json!([{ "name": "call-extra", "dependencies": [] }]);
        assert_eq!(
            messages(&packages),
            ["call-extra is not in the table of allowed dependencies"]
        );
    }

    #[test]
    fn stacks_have_owners() {
        for (name, on) in [
            ("call-client", "webrtc"),
            ("call-media", "rtc-rtp"),
            ("call-room", "str0m"),
            ("call-client", "cpal"),
            ("call-lab", "openh264"),
            ("visavis-tests", "vpx-rs"),
            ("call-client", "tauri-plugin-deep-link"),
        ] {
            let packages = json!([{ "name": name, "dependencies": [dependency(on, None)] }]);
            let found = messages(&packages);
            assert_eq!(found.len(), 1, "{name} -> {on}");
            assert!(found[0].contains(on), "{found:?}");
        }
    }

    #[test]
    fn satellites_belong_and_lookalikes_do_not() {
        assert!(belongs("webrtc-ice", "webrtc"));
        assert!(belongs("openh264-sys2", "openh264"));
        assert!(belongs("rtc-srtp", "rtc-"));
        assert!(!belongs("taos", "tao"));
        assert!(!belongs("opusfile", "opus"));
    }

    #[test]
    fn pure_crates_declare_no_chance_outside_their_tests() {
        let packages = json!([{ "name": "call-e2ee", "dependencies": [
            dependency("getrandom", None), dependency("rand", Some("dev"))] }]);
        assert_eq!(
            messages(&packages),
            ["call-e2ee is pure and must not depend on getrandom"]
        );
    }

    #[test]
    fn a_runtime_is_found_at_any_depth() {
        let tree =
            "call-core v0.1.0 (/x)\nserde v1.0.0\nmio v1.0.0\ntokio v1.54.0\ntokio v1.54.0\n";
        let found = check_pure_tree("call-core", tree);
        assert_eq!(
            found,
            [
                Finding::error("call-core", "is pure but reaches mio"),
                Finding::error("call-core", "is pure but reaches tokio"),
            ]
        );
        assert!(check_pure_tree("call-core", "serde v1.0.0\ntokio-like v1.0.0\n").is_empty());
    }
}
