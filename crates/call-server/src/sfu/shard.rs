//! One thread of the SFU: a socket, the links of its rooms, and the loop between them.
//!
//! A turn: wait for datagrams, commands or a deadline; take what arrived; call every link that is
//! due or was written to, once; send what they produced; pass on what belongs to other shards. It
//! blocks nowhere but in the wait. A link belongs to the shard of its room for all its life.
//!
//! Invariants: queues from the actor and from other shards are bounded, what does not fit is
//! refused or dropped and counted; a link that never connects within [`CONNECT_TIMEOUT`] or is
//! silent for [`SILENCE_TIMEOUT`] ends. Deliberately not here: decisions about media.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::{ErrorCode, MemberId, RoomId};
use call_room::SfuEvent;
use call_room::sfu::Forward;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use str0m::RtcConfig;
use tracing::{debug, warn};

use super::candidates::Reach;
use super::counters::{Counters, add};
use super::cpu;
use super::demux::{Datagram, classify};
use super::egress::Egress;
use super::link::{Link, LinkEvent};
use super::room::Room;
use super::routes::{Routes, ShardIndex};
use super::socket::{MediaSocket, Received};
use super::{Handed, Neighbour, Notice, ShardInput};
use crate::stun::handle_stun;

/// Between the answer and the first media.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Without any datagram of a member. Members send reports and consent checks every few seconds.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between looks at these two.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// A deadline that is over already is at most so much later.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// Deadlines this near are kept at once. The pacer asks for its next call after a microsecond.
pub(super) const AT_ONCE: Duration = Duration::from_micros(5);
/// Nothing written waits longer for more to be sent with it. What is sent is dated when it is written, and
/// to the links' estimators any wait since is a queue on the path; sending itself may take a while,
/// because whoever is woken by it may take the processor.
const UNSENT_AT_MOST: Duration = Duration::from_millis(1);
/// How much nicer than others a shard is, where the system permits asking: everybody waits for it.
#[cfg(target_os = "linux")]
const NICENESS: i32 = -10;
/// Packets one link may send in one turn.
pub(super) const CALLS_PER_TURN: usize = 1_000;
/// Inputs taken per turn, so that commands cannot starve datagrams.
const INPUTS_PER_TURN: usize = 256;
/// Notices kept while the actor is busy; more are dropped.
const BACKLOG: usize = 4_096;
/// Between attempts to deliver them.
const BACKLOG_RETRY: Duration = Duration::from_millis(5);

const SOCKET: Token = Token(0);
pub(super) const WAKER: Token = Token(1);

/// What a shard is made of.
pub(super) struct ShardParts {
    pub(super) index: ShardIndex,
    pub(super) poll: Poll,
    pub(super) socket: MediaSocket,
    pub(super) inputs: mpsc::Receiver<ShardInput>,
    pub(super) neighbours: Vec<Neighbour>,
    pub(super) routes: Arc<Routes>,
    pub(super) counters: Arc<Counters>,
    pub(super) notices: tokio::sync::mpsc::Sender<Notice>,
    pub(super) turn: tokio::sync::mpsc::Sender<(SocketAddr, Bytes)>,
    pub(super) reach: Reach,
    pub(super) rtc: RtcConfig,
}

/// The thread's own state.
pub(super) struct Shard {
    poll: Poll,
    socket: MediaSocket,
    inputs: mpsc::Receiver<ShardInput>,
    core: Core,
}

/// All of it but what it waits for.
pub(super) struct Core {
    pub(super) index: ShardIndex,
    pub(super) neighbours: Vec<Neighbour>,
    pub(super) handed: Vec<Vec<Handed>>,
    pub(super) routes: Arc<Routes>,
    pub(super) counters: Arc<Counters>,
    pub(super) notices: tokio::sync::mpsc::Sender<Notice>,
    pub(super) backlog: VecDeque<Notice>,
    pub(super) turn: tokio::sync::mpsc::Sender<(SocketAddr, Bytes)>,
    pub(super) reach: Reach,
    pub(super) rtc: RtcConfig,
    pub(super) egress: Egress,
    pub(super) links: Slab<Link>,
    pub(super) rooms: Slab<Room>,
    pub(super) room_keys: HashMap<RoomId, usize>,
    pub(super) by_address: HashMap<SocketAddr, usize>,
    pub(super) by_fragment: HashMap<String, usize>,
    pub(super) touched: Vec<usize>,
    /// Reused.
    pub(super) events: Vec<LinkEvent>,
    pub(super) forwards: Vec<Forward>,
    pub(super) next_tick: Instant,
}

