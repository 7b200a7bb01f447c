//! Identifiers shared by every boundary.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A seat in a room, assigned by the server: unique within the room's lifetime, given again only to
/// whoever had it, kept across a resume. Of newcomers, larger ids joined later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(transparent)]
pub struct MemberId(pub u32);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the server knows a room by: 32 lowercase hex digits derived from the room code.
/// Knowing it does not reveal the code.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(String);

/// The text is not 32 lowercase hex digits.
#[derive(Debug, thiserror::Error)]
#[error("a room id is 32 lowercase hex digits")]
pub struct BadRoomId;

impl RoomId {
    /// Makes the id from its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomId {
    type Error = BadRoomId;

    fn try_from(text: String) -> Result<Self, BadRoomId> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 32 && text.bytes().all(hex) {
            Ok(Self(text))
        } else {
            Err(BadRoomId)
        }
    }
}

impl From<RoomId> for String {
    fn from(id: RoomId) -> Self {
        id.0
    }
}

/// Shortened on purpose: room ids are correlatable, logs need only tell rooms apart.
impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomId({}…)", &self.0[..6])
    }
}

/// Which of a member's sources a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum MediaSource {
    /// The camera (or the synthetic picture standing in for it).
    Camera,
    /// A shared screen or window.
    Screen,
    /// The microphone.
    Microphone,
}

/// A video codec that can be negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// VP8, RFC 6386.
    Vp8,
    /// VP9 profile 0.
    Vp9,
    /// H.264 constrained baseline, packetization mode 1.
    H264,
}

#[cfg(test)]
mod tests {
    use super::RoomId;

    #[test]
    fn room_id_accepts_only_lowercase_hex_of_full_length() {
        let good = "00112233445566778899aabbccddeeff".to_owned();
        assert_eq!(RoomId::try_from(good.clone()).unwrap().as_str(), good);
        for bad in [
            "",
            "0011",
            "00112233445566778899AABBCCDDEEFF",
            "00112233445566778899aabbccddeefg",
        ] {
            assert!(RoomId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
