//! The HTTP routes: `/v1/ws`, `/health`, `/metrics`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{State, WebSocketUpgrade};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use call_protocol::wire::WEBSOCKET_PATH;
use call_room::{ClientAddr, ConnId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actor::Command;
use crate::config::ServerConfig;
use crate::connection::{self, ConnectionConfig, READ_LIMIT_BYTES};
use crate::metrics;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What the routes share.
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) tracker: TaskTracker,
    pub(crate) drop_all: CancellationToken,
    pub(crate) next_conn: AtomicU64,
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(WEBSOCKET_PATH, get(websocket))
        .route("/health", get(|| std::future::ready("ok\n")))
        .route("/metrics", get(figures))
        .with_state(shared)
}

async fn websocket(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let conn = ConnId(shared.next_conn.fetch_add(1, Ordering::Relaxed));
    let config = ConnectionConfig {
        ping_interval: shared.config.ping_interval,
        ping_timeout: shared.config.ping_timeout,
        outbound_messages: shared.config.outbound_messages,
        outbound_bytes: shared.config.outbound_bytes,
        drop_all: shared.drop_all.clone(),
    };
    // Taken before the upgrade, so that the drain waits for a connection in the middle of one.
    let token = shared.tracker.token();
    let commands = shared.commands.clone();
    upgrade
        .max_message_size(READ_LIMIT_BYTES)
        .max_frame_size(READ_LIMIT_BYTES)
        .on_upgrade(async move |socket| {
            connection::run(socket, conn, client_addr(peer.ip()), config, commands).await;
            drop(token);
        })
}

async fn figures(State(shared): State<Arc<Shared>>) -> Response {
    let (answer, figures) = oneshot::channel();
    if shared
        .commands
        .send(Command::Figures(answer))
        .await
        .is_err()
    {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match figures.await {
        Ok(figures) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], metrics::render(&figures)).into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The key for the limits per address: an IPv4 address, or an IPv6 /64 (what one customer gets).
/// Loopback has none: it is this machine, or a reverse proxy behind which everybody would share it.
fn client_addr(ip: IpAddr) -> Option<ClientAddr> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V4(ip) => Some(ClientAddr(ip.to_ipv6_mapped().to_bits())),
        IpAddr::V6(ip) => Some(ClientAddr(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_belong_together_share_a_key() {
        let key = |text: &str| client_addr(text.parse().unwrap());
        assert_eq!(key("127.0.0.1"), None);
        assert_eq!(key("::1"), None);
        assert_eq!(key("::ffff:127.0.0.1"), None);
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::2:3:4:5"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }
}
