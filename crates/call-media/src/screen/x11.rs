//! Screens and windows under X11.
//!
//! What changed is told by the DAMAGE extension, so that a screen that stands still costs two small
//! requests a look; only the changed rectangle is fetched, through shared memory where the server is
//! on this machine (MIT-SHM 1.2). Once a second everything is fetched and compared, because drivers
//! that draw past the server damage nothing; where that finds a change nobody told of, everything is
//! fetched at every look from then on. Windows come from their own storage (COMPOSITE), so that
//! nothing that lies above one is ever sent with it. The pointer is XFIXES'.
//!
//! A monitor that changes its size or place is followed. A window that is minimised shows what it last
//! did; one that is closed is an error.

mod fetch;
mod listing;

use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::errors::{ConnectError, ConnectionError, ReplyError};
use x11rb::protocol::Event;
use x11rb::protocol::composite::{self, ConnectionExt as _};
use x11rb::protocol::damage::{self, ConnectionExt as _};
use x11rb::protocol::randr::{self, ConnectionExt as _};
use x11rb::protocol::xfixes::ConnectionExt as _;
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ConnectionExt as _, Drawable, EventMask, MapState, Window,
};
use x11rb::rust_connection::RustConnection;

use super::Grabber;
use super::canvas::{Area, Canvas, Pointer};
use super::source::ShareSource;
use super::wayland;
use crate::video::capture::CaptureError;
use fetch::Fetcher;

/// Between comparisons of everything. Shorter notices sooner what the server does not tell of; each
/// costs some milliseconds.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// Looks in a row that may fail, because a window was resized between two requests.
const FAILURES: u32 = 30;

/// A connection with the extensions needed, and its root window.
struct Display {
    /// As X names it; `None` is the one of the environment.
    name: Option<String>,
    connection: RustConnection,
    root: Window,
}

impl Display {
    fn open(name: Option<&str>) -> Result<Self, CaptureError> {
        let (connection, screen) = x11rb::connect(name)?;
        let setup = connection.setup();
        let screen = setup.roots.get(screen).ok_or(CaptureError::NotFound)?;
        let root = screen.root;
        let visuals = screen.allowed_depths.iter().flat_map(|it| &it.visuals);
        let visual = visuals
            .into_iter()
            .find(|it| it.visual_id == screen.root_visual);
        let is_bgrx = setup.image_byte_order == x11rb::protocol::xproto::ImageOrder::LSB_FIRST
            && visual.is_some_and(|it| it.red_mask == 0x00ff_0000 && it.blue_mask == 0xff);
        if !is_bgrx {
            return Err(CaptureError::Lost("pixels of another format".to_owned()));
        }
        connection.xfixes_query_version(5, 0)?.reply()?;
        connection.damage_query_version(1, 1)?.reply()?;
        connection.composite_query_version(0, 4)?.reply()?;
        connection.randr_query_version(1, 5)?.reply()?;
        Ok(Self {
            name: name.map(str::to_owned),
            connection,
            root,
        })
    }
}

impl From<ConnectError> for CaptureError {
    fn from(_: ConnectError) -> Self {
        Self::NotFound
    }
}

