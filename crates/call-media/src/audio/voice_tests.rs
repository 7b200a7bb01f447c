//! A synthetic room: what is left of the echo, what of the voice, and what it costs.

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::time::{Duration, Instant};

use super::*;

/// Uniform noise in -1.0..1.0, the same in every run.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Speech as far as an echo canceller is concerned: coloured noise in syllables of random
/// loudness and colour, with pauses between them.
pub(crate) struct Talker {
    noise: Noise,
    low: f32,
    colour: f32,
    loudness: f32,
    at: u32,
    length: u32,
}

impl Talker {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            noise: Noise(seed),
            low: 0.0,
            colour: 0.2,
            loudness: 0.5,
            at: 0,
            length: 9_600,
        }
    }

    pub(crate) fn next_block(&mut self) -> Block {
        std::array::from_fn(|_| {
            if self.at == self.length {
                self.at = 0;
                self.length = 7_200 + ((self.noise.next() + 1.0) * 4_800.0) as u32;
                self.loudness = 0.35 + 0.25 * self.noise.next();
                self.colour = 0.2 + 0.15 * self.noise.next();
            }
            // The last fifth of each syllable's time is pause.
            let phase = self.at as f32 / self.length as f32 / 0.8;
            let envelope = (phase.min(1.0) * TAU / 2.0).sin().powi(2);
            self.at += 1;
            self.low += self.colour * (self.noise.next() - self.low);
            self.low * envelope * self.loudness
        })
    }
}

/// Speaker to microphone: a delay, then 50 ms of decaying reflections about 10 dB down, and the
/// microphone's own noise.
pub(crate) struct Room {
    taps: Vec<(usize, f32)>,
    played: VecDeque<f32>,
    longest: usize,
    /// Place in `played` of the next sample heard.
    at: f64,
    /// Samples played while one is captured: the ratio of the two clocks.
    step: f64,
    noise: Noise,
}

impl Room {
    pub(crate) fn new(delay_ms: usize, seed: u64) -> Self {
        const REFLECTIONS_MS: usize = 50;
        let mut noise = Noise(seed);
        let span = REFLECTIONS_MS * 48;
        let mut taps = vec![(delay_ms * 48, 0.25)];
        for _ in 0..60 {
            let offset = ((noise.next() + 1.0) / 2.0 * span as f32) as usize;
            let decay = (-4.0 * offset as f32 / span as f32).exp();
            taps.push((delay_ms * 48 + offset, 0.08 * decay * noise.next()));
        }
        let longest = (delay_ms + REFLECTIONS_MS) * 48 + 1;
        Self {
            taps,
            played: std::iter::repeat_n(0.0, longest).collect(),
            longest,
            at: longest as f64,
            step: 1.0,
            noise,
        }
    }

    /// As [`Room::new`], with a microphone whose clock is slower than the speaker's.
    fn with_drift(delay_ms: usize, seed: u64, drift_ppm: u32) -> Self {
        Self {
            step: 1.0 + f64::from(drift_ppm) * 1e-6,
            ..Self::new(delay_ms, seed)
        }
    }

    pub(crate) fn handle_render(&mut self, block: &Block) {
        self.played.extend(block);
    }

    /// The next 10 ms at the microphone; as much must have been rendered.
    pub(crate) fn next_echo(&mut self) -> Block {
        let block = std::array::from_fn(|_| {
            let (whole, part) = (self.at as usize, self.at.fract() as f32);
            let echo: f32 = self
                .taps
                .iter()
                .map(|(delay, gain)| {
                    let first = whole - delay;
                    let between = self.played[first + 1] - self.played[first];
                    gain * (self.played[first] + part * between)
                })
                .sum();
            self.at += self.step;
            echo + 2e-4 * self.noise.next()
        });
        let old = self.at as usize - self.longest;
        self.played.drain(..old);
        self.at -= old as f64;
        block
    }
}

