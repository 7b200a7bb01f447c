//! Two paths of one picture in virtual time: delays, loss, layers and switches either way.

use std::collections::BTreeMap;

use bytes::Bytes;
use call_core::LinkPeer;
use call_media::video::codec::EncodedFrame;
use call_media::video::rtp::VideoPacketizer;
use call_protocol::MemberId;

use super::*;

const FRAME_MS: u64 = 33;
const FRAME_TICKS: u32 = 2_970;

const MESH: LinkId = LinkId {
    peer: LinkPeer::Member(MemberId(2)),
    generation: 1,
};
const SFU: LinkId = LinkId {
    peer: LinkPeer::Sfu,
    generation: 2,
};
const MESH_AGAIN: LinkId = LinkId {
    peer: LinkPeer::Member(MemberId(2)),
    generation: 3,
};

/// A VP8 frame that says its number and its layer, of three packets or, for a delta, two.
fn vp8(number: u32, layer: u8, keyframe: bool, at: Instant) -> EncodedFrame {
    let mut data = if keyframe {
        let width = (1_280_u16 >> layer).to_le_bytes();
        vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, width[0], width[1], 0x68, 0x01]
    } else {
        vec![0x11, 0, 0]
    };
    data.extend_from_slice(&number.to_be_bytes());
    data.push(layer);
    data.resize(if keyframe { 3_000 } else { 2_000 }, 7);
    EncodedFrame {
        codec: VideoCodec::Vp8,
        keyframe,
        width: 1_280 >> layer,
        height: 720 >> layer,
        data: data.into(),
        timestamp_90khz: u32::MAX - 40_000,
        captured_at: at,
        layer,
        temporal_id: 0,
        temporal_layers: 1,
    }
}

fn read_vp8(frame: &AssembledFrame) -> (u32, u8) {
    let header = if frame.keyframe { 10 } else { 3 };
    let number = frame.data[header..header + 4].try_into().unwrap();
    (u32::from_be_bytes(number), frame.data[header + 4])
}

/// One way from the sender: its delay, what of it is lost, and which layer it carries.
#[derive(Clone, Copy)]
struct Path {
    origin: Origin,
    delay_ms: u64,
    /// Every so many packets one is repeated `RESENT_MS` later, instead of in time.
    late_every: u16,
    sequence: u16,
    timestamp_shift: u32,
    layer: Option<u8>,
    is_waiting: bool,
}

/// How much later a packet that was lost comes, when it was asked for again.
const RESENT_MS: u64 = 15;

impl Path {
    fn new(link: LinkId, ssrc: u32, delay_ms: u64, layer: Option<u8>) -> Self {
        Self {
            origin: Origin { link, ssrc },
            delay_ms,
            late_every: 0,
            sequence: ssrc as u16,
            timestamp_shift: 0,
            layer,
            is_waiting: true,
        }
    }
}

/// A sender with up to three layers, two paths, and what came out in the end.
struct World {
    picture: PictureIn,
    start: Instant,
    paths: [Path; 2],
    packetizers: [VideoPacketizer; 3],
    wants_keyframe: [bool; 3],
    number: u32,
    /// By due time in ms.
    wire: BTreeMap<(u64, u64), PicturePacket>,
    sent: u64,
    /// Number, layer, time in ms.
    shown: Vec<(u32, u8, u64)>,
    flows: Vec<LinkId>,
    asked: Vec<Origin>,
    now_ms: u64,
}

impl World {
    fn new(is_shared_clock: bool, paths: [Path; 2]) -> Self {
        Self {
            picture: PictureIn::new(is_shared_clock),
            start: Instant::now() + Duration::from_secs(3_600),
            paths,
            packetizers: std::array::from_fn(|layer| VideoPacketizer::new(layer as u16)),
            wants_keyframe: [true; 3],
            number: 0,
            wire: BTreeMap::new(),
            sent: 0,
            shown: Vec::new(),
            flows: Vec::new(),
            asked: Vec::new(),
            now_ms: 0,
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Passes time, a millisecond at a time.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            if self.now_ms.is_multiple_of(FRAME_MS) {
                self.send_frame();
            }
            let now = self.at(self.now_ms);
            while let Some(entry) = self.wire.first_entry() {
                if entry.key().0 > self.now_ms {
                    break;
                }
                let packet = entry.remove();
                self.picture.handle_packet(now, packet);
                self.look(now);
            }
            if self.picture.poll_timeout().is_some_and(|at| at <= now) {
                self.picture.handle_timeout(now);
            }
            self.look(now);
            self.now_ms += 1;
        }
    }

