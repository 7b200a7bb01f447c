//! Client ↔ server messages: one JSON object per WebSocket text message, tagged by `type`.
//!
//! Order: the client sends `hello`, the server answers `hello`; the client sends `join`, the
//! server answers `joined` or `error`. Everything a member says about itself or to another member
//! is sealed: the server relays base64 it cannot open. `docs/protocol.md` is the full description;
//! its examples are parsed by a test in this crate.
//!
//! Unknown fields are ignored (so that either side may be newer); unknown types are answered with
//! [`ErrorCode::UnknownType`].

use serde::{Deserialize, Serialize};

use crate::care::{Door, Moderation};
use crate::error::ErrorCode;
use crate::ids::{MediaSource, MemberId, RoomId};
use crate::limits;

/// The protocol version spoken here.
pub const PROTOCOL_VERSION: u32 = 1;
/// The WebSocket path.
pub const WEBSOCKET_PATH: &str = "/v1/ws";

/// From the client to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// First message of a connection.
    Hello {
        /// [`PROTOCOL_VERSION`] of the client.
        version: u32,
    },
    /// Takes a seat in a room, opening the room when nobody is in it.
    Join {
        /// Which room.
        room: RoomId,
        /// Base64 of the 32-byte room auth key; must equal the first joiner's.
        auth: String,
        /// Sealed [`crate::peer::Profile`], base64, at most [`limits::SEALED_PROFILE_CHARS`].
        profile: String,
        /// Token of an earlier `joined`, to take the same seat again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<String>,
    },
    /// Relays a sealed [`crate::peer::PeerSignal`] to one member.
    Signal {
        /// The addressee.
        to: MemberId,
        /// Base64, at most [`limits::SEALED_SIGNAL_CHARS`].
        sealed: String,
    },
    /// Replaces one's own profile.
    Update {
        /// As in `join`.
        profile: String,
    },
    /// Gives up the seat.
    Leave,
    /// Which pictures to forward, and how large they are shown; replaces what was asked before.
    /// Sound needs no subscription.
    Subscribe {
        /// At most [`limits::SUBSCRIPTIONS`]; a picture that is not listed is not sent.
        tiles: Vec<Subscription>,
    },
    /// Room care by the host.
    Moderate {
        /// What to do.
        #[serde(flatten)]
        action: Moderation,
    },
    /// An offer to the SFU. Only clients offer; a second offer on the same link renegotiates it,
    /// a new link replaces the older one.
    SfuOffer {
        /// Counts one's own links; the answer repeats it.
        link: u32,
        /// The description, at most [`limits::SFU_SDP_BYTES`].
        sdp: String,
        /// What one sends in which media section. Every section that can receive and is not
        /// listed is a slot the SFU fills as it needs.
        tracks: Vec<SfuTrack>,
    },
    /// A candidate for the SFU.
    SfuCandidate {
        /// As in the offer.
        link: u32,
        /// The candidate line without `a=`.
        candidate: String,
        /// The media id.
        mid: Option<String>,
        /// Index of the media section.
        mline_index: Option<u16>,
    },
    /// The link to the SFU is closed.
    SfuClose {
        /// As in the offer.
        link: u32,
    },
    /// How one's own links do; what the choice of topology is made from. Sent when it changes.
    Report {
        /// Members reached only through a relay, at most [`limits::ROOM_MEMBERS`].
        relayed: Vec<MemberId>,
        /// The uplink does not carry one's pictures for every member.
        uplink_short: bool,
        /// The machine is too slow for the mesh.
        cpu_short: bool,
    },
}

/// What one sends in one media section of an offer to the SFU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SfuTrack {
    /// Index of the media section in the offer.
    pub mline: u16,
    /// What it carries.
    pub source: MediaSource,
    /// Which simulcast layer, 0 being the largest. Absent for sound, and for a section that
    /// carries all layers told apart by `rid`, ordered by the
    /// sizes their dependency descriptors tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<u8>,
}

/// A picture one wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Whose.
    pub member: MemberId,
    /// Which of theirs.
    pub source: MediaSource,
    /// Width it is shown in, in physical pixels.
    pub width_px: u32,
    /// Height it is shown in, in physical pixels.
    pub height_px: u32,
}

