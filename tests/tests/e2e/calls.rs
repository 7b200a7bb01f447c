//! Headless clients on `visavis-server`: what each decodes of the others.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use visavis_tests::support::headless::{Lines, MemberOptions, Server, code_of, member};
use visavis_tests::support::recording::{
    colour_of, judge_pictures, judge_tone, score_pictures, whose,
};
use visavis_tests::support::{cpu_seconds, real_time};

/// The first-frame time of a member's client, in ms after it joined.
fn join_to_first_frame_ms(client: &mut Lines) -> i64 {
    let joined = client.event("joined")["at_ms"]
        .as_i64()
        .expect("times are numbers");
    client.event("first_frame")["at_ms"]
        .as_i64()
        .expect("times are numbers")
        - joined
}

#[test]
fn two_members_exchange_720p_and_sound_for_twenty_seconds() {
    let _machine = real_time();
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let (at_ann, at_bo) = (directory.path().join("ann"), directory.path().join("bo"));
    let video = "pattern:1280x720@30";
    let options = |name, audio, record| MemberOptions {
        name,
        video,
        audio,
        record,
    };
    let mut ann = member(
        &server.url,
        None,
        &options("Ann", "tone:440", Some(&at_ann)),
    );
    let code = code_of(&mut ann);
    ann.event("joined");
    let mut bo = member(
        &server.url,
        Some(&code),
        &options("Bo", "tone:660", Some(&at_bo)),
    );
    let first_frame_ms = join_to_first_frame_ms(&mut bo);
    ann.event("first_frame");
    ann.event("first_audio");
    bo.event("first_audio");

    let before = [cpu_seconds(ann.pid()), cpu_seconds(bo.pid())];
    bo.watch(Duration::from_secs(20));
    ann.watch(Duration::from_millis(1));
    let used = [
        cpu_seconds(ann.pid()) - before[0],
        cpu_seconds(bo.pid()) - before[1],
    ];
    let figures = bo
        .seen
        .iter()
        .rfind(|line| line["event"] == "stats")
        .cloned();
    let (ann, bo) = (ann.terminate(), bo.terminate());
    println!("join to first frame: {first_frame_ms} ms");
    println!(
        "CPU: Ann {:.0} %, Bo {:.0} % of a core",
        used[0] * 5.0,
        used[1] * 5.0
    );
    println!("figures at the end: {}", figures.unwrap_or_default());

    for (ended, path, tone) in [
        (ann, at_ann.join("Bo"), 660.0),
        (bo, at_bo.join("Ann"), 440.0),
    ] {
        assert_eq!(ended.code, Some(0));
        let recorded = ended.lines.iter().rfind(|line| line["event"] == "recorded");
        assert_eq!(
            recorded.expect("it recorded")["dropped_pictures"],
            0,
            "the disk kept up"
        );
        let sender = path.file_name().and_then(|name| name.to_str());
        let (pictures, score) = score_pictures(
            &path.with_extension("y4m"),
            sender.expect("recordings are named after their senders"),
            30,
        );
        println!(
            "{}: {pictures:?}, {:.4} in order",
            path.display(),
            pictures.ratio()
        );
        assert_eq!((pictures.width, pictures.height), (1280, 720));
        assert!(pictures.span >= 20 * 30, "20 s at 30 fps: {pictures:?}");
        assert!(pictures.ratio() >= 0.99, "frames in order: {pictures:?}");
        println!("{}: {score:?}", path.display());
        // 1.9 Mbit/s are plenty for the pattern: 40 dB is hard to tell from the original, and a
        // wrong number, size or colour is far below 25.
        assert!(
            score.psnr_db > 36.0 && score.worst_psnr_db > 25.0 && score.ssim > 0.95,
            "{score:?}"
        );
        assert_eq!(score.out_of_order, 0);
        let (found, other) = (
            judge_tone(&path.with_extension("wav"), tone),
            if tone == 440.0 { 660.0 } else { 440.0 },
        );
        let absent = judge_tone(&path.with_extension("wav"), other);
        println!("{}: {found:.3} of the energy at {tone} Hz", path.display());
        assert!(
            found > 0.8 && absent < 0.05,
            "{found} at {tone} Hz, {absent} at {other} Hz"
        );
    }
}

/// Names whose synthetic pictures have clearly different colours.
const NAMES: [&str; 4] = ["Ann", "Ben", "Mia", "Zoe"];

