//! Tables in virtual time, and a seeded random walk that checks the invariants of the pump.

use call_protocol::ui::frame::SELF_MEMBER;
use call_protocol::{MediaSource, MemberId};

use super::*;

const A: TileKey = (MemberId(1), MediaSource::Camera);
const B: TileKey = (MemberId(2), MediaSource::Camera);

fn size(key: TileKey) -> TileSize {
    TileSize {
        member: key.0,
        source: key.1,
        width_px: 320,
        height_px: 180,
    }
}

fn frame(keyframe: bool, timestamp_us: u64, bytes: usize) -> EncodedFrame {
    EncodedFrame {
        codec: VideoCodec::Vp8,
        keyframe,
        width_px: 320,
        height_px: 180,
        timestamp_us,
        data: vec![7; bytes].into(),
    }
}

fn drain(pump: &mut FramePump) -> Vec<PumpOutput> {
    std::iter::from_fn(|| pump.poll_output()).collect()
}

fn headers(message: &[u8]) -> Vec<FrameHeader> {
    let mut rest = message;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (header, _, after) = FrameHeader::read(rest).unwrap();
        found.push(header);
        rest = after;
    }
    found
}

fn messages(outputs: &[PumpOutput]) -> Vec<Vec<FrameHeader>> {
    outputs
        .iter()
        .filter_map(|output| match output {
            PumpOutput::Message(message) => Some(headers(message)),
            PumpOutput::NeedKeyframe(_) => None,
        })
        .collect()
}

fn asks(outputs: &[PumpOutput]) -> Vec<TileKey> {
    outputs
        .iter()
        .filter_map(|output| match output {
            PumpOutput::NeedKeyframe(key) => Some(*key),
            PumpOutput::Message(_) => None,
        })
        .collect()
}

/// A pump with visible, keyframed tiles and all credits.
fn flowing(now: Instant, keys: &[TileKey]) -> FramePump {
    let mut pump = FramePump::new();
    pump.set_visible(now, &keys.iter().map(|key| size(*key)).collect::<Vec<_>>());
    let epoch = pump.attach(now);
    for key in keys {
        pump.handle_frame(now, *key, frame(true, 1, 100));
    }
    let later = now + COALESCE;
    pump.handle_timeout(later);
    drain(&mut pump);
    pump.handle_credit(later, epoch, MESSAGES_IN_FLIGHT);
    pump
}

#[test]
fn nothing_is_sent_without_a_channel_or_for_hidden_tiles() {
    let now = Instant::now();
    let mut pump = FramePump::new();
    pump.set_visible(now, &[size(A)]);
    pump.handle_frame(now, A, frame(true, 1, 10));
    assert_eq!(drain(&mut pump), []);
    assert_eq!(pump.demand(A), None);
    pump.attach(now);
    assert_eq!(drain(&mut pump), [PumpOutput::NeedKeyframe(A)]);
    pump.handle_frame(now, B, frame(true, 1, 10));
    assert_eq!((drain(&mut pump), pump.queued_bytes()), (vec![], 0));
    assert_eq!(pump.demand(A), Some(((320, 180), Delivery::Encoded)));
}

#[test]
fn frames_of_all_tiles_share_a_message_every_14_ms() {
    let now = Instant::now();
    let mut pump = flowing(now, &[A, B]);
    let start = now + Duration::from_millis(100);
    pump.handle_frame(start, A, frame(false, 2, 10));
    assert_eq!(
        messages(&drain(&mut pump)).len(),
        1,
        "after a pause the first goes at once"
    );
    for ms in 1..14 {
        let at = start + Duration::from_millis(ms);
        pump.handle_frame(
            at,
            if ms % 2 == 0 { A } else { B },
            frame(false, 10 + ms, 10),
        );
        assert_eq!(drain(&mut pump), []);
    }
    assert_eq!(pump.poll_timeout(), Some(start + COALESCE));
    pump.handle_timeout(start + COALESCE);
    let sent = messages(&drain(&mut pump));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].len(), 13);
    let of_a: Vec<_> = sent[0]
        .iter()
        .filter(|header| header.member == A.0)
        .collect();
    assert!(
        of_a.windows(2)
            .all(|pair| pair[0].sequence + 1 == pair[1].sequence)
    );
}

