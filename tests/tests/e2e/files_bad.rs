//! Files that cannot be received or sent: both sides say why, and the call does not notice.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use call_lab::link::Plan;
use call_lab::network::PathConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use visavis_tests::support::headless::{Lines, Server, code_of};
use visavis_tests::support::link::connect;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::network::Namespace;
use visavis_tests::support::real_time;
use visavis_tests::support::transfer::{Member, ended, linked, make_file, offer, until_done};

const MIB: u64 = 1 << 20;
/// What members show each other, so that a call can be hurt.
const MEDIA: [&str; 4] = ["--video", "pattern:320x180@15", "--audio", "tone:440"];
/// Of 15 pictures a second, in a second in which nothing is wrong.
const LEAST_FPS: f64 = 10.0;

/// A file system of its own in memory; unmounted with this value.
struct Mounted {
    directory: TempDir,
}

impl Mounted {
    /// `None`, said aloud, where one may not mount.
    fn new(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(directory.path())
            .output();
        if !mount.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: one may not mount here");
            return None;
        }
        Some(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is left behind is a directory in memory.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
    }
}

/// Two members in a call.
struct Call {
    ann: Lines,
    bo: Lines,
    _server: Server,
}

/// The other's picture in figures, in frames per second.
fn fps(stats: &Value) -> f64 {
    stats["members"][0]["video"]["fps"].as_f64().unwrap_or(0.0)
}

impl Call {
    /// `inbox` is the folder of the second, who is behind a link if one is laid.
    fn start(inbox: &Path, behind: Option<&Namespace>) -> Self {
        let server = Server::start_with(&["--http", "0.0.0.0:0", "--media", "0.0.0.0:0"]);
        let (_, port) = server.address.rsplit_once(':').expect("it has a port");
        let near = format!("ws://127.0.0.1:{port}");
        let far = format!("ws://10.80.0.1:{port}");
        let ann = Member {
            server: &near,
            name: "Ann",
            further: &MEDIA,
            ..Member::default()
        };
        let mut ann = ann.start();
        let code = code_of(&mut ann);
        let bo = Member {
            namespace: behind,
            server: if behind.is_some() { &far } else { &near },
            code: Some(&code),
            name: "Bo",
            accept: Some(inbox),
            further: &MEDIA,
        };
        let mut bo = bo.start();
        for lines in [&mut ann, &mut bo] {
            linked(lines, 1);
            lines.event("first_frame");
            // The second in which pictures begin is not a whole one.
            lines.until("pictures at their rate", |line| {
                line["event"] == "stats" && fps(line) > LEAST_FPS
            });
        }
        Self {
            ann,
            bo,
            _server: server,
        }
    }

    /// Both ends said that it failed, and why.
    fn both_failed(&mut self, code: &str) {
        for (lines, outgoing) in [(&mut self.ann, true), (&mut self.bo, false)] {
            let end = ended(lines);
            println!("{end}");
            assert_eq!(end["state"], "failed", "{end}");
            assert_eq!(end["code"], code, "{end}");
            assert_eq!(end["outgoing"], outgoing, "{end}");
        }
    }

    /// Pictures and sound go on as if nothing had been.
    fn goes_on(mut self) {
        for lines in [&mut self.ann, &mut self.bo] {
            let from = lines.seen.len();
            lines.watch(Duration::from_secs(3));
            let stats: Vec<&Value> = lines.seen[from..]
                .iter()
                .filter(|line| line["event"] == "stats")
                .collect();
            assert!(stats.len() >= 2, "figures go on");
            for line in stats {
                assert!(fps(line) > LEAST_FPS, "the picture goes on: {line}");
                let concealed = line["members"][0]["audio"]["concealed_ratio"].as_f64();
                assert!(concealed.is_some_and(|ratio| ratio < 0.05), "{line}");
            }
        }
        for lines in [self.ann, self.bo] {
            assert_eq!(lines.terminate().code, Some(0));
        }
    }
}

fn film(bytes: u64) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("film.bin");
    make_file(&file, bytes);
    (directory, file)
}

/// What is not wanted lies nowhere.
fn assert_nothing_arrived(folder: &Path) {
    let named = folder.join("film.bin");
    assert!(!named.exists(), "{}", named.display());
}

