//! What a session is told.

use call_e2ee::RoomKeys;
use call_protocol::peer::PeerSignal;
use call_protocol::ui::{DeviceKind, DeviceOption, DeviceState, SoundTestState, UiCommand};
use call_protocol::wire::ServerMessage;
use call_protocol::{ErrorCode, MediaSource, MemberId, VideoCodec};

use crate::diagnosis::StatsSample;
use crate::files::FileEvent;
use crate::quality::QualityReport;

/// One run from starting or joining a call to its end. Answers to an older run are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(pub u32);

/// One connection to the server. Inputs of another than the current one are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// Who is at the other end of a peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkPeer {
    /// A member of the room, for the call.
    Member(MemberId),
    /// A member of the room, for files: data channels only, beside whatever carries the call.
    Data(MemberId),
    /// The server's forwarding unit.
    Sfu,
}

/// One peer connection. Opening it anew makes a new generation; inputs of older ones are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// Who is at the other end.
    pub peer: LinkPeer,
    /// Counts all links a session ever opened.
    pub generation: u32,
}

impl LinkId {
    /// The member at the other end, if it is one, whatever the link is for.
    pub fn member(self) -> Option<MemberId> {
        match self.peer {
            LinkPeer::Member(member) | LinkPeer::Data(member) => Some(member),
            LinkPeer::Sfu => None,
        }
    }
}

/// Everything that can happen to a session.
#[derive(Clone, Debug)]
pub enum Input {
    /// The person wants something.
    Command(UiCommand),
    /// Answer to [`crate::Output::DeriveKeys`].
    KeysReady {
        /// As in the request.
        attempt: AttemptId,
        /// The keys.
        keys: RoomKeys,
    },
    /// Answer to [`crate::Output::LocateServer`].
    ServerLocated {
        /// As in the request.
        attempt: AttemptId,
        /// `ws://host:port`, with or without the path.
        url: String,
    },
    /// Answer to [`crate::Output::LocateServer`].
    ServerNotFound {
        /// As in the request.
        attempt: AttemptId,
        /// Why.
        code: ErrorCode,
    },
    /// The connection stands.
    SocketOpened {
        /// Which.
        socket: SocketId,
    },
    /// The connection is gone, or was never made.
    SocketClosed {
        /// Which.
        socket: SocketId,
        /// Why, as far as known.
        code: Option<ErrorCode>,
    },
    /// Answer to [`crate::SocketOp::Probe`]: the server is there.
    SocketAlive {
        /// Over which connection.
        socket: SocketId,
    },
    /// The machine's addresses changed. Connections and links whose own address is gone are reported
    /// apart, and before. A session that is never told is online.
    Network {
        /// Whether others can be reached: there is an address that is not this machine's own loop.
        online: bool,
    },
    /// The machine was asleep.
    Woken,
    /// A message of the server.
    Server {
        /// The connection it came over.
        socket: SocketId,
        /// The message.
        message: ServerMessage,
    },
    /// A link did something.
    Link {
        /// Which.
        link: LinkId,
        /// What.
        event: LinkEvent,
    },
    /// The first media of a member came over this way and is being played. Once per link, member
    /// and kind of media.
    MediaFlows {
        /// Over which link.
        link: LinkId,
        /// Whose.
        member: MemberId,
        /// Which of theirs.
        source: MediaSource,
    },
    /// How the links do, once a second while there are any. Shortness is believed after 3 s, relief
    /// after 5 s.
    PathReport {
        /// Members whose direct link goes through a relay.
        relayed: Vec<MemberId>,
        /// The uplink does not carry what is to be sent to everybody.
        uplink_short: bool,
        /// Encoding and sealing take more time than there is.
        cpu_short: bool,
    },
    /// What links, members and encoder did in the last second; while there are links, once a second.
    Stats(StatsSample),
    /// How links, encoder and pictures do.
    Quality(QualityReport),
    /// Whether the data link to this member is needed: files go over it. It is there while either
    /// side needs it, beside whatever carries the call and whatever happens to that. Holds until
    /// taken back, the member leaves or one's own seat is a new one; ignored for somebody who is not
    /// there.
    WantData {
        /// To whom.
        member: MemberId,
        /// Wanted or no longer.
        wanted: bool,
    },
    /// A message of a member on a control channel, as it came, whichever way it came.
    Channel {
        /// Who sent it, as link or server say.
        from: MemberId,
        /// Sealed.
        data: Vec<u8>,
    },
    /// The disk, or a data link, reports about files.
    File(FileEvent),
    /// What the wall clock says. At the start and whenever it may have jumped; between, the session
    /// counts on by itself.
    WallClock {
        /// Milliseconds since 1970.
        unix_ms: u64,
    },
    /// A device's state changed.
    Device {
        /// Which kind of device.
        kind: DeviceKind,
        /// How it is doing.
        state: DeviceState,
    },
    /// How what is shared does.
    Share {
        /// As in [`crate::MediaOp::Share`]; news of an earlier share change nothing.
        id: String,
        /// Its state.
        state: DeviceState,
    },
    /// A sound test went on. The last report of every test is [`SoundTestState::Idle`].
    SoundTest {
        /// How it is doing.
        state: SoundTestState,
    },
    /// The list of devices of one kind.
    Devices {
        /// Which kind.
        kind: DeviceKind,
        /// What can be chosen; at most 64 are kept.
        options: Vec<DeviceOption>,
        /// The chosen one; `None` follows the system's default.
        selected: Option<String>,
    },
    /// The time of [`crate::Session::poll_timeout`] has come. Too early or too often does no harm.
    Timeout,
}

/// What a link reports.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// To be sent to the member, or to the SFU (of which only offers and candidates mean anything).
    Signal(PeerSignal),
    /// The connection's state changed.
    State(LinkState),
    /// The address the link used is gone from this machine. The state follows.
    AddressGone,
    /// The codec in which the member's picture arrives; means nothing from the SFU.
    Codec(VideoCodec),
    /// The peer asked for a keyframe (PLI or FIR).
    KeyframeRequested {
        /// Of which of one's own pictures.
        source: MediaSource,
        /// Of which simulcast layer.
        layer: u8,
    },
}

/// How a link is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Being set up for the first time.
    Connecting,
    /// Media can flow.
    Connected,
    /// No packets come through; may recover by itself or by an ICE restart.
    Reconnecting,
    /// Given up by the transport. Final.
    Failed,
    /// Closed. Final.
    Closed,
}
