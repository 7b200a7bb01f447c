//! What crosses between the engine and the web UI.
//!
//! Two enums: [`UiCommand`] in, [`UiEvent`] out. State travels as whole view models
//! ([`AppView`]); only what changes many times a second ([`UiEvent::Levels`]) travels apart.
//! Pictures travel on a second, binary channel, described in [`frame`].
//!
//! The TypeScript side is generated from these types (`cargo xtask codegen`), never mirrored by
//! hand. The UI owns every word a person reads: errors are [`ErrorCode`]s.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::ids::{MediaSource, MemberId, VideoCodec};
use crate::wire::TopologyMode;

pub mod care;
pub mod chat;
pub mod choices;
pub mod frame;
pub mod network;
pub mod share;

pub use care::{CareCommand, CareView, KnockView};
pub use chat::{ChatDelivery, ChatMessageView, TransferState, TransferView};
pub use choices::{ChoicesView, RecentRoomView, Theme};
pub use network::NetworkView;
pub use share::{ShareKind, ShareOption, ShareView};

/// Largest [`UiCommand::SetMemberVolume`]: twice the amplitude, +6 dB. More would only make the
/// limiter work.
pub const MOST_VOLUME_PERCENT: u16 = 200;

/// Longest text of [`UiCommand::Notify`] and [`UiCommand::NameTray`], in bytes.
pub const NOTE_BYTES: usize = 2_048;

