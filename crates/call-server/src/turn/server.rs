//! The TURN server (RFC 8656) as a pure state machine: messages in, messages out.
//!
//! Clients come over UDP or over a stream (TCP, TLS); relays are UDP. A request without valid
//! long-term credentials (RFC 8489, section 9.2) gets 401 or 438 with a nonce, which is an HMAC of
//! time and client address and needs no memory. An [`Allocation`] is opening until the shell has
//! bound its socket ([`TurnServer::handle_relay_opened`]).
//!
//! Invariants:
//! * nothing is sent to a peer without permission, and no permission is given, nor used, for an
//!   address [`is_relayable`] refuses; of the server's own addresses only the relays of other
//!   allocations (short cut in memory) and the media port can be reached;
//! * state is kept for nobody without credentials, except a bounded table of budgets and the
//!   streams there are; every table is bounded by [`TurnLimits`];
//! * an unauthenticated answer over UDP is at most 1.5 times its request, as IP packets.
//!
//! Why our own: the crate `turn-server-proto` 0.7 takes users from a list filled beforehand, and
//! ours exist by derivation only; it has no say for us on peers, quotas or rates, remembers a nonce
//! per unauthenticated address, and searches lists for every datagram. Filtering in front of it
//! would parse and check everything a second time.
//!
//! Deliberately not here: TCP relays (RFC 6062), reservations and EVEN-PORT, DONT-FRAGMENT,
//! mobility, ICMP: nothing in WebRTC asks for them, and asking gets 420.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_room::relay::RelaySecret;

use super::address::is_relayable;
use super::allocation::Allocation;
use super::config::TurnConfig;
use super::message::{self, Builder, Class, Message};
use super::nonce::NonceKey;
use super::quota::{Budgets, IpKey};
use crate::stun::handle_stun;
use requests::Refusal;

mod requests;

/// Short, so that challenges stay small.
pub(crate) const REALM: &str = "call";
/// How exactly ends are kept that nobody waits for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Attributes a request of any method may have.
const UNDERSTOOD: [u16; 9] = [
    message::USERNAME,
    message::REALM,
    message::NONCE,
    message::CHANNEL_NUMBER,
    message::LIFETIME,
    message::XOR_PEER_ADDRESS,
    message::DATA_ATTRIBUTE,
    message::REQUESTED_ADDRESS_FAMILY,
    message::REQUESTED_TRANSPORT,
];

/// What a client's messages come over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    /// The media port.
    Udp,
    /// A TCP or TLS connection, numbered by the shell; a number is never used twice.
    Stream(u64),
}

/// One client's end; with our end fixed, the 5-tuple that names an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client {
    /// How.
    pub(crate) transport: Transport,
    /// From where.
    pub(crate) addr: SocketAddr,
}

/// The relay socket of one allocation; a number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RelayId(pub(crate) u64);

/// What the shell shall do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TurnOutput {
    /// Send to a client; on a stream as it is, padding included.
    Send {
        /// To whom.
        client: Client,
        /// One message.
        bytes: Bytes,
    },
    /// Bind a socket of this family and tell [`TurnServer::handle_relay_opened`].
    OpenRelay {
        /// Its name from now on.
        relay: RelayId,
        /// IPv6 instead of IPv4.
        is_ipv6: bool,
    },
    /// Close the socket; unknown ones may be named.
    CloseRelay {
        /// Which.
        relay: RelayId,
    },
    /// Send from the socket to a peer.
    Relay {
        /// From which socket.
        relay: RelayId,
        /// To whom.
        peer: SocketAddr,
        /// The datagram.
        bytes: Bytes,
    },
    /// Close a stream that made no use of itself.
    CloseStream {
        /// Which.
        client: Client,
    },
}

/// See the module's text.
pub(crate) struct TurnServer {
    config: TurnConfig,
    secret: RelaySecret,
    nonces: NonceKey,
    /// An instant, and Unix seconds then.
    started: (Instant, u64),
    allocations: BTreeMap<Client, Allocation>,
    relays: BTreeMap<RelayId, Client>,
    relayed: BTreeMap<SocketAddr, Client>,
    streams: BTreeMap<Client, Instant>,
    challenges: Budgets,
    next_relay: u64,
    swept_at: Instant,
    outputs: VecDeque<TurnOutput>,
}

impl TurnServer {
    /// `nonce_seed` need not survive a restart: clients then get a new nonce.
    pub(crate) fn new(
        config: TurnConfig,
        secret: RelaySecret,
        nonce_seed: [u8; 32],
        started: (Instant, u64),
    ) -> Self {
        Self {
            config,
            secret,
            nonces: NonceKey::new(nonce_seed),
            started,
            allocations: BTreeMap::new(),
            relays: BTreeMap::new(),
            relayed: BTreeMap::new(),
            streams: BTreeMap::new(),
            challenges: Budgets::default(),
            next_relay: 0,
            swept_at: started.0,
            outputs: VecDeque::new(),
        }
    }

