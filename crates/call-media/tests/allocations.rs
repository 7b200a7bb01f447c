//! A steady call allocates nothing per frame: pictures from the source to the other side's
//! pixels, and sound from blocks to the mixed output, in virtual time on one thread.
//!
//! What is counted is what goes through Rust's allocator on this thread. The C libraries of the
//! codecs have allocators of their own and are not seen here.
#![allow(clippy::print_stdout)]
#![allow(
    unsafe_code,
    reason = "a global allocator that counts cannot be written without"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_media::audio::{
    AudioEncoder, AudioEncoderConfig, BLOCK_SAMPLES, FRAME_SAMPLES, Mixer, OpusEncoder,
};
use call_media::frame::{I420Frame, LatestSlot};
use call_media::video::codec::{EncoderConfig, VideoDecoder, new_decoder};
use call_media::video::layers::{EncodeSettings, LayerTarget, LayeredEncoder};
use call_media::video::rtp::{RtpVideoPacket, VideoAssembler, VideoPacketizer};
use call_media::video::synthetic::{Canvas, Pattern, read_mark};
use call_protocol::{MemberId, VideoCodec};

struct Counting;

thread_local! {
    // Without a destructor and const, so that using them never allocates.
    static IS_ARMED: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    if IS_ARMED.try_with(Cell::get).unwrap_or(false) {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = BYTES.try_with(|sum| sum.set(sum.get() + bytes as u64));
    }
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and bytes of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    allocations: u64,
    bytes: u64,
}

impl Tally {
    /// Runs a stage and counts, unless the call is still warming up.
    fn count<T>(&mut self, is_steady: bool, stage: impl FnOnce() -> T) -> T {
        let read = || (ALLOCATIONS.with(Cell::get), BYTES.with(Cell::get));
        let before = read();
        IS_ARMED.with(|armed| armed.set(is_steady));
        let result = stage();
        IS_ARMED.with(|armed| armed.set(false));
        let after = read();
        self.allocations += after.0 - before.0;
        self.bytes += after.1 - before.1;
        result
    }
}

const FPS: u32 = 30;
const SECONDS: u32 = 10;
/// The pools of a slow stream fill slowly.
const WARM_UP_SECONDS: u32 = 3;
/// Packets a transport keeps for retransmission: half a second.
const KEPT_PACKETS: usize = 50;
const LAYERS: usize = 2;

/// Each stage's own count, so that a failure names the stage.
#[derive(Debug, Default, PartialEq, Eq)]
struct VideoTally {
    draw: Tally,
    slot: Tally,
    encode: Tally,
    packetize: Tally,
    assemble: Tally,
    decode: Tally,
}

/// Everything on the way of one layer behind the encoder.
struct Path {
    packetizer: VideoPacketizer,
    sequence: u16,
    assembler: VideoAssembler,
    decoder: Box<dyn VideoDecoder>,
    shown: Option<I420Frame>,
    shown_count: u32,
}

impl Path {
    fn new(codec: VideoCodec) -> Self {
        Self {
            packetizer: VideoPacketizer::new(3),
            sequence: 60_000,
            assembler: VideoAssembler::new(codec),
            decoder: new_decoder(codec).expect("a decoder"),
            shown: None,
            shown_count: 0,
        }
    }
}

