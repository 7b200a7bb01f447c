//! One stream of a picture: what has sequence numbers of its own. See [`super::picture`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_core::LinkId;
use call_media::video::rtp::{AssembledFrame, VideoAssembler};
use call_protocol::VideoCodec;

/// How long the first keyframe of a layer is waited for before it is asked for: who sends or forwards
/// a layer begins with one, only its packets may come in another order.
const FIRST_KEYFRAME: Duration = Duration::from_millis(150);

/// Where packets come from: an SSRC on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) link: LinkId,
    pub(super) ssrc: u32,
}

/// A packet of the picture, opened.
#[derive(Clone, Debug)]
pub(super) struct PicturePacket {
    pub(super) origin: Origin,
    pub(super) layer: u8,
    pub(super) codec: VideoCodec,
    /// The RTP sequence number on this path.
    pub(super) sequence: u16,
    /// The sender's own where media is sealed, else the path's.
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Bytes,
}

/// What is known of a stream.
pub(super) struct Stream {
    pub(super) origin: Origin,
    /// Counts the streams of the picture.
    pub(super) order: u64,
    pub(super) layer: LayerIn,
    /// The layer before, until the new one's first keyframe.
    pub(super) before: Option<LayerIn>,
    /// The newest sequence number.
    pub(super) highest: u16,
    pub(super) packet_at: Instant,
    /// Packets or timeouts since the last look at whether a keyframe is needed.
    pub(super) touched: bool,
    pub(super) requested: Option<Instant>,
    /// Its last keyframe came too late.
    pub(super) is_late: bool,
    /// Added to the frames' timestamps.
    pub(super) offset: u32,
    pub(super) lost: u64,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("origin", &self.origin)
            .field("layer", &self.layer.layer)
            .finish_non_exhaustive()
    }
}

pub(super) struct LayerIn {
    pub(super) began_at: Instant,
    pub(super) layer: u8,
    pub(super) codec: VideoCodec,
    pub(super) assembler: VideoAssembler,
    /// Complete frames without a gap, while the stream is not shown.
    pub(super) held: VecDeque<AssembledFrame>,
}

impl LayerIn {
    pub(super) fn new(now: Instant, layer: u8, codec: VideoCodec) -> Self {
        Self {
            began_at: now,
            layer,
            codec,
            assembler: VideoAssembler::new(codec),
            held: VecDeque::new(),
        }
    }

    pub(super) fn needs_keyframe(&self, now: Instant) -> bool {
        let has_begun = self.assembler.stats().frames > 0
            || now.saturating_duration_since(self.began_at) >= FIRST_KEYFRAME;
        has_begun && self.assembler.needs_keyframe()
    }
}

impl Stream {
    pub(super) fn may_request(&mut self, now: Instant, pause: Duration) -> bool {
        let is_early = self
            .requested
            .is_some_and(|at| now.saturating_duration_since(at) < pause);
        if !is_early {
            self.requested = Some(now);
        }
        !is_early
    }
}

/// A 90 kHz RTP clock as microseconds that never wrap.
#[derive(Debug, Default)]
pub(super) struct MediaClock {
    pub(super) last: Option<u32>,
    pub(super) ticks: i64,
}

impl MediaClock {
    pub(super) fn unwrap_us(&mut self, timestamp: u32) -> u64 {
        if let Some(last) = self.last {
            self.ticks += i64::from(timestamp.wrapping_sub(last).cast_signed());
        }
        self.last = Some(timestamp);
        // 1000/90 = 100/9; the start is offset so that reordered first frames stay positive.
        u64::try_from(self.ticks * 100 / 9 + 1_000_000).unwrap_or(0)
    }
}
