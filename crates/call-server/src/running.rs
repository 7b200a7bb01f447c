//! [`serve`] and what it returns: start, drain, end.
//!
//! States: running → draining (shutdown asked for: no new connections, every client told, up to
//! `drain_timeout`) → ended (no task of ours left).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use call_room::{Input, Rooms};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::actor::{self, COMMAND_QUEUE, Command};
use crate::config::ServerConfig;
use crate::http::{Shared, router};
use crate::sfu::{MediaPort, Sfu, SfuOutputs};
use crate::tls::TlsError;
use crate::{accept, tls};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The HTTP address could not be bound.
    #[error("cannot listen for HTTP on {addr}: {source}")]
    BindHttp {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The media address could not be bound.
    #[error("cannot receive media on {addr}: {source}")]
    BindMedia {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The system has no randomness for resume tokens.
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// A server at work. Dropping it begins the drain in the background.
#[derive(Debug)]
pub struct RunningServer {
    /// Where WebSocket and HTTP are served, with the real port.
    pub http: SocketAddr,
    /// Where UDP is received, with the real port.
    pub media: SocketAddr,
    closing: CancellationToken,
    supervisor: Option<JoinHandle<()>>,
}

/// Begins the shutdown of a server from anywhere.
#[derive(Clone, Debug)]
pub struct ShutdownHandle {
    closing: CancellationToken,
}

impl ShutdownHandle {
    /// Begins the drain and returns at once. Idempotent.
    pub fn shutdown(&self) {
        self.closing.cancel();
    }
}

impl RunningServer {
    /// A handle that can begin the shutdown while somebody waits.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle {
            closing: self.closing.clone(),
        }
    }

    /// Drains and returns when every task has ended: at most the drain timeout and a second.
    pub async fn shutdown(self) {
        self.closing.cancel();
        self.wait().await;
    }

    /// Returns when the server has ended, which somebody else's [`ShutdownHandle`] must begin.
    pub async fn wait(mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            // Fails only when the runtime is being dropped, which ends every task as well.
            let _ = supervisor.await;
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// Binds both sockets and serves until shutdown. Must run on a tokio runtime.
///
/// # Errors
/// A socket cannot be bound, certificate or key cannot be used, or the system has no randomness.
pub async fn serve(config: ServerConfig) -> Result<RunningServer, ServeError> {
    let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let bind_http = |source| ServeError::BindHttp {
        addr: config.http,
        source,
    };
    let bind_media = |source| ServeError::BindMedia {
        addr: config.media,
        source,
    };
    let listener = TcpListener::bind(config.http).await.map_err(bind_http)?;
    let http = listener.local_addr().map_err(bind_http)?;
    let port = MediaPort::bind(config.media, config.media_threads).map_err(bind_media)?;
    let media_addr = port.local_addr();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(ServeError::Randomness)?;

    let closing = CancellationToken::new();
    let drop_all = CancellationToken::new();
    let tracker = TaskTracker::new();
    let drain_timeout = config.drain_timeout;
    let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
    let mut rooms = config.rooms.clone();
    if let Some(ip) = config.public_ip {
        rooms
            .stun
            .push(format!("stun:{}", SocketAddr::new(ip, media_addr.port())));
    }
    let (sfu, SfuOutputs { notices, turn }) =
        Sfu::start(port, config.public_ip).map_err(bind_media)?;
    let sfu = Arc::new(sfu);
    // Nobody relays yet: what arrives for TURN is dropped.
    drop(turn);
    let rooms = Rooms::new(rooms, seed, (Instant::now(), unix_s()));
    let actor = tokio::spawn(actor::run(rooms, Arc::clone(&sfu), notices, queue));
    let shared = Arc::new(Shared {
        config,
        commands: commands.clone(),
        tracker: tracker.clone(),
        drop_all: drop_all.clone(),
        next_conn: AtomicU64::new(1),
    });
    let accept = tokio::spawn(accept::run(accept::Accept {
        listener,
        tls,
        router: router(shared),
        tracker: tracker.clone(),
        closing: closing.clone(),
    }));
    let supervisor = tokio::spawn(supervise(Tasks {
        actor,
        sfu,
        accept,
        commands,
        tracker,
        closing: closing.clone(),
        drop_all,
        drain_timeout,
    }));
    info!(%http, media = %media_addr, "listening");
    Ok(RunningServer {
        http,
        media: media_addr,
        closing,
        supervisor: Some(supervisor),
    })
}

fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

struct Tasks {
    actor: JoinHandle<()>,
    sfu: Arc<Sfu>,
    accept: JoinHandle<()>,
    commands: mpsc::Sender<Command>,
    tracker: TaskTracker,
    closing: CancellationToken,
    drop_all: CancellationToken,
    drain_timeout: Duration,
}

/// Waits for the shutdown and ends the tasks in the order of who feeds whom.
async fn supervise(tasks: Tasks) {
    tasks.closing.cancelled().await;
    info!("draining");
    // A panic of one task must not keep the others from ending.
    let _ = tasks.accept.await;
    let _ = tasks.commands.send(Command::Input(Input::Drain)).await;
    tasks.tracker.close();
    if timeout(tasks.drain_timeout, tasks.tracker.wait())
        .await
        .is_err()
    {
        warn!(
            connections = tasks.tracker.len(),
            "dropping connections that did not close"
        );
        tasks.drop_all.cancel();
        // What is left now are requests in the middle of HTTP, which end by their own timeout.
        let _ = timeout(Duration::from_secs(1), tasks.tracker.wait()).await;
    }
    // After the members were told, so that their last words are not lost.
    let sfu = tasks.sfu;
    let stopped = tokio::task::spawn_blocking(move || sfu.stop());
    if timeout(Duration::from_secs(1), stopped).await.is_err() {
        warn!("media threads did not end");
    }
    drop(tasks.commands);
    tasks.actor.abort();
    let _ = tasks.actor.await;
    info!("ended");
}
