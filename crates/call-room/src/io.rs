//! What goes into [`crate::Rooms`] and what comes out.

use call_protocol::wire::{ClientMessage, ParseError, ServerMessage};
use call_protocol::{ErrorCode, MemberId, RoomId};

use crate::address::ClientAddr;
use crate::connection::ConnId;

/// What the shell reports.
#[derive(Clone, Debug)]
pub enum Input {
    /// A WebSocket was opened.
    Connected {
        /// A name never used before.
        conn: ConnId,
        /// Where it comes from; `None` exempts it from the limits per address.
        addr: Option<ClientAddr>,
    },
    /// A message arrived.
    Message {
        /// On which connection.
        conn: ConnId,
        /// The parsed message, within its bounds.
        message: ClientMessage,
    },
    /// Something arrived that is no message.
    ParseFailed {
        /// On which connection.
        conn: ConnId,
        /// Why; `message_too_large` closes the connection.
        error: ParseError,
    },
    /// Neither message nor pong came for too long.
    Silent {
        /// Which connection.
        conn: ConnId,
    },
    /// The connection does not drain what is sent to it.
    Overflowed {
        /// Which connection.
        conn: ConnId,
    },
    /// The connection is gone, whatever the reason. Always the last report about it.
    Disconnected {
        /// Which connection.
        conn: ConnId,
    },
    /// The time of [`crate::Rooms::poll_timeout`] has come.
    Timeout,
    /// The server is about to stop.
    Drain,
}

/// What the shell shall do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To which connection.
        conn: ConnId,
        /// What.
        message: ServerMessage,
    },
    /// Close the connection after what was sent before.
    Close {
        /// Which.
        conn: ConnId,
        /// The code of the fatal error sent before it.
        reason: ErrorCode,
    },
}

/// What a timeout is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A connection has not said `hello`.
    HelloDue(ConnId),
    /// A lost seat was not resumed.
    SeatExpired(RoomId, MemberId),
    /// An address without connections may be forgotten.
    AddressIdle(ClientAddr),
}
