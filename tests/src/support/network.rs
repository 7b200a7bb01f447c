//! Further network namespaces for processes of a test: each a machine of its own, wired to others
//! by cables that can be made narrow.

use std::process::{Child, Command, Stdio};

/// A network namespace, held open by a process that sleeps; gone with this value.
pub struct Namespace {
    holder: Child,
}

/// Where one end of a link runs.
pub struct Place<'a> {
    /// In here.
    pub namespace: &'a Namespace,
    /// By which the other end reaches it.
    pub address: &'a str,
}

impl Namespace {
    /// A new namespace with nothing but loopback; `None` where there are none to be had.
    pub fn new() -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up && echo up && exec sleep infinity",
        ]);
        let mut holder = command.stdout(Stdio::piped()).spawn().ok()?;
        let mut said = String::new();
        let out = holder.stdout.take()?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).ok()?;
        let namespace = Self { holder };
        (said == "up\n").then_some(namespace)
    }

    /// Of the process that holds it, by which tools name the namespace.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// What goes in front of a command to run it in here.
    pub fn prefix(&self) -> Vec<String> {
        let pid = self.pid().to_string();
        ["nsenter", "--target", &pid, "--net"]
            .map(str::to_owned)
            .into()
    }

    /// Runs a command line in here.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, line: &str) {
        let prefix = self.prefix();
        let status = Command::new(&prefix[0])
            .args(&prefix[1..])
            .args(["sh", "-c", line])
            .status()
            .expect("nsenter starts");
        assert!(status.success(), "{line}");
    }

    /// Lays a cable from the test's own namespace to this one: `outer` is the address of the end
    /// out there, `inner` of the one in here, both with their prefix length, the interfaces are
    /// called after `name`. Everything else in here is reached through it.
    ///
    /// # Panics
    /// When it cannot be laid.
    pub fn connect(&self, name: &str, outer: &str, inner: &str) {
        let pid = self.pid();
        sh(&format!(
            "ip link add {name}o type veth peer name {name}i netns {pid} \
             && ip addr add {outer} dev {name}o && ip link set {name}o up"
        ));
        let gateway = outer.split('/').next().unwrap_or(outer);
        self.run(&format!(
            "ip addr add {inner} dev {name}i && ip link set {name}i up \
             && ip route add default via {gateway}"
        ));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Narrows what leaves by an interface of the test's own namespace to a rate, or widens it again.
///
/// # Panics
/// When the kernel refuses.
pub fn limit(interface: &str, kbit_per_s: Option<u32>) {
    // Gone already is fine.
    let _ = Command::new("tc")
        .args(["qdisc", "del", "dev", interface, "root"])
        .stderr(Stdio::null())
        .status();
    if let Some(rate) = kbit_per_s {
        sh(&format!(
            "tc qdisc add dev {interface} root tbf rate {rate}kbit burst 4kb latency 300ms"
        ));
    }
}

/// Runs a command line in the test's own namespace.
///
/// # Panics
/// When it fails.
pub fn sh(line: &str) {
    let status = Command::new("sh").args(["-c", line]).status();
    assert!(status.is_ok_and(|status| status.success()), "{line}");
}
