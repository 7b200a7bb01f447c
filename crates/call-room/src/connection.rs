//! One connection: `AwaitingHello → Lobby ⇄ Waiting, Seated → Closed`.
//!
//! `Closed` means the client was told so and the shell has been asked to close; the entry remains
//! until the shell reports `Disconnected`, and everything else it reports is ignored.

use std::time::Instant;

use call_protocol::{MemberId, RoomId};

use crate::address::ClientAddr;
use crate::rate::Bucket;

/// Names a connection. The shell never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    AwaitingHello {
        due: Instant,
    },
    Lobby,
    /// Somebody must let it in.
    Waiting {
        room: RoomId,
        knock: u32,
    },
    Seated {
        room: RoomId,
        member: MemberId,
    },
    Closed,
}

pub(crate) struct Connection {
    pub(crate) addr: Option<ClientAddr>,
    pub(crate) phase: Phase,
    pub(crate) messages: Bucket,
    pub(crate) joins: Bucket,
    /// Bad messages since the last good one.
    pub(crate) bad_in_a_row: u32,
}

impl Connection {
    pub(crate) fn new(addr: Option<ClientAddr>, hello_due: Instant) -> Self {
        Self {
            addr,
            phase: Phase::AwaitingHello { due: hello_due },
            messages: Bucket::default(),
            joins: Bucket::default(),
            bad_in_a_row: 0,
        }
    }
}
