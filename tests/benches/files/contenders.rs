//! Who is compared: two processes each, told what to do by lines, that move bytes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use visavis_tests::support::chromium;
use visavis_tests::support::headless::Lines;
use visavis_tests::support::network::Place;
use visavis_tests::support::transfer::{Room, make_file, meet_between};
use visavis_tests::support::usage::{PeakMemory, family_cpu_seconds};

use crate::report::Cost;

/// Nobody takes this long for anything but the slowest gibibyte.
const PATIENCE: Duration = Duration::from_secs(300);
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/files/peers/peer.mjs");

/// See the [module documentation](self).
pub(crate) enum Contender {
    /// Two of our clients: from disk to disk, encrypted twice, hashed.
    Visavis,
    /// Two processes of `peers/peer.mjs`: from memory to nowhere.
    Peer {
        kind: &'static str,
        /// Of its messages: the faster of 64 and 256 KiB on loopback.
        message_bytes: u32,
        environment: Vec<(&'static str, PathBuf)>,
    },
}

/// Everybody who can run here, ours first.
pub(crate) fn present() -> Vec<Contender> {
    let mut all = vec![Contender::Visavis];
    if let Some(packages) = std::env::var_os("PEER_PACKAGES").map(PathBuf::from) {
        for (kind, message_bytes) in [("wrtc", 65_536), ("node-datachannel", 262_144)] {
            all.push(Contender::Peer {
                kind,
                message_bytes,
                environment: vec![("PEER_PACKAGES", packages.clone())],
            });
        }
    } else {
        eprintln!("no npm packages: PEER_PACKAGES is not set");
    }
    if let Some(program) = chromium::find() {
        all.push(Contender::Peer {
            kind: "chromium",
            message_bytes: 262_144,
            environment: vec![("CHROMIUM", program)],
        });
    } else {
        eprintln!("no Chromium here");
    }
    all
}

impl Contender {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Visavis => "visavis",
            Self::Peer { kind, .. } => kind,
        }
    }

    /// Moves this much over loopback.
    pub(crate) fn move_all(&self, bytes: u64) -> Cost {
        let mut pair = self.connect(None, bytes);
        let pids = [pair.sender.pid(), pair.receiver.pid()];
        let cpu = pids.map(family_cpu_seconds);
        let memory = pids.map(PeakMemory::watch);
        let started = Instant::now();
        pair.go();
        while !pair.is_done() {
            assert!(started.elapsed() < PATIENCE, "{}: stuck", self.name());
            pair.receiver.watch(Duration::from_millis(20));
        }
        let seconds = started.elapsed().as_secs_f64();
        let used = pids.map(family_cpu_seconds);
        Cost {
            bytes,
            seconds,
            cpu_seconds: [used[0] - cpu[0], used[1] - cpu[1]],
            memory_bytes: memory.map(PeakMemory::above_start_bytes),
        }
    }

    /// Goodput between two places: of what the receiver had after `warm_up` (counted from the first
    /// it got) and `measured` later.
    pub(crate) fn rate_bps(
        &self,
        places: &[Place<'_>; 2],
        bytes: u64,
        warm_up: Duration,
        measured: Duration,
    ) -> f64 {
        let mut pair = self.connect(Some(places), bytes);
        pair.go();
        let started = Instant::now();
        loop {
            pair.receiver.watch(Duration::from_millis(100));
            let progress = pair.progress();
            let from = progress.first().map_or(0.0, |first| first.0) + warm_up.as_secs_f64();
            let to = from + measured.as_secs_f64();
            let has_come = progress.last().is_some_and(|last| last.0 >= to);
            // Who stalls for good still has a rate.
            let is_over = started.elapsed() > (warm_up + measured) * 2;
            if has_come || is_over {
                let moved = bytes_at(&progress, to) - bytes_at(&progress, from);
                return moved * 8.0 / measured.as_secs_f64();
            }
        }
    }

    /// Two ends that are connected and have moved nothing.
    fn connect(&self, places: Option<&[Place<'_>; 2]>, bytes: u64) -> Pair {
        match self {
            Self::Visavis => connect_ours(places, bytes),
            Self::Peer {
                kind,
                message_bytes,
                environment,
            } => {
                let start = |at: usize| {
                    let namespace = places.map(|places| places[at].namespace);
                    let node = Path::new("node");
                    let mut end =
                        Lines::start_commanded(namespace, node, &[PEER, kind], environment);
                    wait_for(&mut end, "ready");
                    end
                };
                let (mut sender, mut receiver) = (start(0), start(1));
                receiver.say(&json!({ "type": "receive", "bytes": bytes }));
                sender.say(&json!({ "type": "send" }));
                receiver.say(&wait_for(&mut sender, "description"));
                sender.say(&wait_for(&mut receiver, "description"));
                wait_for(&mut sender, "open");
                Pair {
                    sender,
                    receiver,
                    go: json!({ "type": "go", "message_bytes": message_bytes, "bytes": bytes }),
                    is_ours: false,
                    _rest: None,
                }
            }
        }
    }
}

/// Two connected ends.
struct Pair {
    sender: Lines,
    receiver: Lines,
    /// What starts the transfer.
    go: Value,
    is_ours: bool,
    /// What must outlive them.
    _rest: Option<(Lines, TempDir)>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A peer takes along what it has started; ours are killed by their own values.
        if !self.is_ours {
            for end in [&mut self.sender, &mut self.receiver] {
                end.end_input(Duration::from_secs(5));
            }
        }
    }
}

