use std::time::{Duration, Instant};

use super::*;

/// Xorshift; the tests need repeatable disorder, not randomness.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.next(256) as u8).collect()
    }
}

const CODECS: [VideoCodec; 3] = [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264];

/// A frame with a valid header and `len` bytes that tell it from others.
fn frame(codec: VideoCodec, keyframe: bool, number: u8, len: usize) -> EncodedFrame {
    let mut data = match (codec, keyframe) {
        (VideoCodec::Vp8, true) => {
            vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00]
        }
        (VideoCodec::Vp8, false) => vec![0x11, 0, 0],
        (VideoCodec::Vp9, true) => vec![0x82, 0x49, 0x83, 0x42, 0x40, 0x13, 0xf0, 0x0b, 0x30],
        (VideoCodec::Vp9, false) => vec![0x86, 0x00, 0x40, 0x92, 0x00],
        (VideoCodec::H264, true) => {
            let mut data = vec![0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0x8c];
            data.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80 | 1, 0, 0, 0, 1, 0x65]);
            data
        }
        (VideoCodec::H264, false) => vec![0, 0, 0, 1, 0x41],
    };
    let filler = if codec == VideoCodec::H264 {
        number | 0x80
    } else {
        number
    };
    data.resize(data.len() + len.max(1), filler);
    EncodedFrame {
        codec,
        keyframe,
        width: 320,
        height: 180,
        data: data.into(),
        timestamp_90khz: (u32::MAX - 9000).wrapping_add(u32::from(number) * 3000),
        captured_at: Instant::now(),
        layer: 0,
        temporal_id: 0,
        temporal_layers: 1,
    }
}

/// A stream of frames as packets; the first one is a keyframe, and so is each in `keyframes`.
fn stream(
    codec: VideoCodec,
    count: u8,
    keyframes: &[u8],
) -> (Vec<EncodedFrame>, Vec<RtpVideoPacket>) {
    let mut packetizer = VideoPacketizer::new(0x7ffe);
    let mut sequence = u16::MAX - 5;
    let mut packets = Vec::new();
    let frames: Vec<EncodedFrame> = (0..count)
        .map(|number| {
            let keyframe = number == 0 || keyframes.contains(&number);
            frame(codec, keyframe, number, if keyframe { 4000 } else { 1500 })
        })
        .collect();
    for frame in &frames {
        let payloads = packetizer.packetize(frame);
        let last = payloads.len() - 1;
        for (index, payload) in payloads.enumerate() {
            assert!(payload.len() <= MAX_PAYLOAD_BYTES);
            let timestamp = frame.timestamp_90khz;
            packets.push(RtpVideoPacket {
                sequence,
                timestamp,
                marker: index == last,
                payload,
            });
            sequence = sequence.wrapping_add(1);
        }
    }
    (frames, packets)
}

fn drain(assembler: &mut VideoAssembler) -> Vec<AssembledFrame> {
    std::iter::from_fn(|| assembler.poll_frame()).collect()
}

fn assert_same(got: &[AssembledFrame], want: &[EncodedFrame]) {
    let key = |timestamp, data: &Bytes, keyframe| (timestamp, keyframe, data.clone());
    let got: Vec<_> = got
        .iter()
        .map(|f| key(f.timestamp, &f.data, f.keyframe))
        .collect();
    let want: Vec<_> = want
        .iter()
        .map(|f| key(f.timestamp_90khz, &f.data, f.keyframe))
        .collect();
    assert!(got == want, "{} frames, wanted {}", got.len(), want.len());
}

