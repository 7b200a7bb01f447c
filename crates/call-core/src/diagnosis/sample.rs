//! One second of a call as plain figures.

use call_protocol::ui::network::{LayerView, PathView};
use call_protocol::{MemberId, VideoCodec};

use crate::input::LinkId;

/// One second of a call. Shares are 0 to 1; figures without a source are 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatsSample {
    /// The links that carry, or carried, the call; data links are left out. Links that are being set
    /// up do not belong here.
    pub links: Vec<LinkSample>,
    /// Everybody else.
    pub members: Vec<MemberSample>,
    /// The sizes of one's picture that are sent.
    pub layers: Vec<LayerView>,
    /// Payload bits per second of one copy of what is sent.
    pub bitrate_bps: u64,
    /// Share of the time the encoder works.
    pub encoder_busy: f64,
    /// How late the engine's own timer for this sample came, in milliseconds.
    pub lag_ms: f64,
}

/// What one link did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSample {
    /// Which.
    pub id: LinkId,
    /// Nothing comes through now.
    pub is_interrupted: bool,
    /// Its kind of path, never [`PathView::Sfu`].
    pub path: PathView,
    /// Round trip in milliseconds, once known.
    pub rtt_ms: Option<f64>,
    /// Share of our packets that did not arrive at first, as the other end reports.
    pub loss_out: f64,
    /// Share of the packets that did not arrive here at first; the worst stream's.
    pub loss_in: f64,
    /// Bits per second sent, repetitions included.
    pub sent_bps: u64,
    /// What the congestion controller allows, bits per second; 0 while unknown.
    pub target_bps: u64,
    /// What would be sent if the link carried everything, bits per second.
    pub wanted_bps: u64,
}

/// What came from one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberSample {
    /// Who.
    pub id: MemberId,
    /// Of the picture, once one arrived.
    pub codec: Option<VideoCodec>,
    /// Of the picture in pixels.
    pub width: u32,
    /// Of the picture in pixels.
    pub height: u32,
    /// Pictures per second.
    pub fps: f64,
    /// Payload bits per second of picture and sound.
    pub bitrate_bps: u64,
    /// Share of the time in which the picture stood still against its own rhythm.
    pub frozen: f64,
    /// Share of the sound's packets that were not there when due.
    pub sound_loss: f64,
    /// Share of the sound that was made up.
    pub concealed: f64,
    /// Interarrival jitter of the sound in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
}
