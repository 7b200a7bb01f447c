//! A room as one client sees it.

use std::collections::BTreeMap;

use call_protocol::MemberId;
use call_protocol::care::Door;
use call_protocol::wire::{ServerMessage, TopologyMode};

/// What a client knows from the server's messages.
#[derive(Debug)]
pub(super) struct View {
    pub(super) room: u8,
    pub(super) member: MemberId,
    pub(super) others: BTreeMap<MemberId, String>,
    pub(super) topology: TopologyMode,
    pub(super) host: MemberId,
    pub(super) door: Door,
}

/// Applies news to a view. Anything but news about the own room's members is a failure.
pub(super) fn apply(view: Option<&mut View>, message: ServerMessage) {
    let Some(view) = view else {
        panic!("news without a seat: {message:?}")
    };
    match message {
        ServerMessage::MemberJoined { member, profile } => {
            assert_ne!(member, view.member);
            assert!(
                view.others.insert(member, profile).is_none(),
                "joined twice"
            );
        }
        ServerMessage::MemberUpdated { member, profile } => {
            assert!(
                view.others.insert(member, profile).is_some(),
                "update of a stranger"
            );
        }
        ServerMessage::MemberLeft { member, .. } => {
            assert!(view.others.remove(&member).is_some(), "a stranger left");
        }
        ServerMessage::Signal { from, .. } => {
            assert!(view.others.contains_key(&from), "signal from a stranger");
        }
        ServerMessage::Topology { mode, reason } => {
            assert_ne!(mode, view.topology, "told again");
            let stays = ["members", "uplink"].contains(&reason.as_str());
            assert_eq!(stays, mode == TopologyMode::Sfu, "{reason}");
            view.topology = mode;
        }
        ServerMessage::Host { member } => {
            assert_ne!(member, view.host, "told again");
            view.host = member;
        }
        ServerMessage::Door { door } => {
            assert_ne!(door, view.door, "told again");
            view.door = door;
        }
        other => panic!("unexpected: {other:?}"),
    }
}
