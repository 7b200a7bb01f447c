//! Rooms on the local network without any server configured: announced and found by multicast DNS
//! (DNS-SD, RFC 6763) as `_visavis._tcp.local.`.
//!
//! What is announced names nobody: a random instance and host name, the port, and the TXT record
//! `room=<tag>` where the tag is derived from the room's keys, so that only who knows the code
//! recognises the room.
//!
//! Loopback interfaces take part, so two processes of one host find each other even where there is
//! no network. A room hosted by this very process is found without any packet (the engine tells).
//!
//! Deliberately not here: the embedded server itself (see [`crate::RoomHost`]), and trust: whoever
//! answers only relays sealed messages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use call_protocol::ErrorCode;
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// The service type.
const SERVICE: &str = "_visavis._tcp.local.";
/// The version of the TXT record.
const TXT_VERSION: &str = "1";
/// How long a room is looked for. An answer usually takes under 200 ms; a just opened room answers
/// after its probing, about a second.
pub const BROWSE: Duration = Duration::from_secs(5);
/// How long one address may take to accept a connection on the local network.
const CONNECT: Duration = Duration::from_millis(700);
/// Addresses tried of one answer; a forged one cannot keep us busy.
const ADDRESSES: usize = 8;

/// An announced room. Dropping it takes the announcement back.
pub struct Announcement {
    daemon: ServiceDaemon,
    fullname: String,
}

impl Announcement {
    /// Announces a room served on `port` of every address of this host.
    ///
    /// # Errors
    /// [`ErrorCode::HostFailed`] when multicast DNS cannot be started.
    pub fn start(tag: &str, port: u16) -> Result<Self, ErrorCode> {
        let failed = |error: mdns_sd::Error| {
            tracing::warn!(%error, "the room cannot be announced");
            ErrorCode::HostFailed
        };
        let daemon = ServiceDaemon::new().map_err(failed)?;
        let instance = random_name();
        let host = format!("visavis-{instance}.local.");
        let txt = [("room", tag), ("v", TXT_VERSION)];
        let registered = ServiceInfo::new(SERVICE, &instance, &host, "", port, &txt[..])
            .map(ServiceInfo::enable_addr_auto)
            .and_then(|mut info| {
                // A random name has nobody to conflict with; probing would cost 750 ms.
                info.set_requires_probe(false);
                let fullname = info.get_fullname().to_owned();
                daemon.register(info).map(|()| fullname)
            });
        match registered {
            Ok(fullname) => Ok(Self { daemon, fullname }),
            Err(error) => {
                stop(&daemon);
                Err(failed(error))
            }
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // The daemon works its commands off in order: the goodbye leaves before it ends.
        if let Err(error) = self.daemon.unregister(&self.fullname) {
            tracing::debug!(%error, "announcement not taken back");
        }
        stop(&self.daemon);
    }
}

/// Looks for the room with this tag and returns the address of a server that accepts connections.
///
/// # Errors
/// [`ErrorCode::RoomNotFoundOnLan`] when nobody answers within `patience`.
pub async fn find(tag: &str, patience: Duration) -> Result<SocketAddr, ErrorCode> {
    let daemon = ServiceDaemon::new().map_err(|error| {
        tracing::warn!(%error, "the local network cannot be searched");
        ErrorCode::RoomNotFoundOnLan
    })?;
    let found = browse(&daemon, tag, Instant::now() + patience).await;
    stop(&daemon);
    found.ok_or(ErrorCode::RoomNotFoundOnLan)
}

async fn browse(daemon: &ServiceDaemon, tag: &str, deadline: Instant) -> Option<SocketAddr> {
    let events = daemon.browse(SERVICE).ok()?;
    while let Ok(Ok(event)) = timeout_at(deadline, events.recv_async()).await {
        let ServiceEvent::ServiceResolved(service) = event else {
            continue;
        };
        if service.get_property_val_str("room") != Some(tag) {
            continue;
        }
        for address in candidates(&service) {
            let connected = timeout(CONNECT, TcpStream::connect(address));
            if let Ok(Ok(_)) = timeout_at(deadline, connected)
                .await
                .unwrap_or(Ok(Err(refused())))
            {
                return Some(address);
            }
        }
    }
    None
}

fn refused() -> std::io::Error {
    std::io::ErrorKind::TimedOut.into()
}

fn candidates(service: &ResolvedService) -> Vec<SocketAddr> {
    let addresses = service
        .get_addresses()
        .iter()
        .map(mdns_sd::ScopedIp::to_ip_addr);
    order(addresses.collect(), service.get_port())
}

/// IPv4 first (link-local IPv6 needs a scope that a URL cannot carry), loopback last.
fn order(mut addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    addresses.retain(|address| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    });
    addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6(), *address));
    addresses.dedup();
    // Loopback is tried whatever the number of the others: the host may be this machine.
    let loopback = addresses
        .iter()
        .position(IpAddr::is_loopback)
        .unwrap_or(addresses.len());
    let (others, local) = addresses.split_at(loopback);
    let tried = others.iter().take(ADDRESSES).chain(local.iter().take(2));
    tried
        .map(|address| SocketAddr::new(*address, port))
        .collect()
}

fn stop(daemon: &ServiceDaemon) {
    if let Err(error) = daemon.shutdown() {
        tracing::debug!(%error, "multicast DNS did not stop");
    }
}

fn random_name() -> String {
    let mut bytes = [0u8; 8];
    if getrandom::fill(&mut bytes).is_err() {
        // Only uniqueness on the link is at stake; the process id gives enough of it.
        bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tried_in_a_sensible_order() {
        let parse = |list: &[&str]| {
            list.iter()
                .map(|ip| ip.parse().unwrap())
                .collect::<Vec<_>>()
        };
        let got = order(parse(&["::1", "fe80::1", "2001:db8::1", "192.168.1.5"]), 7);
        let want = ["192.168.1.5:7", "[2001:db8::1]:7", "127.0.0.1:7", "[::1]:7"];
        let want = want.map(|address| address.parse::<SocketAddr>().unwrap());
        assert_eq!(got, want);
        let many: Vec<IpAddr> = (0..40).map(|n| Ipv4Addr::new(10, 0, 0, n).into()).collect();
        let got = order(many, 1);
        assert_eq!(got.len(), ADDRESSES + 1);
        assert!(got[ADDRESSES].ip().is_loopback());
    }
}
