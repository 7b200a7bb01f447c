//! A machine-readable mark in a picture: frame number and capture time as black and white blocks,
//! so that a receiver can count frames and measure latency from pixels alone.
//!
//! Geometry, relative to the picture so that it survives scaling: the bottom 3/16 of the height
//! over the full width, as 3 rows of 32 equal cells (a cell is 1/32 of the width and 1/16 of the
//! height). Cells are read left to right, top to bottom; a bright cell is a 1. The 96 bits are,
//! most significant first:
//!
//! ```text
//! bits  0..32  frame number
//! bits 32..80  capture time in µs since the Unix epoch, modulo 2^48
//! bits 80..96  CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xffff) of the ten bytes before
//! ```
//!
//! A reader averages the middle half of every cell, and takes the midpoint between the darkest
//! and the brightest cell as threshold. Cells are drawn at luma 48 and 208 with neutral chroma:
//! less than full contrast costs an encoder fewer bits and leaves room for its ringing.
//!
//! The smallest picture a mark can be read from is 64x32 pixels, and [`draw`] refuses smaller
//! ones; the mark survives all codecs at 100 kbit/s in 320x180 and scaling by 1/4 after that.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::frame::I420Frame;

const COLUMNS: usize = 32;
const ROWS: usize = 3;
/// Cells a picture is high.
const CELLS_HIGH: usize = 16;
const DARK: u8 = 48;
const BRIGHT: u8 = 208;
/// Least difference between the darkest and the brightest cell.
const MIN_CONTRAST: u32 = 60;
/// The capture time wraps here.
pub const CAPTURED_US_MODULUS: u64 = 1 << 48;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Number of the frame, counted by its source.
    pub frame: u32,
    /// Capture time in µs since the Unix epoch, modulo [`CAPTURED_US_MODULUS`].
    pub captured_us: u64,
}

impl Mark {
    /// How long before `now_us` the picture was taken, in µs; both clocks modulo
    /// [`CAPTURED_US_MODULUS`]. Values in the upper half mean the clocks disagree.
    pub fn age_us(&self, now_us: u64) -> u64 {
        now_us.wrapping_sub(self.captured_us) % CAPTURED_US_MODULUS
    }

    fn to_bits(self) -> u128 {
        let payload =
            u128::from(self.frame) << 48 | u128::from(self.captured_us % CAPTURED_US_MODULUS);
        payload << 16 | u128::from(crc16(payload))
    }

    fn from_bits(bits: u128) -> Option<Self> {
        let payload = bits >> 16;
        (u128::from(crc16(payload)) == bits & 0xffff).then_some(Self {
            frame: (payload >> 48) as u32,
            captured_us: (payload as u64) % CAPTURED_US_MODULUS,
        })
    }
}

/// The clock of marks: µs since the Unix epoch, modulo [`CAPTURED_US_MODULUS`]. Comparable between
/// processes of one machine.
pub fn now_us() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (since_epoch.as_micros() % u128::from(CAPTURED_US_MODULUS)) as u64
}

/// Whether a picture of this size can carry a mark.
pub fn fits(width: u32, height: u32) -> bool {
    width >= 64 && height >= 32
}

/// Draws a mark into the planes of a picture (layout of [`I420Frame::data`]). Does nothing when the
/// picture is too small, see [`fits`], or `data` is too short.
pub fn draw(data: &mut [u8], width: u32, height: u32, mark: Mark) {
    if !fits(width, height) || data.len() < I420Frame::data_len(width, height) {
        return;
    }
    let bits = mark.to_bits();
    let (width, height) = (width as usize, height as usize);
    let (luma, chroma) = data.split_at_mut(width * height);
    for row in 0..ROWS {
        let lines = row_edge(height, row)..row_edge(height, row + 1);
        for line in luma[lines.start * width..lines.end * width].chunks_exact_mut(width) {
            for column in 0..COLUMNS {
                let is_one = bits >> (COLUMNS * ROWS - 1 - row * COLUMNS - column) & 1 == 1;
                let cell = column * width / COLUMNS..(column + 1) * width / COLUMNS;
                line[cell].fill(if is_one { BRIGHT } else { DARK });
            }
        }
    }
    let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
    let first = row_edge(height, 0) / 2 * chroma_width;
    for plane in chroma.chunks_exact_mut(chroma_width * chroma_height) {
        plane[first..].fill(128);
    }
}

