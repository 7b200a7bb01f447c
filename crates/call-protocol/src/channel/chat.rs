//! The chat's messages.
//!
//! Every run of a client is an *author*: a random number that outlives seats and connections. An
//! author numbers its entries from 0 without gaps. Members compare what they have ([`ChatHead`]) and
//! hand each other what is missing, whoever wrote it; so the log survives lost messages, switches of
//! topology and reconnects, and late joiners get it from anybody.
//!
//! The log's order is the same everywhere: by `clock` (a Lamport clock: one more than the highest
//! its author knew), then author, then number.
//!
//! | message | when | answered with |
//! |---|---|---|
//! | [`ChatSignal::Entries`] | something new was said; a member lacks something | heads, [`HeadsPurpose::Ack`] |
//! | [`ChatSignal::Heads`] | see [`HeadsPurpose`] | as its purpose says |
//! | [`ChatSignal::History`] | a newcomer asked | |

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
    /// What the sender has.
    Heads {
        /// The author the sender is.
        sender: AuthorId,
        /// Why this is sent.
        purpose: HeadsPurpose,
        /// At most [`limits::CHAT_AUTHORS`].
        heads: Vec<ChatHead>,
    },
    /// Where the last [`limits::CHAT_HISTORY`] entries begin, for a newcomer: it starts every author
    /// it has nothing of at [`ChatHead::from`]. The entries follow.
    History {
        /// The highest clock the sender knows: what the newcomer says comes after it.
        clock: u64,
        /// At most [`limits::CHAT_AUTHORS`].
        starts: Vec<ChatHead>,
    },
    /// Entries, own or others'.
    Entries {
        /// The author the sender is.
        sender: AuthorId,
        /// At most [`limits::CHAT_BATCH`], in the log's order.
        entries: Vec<ChatEntry>,
    },
}

/// Why heads are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadsPurpose {
    /// Entries came. Only their authors are listed.
    Ack,
    /// So that the receiver sees what it or the sender lacks. Every author is listed.
    State,
    /// The sender lacks something. Every author is listed; answered with heads of purpose
    /// [`Self::State`] and the entries that are missing in the list, the log's first ones first,
    /// perhaps not all.
    Missing,
    /// The sender is new. Answered with [`ChatSignal::History`].
    History,
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
    /// What was written, 1 to [`limits::CHAT_CHARS`] characters; see [`clean_text`].
    pub text: String,
    /// The author's wall clock, in milliseconds since 1970; for display only.
    pub sent_at_ms: u64,
}

impl ChatSignal {
    /// Whether every field is within its bound.
    pub fn is_within_limits(&self) -> bool {
        match self {
            Self::Heads { heads, .. } | Self::History { starts: heads, .. } => {
                heads.len() <= limits::CHAT_AUTHORS
            }
            Self::Entries { entries, .. } => {
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

/// Makes any text a message's: other line ends become `\n`; control characters but `\n` and tab,
/// and characters that embed, override or isolate a direction of writing, are removed; white space
/// at the ends is cut off. What joins emoji and letters stays. Cleaning a text twice changes nothing.
pub fn clean_text(text: &str) -> String {
    let one_end = text.replace("\r\n", "\n");
    let lines = one_end.chars().map(|c| match c {
        '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
        c => c,
    });
    let kept: String = lines.filter(|c| is_kept(*c)).collect();
    kept.trim().to_owned()
}

/// Whether a character may be in a text that others see.
pub(crate) fn is_kept(c: char) -> bool {
    let is_layout = matches!(c, '\n' | '\t');
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}');
    is_layout || !(c.is_control() || turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned() {
        let cases = [
            ("  hi \n", "hi"),
            ("a\r\nb\rc\u{2028}d\u{85}e", "a\nb\nc\nd\ne"),
            ("a\n\n\tb", "a\n\n\tb"),
            ("a\u{0}\u{7}\u{1b}[31mb\u{7f}\u{9b}", "a[31mb"),
            ("\u{202e}live\u{202c} \u{2066}x\u{2069}\u{feff}", "live x"),
            (
                "👩\u{200d}💻 می\u{200c}خواهم \u{5d0}\u{200f}!",
                "👩\u{200d}💻 می\u{200c}خواهم \u{5d0}\u{200f}!",
            ),
            ("\u{202e} \n\u{202c}", ""),
            ("\u{202e} \u{0} a", "a"),
        ];
        for (input, want) in cases {
            let got = clean_text(input);
            assert_eq!(got, want, "{input:?}");
            assert_eq!(clean_text(&got), got, "twice");
        }
    }

    #[test]
    fn entries_and_lists_are_bounded() {
        let author = AuthorId::from_bytes([0xab; 8]);
        let entry = |chars: usize, name: usize| ChatEntry {
            author: author.clone(),
            number: 0,
            clock: 1,
            name: "n".repeat(name),
            text: "\u{10ffff}".repeat(chars),
            sent_at_ms: 0,
        };
        let entries = |entries: Vec<ChatEntry>| ChatSignal::Entries {
            sender: author.clone(),
            entries,
        };
        let heads = |count| ChatSignal::Heads {
            sender: author.clone(),
            purpose: HeadsPurpose::State,
            heads: vec![
                ChatHead {
                    author: author.clone(),
                    from: 0,
                    next: 1
                };
                count
            ],
        };
        let (chars, name) = (limits::CHAT_CHARS, limits::NAME_CHARS);
        let cases = [
            (entries(vec![entry(chars, name); limits::CHAT_BATCH]), true),
            (entries(vec![entry(1, 0); limits::CHAT_BATCH + 1]), false),
            (entries(vec![entry(0, 1)]), false),
            (entries(vec![entry(chars + 1, 1)]), false),
            (entries(vec![entry(1, name + 1)]), false),
            (heads(limits::CHAT_AUTHORS), true),
            (heads(limits::CHAT_AUTHORS + 1), false),
        ];
        for (signal, want) in cases {
            assert_eq!(signal.is_within_limits(), want, "{signal:?}");
            let bytes = serde_json::to_vec(&signal).unwrap().len();
            assert!(
                !want || bytes < limits::SEALED_MESSAGE_BYTES - 1_000,
                "{bytes}"
            );
        }
    }

    #[test]
    fn authors_are_sixteen_hex_digits() {
        for (text, want) in [
            ("0123456789abcdef", true),
            ("0123456789ABCDEF", false),
            ("0123456789abcde", false),
            ("0123456789abcdeg", false),
        ] {
            let parsed = serde_json::from_str::<AuthorId>(&format!("\"{text}\""));
            assert_eq!(parsed.is_ok(), want, "{text}");
        }
    }
}
