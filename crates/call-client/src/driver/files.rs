//! Which link leads to a member for contents of files.

use std::sync::Arc;

use call_core::LinkPeer;
use call_protocol::MemberId;

use super::Driver;
use super::links::carries;

impl Driver {
    /// To be called when a link to the member appears, goes, or changes its state: the newest data
    /// link that carries anything counts.
    pub(super) fn update_way(&self, member: MemberId) {
        let open = self.links.iter().filter(|(id, slot)| {
            id.peer == LinkPeer::Data(member) && carries(slot.state) && slot.link.is_some()
        });
        let newest = open.max_by_key(|(id, _)| id.generation);
        let link = newest.and_then(|(_, slot)| slot.link.as_ref());
        self.disk.set_way(member, link.map(Arc::downgrade));
    }
}
