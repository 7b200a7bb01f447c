//! Judges recordings by their pixels and samples alone.

use std::path::Path;
use std::time::Instant;

use call_client::pattern_seed;
use call_lab::score::chirps::{self, ChirpScore};
use call_lab::score::picture::{Luma, PictureScore, PictureScorer};
use call_media::audio::{SAMPLE_RATE_HZ, WavWriter, read_wav, tone_strength};
use call_media::frame::I420Frame;
use call_media::video::synthetic::{Mark, Pattern, read_mark};
use call_media::video::y4m::Y4mReader;

/// What a recorded picture shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct PictureJudgement {
    /// Pictures in the file.
    pub pictures: u32,
    /// Pictures whose mark could be read.
    pub marked: u32,
    /// Frame numbers that came, each after a smaller one.
    pub in_order: u32,
    /// Frame numbers from the first to the last.
    pub span: u32,
    /// Mean chroma of the last picture above the mark.
    pub colour: (f64, f64),
    /// Width of the pictures.
    pub width: u32,
    /// Height of the pictures.
    pub height: u32,
}

impl PictureJudgement {
    /// Share of the frames sent between the first and the last recorded one that came in order.
    pub fn ratio(&self) -> f64 {
        f64::from(self.in_order) / f64::from(self.span.max(1))
    }
}

/// Pictures from one compared with the sent one to the next: comparing costs more than decoding.
const COMPARE_EVERY: u32 = 10;

/// Reads a recorded picture file.
///
/// # Panics
/// When it cannot be read.
pub fn judge_pictures(path: &Path) -> PictureJudgement {
    judge(path, |_, _| None).0
}

/// Reads a recorded picture file, and compares it with what its sender, a synthetic pattern, drew
/// under the same numbers.
///
/// # Panics
/// When it cannot be read.
pub fn score_pictures(path: &Path, sender: &str, fps: u32) -> (PictureJudgement, PictureScore) {
    let seed = pattern_seed(sender);
    let sent = |received: &I420Frame, mark: Mark| {
        let pattern = Pattern::new(received.width(), received.height(), seed);
        Some(pattern.draw(mark.frame, fps, mark.captured_us, Instant::now()))
    };
    judge(path, sent)
}

/// `sent` redraws what was sent for a received picture, where that is to be compared.
fn judge(
    path: &Path,
    sent: impl Fn(&I420Frame, Mark) -> Option<I420Frame>,
) -> (PictureJudgement, PictureScore) {
    let mut file = Y4mReader::open(path)
        .unwrap_or_else(|error| panic!("{} is a recording: {error}", path.display()));
    let (width, height) = file.size();
    let mut judgement = PictureJudgement {
        width,
        height,
        ..PictureJudgement::default()
    };
    let mut scorer = PictureScorer::default();
    let mut last = None;
    while let Some(picture) = file.read_frame().expect("a recorded picture is whole") {
        judgement.pictures += 1;
        if let Some(mark) = read_mark(&picture) {
            judgement.marked += 1;
            scorer.handle_number(mark.frame);
            if judgement.marked % COMPARE_EVERY == 1
                && let Some(sent) = sent(&picture, mark)
            {
                scorer.handle_pair(&luma(&sent), &luma(&picture));
            }
        }
        last = Some(picture);
    }
    let score = scorer.score();
    judgement.in_order = score.in_order;
    judgement.span = score.in_order + score.missing;
    judgement.colour = last.as_ref().map_or((0.0, 0.0), colour);
    (judgement, score)
}

/// A picture's luma, to be compared.
pub fn luma(picture: &I420Frame) -> Luma<'_> {
    Luma {
        samples: picture.y(),
        width: picture.width() as usize,
        height: picture.height() as usize,
    }
}

/// What was seen of a member in time, from the marks in the pictures.
#[derive(Clone, Copy, Debug, Default)]
pub struct PictureGaps {
    /// Pictures whose mark could be read.
    pub marked: u32,
    /// Longest time between the captures of two pictures that follow each other, in milliseconds.
    pub longest_ms: f64,
    /// When it began, in milliseconds after the first picture was captured.
    pub at_ms: f64,
    /// Pictures older than one before them.
    pub backwards: u32,
}

/// Reads a recorded picture file for its gaps.
///
/// # Panics
/// When it cannot be read.
pub fn picture_gaps(path: &Path) -> PictureGaps {
    picture_gaps_before(path, f64::INFINITY)
}

