//! Every codec from synthetic picture to decoded pixels, through packets and disorder.

use std::time::{Duration, Instant};

use call_media::frame::I420Frame;
use call_media::video::codec::{
    CodecError, EncodedFrame, EncoderConfig, VideoEncoder, new_decoder, new_encoder,
};
use call_media::video::h264::h264_annexb_to_avcc;
use call_media::video::rtp::{RtpVideoPacket, VideoAssembler, VideoPacketizer};
use call_media::video::scale::Scaler;
use call_media::video::synthetic::{Pattern, read_mark};
use call_protocol::VideoCodec;

const CODECS: [VideoCodec; 3] = [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264];

/// Pictures of a source at `fps`, with increasing capture times.
struct Source {
    pattern: Pattern,
    fps: u32,
    start: Instant,
}

impl Source {
    fn new(width: u32, height: u32, fps: u32) -> Self {
        Self {
            pattern: Pattern::new(width, height, 42),
            fps,
            start: Instant::now(),
        }
    }

    fn frame(&self, number: u32) -> I420Frame {
        let captured_at = self.start + Duration::from_secs(1) * number / self.fps;
        self.pattern
            .draw(number, self.fps, u64::from(number) * 1000, captured_at)
    }
}

/// Adds the kind of noise a webcam has, which no encoder can predict.
fn with_noise(frame: &I420Frame, seed: u32) -> I420Frame {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let luma = frame.y().len();
    let mut data = frame.data().to_vec();
    for sample in &mut data[..luma] {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *sample = sample.saturating_add((state % 13) as u8).saturating_sub(6);
    }
    I420Frame::new(frame.width(), frame.height(), data, frame.captured_at).expect("same size")
}

fn encoder(codec: VideoCodec, width: u32, height: u32, bitrate_bps: u32) -> Box<dyn VideoEncoder> {
    new_encoder(
        codec,
        EncoderConfig {
            width,
            height,
            fps: 30,
            bitrate_bps,
            ..EncoderConfig::default()
        },
    )
    .expect("codec")
}

fn psnr_db(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: f64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / squares.max(1e-9)).log10()
}

fn packets(frames: &[EncodedFrame]) -> Vec<RtpVideoPacket> {
    let mut packetizer = VideoPacketizer::new(0x7ffa);
    let mut sequence = 65_500_u16;
    let mut packets = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let payloads = packetizer.packetize(frame);
        let last = payloads.len() - 1;
        for (index, payload) in payloads.enumerate() {
            let timestamp = number as u32 * 3000;
            packets.push(RtpVideoPacket {
                sequence,
                timestamp,
                marker: index == last,
                payload,
            });
            sequence = sequence.wrapping_add(1);
        }
    }
    packets
}

#[test]
fn pictures_survive_encoding_packets_disorder_and_decoding() {
    for codec in CODECS {
        let source = Source::new(640, 360, 30);
        let mut encoder = encoder(codec, 640, 360, 1_500_000);
        let mut originals = Vec::new();
        let mut encoded = Vec::new();
        for number in 0..30 {
            let picture = source.frame(number);
            let frame = encoder.encode(&picture, false).unwrap();
            encoded.push(frame.expect("no picture is dropped at this rate"));
            originals.push(picture);
        }
        assert!(encoded[0].keyframe && encoded[1..].iter().all(|frame| !frame.keyframe));

        let mut packets = packets(&encoded);
        for (index, pair) in packets.chunks_mut(3).enumerate() {
            if index % 2 == 0 {
                pair.reverse();
            }
        }
        let mut assembler = VideoAssembler::new(codec);
        let mut decoder = new_decoder(codec).unwrap();
        let mut number = 0;
        let mut worst_db = f64::MAX;
        for packet in packets {
            assembler.handle_packet(Instant::now(), packet);
            while let Some(frame) = assembler.poll_frame() {
                assert_eq!((frame.width, frame.height), (640, 360), "{codec:?}");
                assert_eq!(frame.keyframe, number == 0);
                assert_eq!(frame.data, encoded[number].data, "{codec:?} frame {number}");
                let picture = decoder
                    .decode(&frame.data)
                    .unwrap()
                    .expect("one picture per frame");
                assert_eq!((picture.width(), picture.height()), (640, 360));
                let mark = read_mark(&picture).expect("the mark is readable");
                assert_eq!(mark.frame as usize, number);
                assert_eq!(mark.captured_us, number as u64 * 1000);
                let original = &originals[number];
                worst_db = worst_db
                    .min(psnr_db(original.y(), picture.y()))
                    .min(psnr_db(original.u(), picture.u()))
                    .min(psnr_db(original.v(), picture.v()));
                number += 1;
            }
        }
        assert_eq!(number, 30, "{codec:?}");
        assert!(worst_db >= 28.0, "{codec:?}: {worst_db:.1} dB");
    }
}

