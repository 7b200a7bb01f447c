//! One room on a shard: the pure decisions ([`SfuRoom`]) and which links they concern.
//!
//! Exists while somebody has a link or a subscription. A subscription outlives links: it may come
//! before the offer and holds for the next link.

use std::collections::BTreeSet;
use std::time::Instant;

use call_protocol::wire::Subscription;
use call_protocol::{MemberId, RoomId};
use call_room::sfu::{SfuConfig, SfuRoom, SlotId, SlotSpec, TrackId, TrackSpec};

use super::negotiate::Names;

/// See the module documentation.
pub(super) struct Room {
    pub(super) id: RoomId,
    pub(super) sfu: SfuRoom,
    /// Keys of the links, by member; ordered.
    links: Vec<(MemberId, usize)>,
    /// Whoever subscribed and still has a seat.
    subscribers: BTreeSet<MemberId>,
    next_name: u32,
}

impl Room {
    pub(super) fn new(id: RoomId) -> Self {
        Self {
            id,
            sfu: SfuRoom::new(SfuConfig::default()),
            links: Vec::new(),
            subscribers: BTreeSet::new(),
            next_name: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.subscribers.is_empty()
    }

    pub(super) fn link(&self, member: MemberId) -> Option<usize> {
        let at = self
            .links
            .binary_search_by_key(&member, |(member, _)| *member)
            .ok()?;
        Some(self.links[at].1)
    }

    /// Every link but one's own.
    pub(super) fn others(&self, member: MemberId) -> impl Iterator<Item = usize> + '_ {
        let others = self.links.iter().filter(move |(other, _)| *other != member);
        others.map(|(_, key)| *key)
    }

    /// A link was opened or renegotiated.
    pub(super) fn set_link(
        &mut self,
        now: Instant,
        member: MemberId,
        key: usize,
        (tracks, slots): (Vec<TrackSpec>, Vec<SlotSpec>),
    ) {
        match self
            .links
            .binary_search_by_key(&member, |(member, _)| *member)
        {
            Ok(at) => self.links[at].1 = key,
            Err(at) => self.links.insert(at, (member, key)),
        }
        self.sfu.handle_link(now, member, tracks, slots);
    }

    pub(super) fn remove_link(&mut self, now: Instant, member: MemberId) {
        self.links.retain(|(other, _)| *other != member);
        self.sfu.handle_link_gone(now, member);
    }

    pub(super) fn subscribe(&mut self, now: Instant, member: MemberId, tiles: &[Subscription]) {
        self.sfu.handle_subscribe(now, member, tiles);
        self.subscribers.insert(member);
    }

    /// The member's seat is gone, and its link before.
    pub(super) fn remove_member(&mut self, now: Instant, member: MemberId) {
        self.sfu.handle_member_gone(now, member);
        self.subscribers.remove(&member);
    }
}

impl Names for Room {
    fn track(&mut self) -> TrackId {
        self.next_name = self.next_name.wrapping_add(1);
        TrackId(self.next_name)
    }

    fn slot(&mut self) -> SlotId {
        self.next_name = self.next_name.wrapping_add(1);
        SlotId(self.next_name)
    }
}
