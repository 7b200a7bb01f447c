//! The chat over real links: directly, and through the server.

use serde_json::{Value, json};
use visavis_tests::support::headless::{Lines, MemberOptions, Server, code_of, member_with};
use visavis_tests::support::window::binary;

/// A member who takes commands.
fn guest(server: &Server, name: &str, code: Option<&str>, more: &[&str]) -> Lines {
    let mut args = vec!["--server", &server.url, "--name", name, "--commands"];
    args.extend(code.iter().flat_map(|code| ["--code", code]));
    args.extend(more);
    Lines::start_commanded(None, &binary("visavis-headless"), &args, &[])
}

fn say(lines: &mut Lines, text: &str) {
    lines.say(&json!({"type": "send_chat", "text": text}));
}

/// Waits until `count` messages were shown, and gives their senders' names and texts.
fn chat(lines: &mut Lines, count: usize) -> Vec<(String, String)> {
    let is_chat = |line: &&Value| line["event"] == "chat";
    while lines.seen.iter().filter(is_chat).count() < count {
        let seen = lines.seen.len();
        lines.until_from(seen, "chat", |line| line["event"] == "chat");
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let chat = lines.seen.iter().filter(is_chat);
    chat.map(|line| (text(&line["name"]), text(&line["text"])))
        .collect()
}

fn talk(more: &[&str]) {
    let mut args = vec!["--http", "127.0.0.1:0", "--media", "127.0.0.1:0"];
    args.extend(more);
    let server = Server::start_with(&args);
    let options = MemberOptions {
        name: "Ann",
        video: "none",
        audio: "none",
        record: None,
    };
    let sayings = ["--say", "welcome", "--say", "to two\nlines"];
    let mut ann = member_with(&server.url, None, &options, &sayings);
    let code = code_of(&mut ann);
    let mut bo = guest(&server, "Bo", Some(&code), &[]);
    let said = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let greeting = [said("Ann", "welcome"), said("Ann", "to two\nlines")];
    assert_eq!(chat(&mut bo, 2), greeting);
    for n in 0..50 {
        say(&mut bo, &format!("{n}"));
    }
    let mut want = greeting.to_vec();
    want.extend((0..50).map(|n| said("Bo", &format!("{n}"))));
    assert_eq!(chat(&mut ann, 52), want);
    assert_eq!(chat(&mut bo, 52), want);
    // Whoever comes late has all of it, and goes on.
    let mut cleo = guest(&server, "Cleo", Some(&code), &["--say", "hello"]);
    want.push(said("Cleo", "hello"));
    let mut late = chat(&mut cleo, 53);
    late.sort();
    let mut all = want.clone();
    all.sort();
    assert_eq!(late, all);
    for lines in [&mut ann, &mut bo] {
        assert_eq!(chat(lines, 53), want);
    }
    let cleos = ann.until("what Cleo said", |line| line["text"] == "hello");
    let joined = cleo.event("joined");
    assert_eq!(cleos["from"], joined["member"], "{cleos}");
    for lines in [ann, bo, cleo] {
        assert_eq!(lines.terminate().code, Some(0));
    }
}

#[test]
fn members_chat_directly_and_who_comes_late_reads_all() {
    talk(&["--topology", "mesh"]);
}

#[test]
fn members_chat_through_the_server_and_who_comes_late_reads_all() {
    talk(&["--topology", "sfu"]);
}