/// A request of the person, through the UI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UiCommand {
    /// Sends the current [`AppView`] again.
    Refresh,
    /// Opens a room with a fresh code and joins it.
    StartCall,
    /// Joins the room of a code, a `visavis://join/…` link or a pasted text holding one.
    JoinCall {
        /// As typed; at most 200 characters are looked at.
        code: String,
    },
    /// Leaves the call, or gives up joining it.
    LeaveCall,
    /// Mutes or unmutes the microphone. The only thing that ever unmutes.
    SetMuted {
        /// New state.
        muted: bool,
    },
    /// Switches the camera on or off.
    SetCamera {
        /// New state.
        on: bool,
    },
    /// Changes the display name.
    SetName {
        /// As typed; cleaned by [`crate::peer::clean_name`].
        name: String,
    },
    /// Changes the signalling server; empty means the app hosts rooms itself.
    SetServer {
        /// `wss://host[:port]`, `ws://…` or empty.
        url: String,
    },
    /// Lists the devices again.
    RefreshDevices,
    /// Chooses a device; it is used at once, mute and camera state stay.
    SelectDevice {
        /// Which kind.
        kind: DeviceKind,
        /// An id of [`DeviceOption::id`]; `None` follows the system's default.
        id: Option<String>,
    },
    /// Switches the parts of the microphone's voice processing; used at once and kept.
    SetVoice {
        /// As [`VoiceView::echo_cancellation`].
        echo_cancellation: bool,
        /// As [`VoiceView::noise_suppression`].
        noise_suppression: bool,
        /// As [`VoiceView::gain_control`].
        gain_control: bool,
    },
    /// Whether pictures are kept small to save data; used at once and kept.
    SetLowData {
        /// New state.
        on: bool,
    },
    /// The colour one is shown in where there is no picture; used at once and kept.
    SetTint {
        /// Below [`crate::limits::TINTS`]; none leaves the choice to those who look.
        tint: Option<u8>,
    },
    /// How loud a member is heard here, until they leave.
    SetMemberVolume {
        /// Whom.
        member: MemberId,
        /// 100 is unchanged; at most [`MOST_VOLUME_PERCENT`].
        volume_percent: u16,
    },
    /// Mutes a member on this machine only, until they leave. They are not told.
    SetMemberMutedHere {
        /// Whom.
        member: MemberId,
        /// New state.
        muted: bool,
    },
    /// Records a few seconds of the microphone and plays them back, see
    /// [`AppView::sound_test`]. Not during a call.
    StartSoundTest,
    /// Plays a short chime on the speaker. Not during a call.
    PlayTestTone,
    /// Ends a running test.
    StopSoundTest,
    /// Runs camera and microphone for the preview on the home screen.
    SetPreview {
        /// Whether the preview is wanted.
        on: bool,
    },
    /// Lists what can be shared. Answered by [`UiEvent::Shares`].
    ListShares,
    /// Shows a screen or window to everybody, in place of what is shared so far.
    StartShare {
        /// As in [`ShareOption::id`]; `screen` alone is the first screen. A test picture,
        /// `pattern:WxH@FPS`, is as good.
        id: String,
    },
    /// Ends what was started.
    StopShare,
    /// Tells which tiles are on screen and how large; nothing is sent for the others.
    SetVisibleTiles {
        /// The visible tiles.
        tiles: Vec<TileSize>,
    },
    /// Returns credits for frame messages taken off the frame channel.
    FrameCredit {
        /// The epoch of the messages, as in [`UiEvent::FrameEpoch`]; others are ignored.
        epoch: u32,
        /// How many messages.
        messages: u32,
    },
    /// The decoder of a tile failed or lost its place: send a keyframe.
    NeedKeyframe {
        /// Whose picture.
        member: MemberId,
        /// Which of their pictures.
        source: MediaSource,
    },
    /// How a tile's pictures shall be delivered from now on.
    SetDelivery {
        /// Whose picture.
        member: MemberId,
        /// Which of their pictures.
        source: MediaSource,
        /// How.
        delivery: Delivery,
    },
    /// Says something in the chat.
    SendChat {
        /// At most [`crate::limits::CHAT_CHARS`] characters; white space at the ends is cut off, and
        /// nothing is sent where nothing is left.
        text: String,
    },
    /// Shows an emoji to everybody for a moment.
    SendReaction {
        /// One emoji, at most [`crate::limits::REACTION_BYTES`].
        emoji: String,
    },
    /// Raises or lowers one's hand.
    SetHandRaised {
        /// New state.
        raised: bool,
    },
    /// Cares for the room.
    Care {
        /// How.
        command: CareCommand,
    },
    /// Offers files and folders to one member, or to everybody who is there.
    OfferFiles {
        /// To whom.
        to: Option<MemberId>,
        /// Absolute paths as the system gave them.
        paths: Vec<String>,
    },
    /// Takes an offered transfer.
    AcceptFiles {
        /// As in [`TransferView::offer`].
        offer: String,
        /// Whose offer.
        member: MemberId,
        /// An existing folder to put the files into; `None` is the person's downloads folder.
        folder: Option<String>,
    },
    /// Refuses an offered transfer.
    DeclineFiles {
        /// As in [`TransferView::offer`].
        offer: String,
        /// Whose offer.
        member: MemberId,
    },
    /// Pauses or resumes a transfer.
    PauseTransfer {
        /// As in [`TransferView::offer`].
        offer: String,
        /// The other end.
        member: MemberId,
        /// New state.
        paused: bool,
    },
    /// Ends a transfer, or an own offer that is being prepared; what arrived of it is removed.
    CancelTransfer {
        /// As in [`TransferView::offer`].
        offer: String,
        /// The other end; `None` ends an own offer for everybody.
        member: Option<MemberId>,
    },
    /// Takes a transfer in a final state off the list.
    DismissTransfer {
        /// As in [`TransferView::offer`].
        offer: String,
        /// The other end.
        member: Option<MemberId>,
    },
    /// Lets the person choose files to offer. Answered by the shell with [`Self::OfferFiles`].
    PickFiles {
        /// To whom they will be offered.
        to: Option<MemberId>,
    },
    /// Takes the files the person copied elsewhere, if there are any. Answered by the shell with
    /// [`UiEvent::Dropped`].
    PasteFiles,
    /// Lets the person choose a folder. Answered by the shell with [`Self::AcceptFiles`].
    PickFolder {
        /// As in [`TransferView::offer`].
        offer: String,
        /// Whose offer.
        member: MemberId,
    },
    /// Opens a link of the chat in the system's browser; `http` and `https` only. Done by the shell.
    OpenLink {
        /// At most 2,048 characters.
        url: String,
    },
    /// Shows a received file in the system's file browser; never opens it. Done by the shell.
    RevealFile {
        /// As in [`TransferView::path`].
        path: String,
    },
    /// Lets the person choose where a report about the connection is written. Done by the shell.
    SaveReport {
        /// The report; at most [`crate::limits::REPORT_BYTES`].
        text: String,
    },
    /// Keeps the choices; answered with [`UiEvent::Choices`].
    SetChoices {
        /// All of them.
        choices: ChoicesView,
    },
    /// Forgets a room that was remembered; answered with [`UiEvent::Rooms`].
    ForgetRoom {
        /// As in [`RecentRoomView::code`].
        code: String,
    },
    /// Forgets all rooms that were remembered.
    ForgetRooms,
    /// Tells the person something through the desktop unless they look at the window anyway. Done by
    /// the shell, which shows the window when it is pressed.
    Notify {
        /// In one line, at most [`NOTE_BYTES`].
        title: String,
        /// More of it, at most [`NOTE_BYTES`].
        body: String,
    },
    /// What the menu in the system's tray says, in the person's language. Done by the shell.
    NameTray {
        /// Shows the window.
        show: String,
        /// Mutes.
        mute: String,
        /// Unmutes.
        unmute: String,
        /// Leaves the call.
        leave: String,
    },
    /// Answers [`UiEvent::Closing`]. Done by the shell.
    AnswerClosing {
        /// Whether the call is left and the window closed.
        close: bool,
    },
    /// Makes the window small, above all others and in a corner of its screen, or as it was before.
    /// Done by the shell.
    SetMini {
        /// New state.
        on: bool,
    },
}

