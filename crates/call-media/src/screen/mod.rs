//! Screens and windows as sources of pictures.
//!
//! * [`source`]: what to share, as text; [`list`]: what there is.
//! * `capture`: a `Grabber` run at the pace of what it shows (`pace`), converted and shrunk.
//! * `canvas`: the pixels of a screen and the pointer in them.
//! * `x11`: Linux under X11. Windows of X11 applications are listed under Wayland as well, screens are
//!   not: they would be black.
//! * `wayland`: Linux under Wayland, where the system lists and the person chooses.
//! * `shots`: macOS and Windows.
//!
//! Deliberately not here: keeping a source alive (see [`crate::video::capture`], which runs these as
//! well), the sound of a share, and controlling what is shared.

mod canvas;
mod capture;
mod pace;
#[cfg(not(target_os = "linux"))]
mod shots;
pub mod source;
mod thumbnail;
#[cfg(target_os = "linux")]
mod wayland;
#[cfg(target_os = "linux")]
mod x11;

use call_protocol::limits;
use call_protocol::ui::{ShareKind, ShareOption};

use canvas::Canvas;
pub(crate) use capture::ScreenSource;
use source::ShareSource;

use crate::video::capture::CaptureError;

/// The box shared pictures are shrunk into, in pixels: 1080 lines, and screens of 16:10. Text of a
/// larger screen is still read at half its size; encoding more takes a whole processor.
pub const SHARE_BOX_PX: (u32, u32) = (1_920, 1_200);
/// Highest rate of a shared picture, per second.
pub const SHARE_FPS: u32 = 30;

/// Looks at a screen or window. Opened and used on one thread.
pub(crate) trait Grabber {
    /// Brings the canvas up to date; whether anything in it changed. Called up to [`SHARE_FPS`] times
    /// a second, so it should be cheap where nothing did. A window that shows nothing for now is
    /// unchanged.
    ///
    /// # Errors
    /// It is gone or cannot be looked at.
    fn grab(&mut self, canvas: &mut Canvas) -> Result<bool, CaptureError>;
}

/// A screen or window and what it shows.
struct Listed {
    source: ShareSource,
    name: String,
    /// In pixels.
    size: (u32, u32),
    canvas: Option<Canvas>,
}

/// What can be shared now, with thumbnails: the system's own choice first, then screens. Takes some milliseconds for each.
///
/// # Errors
/// The system shows nothing to us.
pub fn list() -> Result<Vec<ShareOption>, CaptureError> {
    let options = listed()?.into_iter().map(|listed| {
        let thumbnail = listed.canvas.as_ref().and_then(thumbnail::data_url);
        ShareOption {
            kind: match listed.source {
                ShareSource::Window { .. } => ShareKind::Window,
                ShareSource::Chosen => ShareKind::Chosen,
                ShareSource::Screen { .. } | ShareSource::Pattern { .. } => ShareKind::Screen,
            },
            id: listed.source.to_string(),
            name: listed.name,
            width_px: listed.size.0,
            height_px: listed.size.1,
            thumbnail: thumbnail.unwrap_or_default(),
        }
    });
    Ok(options.take(limits::SHARES).collect())
}

#[cfg(target_os = "linux")]
fn listed() -> Result<Vec<Listed>, CaptureError> {
    let xs = x11::list();
    if !wayland::is_there() {
        return xs;
    }
    let chosen = Listed {
        source: ShareSource::Chosen,
        name: String::new(),
        size: (0, 0),
        canvas: None,
    };
    // There need not be an X server.
    Ok(std::iter::once(chosen)
        .chain(xs.unwrap_or_default())
        .collect())
}

#[cfg(target_os = "linux")]
pub(crate) fn open(source: &ShareSource) -> Result<Box<dyn Grabber>, CaptureError> {
    match source {
        ShareSource::Chosen => wayland::open(),
        _ => x11::open(source),
    }
}

#[cfg(not(target_os = "linux"))]
fn listed() -> Result<Vec<Listed>, CaptureError> {
    shots::list()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn open(source: &ShareSource) -> Result<Box<dyn Grabber>, CaptureError> {
    shots::open(source)
}
