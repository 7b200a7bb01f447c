//! Tests of [`super`]: what opens, everything that must not, and the vectors of `docs/e2ee.md`.

use super::*;
use crate::SeedStream;

const A: MemberId = MemberId(7);
const B: MemberId = MemberId(8);
const SOUND: MediaStream = MediaStream {
    source: MediaSource::Microphone,
    layer: 0,
};
const CAMERA: MediaStream = MediaStream {
    source: MediaSource::Camera,
    layer: 0,
};

fn salt(first: u8) -> [u8; 16] {
    std::array::from_fn(|at| first + at as u8)
}

fn sealer(member: MemberId) -> MediaSealer {
    MediaSealer::new(&RoomKeys::from_root([9; 32]), member, salt(0))
}

fn opener() -> MediaOpener {
    let mut opener = MediaOpener::new(&RoomKeys::from_root([9; 32]));
    opener.set_member(A, salt(0));
    opener.set_member(B, salt(0));
    opener
}

fn at(timestamp: u32) -> MediaTime {
    MediaTime {
        timestamp,
        capture_us: None,
    }
}

fn streams() -> Vec<MediaStream> {
    (0..7).filter_map(MediaStream::from_number).collect()
}

#[test]
fn every_stream_of_every_member_opens_as_what_it_is() {
    let mut opener = opener();
    for member in [A, B] {
        let mut sealer = sealer(member);
        for stream in streams() {
            for counter in 0..20_u32 {
                let time = at(counter * 3_000);
                let payload = vec![counter as u8; counter as usize * 50];
                let sealed = sealer.seal(stream, time, &payload);
                assert!(sealed.len() <= payload.len() + OVERHEAD_BYTES);
                let want = Opened {
                    member,
                    stream,
                    counter: u64::from(counter),
                    time,
                    payload: payload.into(),
                };
                assert_eq!(opener.open(&sealed), Some(want.clone()));
                assert_eq!(opener.open(&sealed), Some(want), "the other path's copy");
            }
        }
    }
}

#[test]
fn a_layer_that_does_not_exist_is_not_sealed() {
    let mut sealer = sealer(A);
    for (source, layer) in [
        (MediaSource::Camera, 3),
        (MediaSource::Screen, 255),
        (MediaSource::Microphone, 1),
    ] {
        let stream = MediaStream { source, layer };
        assert!(sealer.seal(stream, at(0), b"secret").is_empty());
    }
    assert_eq!(opener().open(&[]), None);
}

#[test]
fn the_capture_clock_is_carried_where_it_is_worth_its_bytes() {
    let (mut sealer, mut opener) = (sealer(A), opener());
    let mut carried = |stream, timestamp: u32| {
        let time = MediaTime {
            timestamp,
            capture_us: Some(-1 - i64::from(timestamp)),
        };
        let sealed = sealer.seal(stream, time, b"x");
        let opened = opener.open(&sealed).unwrap();
        assert_eq!(opened.time.timestamp, timestamp);
        let capture_us = opened.time.capture_us;
        assert!(capture_us.is_none_or(|us| Some(us) == time.capture_us));
        capture_us.is_some()
    };
    let sound: Vec<bool> = (0..33).map(|packet| carried(SOUND, packet * 960)).collect();
    let want: Vec<bool> = (0..33).map(|packet| packet % 16 == 0).collect();
    assert_eq!(sound, want);
    // Three packets per picture: the first one of each.
    let pictures: Vec<bool> = (0..9).map(|packet| carried(CAMERA, packet / 3)).collect();
    let want: Vec<bool> = (0..9).map(|packet| packet % 3 == 0).collect();
    assert_eq!(pictures, want);
    let unknown = sealer.seal(CAMERA, at(77), b"x");
    assert_eq!(opener.open(&unknown).unwrap().time.capture_us, None);
}

#[test]
fn what_sealing_costs_is_what_is_documented() {
    let mut cases = Vec::new();
    for (member, counter, capture_us, overhead) in [
        (1, 0, None, 23),
        (1, 200, None, 24),
        (31, 0xff_ffff, None, 26),
        (31, 0xff_ffff, Some(0), 34),
        (8_191, 0xffff_ffff, Some(0), 36),
        (u32::MAX, u64::MAX - 1, Some(0), OVERHEAD_BYTES),
    ] {
        let mut sealer = sealer(MemberId(member));
        sealer.streams[1].counter = counter;
        let time = MediaTime {
            timestamp: 0,
            capture_us,
        };
        cases.push((sealer.seal(CAMERA, time, &[0; 100]).len() - 100, overhead));
    }
    assert!(cases.iter().all(|(got, want)| got == want), "{cases:?}");
}

