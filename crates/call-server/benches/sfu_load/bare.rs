//! The bare loop: what cannot be left out of forwarding. It receives batches, opens each packet,
//! copies and seals it for each receiver, and sends runs of one receiver's packets coalesced, many
//! per call. No signalling, no retransmission, no estimate, no state but keys and counters.
//!
//! Also the load for it: sockets without WebRTC, as receivers need not open to count.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, IoSlice, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use quinn_udp::{UdpSockRef, UdpSocketState};
use serde::{Deserialize, Serialize};

use super::client::FRAME_PACKETS;
use super::counts::Counts;
use super::load::Receiver;
use super::process::Server;
use super::run::Shape;

/// Bytes of a datagram.
const DATAGRAM_BYTES: usize = 1_200;
/// In the clear, and authenticated: sequence number and phase, 4 bytes each, and 4 of nothing.
const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Datagrams of one message at most, and messages per call.
const MAX_SEGMENTS: usize = 48;
const BATCH: usize = 64;
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Who sends, and to whom it goes.
#[derive(Serialize, Deserialize)]
struct Route {
    from: SocketAddr,
    to: Vec<SocketAddr>,
}

struct Outgoing {
    address: SockaddrStorage,
    key: LessSafeKey,
    counter: u32,
    pending: Vec<u8>,
}

fn key(of: u8) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_128_GCM, &[of; 16]).map_err(|_| anyhow::anyhow!("bad key"))?;
    Ok(LessSafeKey::new(key))
}

fn nonce(counter: u32) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..4].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn counter(datagram: &[u8]) -> u32 {
    datagram
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}

/// The server process; ends by being killed. Its address is the second argument, its routes come as
/// one line of JSON.
pub(crate) fn serve() -> Result<()> {
    let ip: IpAddr = std::env::args().nth(2).context("no address")?.parse()?;
    let mut socket = bind(ip)?;
    println!("{}", socket.local_addr()?);
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let routes: Vec<Route> = serde_json::from_str(&line)?;
    let mut receivers: Vec<Outgoing> = Vec::new();
    let mut known: HashMap<SocketAddr, usize> = HashMap::new();
    let mut table: HashMap<SocketAddr, (LessSafeKey, Vec<usize>)> = HashMap::new();
    for route in routes {
        let mut to = Vec::new();
        for address in route.to {
            let at = *known.entry(address).or_insert(receivers.len());
            if at == receivers.len() {
                receivers.push(Outgoing {
                    address: match address {
                        SocketAddr::V4(address) => address.into(),
                        SocketAddr::V6(address) => address.into(),
                    },
                    key: key(2)?,
                    counter: 0,
                    pending: Vec::new(),
                });
            }
            to.push(at);
        }
        table.insert(route.from, (key(1)?, to));
    }

    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut socket, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(8);
    let mut receiver = Receiver::new();
    let mut headers = MultiHeaders::preallocate(BATCH, Some(cmsg_space!(u16)));
    let mut plain = [0; DATAGRAM_BYTES];
    loop {
        poll.poll(&mut events, None)?;
        receiver.receive(&socket, &state, |from, datagram| {
            let Some((key, to)) = table.get(&from) else {
                return Ok(());
            };
            if datagram.len() != DATAGRAM_BYTES {
                return Ok(());
            }
            let (header, rest) = datagram.split_at(HEADER_BYTES);
            let (sealed, tag) = rest.split_at(rest.len() - TAG_BYTES);
            let plain = &mut plain[..sealed.len()];
            let nonce = nonce(counter(datagram));
            if key
                .open_separate_gather(nonce, Aad::from(header), sealed, tag, plain)
                .is_err()
            {
                return Ok(());
            }
            let mut is_full = false;
            for at in to {
                let receiver = &mut receivers[*at];
                seal(receiver, header, plain)?;
                is_full |= receiver.pending.len() >= MAX_SEGMENTS * DATAGRAM_BYTES;
            }
            if is_full {
                flush(&socket, &mut receivers, &mut headers);
            }
            Ok(())
        })?;
        flush(&socket, &mut receivers, &mut headers);
    }
}

fn seal(receiver: &mut Outgoing, header: &[u8], plain: &[u8]) -> Result<()> {
    receiver.counter = receiver.counter.wrapping_add(1);
    let pending = &mut receiver.pending;
    let start = pending.len();
    pending.extend_from_slice(&receiver.counter.to_be_bytes());
    pending.extend_from_slice(&header[4..]);
    pending.extend_from_slice(plain);
    let (header, body) = pending[start..].split_at_mut(HEADER_BYTES);
    let tag = receiver
        .key
        .seal_in_place_separate_tag(nonce(receiver.counter), Aad::from(&*header), body)
        .map_err(|_| anyhow::anyhow!("not sealed"))?;
    pending.extend_from_slice(tag.as_ref());
    Ok(())
}

