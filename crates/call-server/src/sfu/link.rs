//! One member's link: its `Rtc`, and which section of its offer is which track or slot.
//!
//! States: connecting (offer answered) → connected → ended ([`LinkEvent::Closed`], or the shard
//! gives it up). A later offer on it renegotiates: sections keep their tracks and slots, known by
//! media id.
//!
//! ICE is "lite" (RFC 8445, section 2.5): the port is reachable, so checks of our own would add
//! nothing but a round trip before the link may be used: a full agent waits for its own check to
//! be answered after the member nominated a pair, a lite one uses the pair at once. It also costs
//! no timers and sends nothing to an address that did not prove itself.
//!
//! Invariants: nothing a member sends panics through here (str0m is caught, the link ends); what
//! waits for one member is bounded by [`QUEUE_BYTES`] per stream, its retransmission cache by
//! [`CACHE_PACKETS`]. Deliberately not here: who receives what.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::wire::SfuSlot;
use call_protocol::{MediaSource, MemberId};
use call_room::sfu::{Forward, PacketIn, SlotId, SlotKind, SlotSpec, TrackId, TrackSpec};
use str0m::bwe::{Bitrate, BweKind};
use str0m::media::{KeyframeRequestKind, Mid, Pt, Rid};
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tracing::{debug, trace};

use super::channels::{Channel, Channels, Queued};
use super::clock::SourceClock;
use super::egress::Egress;
use super::extension::{DescriptorIn, set_descriptor};
use super::negotiate::Format;
use super::socket::Received;

/// Sent video packets kept for retransmission per stream: two seconds at 3.5 Mbit/s.
pub(super) const CACHE_PACKETS: usize = 700;
/// How long they are kept.
pub(super) const CACHE_AGE: Duration = Duration::from_secs(2);
/// Share of retransmissions of what is sent; beyond it requests are ignored.
pub(super) const RTX_SHARE: f32 = 0.4;
/// Bytes that may wait in the pacer of one stream.
const QUEUE_BYTES: usize = 1024 * 1024;
/// Largest payload forwarded, in bytes. What is larger fits no path once a header is before it.
const PAYLOAD_BYTES: usize = 1_460;
/// How often, and in what steps of its time, a closed link is asked for its last words.
const GOODBYE_STEPS: u32 = 10;
const GOODBYE_STEP: Duration = Duration::from_millis(1);
/// Addresses one link is known by.
const MAX_ADDRESSES: usize = 16;

/// What a link reports.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Packet(Box<RtpPacket>),
    KeyframeRequested(SlotId),
    Estimate(u64),
    Message(Channel, Vec<u8>),
    /// The link is of no more use.
    Closed,
}

/// One incoming stream.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) spec: TrackSpec,
    pub(super) mid: Mid,
    pub(super) rid: Option<Rid>,
    /// Its SSRC and payload type once packets came.
    pub(super) ssrc: Option<Ssrc>,
    pub(super) format: Option<(Pt, Format)>,
}

/// One outgoing stream.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) spec: SlotSpec,
    pub(super) mid: Mid,
    /// As the member wrote it.
    pub(super) mid_text: String,
    pub(super) ssrc: Ssrc,
    pub(super) formats: Vec<(Format, Pt)>,
}

/// What links of a shard share.
pub(super) struct LinkConfig {
    pub(super) rtc: RtcConfig,
    pub(super) candidates: Vec<SocketAddr>,
}

/// A packet on its way through.
pub(super) struct Incoming<'a> {
    pub(super) packet: &'a RtpPacket,
    pub(super) track: TrackId,
    pub(super) format: Format,
    pub(super) captured_at: Instant,
}

/// One member's link.
pub(super) struct Link {
    pub(super) member: MemberId,
    /// As the member counts it.
    pub(super) number: u32,
    /// Key of its room.
    pub(super) room: usize,
    /// When `Rtc` wants to be called.
    pub(super) deadline: Instant,
    /// Already in the list of links to poll.
    pub(super) is_touched: bool,
    pub(super) is_connected: bool,
    pub(super) opened_at: Instant,
    pub(super) last_heard: Instant,
    /// Its ICE user name fragment.
    pub(super) fragment: String,
    /// Where it sends from, newest last.
    pub(super) addresses: VecDeque<SocketAddr>,
    pub(super) rtc: Rtc,
    pub(super) tracks: Vec<Track>,
    pub(super) slots: Vec<Slot>,
    pub(super) channels: Channels,
    clock: SourceClock,
    /// Bit n: payload type n carries retransmissions.
    pub(super) rtx_types: u128,
}

