//! Accepts TCP connections and serves HTTP/1.1 on them, and TURN where TLS carries it: networks that
//! let nothing but HTTPS pass let the relay pass this way.
//!
//! Our own loop instead of `axum::serve`, because that bounds neither the number of connections nor
//! the time a client may take to send its request.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::http::Peer;
use crate::turn::TurnStreams;

/// Connections that have not (yet) become a WebSocket; more wait in the system's backlog.
const HTTP_CONNECTIONS: usize = 1024;
/// Time for a TLS handshake, and for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for all requests of one connection. An upgraded connection no longer counts here.
const HTTP_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept, which usually means that the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the loop works with.
pub(crate) struct Accept {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) router: Router,
    /// Takes what is not HTTP; `None`: nobody.
    pub(crate) turn: Option<TurnStreams>,
    pub(crate) tracker: TaskTracker,
    pub(crate) closing: CancellationToken,
}

pub(crate) async fn run(accept: Accept) {
    let Accept {
        listener,
        tls,
        router,
        turn,
        tracker,
        closing,
    } = accept;
    let permits = Arc::new(Semaphore::new(HTTP_CONNECTIONS));
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = closing.cancelled() => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let router = router.clone().layer(Extension(Peer(peer)));
                let closing = closing.clone();
                let tls = tls.clone().map(|tls| (tls, turn.clone()));
                tracker.spawn(async move {
                    let _permit = permit;
                    // Signals are small and waited for; a failure costs latency only.
                    let _ = stream.set_nodelay(true);
                    match tls {
                        None => serve_stream(stream, router, closing).await,
                        Some((tls, turn)) => {
                            serve_tls(tls, (stream, peer), router, turn, closing).await;
                        }
                    }
                });
            }
            Err(error) => {
                warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_tls(
    tls: TlsAcceptor,
    (stream, peer): (TcpStream, SocketAddr),
    router: Router,
    turn: Option<TurnStreams>,
    closing: CancellationToken,
) {
    let begin = async {
        let mut stream = tls.accept(stream).await?;
        let mut first = [0];
        let read = stream.read(&mut first).await?;
        std::io::Result::Ok((stream, first, read))
    };
    let begun = tokio::select! {
        begun = timeout(HEADER_TIMEOUT, begin) => begun,
        () = closing.cancelled() => return,
    };
    let (stream, first, read) = match begun {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake or first byte took too long"),
    };
    let (read_half, write_half) = tokio::io::split(stream);
    let prefix = Cursor::new(Vec::from(&first[..read]));
    let stream = tokio::io::join(prefix.chain(read_half), write_half);
    match turn {
        Some(turn) if read == 1 && is_turn(first[0]) => turn.accept(peer, stream),
        _ => serve_stream(stream, router, closing).await,
    }
}

/// A request of HTTP begins with a letter, one of STUN with the bits 00 and its method.
fn is_turn(first: u8) -> bool {
    first < 0x20 && !first.is_ascii_whitespace()
}

async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    closing: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let result = timeout(HTTP_TIMEOUT, async {
        tokio::select! {
            result = &mut connection => return result,
            () = closing.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    })
    .await;
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "HTTP connection failed"),
        Err(_) => debug!("HTTP connection took too long"),
    }
}
