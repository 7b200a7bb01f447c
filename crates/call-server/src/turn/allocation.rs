//! One allocation: who made it, whom it may talk to, and how much.
//!
//! States: opening (the relay's socket is being bound) → open → gone (expired, released, or its
//! stream ended). Permissions and channels that have expired count as absent wherever they are
//! looked at; [`Allocation::sweep`] only frees their memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::config::TurnLimits;
use super::message::TransactionId;
use super::quota::{Bucket, IpKey};
use super::server::RelayId;

/// RFC 8656, section 9.
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// RFC 8656, section 12.
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// However often it is refreshed, an allocation ends after this.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module's text.
pub(crate) struct Allocation {
    pub(crate) relay: RelayId,
    /// The user name without its expiry, for quotas.
    pub(crate) user: String,
    pub(crate) username: String,
    pub(crate) key: [u8; 16],
    pub(crate) ip: IpKey,
    /// Of the Allocate request, which may come again.
    pub(crate) transaction: TransactionId,
    /// `None` while opening.
    pub(crate) relayed: Option<SocketAddr>,
    pub(crate) lifetime: Duration,
    pub(crate) expires_at: Instant,
    pub(crate) ends_at: Instant,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
    numbers: BTreeMap<SocketAddr, u16>,
    /// Payload from the client, and to it.
    pub(crate) up: Bucket,
    pub(crate) down: Bucket,
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelError {
    /// The number or the peer is bound otherwise.
    Taken,
    /// No room.
    Full,
}

impl Allocation {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a plain fact of the request"
    )]
    pub(crate) fn new(
        now: Instant,
        relay: RelayId,
        user: String,
        username: String,
        key: [u8; 16],
        ip: IpKey,
        transaction: TransactionId,
        lifetime: Duration,
    ) -> Self {
        Self {
            relay,
            user,
            username,
            key,
            ip,
            transaction,
            relayed: None,
            lifetime,
            expires_at: now + lifetime,
            ends_at: now + LONGEST_LIFE,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            numbers: BTreeMap::new(),
            up: Bucket::default(),
            down: Bucket::default(),
        }
    }

    /// Returns the lifetime that is granted.
    pub(crate) fn refresh(&mut self, now: Instant, lifetime: Duration) -> Duration {
        self.lifetime = lifetime.min(self.ends_at.saturating_duration_since(now));
        self.expires_at = now + self.lifetime;
        self.lifetime
    }

    pub(crate) fn permits(&self, now: Instant, peer: IpAddr) -> bool {
        self.permissions
            .get(&peer)
            .is_some_and(|until| *until > now)
    }

    /// All or none; false: no room.
    pub(crate) fn permit(&mut self, now: Instant, peers: &[IpAddr], limits: &TurnLimits) -> bool {
        let is_new = |peer: &&IpAddr| !self.permissions.contains_key(*peer);
        if self.permissions.len() + peers.iter().filter(is_new).count() > limits.permissions {
            self.sweep(now);
            let is_new = |peer: &&IpAddr| !self.permissions.contains_key(*peer);
            if self.permissions.len() + peers.iter().filter(is_new).count() > limits.permissions {
                return false;
            }
        }
        for peer in peers {
            self.permissions.insert(*peer, now + PERMISSION_LIFETIME);
        }
        true
    }

    pub(crate) fn bind(
        &mut self,
        now: Instant,
        number: u16,
        peer: SocketAddr,
        limits: &TurnLimits,
    ) -> Result<(), ChannelError> {
        self.sweep(now);
        let bound = self.channels.get(&number).map(|(peer, _)| *peer);
        let has = self.numbers.get(&peer).copied();
        if bound.is_some_and(|bound| bound != peer) || has.is_some_and(|has| has != number) {
            return Err(ChannelError::Taken);
        }
        if bound.is_none() && self.channels.len() >= limits.channels {
            return Err(ChannelError::Full);
        }
        if !self.permit(now, &[peer.ip()], limits) {
            return Err(ChannelError::Full);
        }
        self.channels.insert(number, (peer, now + CHANNEL_LIFETIME));
        self.numbers.insert(peer, number);
        Ok(())
    }

    /// The peer of a channel.
    pub(crate) fn peer(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        let (peer, until) = self.channels.get(&number)?;
        (*until > now).then_some(*peer)
    }

    /// The channel of a peer.
    pub(crate) fn channel(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let number = *self.numbers.get(&peer)?;
        self.peer(now, number).map(|_| number)
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.permissions.retain(|_, until| *until > now);
        self.channels.retain(|_, (_, until)| *until > now);
        let channels = &self.channels;
        self.numbers
            .retain(|_, number| channels.contains_key(number));
    }
}
