//! Sound over two paths in virtual time, and whose media is taken at all.

use std::collections::BTreeMap;

use call_e2ee::{MediaSealer, MediaStream, MediaTime};
use call_media::audio::{
    AudioEncoder, AudioEncoderConfig, BLOCK_SAMPLES, FRAME_SAMPLES, JitterStats, OpusEncoder,
    RedWriter,
};
use call_protocol::VideoCodec;

use super::*;

const MEMBER: MemberId = MemberId(2);
const MESH: LinkId = LinkId {
    peer: LinkPeer::Member(MEMBER),
    generation: 1,
};
const SFU: LinkId = LinkId {
    peer: LinkPeer::Sfu,
    generation: 2,
};

fn receiving(is_sealed: bool) -> (Receiving, Arc<Mutex<Mixer>>) {
    let mixer = Arc::new(Mutex::new(Mixer::new()));
    let mut receiving = Receiving::new(Arc::clone(&mixer), is_sealed);
    receiving.set_keys(&RoomKeys::from_root([1; 32]));
    receiving.add_member(MEMBER);
    (receiving, mixer)
}

fn tone(count: usize) -> Vec<Bytes> {
    let mut encoder = OpusEncoder::new(AudioEncoderConfig::default()).unwrap();
    (0..count)
        .map(|i| {
            let frame = std::array::from_fn(|n| {
                let at = (i * FRAME_SAMPLES + n) as f32;
                (at * 440.0 * std::f32::consts::TAU / 48_000.0).sin() * 0.5
            });
            encoder.encode(&frame).unwrap().unwrap()
        })
        .collect()
}

/// A path of the sound: when it carries, how late, and which packets it loses.
#[derive(Clone, Copy)]
struct Path {
    link: LinkId,
    from_ms: u64,
    until_ms: u64,
    delay_ms: u64,
    /// Of so many packets, from which one on and how many.
    lost_every: u64,
    lost_at: u64,
    lost_run: u64,
}

/// Sends 10 s of a tone over both paths, sealed with copies of earlier frames or unsealed; returns the
/// jitter buffer's counters and the flows.
fn play(copies: Option<usize>, paths: [Path; 2]) -> (JitterStats, Vec<Received>) {
    let is_sealed = copies.is_some();
    let mut red = RedWriter::default();
    red.set_copies(copies.unwrap_or(0));
    let (mut receiving, mixer) = receiving(is_sealed);
    let start = Instant::now() + Duration::from_secs(3_600);
    let mut wire: BTreeMap<u64, Vec<Incoming>> = BTreeMap::new();
    let packets = tone(500);
    for (n, payload) in packets.iter().enumerate() {
        let n = n as u64;
        let at_ms = n * 20;
        let payload = match is_sealed {
            true => red.write(n as u32 * 960, payload),
            false => payload.clone(),
        };
        for (index, path) in paths.iter().enumerate() {
            let lost = path.lost_at..path.lost_at + path.lost_run;
            let is_lost = path.lost_every > 0 && lost.contains(&(n % path.lost_every));
            if at_ms < path.from_ms || at_ms >= path.until_ms || is_lost {
                continue;
            }
            let own = (index as u32 + 1) * 1_000_003;
            let timestamp = (n as u32 * 960).wrapping_add(if is_sealed { 0 } else { own });
            let incoming = Incoming {
                member: MEMBER,
                source: MediaSource::Microphone,
                layer: 0,
                codec: Codec::Opus,
                origin: Origin {
                    link: path.link,
                    ssrc: 1,
                },
                sequence: (n as u32 + own) as u16,
                marker: false,
                payload: payload.clone(),
                timestamp,
                counter: is_sealed.then_some(n + 65_400),
                capture_us: None,
            };
            wire.entry(at_ms + path.delay_ms)
                .or_default()
                .push(incoming);
        }
    }
    let mut flows = Vec::new();
    let mut block = [0.0; BLOCK_SAMPLES];
    for ms in 0..9_900 {
        let now = start + Duration::from_millis(ms);
        for path in paths
            .iter()
            .filter(|path| path.until_ms.saturating_add(300) == ms)
        {
            receiving.remove_link(now, path.link);
        }
        for incoming in wire.remove(&ms).unwrap_or_default() {
            receiving.handle_incoming(now, incoming);
        }
        flows.extend(std::iter::from_fn(|| receiving.poll_output()));
        if ms % 10 == 0 {
            mixer.lock().unwrap().mix(now, &mut block);
        }
    }
    let stats = mixer.lock().unwrap().receiver(MEMBER).unwrap().stats();
    (stats, flows)
}

