//! Members of rooms at an SFU: str0m as the other side, real sockets on loopback, no signalling.
//!
//! Everything runs on the test's thread: [`World::until`] moves datagrams and notices until
//! something holds, and fails after a deadline.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::dependency_descriptor::{DescriptorWriter, URI};
use call_protocol::wire::{SfuSlot, SfuTrack, Subscription};
use call_protocol::{ErrorCode, MediaSource, MemberId, RoomId};
use call_room::{SfuCommand, SfuEvent};
use call_server::sfu::{MediaPort, Notice, Sfu, SfuOutputs};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::media::{Direction, KeyframeRequest, KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{
    Extension, ExtensionMap, ExtensionSerializer, ExtensionValues, RtpPacket, RtpWrite,
};
use str0m::{Candidate, Event, Input, Output, Rtc};

const DEADLINE: Duration = Duration::from_secs(30);
/// Streams of the data channels, as call-transport has them.
pub(crate) const READY: u16 = 99;
pub(crate) const CONTROL: u16 = 100;
pub(crate) const BULK: u16 = 101;
pub(crate) const LOSSY: u16 = 102;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawDescriptor(pub(crate) Bytes);

#[derive(Debug)]
struct Descriptors;

impl ExtensionSerializer for Descriptors {
    fn write_to(&self, buf: &mut [u8], ev: &ExtensionValues) -> usize {
        let Some(RawDescriptor(bytes)) = ev.user_values.get() else {
            return 0;
        };
        buf[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], ev: &mut ExtensionValues) -> bool {
        ev.user_values
            .set(RawDescriptor(Bytes::copy_from_slice(buf)));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, ev: &ExtensionValues) -> bool {
        ev.user_values
            .get::<RawDescriptor>()
            .is_some_and(|descriptor| descriptor.0.len() > 16)
    }
}

/// What a member offers.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) layers: u8,
    pub(crate) audio_slots: usize,
    pub(crate) video_slots: usize,
    /// Whether the SFU can estimate the path. Not in tests of what it does with an estimate: on a
    /// busy machine the estimator takes the jitter of this loop for a slow path.
    pub(crate) has_feedback: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            layers: 3,
            audio_slots: 3,
            video_slots: 3,
            has_feedback: false,
        }
    }
}

/// Where a stream of pictures is.
struct Camera {
    mid: Mid,
    writer: DescriptorWriter,
    sequence: u64,
    timestamp: u32,
    frames: u32,
}

/// Decides whether a datagram is lost on its way to a member.
type Loss = Box<dyn FnMut(&[u8]) -> bool>;

pub(crate) struct Member {
    pub(crate) room: RoomId,
    pub(crate) id: MemberId,
    pub(crate) link: u32,
    pub(crate) rtc: Rtc,
    pub(crate) socket: UdpSocket,
    local: SocketAddr,
    pending: Option<SdpPendingOffer>,
    microphone: Mid,
    sound: (u64, u32),
    cameras: Vec<Camera>,
    channels: Vec<(u16, ChannelId)>,
    pub(crate) loss: Option<Loss>,
    pub(crate) is_gone: bool,
    // What happened.
    pub(crate) is_connected: bool,
    pub(crate) answers: usize,
    pub(crate) closed: Option<ErrorCode>,
    pub(crate) slots: Vec<SfuSlot>,
    pub(crate) wanted: BTreeMap<&'static str, [bool; 3]>,
    pub(crate) packets: Vec<(Mid, RtpPacket)>,
    pub(crate) keyframe_requests: Vec<(usize, Instant)>,
    pub(crate) messages: Vec<(u16, Vec<u8>)>,
    open: Vec<ChannelId>,
}

pub(crate) struct World {
    pub(crate) sfu: Sfu,
    outputs: SfuOutputs,
    pub(crate) addr: SocketAddr,
    pub(crate) members: Vec<Member>,
    poll: Poll,
}

pub(crate) fn room(number: u8) -> RoomId {
    RoomId::from_bytes([number; 16])
}

pub(crate) fn tile(member: u32, width_px: u32, height_px: u32) -> Subscription {
    Subscription {
        member: MemberId(member),
        source: MediaSource::Camera,
        width_px,
        height_px,
    }
}

impl World {
    pub(crate) fn new(threads: usize) -> Self {
        let port = MediaPort::bind("127.0.0.1:0".parse().unwrap(), threads).unwrap();
        let addr = port.local_addr();
        let (sfu, outputs) = Sfu::start(port, None).unwrap();
        Self {
            sfu,
            outputs,
            addr,
            members: Vec::new(),
            poll: Poll::new().unwrap(),
        }
    }

