//! Which shard a datagram belongs to when the system gave it to another one.
//!
//! Every shard receives on the same port and the system spreads senders over them, while a room
//! lives on one. A shard that does not know a sender looks here. Invariant: an entry is removed by
//! the shard it names, when its link ends. Bounded by the links of all shards.
//!
//! ICE user name fragments are looked up as well instead of carrying the shard's number, because
//! str0m makes new random ones at every ICE restart.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::RwLock;

/// The number of a shard.
pub(super) type ShardIndex = usize;

#[derive(Debug, Default)]
struct Tables {
    fragments: HashMap<String, ShardIndex>,
    addresses: HashMap<SocketAddr, ShardIndex>,
}

/// Shared by all shards.
#[derive(Debug, Default)]
pub(super) struct Routes {
    tables: RwLock<Tables>,
}

impl Routes {
    pub(super) fn by_fragment(&self, fragment: &str) -> Option<ShardIndex> {
        self.read(|tables| tables.fragments.get(fragment).copied())
    }

    pub(super) fn by_address(&self, address: SocketAddr) -> Option<ShardIndex> {
        self.read(|tables| tables.addresses.get(&address).copied())
    }

    pub(super) fn add_fragment(&self, fragment: String, shard: ShardIndex) {
        self.write(|tables| tables.fragments.insert(fragment, shard));
    }

    pub(super) fn add_address(&self, address: SocketAddr, shard: ShardIndex) {
        self.write(|tables| tables.addresses.insert(address, shard));
    }

    pub(super) fn remove_fragment(&self, fragment: &str) {
        self.write(|tables| tables.fragments.remove(fragment));
    }

    /// Only where it still names this shard.
    pub(super) fn remove_address(&self, address: SocketAddr, shard: ShardIndex) {
        self.write(|tables| {
            if tables.addresses.get(&address) == Some(&shard) {
                tables.addresses.remove(&address);
            }
        });
    }

    fn read<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        // A poisoned table is as good as before: no operation leaves it half changed.
        look(
            &self
                .tables
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn write<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> T {
        change(
            &mut self
                .tables
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_moved_on_is_not_removed_by_its_former_shard() {
        let routes = Routes::default();
        let address: SocketAddr = "192.0.2.1:9".parse().unwrap();
        routes.add_address(address, 0);
        routes.add_address(address, 1);
        routes.remove_address(address, 0);
        assert_eq!(routes.by_address(address), Some(1));
        routes.remove_address(address, 1);
        assert_eq!(routes.by_address(address), None);
        routes.add_fragment("abc".into(), 1);
        assert_eq!(routes.by_fragment("abc"), Some(1));
        routes.remove_fragment("abc");
        assert_eq!(routes.by_fragment("abc"), None);
    }
}