fn switch(from_ms: u64, to_ms: u64, overlap: (u64, u64)) -> [Path; 2] {
    let path = |link, from_ms, until_ms, delay_ms| Path {
        link,
        from_ms,
        until_ms,
        delay_ms,
        lost_every: 0,
        lost_at: 0,
        lost_run: 1,
    };
    [
        path(MESH, 0, overlap.1, from_ms),
        path(SFU, overlap.0, u64::MAX, to_ms),
    ]
}

#[test]
fn sealed_sound_over_two_paths_is_one_stream() {
    for (from_ms, to_ms) in [(5, 45), (45, 5), (20, 20), (5, 80), (80, 5)] {
        let case = format!("{from_ms} to {to_ms} ms");
        let (stats, flows) = play(Some(0), switch(from_ms, to_ms, (3_000, 6_000)));
        assert_eq!((stats.lost, stats.duplicated), (0, 0), "{case}: {stats:?}");
        assert!(stats.received >= 490, "{case}: {stats:?}");
        // A later path stretches the sound where the two meet; nothing is made up beyond that.
        let jump_frames = u64::from(to_ms > from_ms) * (to_ms.abs_diff(from_ms) / 20 + 1);
        assert!(stats.concealed <= jump_frames, "{case}: {stats:?}");
        let flow = |link| Received::Flows {
            link,
            member: MEMBER,
            source: MediaSource::Microphone,
        };
        assert_eq!(flows, [flow(MESH), flow(SFU)], "{case}");
    }
}

/// What one path loses the other brings.
#[test]
fn loss_on_either_path_is_made_good_by_the_other() {
    for (mesh_ms, sfu_ms) in [(5, 25), (25, 5)] {
        let mut paths = switch(mesh_ms, sfu_ms, (0, 9_000));
        for (index, path) in paths.iter_mut().enumerate() {
            (path.lost_every, path.lost_at) = (5, index as u64);
        }
        paths[1].until_ms = 9_000;
        let (stats, _) = play(Some(0), paths);
        assert_eq!((stats.lost, stats.duplicated), (0, 0), "{stats:?}");
        assert!(stats.concealed <= 3, "{stats:?}");
    }
}

/// Two packets in a row of every ten are lost, and there is no other path.
#[test]
fn copies_make_good_what_the_only_path_loses() {
    for (copies, concealed) in [(0, 96), (1, 48), (2, 0), (3, 0)] {
        let mut paths = switch(5, 5, (20_000, 20_000));
        (paths[0].lost_every, paths[0].lost_at, paths[0].lost_run) = (10, 4, 2);
        let (stats, _) = play(Some(copies), paths);
        let whole = stats.concealed + stats.repaired;
        assert!(whole.abs_diff(concealed) <= 3, "{copies}: {stats:?}");
        assert_eq!(stats.copied > 40, copies > 0, "{copies}: {stats:?}");
        assert_eq!(stats.duplicated, 0, "{copies}: {stats:?}");
    }
}

#[test]
fn unsealed_sound_follows_one_path_at_a_time() {
    for (from_ms, to_ms) in [(5, 45), (45, 5)] {
        let (stats, _) = play(None, switch(from_ms, to_ms, (3_000, 6_000)));
        assert_eq!((stats.lost, stats.duplicated), (0, 0), "{stats:?}");
        assert!(stats.received >= 480 && stats.concealed <= 4, "{stats:?}");
    }
}

