//! What happened so far and what is there now, for `/metrics`.

use std::collections::BTreeMap;

use call_protocol::ErrorCode;

/// Totals since the start; they only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages received, by `type`; those that did not parse count as `unparsable`.
    pub messages: BTreeMap<&'static str, u64>,
    /// Errors sent, by code.
    pub errors: BTreeMap<ErrorCode, u64>,
}

impl Counters {
    pub(crate) fn message(&mut self, kind: &'static str) {
        *self.messages.entry(kind).or_default() += 1;
    }

    pub(crate) fn error(&mut self, code: ErrorCode) {
        *self.errors.entry(code).or_default() += 1;
    }
}

/// What is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Open rooms.
    pub rooms: usize,
    /// Seats over all rooms, those waiting for a resume included.
    pub members: usize,
    /// Connections that wait to be let into a room.
    pub waiting: usize,
    /// Connections, seated or not.
    pub connections: usize,
}
