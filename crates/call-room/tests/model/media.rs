//! Topology and the forwarding unit in the random conversations.

use std::collections::BTreeSet;

use call_protocol::ErrorCode;
use call_protocol::wire::{ClientMessage, TopologyMode};
use call_room::SfuCommand;

use super::{MESH, Model, RefRoom};
use crate::server::room_id;

impl Model {
    pub(super) fn report(&mut self, conn: u64) {
        let uplink_short = self.random.below(2) == 0;
        self.server.say(
            conn,
            ClientMessage::Report {
                relayed: Vec::new(),
                uplink_short,
                cpu_short: false,
            },
        );
        let Some((room, member)) = self.seat_of(conn) else {
            return self.expect_error(conn, ErrorCode::NotJoined);
        };
        let room = self.rooms.get_mut(&room).expect("open room");
        room.seats.get_mut(&member).expect("own seat").uplink_short = uplink_short;
    }

    pub(super) fn use_sfu(&mut self, conn: u64) {
        let link = 1;
        self.server.say(conn, ClientMessage::SfuClose { link });
        let Some((room, member)) = self.seat_of(conn) else {
            return self.expect_error(conn, ErrorCode::NotJoined);
        };
        let want = SfuCommand::Close {
            room: room_id(room),
            member,
            link: Some(link),
        };
        assert_eq!(self.server.take_sfu(), [want]);
        self.sfu.insert((room_id(room), member));
    }

    /// The forwarding unit hears of every seat it knows that it ended.
    pub(super) fn check_sfu(&mut self) {
        for command in self.server.take_sfu() {
            let SfuCommand::Close {
                room,
                member,
                link: None,
            } = command
            else {
                panic!("unexpected: {command:?}")
            };
            assert!(
                self.sfu.remove(&(room, member)),
                "ended twice, or never began"
            );
        }
        let seats = |(room, state): (&u8, &RefRoom)| {
            let room = room_id(*room);
            state
                .seats
                .keys()
                .map(|member| (room.clone(), *member))
                .collect::<Vec<_>>()
        };
        let seats: BTreeSet<_> = self.rooms.iter().flat_map(seats).collect();
        assert!(self.sfu.is_subset(&seats), "a seat ended unheard");
    }

    /// Everybody in a room was told the same, and what needs the SFU has it. That a room does not
    /// stay there is left to tests that know the times.
    pub(super) fn check_topology(&mut self) {
        for (room, state) in &self.rooms {
            let views = self
                .clients
                .values()
                .filter_map(|client| client.view.as_ref());
            let told: BTreeSet<bool> = views
                .filter(|view| view.room == *room)
                .map(|view| view.topology == TopologyMode::Sfu)
                .collect();
            assert!(
                told.len() <= 1,
                "room {room}: members were told different topologies"
            );
            let is_short = state.seats.values().any(|seat| seat.uplink_short);
            let size = state.seats.len();
            if told.contains(&true) {
                assert!(size > 1, "room {room}: alone at the SFU");
                self.at_sfu += 1;
            } else if told.contains(&false) {
                assert!(
                    size == 1 || (size <= MESH && !is_short),
                    "room {room}: still a mesh"
                );
            }
        }
    }
}
