//! The chat's messages.
//!
//! Every run of a client is an *author*: a random number that outlives seats and connections. An
//! author numbers its entries from 0 without gaps. Members compare what they have ([`ChatHead`]) and
//! hand each other what is missing, whoever wrote it; so the log survives lost messages, switches of
//! topology and reconnects, and late joiners get it from anybody.
//!
//! The log's order is the same everywhere: by `clock` (a Lamport clock: one more than the highest
//! its author knew), then author, then number.

use serde::{Deserialize, Serialize};

use crate::limits;

/// One run of a client: 16 lowercase hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuthorId(String);

impl AuthorId {
    /// Makes the id of 8 random bytes.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AuthorId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 16 && text.bytes().all(hex) {
            Ok(Self(text))
        } else {
            Err("an author is 16 lowercase hex digits")
        }
    }
}

impl From<AuthorId> for String {
    fn from(id: AuthorId) -> Self {
        id.0
    }
}

/// What is said about the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatSignal {
    /// What the sender has. Answered by [`Self::Entries`] that are missing there, and by the own
    /// heads if something is missing here.
    Heads {
        /// At most [`limits::CHAT_AUTHORS`].
        heads: Vec<ChatHead>,
    },
    /// Entries, own or others'.
    Entries {
        /// At most [`limits::CHAT_BATCH`], in the log's order.
        entries: Vec<ChatEntry>,
    },
}

/// What is known of one author.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatHead {
    /// Who.
    pub author: AuthorId,
    /// Entries below this number are not kept, or were never received, and are not asked for.
    pub from: u32,
    /// The number after the last entry that is there without a gap since `from`.
    pub next: u32,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatEntry {
    /// Who wrote it.
    pub author: AuthorId,
    /// The author's count.
    pub number: u32,
    /// Lamport clock.
    pub clock: u64,
    /// The author's display name when it was written, at most [`limits::NAME_CHARS`].
    pub name: String,
    /// What was written, 1 to [`limits::CHAT_CHARS`] characters.
    pub text: String,
    /// The author's wall clock, in milliseconds since 1970; for display only.
    pub sent_at_ms: u64,
}

impl ChatSignal {
    /// Whether every field is within its bound.
    pub fn is_within_limits(&self) -> bool {
        match self {
            Self::Heads { heads } => heads.len() <= limits::CHAT_AUTHORS,
            Self::Entries { entries } => {
                entries.len() <= limits::CHAT_BATCH
                    && entries.iter().all(ChatEntry::is_within_limits)
            }
        }
    }
}

impl ChatEntry {
    fn is_within_limits(&self) -> bool {
        let chars = self.text.chars().count();
        (1..=limits::CHAT_CHARS).contains(&chars) && self.name.chars().count() <= limits::NAME_CHARS
    }
}
