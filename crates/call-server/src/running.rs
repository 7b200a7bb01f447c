//! [`serve`] and what it returns: start, drain, end.
//!
//! States: running → draining (shutdown asked for: no new connections, every client told, up to
//! `drain_timeout`) → ended (no task of ours left).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use call_room::relay::RelaySecret;
use call_room::{Input, Rooms};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::actor::{self, COMMAND_QUEUE, Command};
use crate::config::ServerConfig;
use crate::http::{Shared, router};
use crate::sfu::{MediaPort, Sfu};
use crate::tls::TlsError;
use crate::turn::start::{RelayParts, RelayPlace};
use crate::{accept, tls, turn};

/// Pairs of ports tried where any will do.
const MEDIA_PORT_TRIES: u32 = 16;

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
    let (port, media_tcp) =
        bind_media_port(config.media, config.media_threads).map_err(bind_media)?;
    let media_addr = port.local_addr();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(ServeError::Randomness)?;
    let mut nonce_seed = [0; 32];
    getrandom::fill(&mut nonce_seed).map_err(ServeError::Randomness)?;
    let started = (Instant::now(), unix_s());

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
    let relay = config.relay.and_then(|relay| {
        RelayPlace::new(media_addr, config.public_ip, relay).map(|place| (relay, place))
    });
    if let Some((_, place)) = relay {
        let name = config.tls.as_ref().and_then(tls::name);
        let tls = tls.as_ref().map(|_| (name.as_deref(), http.port()));
        let urls = place.urls(media_tcp.is_some(), tls);
        rooms.relay_urls.extend(urls);
    }
    let (sfu, outputs) = Sfu::start(port, config.public_ip).map_err(bind_media)?;
    let sfu = Arc::new(sfu);
    let rooms = Rooms::new(rooms, seed, started);
    let actor = tokio::spawn(actor::run(rooms, Arc::clone(&sfu), outputs.notices, queue));
    let mut relay_tasks = JoinSet::new();
    let mut turn_streams = None;
    if let Some((relay, place)) = relay {
        let (streams, _ice) = turn::start::start(
            RelayParts {
                place,
                config: relay,
                secret: RelaySecret::new(seed),
                nonce_seed,
                started,
                datagrams: outputs.turn,
                listener: media_tcp,
                tls: tls.clone(),
                tracker: tracker.clone(),
                closing: closing.clone(),
            },
            &mut relay_tasks,
        );
        turn_streams = Some(streams);
    }
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
        turn: turn_streams,
        tracker: tracker.clone(),
        closing: closing.clone(),
    }));
    let supervisor = tokio::spawn(supervise(Tasks {
        actor,
        sfu,
        relay: relay_tasks,
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

/// UDP and, where it is free, TCP on the same port.
fn bind_media_port(
    addr: SocketAddr,
    threads: usize,
) -> io::Result<(MediaPort, Option<TcpListener>)> {
    let mut tries = 0;
    loop {
        let port = MediaPort::bind(addr, threads)?;
        let bound = port.local_addr();
        let tcp = std::net::TcpListener::bind(bound).and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        tries += 1;
        match tcp {
            Ok(listener) => return Ok((port, Some(listener))),
            // A free UDP port was wanted, and the next one may be free for TCP as well.
            Err(_) if addr.port() == 0 && tries < MEDIA_PORT_TRIES => {}
            Err(error) => {
                warn!(%error, "no TCP on the media port: no relay for members without UDP");
                return Ok((port, None));
            }
        }
    }
}

fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

struct Tasks {
    actor: JoinHandle<()>,
    sfu: Arc<Sfu>,
    relay: JoinSet<()>,
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
    let _ = tasks.relay.join_all().await;
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