impl Pair {
    fn go(&mut self) {
        self.sender.say(&self.go);
    }

    /// When (seconds of the receiver's clock) it had how many bytes.
    fn progress(&self) -> Vec<(f64, u64)> {
        let seconds = |line: &Value| Some(line["at_ms"].as_f64()? / 1e3);
        let figure = |line: &Value| {
            let bytes = if self.is_ours {
                (line["event"] == "file_progress").then(|| &line["done"])
            } else {
                (line["type"] == "received").then(|| &line["bytes"])
            };
            Some((seconds(line)?, bytes?.as_u64()?))
        };
        self.receiver.seen.iter().filter_map(figure).collect()
    }

    /// Whether the receiver has everything; ours also in its place.
    fn is_done(&self) -> bool {
        let is_ours = self.is_ours;
        self.receiver.seen.iter().any(|line| {
            if is_ours {
                line["event"] == "file_done"
            } else {
                line["done"] == true
            }
        })
    }
}

fn wait_for(lines: &mut Lines, kind: &str) -> Value {
    lines.until(kind, |line| line["type"] == kind)
}

/// Bytes at a time, between two reports in proportion.
fn bytes_at(progress: &[(f64, u64)], at: f64) -> f64 {
    let after = progress.partition_point(|(time, _)| *time < at);
    match (
        after.checked_sub(1).map(|before| progress[before]),
        progress.get(after),
    ) {
        (Some((from, low)), Some((to, high))) => {
            let share = (at - from) / (to - from).max(1e-9);
            low as f64 + (*high - low) as f64 * share
        }
        (Some((_, low)), None) => low as f64,
        (None, _) => 0.0,
    }
}

/// A room of two in a mesh, with the file to send already there.
fn connect_ours(places: Option<&[Place<'_>; 2]>, bytes: u64) -> Pair {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("file.bin");
    make_file(&file, bytes);
    let folder = directory.path().join("arrived");
    std::fs::create_dir(&folder).expect("a directory can be made");
    let folder = folder.to_str().expect("test paths are text");
    let Room { ann, bo, server } = meet_between(places, &[], &["--accept-files", folder]);
    Pair {
        sender: ann,
        receiver: bo,
        go: json!({ "type": "offer_files", "to": null, "paths": [file] }),
        is_ours: true,
        _rest: Some((server, directory)),
    }
}
