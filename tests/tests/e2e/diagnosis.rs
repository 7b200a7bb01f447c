//! "Why is it bad?": who sends over a bad uplink is told so, and the other that it is not theirs.

use call_lab::link::{Conditions, Plan};
use call_lab::network::{Loss, PathConfig};
use serde_json::Value;
use visavis_tests::support::headless::Lines;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::real_time;
use visavis_tests::support::transfer::Across;

/// The diagnosis with this cause after `skipped` lines; what comes before it may only be the machine,
/// which others may keep busy, or bursts of loss, which is how it begins (wanted is neither).
fn diagnosis(lines: &mut Lines, skipped: usize, cause: &str) -> Value {
    let found = lines.until_from(skipped, cause, |line| {
        line["event"] == "diagnosis" && line["cause"] == cause
    });
    let told = lines.seen.iter().skip(skipped);
    let causes = told.filter_map(|line| line["cause"].as_str());
    let wrong: Vec<_> = causes
        .filter(|other| ![cause, "my_cpu", "bursts"].contains(other))
        .collect();
    assert!(wrong.is_empty(), "before {cause}: {wrong:?}");
    found
}

#[test]
fn a_bad_uplink_is_ones_own_here_and_the_other_side_there() {
    run_in_own_network(
        "diagnosis::a_bad_uplink_is_ones_own_here_and_the_other_side_there",
        scenario,
    );
}

fn scenario() {
    let _machine = real_time();
    let good = PathConfig::default();
    // Small, so that what is judged is the network and not the machine.
    let media = ["--video", "pattern:320x180@15", "--audio", "tone:440"];
    let Some(mut call) = Across::meet(Plan::constant(good, 1), &media, None) else {
        return;
    };
    let (ann, bo) = (&mut call.ann, &mut call.bo);
    let ids = [&mut *ann, &mut *bo].map(|lines| lines.event("joined")["member"].clone());
    let from = [ann.seen.len(), bo.seen.len()];
    call.link.set_conditions(Conditions {
        there: PathConfig {
            loss: Loss::Random(0.2),
            rate_bps: Some(400_000),
            queue_bytes: 20_000,
            ..good
        },
        back: good,
    });
    let here = diagnosis(ann, from[0], "my_uplink");
    let there = diagnosis(bo, from[1], "other_side");
    println!("here {here}; there {there}");
    assert_eq!(here["member"], Value::Null);
    assert_eq!(there["member"], ids[0]);
    for lines in [call.ann, call.bo] {
        assert_eq!(lines.terminate().code, Some(0));
    }
}
