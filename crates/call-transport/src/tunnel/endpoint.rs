//! The tunnels of one socket, as a value: which datagrams go through one, and what frames mean.
//!
//! Towards each address that DTLS goes to, a tunnel is offered with [`Frame::Hello`] once application
//! data flows, [`HELLOS`] times, and datagrams pass as they are until it is welcomed. Each
//! direction is a tunnel of its own. One that makes no progress for long is over; its datagrams are
//! dropped, and another is offered.
//!
//! Datagrams of more than [`PIECE_BYTES`] can only go through a tunnel: they wait for it, and where
//! it does not come, or a relay is in the way, the path is [narrow](Endpoint::is_narrow).
//!
//! Invariants: only what DTLS protects is put into a tunnel; frames are ignored from addresses to which
//! neither DTLS went nor the answer to a connectivity check, as are those without a known token.
//! (After an ICE restart who only receives has nothing to say on the new path before a tunnel brings
//! it something.) Bounds: [`PEERS`] addresses and
//! [`RECEIVERS`] tunnels from each; the ones silent for longest make room. [`WAITING_BYTES`] wait for
//! each tunnel, what exceeds them is dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::frame::{self, Frame, PIECE_BYTES};
use super::receiver::{Fate, Receiver};
use super::sender::Sender;

/// Addresses with tunnels: ICE tries a few pairs of candidates.
const PEERS: usize = 16;
/// Tunnels from one address: a new one while the last is still draining.
const RECEIVERS: usize = 2;
/// Offers before a peer is taken for one that does not know them. With [`HELLO_EVERY`] doubling they
/// span 25 s.
const HELLOS: u32 = 8;
const HELLO_EVERY: Duration = Duration::from_millis(100);
/// How long large datagrams wait for a tunnel, hellos being sent after 0, 0.2, 0.6, 1.4 and 3 s. Lower
/// takes slow paths with losses for narrow ones, higher delays files through relays.
const NARROW_AFTER: Duration = Duration::from_secs(4);
/// More than SCTP sends before it hears from the other end (RFC 9260, section 7.2.1: four packets).
const WAITING_BYTES: usize = 128 * 1024;
/// What a TURN message adds at most to what it carries (RFC 8656, section 10: a Send indication with
/// an IPv6 address, padded).
const RELAY_HEADER_BYTES: usize = 64;
/// First byte of what DTLS protects for applications: record type 23 (RFC 6347, section 4.1).
const APPLICATION_DATA: u8 = 23;
/// First bytes of what answers a connectivity check that proved to know our password: a Binding success
/// response (RFC 8489, section 5).
const CHECK_PASSED: [u8; 2] = [1, 1];

/// What an incoming datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Not ours.
    Pass,
    /// Ours; nothing to hand up.
    Consumed,
    /// Ours: hand up what is behind [`frame::DATA_HEADER_BYTES`], then
    /// [`Endpoint::poll_released`].
    Next,
    /// Ours: hand up [`Endpoint::poll_released`].
    Joined,
}

#[derive(Debug)]
struct Offer {
    token: u32,
    count: u32,
    sent_at: Option<Instant>,
    next_at: Option<Instant>,
}

#[derive(Debug)]
struct Peer {
    /// When DTLS or the answer to a check last went there; nothing is accepted before.
    used_at: Instant,
    offer: Option<Offer>,
    sender: Option<Sender>,
    /// Large datagrams that wait for the tunnel, and since when.
    waiting: Vec<Bytes>,
    waiting_since: Option<Instant>,
    receivers: Vec<Receiver>,
    welcome: Option<u32>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Endpoint {
    peers: BTreeMap<SocketAddr, Peer>,
    tokens: StdRng,
    limit_bps: Option<u64>,
    /// Where application data went last.
    active: Option<(SocketAddr, Instant)>,
    is_narrow: bool,
}

impl Endpoint {
    /// `tokens` draws the tunnels' names, which an outsider must not guess.
    pub(crate) fn new(tokens: StdRng) -> Self {
        Self {
            peers: BTreeMap::new(),
            tokens,
            limit_bps: None,
            active: None,
            is_narrow: false,
        }
    }

    /// Bounds what each tunnel sends.
    pub(crate) fn set_limit_bps(&mut self, limit_bps: Option<u64>) {
        if self.limit_bps == limit_bps {
            return;
        }
        self.limit_bps = limit_bps;
        for sender in self.peers.values_mut().filter_map(|p| p.sender.as_mut()) {
            sender.set_limit_bps(limit_bps);
        }
    }