#[test]
fn in_order_reordered_and_duplicated_packets_give_the_same_frames() {
    for codec in CODECS {
        let (frames, packets) = stream(codec, 12, &[5]);
        for disorder in [0, 1, 4] {
            let now = Instant::now();
            let mut random = Random(7 + disorder);
            let mut arrivals: Vec<(u64, RtpVideoPacket)> = Vec::new();
            for (index, packet) in packets.iter().enumerate() {
                let at = index as u64 * 2 + random.next(2 * disorder + 1) * 2;
                arrivals.push((at, packet.clone()));
                if disorder > 0 && random.next(4) == 0 {
                    arrivals.push((at + 5, packet.clone()));
                }
            }
            arrivals.sort_by_key(|(at, _)| *at);
            let mut assembler = VideoAssembler::new(codec);
            let mut got = Vec::new();
            for (at, packet) in arrivals {
                assembler.handle_packet(now + Duration::from_millis(at), packet);
                got.extend(drain(&mut assembler));
            }
            assert_same(&got, &frames);
            assert!(got.iter().all(|frame| !frame.discontinuity));
            let stats = assembler.stats();
            assert_eq!(
                (stats.frames, stats.lost_packets, stats.dropped_frames),
                (12, 0, 0)
            );
            assert!(!assembler.needs_keyframe());
            assert_eq!(assembler.poll_timeout(), None);
        }
    }
}

#[test]
fn keyframes_state_their_size() {
    for codec in [VideoCodec::Vp8, VideoCodec::Vp9] {
        let (_, packets) = stream(codec, 3, &[]);
        let mut assembler = VideoAssembler::new(codec);
        for packet in packets {
            assembler.handle_packet(Instant::now(), packet);
        }
        for frame in drain(&mut assembler) {
            assert_eq!((frame.width, frame.height), (320, 180), "{codec:?}");
        }
    }
}

#[test]
fn a_lost_packet_is_waited_for_then_skipped_to_a_keyframe() {
    for codec in CODECS {
        let (frames, packets) = stream(codec, 9, &[6]);
        // A packet of frame 2.
        let lost = packets
            .iter()
            .position(|packet| packet.timestamp == frames[2].timestamp_90khz)
            .unwrap();
        let before_six = packets
            .iter()
            .position(|packet| packet.timestamp == frames[6].timestamp_90khz)
            .unwrap();
        let start = Instant::now();
        let mut assembler = VideoAssembler::new(codec);
        for (index, packet) in packets[..before_six].iter().enumerate() {
            if index != lost {
                assembler.handle_packet(start, packet.clone());
            }
        }
        assert_same(&drain(&mut assembler), &frames[..2]);
        assert!(!assembler.needs_keyframe(), "it may still come");
        let due = assembler.poll_timeout().unwrap();
        assert_eq!(due, start + REORDER_WAIT);

        // Retransmitted in time: nothing is missing.
        let mut repaired = VideoAssembler::new(codec);
        for (index, packet) in packets[..before_six].iter().enumerate() {
            if index != lost {
                repaired.handle_packet(start, packet.clone());
            }
        }
        repaired.handle_packet(due - Duration::from_millis(1), packets[lost].clone());
        assert_same(&drain(&mut repaired), &frames[..6]);
        assert_eq!(repaired.poll_timeout(), None);

        // Not retransmitted.
        assembler.handle_timeout(due);
        assert!(assembler.needs_keyframe());
        assert_eq!(assembler.poll_timeout(), None);
        assert!(drain(&mut assembler).is_empty());
        assert_eq!(assembler.stats().lost_packets, 1);
        for packet in &packets[before_six..] {
            assembler.handle_packet(due, packet.clone());
        }
        let got = drain(&mut assembler);
        assert_same(&got, &frames[6..]);
        assert!(got[0].discontinuity && !got[1].discontinuity);
        assert!(!assembler.needs_keyframe());
        assert!(
            assembler.stats().dropped_frames >= 3,
            "{:?}",
            assembler.stats()
        );
        // Too late now.
        assembler.handle_packet(due, packets[lost].clone());
        assert_eq!(assembler.stats().late_packets, 1);
    }
}

