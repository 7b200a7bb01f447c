//! What two members say to each other inside a sealed `signal` or profile. The server sees only
//! the sealed bytes.

use serde::{Deserialize, Serialize};

use crate::ids::{MediaSource, MemberId};
use crate::limits;
use crate::wire::TopologyMode;

/// What a member shows the others. Sealed with the room key before it leaves the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Display name, at most [`limits::NAME_CHARS`] characters; see [`clean_name`].
    pub name: String,
    /// Whether the microphone is muted by its owner.
    pub muted: bool,
    /// Whether the camera is on.
    pub camera_on: bool,
    /// Base64 of the 16 random bytes from which this member's media keys are derived, anew for
    /// every seat; empty where the room's media is not sealed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_salt: String,
    /// Whether the member's hand is raised.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hand_raised: bool,
    /// Of the host, or of who handed the role on: who is host. Nobody takes a server's word for
    /// another host while the one before is there and does not say so here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<MemberId>,
    /// Whether the member shares a screen or window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sharing: bool,
    /// Whether the camera's picture is held back from everybody, because the path carries nothing
    /// but sound.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sound_only: bool,
    /// The same for these members alone; at most as many as a mesh holds, further ones are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sound_only_for: Vec<MemberId>,
    /// The colour the member chose to be shown in, below [`limits::TINTS`]; anything else counts as
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tint: Option<u8>,
    /// In how many packets more each frame of sound should be sent, because the way from the server to
    /// this member loses some; more than 2 counts as 2.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sound_copies: u8,
}

/// A colour there is, or none.
pub fn clean_tint(tint: Option<u8>) -> Option<u8> {
    tint.filter(|tint| *tint < limits::TINTS)
}

fn is_zero(copies: &u8) -> bool {
    *copies == 0
}

/// One step of negotiating a peer connection (JSEP, RFC 8829), carried in a sealed `signal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PeerSignal {
    /// A session description.
    Description {
        /// Offer or answer.
        kind: SdpKind,
        /// The SDP, at most [`limits::SDP_BYTES`].
        sdp: String,
    },
    /// A trickled ICE candidate (RFC 8838).
    Candidate {
        /// The `candidate:` line, at most [`limits::CANDIDATE_BYTES`]; empty means no more follow.
        candidate: String,
        /// The media id it belongs to, if known.
        mid: Option<String>,
        /// The index of the media section it belongs to.
        mline_index: Option<u16>,
    },
    /// Your media reaches me over the path the room is moving to: the other one may close.
    Settled {
        /// Which way the room is moving.
        mode: TopologyMode,
    },
    /// How large one of your pictures is shown here: over the link between the two of us a larger one
    /// is of no use. Holds until it is said anew; before it is said, any size is of use.
    Shown {
        /// Which picture.
        source: MediaSource,
        /// Width in pixels, at most [`limits::PICTURE_PX`]; 0 where it is not shown at all.
        width_px: u32,
        /// Height in pixels, likewise.
        height_px: u32,
    },
    /// The host asks one to mute oneself. Nothing but the person's own action ever does.
    AskMute,
    /// The sender hangs up this link; nothing follows.
    Bye,
    /// About the data link between the two, which has nothing to do with what carries the call.
    Data {
        /// A description, a candidate, a bye, or [`PeerSignal::Need`].
        signal: Box<PeerSignal>,
    },
    /// Inside [`PeerSignal::Data`] only: whether the sender needs the data link there is, which was
    /// not known or has changed. Nobody hangs up what the other one needs.
    Need {
        /// Whether.
        needed: bool,
    },
}

/// Kind of a session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SdpKind {
    /// An offer.
    Offer,
    /// An answer.
    Answer,
}