/// From the server to the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Answer to `hello`.
    Hello {
        /// [`PROTOCOL_VERSION`] of the server.
        version: u32,
    },
    /// The seat is taken.
    Joined {
        /// One's own id.
        member: MemberId,
        /// Secret that takes this seat again after a lost connection, at most 64 characters.
        resume: String,
        /// Whether the seat was resumed (the other members saw nothing).
        resumed: bool,
        /// The others in the room.
        members: Vec<RosterEntry>,
        /// How media flows in this room.
        topology: TopologyMode,
        /// Who the server takes as host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<MemberId>,
        /// Who else may come in.
        #[serde(default, skip_serializing_if = "Door::is_open")]
        door: Door,
        /// STUN servers (`stun:host:port`, RFC 7064) that tell a member its public address; more
        /// than [`limits::STUN_SERVERS`] or longer than [`limits::STUN_URL_CHARS`] are ignored.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stun: Vec<String>,
        /// A relay for whoever reaches somebody in no other way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relay: Option<RelayGrant>,
    },
    /// One waits to be let in; `joined` or an error follows.
    Waiting,
    /// Somebody waits to be let in. To the host only.
    Knock {
        /// Names them while they wait.
        knock: u32,
        /// Their sealed profile.
        profile: String,
    },
    /// Somebody does not wait any more, let in or not. To the host only.
    KnockGone {
        /// As in `knock`.
        knock: u32,
    },
    /// Others may come in from now on.
    Door {
        /// Who.
        door: Door,
    },
    /// Who the server takes as host from now on.
    Host {
        /// Who.
        member: MemberId,
    },
    /// New credentials for the relay, before the old ones expire.
    Relay {
        /// The grant; replaces the earlier one.
        relay: RelayGrant,
    },
    /// Answer to `sfu_offer`. The SFU's candidates are in it.
    SfuAnswer {
        /// As in the offer.
        link: u32,
        /// The description, at most [`limits::SFU_SDP_BYTES`].
        sdp: String,
    },
    /// The SFU gave a link up, or refuses its offer; a new link may be tried.
    SfuClosed {
        /// As in the offer.
        link: u32,
        /// Why.
        code: ErrorCode,
    },
    /// Which of one's own layers anybody receives; the others need not be encoded.
    SfuLayers {
        /// Which of one's own pictures.
        source: MediaSource,
        /// Layers 0 (largest) to 2.
        wanted: [bool; limits::SFU_LAYERS],
    },
    /// Whose media the slots of one's link carry from now on. Sealed rooms tell the same inside
    /// each packet; the CSRC of each packet is the member's id as well.
    SfuSlots {
        /// As in the offer.
        link: u32,
        /// Every slot in use.
        slots: Vec<SfuSlot>,
    },
    /// Somebody took a seat.
    MemberJoined {
        /// Who.
        member: MemberId,
        /// Their sealed profile.
        profile: String,
    },
    /// Somebody's seat is free.
    MemberLeft {
        /// Who.
        member: MemberId,
        /// Why.
        reason: LeaveReason,
    },
    /// Somebody's profile changed.
    MemberUpdated {
        /// Who.
        member: MemberId,
        /// The new sealed profile.
        profile: String,
    },
    /// A sealed signal from a member.
    Signal {
        /// The sender, as the server knows it.
        from: MemberId,
        /// Base64.
        sealed: String,
    },
    /// Media shall flow another way.
    Topology {
        /// The new way.
        mode: TopologyMode,
        /// Why, for logs and the headless client.
        reason: String,
    },
    /// A request failed. The connection stays usable unless `fatal`.
    Error {
        /// Stable code.
        code: ErrorCode,
        /// Text for logs.
        detail: String,
        /// Whether the server closes the connection after this.
        fatal: bool,
    },
}

/// Leave to use a TURN relay (RFC 8656) for a while.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayGrant {
    /// `turn:host:port?transport=udp`, `…tcp`, `turns:host:port?transport=tcp` (RFC 7065); more
    /// than [`limits::RELAY_URLS`] or longer than [`limits::STUN_URL_CHARS`] are ignored.
    pub urls: Vec<String>,
    /// User name, at most [`limits::RELAY_SECRET_CHARS`].
    pub username: String,
    /// Password, likewise.
    pub credential: String,
    /// Seconds from now until it expires.
    pub ttl_s: u32,
}

impl std::fmt::Debug for RelayGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayGrant")
            .field("urls", &self.urls)
            .field("ttl_s", &self.ttl_s)
            .finish_non_exhaustive()
    }
}

/// What a slot of a link to the SFU carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SfuSlot {
    /// Media id of the section.
    pub mid: String,
    /// Whose media.
    pub member: MemberId,
    /// Which of theirs.
    pub source: MediaSource,
}

/// One member as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// Who.
    pub member: MemberId,
    /// Their sealed profile, base64.
    pub profile: String,
}

/// Why a seat became free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// The member left.
    Left,
    /// The connection was lost and not resumed in time.
    TimedOut,
    /// The member was removed.
    Removed,
}

