//! Links with a delay, a loss and a rate of a test's choosing, between network namespaces: the
//! kernels tests run on may lack netem, and `tbf` alone knows no delay.

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use call_lab::link::Plan;
use call_lab::network::PathConfig;
use call_lab::tun::TunLink;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::network::{Namespace, Place, sh};

/// One way through a cheap router: 20 ms, and a queue of 300 ms, of a full-sized packet four at least.
pub fn cheap_path(rate_bps: u64) -> PathConfig {
    PathConfig {
        delay: Duration::from_millis(20),
        rate_bps: Some(rate_bps),
        queue_bytes: (rate_bps as usize * 3 / 80).max(6_000),
        ..PathConfig::default()
    }
}

/// One end of a link.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// Where it is; `None` is the test's own namespace.
    pub namespace: Option<&'a Namespace>,
    /// With prefix length: `10.79.0.1/24`.
    pub address: &'a str,
}

/// Lays a link between two ends; `there` is from the first to the second. The interfaces are called
/// after `name` (12 characters at most), with `a` and `b` behind it. What is not of the ends' own
/// network is not routed through it. `None`, said aloud, where there is no TUN to be had.
///
/// # Panics
/// When the interfaces cannot be moved or given addresses.
#[expect(
    clippy::print_stderr,
    reason = "what cannot run somewhere is said aloud"
)]
pub fn lay(name: &str, ends: [End<'_>; 2], plan: Plan) -> Option<TunLink> {
    let names = [format!("{name}a"), format!("{name}b")];
    let link = match TunLink::start([&names[0], &names[1]], plan) {
        Ok(link) => link,
        Err(error) => {
            eprintln!("SKIPPED: no TUN interfaces here ({error})");
            return None;
        }
    };
    for (interface, end) in names.iter().zip(ends) {
        let up = format!(
            "ip addr add {} dev {interface} && ip link set {interface} up",
            end.address
        );
        match end.namespace {
            None => sh(&up),
            Some(namespace) => {
                let pid = namespace.pid();
                sh(&format!("ip link set {interface} netns {pid}"));
                namespace.run(&up);
            }
        }
    }
    Some(link)
}

/// Two namespaces with nothing but a link between them, by which each reaches everything.
pub struct Apart {
    /// `there` is from the first to the second.
    pub link: TunLink,
    ends: [Namespace; 2],
}

impl Apart {
    const ADDRESSES: [&str; 2] = ["10.79.0.1", "10.79.0.2"];

    /// Interfaces are called as by [`lay`]. `None` where namespaces or TUN are not to be had.
    ///
    /// # Panics
    /// As [`lay`] does.
    pub fn new(name: &str, plan: Plan) -> Option<Self> {
        let ends = [Namespace::new()?, Namespace::new()?];
        let addresses = Self::ADDRESSES.map(|address| format!("{address}/24"));
        let end = |at: usize| End {
            namespace: Some(&ends[at]),
            address: &addresses[at],
        };
        let link = lay(name, [end(0), end(1)], plan)?;
        // Browsers look for their address by the way to everywhere.
        for (end, letter) in ends.iter().zip(["a", "b"]) {
            end.run(&format!("ip route add default dev {name}{letter}"));
        }
        Some(Self { link, ends })
    }

    /// Where the two ends run.
    pub fn places(&self) -> [Place<'_>; 2] {
        [0, 1].map(|at| Place {
            namespace: &self.ends[at],
            address: Self::ADDRESSES[at],
        })
    }
}

/// As [`lay`], from the test's own namespace to this one, which reaches everything else through it.
///
/// # Panics
/// As [`lay`] does.
pub fn connect(
    namespace: &Namespace,
    name: &str,
    outer: &str,
    inner: &str,
    plan: Plan,
) -> Option<TunLink> {
    let ends = [
        End {
            namespace: None,
            address: outer,
        },
        End {
            namespace: Some(namespace),
            address: inner,
        },
    ];
    let link = lay(name, ends, plan)?;
    namespace.run(&format!("ip route add default dev {name}b"));
    Some(link)
}

/// A UDP socket bound to `address` in this namespace, for use anywhere.
///
/// # Errors
/// The namespace cannot be entered or the address not be bound.
///
/// # Panics
/// When no thread starts.
pub fn bind_udp(namespace: &Namespace, address: &str) -> io::Result<UdpSocket> {
    let path = format!("/proc/{}/ns/net", namespace.pid());
    let bind = || {
        let namespace = File::open(&path)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        UdpSocket::bind(address)
    };
    // A thread that has moved stays moved: it ends with its errand.
    std::thread::scope(|scope| scope.spawn(bind).join()).expect("binding does not panic")
}
