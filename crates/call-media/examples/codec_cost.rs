//! Encode cost, decode cost and quality of the codecs, side by side; the figures in
//! `docs/media.md` come from here:
//! `cargo run --release -p call-media --example codec_cost`
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use call_media::frame::I420Frame;
use call_media::video::codec::{EncoderConfig, new_decoder, new_encoder};
use call_media::video::synthetic::Pattern;
use call_protocol::VideoCodec;

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const FPS: u32 = 30;
const BITRATES_BPS: [u32; 2] = [1_200_000, 400_000];
const FRAMES: u32 = 150;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{WIDTH}x{HEIGHT} at {FPS} fps; times are wall clock on one thread");
    println!(
        "content    codec  target  enc ms  p95 ms  dec ms  kbit/s  frames  PSNR-Y dB  key bytes"
    );
    for bitrate_bps in BITRATES_BPS {
        for content in ["synthetic", "webcam"] {
            for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264] {
                measure(content, codec, bitrate_bps)?;
            }
        }
    }
    Ok(())
}

fn measure(
    content: &str,
    codec: VideoCodec,
    bitrate_bps: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    let config = EncoderConfig {
        width: WIDTH,
        height: HEIGHT,
        fps: FPS,
        bitrate_bps,
        ..EncoderConfig::default()
    };
    let mut encoder = new_encoder(codec, config)?;
    let mut decoder = new_decoder(codec)?;
    let pattern = Pattern::new(WIDTH, HEIGHT, 7);
    let start = Instant::now();
    let mut encode_ms = Vec::new();
    let (mut decode_ms, mut bytes, mut psnr_sum, mut key_bytes) = (0.0, 0, 0.0, 0);
    let mut shown = 0_u32;
    for number in 0..FRAMES {
        let captured_at = start + Duration::from_secs(1) * number / FPS;
        let picture = pattern.draw(number, FPS, 0, captured_at);
        let picture = if content == "webcam" {
            webcam(&picture, number)
        } else {
            picture
        };
        let begin = Instant::now();
        let frame = encoder.encode(&picture, false)?;
        encode_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        let Some(frame) = frame else { continue };
        bytes += frame.data.len();
        if frame.keyframe {
            key_bytes = frame.data.len();
        }
        let begin = Instant::now();
        if let Some(decoded) = decoder.decode(&frame.data)? {
            decode_ms += begin.elapsed().as_secs_f64() * 1e3;
            psnr_sum += psnr_db(picture.y(), decoded.y());
            shown += 1;
        }
    }
    encode_ms.sort_by(f64::total_cmp);
    let shown_f = f64::from(shown.max(1));
    println!(
        "{content:10} {:5} {:7} {:7.2} {:7.2} {:7.2} {:7.0} {shown:7} {:10.2} {key_bytes:10}",
        format!("{codec:?}"),
        bitrate_bps / 1000,
        encode_ms.iter().sum::<f64>() / encode_ms.len() as f64,
        encode_ms[encode_ms.len() * 95 / 100],
        decode_ms / shown_f,
        bytes as f64 * 8.0 / 1000.0 / (f64::from(FRAMES) / f64::from(FPS)),
        psnr_sum / shown_f,
    );
    Ok(())
}

/// Fixed texture (a background with detail), soft edges, and sensor noise that differs in every
/// frame.
fn webcam(frame: &I420Frame, number: u32) -> I420Frame {
    let width = frame.width() as usize;
    let luma = frame.y().len();
    let mut data = frame.data().to_vec();
    let mut noise = number.wrapping_mul(0x9e37_79b9) | 1;
    for (index, sample) in data[..luma].iter_mut().enumerate() {
        let (x, y) = (index % width, index / width);
        let detail = if x / 9 % 5 == y / 7 % 4 { 14 } else { 0 } + (x * y / 64 % 11) as i32;
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        // The sum of two dice is closer to sensor noise than one.
        let grain = (noise & 3) as i32 + (noise >> 8 & 3) as i32 - 3;
        *sample = (i32::from(*sample) + detail + grain).clamp(16, 235) as u8;
    }
    I420Frame::new(frame.width(), frame.height(), data, frame.captured_at)
        .unwrap_or_else(|| frame.clone())
}

fn psnr_db(a: &[u8], b: &[u8]) -> f64 {
    let squares: u64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
        .sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / (squares as f64).max(1e-9)).log10()
}
