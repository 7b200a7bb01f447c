//! TURN over TCP and TLS for a stack that speaks it over UDP only.
//!
//! A shim is a local UDP socket per URL. Each socket of the stack that sends to it gets a
//! connection to the server of its own, over which the messages travel as RFC 8656 frames them:
//! STUN as it is, ChannelData padded to four bytes. The stack is told the shim's address instead of
//! the server's and notices nothing.
//!
//! A relay over UDP is better where it works, and the stack takes relays to be equal; so a shim
//! first waits a moment, more for TLS, which comes later in a list. Shims end with their
//! [`TurnShims`]. A connection that ends is made anew when the stack sends again, which it does
//! until its request times out.
//!
//! Every queue is bounded and drops the newest, as a network would. Deliberately not here: TURN
//! itself, and DTLS (`turns` over UDP), which the stack is left to skip.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::config::IceServer;

/// By this much each URL that is not UDP waits longer than the one before it.
const WAIT: Duration = Duration::from_millis(700);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that takes nothing for this long is over; ICE has given it up before.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Sockets of the stack (one per interface) a shim serves at once.
const SOURCES: usize = 8;
/// Shims of one link.
const SHIMS: usize = 4;
/// Datagrams waiting for a connection.
const QUEUE: usize = 256;
const DATAGRAM_BYTES: usize = 2_048;
const READ_BYTES: usize = 16 * 1024;
const DEFAULT_PORT: u16 = 3478;
const DEFAULT_TLS_PORT: u16 = 5349;

/// The shims of one link; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct TurnShims {
    shims: BTreeMap<String, (SocketAddr, JoinSet<()>)>,
    tls: Arc<rustls::ClientConfig>,
}

/// Where a URL leads that needs a shim.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    is_tls: bool,
}

impl TurnShims {
    /// `tls` has the roots that certificates of `turns` servers are checked against.
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            shims: BTreeMap::new(),
            tls,
        }
    }

    /// The servers as the stack can use them. Shims of URLs seen before stay as they are, those of
    /// URLs that are gone end. Must run on a tokio runtime.
    pub(crate) fn rewrite(&mut self, servers: &[IceServer]) -> Vec<IceServer> {
        let urls = || servers.iter().flat_map(|server| &server.urls);
        self.shims
            .retain(|url, _| urls().any(|wanted| wanted == url));
        let has_udp = urls().any(|url| url.starts_with("turn:") && target(url).is_none());
        let mut turns = u32::from(has_udp);
        servers
            .iter()
            .map(|server| IceServer {
                urls: server
                    .urls
                    .iter()
                    .map(|url| self.rewrite_url(url, &mut turns))
                    .collect(),
                ..server.clone()
            })
            .collect()
    }

    fn rewrite_url(&mut self, url: &str, turns: &mut u32) -> String {
        let Some(target) = target(url) else {
            return url.to_owned();
        };
        let wait = WAIT * *turns;
        *turns += 1;
        let addr = match self.shims.get(url) {
            Some((addr, _)) => *addr,
            None if self.shims.len() >= SHIMS => return url.to_owned(),
            None => match self.start(url, target, wait) {
                Ok(addr) => addr,
                Err(error) => {
                    tracing::debug!(%error, "no socket for TURN over a stream");
                    // The stack skips it.
                    return url.to_owned();
                }
            },
        };
        format!("turn:{addr}?transport=udp")
    }

    fn start(&mut self, url: &str, target: Target, wait: Duration) -> io::Result<SocketAddr> {
        let socket = bind()?;
        let addr = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let mut tasks = JoinSet::new();
        let way = Arc::new(Way {
            target,
            wait,
            tls: Arc::clone(&self.tls),
        });
        tasks.spawn(run(socket, way));
        self.shims.insert(url.to_owned(), (addr, tasks));
        Ok(addr)
    }
}

/// What every connection of a shim needs.
struct Way {
    target: Target,
    wait: Duration,
    tls: Arc<rustls::ClientConfig>,
}

/// `None`: no TURN URL (RFC 7065), or one the stack can use as it is, or has to skip.
fn target(url: &str) -> Option<Target> {
    let (scheme, rest) = url.split_once(':')?;
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "turn" => false,
        "turns" => true,
        _ => return None,
    };
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_stream = match query.strip_prefix("transport=") {
        Some(transport) => transport.eq_ignore_ascii_case("tcp"),
        None => is_tls && query.is_empty(),
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => match address.find(':') {
            Some(colon) => address.split_at(colon),
            None => (address, ""),
        },
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if !port.is_empty() => return None,
        None if is_tls => DEFAULT_TLS_PORT,
        None => DEFAULT_PORT,
    };
    (is_stream && !host.is_empty()).then(|| Target {
        host: host.to_owned(),
        port,
        is_tls,
    })
}

