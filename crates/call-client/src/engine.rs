//! The handle to a running engine.

use std::sync::Arc;

use call_protocol::ui::{MOST_VOLUME_PERCENT, NOTE_BYTES, UiCommand};
use call_protocol::{ErrorCode, limits};
use tokio::sync::{mpsc, watch};

use crate::config::EngineConfig;
use crate::driver::{self, Request};
use crate::frames::FrameSink;
use crate::settings::check_server;

/// Commands waiting for the driver. A UI sends a few per second and one credit per frame message
/// (at most 70 a second); a full queue means the driver hangs.
const COMMANDS: usize = 256;
/// Longest code, name or address looked at, in bytes.
const TEXT_BYTES: usize = 1_024;
/// Longest path of a file or folder, and longest link, in bytes; beyond what systems allow.
const PATH_BYTES: usize = 4_096;
/// Most tiles of one `set_visible_tiles`.
const TILES: usize = 128;

/// A running engine. Clones share it; it ends with [`Engine::shutdown`] or when the last clone is
/// dropped.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::Sender<Request>,
    done: watch::Receiver<bool>,
}

impl Engine {
    /// Starts the engine on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: EngineConfig) -> Self {
        let (requests, received) = mpsc::channel(COMMANDS);
        let (finished, done) = watch::channel(false);
        tokio::spawn(async move {
            driver::run(config, received).await;
            finished.send_replace(true);
        });
        Self { requests, done }
    }

    /// Hands a command over; its effects arrive as events. Never blocks.
    ///
    /// # Errors
    /// [`ErrorCode::BadArgument`] or [`ErrorCode::ServerAddressInvalid`] for an argument out of its
    /// bounds, [`ErrorCode::TooSlow`] when the queue is full, [`ErrorCode::BadState`] after
    /// [`Self::shutdown`].
    pub fn dispatch(&self, command: UiCommand) -> Result<(), ErrorCode> {
        check(&command)?;
        self.request(Request::Command(command))
    }

    /// Sends frames to `sink` from now on: a new epoch, announced by `UiEvent::FrameEpoch`; every
    /// visible tile starts with a keyframe. Replaces an earlier sink.
    pub fn attach_frames(&self, sink: Arc<dyn FrameSink>) {
        if let Err(code) = self.request(Request::Attach(sink)) {
            tracing::warn!(?code, "frame sink not attached");
        }
    }

    /// Leaves the call, releases the devices and ends every thread and task of the engine.
    /// Idempotent; every caller waits for the end.
    pub async fn shutdown(&self) {
        // A closed queue means the driver is on its way out already.
        let _ = self.requests.send(Request::Shutdown).await;
        let mut done = self.done.clone();
        // An error means the driver is gone, which is the end as well.
        let _ = done.wait_for(|done| *done).await;
    }

    fn request(&self, request: Request) -> Result<(), ErrorCode> {
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ErrorCode::TooSlow,
                mpsc::error::TrySendError::Closed(_) => ErrorCode::BadState,
            })
    }
}