#[test]
fn a_long_path_is_waited_for_once_it_is_known() {
    let (frames, packets) = stream(VideoCodec::Vp8, 14, &[6]);
    let first_of = |number: usize| {
        let timestamp = frames[number].timestamp_90khz;
        let at = packets.iter().position(|it| it.timestamp == timestamp);
        at.expect("every frame has packets")
    };
    let (lost, second, lost_later) = (first_of(2), first_of(6), first_of(9));
    let round_trip = Duration::from_millis(300);
    let start = Instant::now();
    let mut assembler = VideoAssembler::new(VideoCodec::Vp8);
    let feed = |assembler: &mut VideoAssembler, at, range: std::ops::Range<usize>, lost| {
        for index in range.filter(|index| *index != lost) {
            assembler.handle_packet(at, packets[index].clone());
        }
    };
    feed(&mut assembler, start, 0..second, lost);
    assembler.handle_timeout(start + REORDER_WAIT);
    assert!(assembler.needs_keyframe(), "given up");
    assembler.handle_packet(start + round_trip, packets[lost].clone());
    let later = start + round_trip * 2;
    feed(&mut assembler, later, second..packets.len(), lost_later);
    assert_eq!(assembler.poll_timeout(), Some(later + round_trip * 5 / 4));
    assembler.handle_packet(later + round_trip, packets[lost_later].clone());
    let got = drain(&mut assembler);
    assert_same(&got[2..], &frames[6..]);
    assert!(!got[3..].iter().any(|frame| frame.discontinuity));
}

#[test]
fn a_missing_packet_is_waited_for_as_long_as_repeating_it_takes() {
    for (rtt_ms, wait_ms) in [(0, 250), (100, 250), (200, 500), (300, 750), (9_000, 1_000)] {
        let (_, packets) = stream(VideoCodec::Vp8, 8, &[]);
        let start = Instant::now();
        let mut assembler = VideoAssembler::new(VideoCodec::Vp8);
        assembler.set_rtt(Duration::from_millis(rtt_ms));
        let lost = packets.len() - 2;
        for packet in packets[..lost].iter().chain(&packets[lost + 1..]) {
            assembler.handle_packet(start, packet.clone());
        }
        let want = start + Duration::from_millis(wait_ms);
        assert_eq!(assembler.poll_timeout(), Some(want), "{rtt_ms} ms");
    }
}

#[test]
fn a_keyframe_behind_the_gap_is_used_at_once() {
    for codec in CODECS {
        let (frames, packets) = stream(codec, 8, &[5]);
        let start = Instant::now();
        let mut assembler = VideoAssembler::new(codec);
        for packet in &packets {
            if packet.timestamp != frames[3].timestamp_90khz {
                assembler.handle_packet(start, packet.clone());
            }
        }
        assert_same(&drain(&mut assembler), &frames[..3]);
        assembler.handle_timeout(start + REORDER_WAIT);
        assert_same(&drain(&mut assembler), &frames[5..]);
        assert!(!assembler.needs_keyframe());
    }
}

#[test]
fn joining_in_the_middle_asks_for_a_keyframe() {
    let (frames, packets) = stream(VideoCodec::Vp8, 6, &[4]);
    let mut assembler = VideoAssembler::new(VideoCodec::Vp8);
    assert!(!assembler.needs_keyframe(), "nothing arrived yet");
    for packet in packets
        .iter()
        .filter(|packet| packet.timestamp != frames[0].timestamp_90khz)
    {
        let is_key = packet.timestamp == frames[4].timestamp_90khz;
        let is_before = !is_key && assembler.stats().frames == 0;
        assembler.handle_packet(Instant::now(), packet.clone());
        assert_eq!(assembler.needs_keyframe(), is_before);
    }
    let got = drain(&mut assembler);
    assert_same(&got, &frames[4..]);
    assert!(!got[0].discontinuity, "there was nothing before");
}

#[test]
fn an_undecodable_frame_skips_to_a_keyframe() {
    let (frames, packets) = stream(VideoCodec::H264, 6, &[4]);
    let mut assembler = VideoAssembler::new(VideoCodec::H264);
    for packet in packets {
        if packet.timestamp == frames[2].timestamp_90khz && !assembler.needs_keyframe() {
            assembler.require_keyframe();
        }
        assembler.handle_packet(Instant::now(), packet);
    }
    let got = drain(&mut assembler);
    assert_same(&got, &frames[4..]);
    assert!(got[0].discontinuity);
}

