//! Addresses at which members reach the media port.

use std::net::{IpAddr, SocketAddr};

use tracing::debug;

/// More addresses are not told; each costs members a check.
const MAX_ADDRESSES: usize = 8;

/// Where the media port is reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// The address it is bound to.
    pub(super) bound: SocketAddr,
    /// The address members see it at, where another one.
    pub(super) public_ip: Option<IpAddr>,
}

impl Reach {
    /// Bound to every interface: which one a member uses shows only when it does.
    pub(super) fn is_open(&self) -> bool {
        self.public_ip.is_none() && self.bound.ip().is_unspecified()
    }

    /// The candidates to offer. Interfaces come and go, so they are looked up for every link.
    pub(super) fn candidates(&self) -> Vec<SocketAddr> {
        let ips = match self.public_ip {
            Some(ip) => vec![ip],
            None if self.bound.ip().is_unspecified() => {
                let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
                    debug!(%error, "interfaces not listed");
                    Vec::new()
                });
                let ips: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
                usable(&ips, self.bound.is_ipv6())
            }
            None => vec![self.bound.ip()],
        };
        let port = self.bound.port();
        ips.into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect()
    }

    /// The candidate a datagram that arrived at `to` was sent to.
    pub(super) fn candidate_of(&self, to: IpAddr) -> SocketAddr {
        let ip = if self.is_open() {
            to
        } else {
            self.public_ip.unwrap_or(self.bound.ip())
        };
        SocketAddr::new(ip, self.bound.port())
    }
}

/// Addresses others can reach; loopback only where there is nothing else.
fn usable(ips: &[IpAddr], has_v6: bool) -> Vec<IpAddr> {
    let is_usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        // Link-local ones need a scope that candidates do not carry.
        IpAddr::V6(ip) => has_v6 && !ip.is_unicast_link_local(),
    };
    let (loopback, others): (Vec<IpAddr>, Vec<IpAddr>) = ips
        .iter()
        .copied()
        .filter(is_usable)
        .partition(IpAddr::is_loopback);
    let mut chosen = if others.is_empty() { loopback } else { others };
    chosen.truncate(MAX_ADDRESSES);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_addresses_others_reach_are_offered() {
        let all = ips(&[
            "127.0.0.1",
            "::1",
            "192.0.2.1",
            "fe80::1",
            "2001:db8::1",
            "169.254.1.1",
        ]);
        assert_eq!(usable(&all, true), ips(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(usable(&all, false), ips(&["192.0.2.1"]));
        assert_eq!(usable(&all[..2], false), ips(&["127.0.0.1"]));
        assert_eq!(usable(&vec![all[2]; 100], false).len(), MAX_ADDRESSES);
    }

    #[test]
    fn behind_a_public_address_there_is_one_candidate() {
        let reach = Reach {
            bound: "0.0.0.0:9".parse().unwrap(),
            public_ip: Some("192.0.2.7".parse().unwrap()),
        };
        let public: SocketAddr = "192.0.2.7:9".parse().unwrap();
        assert_eq!(reach.candidates(), [public]);
        assert_eq!(reach.candidate_of("10.0.0.1".parse().unwrap()), public);
        assert!(!reach.is_open());
    }

    #[test]
    fn bound_to_everything_the_receiving_address_counts() {
        let reach = Reach {
            bound: "0.0.0.0:9".parse().unwrap(),
            public_ip: None,
        };
        assert!(reach.is_open());
        let to = "10.0.0.1".parse().unwrap();
        assert_eq!(reach.candidate_of(to), "10.0.0.1:9".parse().unwrap());
        assert!(!reach.candidates().is_empty());
    }
}
