//! One picture of one member, whichever ways it comes: one continuous run of frames out of several
//! paths and layers. Pure.
//!
//! A *stream* is what has sequence numbers of its own: an SSRC on a link. Through the SFU it changes
//! its layer now and then, at a keyframe; each layer has an assembler of its own, so that the end of
//! the old one still comes through. One stream is *shown*; others that rank higher (a newer link, a
//! newer SSRC), or any while the shown one is silent, are candidates and take over
//!
//! * in the middle of a layer that both carry, where the candidate has the frame behind which it
//!   goes on: encoded once, the frames of both paths are the same; or
//! * at a keyframe that is not older than what was shown. What was queued to be shown and is not
//!   older than the keyframe is taken back.
//!
//! A keyframe that comes too late is passed over; the picture is then held back by as much as it was
//! late, so that the next one is in time.
//!
//! Invariants: a frame never leaves after one of its sender that is newer; what leaves is decodable
//! if everything before it was decoded; at most [`MAX_STREAMS`] streams, [`HELD_FRAMES`] held frames
//! of each.
//!
//! Where the numbers are the path's own (unsealed media), only keyframes lead over, and the new
//! path's timestamps are moved behind those of the old one.
//!
//! Deliberately not here: whose packets these are, opening them, and lip sync ([`super::receiving`]).

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use call_core::LinkId;
use call_media::video::playout::VideoPlayout;
use call_media::video::rtp::{AssembledFrame, RtpVideoPacket};
use call_protocol::VideoCodec;

use super::stream::{LayerIn, MediaClock, Origin, PicturePacket, Stream};

/// Streams of one picture that are followed; a further one replaces the one silent for longest.
const MAX_STREAMS: usize = 6;
/// Frames of a candidate that are kept: the difference between two paths, at most a second.
const HELD_FRAMES: usize = 32;
/// Shortest time between two keyframe requests to one stream. Shorter asks again before the answer
/// can have arrived; longer freezes the picture for longer.
const KEYFRAME_REQUEST: Duration = Duration::from_millis(300);
/// The same where the last one came too late: the picture must be held back first, slowly.
const LATE_KEYFRAME_REQUEST: Duration = Duration::from_secs(1);
/// A shown stream without packets for this long loses its rank. Shorter leaves a good path for one
/// late frame; longer freezes when a path dies.
const SILENT: Duration = Duration::from_millis(400);
/// Frames by which a candidate may be ahead of what is shown before it is waited for no longer.
const FRAMES_AHEAD: usize = 16;
/// How long the picture is held back for a path that is later than the one shown.
const HOLD_BACK: Duration = Duration::from_secs(5);
/// What a keyframe that was late must be earlier by, beyond its lateness, in µs: a frame and a half.
const HOLD_BACK_MARGIN_US: i64 = 50_000;
/// Timestamps further apart than this are a sender that started over, in ticks: 10 s.
const RESTART_TICKS: u32 = 900_000;
/// Ticks of every video codec's RTP clock per second.
pub(super) const PICTURE_HZ: u32 = 90_000;

/// A frame to be shown now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedFrame {
    pub(crate) frame: AssembledFrame,
    /// Its time on the sender's clock; grows, and does not wrap.
    pub(crate) timestamp_us: u64,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct PictureIn {
    /// Whether timestamps are the sender's own, the same on every path.
    is_shared_clock: bool,
    streams: Vec<Stream>,
    opened: u64,
    shown: Option<Shown>,
    playout: VideoPlayout<AssembledFrame>,
    /// Timestamp of the frame that left last.
    released: Option<u32>,
    clock: MediaClock,
    sync_delay_us: i64,
    hold_back: Option<(Instant, i64)>,
    flowing: BTreeSet<LinkId>,
    new_flows: VecDeque<LinkId>,
    lost: u64,
}

/// What is shown.
#[derive(Clone, Copy, Debug)]
struct Shown {
    origin: Origin,
    order: u64,
    layer: u8,
    codec: VideoCodec,
    /// Timestamp of the frame without gaps behind it, and of the newest.
    since: u32,
    newest: u32,
    complete_at: Instant,
}

