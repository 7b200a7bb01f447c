//! Two links joined by a signalling path the test controls, and a relay that loses packets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_lab::link::{Conditions, Plan};
use call_lab::network::PathConfig;
use call_lab::random::Random;
use call_lab::relay::UdpRelay;
use call_protocol::VideoCodec;
use call_protocol::peer::PeerSignal;
use call_transport::{ChannelLabel, Link, LinkConfig, LinkEvent, LinkState, RtpIn, RtpOut};
use tokio::sync::mpsc;

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// One end: the link and what it told.
pub(crate) struct End {
    pub(crate) link: Link,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    pub(crate) media: mpsc::Receiver<RtpIn>,
    /// Everything but signals, in order.
    pub(crate) told: Vec<LinkEvent>,
    /// Descriptions it sent.
    pub(crate) descriptions: usize,
}

pub(crate) fn config(polite: bool, initiator: bool) -> LinkConfig {
    LinkConfig {
        polite,
        initiator,
        include_loopback: true,
        ..LinkConfig::default()
    }
}

impl End {
    pub(crate) async fn open(config: LinkConfig) -> Self {
        let (event_sender, events) = mpsc::channel(64);
        let (media_sender, media) = mpsc::channel(4_096);
        let link = Link::open(config, event_sender, media_sender)
            .await
            .expect("a link");
        Self {
            link,
            events,
            media,
            told: Vec::new(),
            descriptions: 0,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.last_state(), Some(LinkState::Connected { .. }))
    }

    pub(crate) fn last_state(&self) -> Option<LinkState> {
        self.told.iter().rev().find_map(|event| match event {
            LinkEvent::State(state) => Some(*state),
            _ => None,
        })
    }

    pub(crate) fn count(&self, is_match: impl Fn(&LinkEvent) -> bool) -> usize {
        self.told.iter().filter(|event| is_match(event)).count()
    }

    pub(crate) fn has_open(&self, label: ChannelLabel) -> bool {
        self.count(|event| matches!(event, LinkEvent::ChannelOpen(open) if *open == label)) > 0
    }

    pub(crate) fn messages(&self, label: ChannelLabel) -> Vec<Bytes> {
        let of_label = |event: &LinkEvent| match event {
            LinkEvent::ChannelMessage { channel, data, .. } if *channel == label => {
                Some(data.clone())
            }
            _ => None,
        };
        self.told.iter().filter_map(of_label).collect()
    }
}

/// What lies between the two ends' signalling.
pub(crate) type Filter = Box<dyn FnMut(usize, PeerSignal) -> Option<PeerSignal> + Send>;

/// Two ends and their signalling.
pub(crate) struct Pair {
    pub(crate) ends: [End; 2],
    pub(crate) filter: Filter,
}

impl Pair {
    pub(crate) async fn open(configs: [LinkConfig; 2]) -> Self {
        let [first, second] = configs;
        let ends = [End::open(first).await, End::open(second).await];
        Self {
            ends,
            filter: Box::new(|_, signal| Some(signal)),
        }
    }

    pub(crate) async fn connected(configs: [LinkConfig; 2]) -> Self {
        let mut pair = Self::open(configs).await;
        pair.until("connected", |ends| ends.iter().all(End::is_connected))
            .await;
        pair
    }

    /// Carries signals until the condition holds.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut is_done: impl FnMut(&mut [End; 2]) -> bool,
    ) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        // Media arrives without an event; the condition is looked at again every few packets.
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !is_done(&mut self.ends) {
            let [first, second] = &mut self.ends;
            let (from, event) = tokio::select! {
                Some(event) = first.events.recv() => (0, event),
                Some(event) = second.events.recv() => (1, event),
                _ = tick.tick() => continue,
                () = tokio::time::sleep_until(deadline) => panic!(
                    "not reached: {what}; told {:?} and {:?}", first.told, second.told
                ),
            };
            self.handle(from, event);
        }
    }

    fn handle(&mut self, from: usize, event: LinkEvent) {
        let LinkEvent::Signal(signal) = event else {
            self.ends[from].told.push(event);
            return;
        };
        let is_description = matches!(signal, PeerSignal::Description { .. });
        self.ends[from].descriptions += usize::from(is_description);
        if let Some(signal) = (self.filter)(from, signal) {
            self.ends[1 - from].link.handle_signal(signal);
        }
    }

    pub(crate) async fn close(self) {
        for end in self.ends {
            end.link.close().await;
        }
    }
}

/// A packet whose payload carries its number, so that a receiver can tell what is missing. The
/// first byte makes it a VP8 packet that starts a partition.
pub(crate) fn numbered(number: u32, bytes: usize) -> RtpOut {
    let mut payload = vec![0x10; bytes];
    payload[1..5].copy_from_slice(&number.to_be_bytes());
    RtpOut {
        timestamp: number.wrapping_mul(3_000),
        marker: true,
        starts_keyframe: false,
        payload: payload.into(),
        level_dbov: None,
        captured_at: None,
        descriptor: None,
    }
}

pub(crate) fn number_of(packet: &RtpIn) -> u32 {
    u32::from_be_bytes(packet.payload[1..5].try_into().expect("five bytes"))
}

/// Sends numbered VP8 packets at an even pace; returns their count.
pub(crate) async fn send_video(link: &Link, from: u32, count: u32, every: Duration) {
    let mut tick = tokio::time::interval(every);
    for number in from..from + count {
        tick.tick().await;
        link.send_video(0, VideoCodec::Vp8, numbered(number, 1_000));
    }
}

