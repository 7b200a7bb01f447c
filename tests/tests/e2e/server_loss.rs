//! A signalling server that goes away: before, while and after joining.

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;
use visavis_tests::support::headless::{Lines, MemberOptions, Server, code_of, member};
use visavis_tests::support::real_time;

fn small(name: &str) -> MemberOptions<'_> {
    MemberOptions {
        name,
        video: "pattern:320x180@15",
        audio: "tone:440",
        record: None,
    }
}

fn fps(stats: &Value) -> f64 {
    stats["members"][0]["video"]["fps"].as_f64().unwrap_or(0.0)
}

#[test]
fn a_call_outlives_its_server_and_meets_the_next_one() {
    let _machine = real_time();
    let server = Server::start();
    let mut ann = member(&server.url, None, &small("Ann"));
    let code = code_of(&mut ann);
    let mut bo = member(&server.url, Some(&code), &small("Bo"));
    ann.event("first_frame");
    bo.event("first_frame");

    let address = server.address.clone();
    server.process.kill();
    for client in [&mut ann, &mut bo] {
        client.event("reconnecting");
    }
    let mut lost_at = [0; 2];
    for (client, lost_at) in [&mut ann, &mut bo].into_iter().zip(&mut lost_at) {
        *lost_at = client.seen.len();
        client.watch(Duration::from_secs(6));
        let stats: Vec<_> = client.seen[*lost_at..]
            .iter()
            .filter(|line| line["event"] == "stats")
            .collect();
        assert!(stats.len() >= 5, "figures go on: {}", stats.len());
        // The first second began before the first picture did.
        for line in stats.into_iter().skip(1) {
            assert!(
                fps(line) > 10.0,
                "the picture goes on without the server: {line}"
            );
        }
    }

    let next = Server::start_at(&address);
    assert_eq!(next.address, address);
    for (client, lost_at) in [&mut ann, &mut bo].into_iter().zip(lost_at) {
        client.until_from(lost_at, "a seat at the new server", |line| {
            line["event"] == "joined" || line["event"] == "resumed"
        });
    }
    // Who comes to the new server with the same code meets both.
    let mut cy = member(&next.url, Some(&code), &small("Cy"));
    for name in ["Ann", "Bo"] {
        let there = cy.until(name, |l| l["event"] == "member_joined" && l["name"] == name);
        cy.until("their picture", |line| {
            line["event"] == "first_frame" && line["member"] == there["member"]
        });
    }
    for (client, lost_at) in [&mut ann, &mut bo].into_iter().zip(lost_at) {
        let code_now = client.seen.iter().rfind(|line| line["event"] == "room");
        assert_eq!(code_now.expect("a room was told")["code"], code.as_str());
        client.until_from(lost_at, "Cy", |l| {
            l["event"] == "member_joined" && l["name"] == "Cy"
        });
        let from = client.seen.len();
        client.until_from(from, "a moving picture", |l| {
            l["event"] == "stats" && fps(l) > 10.0
        });
    }
    for client in [ann, bo, cy] {
        assert_eq!(client.terminate().code, Some(0));
    }
}

#[test]
fn a_server_that_vanishes_while_joining_ends_the_attempt_understandably() {
    let _machine = real_time();
    // Accepts connections, reads the WebSocket request, and hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("ws://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let mut client = member(&url, Some("K7MQ-2X9D-RTB4"), &small("Ann"));
    let error = client.event("error");
    assert_eq!(error["code"], "server_unreachable");
    assert_ends(client);
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let _machine = real_time();
    // Bound and released: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let url = format!("ws://{}", address.expect("loopback has a free port"));
    let mut client = member(&url, None, &small("Ann"));
    let error = client.event("error");
    assert_eq!(error["code"], "server_unreachable");
    assert_ends(client);
}

/// Either the client gave up by itself (exit 1), or it still tries and leaves when told (exit 0).
fn assert_ends(mut client: Lines) {
    let started = Instant::now();
    client.watch(Duration::from_secs(1));
    let over = client.seen.iter().any(|line| line["event"] == "left");
    let ended = if over {
        client.wait()
    } else {
        client.terminate()
    };
    assert_eq!(ended.code, Some(i32::from(over)), "{:?}", ended.lines);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it did not hang"
    );
    assert!(ended.lines.iter().any(|line| line["event"] == "left"));
}
