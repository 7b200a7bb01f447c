//! Whom the relay may talk to: a pure decision about one IP address.
//!
//! A relay sends packets from inside the operator's network on behalf of strangers, so everything
//! that is not plainly a public address is refused: private and link-local networks, cloud metadata
//! services, multicast, and the server itself. An IPv6 address that carries an IPv4 address
//! (mapped, 6to4, Teredo, NAT64, ISATAP) must be fine in both readings, because a router on the way
//! may unwrap it.
//!
//! Deliberately not here: which of the server's own ports are relays (see `server`), names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What of the refusable is allowed, and which addresses are the server's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// Allows private networks (RFC 1918, RFC 4193, RFC 6598), loopback and the server's own
    /// addresses: for servers of one LAN, and tests. Never metadata services, multicast, link-local
    /// or unspecified addresses.
    pub(crate) allow_private: bool,
    /// The server's own addresses, IPv4 in IPv4 form.
    pub(crate) own: Vec<IpAddr>,
}

/// How an address may be relayed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Public,
    /// Allowed by [`Policy::allow_private`] only.
    Private,
    Never,
}

/// Whether the relay may send to, and accept from, `ip`.
pub(crate) fn is_relayable(ip: IpAddr, policy: &Policy) -> bool {
    let is_own = |ip: IpAddr| !policy.allow_private && policy.own.contains(&ip);
    let (scope, embedded) = match ip.to_canonical() {
        IpAddr::V4(ip) => (scope_v4(ip), vec![ip]),
        IpAddr::V6(ip) => {
            let embedded = embedded_v4(ip);
            let inner = embedded.iter().map(|ip| scope_v4(*ip)).max();
            (scope_v6(ip).max(inner.unwrap_or(Scope::Public)), embedded)
        }
    };
    let allowed = if policy.allow_private {
        Scope::Private
    } else {
        Scope::Public
    };
    scope <= allowed
        && !is_own(ip.to_canonical())
        && !embedded.iter().any(|ip| is_own(IpAddr::V4(*ip)))
}

/// The registry of special addresses (RFC 6890 and its successors), and metadata services that live
/// outside of link-local ranges.
const V4_RANGES: [(Ipv4Addr, u32, Scope); 20] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, Scope::Never),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Scope::Private),
    // Metadata at Alibaba Cloud, inside the range below.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Scope::Never),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Scope::Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Scope::Private),
    // The host agent of Azure, a public address answered by the host.
    (Ipv4Addr::new(168, 63, 129, 16), 32, Scope::Never),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Scope::Never),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Scope::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Scope::Never),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Scope::Never),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Scope::Never),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Scope::Never),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Scope::Never),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Scope::Private),
    (Ipv4Addr::new(192, 175, 48, 0), 24, Scope::Never),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Scope::Never),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Scope::Never),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Scope::Never),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Scope::Never),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Scope::Never),
];

fn scope_v4(ip: Ipv4Addr) -> Scope {
    V4_RANGES
        .iter()
        .find(|(net, bits, _)| (ip.to_bits() ^ net.to_bits()) >> (32 - bits) == 0)
        .map_or(Scope::Public, |(.., scope)| *scope)
}

/// First match wins. What is not listed is public only inside 2000::/3, the one range routed
/// globally.
const V6_RANGES: [(Ipv6Addr, u32, Scope); 12] = [
    (Ipv6Addr::LOCALHOST, 128, Scope::Private),
    // NAT64 (RFC 6052), and its local form (RFC 8215).
    (v6(0x64, 0xff9b, 0), 96, Scope::Public),
    (v6(0x64, 0xff9b, 1), 48, Scope::Private),
    // Teredo (RFC 4380), inside of the IETF's assignments, which are no hosts.
    (v6(0x2001, 0, 0), 32, Scope::Public),
    (v6(0x2001, 0, 0), 23, Scope::Never),
    (v6(0x2001, 0xdb8, 0), 32, Scope::Never),
    (v6(0x2620, 0x4f, 0x8000), 48, Scope::Never),
    (v6(0x3fff, 0, 0), 20, Scope::Never),
    // Metadata at Amazon, inside the range below.
    (
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        128,
        Scope::Never,
    ),
    // Metadata at Google, likewise.
    (
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        128,
        Scope::Never,
    ),
    (v6(0xfc00, 0, 0), 7, Scope::Private),
    (v6(0x2000, 0, 0), 3, Scope::Public),
];

