//! RTP payload formats of video, and the assembler that puts frames back together.
//!
//! * VP8: RFC 7741, 15-bit picture id; temporal layers where there are some.
//! * VP9: RFC 9628, non-flexible mode, one spatial layer, one or two temporal ones; flexible mode
//!   and several spatial layers are read.
//! * H.264: RFC 6184 packetization mode 1: single NAL units, STAP-A for parameter sets, FU-A.
//!
//! Only payloads: RTP headers, retransmission and feedback messages belong to the transport.
//! Reading takes bytes from the network: no payload panics. Neither direction allocates per packet:
//! payloads are cut from pooled chunks, and received packets stand in a ring.

mod assembler;
mod h264;
mod ring;
mod vp8;
mod vp9;

use bytes::{Bytes, BytesMut};
use call_protocol::VideoCodec;

pub use assembler::{AssembledFrame, AssemblerStats, REORDER_WAIT, VideoAssembler};

use super::codec::EncodedFrame;
use crate::pool::BytesPool;

/// Largest payload produced, in bytes. With the end-to-end seal (at most 43 bytes) it is at most
/// 1179; RTP header and extensions, SRTP tag and TURN still fit beside that in a 1280-byte IPv6
/// packet.
pub const MAX_PAYLOAD_BYTES: usize = 1136;

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

/// Splits frames of one outgoing stream into payloads. Each simulcast layer is a stream of its own
/// and has its own packetizer.
#[derive(Clone, Debug)]
pub struct VideoPacketizer {
    /// 15 bits, counts frames.
    picture_id: u16,
    /// Counts frames of temporal layer 0.
    tl0_picture_id: u8,
    pool: BytesPool,
    payloads: Vec<Bytes>,
}

impl VideoPacketizer {
    /// A packetizer whose first frame has this picture id (lower 15 bits). Start at random, so
    /// that a restarted stream is told apart.
    pub fn new(first_picture_id: u16) -> Self {
        Self {
            picture_id: first_picture_id & 0x7fff,
            tl0_picture_id: (first_picture_id >> 7) as u8,
            pool: BytesPool::new(),
            payloads: Vec::new(),
        }
    }

    /// The payloads of a frame in order, each at most [`MAX_PAYLOAD_BYTES`]. The last one carries
    /// the marker bit. Empty only for a frame without data.
    pub fn packetize(&mut self, frame: &EncodedFrame) -> std::vec::Drain<'_, Bytes> {
        self.payloads.clear();
        if !frame.data.is_empty() {
            if frame.temporal_id == 0 {
                self.tl0_picture_id = self.tl0_picture_id.wrapping_add(1);
            }
            let (ids, out) = (
                PictureIds {
                    picture: self.picture_id,
                    tl0: self.tl0_picture_id,
                },
                &mut self.payloads,
            );
            // Descriptors take at most 13 bytes of a payload.
            let packets = frame.data.len() / (MAX_PAYLOAD_BYTES - 16) + 2;
            let writer = self.pool.writer(frame.data.len() + 16 * packets);
            match frame.codec {
                VideoCodec::Vp8 => vp8::packetize(frame, ids, writer, out),
                VideoCodec::Vp9 => vp9::packetize(frame, ids, writer, out),
                VideoCodec::H264 => h264::packetize(&frame.data, writer, out),
            }
            self.picture_id = (self.picture_id + 1) & 0x7fff;
        }
        self.payloads.drain(..)
    }
}

/// What descriptors number frames with.
#[derive(Clone, Copy, Debug)]
struct PictureIds {
    picture: u16,
    /// Of the frame itself, or of the one of temporal layer 0 before it.
    tl0: u8,
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
fn join<'a>(
    codec: VideoCodec,
    parts: impl Iterator<Item = &'a Part> + Clone,
    pool: &mut BytesPool,
) -> Option<Bytes> {
    let total: usize = parts.clone().map(|part| part.body.len()).sum();
    if codec == VideoCodec::H264 {
        // Start codes are longer than what they replace, by 2 bytes for every unit of a STAP-A.
        let writer = pool.writer(total + 64 + 4 * parts.clone().count());
        h264::join(parts, writer)?;
        return Some(writer.split().freeze());
    }
    let first = parts.clone().next()?;
    if first.starts_frame != Some(true) {
        return None;
    }
    if total == first.body.len() {
        return Some(first.body.clone());
    }
    let writer: &mut BytesMut = pool.writer(total);
    for part in parts {
        writer.extend_from_slice(&part.body);
    }
    Some(writer.split().freeze())
}

/// Cuts data into as few chunks as fit, all of about the same size: an even train of packets is
/// easier on queues than full ones with a small tail.
fn balanced_chunks(data: &[u8], max_bytes: usize) -> std::slice::Chunks<'_, u8> {
    let count = data.len().div_ceil(max_bytes).max(1);
    data.chunks(data.len().div_ceil(count).max(1))
}

#[cfg(test)]
mod tests;