impl Shard {
    pub(super) fn new(mut parts: ShardParts) -> io::Result<Self> {
        parts
            .poll
            .registry()
            .register(&mut parts.socket.socket, SOCKET, Interest::READABLE)?;
        let egress = Egress::new(&parts.socket, parts.reach.is_open());
        let handed = parts.neighbours.iter().map(|_| Vec::new()).collect();
        Ok(Self {
            poll: parts.poll,
            socket: parts.socket,
            inputs: parts.inputs,
            core: Core {
                index: parts.index,
                neighbours: parts.neighbours,
                handed,
                routes: parts.routes,
                counters: parts.counters,
                notices: parts.notices,
                backlog: VecDeque::new(),
                turn: parts.turn,
                reach: parts.reach,
                rtc: parts.rtc,
                egress,
                links: Slab::new(),
                rooms: Slab::new(),
                room_keys: HashMap::new(),
                by_address: HashMap::new(),
                by_fragment: HashMap::new(),
                touched: Vec::new(),
                events: Vec::new(),
                forwards: Vec::new(),
                next_tick: Instant::now() + TICK,
            },
        })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        #[cfg(target_os = "linux")]
        raise_priority();
        let mut events = Events::with_capacity(8);
        let mut has_more = false;
        let mut cpu = cpu::ThreadClock::default();
        loop {
            let wait = if has_more {
                Duration::ZERO
            } else {
                self.core.wait(Instant::now())
            };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                warn!(%error, "waiting for media failed");
                return;
            }
            let now = Instant::now();
            let is_readable = events.iter().any(|event| event.token() == SOCKET);
            if is_readable || has_more {
                let core = &mut self.core;
                has_more = self
                    .socket
                    .receive(now, |datagram| core.handle_datagram(now, datagram));
            }
            for _ in 0..INPUTS_PER_TURN {
                match self.inputs.try_recv() {
                    Ok(ShardInput::Command(command)) => self.core.handle_command(now, command),
                    Ok(ShardInput::Datagrams(datagrams)) => {
                        for handed in datagrams {
                            self.core.handle_datagram(now, handed.received());
                        }
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                    Ok(ShardInput::Stop) | Err(mpsc::TryRecvError::Disconnected) => {
                        self.core.close_all(now);
                        self.flush();
                        return;
                    }
                }
            }
            self.core.handle_deadlines(now);
            self.settle();
            self.core.hand_over();
            self.core.deliver();
            add(&self.core.counters.cpu_us, cpu.elapsed_us(now));
        }
    }