/// The first line of a row of cells; `row == ROWS` is the end of the picture.
fn row_edge(height: usize, row: usize) -> usize {
    (CELLS_HIGH - ROWS + row) * height / CELLS_HIGH
}

/// Reads the mark of a picture. `None` when there is none or it does not check.
pub fn read_mark(frame: &I420Frame) -> Option<Mark> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    if width < COLUMNS || height < CELLS_HIGH {
        return None;
    }
    let luma = frame.y();
    let mut cells = [0_u32; COLUMNS * ROWS];
    for (index, cell) in cells.iter_mut().enumerate() {
        let xs = middle_half(width, COLUMNS, index % COLUMNS);
        let ys = middle_half(height, CELLS_HIGH, CELLS_HIGH - ROWS + index / COLUMNS);
        let count = (xs.len() * ys.len()) as u32;
        let sum: u32 = ys
            .map(|y| {
                luma[y * width..][xs.clone()]
                    .iter()
                    .map(|p| u32::from(*p))
                    .sum::<u32>()
            })
            .sum();
        *cell = sum / count;
    }
    let (darkest, brightest) = (*cells.iter().min()?, *cells.iter().max()?);
    if brightest - darkest < MIN_CONTRAST {
        return None;
    }
    let threshold = (darkest + brightest) / 2;
    let bits = cells.iter().fold(0_u128, |bits, cell| {
        bits << 1 | u128::from(*cell > threshold)
    });
    Mark::from_bits(bits)
}

/// The pixels of the middle half of cell `index` of `cells` along a side; at least one.
fn middle_half(side: usize, cells: usize, index: usize) -> std::ops::Range<usize> {
    let start = (4 * index + 1) * side / (4 * cells);
    let end = ((4 * index + 3) * side).div_ceil(4 * cells);
    start..end.max(start + 1).min(side)
}

fn crc16(payload: u128) -> u16 {
    payload.to_be_bytes()[6..]
        .iter()
        .fold(0xffff, |mut crc: u16, byte| {
            crc ^= u16::from(*byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 != 0 {
                    crc << 1 ^ 0x1021
                } else {
                    crc << 1
                };
            }
            crc
        })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::video::scale::Scaler;

    fn marked(width: u32, height: u32, mark: Mark) -> I420Frame {
        let mut data = I420Frame::black(width, height, Instant::now())
            .data()
            .to_vec();
        draw(&mut data, width, height, mark);
        I420Frame::new(width, height, data, Instant::now()).unwrap()
    }

    #[test]
    fn checksum_matches_the_standard_check_value_method() {
        // CRC-16/CCITT-FALSE of ten zero bytes.
        assert_eq!(crc16(0), 0xe139);
    }

    #[test]
    fn marks_survive_any_size_and_scaling() {
        let mark = Mark {
            frame: 0x8123_4567,
            captured_us: 0xfedc_ba98_7654,
        };
        for (width, height) in [(320, 180), (640, 360), (321, 181), (1280, 720), (180, 320)] {
            let frame = marked(width, height, mark);
            assert_eq!(read_mark(&frame), Some(mark), "{width}x{height}");
            for divisor in [2, 4] {
                let small = Scaler::new().resize(&frame, width / divisor, height / divisor);
                assert_eq!(
                    read_mark(&small),
                    Some(mark),
                    "{width}x{height} by {divisor}"
                );
            }
            let large = Scaler::new().resize(&frame, width * 2, height * 2);
            assert_eq!(read_mark(&large), Some(mark), "{width}x{height} doubled");
        }
    }

    #[test]
    fn no_mark_is_read_from_other_pictures() {
        assert_eq!(read_mark(&I420Frame::black(640, 360, Instant::now())), None);
        assert_eq!(read_mark(&I420Frame::black(3, 3, Instant::now())), None);
        let frame = marked(
            640,
            360,
            Mark {
                frame: 1,
                captured_us: 2,
            },
        );
        let mut data = frame.data().to_vec();
        // One flipped cell breaks the checksum.
        for line in data[..640 * 360].chunks_exact_mut(640).skip(293).take(20) {
            line[0..20].fill(BRIGHT);
        }
        assert_eq!(
            read_mark(&I420Frame::new(640, 360, data, Instant::now()).unwrap()),
            None
        );
    }

    #[test]
    fn age_wraps() {
        let mark = Mark {
            frame: 0,
            captured_us: CAPTURED_US_MODULUS - 10,
        };
        assert_eq!(mark.age_us(5), 15);
    }
}
