//! Limits per client address.
//!
//! An address is remembered while it has connections and until its buckets have refilled; then it
//! is forgotten, so that memory follows the connections of the last minute, not of all time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::RoomsConfig;
use crate::rate::Bucket;

/// An opaque key for where a connection comes from. The shell decides what shares a key (for
/// example one IPv4 address, or one IPv6 /64).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientAddr(pub u128);

#[derive(Default)]
struct Address {
    connections: usize,
    connects: Bucket,
    joins: Bucket,
}

/// All addresses seen lately.
#[derive(Default)]
pub(crate) struct Addresses {
    by_addr: BTreeMap<ClientAddr, Address>,
}

impl Addresses {
    /// Counts a connection in; false when it must be refused. Refused or not, [`Self::disconnect`]
    /// counts it out.
    pub(crate) fn connect(&mut self, now: Instant, addr: ClientAddr, config: &RoomsConfig) -> bool {
        let address = self.by_addr.entry(addr).or_default();
        let has_room = address.connections < config.address_connections;
        address.connections += 1;
        has_room && address.connects.take(now, config.address_connect_rate)
    }

    /// Whether the address may join a room now.
    pub(crate) fn join(&mut self, now: Instant, addr: ClientAddr, config: &RoomsConfig) -> bool {
        self.by_addr
            .get_mut(&addr)
            .is_none_or(|address| address.joins.take(now, config.address_join_rate))
    }

    /// Counts a connection out. The time to call [`Self::forget`], if it was the last.
    pub(crate) fn disconnect(
        &mut self,
        now: Instant,
        addr: ClientAddr,
        config: &RoomsConfig,
    ) -> Option<Instant> {
        let address = self.by_addr.get_mut(&addr)?;
        address.connections = address.connections.saturating_sub(1);
        let refilled = |rate: crate::Rate| rate.fill_time().min(Duration::from_secs(600));
        let wait = refilled(config.address_connect_rate).max(refilled(config.address_join_rate));
        (address.connections == 0).then(|| now + wait)
    }

    /// Drops the address unless it has connections again.
    pub(crate) fn forget(&mut self, addr: ClientAddr) {
        if self
            .by_addr
            .get(&addr)
            .is_some_and(|address| address.connections == 0)
        {
            self.by_addr.remove(&addr);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_addr.len()
    }
}
