//! Which addresses this machine has, told whenever that changes.
//!
//! Only the newest set counts: one that was never looked at is replaced. Where the system does not
//! tell (a sandbox), the session is told nothing and paths are given up by their silence.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use netwatcher::WatchHandle;
use tokio::sync::watch;

/// This machine's addresses.
pub(crate) type Addresses = Arc<BTreeSet<IpAddr>>;

/// Watches until it is dropped.
pub(crate) struct InterfaceWatch {
    addresses: watch::Receiver<Option<Addresses>>,
    /// `None` where it could not be started.
    _handle: Option<WatchHandle>,
}

impl InterfaceWatch {
    pub(crate) fn start() -> Self {
        let (sender, addresses) = watch::channel(None);
        let watching = netwatcher::watch_interfaces_with_callback(move |update| {
            let interfaces = update.interfaces.values();
            let all = interfaces.flat_map(|interface| &interface.ips);
            let now: BTreeSet<IpAddr> = all.map(|record| record.ip).collect();
            sender.send_replace(Some(Arc::new(now)));
        });
        let handle = watching
            .inspect_err(|error| tracing::warn!(?error, "changes of network are not told here"));
        Self {
            addresses,
            _handle: handle.ok(),
        }
    }

    /// Waits for another set than the last one given; for ever where none comes.
    pub(crate) async fn changed(&mut self) -> Addresses {
        loop {
            if self.addresses.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Some(addresses) = self.addresses.borrow_and_update().clone() {
                return addresses;
            }
        }
    }
}

/// Whether anybody else can be reached from one of these. An IPv6 link-local address is there
/// wherever an interface is, with a network behind it or without.
pub(crate) fn reach_others(addresses: &BTreeSet<IpAddr>) -> bool {
    let reaches = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => *v6 != Ipv6Addr::LOCALHOST && !v6.is_unicast_link_local(),
    };
    addresses.iter().any(reaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_local_reach_nobody() {
        let reach = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| text.parse().unwrap());
            reach_others(&addresses.collect())
        };
        assert!(!reach(&[]));
        assert!(!reach(&["127.0.0.1", "::1", "fe80::1"]));
        for other in ["192.168.1.2", "169.254.3.4", "2001:db8::1", "fd00::1"] {
            assert!(reach(&["127.0.0.1", other]), "{other}");
        }
    }

    #[tokio::test]
    async fn the_present_addresses_are_told_first() {
        let mut watch = InterfaceWatch::start();
        let addresses = watch.changed().await;
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
    }
}
