//! Networks of our own. [`run_in_own_network`] runs a test inside a network namespace of its own: nothing it says by multicast leaves the
//! machine, and it meets the same network (one interface, no route out) wherever it runs.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

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
/// from one home to the other. Removed when dropped, with everything that runs in it.
pub struct Homes {
    prefix: String,
}

/// The server's address in [`Homes`].
pub const HOMES_SERVER: &str = "11.0.0.1";

const HOMES: &str = r#"
p=$1
for n in server nat0 nat1 home0 home1; do
    ip netns add $p$n
    ip -n $p$n link set lo up
done
ip -n ${p}server link add bridge type bridge
ip -n ${p}server addr add 11.0.0.1/24 dev bridge
ip -n ${p}server link set bridge up
for n in 0 1; do
    lan=10.$((n + 1)).0
    ip -n ${p}nat$n link add wan type veth peer name port$n netns ${p}server
    ip -n ${p}server link set port$n master bridge up
    ip -n ${p}nat$n addr add 11.0.0.1$((n + 1))/24 dev wan
    ip -n ${p}nat$n link set wan up
    ip -n ${p}nat$n link add lan type veth peer name eth netns ${p}home$n
    ip -n ${p}nat$n addr add $lan.1/24 dev lan
    ip -n ${p}nat$n link set lan up
    ip -n ${p}home$n addr add $lan.2/24 dev eth
    ip -n ${p}home$n link set eth up
    ip -n ${p}home$n route add default via $lan.1
    ip netns exec ${p}nat$n sysctl -qw net.ipv4.ip_forward=1
    ip netns exec ${p}nat$n nft -f - <<'NFT'
table ip nat {
    chain out {
        type nat hook postrouting priority srcnat;
        oifname "wan" masquerade random,fully-random
    }
}
table inet filter {
    chain forward {
        type filter hook forward priority filter; policy drop;
        iifname "lan" accept
        ct state established,related accept
    }
    chain input {
        type filter hook input priority filter; policy accept;
        iifname "wan" meta l4proto udp drop
    }
}
NFT
done
"#;

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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let homes = Self {
            prefix: format!("vv{}x{count}-", std::process::id()),
        };
        let output = Command::new("sh")
            .args(["-ec", HOMES, "sh", &homes.prefix])
            .output()
            .expect("a shell starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "building the network: {told}");
        Some(homes)
    }

    /// The namespace of the server, for `ip netns exec`.
    pub fn server(&self) -> String {
        format!("{}server", self.prefix)
    }

    /// The namespace of home 0 or 1.
    pub fn home(&self, number: usize) -> String {
        format!("{}home{number}", self.prefix)
    }

    /// From now on no UDP leaves the homes.
    ///
    /// # Panics
    /// When the rule is refused.
    pub fn block_udp(&self) {
        for number in 0..2 {
            let nat = format!("{}nat{number}", self.prefix);
            let status = Command::new("ip")
                .args(["netns", "exec", &nat, "nft", "insert", "rule", "inet"])
                .args(["filter", "forward", "meta", "l4proto", "udp", "drop"])
                .status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "the rule of {nat}"
            );
        }
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        for name in ["home0", "home1", "nat0", "nat1", "server"] {
            // What is not there need not be removed.
            let _ = Command::new("ip")
                .args(["netns", "del", &format!("{}{name}", self.prefix)])
                .output();
        }
    }
}
