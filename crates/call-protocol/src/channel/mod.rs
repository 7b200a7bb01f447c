//! What members say to each other on data channels.
//!
//! * [`PeerMessage`]: JSON on the control channel, sealed with the room's keys (call-e2ee), over a
//!   direct link or through the SFU's fan-out ([`crate::fanout`]);
//! * [`bulk`]: contents of files, binary, on the bulk channel of a link between two members. Such a
//!   link's DTLS is bound to the room's keys by the sealed description that set it up, so contents
//!   are not sealed again.
//!
//! Any message may be lost with the link it was on. Chat and files repeat what matters; nothing here
//! may be sent once and relied on.
//!
//! Deliberately not here: when to send what (call-core).

pub mod bulk;
pub mod chat;
pub mod file;

use serde::{Deserialize, Serialize};

use crate::limits;
use chat::ChatSignal;
use file::FileSignal;

/// One message, before sealing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum PeerMessage {
    /// Of the chat.
    Chat(ChatSignal),
    /// Of files being offered and sent.
    File(FileSignal),
    /// Shown for a moment beside the sender's picture; not kept, not repeated.
    Reaction {
        /// One emoji, at most [`limits::REACTION_BYTES`].
        emoji: String,
    },
}

impl PeerMessage {
    /// Parses what was unsealed. `None`: malformed, unknown, or beyond a limit.
    pub fn parse(plain: &[u8]) -> Option<Self> {
        serde_json::from_slice(plain)
            .ok()
            .filter(Self::is_within_limits)
    }

    /// Whether every field is within its bound.
    pub fn is_within_limits(&self) -> bool {
        match self {
            Self::Chat(signal) => signal.is_within_limits(),
            Self::File(signal) => signal.is_within_limits(),
            Self::Reaction { emoji } => {
                let is_shown = |c: char| chat::is_kept(c) && !c.is_whitespace();
                (1..=limits::REACTION_BYTES).contains(&emoji.len()) && emoji.chars().all(is_shown)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_bounds_hold() {
        let reaction = |emoji: &str| PeerMessage::Reaction {
            emoji: emoji.to_owned(),
        };
        let json = serde_json::to_vec(&reaction("👍")).unwrap();
        assert_eq!(json, r#"{"about":"reaction","emoji":"👍"}"#.as_bytes());
        assert_eq!(PeerMessage::parse(&json), Some(reaction("👍")));
        let bad = [
            r#"{"about":"reaction","emoji":""}"#.to_owned(),
            format!(r#"{{"about":"reaction","emoji":"{}"}}"#, "x".repeat(65)),
            r#"{"about":"reaction","emoji":"a b"}"#.to_owned(),
            "{\"about\":\"reaction\",\"emoji\":\"\u{202e}a\"}".to_owned(),
            r#"{"about":"weather"}"#.to_owned(),
            "[]".to_owned(),
            String::new(),
        ];
        for text in bad {
            assert_eq!(PeerMessage::parse(text.as_bytes()), None, "{text}");
        }
    }
}
