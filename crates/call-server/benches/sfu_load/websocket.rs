//! JSON over a WebSocket.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Json {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Json {
    pub(crate) async fn connect(url: &str, protocol: Option<&'static str>) -> Result<Self> {
        let mut request = url.into_client_request()?;
        if let Some(protocol) = protocol {
            let value = HeaderValue::from_static(protocol);
            request
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", value);
        }
        let (socket, _) = connect_async(request)
            .await
            .with_context(|| format!("cannot connect to {url}"))?;
        Ok(Self { socket })
    }

    pub(crate) async fn say(&mut self, text: String) -> Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// The next text.
    pub(crate) async fn hear(&mut self) -> Result<String> {
        loop {
            match timeout(ANSWER_TIMEOUT, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Ok(text.to_string()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => bail!("the server hung up"),
                Err(_) => bail!("the server does not answer"),
            }
        }
    }

    /// The next message for which `is_it`.
    pub(crate) async fn hear_json(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let value = serde_json::from_str(&self.hear().await?)?;
            if is_it(&value) {
                return Ok(value);
            }
        }
    }

    /// Answers pings in the background until the other end hangs up.
    pub(crate) fn keep(mut self) {
        tokio::spawn(async move { while let Some(Ok(_)) = self.socket.next().await {} });
    }
}
