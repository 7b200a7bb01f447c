//! The stack's tests: real peer connections over loopback sockets.

// Clippy's exemption for tests does not reach helper functions.
#![allow(clippy::unwrap_used)]

mod bulk;
mod channels;
mod lifecycle;
mod media;
mod negotiation;
mod recovery;
mod sfu;
mod sfu_peer;
mod shapes;
mod support;
mod ws;
