//! Server processes: started on their own core, measured, ended.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Core of the servers.
const SERVER_CORE: usize = 0;
/// Core of the load.
const LOAD_CORE: usize = 1;

/// A server process; killed when dropped.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts it on its core, with piped input and output.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // Children begin where their parent's thread is.
        pin(SERVER_CORE)?;
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()));
        pin(LOAD_CORE)?;
        Ok(Self { child: child? })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Processor time of all its threads so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut nanoseconds = 0;
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            // Nanoseconds on a core, unlike the ticks of 10 ms in `stat`.
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let on_core = text.split(' ').next().unwrap_or_default();
            nanoseconds += on_core.parse::<u64>().context("schedstat is no number")?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts the calling thread, and what it starts, on the load's core.
pub(crate) fn pin_load() -> Result<()> {
    pin(LOAD_CORE)
}

fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores).context("two cores are needed")
}

/// An address of this machine that is not loopback, which Janus does not use.
pub(crate) fn own_ip() -> Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing.
    socket
        .connect("198.51.100.1:9")
        .context("no network interface but loopback")?;
    Ok(socket.local_addr()?.ip())
}
