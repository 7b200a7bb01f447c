//! The send path: collects what one turn of a shard sends, coalesces runs of equal size towards one
//! address (UDP GSO), and hands the system many of them at once (`sendmmsg`).
//!
//! Order towards one address is kept. Nothing waits: when the system takes no more, the rest of the
//! turn is dropped and counted, and members repair it as any loss. Bounded by [`FLUSH_AT`], at
//! which a shard flushes in the middle of its turn.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use str0m::net::DatagramSend;

use super::socket::MediaSocket;

/// Datagrams collected at most before they are sent.
pub(super) const FLUSH_AT: usize = 2_048;
/// Linux coalesces no more segments than this into one message.
const MAX_SEGMENTS: usize = 64;
/// Bytes of one coalesced message, below what IPv4 can carry.
const MAX_MESSAGE_BYTES: usize = 60_000;

struct Outgoing {
    /// Key of the receiving link: datagrams of one link are sent together.
    link: usize,
    source: IpAddr,
    destination: SocketAddr,
    contents: DatagramSend,
}

/// A run of datagrams sent as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    /// How many messages go to the same link before it.
    round: usize,
    /// Size of all segments but the last, which may be smaller; 0 for a single datagram.
    segment: usize,
    datagrams: Range<usize>,
}

/// What waits to be sent.
pub(super) struct Egress {
    datagrams: Vec<Outgoing>,
    messages: Vec<Message>,
    sender: Sender,
    max_segments: usize,
}

impl Egress {
    /// `pins_source`: whether replies must leave from the address they were asked at.
    pub(super) fn new(socket: &MediaSocket, pins_source: bool) -> Self {
        Self {
            datagrams: Vec::new(),
            messages: Vec::new(),
            sender: Sender::new(pins_source),
            max_segments: socket.state.max_gso_segments().clamp(1, MAX_SEGMENTS),
        }
    }

    pub(super) fn push(
        &mut self,
        link: usize,
        source: IpAddr,
        destination: SocketAddr,
        contents: DatagramSend,
    ) {
        self.datagrams.push(Outgoing {
            link,
            source,
            destination,
            contents,
        });
    }

    pub(super) fn is_full(&self) -> bool {
        self.datagrams.len() >= FLUSH_AT
    }

    /// Sends everything; returns how many datagrams were dropped.
    pub(super) fn flush(&mut self, socket: &MediaSocket) -> u64 {
        if self.datagrams.is_empty() {
            return 0;
        }
        self.datagrams.sort_by_key(|datagram| datagram.link);
        self.messages.clear();
        plan(&self.datagrams, self.max_segments, &mut self.messages);
        // One call sends messages of one segment size. Rounds keep the order of each link.
        self.messages
            .sort_by_key(|message| (message.round, message.segment));
        let dropped = self.sender.send(socket, &self.datagrams, &self.messages);
        self.datagrams.clear();
        dropped
    }
}

fn plan(datagrams: &[Outgoing], max_segments: usize, messages: &mut Vec<Message>) {
    let mut start = 0;
    let mut round = 0;
    while let Some(first) = datagrams.get(start) {
        let size = first.contents.len();
        let mut end = start + 1;
        let mut bytes = size;
        while let Some(next) = datagrams.get(end) {
            let len = next.contents.len();
            let fits = next.link == first.link
                && next.destination == first.destination
                && next.source == first.source
                && len <= size
                && len > 0
                && end - start < max_segments
                && bytes + len <= MAX_MESSAGE_BYTES;
            if !fits {
                break;
            }
            end += 1;
            bytes += len;
            if len < size {
                break;
            }
        }
        messages.push(Message {
            round,
            segment: if end - start > 1 { size } else { 0 },
            datagrams: start..end,
        });
        let is_same_link = datagrams
            .get(end)
            .is_some_and(|next| next.link == first.link);
        round = if is_same_link { round + 1 } else { 0 };
        start = end;
    }
}