#[test]
fn a_tile_that_becomes_visible_starts_with_a_keyframe() {
    let now = Instant::now();
    let mut pump = flowing(now, &[A]);
    pump.set_visible(now, &[]);
    pump.handle_frame(now, A, frame(false, 2, 10));
    pump.set_visible(now, &[size(A)]);
    assert_eq!(drain(&mut pump), [PumpOutput::NeedKeyframe(A)]);
    pump.handle_frame(now + COALESCE, A, frame(false, 3, 10));
    assert_eq!(drain(&mut pump), [], "deltas wait for the keyframe");
    pump.handle_frame(now + KEYFRAME_RETRY, A, frame(false, 3, 10));
    assert_eq!(asks(&drain(&mut pump)), [A], "and it is asked for again");
    pump.handle_frame(now + KEYFRAME_RETRY * 2, A, frame(true, 4, 10));
    let sent = messages(&drain(&mut pump));
    assert!(sent[0][0].keyframe && sent[0][0].discontinuity);
}

#[test]
fn out_of_credit_frames_are_collected_then_skipped_to_a_keyframe() {
    let start = Instant::now();
    let mut pump = flowing(start, &[A]);
    let mut now = start + Duration::from_secs(1);
    for index in 0..4 {
        pump.handle_frame(now, A, frame(false, 100 + index, 10));
        now += COALESCE;
    }
    assert_eq!(messages(&drain(&mut pump)).len(), 4);
    let stalled = now;
    pump.handle_frame(now, A, frame(false, 200, 10));
    assert_eq!(pump.poll_timeout(), Some(stalled + COLLECT));
    now = stalled + COLLECT - Duration::from_millis(1);
    pump.handle_timeout(now);
    assert_eq!(
        (drain(&mut pump), pump.queued_bytes()),
        (vec![], 10),
        "still collecting"
    );
    pump.handle_timeout(stalled + COLLECT);
    assert_eq!(drain(&mut pump), [PumpOutput::NeedKeyframe(A)]);
    assert_eq!((pump.queued_bytes(), pump.skips()), (0, 1));
    pump.handle_frame(stalled + COLLECT, A, frame(true, 300, 10));
    pump.handle_credit(stalled + COLLECT, pump.epoch(), 1);
    let sent = messages(&drain(&mut pump));
    assert_eq!(sent.len(), 1);
    assert!(sent[0][0].keyframe && sent[0][0].discontinuity);
}

#[test]
fn a_keyframe_in_the_queue_saves_asking() {
    let start = Instant::now();
    let mut pump = flowing(start, &[A]);
    let mut now = start + Duration::from_secs(1);
    for index in 0..4 {
        pump.handle_frame(now, A, frame(false, 100 + index, 10));
        now += COALESCE;
    }
    drain(&mut pump);
    pump.handle_frame(now, A, frame(false, 200, 10));
    pump.handle_frame(now + COLLECT / 2, A, frame(true, 300, 11));
    pump.handle_frame(now + COLLECT / 2, A, frame(false, 301, 12));
    pump.handle_timeout(now + COLLECT);
    assert_eq!((drain(&mut pump), pump.queued_bytes()), (vec![], 23));
    pump.handle_credit(now + COLLECT, pump.epoch(), 4);
    let sent = messages(&drain(&mut pump));
    let flags: Vec<_> = sent[0]
        .iter()
        .map(|h| (h.keyframe, h.discontinuity))
        .collect();
    assert_eq!(flags, [(true, true), (false, false)]);
}

#[test]
fn credits_of_an_older_epoch_are_void() {
    let now = Instant::now();
    let mut pump = flowing(now, &[A]);
    let old = pump.epoch();
    let new = pump.attach(now);
    assert_ne!(old, new);
    assert_eq!(asks(&drain(&mut pump)), [A]);
    let mut at = now + Duration::from_secs(1);
    for index in 0..8 {
        pump.handle_frame(at, A, frame(true, index, 10));
        pump.handle_credit(at, old, 4);
        at += COALESCE;
    }
    let sent = messages(&drain(&mut pump));
    assert_eq!(sent.len(), MESSAGES_IN_FLIGHT as usize);
    assert!(sent.iter().flatten().all(|header| header.epoch == new));
}

