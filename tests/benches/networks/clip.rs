//! What cameras and microphones play: a file of pictures, each with its number, and a file of sound.
//! What is shown of it is compared with what was played.

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use call_lab::score::chirps;
use call_lab::score::picture::ssim;
use call_media::audio::WavWriter;
use call_media::frame::I420Frame;
use call_media::video::scale::Scaler;
use call_media::video::synthetic::{Pattern, read_mark};
use call_media::video::y4m::Y4mWriter;
use tempfile::TempDir;
use visavis_tests::support::recording::luma;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 360;
const FPS: u32 = 15;
/// Ten seconds, over and over.
const PICTURES: u32 = 150;
const SEED: u64 = 7;

/// See the [module documentation](self).
pub(crate) struct Clip {
    directory: TempDir,
    pattern: Pattern,
}

impl Clip {
    /// # Panics
    /// When the files cannot be written.
    pub(crate) fn make() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let pattern = Pattern::new(WIDTH, HEIGHT, SEED);
        let clip = Self { directory, pattern };
        let file = File::create(clip.pictures()).expect("a file can be made");
        let mut y4m = Y4mWriter::new(file, WIDTH, HEIGHT, FPS).expect("a header can be written");
        for number in 0..PICTURES {
            let picture = clip.picture(number);
            y4m.write(&picture).expect("a picture can be written");
        }
        y4m.flush().expect("pictures can be written");
        let mut wav = WavWriter::create(&clip.sound()).expect("a file can be made");
        wav.write(&chirps::train(25)).expect("sound can be written");
        wav.finish().expect("a file can be finished");
        clip
    }

    pub(crate) fn pictures(&self) -> PathBuf {
        self.directory.path().join("clip.y4m")
    }

    pub(crate) fn sound(&self) -> PathBuf {
        self.directory.path().join("clip.wav")
    }

    fn picture(&self, number: u32) -> I420Frame {
        let captured_us = u64::from(number) * 1_000_000 / u64::from(FPS);
        self.pattern.draw(number, FPS, captured_us, Instant::now())
    }

    /// Structural similarity of what is shown, enlarged to the size that was played, with what was
    /// played under its number; `None` where it has none that can be read.
    pub(crate) fn ssim(&self, shown: &I420Frame) -> Option<f64> {
        let number = read_mark(shown)?.frame;
        let shown = Scaler::new().resize(shown, WIDTH, HEIGHT);
        ssim(&luma(&self.picture(number)), &luma(&shown))
    }
}
