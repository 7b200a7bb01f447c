//! The three data channels: a bounded queue each towards the peer, a task each way.
//!
//! Both ends create them with the same stream ids (RFC 8832 calls it external negotiation), so they
//! need no handshake and open with the transport. Messages queue until then, and after that while
//! SCTP has enough to do; order is kept. A full queue refuses the message: nothing queued is ever
//! dropped.
//!
//! The stack loses messages that arrive in the same batch of datagrams as the end of the SCTP
//! handshake. So nothing is sent before the peer is known to be through: over a fourth channel
//! ([`READY_STREAM`]) each side says [`OPEN`] until it hears [`SEEN`], and hearing either opens the
//! way. A peer that does not speak this (a browser) keeps early messages, and gets them after its
//! first own message or [`FOREIGN_AFTER`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use call_protocol::limits;
use tokio::sync::{Notify, mpsc, watch};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};

use crate::event::ChannelLabel;
use crate::setup;
use crate::tunnel::control::BulkControl;

/// What a queued message costs besides its bytes, so that empty ones are bounded as well.
const MESSAGE_COST_BYTES: usize = 64;

/// Stream of the channel described above.
const READY_STREAM: u16 = 99;
/// "My end is open."
const OPEN: u8 = 0;
/// "I heard that."
const SEEN: u8 = 1;
/// Between repetitions of [`OPEN`].
const REPEAT_EVERY: Duration = Duration::from_millis(100);
/// After this a silent peer is taken for a foreign one.
const FOREIGN_AFTER: Duration = Duration::from_secs(2);

/// See [`drained`]; 200 ms wait at least.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Beyond [`limits::CHANNEL_MESSAGE_BYTES`].
    #[error("the message is too large for a data channel")]
    TooLarge,
    /// [`limits::CHANNEL_PENDING_BYTES`] are waiting already; see
    /// [`Link::channel_writable`](crate::Link::channel_writable).
    #[error("too many messages wait on this data channel")]
    Full,
    /// The channel or the link is closed.
    #[error("the data channel is closed")]
    Closed,
}

/// Options of the channel that tells when to begin.
pub(crate) fn ready_init() -> RTCDataChannelInit {
    RTCDataChannelInit {
        negotiated: Some(READY_STREAM),
        ..RTCDataChannelInit::default()
    }
}

/// Runs that channel until it closes; `way` becomes true once messages may be sent.
pub(crate) async fn run_ready(channel: Arc<dyn DataChannel>, way: Arc<watch::Sender<bool>>) {
    let mut repeat = tokio::time::interval(REPEAT_EVERY);
    let mut opened_at: Option<Instant> = None;
    let mut is_seen = false;
    loop {
        let event = tokio::select! {
            event = channel.poll() => event,
            _ = repeat.tick(), if opened_at.is_some() && !is_seen => {
                let is_foreign = opened_at.is_some_and(|at| at.elapsed() >= FOREIGN_AFTER);
                if is_foreign {
                    is_seen = true;
                    way.send_replace(true);
                } else if channel.send(BytesMut::from(&[OPEN][..])).await.is_err() {
                    return;
                }
                continue;
            }
        };
        match event {
            Some(DataChannelEvent::OnOpen) => opened_at = Some(Instant::now()),
            Some(DataChannelEvent::OnMessage(message)) => {
                way.send_replace(true);
                is_seen |= message.data.first() == Some(&SEEN);
                let is_question = message.data.first() == Some(&OPEN);
                if is_question && channel.send(BytesMut::from(&[SEEN][..])).await.is_err() {
                    return;
                }
            }
            Some(DataChannelEvent::OnClose) | None => return,
            Some(_) => {}
        }
    }
}

/// Options of each channel in the stack's words.
pub(crate) fn init(label: ChannelLabel) -> RTCDataChannelInit {
    let (ordered, max_retransmits) = match label {
        ChannelLabel::Control => (true, None),
        ChannelLabel::Bulk => (false, None),
        ChannelLabel::Lossy => (false, Some(0)),
    };
    RTCDataChannelInit {
        ordered,
        max_retransmits,
        negotiated: Some(label.stream_id()),
        ..RTCDataChannelInit::default()
    }
}

/// What happened on a channel.
pub(crate) enum ChannelNotice {
    Open(ChannelLabel),
    Message {
        channel: ChannelLabel,
        data: Bytes,
        is_text: bool,
    },
    Closed(ChannelLabel),
}

/// The queue of one channel, seen from both of its ends.
#[derive(Debug)]
struct Queue {
    pending_bytes: AtomicUsize,
    /// Bytes given to SCTP so far.
    sent_bytes: AtomicU64,
    /// Below this the queue counts as writable.
    writable_bytes: usize,
    is_closed: AtomicBool,
    changed: Notify,
}

/// The sending end of one channel.
#[derive(Debug)]
pub(crate) struct ChannelOut {
    queue: Arc<Queue>,
    // Bounded by `pending_bytes`, which every message is charged to before it is queued.
    messages: mpsc::UnboundedSender<Bytes>,
}

/// The other end, for [`run_out`].
#[derive(Debug)]
pub(crate) struct ChannelQueue {
    queue: Arc<Queue>,
    messages: mpsc::UnboundedReceiver<Bytes>,
}

/// The two ends of a channel's queue, which is writable below `writable_bytes`.
pub(crate) fn queue(writable_bytes: usize) -> (ChannelOut, ChannelQueue) {
    let queue = Arc::new(Queue {
        pending_bytes: AtomicUsize::new(0),
        sent_bytes: AtomicU64::new(0),
        writable_bytes,
        is_closed: AtomicBool::new(false),
        changed: Notify::new(),
    });
    let (sender, receiver) = mpsc::unbounded_channel();
    let out = ChannelOut {
        queue: Arc::clone(&queue),
        messages: sender,
    };
    (
        out,
        ChannelQueue {
            queue,
            messages: receiver,
        },
    )
}

