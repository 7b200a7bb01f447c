//! The server the app runs itself when none is configured. It starts with the first room hosted
//! and lives as long as the app: a room outlives neither.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use call_client::{HostFuture, HostedServer, RoomHost};
use call_protocol::ErrorCode;
use call_server::{RunningServer, ServerConfig, serve};
use tokio::sync::Mutex;

/// Starts `call-server` inside this process, once.
#[derive(Default)]
pub(crate) struct EmbeddedServer {
    running: Arc<Mutex<Option<RunningServer>>>,
}

impl RoomHost for EmbeddedServer {
    fn start(&self) -> HostFuture {
        let running = self.running.clone();
        Box::pin(async move {
            let mut running = running.lock().await;
            let server = match running.take() {
                Some(server) => server,
                None => serve(lan_config()).await.map_err(|error| {
                    tracing::warn!(%error, "the embedded server did not start");
                    ErrorCode::HostFailed
                })?,
            };
            let port = server.http.port();
            *running = Some(server);
            Ok(HostedServer {
                url: format!("ws://127.0.0.1:{port}"),
                port,
            })
        })
    }
}

/// Every interface, any free port: the address travels in the announcement.
fn lan_config() -> ServerConfig {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    ServerConfig {
        http: any,
        media: any,
        ..ServerConfig::default()
    }
}
