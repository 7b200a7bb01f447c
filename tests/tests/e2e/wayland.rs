//! A screen that the system lets choose (Wayland): what the compositor shows is found in the pictures
//! another member decodes, and what it shows next.

use std::path::Path;
use std::time::Duration;

use call_media::video::y4m::Y4mReader;
use visavis_tests::support::headless::{Lines, MemberOptions, Server, code_of, member_with};
use visavis_tests::support::real_time;
use visavis_tests::support::wayland::Desktop;

/// Of the screen and its pictures, in pixels.
const SIZE: (u32, u32) = (960, 600);
/// Colours it takes, and what they are in BT.601: luma, U, V.
const RED: (&str, [i32; 3]) = ("c04020", [100, 88, 184]);
const BLUE: (&str, [i32; 3]) = ("2060c0", [96, 175, 91]);
/// What a lossy codec may change.
const NEAR: i32 = 6;

/// Of the recorded pictures whose every tenth pixel is of one of the colours: which, runs of the same
/// taken together.
fn colours(path: &Path) -> Vec<&'static str> {
    let mut reader = Y4mReader::open(path).expect("a screen was recorded");
    let mut seen = Vec::new();
    while let Ok(Some(picture)) = reader.read_frame() {
        assert_eq!((picture.width(), picture.height()), SIZE);
        let is = |(_, want): &(&str, [i32; 3])| {
            let planes = [picture.y(), picture.u(), picture.v()];
            planes.into_iter().zip(want).all(|(plane, want)| {
                let mut samples = plane.iter().step_by(10);
                samples.all(|sample| (i32::from(*sample) - want).abs() <= NEAR)
            })
        };
        if let Some((colour, _)) = [RED, BLUE].iter().find(|one| is(one)) {
            seen.push(*colour);
        }
    }
    seen.dedup();
    seen
}

/// Begins a call in which what is chosen on a desktop is shared; `None` where there cannot be one.
fn share_on(screen: &str) -> Option<(Desktop, Server, Lines, String)> {
    if let Some(missing) = Desktop::missing() {
        eprintln!("SKIPPED: no {missing} on this machine");
        return None;
    }
    let server = Server::start();
    let desktop = Desktop::new(SIZE, screen);
    let quiet = ["--video", "none", "--audio", "none", "--speaker", "none"];
    let who = ["--server", &server.url, "--name", "Ann"];
    let args = [&who[..], &quiet, &["--create", "--share", "chosen"]].concat();
    let mut ann = Lines::start_behind(&desktop.prefix(), "visavis-headless", &args);
    let code = code_of(&mut ann);
    Some((desktop, server, ann, code))
}

#[test]
fn what_the_system_lets_choose_arrives_and_ends_when_the_system_says() {
    let _machine = real_time();
    let Some((desktop, server, mut ann, code)) = share_on(RED.0) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let options = MemberOptions {
        name: "Bo",
        video: "none",
        audio: "none",
        record: Some(directory.path()),
    };
    let mut bo = member_with(&server.url, Some(&code), &options, &[]);
    bo.event("first_screen");
    bo.watch(Duration::from_secs(2));
    desktop.set(BLUE.0);
    bo.watch(Duration::from_secs(2));
    desktop.set("end");
    let error = ann.event("error");
    assert_eq!(error["code"], "share_lost");
    bo.until("the end of it", |line| {
        line["event"] == "sharing" && line["on"] == false
    });
    assert!(desktop.is_closed(), "the system is not told");
    ann.kill();
    assert_eq!(bo.terminate().code, Some(0));
    let seen = colours(&directory.path().join("Ann-screen.y4m"));
    assert_eq!(seen, [RED.0, BLUE.0]);
}

#[test]
fn who_closes_the_system_s_dialog_shares_nothing_and_sees_no_error() {
    let _machine = real_time();
    let Some((_desktop, _server, mut ann, _)) = share_on("cancel") else {
        return;
    };
    ann.event("joined");
    ann.watch(Duration::from_secs(2));
    let is_error = |line: &serde_json::Value| line["event"] == "error";
    assert!(!ann.seen.iter().any(is_error), "{:?}", ann.seen);
    ann.kill();
}