/// What a channel was given, for who watches it.
#[derive(Debug)]
pub(crate) struct Sent(Arc<Queue>);

impl Sent {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.sent_bytes.load(Ordering::Relaxed)
    }
}

impl ChannelOut {
    pub(crate) fn sent(&self) -> Sent {
        Sent(Arc::clone(&self.queue))
    }

    pub(crate) fn send(&self, data: Bytes) -> Result<(), ChannelError> {
        if data.len() > limits::CHANNEL_MESSAGE_BYTES {
            return Err(ChannelError::TooLarge);
        }
        if self.queue.is_closed.load(Ordering::Relaxed) {
            return Err(ChannelError::Closed);
        }
        let cost = data.len() + MESSAGE_COST_BYTES;
        let charge = |pending: usize| {
            (pending + cost <= limits::CHANNEL_PENDING_BYTES).then_some(pending + cost)
        };
        self.queue
            .pending_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, charge)
            .map_err(|_| ChannelError::Full)?;
        self.messages.send(data).map_err(|_| ChannelError::Closed)
    }

    /// Bytes that wait here.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.queue.pending_bytes.load(Ordering::Relaxed)
    }

    /// Until a small part of the queue is taken, or the channel is closed.
    pub(crate) async fn writable(&self) {
        loop {
            let changed = self.queue.changed.notified();
            let pending = self.queue.pending_bytes.load(Ordering::Acquire);
            let is_closed = self.queue.is_closed.load(Ordering::Relaxed);
            if is_closed || pending < self.queue.writable_bytes {
                return;
            }
            changed.await;
        }
    }
}

/// However the sending task ends, nothing more is taken and nobody waits on.
impl Drop for ChannelQueue {
    fn drop(&mut self) {
        self.queue.is_closed.store(true, Ordering::Relaxed);
        self.queue.changed.notify_waiters();
    }
}

/// Sends what is queued, once the way is free, until either end is gone. With `bulk` what SCTP gets
/// is bounded by what the tunnel below can carry away.
pub(crate) async fn run_out(
    channel: Arc<dyn DataChannel>,
    mut queue: ChannelQueue,
    mut way: watch::Receiver<bool>,
    bulk: Option<Arc<BulkControl>>,
) {
    if way.wait_for(|is_free| *is_free).await.is_err() {
        return;
    }
    while let Some(data) = queue.messages.recv().await {
        let cost = data.len() + MESSAGE_COST_BYTES;
        if let Some(bulk) = &bulk {
            drained(&channel, bulk).await;
        }
        let bytes = data.len() as u64;
        queue.queue.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = channel.send(BytesMut::from(data)).await;
        queue.queue.pending_bytes.fetch_sub(cost, Ordering::AcqRel);
        queue.queue.changed.notify_waiters();
        if sent.is_err() {
            return;
        }
    }
}

/// Until SCTP has less to do than the tunnel below allows. SCTP tells of room below its fixed bound
/// only, so the moving one is looked at again and again, much more often than it takes to drain.
async fn drained(channel: &Arc<dyn DataChannel>, bulk: &BulkControl) {
    loop {
        let most = bulk.backlog_bytes(setup::BULK_SEND_BYTES, setup::CHANNEL_SEND_BYTES);
        match channel.outstanding_bytes().await {
            // SCTP's own bound holds back from here.
            _ if most == setup::BULK_SEND_BYTES => return,
            Ok(outstanding) if outstanding >= most => {}
            _ => return,
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Passes on what arrives until the channel closes: messages to `sink` if there is one, past the
/// link's task. Waits for either, so that the stack and with it SCTP's window hold the peer back.
pub(crate) async fn run_in(
    label: ChannelLabel,
    channel: Arc<dyn DataChannel>,
    notices: mpsc::Sender<ChannelNotice>,
    way: Arc<watch::Sender<bool>>,
    sink: Option<mpsc::Sender<Bytes>>,
) {
    while let Some(event) = channel.poll().await {
        let notice = match event {
            DataChannelEvent::OnOpen => ChannelNotice::Open(label),
            DataChannelEvent::OnMessage(message) => {
                way.send_replace(true);
                let data = message.data.freeze();
                if let Some(sink) = &sink {
                    // Dropped where nobody reads any more: waiting on would stop the other channels.
                    let _ = sink.send(data).await;
                    continue;
                }
                ChannelNotice::Message {
                    channel: label,
                    data,
                    is_text: message.is_string,
                }
            }
            // `poll` does not end by itself after this.
            DataChannelEvent::OnClose => break,
            _ => continue,
        };
        if notices.send(notice).await.is_err() {
            return;
        }
    }
    // The owner may be gone already.
    let _ = notices.send(ChannelNotice::Closed(label)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_in_bytes_and_messages() {
        let (out, queue) = queue(1);
        let large = Bytes::from(vec![0; limits::CHANNEL_MESSAGE_BYTES]);
        assert_eq!(
            out.send(Bytes::from(vec![0; limits::CHANNEL_MESSAGE_BYTES + 1])),
            Err(ChannelError::TooLarge)
        );
        for _ in 0..3 {
            assert_eq!(out.send(large.clone()), Ok(()));
        }
        assert_eq!(out.send(large), Err(ChannelError::Full));
        let mut empty = 0;
        while out.send(Bytes::new()).is_ok() {
            empty += 1;
        }
        assert!(empty <= limits::CHANNEL_MESSAGE_BYTES / MESSAGE_COST_BYTES);
        drop(queue);
        assert_eq!(out.send(Bytes::new()), Err(ChannelError::Closed));
    }
}
