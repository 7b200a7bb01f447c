//! The way in: a task per link opens the peer connection and forwards what comes; one task for all
//! of them, the hub, turns RTP into video frames due to be shown (for the driver) and audio packets
//! (for the mixer), whichever link it came over.
//!
//! * `receiving`: everybody's incoming media.
//! * `picture`, `sound`: how the paths of one member's media become one; `stream`: one path's packets.
//!
//! Everything that arrives is bounded: the links' tasks wait when the hub lags, the hub waits when
//! the driver lags, and the transport drops (and counts) RTP when a link's task lags.
//!
//! Deliberately not here: decoding (see [`crate::pictures`]) and the mixer's playout.

mod picture;
mod receiving;
mod sound;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use call_core::{LinkId, LinkPeer};
use call_e2ee::RoomKeys;
use call_media::audio::Mixer;
use call_protocol::{MediaSource, MemberId};
use call_transport::{Link, LinkConfig, LinkError, LinkEvent, RtpIn};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep_until;

pub(crate) use self::picture::ReceivedFrame;
use self::receiving::Receiving;
pub(crate) use self::receiving::{MemberCounters, Received};
use crate::files::BulkSink;

/// Link events waiting for a link's task; the link waits when it is full.
const EVENTS: usize = 256;
/// RTP packets of a link waiting for its task: a quarter second of 8 Mbit/s. The newest are dropped.
const PACKETS: usize = 1_024;
/// Messages of a data link's bulk channel on their way to the disk's queue; the peer is held back when
/// it is full.
const LINK_BULK: usize = 2;
/// RTP packets of all links waiting for the hub; the links' tasks wait when it is full.
const HUB_PACKETS: usize = 1_024;
/// Packets taken in a row before what they led to is told.
const HUB_BATCH: usize = 32;

/// What a link's task tells the driver.
pub(crate) enum LinkReport {
    /// The connection object exists; negotiation goes on.
    Opened(Arc<Link>),
    /// It could not be made.
    NotOpened(LinkError),
    /// The link's own event.
    Event(LinkEvent),
}

/// What links and hub tell the driver.
pub(crate) enum Report {
    Link(LinkId, LinkReport),
    Received(Received),
}

/// Everybody's incoming media. Clones share it.
///
/// The driver changes it directly; its lock is only ever held for one packet or one change.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    packets: mpsc::Sender<(LinkId, RtpIn)>,
}

struct State {
    receiving: Receiving,
    /// For the senders' clocks. The driver alone keeps links alive.
    links: BTreeMap<LinkId, Weak<Link>>,
}

/// The receiving end of a [`Hub`], for its task.
pub(crate) struct HubPackets(mpsc::Receiver<(LinkId, RtpIn)>);

impl Hub {
    /// `is_sealed`: nothing is taken that does not open.
    pub(crate) fn new(mixer: Arc<Mutex<Mixer>>, is_sealed: bool) -> (Self, HubPackets) {
        let (packets, received) = mpsc::channel(HUB_PACKETS);
        let state = State {
            receiving: Receiving::new(mixer, is_sealed),
            links: BTreeMap::new(),
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
            packets,
        };
        (Self(Arc::new(shared)), HubPackets(received))
    }

    /// A call's keys; who was known before is forgotten.
    pub(crate) fn set_keys(&self, keys: &RoomKeys) {
        self.lock().receiving.set_keys(keys);
    }

    /// See [`call_core::MediaOp::OpenMember`].
    pub(crate) fn open_member(&self, member: MemberId, salt: [u8; 16]) {
        self.lock().receiving.open_member(member, salt);
    }

    /// See [`call_core::MediaOp::ForgetMember`].
    pub(crate) fn forget_member(&self, member: MemberId) {
        self.lock().receiving.forget_member(member);
    }

    /// Somebody is there: their sound is mixed from now on.
    pub(crate) fn add_member(&self, member: MemberId) {
        self.lock().receiving.add_member(member);
    }

    pub(crate) fn remove_member(&self, member: MemberId) {
        self.lock().receiving.remove_member(member);
    }

    pub(crate) fn add_link(&self, id: LinkId, link: &Arc<Link>) {
        self.lock().links.insert(id, Arc::downgrade(link));
    }

