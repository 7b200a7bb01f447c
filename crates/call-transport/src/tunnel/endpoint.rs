//! The tunnels of one socket, as a value: which datagrams go through one, and what frames mean.
//!
//! Towards each address that DTLS goes to, a tunnel is offered with [`Frame::Hello`] once application
//! data flows, [`HELLOS`] times, and datagrams pass as they are until it is welcomed. Each
//! direction is a tunnel of its own. One that makes no progress for long is over; its datagrams are
//! dropped, and another is offered.
//!
//! Invariants: only what DTLS protects is put into a tunnel; frames from addresses that DTLS never
//! went to are ignored, as are those without a known token. Bounds: [`PEERS`] addresses and
//! [`RECEIVERS`] tunnels from each; the ones silent for longest make room.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::frame::{self, Frame};
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
/// First byte of what DTLS protects for applications: record type 23 (RFC 6347, section 4.1).
const APPLICATION_DATA: u8 = 23;

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
    /// Whether DTLS went there; nothing is accepted before.
    used_at: Instant,
    offer: Option<Offer>,
    sender: Option<Sender>,
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
}

impl Endpoint {
    /// `tokens` draws the tunnels' names, which an outsider must not guess.
    pub(crate) fn new(tokens: StdRng) -> Self {
        Self {
            peers: BTreeMap::new(),
            tokens,
            limit_bps: None,
            active: None,
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

    /// Takes what the stack sends: one datagram, or several of `segment` bytes each but the last.
    /// Returns whether a tunnel carries it; if not, it shall be sent as it is.
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
        // RFC 7983: DTLS.
        if !(20..=63).contains(first) {
            return false;
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
            return false;
        };
        sender.set_limit_bps(limit);
        let contents = Bytes::copy_from_slice(contents);
        let segment = segment.unwrap_or(contents.len()).max(1);
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
                payload,
            } => {
                let known = peer.receivers.iter_mut().find(|r| r.token() == token);
                let fate = known.map(|r| r.handle_data(now, arrived_at, packet, datagram, payload));
                if fate == Some(Fate::Next) {
                    return Incoming::Next;
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
        for sender in self.peers.values_mut().filter_map(|p| p.sender.as_mut()) {
            sender.handle_timeout(now);
        }
    }

    /// When to come again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.peers.values().filter_map(Peer::poll_timeout).min()
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
        self.sender = Some(Sender::new(now, token, rtt));
        true
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
