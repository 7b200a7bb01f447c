//! The connection to a `visavis-server`: JSON text messages over WebSocket (RFC 6455), plain or
//! over TLS with the public web's roots.
//!
//! Both directions are bounded: outgoing messages beyond [`OUTGOING`] are refused, incoming ones
//! wait in the socket, so a client that does not read is closed by the server. Messages of a type
//! this client does not know, and binary ones, are ignored. Pings are answered; a server that is
//! silent for [`limits::PING_TIMEOUT_MS`] is gone.
//!
//! Not here: the dialogue (`hello`, `join`, resuming) and reconnecting.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use call_protocol::wire::{ClientMessage, ServerMessage, WEBSOCKET_PATH};
use call_protocol::{ErrorCode, limits};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};

/// Messages waiting to be sent. A join makes about ten per member at once.
const OUTGOING: usize = 1_024;
/// Messages waiting to be read.
const INCOMING: usize = 256;
/// How long closing may take.
const FLUSH: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Not a `ws://` or `wss://` address.
    #[error("the server's address is not valid")]
    ServerAddressInvalid,
    /// Nothing there, not a WebSocket server, TLS failed, or too slow.
    #[error("the server does not answer")]
    ServerUnreachable,
}

impl ConnectError {
    /// The stable code for the UI.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::ServerAddressInvalid => ErrorCode::ServerAddressInvalid,
            Self::ServerUnreachable => ErrorCode::ServerUnreachable,
        }
    }
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many wait: the server or the network does not take them.
    #[error("too many messages wait for the server")]
    Full,
    /// The connection is closed.
    #[error("the connection to the server is closed")]
    Closed,
}

/// What the server did.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerEvent {
    /// It sent a message.
    Message(ServerMessage),
    /// It answered [`ServerSender::probe`].
    Alive,
    /// The connection is over; nothing follows.
    Closed {
        /// The code of a fatal error the server announced, or [`ErrorCode::TimedOut`].
        code: Option<ErrorCode>,
    },
}

/// Opens connections.
#[derive(Debug)]
pub struct ServerConnection;

/// Queues messages to the server. The connection closes when every clone is gone.
#[derive(Clone, Debug)]
pub struct ServerSender {
    messages: mpsc::Sender<Outgoing>,
    is_over: watch::Receiver<bool>,
    own_ip: Option<IpAddr>,
}

/// What waits to be sent.
#[derive(Debug)]
enum Outgoing {
    Message(ClientMessage),
    Ping,
}

impl ServerConnection {
    /// Connects to `ws://host:port` or `wss://host`; the protocol's path is added where none is
    /// given.
    ///
    /// # Errors
    /// The address is malformed, or no WebSocket connection came about within `within`.
    pub async fn connect(
        url: &str,
        within: Duration,
    ) -> Result<(ServerSender, mpsc::Receiver<ServerEvent>), ConnectError> {
        let request = request(url).ok_or(ConnectError::ServerAddressInvalid)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(limits::MESSAGE_BYTES * 4))
            .max_frame_size(Some(limits::MESSAGE_BYTES * 4));
        // Without Nagle: signalling is small messages somebody waits for.
        let connecting = connect_async_tls_with_config(
            request,
            Some(config),
            true,
            Some(Connector::Rustls(tls())),
        );
        let socket = match timeout(within, connecting).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(error)) => {
                tracing::debug!(%error, "no connection to the server");
                return Err(ConnectError::ServerUnreachable);
            }
            Err(_) => return Err(ConnectError::ServerUnreachable),
        };
        let own_ip = own_ip(socket.get_ref());
        let (messages, queue) = mpsc::channel(OUTGOING);
        let (event_sender, events) = mpsc::channel(INCOMING);
        let (over_sender, is_over) = watch::channel(false);
        tokio::spawn(async move {
            run(socket, queue, event_sender).await;
            over_sender.send_replace(true);
        });
        let sender = ServerSender {
            messages,
            is_over,
            own_ip,
        };
        Ok((sender, events))
    }
}

impl ServerSender {
    /// Queues a message.
    ///
    /// # Errors
    /// The queue is full or the connection is closed.
    pub fn send(&self, message: &ClientMessage) -> Result<(), SendError> {
        self.queue(Outgoing::Message(message.clone()))
    }

    /// Asks for a sign of life: a ping, whose answer is reported as [`ServerEvent::Alive`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn probe(&self) -> Result<(), SendError> {
        self.queue(Outgoing::Ping)
    }

    /// This machine's address the connection goes out from; `None` where the system does not tell.
    pub fn own_ip(&self) -> Option<IpAddr> {
        self.own_ip
    }

    fn queue(&self, outgoing: Outgoing) -> Result<(), SendError> {
        self.messages
            .try_send(outgoing)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Closed,
            })
    }

    /// Sends what is queued, says goodbye and waits until that is done, at most a second. With
    /// other clones left it only waits.
    pub async fn close(self) {
        let Self {
            messages,
            mut is_over,
            ..
        } = self;
        drop(messages);
        let _ = timeout(FLUSH, is_over.wait_for(|is_over| *is_over)).await;
    }
}

