//! Networks of a test's own. [`run_in_own_network`] runs a test inside a namespace: nothing it says
//! by multicast leaves the machine, and it meets the same network (one interface, no route out)
//! wherever it runs. [`Homes`] is a small internet with NATs.

use std::process::Command;

use super::network::Namespace;

const INSIDE: &str = "VISAVIS_TEST_NAMESPACE";

/// Brings up the namespace's only link: a veth pair with one address and a multicast route.
const SET_UP: &str = "ip link set lo up \
    && ip link add call0 type veth peer name call1 \
    && ip addr add 10.77.0.1/24 dev call0 \
    && ip link set call0 up && ip link set call1 up \
    && ip route add 224.0.0.0/4 dev call0 \
    && exec \"$@\"";

/// Runs `body` inside a fresh namespace by starting this test binary again for `test` (its full
/// name) under `unshare`. Where namespaces are not to be had, runs `body` right here and says so.
///
/// # Panics
/// When the run inside fails, or `body` panics.
#[expect(
    clippy::print_stderr,
    reason = "what cannot run somewhere is said aloud"
)]
pub fn run_in_own_network(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let available = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link add a0 type veth peer name a1"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !available {
        eprintln!("{test}: no network namespaces here, running on the machine's own network");
        return body();
    }
    let binary = std::env::current_exe().expect("the test binary has a path");
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", SET_UP, "sh"])
        .arg(binary)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare was there a moment ago");
    assert!(status.success(), "{test} failed inside its namespace");
}

/// Two homes behind symmetric NATs, and a server both reach over a network that looks public.
///
/// ```text
/// home 0 (10.1.0.2) ─ NAT (11.0.0.11) ─┐
///                                      ├─ server (11.0.0.1)
/// home 1 (10.2.0.2) ─ NAT (11.0.0.12) ─┘
/// ```
///
/// Each NAT gives every pair of ends a random port and lets in only what answers, so nobody gets
/// from one home to the other.
pub struct Homes {
    /// Where the server is.
    pub server: Namespace,
    /// Where the members are.
    pub homes: [Namespace; 2],
    nats: [Namespace; 2],
}

/// The server's address in [`Homes`].
pub const HOMES_SERVER: &str = "11.0.0.1";

impl Homes {
    /// `None`, said aloud, where namespaces or nftables are not to be had.
    ///
    /// # Panics
    /// When the network cannot be built although the tools are there.
    #[expect(
        clippy::print_stderr,
        reason = "what cannot run somewhere is said aloud"
    )]
    pub fn new(test: &str) -> Option<Self> {
        let available = Command::new("unshare")
            .args(["--net", "nft", "add table inet probe"])
            .output()
            .is_ok_and(|output| output.status.success());
        if !available {
            eprintln!("{test}: no network namespaces or nftables here, skipped");
            return None;
        }
        let homes = Self {
            server: Namespace::new()?,
            homes: [Namespace::new()?, Namespace::new()?],
            nats: [Namespace::new()?, Namespace::new()?],
        };
        homes.server.run(
            "ip link add bridge type bridge && ip addr add 11.0.0.1/24 dev bridge \
             && ip link set bridge up",
        );
        for (number, (home, nat)) in homes.homes.iter().zip(&homes.nats).enumerate() {
            homes.wire(number + 1, home, nat);
        }
        Some(homes)
    }

    fn wire(&self, number: usize, home: &Namespace, nat: &Namespace) {
        let pid = |namespace: &Namespace| namespace.prefix()[2].clone();
        let (server_pid, home_pid) = (pid(&self.server), pid(home));
        nat.run(&format!(
            "ip link add wan type veth peer name port{number} netns {server_pid} \
             && ip addr add 11.0.0.1{number}/24 dev wan && ip link set wan up \
             && ip link add lan type veth peer name eth netns {home_pid} \
             && ip addr add 10.{number}.0.1/24 dev lan && ip link set lan up \
             && sysctl -qw net.ipv4.ip_forward=1"
        ));
        self.server.run(&format!(
            "ip link set port{number} master bridge && ip link set port{number} up"
        ));
        home.run(&format!(
            "ip addr add 10.{number}.0.2/24 dev eth && ip link set eth up \
             && ip route add default via 10.{number}.0.1"
        ));
        for rule in [
            "add table ip nat",
            "add chain ip nat out { type nat hook postrouting priority srcnat; }",
            "add rule ip nat out oifname wan masquerade random,fully-random",
            "add table inet filter",
            "add chain inet filter forward { type filter hook forward priority filter; policy drop; }",
            "add chain inet filter input { type filter hook input priority filter; }",
            "add rule inet filter forward iifname lan accept",
            "add rule inet filter forward ct state established,related accept",
            "add rule inet filter input iifname wan meta l4proto udp drop",
        ] {
            nat.run(&format!("nft '{rule}'"));
        }
    }

    /// From now on nothing that matches (a condition of nftables) leaves a home.
    ///
    /// # Panics
    /// When the rule is refused.
    pub fn block(&self, condition: &str) {
        for nat in &self.nats {
            nat.run(&format!(
                "nft 'insert rule inet filter forward iifname lan {condition} drop'"
            ));
        }
    }
}
