//! Mouth to ear: from a sound in front of one member's microphone to the other's loudspeaker.

use std::time::Duration;

use visavis_tests::support::headless::{Lines, Server, code_of};
use visavis_tests::support::real_time;
use visavis_tests::support::sound_server::SoundServer;

const RATE_HZ: usize = 16_000;
const CHIRPS: usize = 16;
/// Samples of a chirp: 60 ms.
const CHIRP: usize = 960;
/// Longest delay that still is a conversation: 1 s.
const MOST_DELAY: usize = RATE_HZ;

/// 500 to 3500 Hz, faded in and out.
fn chirp() -> Vec<f32> {
    let sample = |n: usize| {
        let t = n as f32 / CHIRP as f32;
        let cycles = (500.0 * t + 1_500.0 * t * t) * CHIRP as f32 / RATE_HZ as f32;
        0.5 * (std::f32::consts::TAU * cycles).sin() * (std::f32::consts::PI * t).sin()
    };
    (0..CHIRP).map(sample).collect()
}

/// Two seconds of silence, then chirps more than a second apart, never twice at one distance.
fn speech() -> Vec<f32> {
    let mut sound = vec![0.0; 2 * RATE_HZ];
    for n in 0..CHIRPS {
        sound.extend(chirp());
        sound.resize(sound.len() + RATE_HZ * 11 / 10 + n * 157, 0.0);
    }
    sound
}

/// Where in `sound` the chirp is, and how alike it is there (at most 1).
fn find(sound: &[f32], chirp: &[f32]) -> Option<(usize, f32)> {
    let own: f32 = chirp.iter().map(|sample| sample * sample).sum();
    let mut power: f32 = sound
        .get(..CHIRP)?
        .iter()
        .map(|sample| sample * sample)
        .sum();
    let mut best = (0, 0.0);
    for start in 0..sound.len() - CHIRP {
        if power > 1e-4 {
            let there = &sound[start..start + CHIRP];
            let product: f32 = there.iter().zip(chirp).map(|(a, b)| a * b).sum();
            let alike = product.abs() / (own * power).sqrt();
            if alike > best.1 {
                best = (start, alike);
            }
        }
        power += sound[start + CHIRP].powi(2) - sound[start].powi(2);
    }
    Some(best)
}

/// Delays of the chirps found on both sides, in ms.
fn delays_ms(mouth: &[f32], ear: &[f32]) -> Vec<f64> {
    let chirp = chirp();
    let mut delays = Vec::new();
    let mut at = 0;
    while let Some(offset) = mouth[at..].iter().position(|sample| sample.abs() > 0.02) {
        let from = (at + offset).saturating_sub(CHIRP);
        let until = (from + 3 * CHIRP).min(mouth.len());
        let Some((said, alike)) = find(&mouth[from..until], &chirp) else {
            break;
        };
        let said = from + said;
        at = (said + 2 * CHIRP).min(mouth.len());
        let until = (said + MOST_DELAY + CHIRP).min(ear.len());
        if alike > 0.9
            && let Some((heard, alike)) = find(&ear[said..until], &chirp)
            && alike > 0.5
        {
            delays.push(heard as f64 * 1_000.0 / RATE_HZ as f64);
        }
    }
    delays
}

#[test]
fn a_chirp_at_the_microphone_is_heard_from_the_other_loudspeaker() {
    let _machine = real_time();
    let sound = match SoundServer::start() {
        Ok(sound) => sound,
        Err(error) => {
            eprintln!("SKIPPED, no sound server: {error}");
            return;
        }
    };
    let server = Server::start();
    let environment = sound.environment();
    let start = |arguments: &[&str]| {
        let common = ["--server", &server.url];
        Lines::start_with(
            "visavis-headless",
            &[&common, arguments].concat(),
            &environment,
        )
    };
    let mut ann = start(&[
        "--create",
        "--name",
        "Ann",
        "--audio",
        "mic",
        "--raw-microphone",
        "--speaker",
        "none",
    ]);
    let code = code_of(&mut ann);
    ann.event("joined");
    let mut bo = start(&["--code", &code, "--name", "Bo", "--speaker", "default"]);
    bo.until("a link", |line| {
        line["event"] == "link" && line["state"] == "connected"
    });

    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let (said, heard) = (
        directory.path().join("said"),
        directory.path().join("heard"),
    );
    let bytes: Vec<u8> = speech()
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    std::fs::write(&said, bytes).expect("files can be written");
    let mut recorder = sound.record(&heard);
    sound.speak(&said);
    bo.watch(Duration::from_secs(2));
    ann.watch(Duration::from_millis(1));
    recorder.kill().expect("a child can be killed");
    recorder.wait().expect("a killed child ends");
    let recorded = std::fs::read(&heard).expect("the recorder wrote");
    let samples = |side: usize| -> Vec<f32> {
        let frames = recorded.as_chunks::<8>().0.iter();
        let bytes = frames.map(|frame| [0, 1, 2, 3].map(|byte| frame[4 * side + byte]));
        bytes.map(f32::from_le_bytes).collect()
    };
    let mut delays = delays_ms(&samples(0), &samples(1));
    println!("delays in ms, in order: {delays:.1?}");
    assert!(
        delays.len() * 5 >= CHIRPS * 4,
        "{} of {CHIRPS} chirps heard",
        delays.len()
    );
    delays.sort_unstable_by(f64::total_cmp);
    println!(
        "mouth to ear: median {:.1} ms, {:.1} to {:.1} ms, {} of {CHIRPS} chirps",
        delays[delays.len() / 2],
        delays[0],
        delays[delays.len() - 1],
        delays.len()
    );
    println!("{}", parts(&ann, &bo));
}

/// What the delay consists of, by the members' own figures at the end.
fn parts(speaker: &Lines, listener: &Lines) -> String {
    let last = |lines: &Lines| {
        let stats = lines
            .seen
            .iter()
            .rev()
            .find(|line| line["event"] == "stats");
        stats.cloned().expect("figures come once a second")
    };
    let (spoken, heard) = (last(speaker), last(listener));
    let ms = |value: &serde_json::Value| value.as_f64().expect("times are numbers");
    let sending = ms(&spoken["up"]["audio_delay_ms"]);
    let network = heard["rtt_ms"].as_f64().unwrap_or(0.0) / 2.0;
    let jitter_buffer = ms(&heard["members"][0]["audio"]["delay_ms"]);
    let playout = ms(&heard["playout_delay_ms"]);
    let sum = sending + network + jitter_buffer + playout;
    format!(
        "parts: microphone {:.1} ms, packet 20 ms, network {network:.1} ms, \
         jitter buffer {jitter_buffer:.1} ms, playout ring and speaker {playout:.1} ms; \
         together {sum:.1} ms",
        sending - 20.0
    )
}
