//! The thread that runs all clients: receives, sends frames in time, answers timers.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::{Events, Interest, Poll, Token, Waker};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};

use super::client::{Client, FRAME_PACKETS};
use super::counts::Counts;

const BUFFER_BYTES: usize = 64 * 1024;
const WAKER: Token = Token(usize::MAX);

/// Receives batches, as a client with GRO does.
pub(crate) struct Receiver {
    buffers: Vec<u8>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; BUFFER_BYTES * BATCH_SIZE],
        }
    }

    /// Everything that is there.
    pub(crate) fn receive(
        &mut self,
        socket: &mio::net::UdpSocket,
        state: &UdpSocketState,
        mut each: impl FnMut(std::net::SocketAddr, &[u8]) -> Result<()>,
    ) -> Result<()> {
        loop {
            let mut meta = [RecvMeta::default(); BATCH_SIZE];
            let mut chunks = self.buffers.chunks_mut(BUFFER_BYTES);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
                IoSliceMut::new(chunks.next().expect("invariant: a buffer per message"))
            });
            let received =
                socket.try_io(|| state.recv(UdpSockRef::from(socket), &mut slices, &mut meta));
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What a server that has ended left behind.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error.into()),
            };
            for (meta, buffer) in meta.iter().zip(&slices).take(count) {
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    each(meta.addr, datagram)?;
                }
            }
        }
    }
}

/// The running thread; ends when dropped.
pub(crate) struct Load {
    clients: mpsc::Sender<Client>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Load {
    /// `frames_per_s` is what each publisher sends.
    pub(crate) fn start(counts: Arc<Counts>, frames_per_s: u32) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (clients, arrivals) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                let result = run(poll, &arrivals, &counts, frames_per_s);
                if let Err(error) = &result {
                    eprintln!("load ended: {error:#}");
                }
                result
            })?;
        Ok(Self {
            clients,
            waker,
            thread: Some(thread),
        })
    }

    pub(crate) fn add(&self, client: Client) -> Result<()> {
        self.clients
            .send(client)
            .map_err(|_| anyhow::anyhow!("the load has ended"))?;
        Ok(self.waker.wake()?)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients = mpsc::channel().0;
        // Both fail only when it has ended, with its reason printed.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    mut poll: Poll,
    arrivals: &mpsc::Receiver<Client>,
    counts: &Counts,
    frames_per_s: u32,
) -> Result<()> {
    let mut events = Events::with_capacity(256);
    let mut clients: Vec<Client> = Vec::new();
    let mut states: Vec<UdpSocketState> = Vec::new();
    let mut receiver = Receiver::new();
    let mut frames: HashMap<usize, Instant> = HashMap::new();
    let interval = Duration::from_secs(1) / frames_per_s;
    loop {
        let now = Instant::now();
        let next = clients.iter().map(|client| client.deadline);
        let next = next.chain(frames.values().copied()).min();
        let wait = next.map_or(Duration::from_secs(1), |at| {
            at.saturating_duration_since(now)
        });
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let now = Instant::now();
        for event in &events {
            let Token(key) = event.token();
            if let Some(client) = clients.get_mut(key) {
                let socket = Arc::clone(&client.socket);
                receiver.receive(&socket, &states[key], |from, bytes| {
                    client.receive(now, from, bytes, counts)
                })?;
            }
        }
        loop {
            match arrivals.try_recv() {
                Ok(mut client) => {
                    let token = Token(clients.len());
                    states.push(UdpSocketState::new(UdpSockRef::from(&client.socket))?);
                    let socket = Arc::get_mut(&mut client.socket);
                    let socket = socket.expect("invariant: nobody else has it yet");
                    poll.registry()
                        .register(socket, token, Interest::READABLE)?;
                    client.deadline = now;
                    clients.push(client);
                }
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
            }
        }
        for client in clients.iter_mut().filter(|client| client.deadline <= now) {
            client.handle_timeout(now, counts)?;
        }
        if frames.is_empty() && counts.started.load(Relaxed) > 0 {
            // Evenly over one interval, as senders that know nothing of each other.
            let publishers = clients.iter().enumerate();
            let publishers: Vec<usize> = publishers
                .filter(|(_, client)| client.is_publisher())
                .map(|(key, _)| key)
                .collect();
            let gap = interval / u32::try_from(publishers.len().max(1))?;
            frames = (0..)
                .zip(publishers)
                .map(|(index, key)| (key, now + gap * index))
                .collect();
        }
        for (key, at) in &mut frames {
            if *at <= now {
                clients[*key].publish(now, counts)?;
                // What was missed is not made up for.
                *at = (*at + interval).max(now - interval);
            }
        }
    }
}

/// Packets per second of one publisher.
pub(crate) fn packets_per_s(frames_per_s: u32) -> u32 {
    frames_per_s * FRAME_PACKETS
}
