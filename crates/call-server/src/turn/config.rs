//! Addresses and limits of the relay.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::address::Policy;

/// What one relay may take. Every limit refuses what is beyond it; what is there goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    /// Allocations at once; each costs a socket. Beyond: 508.
    pub allocations: usize,
    /// Allocations per grant. A client makes one per link, address of its own and transport, and
    /// old ones live on for up to ten minutes after a lost network. Beyond: 486.
    pub allocations_per_user: usize,
    /// Allocations per client address (IPv6: per /64). Everybody behind one NAT shares it.
    /// Beyond: 486.
    pub allocations_per_ip: usize,
    /// Peers an allocation may talk to at once. Beyond: 508.
    pub permissions: usize,
    /// Channels of an allocation. Beyond: 508.
    pub channels: usize,
    /// Payload bits per second of an allocation, each way. Beyond: dropped.
    pub rate_bps: u64,
    /// Payload bytes that may pass at once after a pause.
    pub burst_bytes: u64,
    /// Answers per second to requests without valid credentials, per client address. Beyond: not
    /// answered.
    pub challenges_per_s: u32,
    /// Such answers at once after a pause.
    pub challenge_burst: u32,
    /// Client addresses counted one by one for that; further ones share one budget.
    pub challenged_ips: usize,
    /// TCP and TLS connections at once. Beyond: closed at once.
    pub streams: usize,
    /// Likewise per client address.
    pub streams_per_ip: usize,
    /// A connection without an allocation for this long is closed.
    pub stream_idle: Duration,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            allocations: 512,
            allocations_per_user: 64,
            allocations_per_ip: 192,
            permissions: 64,
            channels: 64,
            rate_bps: 12_000_000,
            burst_bytes: 512 * 1024,
            challenges_per_s: 64,
            challenge_burst: 256,
            challenged_ips: 4_096,
            streams: 512,
            streams_per_ip: 192,
            stream_idle: Duration::from_secs(30),
        }
    }
}

/// What a [`super::server::TurnServer`] works with.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnConfig {
    /// Addresses that relayed packets come from, as peers see them: at most one per family.
    pub(crate) relay_ips: Vec<IpAddr>,
    /// The media port as members see it, and as this machine reaches it. Members who get nothing
    /// but TCP through reach the SFU by relaying to it.
    pub(crate) media: Vec<(SocketAddr, SocketAddr)>,
    /// Whom to relay to.
    pub(crate) policy: Policy,
    /// Limits.
    pub(crate) limits: TurnLimits,
}
