//! The UDP media port. Answers STUN and hands TURN on; anything else is ignored.

use bytes::Bytes;
use std::net::SocketAddr;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace};

use crate::stun::handle_stun;

/// Largest datagram looked at; a binding request is far smaller.
const DATAGRAM_BYTES: usize = 1_500;

pub(crate) async fn run(
    socket: UdpSocket,
    turn: Option<mpsc::Sender<(SocketAddr, Bytes)>>,
    closing: CancellationToken,
) {
    let mut buffer = [0; DATAGRAM_BYTES];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = closing.cancelled() => return,
        };
        match received {
            Ok((len, from)) => {
                trace!(len, "datagram");
                if let Some(answer) = handle_stun(&buffer[..len], from) {
                    // Never waits: a full send buffer drops the answer, and the client asks again.
                    if let Err(error) = socket.try_send_to(&answer, from) {
                        debug!(%error, "STUN answer dropped");
                    }
                } else if let Some(turn) = &turn
                    && crate::turn::is_turn(&buffer[..len])
                {
                    // A full queue drops, as networks do.
                    let _ = turn.try_send((from, Bytes::copy_from_slice(&buffer[..len])));
                }
            }
            // Some systems report a peer's ICMP answer here; it concerns no later datagram.
            Err(error) => {
                debug!(%error, "receive failed");
                tokio::task::yield_now().await;
            }
        }
    }
}
