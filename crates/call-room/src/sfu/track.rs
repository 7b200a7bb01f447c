//! One incoming stream, and what is measured of it.

use std::time::{Duration, Instant};

use call_protocol::dependency_descriptor::{Descriptor, Mandatory, Structure};
use call_protocol::{MediaSource, MemberId};

use super::allocate::LayerCost;
use super::io::{PacketIn, TrackSpec};
use super::keyframe::KeyframeThrottle;

/// A stream without packets for this long is silent: its sender stopped it, or lost its uplink.
const SILENCE: Duration = Duration::from_millis(1_500);
/// How long a silent layer may take to start once somebody waits for it.
const START_PATIENCE: Duration = Duration::from_secs(4);
/// How long to wait for a silent layer alone; then another one is asked for as well.
const START_USUAL: Duration = Duration::from_millis(500);
/// How long a layer that did not start is left alone.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Bytes of each packet besides its payload: RTP with extensions, SRTP, UDP, IP.
const PACKET_OVERHEAD: usize = 60;
/// Taken for a layer that was never measured: what libvpx needs for a 720p camera at 30 frames a
/// second, and for a half and a quarter of its sides.
const ASSUMED_BPS: [u64; 3] = [1_200_000, 400_000, 130_000];
/// Likewise, the size of its pictures.
const ASSUMED_SIZE: [(u32, u32); 3] = [(1_280, 720), (640, 360), (320, 180)];

/// Bits per second, smoothed over about four windows, so that a single keyframe moves no decision.
#[derive(Debug, Default)]
struct Meter {
    bytes: usize,
    bps: Option<u64>,
}

impl Meter {
    fn close_window(&mut self, window: Duration) {
        let micros = u64::try_from(window.as_micros()).unwrap_or(u64::MAX).max(1);
        let bps = (self.bytes as u64).saturating_mul(8_000_000) / micros;
        self.bytes = 0;
        if bps > 0 {
            let smoothed = |before: u64| (before.saturating_mul(3) + bps) / 4;
            self.bps = Some(self.bps.map_or(bps, smoothed));
        }
    }
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) spec: TrackSpec,
    pub(super) owner: MemberId,
    pub(super) structure: Option<Structure>,
    /// Whether its packets carry descriptors; without one it is a single layer.
    pub(super) has_descriptors: bool,
    pub(super) keyframe: KeyframeThrottle,
    /// Indices of the slots it may concern. Stale ones are dropped when met.
    pub(super) feeds: Vec<usize>,
    last_packet: Option<Instant>,
    newest: Option<u64>,
    all: Meter,
    base: Meter,
    /// Since when somebody waits for it while it is silent.
    awaited_since: Option<Instant>,
    given_up_until: Option<Instant>,
}

/// What a packet says about its frame.
#[derive(Debug, Default)]
pub(super) struct FrameInfo {
    pub(super) mandatory: Option<Mandatory>,
    pub(super) temporal_id: u8,
    /// Decoding can begin here. Not so where the rest of the keyframe has passed already.
    pub(super) is_keyframe: bool,
}

impl Track {
    pub(super) fn new(spec: TrackSpec, owner: MemberId) -> Self {
        Self {
            spec,
            owner,
            structure: None,
            has_descriptors: false,
            keyframe: KeyframeThrottle::default(),
            feeds: Vec::new(),
            last_packet: None,
            newest: None,
            all: Meter::default(),
            base: Meter::default(),
            awaited_since: None,
            given_up_until: None,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.spec.source == MediaSource::Microphone
    }

    /// Reads the packet's descriptor and counts the packet.
    pub(super) fn observe(&mut self, now: Instant, packet: &PacketIn<'_>) -> FrameInfo {
        self.last_packet = Some(now);
        self.awaited_since = None;
        self.given_up_until = None;
        let mut info = self.read(packet);
        let is_late = self.newest.is_some_and(|newest| packet.sequence < newest);
        info.is_keyframe &= !is_late;
        if !is_late {
            self.newest = Some(packet.sequence);
        }
        let bytes = packet.payload_bytes + PACKET_OVERHEAD;
        self.all.bytes += bytes;
        if info.temporal_id == 0 {
            self.base.bytes += bytes;
        }
        info
    }

    fn read(&mut self, packet: &PacketIn<'_>) -> FrameInfo {
        let Some(bytes) = packet.descriptor.filter(|_| !self.is_sound()) else {
            return FrameInfo {
                is_keyframe: !self.has_descriptors,
                ..FrameInfo::default()
            };
        };
        let mandatory = Mandatory::parse(bytes);
        self.has_descriptors |= mandatory.is_some();
        let Some(descriptor) = Descriptor::parse(bytes, self.structure.as_ref()) else {
            return FrameInfo {
                mandatory,
                ..FrameInfo::default()
            };
        };
        let is_keyframe = descriptor.is_keyframe && descriptor.start_of_frame;
        if is_keyframe {
            self.keyframe.came();
        }
        if let Some(structure) = descriptor.structure {
            self.structure = Some(structure);
        }
        FrameInfo {
            mandatory,
            temporal_id: descriptor.temporal_id,
            is_keyframe,
        }
    }

    pub(super) fn close_window(&mut self, window: Duration) {
        self.all.close_window(window);
        self.base.close_window(window);
    }

    pub(super) fn is_live(&self, now: Instant) -> bool {
        self.last_packet.is_some_and(|last| now < last + SILENCE)
    }

    /// Whether it makes sense to choose it: it flows, or may start when it is asked to.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.is_live(now) || self.given_up_until.is_none_or(|until| now >= until)
    }

    /// Somebody waits for it, and longer than usual.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.awaited_since
            .is_some_and(|since| now >= since + START_USUAL)
    }

    /// Somebody waits for it.
    pub(super) fn awaited(&mut self, now: Instant) {
        if self.is_live(now) {
            return;
        }
        let since = *self.awaited_since.get_or_insert(now);
        if now >= since + START_PATIENCE {
            self.awaited_since = None;
            self.given_up_until = Some(now + GIVE_UP);
        }
    }

    /// Size of its pictures, as its structure tells (of its largest spatial layer).
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let resolution = self.structure.as_ref()?.resolutions.last()?;
        Some((resolution.width_px, resolution.height_px))
    }

    pub(super) fn assumed_size(&self, layer: usize) -> (u32, u32) {
        self.size()
            .or(ASSUMED_SIZE.get(layer).copied())
            .unwrap_or((320, 180))
    }

    pub(super) fn cost(&self, layer: usize) -> LayerCost {
        let assumed = ASSUMED_BPS.get(layer).copied().unwrap_or(130_000);
        let full_bps = self.all.bps.unwrap_or(assumed);
        let (width, height) = self.assumed_size(layer);
        LayerCost {
            full_bps,
            base_bps: self.base.bps.unwrap_or(full_bps).min(full_bps),
            area_px: u64::from(width) * u64::from(height),
        }
    }
}
