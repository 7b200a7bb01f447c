//! Where the window was, so that it opens there again: `window.json` in the profile.
//!
//! Sizes and positions are physical pixels. A window is only put back where enough of it to grasp is
//! on a screen that exists now; its size never exceeds that screen.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use call_client::keep::replace;
use serde::{Deserialize, Serialize};
use tauri::{PhysicalPosition, PhysicalSize, WebviewWindow};

/// How much of the window's upper edge must be on the screen, in pixels: enough to drag it by.
const GRASP_PX: i32 = 100;
/// Smaller than any window of ours, in pixels: a size below it is no size.
const LEAST_PX: u32 = 100;

/// A window's place while it is neither maximised nor minimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    x: i32,
    y: i32,
    width: u32,
    height: u32,
    maximized: bool,
}

/// A screen.
#[derive(Clone, Copy, Debug)]
struct Screen {
    x: i32,
    y: i32,
    width: u32,
    height: u32,
}

/// Follows the window and remembers its place.
pub(crate) struct Placement {
    file: PathBuf,
    last: Mutex<Option<Place>>,
}

impl Placement {
    pub(crate) fn new(profile: &Path) -> Self {
        Self {
            file: profile.join("window.json"),
            last: Mutex::default(),
        }
    }

    /// Puts a window that is not shown yet where the last one was. Blocks on the disk.
    pub(crate) fn restore(&self, window: &WebviewWindow) -> tauri::Result<()> {
        let Some(place) = fs::read(&self.file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
        else {
            return Ok(());
        };
        let screens: Vec<_> = window
            .available_monitors()?
            .iter()
            .map(|monitor| Screen {
                x: monitor.position().x,
                y: monitor.position().y,
                width: monitor.size().width,
                height: monitor.size().height,
            })
            .collect();
        let Some(place) = fit(place, &screens) else {
            return Ok(());
        };
        window.set_size(PhysicalSize::new(place.width, place.height))?;
        window.set_position(PhysicalPosition::new(place.x, place.y))?;
        if place.maximized {
            window.maximize()?;
        }
        *self.last() = Some(place);
        Ok(())
    }

    /// The window moved or changed its size.
    pub(crate) fn handle_change(&self, window: &WebviewWindow) -> tauri::Result<()> {
        // The mini window stays above the others, and is no place to come back to.
        if window.is_minimized()? || window.is_fullscreen()? || window.is_always_on_top()? {
            return Ok(());
        }
        let maximized = window.is_maximized()?;
        let mut last = self.last();
        if maximized && let Some(place) = &mut *last {
            place.maximized = true;
            return Ok(());
        }
        let (position, size) = (window.outer_position()?, window.inner_size()?);
        *last = Some(Place {
            x: position.x,
            y: position.y,
            width: size.width,
            height: size.height,
            maximized,
        });
        Ok(())
    }

    /// Writes the place down. Blocks on the disk.
    pub(crate) fn save(&self) {
        let Some(place) = *self.last() else { return };
        let written = serde_json::to_vec(&place)
            .map_err(std::io::Error::from)
            .and_then(|text| replace(&self.file, &text));
        if let Err(error) = written {
            tracing::warn!(%error, "the window's place was not saved");
        }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place on the screens there are; `None` where it lies on none of them.
fn fit(place: Place, screens: &[Screen]) -> Option<Place> {
    if place.width < LEAST_PX || place.height < LEAST_PX {
        return None;
    }
    let edge = |from: i32, length: u32| from.saturating_add_unsigned(length);
    let holds_edge = |screen: &&Screen| {
        let left = place.x.max(screen.x);
        let right = edge(place.x, place.width).min(edge(screen.x, screen.width));
        right.saturating_sub(left) >= GRASP_PX
            && place.y >= screen.y
            && place.y <= edge(screen.y, screen.height).saturating_sub(GRASP_PX)
    };
    let screen = screens.iter().find(holds_edge)?;
    Some(Place {
        width: place.width.min(screen.width),
        height: place.height.min(screen.height),
        ..place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_comes_back_only_where_it_can_be_grasped() {
        let screens =
            [(0, 0, 1920, 1080), (1920, -200, 1280, 1024)].map(|(x, y, width, height)| Screen {
                x,
                y,
                width,
                height,
            });
        let place = |(x, y, width, height)| Place {
            x,
            y,
            width,
            height,
            maximized: false,
        };
        let cases = [
            ((100, 100, 800, 600), Some((100, 100, 800, 600))),
            // Half outside, on the second screen, larger than the screen.
            ((-600, 0, 800, 600), Some((-600, 0, 800, 600))),
            ((2000, -200, 800, 600), Some((2000, -200, 800, 600))),
            ((0, 0, 4000, 3000), Some((0, 0, 1920, 1080))),
            // Out of reach: left, below, above, on a screen that is gone; no size at all.
            ((-750, 0, 800, 600), None),
            ((100, 1000, 800, 600), None),
            ((100, -10, 800, 600), None),
            ((5000, 100, 800, 600), None),
            ((i32::MAX, i32::MIN, u32::MAX, u32::MAX), None),
            ((100, 100, 0, 600), None),
        ];
        for (saved, want) in cases {
            assert_eq!(fit(place(saved), &screens), want.map(place), "{saved:?}");
        }
        assert_eq!(fit(place((0, 0, 800, 600)), &[]), None);
    }
}
