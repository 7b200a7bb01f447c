//! Decides which frames go to the UI and when. Pure: time comes in, messages come out.
//!
//! The channel to the webview has neither backpressure nor a bound, and its cost is per message,
//! not per byte. So the frames of all tiles are coalesced into one message about every
//! [`COALESCE`], and at most [`MESSAGES_IN_FLIGHT`] messages are on their way; the UI returns a
//! credit for each one it took.
//!
//! A tile is *hidden* (nothing is kept for it), *waiting* for a keyframe (deltas are dropped) or
//! *flowing*. Out of credit, a flowing tile collects frames for [`COLLECT`] or
//! [`TILE_BYTES`], whichever is reached first; then everything before its newest keyframe is
//! dropped, and without one the tile waits and asks for a keyframe.
//!
//! Invariants: the bytes kept never exceed [`TILE_BYTES`] per visible tile (plus one raw picture);
//! a delta frame is sent only directly after the frame it follows; a frame after a gap is a
//! keyframe and says so in its header.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_media::video::h264::h264_annexb_to_avcc;
use call_protocol::ui::frame::{FrameFormat, FrameHeader, HEADER_BYTES};
use call_protocol::ui::{Delivery, TileSize};
use call_protocol::{VideoCodec, limits};

use super::{EncodedFrame, RawPicture, TileKey};

/// Shortest time between two messages. Higher: fewer wake-ups of the webview (about 0.1 % of a core
/// per message and second) and more latency; lower: the reverse. 14 ms was measured best with nine
/// tiles: 39 % of a core instead of 61 % with a message per frame.
pub const COALESCE: Duration = Duration::from_millis(14);
/// Messages on their way to the UI. Fewer stall on a busy page; more queue inside the webview,
/// where nothing can be dropped. Four cover 56 ms.
pub const MESSAGES_IN_FLIGHT: u32 = 4;
/// How long a tile collects without credit. Longer survives longer stalls of the page without a
/// keyframe and costs latency afterwards.
pub const COLLECT: Duration = Duration::from_millis(300);
/// Encoded bytes a tile keeps at most: about 8 s of 2 Mbit/s, or one large keyframe.
pub const TILE_BYTES: usize = 2 * 1024 * 1024;
/// Tiles kept track of; further ones are ignored. Two sources of every member and the self view.
pub const TILES: usize = 2 * limits::ROOM_MEMBERS + 1;
/// A waiting tile asks again for a keyframe after this long, while deltas keep arriving.
pub const KEYFRAME_RETRY: Duration = Duration::from_millis(500);

/// What the pump wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum PumpOutput {
    /// Send these bytes to the UI.
    Message(Vec<u8>),
    /// Ask the sender of this tile for a keyframe.
    NeedKeyframe(TileKey),
}

#[derive(Debug)]
struct Pending {
    header: FrameHeader,
    description: Vec<u8>,
    data: Bytes,
    arrived: Instant,
}

#[derive(Debug, Default)]
struct Tile {
    size: Option<(u32, u32)>,
    delivery: Option<Delivery>,
    frames: VecDeque<Pending>,
    raw: Option<Pending>,
    bytes: usize,
    /// No delta is accepted before the next keyframe.
    waiting: bool,
    /// The next frame follows a gap.
    gap: bool,
    asked: Option<Instant>,
    sequence: u32,
    timestamp_us: u64,
    /// The last H.264 decoder description; encoders may leave it out of later keyframes.
    avcc: Option<Vec<u8>>,
    codec: Option<VideoCodec>,
}

impl Tile {
    fn visible(&self) -> bool {
        self.size.is_some()
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.raw = None;
        self.bytes = 0;
    }

    /// Drops all frames and waits for a keyframe.
    fn wait(&mut self) {
        self.clear();
        self.waiting = true;
        self.gap = true;
    }

