//! One incoming stream, and what is measured of it.

use std::time::{Duration, Instant};

use call_protocol::dependency_descriptor::{Descriptor, Mandatory, Structure};
use call_protocol::limits::SFU_LAYERS;
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
/// Size of the largest layer's pictures where none told its size yet.
const ASSUMED_SIZE: (u32, u32) = (1_280, 720);
/// Bits per second taken for a layer that was never measured: what libvpx needs for a camera of
/// this many pixels at 30 frames a second. Other sizes follow by [`assumed_bps`].
const ASSUMED_BPS: f64 = 130_000.0;
const ASSUMED_BPS_PX: f64 = 320.0 * 180.0;
/// Bits grow a little less than pixels do: 720p needs nine times as much as a quarter of its sides.
const BPS_PER_PX_EXPONENT: f64 = 0.8;

/// What a picture of this many pixels is taken to cost.
fn assumed_bps(area_px: u64) -> u64 {
    (ASSUMED_BPS * (area_px as f64 / ASSUMED_BPS_PX).powf(BPS_PER_PX_EXPONENT)) as u64
}

/// Size of a layer's pictures: as it tells itself, or half or twice that of its neighbours per step
/// between them, as simulcast layers are made. `told` holds what each layer told.
pub(super) fn layer_size(told: &[Option<(u32, u32)>; SFU_LAYERS], layer: usize) -> (u32, u32) {
    let nearest = (0..SFU_LAYERS)
        .filter(|other| told[*other].is_some())
        .min_by_key(|other| other.abs_diff(layer));
    let (known, size) = nearest
        .and_then(|other| Some((other, told[other]?)))
        .unwrap_or((0, ASSUMED_SIZE));
    let scaled = |side: u32| {
        let side = if layer >= known {
            side >> (layer - known).min(16)
        } else {
            side.saturating_mul(1 << (known - layer).min(16))
        };
        side.max(1)
    };
    (scaled(size.0), scaled(size.1))
}

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

    /// `size`: of its pictures, as far as known.
    pub(super) fn cost(&self, size: (u32, u32)) -> LayerCost {
        let area_px = u64::from(size.0) * u64::from(size.1);
        let full_bps = self.all.bps.unwrap_or_else(|| assumed_bps(area_px));
        LayerCost {
            full_bps,
            base_bps: self.base.bps.unwrap_or(full_bps).min(full_bps),
            area_px,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_told_no_size_follow_from_the_others() {
        let (none, full, half) = (None, Some((1_280, 720)), Some((160, 90)));
        let cases = [
            ([none, none, none], [(1_280, 720), (640, 360), (320, 180)]),
            ([full, none, none], [(1_280, 720), (640, 360), (320, 180)]),
            ([none, half, none], [(320, 180), (160, 90), (80, 45)]),
            ([none, none, half], [(640, 360), (320, 180), (160, 90)]),
            ([full, none, half], [(1_280, 720), (640, 360), (160, 90)]),
            ([Some((1, 1)), none, none], [(1, 1), (1, 1), (1, 1)]),
            (
                [none, none, Some((u32::MAX, 1))],
                [(u32::MAX, 4), (u32::MAX, 2), (u32::MAX, 1)],
            ),
        ];
        for (told, want) in cases {
            let sizes = [0, 1, 2].map(|layer| layer_size(&told, layer));
            assert_eq!(sizes, want, "{told:?}");
        }
    }

    #[test]
    fn a_layer_that_was_never_measured_costs_what_its_size_does() {
        let kbps = |width: u64, height: u64| assumed_bps(width * height) / 1_000;
        assert_eq!(kbps(320, 180), 130);
        assert!((350..=450).contains(&kbps(640, 360)), "{}", kbps(640, 360));
        assert!((1_000..=1_400).contains(&kbps(1_280, 720)));
        assert!((30..=60).contains(&kbps(160, 90)));
        assert_eq!(assumed_bps(0), 0);
    }
}