struct Sender {
    pins_source: bool,
    buffer: Vec<u8>,
    #[cfg(target_os = "linux")]
    batch: linux::Batch,
}

impl Sender {
    fn new(pins_source: bool) -> Self {
        Self {
            pins_source,
            buffer: Vec::new(),
            #[cfg(target_os = "linux")]
            batch: linux::Batch::new(),
        }
    }

    fn send(&mut self, socket: &MediaSocket, all: &[Outgoing], messages: &[Message]) -> u64 {
        #[cfg(target_os = "linux")]
        if !self.pins_source {
            return self.batch.send(socket, all, messages);
        }
        self.send_each(socket, all, messages)
    }

    /// One call per message.
    fn send_each(&mut self, socket: &MediaSocket, all: &[Outgoing], messages: &[Message]) -> u64 {
        let mut dropped = 0;
        for message in messages {
            let run = &all[message.datagrams.clone()];
            let contents: &[u8] = match run {
                [single] => &single.contents,
                run => {
                    self.buffer.clear();
                    for datagram in run {
                        self.buffer.extend_from_slice(&datagram.contents);
                    }
                    &self.buffer
                }
            };
            let transmit = quinn_udp::Transmit {
                destination: socket.destination(run[0].destination),
                ecn: None,
                contents,
                segment_size: (message.segment > 0).then_some(message.segment),
                src_ip: self.pins_source.then_some(run[0].source),
            };
            let sent = socket.socket.try_io(|| {
                socket
                    .state
                    .try_send(quinn_udp::UdpSockRef::from(&socket.socket), &transmit)
            });
            if sent.is_err() {
                dropped += run.len() as u64;
            }
        }
        dropped
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::IoSlice;
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use nix::cmsg_space;
    use nix::errno::Errno;
    use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

    use super::{MediaSocket, Message, Outgoing};

    /// Messages handed to the system at once.
    const BATCH: usize = 64;

    fn storage(address: SocketAddr) -> SockaddrStorage {
        match address {
            SocketAddr::V4(address) => address.into(),
            SocketAddr::V6(address) => address.into(),
        }
    }

    /// Prepared headers for `sendmmsg`.
    pub(super) struct Batch {
        singles: MultiHeaders<SockaddrStorage>,
        coalesced: MultiHeaders<SockaddrStorage>,
    }

    impl Batch {
        pub(super) fn new() -> Self {
            Self {
                singles: MultiHeaders::preallocate(BATCH, None),
                coalesced: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(u16))),
            }
        }

