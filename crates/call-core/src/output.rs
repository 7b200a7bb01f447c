//! What a session wants done.

use std::path::PathBuf;

use call_e2ee::RoomCode;
use call_protocol::care::Door;
use call_protocol::channel::file::{Digest, OfferId};
use call_protocol::peer::PeerSignal;
use call_protocol::ui::network::Verdict;
use call_protocol::ui::{
    Delivery, DeviceKind, LinkView, SettingsView, TileSize, TransferState, UiEvent, VoiceView,
};
use call_protocol::wire::{ClientMessage, RelayGrant, TopologyMode};
use call_protocol::{ErrorCode, MediaSource, MemberId, limits};

use crate::files::FileOp;
use crate::input::{AttemptId, LinkId, LinkPeer, SocketId};
use crate::quality::{PicturePlan, SoundPlan};

/// Everything a session can ask for, in the order in which it must be done.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once, never stored in numbers"
)]
pub enum Output {
    /// Derive the keys of a code where blocking is allowed; answer with
    /// [`crate::Input::KeysReady`].
    DeriveKeys {
        /// To be echoed.
        attempt: AttemptId,
        /// The code.
        code: RoomCode,
    },
    /// No server is configured: host one, or find the room's on the local network. Answer with
    /// [`crate::Input::ServerLocated`] or [`crate::Input::ServerNotFound`].
    LocateServer {
        /// To be echoed.
        attempt: AttemptId,
        /// Host or find.
        purpose: LocatePurpose,
        /// What is announced and looked for.
        lan_tag: String,
    },
    /// The call is over: stop hosting, announcing and looking.
    ReleaseServer,
    /// For the connection to the server.
    Socket(SocketOp),
    /// For a link.
    Link(LinkOp),
    /// For devices, codecs and frames.
    Media(MediaOp),
    /// Send a message on the control channel, on whichever way leads there. It may get lost.
    Channel {
        /// To whom; `None` is everybody.
        to: Option<MemberId>,
        /// Sealed, at most [`limits::SEALED_MESSAGE_BYTES`].
        data: Vec<u8>,
    },
    /// For the disk and data links.
    File(FileOp),
    /// For the UI.
    Ui(UiEvent),
    /// What happened, step by step; for the headless client.
    Call(CallEvent),
    /// The person changed a setting: keep it.
    Settings(SettingsView),
}

/// What a server is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocatePurpose {
    /// Start the embedded server and announce the room, until [`Output::ReleaseServer`].
    Host,
    /// Find who announces the room.
    Join,
}

/// For the connection to the server.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketOp {
    /// Connect.
    Connect {
        /// The connection's id from now on.
        socket: SocketId,
        /// The complete WebSocket URL.
        url: String,
    },
    /// Send a message.
    Send {
        /// Over which connection.
        socket: SocketId,
        /// The message.
        message: ClientMessage,
    },
    /// Ask the server for a sign of life; answer with [`crate::Input::SocketAlive`] when one comes.
    Probe {
        /// Over which connection.
        socket: SocketId,
    },
    /// Send what is queued, then close. Nothing needs to be reported back.
    Close {
        /// Which connection.
        socket: SocketId,
    },
}

/// For a link.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkOp {
    /// Open a peer connection.
    Open {
        /// Its id from now on.
        link: LinkId,
        /// Yields when both sides offer at once.
        polite: bool,
        /// Makes the first offer.
        initiator: bool,
    },
    /// From now on use these servers to find paths; links that are open stay as they are.
    UseIceServers {
        /// `stun:host:port`, at most [`call_protocol::limits::STUN_SERVERS`].
        stun: Vec<String>,
        /// The relay.
        relay: Option<RelayGrant>,
    },
    /// A signal of the member, opened and within its limits, or an answer of the SFU.
    Signal {
        /// For which link.
        link: LinkId,
        /// The signal.
        signal: PeerSignal,
    },
    /// Restart ICE (RFC 8445 §9).
    Restart {
        /// Which link.
        link: LinkId,
    },
    /// Close it and free everything. What it still reports is ignored.
    Close {
        /// Which link.
        link: LinkId,
    },
}