#[test]
fn marks_survive_100_kbit_per_second_and_scaling() {
    for codec in CODECS {
        let source = Source::new(320, 180, 15);
        let config = EncoderConfig {
            width: 320,
            height: 180,
            fps: 15,
            bitrate_bps: 100_000,
            ..EncoderConfig::default()
        };
        let mut encoder = new_encoder(codec, config).unwrap();
        let mut decoder = new_decoder(codec).unwrap();
        let mut scaler = Scaler::new();
        let (mut frames, mut bytes) = (0, 0);
        for number in 0..90 {
            let Some(frame) = encoder.encode(&source.frame(number), false).unwrap() else {
                continue;
            };
            frames += 1;
            bytes += frame.data.len();
            let picture = decoder.decode(&frame.data).unwrap().unwrap();
            for divisor in [1, 2, 4] {
                let small = scaler.resize(&picture, 320 / divisor, 180 / divisor);
                let mark = read_mark(&small);
                assert_eq!(
                    mark.map(|mark| mark.frame),
                    Some(number),
                    "{codec:?} / {divisor}"
                );
            }
        }
        let bps = bytes * 8 / 6;
        assert!(frames >= 45, "{codec:?}: {frames} of 90");
        assert!(bps < 170_000, "{codec:?}: {bps} bit/s");
    }
}

#[test]
fn a_bit_rate_is_followed_without_a_keyframe() {
    for codec in CODECS {
        let source = Source::new(640, 360, 30);
        let mut encoder = encoder(codec, 640, 360, 250_000);
        let measure = |from: u32, encoder: &mut Box<dyn VideoEncoder>| -> usize {
            let frames = (from..from + 60).filter_map(|number| {
                let picture = with_noise(&source.frame(number), number);
                let frame = encoder.encode(&picture, false).unwrap()?;
                assert_eq!(frame.keyframe, number == 0, "{codec:?} frame {number}");
                Some(frame.data.len())
            });
            frames.sum()
        };
        let low = measure(0, &mut encoder);
        encoder.set_bitrate_bps(1_500_000);
        measure(60, &mut encoder);
        let high = measure(120, &mut encoder);
        encoder.set_bitrate_bps(150_000);
        measure(180, &mut encoder);
        let lowest = measure(240, &mut encoder);
        assert!(
            high > low * 2 && lowest * 2 < high,
            "{codec:?}: {low} {high} {lowest}"
        );
        let high_bps = high * 8 / 2;
        assert!(high_bps < 2_200_000, "{codec:?}: {high_bps}");
    }
}

