//! A [`Link`] in real time, between two network interfaces: the shell that lets programs that know
//! nothing of it live in its conditions.
//!
//! [`TunLink::start`] makes two TUN interfaces of this machine, tied by a thread: an IP packet that
//! is routed into one comes out of the other, when and if the plan says so. They are made in the
//! caller's network namespace; moved into others they stay tied. Addresses and routes are the
//! caller's business. Kernels without netem need nothing but `/dev/net/tun`.
//!
//! The clock ticks `TICK`: a packet is late by at most that, plus what the scheduler adds; the
//! capacity is exact on average. At 10,000 packets per second each way the thread costs about a
//! tenth of a core.
//!
//! Invariants: a full interface queue loses nothing silently (`QUEUE_PACKETS` is some seconds at
//! the rates meant here); the thread ends with the value, or when an interface is taken away.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::link::{Conditions, Direction, Link, Plan};
use crate::network::PathStats;

/// How long packets gather while some are moving. Longer saves wake-ups, shorter makes delays more
/// exact; at 100 Mbit/s some three full packets come in this time.
const TICK: Duration = Duration::from_micros(300);
/// How long the thread sleeps when there is nothing to do, and so how late it notices an order.
const IDLE: Duration = Duration::from_millis(10);
/// Packets read from one interface before the other gets its turn.
const BATCH: usize = 256;
/// What the kernel keeps of an interface's packets while the thread does not get to run.
const QUEUE_PACKETS: u32 = 10_000;
/// Of the interfaces: what Ethernet carries.
const MTU_BYTES: u16 = 1_500;
/// The thread is an instrument: it must run when it has to, also on a busy machine. Negative is
/// more urgent; as much as a process may ask for.
const NICENESS: i32 = -20;

/// See the [module documentation](self). The interfaces vanish with it.
pub struct TunLink {
    orders: Option<Sender<Conditions>>,
    stats: Arc<Mutex<[PathStats; 2]>>,
    thread: Option<JoinHandle<()>>,
}

impl TunLink {
    /// Makes two interfaces of these names, which are down and have no address yet, and starts the
    /// plan.
    ///
    /// # Errors
    /// There is no `/dev/net/tun`, the process may not make interfaces, or a name is taken.
    pub fn start(names: [&str; 2], plan: Plan) -> io::Result<Self> {
        let open = |name: &str| -> io::Result<SyncDevice> {
            let builder = DeviceBuilder::new().name(name).mtu(MTU_BYTES).enable(false);
            let device = builder
                .with(|builder| {
                    builder.tx_queue_len(QUEUE_PACKETS);
                })
                .build_sync()?;
            device.set_nonblocking(true)?;
            Ok(device)
        };
        let devices = [open(names[0])?, open(names[1])?];
        let (orders, incoming) = channel();
        let stats = Arc::new(Mutex::new([PathStats::default(); 2]));
        let shared = stats.clone();
        let thread = std::thread::Builder::new()
            .name("tun-link".to_owned())
            .spawn(move || carry(&devices, plan, &incoming, &shared))?;
        Ok(Self {
            orders: Some(orders),
            stats,
            thread: Some(thread),
        })
    }

    /// Changes the link from now on, until the plan's next change.
    pub fn set_conditions(&self, conditions: Conditions) {
        if let Some(orders) = &self.orders {
            // Whose interfaces are gone has no conditions.
            let _ = orders.send(conditions);
        }
    }

    /// Counters of both directions, as [`Direction::BOTH`] orders them; at most 10 ms old.
    pub fn stats(&self) -> [PathStats; 2] {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TunLink {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, it has said so.
            let _ = thread.join();
        }
    }
}

/// What the thread does until nobody gives orders any more or an interface is gone.
fn carry(
    devices: &[SyncDevice; 2],
    plan: Plan,
    orders: &Receiver<Conditions>,
    stats: &Mutex<[PathStats; 2]>,
) {
    // Without the right to it, delays are less exact on a busy machine.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let mut link = Link::new(Instant::now(), plan);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        match orders.try_recv() {
            Ok(conditions) => link.set_conditions(conditions),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        let Ok(moved) = take_in(devices, &mut link, &mut buffer) else {
            return;
        };
        link.handle_timeout(Instant::now());
        while let Some((direction, packet)) = link.poll_output() {
            let to = match direction {
                Direction::There => &devices[1],
                Direction::Back => &devices[0],
            };
            // An interface that is down takes nothing, like a host that is off.
            let _ = to.send(&packet);
        }
        *stats.lock().unwrap_or_else(PoisonError::into_inner) = link.stats();
        let wait = link.poll_timeout().map_or(IDLE, |at| {
            at.saturating_duration_since(Instant::now()).min(IDLE)
        });
        if moved {
            std::thread::sleep(TICK);
        } else if await_packets(devices, wait.max(TICK)).is_err() {
            return;
        }
    }
}

/// Reads what came into both interfaces; whether anything did.
fn take_in(
    devices: &[SyncDevice; 2],
    link: &mut Link<Vec<u8>>,
    buffer: &mut [u8],
) -> io::Result<bool> {
    let mut moved = false;
    for (direction, device) in Direction::BOTH.into_iter().zip(devices) {
        for _ in 0..BATCH {
            match device.recv(buffer) {
                Ok(bytes) => {
                    moved = true;
                    let packet = buffer[..bytes].to_vec();
                    link.handle_packet(Instant::now(), direction, packet, bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(moved)
}

/// Sleeps until a packet comes or the time is over.
fn await_packets(devices: &[SyncDevice; 2], most: Duration) -> io::Result<()> {
    let mut events = [
        PollFd::new(&devices[0], PollFlags::IN),
        PollFd::new(&devices[1], PollFlags::IN),
    ];
    let timeout = Timespec {
        tv_sec: 0,
        // Below a second by `IDLE`.
        tv_nsec: most.subsec_nanos().into(),
    };
    match poll(&mut events, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
