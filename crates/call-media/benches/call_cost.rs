//! What the engine adds to the bare codecs: processor time of one 720p30 picture and one voice,
//! encoded and decoded, through everything between pictures and packets, and through libvpx and
//! libopus called directly with the same settings and the same input. Rounds alternate, the
//! smallest of each kind counts. Prints a table; `cargo xtask bench` writes it to
//! `docs/benchmarks.md`.
#![allow(clippy::print_stdout)]

mod bare;

use std::time::{Duration, Instant};

use bytes::Bytes;
use call_media::audio::{
    AudioEncoder, AudioEncoderConfig, BLOCK_SAMPLES, FRAME_SAMPLES, Mixer, OpusEncoder,
};
use call_media::frame::I420Frame;
use call_media::video::codec::{EncoderConfig, VideoDecoder, new_decoder};
use call_media::video::layers::{EncodeSettings, LayerTarget, LayeredEncoder};
use call_media::video::rtp::{RtpVideoPacket, VideoAssembler, VideoPacketizer};
use call_media::video::scale::Scaler;
use call_media::video::synthetic::Pattern;
use call_protocol::{MemberId, VideoCodec};

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const FPS: u32 = 30;
/// Frames of a round: four seconds.
const FRAMES: u32 = 120;
const ROUNDS: u32 = 4;
const BITRATE_BPS: u32 = 1_200_000;
/// Different pictures; played forwards and backwards, so that no cut repeats.
const PICTURES: u32 = 30;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // cargo passes `--bench`, and test runners ask what there is.
    if std::env::args().any(|argument| argument == "--list") {
        return Ok(());
    }
    let pictures = pictures();
    let seconds = f64::from(FRAMES) / f64::from(FPS);
    println!("| what | bare, % of a core | engine, % of a core | ratio |");
    println!("|---|---|---|---|");
    let row = |what: &str, bare: f64, engine: f64| {
        let percent = |cpu: f64| cpu / seconds * 100.0;
        println!(
            "| {what} | {:.1} | {:.1} | {:.2} |",
            percent(bare),
            percent(engine),
            engine / bare
        );
    };
    for (codec, name) in [(VideoCodec::Vp8, "VP8"), (VideoCodec::Vp9, "VP9")] {
        let mut best = [f64::MAX; 2];
        for _ in 0..ROUNDS {
            let mut counts = [0; 2];
            best[0] = best[0].min(cpu_seconds(|| {
                counts[0] = bare::video(codec, &pictures)?;
                Ok(())
            })?);
            best[1] = best[1].min(cpu_seconds(|| {
                counts[1] = one_layer(codec, &pictures)?;
                Ok(())
            })?);
            // Who drops pictures saves work and must not win by it.
            if counts[0] != counts[1] {
                return Err(format!("{counts:?} pictures: the settings differ").into());
            }
        }
        row(
            &format!("{name} 720p30, encode and decode"),
            best[0],
            best[1],
        );
        if codec == VideoCodec::Vp8 {
            let mut sound = [f64::MAX; 2];
            for _ in 0..ROUNDS {
                sound[0] = sound[0].min(cpu_seconds(bare::sound)?);
                sound[1] = sound[1].min(cpu_seconds(engine_sound)?);
            }
            row("Opus voice, both ways", sound[0], sound[1]);
            row(
                "VP8 and Opus together",
                best[0] + sound[0],
                best[1] + sound[1],
            );
        }
    }
    println!();
    println!("| sending only | % of a core | against one layer |");
    println!("|---|---|---|");
    let mut best = [f64::MAX; 4];
    for _ in 0..ROUNDS {
        let layers = |count: usize, temporal: u8| settings(VideoCodec::Vp8, count, temporal);
        for (best, settings) in
            best.iter_mut()
                .zip([layers(1, 1), layers(1, 2), layers(3, 1), layers(3, 2)])
        {
            *best = best.min(cpu_seconds(|| send(&settings, &pictures))?);
        }
    }
    for (what, cpu) in [
        "1 layer",
        "1 layer, 2 temporal",
        "3 layers",
        "3 layers, 2 temporal",
    ]
    .iter()
    .zip(best)
    {
        println!(
            "| VP8 720p30, {what} | {:.1} | {:.2} |",
            cpu / seconds * 100.0,
            cpu / best[0]
        );
    }
    let mut scaler = Scaler::new();
    for (what, width, height) in [("half", 640, 360), ("three quarters", 960, 540)] {
        let mut cpu = f64::MAX;
        for _ in 0..ROUNDS {
            cpu = cpu.min(cpu_seconds(|| {
                for number in 0..FRAMES {
                    let picture = picture(&pictures, number);
                    std::hint::black_box(scaler.resize(picture, width, height));
                }
                Ok(())
            })?);
        }
        println!(
            "| scaling 720p30 to {what} | {:.1} | {:.2} |",
            cpu / seconds * 100.0,
            cpu / best[0]
        );
    }
    Ok(())
}

/// Processor time of this process, where the system tells; else wall clock.
fn cpu_seconds(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let begin = (process_cpu(), Instant::now());
    work()?;
    Ok(match (begin.0, process_cpu()) {
        (Some(begin), Some(end)) => end - begin,
        _ => begin.1.elapsed().as_secs_f64(),
    })
}

/// `/proc/self/task/*/schedstat` sums what all threads ran, in nanoseconds (proc_pid_schedstat).
fn process_cpu() -> Option<f64> {
    let mut nanoseconds = 0_u64;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e9)
}