#[test]
fn raw_pictures_are_newest_wins_and_need_no_keyframe() {
    let now = Instant::now();
    let own = (SELF_MEMBER, MediaSource::Camera);
    let mut pump = FramePump::new();
    pump.set_visible(now, &[size(own)]);
    pump.set_delivery(now, own, Delivery::I420);
    let epoch = pump.attach(now);
    let picture = |timestamp_us, luma| RawPicture {
        width_px: 3,
        height_px: 1,
        timestamp_us,
        i420: vec![luma; 7],
    };
    for index in 0..8u8 {
        let at = now + COALESCE * u32::from(index);
        pump.handle_picture(at, own, picture(u64::from(index), index));
    }
    let outputs = drain(&mut pump);
    assert_eq!((messages(&outputs).len(), asks(&outputs).len()), (4, 0));
    assert_eq!(pump.queued_bytes(), 7, "one picture waits");
    let at = now + COALESCE * 8;
    pump.handle_credit(at, epoch, 1);
    let PumpOutput::Message(message) = &drain(&mut pump)[0] else {
        panic!("a message")
    };
    assert_eq!(message[HEADER_BYTES..], [7; 7], "the newest");
    pump.handle_picture(
        at,
        own,
        RawPicture {
            i420: vec![0; 6],
            ..picture(9, 9)
        },
    );
    assert_eq!(
        pump.queued_bytes(),
        0,
        "a picture of the wrong size is refused"
    );
}

#[test]
fn timestamps_never_go_back() {
    let now = Instant::now();
    let mut pump = flowing(now, &[A]);
    let at = now + Duration::from_secs(1);
    for timestamp_us in [500, 400, 0, 600] {
        pump.handle_frame(at, A, frame(false, timestamp_us, 1));
    }
    pump.handle_timeout(at + COALESCE);
    let sent: Vec<_> = messages(&drain(&mut pump)).concat();
    assert!(
        sent.windows(2)
            .all(|pair| pair[0].timestamp_us < pair[1].timestamp_us)
    );
}

#[test]
fn a_needed_keyframe_and_a_network_gap_stop_the_deltas() {
    for gap in [false, true] {
        let now = Instant::now() + Duration::from_secs(1);
        let mut pump = flowing(now - Duration::from_secs(1), &[A]);
        if gap {
            pump.handle_gap(A);
        } else {
            pump.handle_need_keyframe(now, A);
            assert_eq!(asks(&drain(&mut pump)), [A]);
        }
        pump.handle_frame(now, A, frame(false, 2, 1));
        assert_eq!(messages(&drain(&mut pump)), Vec::<Vec<FrameHeader>>::new());
        pump.handle_frame(now, A, frame(true, 3, 1));
        let sent = messages(&drain(&mut pump));
        assert!(sent[0][0].keyframe && sent[0][0].discontinuity);
    }
}

