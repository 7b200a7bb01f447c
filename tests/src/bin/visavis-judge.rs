//! Judges a recording made by `visavis-headless --record`: are there moving pictures, is there the
//! tone? Prints one JSON line and exits 0 or 1. Used where the test binary itself cannot look,
//! inside the device VM.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use call_media::audio::{SAMPLE_RATE_HZ, tone_strength};
use call_media::video::y4m::Y4mReader;
use clap::{Parser, Subcommand};
use serde_json::json;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(Subcommand)]
enum Question {
    /// Whether a .y4m file holds enough different, structured pictures.
    Pictures {
        file: PathBuf,
        /// Pictures that differ from the one before.
        #[arg(long)]
        at_least: usize,
        /// Leave out what the file already held when it had this size
        #[arg(long, default_value_t = 0)]
        since_bytes: u64,
    },
    /// Whether a .wav file holds a tone for some time.
    Tone {
        file: PathBuf,
        #[arg(long)]
        hz: f32,
        /// Seconds in which the tone dominates.
        #[arg(long)]
        seconds: usize,
        /// Leave out what the file already held when it had this size
        #[arg(long, default_value_t = 0)]
        since_bytes: u64,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let good = match Args::parse().question {
        Question::Pictures {
            file,
            at_least,
            since_bytes,
        } => pictures(&file, at_least, since_bytes)?,
        Question::Tone {
            file,
            hz,
            seconds,
            since_bytes,
        } => tone(&file, hz, seconds, since_bytes)?,
    };
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A picture counts when it has structure (its luma spreads) and differs from the one before.
#[allow(clippy::print_stdout)]
fn pictures(file: &Path, at_least: usize, since_bytes: u64) -> anyhow::Result<bool> {
    let mut different = 0;
    let mut total = 0;
    let mut size = (0, 0);
    let mut before: Option<Vec<u8>> = None;
    let mut recording = Y4mReader::open(file).context("not a y4m file")?;
    let mut read_bytes = 0;
    while let Some(frame) = recording.read_frame().context("a picture is cut short")? {
        // The header counts as part of the first picture, for the benefit of those before.
        read_bytes += (frame.data().len() + "FRAME\n".len()) as u64;
        if read_bytes <= since_bytes {
            continue;
        }
        let luma = frame.y();
        let mean = luma.iter().map(|&y| f64::from(y)).sum::<f64>() / luma.len() as f64;
        let spread = luma
            .iter()
            .map(|&y| (f64::from(y) - mean).powi(2))
            .sum::<f64>()
            / luma.len() as f64;
        let moved = before
            .as_ref()
            .is_none_or(|before| before.as_slice() != luma);
        total += 1;
        different += usize::from(spread > 100.0 && moved);
        size = (frame.width(), frame.height());
        before = Some(luma.to_vec());
    }
    let good = different >= at_least;
    println!(
        "{}",
        json!({"pictures": total, "different": different, "size": size, "good": good})
    );
    Ok(good)
}

/// Sound is judged in parts of 100 ms: short enough to fit between two gaps.
const PARTS_PER_SECOND: usize = 10;

#[allow(clippy::print_stdout)]
fn tone(file: &Path, hz: f32, seconds: usize, since_bytes: u64) -> anyhow::Result<bool> {
    let samples = recorded_samples(file, since_bytes)?;
    let parts: Vec<f32> = samples
        .chunks_exact(SAMPLE_RATE_HZ as usize / PARTS_PER_SECOND)
        .map(|part| tone_strength(part, hz))
        .collect();
    let strong = parts.iter().filter(|&&strength| strength > 0.5).count();
    let in_seconds = |parts: usize| parts as f64 / PARTS_PER_SECOND as f64;
    let good = strong >= seconds * PARTS_PER_SECOND;
    println!(
        "{}",
        json!({"seconds": in_seconds(parts.len()), "with_tone": in_seconds(strong), "good": good})
    );
    Ok(good)
}

/// The samples of a recording that may still be written to, so that its header says nothing: 48 kHz
/// mono PCM16 behind a header of 44 bytes.
fn recorded_samples(file: &Path, since_bytes: u64) -> anyhow::Result<Vec<f32>> {
    const HEADER_BYTES: u64 = 44;
    let bytes = std::fs::read(file)?;
    anyhow::ensure!(bytes.starts_with(b"RIFF"), "not a wav file");
    let from = usize::try_from(since_bytes.max(HEADER_BYTES) & !1)?;
    let samples = bytes.get(from..).unwrap_or_default().chunks_exact(2);
    Ok(samples
        .map(|sample| f32::from(i16::from_le_bytes([sample[0], sample[1]])) / 32_768.0)
        .collect())
}
