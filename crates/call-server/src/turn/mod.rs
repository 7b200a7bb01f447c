//! STUN and TURN (RFC 8489, RFC 8656): a relay for members who reach each other, or the SFU, in no
//! other way.
//!
//! [`server`] decides everything and is pure; [`address`] says whom it relays to; [`shell`] moves
//! bytes between it and the sockets; [`stream`] cuts TCP and TLS connections into messages.

mod address;
mod allocation;
mod config;
mod message;
mod nonce;
mod quota;
mod server;
mod shell;
pub(crate) mod start;
mod stream;
pub(crate) mod urls;

pub use config::TurnLimits;
pub(crate) use shell::TurnStreams;
pub use start::RelayConfig;

#[cfg(test)]
mod socket_tests;
