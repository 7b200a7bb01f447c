//! Requests: who may ask, and what they get.
//!
//! Order of RFC 8489, section 9.2.4: credentials first, then unknown attributes, then the method.
//! Deliberately not here: data, and what happens without anybody asking (the parent module).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{
    Client, REALM, RelayId, Transport, TurnOutput, TurnServer, UNDERSTOOD, is_same_family,
};
use crate::turn::allocation::{Allocation, ChannelError};
use crate::turn::message::{self, Builder, Class, Message, TransactionId};
use crate::turn::quota::IpKey;

const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
const LONGEST_LIFETIME: Duration = Duration::from_secs(3_600);
/// IPv4 and UDP headers: what a packet is at least longer than its payload.
pub(super) const PACKET_OVERHEAD: usize = 28;
const UDP_PROTOCOL: u8 = 17;
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;

/// What a request is refused with.
pub(super) enum Refusal {
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
    pub(super) fn handle_request(
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
        let lifetime = message
            .u32(message::LIFETIME)
            .map_or(DEFAULT_LIFETIME, |seconds| {
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
        if !self
            .config
            .relay_ips
            .iter()
            .any(|ip| ip.is_ipv6() == is_ipv6)
        {
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

    pub(super) fn answer_allocate(&mut self, now: Instant, client: Client) {
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

    pub(super) fn unix_s(&self, now: Instant) -> u64 {
        let (start, unix_s) = self.started;
        unix_s + now.saturating_duration_since(start).as_secs()
    }

    pub(super) fn refuse(
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
    pub(super) fn answer_anybody(
        &mut self,
        now: Instant,
        client: Client,
        request_bytes: usize,
        bytes: Vec<u8>,
    ) {
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
}

/// Who a grant is for, whenever it expires.
fn user_of(username: &str) -> &str {
    username.split_once(':').map_or(username, |(_, id)| id)
}

fn family_of(addr: SocketAddr) -> u8 {
    if addr.is_ipv4() { 1 } else { 2 }
}

fn seconds(duration: Duration) -> [u8; 4] {
    u32::try_from(duration.as_secs())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}