/// How pictures of a tile reach the UI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Encoded frames; the UI decodes them with WebCodecs.
    Encoded,
    /// Decoded and scaled by the engine, I420.
    I420,
}

/// A visible tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct TileSize {
    /// Whose picture.
    pub member: MemberId,
    /// Which of their pictures.
    pub source: MediaSource,
    /// Width in physical pixels.
    pub width_px: u32,
    /// Height in physical pixels.
    pub height_px: u32,
}

/// From the engine to the UI.
// Few and short-lived: boxing the view would only cost every match a dereference.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UiEvent {
    /// The whole state; replaces the previous one.
    View {
        /// The state.
        view: AppView,
    },
    /// Sound levels, ten times a second while there is sound to measure.
    Levels {
        /// One's own microphone, 0 (silent) to 1 (full scale), also while muted.
        microphone: f32,
        /// The others in the call.
        members: Vec<MemberLevel>,
        /// Who of the others has the floor: the last to speak for a while, also in silence.
        active_speaker: Option<MemberId>,
    },
    /// Something failed that the state alone does not show (a command, a lost device).
    Failed {
        /// What.
        code: ErrorCode,
    },
    /// Messages of the chat, new ones or such whose state changed. After [`UiCommand::Refresh`] all
    /// of them, in several events.
    Chat {
        /// Whether what was shown before is void: another call, or the beginning of all of them.
        reset: bool,
        /// At most 100.
        messages: Vec<ChatMessageView>,
    },
    /// Somebody reacted, perhaps oneself.
    Reaction {
        /// Who; [`frame::SELF_MEMBER`] is oneself.
        member: MemberId,
        /// One emoji.
        emoji: String,
    },
    /// Files are dragged over the window, or no longer. Sent by the shell.
    Dragging {
        /// Whether they are.
        over: bool,
    },
    /// Files were dropped on the window or pasted. Sent by the shell; the UI decides to whom they are offered.
    Dropped {
        /// Their paths.
        paths: Vec<String>,
    },
    /// The person's choices of the window; after [`UiCommand::Refresh`] and when they change.
    Choices {
        /// All of them.
        choices: ChoicesView,
    },
    /// The rooms the person was in, newest first; after [`UiCommand::Refresh`] and when they change.
    Rooms {
        /// At most [`crate::limits::RECENT_ROOMS`].
        rooms: Vec<RecentRoomView>,
    },
    /// An invite was opened elsewhere: a link, or a second start of the app. Sent by the shell; the
    /// person is asked before anything is joined.
    Invited {
        /// The code or link, not checked.
        code: String,
    },
    /// The person closes the window in a call. Sent by the shell; [`UiCommand::AnswerClosing`] answers,
    /// and closing it again closes it.
    Closing,
    /// What can be shared, as asked for.
    Shares {
        /// Screens first; at most [`crate::limits::SHARES`]. Empty where the system lists nothing.
        options: Vec<ShareOption>,
    },
    /// How the connections of the call do, once a second.
    Network {
        /// Replaces the previous one.
        view: NetworkView,
    },
    /// The frame channel started over: credits and decoders of older epochs are void.
    FrameEpoch {
        /// The new epoch.
        epoch: u32,
    },
}

/// A member's sound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct MemberLevel {
    /// Who.
    pub member: MemberId,
    /// 0 (silent) to 1 (full scale).
    pub level: f32,
    /// Whether they speak, with hysteresis.
    pub speaking: bool,
}

/// The whole state of the app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct AppView {
    /// The person's choices.
    pub settings: SettingsView,
    /// What there is to capture and play with.
    pub devices: DevicesView,
    /// Whether the microphone is muted.
    pub muted: bool,
    /// Whether the camera is wanted on.
    pub camera_on: bool,
    /// The test of microphone and speaker.
    pub sound_test: SoundTestState,
    /// The call, if there is one.
    pub call: Option<CallView>,
}

/// The person's choices that outlive the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct SettingsView {
    /// Display name.
    pub name: String,
    /// Signalling server, empty when the app hosts rooms itself.
    pub server: String,
    /// What is done to the microphone's sound.
    pub voice: VoiceView,
    /// Whether pictures are kept small to save data.
    pub low_data: bool,
    /// The colour one chose to be shown in.
    pub tint: Option<u8>,
}

/// The parts of the microphone's voice processing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct VoiceView {
    /// Removes what the speaker plays from what the microphone hears.
    pub echo_cancellation: bool,
    /// Lowers steady noise.
    pub noise_suppression: bool,
    /// Brings voices to one level.
    pub gain_control: bool,
}