impl PictureIn {
    /// `is_shared_clock`: timestamps are the same on every path.
    pub(super) fn new(is_shared_clock: bool) -> Self {
        Self {
            is_shared_clock,
            streams: Vec::new(),
            opened: 0,
            shown: None,
            playout: VideoPlayout::default(),
            released: None,
            clock: MediaClock::default(),
            sync_delay_us: 0,
            hold_back: None,
            flowing: BTreeSet::new(),
            new_flows: VecDeque::new(),
            lost: 0,
        }
    }

    pub(super) fn handle_packet(&mut self, now: Instant, packet: PicturePacket) {
        let index = self.stream(now, &packet);
        let stream = &mut self.streams[index];
        stream.packet_at = now;
        stream.touched = true;
        let is_newer = packet.sequence.wrapping_sub(stream.highest).cast_signed() > 0;
        let is_other = |layer: &LayerIn| (layer.layer, layer.codec) != (packet.layer, packet.codec);
        if is_newer {
            stream.highest = packet.sequence;
            if is_other(&stream.layer) {
                let fresh = LayerIn::new(now, packet.layer, packet.codec);
                stream.before = Some(std::mem::replace(&mut stream.layer, fresh));
            }
        }
        let layer = if is_other(&stream.layer) {
            stream.before.as_mut().filter(|layer| !is_other(layer))
        } else {
            Some(&mut stream.layer)
        };
        // The end of a layer nobody needs any more.
        let Some(layer) = layer else { return };
        let packet = RtpVideoPacket {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: packet.payload,
        };
        layer.assembler.handle_packet(now, packet);
        self.collect(now, index);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.streams.len() {
            let stream = &mut self.streams[index];
            let mut is_due = false;
            for layer in stream.before.iter_mut().chain([&mut stream.layer]) {
                if layer.assembler.poll_timeout().is_some_and(|at| at <= now) {
                    layer.assembler.handle_timeout(now);
                    is_due = true;
                }
            }
            if is_due {
                self.streams[index].touched = true;
                self.collect(now, index);
            }
        }
        if self.hold_back.is_some_and(|(until, _)| until <= now) {
            self.hold_back = None;
            self.apply_delay();
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let streams = self.streams.iter();
        let layers = streams.flat_map(|stream| stream.before.iter().chain([&stream.layer]));
        let assemblers = layers.filter_map(|layer| layer.assembler.poll_timeout());
        let hold_back = self.hold_back.map(|(until, _)| until);
        let own = [self.playout.poll_timeout(), hold_back];
        assemblers.chain(own.into_iter().flatten()).min()
    }

    /// The next frame to be shown by `now`.
    pub(super) fn poll_frame(&mut self, now: Instant) -> Option<ReceivedFrame> {
        let frame = self.playout.poll_frame(now)?;
        self.released = Some(frame.timestamp);
        let timestamp_us = self.clock.unwrap_us(frame.timestamp);
        Some(ReceivedFrame {
            frame,
            timestamp_us,
        })
    }

    /// A link over which frames of this picture came for the first time, ready to be shown.
    pub(super) fn poll_flow(&mut self) -> Option<LinkId> {
        self.new_flows.pop_front()
    }

    /// The stream to ask for a keyframe now. Only while packets arrive: a camera that is off has
    /// none to give.
    pub(super) fn poll_keyframe_request(&mut self, now: Instant) -> Option<Origin> {
        for index in 0..self.streams.len() {
            let is_candidate = self.ranks_higher(now, index) || self.is_shown(index);
            let stream = &mut self.streams[index];
            if !stream.touched {
                continue;
            }
            stream.touched = false;
            let is_needed = stream.layer.needs_keyframe(now) || stream.is_late;
            let pause = if stream.is_late {
                LATE_KEYFRAME_REQUEST
            } else {
                KEYFRAME_REQUEST
            };
            if is_candidate && is_needed && stream.may_request(now, pause) {
                return Some(stream.origin);
            }
        }
        None
    }

    /// A decoder needs a keyframe: whom to ask, unless they were asked a moment ago.
    pub(super) fn keyframe_source(&mut self, now: Instant) -> Option<Origin> {
        let shown = (0..self.streams.len()).find(|index| self.is_shown(*index));
        let newest = || (0..self.streams.len()).max_by_key(|index| self.streams[*index].order);
        let index = shown.or_else(newest)?;
        let stream = &mut self.streams[index];
        stream
            .may_request(now, KEYFRAME_REQUEST)
            .then_some(stream.origin)
    }

    /// The round trip of a link: what gets lost on it is waited for accordingly.
    pub(super) fn set_rtt(&mut self, link: LinkId, rtt: Duration) {
        let streams = self.streams.iter_mut();
        for stream in streams.filter(|stream| stream.origin.link == link) {
            for layer in stream.before.iter_mut().chain([&mut stream.layer]) {
                layer.assembler.set_rtt(rtt);
            }
        }
    }

    /// The link is closed: nothing more comes over it.
    pub(super) fn remove_link(&mut self, now: Instant, link: LinkId) {
        self.streams.retain(|stream| stream.origin.link != link);
        self.flowing.remove(&link);
        self.new_flows.retain(|flow| *flow != link);
        for index in 0..self.streams.len() {
            self.take_over(now, index);
        }
    }

    /// Of the newest frame: where it came from, its timestamp there, the same here, and when it was
    /// complete.
    pub(super) fn newest(&self) -> Option<(Origin, u32, u32, Instant)> {
        let shown = self.shown?;
        let mut streams = self.streams.iter();
        let offset = streams
            .find(|stream| stream.origin == shown.origin)
            .map_or(0, |stream| stream.offset);
        let there = shown.newest.wrapping_sub(offset);
        Some((shown.origin, there, shown.newest, shown.complete_at))
    }

    pub(super) fn undelayed_at(&self, timestamp: u32) -> Option<Instant> {
        self.playout.undelayed_at(timestamp)
    }

    pub(super) fn jitter_delay_us(&self) -> i64 {
        self.playout.jitter_delay_us()
    }

    /// See [`VideoPlayout::set_sync_delay_us`].
    pub(super) fn set_sync_delay_us(&mut self, delay_us: i64) {
        self.sync_delay_us = delay_us;
        self.apply_delay();
    }

    /// Packets of what was shown that were given up.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    fn apply_delay(&mut self) {
        let hold_back_us = self.hold_back.map_or(0, |(_, delay_us)| delay_us);
        self.playout
            .set_sync_delay_us(self.sync_delay_us.max(hold_back_us));
    }