#[test]
fn padding_and_missing_markers_do_not_confuse_frames() {
    for codec in CODECS {
        let (frames, packets) = stream(codec, 5, &[]);
        let mut assembler = VideoAssembler::new(codec);
        let mut shift = 0;
        for packet in packets {
            let sequence = packet.sequence.wrapping_add(shift);
            let (timestamp, is_last) = (packet.timestamp, packet.marker);
            // The marker bit is cut off, the next time stamp ends the frame.
            let packet = RtpVideoPacket {
                sequence,
                marker: false,
                ..packet
            };
            assembler.handle_packet(Instant::now(), packet);
            if is_last {
                shift += 1;
                let sequence = sequence.wrapping_add(1);
                let payload = Bytes::new();
                let padding = RtpVideoPacket {
                    sequence,
                    timestamp,
                    marker: false,
                    payload,
                };
                assembler.handle_packet(Instant::now(), padding);
            }
        }
        assert_same(&drain(&mut assembler), &frames[..4]);
    }
}

#[test]
fn a_restarted_stream_is_followed() {
    for jump in [20_000_u16, 40_000] {
        let (frames, packets) = stream(VideoCodec::Vp8, 30, &[]);
        let mut assembler = VideoAssembler::new(VideoCodec::Vp8);
        for packet in &packets {
            assembler.handle_packet(Instant::now(), packet.clone());
        }
        assert_eq!(drain(&mut assembler).len(), 30);
        for _ in 0..4 {
            for packet in &packets {
                let sequence = packet.sequence.wrapping_add(jump);
                assembler.handle_packet(
                    Instant::now(),
                    RtpVideoPacket {
                        sequence,
                        ..packet.clone()
                    },
                );
            }
        }
        let got = drain(&mut assembler);
        assert!(got.len() >= frames.len(), "jump of {jump}: {}", got.len());
    }
}

#[test]
fn the_buffer_is_bounded() {
    let mut assembler = VideoAssembler::new(VideoCodec::Vp8);
    let (_, packets) = stream(VideoCodec::Vp8, 1, &[]);
    assembler.handle_packet(Instant::now(), packets[0].clone());
    let body: Bytes = [&[0x80, 0x80, 0x80, 0x01][..], &[0; 1100]].concat().into();
    let mut bytes = 0;
    let first = packets[0].sequence;
    for index in 2..9000_u16 {
        let packet = RtpVideoPacket {
            sequence: first.wrapping_add(index),
            timestamp: packets[0].timestamp,
            marker: false,
            payload: body.clone(),
        };
        assembler.handle_packet(Instant::now(), packet);
        bytes += body.len();
    }
    assert!(bytes > call_protocol::limits::ENCODED_FRAME_BYTES);
    assert!(assembler.needs_keyframe());
    assert!(drain(&mut assembler).is_empty());
}

#[test]
fn any_payload_is_survived() {
    let mut random = Random(99);
    for codec in CODECS {
        let mut assembler = VideoAssembler::new(codec);
        let (_, packets) = stream(codec, 20, &[3, 9, 15]);
        let start = Instant::now();
        for round in 0..30_000_u64 {
            let mut payload = if random.next(3) == 0 {
                let len = random.next(40);
                random.bytes(len)
            } else {
                packets[random.next(packets.len() as u64) as usize]
                    .payload
                    .to_vec()
            };
            if random.next(2) == 0 && !payload.is_empty() {
                let at = random.next(payload.len().min(20) as u64) as usize;
                payload[at] = random.next(256) as u8;
                payload.truncate(1 + random.next(payload.len() as u64) as usize);
            }
            let packet = RtpVideoPacket {
                sequence: (round / 2 + random.next(30)) as u16,
                timestamp: (round / 8 * 3000) as u32,
                marker: random.next(4) == 0,
                payload: payload.into(),
            };
            assembler.handle_packet(start + Duration::from_millis(round), packet);
            for frame in drain(&mut assembler) {
                assert!(frame.data.len() <= call_protocol::limits::ENCODED_FRAME_BYTES);
            }
        }
    }
}

