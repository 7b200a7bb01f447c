//! Screens and windows under Wayland, where applications see nothing but what the person chooses in a
//! dialog of the system (the XDG desktop portal `ScreenCast`), which delivers it through PipeWire.
//!
//! * `portal`: the dialog, and the session it begins.
//! * `stream`: the pictures.
//!
//! The system draws the pointer into the pictures. What is shared ends with the session, which the
//! system may end at any time (a *stop sharing* of its own).

mod portal;
mod stream;

use super::Grabber;
use super::canvas::Canvas;
use crate::video::capture::CaptureError;

/// Whether this is a Wayland session whose portal lets the person choose.
pub(super) fn is_there() -> bool {
    is_wayland() && portal::is_there()
}

/// Whether applications draw for a Wayland compositor; one for X11 may be there as well.
pub(super) fn is_wayland() -> bool {
    std::env::var_os("WAYLAND_DISPLAY").is_some()
}

/// Lets the person choose, however long that takes.
///
/// # Errors
/// [`CaptureError::Denied`] when they do not, [`CaptureError::NotFound`] where nobody asks them.
pub(super) fn open() -> Result<Box<dyn Grabber>, CaptureError> {
    let mut cast = portal::Cast::choose()?;
    let stream = stream::Stream::open(cast.take_remote()?, cast.node())?;
    Ok(Box::new(WaylandGrabber { stream, cast }))
}

/// The stream goes before the session it belongs to.
struct WaylandGrabber {
    stream: stream::Stream,
    cast: portal::Cast,
}

impl Grabber for WaylandGrabber {
    fn grab(&mut self, canvas: &mut Canvas) -> Result<bool, CaptureError> {
        if self.cast.is_over() {
            return Err(CaptureError::Lost("the system ended it".to_owned()));
        }
        self.stream.grab(canvas)
    }
}
