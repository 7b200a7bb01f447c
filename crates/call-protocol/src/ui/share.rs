//! Sharing a screen or window: what there is to share, and how one's own share does.

use serde::{Deserialize, Serialize};

use super::DeviceState;

/// What a share shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum ShareKind {
    /// A whole screen.
    Screen,
    /// One window.
    Window,
    /// Whatever the person chooses in a dialog of the system.
    Chosen,
}

/// A screen or window that can be shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct ShareOption {
    /// For [`super::UiCommand::StartShare`]: `screen:…`, `window:…` or `chosen`.
    pub id: String,
    /// What it is.
    pub kind: ShareKind,
    /// The window's title, or the screen's name as the system tells it; empty for what is yet to be
    /// chosen, which has no size either.
    pub name: String,
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// What it shows now, as a `data:` URL of a PNG of at most
    /// [`crate::limits::THUMBNAIL_PX`]; empty where it cannot be seen yet.
    pub thumbnail: String,
}

/// What one shares oneself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct ShareView {
    /// As in [`super::UiCommand::StartShare`].
    pub id: String,
    /// How it does. A share that fails is over: there is none then, and
    /// [`super::UiEvent::Failed`] says why.
    pub state: DeviceState,
}