/// How media flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum TopologyMode {
    /// Everybody directly to everybody.
    Mesh,
    /// Through the server's forwarding unit.
    Sfu,
}

/// Why a text is not a [`ClientMessage`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ParseError {
    /// [`ErrorCode::MessageTooLarge`], [`ErrorCode::UnknownType`] or [`ErrorCode::BadMessage`].
    pub code: ErrorCode,
    /// Text for logs; holds nothing of the message's content.
    pub detail: String,
}

impl ParseError {
    fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

/// Every `type` a client may send.
pub const CLIENT_TYPES: [&str; 11] = [
    "hello",
    "join",
    "signal",
    "update",
    "leave",
    "subscribe",
    "moderate",
    "sfu_offer",
    "sfu_candidate",
    "sfu_close",
    "report",
];

/// Every `type` the server may send.
pub const SERVER_TYPES: [&str; 18] = [
    "hello",
    "joined",
    "waiting",
    "knock",
    "knock_gone",
    "door",
    "host",
    "member_joined",
    "member_left",
    "member_updated",
    "signal",
    "topology",
    "relay",
    "sfu_answer",
    "sfu_closed",
    "sfu_layers",
    "sfu_slots",
    "error",
];

impl ClientMessage {
    /// The `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Join { .. } => "join",
            Self::Signal { .. } => "signal",
            Self::Update { .. } => "update",
            Self::Leave => "leave",
            Self::Subscribe { .. } => "subscribe",
            Self::Moderate { .. } => "moderate",
            Self::SfuOffer { .. } => "sfu_offer",
            Self::SfuCandidate { .. } => "sfu_candidate",
            Self::SfuClose { .. } => "sfu_close",
            Self::Report { .. } => "report",
        }
    }

    /// Parses and validates one text message.
    ///
    /// # Errors
    /// Too large, not JSON, unknown type, or a field missing, ill-typed or out of its bound.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > limits::MESSAGE_BYTES {
            return Err(ParseError::new(
                ErrorCode::MessageTooLarge,
                "message too large",
            ));
        }
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
            ParseError::new(ErrorCode::BadMessage, format!("not JSON: {error}"))
        })?;
        let kind = value
            .get("type")
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| ParseError::new(ErrorCode::BadMessage, "no type"))?;
        if !CLIENT_TYPES.contains(&kind) {
            return Err(ParseError::new(ErrorCode::UnknownType, "unknown type"));
        }
        let message: Self = serde_json::from_value(value)
            .map_err(|_| ParseError::new(ErrorCode::BadMessage, "missing or ill-typed field"))?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), ParseError> {
        let bounded = |text: &str, limit: usize, what: &str| {
            if text.len() <= limit {
                Ok(())
            } else {
                Err(ParseError::new(
                    ErrorCode::MessageTooLarge,
                    format!("{what} too large"),
                ))
            }
        };
        let few = |count: usize, limit: usize, what: &str| {
            if count <= limit {
                Ok(())
            } else {
                Err(ParseError::new(
                    ErrorCode::MessageTooLarge,
                    format!("too many {what}"),
                ))
            }
        };
        match self {
            Self::Join {
                auth,
                profile,
                resume,
                ..
            } => {
                bounded(auth, 64, "auth")?;
                bounded(profile, limits::SEALED_PROFILE_CHARS, "profile")?;
                bounded(resume.as_deref().unwrap_or_default(), 64, "resume")
            }
            Self::Signal { sealed, .. } => bounded(sealed, limits::SEALED_SIGNAL_CHARS, "sealed"),
            Self::Update { profile } => bounded(profile, limits::SEALED_PROFILE_CHARS, "profile"),
            Self::Subscribe { tiles } => few(tiles.len(), limits::SUBSCRIPTIONS, "tiles"),
            Self::SfuOffer { sdp, tracks, .. } => {
                bounded(sdp, limits::SFU_SDP_BYTES, "sdp")?;
                few(tracks.len(), limits::SFU_TRACKS, "tracks")
            }
            Self::SfuCandidate { candidate, mid, .. } => {
                bounded(candidate, limits::CANDIDATE_BYTES, "candidate")?;
                bounded(mid.as_deref().unwrap_or_default(), limits::MID_CHARS, "mid")
            }
            Self::Report { relayed, .. } => few(relayed.len(), limits::ROOM_MEMBERS, "relayed"),
            Self::Hello { .. } | Self::Leave | Self::Moderate { .. } | Self::SfuClose { .. } => {
                Ok(())
            }
        }
    }
}

