//! The mini window: small, above all others, in a corner of its screen; and back as it was.
//!
//! States: normal, mini with what the window was before. Sizes are logical pixels, positions
//! physical ones.
//!
//! Deliberately not here: what a small window shows, which the page decides by its size alone.

use std::sync::{Mutex, PoisonError};

use tauri::{LogicalSize, PhysicalPosition, PhysicalRect, PhysicalSize, WebviewWindow};

/// Least size of a normal window: everything can be reached down to it.
pub(crate) const LEAST_SIZE: LogicalSize<f64> = LogicalSize::new(420.0, 480.0);
/// Size of a mini window: one picture of 16:9. The page shows one person below 340 × 260.
const MINI_SIZE: LogicalSize<f64> = LogicalSize::new(320.0, 180.0);
/// Least size of a mini window: its four buttons side by side.
const LEAST_MINI_SIZE: LogicalSize<f64> = LogicalSize::new(208.0, 117.0);
/// Between a mini window and the edges of what the screen has free, in logical pixels.
const MARGIN: f64 = 24.0;

/// What a window was before it became small.
struct Before {
    size: PhysicalSize<u32>,
    position: PhysicalPosition<i32>,
    maximized: bool,
}

/// Makes a window small and large again.
#[derive(Default)]
pub(crate) struct Mini {
    before: Mutex<Option<Before>>,
}

impl Mini {
    /// Whether the window is small, or is just being made so: then its place is none to remember.
    pub(crate) fn is_on(&self) -> bool {
        // Some systems tell of a change from within the call that makes it.
        self.before
            .try_lock()
            .map_or(true, |before| before.is_some())
    }

    /// Changes the window unless it is as wanted already. The window system has the last word on
    /// position and order: Wayland places windows itself.
    pub(crate) fn set(&self, window: &WebviewWindow, on: bool) -> tauri::Result<()> {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        match (on, before.take()) {
            (true, None) => {
                *before = Some(Before {
                    size: window.inner_size()?,
                    position: window.outer_position()?,
                    maximized: window.is_maximized()?,
                });
                shrink(window)
            }
            (false, Some(was)) => grow(window, &was),
            // Made small by hand, or by another run.
            (false, None) => {
                window.set_min_size(Some(LEAST_SIZE))?;
                window.set_size(LEAST_SIZE)
            }
            (true, was) => {
                *before = was;
                Ok(())
            }
        }
    }
}

fn shrink(window: &WebviewWindow) -> tauri::Result<()> {
    if window.is_fullscreen()? {
        window.set_fullscreen(false)?;
    }
    window.unmaximize()?;
    window.set_min_size(Some(LEAST_MINI_SIZE))?;
    window.set_size(MINI_SIZE)?;
    window.set_always_on_top(true)?;
    if let Some(monitor) = window.current_monitor()? {
        let scale = monitor.scale_factor();
        window.set_position(corner(monitor.work_area(), scale))?;
    }
    Ok(())
}

fn grow(window: &WebviewWindow, was: &Before) -> tauri::Result<()> {
    window.set_always_on_top(false)?;
    window.set_min_size(Some(LEAST_SIZE))?;
    window.set_size(was.size)?;
    window.set_position(was.position)?;
    if was.maximized {
        window.maximize()?;
    }
    Ok(())
}

/// Where a mini window goes: the lower right corner of what the screen has free.
fn corner(area: &PhysicalRect<i32, u32>, scale: f64) -> PhysicalPosition<i32> {
    let size: PhysicalSize<u32> = MINI_SIZE.to_physical(scale);
    let margin = (MARGIN * scale).round() as u32;
    let offset = |free: u32, taken: u32| {
        i32::try_from(free.saturating_sub(taken.saturating_add(margin))).unwrap_or(i32::MAX)
    };
    PhysicalPosition::new(
        area.position
            .x
            .saturating_add(offset(area.size.width, size.width)),
        area.position
            .y
            .saturating_add(offset(area.size.height, size.height)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(area: (i32, i32, u32, u32), scale: f64) -> (i32, i32) {
        let area = PhysicalRect {
            position: PhysicalPosition::new(area.0, area.1),
            size: PhysicalSize::new(area.2, area.3),
        };
        let PhysicalPosition { x, y } = corner(&area, scale);
        (x, y)
    }

    #[test]
    fn goes_to_the_lower_right_corner_of_the_free_part_of_its_screen() {
        assert_eq!(at((0, 0, 1920, 1040), 1.0), (1576, 836));
        assert_eq!(at((1920, 40, 1920, 1040), 1.0), (3496, 876));
        assert_eq!(at((-2560, 0, 2560, 1400), 2.0), (-688, 992));
    }

    #[test]
    fn stays_on_a_screen_that_is_smaller() {
        assert_eq!(at((0, 0, 300, 150), 1.0), (0, 0));
    }
}