/// On loopback, unless sockets bound to an interface, as the stack's are, cannot reach it there,
/// which some systems forbid.
fn bind() -> io::Result<std::net::UdpSocket> {
    let shim = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let Some(interface) = interface() else {
        return Ok(shim);
    };
    let probe = std::net::UdpSocket::bind((interface, 0))?;
    match probe.send_to(&[], shim.local_addr()?) {
        Ok(_) => Ok(shim),
        Err(_) => std::net::UdpSocket::bind((interface, 0)),
    }
}

/// The address by which this machine goes out; nothing is sent.
fn interface() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Others must not use the shim from afar.
fn is_own(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// Hands datagrams to the connection of their sender.
async fn run(socket: Arc<UdpSocket>, way: Arc<Way>) {
    let mut sources: BTreeMap<SocketAddr, mpsc::Sender<Bytes>> = BTreeMap::new();
    let mut connections = JoinSet::new();
    let mut buffer = [0; DATAGRAM_BYTES];
    loop {
        let (len, from) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // Some systems report an earlier datagram's fate here.
                Err(error) => {
                    tracing::trace!(%error, "receive failed");
                    tokio::task::yield_now().await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => {
                sources.retain(|_, queue| !queue.is_closed());
                continue;
            }
        };
        let Some(frame) = frame(&buffer[..len]) else {
            continue;
        };
        if let Some(queue) = sources.get(&from) {
            // Full or over: dropped, as on any way.
            let _ = queue.try_send(frame);
            continue;
        }
        if sources.len() >= SOURCES || !is_own(from.ip()) {
            continue;
        }
        let (sender, queue) = mpsc::channel(QUEUE);
        let _ = sender.try_send(frame);
        sources.insert(from, sender);
        let (socket, way) = (Arc::clone(&socket), Arc::clone(&way));
        connections.spawn(async move {
            if let Err(error) = connect(&way, queue, &socket, from).await {
                tracing::debug!(%error, "TURN over a stream ended");
            }
        });
    }
}

async fn connect(
    way: &Way,
    queue: mpsc::Receiver<Bytes>,
    socket: &UdpSocket,
    client: SocketAddr,
) -> io::Result<()> {
    let Target { host, port, is_tls } = &way.target;
    sleep(way.wait).await;
    let connecting = async {
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let stream = timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)
        .map_err(io::Error::from)
        .and_then(|connected: io::Result<TcpStream>| connected)?;
    if !is_tls {
        return carry(stream, queue, socket, client).await;
    }
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::clone(&way.tls));
    let handshake = connector.connect(name, stream);
    let stream = timeout(CONNECT_TIMEOUT, handshake)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    carry(stream, queue, socket, client).await
}

/// Both directions, until one ends.
async fn carry(
    stream: impl AsyncRead + AsyncWrite,
    queue: mpsc::Receiver<Bytes>,
    socket: &UdpSocket,
    client: SocketAddr,
) -> io::Result<()> {
    let (read, write) = tokio::io::split(stream);
    tokio::select! {
        ended = carry_out(write, queue) => ended,
        ended = carry_in(read, socket, client) => ended,
    }
}

async fn carry_out(
    mut write: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    while let Some(frame) = queue.recv().await {
        let writing = async {
            write.write_all(&frame).await?;
            while let Ok(frame) = queue.try_recv() {
                write.write_all(&frame).await?;
            }
            write.flush().await
        };
        timeout(WRITE_TIMEOUT, writing)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
    Ok(())
}

async fn carry_in(
    mut read: impl AsyncRead + Unpin,
    socket: &UdpSocket,
    client: SocketAddr,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        if read.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(message) = next_message(&mut buffer)? {
            // Gone sockets and full buffers drop, as on any way.
            let _ = socket.send_to(&message, client).await;
        }
        buffer.reserve(READ_BYTES);
    }
}

/// A datagram of the stack as it travels on a stream; `None`: neither STUN nor ChannelData.
fn frame(datagram: &[u8]) -> Option<Bytes> {
    let (message, padded) = lengths(datagram)?.ok()?;
    let mut frame = BytesMut::from(datagram.get(..message)?);
    frame.resize(padded, 0);
    Some(frame.freeze())
}

/// The next whole message, without padding.
fn next_message(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(lengths) = lengths(buffer) else {
        return Ok(None);
    };
    let (message, padded) = lengths?;
    if buffer.len() < padded {
        return Ok(None);
    }
    let bytes = buffer.split_to(message).freeze();
    buffer.advance(padded - message);
    Ok(Some(bytes))
}

/// Bytes of the message that begins here, without and with padding (RFC 8656, section 12.5).
/// `None`: too little to tell.
fn lengths(bytes: &[u8]) -> Option<io::Result<(usize, usize)>> {
    let head = bytes.first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    Some(match head[0] {
        0x00..=0x3f => Ok((20 + length, 20 + length)),
        0x40..=0x4f => Ok((4 + length, (4 + length).next_multiple_of(4))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    })
}

#[cfg(test)]
#[path = "turn_shim_tests.rs"]
mod tests;
