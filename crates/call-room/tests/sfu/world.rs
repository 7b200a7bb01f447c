//! A room at the forwarding unit in virtual time: senders that encode what is wanted, a network
//! towards the unit that loses and reorders, and receivers that remember every packet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::dependency_descriptor::{Descriptor, DescriptorWriter, Mandatory};
use call_protocol::limits::{SFU_AUDIO_SLOTS, SFU_VIDEO_SLOTS};
use call_protocol::wire::Subscription;
use call_protocol::{MediaSource, MemberId};
use call_room::sfu::{
    Forward, PacketIn, SfuConfig, SfuOutput, SfuRoom, SlotId, SlotKind, SlotSpec, TrackId,
    TrackSpec,
};

/// Payload of a packet and packets of a frame, by layer: 1152, 346 and 115 kbit/s at 30 frames a
/// second without headers.
const FRAMES: [(usize, usize); 3] = [(1_200, 4), (720, 2), (480, 1)];
/// Packets of a keyframe for each of another frame.
const KEYFRAME_FACTOR: usize = 3;
/// A retransmission comes this much later.
const RTT: Duration = Duration::from_millis(70);

/// A packet as a receiver got it, and where it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub(crate) at: Instant,
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) frame_number: Option<u16>,
    pub(crate) bytes: usize,
    pub(crate) from: MemberId,
    pub(crate) track: TrackId,
    pub(crate) layer: Option<u8>,
    pub(crate) sequence_in: u64,
    /// Of the packet that came in: start and end of its frame, start of a keyframe.
    pub(crate) start: bool,
    pub(crate) end: bool,
    pub(crate) begins: bool,
    pub(crate) temporal_id: u8,
}

struct Stream {
    spec: TrackSpec,
    writer: DescriptorWriter,
    sequence: u64,
    timestamp: u32,
    frames: u64,
    keyframe_due: bool,
    is_wanted: bool,
}

#[derive(Clone)]
struct Packet {
    member: MemberId,
    spec: TrackSpec,
    sequence: u64,
    timestamp: u32,
    bytes: usize,
    level: Option<u8>,
    descriptor: Option<Bytes>,
}

