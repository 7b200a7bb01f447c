//! Scaling of I420 pictures, plane by plane.
//!
//! Halving, which simulcast does all the time, averages squares of four samples. Every other ratio
//! is a separable triangle filter, widened when shrinking so that it does not alias, with weights
//! computed once per pair of sizes. Loops are plain and over slices of fixed width, which compilers
//! turn into SIMD. Nothing is allocated while sizes stay.
//!
//! Deliberately not here: cropping, and rotation ([`super::rotate`]).

use call_protocol::limits;

use crate::frame::I420Frame;
use crate::pool::FramePool;

/// Scales pictures; keeps its weights between calls of the same size, and the memory of pictures
/// nobody holds any more.
#[derive(Debug, Default)]
pub struct Scaler {
    luma: PlaneScaler,
    chroma: PlaneScaler,
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
        let Self { luma, chroma, pool } = self;
        let pixels = |width: u32, height: u32| (width as usize, height as usize);
        let luma_to = pixels(width, height);
        let chroma_to = pixels(width.div_ceil(2), height.div_ceil(2));
        let fill = |data: &mut [u8]| {
            let (y, chroma_planes) = data.split_at_mut(luma_to.0 * luma_to.1);
            let (u, v) = chroma_planes.split_at_mut(chroma_to.0 * chroma_to.1);
            let luma_from = pixels(frame.width(), frame.height());
            let chroma_from = pixels(frame.chroma_width(), frame.chroma_height());
            luma.scale(frame.y(), luma_from, y, luma_to);
            chroma.scale(frame.u(), chroma_from, u, chroma_to);
            chroma.scale(frame.v(), chroma_from, v, chroma_to);
        };
        pool.frame(width, height, frame.captured_at, fill)
            .expect("invariant: sides are clamped")
    }
}

/// Weights are whole numbers that sum up to one shifted by this. With few taps eight bits are within
/// one of 255 steps, and sums fit 16 bits, of which every SIMD multiplies many at once.
const FEW_BITS: u32 = 8;
const FEW_TAPS: usize = 5;
/// As [`FEW_BITS`], for more taps, whose single weights are small.
const MANY_BITS: u32 = 14;

/// Scales planes of one pair of sizes.
#[derive(Debug, Default)]
struct PlaneScaler {
    across: Axis,
    down: Axis,
    /// A source row of the target's height: scaled down, not yet across.
    line: Vec<u8>,
    sums: Vec<u32>,
}

impl PlaneScaler {
    fn scale(
        &mut self,
        from: &[u8],
        from_px: (usize, usize),
        to: &mut [u8],
        to_px: (usize, usize),
    ) {
        if from_px == (2 * to_px.0, 2 * to_px.1) {
            halve(from, from_px.0, to, to_px.0);
            return;
        }
        self.across.prepare(from_px.0, to_px.0);
        self.down.prepare(from_px.1, to_px.1);
        self.line.resize(from_px.0, 0);
        self.sums.resize(from_px.0, 0);
        for (index, target) in to.chunks_exact_mut(to_px.0).enumerate() {
            let (first, weights) = self.down.taps_of(index);
            let rows = &from[first * from_px.0..];
            match *weights {
                // One row or column has nowhere else to look.
                [_] => self.line.copy_from_slice(&rows[..from_px.0]),
                [a, b] => blend([a, b], rows, &mut self.line),
                [a, b, c] => blend([a, b, c], rows, &mut self.line),
                [a, b, c, d] => blend([a, b, c, d], rows, &mut self.line),
                [a, b, c, d, e] => blend([a, b, c, d, e], rows, &mut self.line),
                _ => blend_many(weights, rows, &mut self.sums, &mut self.line),
            }
            match self.across.taps {
                2 => filter::<2>(&self.across, &self.line, target),
                3 => filter::<3>(&self.across, &self.line, target),
                4 => filter::<4>(&self.across, &self.line, target),
                5 => filter::<5>(&self.across, &self.line, target),
                _ => filter_many(&self.across, &self.line, target),
            }
        }
    }
}

/// Averages squares of four samples.
fn halve(from: &[u8], from_width: usize, to: &mut [u8], to_width: usize) {
    let rows = from.chunks_exact(2 * from_width);
    for (pair, target) in rows.zip(to.chunks_exact_mut(to_width)) {
        let (upper, lower) = pair.split_at(from_width);
        let squares = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for ((upper, lower), sample) in squares.zip(target) {
            let sum = |pair: &[u8]| u16::from(pair[0]) + u16::from(pair[1]);
            *sample = ((sum(upper) + sum(lower) + 2) >> 2) as u8;
        }
    }
}

/// The weighted sum of the first `TAPS` rows.
fn blend<const TAPS: usize>(weights: [u16; TAPS], rows: &[u8], out: &mut [u8]) {
    let width = out.len();
    let rows: [&[u8]; TAPS] = std::array::from_fn(|tap| &rows[tap * width..][..width]);
    for (x, sample) in out.iter_mut().enumerate() {
        let mut sum = 1_u16 << (FEW_BITS - 1);
        for tap in 0..TAPS {
            // At most 256 * 255 + 128. A check for overflow would keep it from being SIMD.
            sum = weights[tap]
                .wrapping_mul(u16::from(rows[tap][x]))
                .wrapping_add(sum);
        }
        *sample = (sum >> FEW_BITS) as u8;
    }
}