impl ServerMessage {
    /// The `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Joined { .. } => "joined",
            Self::Waiting => "waiting",
            Self::Knock { .. } => "knock",
            Self::KnockGone { .. } => "knock_gone",
            Self::Door { .. } => "door",
            Self::Host { .. } => "host",
            Self::MemberJoined { .. } => "member_joined",
            Self::MemberLeft { .. } => "member_left",
            Self::MemberUpdated { .. } => "member_updated",
            Self::Signal { .. } => "signal",
            Self::Topology { .. } => "topology",
            Self::Relay { .. } => "relay",
            Self::SfuAnswer { .. } => "sfu_answer",
            Self::SfuClosed { .. } => "sfu_closed",
            Self::SfuLayers { .. } => "sfu_layers",
            Self::SfuSlots { .. } => "sfu_slots",
            Self::Error { .. } => "error",
        }
    }

    /// Parses one text message.
    ///
    /// # Errors
    /// Too large, not JSON, or a field missing or ill-typed.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > limits::MESSAGE_BYTES * 4 {
            return Err(ParseError::new(
                ErrorCode::MessageTooLarge,
                "message too large",
            ));
        }
        serde_json::from_str(text)
            .map_err(|_| ParseError::new(ErrorCode::BadMessage, "not a server message"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_round_trips() {
        let join = ClientMessage::Join {
            room: RoomId::from_bytes([7; 16]),
            auth: "YQ==".into(),
            profile: "Yg==".into(),
            resume: None,
        };
        let text = serde_json::to_string(&join).unwrap();
        assert_eq!(ClientMessage::parse(&text).unwrap(), join);
    }

    #[test]
    fn bad_input_has_its_code() {
        let huge = format!(
            "{{\"type\":\"leave\",\"x\":\"{}\"}}",
            "a".repeat(limits::MESSAGE_BYTES)
        );
        let fat_profile = format!(
            "{{\"type\":\"update\",\"profile\":\"{}\"}}",
            "a".repeat(limits::SEALED_PROFILE_CHARS + 1)
        );
        let cases = [
            ("", ErrorCode::BadMessage),
            ("[]", ErrorCode::BadMessage),
            ("{\"type\":7}", ErrorCode::BadMessage),
            ("{\"type\":\"dance\"}", ErrorCode::UnknownType),
            (
                "{\"type\":\"signal\",\"to\":\"x\",\"sealed\":\"\"}",
                ErrorCode::BadMessage,
            ),
            (
                "{\"type\":\"join\",\"room\":\"zz\",\"auth\":\"\",\"profile\":\"\"}",
                ErrorCode::BadMessage,
            ),
            ("{\"type\":\"moderate\"}", ErrorCode::BadMessage),
            (
                "{\"type\":\"moderate\",\"action\":\"dance\"}",
                ErrorCode::BadMessage,
            ),
            (
                "{\"type\":\"moderate\",\"action\":\"door\",\"door\":\"ajar\"}",
                ErrorCode::BadMessage,
            ),
            (
                "{\"type\":\"moderate\",\"action\":\"admit\",\"knock\":-1}",
                ErrorCode::BadMessage,
            ),
            (&huge, ErrorCode::MessageTooLarge),
            (&fat_profile, ErrorCode::MessageTooLarge),
        ];
        for (text, want) in cases {
            assert_eq!(
                ClientMessage::parse(text).unwrap_err().code,
                want,
                "{}",
                &text[..text.len().min(60)]
            );
        }
    }

    #[test]
    fn every_client_type_is_listed() {
        let messages = [
            ClientMessage::Hello { version: 1 },
            ClientMessage::Leave,
            ClientMessage::Subscribe {
                tiles: vec![Subscription {
                    member: MemberId(2),
                    source: MediaSource::Camera,
                    width_px: 640,
                    height_px: 360,
                }],
            },
            ClientMessage::Moderate {
                action: Moderation::End,
            },
            ClientMessage::Moderate {
                action: Moderation::Door { door: Door::Knock },
            },
            ClientMessage::Moderate {
                action: Moderation::Remove {
                    member: MemberId(2),
                },
            },
            ClientMessage::SfuOffer {
                link: 1,
                sdp: "v=0".to_owned(),
                tracks: vec![SfuTrack {
                    mline: 0,
                    source: MediaSource::Microphone,
                    layer: None,
                }],
            },
            ClientMessage::SfuCandidate {
                link: 1,
                candidate: "candidate:1".to_owned(),
                mid: None,
                mline_index: Some(0),
            },
            ClientMessage::SfuClose { link: 1 },
            ClientMessage::Report {
                relayed: vec![MemberId(2)],
                uplink_short: true,
                cpu_short: false,
            },
        ];
        for message in messages {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(ClientMessage::parse(&text).unwrap(), message);
        }
    }
}
