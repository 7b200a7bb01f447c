//! A synthetic room: what is left of the echo, what of the voice, and what it costs.

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::time::{Duration, Instant};

use super::*;

/// Uniform noise in -1.0..1.0, the same in every run.
pub(crate) struct Noise(pub(crate) u64);

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
/// microphone's own noise. Both clocks may differ.
pub(crate) struct Room {
    taps: Vec<(usize, f32)>,
    played: VecDeque<f32>,
    longest: usize,
    /// What reaches the microphone, in the speaker's clock.
    heard: VecDeque<f32>,
    /// Place in `heard` of the next sample captured.
    at: f64,
    /// Samples played while one is captured: the ratio of the two clocks.
    step: f64,
    kernel: Vec<f32>,
    noise: Noise,
}

/// Samples on either side of one interpolated.
const SIDE: usize = 16;
/// Entries of the interpolation's table per sample.
const STEPS: f32 = 256.0;

/// A sinc in a Hann window, from -[`SIDE`] to [`SIDE`] samples.
fn kernel() -> Vec<f32> {
    (0..=2 * SIDE * STEPS as usize + 1)
        .map(|n| {
            let x = std::f32::consts::PI * (n as f32 / STEPS - SIDE as f32);
            let window = (x / (2.0 * SIDE as f32)).cos().powi(2);
            window * if x == 0.0 { 1.0 } else { x.sin() / x }
        })
        .collect()
}

impl Room {
    pub(crate) fn new(delay_ms: usize, seed: u64) -> Self {
        const REFLECTIONS_MS: usize = 50;
        let mut noise = Noise(seed);
        let span = REFLECTIONS_MS * 48;
        // The interpolation looks ahead.
        let first = delay_ms * 48 - SIDE;
        let mut taps = vec![(first, 0.25)];
        for _ in 0..60 {
            let offset = ((noise.next() + 1.0) / 2.0 * span as f32) as usize;
            let decay = (-4.0 * offset as f32 / span as f32).exp();
            taps.push((first + offset, 0.08 * decay * noise.next()));
        }
        let longest = (delay_ms + REFLECTIONS_MS) * 48 + 1;
        Self {
            taps,
            played: std::iter::repeat_n(0.0, longest).collect(),
            longest,
            heard: std::iter::repeat_n(0.0, SIDE).collect(),
            at: SIDE as f64,
            step: 1.0,
            kernel: kernel(),
            noise,
        }
    }

    /// As [`Room::new`], with a speaker whose clock is faster than the microphone's.
    pub(crate) fn with_drift(delay_ms: usize, seed: u64, drift_ppm: i32) -> Self {
        Self {
            step: 1.0 + f64::from(drift_ppm) * 1e-6,
            ..Self::new(delay_ms, seed)
        }
    }

    /// Whether the speaker plays another block before the microphone's next is complete.
    pub(crate) fn needs_render(&self) -> bool {
        let ahead = self.step * BLOCK_SAMPLES as f64 + SIDE as f64;
        self.at + ahead > self.heard.len() as f64
    }

    pub(crate) fn handle_render(&mut self, block: &Block) {
        for sample in block {
            self.played.pop_front();
            self.played.push_back(*sample);
            let newest = self.longest - 1;
            let echo = self.taps.iter();
            let echo = echo.map(|(delay, gain)| gain * self.played[newest - delay]);
            self.heard.push_back(echo.sum());
        }
    }