/// The test pattern with fixed detail and sensor noise.
fn pictures() -> Vec<I420Frame> {
    let pattern = Pattern::new(WIDTH, HEIGHT, 7);
    let start = Instant::now();
    (0..PICTURES)
        .filter_map(|number| {
            let frame = pattern.draw(number, FPS, 0, start);
            let mut data = frame.data().to_vec();
            let mut noise = number.wrapping_mul(0x9e37_79b9) | 1;
            for (index, sample) in data[..frame.y().len()].iter_mut().enumerate() {
                let (x, y) = (index % WIDTH as usize, index / WIDTH as usize);
                let detail = if x / 9 % 5 == y / 7 % 4 { 14 } else { 0 };
                noise ^= noise << 13;
                noise ^= noise >> 17;
                noise ^= noise << 5;
                let grain = (noise & 3) as i32 + (noise >> 8 & 3) as i32 - 3;
                *sample = (i32::from(*sample) + detail + grain).clamp(16, 235) as u8;
            }
            I420Frame::new(WIDTH, HEIGHT, data, start)
        })
        .collect()
}

/// The picture of a frame, back and forth.
fn picture(pictures: &[I420Frame], number: u32) -> &I420Frame {
    let turn = number as usize % (2 * pictures.len() - 2);
    &pictures[turn.min(2 * pictures.len() - 2 - turn)]
}

fn settings(codec: VideoCodec, layers: usize, temporal_layers: u8) -> EncodeSettings {
    let config = EncoderConfig {
        width: WIDTH,
        height: HEIGHT,
        fps: FPS,
        bitrate_bps: BITRATE_BPS,
        temporal_layers,
        ..EncoderConfig::default()
    };
    let mut settings = EncodeSettings::single(codec, config);
    for (layer, bitrate_bps) in [(1, 400_000), (2, 150_000)] {
        if layer < layers {
            settings.layers[layer] = Some(LayerTarget {
                bitrate_bps,
                fps: FPS,
            });
        }
    }
    settings
}

fn send(settings: &EncodeSettings, pictures: &[I420Frame]) -> Result<(), Failure> {
    let mut encoder = LayeredEncoder::new(0);
    let mut packetizers: [VideoPacketizer; 3] = std::array::from_fn(|_| VideoPacketizer::new(0));
    let start = Instant::now();
    for number in 0..FRAMES {
        let now = start + Duration::from_secs(1) * number / FPS;
        let mut picture = picture(pictures, number).clone();
        picture.captured_at = now;
        encoder.handle_picture(now, &picture, settings);
        while let Some(frame) = encoder.poll_frame() {
            let frame = frame?;
            let packetizer = &mut packetizers[usize::from(frame.layer)];
            std::hint::black_box(packetizer.packetize(&frame).count());
        }
    }
    Ok(())
}

/// Everything between pictures and packets and back; how many pictures came out.
fn one_layer(codec: VideoCodec, pictures: &[I420Frame]) -> Result<u32, Failure> {
    let mut decoded = 0;
    let settings = settings(codec, 1, 1);
    let mut encoder = LayeredEncoder::new(0);
    let mut packetizer = VideoPacketizer::new(0);
    let mut assembler = VideoAssembler::new(codec);
    let mut decoder: Box<dyn VideoDecoder> = new_decoder(codec)?;
    let mut sequence = 0_u16;
    let start = Instant::now();
    for number in 0..FRAMES {
        let now = start + Duration::from_secs(1) * number / FPS;
        let mut picture = picture(pictures, number).clone();
        picture.captured_at = now;
        encoder.handle_picture(now, &picture, &settings);
        while let Some(frame) = encoder.poll_frame() {
            let frame = frame?;
            let mut payloads = packetizer.packetize(&frame);
            while let Some(payload) = payloads.next() {
                let packet = RtpVideoPacket {
                    sequence,
                    timestamp: frame.timestamp_90khz,
                    marker: payloads.len() == 0,
                    payload,
                };
                sequence = sequence.wrapping_add(1);
                assembler.handle_packet(now, packet);
            }
        }
        while let Some(frame) = assembler.poll_frame() {
            let picture = std::hint::black_box(decoder.decode(&frame.data)?);
            decoded += u32::from(picture.is_some());
        }
    }
    Ok(decoded)
}

/// A voice-like tone of changing strength.
fn voice(number: u32) -> [f32; FRAME_SAMPLES] {
    std::array::from_fn(|n| {
        let at = (number as usize * FRAME_SAMPLES + n) as f32 / 48_000.0;
        let strength = 0.2 + 0.1 * (at * 5.0).sin();
        strength * (at * 220.0 * std::f32::consts::TAU).sin().powi(3)
    })
}

/// Frames of sound in a round: as long as the pictures.
const SOUND_FRAMES: u32 = FRAMES * 50 / FPS;

fn engine_sound() -> Result<(), Failure> {
    let mut encoder = OpusEncoder::new(AudioEncoderConfig::default())?;
    let mut mixer = Mixer::new();
    let member = MemberId(1);
    mixer.add_member(member)?;
    let start = Instant::now();
    for number in 0..SOUND_FRAMES {
        let now = start + Duration::from_millis(20) * number;
        let payload: Option<Bytes> = encoder.encode(&voice(number))?;
        if let Some(payload) = payload {
            mixer.handle_packet(now, member, number as u16, number * 960, payload);
        }
        for _ in 0..2 {
            let mut out = [0.0; BLOCK_SAMPLES];
            mixer.mix(now, &mut out);
            std::hint::black_box(out);
        }
    }
    Ok(())
}
