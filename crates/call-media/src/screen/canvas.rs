//! The pixels of a screen or window, and the pointer in them.
//!
//! Pixels are blue, green, red and a byte of no meaning, row by row without padding: what X11, macOS
//! and Windows deliver. The pointer is drawn into them only while they are read, and taken out again,
//! so that what did not change need not be fetched again.

use call_protocol::limits;

/// Bytes of a pixel.
pub(crate) const PIXEL: usize = 4;
/// Longest side of a canvas; what of a screen is beyond it is not shown. Screens have up to 7680, and twice
/// what a picture may have is what [`halve`] makes one of.
pub(crate) const MOST_SIDE_PX: u32 = 2 * limits::PICTURE_PX;

/// A part of a canvas, in pixels from its upper left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Area {
    pub(crate) fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The smallest area that holds both.
    pub(crate) fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = (self.x + self.width).max(other.x + other.width);
        let bottom = (self.y + self.height).max(other.y + other.height);
        Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        }
    }

    /// What of a rectangle at any place lies in `0..size`.
    pub(crate) fn clipped(x: i64, y: i64, width: i64, height: i64, size: (u32, u32)) -> Self {
        let clip = |start: i64, len: i64, most: u32| {
            let from = start.clamp(0, i64::from(most));
            let to = start
                .saturating_add(len.max(0))
                .clamp(from, i64::from(most));
            (from as u32, (to - from) as u32)
        };
        let (x, width) = clip(x, width, size.0);
        let (y, height) = clip(y, height, size.1);
        Self {
            x,
            y,
            width,
            height,
        }
    }
}

/// Cuts an area out of a picture whose rows begin `stride` bytes apart, its red and blue exchanged if
/// `is_swapped`. False, and nothing of worth in `picture`, where it is not all there.
pub(crate) fn cut(
    bytes: &[u8],
    stride: usize,
    area: Area,
    is_swapped: bool,
    picture: &mut Vec<u8>,
) -> bool {
    let from = area.x as usize * PIXEL;
    let row_bytes = area.width as usize * PIXEL;
    if area.is_empty() || from + row_bytes > stride {
        return false;
    }
    picture.clear();
    for y in area.y as usize..(area.y + area.height) as usize {
        let start = y * stride + from;
        let Some(row) = bytes.get(start..start + row_bytes) else {
            return false;
        };
        picture.extend_from_slice(row);
    }
    if is_swapped {
        for pixel in picture.chunks_exact_mut(PIXEL) {
            pixel.swap(0, 2);
        }
    }
    true
}

/// Makes one pixel of each four, their mean, into `picture`; of a last row or column that is alone, none unless
/// it is the only one. Returns the size.
pub(crate) fn halve(
    pixels: &[u8],
    (width, height): (u32, u32),
    picture: &mut Vec<u8>,
) -> (u32, u32) {
    let size = ((width / 2).max(1), (height / 2).max(1));
    let (stride, last) = (width as usize * PIXEL, height.max(1) as usize - 1);
    picture.clear();
    picture.resize(size.0 as usize * size.1 as usize * PIXEL, 0);
    if pixels.is_empty() {
        return size;
    }
    let row = |y: usize| pixels[y.min(last) * stride..][..stride].chunks(2 * PIXEL);
    let rows = picture.chunks_exact_mut(size.0 as usize * PIXEL);
    for (y, made) in rows.enumerate() {
        let both = row(2 * y).zip(row(2 * y + 1));
        for (pixel, (upper, lower)) in made.chunks_exact_mut(PIXEL).zip(both) {
            let beside = upper.len() - PIXEL;
            for (channel, value) in pixel.iter_mut().enumerate() {
                let four = [
                    upper[channel],
                    upper[beside + channel],
                    lower[channel],
                    lower[beside + channel],
                ];
                let sum: u16 = four.into_iter().map(u16::from).sum();
                *value = ((sum + 2) / 4) as u8;
            }
        }
    }
    size
}

/// What the pointer looks like, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// Of its upper left corner in the canvas; may lie outside.
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: u32,
    /// As many rows as there are, 0xAARRGGBB with the colours multiplied by their opacity.
    pub(crate) argb: Vec<u32>,
}

/// See the module's text.
///
/// Invariant: sides are within `1..=`[`MOST_SIDE_PX`], and there are as many pixels as they say.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    size: (u32, u32),
    bgrx: Vec<u8>,
    pub(crate) pointer: Option<Pointer>,
}