fn blend_many(weights: &[u16], rows: &[u8], sums: &mut [u32], out: &mut [u8]) {
    sums.fill(1 << (MANY_BITS - 1));
    for (weight, row) in weights.iter().zip(rows.chunks_exact(out.len())) {
        for (sum, sample) in sums.iter_mut().zip(row) {
            *sum += u32::from(*weight) * u32::from(*sample);
        }
    }
    for (sample, sum) in out.iter_mut().zip(sums) {
        *sample = (*sum >> MANY_BITS) as u8;
    }
}

/// Filters a row across.
fn filter<const TAPS: usize>(axis: &Axis, line: &[u8], out: &mut [u8]) {
    let weights = axis.weights.as_chunks::<TAPS>().0;
    for ((sample, first), weights) in out.iter_mut().zip(&axis.firsts).zip(weights) {
        let window = &line[*first as usize..][..TAPS];
        let mut sum = 1_u32 << (FEW_BITS - 1);
        for tap in 0..TAPS {
            let product = u32::from(weights[tap]) * u32::from(window[tap]);
            sum = product.wrapping_add(sum);
        }
        *sample = (sum >> FEW_BITS) as u8;
    }
}

fn filter_many(axis: &Axis, line: &[u8], out: &mut [u8]) {
    for (index, sample) in out.iter_mut().enumerate() {
        let (first, weights) = axis.taps_of(index);
        let products = weights
            .iter()
            .zip(&line[first..])
            .map(|(weight, sample)| u32::from(*weight) * u32::from(*sample));
        let half = 1 << (axis.bits() - 1);
        *sample = ((half + products.sum::<u32>()) >> axis.bits()) as u8;
    }
}

/// Where the samples of a target row or column come from.
#[derive(Debug, Default)]
struct Axis {
    from: usize,
    to: usize,
    /// Source samples per target sample.
    taps: usize,
    /// The first of them, per target sample; all lie within the source.
    firsts: Vec<u32>,
    /// `taps` per target sample; they sum up to one shifted by [`Self::bits`].
    weights: Vec<u16>,
}

impl Axis {
    fn prepare(&mut self, from: usize, to: usize) {
        if (self.from, self.to) == (from, to) {
            return;
        }
        let ratio = from as f64 / to as f64;
        let reach = ratio.max(1.0);
        // The open interval of twice the reach holds at most this many sample centres.
        let taps = ((2.0 * reach).ceil() as usize).min(from);
        (self.from, self.to, self.taps) = (from, to, taps);
        self.firsts.clear();
        self.weights.clear();
        let mut exact = vec![0.0; taps];
        for index in 0..to {
            let centre = (index as f64 + 0.5) * ratio;
            let first = (centre - reach + 0.5).floor().max(0.0) as usize;
            let first = first.min(from - taps);
            for (tap, weight) in exact.iter_mut().enumerate() {
                let distance = ((first + tap) as f64 + 0.5 - centre).abs() / reach;
                *weight = (1.0 - distance).max(0.0);
            }
            let one = 1 << self.bits();
            let scale = f64::from(one) / exact.iter().sum::<f64>();
            let start = self.weights.len();
            let rounded = exact.iter().map(|weight| (weight * scale).round() as u16);
            self.weights.extend(rounded);
            let weights = &mut self.weights[start..];
            // What rounding left over goes where it matters least.
            let sum: i32 = weights.iter().map(|weight| i32::from(*weight)).sum();
            if let Some(largest) = weights.iter_mut().max() {
                *largest = (i32::from(*largest) + one - sum) as u16;
            }
            self.firsts.push(first as u32);
        }
    }

    fn bits(&self) -> u32 {
        if self.taps <= FEW_TAPS {
            FEW_BITS
        } else {
            MANY_BITS
        }
    }

    fn taps_of(&self, index: usize) -> (usize, &[u16]) {
        let weights = &self.weights[index * self.taps..][..self.taps];
        (self.firsts[index] as usize, weights)
    }
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

    #[test]
    fn every_ratio_keeps_flat_planes_flat_and_ramps_straight() {
        let mut scaler = Scaler::new();
        let (width, height) = (192_u32, 108_u32);
        let mut data = vec![77; I420Frame::data_len(width, height)];
        for (at, sample) in data[..(width * height) as usize].iter_mut().enumerate() {
            *sample = 20 + (at as u32 % width) as u8;
        }
        let frame = I420Frame::new(width, height, data, Instant::now()).unwrap();
        let sizes = [
            (96, 54),
            (144, 82),
            (191, 107),
            (48, 27),
            (1, 1),
            (2, 3),
            (400, 300),
        ];
        for (to_width, to_height) in sizes {
            let scaled = scaler.resize(&frame, to_width, to_height);
            assert!(
                scaled
                    .u()
                    .iter()
                    .chain(scaled.v())
                    .all(|sample| *sample == 77)
            );
            for (at, sample) in scaled.y().iter().enumerate() {
                let x = (at as u32 % to_width) as f64 + 0.5;
                let want = 19.5 + x * f64::from(width) / f64::from(to_width);
                let is_inside = (3.0..f64::from(to_width) - 3.0).contains(&x);
                let error = (f64::from(*sample) - want).abs();
                assert!(
                    !is_inside || error <= 1.0,
                    "{to_width}: {sample} for {want}"
                );
            }
        }
    }
}
