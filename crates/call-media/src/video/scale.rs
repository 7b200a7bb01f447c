//! Scaling of I420 pictures, plane by plane, with SIMD.
//!
//! Deliberately not here: cropping and rotation; nothing needs them yet.

use call_protocol::limits;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::frame::I420Frame;
use crate::pool::FramePool;

/// Scales pictures; keeps its coefficient tables between calls of the same size, and the memory
/// of pictures nobody holds any more.
#[derive(Default)]
pub struct Scaler {
    resizer: Resizer,
    pool: FramePool,
}

impl Scaler {
    /// A scaler for any sizes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shrinks a picture into a box, see [`fit_size`]. A picture that fits is passed on unchanged.
    pub fn fit(&mut self, frame: &I420Frame, max_width: u32, max_height: u32) -> I420Frame {
        let (width, height) = fit_size(frame.width(), frame.height(), max_width, max_height);
        self.resize(frame, width, height)
    }

    /// Scales to exactly this size, without regard to the aspect ratio. Sides are clamped to
    /// `1..=`[`limits::PICTURE_PX`].
    pub fn resize(&mut self, frame: &I420Frame, width: u32, height: u32) -> I420Frame {
        let width = width.clamp(1, limits::PICTURE_PX);
        let height = height.clamp(1, limits::PICTURE_PX);
        if (width, height) == (frame.width(), frame.height()) {
            return frame.clone();
        }
        let Self { resizer, pool } = self;
        let fill = |data: &mut [u8]| {
            let (luma, chroma) = data.split_at_mut(width as usize * height as usize);
            let chroma_to = (width.div_ceil(2), height.div_ceil(2));
            let (u, v) = chroma.split_at_mut(chroma_to.0 as usize * chroma_to.1 as usize);
            let luma_from = (frame.width(), frame.height());
            let chroma_from = (frame.chroma_width(), frame.chroma_height());
            scale_plane(resizer, frame.y(), luma_from, luma, (width, height));
            scale_plane(resizer, frame.u(), chroma_from, u, chroma_to);
            scale_plane(resizer, frame.v(), chroma_from, v, chroma_to);
        };
        pool.frame(width, height, frame.captured_at, fill)
            .expect("invariant: sides are clamped")
    }
}

fn scale_plane(
    resizer: &mut Resizer,
    from: &[u8],
    from_px: (u32, u32),
    to: &mut [u8],
    to_px: (u32, u32),
) {
    // Bilinear convolution widens its kernel when shrinking, so it does not alias.
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let from = TypedImageRef::<U8>::from_buffer(from_px.0, from_px.1, from)
        .expect("invariant: plane length is width times height");
    let mut to = TypedImage::<U8>::from_buffer(to_px.0, to_px.1, to)
        .expect("invariant: plane length is width times height");
    // Typed: the dynamic call would compile every pixel format there is.
    resizer
        .resize_typed(&from, &mut to, &options)
        .expect("invariant: neither plane is empty");
}

/// The largest even size with the aspect ratio of `width × height` inside the box, never larger
/// than the picture itself. Sides are at least 2, the smallest even size.
pub fn fit_size(width: u32, height: u32, max_width: u32, max_height: u32) -> (u32, u32) {
    let (width, height) = (width.max(1), height.max(1));
    let (max_width, max_height) = (max_width.max(2), max_height.max(2));
    let ratio = (f64::from(max_width) / f64::from(width))
        .min(f64::from(max_height) / f64::from(height))
        .min(1.0);
    let even = |side: u32| {
        let nearest = (f64::from(side) * ratio / 2.0).round() as u32 * 2;
        nearest.min(side & !1).max(2)
    };
    (
        even(width).min(max_width & !1),
        even(height).min(max_height & !1),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn sizes_fit_the_box_and_are_even() {
        let cases = [
            ((1280, 720, 1280, 720), (1280, 720)),
            ((1280, 720, 640, 640), (640, 360)),
            ((640, 480, 320, 320), (320, 240)),
            ((480, 640, 320, 320), (240, 320)),
            ((320, 180, 1280, 720), (320, 180)),
            ((321, 181, 4096, 4096), (320, 180)),
            ((4000, 2, 100, 100), (100, 2)),
            ((0, 0, 0, 0), (2, 2)),
        ];
        for ((w, h, mw, mh), want) in cases {
            assert_eq!(fit_size(w, h, mw, mh), want, "{w}x{h} into {mw}x{mh}");
        }
    }

    #[test]
    fn halves_keep_left_and_right_apart() {
        let (width, height) = (64_u32, 32_u32);
        let mut data = vec![128; I420Frame::data_len(width, height)];
        for row in data[..(width * height) as usize].chunks_exact_mut(width as usize) {
            row[..32].fill(20);
            row[32..].fill(220);
        }
        let frame = I420Frame::new(width, height, data, Instant::now()).unwrap();
        let half = Scaler::new().resize(&frame, 31, 15);
        assert_eq!((half.width(), half.height()), (31, 15));
        assert_eq!((half.y()[3], half.y()[27]), (20, 220));
        assert!(half.u().iter().chain(half.v()).all(|sample| *sample == 128));
        assert_eq!(half.captured_at, frame.captured_at);
    }
}
