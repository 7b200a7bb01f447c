//! Care for a room: who may come in, who waits, and what the host may ask of the server.
//!
//! The server enforces what is here. What it cannot forge, the host says to members sealed:
//! [`crate::peer::Profile::host`] and [`crate::peer::PeerSignal::AskMute`].

use serde::{Deserialize, Serialize};

use crate::ids::MemberId;

/// Who with the room's code may come in. Whoever has a seat keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// Everybody.
    #[default]
    Open,
    /// Whom the host lets in.
    Knock,
    /// Nobody.
    Locked,
}

impl Door {
    /// Whether it is what a message leaves out.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// What the host asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Moderation {
    /// From now on these may come in. An open door lets in everybody who waits, a locked one sends
    /// them away.
    Door {
        /// Who.
        door: Door,
    },
    /// Lets somebody in who waits.
    Admit {
        /// As in `knock`.
        knock: u32,
    },
    /// Sends somebody away who waits.
    Refuse {
        /// As in `knock`.
        knock: u32,
    },
    /// Takes a member's seat away.
    Remove {
        /// Whose.
        member: MemberId,
    },
    /// Hands the role on.
    Host {
        /// To whom.
        member: MemberId,
    },
    /// Ends the call for everybody.
    End,
}