    /// Calls every link that is due or was written to, and sends what they have.
    fn settle(&mut self) {
        let mut flushed_at = Instant::now();
        while let Some(key) = self.core.touched.pop() {
            let Some(link) = self.core.links.get_mut(key) else {
                continue;
            };
            link.is_touched = false;
            let now = Instant::now();
            self.core.call(now, key);
            if self.core.egress.is_full() || now - flushed_at >= UNSENT_AT_MOST {
                self.flush();
                flushed_at = Instant::now();
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        let dropped = self.core.egress.flush(&self.socket);
        add(&self.core.counters.dropped_send, dropped);
    }
}

/// Makes the calling thread (which Linux means by `None`) less likely to wait. Unprivileged, it stays
/// as it is.
#[cfg(target_os = "linux")]
fn raise_priority() {
    use rustix::process::{getpriority_process, setpriority_process};
    let raised = match getpriority_process(None) {
        Ok(now) if now <= NICENESS => Ok(()),
        _ => setpriority_process(None, NICENESS),
    };
    if let Err(error) = raised {
        debug!(%error, "priority not raised");
    }
}

impl Core {
    /// How long nothing is to be done.
    fn wait(&self, now: Instant) -> Duration {
        let links = self.links.iter().map(|(_, link)| link.deadline);
        let rooms = self
            .rooms
            .iter()
            .filter_map(|(_, room)| room.sfu.poll_timeout());
        let retry = (!self.backlog.is_empty()).then(|| now + BACKLOG_RETRY);
        let next = links.chain(rooms).chain(retry).min();
        let next = next.map_or(self.next_tick, |at| at.min(self.next_tick));
        next.saturating_duration_since(now).max(SHORTEST_WAIT)
    }

    fn handle_datagram(&mut self, now: Instant, datagram: Received<'_>) {
        let Received {
            from, to, bytes, ..
        } = datagram;
        match classify(bytes) {
            Datagram::Media => {
                if let Some(&key) = self.by_address.get(&from) {
                    self.receive(now, key, datagram);
                } else if let Some(shard) = self.other_shard(|routes| routes.by_address(from)) {
                    self.hand(shard, datagram);
                } else {
                    add(&self.counters.dropped_garbage, 1);
                }
            }
            Datagram::Check(fragment) => {
                if let Some(&key) = self.by_fragment.get(fragment) {
                    self.handle_check(now, key, datagram);
                } else if let Some(shard) = self.other_shard(|routes| routes.by_fragment(fragment))
                {
                    self.hand(shard, datagram);
                } else {
                    add(&self.counters.dropped_garbage, 1);
                }
            }
            Datagram::Binding => {
                if let Some(answer) = handle_stun(bytes, from) {
                    self.egress.push(usize::MAX, to, from, answer.into());
                }
            }
            Datagram::Turn => {
                // Full or gone: the client asks again.
                if self
                    .turn
                    .try_send((from, Bytes::copy_from_slice(bytes)))
                    .is_err()
                {
                    add(&self.counters.dropped_garbage, 1);
                }
            }
            Datagram::Garbage => add(&self.counters.dropped_garbage, 1),
        }
    }

    fn other_shard(&self, find: impl FnOnce(&Routes) -> Option<ShardIndex>) -> Option<ShardIndex> {
        if self.neighbours.len() < 2 {
            return None;
        }
        find(&self.routes).filter(|shard| *shard != self.index)
    }

    fn hand(&mut self, shard: ShardIndex, datagram: Received<'_>) {
        self.handed[shard].push(Handed {
            arrived: datagram.arrived,
            from: datagram.from,
            to: datagram.to,
            bytes: Bytes::copy_from_slice(datagram.bytes),
        });
    }

    /// Passes on what belongs to other shards.
    fn hand_over(&mut self) {
        for (neighbour, handed) in self.neighbours.iter().zip(&mut self.handed) {
            if handed.is_empty() {
                continue;
            }
            let count = handed.len() as u64;
            if !neighbour.send(ShardInput::Datagrams(std::mem::take(handed))) {
                add(&self.counters.dropped_handover, count);
            }
        }
    }

    pub(super) fn receive(&mut self, now: Instant, key: usize, datagram: Received<'_>) {
        let local = self.reach.candidate_of(datagram.to);
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if link.receive(now, local, datagram) {
            // str0m holds one incoming packet at a time.
            self.pump(now, key);
        } else {
            self.end_link(now, key, Some(ErrorCode::LinkFailed));
        }
    }

    pub(super) fn notify(&mut self, room: RoomId, member: MemberId, event: SfuEvent) {
        if self.backlog.len() == BACKLOG {
            warn!("too much to tell, something is lost");
            self.backlog.pop_front();
        }
        self.backlog.push_back(Notice {
            room,
            member,
            event,
        });
    }

    /// Tells the actor what happened, as far as it listens.
    pub(super) fn deliver(&mut self) {
        while let Some(notice) = self.backlog.pop_front() {
            match self.notices.try_send(notice) {
                Ok(()) => {}
                Err(tokio::sync::mpsc::error::TrySendError::Full(notice)) => {
                    self.backlog.push_front(notice);
                    return;
                }
                Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => {
                    self.backlog.clear();
                    return;
                }
            }
        }
    }
}