    fn look(&mut self, now: Instant) {
        while let Some(received) = self.picture.poll_frame(now) {
            let (number, layer) = read_vp8(&received.frame);
            self.shown.push((number, layer, self.now_ms));
        }
        while let Some(link) = self.picture.poll_flow() {
            self.flows.push(link);
        }
        while let Some(origin) = self.picture.poll_keyframe_request(now) {
            self.asked.push(origin);
            let path = self.paths.iter().find(|path| path.origin == origin);
            if let Some(layer) = path.and_then(|path| path.layer) {
                self.wants_keyframe[usize::from(layer)] = true;
            }
        }
    }

    fn send_frame(&mut self) {
        let now = self.at(self.now_ms);
        let timestamp = 4_294_900_000_u32.wrapping_add(self.number * FRAME_TICKS);
        for layer in 0..3_u8 {
            let keyframe = std::mem::take(&mut self.wants_keyframe[usize::from(layer)]);
            let frame = vp8(self.number, layer, keyframe, now);
            let payloads: Vec<Bytes> = self.packetizers[usize::from(layer)]
                .packetize(&frame)
                .collect();
            for path in &mut self.paths {
                if path.layer != Some(layer) || path.is_waiting && !keyframe {
                    continue;
                }
                path.is_waiting = false;
                for (index, payload) in payloads.iter().enumerate() {
                    path.sequence = path.sequence.wrapping_add(1);
                    let is_late =
                        path.late_every > 0 && path.sequence.is_multiple_of(path.late_every);
                    let extra_ms = if is_late { RESENT_MS } else { 0 };
                    let packet = PicturePacket {
                        origin: path.origin,
                        layer,
                        codec: VideoCodec::Vp8,
                        sequence: path.sequence,
                        timestamp: timestamp.wrapping_add(path.timestamp_shift),
                        marker: index + 1 == payloads.len(),
                        payload: payload.clone(),
                    };
                    self.sent += 1;
                    let due = self.now_ms + path.delay_ms + extra_ms;
                    self.wire.insert((due, self.sent), packet);
                }
            }
        }
        self.number += 1;
    }

    /// The SFU forwards another layer from its next keyframe on.
    fn forward(&mut self, path: usize, layer: u8) {
        self.paths[path].layer = Some(layer);
        self.paths[path].is_waiting = true;
        self.wants_keyframe[usize::from(layer)] = true;
    }

    /// Frames came out in order, each once, at most `missing` in a row left out, and never later
    /// than `gap_ms` after the one before.
    fn check(&self, missing: u32, gap_ms: u64, case: &str) {
        assert!(self.shown.len() > 10, "{case}: {:?}", self.shown);
        for pair in self.shown.windows(2) {
            let ((before, old, then), (number, layer, now)) = (pair[0], pair[1]);
            let tail = &self.shown[..];
            // A picture may come again as the keyframe of another layer.
            let is_later = number > before || number == before && layer != old;
            assert!(is_later, "{case}: {pair:?} backwards in {tail:?}");
            assert!(
                number - before <= 1 + missing,
                "{case}: {pair:?} in {tail:?}"
            );
            assert!(now - then <= gap_ms, "{case}: {pair:?} in {tail:?}");
        }
    }

    fn shown_link(&self) -> Option<LinkId> {
        self.picture.shown.map(|shown| shown.origin.link)
    }
}