fn video_call(codec: VideoCodec, temporal_layers: u8) -> VideoTally {
    let mut tally = VideoTally::default();
    let pattern = Pattern::new(480, 270, 5);
    let mut canvas = Canvas::default();
    let slot = LatestSlot::new();
    let mut encoder = LayeredEncoder::new(1);
    let config = EncoderConfig {
        width: 360,
        height: 360,
        fps: FPS,
        bitrate_bps: 500_000,
        temporal_layers,
        ..EncoderConfig::default()
    };
    let mut settings = EncodeSettings::single(codec, config);
    settings.layers[1] = Some(LayerTarget {
        bitrate_bps: 150_000,
        fps: FPS,
    });
    let mut paths: [Path; LAYERS] = std::array::from_fn(|_| Path::new(codec));
    let mut kept: VecDeque<Bytes> = VecDeque::with_capacity(KEPT_PACKETS + 1);
    let start = Instant::now();
    for number in 0..FPS * SECONDS {
        let is_steady = number >= FPS * WARM_UP_SECONDS;
        let now = start + Duration::from_secs(1) * number / FPS;
        let picture = tally.draw.count(is_steady, || {
            pattern.draw_with(&mut canvas, number, FPS, 0, now)
        });
        let picture = tally.slot.count(is_steady, || {
            slot.put(picture);
            slot.take().expect("just put")
        });
        if number == FPS * SECONDS / 2 {
            encoder.request_keyframe(0);
        }
        tally.encode.count(is_steady, || {
            encoder.handle_picture(now, &picture, &settings)
        });
        while let Some(frame) = tally.encode.count(is_steady, || encoder.poll_frame()) {
            let frame = frame.expect("encodes");
            let path = &mut paths[usize::from(frame.layer)];
            let mut payloads = tally
                .packetize
                .count(is_steady, || path.packetizer.packetize(&frame));
            while let Some(payload) = payloads.next() {
                kept.push_back(payload.clone());
                if kept.len() > KEPT_PACKETS {
                    kept.pop_front();
                }
                let packet = RtpVideoPacket {
                    sequence: path.sequence,
                    timestamp: frame.timestamp_90khz,
                    marker: payloads.len() == 0,
                    payload,
                };
                path.sequence = path.sequence.wrapping_add(1);
                tally
                    .assemble
                    .count(is_steady, || path.assembler.handle_packet(now, packet));
            }
            drop(payloads);
            while let Some(frame) = path.assembler.poll_frame() {
                path.shown = tally.decode.count(is_steady, || {
                    path.decoder.decode(&frame.data).expect("decodes")
                });
                path.shown_count += 1;
            }
        }
    }
    for path in &paths {
        // Little is dropped by the encoder, or this would be no call.
        assert!(
            path.shown_count > FPS * SECONDS * 8 / 10,
            "{}",
            path.shown_count
        );
        let picture = path.shown.as_ref().expect("a picture");
        assert!(read_mark(picture).expect("the mark is readable").frame > FPS * SECONDS - 10);
    }
    tally
}

/// A chunk and its reference count, twice: pools of chunks grow until they hold what is under way
/// at the worst moment. For H.264 also the parameter sets of the keyframe in the middle. One
/// allocation per frame would be 210.
const CHUNK_ALLOCATIONS: u64 = 4;

#[test]
fn a_steady_picture_allocates_nothing() {
    for (codec, temporal_layers) in [
        (VideoCodec::Vp8, 2),
        (VideoCodec::Vp9, 1),
        (VideoCodec::H264, 1),
    ] {
        let mut tally = video_call(codec, temporal_layers);
        let VideoTally {
            encode,
            packetize,
            assemble,
            decode,
            ..
        } = &mut tally;
        for stage in [encode, packetize, assemble, decode] {
            if stage.allocations <= CHUNK_ALLOCATIONS {
                *stage = Tally::default();
            }
        }
        assert_eq!(
            tally,
            VideoTally::default(),
            "{codec:?} with {temporal_layers}"
        );
    }
}

#[test]
fn a_steady_voice_allocates_nothing() {
    let mut tally = Tally::default();
    let mut encoder = OpusEncoder::new(AudioEncoderConfig::default()).unwrap();
    let mut mixer = Mixer::new();
    let member = MemberId(7);
    mixer.add_member(member).unwrap();
    let start = Instant::now();
    let mut energy = 0.0_f64;
    for number in 0..50 * SECONDS {
        let is_steady = number >= 50 * WARM_UP_SECONDS;
        let now = start + Duration::from_millis(20) * number;
        let frame: [f32; FRAME_SAMPLES] = std::array::from_fn(|n| {
            let at = (number as usize * FRAME_SAMPLES + n) as f32 / 48_000.0;
            0.3 * (at * 440.0 * std::f32::consts::TAU).sin()
        });
        tally.count(is_steady, || {
            if let Some(payload) = encoder.encode(&frame).expect("encodes") {
                mixer.handle_packet(now, member, number as u16, number * 960, payload);
            }
            for half in 0..2 {
                let mut out = [0.0; BLOCK_SAMPLES];
                mixer.mix(now + Duration::from_millis(10) * half, &mut out);
                if is_steady {
                    energy += out.iter().map(|s| f64::from(s * s)).sum::<f64>();
                }
            }
        });
    }
    let seconds = u64::from(SECONDS - WARM_UP_SECONDS);
    let mean = energy / (48_000 * seconds) as f64;
    assert!(mean > 0.02, "the tone is heard: {mean}");
    println!("sound: {tally:?} in {seconds} s");
    assert!(tally.allocations <= CHUNK_ALLOCATIONS, "{tally:?}");
}

#[test]
fn the_count_sees_a_vector() {
    let mut tally = Tally::default();
    let vector = tally.count(true, || std::hint::black_box(vec![1_u8; 100]));
    assert_eq!((tally.allocations, tally.bytes), (1, vector.len() as u64));
    tally.count(false, || std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(tally.allocations, 1);
}