    /// Drops what precedes the newest keyframe that arrived after `oldest`, or everything.
    fn skip(&mut self, oldest: Instant) {
        let newest_key = self.frames.iter().rposition(|frame| frame.header.keyframe);
        match newest_key {
            Some(at) if at > 0 && self.frames[at].arrived > oldest => {
                for dropped in self.frames.drain(..at) {
                    self.bytes -= dropped.data.len() + dropped.description.len();
                }
                if let Some(first) = self.frames.front_mut() {
                    first.header.discontinuity = true;
                }
            }
            _ => self.wait(),
        }
    }

    /// Time never goes back within a tile, whatever a peer sends.
    fn stamp(&mut self, timestamp_us: u64) -> (u32, u64) {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp_us = timestamp_us.max(self.timestamp_us.saturating_add(1));
        (self.sequence, self.timestamp_us)
    }
}

/// The frame channel's state. See the module description.
#[derive(Debug)]
pub struct FramePump {
    epoch: u32,
    attached: bool,
    in_flight: u32,
    last_sent: Option<Instant>,
    tiles: BTreeMap<TileKey, Tile>,
    outputs: VecDeque<PumpOutput>,
    skips: u64,
}

impl Default for FramePump {
    fn default() -> Self {
        Self::new()
    }
}

impl FramePump {
    /// A pump without a channel: everything is dropped until [`Self::attach`].
    pub fn new() -> Self {
        Self {
            epoch: 0,
            attached: false,
            in_flight: 0,
            last_sent: None,
            tiles: BTreeMap::new(),
            outputs: VecDeque::new(),
            skips: 0,
        }
    }

