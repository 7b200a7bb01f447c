//! The sockets of the relay.
//!
//! ```text
//! media port ── TurnDatagrams ─┐
//! TCP, TLS   ── a task each ───┼──→ one task, owns TurnServer ──→ media socket, streams, relays
//! relays     ── a task each ───┘
//! ```
//!
//! Every queue is bounded. Towards peers and over UDP, what the system does not take at once is
//! dropped, as networks do; a stream that is read too slowly loses the newest messages, and a
//! client that sends too fast over a stream is held back by it. Deliberately not here: decisions
//! (`server`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace};

use super::server::{Client, RelayId, Transport, TurnOutput, TurnServer};
use super::stream::next_message;
use crate::media::TurnDatagrams;

/// New streams waiting for the task.
const STREAMS: usize = 32;
/// Messages of all streams, and datagrams of all relays, waiting for the task.
const ARRIVED: usize = 512;
/// Messages waiting for one stream; further ones are dropped.
const OUTGOING: usize = 256;
/// Largest datagram relayed; larger ones would have been fragments.
const DATAGRAM_BYTES: usize = 2_048;
const READ_BYTES: usize = 16 * 1024;
/// A stream that takes nothing for this long is over.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
const RELAY_BUFFER_BYTES: usize = 256 * 1024;

/// Where relay sockets are bound, and the address peers see then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RelayAddress {
    /// Of this machine.
    pub(crate) bind: IpAddr,
    /// Of the same family.
    pub(crate) public: IpAddr,
}

/// A connection that speaks TURN.
pub(crate) struct TurnStream {
    pub(crate) peer: SocketAddr,
    pub(crate) io: Box<dyn Duplex>,
}

/// TCP or TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Takes connections that turned out to speak TURN.
#[derive(Clone)]
pub(crate) struct TurnStreams {
    sender: mpsc::Sender<TurnStream>,
}

impl TurnStreams {
    /// The receiver is for [`run`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<TurnStream>) {
        let (sender, receiver) = mpsc::channel(STREAMS);
        (Self { sender }, receiver)
    }

    /// Closes the stream when the relay has too much to do.
    pub(crate) fn accept(&self, peer: SocketAddr, io: impl Duplex + 'static) {
        let io = Box::new(io);
        if self.sender.try_send(TurnStream { peer, io }).is_err() {
            debug!("a TURN stream was dropped");
        }
    }
}

/// What arrives at the task.
enum Arrived {
    Stream(Client, Bytes),
    StreamGone(Client),
    Relay(RelayId, SocketAddr, Bytes),
}

struct Stream {
    outgoing: mpsc::Sender<Bytes>,
    task: JoinHandle<()>,
}

struct Relay {
    socket: Arc<UdpSocket>,
    task: JoinHandle<()>,
}

struct Shell {
    server: TurnServer,
    socket: Arc<std::net::UdpSocket>,
    addresses: Vec<RelayAddress>,
    streams: BTreeMap<Client, Stream>,
    relays: BTreeMap<RelayId, Relay>,
    arrived: mpsc::Sender<Arrived>,
    next_stream: u64,
}