impl PeerSignal {
    /// Whether every field is within its bound.
    pub fn is_within_limits(&self) -> bool {
        match self {
            Self::Description { sdp, .. } => sdp.len() <= limits::SDP_BYTES,
            Self::Candidate { candidate, mid, .. } => {
                candidate.len() <= limits::CANDIDATE_BYTES
                    && mid.as_ref().is_none_or(|mid| mid.len() <= 64)
            }
            Self::Shown {
                width_px,
                height_px,
                ..
            } => *width_px.max(height_px) <= limits::PICTURE_PX,
            Self::Settled { .. } | Self::AskMute | Self::Bye | Self::Need { .. } => true,
            Self::Data { signal } => {
                let is_of_call = matches!(
                    **signal,
                    Self::Data { .. } | Self::Settled { .. } | Self::Shown { .. } | Self::AskMute
                );
                !is_of_call && signal.is_within_limits()
            }
        }
    }
}

/// Makes any text a display name: control and bidirectional formatting characters removed, white
/// space folded, at most [`limits::NAME_CHARS`] characters, `"Guest"` where nothing is left.
pub fn clean_name(text: &str) -> String {
    let is_formatting = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let visible: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !is_formatting(*c))
        .collect();
    let folded = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    let name: String = folded.chars().take(limits::NAME_CHARS).collect();
    let name = name.trim_end();
    if name.is_empty() {
        "Guest".to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        let cases = [
            ("  Anna \t Berg\n", "Anna Berg"),
            ("\u{202e}evil\u{0007}", "evil"),
            ("", "Guest"),
            ("\u{200b}", "Guest"),
            ("Zoë 🦊", "Zoë 🦊"),
        ];
        for (input, want) in cases {
            assert_eq!(clean_name(input), want);
        }
        assert_eq!(
            clean_name(&"x".repeat(500)).chars().count(),
            limits::NAME_CHARS
        );
    }

    #[test]
    fn oversized_signals_are_out_of_limits() {
        let huge = PeerSignal::Description {
            kind: SdpKind::Offer,
            sdp: "x".repeat(limits::SDP_BYTES + 1),
        };
        assert!(!huge.is_within_limits());
        assert!(PeerSignal::Bye.is_within_limits());
        for (width_px, height_px, want) in [(0, 0, true), (4_096, 9, true), (9, 4_097, false)] {
            let source = MediaSource::Camera;
            let shown = PeerSignal::Shown {
                source,
                width_px,
                height_px,
            };
            assert_eq!(shown.is_within_limits(), want, "{width_px}x{height_px}");
        }
    }

    #[test]
    fn signals_of_data_links_are_wrapped_once() {
        let parse = |json: &str| serde_json::from_str::<PeerSignal>(json).unwrap();
        let cases = [
            (r#"{"type":"bye"}"#.to_owned(), true),
            (r#"{"type":"need","needed":false}"#.to_owned(), true),
            (
                r#"{"type":"description","kind":"offer","sdp":""}"#.to_owned(),
                true,
            ),
            (r#"{"type":"candidate","candidate":""}"#.to_owned(), true),
            (r#"{"type":"settled","mode":"sfu"}"#.to_owned(), false),
            (
                r#"{"type":"shown","source":"camera","width_px":1,"height_px":1}"#.to_owned(),
                false,
            ),
            (r#"{"type":"ask_mute"}"#.to_owned(), false),
            (
                r#"{"type":"data","signal":{"type":"bye"}}"#.to_owned(),
                false,
            ),
            (
                format!(
                    r#"{{"type":"description","kind":"offer","sdp":"{}"}}"#,
                    "x".repeat(limits::SDP_BYTES + 1)
                ),
                false,
            ),
        ];
        for (inner, want) in cases {
            let signal = parse(&format!(r#"{{"type":"data","signal":{inner}}}"#));
            assert_eq!(signal.is_within_limits(), want, "{inner:.80}");
        }
        let deep = r#"{"type":"data","signal":"#.repeat(10_000);
        assert!(serde_json::from_str::<PeerSignal>(&deep).is_err());
    }
}
