//! The shell around [`Endpoint`]: a UDP socket of the stack with the tunnels inside.
//!
//! Who calls it drives it: the stack's sends and receives, and a task of its own for the time in
//! between, which ends with the socket. Frames of one size to one address go out as one coalesced
//! transmission, and datagrams that follow each other are handed up as one coalesced read.
//!
//! The waker the inner socket keeps is one. So that the task does not take the stack's away, it never
//! registers one: where the socket takes nothing, it comes back after [`RETRY`] and wakes the stack.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::control::BulkControl;
use super::endpoint::{Endpoint, Incoming};
use super::frame;
use crate::arrivals::arrived_at;

/// How soon a full socket is tried again: the timers' resolution.
const RETRY: Duration = Duration::from_millis(1);
/// Segments and bytes of one transmission (Linux: UDP_MAX_SEGMENTS is 64, a datagram 65535 bytes).
const SEGMENTS: usize = 64;
const BATCH_BYTES: usize = 64_000;

/// A socket whose application data goes through a tunnel where the peer takes part.
#[derive(Debug)]
pub(crate) struct TunnelSocket {
    inner: Arc<Inner>,
    pump: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    socket: Arc<dyn AsyncUdpSocket>,
    control: Arc<BulkControl>,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug)]
struct State {
    endpoint: Endpoint,
    /// Datagrams to hand up, in order. Bounded by what receivers hold and one read.
    ready: VecDeque<(SocketAddr, Bytes)>,
    batch: Batch,
    /// A frame that did not fit the batch.
    spare: Option<(SocketAddr, Vec<u8>)>,
    /// When the task wakes.
    armed: Option<Instant>,
    /// The stack, while it waits for the socket.
    blocked: Option<Waker>,
}

/// Frames to one address, all of `segment` bytes but perhaps the last.
#[derive(Debug, Default)]
struct Batch {
    to: Option<SocketAddr>,
    segment: usize,
    count: usize,
    bytes: Vec<u8>,
}

impl TunnelSocket {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(
        socket: Arc<dyn AsyncUdpSocket>,
        endpoint: Endpoint,
        control: Arc<BulkControl>,
    ) -> Self {
        let inner = Arc::new(Inner {
            socket,
            control,
            state: Mutex::new(State {
                endpoint,
                ready: VecDeque::new(),
                batch: Batch::default(),
                spare: None,
                armed: None,
                blocked: None,
            }),
            wake: Notify::new(),
        });
        let pump = tokio::spawn(Arc::clone(&inner).pump());
        Self { inner, pump }
    }
}

impl Drop for TunnelSocket {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is due when nobody else does.
    async fn pump(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = self.drive(&mut state, Instant::now());
                if let Some(stack) = state.blocked.take() {
                    stack.wake();
                }
                state.armed = next;
                next
            };
            match next {
                Some(at) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    }
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// As the pump, from the stack's own calls.
    fn drive_inline(&self, state: &mut State, now: Instant) {
        if !state.endpoint.is_used() {
            return;
        }
        let next = self.drive(state, now);
        if let Some(next) = next
            && state.armed.is_none_or(|armed| next < armed)
        {
            state.armed = Some(next);
            self.wake.notify_one();
        }
    }

    /// Sends what may be sent and returns when to come again.
    fn drive(&self, state: &mut State, now: Instant) -> Option<Instant> {
        state.endpoint.set_limit_bps(self.control.limit_bps());
        state.endpoint.handle_timeout(now);
        loop {
            state.fill_batch(now, self.socket.max_gso_segments());
            let Some(transmit) = state.batch.transmit() else {
                break;
            };
            let mut context = Context::from_waker(Waker::noop());
            match self.socket.poll_send(&mut context, &transmit) {
                Poll::Pending => return Some(now + RETRY),
                // Lost like any other packet.
                Poll::Ready(Err(error)) => tracing::trace!(%error, "frames not sent"),
                Poll::Ready(Ok(_)) => {}
            }
            state.batch.clear();
        }
        self.control.handle_endpoint(&state.endpoint);
        state.endpoint.poll_timeout()
    }

    /// Takes what one read brought, which contains frames; returns what is left of it in place.
    fn handle_read(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let now = Instant::now();
        let arrived_at = arrived_at(now, meta);
        let (from, whole, stride) = (meta.addr, meta.len, meta.stride.max(1));
        let mut state = self.lock();
        let mut kept = Kept::default();
        for begin in (0..whole).step_by(stride) {
            let end = whole.min(begin + stride);
            let datagram = &buffer[begin..end];
            match state
                .endpoint
                .handle_incoming(now, arrived_at, from, datagram)
            {
                Incoming::Consumed => {}
                Incoming::Pass => kept.keep(buffer, begin, end, from, &mut state.ready),
                fate @ (Incoming::Next | Incoming::Joined) => {
                    if fate == Incoming::Next {
                        let begin = begin + frame::DATA_HEADER_BYTES;
                        kept.keep(buffer, begin, end, from, &mut state.ready);
                    }
                    while let Some(datagram) = state.endpoint.poll_released(from) {
                        state.ready.push_back((from, datagram));
                        kept.is_closed = true;
                    }
                }
            }
        }
        meta.len = kept.length;
        meta.stride = kept.stride.max(1);
        self.drive_inline(&mut state, now);
    }
}

