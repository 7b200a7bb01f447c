//! Screens and windows of macOS and Windows, by `xcap`: a shot at each look.
//!
//! What changed is found by comparing, and what takes long is looked at less often (`pace`). The
//! pointer is not in the shots. A window that is minimised shows what it last did; one that is closed
//! is an error.

use xcap::image::RgbaImage;
use xcap::{Monitor, Window, XCapResult};

use super::canvas::{Area, Canvas, MOST_SIDE_PX, PIXEL, cut};
use super::source::ShareSource;
use super::{Grabber, Listed};
use crate::video::capture::CaptureError;

/// Shots in a row that may fail, because a screen changed or a window moved to another.
const FAILURES: u32 = 30;
/// Windows with smaller sides are parts of the system's surface.
const LEAST_PX: u32 = 48;

enum Subject {
    Screen(Monitor),
    Window(Window),
}

impl Subject {
    fn shot(&self) -> XCapResult<RgbaImage> {
        match self {
            Self::Screen(screen) => screen.capture_image(),
            Self::Window(window) => window.capture_image(),
        }
    }

    fn is_hidden(&self) -> bool {
        match self {
            Self::Screen(_) => false,
            Self::Window(window) => window.is_minimized().unwrap_or(false),
        }
    }

    /// How it is listed; `None` for what nobody would share.
    fn listed(&self) -> Option<Listed> {
        let (source, name, size) = match self {
            Self::Screen(screen) => {
                let name = screen.name().ok();
                let title = screen.friendly_name().ok().or_else(|| name.clone());
                let size = (screen.width().ok()?, screen.height().ok()?);
                (ShareSource::Screen { name }, title?, size)
            }
            Self::Window(window) => {
                let id = window.id().ok()?.to_string();
                let title = window.title().ok().filter(|title| !title.is_empty());
                let size = (window.width().ok()?, window.height().ok()?);
                (ShareSource::Window { id }, title?, size)
            }
        };
        if size.0 < LEAST_PX || size.1 < LEAST_PX || self.is_hidden() {
            return None;
        }
        let canvas = self.shot().ok().map(|shot| {
            let mut canvas = Canvas::default();
            show(&mut canvas, shot);
            canvas
        });
        Some(Listed {
            source,
            name,
            size,
            canvas,
        })
    }
}

/// Everything that can be shared.
pub(super) fn list() -> Result<Vec<Listed>, CaptureError> {
    let screens = Monitor::all().map_err(|_| CaptureError::NotFound)?;
    let windows = Window::all().unwrap_or_default();
    let screens = screens.into_iter().map(Subject::Screen);
    let all = screens.chain(windows.into_iter().map(Subject::Window));
    Ok(all.filter_map(|subject| subject.listed()).collect())
}

/// Begins to look at a screen or window.
pub(super) fn open(source: &ShareSource) -> Result<Box<dyn Grabber>, CaptureError> {
    let found = match source {
        ShareSource::Screen { name } => {
            let mut screens = Monitor::all().unwrap_or_default().into_iter();
            screens
                .find(|screen| name.is_none() || screen.name().ok() == *name)
                .map(Subject::Screen)
        }
        ShareSource::Window { id } => {
            let mut windows = Window::all().unwrap_or_default().into_iter();
            windows
                .find(|window| window.id().is_ok_and(|one| one.to_string() == *id))
                .map(Subject::Window)
        }
        ShareSource::Chosen | ShareSource::Pattern { .. } => None,
    };
    let subject = found.ok_or(CaptureError::NotFound)?;
    // macOS refuses shots until the person allows them in the settings.
    if cfg!(target_os = "macos") && !subject.is_hidden() && subject.shot().is_err() {
        return Err(CaptureError::Denied);
    }
    Ok(Box::new(ShotGrabber {
        subject,
        failures: 0,
    }))
}

struct ShotGrabber {
    subject: Subject,
    failures: u32,
}

impl Grabber for ShotGrabber {
    fn grab(&mut self, canvas: &mut Canvas) -> Result<bool, CaptureError> {
        if self.subject.is_hidden() {
            return Ok(false);
        }
        match self.subject.shot() {
            Ok(shot) => {
                self.failures = 0;
                Ok(show(canvas, shot))
            }
            Err(error) if self.failures < FAILURES => {
                tracing::debug!(%error, "a look at the screen failed");
                self.failures += 1;
                Ok(false)
            }
            Err(error) => Err(CaptureError::Lost(error.to_string())),
        }
    }
}

/// Whether the shot is another picture than what the canvas shows, which it is from now on.
fn show(canvas: &mut Canvas, shot: RgbaImage) -> bool {
    let (width, height) = shot.dimensions();
    // A canvas has a largest size; what is beyond it is not shown.
    let most = MOST_SIDE_PX;
    let area = Area {
        width: width.min(most),
        height: height.min(most),
        ..Area::default()
    };
    let mut pixels = Vec::new();
    cut(
        shot.as_raw(),
        width as usize * PIXEL,
        area,
        true,
        &mut pixels,
    ) && canvas.show((area.width, area.height), &pixels)
}
