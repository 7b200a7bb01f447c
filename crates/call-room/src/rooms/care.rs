//! The host's requests, who waits before a door, and who becomes host.
//!
//! ```text
//! join ──► door open ─────────────────────────────► seat
//!      ├─► door knock ──► waiting ──► admitted ───► seat
//!      │                     └──────► refused, or everybody left
//!      └─► door locked ──► refused
//! ```
//!
//! Who has a seat, or proves to have had one, passes every door.

use std::time::Instant;

use call_protocol::care::{Door, Moderation};
use call_protocol::wire::{LeaveReason, ServerMessage};
use call_protocol::{ErrorCode, MemberId, RoomId};

use super::{Refusal, Rooms};
use crate::care::Waiting;
use crate::connection::{ConnId, Phase};
use crate::room::Presence;

/// Ended rooms remembered, so that members on their way back learn it. The oldest are forgotten.
const ENDED: usize = 256;

impl Rooms {
    /// `moderate` of a seated member.
    pub(super) fn handle_moderate(
        &mut self,
        now: Instant,
        room_id: &RoomId,
        from: MemberId,
        action: Moderation,
    ) -> Result<(), Refusal> {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return Ok(());
        };
        if room.care.host != from {
            return Err((ErrorCode::NotHost, "only the host may do this"));
        }
        match action {
            Moderation::Door { door } => self.set_door(now, room_id, door),
            Moderation::Admit { knock } => self.admit(now, room_id, knock),
            Moderation::Refuse { knock } => {
                let waiting = room.care.end_knock(knock);
                let waiting = waiting.ok_or((ErrorCode::UnknownMember, "nobody knocks so"))?;
                self.tell_host(room_id, ServerMessage::KnockGone { knock });
                self.send_away(waiting.conn, ErrorCode::NotAdmitted, "the host refused");
                Ok(())
            }
            Moderation::Remove { member } => self.remove_member(now, room_id, from, member),
            Moderation::Host { member } => {
                if !room.contains(member) {
                    return Err((ErrorCode::UnknownMember, "no such member"));
                }
                self.set_host(room_id, member);
                Ok(())
            }
            Moderation::End => {
                self.end_room(now, room_id);
                Ok(())
            }
        }
    }

    fn set_door(&mut self, now: Instant, room_id: &RoomId, door: Door) -> Result<(), Refusal> {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return Ok(());
        };
        if std::mem::replace(&mut room.care.door, door) == door {
            return Ok(());
        }
        let knocks: Vec<u32> = room.care.waiting().map(|(knock, _)| knock).collect();
        for conn in room.connections_without(None) {
            self.send(conn, ServerMessage::Door { door });
        }
        for knock in knocks {
            match door {
                Door::Open => {
                    if let Err((code, detail)) = self.admit(now, room_id, knock) {
                        self.end_knock(room_id, knock, code, detail);
                    }
                }
                Door::Locked => {
                    let code = ErrorCode::RoomLocked;
                    self.end_knock(room_id, knock, code, "the host lets nobody in");
                }
                Door::Knock => {}
            }
        }
        Ok(())
    }

    /// Gives who waits a seat. Where there is none they go on waiting.
    fn admit(&mut self, now: Instant, room_id: &RoomId, knock: u32) -> Result<(), Refusal> {
        let room_members = self.config.room_members;
        let Some(room) = self.rooms.get_mut(room_id) else {
            return Ok(());
        };
        if room.care.get(knock).is_none() {
            return Err((ErrorCode::UnknownMember, "nobody knocks so"));
        }
        if room.len() >= room_members {
            return Err((ErrorCode::RoomFull, "no seat left"));
        }
        let Some(member) = room.next_member() else {
            return Err((ErrorCode::RoomFull, "no id left"));
        };
        if let Some(Waiting { conn, profile }) = room.care.end_knock(knock) {
            self.tell_host(room_id, ServerMessage::KnockGone { knock });
            self.give_seat(now, conn, room_id, member, profile);
        }
        Ok(())
    }

    /// Lets somebody wait before the door.
    pub(super) fn wait_at_door(
        &mut self,
        now: Instant,
        conn: ConnId,
        room_id: &RoomId,
        profile: String,
    ) -> Result<(), Refusal> {
        let knock_rate = self.config.knock_rate;
        let Some(room) = self.rooms.get_mut(room_id) else {
            return Ok(());
        };
        if !room.care.knocks.take(now, knock_rate) {
            return Err((ErrorCode::RateLimited, "too many knocks"));
        }
        let waiting = Waiting {
            conn,
            profile: profile.clone(),
        };
        let Some(knock) = room.care.knock(waiting) else {
            return Err((ErrorCode::RoomFull, "too many wait"));
        };
        let phase = Phase::Waiting {
            room: room_id.clone(),
            knock,
        };
        self.set_phase(conn, phase);
        self.send(conn, ServerMessage::Waiting);
        self.tell_host(room_id, ServerMessage::Knock { knock, profile });
        Ok(())
    }

    /// Somebody does not wait any more, of their own accord.
    pub(super) fn stop_waiting(&mut self, room_id: &RoomId, knock: u32) {
        let room = self.rooms.get_mut(room_id);
        if room.and_then(|room| room.care.end_knock(knock)).is_some() {
            self.tell_host(room_id, ServerMessage::KnockGone { knock });
        }
    }

    fn end_knock(&mut self, room_id: &RoomId, knock: u32, code: ErrorCode, detail: &str) {
        let room = self.rooms.get_mut(room_id);
        if let Some(waiting) = room.and_then(|room| room.care.end_knock(knock)) {
            self.tell_host(room_id, ServerMessage::KnockGone { knock });
            self.send_away(waiting.conn, code, detail);
        }
    }

    fn send_away(&mut self, conn: ConnId, code: ErrorCode, detail: &str) {
        self.set_phase(conn, Phase::Lobby);
        self.send_error(conn, code, detail.to_owned(), false);
    }

    fn remove_member(
        &mut self,
        now: Instant,
        room_id: &RoomId,
        from: MemberId,
        member: MemberId,
    ) -> Result<(), Refusal> {
        let seat = self
            .rooms
            .get_mut(room_id)
            .and_then(|room| room.seat_mut(member));
        let Some(seat) = seat.filter(|_| member != from) else {
            return Err((ErrorCode::UnknownMember, "no such member"));
        };
        let (token, profile) = (seat.token.clone(), seat.profile.clone());
        let (conn, expires) = seat.presence_ends();
        self.forget_expiry(room_id, member, expires);
        if let Some(room) = self.rooms.get_mut(room_id) {
            room.care.ban(token, &profile);
        }
        if let Some(conn) = conn {
            // The seat goes first, so that closing does not make it wait for a resume.
            self.set_phase(conn, Phase::Lobby);
        }
        self.vacate(now, room_id, member, LeaveReason::Removed);
        if let Some(conn) = conn {
            self.close(now, conn, ErrorCode::Removed, "removed by the host".into());
        }
        Ok(())
    }

    fn end_room(&mut self, now: Instant, room_id: &RoomId) {
        let Some(room) = self.rooms.get(room_id) else {
            return;
        };
        let waiting: Vec<u32> = room.care.waiting().map(|(knock, _)| knock).collect();
        let members = room.members();
        for knock in waiting {
            self.end_knock(
                room_id,
                knock,
                ErrorCode::CallEnded,
                "the host ended the call",
            );
        }
        let mut conns = Vec::new();
        for member in &members {
            let room = self.rooms.get_mut(room_id);
            let Some(seat) = room.and_then(|room| room.seat_mut(*member)) else {
                continue;
            };
            let (conn, expires) = seat.presence_ends();
            seat.presence = Presence::Lost {
                expires: now,
                pending: Default::default(),
                missed: Default::default(),
            };
            self.forget_expiry(room_id, *member, expires);
            if let Some(conn) = conn {
                self.set_phase(conn, Phase::Lobby);
                conns.push(conn);
            }
        }
        for member in members {
            self.vacate(now, room_id, member, LeaveReason::Left);
        }
        for conn in conns {
            self.close(
                now,
                conn,
                ErrorCode::CallEnded,
                "the host ended the call".into(),
            );
        }
        if self.ended.len() == ENDED {
            self.ended.pop_front();
        }
        let until = now + self.config.resume_grace;
        self.ended.push_back((until, room_id.clone()));
    }

    /// Whether the host ended this room while a seat of it may still be waited for.
    pub(super) fn has_ended(&self, now: Instant, room_id: &RoomId) -> bool {
        let mut ended = self.ended.iter();
        ended.any(|(until, room)| room == room_id && *until > now)
    }

    /// Makes a member the host, who hears of everybody who waits.
    fn set_host(&mut self, room_id: &RoomId, member: MemberId) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        if std::mem::replace(&mut room.care.host, member) == member {
            return;
        }
        for conn in room.connections_without(None) {
            self.send(conn, ServerMessage::Host { member });
        }
        self.tell_knocks(room_id, member);
    }

    /// Tells a member who is host of everybody who waits.
    pub(super) fn tell_knocks(&mut self, room_id: &RoomId, member: MemberId) {
        let Some(room) = self.rooms.get(room_id) else {
            return;
        };
        if room.care.host != member {
            return;
        }
        let knocks: Vec<ServerMessage> = room
            .care
            .waiting()
            .map(|(knock, waiting)| ServerMessage::Knock {
                knock,
                profile: waiting.profile.clone(),
            })
            .collect();
        for message in knocks {
            self.tell_host(room_id, message);
        }
    }

    /// The longest present becomes host where the host has no seat any more.
    pub(super) fn succeed_host(&mut self, room_id: &RoomId) {
        let room = self.rooms.get(room_id);
        let successor = room.filter(|room| !room.contains(room.care.host));
        if let Some(member) = successor.and_then(|room| room.longest_present()) {
            self.set_host(room_id, member);
        }
    }

    /// Nobody is left who could let anybody in.
    pub(super) fn dismiss_waiting(&mut self, waiting: Vec<ConnId>) {
        for conn in waiting {
            self.send_away(conn, ErrorCode::NotAdmitted, "everybody left");
        }
    }

    /// A host whose connection is lost hears of what waits when they are back.
    fn tell_host(&mut self, room_id: &RoomId, message: ServerMessage) {
        let room = self.rooms.get_mut(room_id);
        let seat = room.and_then(|room| room.seat_mut(room.care.host));
        if let Some(Presence::Here(conn)) = seat.map(|seat| &seat.presence) {
            let conn = *conn;
            self.send(conn, message);
        }
    }
}