    /// The tunnel towards where application data went last.
    pub(crate) fn active(&self) -> Option<&Sender> {
        self.peers.get(&self.active?.0)?.sender.as_ref()
    }

    /// When anything was last sent that a tunnel could carry.
    pub(crate) fn active_at(&self) -> Option<Instant> {
        self.active.map(|(_, at)| at)
    }

    /// Whether there is anything to send or to tell; links without a tunnel save the looking.
    pub(crate) fn is_used(&self) -> bool {
        let is_called = |peer: &Peer| peer.welcome.is_some() || !peer.receivers.is_empty();
        self.active.is_some() || self.is_narrow || self.peers.values().any(is_called)
    }

    /// Whether large datagrams were sent that no tunnel could carry; they are lost.
    pub(crate) fn is_narrow(&self) -> bool {
        self.is_narrow
    }

    /// Takes what the stack sends: one datagram, or several of `segment` bytes each but the last.
    /// Returns whether a tunnel carries it or would have to; if not, it shall be sent as it is.
    pub(crate) fn handle_outgoing(
        &mut self,
        now: Instant,
        to: SocketAddr,
        contents: &[u8],
        segment: Option<usize>,
    ) -> bool {
        let Some(first) = contents.first() else {
            return false;
        };
        let segment = segment.unwrap_or(contents.len()).max(1);
        // RFC 7983: DTLS.
        if !(20..=63).contains(first) {
            if contents.starts_with(&CHECK_PASSED) {
                self.peer(now, to).used_at = now;
            }
            let is_large = segment > PIECE_BYTES + RELAY_HEADER_BYTES;
            self.is_narrow |= is_large;
            return is_large;
        }
        let peer = self.peer(now, to);
        peer.used_at = now;
        if *first != APPLICATION_DATA {
            return false;
        }
        self.active = Some((to, now));
        let (tokens, limit) = (&mut self.tokens, self.limit_bps);
        let Some(peer) = self.peers.get_mut(&to) else {
            return false;
        };
        if peer.sender.as_ref().is_some_and(|s| s.is_over(now)) {
            tracing::debug!("a tunnel makes no progress; offering another");
            peer.sender = None;
            peer.offer = None;
        }
        let Some(sender) = &mut peer.sender else {
            peer.offer.get_or_insert_with(|| Offer {
                token: tokens.random(),
                count: 0,
                sent_at: None,
                next_at: Some(now),
            });
            let is_large = segment > PIECE_BYTES;
            if is_large {
                peer.wait(now, contents, segment);
            }
            return is_large;
        };
        sender.set_limit_bps(limit);
        let contents = Bytes::copy_from_slice(contents);
        for begin in (0..contents.len()).step_by(segment) {
            let end = contents.len().min(begin + segment);
            sender.enqueue(now, contents.slice(begin..end));
        }
        true
    }

    fn peer(&mut self, now: Instant, address: SocketAddr) -> &mut Peer {
        if self.peers.len() >= PEERS && !self.peers.contains_key(&address) {
            let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.used_at);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.peers.remove(&oldest);
            }
        }
        self.peers.entry(address).or_insert_with(|| Peer {
            used_at: now,
            offer: None,
            sender: None,
            waiting: Vec::new(),
            waiting_since: None,
            receivers: Vec::new(),
            welcome: None,
        })
    }

    /// Takes what arrived, at `arrived_at` by the system's account: a process may be late to read it.
    pub(crate) fn handle_incoming(
        &mut self,
        now: Instant,
        arrived_at: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Incoming {
        if !frame::is_frame(datagram) {
            return Incoming::Pass;
        }
        let (Some(peer), Some(frame)) = (self.peers.get_mut(&from), frame::parse(datagram)) else {
            return Incoming::Consumed;
        };
        match frame {
            Frame::Hello { token, version } if version == frame::VERSION => {
                peer.handle_hello(now, token);
            }
            Frame::Welcome { token, version } if version == frame::VERSION => {
                if peer.handle_welcome(now, token)
                    && let Some(sender) = &mut peer.sender
                {
                    sender.set_limit_bps(self.limit_bps);
                }
            }
            Frame::Hello { .. } | Frame::Welcome { .. } => {}
            Frame::Data {
                token,
                packet,
                datagram,
                has_more,
                payload,
            } => {
                let known = peer.receivers.iter_mut().find(|r| r.token() == token);
                let fate = known
                    .map(|r| r.handle_data(now, arrived_at, packet, datagram, has_more, payload));
                match fate {
                    Some(Fate::Next) => return Incoming::Next,
                    Some(Fate::Joined) => return Incoming::Joined,
                    Some(Fate::Held | Fate::Dropped) | None => {}
                }
            }
            Frame::Ack(ack) => {
                if let Some(sender) = peer.sender.as_mut().filter(|s| s.token() == ack.token) {
                    sender.handle_ack(now, arrived_at, &ack);
                }
            }
        }
        Incoming::Consumed
    }

    /// The next datagram that follows what was handed up from there.
    pub(crate) fn poll_released(&mut self, from: SocketAddr) -> Option<Bytes> {
        let peer = self.peers.get_mut(&from)?;
        peer.receivers.iter_mut().find_map(Receiver::poll_released)
    }

    /// Appends the next frame to send and returns where to.
    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        self.peers
            .iter_mut()
            .find_map(|(address, peer)| peer.poll_transmit(now, out).then_some(*address))
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) asked for.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let is_over = |peer: &Peer| peer.narrow_at().is_some_and(|at| at <= now);
        self.is_narrow |= self.peers.values().any(is_over);
        for sender in self.peers.values_mut().filter_map(|p| p.sender.as_mut()) {
            sender.handle_timeout(now);
        }
    }

    /// When to come again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = self.peers.values().filter_map(Peer::poll_timeout);
        let narrow = self.peers.values().filter_map(Peer::narrow_at);
        timeouts.chain(narrow.filter(|_| !self.is_narrow)).min()
    }
}