        pub(super) fn send(
            &mut self,
            socket: &MediaSocket,
            all: &[Outgoing],
            messages: &[Message],
        ) -> u64 {
            let slices: Vec<IoSlice<'_>> = all
                .iter()
                .map(|datagram| IoSlice::new(&datagram.contents))
                .collect();
            let mut dropped = 0;
            for same in messages
                .chunk_by(|one, other| one.round == other.round && one.segment == other.segment)
                .flat_map(|same| same.chunks(BATCH))
            {
                let runs: Vec<&[IoSlice<'_>]> = same
                    .iter()
                    .map(|message| &slices[message.datagrams.clone()])
                    .collect();
                let addresses: Vec<Option<SockaddrStorage>> = same
                    .iter()
                    .map(|message| all[message.datagrams.start].destination)
                    .map(|destination| Some(storage(socket.destination(destination))))
                    .collect();
                dropped += self.send_same(socket, &runs, &addresses, same[0].segment);
            }
            dropped
        }

        fn send_same(
            &mut self,
            socket: &MediaSocket,
            runs: &[&[IoSlice<'_>]],
            addresses: &[Option<SockaddrStorage>],
            segment: usize,
        ) -> u64 {
            let fd = socket.socket.as_raw_fd();
            let segment = u16::try_from(segment).unwrap_or(u16::MAX);
            let mut dropped = 0;
            let mut at = 0;
            while at < runs.len() {
                let flags = MsgFlags::empty();
                let sent = if segment == 0 {
                    sendmmsg(
                        fd,
                        &mut self.singles,
                        &runs[at..],
                        &addresses[at..],
                        [],
                        flags,
                    )
                    .map(Iterator::count)
                } else {
                    let cmsgs = [ControlMessage::UdpGsoSegments(&segment)];
                    sendmmsg(
                        fd,
                        &mut self.coalesced,
                        &runs[at..],
                        &addresses[at..],
                        cmsgs,
                        flags,
                    )
                    .map(Iterator::count)
                };
                match sent {
                    Ok(count) => at += count.max(1),
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => {
                        dropped += runs[at..].iter().map(|run| run.len() as u64).sum::<u64>();
                        break;
                    }
                    // Concerns the first message only: no route, or an ICMP answer to an older one.
                    Err(_) => {
                        dropped += runs[at].len() as u64;
                        at += 1;
                    }
                }
            }
            dropped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(link: usize, len: usize) -> Outgoing {
        Outgoing {
            link,
            source: IpAddr::from([127, 0, 0, 1]),
            destination: SocketAddr::from(([127, 0, 0, 1], u16::try_from(link).unwrap())),
            contents: vec![u8::try_from(len % 251).unwrap(); len].into(),
        }
    }

    fn planned(datagrams: &[(usize, usize)], max_segments: usize) -> Vec<(usize, usize, usize)> {
        let datagrams: Vec<Outgoing> = datagrams
            .iter()
            .map(|(link, len)| datagram(*link, *len))
            .collect();
        let mut messages = Vec::new();
        plan(&datagrams, max_segments, &mut messages);
        let mut covered = 0;
        for message in &messages {
            assert_eq!(message.datagrams.start, covered, "every datagram once");
            covered = message.datagrams.end;
        }
        assert_eq!(covered, datagrams.len());
        messages
            .into_iter()
            .map(|message| (message.round, message.segment, message.datagrams.len()))
            .collect()
    }

    #[test]
    fn equal_sizes_to_one_link_are_coalesced() {
        assert_eq!(planned(&[], 64), []);
        assert_eq!(planned(&[(1, 100)], 64), [(0, 0, 1)]);
        assert_eq!(
            planned(&[(1, 100), (1, 100), (1, 40), (1, 40)], 64),
            [(0, 100, 3), (1, 0, 1)],
            "a smaller one ends a run"
        );
        assert_eq!(
            planned(&[(1, 40), (1, 100), (2, 100), (2, 100)], 64),
            [(0, 0, 1), (1, 0, 1), (0, 100, 2)],
            "a larger one or another link begins one"
        );
        assert_eq!(
            planned(&[(1, 9); 5], 2),
            [(0, 9, 2), (1, 9, 2), (2, 0, 1)],
            "as many segments as the system takes"
        );
        assert_eq!(planned(&[(1, 1_200); 64], 64)[0], (0, 1_200, 50));
    }

    #[test]
    fn what_is_flushed_arrives_in_order() {
        let bind = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let receivers: Vec<_> = (0..70).map(|_| bind()).collect();
        for pins_source in [false, true] {
            let socket = MediaSocket::new(bind()).unwrap();
            let mut egress = Egress::new(&socket, pins_source);
            let sizes = [30, 1_200, 1_200, 1_200, 500, 60, 60];
            for size in sizes {
                for (link, receiver) in receivers.iter().enumerate() {
                    let mut datagram = datagram(link, size);
                    datagram.destination = receiver.local_addr().unwrap();
                    egress.datagrams.push(datagram);
                }
            }
            assert_eq!(egress.flush(&socket), 0);
            for receiver in &receivers {
                receiver
                    .set_read_timeout(Some(std::time::Duration::from_secs(10)))
                    .unwrap();
                for size in sizes {
                    let mut buffer = [0; 2_000];
                    assert_eq!(receiver.recv(&mut buffer).unwrap(), size);
                }
            }
        }
    }
}