/// As [`picture_gaps`], of what was captured in the first `before_ms`.
///
/// # Panics
/// When it cannot be read.
pub fn picture_gaps_before(path: &Path, before_ms: f64) -> PictureGaps {
    let mut file = Y4mReader::open(path)
        .unwrap_or_else(|error| panic!("{} is a recording: {error}", path.display()));
    let mut gaps = PictureGaps::default();
    let mut first_us = None;
    let mut newest: Option<Mark> = None;
    while let Some(picture) = file.read_frame().expect("a recorded picture is whole") {
        let Some(mark) = read_mark(&picture) else {
            continue;
        };
        let first_us = *first_us.get_or_insert(mark.captured_us);
        if mark.captured_us.saturating_sub(first_us) as f64 / 1e3 > before_ms {
            break;
        }
        gaps.marked += 1;
        if let Some(before) = newest {
            if mark.frame < before.frame {
                gaps.backwards += 1;
                continue;
            }
            let gap_ms = (mark.captured_us as f64 - before.captured_us as f64) / 1e3;
            if gap_ms > gaps.longest_ms {
                gaps.longest_ms = gap_ms;
                gaps.at_ms = (before.captured_us - first_us) as f64 / 1e3;
            }
        }
        newest = Some(mark);
    }
    gaps
}

/// Writes a second of chirps as a file to be repeated, and gives it as a source of sound.
///
/// # Panics
/// When it cannot be written, or the path is no text.
pub fn chirp_file(directory: &Path) -> String {
    let path = directory.join("chirps.wav");
    let mut wav = WavWriter::create(&path).expect("a file can be made");
    let sound = chirps::train(25);
    assert_eq!(sound.len(), SAMPLE_RATE_HZ as usize);
    wav.write(&sound).expect("a file can be written");
    wav.finish().expect("a file can be finished");
    path.into_os_string()
        .into_string()
        .expect("test paths are text")
}

/// The longest gap in recorded sound that a member sent as a chirp train.
///
/// # Panics
/// When the file cannot be read or holds no chirps.
pub fn sound_gaps(path: &Path) -> ChirpScore {
    sound_gaps_before(path, f64::INFINITY)
}

/// As [`sound_gaps`], of the first `before_ms`.
///
/// # Panics
/// When the file cannot be read or holds no chirps.
pub fn sound_gaps_before(path: &Path, before_ms: f64) -> ChirpScore {
    let wav = read_wav(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(wav.rate_hz, SAMPLE_RATE_HZ);
    let samples =
        (before_ms / 1e3 * f64::from(SAMPLE_RATE_HZ)).min(wav.samples.len() as f64) as usize;
    chirps::score(&wav.samples[..samples])
        .unwrap_or_else(|| panic!("{} has no chirps", path.display()))
}

/// Mean chroma above the mark.
pub fn colour(picture: &I420Frame) -> (f64, f64) {
    let rows = (picture.chroma_height() * 3 / 4) as usize;
    let mean = |plane: &[u8]| {
        let above = &plane[..rows * picture.chroma_width() as usize];
        above.iter().map(|value| f64::from(*value)).sum::<f64>() / above.len().max(1) as f64
    };
    (mean(picture.u()), mean(picture.v()))
}

/// The colour of a member's synthetic picture.
pub fn colour_of(name: &str) -> (f64, f64) {
    let pattern = Pattern::new(320, 180, pattern_seed(name));
    colour(&pattern.draw(0, 30, 0, Instant::now()))
}

/// Whose picture has this colour.
///
/// # Panics
/// When no member's is close, or `names` is empty.
pub fn whose<'a>(seen: (f64, f64), names: &[&'a str]) -> &'a str {
    let distance = |name: &str| {
        let (u, v) = colour_of(name);
        (u - seen.0).hypot(v - seen.1)
    };
    let nearest = names
        .iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)));
    let nearest = nearest.expect("there are members");
    assert!(
        distance(nearest) < 20.0,
        "{seen:?} is nobody's colour, nearest {nearest}"
    );
    nearest
}

/// Share of the tone's energy in the recorded sound, without its first half second.
///
/// # Panics
/// When the file cannot be read or holds under a second.
pub fn judge_tone(path: &Path, hz: f32) -> f32 {
    let wav = read_wav(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(wav.rate_hz, SAMPLE_RATE_HZ);
    let loud = wav
        .samples
        .iter()
        .position(|sample| sample.abs() > 0.01)
        .unwrap_or(0);
    let heard = &wav.samples[loud..];
    let rate = SAMPLE_RATE_HZ as usize;
    assert!(
        heard.len() > rate,
        "only {} samples of sound in {}",
        heard.len(),
        path.display()
    );
    tone_strength(&heard[rate / 2..], hz)
}
