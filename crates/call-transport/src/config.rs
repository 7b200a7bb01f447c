//! What a caller decides about one link before it is opened.

use call_protocol::VideoCodec;

use crate::event::MediaKind;

/// A STUN or TURN server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port` or `turn:host:port?transport=udp`. TURN over TCP or TLS is not spoken yet:
    /// such URLs yield no candidate.
    pub urls: Vec<String>,
    /// User name, required for TURN.
    pub username: String,
    /// Password, required for TURN.
    pub credential: String,
}

/// How one link is opened. Both ends decide alone, except that exactly one of the two must be
/// [`polite`](Self::polite).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Whether this side yields when both sides offer at once.
    pub polite: bool,
    /// Whether this side makes the first offer. The other one waits for it; both may.
    pub initiator: bool,
    /// Servers that help finding a path; none is needed on one machine or one LAN.
    pub ice_servers: Vec<IceServer>,
    /// Whether to offer 127.0.0.1 too. Needed on hosts that have no other interface, and in tests.
    pub include_loopback: bool,
    /// What is offered and accepted, most preferred first. Duplicates are ignored.
    pub video_codecs: Vec<VideoCodec>,
    /// Which media sections there are.
    pub shape: LinkShape,
    /// Whether only paths through a relay are used.
    pub relay_only: bool,
}

/// The media sections of a link, in the order in which they appear in every description. A section
/// for data channels always comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkShape {
    /// To a member: one section for sound and, where there are codecs, one for pictures, both
    /// directions in each.
    Peer {
        /// Whether we may send sound; receiving is always negotiated.
        send_audio: bool,
        /// Whether we may send pictures; receiving is always negotiated.
        send_video: bool,
    },
    /// To a member, data channels only.
    Data,
    /// To the SFU: a section for our sound, one per layer of our picture, then slots for what
    /// others send.
    Sfu {
        /// Simulcast layers we send, layer 0 (largest) first.
        video_layers: u8,
        /// Sections for others' sound.
        audio_slots: u8,
        /// Sections for others' pictures.
        video_slots: u8,
    },
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            polite: false,
            initiator: false,
            ice_servers: Vec::new(),
            include_loopback: false,
            video_codecs: vec![VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264],
            shape: LinkShape::Peer {
                send_audio: true,
                send_video: true,
            },
            relay_only: false,
        }
    }
}

impl LinkConfig {
    /// Whether we may send media of a kind.
    pub(crate) fn sends(&self, kind: MediaKind) -> bool {
        match (self.shape, kind) {
            (LinkShape::Peer { send_audio, .. }, MediaKind::Audio) => send_audio,
            (LinkShape::Peer { send_video, .. }, MediaKind::Video) => send_video,
            (LinkShape::Data, _) => false,
            (LinkShape::Sfu { .. }, MediaKind::Audio) => true,
            (LinkShape::Sfu { video_layers, .. }, MediaKind::Video) => video_layers > 0,
        }
    }
}
