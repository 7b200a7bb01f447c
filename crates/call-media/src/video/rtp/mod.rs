//! RTP payload formats of video, and the assembler that puts frames back together.
//!
//! * VP8: RFC 7741, 15-bit picture id.
//! * VP9: RFC 9628, non-flexible mode, one spatial and one temporal layer; flexible mode and
//!   several layers are read.
//! * H.264: RFC 6184 packetization mode 1: single NAL units, STAP-A for parameter sets, FU-A.
//!
//! Only payloads: RTP headers, retransmission and feedback messages belong to the transport.
//! Reading takes bytes from the network: no payload panics.

mod assembler;
mod h264;
mod vp8;
mod vp9;

use bytes::Bytes;
use call_protocol::VideoCodec;

pub use assembler::{AssembledFrame, AssemblerStats, REORDER_WAIT, VideoAssembler};

use super::codec::EncodedFrame;

/// Largest payload produced, in bytes. Leaves room for RTP header and extensions, SRTP tag,
/// end-to-end seal and TURN inside a 1280-byte IPv6 packet.
pub const MAX_PAYLOAD_BYTES: usize = 1150;

/// A received RTP packet of a video stream, opened and without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpVideoPacket {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// The marker bit: last packet of a frame.
    pub marker: bool,
    /// The payload; empty for padding.
    pub payload: Bytes,
}

/// Splits frames of one outgoing stream into payloads.
#[derive(Clone, Debug)]
pub struct VideoPacketizer {
    /// 15 bits, counts frames.
    picture_id: u16,
    /// VP9: counts frames of temporal layer 0, that is all of them.
    tl0_picture_id: u8,
}

impl VideoPacketizer {
    /// A packetizer whose first frame has this picture id (lower 15 bits). Start at random, so
    /// that a restarted stream is told apart.
    pub fn new(first_picture_id: u16) -> Self {
        Self {
            picture_id: first_picture_id & 0x7fff,
            tl0_picture_id: (first_picture_id >> 7) as u8,
        }
    }

    /// The payloads of a frame in order, each at most [`MAX_PAYLOAD_BYTES`]. The last one carries
    /// the marker bit. Empty only for a frame without data.
    pub fn packetize(&mut self, frame: &EncodedFrame) -> Vec<Bytes> {
        if frame.data.is_empty() {
            return Vec::new();
        }
        let payloads = match frame.codec {
            VideoCodec::Vp8 => vp8::packetize(&frame.data, self.picture_id),
            VideoCodec::Vp9 => vp9::packetize(frame, self.picture_id, self.tl0_picture_id),
            VideoCodec::H264 => h264::packetize(&frame.data),
        };
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0_picture_id = self.tl0_picture_id.wrapping_add(1);
        payloads
    }
}

/// What one payload contributes to its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Whether a frame starts here. H.264 payloads do not say.
    starts_frame: Option<bool>,
    /// Whether a keyframe starts here.
    starts_keyframe: bool,
    /// The bytes after the payload descriptor; for H.264 the payload itself.
    body: Bytes,
}

/// Splits a payload. `None` when it is malformed.
fn parse(codec: VideoCodec, payload: &Bytes) -> Option<Part> {
    match codec {
        VideoCodec::Vp8 => vp8::parse(payload),
        VideoCodec::Vp9 => vp9::parse(payload),
        VideoCodec::H264 => h264::parse(payload),
    }
}

/// Joins the parts of one frame in order. `None` when they do not make one.
fn join(codec: VideoCodec, parts: &[&Part]) -> Option<Vec<u8>> {
    if codec == VideoCodec::H264 {
        return h264::join(parts);
    }
    if parts.first()?.starts_frame != Some(true) {
        return None;
    }
    let bodies: Vec<&[u8]> = parts.iter().map(|part| &part.body[..]).collect();
    Some(bodies.concat())
}

/// Cuts data into as few chunks as fit, all of about the same size: an even train of packets is
/// easier on queues than full ones with a small tail.
fn balanced_chunks(data: &[u8], max_bytes: usize) -> std::slice::Chunks<'_, u8> {
    let count = data.len().div_ceil(max_bytes).max(1);
    data.chunks(data.len().div_ceil(count).max(1))
}

#[cfg(test)]
mod tests;
