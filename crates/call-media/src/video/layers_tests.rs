use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::video::codec::{VideoDecoder, new_decoder};
use crate::video::mark::read_mark;
use crate::video::rtp::{RtpVideoPacket, VideoAssembler, VideoPacketizer};
use crate::video::synthetic::Pattern;

fn config(width: u32, height: u32) -> EncoderConfig {
    EncoderConfig {
        width,
        height,
        fps: 60,
        bitrate_bps: 1_000_000,
        ..EncoderConfig::default()
    }
}

/// A source of 50 pictures per second and the encoder it feeds, in virtual time.
struct Bench {
    encoder: LayeredEncoder,
    pattern: Pattern,
    start: Instant,
    next: u32,
}

impl Bench {
    fn new(width: u32, height: u32) -> Self {
        Self {
            encoder: LayeredEncoder::new(u32::MAX - 50),
            pattern: Pattern::new(width, height, 1),
            start: Instant::now(),
            next: 0,
        }
    }

    /// Milliseconds since the start of the picture that comes next.
    fn at_ms(&self) -> u32 {
        self.next * 20
    }

    fn step(&mut self, settings: &EncodeSettings) -> Vec<EncodedFrame> {
        let now = self.start + Duration::from_millis(20) * self.next;
        let picture = self.pattern.draw(self.next, 50, 0, now);
        self.next += 1;
        self.encoder.handle_picture(now, &picture, settings);
        std::iter::from_fn(|| self.encoder.poll_frame())
            .map(|result| result.unwrap())
            .collect()
    }
}

#[test]
fn keyframe_requests_are_rate_limited_but_not_lost() {
    let mut bench = Bench::new(320, 180);
    let settings = EncodeSettings::single(VideoCodec::Vp8, config(320, 180));
    let mut keyframes_at_ms = Vec::new();
    for _ in 0..40 {
        bench.encoder.request_keyframe(0);
        let at_ms = bench.at_ms();
        if bench.step(&settings).iter().any(|frame| frame.keyframe) {
            keyframes_at_ms.push(at_ms);
        }
    }
    assert_eq!(keyframes_at_ms, [0, 300, 600]);
    bench.next = 60;
    assert!(bench.step(&settings)[0].keyframe, "the last one is owed");
    bench.next = 80;
    assert!(bench.step(&settings).iter().all(|frame| !frame.keyframe));
}

#[test]
fn layers_are_scaled_stamped_alike_and_decodable() {
    for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264] {
        let mut bench = Bench::new(1280, 720);
        let mut settings = EncodeSettings::single(codec, config(720, 720));
        let target = |bitrate_bps| {
            Some(LayerTarget {
                bitrate_bps,
                fps: 60,
            })
        };
        settings.layers = [target(900_000), target(400_000), target(150_000)];
        let mut decoders: BTreeMap<u8, Box<dyn VideoDecoder>> = BTreeMap::new();
        let mut timestamps: BTreeMap<u32, u32> = BTreeMap::new();
        let mut counts = [0; LAYERS];
        let mut decode = |frames: &[EncodedFrame]| {
            for frame in frames {
                let decoder = decoders
                    .entry(frame.layer)
                    .or_insert_with(|| new_decoder(codec).unwrap());
                let picture = decoder.decode(&frame.data).unwrap().unwrap();
                assert_eq!(
                    (picture.width(), picture.height()),
                    (frame.width, frame.height)
                );
                let number = read_mark(&picture).expect("the mark is readable").frame;
                let stamp = *timestamps.entry(number).or_insert(frame.timestamp_90khz);
                assert_eq!(frame.timestamp_90khz, stamp, "one picture, one timestamp");
                counts[usize::from(frame.layer)] += 1;
            }
        };
        let first = bench.step(&settings);
        let sizes: Vec<_> = first.iter().map(|f| (f.layer, f.width, f.height)).collect();
        assert_eq!(
            sizes,
            [(0, 720, 406), (1, 360, 202), (2, 180, 100)],
            "{codec:?}"
        );
        assert!(first.iter().all(|frame| frame.keyframe));
        decode(&first);
        for _ in 0..8 {
            decode(&bench.step(&settings));
        }
        // Only who is wanted is encoded; who comes back begins with a keyframe.
        settings.layers = [None, target(400_000), None];
        for _ in 0..20 {
            let frames = bench.step(&settings);
            assert!(
                frames
                    .iter()
                    .all(|frame| frame.layer == 1 && !frame.keyframe)
            );
            decode(&frames);
        }
        settings.layers = [target(900_000), target(400_000), None];
        let frames = bench.step(&settings);
        assert!(frames[0].layer == 0 && frames[0].keyframe);
        decode(&frames);
        assert!(
            counts[0] >= 8 && counts[1] >= 20 && counts[2] >= 7,
            "{counts:?}"
        );
    }
    assert_eq!(layer_size((320, 180), 1), Some((160, 90)));
    assert_eq!(layer_size((320, 180), 2), None);
    assert_eq!(layer_size((80, 60), 0), Some((80, 60)));
}