fn flush(
    socket: &UdpSocket,
    receivers: &mut [Outgoing],
    headers: &mut MultiHeaders<SockaddrStorage>,
) {
    let due: Vec<usize> = (0..receivers.len())
        .filter(|at| !receivers[*at].pending.is_empty())
        .collect();
    let segment = u16::try_from(DATAGRAM_BYTES).unwrap_or(u16::MAX);
    for batch in due.chunks(BATCH) {
        let slices: Vec<[IoSlice<'_>; 1]> = batch
            .iter()
            .map(|at| [IoSlice::new(&receivers[*at].pending)])
            .collect();
        let addresses: Vec<Option<SockaddrStorage>> = batch
            .iter()
            .map(|at| Some(receivers[*at].address))
            .collect();
        let mut at = 0;
        while at < slices.len() {
            let sent = sendmmsg(
                socket.as_raw_fd(),
                headers,
                &slices[at..],
                &addresses[at..],
                [ControlMessage::UdpGsoSegments(&segment)],
                MsgFlags::empty(),
            );
            match sent.map(Iterator::count) {
                Ok(count) => at += count.max(1),
                Err(Errno::EINTR) => {}
                // Loss, and shows as such.
                Err(_) => at += 1,
            }
        }
    }
    for at in due {
        receivers[at].pending.clear();
    }
}

fn bind(ip: IpAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
    let buffers = socket2::SockRef::from(&socket);
    buffers.set_recv_buffer_size(BUFFER_BYTES)?;
    buffers.set_send_buffer_size(BUFFER_BYTES)?;
    Ok(socket)
}

/// Starts the server process.
pub(crate) fn start(ip: IpAddr) -> Result<(Server, SocketAddr)> {
    let program = std::env::current_exe()?;
    let mut server = Server::start(Command::new(program).args(["bare-loop", &ip.to_string()]))?;
    let stdout = server.child().stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line.trim().parse().context("the bare loop did not start")?;
    Ok((server, address))
}

/// The load for it; ends when dropped.
pub(crate) struct BareLoad {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl BareLoad {
    pub(crate) fn start(
        server: &mut Server,
        to: SocketAddr,
        shape: Shape,
        counts: Arc<Counts>,
        frames_per_s: u32,
    ) -> Result<Self> {
        let sockets: Vec<UdpSocket> = (0..shape.members())
            .map(|_| bind(to.ip()))
            .collect::<Result<_>>()?;
        let addresses: Vec<SocketAddr> = sockets
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<io::Result<_>>()?;
        let routes: Vec<Route> = addresses[..shape.publishers]
            .iter()
            .map(|from| Route {
                from: *from,
                to: addresses.iter().filter(|to| *to != from).copied().collect(),
            })
            .collect();
        let mut stdin = server.child().stdin.take().context("no input")?;
        writeln!(stdin, "{}", serde_json::to_string(&routes)?)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || run(sockets, to, shape, &counts, frames_per_s, &over))?;
        Ok(Self {
            is_over,
            thread: Some(thread),
        })
    }
}

impl Drop for BareLoad {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("load ended: {error:#}");
        }
    }
}

fn run(
    mut sockets: Vec<UdpSocket>,
    to: SocketAddr,
    shape: Shape,
    counts: &Counts,
    frames_per_s: u32,
    is_over: &AtomicBool,
) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut states = Vec::new();
    for (key, socket) in sockets.iter_mut().enumerate() {
        states.push(UdpSocketState::new(UdpSockRef::from(&*socket))?);
        poll.registry()
            .register(socket, Token(key), Interest::READABLE)?;
    }
    let interval = Duration::from_secs(1) / frames_per_s;
    let gap = interval / u32::try_from(shape.publishers)?;
    let start = Instant::now();
    let mut frames: Vec<Instant> = (0..)
        .take(shape.publishers)
        .map(|index| start + gap * index)
        .collect();
    let mut events = Events::with_capacity(256);
    let mut receiver = Receiver::new();
    let key = key(1)?;
    let mut sequence: u32 = 0;
    while !is_over.load(Relaxed) {
        let now = Instant::now();
        let next = frames.iter().min().copied().unwrap_or(now);
        let wait = next.saturating_duration_since(now);
        poll.poll(&mut events, Some(wait))?;
        for event in &events {
            let Token(at) = event.token();
            receiver.receive(&sockets[at], &states[at], |_, datagram| {
                counts.count_received(counter(&datagram[4..]));
                Ok(())
            })?;
        }
        let now = Instant::now();
        for (at, socket) in frames.iter_mut().zip(&sockets) {
            if *at > now {
                continue;
            }
            *at = (*at + interval).max(now - interval);
            let phase = counts.phase();
            for _ in 0..FRAME_PACKETS {
                sequence = sequence.wrapping_add(1);
                let mut datagram = vec![0x5a; DATAGRAM_BYTES - TAG_BYTES];
                datagram[..4].copy_from_slice(&sequence.to_be_bytes());
                datagram[4..8].copy_from_slice(&phase.to_be_bytes());
                let (header, body) = datagram.split_at_mut(HEADER_BYTES);
                let tag = key
                    .seal_in_place_separate_tag(nonce(sequence), Aad::from(&*header), body)
                    .map_err(|_| anyhow::anyhow!("not sealed"))?;
                datagram.extend_from_slice(tag.as_ref());
                // A full buffer is loss, and shows as such.
                let _ = socket.send_to(&datagram, to);
                counts.count_sent(phase);
            }
        }
    }
    Ok(())
}