#[test]
fn another_member_salt_or_room_opens_nothing() {
    let sealed = sealer(A).seal(SOUND, at(0), b"secret");
    let keys = RoomKeys::from_root([9; 32]);
    let mut unknown = MediaOpener::new(&keys);
    assert_eq!(unknown.open(&sealed), None, "no member known");
    unknown.set_member(B, salt(0));
    assert_eq!(unknown.open(&sealed), None, "only another known");
    unknown.set_member(A, salt(1));
    assert_eq!(unknown.open(&sealed), None, "another seat's salt");
    unknown.set_member(A, salt(0));
    assert!(unknown.open(&sealed).is_some());
    unknown.remove_member(A);
    assert_eq!(unknown.open(&sealed), None, "gone");
    let mut elsewhere = MediaOpener::new(&RoomKeys::from_root([8; 32]));
    elsewhere.set_member(A, salt(0));
    assert_eq!(elsewhere.open(&sealed), None, "another room");
    // The header says B or another stream: authenticated, and another key besides.
    for kid in [u64::from(B.0) << 3, u64::from(A.0) << 3 | 1] {
        let mut renamed = sealed.to_vec();
        renamed[1] = kid as u8;
        assert_eq!(opener().open(&renamed), None, "{kid}");
    }
}

#[test]
fn a_full_room_takes_no_more_and_still_renews_salts() {
    let mut opener = MediaOpener::new(&RoomKeys::from_root([9; 32]));
    for member in 0..limits::ROOM_MEMBERS as u32 + 1 {
        opener.set_member(MemberId(member), salt(1));
    }
    let last = MemberId(limits::ROOM_MEMBERS as u32);
    opener.set_member(MemberId(0), salt(0));
    opener.set_member(last, salt(0));
    let sealed = sealer(MemberId(0)).seal(SOUND, at(0), b"x");
    assert!(opener.open(&sealed).is_some());
    let sealed = sealer(last).seal(SOUND, at(0), b"x");
    assert_eq!(opener.open(&sealed), None);
}

/// Any bit changed, any cut, any addition, any noise: refused, and the genuine bytes still open.
#[test]
fn altered_bytes_and_garbage_never_open_nor_panic() {
    let mut opener = opener();
    let sealed = sealer(A).seal(CAMERA, at(5), b"a picture worth changing");
    for bit in 0..sealed.len() * 8 {
        let mut altered = sealed.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(opener.open(&altered), None, "bit {bit}");
    }
    for end in 0..sealed.len() {
        assert_eq!(opener.open(&sealed[..end]), None, "cut at {end}");
    }
    assert_eq!(opener.open(&[&sealed[..], b"x"].concat()), None);
    let mut seed = SeedStream::new([6; 32]);
    for _ in 0..2_000 {
        let [length, ..] = seed.draw::<1>();
        let mut noise = seed.draw::<64>();
        // Half of it addresses somebody known.
        if length & 1 == 0 {
            noise[..2].copy_from_slice(&[0x80, (A.0 << 3) as u8]);
        }
        assert_eq!(opener.open(&noise[..usize::from(length) % 65]), None);
    }
    assert_eq!(
        opener.open(&sealed).unwrap().payload,
        &b"a picture worth changing"[..]
    );
}

/// Authentic plaintext without a trailer this version knows: as a later version might send.
#[test]
fn unknown_trailers_are_refused() {
    let mut opener = opener();
    for plain in [&b""[..], &[0], &[0, 0, 0, 0], &[0, 0, 0, 0, 2], &[1; 12]] {
        let header = SframeHeader::new(kid(A, 0), 0);
        let mut sealed = Vec::from(&header);
        let mut data = plain.to_vec();
        let mut tag = [0; TAG_BYTES];
        let view = EncryptionBufferView {
            aad: &mut sealed,
            data: &mut data,
            tag: &mut tag,
        };
        sealer(A).streams[0].key.encrypt(view, 0).unwrap();
        let sealed = [sealed, data, tag.to_vec()].concat();
        assert_eq!(opener.open(&sealed), None, "{plain:?}");
    }
}

#[test]
fn our_header_reader_agrees_with_the_crate() {
    let mut seed = SeedStream::new([7; 32]);
    for _ in 0..2_000 {
        let bytes = seed.draw::<17>();
        let length = usize::from(seed.draw::<1>()[0]) % 18;
        let ours = Header::parse(&bytes[..length]);
        let theirs = SframeHeader::deserialize(&bytes[..length]).ok();
        assert_eq!(
            ours.map(|header| (header.kid, header.counter)),
            theirs.map(|header| (header.key_id(), header.counter())),
            "{bytes:?} {length}"
        );
    }
}