    /// The stream a packet belongs to, made where there is none.
    fn stream(&mut self, now: Instant, packet: &PicturePacket) -> usize {
        let known = |stream: &Stream| stream.origin == packet.origin;
        if let Some(index) = self.streams.iter().position(known) {
            return index;
        }
        if self.streams.len() >= MAX_STREAMS {
            let others = (0..self.streams.len()).filter(|index| !self.is_shown(*index));
            let oldest = others.min_by_key(|index| self.streams[*index].packet_at);
            self.streams.remove(oldest.unwrap_or(0));
        }
        self.opened += 1;
        self.streams.push(Stream {
            origin: packet.origin,
            order: self.opened,
            layer: LayerIn::new(now, packet.layer, packet.codec),
            before: None,
            highest: packet.sequence,
            packet_at: now,
            touched: true,
            requested: None,
            is_late: false,
            offset: 0,
            lost: 0,
        });
        self.streams.len() - 1
    }

    fn is_shown(&self, index: usize) -> bool {
        self.shown
            .is_some_and(|shown| shown.origin == self.streams[index].origin)
    }

    /// Whether a stream that is not shown may take over.
    fn ranks_higher(&self, now: Instant, index: usize) -> bool {
        let Some(shown) = self.shown else { return true };
        let stream = &self.streams[index];
        if stream.origin == shown.origin {
            return false;
        }
        let rank = |origin: Origin, order: u64| (origin.link.generation, order);
        self.is_silent(now, shown)
            || rank(stream.origin, stream.order) > rank(shown.origin, shown.order)
    }

