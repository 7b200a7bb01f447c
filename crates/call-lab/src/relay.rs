//! A [`Link`] in real time, between UDP sockets: for programs whose peer's address the test may choose,
//! on any system and without any right.
//!
//! A [`UdpRelay`] has an address of its own; what is sent there goes on to its target when and if the plan
//! says so, and what the target answers comes back. Every client gets a socket of its own towards the
//! target, as behind a NAT, so that peers tell them apart; all of them share the one link.
//!
//! Invariants: what arrives was sent, at most once, unchanged; of 256 clients at most, packets of
//! further ones are dropped; everything ends with the value. Where the machine is too slow, packets wait
//! in the kernel and are lost there, as they would be at a host.
//!
//! Deliberately not here: whole interfaces (see `tun`), and how peers come to send here: a test gives them
//! the relay's address as the candidate of the other.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::link::{Conditions, Direction, Link, Plan};
use crate::network::PathStats;

/// Clients at most: two peers with a dozen candidates each, over and over.
const CLIENTS: usize = 256;
/// Packets between the sockets and the link; more wait in the kernel.
const QUEUE_PACKETS: usize = 4_096;
/// How late a socket's thread notices the end.
const IDLE: Duration = Duration::from_millis(20);
/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_535;
/// What IPv4 and UDP add to each on the wire.
const HEADER_BYTES: usize = 28;

/// Whether a packet may enter the link at all; what it refuses is not in the link's figures.
pub type Admits = Box<dyn FnMut(Direction, &[u8]) -> bool + Send>;

/// See the [module documentation](self).
pub struct UdpRelay {
    address: SocketAddr,
    events: SyncSender<Event>,
    stats: Arc<Mutex<[PathStats; 2]>>,
    is_over: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

enum Event {
    Packet(Direction, Parcel),
    Conditions(Conditions),
}

/// A packet and whose it is, in either direction.
struct Parcel {
    client: SocketAddr,
    data: Vec<u8>,
}

impl UdpRelay {
    /// Starts the plan, on the loopback interface if the target is there.
    ///
    /// # Errors
    /// No socket or thread can be made.
    pub fn start(target: SocketAddr, plan: Plan) -> io::Result<Self> {
        Self::start_admitting(target, plan, Box::new(|_, _| true))
    }

    /// As [`start`](Self::start); only what `admits` lets pass meets the plan.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_admitting(target: SocketAddr, plan: Plan, admits: Admits) -> io::Result<Self> {
        let inner = Arc::new(UdpSocket::bind(beside(target))?);
        let address = inner.local_addr()?;
        let (events, incoming) = sync_channel(QUEUE_PACKETS);
        let stats = Arc::new(Mutex::new([PathStats::default(); 2]));
        let is_over = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            events: events.clone(),
            is_over: Arc::clone(&is_over),
        };
        let reading = {
            let (socket, reader) = (Arc::clone(&inner), reader.clone());
            spawn(move || reader.run(&socket, None))?
        };
        let carrier = Carrier {
            target,
            inner,
            clients: BTreeMap::new(),
            reader,
            readers: vec![reading],
            admits,
            stats: Arc::clone(&stats),
        };
        let carrier = spawn(move || carrier.run(plan, incoming))?;
        Ok(Self {
            address,
            events,
            stats,
            is_over,
            carrier: Some(carrier),
        })
    }

    /// Where to send what is meant for the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the link from now on, until the plan's next change.
    pub fn set_conditions(&self, conditions: Conditions) {
        // Once the carrier is gone there is nothing to change.
        let _ = self.events.send(Event::Conditions(conditions));
    }

    /// Counters of both directions, as [`Direction::BOTH`] orders them.
    pub fn stats(&self) -> [PathStats; 2] {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UdpRelay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            // It does not panic; if it did, it has said so.
            let _ = carrier.join();
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name("udp-relay".to_owned());
    builder.spawn(work)
}

