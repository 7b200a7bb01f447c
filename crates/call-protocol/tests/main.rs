//! `docs/protocol.md` against the types: every JSON example parses as what its heading says, and
//! every message has one.

use std::collections::BTreeSet;

use call_protocol::ErrorCode;
use call_protocol::channel::PeerMessage;
use call_protocol::channel::chat::ChatSignal;
use call_protocol::channel::file::FileSignal;
use call_protocol::peer::{PeerSignal, Profile};
use call_protocol::wire::{CLIENT_TYPES, ClientMessage, SERVER_TYPES, ServerMessage};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// One fenced example and the heading above it.
struct Example {
    heading: &'static str,
    line: usize,
    json: String,
}

fn examples(document: &'static str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut heading = "";
    let mut is_inside = false;
    let mut is_json = false;
    for (index, line) in document.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            is_inside = !is_inside;
            is_json = is_inside && language == "json";
            if is_json {
                examples.push(Example {
                    heading,
                    line: index + 1,
                    json: String::new(),
                });
            }
        } else if is_json && let Some(example) = examples.last_mut() {
            example.json.push_str(line);
            example.json.push('\n');
        } else if !is_inside && line.starts_with('#') {
            heading = line;
        }
    }
    assert!(!is_inside, "a fence is not closed");
    examples
}

fn kind(signal: &PeerSignal) -> &'static str {
    match signal {
        PeerSignal::Description { .. } => "description",
        PeerSignal::Candidate { .. } => "candidate",
        PeerSignal::Settled { .. } => "settled",
        PeerSignal::Shown { .. } => "shown",
        PeerSignal::AskMute => "ask_mute",
        PeerSignal::Bye => "bye",
        PeerSignal::Data { .. } => "data",
        PeerSignal::Need { .. } => "need",
    }
}

#[test]
fn every_example_is_what_its_heading_says_and_every_message_has_one() {
    let mut client = BTreeSet::new();
    let mut server = BTreeSet::new();
    let mut peer = BTreeSet::new();
    let mut channel = BTreeSet::new();
    let mut profiles = 0;
    for Example {
        heading,
        line,
        json,
    } in examples(DOCUMENT)
    {
        let fail = |error: &dyn std::fmt::Display| -> ! { panic!("line {line}: {error}\n{json}") };
        let value: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|e| fail(&e));
        let again = if heading.ends_with("(client → server)") {
            let message = ClientMessage::parse(&json).unwrap_or_else(|e| fail(&e));
            assert!(heading.contains(message.kind()), "line {line}: {heading}");
            client.insert(message.kind());
            serde_json::to_value(message)
        } else if heading.ends_with("(server → client)") {
            let message = ServerMessage::parse(&json).unwrap_or_else(|e| fail(&e));
            assert!(heading.contains(message.kind()), "line {line}: {heading}");
            server.insert(message.kind());
            serde_json::to_value(message)
        } else if heading.ends_with("(member → member)") {
            let signal: PeerSignal = serde_json::from_str(&json).unwrap_or_else(|e| fail(&e));
            assert!(signal.is_within_limits(), "line {line}");
            if let PeerSignal::Data { signal } = &signal {
                peer.insert(kind(signal));
            }
            peer.insert(kind(&signal));
            serde_json::to_value(signal)
        } else if heading.ends_with("(data channel)") {
            let message = PeerMessage::parse(json.as_bytes());
            let message = message.unwrap_or_else(|| fail(&"not a message of a data channel"));
            channel.insert(match &message {
                PeerMessage::Chat(ChatSignal::Heads { .. }) => "heads",
                PeerMessage::Chat(ChatSignal::History { .. }) => "history",
                PeerMessage::Chat(ChatSignal::Entries { .. }) => "entries",
                PeerMessage::Reaction { .. } => "reaction",
                PeerMessage::File(signal) => file_kind(signal),
            });
            serde_json::to_value(message)
        } else if heading.ends_with("(member → room)") {
            let profile: Profile = serde_json::from_str(&json).unwrap_or_else(|e| fail(&e));
            profiles += 1;
            serde_json::to_value(profile)
        } else {
            fail(&format!("no direction in the heading: {heading}"))
        };
        // Unknown fields are ignored when parsing, so that a misspelt one shows only here.
        assert_eq!(
            again.unwrap(),
            value,
            "line {line}: a field the type does not have"
        );
    }
    assert_eq!(client, CLIENT_TYPES.into());
    assert_eq!(server, SERVER_TYPES.into());
    let all = [
        "bye",
        "candidate",
        "data",
        "description",
        "settled",
        "shown",
        "ask_mute",
        "need",
    ];
    assert_eq!(peer, all.into());
    let chat = ["entries", "heads", "history", "reaction"];
    assert_eq!(channel, chat.into_iter().chain(FILE_KINDS).collect());
    assert_eq!(profiles, 1);
}

const FILE_KINDS: [&str; 9] = [
    "offer", "received", "decline", "want", "progress", "done", "pause", "cancel", "resume",
];

fn file_kind(signal: &FileSignal) -> &'static str {
    let at = match signal {
        FileSignal::Offer { .. } => 0,
        FileSignal::Received { .. } => 1,
        FileSignal::Decline { .. } => 2,
        FileSignal::Want { .. } => 3,
        FileSignal::Progress { .. } => 4,
        FileSignal::Done { .. } => 5,
        FileSignal::Pause { .. } => 6,
        FileSignal::Cancel { .. } => 7,
        FileSignal::Resume { .. } => 8,
    };
    FILE_KINDS[at]
}

#[test]
fn the_table_of_errors_names_codes_that_exist() {
    let table = DOCUMENT.split("\n## Error codes\n").nth(1).unwrap();
    let rows = table.lines().take_while(|line| !line.starts_with("## "));
    let codes: Vec<&str> = rows
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(code, _)| code)
        .collect();
    assert!(codes.len() >= 17, "{codes:?}");
    for code in codes {
        let json = format!("\"{code}\"");
        assert!(serde_json::from_str::<ErrorCode>(&json).is_ok(), "{code}");
    }
}
