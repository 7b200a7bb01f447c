//! When packets arrived by the system's account, not when this process came to read them.
//!
//! A process that waits for a processor reads late, and what it reports to the peer would look like a
//! queue on the path: the peer would send less. So the socket notes the system's time of every
//! media packet it reads ([`StampedSocket`]), and the interceptor nearest to the wire looks it up by
//! stream and number, which are not encrypted. Whatever is not known is as late as it was read.
//!
//! Invariants: [`SLOTS`] packets are remembered, newer ones displace older; no packet arrives later
//! than now.
//!
//! Deliberately not here: packets inside TURN's messages, whose relay delays them anyway.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// How late datagrams are read at most; beyond that somebody set the clock.
const LATE_READ: Duration = Duration::from_millis(500);
/// More than one read holds: packets are looked up right after they are noted.
const SLOTS: usize = 256;
/// Fixed part of an RTP header (RFC 3550, section 5.1).
const RTP_HEADER_BYTES: usize = 12;
/// Packet types that are RTCP in the place of RTP's marker and payload type (RFC 5761, section 4).
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 192..=223;

/// When a read's datagrams arrived: what the system noted, where it does.
pub(crate) fn arrived_at(now: Instant, meta: &RecvMeta) -> Instant {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let age = since_1970
        .zip(meta.timestamp)
        .and_then(|(wall, noted)| wall.checked_sub(noted))
        .filter(|age| *age < LATE_READ);
    age.and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

/// Stream and number of an RTP packet.
type Key = (u32, u16);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Arrivals(Mutex<[Option<(Key, Instant)>; SLOTS]>);

impl Default for Arrivals {
    fn default() -> Self {
        Self(Mutex::new([None; SLOTS]))
    }
}

impl Arrivals {
    /// When a packet arrived, `now` if that is not known.
    pub(crate) fn of(&self, now: Instant, ssrc: u32, sequence_number: u16) -> Instant {
        let key = (ssrc, sequence_number);
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match slots[slot(key)] {
            Some((known, at)) if known == key => at.min(now),
            _ => now,
        }
    }

    fn note(&self, datagram: &[u8], at: Instant) {
        if let Some(key) = key_of(datagram) {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            slots[slot(key)] = Some((key, at));
        }
    }
}

/// Packets of one stream follow each other; streams lie anywhere.
fn slot((ssrc, sequence_number): Key) -> usize {
    (usize::from(sequence_number)).wrapping_add(ssrc as usize) % SLOTS
}

fn key_of(datagram: &[u8]) -> Option<Key> {
    let header = datagram.first_chunk::<RTP_HEADER_BYTES>()?;
    let is_rtp = header[0] >> 6 == 2 && !RTCP_TYPES.contains(&header[1]);
    is_rtp.then(|| {
        (
            u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            u16::from_be_bytes([header[2], header[3]]),
        )
    })
}

/// A socket of the stack that notes when media arrived.
#[derive(Debug)]
pub(crate) struct StampedSocket {
    pub(crate) inner: Arc<dyn AsyncUdpSocket>,
    pub(crate) arrivals: Arc<Arrivals>,
}

impl AsyncUdpSocket for StampedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let read = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = read {
            let now = Instant::now();
            for (buffer, meta) in bufs.iter().zip(meta.iter()).take(count) {
                let at = arrived_at(now, meta);
                let bytes = &buffer[..meta.len.min(buffer.len())];
                for datagram in bytes.chunks(meta.stride.max(1)) {
                    self.arrivals.note(datagram, at);
                }
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use webrtc::runtime::{Runtime, TokioRuntime};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rtp(ssrc: u32, sequence_number: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend(sequence_number.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend([7; 20]);
        packet
    }

    #[test]
    fn packets_are_known_by_stream_and_number() {
        let arrivals = Arrivals::default();
        let start = Instant::now();
        for number in 0..=u16::MAX {
            arrivals.note(&rtp(1_000, number), start + MS * u32::from(number));
        }
        let now = start + MS * 70_000;
        assert_eq!(arrivals.of(now, 1_000, u16::MAX), start + MS * 65_535);
        assert_eq!(arrivals.of(start, 1_000, u16::MAX), start, "not later");
        assert_eq!(arrivals.of(now, 1_000, 5), now, "displaced");
        assert_eq!(arrivals.of(now, 1_001, u16::MAX), now, "another stream");
    }

    #[test]
    fn only_rtp_is_noted() {
        assert_eq!(key_of(&rtp(7, 9)), Some((7, 9)));
        let mut rtcp = rtp(7, 9);
        rtcp[1] = 205;
        assert_eq!(key_of(&rtcp), None);
        let mut stun = rtp(7, 9);
        stun[0] = 0;
        assert_eq!(key_of(&stun), None);
        assert_eq!(key_of(&rtp(7, 9)[..11]), None);
        assert_eq!(key_of(&[]), None);
    }

    #[tokio::test]
    async fn what_waited_to_be_read_did_not_arrive_late() {
        let bind = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (sender, receiver) = (bind(), bind());
        receiver.set_nonblocking(true).unwrap();
        let to = receiver.local_addr().unwrap();
        let arrivals = Arc::new(Arrivals::default());
        let socket = StampedSocket {
            inner: TokioRuntime.wrap_udp_socket(receiver).unwrap(),
            arrivals: Arc::clone(&arrivals),
        };
        // Linux begins to stamp a moment after the first socket of the machine asks for it.
        tokio::time::sleep(50 * MS).await;
        let sent = Instant::now();
        sender.send_to(&rtp(7, 9), to).unwrap();
        tokio::time::sleep(200 * MS).await;
        let mut buffer = [0; 2_000];
        socket.recv_from(&mut buffer).await.unwrap();
        let waited = arrivals.of(Instant::now(), 7, 9) - sent;
        let is_noted = cfg!(target_os = "linux");
        assert_eq!(waited < 100 * MS, is_noted, "{waited:?}");
    }
}