impl Default for VoiceView {
    /// Everything on: right for every machine without a sound engineer.
    fn default() -> Self {
        Self {
            echo_cancellation: true,
            noise_suppression: true,
            gain_control: true,
        }
    }
}

/// The test of microphone and speaker before a call.
///
/// `Idle -> Starting -> Recording -> Playing -> Idle`, or `Idle -> Starting -> Tone -> Idle`;
/// [`UiCommand::StopSoundTest`] and a call lead to `Idle` from anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SoundTestState {
    /// No test.
    #[default]
    Idle,
    /// The devices are being opened.
    Starting,
    /// The microphone is recorded. Nothing of it leaves the machine.
    Recording {
        /// Time left in seconds, rounded up.
        remaining_s: u32,
    },
    /// What was recorded is played.
    Playing {
        /// Time left in seconds, rounded up.
        remaining_s: u32,
    },
    /// The chime is played.
    Tone,
}

/// The kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Cameras.
    Camera,
    /// Microphones.
    Microphone,
    /// Speakers.
    Speaker,
}

/// Devices and their state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct DevicesView {
    /// Cameras.
    pub camera: DeviceView,
    /// Microphones.
    pub microphone: DeviceView,
    /// Speakers.
    pub speaker: DeviceView,
}

/// Devices of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct DeviceView {
    /// What can be chosen.
    pub options: Vec<DeviceOption>,
    /// The chosen one; `None` follows the system's default.
    pub selected: Option<String>,
    /// How it is doing.
    pub state: DeviceState,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct DeviceOption {
    /// Stable id.
    pub id: String,
    /// Name as the system tells it.
    pub name: String,
}

/// How a device is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeviceState {
    /// Not in use.
    Off,
    /// Being opened.
    Starting,
    /// Delivering.
    Running,
    /// A microphone that delivers nothing but zeros.
    Silent,
    /// Not delivering; tried again by itself.
    Failed {
        /// Why.
        code: ErrorCode,
    },
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct CallView {
    /// The room code, `XXXX-XXXX-XXXX`.
    pub code: String,
    /// The invite link.
    pub link: String,
    /// How the call is doing.
    pub phase: CallPhase,
    /// One's own id, once joined.
    pub me: Option<MemberId>,
    /// Everybody else, in order of joining.
    pub members: Vec<MemberView>,
    /// How media flows.
    pub topology: TopologyMode,
    /// Whether one's own hand is raised.
    pub hand_raised: bool,
    /// Whether one's own picture is held back, because the path carries nothing but sound. The camera
    /// stays wanted, and the picture comes back by itself.
    pub sound_only: bool,
    /// Who may come in, who waits, and who decides.
    pub care: CareView,
    /// What one shares oneself.
    pub share: Option<ShareView>,
    /// Files on their way, oldest first, until they are dismissed.
    pub transfers: Vec<TransferView>,
}

/// How a call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum CallPhase {
    /// Keys are derived and the room is looked for.
    Connecting,
    /// The host is asked to let one in.
    Knocking,
    /// In the room.
    Joined,
    /// The server's connection was lost and is tried again; media goes on.
    Reconnecting,
    /// This machine has no network, so that nobody can be reached.
    Offline,
    /// Over. The view stays until the person dismisses it with `leave_call`.
    Ended {
        /// Why, unless the person left.
        code: Option<ErrorCode>,
    },
}

/// Another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct MemberView {
    /// Who.
    pub id: MemberId,
    /// Their name, cleaned.
    pub name: String,
    /// Whether they muted themselves.
    pub muted: bool,
    /// Whether their camera is on.
    pub camera_on: bool,
    /// The connection to them.
    pub link: LinkView,
    /// The codec of their picture, once one arrived.
    pub codec: Option<VideoCodec>,
    /// How loud they are heard here, in percent; 100 is unchanged.
    pub volume_percent: u16,
    /// Whether they are muted on this machine only.
    pub muted_here: bool,
    /// Whether their hand is raised.
    pub hand_raised: bool,
    /// Whether they share a screen or window.
    pub sharing: bool,
    /// Whether their picture is held back, because the path carries nothing but sound; only while
    /// their camera is on.
    pub sound_only: bool,
    /// The colour they chose to be shown in.
    pub tint: Option<u8>,
}

/// The connection to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum LinkView {
    /// Being set up.
    Connecting,
    /// Media flows.
    Connected,
    /// Interrupted, being repaired.
    Reconnecting,
    /// Interrupted, being repaired, and everything else does well: the trouble is at the other end.
    Weak,
    /// Could not be set up.
    Failed,
}
