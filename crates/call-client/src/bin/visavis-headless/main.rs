//! `visavis-headless`: a call without windows.
//!
//! What it prints and how it exits is a contract: see the README's command-line section. Exit code
//! 0 after a clean leave, 2 for bad arguments, 1 otherwise. SIGINT, SIGTERM and `--duration` leave
//! cleanly; a closed standard input does not.

mod args;
mod commands;
mod files;
mod lines;
mod record;
mod sayings;
mod share;
mod tiles;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use args::{Args, Topology};
use call_client::{
    AudioSourceConfig, CallObserver, Engine, EngineConfig, NoUi, Observed, SpeakerConfig,
    TopologyWish, VoiceOptions,
};
use call_core::CallEvent;
use call_media::frame::I420Frame;
use call_protocol::ui::UiCommand;
use call_protocol::{ErrorCode, MediaSource, MemberId};
use clap::Parser;
use files::Files;
use lines::{Line, Lines};
use record::Recorder;
use sayings::Sayings;
use share::Share;
use tiles::Tiles;
use tokio::sync::watch;

/// The recording, until its end takes it.
type SharedRecorder = Arc<Mutex<Option<Recorder>>>;

/// How the call ended, once it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    Clean,
    Failed,
}

/// Prints and records what the engine observes.
struct Reporter {
    lines: Arc<Lines>,
    recorder: SharedRecorder,
    tiles: Arc<Tiles>,
    sayings: Arc<Sayings>,
    files: Arc<Files>,
    share: Arc<Share>,
    end: watch::Sender<End>,
}

impl Reporter {
    /// Recording never waits, so the lock is held for moments only.
    fn record(&self, work: impl FnOnce(&Recorder)) {
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(recorder) = &*recorder {
            work(recorder);
        }
    }
}

impl CallObserver for Reporter {
    fn observe(&self, observed: Observed) {
        if let Observed::Call(event) = &observed {
            self.tiles.handle(event);
            self.sayings.handle(event);
            self.files.handle(Instant::now(), event);
            self.share.handle(event);
        }
        match &observed {
            Observed::Call(CallEvent::MemberJoined { member, name }) => {
                self.record(|recorder| recorder.name(*member, name));
            }
            Observed::Call(CallEvent::Left { code }) => {
                let end = if code.is_none() {
                    End::Clean
                } else {
                    End::Failed
                };
                self.end.send_replace(end);
            }
            _ => {}
        }
        if let Some(line) = Line::of(observed) {
            self.lines.print(&line);
        }
    }

    fn picture(&self, member: MemberId, source: MediaSource, picture: &I420Frame) {
        self.record(|recorder| recorder.picture(member, source, picture));
    }

    fn sound(&self, member: MemberId, samples: &[f32]) {
        self.record(|recorder| recorder.sound(member, samples));
    }
}

fn main() -> ExitCode {
    call_client::memory::share_one_arena();
    let started = Instant::now();
    let args = Args::parse();
    call_client::logging::start("RUST_LOG", "warn");
    let lines = Arc::new(Lines::start(started));
    let code = match args.check() {
        Ok(()) => run(args, started, &lines),
        Err((code, detail)) => {
            lines.print(&Line::Error { code, detail });
            2
        }
    };
    lines.finish();
    ExitCode::from(code)
}

fn run(args: Args, started: Instant, lines: &Arc<Lines>) -> u8 {
    let fail = |code: ErrorCode, detail: String| {
        lines.print(&Line::Error { code, detail });
        1
    };
    let recorder = match args.record.as_deref().map(Recorder::start).transpose() {
        Ok(recorder) => recorder,
        Err(error) => return fail(ErrorCode::FileFailed, error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(ErrorCode::Internal, error.to_string()),
    };
    let recorder: SharedRecorder = Arc::new(Mutex::new(recorder));
    let end = runtime.block_on(call(args, started, lines, &recorder));
    runtime.shutdown_timeout(Duration::from_secs(2));
    report_recording(lines, &recorder);
    match end {
        Ok(End::Clean) => 0,
        Ok(End::NotYet | End::Failed) => 1,
        Err(error) => fail(ErrorCode::Internal, error.to_string()),
    }
}

/// Holds the call until it ends or is to end.
async fn call(
    args: Args,
    started: Instant,
    lines: &Arc<Lines>,
    recorder: &SharedRecorder,
) -> std::io::Result<End> {
    let mut stop = StopSignals::new()?;
    let (end, mut ended) = watch::channel(End::NotYet);
    let tiles = Arc::new(Tiles::new(args.tile));
    let sayings = Arc::new(Sayings::new(args.say, Arc::clone(lines)));
    let files = Files::new(&args.send_file, args.accept_files.is_some());
    let share = Arc::new(Share::new(args.share.map(|source| source.to_string())));
    let observer = Reporter {
        lines: Arc::clone(lines),
        recorder: Arc::clone(recorder),
        tiles: Arc::clone(&tiles),
        sayings: Arc::clone(&sayings),
        files: Arc::clone(&files),
        share: Arc::clone(&share),
        end,
    };
    // Real devices are opened by choice only; nobody listens to a headless client.
    let speaker = args.speaker.unwrap_or(match args.audio {
        AudioSourceConfig::Microphone { .. } => SpeakerConfig::Device { id: None },
        _ => SpeakerConfig::Null,
    });
    let engine = Engine::start(EngineConfig {
        server: Some(args.server.unwrap_or_default()),
        name: Some(args.name),
        video: args.video,
        audio: args.audio,
        voice: args.raw_microphone.then_some(VoiceOptions::OFF),
        speaker,
        observer: Some(Arc::new(observer)),
        topology: match args.topology {
            Topology::Auto | Topology::Relay => TopologyWish::Auto,
            Topology::Mesh => TopologyWish::Mesh,
            Topology::Sfu => TopologyWish::Sfu,
        },
        downloads: args.accept_files,
        relay_only: args.topology == Topology::Relay,
        sealed_media: !args.unsealed,
        ..EngineConfig::new(Arc::new(NoUi))
    });
    tiles.start(engine.clone());
    sayings.start(engine.clone());
    files.start(engine.clone());
    share.start(engine.clone());
    if args.commands {
        commands::start(engine.clone(), Arc::clone(lines), tiles);
    }
    let command = match args.code {
        Some(code) => UiCommand::JoinCall { code },
        None => UiCommand::StartCall,
    };
    if let Err(code) = engine.dispatch(command) {
        lines.print(&Line::Error {
            code,
            detail: "the call was refused".to_owned(),
        });
    } else {
        let deadline = args
            .duration
            .map(|seconds| started + Duration::from_secs_f64(seconds));
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = ended.wait_for(|end| *end != End::NotYet) => {}
            () = expired => {}
            () = stop.wait() => {}
        }
    }
    engine.shutdown().await;
    let end = *ended.borrow();
    Ok(end)
}

fn report_recording(lines: &Lines, recorder: &SharedRecorder) {
    let recorder = recorder
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(recorded) = recorder.map(Recorder::finish) else {
        return;
    };
    for file in recorded.failed {
        lines.print(&Line::Error {
            code: ErrorCode::FileFailed,
            detail: file,
        });
    }
    lines.print(&Line::Recorded {
        files: recorded.files,
        dropped_pictures: recorded.dropped_pictures,
        dropped_sound_ms: recorded.dropped_sound_ms,
    });
}

/// What asks the process to leave.
struct StopSignals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "registering can fail on Unix")]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    async fn wait(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