/// For devices, codecs and frames.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaOp {
    /// Whether the microphone's sound is kept back. `false` only ever follows the person's own
    /// command (or the session's configuration, once, at the start).
    SetMuted {
        /// The state.
        muted: bool,
    },
    /// Which devices shall run from now on.
    Run {
        /// The camera: wanted on, and there is a call or a preview.
        camera: bool,
        /// The microphone, also while muted (its level is shown): there is a call or a preview.
        microphone: bool,
        /// The speaker: there is a call.
        speaker: bool,
    },
    /// Use another device.
    SelectDevice {
        /// Of which kind.
        kind: DeviceKind,
        /// Which; `None` follows the system's default.
        id: Option<String>,
    },
    /// List the devices again.
    RefreshDevices,
    /// Process the microphone's sound with these parts from now on.
    SetVoice {
        /// What is on.
        voice: VoiceView,
    },
    /// How a member is heard here. Follows every opening of a link to a member for whom it is not
    /// the default, because a link begins its sound anew.
    SetMemberSound {
        /// Whom.
        member: MemberId,
        /// 0 to [`call_protocol::ui::MOST_VOLUME_PERCENT`].
        volume_percent: u16,
        /// Muted on this machine only.
        muted_here: bool,
    },
    /// Record the microphone and play it back; report by [`crate::Input::SoundTest`]. Only while
    /// no test runs.
    StartSoundTest,
    /// Play the chime; report by [`crate::Input::SoundTest`]. Only while no test runs.
    PlayTestTone,
    /// End the running test.
    StopSoundTest,
    /// List what can be shared and tell the UI.
    ListShares,
    /// Capture this screen or window from now on; report by [`crate::Input::Share`]. `None`: nothing.
    Share {
        /// As in [`call_protocol::ui::UiCommand::StartShare`].
        id: Option<String>,
    },
    /// Encode the next picture of one of one's own layers as a keyframe.
    ForceKeyframe {
        /// Which picture.
        source: MediaSource,
        /// Which simulcast layer.
        layer: u8,
    },
    /// These layers of one's own picture are of use to somebody, if the links carry them. What is
    /// encoded follows with [`MediaOp::EncodePicture`].
    SetLayers {
        /// Which picture.
        source: MediaSource,
        /// Layers 0 (largest) to 2.
        wanted: [bool; limits::SFU_LAYERS],
    },
    /// Encode one's own picture like this from now on, `None` not at all. All layers go to the SFU;
    /// members with a direct link get layer 0.
    EncodePicture {
        /// Which picture.
        source: MediaSource,
        /// How.
        plan: Option<PicturePlan>,
    },
    /// Direct links to exactly these members do not get this picture: their paths carry only sound. Who
    /// is not among them any more begins with a keyframe.
    HoldPicture {
        /// Which picture.
        source: MediaSource,
        /// Whom, in order.
        members: Vec<MemberId>,
    },
    /// Encode sound like this from now on.
    EncodeSound {
        /// How.
        plan: SoundPlan,
    },
    /// Files may take so much of each link, in bit/s; `None`: whatever they find.
    LimitFiles {
        /// The bound.
        limit_bps: Option<u64>,
    },
    /// One's own media is sealed as this member's from now on. Before anything is sent, and again
    /// with every new seat.
    SealAs {
        /// One's own id.
        member: MemberId,
        /// As in one's own profile.
        salt: [u8; 16],
    },
    /// One's own media is sealed with another salt from now on, in the same seat: counters go on.
    Reseal {
        /// As in one's own profile, for a while already.
        salt: [u8; 16],
    },
    /// A member's media opens with this from now on. What they sealed before opens until they use
    /// it, unless they were forgotten.
    OpenMember {
        /// Whom.
        member: MemberId,
        /// As in their profile.
        salt: [u8; 16],
    },
    /// A member is gone, or says nothing any more that would open their media: nothing of theirs
    /// opens. Also follows a member's leaving where nothing is sealed.
    ForgetMember {
        /// Whom.
        member: MemberId,
    },
    /// Ask a member for a keyframe.
    RequestKeyframe {
        /// Whom.
        member: MemberId,
        /// For which of their pictures.
        source: MediaSource,
    },
    /// Deliver pictures for these tiles only.
    SetVisibleTiles {
        /// At most twice the members of a full room.
        tiles: Vec<TileSize>,
    },
    /// The UI took frame messages off the channel.
    FrameCredit {
        /// Of this epoch.
        epoch: u32,
        /// How many.
        messages: u32,
    },
    /// Deliver a tile's pictures in another way.
    SetDelivery {
        /// Whose.
        member: MemberId,
        /// Which of theirs.
        source: MediaSource,
        /// How.
        delivery: Delivery,
    },
}

