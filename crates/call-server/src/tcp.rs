//! TCP on the media port: TURN, TURN over TLS, and ICE-TCP (RFC 6544), told apart by how a
//! connection begins.
//!
//! TURN begins with a STUN request, so with 0x00 and a small method; TLS with a handshake record
//! (0x16 0x03); ICE-TCP with the length of the first frame (RFC 4571), and a STUN message in it has
//! at least 20 bytes. Connections that say nothing are closed after ten seconds; so many at most
//! are waited for at once, more wait in the system's backlog.
//!
//! Deliberately not here: what is done with ICE-TCP connections; they are handed on unread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::turn::TurnStreams;

/// Connections not told apart yet.
const UNDECIDED: usize = 256;
const DECIDE_WITHIN: Duration = Duration::from_secs(10);
/// Between looks at a connection of which only one byte has come.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Pause after a failed accept, which usually means that the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Smallest STUN message, in a frame of ICE-TCP.
const SMALLEST_FRAME: u16 = 20;
/// No first message of ICE is longer.
const LARGEST_FRAME: u16 = 2_048;

/// What the loop works with.
pub(crate) struct MediaTcp {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) turn: TurnStreams,
    /// Takes ICE-TCP connections, unread; full or closed, they are dropped.
    pub(crate) ice: mpsc::Sender<(TcpStream, SocketAddr)>,
    pub(crate) tracker: TaskTracker,
    pub(crate) closing: CancellationToken,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Turn,
    Tls,
    IceTcp,
}

fn protocol(first: [u8; 2]) -> Option<Protocol> {
    match u16::from_be_bytes(first) {
        // Binding and Allocate requests.
        0x0001 | 0x0003 => Some(Protocol::Turn),
        0x1603 => Some(Protocol::Tls),
        SMALLEST_FRAME..=LARGEST_FRAME => Some(Protocol::IceTcp),
        _ => None,
    }
}

pub(crate) async fn run(media: MediaTcp) {
    let permits = Arc::new(Semaphore::new(UNDECIDED));
    let media = Arc::new(media);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = media.closing.cancelled() => return,
        };
        let accepted = tokio::select! {
            accepted = media.listener.accept() => accepted,
            () = media.closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let shared = Arc::clone(&media);
                media.tracker.spawn(async move {
                    let _permit = permit;
                    // Media waits for nobody; a failure costs latency only.
                    let _ = stream.set_nodelay(true);
                    let decided = tokio::select! {
                        decided = timeout(DECIDE_WITHIN, decide(&shared, stream, peer)) => decided,
                        () = shared.closing.cancelled() => return,
                    };
                    if decided.is_err() {
                        debug!("a connection to the media port said nothing");
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

async fn decide(media: &MediaTcp, stream: TcpStream, peer: SocketAddr) {
    match peek(&stream).await.and_then(protocol) {
        Some(Protocol::Turn) => media.turn.accept(peer, stream),
        Some(Protocol::Tls) => {
            if let Some(tls) = &media.tls {
                match tls.accept(stream).await {
                    Ok(stream) => media.turn.accept(peer, stream),
                    Err(error) => debug!(%error, "TLS handshake failed"),
                }
            }
        }
        Some(Protocol::IceTcp) => {
            if media.ice.try_send((stream, peer)).is_err() {
                debug!("an ICE-TCP connection was dropped");
            }
        }
        None => debug!("a connection to the media port speaks something else"),
    }
}

/// The first two bytes, left in place.
async fn peek(stream: &TcpStream) -> Option<[u8; 2]> {
    let mut first = [0; 2];
    loop {
        match stream.peek(&mut first).await {
            Ok(2) => return Some(first),
            // Readiness cannot tell one byte from two.
            Ok(1) => sleep(LOOK_AGAIN).await,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_bytes_tell_protocols_apart() {
        let cases = [
            ([0x00, 0x01], Some(Protocol::Turn)),
            ([0x00, 0x03], Some(Protocol::Turn)),
            ([0x16, 0x03], Some(Protocol::Tls)),
            ([0x00, 0x14], Some(Protocol::IceTcp)),
            ([0x00, 0x6c], Some(Protocol::IceTcp)),
            ([0x08, 0x00], Some(Protocol::IceTcp)),
            ([0x00, 0x00], None),
            ([0x00, 0x13], None),
            ([0x08, 0x01], None),
            ([0x40, 0x00], None),
            ([b'G', b'E'], None),
        ];
        for (first, want) in cases {
            assert_eq!(protocol(first), want, "{first:02x?}");
        }
    }
}