#[test]
fn keyframes_come_on_request_and_sizes_change_midway() {
    for codec in CODECS {
        let mut encoder = encoder(codec, 640, 360, 800_000);
        let mut decoder = new_decoder(codec).unwrap();
        // Odd sizes too; H.264 cuts them to even ones.
        let sizes = [(640, 360), (640, 360), (320, 180), (321, 181), (1280, 720)];
        let mut clock = Instant::now();
        for (index, (width, height)) in sizes.into_iter().enumerate() {
            clock += Duration::from_secs(1);
            let source = Source {
                pattern: Pattern::new(width, height, 1),
                fps: 30,
                start: clock,
            };
            for number in 0..3 {
                let force = number == 0;
                let frame = encoder.encode(&source.frame(number), force).unwrap();
                let Some(frame) = frame else { continue };
                assert_eq!(
                    frame.keyframe, force,
                    "{codec:?} size {index} frame {number}"
                );
                let picture = decoder.decode(&frame.data).unwrap().unwrap();
                let want = if codec == VideoCodec::H264 {
                    (width & !1, height & !1)
                } else {
                    (width, height)
                };
                assert_eq!((picture.width(), picture.height()), want, "{codec:?}");
                assert_eq!(
                    read_mark(&picture).map(|mark| mark.frame),
                    Some(number),
                    "{codec:?}"
                );
            }
        }
    }
}

#[test]
fn garbage_is_an_error_and_a_keyframe_recovers() {
    for codec in CODECS {
        let source = Source::new(320, 180, 30);
        let mut encoder = encoder(codec, 320, 180, 500_000);
        let frames: Vec<EncodedFrame> = (0..6)
            .filter_map(|n| encoder.encode(&source.frame(n), n == 0).unwrap())
            .collect();
        let mut seed = 0x1234_5678_9abc_def1_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut decoder = new_decoder(codec).unwrap();
        assert!(decoder.decode(&[]).is_err());
        for round in 0..400 {
            let mut data = frames[round % frames.len()].data.to_vec();
            match round % 4 {
                0 => data.truncate(random() as usize % data.len()),
                1 => {
                    for _ in 0..5 {
                        let at = random() as usize % data.len();
                        data[at] = random() as u8;
                    }
                }
                2 => data = (0..random() % 200).map(|_| random() as u8).collect(),
                _ => {}
            }
            // Any answer will do, as long as there is one.
            if let Ok(Some(picture)) = decoder.decode(&data) {
                assert!(picture.width() <= 4096 && picture.height() <= 4096);
            }
        }
        let mut decoder = new_decoder(codec).unwrap();
        let picture = decoder.decode(&frames[0].data).unwrap().unwrap();
        assert_eq!(read_mark(&picture).map(|mark| mark.frame), Some(0));
    }
}

#[test]
fn huge_pictures_are_refused_before_decoding() {
    let vp8 = [
        0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 0, 0, 0, 0,
    ];
    let vp9 = [
        0x82, 0x49, 0x83, 0x42, 0x4f, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0,
    ];
    for (codec, data) in [(VideoCodec::Vp8, &vp8[..]), (VideoCodec::Vp9, &vp9[..])] {
        let error = new_decoder(codec).unwrap().decode(data).err();
        assert!(
            matches!(error, Some(CodecError::PictureSize { .. })),
            "{codec:?} {error:?}"
        );
    }
}

#[test]
fn h264_can_be_described_for_webcodecs() {
    let source = Source::new(1280, 720, 30);
    let mut encoder = encoder(VideoCodec::H264, 1280, 720, 1_000_000);
    let key = encoder.encode(&source.frame(0), false).unwrap().unwrap();
    let (description, body) = h264_annexb_to_avcc(&key.data);
    let description = description.expect("parameter sets come with every keyframe");
    // Baseline with constraint_set1: constrained baseline.
    assert_eq!(description[..2], [1, 66]);
    assert_eq!(description[2] & 0x40, 0x40, "{:x}", description[2]);
    let mut rest = &body[..];
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        assert!(matches!(rest[4] & 0x1f, 1 | 5 | 6 | 9));
        rest = &rest[4 + len..];
    }
    let delta = encoder.encode(&source.frame(1), false).unwrap().unwrap();
    assert_eq!(h264_annexb_to_avcc(&delta.data).0, None);
    encoder.encode(&source.frame(2), true).unwrap().unwrap();
}