impl From<ConnectionError> for CaptureError {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<ReplyError> for CaptureError {
    fn from(error: ReplyError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<x11rb::errors::ReplyOrIdError> for CaptureError {
    fn from(error: x11rb::errors::ReplyOrIdError) -> Self {
        Self::Lost(error.to_string())
    }
}

/// Everything that can be shared.
pub(super) fn list() -> Result<Vec<super::Listed>, CaptureError> {
    // Under Wayland an X server draws nothing on its root window.
    listing::list(&Display::open(None)?, !wayland::is_wayland())
}

/// Begins to look at a screen or window.
pub(super) fn open(source: &ShareSource) -> Result<Box<dyn Grabber>, CaptureError> {
    if matches!(source, ShareSource::Screen { .. }) && wayland::is_wayland() {
        return Err(CaptureError::NotFound);
    }
    open_at(None, source)
}

fn open_at(display: Option<&str>, source: &ShareSource) -> Result<Box<dyn Grabber>, CaptureError> {
    let display = Display::open(display)?;
    let subject = match source {
        ShareSource::Screen { name } => Subject::Screen { name: name.clone() },
        ShareSource::Window { id } => {
            let id = id.strip_prefix("0x").unwrap_or(id);
            let window = u32::from_str_radix(id, 16).map_err(|_| CaptureError::NotFound)?;
            Subject::Window {
                window,
                pixmap: None,
            }
        }
        ShareSource::Chosen | ShareSource::Pattern { .. } => return Err(CaptureError::NotFound),
    };
    Ok(Box::new(X11Grabber::new(display, subject)?))
}

/// What is looked at.
enum Subject {
    Screen {
        name: Option<String>,
    },
    Window {
        window: Window,
        /// Its storage, anew whenever its size changes.
        pixmap: Option<Drawable>,
    },
}

/// Where the subject's pixels are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    drawable: Drawable,
    /// Of the upper left corner within the drawable.
    x: i16,
    y: i16,
    /// The same on the root window, where the pointer is.
    on_root: (i32, i32),
    width: u16,
    height: u16,
}

struct X11Grabber {
    display: Display,
    subject: Subject,
    fetcher: Fetcher,
    damage: damage::Damage,
    /// `None` while a window is not on the screen.
    place: Option<Place>,
    is_place_stale: bool,
    dirty: Area,
    compared_at: Option<Instant>,
    /// The server does not tell of everything.
    is_blind: bool,
    failures: u32,
}

impl X11Grabber {
    fn new(display: Display, subject: Subject) -> Result<Self, CaptureError> {
        let Display {
            connection, root, ..
        } = &display;
        let watched = match &subject {
            Subject::Screen { .. } => {
                connection.randr_select_input(*root, randr::NotifyMask::SCREEN_CHANGE)?;
                *root
            }
            Subject::Window { window, .. } => {
                let events = EventMask::STRUCTURE_NOTIFY;
                let aux = ChangeWindowAttributesAux::new().event_mask(events);
                let selected = connection.change_window_attributes(*window, &aux)?;
                selected.check().map_err(|_| CaptureError::NotFound)?;
                let kind = composite::Redirect::AUTOMATIC;
                connection
                    .composite_redirect_window(*window, kind)?
                    .check()?;
                *window
            }
        };
        let damage = connection.generate_id()?;
        let level = damage::ReportLevel::BOUNDING_BOX;
        connection.damage_create(damage, watched, level)?.check()?;
        let fetcher = Fetcher::new(connection);
        Ok(Self {
            display,
            subject,
            fetcher,
            damage,
            place: None,
            is_place_stale: true,
            dirty: Area::default(),
            compared_at: None,
            is_blind: false,
            failures: 0,
        })
    }

    fn handle_events(&mut self) -> Result<(), CaptureError> {
        let mut is_damaged = false;
        while let Some(event) = self.display.connection.poll_for_event()? {
            match event {
                Event::DamageNotify(damage) => {
                    is_damaged = true;
                    if let Some(place) = self.place {
                        let area = damage.area;
                        // A screen's area is told on the root window, a window's on itself.
                        let (x, y) = match self.subject {
                            Subject::Screen { .. } => place.on_root,
                            Subject::Window { .. } => (0, 0),
                        };
                        let size = (u32::from(place.width), u32::from(place.height));
                        let area = Area::clipped(
                            i64::from(area.x) - i64::from(x),
                            i64::from(area.y) - i64::from(y),
                            area.width.into(),
                            area.height.into(),
                            size,
                        );
                        self.dirty = self.dirty.union(area);
                    }
                }
                Event::RandrScreenChangeNotify(_)
                | Event::ConfigureNotify(_)
                | Event::MapNotify(_)
                | Event::UnmapNotify(_) => self.is_place_stale = true,
                Event::DestroyNotify(_) => return Err(CaptureError::NotFound),
                _ => {}
            }
        }
        if is_damaged {
            // Before fetching: what is drawn from here on is told anew.
            let none = x11rb::NONE;
            let connection = &self.display.connection;
            connection.damage_subtract(self.damage, none, none)?;
        }
        Ok(())
    }