/// Datagrams moved to the front of the buffer they were read into.
#[derive(Debug, Default)]
struct Kept {
    length: usize,
    stride: usize,
    /// What follows has to wait.
    is_closed: bool,
}

impl Kept {
    fn keep(
        &mut self,
        buffer: &mut [u8],
        begin: usize,
        end: usize,
        from: SocketAddr,
        ready: &mut VecDeque<(SocketAddr, Bytes)>,
    ) {
        let length = end - begin;
        if self.length == 0 {
            self.stride = length;
        }
        if self.is_closed || length > self.stride {
            ready.push_back((from, Bytes::copy_from_slice(&buffer[begin..end])));
            self.is_closed = true;
            return;
        }
        buffer.copy_within(begin..end, self.length);
        self.length += length;
        self.is_closed = length < self.stride;
    }
}

impl State {
    /// Adds frames to the batch until it is full, ends with a shorter one, or nothing is due.
    fn fill_batch(&mut self, now: Instant, segments: usize) {
        let batch = &mut self.batch;
        if let Some((to, bytes)) = self.spare.take_if(|_| batch.count == 0) {
            batch.bytes.extend_from_slice(&bytes);
            batch.begin(to);
        }
        let segments = segments.clamp(1, SEGMENTS);
        while self.spare.is_none() && batch.has_room(segments) {
            let begin = batch.bytes.len();
            let Some(to) = self.endpoint.poll_transmit(now, &mut batch.bytes) else {
                return;
            };
            let length = batch.bytes.len() - begin;
            if batch.count == 0 {
                batch.begin(to);
            } else if batch.to == Some(to) && length <= batch.segment {
                batch.count += 1;
            } else {
                self.spare = Some((to, batch.bytes.split_off(begin)));
            }
        }
    }

    /// Fills a read with datagrams that wait.
    fn poll_ready(&mut self, buffer: &mut [u8], meta: &mut RecvMeta) -> bool {
        let Some((from, first)) = self.ready.pop_front() else {
            return false;
        };
        let stride = first.len().min(buffer.len());
        buffer[..stride].copy_from_slice(&first[..stride]);
        let (mut length, mut count) = (stride, 1);
        while let Some((_, datagram)) = self.ready.pop_front_if(|(address, datagram)| {
            *address == from && datagram.len() <= stride && length + stride <= buffer.len()
        }) {
            buffer[length..length + datagram.len()].copy_from_slice(&datagram);
            length += datagram.len();
            count += 1;
            if datagram.len() < stride || count == SEGMENTS {
                break;
            }
        }
        *meta = RecvMeta::default();
        meta.addr = from;
        meta.len = length;
        meta.stride = stride.max(1);
        true
    }
}

impl Batch {
    fn begin(&mut self, to: SocketAddr) {
        self.to = Some(to);
        self.segment = self.bytes.len();
        self.count = 1;
    }

    fn has_room(&self, segments: usize) -> bool {
        let is_whole = self.bytes.len() == self.count * self.segment;
        let has_bytes = self.bytes.len() + self.segment <= BATCH_BYTES;
        self.count == 0 || (is_whole && has_bytes && self.count < segments)
    }

    fn transmit(&self) -> Option<Transmit<'_>> {
        Some(Transmit {
            destination: self.to?,
            ecn: None,
            contents: &self.bytes,
            segment_size: (self.count > 1).then_some(self.segment),
            src_ip: None,
        })
    }

    fn clear(&mut self) {
        self.to = None;
        self.count = 0;
        self.segment = 0;
        self.bytes.clear();
    }
}

impl AsyncUdpSocket for TunnelSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.socket.local_addr()
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.socket.max_gso_segments()
    }

    /// The stack's buffers are that many packets of the usual size. Joined datagrams are larger.
    fn max_gro_segments(&self) -> usize {
        let joined = frame::DATAGRAM_BYTES.div_ceil(frame::PIECE_BYTES);
        self.inner.socket.max_gro_segments().max(joined)
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let inner = &*self.inner;
        let mut state = inner.lock();
        let is_taken = state.endpoint.handle_outgoing(
            now,
            transmit.destination,
            transmit.contents,
            transmit.segment_size,
        );
        if is_taken {
            inner.drive_inline(&mut state, now);
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        let sent = inner.socket.poll_send(cx, transmit);
        if sent.is_pending() {
            state.blocked = Some(cx.waker().clone());
            inner.wake.notify_one();
        } else {
            inner.drive_inline(&mut state, now);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let inner = &*self.inner;
        let ([buffer, ..], [meta, ..]) = (bufs, meta) else {
            return Poll::Ready(Ok(0));
        };
        loop {
            if inner.lock().poll_ready(buffer, meta) {
                return Poll::Ready(Ok(1));
            }
            let read = inner.socket.poll_recv(
                cx,
                &mut [IoSliceMut::new(buffer)],
                std::slice::from_mut(meta),
            );
            match read {
                Poll::Ready(Ok(count)) if count > 0 => {}
                other => return other,
            }
            let datagrams = &buffer[..meta.len.min(buffer.len())];
            if !datagrams.chunks(meta.stride.max(1)).any(frame::is_frame) {
                return Poll::Ready(Ok(1));
            }
            inner.handle_read(buffer, meta);
            if meta.len > 0 {
                return Poll::Ready(Ok(1));
            }
        }
    }
}