/// The upgrade request, or `None` for anything that is not a WebSocket address.
fn request(url: &str) -> Option<Request<()>> {
    let url = url.trim();
    let rest = url
        .strip_prefix("ws://")
        .or_else(|| url.strip_prefix("wss://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() {
        return None;
    }
    let url = if path.is_empty() {
        format!("{}{WEBSOCKET_PATH}", url.trim_end_matches('/'))
    } else {
        url.to_owned()
    };
    url.into_client_request().ok()
}

/// TLS with the public web's roots. The provider is named, because a process in which several are
/// compiled in has no default one and would panic.
pub(crate) fn tls() -> Arc<rustls::ClientConfig> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("invariant: ring's provider supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn own_ip(stream: &MaybeTlsStream<TcpStream>) -> Option<IpAddr> {
    let tcp = match stream {
        MaybeTlsStream::Plain(tcp) => tcp,
        MaybeTlsStream::Rustls(tls) => tls.get_ref().0,
        _ => return None,
    };
    tcp.local_addr().ok().map(|address| address.ip())
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Carries messages until either side is done.
async fn run(
    mut socket: Socket,
    mut queue: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<ServerEvent>,
) {
    let silence = Duration::from_millis(limits::PING_TIMEOUT_MS);
    let mut heard_at = Instant::now();
    let mut code = None;
    loop {
        tokio::select! {
            message = queue.recv() => match message {
                Some(message) => {
                    if send(&mut socket, &message, silence).await.is_none() {
                        break;
                    }
                }
                None => {
                    let _ = timeout(FLUSH, socket.close(None)).await;
                    break;
                }
            },
            message = socket.next() => {
                heard_at = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => {
                        let Some(message) = parse(&text) else { continue };
                        if let ServerMessage::Error { code: fatal, fatal: true, .. } = &message {
                            code = Some(*fatal);
                        }
                        if events.send(ServerEvent::Message(message)).await.is_err() {
                            return;
                        }
                    }
                    Some(Ok(Message::Pong(_))) => {
                        if events.send(ServerEvent::Alive).await.is_err() {
                            return;
                        }
                    }
                    // Pings are answered by the protocol layer with the next read or write.
                    Some(Ok(Message::Close(_))) | Some(Err(_)) | None => break,
                    Some(Ok(_)) => {}
                }
            }
            () = tokio::time::sleep_until(heard_at + silence) => {
                code = Some(ErrorCode::TimedOut);
                break;
            }
        }
    }
    // The owner may be gone already.
    let _ = events.send(ServerEvent::Closed { code }).await;
}

/// `None` when the connection is broken or takes nothing.
async fn send(socket: &mut Socket, outgoing: &Outgoing, within: Duration) -> Option<()> {
    let message = match outgoing {
        Outgoing::Message(message) => message,
        Outgoing::Ping => {
            let ping = socket.send(Message::Ping(Bytes::new()));
            return timeout(within, ping).await.ok()?.ok();
        }
    };
    let text = match serde_json::to_string(message) {
        Ok(text) if text.len() <= limits::MESSAGE_BYTES => text,
        Ok(_) => {
            tracing::warn!("a message beyond the limit was not sent");
            return Some(());
        }
        Err(error) => {
            tracing::warn!(%error, "a message could not be written");
            return Some(());
        }
    };
    let sending: Result<(), Error> = timeout(within, socket.send(Message::text(text)))
        .await
        .ok()?;
    sending.ok()
}

fn parse(text: &str) -> Option<ServerMessage> {
    match ServerMessage::parse(text) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::debug!(%error, "a message of the server was ignored");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_path_and_nonsense_is_refused() {
        let cases = [
            ("ws://127.0.0.1:9", Some("ws://127.0.0.1:9/v1/ws")),
            ("ws://127.0.0.1:9/", Some("ws://127.0.0.1:9/v1/ws")),
            (" wss://call.example ", Some("wss://call.example/v1/ws")),
            (
                "wss://call.example/other/ws",
                Some("wss://call.example/other/ws"),
            ),
            ("http://call.example", None),
            ("call.example", None),
            ("ws://", None),
            ("ws:///v1/ws", None),
            ("ws://a b", None),
            ("", None),
        ];
        for (url, want) in cases {
            let got = request(url).map(|request| request.uri().to_string());
            assert_eq!(got.as_deref(), want, "{url}");
        }
    }
}
