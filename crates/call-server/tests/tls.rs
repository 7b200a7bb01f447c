//! `wss` with a certificate of our own making.

use std::sync::Arc;

use call_protocol::wire::{ClientMessage, ServerMessage};
use call_server::{ServeError, ServerConfig, TlsFiles, serve};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::client::within;

#[tokio::test]
async fn serves_wss() {
    let directory = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = directory.path().join("cert.pem");
    let key = directory.path().join("key.pem");
    std::fs::write(&cert, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let tls = Some(TlsFiles { cert, key });
    let server = serve(ServerConfig {
        tls,
        ..ServerConfig::default()
    })
    .await
    .unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    within("the conversation", async {
        let stream = TcpStream::connect(server.http).await.unwrap();
        let stream = connector
            .connect("localhost".try_into().unwrap(), stream)
            .await
            .unwrap();
        let (mut socket, _) = client_async("wss://localhost/v1/ws", stream).await.unwrap();
        let hello = serde_json::to_string(&ClientMessage::Hello { version: 1 }).unwrap();
        socket.send(Message::text(hello)).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap().into_text().unwrap();
        assert_eq!(
            ServerMessage::parse(&answer).unwrap(),
            ServerMessage::Hello { version: 1 }
        );

        // Plain text on the same port gets an end, not a hang.
        let mut plain = TcpStream::connect(server.http).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // Ended or reset, both will do.
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        socket.close(None).await.unwrap();
    })
    .await;
    within("the end", server.shutdown()).await;
}

#[tokio::test]
async fn unusable_files_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert"), one.cert.pem()).unwrap();
    std::fs::write(path("foreign key"), other.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    for (cert, key) in [
        ("cert", "missing"),
        ("missing", "foreign key"),
        ("empty", "foreign key"),
        ("cert", "empty"),
        ("cert", "foreign key"),
    ] {
        let tls = Some(TlsFiles {
            cert: path(cert),
            key: path(key),
        });
        let result = serve(ServerConfig {
            tls,
            ..ServerConfig::default()
        })
        .await;
        assert!(
            matches!(result, Err(ServeError::Tls(_))),
            "{cert}, {key}: {result:?}"
        );
    }
}
