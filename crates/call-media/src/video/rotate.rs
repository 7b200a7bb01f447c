//! Turning pictures upright.
//!
//! Deliberately not here: how a device is mounted ([`super::camera`] asks the driver).

use crate::frame::I420Frame;
use crate::pool::FramePool;

/// How far a picture must be turned clockwise to stand upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// It stands upright.
    #[default]
    None,
    /// A quarter turn.
    Clockwise90,
    /// Half a turn.
    Half,
    /// A quarter turn the other way.
    Clockwise270,
}

impl Rotation {
    /// The rotation of this many degrees clockwise, any multiple of 90; `None` for other angles.
    pub fn from_degrees(degrees: i64) -> Option<Self> {
        match degrees.rem_euclid(360) {
            0 => Some(Self::None),
            90 => Some(Self::Clockwise90),
            180 => Some(Self::Half),
            270 => Some(Self::Clockwise270),
            _ => None,
        }
    }
}

/// Turns pictures; keeps the memory of those nobody holds any more.
#[derive(Debug, Default)]
pub struct Rotator {
    pool: FramePool,
}

impl Rotator {
    /// The picture turned clockwise. One that stands upright is passed on unchanged.
    pub fn rotate(&mut self, frame: &I420Frame, rotation: Rotation) -> I420Frame {
        if rotation == Rotation::None {
            return frame.clone();
        }
        let (width, height) = match rotation {
            Rotation::None | Rotation::Half => (frame.width(), frame.height()),
            Rotation::Clockwise90 | Rotation::Clockwise270 => (frame.height(), frame.width()),
        };
        let fill = |data: &mut [u8]| {
            let (y, chroma) = data.split_at_mut(frame.y().len());
            let (u, v) = chroma.split_at_mut(frame.u().len());
            plane(frame.y(), frame.width(), y, rotation);
            plane(frame.u(), frame.chroma_width(), u, rotation);
            plane(frame.v(), frame.chroma_width(), v, rotation);
        };
        self.pool
            .frame(width, height, frame.captured_at, fill)
            .expect("invariant: the sides are those of a picture")
    }
}

/// Side of the squares a quarter turn is done in: source and target of one fit the first cache.
const TILE: usize = 32;

fn plane(from: &[u8], from_width: u32, to: &mut [u8], rotation: Rotation) {
    let width = from_width as usize;
    let height = from.len() / width;
    if rotation == Rotation::Half {
        for (sample, source) in to.iter_mut().zip(from.iter().rev()) {
            *sample = *source;
        }
        return;
    }
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for row in top..height.min(top + TILE) {
                for column in left..width.min(left + TILE) {
                    let target = match rotation {
                        Rotation::Clockwise90 => column * height + (height - 1 - row),
                        _ => (width - 1 - column) * height + row,
                    };
                    to[target] = from[row * width + column];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn corners_go_where_they_belong_and_four_turns_are_none() {
        let (width, height) = (70_u32, 39_u32);
        let data: Vec<u8> = (0..I420Frame::data_len(width, height))
            .map(|index| (index * 7 % 251) as u8)
            .collect();
        let frame = I420Frame::new(width, height, data, Instant::now()).unwrap();
        let mut rotator = Rotator::default();
        let quarter = rotator.rotate(&frame, Rotation::Clockwise90);
        assert_eq!((quarter.width(), quarter.height()), (height, width));
        // The upper left corner comes to the upper right one.
        assert_eq!(quarter.y()[height as usize - 1], frame.y()[0]);
        let half = rotator.rotate(&frame, Rotation::Half);
        assert_eq!(half.y().last(), frame.y().first());
        let twice = rotator.rotate(&quarter, Rotation::Clockwise90);
        assert_eq!(twice.data(), half.data());
        let back = rotator.rotate(&quarter, Rotation::Clockwise270);
        assert_eq!(back.data(), frame.data());
        assert_eq!(Rotation::from_degrees(-90), Some(Rotation::Clockwise270));
        assert_eq!(Rotation::from_degrees(45), None);
    }
}
