//! One WebRTC client of the load: an `Rtc`, its socket, and what it publishes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use call_protocol::dependency_descriptor::DescriptorWriter;
use mio::net::UdpSocket;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, ExtensionSerializer, ExtensionValues, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::counts::Counts;

/// Bytes of a payload: with header, extensions and tag a packet has some 1200.
const PAYLOAD_BYTES: usize = 1_152;
/// Where the payload has the phase it was sent in.
const PHASE: std::ops::Range<usize> = 16..20;
/// Packets of one frame.
pub(crate) const FRAME_PACKETS: u32 = 5;
const DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

#[derive(Debug)]
struct DescriptorOut(Bytes);

#[derive(Debug)]
struct Descriptor;

impl ExtensionSerializer for Descriptor {
    fn write_to(&self, buf: &mut [u8], ev: &ExtensionValues) -> usize {
        let Some(DescriptorOut(bytes)) = ev.user_values.get::<DescriptorOut>() else {
            return 0;
        };
        buf[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, _: &[u8], _: &mut ExtensionValues) -> bool {
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
            .get::<DescriptorOut>()
            .is_some_and(|descriptor| descriptor.0.len() > 16)
    }
}

struct Publisher {
    mid: Mid,
    payload_type: Option<Pt>,
    sequence: u64,
    descriptors: DescriptorWriter,
    wants_keyframe: bool,
    started: Instant,
}

/// See the module documentation.
pub(crate) struct Client {
    pub(crate) rtc: Rtc,
    pub(crate) socket: Arc<UdpSocket>,
    local: SocketAddr,
    pub(crate) deadline: Instant,
    publisher: Option<Publisher>,
}

impl Client {
    pub(crate) fn new(ip: IpAddr) -> Result<Self> {
        let mut map = ExtensionMap::standard();
        map.set(5, Extension::with_serializer(DESCRIPTOR_URI, Descriptor));
        let config = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .set_rtp_mode(true)
            .set_extension_map(map)
            .clear_codecs()
            .enable_vp8(true);
        let now = Instant::now();
        let mut rtc = config.build(now);
        let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
        let buffers = socket2::SockRef::from(&socket);
        buffers.set_recv_buffer_size(4 * 1024 * 1024)?;
        let local = socket.local_addr()?;
        rtc.add_local_candidate(Candidate::host(local, Protocol::Udp)?);
        Ok(Self {
            rtc,
            socket: Arc::new(socket),
            local,
            deadline: now,
            publisher: None,
        })
    }

