//! A person's sound and picture come out together: both carry the time they were captured at.

use std::sync::{Arc, Mutex, PoisonError};

use call_client::{
    AudioSourceConfig, CallObserver, Engine, EngineConfig, NoUi, Observed, SpeakerConfig,
    VideoSourceConfig,
};
use call_media::audio::SAMPLE_RATE_HZ;
use call_media::frame::I420Frame;
use call_media::video::mark::{now_us, read_mark};
use call_protocol::ui::UiCommand;
use call_protocol::{MediaSource, MemberId};
use call_server::{ServerConfig, serve};
use visavis_tests::support::engine::{Watcher, eventually};
use visavis_tests::support::headless::PATIENCE;
use visavis_tests::support::in_real_time;

/// Ticks that pass before measuring: reports come once a second, and delays move slowly.
const SETTLING_TICKS: usize = 6;
/// Ticks measured: one a second.
const TICKS: usize = 8;
/// Louder than this is a tick; ticks have an amplitude of 0.5.
const LOUD: f32 = 0.1;
/// Silence before a tick.
const QUIET_SAMPLES: u32 = SAMPLE_RATE_HZ / 2;
/// What nobody notices (the requirement), in milliseconds.
const MOST_APART_MS: f64 = 40.0;

/// Measures from capture to here.
#[derive(Default)]
struct Delays {
    watcher: Watcher,
    measured: Mutex<Measured>,
}

#[derive(Default)]
struct Measured {
    pictures_ms: Vec<f64>,
    ticks_ms: Vec<f64>,
    quiet_samples: u32,
}

impl Delays {
    fn measured(&self) -> std::sync::MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallObserver for Delays {
    fn observe(&self, observed: Observed) {
        self.watcher.observe(observed);
    }

    fn picture(&self, _member: MemberId, _source: MediaSource, picture: &I420Frame) {
        if let Some(mark) = read_mark(picture) {
            let delay_ms = mark.age_us(now_us()) as f64 / 1e3;
            self.measured().pictures_ms.push(delay_ms);
        }
    }

    fn sound(&self, _member: MemberId, samples: &[f32]) {
        let pulled_us = now_us();
        let mut measured = self.measured();
        for (index, sample) in samples.iter().enumerate() {
            if sample.abs() < LOUD {
                measured.quiet_samples = measured.quiet_samples.saturating_add(1);
                continue;
            }
            if std::mem::take(&mut measured.quiet_samples) > QUIET_SAMPLES {
                let heard_us = pulled_us + index as u64 * 1_000_000 / u64::from(SAMPLE_RATE_HZ);
                // Ticks fall on full seconds.
                let delay_ms = (heard_us % 1_000_000) as f64 / 1e3;
                measured.ticks_ms.push(delay_ms);
                // Pictures of the same time.
                if measured.ticks_ms.len() == SETTLING_TICKS {
                    measured.pictures_ms.clear();
                }
            }
        }
    }
}

fn start(name: &str, url: &str, observer: Arc<dyn CallObserver>) -> Engine {
    Engine::start(EngineConfig {
        server: Some(url.to_owned()),
        name: Some(name.to_owned()),
        video: VideoSourceConfig::Pattern {
            width: 320,
            height: 180,
            fps: 30,
        },
        audio: AudioSourceConfig::Ticks,
        speaker: SpeakerConfig::Null,
        observer: Some(observer),
        ..EngineConfig::new(Arc::new(NoUi))
    })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[test]
fn sound_and_picture_come_out_together() {
    in_real_time(together());
}

async fn together() {
    let server = serve(ServerConfig::default())
        .await
        .expect("the server starts");
    let url = format!("ws://{}", server.http);
    let ears = [Arc::new(Delays::default()), Arc::new(Delays::default())];
    let ann = start("Ann", &url, ears[0].clone());
    ann.dispatch(UiCommand::StartCall).expect("a call starts");
    let code = ears[0].watcher.room_code().await;
    let bo = start("Bo", &url, ears[1].clone());
    bo.dispatch(UiCommand::JoinCall { code })
        .expect("one can join");

    let enough = || {
        let heard = |ear: &Arc<Delays>| ear.measured().ticks_ms.len() >= SETTLING_TICKS + TICKS;
        ears.iter().all(heard)
    };
    assert!(eventually(PATIENCE, enough).await, "not enough ticks heard");
    ann.shutdown().await;
    bo.shutdown().await;
    server.shutdown().await;
    for (ear, name) in ears.iter().zip(["Ann", "Bo"]) {
        let measured = ear.measured();
        let sound_ms = median(&measured.ticks_ms[SETTLING_TICKS..]);
        let picture_ms = median(&measured.pictures_ms);
        println!(
            "{name}: sound {sound_ms:.1} ms, picture {picture_ms:.1} ms after capture ({} ticks, {} pictures)",
            measured.ticks_ms.len() - SETTLING_TICKS,
            measured.pictures_ms.len()
        );
        assert!(measured.pictures_ms.len() > 20 * TICKS);
        let apart_ms = sound_ms - picture_ms;
        assert!(
            apart_ms.abs() <= MOST_APART_MS,
            "{name}: {apart_ms:.1} ms apart"
        );
    }
}

/// Keeps the measurement honest: a second is cut into its milliseconds.
#[test]
fn a_tick_is_dated_by_the_second_it_belongs_to() {
    let delays = Delays::default();
    let member = MemberId(1);
    let quiet = [0.0; 480];
    for _ in 0..60 {
        delays.sound(member, &quiet);
    }
    let before_us = now_us() % 1_000_000;
    let mut block = [0.0; 480];
    block[240] = 0.5;
    delays.sound(member, &block);
    let after_us = now_us() % 1_000_000;
    let tick_us = delays.measured().ticks_ms[0] * 1e3;
    if before_us <= after_us && after_us < 990_000 {
        let range = before_us as f64 + 5_000.0..=after_us as f64 + 5_000.0;
        assert!(range.contains(&tick_us), "{tick_us}");
    }
    delays.sound(member, &block);
    assert_eq!(delays.measured().ticks_ms.len(), 1, "still the same tick");
}