    /// Whether nothing comes any more of what is shown.
    fn is_silent(&self, now: Instant, shown: Shown) -> bool {
        let mut streams = self.streams.iter();
        let stream = streams.find(|stream| stream.origin == shown.origin);
        stream.is_none_or(|stream| now.saturating_duration_since(stream.packet_at) >= SILENT)
    }

    /// Moves complete frames out of a stream's assemblers.
    fn collect(&mut self, now: Instant, index: usize) {
        self.count_lost(index);
        loop {
            let stream = &mut self.streams[index];
            let Some(before) = &mut stream.before else {
                break;
            };
            let (layer, Some(mut frame)) = (before.layer, before.assembler.poll_frame()) else {
                break;
            };
            frame.timestamp = frame.timestamp.wrapping_add(stream.offset);
            // Of use only while it is what is shown.
            if self.shows(index, layer) {
                self.show(now, index, frame);
            }
        }
        loop {
            let stream = &mut self.streams[index];
            let layer = stream.layer.layer;
            let Some(mut frame) = stream.layer.assembler.poll_frame() else {
                break;
            };
            frame.timestamp = frame.timestamp.wrapping_add(stream.offset);
            if self.shows(index, layer) {
                self.show(now, index, frame);
            } else {
                self.hold(index, frame);
                self.take_over(now, index);
            }
        }
        // What is shown may have got to where a candidate can go on.
        if self.is_shown(index) {
            for other in 0..self.streams.len() {
                self.take_over(now, other);
            }
        }
    }

    fn shows(&self, index: usize, layer: u8) -> bool {
        self.is_shown(index) && self.shown.is_some_and(|shown| shown.layer == layer)
    }

    fn count_lost(&mut self, index: usize) {
        let is_shown = self.is_shown(index);
        let stream = &mut self.streams[index];
        let layers = stream.before.iter().chain([&stream.layer]);
        let lost: u64 = layers
            .map(|layer| layer.assembler.stats().lost_packets)
            .sum();
        if is_shown {
            self.lost += lost.saturating_sub(stream.lost);
        }
        stream.lost = lost;
    }

    fn hold(&mut self, index: usize, frame: AssembledFrame) {
        let held = &mut self.streams[index].layer.held;
        if frame.discontinuity {
            held.clear();
        }
        if held.len() >= HELD_FRAMES {
            held.pop_front();
        }
        held.push_back(frame);
    }

    /// Shows a stream's held frames, if the way from what is shown leads there.
    fn take_over(&mut self, now: Instant, index: usize) {
        let stream = &self.streams[index];
        let is_same = self.is_shown(index);
        if stream.layer.held.is_empty() || !(is_same || self.ranks_higher(now, index)) {
            return;
        }
        let layer = &self.streams[index].layer;
        let shown = self.shown.filter(|shown| {
            self.is_shared_clock && (layer.layer, layer.codec) == (shown.layer, shown.codec)
        });
        if let Some(shown) = shown {
            let is_joint = |frame: &AssembledFrame| {
                !is_before(frame.timestamp, shown.since)
                    && !is_before(shown.newest, frame.timestamp)
            };
            if layer.held.iter().any(is_joint) {
                return self.switch(now, index, shown);
            }
        }
        self.switch_at_keyframe(now, index);
    }

    fn switch_at_keyframe(&mut self, now: Instant, index: usize) {
        let held = &self.streams[index].layer.held;
        let Some(at) = held.iter().rposition(|frame| frame.keyframe) else {
            return;
        };
        let timestamp = held[at].timestamp;
        let released = self.released.filter(|released| {
            self.is_shared_clock
                && is_before(timestamp, *released)
                && !is_restart(timestamp, *released)
        });
        if let Some(released) = released {
            return self.refuse(now, index, released.wrapping_sub(timestamp));
        }
        if self.is_shared_clock && self.is_ahead(now, index, timestamp) {
            // What is shown gets there as well, without a gap.
            return;
        }
        let shift = self.shift_to_shown(now, index, timestamp);
        let stream = &mut self.streams[index];
        stream.layer.held.drain(..at);
        stream.offset = stream.offset.wrapping_add(shift);
        for frame in &mut stream.layer.held {
            frame.timestamp = frame.timestamp.wrapping_add(shift);
        }
        if self.is_shared_clock {
            self.playout.retract(timestamp);
        }
        let since = timestamp.wrapping_add(shift);
        let stream = &self.streams[index];
        let shown = Shown {
            origin: stream.origin,
            order: stream.order,
            layer: stream.layer.layer,
            codec: stream.layer.codec,
            since,
            newest: since.wrapping_sub(1),
            complete_at: now,
        };
        self.switch(now, index, shown);
    }