/// Whether a command's arguments are within their bounds.
fn check(command: &UiCommand) -> Result<(), ErrorCode> {
    let bounded = |fits: bool| {
        if fits {
            Ok(())
        } else {
            Err(ErrorCode::BadArgument)
        }
    };
    match command {
        UiCommand::JoinCall { code } => bounded(code.len() <= TEXT_BYTES),
        UiCommand::SetName { name } => bounded(name.len() <= TEXT_BYTES),
        UiCommand::SetServer { url } => check_server(url.trim()),
        UiCommand::SelectDevice { id, .. } => {
            bounded(id.as_ref().is_none_or(|id| id.len() <= TEXT_BYTES))
        }
        UiCommand::SetVisibleTiles { tiles } => bounded(tiles.len() <= TILES),
        UiCommand::SetMemberVolume { volume_percent, .. } => {
            bounded(*volume_percent <= MOST_VOLUME_PERCENT)
        }
        UiCommand::SendChat { text } => bounded(text.chars().count() <= limits::CHAT_CHARS),
        UiCommand::SendReaction { emoji } => bounded(emoji.len() <= limits::REACTION_BYTES),
        UiCommand::OfferFiles { paths, .. } => bounded(
            (1..=limits::OFFER_FILES).contains(&paths.len())
                && paths.iter().all(|path| path.len() <= PATH_BYTES),
        ),
        UiCommand::AcceptFiles { offer, folder, .. } => bounded(
            offer.len() <= TEXT_BYTES && folder.as_ref().is_none_or(|it| it.len() <= PATH_BYTES),
        ),
        UiCommand::StartShare { id } => bounded(id.len() <= TEXT_BYTES),
        UiCommand::DeclineFiles { offer, .. }
        | UiCommand::PauseTransfer { offer, .. }
        | UiCommand::CancelTransfer { offer, .. }
        | UiCommand::DismissTransfer { offer, .. }
        | UiCommand::PickFolder { offer, .. } => bounded(offer.len() <= TEXT_BYTES),
        UiCommand::OpenLink { url } => bounded(url.len() <= PATH_BYTES),
        UiCommand::RevealFile { path } => bounded(path.len() <= PATH_BYTES),
        UiCommand::SaveReport { text } => bounded(text.len() <= limits::REPORT_BYTES),
        UiCommand::SetChoices { choices } => bounded(choices.is_bounded()),
        UiCommand::ForgetRoom { code } => bounded(code.len() <= TEXT_BYTES),
        UiCommand::Notify { title, body } => bounded(title.len().max(body.len()) <= NOTE_BYTES),
        UiCommand::NameTray {
            show,
            mute,
            unmute,
            leave,
        } => bounded(
            [show, mute, unmute, leave]
                .iter()
                .all(|it| it.len() <= NOTE_BYTES),
        ),
        UiCommand::Refresh
        | UiCommand::ForgetRooms
        | UiCommand::AnswerClosing { .. }
        | UiCommand::ListShares
        | UiCommand::StopShare
        | UiCommand::SetHandRaised { .. }
        | UiCommand::Care { .. }
        | UiCommand::PickFiles { .. }
        | UiCommand::PasteFiles
        | UiCommand::SetMini { .. }
        | UiCommand::StartCall
        | UiCommand::LeaveCall
        | UiCommand::SetMuted { .. }
        | UiCommand::SetCamera { .. }
        | UiCommand::RefreshDevices
        | UiCommand::SetVoice { .. }
        | UiCommand::SetLowData { .. }
        | UiCommand::SetTint { .. }
        | UiCommand::SetMemberMutedHere { .. }
        | UiCommand::StartSoundTest
        | UiCommand::PlayTestTone
        | UiCommand::StopSoundTest
        | UiCommand::SetPreview { .. }
        | UiCommand::FrameCredit { .. }
        | UiCommand::NeedKeyframe { .. }
        | UiCommand::SetDelivery { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_out_of_bounds_are_refused() {
        let long = "x".repeat(TEXT_BYTES + 1);
        let tile = call_protocol::ui::TileSize {
            member: call_protocol::MemberId(1),
            source: call_protocol::MediaSource::Camera,
            width_px: 1,
            height_px: 1,
        };
        let volume = |volume_percent| UiCommand::SetMemberVolume {
            member: call_protocol::MemberId(1),
            volume_percent,
        };
        let cases = [
            (UiCommand::Refresh, Ok(())),
            (
                UiCommand::JoinCall { code: long.clone() },
                Err(ErrorCode::BadArgument),
            ),
            (
                UiCommand::SetName { name: long },
                Err(ErrorCode::BadArgument),
            ),
            (
                UiCommand::SetServer {
                    url: "ftp://host".into(),
                },
                Err(ErrorCode::ServerAddressInvalid),
            ),
            (
                UiCommand::SetServer {
                    url: " ws://host ".into(),
                },
                Ok(()),
            ),
            (
                UiCommand::SetVisibleTiles {
                    tiles: vec![tile; TILES],
                },
                Ok(()),
            ),
            (
                UiCommand::SetVisibleTiles {
                    tiles: vec![tile; TILES + 1],
                },
                Err(ErrorCode::BadArgument),
            ),
            (volume(MOST_VOLUME_PERCENT), Ok(())),
            (volume(MOST_VOLUME_PERCENT + 1), Err(ErrorCode::BadArgument)),
        ];
        for (command, want) in cases {
            assert_eq!(check(&command), want, "{command:?}");
        }
    }
}
