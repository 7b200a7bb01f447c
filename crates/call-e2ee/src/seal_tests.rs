//! Tests of [`super`]: what opens, and everything that must not.

use super::*;
use crate::SeedStream;

const A: MemberId = MemberId(1);
const B: MemberId = MemberId(2);
const C: MemberId = MemberId(3);

fn keys() -> RoomKeys {
    RoomKeys::from_root([9; 32])
}

/// Sealers of A, B and C that know each other's profiles.
fn room() -> [SignalSealer; 3] {
    let keys = keys();
    let mut room = [1, 2, 3].map(|byte| SignalSealer::new(&keys, [byte; SESSION_BYTES]));
    let profiles = [0, 1, 2].map(|at: usize| room[at].seal_profile(b"profile").unwrap());
    for (mine, sealer) in room.iter_mut().enumerate() {
        for (theirs, profile) in profiles
            .iter()
            .enumerate()
            .filter(|(theirs, _)| *theirs != mine)
        {
            sealer
                .open_profile(MemberId(theirs as u32 + 1), profile)
                .unwrap();
        }
    }
    room
}

#[test]
fn the_addressee_opens_a_signal_once() {
    let [mut a, mut b, mut c] = room();
    let sealed = a.seal(A, B, b"offer").unwrap();
    assert_eq!(c.open(A, C, &sealed), Err(SealError::Broken), "misdirected");
    assert_eq!(
        c.open(A, B, &sealed),
        Err(SealError::Broken),
        "for another session"
    );
    assert_eq!(
        b.open(C, B, &sealed),
        Err(SealError::Broken),
        "another sender"
    );
    assert_eq!(a.open(B, A, &sealed), Err(SealError::Broken), "reflected");
    assert_eq!(b.open(A, B, &sealed).unwrap(), b"offer");
    assert_eq!(b.open(A, B, &sealed), Err(SealError::Replayed));
}

#[test]
fn a_signal_of_an_earlier_call_with_equal_ids_does_not_open() {
    let [mut a, _, _] = room();
    let sealed = a.seal(A, B, b"offer").unwrap();
    let mut later_b = SignalSealer::new(&keys(), [22; SESSION_BYTES]);
    later_b
        .open_profile(A, &a.seal_profile(b"profile").unwrap())
        .unwrap();
    assert_eq!(later_b.open(A, B, &sealed), Err(SealError::Broken));
}

#[test]
fn order_does_not_matter_within_the_window() {
    let [mut a, mut b, _] = room();
    let sealed: Vec<String> = (0..60_u8).map(|n| a.seal(A, B, &[n]).unwrap()).collect();
    for (n, text) in sealed.iter().enumerate().rev() {
        assert_eq!(b.open(A, B, text).unwrap(), [n as u8]);
    }
    assert!(
        sealed
            .iter()
            .all(|text| b.open(A, B, text) == Err(SealError::Replayed))
    );
}

#[test]
fn profiles_introduce_sessions_and_never_go_back() {
    let keys = keys();
    let mut a = SignalSealer::new(&keys, [1; SESSION_BYTES]);
    let mut b = SignalSealer::new(&keys, [2; SESSION_BYTES]);
    assert_eq!(a.seal(A, B, b"x"), Err(SealError::UnknownMember));
    let old = b.seal_profile(b"old").unwrap();
    let new = b.seal_profile(b"new").unwrap();
    assert_eq!(a.open_profile(B, &new).unwrap(), b"new");
    assert_eq!(
        a.open_profile(B, &new).unwrap(),
        b"new",
        "a roster repeats it"
    );
    assert_eq!(a.open_profile(B, &old), Err(SealError::Replayed));
    let mut stranger = SignalSealer::new(&keys, [3; SESSION_BYTES]);
    let foreign = stranger.seal_profile(b"foreign").unwrap();
    assert_eq!(
        a.open_profile(B, &foreign),
        Err(SealError::Broken),
        "another session"
    );
    let own = a.seal_profile(b"own").unwrap();
    assert_eq!(
        a.open_profile(C, &own),
        Err(SealError::Replayed),
        "one's own"
    );
    assert!(a.seal(A, B, b"x").is_ok());
    a.forget(B);
    assert_eq!(a.seal(A, B, b"x"), Err(SealError::UnknownMember));
}

#[test]
fn exchanged_profiles_break_the_signals_of_both() {
    let keys = keys();
    let mut sealers = [1, 2, 3].map(|byte| SignalSealer::new(&keys, [byte; SESSION_BYTES]));
    let [_, b_profile, c_profile] =
        [0, 1, 2].map(|at: usize| sealers[at].seal_profile(b"p").unwrap());
    let a_profile = sealers[0].seal_profile(b"p").unwrap();
    let [a, b, _] = &mut sealers;
    a.open_profile(B, &c_profile).unwrap();
    a.open_profile(C, &b_profile).unwrap();
    b.open_profile(A, &a_profile).unwrap();
    let sealed = b.seal(B, A, b"offer").unwrap();
    assert_eq!(a.open(B, A, &sealed), Err(SealError::Broken));
    let sealed = a.seal(A, B, b"offer").unwrap();
    assert_eq!(b.open(A, B, &sealed), Err(SealError::Broken));
}