/// A mesh of small pictures; the third member leaves and comes back.
fn mesh(names: &[&str]) {
    let _machine = real_time();
    for (index, name) in names.iter().enumerate() {
        assert_eq!(
            whose(colour_of(name), names),
            names[index],
            "colours tell members apart"
        );
    }
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let join = |name: &str, code: Option<&str>, record: &Path| {
        let options = MemberOptions {
            name,
            video: "pattern:320x180@15",
            audio: "tone:500",
            record: Some(record),
        };
        member(&server.url, code, &options)
    };
    let place = |name: &str| directory.path().join(name);
    let mut members: BTreeMap<&str, Lines> = BTreeMap::new();
    let mut first = join(names[0], None, &place(names[0]));
    let code = code_of(&mut first);
    members.insert(names[0], first);
    for name in &names[1..] {
        members.insert(name, join(name, Some(&code), &place(name)));
    }
    for client in members.values_mut() {
        everybody_is_seen(client, 0, names.len() - 1);
    }

    let left = members.remove("Mia").expect("Mia is there").terminate();
    assert_eq!(left.code, Some(0));
    let marks: BTreeMap<&str, usize> = members
        .iter()
        .map(|(name, client)| (*name, client.seen.len()))
        .collect();
    for client in members.values_mut() {
        client.until("Mia leaving", |l| {
            l["event"] == "member_left" && l["name"] == "Mia"
        });
    }
    let mut mia = join("Mia", Some(&code), &place("Mia again"));
    everybody_is_seen(&mut mia, 0, names.len() - 1);
    for (name, client) in &mut members {
        let back = client.until_from(marks[name], "Mia coming back", |line| {
            line["event"] == "member_joined" && line["name"] == "Mia"
        });
        client.until_from(marks[name], "Mia's picture again", |line| {
            line["event"] == "first_frame" && line["member"] == back["member"]
        });
    }
    mia.watch(Duration::from_secs(4));
    members.insert("Mia again", mia);

    let ends: Vec<_> = members
        .into_iter()
        .map(|(name, c)| (name, c.terminate()))
        .collect();
    for (name, ended) in &ends {
        assert_eq!(ended.code, Some(0), "{name}");
        let mut seen = 0;
        for line in ended
            .lines
            .iter()
            .filter(|line| line["event"] == "member_joined")
        {
            let (other, id) = (text(&line["name"]), &line["member"]);
            let own = place(name).join(format!("{other}.y4m"));
            let second = place(name).join(format!("{other}-{id}.y4m"));
            // Mia's second seat has a file of its own.
            let path = if second.exists() { second } else { own };
            let pictures = judge_pictures(&path);
            println!(
                "{other} at {name}: {pictures:?}, {:.3} in order",
                pictures.ratio()
            );
            assert_eq!(
                whose(pictures.colour, names),
                other,
                "{other}'s picture at {name}"
            );
            // Mia's first seat was a short one.
            let least = if other == "Mia" { 1 } else { 20 };
            assert!(
                pictures.marked >= least && pictures.ratio() >= 0.9,
                "{other} at {name}"
            );
            seen += 1;
        }
        assert!(seen >= names.len() - 1, "{name} saw {seen}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("names are text")
}

/// Waits until `others` members' pictures and sound were decoded since line `from`.
fn everybody_is_seen(client: &mut Lines, from: usize, others: usize) {
    for event in ["first_frame", "first_audio"] {
        for index in 0..others {
            let skip = client
                .seen
                .iter()
                .enumerate()
                .skip(from)
                .filter(|(_, line)| line["event"] == event)
                .nth(index)
                .map(|(at, _)| at);
            if skip.is_none() {
                let from = client.seen.len();
                client.until_from(from, event, |line| line["event"] == event);
            }
        }
    }
}

#[test]
fn three_members_see_each_other_and_one_comes_back() {
    mesh(&NAMES[..3]);
}

#[test]
fn four_members_see_each_other_and_one_comes_back() {
    mesh(&NAMES);
}

#[test]
fn without_camera_and_microphone_one_still_joins_and_sees() {
    let _machine = real_time();
    let server = Server::start();
    let options = |name, video, audio| MemberOptions {
        name,
        video,
        audio,
        record: None,
    };
    let mut ann = member(
        &server.url,
        None,
        &options("Ann", "pattern:320x180@15", "tone:440"),
    );
    let code = code_of(&mut ann);
    let missing = options("Bo", "camera:there-is-none", "mic:there-is-none");
    let mut bo = member(&server.url, Some(&code), &missing);
    bo.event("joined");
    bo.event("first_frame");
    bo.event("first_audio");
    for code in ["camera_not_found", "microphone_not_found"] {
        bo.until(code, |line| {
            line["event"] == "error" && line["code"] == code
        });
    }
    assert_eq!(bo.terminate().code, Some(0));
    ann.until("Bo leaving", |line| {
        line["event"] == "member_left" && line["name"] == "Bo"
    });
    assert_eq!(ann.terminate().code, Some(0));
}

#[test]
fn bad_arguments_are_told_and_end_with_2() {
    let server = ["--server", "ws://127.0.0.1:9"];
    let cases: [(&[&str], &str); 4] = [
        (
            &[&server[..], &["--code", "K7MQ-2X9D"]].concat(),
            "code_invalid",
        ),
        (
            &[&server[..], &["--code", "K7MQ-2X9D-RTBU"]].concat(),
            "code_invalid",
        ),
        (&["--server", "ftp://nowhere"], "server_address_invalid"),
        (&["--create"], "bad_argument"),
    ];
    for (args, code) in cases {
        let mut client = Lines::start("visavis-headless", args);
        let error = client.event("error");
        assert_eq!(error["code"], code, "{args:?}");
        assert!(
            error["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        assert!(error["at_ms"].is_u64());
        assert_eq!(client.wait().code, Some(2), "{args:?}");
    }
    for args in [&["--dance"][..], &["--share", "pattern:640x360"]] {
        let client = Lines::start("visavis-headless", args);
        assert_eq!(client.wait().code, Some(2), "{args:?}");
    }
}
