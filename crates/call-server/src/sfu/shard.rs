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
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::{ErrorCode, MemberId, RoomId, fanout};
use call_room::sfu::{Forward, SfuOutput};
use call_room::{SfuCommand, SfuEvent};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use str0m::RtcConfig;
use tracing::{debug, trace, warn};

use super::candidates::Reach;
use super::channels::{Channel, Queued};
use super::counters::{Counters, add};
use super::cpu;
use super::demux::{Datagram, classify};
use super::egress::Egress;
use super::link::{Link, LinkConfig, LinkEvent, packet_in};
use super::room::Room;
use super::routes::{Routes, ShardIndex};
use super::socket::MediaSocket;
use super::{Handed, Neighbour, Notice, ShardInput};
use crate::stun::handle_stun;

/// Between the answer and the first media.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Without any datagram of a member. Members send reports and consent checks every few seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between looks at these two.
const TICK: Duration = Duration::from_secs(1);
/// A deadline that is over already is at most so much later.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// Deadlines this near are kept at once. The pacer asks for its next call after a microsecond.
const AT_ONCE: Duration = Duration::from_micros(5);
/// Packets one link may send in one turn.
const CALLS_PER_TURN: usize = 1_000;
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
struct Core {
    index: ShardIndex,
    neighbours: Vec<Neighbour>,
    handed: Vec<Vec<Handed>>,
    routes: Arc<Routes>,
    counters: Arc<Counters>,
    notices: tokio::sync::mpsc::Sender<Notice>,
    backlog: VecDeque<Notice>,
    turn: tokio::sync::mpsc::Sender<(SocketAddr, Bytes)>,
    reach: Reach,
    rtc: RtcConfig,
    egress: Egress,
    links: Slab<Link>,
    rooms: Slab<Room>,
    room_keys: HashMap<RoomId, usize>,
    by_address: HashMap<SocketAddr, usize>,
    by_fragment: HashMap<String, usize>,
    touched: Vec<usize>,
    /// Reused.
    events: Vec<LinkEvent>,
    forwards: Vec<Forward>,
    next_tick: Instant,
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
                    .receive(|from, to, bytes| core.handle_datagram(now, from, to, bytes));
            }
            for _ in 0..INPUTS_PER_TURN {
                match self.inputs.try_recv() {
                    Ok(ShardInput::Command(command)) => self.core.handle_command(now, command),
                    Ok(ShardInput::Datagrams(datagrams)) => {
                        for handed in datagrams {
                            self.core
                                .handle_datagram(now, handed.from, handed.to, &handed.bytes);
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
            self.settle(now);
            self.flush();
            self.core.hand_over();
            self.core.deliver();
            add(&self.core.counters.cpu_us, cpu.elapsed_us(now));
        }
    }

    /// Calls every link that is due or was written to.
    fn settle(&mut self, now: Instant) {
        while let Some(key) = self.core.touched.pop() {
            let Some(link) = self.core.links.get_mut(key) else {
                continue;
            };
            link.is_touched = false;
            self.core.call(now, key);
            if self.core.egress.is_full() {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let dropped = self.core.egress.flush(&self.socket);
        add(&self.core.counters.dropped_send, dropped);
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

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, to: IpAddr, bytes: &[u8]) {
        match classify(bytes) {
            Datagram::Media => {
                if let Some(&key) = self.by_address.get(&from) {
                    self.receive(now, key, from, to, bytes);
                } else if let Some(shard) = self.other_shard(|routes| routes.by_address(from)) {
                    self.hand(shard, from, to, bytes);
                } else {
                    add(&self.counters.dropped_garbage, 1);
                }
            }
            Datagram::Check(fragment) => {
                if let Some(&key) = self.by_fragment.get(fragment) {
                    self.handle_check(now, key, from, to, bytes);
                } else if let Some(shard) = self.other_shard(|routes| routes.by_fragment(fragment))
                {
                    self.hand(shard, from, to, bytes);
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

    fn hand(&mut self, shard: ShardIndex, from: SocketAddr, to: IpAddr, bytes: &[u8]) {
        self.handed[shard].push(Handed {
            from,
            to,
            bytes: Bytes::copy_from_slice(bytes),
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

    /// A check proves that its sender was given the link's fragment and password: from then on its
    /// address belongs to the link.
    fn handle_check(
        &mut self,
        now: Instant,
        key: usize,
        from: SocketAddr,
        to: IpAddr,
        bytes: &[u8],
    ) {
        let local = self.reach.candidate_of(to);
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if !link.accepts(now, from, local, bytes) {
            add(&self.counters.dropped_garbage, 1);
            return;
        }
        let former = self.by_address.insert(from, key);
        if former != Some(key) {
            if let Some(other) = former.and_then(|former| self.links.get_mut(former)) {
                other.addresses.retain(|address| *address != from);
            }
            self.routes.add_address(from, self.index);
            if let Some(oldest) = self.links[key].add_address(from) {
                self.by_address.remove(&oldest);
                self.routes.remove_address(oldest, self.index);
            }
        }
        self.receive(now, key, from, to, bytes);
    }

    fn receive(&mut self, now: Instant, key: usize, from: SocketAddr, to: IpAddr, bytes: &[u8]) {
        let local = self.reach.candidate_of(to);
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if link.receive(now, from, local, bytes) {
            // str0m holds one incoming packet at a time.
            self.pump(now, key);
        } else {
            self.end_link(now, key, Some(ErrorCode::LinkFailed));
        }
    }

    /// Tells a link the time until it has nothing more to do now: its pacer lets go of one packet
    /// per call and asks for the next call at once.
    fn call(&mut self, now: Instant, key: usize) {
        let mut at = now;
        for _ in 0..CALLS_PER_TURN {
            let Some(link) = self.links.get_mut(key) else {
                return;
            };
            if !link.handle_timeout(at) {
                return self.end_link(now, key, Some(ErrorCode::LinkFailed));
            }
            self.pump(now, key);
            match self.links.get(key) {
                Some(link) if link.deadline <= at + AT_ONCE => at = link.deadline.max(at),
                _ => return,
            }
        }
    }

    /// Takes what a link has to send and to report.
    fn pump(&mut self, now: Instant, key: usize) {
        let mut events = std::mem::take(&mut self.events);
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let room = link.room;
        let member = link.member;
        let sent = link.poll(now, key, &mut self.egress, &mut events);
        add(&self.counters.packets_out, sent.packets);
        add(&self.counters.bytes_out, sent.bytes);
        add(&self.counters.rtx_out, sent.rtx);
        let mut is_closed = false;
        let mut is_room_due = false;
        for event in events.drain(..) {
            match event {
                LinkEvent::Packet(packet) => {
                    add(&self.counters.packets_in, 1);
                    self.forward(now, key, room, member, &packet);
                    is_room_due = true;
                }
                LinkEvent::KeyframeRequested(slot) => {
                    self.rooms[room]
                        .sfu
                        .handle_keyframe_request(now, member, slot);
                    is_room_due = true;
                }
                LinkEvent::Estimate(bps) => {
                    self.rooms[room].sfu.handle_estimate(now, member, bps);
                    is_room_due = true;
                }
                LinkEvent::Message(channel, data) => {
                    self.fan_out(now, key, channel, &data);
                }
                LinkEvent::Closed => is_closed = true,
            }
        }
        self.events = events;
        if is_room_due {
            self.carry_out(room);
        }
        if is_closed {
            self.end_link(now, key, Some(ErrorCode::LinkFailed));
        }
    }

    fn forward(
        &mut self,
        now: Instant,
        key: usize,
        room: usize,
        member: MemberId,
        packet: &str0m::rtp::RtpPacket,
    ) {
        let Some(incoming) = self
            .links
            .get_mut(key)
            .and_then(|link| link.incoming(packet))
        else {
            trace!("packet of no track");
            return;
        };
        let room = &mut self.rooms[room];
        let packet = packet_in(packet);
        room.sfu
            .handle_packet(now, member, incoming.track, &packet, &mut self.forwards);
        let mut dropped = 0;
        for forward in self.forwards.drain(..) {
            let Some(key) = room.link(forward.member) else {
                continue;
            };
            let Some(link) = self.links.get_mut(key) else {
                continue;
            };
            if !link.write(&incoming, forward) {
                dropped += 1;
            } else if !link.is_touched {
                link.is_touched = true;
                self.touched.push(key);
            }
        }
        add(&self.counters.dropped_send, dropped);
    }

    /// Does what a room decided.
    fn carry_out(&mut self, room_key: usize) {
        while let Some(output) = self
            .rooms
            .get_mut(room_key)
            .and_then(|room| room.sfu.poll_output())
        {
            trace!(?output, "decided");
            let room = &self.rooms[room_key];
            match output {
                SfuOutput::RequestKeyframe { member, track } => {
                    if let Some(key) = room.link(member)
                        && self.links[key].request_keyframe(track)
                    {
                        add(&self.counters.keyframe_requests, 1);
                        self.touch(key);
                    }
                }
                SfuOutput::Bitrate {
                    member,
                    minimum_bps,
                    desired_bps,
                } => {
                    if let Some(key) = room.link(member) {
                        self.links[key].set_bitrate(minimum_bps, desired_bps);
                        self.touch(key);
                    }
                }
                SfuOutput::Layers {
                    member,
                    source,
                    wanted,
                } => {
                    let id = room.id.clone();
                    self.notify(id, member, SfuEvent::Layers { source, wanted });
                }
                SfuOutput::Slots { member, slots } => {
                    if let Some(key) = room.link(member) {
                        let link = &self.links[key];
                        let event = SfuEvent::Slots {
                            link: link.number,
                            slots: link.named_slots(&slots),
                        };
                        let id = room.id.clone();
                        self.notify(id, member, event);
                    }
                }
            }
        }
    }

    fn touch(&mut self, key: usize) {
        if let Some(link) = self.links.get_mut(key)
            && !link.is_touched
        {
            link.is_touched = true;
            self.touched.push(key);
        }
    }

    /// Passes a data channel message on to whom it is for.
    fn fan_out(&mut self, now: Instant, key: usize, channel: Channel, data: &[u8]) {
        let link = &mut self.links[key];
        let (member, room) = (link.member, link.room);
        if !link.charge(now, data.len()) {
            if channel == Channel::Lossy {
                add(&self.counters.dropped_channel, 1);
            } else {
                self.end_link(now, key, Some(ErrorCode::RateLimited));
            }
            return;
        }
        let Some((target, body)) = fanout::at_sfu(data) else {
            debug!("data channel message without addressee");
            return;
        };
        let room = &self.rooms[room];
        let receivers: Vec<usize> = match target {
            fanout::Target::Everybody => room.others(member).collect(),
            fanout::Target::Member(to) if to != member => room.link(to).into_iter().collect(),
            fanout::Target::Member(_) => Vec::new(),
        };
        let message = Bytes::from(fanout::from_sfu(member, body));
        for key in receivers {
            match self.links[key].send_message(now, channel, message.clone()) {
                Queued::Taken => self.touch(key),
                Queued::Dropped => add(&self.counters.dropped_channel, 1),
                Queued::Overflow => self.end_link(now, key, Some(ErrorCode::TooSlow)),
            }
        }
    }

    fn handle_command(&mut self, now: Instant, command: SfuCommand) {
        match command {
            SfuCommand::Offer {
                room,
                member,
                link,
                sdp,
                tracks,
            } => {
                let room_key = self.room_key(room);
                let key = match self.rooms[room_key].link(member) {
                    Some(key) if self.links[key].number == link => key,
                    former => {
                        if let Some(former) = former {
                            self.end_link(now, former, None);
                        }
                        self.open_link(now, room_key, member, link)
                    }
                };
                self.negotiate(now, key, &sdp, &tracks);
            }
            SfuCommand::Candidate { .. } => {
                // A lite agent has no use for it: the check of the candidate tells its address.
            }
            SfuCommand::Close { room, member, link } => {
                let Some(&room_key) = self.room_keys.get(&room) else {
                    return;
                };
                if let Some(key) = self.rooms[room_key].link(member)
                    && link.is_none_or(|number| number == self.links[key].number)
                {
                    self.end_link(now, key, None);
                }
                if link.is_none() {
                    self.rooms[room_key].remove_member(now, member);
                    self.carry_out(room_key);
                }
                self.drop_room_if_empty(room_key);
            }
            SfuCommand::Subscribe {
                room,
                member,
                tiles,
            } => {
                let room_key = self.room_key(room);
                self.rooms[room_key].subscribe(now, member, &tiles);
                self.carry_out(room_key);
            }
        }
    }

    fn room_key(&mut self, id: RoomId) -> usize {
        if let Some(key) = self.room_keys.get(&id) {
            return *key;
        }
        let key = self.rooms.insert(Room::new(id.clone()));
        self.room_keys.insert(id, key);
        key
    }

    fn drop_room_if_empty(&mut self, key: usize) {
        if self.rooms.get(key).is_some_and(Room::is_empty) {
            let room = self.rooms.remove(key);
            self.room_keys.remove(&room.id);
        }
    }

    fn open_link(&mut self, now: Instant, room: usize, member: MemberId, number: u32) -> usize {
        let config = LinkConfig {
            rtc: self.rtc.clone(),
            candidates: self.reach.candidates(),
        };
        let key = self
            .links
            .insert(Link::new(now, &config, member, number, room));
        add(&self.counters.links_opened, 1);
        add(&self.counters.links, 1);
        key
    }

    fn negotiate(
        &mut self,
        now: Instant,
        key: usize,
        sdp: &str,
        tracks: &[call_protocol::wire::SfuTrack],
    ) {
        let link = &mut self.links[key];
        let (member, number, room_key) = (link.member, link.number, link.room);
        let room = &mut self.rooms[room_key];
        let former = link.fragment.clone();
        let Ok(answer) = link.negotiate(sdp, tracks, room) else {
            self.end_link(now, key, Some(ErrorCode::BadMessage));
            self.drop_room_if_empty(room_key);
            return;
        };
        let fragment = link.fragment.clone();
        room.set_link(now, member, key, link.specs());
        let id = room.id.clone();
        if fragment != former {
            self.by_fragment.remove(&former);
            self.routes.remove_fragment(&former);
            self.by_fragment.insert(fragment.clone(), key);
            self.routes.add_fragment(fragment, self.index);
        }
        let event = SfuEvent::Answer {
            link: number,
            sdp: answer,
        };
        self.notify(id, member, event);
        self.touch(key);
        self.carry_out(room_key);
    }

    /// Ends a link. `code` is told to the member; `None` where the member knows.
    fn end_link(&mut self, now: Instant, key: usize, code: Option<ErrorCode>) {
        let Some(mut link) = self.links.try_remove(key) else {
            return;
        };
        self.counters.links.fetch_sub(1, Relaxed);
        link.close(now, key, &mut self.egress);
        self.by_fragment.remove(&link.fragment);
        self.routes.remove_fragment(&link.fragment);
        for address in &link.addresses {
            if self.by_address.get(address) == Some(&key) {
                self.by_address.remove(address);
            }
            self.routes.remove_address(*address, self.index);
        }
        let Some(room) = self.rooms.get_mut(link.room) else {
            return;
        };
        let id = room.id.clone();
        if room.link(link.member) == Some(key) {
            room.remove_link(now, link.member);
        }
        if let Some(code) = code {
            debug!(member = link.member.0, ?code, "link given up");
            let event = SfuEvent::Closed {
                link: link.number,
                code,
            };
            self.notify(id, link.member, event);
        }
        self.carry_out(link.room);
    }

    fn close_all(&mut self, now: Instant) {
        let keys: Vec<usize> = self.links.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end_link(now, key, Some(ErrorCode::ServerClosing));
        }
        self.deliver();
    }

    /// Touches what is due.
    fn handle_deadlines(&mut self, now: Instant) {
        for (key, link) in &mut self.links {
            if link.deadline <= now && !link.is_touched {
                link.is_touched = true;
                self.touched.push(key);
            }
        }
        let due: Vec<usize> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.sfu.poll_timeout().is_some_and(|at| at <= now))
            .map(|(key, _)| key)
            .collect();
        for key in due {
            self.rooms[key].sfu.handle_timeout(now);
            self.carry_out(key);
        }
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            let lost: Vec<usize> = self
                .links
                .iter()
                .filter(|(_, link)| {
                    let is_late = now.saturating_duration_since(link.opened_at) >= CONNECT_TIMEOUT;
                    let silence = now.saturating_duration_since(link.last_heard);
                    (!link.is_connected && is_late) || silence >= SILENCE_TIMEOUT
                })
                .map(|(key, _)| key)
                .collect();
            for key in lost {
                self.end_link(now, key, Some(ErrorCode::LinkFailed));
            }
            let empty: Vec<usize> = self
                .rooms
                .iter()
                .filter(|(_, room)| room.is_empty())
                .map(|(key, _)| key)
                .collect();
            for key in empty {
                self.drop_room_if_empty(key);
            }
        }
    }

    fn notify(&mut self, room: RoomId, member: MemberId, event: SfuEvent) {
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
    fn deliver(&mut self) {
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
