//! The UDP sockets of the media port: binding one per shard, receiving in batches.
//!
//! Receiving uses GRO and `recvmmsg` where the system has them (quinn-udp). A socket bound to
//! `[::]` serves IPv4 as well; addresses are IPv4 ones everywhere else and become mapped ones only
//! here. Sending is in [`super::egress`].

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{debug, trace};

/// Socket buffers asked for, in bytes; the system may grant less. A keyframe for 50 members is
/// some 3 MB at once.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes one buffer of a batch holds: what GRO may coalesce, or one datagram.
const GRO_BYTES: usize = 64 * 1024;
/// Larger datagrams are cut where there is no GRO; no member sends any.
const DATAGRAM_BYTES: usize = 2 * 1024;
/// Batches received before anything else is done.
const BATCHES_PER_TURN: usize = 4;

/// A datagram cannot have waited longer than this to be read; if it seems so, somebody set the clock.
const LATE_READ: Duration = Duration::from_secs(1);

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    /// When it came, never later than now.
    pub(super) arrived: Instant,
    pub(super) from: SocketAddr,
    /// Own address; unspecified where the system does not tell.
    pub(super) to: IpAddr,
    pub(super) bytes: &'a [u8],
}

/// One socket of the media port.
pub(super) struct MediaSocket {
    pub(super) socket: mio::net::UdpSocket,
    pub(super) state: UdpSocketState,
    /// Bound to an IPv6 address: IPv4 destinations must be mapped.
    pub(super) is_v6: bool,
    local: SocketAddr,
    buffer_bytes: usize,
    buffers: Vec<u8>,
}

/// Binds `count` sockets to one address. With port 0 all share the port the first one gets.
pub(super) fn bind(addr: SocketAddr, count: usize) -> io::Result<Vec<std::net::UdpSocket>> {
    if count > 1 && addr.port() != 0 {
        // Shared ports are taken silently, even from another server: notice that one is there.
        drop(bind_one(addr, false)?);
    }
    let first = bind_one(addr, count > 1)?;
    let addr = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < count {
        sockets.push(bind_one(addr, true)?);
    }
    Ok(sockets)
}

fn bind_one(addr: SocketAddr, is_shared: bool) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(is_shared)?;
    #[cfg(not(target_os = "linux"))]
    debug_assert!(!is_shared, "only Linux spreads datagrams over sockets");
    for result in [
        socket.set_recv_buffer_size(BUFFER_BYTES),
        socket.set_send_buffer_size(BUFFER_BYTES),
    ] {
        if let Err(error) = result {
            debug!(%error, "socket buffer not enlarged");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

impl MediaSocket {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let buffer_bytes = if state.gro_segments() > 1 {
            GRO_BYTES
        } else {
            DATAGRAM_BYTES
        };
        Ok(Self {
            socket: mio::net::UdpSocket::from_std(socket),
            state,
            is_v6: local.is_ipv6(),
            local,
            buffer_bytes,
            buffers: vec![0; buffer_bytes * BATCH_SIZE],
        })
    }

    /// Receives what is there, some batches at most; true where more may wait.
    pub(super) fn receive(&mut self, now: Instant, mut each: impl FnMut(Received<'_>)) -> bool {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        for _ in 0..BATCHES_PER_TURN {
            let mut meta = [RecvMeta::default(); BATCH_SIZE];
            let mut chunks = self.buffers.chunks_mut(self.buffer_bytes);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
                IoSliceMut::new(chunks.next().expect("invariant: a buffer per message"))
            });
            let (socket, state) = (&self.socket, &self.state);
            let received =
                socket.try_io(|| state.recv(UdpSockRef::from(socket), &mut slices, &mut meta));
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Some systems report a peer's ICMP answer here; it concerns no later datagram.
                Err(error) => {
                    debug!(%error, "receive failed");
                    continue;
                }
            };
            for (meta, buffer) in meta.iter().zip(&slices).take(count) {
                let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
                let to = meta.dst_ip.unwrap_or(self.local.ip()).to_canonical();
                let stride = meta.stride.max(1);
                let bytes = &buffer[..meta.len.min(buffer.len())];
                let arrived = arrived_at(now, wall, meta.timestamp);
                for bytes in bytes.chunks(stride) {
                    trace!(len = bytes.len(), "datagram");
                    each(Received {
                        arrived,
                        from,
                        to,
                        bytes,
                    });
                }
            }
        }
        true
    }

    /// An address in the form this socket sends to.
    pub(super) fn destination(&self, address: SocketAddr) -> SocketAddr {
        match (self.is_v6, address.ip()) {
            (true, IpAddr::V4(ip)) => {
                SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), address.port())
            }
            _ => address,
        }
    }
}

/// When a datagram arrived: what the system `noted`, where it does, because this thread may have been
/// waiting for a processor since, which would look like a queue on the member's path. `wall` is what
/// the system's clock says `now`.
fn arrived_at(now: Instant, wall: Option<Duration>, noted: Option<Duration>) -> Instant {
    let age = wall
        .zip(noted)
        .map(|(wall, noted)| wall.saturating_sub(noted))
        .filter(|age| *age < LATE_READ);
    age.and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_arrived_when_the_system_says() {
        const S: Duration = Duration::from_secs(1);
        let (now, wall) = (Instant::now() + 100 * S, 1_000 * S);
        let ms = Duration::from_millis;
        for (noted, age) in [
            (Some(wall - ms(30)), ms(30)),
            (Some(wall + ms(1)), ms(0)),
            // The clock was set in between.
            (Some(wall - 100 * S), ms(0)),
            (None, ms(0)),
        ] {
            assert_eq!(arrived_at(now, Some(wall), noted), now - age, "{noted:?}");
        }
    }

    #[test]
    fn what_waited_to_be_read_did_not_arrive_late() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = bind(address, 1).unwrap().remove(0);
        let to = bound.local_addr().unwrap();
        let mut socket = MediaSocket::new(bound).unwrap();
        let sender = std::net::UdpSocket::bind(address).unwrap();
        let sent = Instant::now();
        sender.send_to(b"hello", to).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let mut arrived = None;
        socket.receive(Instant::now(), |datagram| {
            assert_eq!(datagram.bytes, b"hello");
            arrived = Some(datagram.arrived);
        });
        let waited = arrived.unwrap().saturating_duration_since(sent);
        let is_noted = cfg!(target_os = "linux");
        assert_eq!(waited < Duration::from_millis(100), is_noted, "{waited:?}");
    }
}