    /// Adds a member to a room and lets it offer; its number is its place in `members` plus 1.
    pub(crate) fn add(&mut self, room: RoomId, shape: Shape) -> usize {
        let id = MemberId(u32::try_from(self.members.len()).unwrap() + 1);
        let mut member = Member::new(room, id, shape.has_feedback);
        self.sfu.command(member.offer(shape));
        self.watch(&mut member);
        self.members.push(member);
        self.members.len() - 1
    }

    /// Has the world wake up for a member's datagrams.
    pub(crate) fn watch(&self, member: &mut Member) {
        let registry = self.poll.registry();
        registry
            .register(&mut member.socket, Token(0), Interest::READABLE)
            .unwrap();
    }

    /// Members with a connected link each.
    pub(crate) fn with_members(threads: usize, count: usize) -> Self {
        let mut world = Self::new(threads);
        for _ in 0..count {
            world.add(room(1), Shape::default());
        }
        world.connect();
        world
    }

    pub(crate) fn connect(&mut self) {
        self.until("connected", |world| {
            world.members.iter().all(|member| member.is_connected)
        });
    }

    pub(crate) fn subscribe(&self, member: usize, tiles: &[Subscription]) {
        let member = &self.members[member];
        self.sfu.command(SfuCommand::Subscribe {
            room: member.room.clone(),
            member: member.id,
            tiles: tiles.to_vec(),
        });
    }

    /// Runs until `holds`.
    pub(crate) fn until(&mut self, what: &str, holds: impl FnMut(&mut Self) -> bool) {
        let is_in_time = self.until_then(Instant::now() + DEADLINE, holds);
        assert!(is_in_time, "took too long: {what}");
    }

    /// Likewise, and gives up at a deadline: false.
    pub(crate) fn until_then(
        &mut self,
        deadline: Instant,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        while !holds(self) {
            if Instant::now() >= deadline {
                return false;
            }
            self.step();
        }
        true
    }

    /// Runs `sender`'s camera at some 50 frames a second until `holds`.
    pub(crate) fn while_sending(
        &mut self,
        sender: usize,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) {
        let mut next = Instant::now();
        self.until(what, |world| {
            if Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(20);
                // Larger layers cost more, as everywhere.
                for (layer, packets) in [(0, 4), (1, 2), (2, 1)] {
                    world.members[sender].send_frame(layer, false, packets, 300);
                }
            }
            holds(world)
        });
    }

    fn step(&mut self) {
        while let Ok(Notice {
            room,
            member,
            event,
        }) = self.outputs.notices.try_recv()
        {
            let known = self
                .members
                .iter_mut()
                .find(|known| known.room == room && known.id == member);
            known.expect("a notice for a member").handle_event(event);
        }
        for member in self.members.iter_mut().filter(|member| !member.is_gone) {
            member.drive();
        }
        let wait = Duration::from_millis(1);
        self.poll
            .poll(&mut Events::with_capacity(16), Some(wait))
            .unwrap();
    }
}

