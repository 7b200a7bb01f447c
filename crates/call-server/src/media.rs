//! What arrives on the UDP media port for TURN.
//!
//! The SFU's threads own the port. They keep ICE, DTLS and RTP for themselves, answer STUN binding
//! requests of whoever wants to know their address, and pass on the rest of what may be TURN.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

/// TURN requests and channel data (RFC 8656) with their senders, and the way to answer.
#[derive(Debug)]
pub struct TurnDatagrams {
    /// Bounded; what does not fit is dropped, as the network might have done.
    pub receiver: mpsc::Receiver<(SocketAddr, Bytes)>,
    /// A clone of a socket of the port, non-blocking: what the system does not take at once is
    /// dropped likewise. Send only; what is received here belongs to the SFU.
    pub socket: Arc<std::net::UdpSocket>,
}