#[test]
fn h264_comes_with_a_description_and_length_prefixes() {
    let now = Instant::now();
    let mut pump = FramePump::new();
    pump.set_visible(now, &[size(A)]);
    pump.attach(now);
    drain(&mut pump);
    let sps = [0u8, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x68];
    let pps = [0u8, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80];
    let idr = [0u8, 0, 0, 1, 0x65, 1, 2, 3];
    let h264 = |keyframe, data: Vec<u8>| EncodedFrame {
        codec: VideoCodec::H264,
        data: data.into(),
        ..frame(keyframe, 1, 0)
    };
    let later = now + Duration::from_secs(1);
    pump.handle_frame(later, A, h264(true, idr.to_vec()));
    let outputs = drain(&mut pump);
    assert_eq!(
        (messages(&outputs).len(), asks(&outputs)),
        (0, vec![A]),
        "no parameter sets yet"
    );
    pump.handle_frame(later, A, h264(true, [&sps[..], &pps, &idr].concat()));
    let PumpOutput::Message(message) = &drain(&mut pump)[0] else {
        panic!("a message")
    };
    let (header, payload, _) = FrameHeader::read(message).unwrap();
    let (description, data) = payload.split_at(header.description_bytes.into());
    assert_eq!(description[..4], [1, 0x42, 0xe0, 0x1f]);
    assert_eq!(data, [0, 0, 0, 4, 0x65, 1, 2, 3]);
    pump.handle_frame(later + COALESCE, A, h264(true, idr.to_vec()));
    let PumpOutput::Message(message) = &drain(&mut pump)[0] else {
        panic!("a message")
    };
    let (again, _, _) = FrameHeader::read(message).unwrap();
    assert_eq!(
        again.description_bytes, header.description_bytes,
        "the last one is remembered"
    );
    pump.handle_frame(later + COALESCE * 2, A, h264(false, vec![0, 0, 1, 0x41, 5]));
    let PumpOutput::Message(message) = &drain(&mut pump)[0] else {
        panic!("a message")
    };
    let (delta, payload, _) = FrameHeader::read(message).unwrap();
    assert_eq!(
        (delta.description_bytes, payload),
        (0, &[0, 0, 0, 2, 0x41, 5][..])
    );
}

/// Small seeded generator, so that a failing walk can be repeated.
struct Walk(u64);

impl Walk {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn random_walks_keep_the_invariants() {
    for seed in 1..200u64 {
        let mut walk = Walk(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut now = Instant::now();
        let mut pump = FramePump::new();
        let keys = [A, B];
        let mut epoch = 0;
        let mut in_flight = 0u32;
        // Per tile: number of the frame fed last, of the frame received last.
        let mut fed = [0u64; 2];
        let mut received: [Option<u64>; 2] = [None; 2];
        for step in 0..400 {
            now += Duration::from_micros(walk.next(9_000));
            match walk.next(24) {
                0 => {
                    epoch = pump.attach(now);
                    in_flight = 0;
                    received = [None; 2];
                }
                1 => {
                    let shown: Vec<_> = keys
                        .iter()
                        .filter(|_| walk.next(4) > 0)
                        .map(|key| size(*key))
                        .collect();
                    pump.set_visible(now, &shown);
                }
                2 => {
                    let tile = walk.next(2) as usize;
                    pump.handle_gap(keys[tile]);
                    fed[tile] += 1;
                }
                3..=6 if in_flight > 0 => {
                    in_flight -= 1;
                    pump.handle_credit(now, epoch, 1);
                }
                7 => pump.handle_timeout(now),
                8 => now += Duration::from_millis(walk.next(400)),
                _ => {
                    let tile = walk.next(2) as usize;
                    fed[tile] += 1;
                    let keyframe = walk.next(12) == 0;
                    let bytes = 8 + walk.next(400_000) as usize;
                    let mut next = frame(keyframe, fed[tile], bytes);
                    let mut data = vec![7; bytes];
                    data[..8].copy_from_slice(&fed[tile].to_le_bytes());
                    next.data = data.into();
                    pump.handle_frame(now, keys[tile], next);
                }
            }
            assert!(
                pump.queued_bytes() <= 2 * TILE_BYTES,
                "seed {seed} step {step}"
            );
            for output in drain(&mut pump) {
                let PumpOutput::Message(message) = output else {
                    continue;
                };
                in_flight += 1;
                assert!(in_flight <= MESSAGES_IN_FLIGHT, "seed {seed} step {step}");
                let mut rest = &message[..];
                while !rest.is_empty() {
                    let (header, payload, after) = FrameHeader::read(rest).unwrap();
                    rest = after;
                    let tile = usize::from(header.member == B.0);
                    let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
                    let follows = received[tile].is_some_and(|last| last + 1 == number);
                    assert!(
                        header.keyframe || follows,
                        "seed {seed} step {step}: delta after gap"
                    );
                    assert!(
                        follows || header.discontinuity,
                        "seed {seed} step {step}: silent gap"
                    );
                    assert_eq!(header.epoch, epoch);
                    received[tile] = Some(number);
                }
            }
        }
    }
}