impl Member {
    pub(crate) fn new(room: RoomId, id: MemberId, has_feedback: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let local = socket.local_addr().unwrap();
        let mut extensions = ExtensionMap::standard();
        // Another id than the SFU's own.
        extensions.set(8, Extension::with_serializer(URI, Descriptors));
        if !has_feedback {
            // Something else where the transport-wide sequence number was.
            extensions.set(3, Extension::TransmissionTimeOffset);
        }
        let mut rtc = Rtc::builder()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .set_rtp_mode(true)
            .set_extension_map(extensions)
            .set_sctp_max_buffered_amount(16 * 1024 * 1024)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(local, Protocol::Udp).unwrap());
        Self {
            room,
            id,
            link: 1,
            rtc,
            socket,
            local,
            pending: None,
            microphone: Mid::from("none"),
            sound: (1_000, 5_000),
            cameras: Vec::new(),
            channels: Vec::new(),
            loss: None,
            is_gone: false,
            is_connected: false,
            answers: 0,
            closed: None,
            slots: Vec::new(),
            wanted: BTreeMap::new(),
            packets: Vec::new(),
            keyframe_requests: Vec::new(),
            messages: Vec::new(),
            open: Vec::new(),
        }
    }

    /// The first offer: microphone, layers, slots, data channels.
    pub(crate) fn offer(&mut self, shape: Shape) -> SfuCommand {
        let mut changes = self.rtc.sdp_api();
        let sends = Direction::SendOnly;
        self.microphone = changes.add_media(MediaKind::Audio, sends, None, None, None);
        for layer in 0..shape.layers {
            self.cameras.push(Camera {
                mid: changes.add_media(MediaKind::Video, sends, None, None, None),
                writer: DescriptorWriter::new(100 * u16::from(layer)),
                sequence: 10_000 * (u64::from(layer) + 1),
                timestamp: 1_000_000 * (u32::from(layer) + 1),
                frames: 0,
            });
        }
        for (kind, count) in [
            (MediaKind::Audio, shape.audio_slots),
            (MediaKind::Video, shape.video_slots),
        ] {
            for _ in 0..count {
                changes.add_media(kind, Direction::RecvOnly, None, None, None);
            }
        }
        for stream in [READY, CONTROL, BULK, LOSSY] {
            let id = changes.add_channel_with_config(ChannelConfig {
                label: stream.to_string(),
                ordered: stream <= CONTROL,
                reliability: if stream == LOSSY {
                    Reliability::MaxRetransmits { retransmits: 0 }
                } else {
                    Reliability::Reliable
                },
                negotiated: Some(stream),
                protocol: String::new(),
            });
            self.channels.push((stream, id));
        }
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        self.command(offer.to_sdp_string())
    }

    /// A later offer: one more slot for pictures.
    pub(crate) fn offer_another_slot(&mut self) -> SfuCommand {
        let mut changes = self.rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        self.command(offer.to_sdp_string())
    }

    /// A later offer with new ICE credentials.
    pub(crate) fn offer_restart(&mut self) -> SfuCommand {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        self.command(offer.to_sdp_string())
    }

    pub(crate) fn tracks(&self) -> Vec<SfuTrack> {
        let microphone = SfuTrack {
            mline: 0,
            source: MediaSource::Microphone,
            layer: None,
        };
        let layers = 0..u8::try_from(self.cameras.len()).unwrap();
        let cameras = layers.map(|layer| SfuTrack {
            mline: u16::from(layer) + 1,
            source: MediaSource::Camera,
            layer: Some(layer),
        });
        std::iter::once(microphone).chain(cameras).collect()
    }

    fn command(&self, sdp: String) -> SfuCommand {
        SfuCommand::Offer {
            room: self.room.clone(),
            member: self.id,
            link: self.link,
            sdp,
            tracks: self.tracks(),
        }
    }

    pub(crate) fn handle_event(&mut self, event: SfuEvent) {
        match event {
            SfuEvent::Answer { sdp, .. } => {
                self.answers += 1;
                let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
                let pending = self.pending.take().expect("an offer was made");
                self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
            }
            SfuEvent::Closed { code, .. } => self.closed = Some(code),
            SfuEvent::Layers { source, wanted } => {
                let source = if source == MediaSource::Camera {
                    "camera"
                } else {
                    "screen"
                };
                self.wanted.insert(source, wanted);
            }
            SfuEvent::Slots { slots, .. } => self.slots = slots,
        }
    }

    /// Moves datagrams both ways until there are none.
    pub(crate) fn drive(&mut self) {
        let mut buffer = [0; 2_048];
        self.pump();
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            let bytes = &buffer[..len];
            if self.loss.as_mut().is_some_and(|is_lost| is_lost(bytes)) {
                continue;
            }
            if let Ok(receive) = Receive::new(Protocol::Udp, from, self.local, bytes) {
                self.rtc
                    .handle_input(Input::Receive(Instant::now(), receive))
                    .unwrap();
            }
            self.pump();
        }
        self.rtc
            .handle_input(Input::Timeout(Instant::now()))
            .unwrap();
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let Ok(output) = self.rtc.poll_output() else {
                // The SFU hung up in the middle of a handshake. Whoever still waits for this member
                // finds out.
                self.rtc.disconnect();
                return;
            };
            match output {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => {
                    match self
                        .socket
                        .send_to(&transmit.contents, transmit.destination)
                    {
                        Err(error) if error.kind() != ErrorKind::WouldBlock => {
                            panic!("not sent: {error}")
                        }
                        _ => {}
                    }
                }
                Output::Event(event) => self.take(event),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Connected => self.is_connected = true,
            Event::RtpPacket(packet) => {
                let ssrc = packet.header.ssrc;
                let mid = self.rtc.direct_api().stream_rx(&ssrc).unwrap().mid();
                self.packets.push((mid, packet));
            }
            Event::KeyframeRequest(KeyframeRequest { mid, .. }) => {
                let layer = self.cameras.iter().position(|camera| camera.mid == mid);
                self.keyframe_requests
                    .push((layer.unwrap(), Instant::now()));
            }
            Event::ChannelOpen(id, _) => self.open.push(id),
            Event::ChannelData(data) => {
                let channel = self.channels.iter().find(|(_, id)| *id == data.id);
                self.messages.push((channel.unwrap().0, data.data));
            }
            _ => {}
        }
    }

    pub(crate) fn is_open(&self, stream: u16) -> bool {
        let id = self.channels.iter().find(|(known, _)| *known == stream);
        self.open.contains(&id.unwrap().1)
    }

    pub(crate) fn say(&mut self, stream: u16, message: &[u8]) {
        let id = self.channels.iter().find(|(known, _)| *known == stream);
        let id = id.unwrap().1;
        assert!(self.rtc.channel(id).unwrap().write(true, message).unwrap());
    }

    fn payload_type(&self, codec: str0m::format::Codec) -> Pt {
        let config = self.rtc.codec_config();
        config
            .find(|params| params.spec().codec == codec)
            .unwrap()
            .pt()
    }

    /// Sends a packet of sound; its payload tells member and number.
    pub(crate) fn send_sound(&mut self, level: i8) {
        let (sequence, timestamp) = self.sound;
        self.sound = (sequence + 1, timestamp.wrapping_add(960));
        let payload = [
            b"sound",
            &self.id.0.to_be_bytes()[..],
            &sequence.to_be_bytes(),
        ]
        .concat();
        let payload_type = self.payload_type(str0m::format::Codec::Opus);
        let microphone = self.microphone;
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(microphone, None).unwrap();
        stream.write_rtp(
            RtpWrite::new(
                payload_type,
                sequence.into(),
                timestamp,
                Instant::now(),
                payload,
            )
            .ext_vals(ExtensionValues {
                audio_level: Some(level),
                voice_activity: Some(true),
                ..ExtensionValues::default()
            }),
        );
    }

    /// Sends a frame of a layer in some packets; payloads begin with the layer, the frame's number
    /// and whether it is a keyframe. The first frame always is one, and so is an asked for one.
    pub(crate) fn send_frame(
        &mut self,
        layer: usize,
        keyframe: bool,
        packets: usize,
        bytes: usize,
    ) {
        let is_asked = self
            .keyframe_requests
            .iter()
            .any(|(asked, _)| *asked == layer);
        self.keyframe_requests.retain(|(asked, _)| *asked != layer);
        let payload_type = self.payload_type(str0m::format::Codec::Vp8);
        let camera = &mut self.cameras[layer];
        let is_keyframe = keyframe || is_asked || camera.frames == 0;
        let (width, height) = [(1_280, 720), (640, 360), (320, 180)][layer];
        let frame = camera.writer.frame(is_keyframe, 0, 1, width, height);
        for index in 0..packets {
            let is_last = index + 1 == packets;
            let mut extensions = ExtensionValues::default();
            let descriptor = frame.packet(index == 0, is_last);
            extensions.user_values.set(RawDescriptor(descriptor));
            let mut payload = vec![u8::try_from(layer).unwrap(), u8::from(is_keyframe)];
            payload.extend(camera.frames.to_be_bytes());
            payload.resize(bytes, 7);
            let mut api = self.rtc.direct_api();
            let stream = api.stream_tx_by_mid(camera.mid, None).unwrap();
            stream.write_rtp(
                RtpWrite::new(
                    payload_type,
                    camera.sequence.into(),
                    camera.timestamp,
                    Instant::now(),
                    payload,
                )
                .marker(is_last)
                .nackable(true)
                .ext_vals(extensions),
            );
            camera.sequence += 1;
        }
        camera.frames += 1;
        camera.timestamp = camera.timestamp.wrapping_add(900);
    }

    /// Asks for a keyframe of what a slot carries.
    pub(crate) fn ask_keyframe(&mut self, mid: Mid) {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx_by_mid(mid, None).unwrap();
        stream.request_keyframe(KeyframeRequestKind::Pli);
    }

    /// The slot that carries somebody's camera or sound.
    pub(crate) fn slot_of(&self, member: u32, source: MediaSource) -> Option<Mid> {
        let mut slots = self.slots.iter();
        slots
            .find(|slot| slot.member == MemberId(member) && slot.source == source)
            .map(|slot| Mid::from(slot.mid.as_str()))
    }

    /// Packets of a slot in the order they came.
    pub(crate) fn packets_of(&self, mid: Mid) -> impl Iterator<Item = &RtpPacket> {
        let of_slot = self.packets.iter().filter(move |(slot, _)| *slot == mid);
        of_slot.map(|(_, packet)| packet)
    }
}