/// Chunks are used again: what is kept stays intact while many packets pass.
#[test]
fn kept_packets_do_not_change() {
    let (mut sealer, mut opener) = (sealer(A), opener());
    let mut kept = Vec::new();
    for number in 0..500_u32 {
        let payload = vec![number as u8; 1_000];
        let sealed = sealer.seal(CAMERA, at(number), &payload);
        let opened = opener.open(&sealed).unwrap();
        if number % 7 == 0 {
            kept.push((sealed, opened.payload, payload));
        }
    }
    for (sealed, opened, payload) in kept {
        assert_eq!(opened, payload);
        assert_eq!(opener.open(&sealed).unwrap().payload, payload);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The vectors of `docs/e2ee.md`: the key schedule computed here from the RFCs, the sealed bytes
/// by an independent implementation.
#[test]
fn test_vectors_hold() {
    let text = include_str!("../tests/vectors.txt");
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
            .unwrap()
    };
    let expand = |prk: &[u8], info: &[&[u8]], bytes: usize| {
        let mut key = vec![0; bytes];
        let hkdf = Hkdf::<Sha256>::from_prk(prk).unwrap();
        hkdf.expand_multi_info(info, &mut key).unwrap();
        key
    };
    let media = expand(&[9; 32], &[b"visavis media key v1"], 32);
    let base = expand(&media, &[b"visavis sender v1", &salt(0)], 32);
    assert_eq!(hex(&base), value("media_base_key"));
    for (name, kid) in [("sound", 7_u64 << 3), ("picture", 7 << 3 | 1)] {
        let (secret, _) = Hkdf::<Sha256>::extract(None, &base);
        let suite = 4_u16.to_be_bytes();
        let label = |what: &[u8], bytes| {
            let info = [b"SFrame 1.0 Secret ", what, &kid.to_be_bytes(), &suite];
            hex(&expand(&secret, &info, bytes))
        };
        assert_eq!(label(b"key ", 16), value(&format!("media_{name}_key")));
        assert_eq!(label(b"salt ", 12), value(&format!("media_{name}_salt")));
    }

    let mut sealer = sealer(A);
    let captured = MediaTime {
        timestamp: 960,
        capture_us: Some(1_700_000_000_000_000),
    };
    let sound = sealer.seal(SOUND, captured, b"sound");
    assert_eq!(hex(&sound), value("media_sound_sealed"));
    for _ in 0..9 {
        sealer.seal(CAMERA, at(0), b"");
    }
    let picture = sealer.seal(CAMERA, at(93_000), b"picture");
    assert_eq!(hex(&picture), value("media_picture_sealed"));
}

#[test]
fn a_renewed_sealer_goes_on_counting_and_opens_with_either_salt_until_the_new_one_is_used() {
    let keys = RoomKeys::from_root([9; 32]);
    let mut sealer = MediaSealer::new(&keys, A, salt(0));
    let mut opener = MediaOpener::new(&keys);
    opener.set_member(A, salt(0));
    let stream = MediaStream {
        source: MediaSource::Microphone,
        layer: 0,
    };
    let time = MediaTime {
        timestamp: 0,
        capture_us: None,
    };
    let seal = |sealer: &mut MediaSealer| sealer.seal(stream, time, b"opus");
    let [first, late] = [(); 2].map(|()| seal(&mut sealer));
    assert_eq!(opener.open(&first).map(|it| it.counter), Some(0));
    // Announced, not used yet, and announced once more.
    opener.set_member(A, salt(1));
    opener.set_member(A, salt(2));
    assert_eq!(opener.open(&late).map(|it| it.counter), Some(1));
    sealer.renew(&keys, salt(2));
    let fresh = seal(&mut sealer);
    assert_eq!(opener.open(&fresh).map(|it| it.counter), Some(2));
    assert_eq!(opener.open(&late), None, "the old one is over");
    // Who was not told opens nothing.
    let mut removed = MediaOpener::new(&keys);
    removed.set_member(A, salt(0));
    assert!(removed.open(&first).is_some() && removed.open(&fresh).is_none());
    // Nothing is left of who was forgotten.
    opener.remove_member(A);
    opener.set_member(A, salt(3));
    assert_eq!(opener.open(&fresh), None);
}