    /// A new channel takes over: credits are whole again, every visible tile starts with a
    /// keyframe. Returns the new epoch.
    pub fn attach(&mut self, now: Instant) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        self.attached = true;
        self.in_flight = 0;
        let visible: Vec<_> = self
            .tiles
            .iter()
            .filter(|(_, tile)| tile.visible())
            .map(|(key, _)| *key)
            .collect();
        for key in visible {
            self.restart(now, key);
        }
        self.epoch
    }

    /// The current epoch, 0 before the first [`Self::attach`].
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How often frames were dropped for want of credit since the start.
    pub fn skips(&self) -> u64 {
        self.skips
    }

    /// Takes returned credits; those of another epoch are ignored, surplus ones too.
    pub fn handle_credit(&mut self, now: Instant, epoch: u32, messages: u32) {
        if epoch == self.epoch {
            self.in_flight = self.in_flight.saturating_sub(messages);
            self.handle_timeout(now);
        }
    }

    /// The tiles on screen. Others are emptied; new ones start with a keyframe.
    pub fn set_visible(&mut self, now: Instant, tiles: &[TileSize]) {
        let wanted: BTreeMap<TileKey, (u32, u32)> = tiles
            .iter()
            .take(TILES)
            .map(|tile| ((tile.member, tile.source), (tile.width_px, tile.height_px)))
            .collect();
        for (key, tile) in &mut self.tiles {
            if !wanted.contains_key(key) && tile.visible() {
                tile.size = None;
                tile.wait();
            }
        }
        self.tiles.retain(|key, tile| {
            tile.visible()
                || tile.delivery.is_some()
                || tile.sequence > 0
                || wanted.contains_key(key)
        });
        for (key, size) in wanted {
            if let Some(tile) = self.tile(key) {
                let was_visible = tile.visible();
                tile.size = Some(size);
                if !was_visible {
                    self.restart(now, key);
                }
            }
        }
    }

    /// How a tile wants its pictures; encoded unless told.
    pub fn set_delivery(&mut self, now: Instant, key: TileKey, delivery: Delivery) {
        let Some(tile) = self.tile(key) else { return };
        if tile.delivery != Some(delivery) {
            tile.delivery = Some(delivery);
            self.restart(now, key);
        }
    }

    /// What a tile shall receive now: its size in pixels and how. `None`: nothing.
    pub fn demand(&self, key: TileKey) -> Option<((u32, u32), Delivery)> {
        let tile = self.tiles.get(&key)?;
        let size = tile.size.filter(|_| self.attached)?;
        Some((size, tile.delivery.unwrap_or(Delivery::Encoded)))
    }

    /// The UI's decoder lost its place.
    pub fn handle_need_keyframe(&mut self, now: Instant, key: TileKey) {
        if self.tiles.get(&key).is_some_and(Tile::visible) {
            self.restart(now, key);
        }
    }

    /// Frames of this tile are missing (loss on the network that was not repaired).
    pub fn handle_gap(&mut self, key: TileKey) {
        if let Some(tile) = self.tiles.get_mut(&key) {
            tile.waiting = true;
            tile.gap = true;
        }
    }

    /// The tile's member left.
    pub fn remove(&mut self, key: TileKey) {
        self.tiles.remove(&key);
    }

    /// Takes the next encoded frame of a tile, in decoding order and without gaps (gaps are told
    /// by [`Self::handle_gap`]).
    pub fn handle_frame(&mut self, now: Instant, key: TileKey, frame: EncodedFrame) {
        let (epoch, attached) = (self.epoch, self.attached);
        let Some(tile) = self.tiles.get_mut(&key) else {
            return;
        };
        if !attached || !tile.visible() || tile.delivery == Some(Delivery::I420) {
            return;
        }
        if tile.codec != Some(frame.codec) {
            tile.codec = Some(frame.codec);
            tile.avcc = None;
            tile.wait();
        }
        if tile.waiting && !frame.keyframe {
            if tile
                .asked
                .is_none_or(|asked| now.duration_since(asked) >= KEYFRAME_RETRY)
            {
                self.restart(now, key);
            }
            return;
        }
        let (description, data) = match frame.codec {
            VideoCodec::H264 => {
                let (record, data) = h264_annexb_to_avcc(&frame.data);
                tile.avcc = record.or(tile.avcc.take());
                let description = tile
                    .avcc
                    .clone()
                    .filter(|_| frame.keyframe)
                    .unwrap_or_default();
                (description, Bytes::from(data))
            }
            VideoCodec::Vp8 | VideoCodec::Vp9 => (Vec::new(), frame.data),
        };
        let bytes = description.len() + data.len();
        let Ok(description_bytes) = u8::try_from(description.len()) else {
            return self.restart(now, key);
        };
        let undescribed =
            frame.codec == VideoCodec::H264 && frame.keyframe && description_bytes == 0;
        if undescribed || data.is_empty() || bytes > TILE_BYTES {
            return self.restart(now, key);
        }
        let (sequence, timestamp_us) = tile.stamp(frame.timestamp_us);
        let header = FrameHeader {
            payload_bytes: bytes as u32,
            member: key.0,
            source: key.1,
            format: FrameFormat::Encoded(frame.codec),
            keyframe: frame.keyframe,
            discontinuity: std::mem::take(&mut tile.gap),
            description_bytes,
            width_px: frame.width_px,
            height_px: frame.height_px,
            sequence,
            timestamp_us,
            epoch,
        };
        tile.waiting = false;
        tile.asked = None;
        tile.bytes += bytes;
        tile.frames.push_back(Pending {
            header,
            description,
            data,
            arrived: now,
        });
        if tile.bytes > TILE_BYTES {
            self.skips += 1;
            tile.skip(now - Duration::from_nanos(1));
            if tile.waiting {
                self.restart(now, key);
            }
        }
        self.handle_timeout(now);
    }

    /// Takes a decoded picture of a tile; one that was not sent yet is replaced.
    pub fn handle_picture(&mut self, now: Instant, key: TileKey, picture: RawPicture) {
        let (epoch, attached) = (self.epoch, self.attached);
        let Some(tile) = self.tiles.get_mut(&key) else {
            return;
        };
        let (width, height) = (
            usize::from(picture.width_px),
            usize::from(picture.height_px),
        );
        let bytes = width * height + 2 * width.div_ceil(2) * height.div_ceil(2);
        if !attached || !tile.visible() || picture.i420.len() != bytes {
            return;
        }
        let (sequence, timestamp_us) = tile.stamp(picture.timestamp_us);
        let header = FrameHeader {
            payload_bytes: bytes as u32,
            member: key.0,
            source: key.1,
            format: FrameFormat::I420,
            keyframe: true,
            discontinuity: false,
            description_bytes: 0,
            width_px: picture.width_px,
            height_px: picture.height_px,
            sequence,
            timestamp_us,
            epoch,
        };
        tile.raw = Some(Pending {
            header,
            description: Vec::new(),
            data: picture.i420.into(),
            arrived: now,
        });
        self.handle_timeout(now);
    }

    /// Time passed: sends what is due, drops what is too old.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.flush_at().is_some_and(|at| at <= now) {
            self.flush(now);
        }
        if self.in_flight < MESSAGES_IN_FLIGHT {
            return;
        }
        let Some(oldest) = now.checked_sub(COLLECT) else {
            return;
        };
        let mut waiting = Vec::new();
        for (key, tile) in &mut self.tiles {
            if tile
                .frames
                .front()
                .is_some_and(|frame| frame.arrived <= oldest)
            {
                self.skips += 1;
                tile.skip(oldest);
                if tile.waiting {
                    waiting.push(*key);
                }
            }
        }
        for key in waiting {
            self.restart(now, key);
        }
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.in_flight < MESSAGES_IN_FLIGHT {
            return self.flush_at();
        }
        let oldest = self.tiles.values().filter_map(|tile| tile.frames.front());
        oldest.map(|frame| frame.arrived + COLLECT).min()
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<PumpOutput> {
        self.outputs.pop_front()
    }

    /// Bytes kept at the moment.
    pub fn queued_bytes(&self) -> usize {
        let raw = |tile: &Tile| tile.raw.as_ref().map_or(0, |raw| raw.data.len());
        self.tiles.values().map(|tile| tile.bytes + raw(tile)).sum()
    }

    fn tile(&mut self, key: TileKey) -> Option<&mut Tile> {
        if !self.tiles.contains_key(&key) && self.tiles.len() >= TILES {
            return None;
        }
        Some(self.tiles.entry(key).or_insert_with(|| Tile {
            waiting: true,
            ..Tile::default()
        }))
    }

    /// Empties a tile and asks for a keyframe. Raw pictures need none.
    fn restart(&mut self, now: Instant, key: TileKey) {
        let Some(tile) = self.tiles.get_mut(&key) else {
            return;
        };
        tile.wait();
        tile.asked = Some(now);
        let encoded = tile.delivery != Some(Delivery::I420);
        let repeated = self.outputs.contains(&PumpOutput::NeedKeyframe(key));
        if self.attached && encoded && !repeated {
            self.outputs.push_back(PumpOutput::NeedKeyframe(key));
        }
    }

    fn flush_at(&self) -> Option<Instant> {
        if self.in_flight >= MESSAGES_IN_FLIGHT || !self.attached {
            return None;
        }
        let pending = self
            .tiles
            .values()
            .flat_map(|tile| tile.frames.front().or(tile.raw.as_ref()));
        let oldest = pending.map(|frame| frame.arrived).min()?;
        Some(
            self.last_sent
                .map_or(oldest, |sent| oldest.max(sent + COALESCE)),
        )
    }

    fn flush(&mut self, now: Instant) {
        let frames: usize = self.tiles.values().map(|tile| tile.frames.len() + 1).sum();
        let mut message = Vec::with_capacity(self.queued_bytes() + frames * HEADER_BYTES);
        for tile in self.tiles.values_mut() {
            for frame in tile.frames.drain(..).chain(tile.raw.take()) {
                frame.header.write(&mut message);
                message.extend_from_slice(&frame.description);
                message.extend_from_slice(&frame.data);
            }
            tile.bytes = 0;
        }
        self.in_flight += 1;
        self.last_sent = Some(now);
        self.outputs.push_back(PumpOutput::Message(message));
    }
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