/// Serves until `closing`, then closes everything at once.
pub(crate) async fn run(
    server: TurnServer,
    datagrams: TurnDatagrams,
    mut streams: mpsc::Receiver<TurnStream>,
    addresses: Vec<RelayAddress>,
    closing: CancellationToken,
) {
    let TurnDatagrams {
        mut receiver,
        socket,
    } = datagrams;
    let (arrived, mut queue) = mpsc::channel(ARRIVED);
    let mut shell = Shell {
        server,
        socket,
        addresses,
        streams: BTreeMap::new(),
        relays: BTreeMap::new(),
        arrived,
        next_stream: 0,
    };
    loop {
        let wake_at = shell.server.poll_timeout();
        let timer = async {
            match wake_at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = closing.cancelled() => break,
            Some((addr, bytes)) = receiver.recv() => {
                let client = Client { transport: Transport::Udp, addr };
                shell.server.handle_message(Instant::now(), client, &bytes);
            }
            Some(arrived) = queue.recv() => shell.handle(arrived),
            Some(stream) = streams.recv() => shell.open_stream(stream),
            () = timer => shell.server.handle_timeout(Instant::now()),
        }
        while let Some(output) = shell.server.poll_output() {
            shell.execute(output);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let streams = self.streams.values().map(|stream| &stream.task);
        let relays = self.relays.values().map(|relay| &relay.task);
        streams.chain(relays).for_each(JoinHandle::abort);
    }
}

impl Shell {
    fn handle(&mut self, arrived: Arrived) {
        let now = Instant::now();
        match arrived {
            Arrived::Stream(client, bytes) => self.server.handle_message(now, client, &bytes),
            Arrived::StreamGone(client) => {
                self.streams.remove(&client);
                self.server.handle_stream_gone(now, client);
            }
            Arrived::Relay(relay, peer, bytes) => {
                self.server.handle_relay_data(now, relay, peer, &bytes);
            }
        }
    }

    fn open_stream(&mut self, stream: TurnStream) {
        let client = Client {
            transport: Transport::Stream(self.next_stream),
            addr: stream.peer,
        };
        self.next_stream += 1;
        if !self.server.handle_stream(Instant::now(), client) {
            debug!("too many TURN streams");
            return;
        }
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        let arrived = self.arrived.clone();
        let task = tokio::spawn(async move {
            let (read, write) = tokio::io::split(stream.io);
            tokio::select! {
                () = read_stream(read, client, &arrived) => {}
                () = write_stream(write, queue) => {}
            }
            // Fails only when the relay is gone as well.
            let _ = arrived.send(Arrived::StreamGone(client)).await;
        });
        self.streams.insert(client, Stream { outgoing, task });
    }

    fn execute(&mut self, output: TurnOutput) {
        match output {
            TurnOutput::Send { client, bytes } => self.send(client, bytes),
            TurnOutput::OpenRelay { relay, is_ipv6 } => {
                let relayed = match self.open_relay(relay, is_ipv6) {
                    Ok(relayed) => Some(relayed),
                    Err(error) => {
                        debug!(%error, "no socket for a relay");
                        None
                    }
                };
                self.server
                    .handle_relay_opened(Instant::now(), relay, relayed);
            }
            TurnOutput::CloseRelay { relay } => {
                if let Some(relay) = self.relays.remove(&relay) {
                    relay.task.abort();
                }
            }
            TurnOutput::Relay { relay, peer, bytes } => {
                trace!(bytes = bytes.len(), "relayed");
                if let Some(relay) = self.relays.get(&relay)
                    && let Err(error) = relay.socket.try_send_to(&bytes, peer)
                {
                    trace!(%error, "not relayed");
                }
            }
            TurnOutput::CloseStream { client } => {
                if let Some(stream) = self.streams.remove(&client) {
                    stream.task.abort();
                }
            }
        }
    }

    fn send(&self, client: Client, bytes: Bytes) {
        match client.transport {
            Transport::Udp => {
                if let Err(error) = self.socket.send_to(&bytes, client.addr) {
                    trace!(%error, "not sent");
                }
            }
            Transport::Stream(_) => {
                let stream = self.streams.get(&client);
                if stream.is_some_and(|stream| stream.outgoing.try_send(bytes).is_err()) {
                    trace!("a slow stream lost a message");
                }
            }
        }
    }

    fn open_relay(&mut self, relay: RelayId, is_ipv6: bool) -> std::io::Result<SocketAddr> {
        let address = self
            .addresses
            .iter()
            .find(|address| address.public.is_ipv6() == is_ipv6)
            .ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let socket = std::net::UdpSocket::bind((address.bind, 0))?;
        socket.set_nonblocking(true)?;
        let options = socket2::SockRef::from(&socket);
        // Best effort: the system caps both.
        let _ = options.set_recv_buffer_size(RELAY_BUFFER_BYTES);
        let _ = options.set_send_buffer_size(RELAY_BUFFER_BYTES);
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let relayed = SocketAddr::new(address.public, socket.local_addr()?.port());
        let task = tokio::spawn(read_relay(Arc::clone(&socket), relay, self.arrived.clone()));
        self.relays.insert(relay, Relay { socket, task });
        Ok(relayed)
    }
}

async fn read_stream(
    mut read: impl AsyncRead + Unpin,
    client: Client,
    arrived: &mpsc::Sender<Arrived>,
) {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        match read.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        loop {
            match next_message(&mut buffer) {
                Ok(Some(message)) => {
                    if arrived
                        .send(Arrived::Stream(client, message))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    debug!("a stream stopped speaking TURN");
                    return;
                }
            }
        }
        buffer.reserve(READ_BYTES);
    }
}

async fn write_stream(mut write: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = queue.recv().await {
        let writing = async {
            write.write_all(&bytes).await?;
            // Whatever is queued shares the flush, and with TLS the system call.
            while let Ok(bytes) = queue.try_recv() {
                write.write_all(&bytes).await?;
            }
            write.flush().await
        };
        if !matches!(timeout(WRITE_TIMEOUT, writing).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read_relay(socket: Arc<UdpSocket>, relay: RelayId, arrived: mpsc::Sender<Arrived>) {
    let mut buffer = [0; DATAGRAM_BYTES];
    loop {
        match socket.recv_from(&mut buffer).await {
            // A full buffer is the beginning of something larger.
            Ok((len, _)) if len == buffer.len() => {}
            Ok((len, peer)) => {
                let bytes = Bytes::copy_from_slice(&buffer[..len]);
                let arrived = arrived.try_send(Arrived::Relay(relay, peer, bytes));
                if let Err(mpsc::error::TrySendError::Closed(_)) = arrived {
                    return;
                }
            }
            // Some systems report a peer's ICMP answer here; it concerns no later datagram.
            Err(error) => {
                trace!(%error, "receive failed");
                tokio::task::yield_now().await;
            }
        }
    }
}