pub(crate) fn energy(sound: &[f32]) -> f64 {
    sound.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

fn db(ratio: f64) -> f64 {
    10.0 * ratio.log10()
}

const ECHO_AND_NOISE: VoiceOptions = VoiceOptions {
    echo_cancellation: true,
    noise_suppression: true,
    gain_control: false,
};
const ECHO_ONLY: VoiceOptions = VoiceOptions {
    noise_suppression: false,
    ..ECHO_AND_NOISE
};

/// Blocks of the first three seconds, in which the canceller may learn.
const LEARNING: u32 = 300;
/// Blocks of the two seconds measured after them.
const MEASURED: u32 = 200;

/// How far the echo alone is lowered, in dB, and the median time a block took. Without
/// `reference`, the canceller is told of silence.
fn echo_return_loss(options: VoiceOptions, mut room: Room, reference: bool) -> (f64, Duration) {
    let mut processor = VoiceProcessor::new(options);
    let mut talker = Talker::new(1);
    let (mut echo, mut left, mut spent) = (0.0, 0.0, Vec::new());
    for n in 0..LEARNING + MEASURED {
        let render = talker.next_block();
        room.handle_render(&render);
        let mut block = room.next_echo();
        let before = energy(&block);
        let told = if reference {
            render
        } else {
            [0.0; BLOCK_SAMPLES]
        };
        let begun = Instant::now();
        processor.handle_render(&told);
        processor.process_capture(&mut block);
        spent.push(begun.elapsed());
        if n >= LEARNING {
            echo += before;
            left += energy(&block);
        }
    }
    spent.sort_unstable();
    (db(echo / left), spent[spent.len() / 2])
}

#[test]
fn three_seconds_suffice_to_lower_the_echo_by_30_db() {
    for delay_ms in [20, 80, 200] {
        let (only_db, only) = echo_return_loss(ECHO_ONLY, Room::new(delay_ms, 2), true);
        let (both_db, both) = echo_return_loss(ECHO_AND_NOISE, Room::new(delay_ms, 2), true);
        let (all_db, all) = echo_return_loss(VoiceOptions::default(), Room::new(delay_ms, 2), true);
        println!(
            "echo after {delay_ms} ms lowered by {only_db:.1} dB ({only:?} per block) by the \
             canceller alone, {both_db:.1} dB ({both:?}) with noise suppression, \
             {all_db:.1} dB ({all:?}) with gain control too"
        );
        for lowered_db in [only_db, both_db, all_db] {
            assert!(lowered_db >= 30.0, "{delay_ms} ms: {lowered_db}");
        }
    }
    // The room itself is no help.
    let (unaware_db, _) = echo_return_loss(ECHO_ONLY, Room::new(80, 2), false);
    println!("without a reference: {unaware_db:.1} dB");
    assert!(unaware_db < 3.0, "{unaware_db}");
}

/// Two sound cards' clocks apart by more than crystals usually are. The canceller only follows;
/// 30 dB take a reference resampled to the microphone's clock.
#[test]
fn a_drift_of_200_ppm_costs_some_of_the_loss_but_not_all() {
    for delay_ms in [20, 80, 200] {
        let room = || Room::with_drift(delay_ms, 2, 200);
        let (only_db, _) = echo_return_loss(ECHO_ONLY, room(), true);
        let (both_db, _) = echo_return_loss(ECHO_AND_NOISE, room(), true);
        let (all_db, _) = echo_return_loss(VoiceOptions::default(), room(), true);
        println!(
            "drift of 200 ppm, echo after {delay_ms} ms: lowered by {only_db:.1} dB by the \
             canceller alone, {both_db:.1} dB with noise suppression, {all_db:.1} dB with \
             gain control too"
        );
        assert!(only_db >= 20.0, "{delay_ms} ms: {only_db}");
        assert!(all_db >= 12.0, "{delay_ms} ms: {all_db}");
    }
}

/// Power of `sound` at the frequencies of [`voice_at`].
fn voice_power(sound: &[f32]) -> f64 {
    VOICE_HZ
        .iter()
        .map(|hz| {
            let (mut cos, mut sin) = (0.0f64, 0.0f64);
            for (n, sample) in sound.iter().enumerate() {
                let phase = std::f64::consts::TAU * f64::from(*hz) * n as f64 / 48_000.0;
                cos += f64::from(*sample) * phase.cos();
                sin += f64::from(*sample) * phase.sin();
            }
            (cos * cos + sin * sin) / (sound.len() as f64).powi(2)
        })
        .sum()
}

/// Partials of the near-end burst.
const VOICE_HZ: [f32; 3] = [300.0, 600.0, 1_500.0];

fn voice_at(sample: usize) -> f32 {
    let t = sample as f32 / 48_000.0;
    VOICE_HZ.map(|hz| (t * hz * TAU).sin()).iter().sum::<f32>() * 0.08
}

#[test]
fn a_voice_is_kept_while_the_other_side_talks() {
    for delay_ms in [20, 80, 200] {
        let mut processor = VoiceProcessor::new(ECHO_AND_NOISE);
        let (mut talker, mut room) = (Talker::new(3), Room::new(delay_ms, 4));
        let (mut said, mut kept) = (Vec::new(), Vec::new());
        for n in 0..LEARNING + MEASURED {
            let render = talker.next_block();
            room.handle_render(&render);
            let mut block = room.next_echo();
            let mut voice = [0.0; BLOCK_SAMPLES];
            // Bursts of 300 ms with as long a pause, from the third second on.
            if n >= LEARNING && n % 60 < 30 {
                let first = (n as usize % 60) * BLOCK_SAMPLES;
                voice = std::array::from_fn(|k| voice_at(first + k));
            }
            for (sample, voice) in block.iter_mut().zip(&voice) {
                *sample += voice;
            }
            processor.handle_render(&render);
            processor.process_capture(&mut block);
            if n >= LEARNING {
                said.extend_from_slice(&voice);
                kept.extend_from_slice(&block);
            }
        }
        let lost_db = db(voice_power(&said) / voice_power(&kept));
        println!("voice during double talk, echo after {delay_ms} ms: {lost_db:.1} dB lower");
        assert!(lost_db.abs() <= 6.0, "{delay_ms} ms: {lost_db}");
    }
}

#[test]
fn the_output_lags_by_less_than_the_promised_blocks() {
    for options in [ECHO_ONLY, ECHO_AND_NOISE, VoiceOptions::default()] {
        let mut processor = VoiceProcessor::new(options);
        let mut talker = Talker::new(7);
        let (mut said, mut sent) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let mut block = talker.next_block();
            said.extend_from_slice(&block);
            processor.handle_render(&[0.0; BLOCK_SAMPLES]);
            processor.process_capture(&mut block);
            sent.extend_from_slice(&block);
        }
        let alike = |lag: usize| -> f64 {
            said[48_000..80_000]
                .iter()
                .zip(&sent[48_000 + lag..])
                .map(|(a, b)| f64::from(a * b))
                .sum()
        };
        let lag = (0..2_000)
            .max_by(|a, b| alike(*a).total_cmp(&alike(*b)))
            .unwrap();
        println!("{options:?}: {lag} samples of delay");
        assert!(lag < VOICE_DELAY_BLOCKS * BLOCK_SAMPLES - 120, "{lag}");
    }
}