    /// What to do next. Drained after every `handle_*`, the queue holds a few entries at most.
    pub(crate) fn poll_output(&mut self) -> Option<TurnOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let is_idle =
            self.allocations.is_empty() && self.streams.is_empty() && self.challenges.is_empty();
        (!is_idle).then(|| self.swept_at + SWEEP_EVERY)
    }

    /// Allocations there are.
    #[cfg(test)]
    pub(crate) fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Ends what has expired.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if now < self.swept_at + SWEEP_EVERY {
            return;
        }
        self.swept_at = now;
        let expired: Vec<Client> = self
            .allocations
            .iter()
            .filter(|(_, allocation)| allocation.expires_at <= now)
            .map(|(client, _)| *client)
            .collect();
        for client in expired {
            self.end(now, client);
        }
        for allocation in self.allocations.values_mut() {
            allocation.sweep(now);
        }
        let limits = &self.config.limits;
        let idle: Vec<Client> = self
            .streams
            .iter()
            .filter(|(client, since)| {
                now.saturating_duration_since(**since) >= limits.stream_idle
                    && !self.allocations.contains_key(client)
            })
            .map(|(client, _)| *client)
            .collect();
        for client in idle {
            self.streams.remove(&client);
            self.outputs.push_back(TurnOutput::CloseStream { client });
        }
        let (per_s, burst) = (limits.challenges_per_s, limits.challenge_burst);
        self.challenges.sweep(now, per_s.into(), burst.into());
    }

    /// A stream was accepted; false: too many, close it.
    pub(crate) fn handle_stream(&mut self, now: Instant, client: Client) -> bool {
        let limits = &self.config.limits;
        let ip = IpKey::from(client.addr.ip());
        let same_ip = |client: &&Client| IpKey::from(client.addr.ip()) == ip;
        if self.streams.len() >= limits.streams
            || self.streams.keys().filter(same_ip).count() >= limits.streams_per_ip
        {
            return false;
        }
        self.streams.insert(client, now);
        true
    }

    /// A stream ended, and with it its allocation.
    pub(crate) fn handle_stream_gone(&mut self, now: Instant, client: Client) {
        self.end(now, client);
        self.streams.remove(&client);
    }

    /// One message of a client: a datagram, or a message of a stream.
    pub(crate) fn handle_message(&mut self, now: Instant, client: Client, bytes: &Bytes) {
        match bytes.first() {
            Some(0x40..=0x4f) => self.handle_channel_data(now, client, bytes),
            Some(0x00..=0x3f) => {
                if let Some(message) = Message::parse(bytes) {
                    self.handle_stun(now, client, message, bytes);
                }
            }
            _ => {}
        }
    }

    /// The socket asked for was bound, or not (`None`). `relayed` is its address as peers see it.
    pub(crate) fn handle_relay_opened(
        &mut self,
        now: Instant,
        relay: RelayId,
        relayed: Option<SocketAddr>,
    ) {
        let client = self.relays.get(&relay).copied();
        let allocation = client.and_then(|client| self.allocations.get_mut(&client));
        let (Some(client), Some(allocation)) = (client, allocation) else {
            // The client was faster gone.
            self.outputs.push_back(TurnOutput::CloseRelay { relay });
            return;
        };
        let (transaction, key) = (allocation.transaction, allocation.key);
        match relayed {
            Some(relayed) => {
                allocation.relayed = Some(relayed);
                self.relayed.insert(relayed, client);
                self.answer_allocate(now, client);
            }
            None => {
                self.allocations.remove(&client);
                self.relays.remove(&relay);
                let refusal = Refusal::Signed(508, key);
                self.refuse(now, client, message::ALLOCATE, transaction, 0, refusal);
            }
        }
    }

    /// A datagram arrived at a relay socket.
    pub(crate) fn handle_relay_data(
        &mut self,
        now: Instant,
        relay: RelayId,
        peer: SocketAddr,
        bytes: &[u8],
    ) {
        let Some(client) = self.relays.get(&relay).copied() else {
            return;
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let media = self.config.media.iter().find(|(_, local)| *local == peer);
        let peer = match media {
            Some((public, _)) => *public,
            None if is_relayable(peer.ip(), &self.config.policy) => peer,
            None => return,
        };
        self.deliver(now, client, peer, bytes);
    }

    /// Hands a peer's datagram to a client that permits it.
    fn deliver(&mut self, now: Instant, client: Client, peer: SocketAddr, bytes: &[u8]) {
        let limits = &self.config.limits;
        let Some(allocation) = self.allocations.get_mut(&client) else {
            return;
        };
        let is_wanted = allocation.expires_at > now
            && allocation.permits(now, peer.ip())
            && allocation.down.take(
                now,
                bytes.len() as u64,
                limits.rate_bps / 8,
                limits.burst_bytes,
            );
        let Ok(length) = u16::try_from(bytes.len()) else {
            return;
        };
        if !is_wanted {
            return;
        }
        let bytes = match allocation.channel(now, peer) {
            Some(number) => {
                let mut data = Vec::with_capacity(bytes.len() + 7);
                data.extend(number.to_be_bytes());
                data.extend(length.to_be_bytes());
                data.extend(bytes);
                if client.transport != Transport::Udp {
                    data.resize(data.len().next_multiple_of(4), 0);
                }
                data
            }
            // The header and the address must fit as well.
            None if bytes.len() > usize::from(u16::MAX) - 64 => return,
            None => {
                let transaction = self.nonces.transaction(now, peer);
                Builder::new(Class::Indication, message::DATA, transaction)
                    .address(message::XOR_PEER_ADDRESS, peer)
                    .attribute(message::DATA_ATTRIBUTE, bytes)
                    .build()
            }
        };
        self.send(client, bytes);
    }

    fn handle_channel_data(&mut self, now: Instant, client: Client, bytes: &Bytes) {
        let Some(head) = bytes.first_chunk::<4>() else {
            return;
        };
        let number = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let allocation = self.allocations.get(&client);
        let peer = allocation.and_then(|allocation| allocation.peer(now, number));
        if let Some(peer) = peer
            && bytes.len() >= 4 + length
        {
            self.relay(now, client, peer, bytes.slice(4..4 + length));
        }
    }

    fn handle_stun(&mut self, now: Instant, client: Client, message: Message<'_>, raw: &Bytes) {
        match (message.class, message.method) {
            (Class::Indication, message::SEND) => self.handle_send(now, client, message, raw),
            (Class::Request, message::BINDING) => {
                if let Some(answer) = handle_stun(raw, client.addr) {
                    self.answer_anybody(now, client, raw.len(), answer);
                }
            }
            (
                Class::Request,
                method @ (message::ALLOCATE
                | message::REFRESH
                | message::CREATE_PERMISSION
                | message::CHANNEL_BIND),
            ) => {
                let done = self.handle_request(now, client, message);
                if let Err(refusal) = done {
                    let transaction = message.transaction;
                    self.refuse(now, client, method, transaction, raw.len(), refusal);
                }
            }
            _ => {}
        }
    }

    fn handle_send(&mut self, now: Instant, client: Client, message: Message<'_>, raw: &Bytes) {
        let peers = message.peers().unwrap_or_default();
        let data = message.attribute(message::DATA_ATTRIBUTE);
        if let ([peer], Some(data)) = (&peers[..], data)
            && message.unknown(&UNDERSTOOD).is_empty()
        {
            self.relay(now, client, *peer, raw.slice_ref(data));
        }
    }

    /// Sends a client's datagram to a peer, where that is allowed.
    fn relay(&mut self, now: Instant, client: Client, peer: SocketAddr, bytes: Bytes) {
        let limits = &self.config.limits;
        let Some(allocation) = self.allocations.get_mut(&client) else {
            return;
        };
        let Some(relayed) = allocation.relayed else {
            return;
        };
        let is_allowed = allocation.expires_at > now
            && is_same_family(peer, relayed)
            && allocation.permits(now, peer.ip())
            && allocation.up.take(
                now,
                bytes.len() as u64,
                limits.rate_bps / 8,
                limits.burst_bytes,
            );
        if !is_allowed {
            return;
        }
        let relay = allocation.relay;
        if let Some(other) = self.relayed.get(&peer).copied() {
            self.deliver(now, other, relayed, &bytes);
        } else if let Some(peer) = self.reach(peer) {
            self.outputs
                .push_back(TurnOutput::Relay { relay, peer, bytes });
        }
    }

    /// Where a socket sends to for this peer; `None`: nowhere.
    fn reach(&self, peer: SocketAddr) -> Option<SocketAddr> {
        let media = self.config.media.iter().find(|(public, _)| *public == peer);
        match media {
            Some((_, local)) => Some(*local),
            None => is_relayable(peer.ip(), &self.config.policy).then_some(peer),
        }
    }

    /// Whether a permission may be given. Which ports of our own addresses it opens is decided
    /// when it is used.
    fn may_permit(&self, ip: IpAddr) -> bool {
        is_relayable(ip, &self.config.policy)
            || self.config.relay_ips.contains(&ip)
            || self
                .config
                .media
                .iter()
                .any(|(public, _)| public.ip() == ip)
    }

    fn send(&mut self, client: Client, bytes: Vec<u8>) {
        let bytes = bytes.into();
        self.outputs.push_back(TurnOutput::Send { client, bytes });
    }

    fn end(&mut self, now: Instant, client: Client) {
        if let Some(allocation) = self.allocations.remove(&client) {
            let relay = allocation.relay;
            self.relays.remove(&relay);
            if let Some(relayed) = allocation.relayed {
                self.relayed.remove(&relayed);
            }
            self.outputs.push_back(TurnOutput::CloseRelay { relay });
            // From now on the stream counts as idle.
            if let Some(since) = self.streams.get_mut(&client) {
                *since = now;
            }
        }
    }
}

fn is_same_family(peer: SocketAddr, relayed: SocketAddr) -> bool {
    let ip = peer.ip();
    ip == ip.to_canonical() && ip.is_ipv4() == relayed.is_ipv4()
}

#[cfg(test)]
mod tests;
