//! STUN and TURN (RFC 8489, RFC 8656): a relay for members who reach each other, or the SFU, in no
//! other way.
//!
//! [`server`] decides everything and is pure; [`address`] says whom it relays to; [`shell`] moves
//! bytes between it and the sockets; [`stream`] cuts TCP and TLS connections into messages.

pub mod address;
mod allocation;
pub mod config;
mod message;
mod nonce;
mod quota;
pub mod server;
