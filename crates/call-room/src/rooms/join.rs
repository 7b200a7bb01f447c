//! Taking a seat, for the first time or again.

use std::time::Instant;

use call_protocol::care::Door;
use call_protocol::wire::{RosterEntry, ServerMessage};
use call_protocol::{ErrorCode, MemberId, RoomId};

use super::{Refusal, Rooms};
use crate::connection::{ConnId, Phase};
use crate::io::Reason;
use crate::room::{PendingSignals, Presence, Room, Seat};
use crate::token::{AuthKey, claimed_member};

const RESUME_FAILED: Refusal = (ErrorCode::ResumeFailed, "unknown or expired token");

impl Rooms {
    pub(super) fn handle_join(
        &mut self,
        now: Instant,
        conn: ConnId,
        room_id: RoomId,
        auth: &str,
        profile: String,
        resume: Option<&str>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return Ok(());
        };
        let may_join = connection.joins.take(now, self.config.join_rate)
            && connection
                .addr
                .is_none_or(|addr| self.addresses.join(now, addr, &self.config));
        if !may_join {
            return Err((ErrorCode::RateLimited, "too many joins"));
        }
        let Some(auth) = AuthKey::parse(auth) else {
            return Err((ErrorCode::BadMessage, "auth is not base64 of 32 bytes"));
        };
        if let Some(room) = self.rooms.get_mut(&room_id) {
            if !room.joins.take(now, self.config.room_join_rate) {
                return Err((ErrorCode::RateLimited, "too many joins to this room"));
            }
            if !room.auth.matches(&auth) {
                return Err((ErrorCode::RoomAuthFailed, "auth key differs"));
            }
            // A seat is proof enough: sessions travel in the clear and can be copied.
            let has_seat = resume.is_some_and(|token| room.member_of_token(token).is_some());
            if !has_seat && room.care.is_banned(resume, &profile) {
                return Err((ErrorCode::Removed, "removed by the host"));
            }
        } else if resume.is_some() && self.has_ended(now, &room_id) {
            return Err((ErrorCode::CallEnded, "the host ended the call"));
        }
        let seated = resume.and_then(|token| {
            let room = self.rooms.get(&room_id)?;
            Some((room.member_of_token(token)?, token))
        });
        match seated {
            Some((member, token)) => {
                self.resume_seat(now, conn, &room_id, profile, member, token);
                Ok(())
            }
            None => self.take_seat(now, conn, room_id, auth, profile, resume),
        }
    }

    /// Gives a seat: the one of an expired or foreign token under its id where that is to be had, one
    /// of a newcomer without a token.
    fn take_seat(
        &mut self,
        now: Instant,
        conn: ConnId,
        room_id: RoomId,
        auth: AuthKey,
        profile: String,
        resume: Option<&str>,
    ) -> Result<(), Refusal> {
        let returning = resume.and_then(claimed_member);
        if resume.is_some() && returning.is_none() {
            return Err(RESUME_FAILED);
        }
        let door = self.rooms.get(&room_id).map(|room| {
            let passes = resume.is_some_and(|token| room.had_seat(token));
            if passes { Door::Open } else { room.care.door }
        });
        match door.unwrap_or_default() {
            Door::Open => {}
            // Who must wait gets a new id when they are let in.
            _ if resume.is_some() => return Err(RESUME_FAILED),
            Door::Knock => return self.wait_at_door(now, conn, &room_id, profile),
            Door::Locked => return Err((ErrorCode::RoomLocked, "the host lets nobody in")),
        }
        let room_members = self.config.room_members;
        if !self.rooms.contains_key(&room_id) && self.rooms.len() >= self.config.max_rooms {
            return Err((ErrorCode::ServerFull, "too many rooms"));
        }
        let room = self
            .rooms
            .entry(room_id.clone())
            .or_insert_with(|| Room::new(auth, returning));
        let is_full = room.len() >= room_members;
        let member = match resume {
            _ if is_full => None,
            Some(token) => room.claim(token),
            None => room.next_member(),
        };
        let Some(member) = member else {
            if room.is_empty() {
                self.rooms.remove(&room_id);
            }
            return Err(match resume {
                Some(_) if !is_full => RESUME_FAILED,
                _ => (ErrorCode::RoomFull, "no seat left"),
            });
        };
        self.give_seat(now, conn, &room_id, member, profile);
        Ok(())
    }

    /// Gives a seat under an id that is to be had.
    pub(super) fn give_seat(
        &mut self,
        now: Instant,
        conn: ConnId,
        room_id: &RoomId,
        member: MemberId,
        profile: String,
    ) {
        let token = self.tokens.issue(member);
        let resume = token.as_str().to_owned();
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        room.add(member, Seat::new(profile.clone(), token, conn));
        let members = room.roster_without(member);
        self.tell_others(
            room_id,
            member,
            &ServerMessage::MemberJoined { member, profile },
        );
        // Before `joined`, so that the newcomer goes straight to where the room moves.
        self.update_topology(now, room_id, Some(member));
        self.seat(now, conn, room_id, member, members, resume, false);
    }

    /// Binds a connection to its seat and tells it so. `resume` is the seat's token, `resumed` whether
    /// the seat was taken again by it.
    #[expect(clippy::too_many_arguments, reason = "all that `joined` says")]
    fn seat(
        &mut self,
        now: Instant,
        conn: ConnId,
        room_id: &RoomId,
        member: MemberId,
        members: Vec<RosterEntry>,
        resume: String,
        resumed: bool,
    ) {
        self.set_phase(
            conn,
            Phase::Seated {
                room: room_id.clone(),
                member,
            },
        );
        let care = self.rooms.get(room_id).map(|room| &room.care);
        let host = care.map(|care| care.host);
        let door = care.map(|care| care.door).unwrap_or_default();
        let joined = ServerMessage::Joined {
            member,
            resume,
            resumed,
            members,
            topology: self.topology_of(room_id),
            host,
            door,
            stun: self.config.stun.clone(),
            relay: self.grant_relay(now, room_id, member),
        };
        self.send(conn, joined);
    }

    fn resume_seat(
        &mut self,
        now: Instant,
        conn: ConnId,
        room_id: &RoomId,
        profile: String,
        member: MemberId,
        token: &str,
    ) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        let Some(seat) = room.seat_mut(member) else {
            return;
        };
        let before = std::mem::replace(&mut seat.presence, Presence::Here(conn));
        let has_new_profile = seat.profile != profile;
        let members = room.roster_without(member);
        self.seat(now, conn, room_id, member, members, token.to_owned(), true);
        match before {
            Presence::Here(old) => {
                // The seat has moved already: closing the old connection must not touch it.
                self.set_phase(old, Phase::Lobby);
                self.close(now, old, ErrorCode::SeatTaken, "resumed elsewhere".into());
            }
            Presence::Lost {
                expires,
                pending,
                missed,
            } => {
                self.timers
                    .remove(&(expires, Reason::SeatExpired(room_id.clone(), member)));
                self.deliver_pending(conn, room_id, pending);
                for message in missed.into_messages() {
                    self.send(conn, message);
                }
            }
        }
        if has_new_profile {
            self.change_profile(room_id, member, profile);
        }
        self.tell_knocks(room_id, member);
    }

    fn deliver_pending(&mut self, conn: ConnId, room_id: &RoomId, pending: PendingSignals) {
        let Some(room) = self.rooms.get(room_id) else {
            return;
        };
        let present: Vec<_> = pending
            .into_iter()
            .filter(|(from, _)| room.contains(*from))
            .collect();
        for (from, sealed) in present {
            self.send(conn, ServerMessage::Signal { from, sealed });
        }
    }
}
