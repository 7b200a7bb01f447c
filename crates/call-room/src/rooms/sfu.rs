//! A room's topology, and what passes between members, the forwarding unit and the relay.
//!
//! The forwarding unit runs in the shell. A seat that said anything to it is followed by exactly one
//! [`SfuCommand::Close`] without a link when the seat ends. What it says to a member whose
//! connection is lost waits, the latest of each kind.

use std::time::{Duration, Instant};

use call_protocol::wire::{ClientMessage, RelayGrant, ServerMessage, TopologyMode};
use call_protocol::{ErrorCode, MemberId, RoomId};

use super::{Refusal, Rooms};
use crate::connection::ConnId;
use crate::io::{Output, Reason, SfuCommand, SfuEvent};
use crate::relay::MAX_TTL_S;
use crate::room::Presence;
use crate::topology::TopologyChoice;

/// How long before a relay grant expires the next one is sent.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);
/// Shortest life of a relay grant, whatever the configuration says: each costs a message.
const SHORTEST_GRANT: Duration = Duration::from_secs(60);

impl Rooms {
    /// Looks at a room's topology and tells everybody when it changes, except `newcomer`, who
    /// learns it from `joined`.
    pub(super) fn update_topology(
        &mut self,
        now: Instant,
        room_id: &RoomId,
        newcomer: Option<MemberId>,
    ) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        let reason = Reason::TopologyDue(room_id.clone());
        let before = room.topology.due();
        let situation = room.situation();
        let (choice, limit) = (self.config.topology, self.config.mesh_limit);
        let change = room.topology.update(now, choice, limit, &situation);
        let after = room.topology.due();
        let told = room.connections_without(newcomer);
        if before != after {
            if let Some(at) = before {
                self.timers.remove(&(at, reason.clone()));
            }
            if let Some(at) = after {
                self.timers.insert((at, reason));
            }
        }
        let Some((mode, why)) = change else {
            return;
        };
        for conn in told {
            let reason = why.as_str().to_owned();
            self.send(conn, ServerMessage::Topology { mode, reason });
        }
    }

    pub(super) fn topology_of(&self, room: &RoomId) -> TopologyMode {
        self.rooms
            .get(room)
            .map_or(TopologyMode::Mesh, |room| room.topology.mode())
    }

    /// `report`, `subscribe` and `sfu_…` of a seated member.
    pub(super) fn handle_media_message(
        &mut self,
        now: Instant,
        room_id: RoomId,
        member: MemberId,
        message: ClientMessage,
    ) -> Result<(), Refusal> {
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return Ok(());
        };
        if let ClientMessage::Report {
            relayed,
            uplink_short,
            cpu_short,
        } = message
        {
            room.report(member, &relayed, uplink_short, cpu_short);
            self.update_topology(now, &room_id, None);
            return Ok(());
        }
        if self.config.topology == TopologyChoice::Mesh {
            return Err((ErrorCode::NotSupported, "no forwarding unit"));
        }
        let room_of_command = room_id.clone();
        let command = match message {
            ClientMessage::SfuOffer { link, sdp, tracks } => SfuCommand::Offer {
                room: room_of_command,
                member,
                link,
                sdp,
                tracks,
            },
            ClientMessage::SfuCandidate {
                link,
                candidate,
                mid,
                mline_index,
            } => SfuCommand::Candidate {
                room: room_of_command,
                member,
                link,
                candidate,
                mid,
                mline_index,
            },
            ClientMessage::SfuClose { link } => SfuCommand::Close {
                room: room_of_command,
                member,
                link: Some(link),
            },
            ClientMessage::Subscribe { tiles } => SfuCommand::Subscribe {
                room: room_of_command,
                member,
                tiles,
            },
            _ => return Ok(()),
        };
        if let Some(seat) = room.seat_mut(member) {
            seat.uses_sfu = true;
            self.outputs.push_back(Output::Sfu(command));
        }
        Ok(())
    }

    /// What the forwarding unit says to a member.
    pub(super) fn handle_sfu_event(&mut self, room: &RoomId, member: MemberId, event: SfuEvent) {
        let seat = self
            .rooms
            .get_mut(room)
            .and_then(|room| room.seat_mut(member));
        let Some(seat) = seat else {
            return;
        };
        let message = match event {
            SfuEvent::Answer { link, sdp } => ServerMessage::SfuAnswer { link, sdp },
            SfuEvent::Closed { link, code } => ServerMessage::SfuClosed { link, code },
            SfuEvent::Layers { source, wanted } => ServerMessage::SfuLayers { source, wanted },
            SfuEvent::Slots { link, slots } => ServerMessage::SfuSlots { link, slots },
        };
        match &mut seat.presence {
            Presence::Here(conn) => {
                let conn = *conn;
                self.send(conn, message);
            }
            Presence::Lost { missed, .. } => missed.push(message),
        }
    }

    /// The seat is gone: so is what the forwarding unit has of it.
    pub(super) fn close_sfu(&mut self, room: &RoomId, member: MemberId) {
        self.outputs.push_back(Output::Sfu(SfuCommand::Close {
            room: room.clone(),
            member,
            link: None,
        }));
    }

    /// A grant for a seat, and the time to renew it. `None` where there is no relay.
    pub(super) fn grant_relay(
        &mut self,
        now: Instant,
        room_id: &RoomId,
        member: MemberId,
    ) -> Option<RelayGrant> {
        if self.config.relay_urls.is_empty() {
            return None;
        }
        let seat = self.rooms.get_mut(room_id)?.seat_mut(member)?;
        let most = Duration::from_secs(MAX_TTL_S.into());
        let ttl = self.config.relay_ttl.clamp(SHORTEST_GRANT, most);
        let due = now + ttl.saturating_sub(RENEW_BEFORE).max(ttl / 2);
        let reason = Reason::RelayDue(room_id.clone(), member);
        if let Some(before) = seat.relay_due.replace(due) {
            self.timers.remove(&(before, reason.clone()));
        }
        self.timers.insert((due, reason));
        self.grants += 1;
        let (start, start_unix_s) = self.started;
        let unix_s = start_unix_s + now.saturating_duration_since(start).as_secs();
        let ttl_s = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        let urls = &self.config.relay_urls;
        Some(self.relay.grant(unix_s, ttl_s, self.grants, urls))
    }

    pub(super) fn renew_relay(&mut self, now: Instant, room: &RoomId, member: MemberId) {
        let seat = self
            .rooms
            .get_mut(room)
            .and_then(|room| room.seat_mut(member));
        let conn: Option<ConnId> = seat.and_then(|seat| {
            seat.relay_due = None;
            match seat.presence {
                Presence::Here(conn) => Some(conn),
                // A resume brings a new one.
                Presence::Lost { .. } => None,
            }
        });
        if let Some(conn) = conn
            && let Some(relay) = self.grant_relay(now, room, member)
        {
            self.send(conn, ServerMessage::Relay { relay });
        }
    }
}