    /// Whether a candidate's keyframe is later than anything that came the present way, which goes
    /// on.
    fn is_ahead(&self, now: Instant, index: usize, timestamp: u32) -> bool {
        let Some(shown) = self.shown else {
            return false;
        };
        let stream = &self.streams[index];
        stream.origin.link != shown.origin.link
            && !self.is_silent(now, shown)
            && stream.layer.held.len() < FRAMES_AHEAD
            && is_before(shown.newest, timestamp)
            && !is_restart(shown.newest, timestamp)
    }

    /// What to add to a path's own timestamps so that they go on behind those of what is shown.
    fn shift_to_shown(&self, now: Instant, index: usize, timestamp: u32) -> u32 {
        match self.shown {
            Some(shown) if !self.is_shared_clock && shown.origin != self.streams[index].origin => {
                let elapsed = now.saturating_duration_since(shown.complete_at);
                let ticks = (elapsed.as_micros() * u128::from(PICTURE_HZ) / 1_000_000) as u32;
                let wanted = shown.newest.wrapping_add(ticks.max(1));
                wanted.wrapping_sub(timestamp)
            }
            _ => 0,
        }
    }

    /// A keyframe came too late by this many ticks.
    fn refuse(&mut self, now: Instant, index: usize, late: u32) {
        let is_same = self.is_shown(index);
        let stream = &mut self.streams[index];
        stream.layer.held.clear();
        stream.is_late = true;
        let late_us = ticks_us(late);
        tracing::debug!(late_us, "a keyframe of the new path was late");
        if !is_same {
            let delay_us = i64::from(self.playout.delay_ms()) * 1_000;
            let wanted_us = delay_us + late_us + HOLD_BACK_MARGIN_US;
            self.hold_back = Some((now + HOLD_BACK, wanted_us));
            self.apply_delay();
        }
    }

    /// Shows a stream's held frames, and all that follow, behind `shown.newest`.
    fn switch(&mut self, now: Instant, index: usize, shown: Shown) {
        let stream = &mut self.streams[index];
        let frames = std::mem::take(&mut stream.layer.held);
        let (origin, order) = (stream.origin, stream.order);
        stream.before = None;
        stream.is_late = false;
        tracing::debug!(
            ?origin,
            layer = shown.layer,
            "the picture comes another way"
        );
        self.shown = Some(Shown {
            origin,
            order,
            ..shown
        });
        self.hold_back = None;
        self.apply_delay();
        for mut frame in frames {
            frame.discontinuity = false;
            self.show(now, index, frame);
        }
    }

    fn show(&mut self, now: Instant, index: usize, frame: AssembledFrame) {
        self.note_flow(index);
        let Some(shown) = &mut self.shown else { return };
        let is_old = self.is_shared_clock
            && !is_before(shown.newest, frame.timestamp)
            && !is_restart(shown.newest, frame.timestamp);
        if is_old {
            // The path before had it already.
            return;
        }
        if frame.discontinuity {
            shown.since = frame.timestamp;
        }
        shown.newest = frame.timestamp;
        shown.complete_at = now;
        self.playout.handle_frame(now, frame.timestamp, frame);
    }

    fn note_flow(&mut self, index: usize) {
        let link = self.streams[index].origin.link;
        if self.flowing.insert(link) {
            self.new_flows.push_back(link);
        }
    }
}

/// Whether `a` is earlier than `b`, of timestamps that wrap.
fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// Whether two timestamps cannot belong to one run.
fn is_restart(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed().unsigned_abs() > RESTART_TICKS
}

fn ticks_us(ticks: u32) -> i64 {
    i64::from(ticks) * 1_000_000 / i64::from(PICTURE_HZ)
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