#[test]
fn a_full_disk_is_told_to_both() {
    let _machine = real_time();
    let Some(disk) = Mounted::new("size=8m") else {
        return;
    };
    let (_goods, file) = film(40 * MIB);
    let mut call = Call::start(disk.path(), None);
    offer(&mut call.ann, None, &[&file]);
    call.both_failed("disk_full");
    assert_nothing_arrived(disk.path());
    call.goes_on();
}

#[test]
fn a_folder_that_cannot_be_written_is_told_to_both() {
    let _machine = real_time();
    // Root may write where permissions say otherwise, but not here.
    let Some(disk) = Mounted::new("ro") else {
        return;
    };
    let (_goods, file) = film(MIB);
    let mut call = Call::start(disk.path(), None);
    offer(&mut call.ann, None, &[&file]);
    call.both_failed("file_denied");
    assert_nothing_arrived(disk.path());
    call.goes_on();
}

/// A call over 50 Mbit/s, so that there is time to disturb a transfer.
fn slow_call(test: &str, scenario: impl FnOnce(Call, &Path)) {
    run_in_own_network(test, || {
        let _machine = real_time();
        let Some(behind) = Namespace::new() else {
            eprintln!("SKIPPED: no network namespaces here");
            return;
        };
        let path = PathConfig {
            delay: Duration::from_millis(5),
            rate_bps: Some(50_000_000),
            queue_bytes: 312_500,
            ..PathConfig::default()
        };
        let plan = Plan::constant(path, 1);
        let link = connect(&behind, "far", "10.80.0.1/24", "10.80.0.2/24", plan);
        let Some(_link) = link else {
            return;
        };
        let inbox = tempfile::tempdir().expect("a temporary directory can be made");
        scenario(Call::start(inbox.path(), Some(&behind)), inbox.path());
    });
}

#[test]
fn a_file_that_changes_on_its_way_is_told_to_both() {
    let test = "files_bad::a_file_that_changes_on_its_way_is_told_to_both";
    slow_call(test, |mut call, inbox| {
        let (_goods, file) = film(64 * MIB);
        offer(&mut call.ann, None, &[&file]);
        until_done(&mut call.bo, 4 * MIB);
        let mut open = File::options()
            .write(true)
            .open(&file)
            .expect("it is there");
        open.seek(SeekFrom::Start(60 * MIB)).expect("it is as long");
        open.write_all(b"another ending")
            .expect("it can be written");
        drop(open);
        call.both_failed("file_changed");
        assert_nothing_arrived(inbox);
        call.goes_on();
    });
}

#[test]
fn a_receiver_who_cancels_is_told_to_the_sender() {
    let test = "files_bad::a_receiver_who_cancels_is_told_to_the_sender";
    slow_call(test, |mut call, inbox| {
        let (_goods, file) = film(64 * MIB);
        offer(&mut call.ann, None, &[&file]);
        let told = call.bo.event("file_offer");
        until_done(&mut call.bo, 4 * MIB);
        call.bo.say(&json!({
            "type": "cancel_transfer", "offer": told["offer"], "member": told["from"],
        }));
        for (lines, by_me) in [(&mut call.bo, true), (&mut call.ann, false)] {
            let end = ended(lines);
            assert_eq!(
                (&end["state"], &end["by_me"]),
                (&"cancelled".into(), &by_me.into()),
                "{end}"
            );
        }
        assert_nothing_arrived(inbox);
        call.goes_on();
    });
}

#[test]
fn a_receiver_who_leaves_can_come_back_for_the_rest() {
    let test = "files_bad::a_receiver_who_leaves_can_come_back_for_the_rest";
    slow_call(test, |mut call, inbox| {
        let (_goods, file) = film(24 * MIB);
        offer(&mut call.ann, None, &[&file]);
        until_done(&mut call.bo, 4 * MIB);
        let from = call.ann.seen.len();
        assert_eq!(call.bo.terminate().code, Some(0));
        call.ann
            .until_from(from, "that he left", |line| line["event"] == "member_left");
        // No end: the offer stands for who comes back.
        call.ann.watch(Duration::from_secs(2));
        let mut seen = call.ann.seen.iter();
        assert!(!seen.any(|line| line["event"] == "transfer"));
        assert_nothing_arrived(inbox);
        let left_over = fs::read_dir(inbox).expect("it can be read").count();
        assert!(left_over > 0, "what arrived is kept");
        assert_eq!(call.ann.terminate().code, Some(0));
    });
}