#[test]
fn fifty_changes_of_rate_and_content_cost_no_keyframe() {
    for codec in [VideoCodec::Vp8, VideoCodec::Vp9] {
        for temporal_layers in [1, 2] {
            let mut bench = Bench::new(320, 180);
            let mut settings = EncodeSettings::single(codec, config(320, 180));
            settings.temporal_layers = temporal_layers;
            let mut decoder = new_decoder(codec).unwrap();
            let (mut keyframes, mut decoded) = (0, 0);
            for change in 0..50_u32 {
                settings.layers[0] = Some(LayerTarget {
                    bitrate_bps: 200_000 + change * 7919 % 800_000,
                    fps: 20 + change * 7 % 40,
                });
                settings.content = if change % 9 == 8 {
                    Content::Screen
                } else {
                    Content::Camera
                };
                for _ in 0..2 {
                    for frame in bench.step(&settings) {
                        keyframes += u32::from(frame.keyframe);
                        let picture = decoder.decode(&frame.data).unwrap().unwrap();
                        decoded += u32::from(read_mark(&picture).is_some());
                    }
                }
            }
            assert_eq!(keyframes, 1, "{codec:?} with {temporal_layers}");
            assert!(decoded > 40, "{codec:?}: {decoded}");
        }
    }
}

#[test]
fn fifty_changes_of_size_cost_few_keyframes_or_none() {
    for (codec, temporal_layers) in [
        (VideoCodec::Vp8, 1),
        (VideoCodec::Vp8, 2),
        (VideoCodec::Vp9, 1),
        (VideoCodec::Vp9, 2),
    ] {
        let mut bench = Bench::new(640, 360);
        let mut settings = EncodeSettings::single(codec, config(640, 360));
        settings.temporal_layers = temporal_layers;
        let mut decoder = new_decoder(codec).unwrap();
        let mut keyframes_at_ms = Vec::new();
        let mut sizes = Vec::new();
        let bounds = [640, 320, 480, 360, 560];
        // A controller that changes its mind every 100 ms for five seconds.
        for change in 0..50 {
            (settings.max_width, settings.max_height) = (bounds[change % 5], 360);
            for _ in 0..5 {
                let at_ms = bench.at_ms();
                for frame in bench.step(&settings) {
                    if frame.keyframe {
                        keyframes_at_ms.push(at_ms);
                    }
                    if sizes.last() != Some(&frame.width) {
                        sizes.push(frame.width);
                    }
                    let picture = decoder.decode(&frame.data).unwrap().unwrap();
                    assert_eq!(picture.width(), frame.width);
                    let mark = read_mark(&picture).expect("the mark is readable");
                    assert_eq!(mark.frame * 20, at_ms, "{codec:?}");
                }
            }
        }
        assert!((4..=8).contains(&sizes.len()), "{codec:?}: {sizes:?}");
        let least = keyframes_at_ms
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .min();
        assert!(
            least.is_none_or(|least| least >= 300),
            "{keyframes_at_ms:?}"
        );
        if codec == VideoCodec::Vp9 {
            assert_eq!(keyframes_at_ms, [0], "scaled references need no keyframe");
        } else {
            assert_eq!(keyframes_at_ms.len(), sizes.len(), "one for each size");
        }
    }
}

