//! Runs a test inside a network namespace of its own: nothing it says by multicast leaves the
//! machine, and it meets the same network (one interface, no route out) wherever it runs.

use std::process::Command;

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