/// What a link sent in one poll.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) rtx: u64,
}

impl Link {
    pub(super) fn new(
        now: Instant,
        config: &LinkConfig,
        member: MemberId,
        number: u32,
        room: usize,
    ) -> Self {
        let mut rtc = config.rtc.clone().build(now);
        for address in &config.candidates {
            match Candidate::host(*address, Protocol::Udp) {
                Ok(candidate) => {
                    rtc.add_local_candidate(candidate);
                }
                Err(error) => debug!(%error, "candidate not offered"),
            }
        }
        Self {
            member,
            number,
            room,
            deadline: now,
            is_touched: false,
            is_connected: false,
            opened_at: now,
            last_heard: now,
            fragment: String::new(),
            addresses: VecDeque::new(),
            rtc,
            tracks: Vec::new(),
            slots: Vec::new(),
            channels: Channels::new(now),
            clock: SourceClock::default(),
            rtx_types: 0,
        }
    }

    /// Every track and slot there is.
    pub(super) fn specs(&self) -> (Vec<TrackSpec>, Vec<SlotSpec>) {
        (
            self.tracks.iter().map(|track| track.spec).collect(),
            self.slots.iter().map(|slot| slot.spec).collect(),
        )
    }

    /// What slots carry, in the member's words.
    pub(super) fn named_slots(&self, slots: &[(SlotId, MemberId, MediaSource)]) -> Vec<SfuSlot> {
        slots
            .iter()
            .filter_map(|(id, member, source)| {
                let slot = self.slots.iter().find(|slot| slot.spec.slot == *id)?;
                Some(SfuSlot {
                    mid: slot.mid_text.clone(),
                    member: *member,
                    source: *source,
                })
            })
            .collect()
    }

    /// Whether a check with this link's fragment is genuine.
    pub(super) fn accepts(
        &self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        match DatagramRecv::try_from(bytes) {
            Ok(contents) => self.rtc.accepts(&Input::Receive(
                now,
                Receive {
                    proto: Protocol::Udp,
                    source: from,
                    destination: to,
                    contents,
                },
            )),
            Err(_) => false,
        }
    }

    /// Remembers where the member sends from; returns an address to forget.
    pub(super) fn add_address(&mut self, address: SocketAddr) -> Option<SocketAddr> {
        self.addresses.push_back(address);
        if self.addresses.len() > MAX_ADDRESSES {
            self.addresses.pop_front()
        } else {
            None
        }
    }

    /// Takes a datagram; the link must be polled afterwards. False when it is of no more use.
    pub(super) fn receive(&mut self, now: Instant, to: SocketAddr, datagram: Received<'_>) -> bool {
        let Ok(contents) = DatagramRecv::try_from(datagram.bytes) else {
            return true;
        };
        self.last_heard = now;
        // The engine's clock does not go back; only its feedback to the sender is dated by this.
        let input = Input::Receive(
            datagram.arrived,
            Receive {
                proto: Protocol::Udp,
                source: datagram.from,
                destination: to,
                contents,
            },
        );
        self.input(input)
    }