impl Canvas {
    /// Gives it this size, with sides clamped to `1..=`[`MOST_SIDE_PX`]; whether that is news. A
    /// resized canvas is black.
    pub(crate) fn resize(&mut self, width: u32, height: u32) -> bool {
        let side = |side: u32| side.clamp(1, MOST_SIDE_PX);
        let size = (side(width), side(height));
        if self.size == size {
            return false;
        }
        self.size = size;
        self.bgrx.clear();
        self.bgrx
            .resize(size.0 as usize * size.1 as usize * PIXEL, 0);
        true
    }

    /// In pixels; zero before the first [`Self::resize`].
    pub(crate) fn size(&self) -> (u32, u32) {
        self.size
    }

    /// All pixels.
    pub(crate) fn pixels(&self) -> &[u8] {
        &self.bgrx
    }

    /// Takes the pixels of an area, row by row without padding; whether any is another than before.
    /// Missing rows stay as they were; an area that is not within the canvas changes nothing.
    pub(crate) fn put(&mut self, area: Area, pixels: &[u8]) -> bool {
        let is_inside = u64::from(area.x) + u64::from(area.width) <= u64::from(self.size.0)
            && u64::from(area.y) + u64::from(area.height) <= u64::from(self.size.1);
        if area.is_empty() || !is_inside {
            return false;
        }
        let stride = self.size.0 as usize * PIXEL;
        let row_bytes = area.width as usize * PIXEL;
        let rows = self.bgrx.chunks_exact_mut(stride).skip(area.y as usize);
        let from = area.x as usize * PIXEL;
        let fresh = pixels.chunks_exact(row_bytes).take(area.height as usize);
        let mut is_different = false;
        for (row, fresh) in rows.zip(fresh) {
            let row = &mut row[from..from + row_bytes];
            if row != fresh {
                row.copy_from_slice(fresh);
                is_different = true;
            }
        }
        is_different
    }

    /// Takes a whole picture, of which the size says how many pixels there are; whether it is another
    /// than before.
    pub(crate) fn show(&mut self, (width, height): (u32, u32), pixels: &[u8]) -> bool {
        let is_resized = self.resize(width, height);
        let whole = Area {
            width,
            height,
            ..Area::default()
        };
        self.put(whole, pixels) || is_resized
    }

    /// Lets `read` see the pixels with the pointer in them.
    pub(crate) fn with_pointer<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        let Some(pointer) = self.pointer.take() else {
            return read(&self.bgrx);
        };
        let width = pointer.width.max(1);
        let height = pointer.argb.len() as i64 / i64::from(width);
        let (x, y) = (i64::from(pointer.x), i64::from(pointer.y));
        let area = Area::clipped(x, y, i64::from(width), height, self.size);
        let mut covered = Vec::with_capacity(area.width as usize * area.height as usize * PIXEL);
        for row in 0..area.height {
            let at = self.offset(area.x, area.y + row);
            let covered_row = &mut self.bgrx[at..at + area.width as usize * PIXEL];
            covered.extend_from_slice(covered_row);
            let skipped = (i64::from(area.y + row) - y) * i64::from(width) + i64::from(area.x) - x;
            let image = pointer.argb.iter().skip(skipped.max(0) as usize);
            for (pixel, argb) in covered_row.chunks_exact_mut(PIXEL).zip(image) {
                blend(pixel, *argb);
            }
        }
        let result = read(&self.bgrx);
        self.put(area, &covered);
        self.pointer = Some(pointer);
        result
    }

    fn offset(&self, x: u32, y: u32) -> usize {
        (y as usize * self.size.0 as usize + x as usize) * PIXEL
    }
}

