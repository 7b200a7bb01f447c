//! Care for a room as the UI shows it and asks for it.

use serde::{Deserialize, Serialize};

use crate::care::Door;
use crate::ids::MemberId;

/// Who may come in, who waits, and who decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct CareView {
    /// Who is host, as far as it is proven; may be oneself.
    pub host: Option<MemberId>,
    /// Who else may come in, as the server says.
    pub door: Door,
    /// Who waits to be let in, oldest first; empty unless one is host.
    pub knocks: Vec<KnockView>,
    /// Whether the host asks one to mute, and one has neither muted nor declined.
    pub asked_to_mute: bool,
}

/// Somebody who waits to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct KnockView {
    /// Names them.
    pub knock: u32,
    /// What they call themselves, cleaned.
    pub name: String,
}

/// What the person asks for; all but [`Self::KeepMicrophone`] is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum CareCommand {
    /// Who may come in from now on.
    SetDoor {
        /// Who.
        door: Door,
    },
    /// Lets somebody in.
    Admit {
        /// As in [`KnockView::knock`].
        knock: u32,
    },
    /// Sends somebody away.
    Refuse {
        /// As in [`KnockView::knock`].
        knock: u32,
    },
    /// Removes a member from the call.
    Remove {
        /// Whom.
        member: MemberId,
    },
    /// Asks a member, or everybody, to mute themselves.
    AskToMute {
        /// Whom; `None` is everybody.
        member: Option<MemberId>,
    },
    /// Makes a member the host.
    MakeHost {
        /// Whom.
        member: MemberId,
    },
    /// Ends the call for everybody.
    EndForAll,
    /// Declines the host's question to mute.
    KeepMicrophone,
}