    /// Time passed, or something was written; the link must be polled afterwards.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.channels.drain(now, &mut self.rtc);
        self.input(Input::Timeout(now))
    }

    fn input(&mut self, input: Input<'_>) -> bool {
        match self.guarded(|link| link.rtc.handle_input(input)) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                debug!(%error, "link failed");
                // Damaged DTLS records and the like end nothing; what does shows in `is_alive`.
                self.rtc.is_alive()
            }
            None => false,
        }
    }

    /// Takes everything there is to send and to report.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        key: usize,
        egress: &mut Egress,
        events: &mut Vec<LinkEvent>,
    ) -> Sent {
        let mut sent = Sent::default();
        let polled = self.guarded(|link| link.poll_guarded(now, key, egress, events, &mut sent));
        if polled != Some(true) || !self.rtc.is_alive() {
            events.push(LinkEvent::Closed);
        }
        sent
    }

    fn poll_guarded(
        &mut self,
        now: Instant,
        key: usize,
        egress: &mut Egress,
        events: &mut Vec<LinkEvent>,
        sent: &mut Sent,
    ) -> bool {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = self.channels.way_free_at().map_or(at, |free| free.min(at));
                    return true;
                }
                Ok(Output::Transmit(transmit)) => {
                    self.count(&transmit.contents, sent);
                    egress.push(
                        key,
                        transmit.source.ip(),
                        transmit.destination,
                        transmit.contents,
                    );
                }
                Ok(Output::Event(event)) => self.handle_event(now, event, events),
                Err(error) => {
                    debug!(%error, "link failed");
                    return false;
                }
            }
        }
    }

    fn count(&self, bytes: &[u8], sent: &mut Sent) {
        if let [128..=191, second, ..] = bytes {
            let payload_type = second & 0x7f;
            if self.rtx_types >> payload_type & 1 == 1 {
                sent.rtx += 1;
            } else if !(64..96).contains(&payload_type) {
                sent.packets += 1;
                sent.bytes += bytes.len() as u64;
            }
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event, events: &mut Vec<LinkEvent>) {
        match event {
            Event::RtpPacket(packet) => events.push(LinkEvent::Packet(Box::new(packet))),
            Event::KeyframeRequest(request) => {
                let slot = self.slots.iter().find(|slot| slot.mid == request.mid);
                events.extend(slot.map(|slot| LinkEvent::KeyframeRequested(slot.spec.slot)));
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                events.push(LinkEvent::Estimate(estimate.as_u64()));
            }
            Event::ChannelOpen(id, _) => {
                self.channels.handle_open(now, id, &mut self.rtc);
                self.channels.drain(now, &mut self.rtc);
            }
            Event::ChannelData(data) => {
                let message = self
                    .channels
                    .handle_message(data.id, data.data, &mut self.rtc);
                if let Some((channel, data)) = message {
                    events.push(LinkEvent::Message(channel, data));
                }
                self.channels.drain(now, &mut self.rtc);
            }
            Event::ChannelBufferedAmountLow(_) => self.channels.drain(now, &mut self.rtc),
            Event::Connected => self.is_connected = true,
            Event::Closed => events.push(LinkEvent::Closed),
            _ => {}
        }
    }

    /// Looks a packet up: which track it is of, and its coding. `None` for what is not forwarded.
    pub(super) fn incoming<'a>(&mut self, packet: &'a RtpPacket) -> Option<Incoming<'a>> {
        if packet.payload.is_empty() || packet.payload.len() > PAYLOAD_BYTES {
            return None;
        }
        let ssrc = packet.header.ssrc;
        let at = match self
            .tracks
            .iter()
            .position(|track| track.ssrc == Some(ssrc))
        {
            Some(at) => at,
            None => {
                let mut api = self.rtc.direct_api();
                let stream = api.stream_rx(&ssrc)?;
                let (mid, rid) = (stream.mid(), stream.rid());
                let at = self
                    .tracks
                    .iter()
                    .position(|track| track.mid == mid && track.rid == rid)?;
                self.tracks[at].ssrc = Some(ssrc);
                at
            }
        };
        let payload_type = packet.header.payload_type;
        let format = match self.tracks[at].format {
            Some((known, format)) if known == payload_type => format,
            _ => {
                let config = self.rtc.codec_config();
                let format = Format::of(config.find(|params| params.pt() == payload_type)?);
                self.tracks[at].format = Some((payload_type, format));
                format
            }
        };
        let captured_at = packet
            .last_sender_info
            .as_ref()
            .map_or(packet.timestamp, |info| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_possible_wrap,
                    reason = "RTP timestamps are compared modulo 2^32"
                )]
                let ticks = packet
                    .header
                    .timestamp
                    .wrapping_sub(info.rtp_time.numer() as u32) as i32;
                let rate = packet.time.denom();
                self.clock
                    .captured_at(packet.timestamp, info.ntp_time, ticks, rate)
            });
        Some(Incoming {
            packet,
            track: self.tracks[at].spec.track,
            format,
            captured_at,
        })
    }

    /// Sends a packet of somebody else; the link must be polled afterwards. False when dropped.
    pub(super) fn write(&mut self, incoming: &Incoming<'_>, forward: Forward) -> bool {
        let Some(slot) = self
            .slots
            .iter()
            .find(|slot| slot.spec.slot == forward.slot)
        else {
            return false;
        };
        let format = slot
            .formats
            .iter()
            .find(|(format, _)| *format == incoming.format);
        let Some((_, payload_type)) = format else {
            trace!("the receiver does not decode this");
            return false;
        };
        let header = &incoming.packet.header;
        let mut extensions = ExtensionValues {
            audio_level: header.ext_vals.audio_level,
            voice_activity: header.ext_vals.voice_activity,
            video_orientation: header.ext_vals.video_orientation,
            ..ExtensionValues::default()
        };
        if let Some(descriptor) = forward.descriptor {
            set_descriptor(&mut extensions, descriptor);
        }
        let packet = RtpWrite::new(
            *payload_type,
            forward.sequence.into(),
            forward.timestamp,
            incoming.captured_at,
            incoming.packet.payload.clone(),
        )
        .marker(forward.marker)
        .csrc(&[forward.csrc])
        .ext_vals(extensions)
        .nackable(slot.spec.kind == SlotKind::Video);
        let ssrc = slot.ssrc;
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx(&ssrc) else {
            return false;
        };
        if stream
            .queue_info()
            .is_some_and(|queue| queue.byte_size() > QUEUE_BYTES)
        {
            return false;
        }
        stream.write_rtp(packet);
        true
    }

    /// Asks the member for a keyframe; the link must be polled afterwards.
    pub(super) fn request_keyframe(&mut self, track: TrackId) -> bool {
        let Some(track) = self.tracks.iter().find(|known| known.spec.track == track) else {
            return false;
        };
        let (mid, rid) = (track.mid, track.rid);
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_rx_by_mid(mid, rid) else {
            return false;
        };
        stream.request_keyframe(KeyframeRequestKind::Pli);
        true
    }

    /// Tells the estimator what is worth probing for. A minimum would be filled with padding
    /// whenever media is less, which a narrow link cannot bear.
    pub(super) fn set_desired_bitrate(&mut self, desired_bps: u64) {
        let desired = Bitrate::from(desired_bps);
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, desired);
    }

    /// Charges a message the member sent; false when it sends too much.
    pub(super) fn charge(&mut self, now: Instant, bytes: usize) -> bool {
        self.channels.charge(now, bytes)
    }

    /// Sends a message of somebody else; the link must be polled afterwards.
    pub(super) fn send_message(&mut self, now: Instant, channel: Channel, data: Bytes) -> Queued {
        self.guarded(|link| link.channels.send(now, channel, data, &mut link.rtc))
            .unwrap_or(Queued::Overflow)
    }

    /// Says goodbye, as far as one datagram does.
    pub(super) fn close(&mut self, now: Instant, key: usize, egress: &mut Egress) {
        let mut events = Vec::new();
        let mut sent = Sent::default();
        self.guarded(|link| {
            if let Err(error) = link.rtc.close() {
                debug!(%error, "no goodbye");
            }
            // What is still to be acknowledged or paced comes before it. The link has no other
            // use of the time that passes here.
            for step in 0..GOODBYE_STEPS {
                let is_polled = link.poll_guarded(now, key, egress, &mut events, &mut sent);
                if !is_polled || !link.rtc.is_alive() {
                    return;
                }
                if let Err(error) = link
                    .rtc
                    .handle_input(Input::Timeout(now + step * GOODBYE_STEP))
                {
                    debug!(%error, "no goodbye");
                    return;
                }
            }
        });
    }

    /// Runs str0m on what a member sent. It has assertions that a hostile member might reach; they
    /// end this link instead of everybody's. `None` after that: the link must not be used again.
    pub(super) fn guarded<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(|| run(self))).ok()
    }
}

/// What the room looks at.
pub(super) fn packet_in(packet: &RtpPacket) -> PacketIn<'_> {
    let extensions = &packet.header.ext_vals;
    PacketIn {
        sequence: *packet.seq_no,
        timestamp: packet.header.timestamp,
        marker: packet.header.marker,
        payload_bytes: packet.payload.len(),
        level_dbov: extensions.audio_level.map(i8::unsigned_abs),
        descriptor: extensions
            .user_values
            .get::<DescriptorIn>()
            .map(|descriptor| &*descriptor.0),
    }
}
