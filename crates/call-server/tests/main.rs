//! The server over real sockets on loopback.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are outside #[test] functions"
)]

mod binary;
mod client;
mod conversations;
mod hostile;
mod lifecycle;
mod relay;
mod sfu;
mod tls;
