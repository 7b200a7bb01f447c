//! The other end of an SFU link, as our server is one: `str0m` in RTP mode on a UDP socket of its
//! own, driven by a task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use call_protocol::peer::{PeerSignal, SdpKind};
use call_transport::{LinkConfig, LinkEvent, LinkShape};
use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::media::{Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues, RtpWrite, SeqNo};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::support::{DEADLINE, End, config};

pub(crate) const LAYERS: u8 = 3;
pub(crate) const AUDIO_SLOTS: u8 = 5;
pub(crate) const VIDEO_SLOTS: u8 = 16;

/// What the server assumes of the path to us before any feedback.
pub(crate) const SFU_START_KBPS: u64 = 2_000;

/// Opus and VP8 as our offers number them.
pub(crate) const OPUS_PT: u8 = 111;
pub(crate) const VP8_PT: u8 = 96;

const DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

pub(crate) fn sfu_config() -> LinkConfig {
    LinkConfig {
        shape: LinkShape::Sfu {
            video_layers: LAYERS,
            screen: false,
            audio_slots: AUDIO_SLOTS,
            video_slots: VIDEO_SLOTS,
        },
        ..config(true, true)
    }
}

/// The media ids of the slots: the stack numbers sections from 0.
pub(crate) fn audio_slots() -> Vec<Mid> {
    (1 + LAYERS..1 + LAYERS + AUDIO_SLOTS).map(mid).collect()
}

pub(crate) fn video_slots() -> Vec<Mid> {
    let first = 1 + LAYERS + AUDIO_SLOTS;
    (first..first + VIDEO_SLOTS).map(mid).collect()
}

pub(crate) fn mid(section: u8) -> Mid {
    Mid::from(section.to_string().as_str())
}

/// The bytes of a dependency descriptor, as they were on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Descriptor(pub(crate) Vec<u8>);

#[derive(Debug)]
struct DescriptorSerializer;

impl ExtensionSerializer for DescriptorSerializer {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Descriptor(bytes)) = values.user_values.get::<Descriptor>() else {
            return 0;
        };
        buf[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Descriptor(buf.to_vec()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        let descriptor = values.user_values.get::<Descriptor>();
        descriptor.is_some_and(|Descriptor(bytes)| bytes.len() > 16)
    }
}

type Command = Box<dyn FnOnce(&mut Rtc) + Send>;

/// The server's end of one link.
pub(crate) struct Sfu {
    commands: mpsc::UnboundedSender<Command>,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    /// Of 1000 media packets in either direction, how many are lost. Retransmissions are not: the
    /// peer asks five times within some milliseconds here, and then never again.
    pub(crate) loss_per_mille: Arc<AtomicU64>,
    pub(crate) lost: Arc<AtomicU64>,
    /// The newest answer.
    pub(crate) answer: String,
    /// The channels every link has, the ready channel first; made with the first answer.
    pub(crate) channels: Vec<ChannelId>,
    task: JoinHandle<()>,
}

impl Drop for Sfu {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sfu {
    pub(crate) async fn new(is_ice_lite: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = socket.local_addr().expect("bound");
        let mut rtc = RtcConfig::new()
            .set_rtp_mode(true)
            .set_ice_lite(is_ice_lite)
            .enable_bwe(Some(Bitrate::kbps(SFU_START_KBPS)))
            .set_extension(
                9,
                Extension::with_serializer(DESCRIPTOR_URI, DescriptorSerializer),
            )
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (event_sender, events) = mpsc::unbounded_channel();
        let loss_per_mille = Arc::new(AtomicU64::new(0));
        let lost = Arc::new(AtomicU64::new(0));
        let wire = Wire {
            socket,
            address,
            loss_per_mille: Arc::clone(&loss_per_mille),
            lost: Arc::clone(&lost),
            random: 0x1234_5678_9abc_def1,
        };
        let task = tokio::spawn(run(rtc, wire, command_receiver, event_sender));
        Self {
            commands,
            events,
            loss_per_mille,
            lost,
            answer: String::new(),
            channels: Vec::new(),
            task,
        }
    }

    /// Runs something on the connection.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Rtc) -> T + Send + 'static,
    ) -> T {
        let (reply, result) = oneshot::channel();
        let command = move |rtc: &mut Rtc| {
            let _ = reply.send(run(rtc));
        };
        assert!(self.commands.send(Box::new(command)).is_ok(), "it runs");
        result.await.expect("it runs")
    }

    /// Writes a numbered packet to a slot.
    pub(crate) async fn send(&self, slot: Mid, pt: u8, number: u64, source: u32) {
        self.call(move |rtc| {
            let mut payload = vec![0x10; 200];
            payload[1..5].copy_from_slice(&(number as u32).to_be_bytes());
            let mut api = rtc.direct_api();
            let stream = api.stream_tx_by_mid(slot, None).expect("a declared stream");
            let sequence = SeqNo::from(1_000 + number);
            let timestamp = number as u32 * 3_000;
            let packet = RtpWrite::new(Pt::from(pt), sequence, timestamp, Instant::now(), payload)
                .marker(true)
                .nackable(true)
                .csrc(&[source]);
            stream.write_rtp(packet);
        })
        .await;
    }
}