pub(crate) struct World {
    pub(crate) room: SfuRoom,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    senders: BTreeMap<MemberId, Vec<Stream>>,
    /// Everything each slot got.
    pub(crate) got: BTreeMap<(MemberId, SlotId), Vec<Got>>,
    /// Slots as their owners were told.
    pub(crate) told: BTreeMap<MemberId, Vec<(SlotId, MemberId, MediaSource)>>,
    pub(crate) layers: BTreeMap<(MemberId, MediaSource), [bool; 3]>,
    pub(crate) bitrates: BTreeMap<MemberId, u64>,
    pub(crate) requests: BTreeMap<TrackId, Vec<Instant>>,
    /// Who speaks, by level below overload.
    pub(crate) speaking: BTreeSet<MemberId>,
    /// Packets lost on their first way, in permille; a fifth of the retransmissions is lost too.
    pub(crate) loss_permille: u64,
    /// Packets that arrive a few milliseconds late, in permille.
    pub(crate) reorder_permille: u64,
    /// Layers their senders cannot encode.
    pub(crate) broken: BTreeSet<TrackId>,
    flight: BTreeMap<(Instant, u64), Packet>,
    structures: BTreeMap<TrackId, call_protocol::dependency_descriptor::Structure>,
    random: u64,
    pub(crate) next_id: u32,
    steps: u64,
    sent: u64,
    pub(crate) forwards: u64,
    pub(crate) busy: Duration,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            room: SfuRoom::new(SfuConfig::default()),
            start: now,
            now,
            senders: BTreeMap::new(),
            got: BTreeMap::new(),
            told: BTreeMap::new(),
            layers: BTreeMap::new(),
            bitrates: BTreeMap::new(),
            requests: BTreeMap::new(),
            speaking: BTreeSet::new(),
            loss_permille: 0,
            reorder_permille: 0,
            broken: BTreeSet::new(),
            flight: BTreeMap::new(),
            structures: BTreeMap::new(),
            random: 0x9e37_79b9_7f4a_7c15,
            next_id: 1,
            steps: 0,
            sent: 0,
            forwards: 0,
            busy: Duration::ZERO,
        }
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.random ^= seed.wrapping_mul(0xd134_2543_de82_ef95);
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Opens a link with a microphone and, perhaps, a camera of three layers.
    pub(crate) fn enter(&mut self, member: u32, has_camera: bool) {
        let mut specs = vec![(MediaSource::Microphone, None)];
        if has_camera {
            specs.extend([0, 1, 2].map(|layer| (MediaSource::Camera, Some(layer))));
        }
        self.enter_with(member, &specs);
    }

    pub(crate) fn enter_with(&mut self, member: u32, specs: &[(MediaSource, Option<u8>)]) {
        let member = MemberId(member);
        let mut streams = Vec::new();
        for (source, layer) in specs {
            let id = self.id();
            let spec = TrackSpec {
                track: TrackId(id),
                source: *source,
                layer: *layer,
            };
            streams.push(Stream {
                spec,
                writer: DescriptorWriter::new((id * 7_777) as u16),
                sequence: u64::from(id) * 10_000,
                timestamp: id.wrapping_mul(0x1234_5678),
                frames: 0,
                keyframe_due: true,
                is_wanted: true,
            });
        }
        let kinds = [
            (SlotKind::Audio, SFU_AUDIO_SLOTS),
            (SlotKind::Video, SFU_VIDEO_SLOTS),
        ];
        let mut slots = Vec::new();
        for (kind, count) in kinds {
            for _ in 0..count {
                slots.push(SlotSpec {
                    slot: SlotId(self.id()),
                    kind,
                });
            }
        }
        let tracks = streams.iter().map(|stream| stream.spec).collect();
        self.senders.insert(member, streams);
        // A new link is told everything.
        self.layers.retain(|(owner, _), _| *owner != member);
        self.room.handle_link(self.now, member, tracks, slots);
        self.drain();
    }

    /// The same tracks and no slots, as when a member only sends.
    pub(crate) fn renegotiate(&mut self, member: u32) {
        let member = MemberId(member);
        let tracks = self.senders[&member]
            .iter()
            .map(|stream| stream.spec)
            .collect();
        self.layers.retain(|(owner, _), _| *owner != member);
        self.room.handle_link(self.now, member, tracks, Vec::new());
        self.drain();
    }

    pub(crate) fn leave(&mut self, member: u32) {
        self.senders.remove(&MemberId(member));
        self.room.handle_member_gone(self.now, MemberId(member));
        self.drain();
    }

    /// The link fails; the member stays.
    pub(crate) fn lose_link(&mut self, member: u32) {
        self.senders.remove(&MemberId(member));
        self.room.handle_link_gone(self.now, MemberId(member));
        self.drain();
    }

    pub(crate) fn subscribe(&mut self, member: u32, tiles: &[(u32, u32, u32)]) {
        let tile = |(member, width_px, height_px): &(u32, u32, u32)| Subscription {
            member: MemberId(*member),
            source: MediaSource::Camera,
            width_px: *width_px,
            height_px: *height_px,
        };
        let tiles: Vec<_> = tiles.iter().map(tile).collect();
        self.room
            .handle_subscribe(self.now, MemberId(member), &tiles);
        self.drain();
    }

    pub(crate) fn estimate(&mut self, member: u32, bps: u64) {
        self.room.handle_estimate(self.now, MemberId(member), bps);
        self.drain();
    }

    pub(crate) fn tracks_of(&self, member: u32) -> Vec<TrackId> {
        self.senders[&MemberId(member)]
            .iter()
            .map(|stream| stream.spec.track)
            .collect()
    }

    /// The slot that carries somebody's source to a member, as it was told.
    pub(crate) fn slot_of(&self, member: u32, of: u32, source: MediaSource) -> Option<SlotId> {
        let told = self.told.get(&MemberId(member))?;
        let slot = told
            .iter()
            .find(|(_, from, what)| (*from, *what) == (MemberId(of), source));
        slot.map(|(slot, ..)| *slot)
    }

    /// What a member got of a camera since some time.
    pub(crate) fn camera(&self, member: u32, of: u32, since: Instant) -> Vec<Got> {
        let mut got: Vec<Got> = Vec::new();
        for ((owner, _), packets) in &self.got {
            if *owner == MemberId(member) {
                got.extend(packets.iter().filter(|packet| {
                    packet.from == MemberId(of) && packet.layer.is_some() && packet.at >= since
                }));
            }
        }
        got
    }

    /// Layers a member got of a camera since some time.
    pub(crate) fn layers_got(&self, member: u32, of: u32, since: Instant) -> BTreeSet<u8> {
        self.camera(member, of, since)
            .iter()
            .filter_map(|got| got.layer)
            .collect()
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += Duration::from_millis(1);
            self.steps += 1;
            if self.steps.is_multiple_of(33) {
                self.encode();
            }
            if self.steps.is_multiple_of(20) {
                self.speak();
            }
            while let Some(entry) = self.flight.first_entry().filter(|e| e.key().0 <= self.now) {
                let packet = entry.remove();
                self.arrive(&packet);
            }
            if self.room.poll_timeout().is_some_and(|at| at <= self.now) {
                self.room.handle_timeout(self.now);
                self.drain();
            }
        }
    }

    fn encode(&mut self) {
        let mut packets = Vec::new();
        for (member, streams) in &mut self.senders {
            for stream in streams.iter_mut() {
                let Some(layer) = stream.spec.layer.map(usize::from) else {
                    continue;
                };
                if !stream.is_wanted || self.broken.contains(&stream.spec.track) {
                    continue;
                }
                let keyframe = std::mem::take(&mut stream.keyframe_due);
                let temporal_id = if keyframe {
                    0
                } else {
                    (stream.frames % 2) as u8
                };
                stream.frames = if keyframe { 1 } else { stream.frames + 1 };
                stream.timestamp = stream.timestamp.wrapping_add(2_970);
                let (width, height) = (1_280 >> layer, 720 >> layer);
                let frame = stream.writer.frame(keyframe, temporal_id, 2, width, height);
                let (bytes, count) = FRAMES[layer];
                let count = if keyframe {
                    count * KEYFRAME_FACTOR
                } else {
                    count
                };
                for index in 0..count {
                    stream.sequence += 1;
                    packets.push(Packet {
                        member: *member,
                        spec: stream.spec,
                        sequence: stream.sequence,
                        timestamp: stream.timestamp,
                        bytes,
                        level: None,
                        descriptor: Some(frame.packet(index == 0, index == count - 1)),
                    });
                }
            }
        }
        self.send(packets);
    }

    fn speak(&mut self) {
        let mut packets = Vec::new();
        for (member, streams) in &mut self.senders {
            for stream in streams
                .iter_mut()
                .filter(|s| s.spec.source == MediaSource::Microphone)
            {
                stream.sequence += 1;
                stream.timestamp = stream.timestamp.wrapping_add(960);
                let is_speaking = self.speaking.contains(member);
                packets.push(Packet {
                    member: *member,
                    spec: stream.spec,
                    sequence: stream.sequence,
                    timestamp: stream.timestamp,
                    bytes: 100,
                    level: Some(if is_speaking { 25 } else { 90 }),
                    descriptor: None,
                });
            }
        }
        self.send(packets);
    }

    fn send(&mut self, packets: Vec<Packet>) {
        for packet in packets {
            let mut at = self.now + Duration::from_millis(20);
            if self.chance(self.loss_permille) {
                if self.chance(200) {
                    continue;
                }
                at += RTT;
            } else if self.chance(self.reorder_permille) {
                at += Duration::from_millis(5);
            }
            self.sent += 1;
            self.flight.insert((at, self.sent), packet);
        }
    }

    fn arrive(&mut self, packet: &Packet) {
        let descriptor = packet.descriptor.as_deref();
        let known = self.structures.get(&packet.spec.track);
        let read = descriptor.and_then(|bytes| Descriptor::parse(bytes, known));
        if let Some(structure) = read.as_ref().and_then(|read| read.structure.clone()) {
            self.structures.insert(packet.spec.track, structure);
        }
        let mandatory = descriptor.and_then(Mandatory::parse);
        let input = PacketIn {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: false,
            payload_bytes: packet.bytes,
            level_dbov: packet.level,
            descriptor,
        };
        let mut out: Vec<Forward> = Vec::new();
        let began = Instant::now();
        self.room
            .handle_packet(self.now, packet.member, packet.spec.track, &input, &mut out);
        self.busy += began.elapsed();
        self.forwards += out.len() as u64;
        for forward in out {
            assert_eq!(forward.csrc, packet.member.0);
            assert_ne!(forward.member, packet.member, "nobody gets its own media");
            let bytes = forward.descriptor.as_ref().map(|bytes| bytes.to_vec());
            let rewritten = bytes.as_deref().and_then(Mandatory::parse);
            assert_eq!(bytes.as_ref().map(Vec::len), descriptor.map(<[u8]>::len));
            self.got
                .entry((forward.member, forward.slot))
                .or_default()
                .push(Got {
                    at: self.now,
                    sequence: forward.sequence,
                    timestamp: forward.timestamp,
                    frame_number: rewritten.map(|mandatory| mandatory.frame_number),
                    bytes: packet.bytes,
                    from: packet.member,
                    track: packet.spec.track,
                    layer: packet.spec.layer,
                    sequence_in: packet.sequence,
                    start: mandatory.is_some_and(|mandatory| mandatory.start_of_frame),
                    end: mandatory.is_some_and(|mandatory| mandatory.end_of_frame),
                    begins: read.as_ref().is_some_and(|read| read.is_keyframe),
                    temporal_id: read.as_ref().map_or(0, |read| read.temporal_id),
                });
        }
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.room.poll_output() {
            match output {
                SfuOutput::RequestKeyframe { member, track } => {
                    self.requests.entry(track).or_default().push(self.now);
                    for stream in self.senders.get_mut(&member).into_iter().flatten() {
                        stream.keyframe_due |= stream.spec.track == track;
                    }
                }
                SfuOutput::Layers {
                    member,
                    source,
                    wanted,
                } => {
                    let before = self.layers.insert((member, source), wanted);
                    assert_ne!(before, Some(wanted), "told again");
                    for stream in self.senders.get_mut(&member).into_iter().flatten() {
                        if let Some(layer) =
                            stream.spec.layer.filter(|_| stream.spec.source == source)
                        {
                            let is_wanted = wanted[usize::from(layer)];
                            stream.keyframe_due |= is_wanted && !stream.is_wanted;
                            stream.is_wanted = is_wanted;
                        }
                    }
                }
                SfuOutput::Slots { member, slots } => {
                    assert_ne!(self.told.get(&member), Some(&slots), "told again");
                    self.told.insert(member, slots);
                }
                SfuOutput::Bitrate {
                    member,
                    desired_bps,
                } => {
                    self.bitrates.insert(member, desired_bps);
                }
            }
        }
    }
}
