//! Shared screens between headless clients, in a mesh and through the SFU.

use serde_json::Value;
use visavis_tests::support::headless::{Lines, MemberOptions, Server, code_of, member_with};
use visavis_tests::support::real_time;
use visavis_tests::support::recording::score_pictures;

/// Seconds of a screen that are looked at.
const SECONDS: usize = 3;

/// Waits until figures tell of whole seconds of a screen at nearly its full rate.
fn watch_screen(client: &mut Lines) {
    let is_full = |line: &Value| {
        let fps = line["members"][0]["screen"]["fps"].as_f64();
        line["event"] == "stats" && fps.is_some_and(|fps| fps > 10.0)
    };
    let mut skipped = 0;
    for _ in 0..SECONDS {
        let line = client.until_from(skipped, "a second of a screen", is_full);
        let at = client.seen.iter().position(|seen| *seen == line);
        skipped = at.map_or(skipped, |at| at + 1);
    }
}

/// Two members share at once, one of them shows a camera besides; who stops is seen to.
fn two_share(topology: &str) {
    let _machine = real_time();
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let paths = [directory.path().join("ann"), directory.path().join("bo")];
    let share = [
        "--share",
        "pattern:960x540@15",
        "--topology",
        topology,
        "--duration",
        "60",
    ];
    let options = |name, video, record| MemberOptions {
        name,
        video,
        audio: "none",
        record,
    };
    let ann = options("Ann", "pattern:320x180@15", Some(&*paths[0]));
    let mut ann = member_with(&server.url, None, &ann, &share);
    let code = code_of(&mut ann);
    ann.event("joined");
    let bo = options("Bo", "none", Some(&*paths[1]));
    let mut bo = member_with(&server.url, Some(&code), &bo, &share);
    if topology == "sfu" {
        for client in [&mut ann, &mut bo] {
            client.until("the SFU", |line| {
                line["event"] == "topology" && line["mode"] == "sfu"
            });
        }
    }
    bo.event("first_frame");
    for client in [&mut ann, &mut bo] {
        client.until("the word of sharing", |line| {
            line["event"] == "sharing" && line["on"] == true
        });
        client.event("first_screen");
        watch_screen(client);
    }
    let ann = ann.terminate();
    bo.event("member_left");
    let bo = bo.terminate();
    for (ended, path, sender) in [(ann, &paths[0], "Bo"), (bo, &paths[1], "Ann")] {
        assert_eq!(ended.code, Some(0));
        let path = path.join(format!("{sender}-screen.y4m"));
        let (pictures, score) = score_pictures(&path, sender, 15);
        println!("{topology}, {sender}: {pictures:?}, {score:?}");
        assert_eq!((pictures.width, pictures.height), (960, 540));
        assert!(pictures.span >= 30, "{pictures:?}");
        assert!(pictures.ratio() >= 0.8, "{pictures:?}");
        assert!(score.psnr_db > 34.0 && score.ssim > 0.95, "{score:?}");
        assert_eq!(score.out_of_order, 0);
    }
    // The camera beside it is a picture of its own; the SFU begins with a small one.
    let (camera, _) = score_pictures(&paths[1].join("Ann.y4m"), "Ann", 15);
    assert!(camera.marked > 0 && camera.width <= 320, "{camera:?}");
}

#[test]
fn two_screens_and_a_camera_arrive_in_a_mesh() {
    two_share("mesh");
}

#[test]
fn two_screens_and_a_camera_arrive_through_the_sfu() {
    two_share("sfu");
}
