//! Which screens and windows there are under X11.

use x11rb::protocol::randr::ConnectionExt as _;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ConnectionExt as _, GetWindowAttributesReply, MapState, Window, WindowClass,
};

use super::{Display, Grabber, Subject, X11Grabber};
use crate::screen::Listed;
use crate::screen::canvas::Canvas;
use crate::screen::source::ShareSource;
use crate::video::capture::CaptureError;

/// Windows narrower or lower than this are panels, tips and the like, in pixels.
const LEAST_SIDE_PX: u16 = 48;
/// Windows looked at; each costs some requests.
const MOST_WINDOWS: usize = 32;
/// Longest title read, in 4-byte units.
const TITLE_UNITS: u32 = 64;

/// A monitor, on the root window.
pub(super) struct Screen {
    pub(super) name: String,
    pub(super) x: i16,
    pub(super) y: i16,
    pub(super) width: u16,
    pub(super) height: u16,
}

/// The monitors, the primary one first.
pub(super) fn screens(display: &Display) -> Result<Vec<Screen>, CaptureError> {
    let Display {
        connection, root, ..
    } = display;
    let mut monitors = connection
        .randr_get_monitors(*root, true)?
        .reply()?
        .monitors;
    monitors.sort_by_key(|monitor| !monitor.primary);
    let mut screens = Vec::new();
    for monitor in monitors {
        let name = connection.get_atom_name(monitor.name)?.reply()?.name;
        screens.push(Screen {
            name: String::from_utf8_lossy(&name).into_owned(),
            x: monitor.x,
            y: monitor.y,
            width: monitor.width,
            height: monitor.height,
        });
    }
    if screens.is_empty() {
        let geometry = connection.get_geometry(*root)?.reply()?;
        screens.push(Screen {
            name: "screen".to_owned(),
            x: 0,
            y: 0,
            width: geometry.width,
            height: geometry.height,
        });
    }
    Ok(screens)
}

/// The screens, unless there are none to see, and the windows.
pub(super) fn list(display: &Display, has_screens: bool) -> Result<Vec<Listed>, CaptureError> {
    let mut listed = Vec::new();
    if has_screens {
        for screen in screens(display)? {
            let name = Some(screen.name.clone());
            listed.push(Listed {
                source: ShareSource::Screen { name: name.clone() },
                name: screen.name,
                size: (screen.width.into(), screen.height.into()),
                canvas: glimpse(display, Subject::Screen { name }),
            });
        }
    }
    for window in windows(display)?.into_iter().take(MOST_WINDOWS) {
        // A window that was closed meanwhile is left out.
        let Ok(Some(Described { title, size })) = describe(display, window) else {
            continue;
        };
        let id = format!("{window:x}");
        listed.push(Listed {
            source: ShareSource::Window { id },
            name: title,
            size,
            canvas: glimpse(
                display,
                Subject::Window {
                    window,
                    pixmap: None,
                },
            ),
        });
    }
    Ok(listed)
}

/// What something shows now. On a connection of its own, with which its traces go.
fn glimpse(display: &Display, subject: Subject) -> Option<Canvas> {
    let mut canvas = Canvas::default();
    let mut grabber =
        X11Grabber::new(Display::open(display.name.as_deref()).ok()?, subject).ok()?;
    let is_seen = grabber.grab(&mut canvas).ok()?;
    canvas.pointer = None;
    is_seen.then_some(canvas)
}

/// The windows a window manager knows of, the topmost first; without one, all on the root window.
fn windows(display: &Display) -> Result<Vec<Window>, CaptureError> {
    let Display {
        connection, root, ..
    } = display;
    for list in ["_NET_CLIENT_LIST_STACKING", "_NET_CLIENT_LIST"] {
        let property = atom(display, list)?;
        let value = connection
            .get_property(false, *root, property, AtomEnum::WINDOW, 0, 1_024)?
            .reply()?;
        let windows: Vec<Window> = value.value32().into_iter().flatten().collect();
        if !windows.is_empty() {
            return Ok(windows.into_iter().rev().collect());
        }
    }
    let children = connection.query_tree(*root)?.reply()?.children;
    Ok(children.into_iter().rev().collect())
}

/// A window that is worth sharing.
struct Described {
    title: String,
    size: (u32, u32),
}

/// `None` for any other.
fn describe(display: &Display, window: Window) -> Result<Option<Described>, CaptureError> {
    let connection = &display.connection;
    let attributes = connection.get_window_attributes(window)?.reply()?;
    let geometry = connection.get_geometry(window)?.reply()?;
    if !is_shown(&attributes) || geometry.width.min(geometry.height) < LEAST_SIDE_PX {
        return Ok(None);
    }
    let size = (geometry.width.into(), geometry.height.into());
    let titles = [
        (atom(display, "_NET_WM_NAME")?, AtomEnum::ANY),
        (AtomEnum::WM_NAME.into(), AtomEnum::ANY),
    ];
    for (property, kind) in titles {
        let value = connection
            .get_property(false, window, property, kind, 0, TITLE_UNITS)?
            .reply()?
            .value;
        let title = String::from_utf8_lossy(&value).trim().to_owned();
        if !title.is_empty() {
            return Ok(Some(Described { title, size }));
        }
    }
    Ok(None)
}

fn is_shown(attributes: &GetWindowAttributesReply) -> bool {
    attributes.map_state == MapState::VIEWABLE
        && attributes.class == WindowClass::INPUT_OUTPUT
        && !attributes.override_redirect
}

fn atom(display: &Display, name: &str) -> Result<Atom, CaptureError> {
    let atom = display.connection.intern_atom(false, name.as_bytes())?;
    Ok(atom.reply()?.atom)
}
