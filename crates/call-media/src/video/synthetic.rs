//! A moving picture that needs no camera: a drifting soft gradient, a disc on an orbit, and a
//! [`mark`] in the bottom band. Colours come from a seed, so that two members look different.

use std::time::{Duration, Instant};

use super::capture::{CaptureError, VideoSource};
pub use super::mark::{self, Mark, now_us, read_mark};
use crate::frame::I420Frame;
use crate::pool::FramePool;

/// Draws the picture number `frame` of a pattern; a pure function of its arguments.
#[derive(Clone, Debug)]
pub struct Pattern {
    width: u32,
    height: u32,
    /// Chroma of the background's two ends and of the disc, as (u, v).
    background: [(u8, u8); 2],
    disc: (u8, u8, u8),
}

impl Pattern {
    /// A pattern of this size. Sides are clamped to what a picture may have.
    pub fn new(width: u32, height: u32, seed: u64) -> Self {
        let clamp = |side: u32| side.clamp(2, call_protocol::limits::PICTURE_PX);
        // The golden ratio spreads consecutive seeds over the colour circle.
        let turn = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1 << 24) as f64;
        let chroma = |turn: f64, strength: f64| {
            let (sin, cos) = (turn * std::f64::consts::TAU).sin_cos();
            (
                (128.0 + strength * cos) as u8,
                (128.0 + strength * sin) as u8,
            )
        };
        let disc = chroma(turn + 0.5, 70.0);
        Self {
            width: clamp(width),
            height: clamp(height),
            background: [chroma(turn, 38.0), chroma(turn + 0.12, 38.0)],
            disc: (200, disc.0, disc.1),
        }
    }

    /// Draws one picture. `fps` sets how far things move from one frame to the next.
    pub fn draw(&self, frame: u32, fps: u32, captured_us: u64, captured_at: Instant) -> I420Frame {
        self.draw_with(&mut Canvas::default(), frame, fps, captured_us, captured_at)
    }

    /// As [`Self::draw`], with memory that is used again.
    pub fn draw_with(
        &self,
        canvas: &mut Canvas,
        frame: u32,
        fps: u32,
        captured_us: u64,
        captured_at: Instant,
    ) -> I420Frame {
        let Canvas {
            pool,
            across,
            down,
            mix,
        } = canvas;
        let seconds = f64::from(frame) / f64::from(fps.max(1));
        // Sums of one wave across and one wave down: soft, cheap, and different everywhere.
        wave(across, self.width, 1.0, seconds * 0.20, 28.0);
        wave(down, self.height, 0.7, seconds * -0.13, 24.0);
        wave(mix, self.width.div_ceil(2), 0.5, seconds * 0.10, 128.0);
        let fill = |data: &mut [u8]| {
            self.paint(data, seconds, across, down, mix);
            let mark = Mark { frame, captured_us };
            mark::draw(data, self.width, self.height, mark);
        };
        pool.frame(self.width, self.height, captured_at, fill)
            .expect("invariant: sides are clamped")
    }

    /// Writes all planes.
    fn paint(&self, data: &mut [u8], seconds: f64, across: &[i16], down: &[i16], mix: &[i16]) {
        let (width, height) = (self.width as usize, self.height as usize);
        let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
        let (luma, chroma) = data.split_at_mut(width * height);
        let (u, v) = chroma.split_at_mut(chroma_width * chroma_height);
        for (row, down) in luma.chunks_exact_mut(width).zip(down) {
            for (pixel, across) in row.iter_mut().zip(across) {
                *pixel = (110 + across + down) as u8;
            }
        }
        let blend = |ends: (u8, u8), mix: i16| {
            let share = i32::from(mix) + 128;
            ((i32::from(ends.0) * (256 - share) + i32::from(ends.1) * share) / 256) as u8
        };
        let [first, second] = self.background;
        for (plane, ends) in [
            (&mut *u, (first.0, second.0)),
            (&mut *v, (first.1, second.1)),
        ] {
            let (line, rest) = plane.split_at_mut(chroma_width);
            for (sample, mix) in line.iter_mut().zip(mix) {
                *sample = blend(ends, *mix);
            }
            rest.chunks_exact_mut(chroma_width)
                .for_each(|row| row.copy_from_slice(line));
        }

        let (sin, cos) = (seconds * 1.7).sin_cos();
        let center = (
            width as f64 * (0.5 + 0.3 * cos),
            height as f64 * (0.42 + 0.22 * sin),
        );
        let radius = width.min(height) as f64 * 0.13;
        fill_disc(luma, width, center, radius, self.disc.0);
        let half = (center.0 / 2.0, center.1 / 2.0);
        fill_disc(u, chroma_width, half, radius / 2.0, self.disc.1);
        fill_disc(v, chroma_width, half, radius / 2.0, self.disc.2);
    }
}