/// One step of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum CallEvent {
    /// There is a code.
    Room {
        /// As shown.
        code: String,
        /// The invite link.
        link: String,
    },
    /// One has a seat, the first or a new one.
    Joined {
        /// One's own id.
        member: MemberId,
        /// Who else is there.
        members: Vec<MemberId>,
    },
    /// Somebody is there now. Also reported for those who were there before, after `Joined`.
    MemberJoined {
        /// Who.
        member: MemberId,
        /// Their name.
        name: String,
    },
    /// One waits to be let in.
    Waiting,
    /// Somebody waits to be let in. To the host only.
    Knock {
        /// Names them.
        knock: u32,
        /// What they call themselves.
        name: String,
    },
    /// Who is host now.
    Host {
        /// Who; may be oneself.
        member: MemberId,
    },
    /// Others may come in now.
    Door {
        /// Who.
        door: Door,
    },
    /// The host asks one to mute.
    AskedToMute {
        /// The host.
        member: MemberId,
    },
    /// The host removed somebody, who is gone in the next step.
    Removed {
        /// Whom.
        member: MemberId,
    },
    /// Somebody is gone.
    MemberLeft {
        /// Who.
        member: MemberId,
        /// Their name.
        name: String,
    },
    /// What makes the call bad is another thing now, or is over.
    Diagnosis {
        /// What it is; `None`: nothing, or nothing that can be told.
        verdict: Option<Verdict>,
    },
    /// A connection changed. While a room uses the SFU, a member's state follows the SFU's link;
    /// during a switch the better of both paths counts. A data link is reported by itself and
    /// changes no member's state.
    Link {
        /// To whom.
        peer: LinkPeer,
        /// How it is doing.
        state: LinkView,
    },
    /// How media flows.
    Topology {
        /// The way.
        mode: TopologyMode,
        /// Why.
        reason: String,
    },
    /// A camera's picture is held back, or no longer, because the path carries nothing but sound.
    SoundOnly {
        /// Whose picture; `None`: one's own, for everybody.
        member: Option<MemberId>,
        /// Whether.
        on: bool,
    },
    /// A member shares a screen or window, or no longer.
    Sharing {
        /// Who.
        member: MemberId,
        /// Whether.
        on: bool,
    },
    /// Somebody said something in the chat, perhaps oneself. Once for every entry, in the log's order
    /// as far as it was known.
    Chat {
        /// Who, while they are in the room; one's own id for one's own.
        from: Option<MemberId>,
        /// Their name.
        name: String,
        /// What.
        text: String,
    },
    /// A member offers files.
    FileOffer {
        /// Which offer.
        offer: OfferId,
        /// Who.
        from: MemberId,
        /// As in [`call_protocol::ui::TransferView::name`].
        name: String,
        /// All files together.
        size_bytes: u64,
    },
    /// A transfer went on, in either direction.
    FileProgress {
        /// Which offer.
        offer: OfferId,
        /// The other end.
        member: MemberId,
        /// Verified by the receiver.
        done_bytes: u64,
        /// All files together.
        size_bytes: u64,
    },
    /// A file arrived whole.
    FileDone {
        /// Which offer.
        offer: OfferId,
        /// From whom.
        from: MemberId,
        /// Its relative path as it was offered, cleaned.
        name: String,
        /// Size in bytes.
        size_bytes: u64,
        /// Where it is.
        path: PathBuf,
        /// Its BLAKE3 hash.
        root: Digest,
    },
    /// A transfer reached a final state, in either direction.
    TransferEnded {
        /// Which offer.
        offer: OfferId,
        /// The other end.
        member: MemberId,
        /// Whether one sent it.
        outgoing: bool,
        /// Which state.
        state: TransferState,
    },
    /// The server's connection was lost.
    Reconnecting,
    /// The seat was taken again.
    Resumed,
    /// The machine has no network any more.
    Offline,
    /// It has one again.
    Online,
    /// Something failed.
    Error {
        /// What.
        code: ErrorCode,
        /// Text for logs.
        detail: String,
    },
    /// The call is over. No step follows.
    Left {
        /// Why, unless the person left.
        code: Option<ErrorCode>,
    },
}

/// What a timeout is for. For logs only: handing in [`crate::Input::Timeout`] does all that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Connect to the server again.
    Reconnect,
    /// The server must have answered by now.
    Handshake,
    /// The server must have given a sign of life by now.
    Doubt,
    /// A member the server does not know is gone.
    Away,
    /// A link needs care.
    Link(LinkPeer),
    /// One's own profile may be sent again.
    Profile,
    /// A keyframe may be encoded again.
    Keyframe,
    /// Announced keys are to be used.
    Reseal,
    /// A member's old path may be left.
    Passage,
    /// What is watched may be told again.
    Subscribe,
    /// The relay's credentials expire.
    Relay,
    /// Members may lack something of the chat.
    Chat,
    /// Something about files is due.
    Files,
}
