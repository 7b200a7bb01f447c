//! A conversation of many over a bad network: everybody ends up with the same log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use call_lab::link::{Conditions, Plan};
use call_lab::network::{Loss, PathConfig};
use serde_json::json;
use visavis_tests::support::headless::{Lines, Server, code_of};
use visavis_tests::support::link::connect;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::network::Namespace;
use visavis_tests::support::real_time;
use visavis_tests::support::transfer::{Member, linked};

const NAMES: [&str; 5] = ["Ann", "Bo", "Cleo", "Dan", "Eva"];
/// Of each member.
const MESSAGES: usize = 200;
/// Between two messages of a member: five people who type faster than any can.
const PAUSE: Duration = Duration::from_millis(100);
/// Until the last message is everywhere.
const PATIENCE: Duration = Duration::from_secs(60);

/// 40 ms of round trip and 5 % of loss, to the server; twice that between members.
fn bad() -> PathConfig {
    PathConfig {
        delay: Duration::from_millis(20),
        loss: Loss::Random(0.05),
        ..PathConfig::default()
    }
}

/// Everybody says the messages of these numbers, one after the other.
fn say(members: &mut [Lines], numbers: std::ops::Range<usize>) {
    for number in numbers {
        for (lines, name) in members.iter_mut().zip(NAMES) {
            lines.say(&json!({ "type": "send_chat", "text": format!("{name} {number}") }));
        }
        members[0].watch(PAUSE);
    }
}

/// How often a member was told each text.
fn log(lines: &Lines) -> BTreeMap<String, usize> {
    let mut log = BTreeMap::new();
    for line in lines.seen.iter().filter(|line| line["event"] == "chat") {
        let text = line["text"].as_str().unwrap_or_default();
        assert!(
            text.starts_with(line["name"].as_str().unwrap_or("nobody")),
            "under another name: {line}"
        );
        *log.entry(text.to_owned()).or_default() += 1;
    }
    log
}

#[test]
fn a_thousand_messages_reach_five_members_once() {
    run_in_own_network(
        "chat_loss::a_thousand_messages_reach_five_members_once",
        scenario,
    );
}

fn scenario() {
    let _machine = real_time();
    let mut links = Vec::new();
    let mut places = Vec::new();
    for number in 1..=NAMES.len() {
        let Some(place) = Namespace::new() else {
            eprintln!("SKIPPED: no network namespaces here");
            return;
        };
        let outer = format!("10.81.{number}.1/24");
        let inner = format!("10.81.{number}.2/24");
        let plan = Plan::constant(bad(), number as u64);
        let link = connect(&place, &format!("chat{number}"), &outer, &inner, plan);
        let Some(link) = link else {
            return;
        };
        links.push(link);
        places.push(place);
    }
    let arguments = ["--http", "0.0.0.0:0", "--media", "0.0.0.0:0"];
    let server = Server::start_with(&arguments);
    let (_, port) = server.address.rsplit_once(':').expect("it has a port");
    let port = port.to_owned();
    let mut members: Vec<Lines> = Vec::new();
    let mut code: Option<String> = None;
    for (number, (name, place)) in NAMES.iter().zip(&places).enumerate() {
        let url = format!("ws://10.81.{}.1:{port}", number + 1);
        let member = Member {
            namespace: Some(place),
            server: &url,
            code: code.as_deref(),
            name,
            ..Member::default()
        };
        let mut lines = member.start();
        if code.is_none() {
            code = Some(code_of(&mut lines));
        }
        lines.event("joined");
        members.push(lines);
    }
    for lines in &mut members {
        linked(lines, NAMES.len() - 1);
    }

    let started = Instant::now();
    say(&mut members, 0..MESSAGES / 4);
    // The server goes, and another takes its place: everybody reconnects.
    server.process.kill();
    say(&mut members, MESSAGES / 4..MESSAGES / 2);
    for lines in &mut members {
        lines.event("reconnecting");
    }
    let address = format!("0.0.0.0:{port}");
    let _server = Server::start_with(&["--http", &address, "--media", "0.0.0.0:0"]);
    say(&mut members, MESSAGES / 2..MESSAGES * 3 / 4);
    // One member's network goes for a while.
    let cut = PathConfig {
        loss: Loss::Random(1.0),
        ..bad()
    };
    links[4].set_conditions(Conditions::symmetric(cut));
    say(&mut members, MESSAGES * 3 / 4..MESSAGES);
    members[0].watch(Duration::from_secs(5));
    links[4].set_conditions(Conditions::symmetric(bad()));

    let said = Instant::now();
    let all = NAMES.len() * MESSAGES;
    let texts: BTreeMap<String, usize> = NAMES
        .iter()
        .flat_map(|name| (0..MESSAGES).map(move |number| (format!("{name} {number}"), 1)))
        .collect();
    loop {
        for lines in &mut members {
            lines.watch(Duration::from_millis(20));
        }
        let logs: Vec<_> = members.iter().map(log).collect();
        if logs.iter().all(|log| log.len() >= all) {
            break;
        }
        let counts: Vec<usize> = logs.iter().map(BTreeMap::len).collect();
        let errors = members.iter().flat_map(|lines| &lines.seen);
        let errors = errors.filter(|line| line["event"] == "error").count();
        assert!(
            said.elapsed() < PATIENCE,
            "{counts:?} of {all} messages, {errors} errors"
        );
    }
    println!(
        "{all} messages at {} members: {:.1} s after the last was said, {:.1} s in all",
        NAMES.len(),
        said.elapsed().as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    // Nothing comes a second time.
    for lines in &mut members {
        lines.watch(Duration::from_millis(500));
    }
    for (lines, name) in members.iter().zip(NAMES) {
        assert!(log(lines) == texts, "{name}: something came twice");
    }
    for lines in members {
        assert_eq!(lines.terminate().code, Some(0));
    }
}
