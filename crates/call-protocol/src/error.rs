//! Stable, machine-readable error codes. The UI owns the words; `detail` strings are for logs.

use serde::{Deserialize, Serialize};

/// What went wrong, stable across versions. Serialised in `snake_case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message was not valid JSON or had missing or ill-typed fields.
    BadMessage,
    /// The `type` of the message is unknown.
    UnknownType,
    /// The message exceeds [`crate::limits::MESSAGE_BYTES`].
    MessageTooLarge,
    /// The first message was not `hello`, or its version is not spoken here.
    BadVersion,
    /// The message needs a seat in a room and the connection has none.
    NotJoined,
    /// The connection already has a seat.
    AlreadyJoined,
    /// The room auth key differs from the one the room was opened with.
    RoomAuthFailed,
    /// The room holds [`crate::limits::ROOM_MEMBERS`] members already.
    RoomFull,
    /// The server holds as many rooms as it is configured for.
    ServerFull,
    /// A `signal` names a member who is not in the room.
    UnknownMember,
    /// The resume token is unknown or expired; join anew.
    ResumeFailed,
    /// Another connection took this seat over with the resume token.
    SeatTaken,
    /// Too many messages or joins in a short time.
    RateLimited,
    /// No message or pong within [`crate::limits::PING_TIMEOUT_MS`].
    TimedOut,
    /// The server is shutting down.
    ServerClosing,
    /// A queue was full; the connection was too slow to drain it.
    TooSlow,
    /// Known, but not built yet.
    NotSupported,
    /// The host lets nobody in any more.
    RoomLocked,
    /// The host did not let one in, or everybody left meanwhile.
    NotAdmitted,
    /// Only the host may do this.
    NotHost,
    /// The host removed one from the room.
    Removed,
    /// The host ended the call for everybody.
    CallEnded,

    /// The text is not a room code: wrong length or a character outside the alphabet.
    CodeInvalid,
    /// No server is configured and no room with this code answers on the local network.
    RoomNotFoundOnLan,
    /// The server's address cannot be parsed.
    ServerAddressInvalid,
    /// The server does not answer.
    ServerUnreachable,
    /// The embedded server could not be started.
    HostFailed,
    /// The peer connection to a member could not be established or was lost for good.
    LinkFailed,
    /// A sealed payload did not open with the room's keys.
    SealBroken,

    /// There is no such camera.
    CameraNotFound,
    /// Another application holds the camera.
    CameraBusy,
    /// The system denied access to the camera.
    CameraDenied,
    /// The camera stopped delivering pictures.
    CameraLost,
    /// There is no such microphone.
    MicrophoneNotFound,
    /// Another application holds the microphone.
    MicrophoneBusy,
    /// The system denied access to the microphone.
    MicrophoneDenied,
    /// The microphone stopped delivering sound.
    MicrophoneLost,
    /// There is no such speaker, or it stopped.
    SpeakerLost,
    /// Another application holds the speaker.
    SpeakerBusy,
    /// There is no such screen or window, or no longer.
    ShareNotFound,
    /// The system denied access to the screen.
    ShareDenied,
    /// The shared screen or window stopped delivering pictures.
    ShareLost,
    /// A codec failed to start or to process a frame.
    CodecFailed,
    /// A file could not be read or written.
    FileFailed,
    /// A file or folder is not there, or no longer.
    FileNotFound,
    /// The system denied access to a file or folder.
    FileDenied,
    /// There is not enough free space for a file.
    DiskFull,
    /// A file changed while it was being sent.
    FileChanged,
    /// What arrived of a file is not what was offered.
    FileCorrupt,
    /// A file, or all that was dropped together, is larger than can be sent.
    FileTooLarge,
    /// More files at once than can be offered.
    TooManyFiles,
    /// There is nobody to send to, or the member left.
    ReceiverGone,

    /// The command does not fit the state (for example leaving a call one is not in).
    BadState,
    /// A command's argument is out of its bounds.
    BadArgument,
    /// A defect of ours; the log says more.
    Internal,
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_are_snake_case_on_the_wire() {
        let json = serde_json::to_string(&ErrorCode::RoomNotFoundOnLan).unwrap();
        assert_eq!(json, "\"room_not_found_on_lan\"");
    }
}
