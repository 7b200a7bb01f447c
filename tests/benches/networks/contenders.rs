//! Who is compared: two processes each, in a call with each other, told what to do by lines.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use call_media::frame::I420Frame;
use call_media::video::y4m::Y4mReader;
use serde_json::{Value, json};
use tempfile::TempDir;
use visavis_tests::support::chromium;
use visavis_tests::support::headless::Lines;
use visavis_tests::support::network::Place;
use visavis_tests::support::transfer::{Room, meet_between};

use crate::clip::Clip;

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/networks/peer.mjs");
/// How often what is measured may change.
const STEP: Duration = Duration::from_millis(100);
/// Pictures of ours that are compared: one a second, as the browser reports them.
const COMPARE_EVERY: usize = 15;

/// What one end saw and heard of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Time the picture stood still against its own rhythm, of all (the rule of webrtc-stats).
    pub(crate) frozen: f64,
    /// Pictures per second.
    pub(crate) fps: f64,
    /// Mean structural similarity, 0 where nothing could be compared.
    pub(crate) ssim: f64,
    /// Sound that was made up for what is missing, of all.
    pub(crate) concealed: f64,
}

/// See the [module documentation](self).
pub(crate) enum Contender {
    Visavis,
    Chromium(PathBuf),
}

/// Everybody who can run here, ours first.
pub(crate) fn present() -> Vec<Contender> {
    let mut all = vec![Contender::Visavis];
    match chromium::find() {
        Some(program) => all.push(Contender::Chromium(program)),
        None => eprintln!("no Chromium here"),
    }
    all
}

impl Contender {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Visavis => "visavis",
            Self::Chromium(_) => "chromium",
        }
    }

    /// Two ends that see each other.
    pub(crate) fn meet(&self, places: &[Place<'_>; 2], clip: &Clip) -> Pair {
        let (pictures, sound) = (clip.pictures(), clip.sound());
        match self {
            Self::Visavis => {
                let record = tempfile::tempdir().expect("a temporary directory can be made");
                let text = |path: &std::path::Path| path.to_str().expect("it is text").to_owned();
                let (pictures, sound) = (text(&pictures), text(&sound));
                let media = ["--video", &pictures, "--audio", &sound, "--tile", "640x360"];
                let folder = text(record.path());
                let listening = [&media[..], &["--record", &folder]].concat();
                let mut room = meet_between(Some(places), &media, &listening);
                room.bo.event("first_frame");
                Pair::Ours { room, record }
            }
            Self::Chromium(program) => {
                let start = |at: usize| {
                    let files = [PEER.into(), pictures.clone(), sound.clone()];
                    let files: Vec<&str> = files
                        .iter()
                        .map(|file: &PathBuf| file.to_str().expect("test paths are text"))
                        .collect();
                    let namespace = Some(places[at].namespace);
                    let environment = [("CHROMIUM", program.clone())];
                    let mut end =
                        Lines::start_commanded(namespace, "node".as_ref(), &files, &environment);
                    end.reported("ready");
                    end
                };
                let (mut ann, mut bo) = (start(0), start(1));
                ann.say(&json!({ "type": "offer" }));
                bo.say(&ann.reported("description"));
                ann.say(&bo.reported("description"));
                bo.say(&json!({ "type": "wait" }));
                bo.reported("shown");
                Pair::Browsers { _ann: ann, bo }
            }
        }
    }
}

/// Two ends in a call; what the second sees of the first is measured.
pub(crate) enum Pair {
    Ours { room: Room, record: TempDir },
    Browsers { _ann: Lines, bo: Lines },
}

impl Pair {
    fn bo(&mut self) -> &mut Lines {
        match self {
            Self::Ours { room, .. } => &mut room.bo,
            Self::Browsers { bo, .. } => bo,
        }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.bo().watch(time);
    }

    /// Measures for some time; `passed` is told how much of it is over. Pictures are compared at the
    /// [end](Self::end).
    pub(crate) fn measure(&mut self, time: Duration, mut passed: impl FnMut(Duration)) -> Call {
        let from = self.bo().seen.len();
        if let Self::Browsers { bo, .. } = self {
            bo.say(&json!({ "type": "measure", "seconds": time.as_secs() }));
        }
        let started = Instant::now();
        while started.elapsed() < time {
            passed(started.elapsed());
            self.bo().watch(STEP);
        }
        match self {
            Self::Ours { room, .. } => of_stats(&room.bo.seen[from..]),
            Self::Browsers { bo, .. } => of_browser(&bo.reported("measured")),
        }
    }

    /// Ends the call, and compares what was shown with what was played.
    pub(crate) fn end(self, call: Call, clip: &Clip) -> Call {
        let compared: Vec<f64> = match self {
            Self::Ours { room, record } => {
                room.bo.terminate();
                let path = record.path().join("Ann.y4m");
                let mut file = Y4mReader::open(&path).expect("the call was recorded");
                let mut compared = Vec::new();
                let mut number = 0;
                while let Some(picture) = file.read_frame().expect("a recorded picture is whole") {
                    number += 1;
                    if number % COMPARE_EVERY == 0 {
                        compared.extend(clip.ssim(&picture));
                    }
                }
                compared
            }
            Self::Browsers { bo, .. } => {
                let shown = bo.seen.iter().filter(|line| line["type"] == "picture");
                shown.filter_map(|line| clip.ssim(&planes(line)?)).collect()
            }
        };
        Call {
            ssim: compared.iter().sum::<f64>() / compared.len().max(1) as f64,
            ..call
        }
    }
}

/// From the figures of each second.
fn of_stats(lines: &[Value]) -> Call {
    let stats: Vec<&Value> = lines
        .iter()
        .filter(|line| line["event"] == "stats")
        .collect();
    let mean = |figure: &dyn Fn(&Value) -> Option<f64>| {
        let figures: Vec<f64> = stats.iter().filter_map(|line| figure(line)).collect();
        figures.iter().sum::<f64>() / figures.len().max(1) as f64
    };
    let frozen_ms = |line: Option<&&Value>| {
        line.and_then(|line| line["members"][0]["video"]["frozen_ms"].as_f64())
            .unwrap_or_default()
    };
    let seconds = stats.len().saturating_sub(1).max(1) as f64;
    Call {
        frozen: (frozen_ms(stats.last()) - frozen_ms(stats.first())) / 1e3 / seconds,
        fps: mean(&|line| line["members"][0]["video"]["fps"].as_f64()),
        ssim: 0.0,
        concealed: mean(&|line| line["members"][0]["audio"]["concealed_ratio"].as_f64()),
    }
}

/// From the browser's counters before and after.
fn of_browser(measured: &Value) -> Call {
    let grown = |name: &str| {
        let at = |when: &str| measured[when][name].as_f64().unwrap_or_default();
        at("after") - at("before")
    };
    let seconds = grown("at_ms") / 1e3;
    Call {
        frozen: grown("frozen_s") / seconds,
        fps: grown("pictures") / seconds,
        ssim: 0.0,
        concealed: grown("concealed") / grown("samples").max(1.0),
    }
}

/// A picture as the page reports it.
fn planes(line: &Value) -> Option<I420Frame> {
    assert_eq!(line["format"], "I420", "what the browser shows can be read");
    let side = |name: &str| u32::try_from(line[name].as_u64()?).ok();
    let data = STANDARD.decode(line["data"].as_str()?).ok()?;
    I420Frame::new(side("width")?, side("height")?, data, Instant::now())
}
