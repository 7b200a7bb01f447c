//! Links and rooms of a shard: opened by offers, found by checks, ended by members, deadlines or
//! failures.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use call_protocol::wire::SfuTrack;
use call_protocol::{ErrorCode, MemberId, RoomId};
use call_room::{SfuCommand, SfuEvent};
use tracing::debug;

use super::counters::add;
use super::link::{Link, LinkConfig};
use super::room::Room;
use super::shard::{CONNECT_TIMEOUT, Core, SILENCE_TIMEOUT, TICK};
use super::socket::Received;

impl Core {
    /// A check proves that its sender was given the link's fragment and password: from then on its
    /// address belongs to the link.
    pub(super) fn handle_check(&mut self, now: Instant, key: usize, datagram: Received<'_>) {
        let Received {
            from, to, bytes, ..
        } = datagram;
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
        self.receive(now, key, datagram);
    }

    pub(super) fn handle_command(&mut self, now: Instant, command: SfuCommand) {
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

    fn negotiate(&mut self, now: Instant, key: usize, sdp: &str, tracks: &[SfuTrack]) {
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
    pub(super) fn end_link(&mut self, now: Instant, key: usize, code: Option<ErrorCode>) {
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

    pub(super) fn close_all(&mut self, now: Instant) {
        let keys: Vec<usize> = self.links.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end_link(now, key, Some(ErrorCode::ServerClosing));
        }
        self.deliver();
    }

    /// Touches what is due.
    pub(super) fn handle_deadlines(&mut self, now: Instant) {
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
}
