//! What a caller decides about one link before it is opened.

use call_protocol::VideoCodec;

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
    /// Whether we may send sound; receiving is always negotiated.
    pub send_audio: bool,
    /// Whether we may send pictures; receiving is always negotiated.
    pub send_video: bool,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            polite: false,
            initiator: false,
            ice_servers: Vec::new(),
            include_loopback: false,
            video_codecs: vec![VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264],
            send_audio: true,
            send_video: true,
        }
    }
}