const fn v6(a: u16, b: u16, c: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
}

fn is_in(ip: Ipv6Addr, net: Ipv6Addr, bits: u32) -> bool {
    (ip.to_bits() ^ net.to_bits()) >> (128 - bits) == 0
}

fn scope_v6(ip: Ipv6Addr) -> Scope {
    V6_RANGES
        .iter()
        .find(|(net, bits, _)| is_in(ip, *net, *bits))
        .map_or(Scope::Never, |(.., scope)| *scope)
}

/// Every IPv4 address that some mechanism reads out of `ip`.
fn embedded_v4(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bits = ip.to_bits();
    let at = |end: u32| Ipv4Addr::from_bits((bits >> (128 - end)) as u32);
    let mut embedded = Vec::new();
    // Compatible (RFC 4291, section 2.5.5.1), which :: and ::1 are not.
    if bits > 1 && bits >> 32 == 0 {
        embedded.push(at(128));
    }
    // 6to4 (RFC 3056).
    if is_in(ip, v6(0x2002, 0, 0), 16) {
        embedded.push(at(48));
    }
    // Teredo: the server, and the client inverted.
    if is_in(ip, v6(0x2001, 0, 0), 32) {
        embedded.extend([at(64), Ipv4Addr::from_bits(!at(128).to_bits())]);
    }
    if is_in(ip, v6(0x64, 0xff9b, 0), 96) {
        embedded.push(at(128));
    }
    // RFC 6052, section 2.2: with a prefix of 48, 56 or 64 bits the address is split around the
    // octet at bit 64.
    if is_in(ip, v6(0x64, 0xff9b, 1), 48) {
        let octets = ip.octets();
        let pick = |at: [usize; 4]| Ipv4Addr::from(at.map(|at| octets[at]));
        embedded.extend([
            pick([6, 7, 9, 10]),
            pick([7, 9, 10, 11]),
            pick([9, 10, 11, 12]),
            at(128),
        ]);
    }
    // ISATAP (RFC 5214, section 6.1), in any network.
    if matches!((bits >> 32) as u32, 0x0000_5efe | 0x0200_5efe) {
        embedded.push(at(128));
    }
    embedded
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Addresses at the edges of every refused range, and whether `allow_private` lifts it.
    pub(crate) const DENIED: &[(&str, bool)] = &[
        ("0.0.0.0", false),
        ("0.255.255.255", false),
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("100.64.0.0", true),
        ("100.127.255.255", true),
        ("100.100.100.200", false),
        ("127.0.0.1", true),
        ("127.0.0.0", true),
        ("127.255.255.255", true),
        ("168.63.129.16", false),
        ("169.254.0.0", false),
        ("169.254.169.254", false),
        ("169.254.170.2", false),
        ("169.254.255.255", false),
        ("172.16.0.0", true),
        ("172.31.255.255", true),
        ("192.0.0.0", false),
        ("192.0.0.255", false),
        ("192.0.2.0", false),
        ("192.0.2.255", false),
        ("192.88.99.0", false),
        ("192.88.99.255", false),
        ("192.168.0.0", true),
        ("192.168.255.255", true),
        ("198.18.0.0", false),
        ("198.19.255.255", false),
        ("198.51.100.0", false),
        ("198.51.100.255", false),
        ("203.0.113.0", false),
        ("203.0.113.255", false),
        ("224.0.0.0", false),
        ("239.255.255.255", false),
        ("240.0.0.0", false),
        ("255.255.255.254", false),
        ("255.255.255.255", false),
        ("::", false),
        ("::1", true),
        // Mapped.
        ("::ffff:127.0.0.1", true),
        ("::ffff:10.0.0.1", true),
        ("::ffff:169.254.169.254", false),
        ("::ffff:0.0.0.0", false),
        ("::ffff:224.0.0.1", false),
        // Compatible and translated: refused whatever they carry.
        ("::127.0.0.1", false),
        ("::169.254.169.254", false),
        ("::8.8.8.8", false),
        ("::ffff:0:8.8.8.8", false),
        // 6to4.
        ("2002:7f00:1::1", true),
        ("2002:a00:1::", true),
        ("2002:c0a8:101::1", true),
        ("2002:a9fe:a9fe::1", false),
        ("2002:e000:1::1", false),
        // NAT64.
        ("64:ff9b::127.0.0.1", true),
        ("64:ff9b::10.1.2.3", true),
        ("64:ff9b::169.254.169.254", false),
        ("64:ff9b::255.255.255.255", false),
        ("64:ff9b:0:1::8.8.8.8", false),
        ("64:ff9b:1:808:8:800::", false),
        ("64:ff9b:1:a9fe:a9:fe00::", false),
        ("64:ff9b:1:ffff:ffff:ffff:169.254.169.254", false),
        // Teredo: server, and inverted client.
        ("2001:0:7f00:1::f7f7:f7f7", true),
        ("2001:0:808:808::80ff:fffe", true),
        ("2001:0:808:808::5601:5601", false),
        ("2001:0:a9fe:a9fe::f7f7:f7f7", false),
        // ISATAP.
        ("2600::5efe:10.0.0.1", true),
        ("2600::200:5efe:192.168.1.1", true),
        ("2600::5efe:169.254.169.254", false),
        ("fe80::5efe:8.8.8.8", false),
        // IPv6 proper.
        ("fc00::", true),
        ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
        ("fd00:ec2::254", false),
        ("fd20:ce::254", false),
        ("fe80::", false),
        ("fe80::1", false),
        ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("fec0::1", false),
        ("ff00::", false),
        ("ff02::1", false),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("100::1", false),
        ("2001:1::1", false),
        ("2001:2::1", false),
        ("2001:10::1", false),
        ("2001:20::1", false),
        ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("2001:db8::", false),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("3fff::", false),
        ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("5f00::1", false),
        ("4000::", false),
        ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
    ];

    const ALLOWED: &[&str] = &[
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:0:808:808::f7f7:f7f7",
        "2001:200::",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "2600::5efe:8.8.8.8",
        "2000::",
        "2606:4700::1111",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
    ];

    fn judge(ip: &str, policy: &Policy) -> bool {
        is_relayable(ip.parse().unwrap(), policy)
    }

    #[test]
    fn special_addresses_are_refused_up_to_their_edges() {
        let strict = Policy::default();
        let private = Policy {
            allow_private: true,
            ..Policy::default()
        };
        for (ip, with_private) in DENIED {
            assert!(!judge(ip, &strict), "{ip}");
            assert_eq!(judge(ip, &private), *with_private, "{ip} with private");
        }
        for ip in ALLOWED {
            assert!(judge(ip, &strict), "{ip}");
            assert!(judge(ip, &private), "{ip} with private");
        }
    }

    #[test]
    fn the_servers_own_addresses_are_refused_in_every_form() {
        let policy = Policy {
            own: vec!["8.8.8.8".parse().unwrap(), "2600::1".parse().unwrap()],
            ..Policy::default()
        };
        for ip in [
            "8.8.8.8",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808::f6f6:f6f6",
            "2001:0:909:909::f7f7:f7f7",
            "2600:5::5efe:8.8.8.8",
            "2600::1",
        ] {
            assert!(!judge(ip, &policy), "{ip}");
        }
        assert!(judge("8.8.8.9", &policy));
        assert!(judge("2600::2", &policy));
    }
}
