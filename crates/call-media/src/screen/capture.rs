//! A screen or window as a source of pictures: looked at when its pace says, with the pointer,
//! converted to I420 and shrunk into [`SHARE_BOX_PX`].

use std::time::{Duration, Instant};

use call_protocol::limits;
use yuv::{YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use super::canvas::{Canvas, PIXEL, halve};
use super::pace::{Pace, Verdict};
use super::{Grabber, SHARE_BOX_PX};
use crate::frame::I420Frame;
use crate::pool::FramePool;
use crate::video::capture::{CaptureError, VideoSource};
use crate::video::convert::planar;
use crate::video::scale::Scaler;

/// See the module's text.
pub(crate) struct ScreenSource {
    grabber: Box<dyn Grabber>,
    canvas: Canvas,
    pace: Pace,
    /// What the last look took, its picture included.
    cost: Duration,
    pool: FramePool,
    scaler: Scaler,
    /// Of a screen that is larger than a picture may be.
    half: Vec<u8>,
    /// What was made of the canvas last.
    picture: Option<I420Frame>,
}

impl ScreenSource {
    pub(crate) fn new(grabber: Box<dyn Grabber>) -> Self {
        Self {
            grabber,
            canvas: Canvas::default(),
            pace: Pace::new(Instant::now()),
            cost: Duration::ZERO,
            pool: FramePool::new(),
            scaler: Scaler::new(),
            half: Vec::new(),
            picture: None,
        }
    }

    fn convert(&mut self, captured_at: Instant) -> Option<I420Frame> {
        let size = self.canvas.size();
        let (pool, half) = (&mut self.pool, &mut self.half);
        let is_large = size.0.max(size.1) > limits::PICTURE_PX;
        let picture = self.canvas.with_pointer(|pixels| {
            if is_large {
                let size = halve(pixels, size, half);
                return to_i420(pool, size, half, captured_at);
            }
            to_i420(pool, size, pixels, captured_at)
        })?;
        let (most_width, most_height) = SHARE_BOX_PX;
        Some(self.scaler.fit(&picture, most_width, most_height))
    }
}

impl VideoSource for ScreenSource {
    fn next_frame(&mut self) -> Result<I420Frame, CaptureError> {
        loop {
            let wait = self.pace.next_look();
            std::thread::sleep(wait.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            let changed = self.grabber.grab(&mut self.canvas)?;
            if changed || self.picture.is_none() {
                self.picture = self.convert(now).or_else(|| self.picture.take());
            }
            let last = std::mem::replace(&mut self.cost, now.elapsed());
            let verdict = self.pace.handle_look(now, changed, last.max(self.cost));
            if let (Verdict::Picture, Some(picture)) = (verdict, &self.picture) {
                let mut picture = picture.clone();
                picture.captured_at = now;
                return Ok(picture);
            }
        }
    }
}

fn to_i420(
    pool: &mut FramePool,
    (width, height): (u32, u32),
    pixels: &[u8],
    captured_at: Instant,
) -> Option<I420Frame> {
    let convert = |image: &mut YuvPlanarImageMut<'_, u8>| {
        yuv::bgra_to_yuv420(
            image,
            pixels,
            width * PIXEL as u32,
            YuvRange::Limited,
            YuvStandardMatrix::Bt601,
            YuvConversionMode::Balanced,
        )
    };
    // The canvas has as many pixels as its size says, so it cannot fail.
    planar(pool, (width, height), captured_at, convert).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::canvas::Area;

    /// Turns from black to white and back at every third look.
    struct Blinking {
        looks: u32,
        size: (u32, u32),
    }

    impl Grabber for Blinking {
        fn grab(&mut self, canvas: &mut Canvas) -> Result<bool, CaptureError> {
            let (width, height) = self.size;
            canvas.resize(width, height);
            let changed = self.looks.is_multiple_of(3);
            let white = (self.looks / 3).is_multiple_of(2);
            self.looks += 1;
            let area = Area {
                width,
                height,
                ..Area::default()
            };
            let value = if white { 255 } else { 0 };
            canvas.put(area, &vec![value; (width * height) as usize * PIXEL]);
            Ok(changed)
        }
    }

    #[test]
    fn what_changes_is_converted_and_shrunk_into_the_box() {
        for size in [(2_400, 1_500), (5_120, 3_200)] {
            check_box(size);
        }
    }

    fn check_box(size: (u32, u32)) {
        let mut source = ScreenSource::new(Box::new(Blinking { looks: 0, size }));
        let mut lumas = Vec::new();
        // A screen that is slow to look at shows again what it showed before.
        while lumas.len() < 3 {
            let picture = source.next_frame().unwrap();
            assert_eq!((picture.width(), picture.height()), SHARE_BOX_PX);
            lumas.push(picture.y()[picture.y().len() / 2]);
            lumas.dedup();
            let grey = |plane: &[u8]| plane.iter().all(|value| (127..=129).contains(value));
            assert!(grey(picture.u()) && grey(picture.v()));
        }
        // BT.601 limited range: white is 235, black 16.
        assert!(
            lumas.iter().all(|luma| [16, 235].contains(luma)),
            "{lumas:?}"
        );
    }
}