    /// An offer to send one stream, where `publishes`, and to receive `slots`.
    pub(crate) fn offer(
        &mut self,
        publishes: bool,
        slots: usize,
    ) -> Result<(String, SdpPendingOffer)> {
        let mut api = self.rtc.sdp_api();
        if publishes {
            let stream = Some("load".to_owned());
            let mid = api.add_media(MediaKind::Video, Direction::SendOnly, stream, None, None);
            self.publisher = Some(Publisher {
                mid,
                payload_type: None,
                sequence: 1,
                descriptors: DescriptorWriter::new(1),
                wants_keyframe: true,
                started: Instant::now(),
            });
        }
        for _ in 0..slots {
            api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = api.apply().context("nothing to offer")?;
        Ok((offer.to_sdp_string(), pending))
    }

    pub(crate) fn take_answer(&mut self, pending: SdpPendingOffer, sdp: &str) -> Result<()> {
        let answer = SdpAnswer::from_sdp_string(sdp)?;
        self.rtc.sdp_api().accept_answer(pending, answer)?;
        if let Some(publisher) = &mut self.publisher {
            let media = self.rtc.media(publisher.mid).context("no section")?;
            let accepted = media.remote_pts().to_vec();
            let params = self.rtc.codec_config().params().iter();
            publisher.payload_type = params
                .filter(|params| params.spec().codec == Codec::Vp8)
                .map(|params| params.pt())
                .find(|payload_type| accepted.contains(payload_type));
            anyhow::ensure!(publisher.payload_type.is_some(), "the server takes no VP8");
        }
        Ok(())
    }

    pub(crate) fn answer(&mut self, sdp: &str) -> Result<String> {
        let offer = SdpOffer::from_sdp_string(sdp)?;
        Ok(self.rtc.sdp_api().accept_offer(offer)?.to_sdp_string())
    }

    pub(crate) fn is_publisher(&self) -> bool {
        self.publisher.is_some()
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
        counts: &Counts,
    ) -> Result<()> {
        let Ok(contents) = DatagramRecv::try_from(bytes) else {
            return Ok(());
        };
        self.rtc.handle_input(Input::Receive(
            now,
            Receive {
                proto: Protocol::Udp,
                source: from,
                destination: self.local,
                contents,
            },
        ))?;
        self.poll(now, counts)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, counts: &Counts) -> Result<()> {
        self.rtc.handle_input(Input::Timeout(now))?;
        self.poll(now, counts)
    }

    fn poll(&mut self, now: Instant, counts: &Counts) -> Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.deadline = at.max(now + Duration::from_micros(500));
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    // A full buffer is loss, and shows as such.
                    let _ = self
                        .socket
                        .send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Connected) => {
                    counts
                        .connected
                        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                Output::Event(Event::RtpPacket(packet)) => {
                    if let Some(phase) = packet.payload.get(PHASE) {
                        let phase = phase.try_into().map_or(0, u32::from_be_bytes);
                        counts.count_received(phase);
                    }
                }
                Output::Event(Event::KeyframeRequest(_)) => {
                    if let Some(publisher) = &mut self.publisher {
                        publisher.wants_keyframe = true;
                    }
                }
                Output::Event(_) => {}
            }
        }
    }

    /// Sends a frame of [`FRAME_PACKETS`] packets.
    pub(crate) fn publish(&mut self, now: Instant, counts: &Counts) -> Result<()> {
        let phase = counts.phase();
        let Some(publisher) = &mut self.publisher else {
            return Ok(());
        };
        let Some(payload_type) = publisher.payload_type else {
            return Ok(());
        };
        let is_keyframe = std::mem::take(&mut publisher.wants_keyframe);
        let frame = publisher.descriptors.frame(is_keyframe, 0, 1, 1280, 720);
        let elapsed = now.saturating_duration_since(publisher.started);
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32")]
        let timestamp = (elapsed.as_micros() * 9 / 100) as u32;
        let mut api = self.rtc.direct_api();
        let stream = api
            .stream_tx_by_mid(publisher.mid, None)
            .context("nothing to send on")?;
        for index in 0..FRAME_PACKETS {
            let (is_first, is_last) = (index == 0, index + 1 == FRAME_PACKETS);
            let mut extensions = ExtensionValues::default();
            let descriptor = frame.packet(is_first, is_last);
            extensions.user_values.set(DescriptorOut(descriptor));
            let payload = payload(is_first, is_keyframe, phase);
            let packet = RtpWrite::new(
                payload_type,
                publisher.sequence.into(),
                timestamp,
                now,
                payload,
            )
            .marker(is_last)
            .ext_vals(extensions)
            .nackable(true);
            publisher.sequence += 1;
            stream.write_rtp(packet);
            counts.count_sent(phase);
        }
        self.handle_timeout(now, counts)
    }
}

/// VP8 as far as a server looks (RFC 7741, section 4.2; RFC 6386, section 9.1), with the phase at a
/// place where only noise would be.
fn payload(is_first: bool, is_keyframe: bool, phase: u32) -> Vec<u8> {
    let mut payload = vec![0x5a; PAYLOAD_BYTES];
    payload[0] = if is_first { 0x10 } else { 0 };
    payload[1] = u8::from(!is_keyframe);
    if is_first && is_keyframe {
        payload[1..12].copy_from_slice(&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0, 0x05, 0xd0, 0x02, 0]);
    }
    payload[PHASE].copy_from_slice(&phase.to_be_bytes());
    payload
}
