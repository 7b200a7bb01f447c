//! Room care over real processes: the door, a removal, and the end for everybody.

use std::time::Duration;

use serde_json::{Value, json};
use visavis_tests::support::headless::{Lines, Server};
use visavis_tests::support::real_time;
use visavis_tests::support::window::binary;

fn start(server: &Server, code: Option<&str>, name: &str) -> Lines {
    let mut args = vec![
        "--server",
        &server.url,
        "--name",
        name,
        "--audio",
        "tone:440",
    ];
    args.extend([
        "--video",
        "pattern:160x90@10",
        "--tile",
        "160x90",
        "--commands",
    ]);
    match code {
        Some(code) => args.extend(["--code", code]),
        None => args.push("--create"),
    }
    Lines::start_commanded(None, &binary("visavis-headless"), &args, &[])
}

fn care(lines: &mut Lines, command: &Value) {
    lines.say(&json!({"type": "care", "command": command}));
}

fn door(lines: &mut Lines, door: &str) {
    care(lines, &json!({"action": "set_door", "door": door}));
    lines.until(door, |line| line["event"] == "door" && line["door"] == door);
}

fn left(mut lines: Lines, reason: &str) {
    let line = lines.event("left");
    assert_eq!(line["reason"], reason);
    assert_eq!(lines.wait().code, Some(1));
}

#[test]
fn the_host_decides_who_comes_in_who_goes_and_when_it_ends() {
    let _alone = real_time();
    let server = Server::start();
    let mut anna = start(&server, None, "Anna");
    let code = anna.event("room")["code"]
        .as_str()
        .expect("a code")
        .to_owned();
    let me = anna.event("joined")["member"].clone();
    assert_eq!(anna.event("host")["member"], me);

    door(&mut anna, "locked");
    left(start(&server, Some(&code), "Stranger"), "room_locked");

    door(&mut anna, "knock");
    let mut ben = start(&server, Some(&code), "Ben");
    ben.event("waiting");
    let knock = anna.event("knock");
    assert_eq!(knock["name"], "Ben");
    for event in [
        "joined",
        "member_joined",
        "host",
        "first_frame",
        "first_audio",
    ] {
        assert!(
            ben.seen.iter().all(|line| line["event"] != event),
            "{event}"
        );
    }
    care(
        &mut anna,
        &json!({"action": "admit", "knock": knock["knock"]}),
    );
    let removed = ben.event("joined")["member"].clone();
    for lines in [&mut anna, &mut ben] {
        lines.event("first_frame");
        lines.event("first_audio");
    }

    door(&mut anna, "open");
    let mut cleo = start(&server, Some(&code), "Cleo");
    let third = cleo.event("joined")["member"].clone();
    for (lines, other) in [(&mut anna, &third), (&mut cleo, &me)] {
        lines.until("sound", |line| {
            line["event"] == "first_audio" && line["member"] == *other
        });
    }

    care(&mut anna, &json!({"action": "remove", "member": removed}));
    door(&mut anna, "locked");
    left(ben, "removed");
    left(start(&server, Some(&code), "Ben again"), "room_locked");
    for lines in [&mut anna, &mut cleo] {
        let line = lines.event("removed");
        assert_eq!(line["member"], removed);
        // What is sealed anew is heard without a pause worth the name.
        lines.watch(Duration::from_millis(2_500));
        let now = lines.seen.len();
        let stats = lines.until_from(now, "figures", |line| line["event"] == "stats");
        let sound = &stats["members"][0]["audio"];
        let lost = sound["concealed_ratio"].as_f64().expect("a ratio");
        assert!(lost < 0.5, "nothing opens any more: {sound}");
        assert!(
            sound["bitrate_bps"].as_f64().is_some_and(|rate| rate > 0.0),
            "{sound}"
        );
    }

    care(&mut anna, &json!({"action": "end_for_all"}));
    left(anna, "call_ended");
    left(cleo, "call_ended");
}