/// Both paths carry layer 0: nothing is left out, whichever is faster and whatever is late.
#[test]
fn paths_of_one_layer_follow_each_other_without_a_frame_lost() {
    for (mesh_ms, sfu_ms) in [(5, 40), (40, 5), (20, 20), (2, 120), (120, 2)] {
        for (late_mesh, late_sfu) in [(0, 0), (7, 0), (0, 7), (5, 11)] {
            let mut mesh = Path::new(MESH, 10, mesh_ms, Some(0));
            mesh.late_every = late_mesh;
            let mut sfu = Path::new(SFU, 20, sfu_ms, None);
            sfu.late_every = late_sfu;
            let case = format!("{mesh_ms}/{late_mesh} to {sfu_ms}/{late_sfu} ms");
            let mut world = World::new(true, [mesh, sfu]);
            world.run(1_000);
            assert_eq!(world.shown_link(), Some(MESH), "{case}");
            world.forward(1, 0);
            world.run(1_000);
            assert_eq!(world.shown_link(), Some(SFU), "{case}");
            world.paths[0].layer = None;
            world.picture.remove_link(world.at(world.now_ms), MESH);
            world.run(1_000);
            assert_eq!(world.flows, [MESH, SFU], "{case}");
            let jump_ms = sfu_ms.saturating_sub(mesh_ms);
            world.check(0, FRAME_MS * 2 + jump_ms + RESENT_MS, &case);

            // And back, over a new direct link.
            let mut again = Path::new(MESH_AGAIN, 30, mesh_ms, Some(0));
            again.late_every = late_mesh;
            world.paths[0] = again;
            world.wants_keyframe[0] = true;
            world.run(1_000);
            assert_eq!(world.shown_link(), Some(MESH_AGAIN), "{case}");
            world.paths[1].layer = None;
            world.picture.remove_link(world.at(world.now_ms), SFU);
            world.run(1_000);
            assert_eq!(world.flows, [MESH, SFU, MESH_AGAIN], "{case}");
            let jump_ms = mesh_ms.abs_diff(sfu_ms);
            world.check(0, FRAME_MS * 2 + jump_ms + RESENT_MS, &case);
        }
    }
}

/// The SFU carries another layer: the switch is at its keyframe, and loses one frame at most.
#[test]
fn a_path_with_another_layer_takes_over_at_a_keyframe() {
    for (mesh_ms, sfu_ms) in [(5, 5), (40, 5), (5, 60), (2, 120), (120, 2)] {
        for layer in [1, 2] {
            let case = format!("{mesh_ms} to {sfu_ms} ms, layer {layer}");
            let mesh = Path::new(MESH, 10, mesh_ms, Some(0));
            let sfu = Path::new(SFU, 20, sfu_ms, None);
            let mut world = World::new(true, [mesh, sfu]);
            world.run(1_000);
            world.forward(1, layer);
            world.run(5_000);
            assert_eq!(world.shown_link(), Some(SFU), "{case}");
            assert_eq!(world.shown.last().unwrap().1, layer, "{case}");
            assert_eq!(world.flows, [MESH, SFU], "{case}");
            world.check(1, FRAME_MS * 3, &case);
            assert!(
                world.asked.iter().filter(|asked| asked.link == SFU).count() <= 4,
                "{case}: {:?}",
                world.asked
            );
        }
    }
}

#[test]
fn layers_change_within_the_sfus_path() {
    let sfu = Path::new(SFU, 20, 30, Some(1));
    let mut world = World::new(true, [Path::new(MESH, 10, 5, None), sfu]);
    for layer in [1, 0, 2, 0, 1, 2, 1] {
        world.forward(1, layer);
        world.run(700);
        assert_eq!(world.shown.last().unwrap().1, layer);
    }
    world.check(0, FRAME_MS * 2, "layers");
    let sizes = world.picture.streams.len();
    assert_eq!((sizes, world.asked.len()), (1, 0));
}

