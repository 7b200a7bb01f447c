//! A file beside a call: who sends one over a narrow link is still heard and seen.

use std::time::Duration;

use call_lab::link::Plan;
use call_lab::network::PathConfig;
use serde_json::Value;
use visavis_tests::support::headless::Lines;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::real_time;
use visavis_tests::support::transfer::{Across, done_bytes, make_file, offer, until_done};

/// Of the link, each way.
const RATE_BPS: u64 = 5_000_000;
/// What counts as untouched (the requirement).
const MOST_CONCEALED: f64 = 0.005;
const LEAST_OF_PICTURE: f64 = 0.8;

/// Means over the seconds of a span.
#[derive(Debug)]
struct Seconds {
    concealed: f64,
    fps: f64,
    video_bps: f64,
    count: usize,
}

fn seconds(lines: &mut Lines, span: Duration) -> Seconds {
    let from = lines.seen.len();
    lines.watch(span);
    let members: Vec<&Value> = lines.seen[from..]
        .iter()
        .filter(|line| line["event"] == "stats")
        .map(|line| &line["members"][0])
        .collect();
    let mean = |part: &str, key: &str| {
        let figures = members
            .iter()
            .filter_map(|member| member[part][key].as_f64());
        figures.sum::<f64>() / members.len().max(1) as f64
    };
    Seconds {
        concealed: mean("audio", "concealed_ratio"),
        fps: mean("video", "fps"),
        video_bps: mean("video", "bitrate_bps"),
        count: members.len(),
    }
}

#[test]
fn a_call_on_a_narrow_link_does_not_suffer_from_a_file() {
    run_in_own_network(
        "files_call::a_call_on_a_narrow_link_does_not_suffer_from_a_file",
        scenario,
    );
}

fn scenario() {
    let _machine = real_time();
    let path = PathConfig {
        delay: Duration::from_millis(20),
        rate_bps: Some(RATE_BPS),
        // 300 ms: what a cheap router has, and enough to ruin a call.
        queue_bytes: 187_500,
        ..PathConfig::default()
    };
    let plan = Plan::constant(path, 1);
    let goods = tempfile::tempdir().expect("a temporary directory can be made");
    let file = goods.path().join("film.bin");
    make_file(&file, 40 << 20);
    let inbox = tempfile::tempdir().expect("a temporary directory can be made");
    let media = ["--video", "pattern:1280x720@15", "--audio", "tone:440"];
    let Some(mut call) = Across::meet(plan, &media, Some(inbox.path())) else {
        return;
    };
    let (link, ann, bo) = (&call.link, &mut call.ann, &mut call.bo);
    // The estimate finds its level.
    bo.watch(Duration::from_secs(8));
    let before = seconds(bo, Duration::from_secs(8));
    let overflowed = link.stats()[0].overflowed;
    offer(ann, None, &[&file]);
    until_done(bo, 1);
    let had = done_bytes(bo);
    let beside = seconds(bo, Duration::from_secs(12));
    let file_bps = (done_bytes(bo) - had) as f64 * 8.0 / 12.0;
    println!(
        "alone {before:.4?}; beside a file at {:.2} Mbit/s {beside:.4?}; {} packets found the queue full",
        file_bps / 1e6,
        link.stats()[0].overflowed - overflowed
    );
    assert!(
        before.count >= 6 && beside.count >= 9,
        "figures are missing"
    );
    assert!(file_bps > 100_000.0, "the file moves: {file_bps} bit/s");
    assert!(
        beside.concealed <= MOST_CONCEALED,
        "{} of the sound concealed",
        beside.concealed
    );
    let picture = (beside.fps / before.fps)
        .min(1.0)
        .max(beside.video_bps / before.video_bps);
    assert!(picture >= LEAST_OF_PICTURE, "{picture} of the picture");
    for lines in [call.ann, call.bo] {
        assert_eq!(lines.terminate().code, Some(0));
    }
}