#[test]
fn foreign_descriptors_are_read() {
    let vp8 = |bytes: &[u8]| parse(VideoCodec::Vp8, &Bytes::copy_from_slice(bytes));
    let vp9 = |bytes: &[u8]| parse(VideoCodec::Vp9, &Bytes::copy_from_slice(bytes));
    let part = |start: bool, key: bool, body: &[u8]| {
        let body = Bytes::copy_from_slice(body);
        Some(Part {
            starts_frame: Some(start),
            starts_keyframe: key,
            body,
        })
    };
    // Short picture id, TL0PICIDX, TID and KEYIDX.
    assert_eq!(
        vp8(&[0x90, 0xf0, 0x05, 7, 0x20, 0x11, 9]),
        part(true, false, &[0x11, 9])
    );
    assert_eq!(vp8(&[0x10, 0x10]), part(true, true, &[0x10]));
    // The second partition is not the start of a frame.
    assert_eq!(vp8(&[0x11, 0x10]), part(false, false, &[0x10]));
    assert_eq!(vp8(&[0x90, 0x80, 0x80]), None);
    // Flexible mode with two references and 7-bit picture id.
    assert_eq!(
        vp9(&[0xd8, 5, 0x03, 0x04, 0xaa]),
        part(true, false, &[0xaa])
    );
    // More references than allowed.
    assert_eq!(vp9(&[0xd8, 5, 3, 3, 3, 3, 0xaa]), None);
    // Two spatial layers with sizes, a group of two; the upper layer does not start the frame.
    let structure = [0x38, 0, 1, 0, 1, 0, 2, 0, 2, 2, 0x04, 1, 0x00];
    let mut base = vec![0x2a, 0x00, 9];
    base.extend(structure);
    base.push(0xaa);
    assert_eq!(vp9(&base), part(true, true, &[0xaa]));
    assert_eq!(vp9(&[0x28, 0x02, 9, 0xaa]), part(false, false, &[0xaa]));
}

#[test]
fn parameter_sets_travel_together() {
    let mut packetizer = VideoPacketizer::new(0);
    let frame = frame(VideoCodec::H264, true, 1, 5000);
    let payloads: Vec<Bytes> = packetizer.packetize(&frame).collect();
    assert_eq!(payloads[0][0] & 0x1f, 24);
    assert!(payloads[1..].iter().all(|payload| payload[0] & 0x1f == 28));
    assert_eq!(payloads[1][1] & 0xc0, 0x80);
    assert_eq!(payloads.last().unwrap()[1] & 0xc0, 0x40);
}

#[test]
fn temporal_layers_are_written_into_the_descriptors() {
    let upper = |mut frame: EncodedFrame, temporal_id| {
        frame.temporal_layers = 2;
        frame.temporal_id = temporal_id;
        frame
    };
    let first_bytes = |codec| {
        let mut packetizer = VideoPacketizer::new(0x1234);
        let mut bytes = Vec::new();
        for number in 0..4_u8 {
            let frame = upper(frame(codec, number == 0, number, 50), number % 2);
            let payload = packetizer.packetize(&frame).next().unwrap();
            let part = parse(codec, &payload).unwrap();
            assert_eq!(
                part.body, frame.data,
                "the descriptor is as long as is read"
            );
            bytes.push(payload);
        }
        bytes
    };
    let vp8 = first_bytes(VideoCodec::Vp8);
    let tl0 = vp8[0][4];
    for (number, payload) in vp8.iter().enumerate() {
        let is_upper = number % 2 == 1;
        // X, S, and N for what nothing refers to.
        assert_eq!(payload[0], if is_upper { 0xb0 } else { 0x90 });
        assert_eq!(payload[1], 0xe0, "picture id, TL0PICIDX, TID");
        assert_eq!(
            u16::from_be_bytes([payload[2], payload[3]]),
            0x8000 | (0x1234 + number as u16)
        );
        assert_eq!(payload[4], tl0.wrapping_add(number as u8 / 2));
        assert_eq!(payload[5], if is_upper { 0x60 } else { 0 }, "TID and Y");
    }
    let vp9 = first_bytes(VideoCodec::Vp9);
    let tl0 = vp9[0][4];
    for (number, payload) in vp9.iter().enumerate() {
        assert_eq!(
            payload[3],
            if number % 2 == 1 { 0x30 } else { 0 },
            "TID and U"
        );
        assert_eq!(payload[4], tl0.wrapping_add(number as u8 / 2));
    }
    // Two pictures in the group: the lower refers two back, the upper, a switching point, one.
    assert_eq!(vp9[0][5..15], [0x18, 1, 64, 0, 180, 2, 0x04, 2, 0x34, 1]);
}
