//! Engines in this process, watched through their observers.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use call_client::{
    AudioSourceConfig, CallObserver, Engine, EngineConfig, HostFuture, HostedServer, NoUi,
    Observed, RoomHost, SpeakerConfig, VideoSourceConfig,
};
use call_core::CallEvent;
use call_media::frame::I420Frame;
use call_protocol::{ErrorCode, MediaSource, MemberId};
use call_server::{RunningServer, ServerConfig, serve};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::timeout;

use super::headless::PATIENCE;

/// What a watched engine reported and was not asked for yet. Bounded: the oldest are dropped.
const KEPT: usize = 4_096;

/// Collects what an engine reports.
#[derive(Default)]
pub struct Watcher {
    observed: Mutex<VecDeque<Observed>>,
    more: Notify,
}

impl CallObserver for Watcher {
    fn observe(&self, observed: Observed) {
        let mut queue = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= KEPT {
            queue.pop_front();
        }
        queue.push_back(observed);
        drop(queue);
        self.more.notify_one();
    }

    fn picture(&self, _member: MemberId, _source: MediaSource, _picture: &I420Frame) {}

    fn sound(&self, _member: MemberId, _samples: &[f32]) {}
}

impl Watcher {
    /// Takes reports until one fits, and returns what `pick` makes of it.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn until<T>(&self, what: &str, pick: impl Fn(&Observed) -> Option<T>) -> T {
        let mut passed = Vec::new();
        let wait = async {
            loop {
                loop {
                    let mut queue = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(observed) = queue.pop_front() else {
                        break;
                    };
                    drop(queue);
                    if let Some(picked) = pick(&observed) {
                        return picked;
                    }
                    passed.push(observed);
                }
                self.more.notified().await;
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(picked) => picked,
            Err(_) => panic!("no {what} within {PATIENCE:?}; passed: {passed:?}"),
        }
    }

    /// The code of the room that was started.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn room_code(&self) -> String {
        let code = |observed: &Observed| match observed {
            Observed::Call(CallEvent::Room { code, .. }) => Some(code.clone()),
            _ => None,
        };
        self.until("room code", code).await
    }
}

/// An engine with a small synthetic picture and a tone, and its watcher.
pub struct Watched {
    /// The engine.
    pub engine: Engine,
    /// What it reports.
    pub watcher: Arc<Watcher>,
}

/// Starts a watched engine. An empty `server` finds and hosts rooms on the local network.
pub fn start_watched(name: &str, server: &str, host: Option<Arc<dyn RoomHost>>) -> Watched {
    let watcher = Arc::new(Watcher::default());
    let engine = Engine::start(EngineConfig {
        server: Some(server.to_owned()),
        name: Some(name.to_owned()),
        video: VideoSourceConfig::Pattern {
            width: 160,
            height: 90,
            fps: 5,
        },
        audio: AudioSourceConfig::Tone { hz: 440 },
        speaker: SpeakerConfig::Null,
        host,
        observer: Some(watcher.clone()),
        ..EngineConfig::new(Arc::new(NoUi))
    });
    Watched { engine, watcher }
}

/// Hosts rooms as the app does: one server in this process, started once.
#[derive(Default)]
pub struct InProcessHost {
    running: Arc<AsyncMutex<Option<RunningServer>>>,
}

impl RoomHost for InProcessHost {
    fn start(&self) -> HostFuture {
        let running = Arc::clone(&self.running);
        Box::pin(async move {
            let mut running = running.lock().await;
            if running.is_none() {
                let any = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
                let config = ServerConfig {
                    http: any,
                    media: any,
                    ..ServerConfig::default()
                };
                *running = Some(serve(config).await.map_err(|_| ErrorCode::HostFailed)?);
            }
            let port = running.as_ref().map_or(0, |server| server.http.port());
            Ok(HostedServer {
                url: format!("ws://127.0.0.1:{port}"),
                port,
            })
        })
    }
}

/// What this process holds of the system.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Threads.
    pub threads: usize,
    /// Open files and sockets.
    pub files: usize,
    /// Resident memory in MiB.
    pub resident_mib: f64,
}

impl Footprint {
    /// Looks at the process.
    ///
    /// # Panics
    /// Where there is no `/proc`.
    pub fn now() -> Self {
        let entries = |path: &str| {
            std::fs::read_dir(Path::new(path))
                .expect("Linux has /proc")
                .count()
        };
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
        let resident_kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
            .expect("the status tells the resident memory");
        Self {
            threads: entries("/proc/self/task"),
            files: entries("/proc/self/fd"),
            resident_mib: resident_kib / 1024.0,
        }
    }
}

/// Waits until `done` holds, looking every 20 ms. Returns whether it came to hold in time.
pub async fn eventually(limit: Duration, done: impl Fn() -> bool) -> bool {
    let wait = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !done() {
            look.tick().await;
        }
    };
    timeout(limit, wait).await.is_ok()
}