    /// A link's round trip, once a second.
    pub(crate) fn set_rtt(&self, id: LinkId, rtt: Duration) {
        self.lock().receiving.set_rtt(id, rtt);
    }

    pub(crate) fn remove_link(&self, now: Instant, id: LinkId) {
        let mut state = self.lock();
        state.links.remove(&id);
        state.receiving.remove_link(now, id);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Asks whoever a member's picture comes from for a keyframe, not too often.
    pub(crate) fn request_keyframe(&self, now: Instant, member: MemberId, source: MediaSource) {
        self.lock().receiving.request_keyframe(now, member, source);
        self.0.changed.notify_one();
    }

    pub(crate) fn counters(&self, member: MemberId) -> MemberCounters {
        self.lock().receiving.counters(member)
    }

    /// Packets that did not open, or of nobody in the room, since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().receiving.dropped()
    }

    /// Runs until the driver is gone.
    pub(crate) async fn run(self, mut packets: HubPackets, reports: mpsc::Sender<Report>) {
        loop {
            let (outputs, timeout) = self.work(Instant::now());
            for output in outputs {
                if reports.send(Report::Received(output)).await.is_err() {
                    return;
                }
            }
            let timeout = timeout.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            tokio::select! {
                packet = packets.0.recv() => {
                    // Never `None`: this holds a sender itself.
                    let Some((link, packet)) = packet else { return };
                    let mut state = self.lock();
                    state.receiving.handle_packet(Instant::now(), link, packet);
                    // What came meanwhile, as one.
                    for _ in 1..HUB_BATCH {
                        let Ok((link, packet)) = packets.0.try_recv() else { break };
                        state.receiving.handle_packet(Instant::now(), link, packet);
                    }
                }
                () = self.0.changed.notified() => {}
                () = sleep_until(timeout.into()) => {}
                () = reports.closed() => return,
            }
        }
    }

    fn work(&self, now: Instant) -> (Vec<Received>, Option<Instant>) {
        let mut state = self.lock();
        let State { receiving, links } = &mut *state;
        if receiving.sync_due(now) {
            receiving.sync(now, |link, ssrc| {
                links.get(&link)?.upgrade()?.sender_clock(ssrc)
            });
        }
        receiving.handle_timeout(now);
        let outputs = std::iter::from_fn(|| receiving.poll_output()).collect();
        (outputs, receiving.poll_timeout())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state consistent at each step.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a link until it is closed or the driver is gone.
///
/// What comes on the bulk channel of a data link goes to `bulk`, past the driver and past the link's
/// events: a slow disk holds the peer back, never signals and states.
pub(crate) async fn run(
    id: LinkId,
    config: LinkConfig,
    hub: Hub,
    bulk: BulkSink,
    reports: mpsc::Sender<Report>,
) {
    let (events_in, mut events) = mpsc::channel(EVENTS);
    let (packets_in, mut packets) = mpsc::channel(PACKETS);
    let reports = &reports;
    let report = |report| reports.send(Report::Link(id, report));
    let (bulk_in, mut contents) = mpsc::channel(LINK_BULK);
    let opened = match id.peer {
        LinkPeer::Data(_) => Link::open_with_bulk(config, events_in, packets_in, bulk_in).await,
        LinkPeer::Member(_) | LinkPeer::Sfu => {
            // Nothing comes, and the task below must not wait for it.
            drop(bulk_in);
            Link::open(config, events_in, packets_in).await
        }
    };
    let link = match opened {
        Ok(link) => Arc::new(link),
        Err(error) => {
            // The driver being gone is the only failure, and then nobody needs to know.
            let _ = report(LinkReport::NotOpened(error)).await;
            return;
        }
    };
    // The driver alone keeps the link alive, so that closing it is its decision.
    if report(LinkReport::Opened(link)).await.is_err() {
        return;
    }
    let forward_events = async move {
        while let Some(event) = events.recv().await {
            if report(LinkReport::Event(event)).await.is_err() {
                return;
            }
        }
    };
    let forward_contents = async move {
        while let (Some(data), Some(member)) = (contents.recv().await, id.member()) {
            if bulk.send((member, data)).await.is_err() {
                return;
            }
        }
    };
    let forward_packets = async move {
        while let Some(packet) = packets.recv().await {
            if hub.0.packets.send((id, packet)).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(forward_events, forward_packets, forward_contents);
}