fn create_channels(rtc: &mut Rtc) -> Vec<ChannelId> {
    let lossy = Reliability::MaxRetransmits { retransmits: 0 };
    let channels = [
        (99, "ready", true, Reliability::Reliable),
        (100, "control", true, Reliability::Reliable),
        (101, "bulk", false, Reliability::Reliable),
        (102, "lossy", false, lossy),
    ];
    let mut api = rtc.direct_api();
    let create = |(stream, label, ordered, reliability): (u16, &str, bool, Reliability)| {
        api.create_data_channel(ChannelConfig {
            label: label.to_owned(),
            ordered,
            reliability,
            negotiated: Some(stream),
            ..ChannelConfig::default()
        })
    };
    channels.into_iter().map(create).collect()
}

struct Wire {
    socket: UdpSocket,
    address: SocketAddr,
    loss_per_mille: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    random: u64,
}

impl Wire {
    /// RFC 7983 tells SRTP by the first byte, and the payload type is not encrypted.
    fn loses(&mut self, packet: &[u8]) -> bool {
        let is_media = packet.len() > 12
            && (128..192).contains(&packet[0])
            && [OPUS_PT, VP8_PT].contains(&(packet[1] & 0x7f));
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let loss = self.loss_per_mille.load(Ordering::Relaxed);
        let is_lost = is_media && self.random % 1_000 < loss;
        self.lost.fetch_add(u64::from(is_lost), Ordering::Relaxed);
        is_lost
    }
}

async fn run(
    mut rtc: Rtc,
    mut wire: Wire,
    mut commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut buffer = vec![0; 2_048];
    loop {
        let wake_at = loop {
            match rtc.poll_output().expect("a sound connection") {
                Output::Timeout(at) => break at,
                Output::Transmit(packet) => {
                    if !wire.loses(&packet.contents) {
                        let _ = wire
                            .socket
                            .send_to(&packet.contents, packet.destination)
                            .await;
                    }
                }
                Output::Event(event) => {
                    let _ = events.send(event);
                }
            }
        };
        // At most a second ahead: the stack may say "never" with a time far in the future.
        let wake_at = wake_at.min(Instant::now() + Duration::from_secs(1));
        tokio::select! {
            () = tokio::time::sleep_until(wake_at.into()) => {}
            Some(command) = commands.recv() => command(&mut rtc),
            Ok((length, source)) = wire.socket.recv_from(&mut buffer) => {
                if wire.loses(&buffer[..length]) {
                    continue;
                }
                let Ok(contents) = buffer[..length].try_into() else {
                    continue;
                };
                let receive = Receive {
                    proto: Protocol::Udp,
                    source,
                    destination: wire.address,
                    contents,
                };
                let input = Input::Receive(Instant::now(), receive);
                rtc.handle_input(input).expect("a sound connection");
            }
        }
        rtc.handle_input(Input::Timeout(Instant::now()))
            .expect("a sound connection");
    }
}

/// A link and the server's end of it, and the signalling between them.
pub(crate) struct Served {
    pub(crate) end: End,
    pub(crate) sfu: Sfu,
    /// What the server's end told.
    pub(crate) heard: Vec<Event>,
    pub(crate) offers: usize,
}

impl Served {
    pub(crate) async fn connected(is_ice_lite: bool) -> Self {
        let mut served = Self {
            end: End::open(sfu_config()).await,
            sfu: Sfu::new(is_ice_lite).await,
            heard: Vec::new(),
            offers: 0,
        };
        served
            .until("connected", |end, heard| {
                end.is_connected() && heard.iter().any(|event| matches!(event, Event::Connected))
            })
            .await;
        served
    }

    /// Carries signals and collects events until the condition holds.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut is_done: impl FnMut(&mut End, &mut Vec<Event>) -> bool,
    ) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !is_done(&mut self.end, &mut self.heard) {
            tokio::select! {
                Some(event) = self.end.events.recv() => self.handle(event).await,
                Some(event) = self.sfu.events.recv() => self.heard.push(event),
                _ = tick.tick() => {}
                () = tokio::time::sleep_until(deadline) => {
                    panic!("not reached: {what}; told {:?}", self.end.told)
                }
            }
        }
    }

    async fn handle(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Signal(PeerSignal::Description {
                kind: SdpKind::Offer,
                sdp,
            }) => {
                self.offers += 1;
                let is_first = self.offers == 1;
                let accept = move |rtc: &mut Rtc| {
                    let offer = SdpOffer::from_sdp_string(&sdp).expect("an offer");
                    let answer = rtc.sdp_api().accept_offer(offer).expect("acceptable");
                    let channels = is_first.then(|| create_channels(rtc));
                    (answer.to_sdp_string(), channels)
                };
                let (sdp, channels) = self.sfu.call(accept).await;
                self.sfu.channels.extend(channels.unwrap_or_default());
                self.sfu.answer.clone_from(&sdp);
                self.end.link.handle_signal(PeerSignal::Description {
                    kind: SdpKind::Answer,
                    sdp,
                });
            }
            LinkEvent::Signal(PeerSignal::Candidate { candidate, .. }) => {
                let add = move |rtc: &mut Rtc| {
                    if let Ok(candidate) = Candidate::from_sdp_string(&candidate) {
                        rtc.add_remote_candidate(candidate);
                    }
                };
                self.sfu.call(add).await;
            }
            other => self.end.told.push(other),
        }
    }
}