    /// Finds out where the pixels are now.
    fn find_place(&mut self) -> Result<(), CaptureError> {
        let Display {
            connection, root, ..
        } = &self.display;
        self.place = match &mut self.subject {
            Subject::Screen { name } => {
                let screens = listing::screens(&self.display)?;
                let screen = screens
                    .into_iter()
                    .find(|screen| name.as_ref().is_none_or(|name| *name == screen.name))
                    .ok_or(CaptureError::NotFound)?;
                Some(Place {
                    drawable: *root,
                    x: screen.x,
                    y: screen.y,
                    on_root: (screen.x.into(), screen.y.into()),
                    width: screen.width,
                    height: screen.height,
                })
            }
            Subject::Window { window, pixmap } => {
                let attributes = connection.get_window_attributes(*window)?.reply()?;
                if attributes.map_state == MapState::VIEWABLE {
                    if let Some(old) = pixmap.take() {
                        connection.free_pixmap(old)?;
                    }
                    let geometry = connection.get_geometry(*window)?.reply()?;
                    let corner = connection.translate_coordinates(*window, *root, 0, 0)?;
                    let corner = corner.reply()?;
                    let drawable = connection.generate_id()?;
                    let named = connection.composite_name_window_pixmap(*window, drawable)?;
                    named.check()?;
                    *pixmap = Some(drawable);
                    let border = i16::try_from(geometry.border_width).unwrap_or(0);
                    Some(Place {
                        drawable,
                        x: border,
                        y: border,
                        on_root: (corner.dst_x.into(), corner.dst_y.into()),
                        width: geometry.width,
                        height: geometry.height,
                    })
                } else {
                    None
                }
            }
        };
        self.is_place_stale = false;
        self.compared_at = None;
        Ok(())
    }

    /// The pointer, if it is over what is looked at.
    fn pointer(&self, place: Place) -> Result<Option<Pointer>, CaptureError> {
        let connection = &self.display.connection;
        let image = connection.xfixes_get_cursor_image()?.reply()?;
        let (x, y) = (i32::from(image.x), i32::from(image.y));
        let (left, top) = place.on_root;
        let is_over = (left..left + i32::from(place.width)).contains(&x)
            && (top..top + i32::from(place.height)).contains(&y);
        Ok(is_over.then(|| Pointer {
            x: x - i32::from(image.xhot) - left,
            y: y - i32::from(image.yhot) - top,
            width: image.width.into(),
            argb: image.cursor_image,
        }))
    }

    fn look(&mut self, canvas: &mut Canvas) -> Result<bool, CaptureError> {
        if self.is_place_stale {
            self.find_place()?;
        }
        let Some(place) = self.place else {
            return Ok(false);
        };
        let size = (u32::from(place.width), u32::from(place.height));
        let mut changed = canvas.resize(size.0, size.1);
        let now = Instant::now();
        let is_comparing = changed
            || self.is_blind
            || self
                .compared_at
                .is_none_or(|at| now.saturating_duration_since(at) >= COMPARE_EVERY);
        let told = std::mem::take(&mut self.dirty);
        let area = if is_comparing {
            let (width, height) = canvas.size();
            Area {
                width,
                height,
                ..Area::default()
            }
        } else {
            told
        };
        if !area.is_empty() {
            let connection = &self.display.connection;
            let (x, y) = (place.x, place.y);
            let pixels = self
                .fetcher
                .fetch(connection, place.drawable, (x, y), area)?;
            let is_different = canvas.put(area, pixels);
            if is_comparing && is_different && told.is_empty() && self.compared_at.is_some() {
                tracing::debug!("the X server does not tell of all that changes");
                self.is_blind = true;
            }
            changed |= is_different;
        }
        if is_comparing {
            self.compared_at = Some(now);
        }
        let pointer = self.pointer(place)?;
        changed |= canvas.pointer != pointer;
        canvas.pointer = pointer;
        Ok(changed)
    }
}

impl Grabber for X11Grabber {
    fn grab(&mut self, canvas: &mut Canvas) -> Result<bool, CaptureError> {
        self.handle_events()?;
        match self.look(canvas) {
            Ok(changed) => {
                self.failures = 0;
                Ok(changed)
            }
            // It was resized or closed in between: the next events tell.
            Err(CaptureError::Lost(error)) if self.failures < FAILURES => {
                tracing::debug!(error, "a look at the screen failed");
                self.failures += 1;
                self.is_place_stale = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