impl Peer {
    fn handle_hello(&mut self, now: Instant, token: u32) {
        self.welcome = Some(token);
        if self.receivers.iter().any(|known| known.token() == token) {
            return;
        }
        if self.receivers.len() >= RECEIVERS {
            let idle = |receiver: &Receiver| receiver.last_data_at();
            let oldest = (0..self.receivers.len()).min_by_key(|at| idle(&self.receivers[*at]));
            if let Some(oldest) = oldest {
                self.receivers.swap_remove(oldest);
            }
        }
        self.receivers.push(Receiver::new(now, token));
    }

    /// Returns whether there is a new tunnel.
    fn handle_welcome(&mut self, now: Instant, token: u32) -> bool {
        let Some(offer) = self.offer.as_ref().filter(|offer| offer.token == token) else {
            return false;
        };
        let Some(sent_at) = offer.sent_at.filter(|_| self.sender.is_none()) else {
            return false;
        };
        let rtt = now.saturating_duration_since(sent_at);
        tracing::debug!(rtt_ms = rtt.as_millis(), "data goes through a tunnel");
        let mut sender = Sender::new(now, token, rtt);
        self.waiting_since = None;
        for datagram in self.waiting.drain(..) {
            sender.enqueue(now, datagram);
        }
        self.sender = Some(sender);
        true
    }

    /// Keeps datagrams of `segment` bytes each for the tunnel.
    fn wait(&mut self, now: Instant, contents: &[u8], segment: usize) {
        self.waiting_since.get_or_insert(now);
        let waiting: usize = self.waiting.iter().map(Bytes::len).sum();
        if waiting + contents.len() > WAITING_BYTES {
            return tracing::debug!("too much waits for a tunnel");
        }
        let datagrams = contents.chunks(segment).map(Bytes::copy_from_slice);
        self.waiting.extend(datagrams);
    }

    /// When large datagrams will have waited for too long.
    fn narrow_at(&self) -> Option<Instant> {
        Some(self.waiting_since? + NARROW_AFTER)
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        if let Some(token) = self.welcome.take() {
            frame::write_welcome(out, token);
            return true;
        }
        if let Some(offer) = self.offer.as_mut().filter(|_| self.sender.is_none())
            && offer.next_at.is_some_and(|at| at <= now)
        {
            offer.sent_at = Some(now);
            offer.count += 1;
            let wait = HELLO_EVERY * (1 << offer.count);
            offer.next_at = (offer.count < HELLOS).then(|| now + wait);
            frame::write_hello(out, offer.token);
            return true;
        }
        let mut receivers = self.receivers.iter_mut();
        if receivers.any(|receiver| receiver.poll_ack(now, out)) {
            return true;
        }
        let sender = self.sender.as_mut();
        sender.is_some_and(|sender| sender.poll_transmit(now, out))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let offer = self.offer.as_ref().filter(|_| self.sender.is_none());
        let receivers = self.receivers.iter().filter_map(Receiver::poll_timeout);
        offer
            .and_then(|offer| offer.next_at)
            .into_iter()
            .chain(receivers)
            .chain(self.sender.as_ref().and_then(Sender::poll_timeout))
            .min()
    }
}