/// Packets of the layer before that come after the new one's first are no reason to do anything.
#[test]
fn the_end_of_a_layer_may_come_late() {
    let mut sfu = Path::new(SFU, 20, 30, Some(0));
    sfu.late_every = 4;
    let mut world = World::new(true, [Path::new(MESH, 10, 5, None), sfu]);
    for round in 0..20 {
        world.forward(1, round % 3);
        world.run(400 + u64::from(round) * 7);
    }
    world.check(1, FRAME_MS * 3, "late ends");
    assert!(world.asked.is_empty(), "{:?}", world.asked);
}

#[test]
fn a_path_that_dies_is_replaced_by_the_one_that_still_flows() {
    let mesh = Path::new(MESH, 10, 5, Some(0));
    let sfu = Path::new(SFU, 20, 30, Some(0));
    let mut world = World::new(true, [mesh, sfu]);
    world.run(1_000);
    assert_eq!(world.shown_link(), Some(SFU));
    world.paths[1].layer = None;
    world.run(2_000);
    assert_eq!(world.shown_link(), Some(MESH));
    world.check(0, 500, "dead path");
}

/// Path numbers: only keyframes lead over; time goes on.
#[test]
fn paths_with_numbers_of_their_own_follow_each_other_at_keyframes() {
    for shift in [0, 77_777, 1 << 31, u32::MAX - 5] {
        let mesh = Path::new(MESH, 10, 20, Some(0));
        let mut sfu = Path::new(SFU, 20, 25, None);
        sfu.timestamp_shift = shift;
        let mut world = World::new(false, [mesh, sfu]);
        world.run(1_000);
        world.forward(1, 0);
        world.run(1_000);
        assert_eq!(world.shown_link(), Some(SFU), "{shift}");
        let (origin, there, here, _) = world.picture.newest().unwrap();
        assert_eq!(origin.link, SFU);
        assert!(there.wrapping_sub(here) != 0 || shift == 0);
        let numbers: Vec<_> = world.shown.iter().map(|shown| shown.0).collect();
        let sorted = numbers.windows(2).all(|pair| pair[1] + 1 >= pair[0]);
        assert!(sorted, "{shift}: {numbers:?}");
        let gaps = world.shown.windows(2).map(|pair| pair[1].2 - pair[0].2);
        assert!(
            gaps.max().unwrap() <= FRAME_MS * 3,
            "{shift}: {:?}",
            world.shown
        );
    }
}

#[test]
fn keyframes_are_asked_of_the_stream_that_is_shown() {
    let mesh = Path::new(MESH, 10, 5, Some(0));
    let sfu = Path::new(SFU, 20, 30, Some(0));
    let mut world = World::new(true, [mesh, sfu]);
    world.run(1_000);
    let now = world.at(world.now_ms);
    assert_eq!(world.picture.keyframe_source(now), Some(sfu.origin));
    assert_eq!(world.picture.keyframe_source(now), None, "just asked");
    let later = now + KEYFRAME_REQUEST;
    assert_eq!(world.picture.keyframe_source(later), Some(sfu.origin));
}

#[test]
fn streams_are_bounded_and_the_shown_one_stays() {
    let mesh = Path::new(MESH, 10, 5, Some(0));
    let mut world = World::new(true, [mesh, Path::new(SFU, 20, 5, None)]);
    world.run(500);
    for ssrc in 100..200 {
        let now = world.at(world.now_ms);
        let packet = PicturePacket {
            origin: Origin { link: MESH, ssrc },
            layer: 0,
            codec: VideoCodec::Vp8,
            sequence: 1,
            timestamp: 1,
            marker: false,
            payload: Bytes::from_static(&[0x10, 0, 0]),
        };
        world.picture.handle_packet(now, packet);
        assert!(world.picture.streams.len() <= MAX_STREAMS);
    }
    world.run(500);
    world.check(0, FRAME_MS * 2, "strangers");
}

#[test]
fn the_media_clock_unwraps() {
    let mut clock = MediaClock::default();
    let start = clock.unwrap_us(u32::MAX - 1_500);
    assert_eq!(
        clock.unwrap_us((u32::MAX - 1_500).wrapping_add(3_000)),
        start + 33_333
    );
    assert_eq!(clock.unwrap_us(u32::MAX - 1_500), start, "and goes back");
}