    /// The next 10 ms at the microphone; as much must have been rendered.
    pub(crate) fn next_echo(&mut self) -> Block {
        let block = std::array::from_fn(|_| {
            let (whole, part) = (self.at as usize, self.at.fract() as f32);
            self.at += self.step;
            let echo = if part == 0.0 {
                self.heard[whole]
            } else {
                // A windowed sinc, as an analogue path would be.
                let first = whole + 1 - SIDE;
                let around = self.heard.range(first..whole + SIDE).zip(first..);
                around
                    .map(|(sample, place)| {
                        let distance = place as f32 - whole as f32 - part + SIDE as f32;
                        let (index, part) = ((distance * STEPS) as usize, distance * STEPS);
                        let between = self.kernel[index + 1] - self.kernel[index];
                        sample * (self.kernel[index] + between * part.fract())
                    })
                    .sum()
            };
            echo + 2e-4 * self.noise.next()
        });
        let old = self.at as usize - SIDE;
        self.heard.drain(..old);
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

const ALL: [(&str, VoiceOptions); 3] = [
    ("canceller", ECHO_ONLY),
    ("and noise suppression", ECHO_AND_NOISE),
    (
        "and gain control",
        VoiceOptions {
            gain_control: true,
            ..ECHO_AND_NOISE
        },
    ),
];
const DELAYS_MS: [usize; 3] = [20, 80, 200];
const DRIFTS_PPM: [i32; 3] = [-200, 0, 200];

/// For every 10 ms of the microphone: what was played since the last, and the echo heard.
type Scene = Vec<(Vec<Block>, Block)>;

/// Five seconds of a talker in a room.
fn scene(mut room: Room, seed: u64) -> Scene {
    let mut talker = Talker::new(seed);
    let blocks = (0..LEARNING + MEASURED).map(|_| {
        let mut renders = Vec::new();
        while room.needs_render() {
            let render = talker.next_block();
            room.handle_render(&render);
            renders.push(render);
        }
        (renders, room.next_echo())
    });
    blocks.collect()
}

/// How far the echo alone is lowered, in dB, the median time a block took, and the drift found.
/// Without `reference`, the canceller is told of silence.
fn echo_return_loss(options: VoiceOptions, scene: &Scene, reference: bool) -> (f64, Duration, f64) {
    let mut processor = VoiceProcessor::new(options);
    let (mut echo, mut left, mut spent) = (0.0, 0.0, Vec::new());
    for (n, (renders, captured)) in scene.iter().enumerate() {
        let mut block = *captured;
        let begun = Instant::now();
        for render in renders {
            processor.handle_render(if reference {
                render
            } else {
                &[0.0; BLOCK_SAMPLES]
            });
        }
        processor.process_capture(&mut block);
        spent.push(begun.elapsed());
        if n >= LEARNING as usize {
            echo += energy(captured);
            left += energy(&block);
        }
    }
    spent.sort_unstable();
    let median = spent[spent.len() / 2];
    (db(echo / left), median, processor.drift_ppm())
}

/// Whatever is switched on, and whether or not the sound cards' clocks agree.
#[test]
fn three_seconds_suffice_to_lower_the_echo_by_30_db() {
    let mut least = f64::INFINITY;
    for delay_ms in DELAYS_MS {
        for drift_ppm in DRIFTS_PPM {
            let scene = scene(Room::with_drift(delay_ms, 2, drift_ppm), 1);
            for (name, options) in ALL {
                let (lowered_db, time, found_ppm) = echo_return_loss(options, &scene, true);
                println!(
                    "echo after {delay_ms} ms, drift {drift_ppm} ppm (found {found_ppm:.1}), \
                     {name}: lowered by {lowered_db:.1} dB, {time:?} per block"
                );
                least = least.min(lowered_db);
            }
        }
    }
    assert!(least >= 30.0, "{least}");
    // The room itself is no help.
    let (unaware_db, ..) = echo_return_loss(ECHO_ONLY, &scene(Room::new(80, 2), 1), false);
    println!("without a reference: {unaware_db:.1} dB");
    assert!(unaware_db < 3.0, "{unaware_db}");
}

/// A voice with pitch, formants and consonants as the far end: the gain must not follow what is
/// left of it. Measured after three seconds of learning, and once the gain had time to adapt.
#[test]
fn the_echo_of_speech_stays_30_db_lower_while_the_gain_adapts() {
    let mut least = f64::INFINITY;
    let cases = DELAYS_MS
        .into_iter()
        .flat_map(|delay_ms| DRIFTS_PPM.map(|drift_ppm| (delay_ms, drift_ppm)));
    for (delay_ms, drift_ppm) in cases {
        let speech = call_lab::signal::speech(21, 21 * 48_000);
        let mut speech = speech.chunks_exact(BLOCK_SAMPLES);
        let mut room = Room::with_drift(delay_ms, 2, drift_ppm);
        let mut processor = VoiceProcessor::new(VoiceOptions::default());
        let mut seconds = [(0.0, 0.0); 20];
        for n in 0..2_000 {
            while room.needs_render() {
                let render: Block = speech.next().unwrap().try_into().unwrap();
                room.handle_render(&render);
                processor.handle_render(&render);
            }
            let mut block = room.next_echo();
            seconds[n / 100].0 += energy(&block);
            processor.process_capture(&mut block);
            seconds[n / 100].1 += energy(&block);
        }
        let lowered_db = |range: std::ops::Range<usize>| {
            let (echo, left) = seconds[range]
                .iter()
                .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            db(echo / left)
        };
        let (early_db, late_db) = (lowered_db(3..5), lowered_db(15..20));
        println!(
            "echo of speech after {delay_ms} ms, drift {drift_ppm} ppm: lowered by \
             {early_db:.1} dB over 3 to 5 s, {late_db:.1} dB over 15 to 20 s"
        );
        least = least.min(early_db).min(late_db);
    }
    assert!(least >= 30.0, "{least}");
}

/// The speech-like voice is speech to the gain control: said at the near end, it is raised by
/// clearly more than the gain everything begins with.
#[test]
fn the_gain_follows_a_quiet_speech_like_voice() {
    let mut processor = VoiceProcessor::new(VoiceOptions::default());
    let (mut said, mut sent) = (0.0, 0.0);
    let speech = call_lab::signal::speech(21, 10 * 48_000);
    for (n, block) in speech.chunks_exact(BLOCK_SAMPLES).enumerate() {
        let mut block: Block = std::array::from_fn(|k| 0.08 * block[k]);
        let before = energy(&block);
        processor.handle_render(&[0.0; BLOCK_SAMPLES]);
        processor.process_capture(&mut block);
        if n >= 800 {
            said += before;
            sent += energy(&block);
        }
    }
    let level = db(said / (200.0 * BLOCK_SAMPLES as f64));
    let raised_db = db(sent / said);
    println!("a speech-like voice of {level:.1} dBFS is raised by {raised_db:.1} dB");
    assert!(raised_db > f64::from(INITIAL_GAIN_DB) + 3.0, "{raised_db}");
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

/// Power of what is left of the voice, and of what was said, over two seconds of bursts after
/// three seconds in which only the far end may talk.
fn voice_powers(options: VoiceOptions, scene: &Scene) -> (f64, f64) {
    let mut processor = VoiceProcessor::new(options);
    let (mut said, mut kept) = (Vec::new(), Vec::new());
    for (n, (renders, captured)) in (0..).zip(scene) {
        for render in renders {
            processor.handle_render(render);
        }
        let mut block = *captured;
        let mut voice = [0.0; BLOCK_SAMPLES];
        // Bursts of 300 ms with as long a pause, from the third second on.
        if n >= LEARNING && n % 60 < 30 {
            let first = (n as usize % 60) * BLOCK_SAMPLES;
            voice = std::array::from_fn(|k| voice_at(first + k));
        }
        for (sample, voice) in block.iter_mut().zip(&voice) {
            *sample += voice;
        }
        processor.process_capture(&mut block);
        if n >= LEARNING {
            said.extend_from_slice(&voice);
            kept.extend_from_slice(&block);
        }
    }
    (voice_power(&kept), voice_power(&said))
}

#[test]
fn a_voice_is_kept_while_the_other_side_talks() {
    let mut worst = 0.0f64;
    let quiet: Scene = vec![(vec![[0.0; BLOCK_SAMPLES]], [0.0; BLOCK_SAMPLES]); 500];
    for (delay_ms, drift_ppm) in [(20, 200), (80, 0), (80, 200), (200, -200)] {
        let scene = scene(Room::with_drift(delay_ms, 4, drift_ppm), 3);
        for (name, options) in ALL {
            let (kept, said) = voice_powers(options, &scene);
            // Gain control changes the level of any voice: compared is one nobody interrupts.
            let expected = if options.gain_control {
                voice_powers(options, &quiet).0
            } else {
                said
            };
            let lost_db = db(expected / kept);
            println!(
                "voice during double talk, echo after {delay_ms} ms, drift {drift_ppm} ppm, \
                 {name}: {lost_db:.1} dB lower"
            );
            worst = worst.max(lost_db);
        }
    }
    assert!(worst <= 3.0, "{worst}");
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
