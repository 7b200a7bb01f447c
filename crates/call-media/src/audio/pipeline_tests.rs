//! The pipeline in virtual time.

use super::*;
use crate::audio::codec::{AudioDecoder, AudioEncoderConfig, OpusDecoder, OpusEncoder};
use crate::audio::tone_strength;

fn pipeline(now: Instant) -> SendPipeline {
    let config = AudioEncoderConfig {
        dtx: false,
        ..AudioEncoderConfig::default()
    };
    SendPipeline::new(Box::new(OpusEncoder::new(config).unwrap()), now)
}

/// The `index`th block of a 440 Hz tone at half of full scale.
pub(crate) fn tone_block(index: u64) -> Block {
    std::array::from_fn(|n| {
        let at = (index * BLOCK_SAMPLES as u64 + n as u64) as f32;
        (at * 440.0 * std::f32::consts::TAU / 48_000.0).sin() * 0.5
    })
}

/// The sound of consecutive packets.
pub(crate) fn decode(packets: &[EncodedAudio]) -> Vec<f32> {
    let mut decoder = OpusDecoder::new().unwrap();
    let mut frame = [0.0; FRAME_SAMPLES];
    let mut sound = Vec::new();
    for packet in packets {
        decoder.decode(&packet.payload, &mut frame).unwrap();
        sound.extend_from_slice(&frame);
    }
    sound
}

#[test]
fn packets_carry_time_level_voice_and_one_marker() {
    let start = Instant::now();
    let mut pipeline = pipeline(start);
    let mut packets = Vec::new();
    let mut levels = Vec::new();
    for n in 0..100 {
        let captured_at = start + BLOCK_DURATION * n as u32;
        let output = pipeline.handle_block(&tone_block(n), captured_at, false);
        packets.extend(output.packet);
        levels.extend(output.level);
    }
    assert_eq!(packets.len(), 50);
    for (n, packet) in packets.iter().enumerate() {
        assert_eq!(packet.timestamp_48khz, n as u32 * 960);
        assert_eq!(packet.marker, n == 0);
        assert_eq!(
            packet.captured_at,
            start + Duration::from_millis(n as u64 * 20)
        );
        assert_eq!(packet.level_dbov, 9);
        assert!(packet.voice);
    }
    assert_eq!(
        levels,
        [InputLevel {
            level_dbov: 9,
            voice: true
        }; 10]
    );
    assert!(tone_strength(&decode(&packets)[9_600..], 440.0) > 0.95);
}

#[test]
fn muting_sends_three_silent_packets_and_then_nothing_while_the_meter_goes_on() {
    let start = Instant::now();
    let mut pipeline = pipeline(start);
    let mut outputs = Vec::new();
    for n in 0..301u64 {
        // Muted in the middle of a frame: the half before must not come out either.
        let muted = (101..200).contains(&n);
        let captured_at = start + BLOCK_DURATION * n as u32;
        let output = pipeline.handle_block(&tone_block(n), captured_at, muted);
        outputs.push((n, output.packet, output.level));
    }
    let muted_packets: Vec<_> = outputs
        .iter()
        .filter(|(n, ..)| (101..200).contains(n))
        .filter_map(|(_, packet, _)| packet.clone())
        .collect();
    assert_eq!(muted_packets.len(), TRAILING_FRAMES as usize);
    assert!(
        decode(&muted_packets)
            .iter()
            .all(|sample| sample.abs() < 1e-3)
    );
    assert!(
        muted_packets
            .iter()
            .all(|packet| !packet.voice && packet.level_dbov == SILENCE_DBOV)
    );
    let muted_levels = outputs
        .iter()
        .filter(|(n, _, level)| (101..200).contains(n) && level.is_some());
    assert_eq!(muted_levels.count(), 10);
    assert!(
        outputs
            .iter()
            .filter_map(|(_, _, level)| *level)
            .all(|level| level.voice)
    );

    let after = outputs
        .iter()
        .find(|(n, packet, _)| *n >= 200 && packet.is_some())
        .unwrap();
    let packet = after.1.as_ref().unwrap();
    assert!(packet.marker);
    assert_eq!(packet.timestamp_48khz, 100 * 960);
}

#[test]
fn time_without_a_device_passes_in_the_timestamp() {
    let start = Instant::now();
    let mut pipeline = pipeline(start);
    let mut packets = Vec::new();
    let mut feed = |from_ms: u64, blocks: u64| {
        for n in 0..blocks {
            let captured_at = start + Duration::from_millis(from_ms + n * 10);
            packets.extend(
                pipeline
                    .handle_block(&tone_block(n), captured_at, false)
                    .packet,
            );
        }
    };
    feed(0, 4);
    feed(1_040, 5);
    // Half a frame was pending; jitter below the gap's threshold changes nothing.
    feed(2_090, 2);
    let stamps: Vec<_> = packets
        .iter()
        .map(|p| (p.timestamp_48khz / 48, p.marker))
        .collect();
    assert_eq!(
        stamps,
        [
            (0, true),
            (20, false),
            (1_040, true),
            (1_060, false),
            (2_080, true)
        ]
    );
}

#[test]
fn silence_pauses_the_stream_with_dtx_and_sound_resumes_it_in_time() {
    let start = Instant::now();
    let encoder = OpusEncoder::new(AudioEncoderConfig::default()).unwrap();
    let mut pipeline = SendPipeline::new(Box::new(encoder), start);
    let mut packets = Vec::new();
    for n in 0..400u64 {
        let block = if (100..300).contains(&n) {
            [0.0; BLOCK_SAMPLES]
        } else {
            tone_block(n)
        };
        let captured_at = start + BLOCK_DURATION * n as u32;
        packets.extend(pipeline.handle_block(&block, captured_at, false).packet);
    }
    assert!((100..140).contains(&packets.len()), "{}", packets.len());
    let resumed = packets
        .iter()
        .find(|packet| packet.timestamp_48khz >= 150 * 960)
        .unwrap();
    assert!(resumed.marker);
    assert_eq!(packets.last().unwrap().timestamp_48khz, 199 * 960);
}
