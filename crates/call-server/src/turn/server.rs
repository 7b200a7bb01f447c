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
use super::allocation::{Allocation, ChannelError};
use super::config::TurnConfig;
use super::message::{self, Builder, Class, Message, TransactionId};
use super::nonce::NonceKey;
use super::quota::{Budgets, IpKey};
use crate::stun::handle_stun;

/// Short, so that challenges stay small.
pub(crate) const REALM: &str = "call";
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
const LONGEST_LIFETIME: Duration = Duration::from_secs(3_600);
/// How exactly ends are kept that nobody waits for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// IPv4 and UDP headers: what a packet is at least longer than its payload.
const PACKET_OVERHEAD: usize = 28;
const UDP_PROTOCOL: u8 = 17;
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;

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

/// What a request is refused with.
enum Refusal {
    /// Without valid credentials: an unsigned answer.
    Challenge(u16),
    /// A signed answer.
    Signed(u16, [u8; 16]),
}

/// Who signed a request.
struct Signer {
    username: String,
    key: [u8; 16],
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
        let is_idle = self.allocations.is_empty()
            && self.streams.is_empty()
            && self.challenges.is_empty();
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
            || self.config.media.iter().any(|(public, _)| public.ip() == ip)
    }

    fn handle_request(
        &mut self,
        now: Instant,
        client: Client,
        message: Message<'_>,
    ) -> Result<(), Refusal> {
        let signer = self.authenticate(now, client, message)?;
        let key = signer.key;
        let refuse = |code| Refusal::Signed(code, key);
        let unknown = message.unknown(&UNDERSTOOD);
        if !unknown.is_empty() {
            let listed: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
            let answer = Builder::new(Class::Error, message.method, message.transaction)
                .error(420)
                .attribute(message::UNKNOWN_ATTRIBUTES, &listed)
                .sign(&key);
            self.send(client, answer.build());
            return Ok(());
        }
        let lifetime = message.u32(message::LIFETIME).map_or(DEFAULT_LIFETIME, |seconds| {
            Duration::from_secs(seconds.into()).min(LONGEST_LIFETIME)
        });
        if message.method == message::ALLOCATE {
            return self
                .allocate(now, client, message, signer, lifetime.max(DEFAULT_LIFETIME))
                .map_err(refuse);
        }
        let allocation = self.allocations.get_mut(&client).ok_or(refuse(437))?;
        // A renewed grant takes over. It has another name, so it is not refused with 441; that nobody
        // else can send from this address is what the nonce has shown.
        allocation.user = user_of(&signer.username).to_owned();
        allocation.username = signer.username;
        allocation.key = key;
        let relayed = allocation.relayed.ok_or(refuse(437))?;
        let mut answer = Builder::new(Class::Success, message.method, message.transaction);
        match message.method {
            message::REFRESH => {
                let family = message.attribute(message::REQUESTED_ADDRESS_FAMILY);
                if family.is_some_and(|family| family.first() != Some(&family_of(relayed))) {
                    return Err(refuse(443));
                }
                let granted = if lifetime.is_zero() {
                    self.end(now, client);
                    Duration::ZERO
                } else {
                    allocation.refresh(now, lifetime.max(DEFAULT_LIFETIME))
                };
                answer = answer.attribute(message::LIFETIME, &seconds(granted));
            }
            message::CREATE_PERMISSION => {
                let peers = self.peers(message, relayed).map_err(refuse)?;
                let ips: Vec<IpAddr> = peers.iter().map(SocketAddr::ip).collect();
                let limits = &self.config.limits;
                let allocation = self.allocations.get_mut(&client);
                if !allocation.is_some_and(|allocation| allocation.permit(now, &ips, limits)) {
                    return Err(refuse(508));
                }
            }
            _ => {
                let peers = self.peers(message, relayed).map_err(refuse)?;
                let number = message
                    .attribute(message::CHANNEL_NUMBER)
                    .and_then(|value| value.first_chunk::<2>())
                    .map(|number| u16::from_be_bytes(*number))
                    .filter(|number| CHANNELS.contains(number));
                let (Some(number), [peer]) = (number, &peers[..]) else {
                    return Err(refuse(400));
                };
                if self.reach(*peer).is_none() && !self.relayed.contains_key(peer) {
                    return Err(refuse(403));
                }
                let limits = &self.config.limits;
                let bound = match self.allocations.get_mut(&client) {
                    Some(allocation) => allocation.bind(now, number, *peer, limits),
                    None => return Err(refuse(437)),
                };
                bound.map_err(|error| match error {
                    ChannelError::Taken => refuse(400),
                    ChannelError::Full => refuse(508),
                })?;
            }
        }
        self.send(client, answer.sign(&key).build());
        Ok(())
    }

    /// The peers a request names, all of them fine.
    fn peers(&self, message: Message<'_>, relayed: SocketAddr) -> Result<Vec<SocketAddr>, u16> {
        let peers = message.peers().ok_or(400_u16)?;
        if peers.is_empty() {
            return Err(400);
        }
        for peer in &peers {
            if !self.may_permit(peer.ip()) {
                return Err(403);
            }
            if !is_same_family(*peer, relayed) {
                return Err(443);
            }
        }
        Ok(peers)
    }

    fn allocate(
        &mut self,
        now: Instant,
        client: Client,
        message: Message<'_>,
        signer: Signer,
        lifetime: Duration,
    ) -> Result<(), u16> {
        if let Some(allocation) = self.allocations.get(&client) {
            if allocation.transaction != message.transaction {
                return Err(437);
            }
            // The answer got lost, or is not there yet.
            if allocation.relayed.is_some() {
                self.answer_allocate(now, client);
            }
            return Ok(());
        }
        let transport = message.attribute(message::REQUESTED_TRANSPORT);
        match transport.and_then(<[u8]>::first) {
            None => return Err(400),
            Some(&UDP_PROTOCOL) => {}
            Some(_) => return Err(442),
        }
        let family = message.attribute(message::REQUESTED_ADDRESS_FAMILY);
        let is_ipv6 = match family.map(<[u8]>::first) {
            None | Some(Some(1)) => false,
            Some(Some(2)) => true,
            Some(_) => return Err(440),
        };
        if !self.config.relay_ips.iter().any(|ip| ip.is_ipv6() == is_ipv6) {
            return Err(440);
        }
        let limits = &self.config.limits;
        let user = user_of(&signer.username).to_owned();
        let ip = IpKey::from(client.addr.ip());
        let all = || self.allocations.values();
        if all().filter(|allocation| allocation.user == user).count() >= limits.allocations_per_user
            || all().filter(|allocation| allocation.ip == ip).count() >= limits.allocations_per_ip
        {
            return Err(486);
        }
        if self.allocations.len() >= limits.allocations {
            return Err(508);
        }
        let relay = RelayId(self.next_relay);
        self.next_relay += 1;
        let allocation = Allocation::new(
            now,
            relay,
            user,
            signer.username,
            signer.key,
            ip,
            message.transaction,
            lifetime,
        );
        self.allocations.insert(client, allocation);
        self.relays.insert(relay, client);
        self.outputs
            .push_back(TurnOutput::OpenRelay { relay, is_ipv6 });
        Ok(())
    }

    fn answer_allocate(&mut self, now: Instant, client: Client) {
        let Some(allocation) = self.allocations.get(&client) else {
            return;
        };
        let Some(relayed) = allocation.relayed else {
            return;
        };
        let left = allocation.expires_at.saturating_duration_since(now);
        let mapped = SocketAddr::new(client.addr.ip().to_canonical(), client.addr.port());
        let answer = Builder::new(Class::Success, message::ALLOCATE, allocation.transaction)
            .address(message::XOR_RELAYED_ADDRESS, relayed)
            .address(message::XOR_MAPPED_ADDRESS, mapped)
            .attribute(message::LIFETIME, &seconds(left))
            .sign(&allocation.key)
            .build();
        self.send(client, answer);
    }

    /// RFC 8489, section 9.2.4, and RFC 8656, section 5.
    fn authenticate(
        &self,
        now: Instant,
        client: Client,
        message: Message<'_>,
    ) -> Result<Signer, Refusal> {
        if !message.has_integrity() {
            return Err(Refusal::Challenge(401));
        }
        let (Some(username), Some(_), Some(nonce)) = (
            message.text(message::USERNAME),
            message.attribute(message::REALM),
            message.attribute(message::NONCE),
        ) else {
            return Err(Refusal::Challenge(400));
        };
        let unix_s = self.unix_s(now);
        if !self.nonces.is_valid(nonce, unix_s, client) {
            return Err(Refusal::Challenge(438));
        }
        let allocation = self.allocations.get(&client);
        let key = match allocation {
            // A grant may expire; what it was used for goes on.
            Some(allocation) if allocation.username == username => allocation.key,
            _ => {
                let password = self.secret.password(username, unix_s);
                let password = password.ok_or(Refusal::Challenge(401))?;
                message::long_term_key(username, REALM, &password)
            }
        };
        if !message.is_signed_with(&key) {
            return Err(Refusal::Challenge(401));
        }
        Ok(Signer {
            username: username.to_owned(),
            key,
        })
    }

    fn unix_s(&self, now: Instant) -> u64 {
        let (start, unix_s) = self.started;
        unix_s + now.saturating_duration_since(start).as_secs()
    }

    fn refuse(
        &mut self,
        now: Instant,
        client: Client,
        method: u16,
        transaction: TransactionId,
        request_bytes: usize,
        refusal: Refusal,
    ) {
        let answer = |code| Builder::new(Class::Error, method, transaction).error(code);
        match refusal {
            Refusal::Signed(code, key) => self.send(client, answer(code).sign(&key).build()),
            Refusal::Challenge(code) => {
                let mut answer = answer(code);
                if code != 400 {
                    let nonce = self.nonces.nonce(self.unix_s(now), client);
                    answer = answer
                        .attribute(message::REALM, REALM.as_bytes())
                        .attribute(message::NONCE, &nonce);
                }
                self.answer_anybody(now, client, request_bytes, answer.build());
            }
        }
    }

    /// Answers somebody who may have forged their address.
    fn answer_anybody(&mut self, now: Instant, client: Client, request_bytes: usize, bytes: Vec<u8>) {
        let limits = &self.config.limits;
        let amplifies = client.transport == Transport::Udp
            && 2 * (bytes.len() + PACKET_OVERHEAD) > 3 * (request_bytes + PACKET_OVERHEAD);
        let may_answer = !amplifies
            && self.challenges.take(
                now,
                client.addr.ip().into(),
                limits.challenges_per_s.into(),
                limits.challenge_burst.into(),
                limits.challenged_ips,
            );
        if may_answer {
            self.send(client, bytes);
        }
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

/// Who a grant is for, whenever it expires.
fn user_of(username: &str) -> &str {
    username.split_once(':').map_or(username, |(_, id)| id)
}

fn is_same_family(peer: SocketAddr, relayed: SocketAddr) -> bool {
    let ip = peer.ip();
    ip == ip.to_canonical() && ip.is_ipv4() == relayed.is_ipv4()
}

fn family_of(addr: SocketAddr) -> u8 {
    if addr.is_ipv4() { 1 } else { 2 }
}

fn seconds(duration: Duration) -> [u8; 4] {
    u32::try_from(duration.as_secs())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