/// Memory for drawing patterns: pictures nobody holds any more, and waves.
#[derive(Debug, Default)]
pub struct Canvas {
    pool: FramePool,
    across: Vec<i16>,
    down: Vec<i16>,
    mix: Vec<i16>,
}

fn wave(out: &mut Vec<i16>, len: u32, periods: f64, phase: f64, strength: f64) {
    out.clear();
    out.extend((0..len).map(|i| {
        let turn = periods * f64::from(i) / f64::from(len) + phase;
        (strength * (turn * std::f64::consts::TAU).sin()) as i16
    }));
}

fn fill_disc(plane: &mut [u8], width: usize, center: (f64, f64), radius: f64, value: u8) {
    for (y, row) in plane.chunks_exact_mut(width).enumerate() {
        let dy = y as f64 + 0.5 - center.1;
        let half_chord = (radius * radius - dy * dy).max(0.0).sqrt();
        let start = (center.0 - half_chord).round().clamp(0.0, width as f64) as usize;
        let end = (center.0 + half_chord).round().clamp(0.0, width as f64) as usize;
        if start < end {
            row[start..end].fill(value);
        }
    }
}

/// A [`Pattern`] in real time. Frame numbers count up from 0 without gaps; when the thread falls
/// behind, the schedule moves instead of catching up.
pub struct PatternSource {
    pattern: Pattern,
    fps: u32,
    canvas: Canvas,
    next_frame: u32,
    next_at: Instant,
}

impl PatternSource {
    /// Starts now. `fps` is clamped to 1..=60.
    pub fn new(width: u32, height: u32, fps: u32, seed: u64) -> Self {
        let pattern = Pattern::new(width, height, seed);
        Self {
            pattern,
            fps: fps.clamp(1, 60),
            canvas: Canvas::default(),
            next_frame: 0,
            next_at: Instant::now(),
        }
    }
}

impl VideoSource for PatternSource {
    fn next_frame(&mut self) -> Result<I420Frame, CaptureError> {
        wait_for(&mut self.next_at, self.fps);
        let (pattern, canvas) = (&self.pattern, &mut self.canvas);
        let now = Instant::now();
        let frame = pattern.draw_with(canvas, self.next_frame, self.fps, now_us(), now);
        self.next_frame = self.next_frame.wrapping_add(1);
        Ok(frame)
    }
}

/// Waits for the due time and moves it on by one frame, or to now when that has passed.
pub(super) fn wait_for(next_at: &mut Instant, fps: u32) {
    let interval = Duration::from_secs(1) / fps.max(1);
    let now = Instant::now();
    if let Some(wait) = next_at.checked_duration_since(now) {
        std::thread::sleep(wait);
    } else if now.duration_since(*next_at) > interval {
        *next_at = now;
    }
    *next_at += interval;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_move_carry_their_number_and_differ_by_seed() {
        let now = Instant::now();
        let pattern = Pattern::new(320, 180, 1);
        let first = pattern.draw(7, 30, 1234, now);
        let later = pattern.draw(8, 30, 5678, now);
        assert_eq!(
            read_mark(&first),
            Some(Mark {
                frame: 7,
                captured_us: 1234
            })
        );
        assert_eq!(
            read_mark(&later),
            Some(Mark {
                frame: 8,
                captured_us: 5678
            })
        );
        let above_mark = 320 * 140;
        assert_ne!(first.y()[..above_mark], later.y()[..above_mark]);
        let other = Pattern::new(320, 180, 2).draw(7, 30, 1234, now);
        assert_eq!(first.y(), other.y());
        assert_ne!(first.u(), other.u());
    }

    #[test]
    fn every_allowed_size_can_be_drawn() {
        for (width, height) in [(16, 16), (17, 33), (4096, 16), (16, 4096), (0, 0)] {
            let frame = Pattern::new(width, height, 3).draw(u32::MAX, 60, 0, Instant::now());
            assert!(frame.width() >= 2 && frame.height() >= 2);
        }
    }

    #[test]
    fn the_source_numbers_frames_without_gaps() {
        let mut source = PatternSource::new(128, 64, 60, 0);
        for number in 0..5 {
            let frame = source.next_frame().unwrap();
            assert_eq!(read_mark(&frame).unwrap().frame, number);
        }
    }
}