#[test]
fn steady_noise_is_lowered_and_only_if_wished() {
    let lowered_db = |noise_suppression| {
        let options = VoiceOptions {
            noise_suppression,
            ..ECHO_ONLY
        };
        let mut processor = VoiceProcessor::new(options);
        let mut noise = Noise(8);
        let (mut before, mut after) = (0.0, 0.0);
        for n in 0..400 {
            let mut block = std::array::from_fn(|_| 0.01 * noise.next());
            let energy_before = energy(&block);
            processor.process_capture(&mut block);
            if n >= 200 {
                before += energy_before;
                after += energy(&block);
            }
        }
        db(before / after)
    };
    let (on, off) = (lowered_db(true), lowered_db(false));
    println!("steady noise lowered by {on:.1} dB, without suppression by {off:.1} dB");
    assert!(on > 8.0, "{on}");
    assert!(off < 3.0, "{off}");
}

#[test]
fn gain_control_raises_a_quiet_voice_without_clipping() {
    let level_db = |gain_control| {
        let mut processor = VoiceProcessor::new(VoiceOptions {
            gain_control,
            ..VoiceOptions::OFF
        });
        let mut talker = Talker::new(11);
        let mut sent = 0.0;
        for n in 0..600 {
            let mut block = talker.next_block().map(|sample| sample * 0.1);
            processor.process_capture(&mut block);
            assert!(block.iter().all(|sample| sample.abs() <= 1.0));
            if n >= 400 {
                sent += energy(&block);
            }
        }
        db(sent / (200.0 * BLOCK_SAMPLES as f64))
    };
    let (on, off) = (level_db(true), level_db(false));
    println!("a voice of {off:.1} dBFS becomes {on:.1} dBFS");
    assert!(on > off + 6.0, "{off} became {on}");
}

#[test]
fn everything_off_passes_untouched_also_after_a_change_in_the_middle() {
    let mut processor = VoiceProcessor::new(VoiceOptions::OFF);
    let mut talker = Talker::new(12);
    let mut untouched = |processor: &mut VoiceProcessor| {
        let block = talker.next_block();
        let mut processed = block;
        processor.handle_render(&block);
        processor.process_capture(&mut processed);
        processed == block
    };
    for _ in 0..10 {
        assert!(untouched(&mut processor));
    }
    for bits in 1..8u8 {
        processor.set_options(VoiceOptions {
            echo_cancellation: bits & 1 != 0,
            noise_suppression: bits & 2 != 0,
            gain_control: bits & 4 != 0,
        });
        let touched = (0..50).filter(|_| !untouched(&mut processor)).count();
        assert!(touched > 40, "{:?}: {touched}", processor.options());
    }
    processor.set_options(VoiceOptions::OFF);
    assert!(untouched(&mut processor));
}

#[test]
fn no_sample_poisons_the_filters() {
    let mut processor = VoiceProcessor::new(VoiceOptions::default());
    processor.set_delay_ms(u32::MAX);
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -0.0];
    let mut talker = Talker::new(13);
    for n in 0..20 {
        let mut block = std::array::from_fn(|k| bad[(n + k) % bad.len()]);
        processor.handle_render(&block);
        processor.process_capture(&mut block);
    }
    let mut sent = 0.0;
    for _ in 0..200 {
        let mut block = talker.next_block();
        processor.handle_render(&[0.0; BLOCK_SAMPLES]);
        processor.process_capture(&mut block);
        assert!(block.iter().all(|sample| sample.is_finite()));
        sent += energy(&block);
    }
    assert!(sent > 1.0, "{sent}");
}
