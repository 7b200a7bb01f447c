//! Pictures on their way to the UI: the binary frame channel.
//!
//! * [`pump`]: which frames go out when: coalescing, credits, skipping to keyframes. Pure.
//! * [`FrameSink`]: where finished messages go.
//!
//! The layout of a message is defined in [`call_protocol::ui::frame`].
//!
//! Deliberately not here: decoding and scaling (the engine's picture threads) and the transport to
//! the webview (src-tauri).

use bytes::Bytes;
use call_protocol::{MediaSource, MemberId, VideoCodec};

pub mod pump;

/// Takes finished binary messages of the frame channel, in order.
///
/// Called on the engine's driver task: must neither block nor wait.
pub trait FrameSink: Send + Sync + 'static {
    /// Hands one message over.
    fn send(&self, message: Vec<u8>);
}

/// Names a tile: whose picture, and which of their pictures.
pub type TileKey = (MemberId, MediaSource);

/// One complete encoded frame, ready to be shown by a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The codec; H.264 as an Annex B byte stream.
    pub codec: VideoCodec,
    /// Decodable on its own.
    pub keyframe: bool,
    /// Width in pixels.
    pub width_px: u16,
    /// Height in pixels.
    pub height_px: u16,
    /// Presentation time in microseconds.
    pub timestamp_us: u64,
    /// The bitstream.
    pub data: Bytes,
}

/// One decoded picture for a tile that cannot decode by itself, and for the self view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPicture {
    /// Width in pixels.
    pub width_px: u16,
    /// Height in pixels.
    pub height_px: u16,
    /// Presentation time in microseconds.
    pub timestamp_us: u64,
    /// Planes Y, U, V without padding.
    pub i420: Vec<u8>,
}
