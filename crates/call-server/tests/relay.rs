//! The relay as a server offers it: granted to who joins, reached over every port.

use std::sync::Arc;

use call_protocol::wire::ServerMessage;
use call_server::{RelayConfig, ServerConfig, TlsFiles, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::{Client, join, within};

/// An Allocate request without credentials (RFC 8656, section 7.1).
const ALLOCATE: [u8; 28] = [
    0, 3, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, // header
    0, 0x19, 0, 4, 17, 0, 0, 0, // REQUESTED-TRANSPORT: UDP
];

/// Whether this is the refusal that tells how to sign: 401 for the transaction.
fn is_challenge(answer: &[u8]) -> bool {
    answer.starts_with(&[0x01, 0x13])
        && answer[8..20] == ALLOCATE[8..20]
        && answer[20..28] == [0, 9, 0, 4, 0, 0, 4, 1]
}

#[tokio::test]
async fn members_are_told_of_a_relay_that_answers_on_every_port() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["*.localhost".to_owned(), "localhost".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    let cert = directory.path().join("cert.pem");
    let key = directory.path().join("key.pem");
    std::fs::write(&cert, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let config = ServerConfig {
        public_ip: Some("127.0.0.1".parse().unwrap()),
        ..ServerConfig::default()
    };
    let plain = serve(config.clone()).await.unwrap();
    let mut member = Client::open(plain.http).await;
    member.greet().await;
    member.say(&join(1, None)).await;
    let ServerMessage::Joined { relay, .. } = member.hear().await else {
        panic!("not joined");
    };
    let relay = relay.expect("a relay is granted");
    let media = plain.media;
    assert_eq!(
        relay.urls,
        [
            format!("turn:{media}?transport=udp"),
            format!("turn:{media}?transport=tcp")
        ]
    );
    let tls = Some(TlsFiles { cert, key });
    let server = serve(ServerConfig { tls, ..config }).await.unwrap();

    let mut answer = [0; 100];
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&ALLOCATE, server.media).await.unwrap();
    let len = within("UDP", socket.recv(&mut answer)).await.unwrap();
    assert!(is_challenge(&answer[..len]));
    let mut stream = TcpStream::connect(server.media).await.unwrap();
    stream.write_all(&ALLOCATE).await.unwrap();
    within("TCP", stream.read_exact(&mut answer[..28]))
        .await
        .unwrap();
    assert!(is_challenge(&answer));
    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for port in [server.media, server.http] {
        let stream = TcpStream::connect(port).await.unwrap();
        let connecting = connector.connect("localhost".try_into().unwrap(), stream);
        let mut stream = within("TLS", connecting).await.unwrap();
        // In two pieces, the first of them one byte.
        stream.write_all(&ALLOCATE[..1]).await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(&ALLOCATE[1..]).await.unwrap();
        stream.flush().await.unwrap();
        within("TURN over TLS", stream.read_exact(&mut answer[..28]))
            .await
            .unwrap();
        assert!(is_challenge(&answer));
    }
    within("the end", server.shutdown()).await;
    within("the end", plain.shutdown()).await;
}

#[tokio::test]
async fn without_an_address_for_it_there_is_no_relay() {
    for (relay, has_relay) in [
        (None, false),
        (Some(RelayConfig::default()), false),
        (
            Some(RelayConfig {
                allow_private: true,
                ..RelayConfig::default()
            }),
            true,
        ),
    ] {
        let server = serve(ServerConfig {
            relay,
            ..ServerConfig::default()
        })
        .await
        .unwrap();
        let mut member = Client::open(server.http).await;
        member.greet().await;
        member.say(&join(1, None)).await;
        let ServerMessage::Joined { relay, .. } = member.hear().await else {
            panic!("not joined");
        };
        assert_eq!(relay.is_some(), has_relay);
        within("the end", server.shutdown()).await;
    }
}
