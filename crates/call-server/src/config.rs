//! What a server is started with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use call_protocol::limits;
use call_room::RoomsConfig;

use crate::tls::TlsFiles;
use crate::turn::RelayConfig;

/// Addresses, limits and times of one server. The default listens on loopback, on free ports.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to serve WebSocket and HTTP; port 0 takes a free one.
    pub http: SocketAddr,
    /// Where to receive UDP: media of rooms at the SFU, and STUN binding requests.
    pub media: SocketAddr,
    /// Threads that serve the media port, at least 1: one room lives on one of them. More than one
    /// only on Linux.
    pub media_threads: usize,
    /// Address at which members reach the UDP port, told to them as a STUN server and as the
    /// SFU's address. `None` tells them of no STUN server and of the addresses the port is bound to:
    /// on one network they need no more.
    pub public_ip: Option<IpAddr>,
    /// Certificate and key, to serve `https` and `wss` instead of `http` and `ws`.
    pub tls: Option<TlsFiles>,
    /// The TURN relay, served where its address is known: [`Self::public_ip`], or with
    /// [`RelayConfig::allow_private`] that of [`Self::media`] where it is no wildcard. `None`: no
    /// relay.
    pub relay: Option<RelayConfig>,
    /// Limits of rooms, connections and rates.
    pub rooms: RoomsConfig,
    /// Interval of WebSocket pings. Shorter notices lost connections sooner and costs some 8 bytes
    /// each way per ping.
    pub ping_interval: Duration,
    /// A connection that sent nothing, not even a pong, for this long is given up.
    pub ping_timeout: Duration,
    /// Most messages queued for one connection; one more closes it with `too_slow`. A join to a
    /// full room makes about 50 at once.
    pub outbound_messages: usize,
    /// Most bytes queued for one connection, likewise.
    pub outbound_bytes: usize,
    /// Connections still open this long after shutdown began are dropped.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            http: loopback,
            media: loopback,
            media_threads: 1,
            public_ip: None,
            tls: None,
            relay: Some(RelayConfig::default()),
            rooms: RoomsConfig::default(),
            ping_interval: Duration::from_millis(limits::PING_INTERVAL_MS),
            ping_timeout: Duration::from_millis(limits::PING_TIMEOUT_MS),
            outbound_messages: 512,
            outbound_bytes: 1024 * 1024,
            drain_timeout: Duration::from_secs(5),
        }
    }
}
