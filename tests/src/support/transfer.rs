//! Members who send each other files, and what they send.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use call_lab::link::Plan;
use call_lab::random::Random;
use call_lab::tun::TunLink;
use serde_json::{Value, json};

use super::headless::{Lines, Server, code_of};
use super::link::connect;
use super::network::{Namespace, Place};
use super::window::binary;

/// How long a whole transfer of these tests may take.
pub const TRANSFER: Duration = Duration::from_secs(90);

/// Writes a file of bytes that differ everywhere.
///
/// # Panics
/// When it cannot be written.
pub fn make_file(path: &Path, bytes: u64) {
    let mut random = Random::new(bytes);
    let mut file = File::create(path).expect("a file can be made");
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(block.len() as u64) as usize;
        random.fill(&mut block[..length]);
        file.write_all(&block[..length])
            .expect("a file can be written");
        left -= length as u64;
    }
}

/// BLAKE3 of a file, in hex.
///
/// # Panics
/// When it cannot be read.
pub fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    hasher.update_reader(file).expect("a file can be read");
    hasher.finalize().to_hex().to_string()
}

/// A member as the tests of files start them.
#[derive(Clone, Copy, Default)]
pub struct Member<'a> {
    /// Where it runs; `None` is the test's own namespace.
    pub namespace: Option<&'a Namespace>,
    /// `ws://…`.
    pub server: &'a str,
    /// Without one, opens a room.
    pub code: Option<&'a str>,
    /// Display name.
    pub name: &'a str,
    /// Accepts every offer into this folder.
    pub accept: Option<&'a Path>,
    /// Further arguments.
    pub further: &'a [&'a str],
}

