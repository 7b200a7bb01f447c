//! The way in: one task per link opens the peer connection, forwards its events, and turns its RTP
//! into video frames due to be shown (for the driver) and audio packets (for the mixer).
//!
//! * `media`: the state of a link's incoming sound and picture.
//!
//! Everything that arrives is bounded: the transport drops (and counts) RTP when this task lags,
//! and this task waits when the driver lags.
//!
//! Deliberately not here: decoding (see [`crate::pictures`]) and the mixer's playout.

mod media;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use call_core::LinkId;
use call_media::audio::Mixer;
use call_media::video::rtp::AssembledFrame;
use call_protocol::MemberId;
use call_transport::{Link, LinkConfig, LinkError, LinkEvent};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use self::media::Inbound;

/// Link events waiting for this task; the link waits when it is full.
const EVENTS: usize = 256;
/// RTP packets waiting for this task: a quarter second of 8 Mbit/s. The newest are dropped.
const PACKETS: usize = 1_024;
/// What a link's task tells the driver.
pub(crate) enum LinkReport {
    /// The connection object exists; negotiation goes on.
    Opened(Arc<Link>),
    /// It could not be made.
    NotOpened(LinkError),
    /// The link's own event.
    Event(LinkEvent),
    /// A frame of the member's camera to be shown now.
    Frame(ReceivedFrame),
}

/// A complete encoded frame that is to be shown now, with its time on the sender's clock.
pub(crate) struct ReceivedFrame {
    pub(crate) frame: AssembledFrame,
    pub(crate) timestamp_us: u64,
}

/// Runs a link until it is closed or the driver is gone.
pub(crate) async fn run(
    id: LinkId,
    member: MemberId,
    config: LinkConfig,
    mixer: Arc<Mutex<Mixer>>,
    reports: mpsc::Sender<(LinkId, LinkReport)>,
) {
    let (events_in, mut events) = mpsc::channel(EVENTS);
    let (packets_in, mut packets) = mpsc::channel(PACKETS);
    let link = match Link::open(config, events_in, packets_in).await {
        Ok(link) => Arc::new(link),
        Err(error) => {
            // The driver being gone is the only failure, and then nobody needs to know.
            let _ = reports.send((id, LinkReport::NotOpened(error))).await;
            return;
        }
    };
    // The driver alone keeps the link alive, so that closing it is its decision.
    let weak = Arc::downgrade(&link);
    if reports.send((id, LinkReport::Opened(link))).await.is_err() {
        return;
    }
    let mut inbound = Inbound::new(member, mixer);
    loop {
        let now = Instant::now();
        if inbound.sync_due(now)
            && let Some(link) = weak.upgrade()
        {
            inbound.sync(now, |ssrc| link.sender_clock(ssrc));
        }
        while let Some(frame) = inbound.poll_frame(now) {
            if reports.send((id, LinkReport::Frame(frame))).await.is_err() {
                return;
            }
        }
        if inbound.keyframe_due(now)
            && let Some(link) = weak.upgrade()
        {
            link.request_keyframe(None);
        }
        let timeout = inbound
            .poll_timeout()
            .unwrap_or(now + Duration::from_secs(3_600));
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return };
                if reports.send((id, LinkReport::Event(event))).await.is_err() {
                    return;
                }
            }
            packet = packets.recv() => {
                // `None`: the link is closing; its events tell so.
                let Some(packet) = packet else {
                    drain(id, &mut events, &reports).await;
                    return;
                };
                inbound.handle_packet(Instant::now(), packet);
            }
            () = sleep_until(timeout.into()) => inbound.handle_timeout(Instant::now()),
        }
    }
}

async fn drain(
    id: LinkId,
    events: &mut mpsc::Receiver<LinkEvent>,
    reports: &mpsc::Sender<(LinkId, LinkReport)>,
) {
    while let Some(event) = events.recv().await {
        if reports.send((id, LinkReport::Event(event))).await.is_err() {
            return;
        }
    }
}