fn rtp(codec: Codec, payload: Bytes, csrc: Option<u32>) -> RtpIn {
    RtpIn {
        codec,
        ssrc: 1,
        sequence: 1,
        timestamp: 5,
        marker: true,
        payload,
        arrived_at: Instant::now(),
        level_dbov: None,
        csrc,
    }
}

#[test]
fn what_does_not_open_or_belongs_to_nobody_is_dropped_and_counted() {
    let now = Instant::now();
    let keys = RoomKeys::from_root([1; 32]);
    let time = MediaTime {
        timestamp: 5,
        capture_us: None,
    };
    let sealed_bytes = |member, source, payload| {
        let stream = MediaStream { source, layer: 0 };
        MediaSealer::new(&keys, member, [4; 16]).seal(stream, time, payload)
    };
    let sealed = |member, source| sealed_bytes(member, source, b"\x6fopus");
    let sound = sealed(MEMBER, MediaSource::Microphone);
    let bare = sealed_bytes(MEMBER, MediaSource::Microphone, b"bare");
    let video = Codec::Video(VideoCodec::Vp8);
    let (mut receiving, mixer) = receiving(true);
    receiving.handle_packet(now, SFU, rtp(Codec::Opus, sound.clone(), None));
    assert_eq!(receiving.dropped(), 1, "no salt yet");
    receiving.open_member(MEMBER, [4; 16]);
    receiving.open_member(MemberId(3), [4; 16]);
    receiving.open_member(MemberId(9), [4; 16]);
    receiving.add_member(MemberId(3));
    let other = LinkId {
        peer: LinkPeer::Member(MemberId(3)),
        generation: 4,
    };
    let bad = [
        (SFU, rtp(Codec::Opus, Bytes::from_static(b"plain"), Some(2))),
        (SFU, rtp(Codec::Opus, Bytes::new(), Some(2))),
        (other, rtp(Codec::Opus, sound.clone(), None)),
        (SFU, rtp(video, sound.clone(), None)),
        (SFU, rtp(Codec::Opus, bare, None)),
        (
            SFU,
            rtp(Codec::Opus, sealed(MEMBER, MediaSource::Camera), None),
        ),
        (
            SFU,
            rtp(
                Codec::Opus,
                sealed(MemberId(9), MediaSource::Microphone),
                None,
            ),
        ),
    ];
    for (index, (link, packet)) in bad.into_iter().enumerate() {
        receiving.handle_packet(now, link, packet);
        assert_eq!(receiving.dropped(), 2 + index as u64, "case {index}");
    }
    assert_eq!(receiving.counters(MEMBER).sound_bytes, 0);
    receiving.handle_packet(now, SFU, rtp(Codec::Opus, sound.clone(), None));
    receiving.handle_packet(now, MESH, rtp(Codec::Opus, sound.clone(), None));
    assert_eq!(receiving.counters(MEMBER).sound_bytes, 5, "once");
    assert!(mixer.lock().unwrap().receiver(MEMBER).is_some());
    receiving.remove_member(MEMBER);
    receiving.handle_packet(now, SFU, rtp(Codec::Opus, sound, None));
    assert_eq!(receiving.dropped(), 9);
    assert!(mixer.lock().unwrap().receiver(MEMBER).is_none());
}

#[test]
fn unsealed_media_is_whose_the_path_says() {
    let now = Instant::now();
    let (mut receiving, _) = receiving(false);
    let sound = || Bytes::from_static(b"opus");
    receiving.handle_packet(now, SFU, rtp(Codec::Opus, sound(), None));
    receiving.handle_packet(now, SFU, rtp(Codec::Opus, sound(), Some(7)));
    assert_eq!(receiving.dropped(), 2);
    receiving.handle_packet(now, SFU, rtp(Codec::Opus, sound(), Some(2)));
    assert_eq!(receiving.counters(MEMBER).sound_bytes, 4);
}
