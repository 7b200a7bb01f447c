//! What a caller decides about one link before it is opened.

use call_protocol::{VideoCodec, limits};

use crate::event::MediaKind;

/// A STUN or TURN server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp` or `…tcp`, `turns:host:port?transport=tcp`.
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
    /// Whether this side makes the first offer. The other one waits for it; both may. Towards the
    /// SFU always: the server never offers.
    pub initiator: bool,
    /// Servers that help finding a path; none is needed on one machine or one LAN.
    pub ice_servers: Vec<IceServer>,
    /// Whether to offer 127.0.0.1 too. Needed on hosts that have no other interface, and in tests.
    pub include_loopback: bool,
    /// What is offered and accepted, most preferred first. Duplicates are ignored.
    pub video_codecs: Vec<VideoCodec>,
    /// Which media sections there are.
    pub shape: LinkShape,
    /// Whether only paths through a relay are used; a link without a TURN server cannot be opened
    /// then.
    pub relay_only: bool,
}

/// The media sections of a link, in the order in which they appear in every description. A section
/// for data channels always comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkShape {
    /// To a member: one section for sound and, where there are codecs, one for pictures and one for a
    /// shared screen, both directions in each. A screen is started and stopped without negotiating: its
    /// section merely carries something or nothing.
    Peer {
        /// Whether we may send sound; receiving is always negotiated.
        send_audio: bool,
        /// Whether we may send pictures; receiving is always negotiated.
        send_video: bool,
        /// Whether there is a section for screens.
        screen: bool,
    },
    /// To a member, data channels only.
    Data,
    /// To the SFU: m-line 0 for our sound, m-line 1 + n for layer n of our picture and the next one for
    /// our screen, each sending only, then slots for what others send, each receiving only: sound, then pictures. Media ids
    /// are the m-lines' numbers. Counts beyond the protocol's limits are cut.
    Sfu {
        /// Simulcast layers we send, layer 0 (largest) first; at most [`limits::SFU_LAYERS`].
        video_layers: u8,
        /// Whether there is a section for our screen.
        screen: bool,
        /// Sections for others' sound; at most [`limits::SFU_AUDIO_SLOTS`].
        audio_slots: u8,
        /// Sections for others' pictures; at most [`limits::SFU_VIDEO_SLOTS`].
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
                screen: false,
            },
            relay_only: false,
        }
    }
}

impl LinkConfig {
    /// Whether we may send media of a kind.
    pub(crate) fn sends(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => match self.shape {
                LinkShape::Peer { send_audio, .. } => send_audio,
                LinkShape::Data => false,
                LinkShape::Sfu { .. } => true,
            },
            MediaKind::Video => self.video_layers() > 0,
        }
    }

    /// Streams of pictures we send, one per layer; at most [`limits::SFU_LAYERS`].
    pub(crate) fn video_layers(&self) -> usize {
        let wanted = match self.shape {
            LinkShape::Peer { send_video, .. } => usize::from(send_video),
            LinkShape::Data => 0,
            LinkShape::Sfu { video_layers, .. } => usize::from(video_layers),
        };
        if self.video_codecs.is_empty() {
            return 0;
        }
        wanted.min(limits::SFU_LAYERS)
    }

    /// Whether there is a section for a screen of ours.
    pub(crate) fn has_screen(&self) -> bool {
        let wanted = match self.shape {
            LinkShape::Peer { screen, .. } | LinkShape::Sfu { screen, .. } => screen,
            LinkShape::Data => false,
        };
        wanted && !self.video_codecs.is_empty()
    }

    /// Media sections that only receive.
    pub(crate) fn receiving_sections(&self, kind: MediaKind) -> usize {
        let wanted = match (self.shape, kind) {
            (LinkShape::Peer { .. }, _) => usize::from(!self.sends(kind)),
            (LinkShape::Data, _) => 0,
            (LinkShape::Sfu { audio_slots, .. }, MediaKind::Audio) => {
                usize::from(audio_slots).min(limits::SFU_AUDIO_SLOTS)
            }
            (LinkShape::Sfu { video_slots, .. }, MediaKind::Video) => {
                usize::from(video_slots).min(limits::SFU_VIDEO_SLOTS)
            }
        };
        if kind == MediaKind::Video && self.video_codecs.is_empty() {
            return 0;
        }
        wanted
    }

    /// Largest description we make and take, in bytes.
    pub(crate) fn sdp_bytes(&self) -> usize {
        match self.shape {
            LinkShape::Sfu { .. } => limits::SFU_SDP_BYTES,
            LinkShape::Peer { .. } | LinkShape::Data => limits::SDP_BYTES,
        }
    }
}
