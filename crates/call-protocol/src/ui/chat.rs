//! The chat and files as the UI shows them.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::ids::MemberId;

/// A message of the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct ChatMessageView {
    /// Stays the same while the message's state changes.
    pub id: String,
    /// Sorts messages: ascending, the newest last; ties cannot happen.
    pub order: String,
    /// Who wrote it, while they are in the room under this id.
    pub from: Option<MemberId>,
    /// The author's name, cleaned.
    pub name: String,
    /// Whether it is one's own.
    pub mine: bool,
    /// What was written; may have several lines.
    pub text: String,
    /// When it was sent by the author's clock, in milliseconds since 1970.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub sent_at_ms: u64,
    /// How far one's own message got; others' messages are delivered.
    pub delivery: ChatDelivery,
}

/// How far a message of one's own got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum ChatDelivery {
    /// Nobody is known to have it.
    Sending,
    /// Some of those who are in the room have it.
    Partly,
    /// Everybody in the room has it (or nobody else is there).
    Delivered,
}

/// Files on their way to or from one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct TransferView {
    /// The offer, 32 hex digits. With `member` it names the transfer: one's own offer to several
    /// members is several transfers.
    pub offer: String,
    /// Whether one sends it.
    pub outgoing: bool,
    /// The member at the other end; `None` while an own offer is still being prepared.
    pub member: Option<MemberId>,
    /// Their name, also when they are gone.
    pub member_name: String,
    /// The file's name, or that of the folder or the first file of several; cleaned for display.
    pub name: String,
    /// How many files.
    pub files: u32,
    /// Whether a folder was sent.
    pub is_folder: bool,
    /// All files together.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub size_bytes: u64,
    /// Verified by the receiver so far; while preparing, hashed so far.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub done_bytes: u64,
    /// Of the last seconds, in bytes per second; 0 while nothing flows.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub rate_bytes_per_s: u64,
    /// Time left at this rate, in seconds, once it can be told.
    pub remaining_s: Option<u32>,
    /// How it is doing.
    pub state: TransferState,
    /// Where it was put, once done: the file, or the folder that holds the files. Incoming only.
    pub path: Option<String>,
}

/// How a transfer is doing.
///
/// Outgoing: `Preparing -> Offered -> Running`; incoming: `Asking -> Running`. From there
/// `Running <-> Paused`, `Running <-> Interrupted`, and one of the final states `Done`, `Declined`,
/// `Cancelled`, `Failed`, in which it stays until it is dismissed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TransferState {
    /// The files are read once to know what is offered.
    Preparing,
    /// The receiver has not answered yet.
    Offered,
    /// Incoming: waits for the person's answer.
    Asking,
    /// Data flows, or is about to.
    Running,
    /// Somebody paused it.
    Paused {
        /// Oneself, or the other.
        by_me: bool,
    },
    /// There is no way to the other at the moment; goes on by itself.
    Interrupted,
    /// All arrived and verified.
    Done,
    /// The receiver did not want it.
    Declined,
    /// Somebody ended it.
    Cancelled {
        /// Oneself, or the other.
        by_me: bool,
    },
    /// It could not be done.
    Failed {
        /// Why.
        code: ErrorCode,
    },
}