/// What one end's candidates are replaced with: every packet of both directions passes a relay.
#[derive(Clone)]
pub(crate) struct Relay {
    state: Arc<RelayState>,
}

struct RelayState {
    /// Of 1000 SRTP packets, how many are lost.
    loss_per_mille: AtomicU64,
    /// Of 1000 other packets.
    data_loss_per_mille: AtomicU64,
    /// Whether it drops what is neither STUN, DTLS nor SRTP.
    is_strict: AtomicBool,
    random: Mutex<Random>,
    dropped: AtomicU64,
    /// One for each candidate.
    relays: Mutex<Vec<UdpRelay>>,
    conditions: Mutex<Conditions>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let state = RelayState {
            loss_per_mille: AtomicU64::new(0),
            data_loss_per_mille: AtomicU64::new(0),
            is_strict: AtomicBool::new(false),
            random: Mutex::new(Random::new(1)),
            dropped: AtomicU64::new(0),
            relays: Mutex::default(),
            conditions: Mutex::default(),
        };
        Self {
            state: Arc::new(state),
        }
    }

    pub(crate) fn set_loss_per_mille(&self, loss: u64) {
        self.state.loss_per_mille.store(loss, Ordering::Relaxed);
    }

    /// Loses data, too, and delays everything.
    pub(crate) fn set_data_path(&self, loss_per_mille: u64, delay_ms: u64) {
        self.state
            .data_loss_per_mille
            .store(loss_per_mille, Ordering::Relaxed);
        let conditions = Conditions::symmetric(PathConfig {
            delay: Duration::from_millis(delay_ms),
            ..PathConfig::default()
        });
        *self.state.conditions.lock().unwrap() = conditions;
        for relay in &*self.state.relays.lock().unwrap() {
            relay.set_conditions(conditions);
        }
    }

    /// Lets only pass what every WebRTC stack sends.
    pub(crate) fn set_strict(&self) {
        self.state.is_strict.store(true, Ordering::Relaxed);
    }

    /// Loses everything on the present paths; paths of later candidates work again.
    pub(crate) fn cut(&self) {
        self.state.relays.lock().unwrap().clear();
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// Replaces the first end's candidates and drops the other's, so that the relay is the only
    /// path.
    pub(crate) fn filter(&self) -> Filter {
        let relay = self.clone();
        Box::new(move |from, signal| match signal {
            PeerSignal::Candidate { .. } if from == 1 => None,
            PeerSignal::Candidate {
                candidate,
                mid,
                mline_index,
            } => {
                let candidate = relay.replace(&candidate)?;
                Some(PeerSignal::Candidate {
                    candidate,
                    mid,
                    mline_index,
                })
            }
            PeerSignal::Description { kind, sdp } => {
                let is_kept = |line: &&str| {
                    !line.starts_with("a=candidate:") && *line != "a=end-of-candidates"
                };
                let lines = sdp.lines().filter(is_kept).flat_map(|line| [line, "\r\n"]);
                Some(PeerSignal::Description {
                    kind,
                    sdp: lines.collect(),
                })
            }
            PeerSignal::Bye
            | PeerSignal::Settled { .. }
            | PeerSignal::Shown { .. }
            | PeerSignal::AskMute
            | PeerSignal::Data { .. }
            | PeerSignal::Need { .. } => Some(signal),
        })
    }

    fn replace(&self, candidate: &str) -> Option<String> {
        let mut fields: Vec<String> = candidate.split(' ').map(str::to_owned).collect();
        if fields.get(4).map(String::as_str) != Some("127.0.0.1") {
            return None;
        }
        let target: SocketAddr = format!("127.0.0.1:{}", fields[5]).parse().ok()?;
        let plan = Plan {
            conditions: *self.state.conditions.lock().unwrap(),
            ..Plan::default()
        };
        let state = Arc::clone(&self.state);
        let admits = Box::new(move |_, packet: &[u8]| !state.loses(packet));
        let relay = UdpRelay::start_admitting(target, plan, admits).expect("a relay");
        fields[5] = relay.address().port().to_string();
        self.state.relays.lock().unwrap().push(relay);
        Some(fields.join(" "))
    }
}

impl RelayState {
    /// Media has a loss of its own: RFC 7983 tells it by the first byte, RFC 5761 RTCP by the second.
    fn loses(&self, packet: &[u8]) -> bool {
        let is_media = packet.len() > 12
            && (128..192).contains(&packet[0])
            && !(192..=223).contains(&packet[1]);
        let loss = if is_media {
            &self.loss_per_mille
        } else {
            &self.data_loss_per_mille
        };
        let loss = loss.load(Ordering::Relaxed) as f64 / 1e3;
        let is_foreign = self.is_strict.load(Ordering::Relaxed)
            && packet.first().is_some_and(|first| *first >= 192);
        let is_lost = is_foreign || self.random.lock().unwrap().chance(loss);
        self.dropped
            .fetch_add(u64::from(is_lost), Ordering::Relaxed);
        is_lost
    }
}

/// Waits for something that has no event, looking every few milliseconds.
pub(crate) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !is_true() {
        assert!(Instant::now() < deadline, "not reached: {what}");
        tick.tick().await;
    }
}