#[test]
fn frames_of_the_upper_temporal_layer_can_be_dropped_on_the_way() {
    for codec in [VideoCodec::Vp8, VideoCodec::Vp9] {
        let mut bench = Bench::new(320, 180);
        let mut settings = EncodeSettings::single(codec, config(320, 180));
        settings.temporal_layers = 2;
        let mut packetizer = VideoPacketizer::new(77);
        let mut whole = VideoAssembler::new(codec);
        let mut thinned = VideoAssembler::new(codec);
        let mut sequence = 65_500_u16;
        let mut thinned_sequence = 9_u16;
        let (mut sent, mut dropped) = (0, 0);
        let mut pictures = BTreeMap::new();
        let mut decoders = [new_decoder(codec).unwrap(), new_decoder(codec).unwrap()];
        for number in 0..150 {
            if number == 70 {
                bench.encoder.request_keyframe(0);
            }
            for frame in bench.step(&settings) {
                sent += 1;
                dropped += u32::from(frame.is_droppable());
                assert_eq!(frame.is_droppable(), frame.temporal_id == 1);
                assert!(!(frame.keyframe && frame.is_droppable()));
                let payloads: Vec<Bytes> = packetizer.packetize(&frame).collect();
                let last = payloads.len() - 1;
                for (index, payload) in payloads.into_iter().enumerate() {
                    let packet = RtpVideoPacket {
                        sequence,
                        timestamp: frame.timestamp_90khz,
                        marker: index == last,
                        payload,
                    };
                    sequence = sequence.wrapping_add(1);
                    whole.handle_packet(bench.start, packet.clone());
                    if !frame.is_droppable() {
                        let sequence = thinned_sequence;
                        thinned_sequence += 1;
                        thinned.handle_packet(bench.start, RtpVideoPacket { sequence, ..packet });
                    }
                }
            }
            while let Some(frame) = whole.poll_frame() {
                let picture = decoders[0].decode(&frame.data).unwrap().unwrap();
                pictures.insert(frame.timestamp, picture);
            }
            while let Some(frame) = thinned.poll_frame() {
                assert!(!frame.discontinuity);
                let picture = decoders[1].decode(&frame.data).unwrap().unwrap();
                let same = &pictures[&frame.timestamp];
                assert!(
                    picture.data() == same.data(),
                    "{codec:?} picture {number} differs"
                );
            }
        }
        assert!(sent > 130 && sent / 2 - dropped <= 1, "{dropped} of {sent}");
        let (whole, thinned) = (whole.stats(), thinned.stats());
        assert_eq!(
            (whole.frames, thinned.frames),
            (u64::from(sent), u64::from(sent - dropped))
        );
        assert_eq!((thinned.lost_packets, thinned.dropped_frames), (0, 0));
    }
}

#[test]
fn a_dark_room_keeps_its_bits() {
    // A camera at half of the target rate: the bits per second must stay.
    let rate = |distance_ms: u32| {
        let encoder = &mut LayeredEncoder::new(0);
        let mut settings = EncodeSettings::single(VideoCodec::Vp8, config(640, 360));
        let target = LayerTarget {
            bitrate_bps: 150_000,
            fps: 30,
        };
        settings.layers[0] = Some(target);
        let pattern = Pattern::new(640, 360, 1);
        let start = Instant::now();
        let mut bytes = 0;
        for at_ms in (0..8_000).step_by(distance_ms as usize) {
            let now = start + Duration::from_millis(u64::from(at_ms));
            let picture = noisy(&pattern.draw(at_ms / 33, 30, 0, now), at_ms);
            encoder.handle_picture(now, &picture, &settings);
            while let Some(Ok(frame)) = encoder.poll_frame() {
                if at_ms > 3_000 {
                    bytes += frame.data.len();
                }
            }
        }
        bytes as f64 * 8.0 / 5.0
    };
    let (bright, dark) = (rate(33), rate(66));
    assert!(
        (dark / bright - 1.0).abs() < 0.25,
        "{bright} and {dark} bit/s"
    );
}

/// Noise, so that the target is what limits the rate.
fn noisy(frame: &I420Frame, seed: u32) -> I420Frame {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut data = frame.data().to_vec();
    for sample in &mut data[..frame.y().len()] {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *sample = sample.saturating_add((state % 9) as u8);
    }
    I420Frame::new(frame.width(), frame.height(), data, frame.captured_at).unwrap()
}

#[test]
fn a_change_right_after_a_keyframe_loses_no_picture() {
    let mut bench = Bench::new(320, 180);
    let mut settings = EncodeSettings::single(VideoCodec::Vp8, config(320, 180));
    let mut keyframes_at_ms = Vec::new();
    for number in 0..60 {
        match number {
            // 100 ms after the first keyframe, and 100 ms after the one that follows from it.
            5 => settings.temporal_layers = 2,
            20 => settings.codec = VideoCodec::Vp9,
            _ => {}
        }
        let at_ms = bench.at_ms();
        let frames = bench.step(&settings);
        assert_eq!(
            frames.len(),
            1,
            "a frame for every picture, also at {at_ms} ms"
        );
        if frames[0].keyframe {
            keyframes_at_ms.push((at_ms, frames[0].codec, frames[0].temporal_layers));
        }
    }
    let (vp8, vp9) = (VideoCodec::Vp8, VideoCodec::Vp9);
    let want = [(0, vp8, 1), (300, vp8, 2), (600, vp9, 2)];
    assert_eq!(keyframes_at_ms, want);
}