impl Member<'_> {
    /// Starts it; it takes commands.
    ///
    /// # Panics
    /// When the client is not built.
    pub fn start(&self) -> Lines {
        let mut args = vec!["--server", self.server, "--name", self.name, "--commands"];
        match self.code {
            Some(code) => args.extend(["--code", code]),
            None => args.push("--create"),
        }
        let folder = self.accept.map(text_of);
        if let Some(folder) = folder {
            args.extend(["--accept-files", folder]);
        }
        args.extend(self.further);
        Lines::start_commanded(self.namespace, &binary("visavis-headless"), &args, &[])
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Waits until a member has a link to this many others, or to the SFU.
///
/// # Panics
/// When it does not within the usual patience.
pub fn linked(lines: &mut Lines, others: usize) {
    for _ in 0..others {
        let so_far: Vec<Value> = members_linked(lines);
        if so_far.len() >= others || so_far.iter().any(|member| member == "sfu") {
            return;
        }
        let known = so_far.len();
        lines.until("a link", |line| {
            line["event"] == "link"
                && line["state"] == "connected"
                && (known == 0 || !so_far.contains(&line["member"]))
        });
    }
}

fn members_linked(lines: &Lines) -> Vec<Value> {
    let mut last: BTreeMap<String, (Value, bool)> = BTreeMap::new();
    for line in lines.seen.iter().filter(|line| line["event"] == "link") {
        let is_up = line["state"] == "connected";
        last.insert(line["member"].to_string(), (line["member"].clone(), is_up));
    }
    let up = last.into_values().filter(|(_, is_up)| *is_up);
    up.map(|(member, _)| member).collect()
}

/// Offers files and folders, to everybody or one member.
pub fn offer(sender: &mut Lines, to: Option<&Value>, paths: &[&Path]) {
    let paths: Vec<&str> = paths.iter().map(|path| text_of(path)).collect();
    sender.say(&json!({ "type": "offer_files", "to": to, "paths": paths }));
}

/// The first line, past or future but for the first `skipped`, that `matches`, where a transfer is
/// waited for.
///
/// # Panics
/// When none comes within [`TRANSFER`].
pub fn until_moved(
    lines: &mut Lines,
    skipped: usize,
    what: &str,
    matches: impl Fn(&Value) -> bool,
) -> Value {
    let deadline = Instant::now() + TRANSFER;
    loop {
        if let Some(line) = lines.seen.iter().skip(skipped).find(|line| matches(line)) {
            return line.clone();
        }
        if Instant::now() >= deadline {
            let told = lines.seen.iter().filter(|line| line["event"] != "stats");
            let told: Vec<String> = told.map(Value::to_string).collect();
            let last = told.len().saturating_sub(40);
            panic!(
                "no {what} within {TRANSFER:?}; at last: {:#?}",
                &told[last..]
            );
        }
        lines.watch(Duration::from_millis(50));
    }
}

/// Waits until a transfer is over at this end; its `transfer` line.
///
/// # Panics
/// When it is not within [`TRANSFER`].
pub fn ended(lines: &mut Lines) -> Value {
    until_moved(lines, 0, "end of a transfer", |line| {
        line["event"] == "transfer"
    })
}

/// Waits until a receiver has had everything there is in `source` (a file or a folder) by its last
/// transfer, and checks that what lies in its folder is the same, with the hash it was told.
///
/// # Panics
/// When anything is missing or differs.
pub fn assert_arrived(receiver: &mut Lines, source: &Path) {
    let end = ended(receiver);
    assert_eq!(end["state"], "done", "{end}");
    let parent = source.parent().expect("a source lies in a directory");
    for file in files_below(source) {
        let name = text_of(file.strip_prefix(parent).expect("it was found below"));
        let done = receiver
            .seen
            .iter()
            .find(|line| line["event"] == "file_done" && line["name"] == name)
            .unwrap_or_else(|| panic!("no file_done of {name}"));
        let want = hash(&file);
        assert_eq!(done["blake3"], want, "{name}");
        let path = done["path"].as_str().expect("a path is text");
        assert_eq!(hash(Path::new(path)), want, "{path}");
    }
}

/// The regular files of a tree, or the file itself.
fn files_below(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a directory can be read");
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
        .iter()
        .flat_map(|entry| files_below(entry))
        .collect()
}

/// Bytes a transfer is at, by the newest `file_progress` of this end.
pub fn done_bytes(lines: &Lines) -> u64 {
    let mut progress = lines.seen.iter().rev();
    progress
        .find(|line| line["event"] == "file_progress")
        .and_then(|line| line["done"].as_u64())
        .unwrap_or(0)
}

/// Watches a receiver until it has `bytes` of a transfer.
///
/// # Panics
/// When it has not within [`TRANSFER`].
pub fn until_done(lines: &mut Lines, bytes: u64) {
    until_moved(lines, 0, "progress", |line| {
        line["event"] == "file_progress" && line["done"].as_u64().is_some_and(|done| done >= bytes)
    });
}

/// A call of two with a link of a test's choosing between them.
pub struct Across {
    /// The link; `there` is from Ann to Bo.
    pub link: TunLink,
    /// On the test's side, beside the server.
    pub ann: Lines,
    /// Behind the link.
    pub bo: Lines,
    _server: Server,
    _behind: Namespace,
}

impl Across {
    /// Both in a mesh, with these further arguments, once each knows the other and a picture came.
    /// `accept`: where Bo puts files. `None`, said aloud, where such links cannot be had. Must run in
    /// a network of the test's own.
    ///
    /// # Panics
    /// When the programs are not built or do not meet.
    #[expect(
        clippy::print_stderr,
        reason = "what cannot run somewhere is said aloud"
    )]
    pub fn meet(plan: Plan, media: &[&str], accept: Option<&Path>) -> Option<Self> {
        let Some(behind) = Namespace::new() else {
            eprintln!("SKIPPED: no network namespaces here");
            return None;
        };
        let link = connect(&behind, "across", "10.80.0.1/24", "10.80.0.2/24", plan)?;
        let server = Server::start_with(&["--http", "0.0.0.0:0", "--media", "0.0.0.0:0"]);
        let (_, port) = server.address.rsplit_once(':').expect("it has a port");
        let url = |host| format!("ws://{host}:{port}");
        let ann = Member {
            server: &url("127.0.0.1"),
            name: "Ann",
            further: media,
            ..Member::default()
        };
        let mut ann = ann.start();
        let code = code_of(&mut ann);
        let bo = Member {
            namespace: Some(&behind),
            server: &url("10.80.0.1"),
            code: Some(&code),
            name: "Bo",
            accept,
            further: media,
        };
        let mut bo = bo.start();
        linked(&mut ann, 1);
        bo.event("first_frame");
        Some(Self {
            link,
            ann,
            bo,
            _server: server,
            _behind: behind,
        })
    }
}

/// A room of two in a mesh.
pub struct Room {
    /// At the first place.
    pub ann: Lines,
    /// At the second.
    pub bo: Lines,
    /// Beside Ann; outlives both.
    pub server: Lines,
}

/// Two members at two places, or on this machine's loopback, once they are linked; Ann takes commands.
///
/// # Panics
/// When the programs are not built or do not meet.
pub fn meet_between(places: Option<&[Place<'_>; 2]>, ann: &[&str], bo: &[&str]) -> Room {
    let of = |at: usize| places.map(|places| places[at].namespace);
    let host = places.map_or("127.0.0.1", |places| places[0].address);
    let address = format!("{host}:0");
    let args = [
        "--http",
        &address,
        "--media",
        &address,
        "--topology",
        "mesh",
    ];
    let mut server = Lines::start_commanded(of(0), &binary("visavis-server"), &args, &[]);
    let listening = server.event("listening");
    let at = listening["http"].as_str().expect("an address is text");
    let url = format!("ws://{at}");
    let start = |at: usize, name, code, further| {
        let member = Member {
            namespace: of(at),
            server: &url,
            code,
            name,
            accept: None,
            further,
        };
        member.start()
    };
    let mut ann = start(0, "Ann", None, ann);
    let code = code_of(&mut ann);
    let mut bo = start(1, "Bo", Some(&code), bo);
    for end in [&mut ann, &mut bo] {
        linked(end, 1);
    }
    Room { ann, bo, server }
}
