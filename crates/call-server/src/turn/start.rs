//! Puts a relay together: addresses, policy, tasks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use call_room::relay::RelaySecret;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::address::Policy;
use super::config::{TurnConfig, TurnLimits};
use super::server::TurnServer;
use super::shell::{self, RelayAddress, TurnStreams};
use super::urls::relay_urls;
use crate::media::TurnDatagrams;
use crate::tcp::{self, MediaTcp};

/// ICE-TCP connections waiting for whoever takes them.
const ICE_STREAMS: usize = 32;

/// What the operator says about the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayConfig {
    /// Relays to private networks and loopback as well; see [`Policy::allow_private`].
    pub allow_private: bool,
    /// Limits.
    pub limits: TurnLimits,
}

/// Where the relay is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelayPlace {
    /// The media port as it is bound.
    pub(crate) media: SocketAddr,
    /// Its address as members see it.
    pub(crate) public: IpAddr,
}

impl RelayPlace {
    /// `None`: nobody knows an address under which peers would find the relay. That of the socket is
    /// one only for a server that relays to its own network.
    pub(crate) fn new(
        media: SocketAddr,
        public: Option<IpAddr>,
        relay: RelayConfig,
    ) -> Option<Self> {
        let bound = media.ip();
        let is_near = relay.allow_private && !bound.is_unspecified();
        let public = public.or(is_near.then_some(bound))?;
        Some(Self { media, public })
    }

    /// Where relay sockets are bound: where the media port is, or wherever there is a way out.
    fn bind(&self) -> IpAddr {
        let bound = self.media.ip();
        match (bound.is_ipv6(), self.public.is_ipv6()) {
            (bound_v6, public_v6) if bound_v6 == public_v6 => bound,
            (_, true) => IpAddr::from([0_u16; 8]),
            (_, false) => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// The media port as a relay socket reaches it.
    fn local_media(&self) -> SocketAddr {
        let bind = self.bind();
        let ip = match bind {
            IpAddr::V4(_) if bind.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) if bind.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            _ => bind,
        };
        SocketAddr::new(ip, self.media.port())
    }

    /// What members are told; see [`relay_urls`].
    pub(crate) fn urls(&self, has_tcp: bool, tls: Option<(Option<&str>, u16)>) -> Vec<String> {
        relay_urls(self.public, self.media.port(), has_tcp, tls)
    }

    /// What the state machine works with.
    pub(crate) fn config(&self, relay: RelayConfig) -> TurnConfig {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            debug!(%error, "the machine's addresses are unknown");
            Vec::new()
        });
        let mut own: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
        own.push(self.public);
        TurnConfig {
            relay_ips: vec![self.public],
            media: vec![(
                SocketAddr::new(self.public, self.media.port()),
                self.local_media(),
            )],
            policy: Policy {
                allow_private: relay.allow_private,
                own,
            },
            limits: relay.limits,
        }
    }
}

/// What the tasks work with.
pub(crate) struct RelayParts {
    pub(crate) place: RelayPlace,
    pub(crate) config: RelayConfig,
    pub(crate) secret: RelaySecret,
    pub(crate) nonce_seed: [u8; 32],
    /// An instant, and Unix seconds then.
    pub(crate) started: (Instant, u64),
    pub(crate) datagrams: TurnDatagrams,
    /// On the media port's address; `None`: no TCP.
    pub(crate) listener: Option<TcpListener>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) tracker: TaskTracker,
    pub(crate) closing: CancellationToken,
}

/// Starts the relay in `tasks`, which end after `closing`. Returns what takes streams from the
/// HTTPS port, and the ICE-TCP connections of the media port.
pub(crate) fn start(
    parts: RelayParts,
    tasks: &mut JoinSet<()>,
) -> (TurnStreams, mpsc::Receiver<(TcpStream, SocketAddr)>) {
    let server = TurnServer::new(
        parts.place.config(parts.config),
        parts.secret,
        parts.nonce_seed,
        parts.started,
    );
    let address = RelayAddress {
        bind: parts.place.bind(),
        public: parts.place.public,
    };
    let (turn, streams) = TurnStreams::new();
    let (ice, ice_streams) = mpsc::channel(ICE_STREAMS);
    tasks.spawn(shell::run(
        server,
        parts.datagrams,
        streams,
        vec![address],
        parts.closing.clone(),
    ));
    if let Some(listener) = parts.listener {
        tasks.spawn(tcp::run(MediaTcp {
            listener,
            tls: parts.tls,
            turn: turn.clone(),
            ice,
            tracker: parts.tracker,
            closing: parts.closing,
        }));
    }
    (turn, ice_streams)
}