#[test]
fn another_room_opens_nothing() {
    let [mut a, _, _] = room();
    let mut other = SignalSealer::new(&RoomKeys::from_root([8; 32]), [7; SESSION_BYTES]);
    assert_eq!(
        other.open_profile(A, &a.seal_profile(b"p").unwrap()),
        Err(SealError::Broken)
    );
}

#[test]
fn signals_and_profiles_are_not_interchangeable() {
    let [mut a, mut b, _] = room();
    let profile = a.seal_profile(b"p").unwrap();
    assert_eq!(b.open(A, B, &profile), Err(SealError::Broken));
    let signal = a.seal(A, B, b"s").unwrap();
    assert_eq!(b.open_profile(A, &signal), Err(SealError::Broken));
}

#[test]
fn lengths_are_bounded_both_ways() {
    let [mut a, mut b, _] = room();
    let largest = limits::SEALED_SIGNAL_CHARS / 4 * 3 - 1 - NONCE_BYTES - TAG_BYTES;
    let sealed = a.seal(A, B, &vec![0; largest]).unwrap();
    assert_eq!(sealed.len(), limits::SEALED_SIGNAL_CHARS);
    assert_eq!(b.open(A, B, &sealed).unwrap().len(), largest);
    assert_eq!(a.seal(A, B, &vec![0; largest + 1]), Err(SealError::TooLong));
    assert_eq!(
        b.open(A, B, &"A".repeat(limits::SEALED_SIGNAL_CHARS + 4)),
        Err(SealError::TooLong)
    );
    assert_eq!(
        a.seal_profile(&vec![0; limits::SEALED_PROFILE_CHARS]),
        Err(SealError::TooLong)
    );
    assert_eq!(
        b.open_profile(A, &"A".repeat(limits::SEALED_PROFILE_CHARS + 4)),
        Err(SealError::TooLong)
    );
}

#[test]
fn a_room_full_of_sessions_takes_no_more() {
    let keys = keys();
    let mut a = SignalSealer::new(&keys, [0xff; SESSION_BYTES]);
    for n in 0..=limits::ROOM_MEMBERS {
        let profile = SignalSealer::new(&keys, [n as u8; SESSION_BYTES])
            .seal_profile(b"p")
            .unwrap();
        let opened = a.open_profile(MemberId(n as u32), &profile);
        assert_eq!(
            opened.is_ok(),
            n < limits::ROOM_MEMBERS,
            "member {n}: {opened:?}"
        );
    }
}

/// Any byte changed, any cut, any noise: refused, and the genuine text still opens afterwards.
#[test]
fn altered_text_and_garbage_never_open_nor_panic() {
    let [mut a, mut b, _] = room();
    let sealed = a.seal(A, B, b"an offer worth changing").unwrap();
    let bytes = STANDARD.decode(&sealed).unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(
            b.open(A, B, &STANDARD.encode(&altered)).is_err(),
            "byte {at}"
        );
        assert!(
            b.open(A, B, &STANDARD.encode(&bytes[..at])).is_err(),
            "cut at {at}"
        );
        assert!(b.open(A, B, &sealed[..at]).is_err(), "text cut at {at}");
    }
    let mut seed = SeedStream::new([6; 32]);
    for _ in 0..500 {
        let noise: [u8; 96] = seed.draw();
        let text = STANDARD.encode(noise);
        assert!(b.open(A, B, &text).is_err() && b.open_profile(A, &text).is_err());
        assert!(b.open(A, B, &String::from_utf8_lossy(&noise)).is_err());
    }
    assert_eq!(b.open(A, B, &sealed).unwrap(), b"an offer worth changing");
}

/// The sealed vectors of `docs/e2ee.md`.
#[test]
fn test_vectors_hold() {
    let keys = RoomKeys::from_root([9; 32]);
    let mut a = SignalSealer::new(&keys, std::array::from_fn(|at| at as u8));
    let mut b = SignalSealer::new(&keys, std::array::from_fn(|at| 0x10 + at as u8));
    let profile = a
        .seal_profile(br#"{"name":"Anna","muted":false,"camera_on":true}"#)
        .unwrap();
    a.open_profile(B, &b.seal_profile(b"{}").unwrap()).unwrap();
    let signal = a.seal(A, B, br#"{"type":"bye"}"#).unwrap();
    let text = include_str!("../tests/vectors.txt");
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
            .unwrap()
    };
    assert_eq!(
        (profile.as_str(), signal.as_str()),
        (value("sealed_profile"), value("sealed_signal"))
    );
    b.open_profile(A, value("sealed_profile")).unwrap();
    assert_eq!(
        b.open(A, B, value("sealed_signal")).unwrap(),
        br#"{"type":"bye"}"#
    );
}