/// An address from which the target is reached, with a port of the system's choosing.
fn beside(target: SocketAddr) -> SocketAddr {
    let own: IpAddr = match target.ip() {
        IpAddr::V4(v4) if v4.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(own, 0)
}

/// Hands what a socket gets to the carrier.
#[derive(Clone)]
struct Reader {
    events: SyncSender<Event>,
    is_over: Arc<AtomicBool>,
}

impl Reader {
    /// Until the end. `client` is who gets what comes from the target; without one it comes from clients.
    fn run(&self, socket: &UdpSocket, client: Option<SocketAddr>) {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        if socket.set_read_timeout(Some(IDLE)).is_err() {
            return;
        }
        while !self.is_over.load(Ordering::Relaxed) {
            let (length, from) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if is_idle(&error) => continue,
                Err(_) => {
                    // A port that is closed tells itself this way; it may open again.
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
            };
            let direction = match client {
                None => Direction::There,
                Some(_) => Direction::Back,
            };
            let parcel = Parcel {
                client: client.unwrap_or(from),
                data: buffer[..length].to_vec(),
            };
            if self.events.send(Event::Packet(direction, parcel)).is_err() {
                return;
            }
        }
    }
}

fn is_idle(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The thread with the link.
struct Carrier {
    target: SocketAddr,
    inner: Arc<UdpSocket>,
    /// Their sockets towards the target.
    clients: BTreeMap<SocketAddr, Arc<UdpSocket>>,
    reader: Reader,
    readers: Vec<JoinHandle<()>>,
    admits: Admits,
    stats: Arc<Mutex<[PathStats; 2]>>,
}

impl Carrier {
    fn run(mut self, plan: Plan, events: Receiver<Event>) {
        let mut link = Link::new(Instant::now(), plan);
        while !self.reader.is_over.load(Ordering::Relaxed) {
            let wait = link.poll_timeout().map_or(IDLE, |at| {
                at.saturating_duration_since(Instant::now()).min(IDLE)
            });
            match events.recv_timeout(wait) {
                Ok(Event::Packet(direction, parcel)) => {
                    if (self.admits)(direction, &parcel.data) {
                        let bytes = parcel.data.len() + HEADER_BYTES;
                        link.handle_packet(Instant::now(), direction, parcel, bytes);
                    }
                }
                Ok(Event::Conditions(conditions)) => link.set_conditions(conditions),
                // Nothing came: never that nobody can send, for the readers' way is kept here.
                Err(_) => {}
            }
            link.handle_timeout(Instant::now());
            // First, so that whoever has got a packet finds it counted.
            *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = link.stats();
            while let Some((direction, parcel)) = link.poll_output() {
                self.deliver(direction, &parcel);
            }
        }
        // A reader that waits for room would wait for ever.
        drop(events);
        for reader in self.readers {
            let _ = reader.join();
        }
    }

    /// Nobody being there is for the ends to notice.
    fn deliver(&mut self, direction: Direction, parcel: &Parcel) {
        match direction {
            Direction::Back => {
                let _ = self.inner.send_to(&parcel.data, parcel.client);
            }
            Direction::There => {
                if let Some(outer) = self.outer(parcel.client) {
                    let _ = outer.send(&parcel.data);
                }
            }
        }
    }

    /// A client's socket towards the target.
    fn outer(&mut self, client: SocketAddr) -> Option<&UdpSocket> {
        if !self.clients.contains_key(&client) {
            if self.clients.len() == CLIENTS {
                return None;
            }
            let socket = Arc::new(UdpSocket::bind(beside(self.target)).ok()?);
            socket.connect(self.target).ok()?;
            let (reading, reader) = (Arc::clone(&socket), self.reader.clone());
            let handle = spawn(move || reader.run(&reading, Some(client))).ok()?;
            self.readers.push(handle);
            self.clients.insert(client, socket);
        }
        self.clients.get(&client).map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Loss, PathConfig};

    const MS: Duration = Duration::from_millis(1);

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a socket waits");
        socket
    }

    fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2_000];
        let (length, from) = socket.recv_from(&mut buffer).expect("a packet in time");
        (buffer[..length].to_vec(), from)
    }

    fn slow(ms: u32) -> Conditions {
        Conditions::symmetric(PathConfig {
            delay: MS * ms,
            ..PathConfig::default()
        })
    }

    #[test]
    fn clients_are_told_apart_and_each_gets_its_answers() {
        let target = socket();
        let address = target.local_addr().expect("bound");
        let relay = UdpRelay::start(address, Plan::default()).expect("a relay");
        let clients = [socket(), socket()];
        for (client, name) in clients.iter().zip([b"one", b"two"]) {
            client.send_to(name, relay.address()).expect("sent");
        }
        let mut seen = Vec::new();
        for _ in &clients {
            let (name, from) = receive(&target);
            target.send_to(&name, from).expect("answered");
            seen.push(from);
        }
        assert_ne!(seen[0], seen[1]);
        for (client, name) in clients.iter().zip([b"one", b"two"]) {
            assert_eq!(receive(client), (name.to_vec(), relay.address()));
        }
        let sent = relay.stats().map(|path| (path.sent, path.sent_bytes));
        assert_eq!(sent, [(2, 62); 2], "with their headers");
    }

    #[test]
    fn the_plan_holds_and_may_be_overruled() {
        let target = socket();
        let address = target.local_addr().expect("bound");
        let plan = Plan {
            conditions: slow(40),
            ..Plan::default()
        };
        let relay = UdpRelay::start(address, plan).expect("a relay");
        let client = socket();
        let round = || {
            let sent = Instant::now();
            client.send_to(b"?", relay.address()).expect("sent");
            let (_, from) = receive(&target);
            target.send_to(b"!", from).expect("answered");
            receive(&client);
            sent.elapsed()
        };
        assert!(round() >= MS * 80, "both ways");
        relay.set_conditions(slow(0));
        // On a busy machine a packet may be late, one of many will not.
        let least = (0..20).map(|_| round()).min();
        assert!(least.is_some_and(|least| least < MS * 40), "{least:?}");
        let gone = PathConfig {
            loss: Loss::Random(1.0),
            ..PathConfig::default()
        };
        relay.set_conditions(Conditions::symmetric(gone));
        client.send_to(b"?", relay.address()).expect("sent");
        target
            .set_read_timeout(Some(MS * 200))
            .expect("a socket waits");
        assert!(target.recv_from(&mut [0; 10]).is_err());
        assert_eq!(relay.stats()[0].lost, 1);
    }

    #[test]
    fn what_is_not_admitted_does_not_meet_the_plan() {
        let target = socket();
        let address = target.local_addr().expect("bound");
        let admits = |direction, data: &[u8]| direction == Direction::Back || data != b"no";
        let relay = UdpRelay::start_admitting(address, Plan::default(), Box::new(admits));
        let relay = relay.expect("a relay");
        let client = socket();
        for data in [&b"no"[..], b"yes"] {
            client.send_to(data, relay.address()).expect("sent");
        }
        let (first, from) = receive(&target);
        assert_eq!(first, b"yes");
        target.send_to(b"no", from).expect("answered");
        assert_eq!(receive(&client).0, b"no");
        assert_eq!(relay.stats().map(|path| path.sent), [1, 1]);
    }

    #[test]
    fn it_ends_and_gives_its_port_back() {
        let target = socket();
        let address = target.local_addr().expect("bound");
        let relay = UdpRelay::start(address, Plan::default()).expect("a relay");
        let client = socket();
        client.send_to(b"?", relay.address()).expect("sent");
        receive(&target);
        let own = relay.address();
        drop(relay);
        UdpSocket::bind(own).expect("the port is free");
    }
}
