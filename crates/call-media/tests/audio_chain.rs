//! A tone from the sender through a bad network to the mixer, in virtual time where it matters.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use call_media::audio::{
    AudioEncoder, AudioEncoderConfig, AudioSender, AudioSenderConfig, BLOCK_SAMPLES, EncodedAudio,
    FRAME_SAMPLES, Mixer, OpusEncoder, WavWriter, level_dbov, read_wav, tone_strength,
};
use call_protocol::MemberId;

const MEMBER: MemberId = MemberId(3);

/// Deterministic noise in 0..below.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn tone_frame(index: usize) -> [f32; FRAME_SAMPLES] {
    std::array::from_fn(|n| {
        let at = (index * FRAME_SAMPLES + n) as f32;
        (at * 440.0 * std::f32::consts::TAU / 48_000.0).sin() * 0.5
    })
}

#[test]
fn a_tone_survives_five_percent_loss_and_reordering() {
    const FRAMES: usize = 1_000;
    let mut random = Random(42);
    let mut encoder = OpusEncoder::new(AudioEncoderConfig::default()).unwrap();
    let mut arrivals: BTreeMap<u64, Vec<(u16, u32, bytes::Bytes)>> = BTreeMap::new();
    let mut lost = 0;
    for n in 0..FRAMES {
        let payload = encoder
            .encode(&tone_frame(n))
            .unwrap()
            .expect("a tone is never DTX");
        if random.next(20) == 0 && n > 0 {
            lost += 1;
            continue;
        }
        // Up to 45 ms of jitter: a packet overtakes its two predecessors.
        let at_ms = n as u64 * 20 + random.next(46);
        let seq = (n as u16).wrapping_add(65_000);
        let timestamp = (n as u32 * 960).wrapping_add(u32::MAX - 100_000);
        arrivals
            .entry(at_ms)
            .or_default()
            .push((seq, timestamp, payload));
    }

    let start = Instant::now();
    let mut mixer = Mixer::new();
    mixer.add_member(MEMBER).unwrap();
    let (mut sound, mut block) = (Vec::new(), [0.0; BLOCK_SAMPLES]);
    for ms in 0..FRAMES as u64 * 20 + 2_500 {
        let now = start + Duration::from_millis(ms);
        for (seq, timestamp, payload) in arrivals.remove(&ms).into_iter().flatten() {
            mixer.handle_packet(now, MEMBER, seq, timestamp, payload);
        }
        if ms % 10 == 0 {
            mixer.mix(now, &mut block);
            sound.extend_from_slice(&block);
        }
    }

    let loud = |block: &[f32]| level_dbov(block) < 40;
    let blocks: Vec<&[f32]> = sound.chunks(BLOCK_SAMPLES).collect();
    let first = blocks
        .iter()
        .position(|block| loud(block))
        .expect("something is heard");
    let last = blocks
        .iter()
        .rposition(|block| loud(block))
        .expect("something is heard");
    let heard_ms = (last - first + 1) as f64 * 10.0;
    let sent_ms = FRAMES as f64 * 20.0;
    assert!(
        (heard_ms / sent_ms - 1.0).abs() < 0.01,
        "heard {heard_ms} ms of {sent_ms} ms"
    );
    let strength = tone_strength(&sound[first * BLOCK_SAMPLES..=last * BLOCK_SAMPLES], 440.0);
    assert!(strength > 0.9, "tone strength {strength}");

    let stats = mixer
        .receiver(MEMBER)
        .expect("the member was added")
        .stats();
    eprintln!("{lost} of {FRAMES} packets lost, tone strength {strength:.3}, {stats:?}");
    assert_eq!(stats.received as usize, FRAMES - lost);
    assert!(
        (lost as u64..=lost as u64 + 5).contains(&(stats.lost + stats.late)),
        "{stats:?}"
    );
    assert!(stats.concealed + stats.repaired >= lost as u64, "{stats:?}");
    // Of two in a row only the second has its redundancy.
    assert!(stats.repaired >= lost as u64 * 8 / 10, "{stats:?}");
}

/// The whole path in real time: WAV file, sender thread, mixer, recording.
#[test]
fn a_wav_file_is_heard_muted_and_heard_again_at_the_other_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("voice.wav");
    let mut writer = WavWriter::create(&file).unwrap();
    for n in 0..50 {
        writer.write(&tone_frame(n)).unwrap();
    }
    writer.finish().unwrap();

    let (to_test, packets) = mpsc::sync_channel::<EncodedAudio>(256);
    let config = AudioSenderConfig {
        source: file
            .to_str()
            .expect("a temporary path is text")
            .parse()
            .unwrap(),
        ..AudioSenderConfig::default()
    };
    let on_packet = move |packet| {
        let _ = to_test.try_send(packet);
    };
    let sender = AudioSender::start(config, on_packet, |_| {}, |_| {}).unwrap();
    let patience = Duration::from_secs(10);
    let mut received: Vec<EncodedAudio> = (0..50)
        .map(|_| packets.recv_timeout(patience).unwrap())
        .collect();
    sender.set_muted(true);
    received.extend(packets.try_iter());
    let muted_from = received.len();
    // The three packets of encoded silence, and then nothing: the next packet follows unmuting.
    received.extend((0..3).map(|_| packets.recv_timeout(patience).unwrap()));
    assert!(packets.recv_timeout(Duration::from_millis(300)).is_err());
    sender.set_muted(false);
    received.extend((0..50).map(|_| packets.recv_timeout(patience).unwrap()));
    sender.stop();

    let recording = dir.path().join("recording.wav");
    let mut writer = WavWriter::create(&recording).unwrap();
    let mut mixer = Mixer::new();
    mixer.add_member(MEMBER).unwrap();
    let mut mixed = [0.0; BLOCK_SAMPLES];
    let start = Instant::now();
    let mut queue = received.iter().enumerate().peekable();
    let end = received.last().expect("packets came").timestamp_48khz + 9_600;
    for tick in 0..u64::from(end) / 480 {
        let now = start + Duration::from_millis(tick * 10);
        while let Some((seq, packet)) =
            queue.next_if(|(_, packet)| u64::from(packet.timestamp_48khz) <= tick * 480)
        {
            let (payload, timestamp) = (packet.payload.clone(), packet.timestamp_48khz);
            mixer.handle_packet(now, MEMBER, seq as u16, timestamp, payload);
        }
        mixer.mix_with(now, &mut mixed, |member, block| {
            assert_eq!(member, MEMBER);
            writer.write(block).expect("the disk takes it");
        });
    }
    drop(writer);

    let stats = mixer
        .receiver(MEMBER)
        .expect("the member was added")
        .stats();
    assert_eq!(
        (stats.lost, stats.late, stats.concealed),
        (0, 0, 0),
        "a mute is not loss"
    );
    let sound = read_wav(&recording).unwrap().samples;
    let muted_at = received[muted_from].timestamp_48khz as usize;
    let resumed = received[muted_from + 3].timestamp_48khz as usize;
    assert!(resumed - muted_at >= 48_000 * 3 / 10);
    // Playout lags by 40 to 60 ms.
    assert!(tone_strength(&sound[9_600..muted_at], 440.0) > 0.9);
    assert!(level_dbov(&sound[muted_at + 7_200..resumed]) > 60);
    assert!(tone_strength(&sound[resumed + 7_200..], 440.0) > 0.9);
}
