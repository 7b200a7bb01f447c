//! What members do from their seats, and how seats end.

use std::time::Instant;

use call_protocol::wire::{LeaveReason, ServerMessage};
use call_protocol::{ErrorCode, MemberId, RoomId};

use super::{Refusal, Rooms};
use crate::connection::ConnId;
use crate::io::{Output, Reason};
use crate::room::{MissedNews, PendingSignals, Presence};

impl Rooms {
    pub(super) fn handle_signal(
        &mut self,
        room: &RoomId,
        from: MemberId,
        to: MemberId,
        sealed: String,
    ) -> Result<(), Refusal> {
        let seat = self.rooms.get_mut(room).and_then(|room| room.seat_mut(to));
        let Some(seat) = seat.filter(|_| to != from) else {
            return Err((ErrorCode::UnknownMember, "no such member"));
        };
        match &mut seat.presence {
            Presence::Here(conn) => {
                let conn = *conn;
                self.send(conn, ServerMessage::Signal { from, sealed });
                Ok(())
            }
            Presence::Lost { pending, .. } => {
                if pending.push(from, sealed) {
                    Ok(())
                } else {
                    Err((
                        ErrorCode::TooSlow,
                        "the member is away and its queue is full",
                    ))
                }
            }
        }
    }

    pub(super) fn change_profile(&mut self, room: &RoomId, member: MemberId, profile: String) {
        let seat = self
            .rooms
            .get_mut(room)
            .and_then(|room| room.seat_mut(member));
        if let Some(seat) = seat {
            seat.profile.clone_from(&profile);
            self.tell_others(
                room,
                member,
                &ServerMessage::MemberUpdated { member, profile },
            );
        }
    }

    pub(super) fn lose_seat(&mut self, now: Instant, room: RoomId, member: MemberId) {
        let expires = now + self.config.resume_grace;
        let seat = self
            .rooms
            .get_mut(&room)
            .and_then(|room| room.seat_mut(member));
        if let Some(seat) = seat {
            seat.presence = Presence::Lost {
                expires,
                pending: PendingSignals::default(),
                missed: MissedNews::default(),
            };
            self.timers
                .insert((expires, Reason::SeatExpired(room, member)));
        }
    }

    /// A lost seat ends in another way than by its time.
    pub(super) fn forget_expiry(
        &mut self,
        room: &RoomId,
        member: MemberId,
        expires: Option<Instant>,
    ) {
        if let Some(at) = expires {
            self.timers
                .remove(&(at, Reason::SeatExpired(room.clone(), member)));
        }
    }

    pub(super) fn vacate(
        &mut self,
        now: Instant,
        room_id: &RoomId,
        member: MemberId,
        reason: LeaveReason,
    ) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        let Some(seat) = room.remove(member) else {
            return;
        };
        if reason == LeaveReason::TimedOut {
            room.remember_expired(member, seat.token);
        }
        let topology_due = room.topology.due();
        let is_empty = room.is_empty();
        let waiting: Vec<ConnId> = room.care.waiting().map(|(_, it)| it.conn).collect();
        if let Some(at) = seat.relay_due {
            self.timers
                .remove(&(at, Reason::RelayDue(room_id.clone(), member)));
        }
        if seat.uses_sfu {
            self.close_sfu(room_id, member);
        }
        if is_empty {
            self.rooms.remove(room_id);
            if let Some(at) = topology_due {
                self.timers
                    .remove(&(at, Reason::TopologyDue(room_id.clone())));
            }
            self.dismiss_waiting(waiting);
        } else {
            self.tell_others(
                room_id,
                member,
                &ServerMessage::MemberLeft { member, reason },
            );
            self.succeed_host(room_id);
            self.update_topology(now, room_id, None);
        }
    }

    pub(super) fn tell_others(&mut self, room: &RoomId, about: MemberId, message: &ServerMessage) {
        let Some(room) = self.rooms.get(room) else {
            return;
        };
        for conn in room.connections_without(Some(about)) {
            self.outputs.push_back(Output::Send {
                conn,
                message: message.clone(),
            });
        }
    }
}