/// Lays a pixel whose colours are multiplied by its opacity over another.
fn blend(pixel: &mut [u8], argb: u32) {
    let [alpha, red, green, blue] = argb.to_be_bytes();
    let left = u32::from(255 - alpha);
    for (below, above) in pixel.iter_mut().zip([blue, green, red]) {
        let mixed = u32::from(*below) * left / 255 + u32::from(above);
        *below = mixed.min(255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(x: u32, y: u32, width: u32, height: u32) -> Area {
        Area {
            x,
            y,
            width,
            height,
        }
    }

    /// The blue of every pixel.
    fn blues(pixels: &[u8]) -> Vec<u8> {
        pixels.chunks_exact(PIXEL).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn areas_are_joined_and_clipped() {
        let cases = [
            ((-2, -2, 4, 4), area(0, 0, 2, 2)),
            ((8, 1, 9, 9), area(8, 1, 2, 4)),
            ((-9, 0, 4, 4), area(0, 0, 0, 4)),
            ((99, 99, 1, 1), area(10, 5, 0, 0)),
            ((0, 0, -1, i64::MAX), area(0, 0, 0, 5)),
        ];
        for ((x, y, width, height), want) in cases {
            let got = Area::clipped(x, y, width, height, (10, 5));
            assert_eq!(got, want, "{x} {y}");
        }
        let both = area(1, 2, 3, 4).union(area(0, 5, 2, 2));
        assert_eq!(both, area(0, 2, 4, 5));
        assert_eq!(Area::default().union(both), both);
        assert_eq!(both.union(area(9, 9, 0, 3)), both);
    }

    #[test]
    fn fresh_pixels_replace_what_is_there_and_nothing_beside_it() {
        let mut canvas = Canvas::default();
        assert!(canvas.resize(3, 2) && !canvas.resize(3, 2));
        assert!(canvas.put(area(1, 0, 2, 2), &[7; 4 * PIXEL]));
        assert!(!canvas.put(area(1, 0, 2, 2), &[7; 4 * PIXEL]), "as before");
        assert_eq!(blues(canvas.pixels()), [0, 7, 7, 0, 7, 7]);
        // Half a row is none, and nothing outside is touched.
        canvas.put(area(0, 0, 2, 2), &[9; 3 * PIXEL]);
        canvas.put(area(2, 1, 2, 1), &[9; 2 * PIXEL]);
        assert_eq!(blues(canvas.pixels()), [9, 9, 7, 0, 7, 7]);
        assert!(canvas.resize(0, 9_999));
        assert_eq!(canvas.size(), (1, 8_192));
    }

    #[test]
    fn half_a_picture_is_the_mean_of_all_of_it() {
        let pixels =
            |blues: &[u8]| -> Vec<u8> { blues.iter().flat_map(|b| [*b, 0, 0, 9]).collect() };
        type Case = ((u32, u32), &'static [u8], (u32, u32), &'static [u8]);
        let cases: [Case; 4] = [
            ((4, 2), &[0, 100, 8, 8, 200, 100, 8, 9], (2, 1), &[100, 8]),
            ((3, 3), &[4, 4, 90, 4, 4, 90, 90, 90, 90], (1, 1), &[4]),
            ((1, 4), &[10, 20, 30, 40], (1, 2), &[15, 35]),
            ((2, 1), &[10, 21], (1, 1), &[16]),
        ];
        let mut half = Vec::new();
        for (size, from, want_size, want) in cases {
            assert_eq!(halve(&pixels(from), size, &mut half), want_size, "{size:?}");
            assert_eq!(blues(&half), want, "{size:?}");
            assert!(half.chunks_exact(PIXEL).all(|pixel| pixel[3] == 9));
        }
        assert_eq!(halve(&[], (0, 0), &mut half), (1, 1));
    }

    #[test]
    fn the_pointer_is_seen_and_leaves_no_trace() {
        let mut canvas = Canvas::default();
        canvas.resize(3, 2);
        canvas.put(area(0, 0, 3, 2), &[100; 6 * PIXEL]);
        let at = |x, y| Pointer {
            x,
            y,
            width: 2,
            // Opaque blue, half of it, nothing, opaque black.
            argb: vec![0xff00_00c8, 0x8000_0064, 0, 0xff00_0000],
        };
        let cases = [
            (at(0, 0), [200, 149, 100, 100, 0, 100]),
            (at(2, 1), [100, 100, 100, 100, 100, 200]),
            (at(-1, -1), [0, 100, 100, 100, 100, 100]),
            (at(5, -7), [100; 6]),
        ];
        for (pointer, want) in cases {
            canvas.pointer = Some(pointer.clone());
            assert_eq!(canvas.with_pointer(blues), want, "{pointer:?}");
            assert_eq!(blues(canvas.pixels()), [100; 6]);
            assert_eq!(canvas.pointer, Some(pointer));
        }
        canvas.pointer = Some(Pointer::default());
        assert_eq!(canvas.with_pointer(blues), [100; 6]);
    }

    #[test]
    fn the_area_of_a_buffer_is_copied_without_its_padding() {
        // Three pixels and a padding of four bytes a row, two rows.
        let bytes: Vec<u8> = (0..32).collect();
        let mut picture = Vec::new();
        assert!(cut(&bytes, 16, area(1, 0, 2, 2), false, &mut picture));
        assert_eq!(
            picture,
            [4, 5, 6, 7, 8, 9, 10, 11, 20, 21, 22, 23, 24, 25, 26, 27]
        );
        assert!(cut(&bytes, 16, area(0, 1, 1, 1), true, &mut picture));
        assert_eq!(picture, [18, 17, 16, 19]);
        for (area, stride) in [
            (area(0, 0, 3, 3), 16),
            (area(0, 0, 5, 1), 16),
            (area(0, 0, 1, 1), 0),
            (area(0, 0, 0, 2), 16),
        ] {
            assert!(!cut(&bytes, stride, area, false, &mut picture), "{area:?}");
        }
    }
}
