//! A call over a link that gets narrow and wide again: the picture gives way, the sound does not.

use std::time::{Duration, Instant};

use call_lab::link::{Conditions, Plan};
use serde_json::Value;
use visavis_tests::support::headless::Lines;
use visavis_tests::support::link::cheap_path;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::real_time;
use visavis_tests::support::transfer::Across;

const GOOD_BPS: u64 = 2_000_000;
/// Enough for a small picture.
const NARROW_BPS: u64 = 150_000;
/// Enough for sound, with all headers.
const LEAST_BPS: u64 = 80_000;
/// Of the sound on narrow links, but for the seconds in which they become so.
const MOST_CONCEALED: f64 = 0.01;
/// Seconds after each of the two falls in which the queue of 300 ms that fills at once is heard, and
/// how much of them may be missing, in seconds.
const FALLS: usize = 2 * 3;
const MOST_AT_FALLS: f64 = 1.5;
/// From the good link to a picture again. Wanted are 8 s; a link that carries sound alone learns of
/// more only by probes, and those have little to send.
const BACK: Duration = Duration::from_secs(12);

/// The figures of the sound that came since a line.
fn concealed(lines: &Lines, from: usize) -> Vec<f64> {
    lines.seen[from..]
        .iter()
        .filter(|line| line["event"] == "stats")
        .filter_map(|line| line["members"][0]["audio"]["concealed_ratio"].as_f64())
        .collect()
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len().max(1) as f64
}

fn is_sound_only(line: &Value, of_others: bool, on: bool) -> bool {
    line["event"] == "sound_only" && line["on"] == on && line["member"].is_u64() == of_others
}

/// What is sent and allowed, second by second, for who reads a failure.
fn sent(lines: &Lines, from: usize) -> String {
    let stats = lines.seen[from..].iter().filter(|l| l["event"] == "stats");
    stats
        .map(|line| {
            let up = &line["up"];
            let layer = &up["video_layers"][0];
            format!(
                "\n  {:>6} ms: {}x{} {:>4} fps {:>7} of {:>7} bit/s, loss {:.2}, rtt {:>5.0}, heard {:.3} concealed",
                line["at_ms"],
                layer["width"],
                layer["height"],
                layer["fps"].as_f64().unwrap_or_default(),
                up["bitrate_bps"],
                up["target_bps"],
                line["loss"].as_f64().unwrap_or_default(),
                line["rtt_ms"].as_f64().unwrap_or_default(),
                line["members"][0]["audio"]["concealed_ratio"]
                    .as_f64()
                    .unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn a_narrow_link_costs_the_picture_and_never_the_sound() {
    run_in_own_network(
        "quality::a_narrow_link_costs_the_picture_and_never_the_sound",
        scenario,
    );
}

fn scenario() {
    let _machine = real_time();
    let plan = Plan::constant(cheap_path(GOOD_BPS), 1);
    let media = ["--video", "pattern:1280x720@15", "--audio", "tone:440"];
    let Some(mut call) = Across::meet(plan, &media, None) else {
        return;
    };
    let (link, ann, bo) = (&call.link, &mut call.ann, &mut call.bo);
    // The estimates find their level.
    bo.watch(Duration::from_secs(8));
    ann.watch(Duration::ZERO);

    let narrow_from = [ann.seen.len(), bo.seen.len()];
    link.set_conditions(Conditions::symmetric(cheap_path(NARROW_BPS)));
    bo.watch(Duration::from_secs(10));
    link.set_conditions(Conditions::symmetric(cheap_path(LEAST_BPS)));
    bo.until_from(narrow_from[1], "sound only", |line| {
        is_sound_only(line, false, true)
    });
    ann.until_from(narrow_from[0], "word of it", |line| {
        is_sound_only(line, true, true)
    });
    ann.until_from(narrow_from[0], "sound only", |line| {
        is_sound_only(line, false, true)
    });
    bo.watch(Duration::from_secs(8));
    ann.watch(Duration::ZERO);
    let narrow_to = [ann.seen.len(), bo.seen.len()];

    link.set_conditions(Conditions::symmetric(cheap_path(GOOD_BPS)));
    let good_at = Instant::now();
    let back_at = |lines: &mut Lines, from, of_others| {
        lines.until_from(from, "a picture again", |line| {
            is_sound_only(line, of_others, false)
        });
    };
    back_at(bo, narrow_to[1], false);
    back_at(ann, narrow_to[0], false);
    back_at(ann, narrow_to[0], true);
    let back = good_at.elapsed();
    // As seen by the other one: decoded, not merely announced.
    let picture = bo.until_from(narrow_to[1], "a picture of some rate", |line| {
        let fps = line["members"][0]["video"]["fps"].as_f64();
        line["event"] == "stats" && fps.is_some_and(|fps| fps >= 5.0)
    });
    for (name, lines, from) in [("Ann", &*ann, narrow_from[0]), ("Bo", &*bo, narrow_from[1])] {
        println!("{name}:{}", sent(lines, from));
    }
    println!("a picture again after {back:.2?}: {picture}");
    for (lines, [from, to]) in [
        (&*ann, [narrow_from[0], narrow_to[0]]),
        (&*bo, [narrow_from[1], narrow_to[1]]),
    ] {
        let mut heard = concealed(lines, from);
        heard.truncate(concealed(lines, from).len() - concealed(lines, to).len());
        println!(
            "{} s of sound, {:.4} concealed: {heard:.3?}",
            heard.len(),
            mean(&heard)
        );
        assert!(heard.len() >= 15, "figures are missing");
        heard.sort_by(f64::total_cmp);
        let at_falls = heard.split_off(heard.len() - FALLS);
        assert!(mean(&heard) <= MOST_CONCEALED, "the sound suffered");
        let missing: f64 = at_falls.iter().sum();
        assert!(missing <= MOST_AT_FALLS, "{missing} s of sound are missing");
    }
    assert!(back <= BACK, "{back:?} until there is a picture again");
    for lines in [call.ann, call.bo] {
        assert_eq!(lines.terminate().code, Some(0));
    }
}
