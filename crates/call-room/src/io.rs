//! What goes into [`crate::Rooms`] and what comes out.

use call_protocol::limits::SFU_LAYERS;
use call_protocol::wire::{
    ClientMessage, ParseError, ServerMessage, SfuSlot, SfuTrack, Subscription,
};
use call_protocol::{ErrorCode, MediaSource, MemberId, RoomId};

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
    /// The forwarding unit has something for a member. Dropped when the seat is gone.
    Sfu {
        /// In which room.
        room: RoomId,
        /// For whom.
        member: MemberId,
        /// What.
        event: SfuEvent,
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
    /// Something for the forwarding unit.
    Sfu(SfuCommand),
}

/// What members ask of the forwarding unit. A room's commands come in the order they were asked.
/// When the server drains, none come any more: everything at the forwarding unit ends.
#[derive(Clone, Debug, PartialEq)]
pub enum SfuCommand {
    /// `sfu_offer`: answered by [`SfuEvent::Answer`] or [`SfuEvent::Closed`].
    Offer {
        /// In which room.
        room: RoomId,
        /// Whose.
        member: MemberId,
        /// The member's number for the link.
        link: u32,
        /// The description.
        sdp: String,
        /// What the member sends; indices and layers are not checked.
        tracks: Vec<SfuTrack>,
    },
    /// `sfu_candidate`; the link may not exist.
    Candidate {
        /// In which room.
        room: RoomId,
        /// Whose.
        member: MemberId,
        /// Of which link.
        link: u32,
        /// The candidate line without `a=`.
        candidate: String,
        /// The media id.
        mid: Option<String>,
        /// Index of the media section.
        mline_index: Option<u16>,
    },
    /// A link is to be closed; it may not exist.
    Close {
        /// In which room.
        room: RoomId,
        /// Whose.
        member: MemberId,
        /// Which link; `None`: the seat is gone and with it everything of this member, for good.
        link: Option<u32>,
    },
    /// `subscribe`; may come before a link.
    Subscribe {
        /// In which room.
        room: RoomId,
        /// Whose.
        member: MemberId,
        /// What the member wants to see.
        tiles: Vec<Subscription>,
    },
}

/// What the forwarding unit says to a member.
#[derive(Clone, Debug, PartialEq)]
pub enum SfuEvent {
    /// `sfu_answer`.
    Answer {
        /// The member's number for the link.
        link: u32,
        /// The description.
        sdp: String,
    },
    /// `sfu_closed`.
    Closed {
        /// The member's number for the link.
        link: u32,
        /// Why.
        code: ErrorCode,
    },
    /// `sfu_layers`.
    Layers {
        /// Which of the member's pictures.
        source: MediaSource,
        /// Largest first.
        wanted: [bool; SFU_LAYERS],
    },
    /// `sfu_slots`.
    Slots {
        /// The member's number for the link.
        link: u32,
        /// Every slot in use.
        slots: Vec<SfuSlot>,
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
    /// A room may return to the mesh.
    TopologyDue(RoomId),
    /// A member's relay grant is about to expire.
    RelayDue(RoomId, MemberId),
}
