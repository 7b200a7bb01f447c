//! The shim between a socket and a server played by the test.

use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const WITHIN: Duration = Duration::from_secs(20);

fn stun(byte: u8) -> Vec<u8> {
    let mut message = vec![0, 3, 0, 4];
    message.extend([byte; 20]);
    message
}

const DATA: [u8; 9] = [0x40, 1, 0, 5, 1, 2, 3, 4, 5];

fn server(urls: &[String]) -> Vec<IceServer> {
    vec![IceServer {
        urls: urls.to_vec(),
        username: "user".to_owned(),
        credential: "password".to_owned(),
    }]
}

/// The address in a rewritten URL.
fn shim(url: &str) -> SocketAddr {
    let address = url.strip_prefix("turn:").unwrap();
    address
        .strip_suffix("?transport=udp")
        .unwrap()
        .parse()
        .unwrap()
}

/// Messages both ways; the server's side checks the padding.
async fn exchange(shim: SocketAddr, accept: impl AsyncRead + AsyncWrite, client: &UdpSocket) {
    let (mut read, mut write) = tokio::io::split(accept);
    client.send_to(&DATA, shim).await.unwrap();
    let mut got = [0; 36];
    timeout(WITHIN, read.read_exact(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got[..24], stun(1));
    assert_eq!(got[24..33], DATA);
    assert_eq!(got[33..], [0; 3]);
    let mut answer = DATA.to_vec();
    answer.extend([0; 3]);
    answer.extend(stun(2));
    for byte in answer {
        write.write_all(&[byte]).await.unwrap();
        write.flush().await.unwrap();
    }
    for want in [DATA.to_vec(), stun(2)] {
        let mut buffer = [0; 100];
        let (len, from) = timeout(WITHIN, client.recv_from(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((&buffer[..len], from), (&want[..], shim));
    }
}

#[test]
fn urls_are_read_as_rfc_7065_writes_them() {
    let tcp = |host: &str, port| {
        Some(Target {
            host: host.to_owned(),
            port,
            is_tls: false,
        })
    };
    let tls = |host: &str, port| {
        Some(Target {
            host: host.to_owned(),
            port,
            is_tls: true,
        })
    };
    for (url, want) in [
        ("turn:call.example?transport=tcp", tcp("call.example", 3478)),
        ("turn:192.0.2.1:80?transport=TCP", tcp("192.0.2.1", 80)),
        (
            "turn:[2001:db8::1]:80?transport=tcp",
            tcp("2001:db8::1", 80),
        ),
        ("turn:[2001:db8::1]?transport=tcp", tcp("2001:db8::1", 3478)),
        ("turns:call.example", tls("call.example", 5349)),
        (
            "turns:call.example:443?transport=tcp",
            tls("call.example", 443),
        ),
        ("turns:call.example?transport=udp", None),
        ("turn:call.example", None),
        ("turn:call.example?transport=udp", None),
        ("stun:call.example", None),
        ("turn:call.example:x?transport=tcp", None),
        ("turn:[::1?transport=tcp", None),
        ("turn:[::1]x?transport=tcp", None),
        ("turn:?transport=tcp", None),
        ("turn", None),
        ("", None),
    ] {
        assert_eq!(target(url), want, "{url}");
    }
}

#[tokio::test]
async fn messages_travel_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("turn:{}?transport=tcp", listener.local_addr().unwrap());
    let udp = "turn:192.0.2.1?transport=udp".to_owned();
    let mut shims = TurnShims::new(crate::ws::tls());
    let servers = shims.rewrite(&server(&[udp.clone(), url.clone()]));
    assert_eq!(servers[0].urls[0], udp, "left to the stack");
    assert_eq!(
        (&servers[0].username[..], &servers[0].credential[..]),
        ("user", "password")
    );
    let addr = shim(&servers[0].urls[1]);
    assert_eq!(
        shims.rewrite(&server(&[udp, url]))[0].urls,
        servers[0].urls,
        "the same shims again"
    );
    let clients = [
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    ];
    for client in &clients {
        client.send_to(b"\xffneither", addr).await.unwrap();
        client.send_to(&stun(1), addr).await.unwrap();
        let (stream, _) = timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
        exchange(addr, stream, client).await;
        // The stream has ended with this; the next message makes another.
        let (mut stream, mut buffer) = loop {
            client.send_to(&stun(3), addr).await.unwrap();
            let accepted = timeout(Duration::from_millis(100), listener.accept()).await;
            if let Ok(accepted) = accepted {
                break (accepted.unwrap().0, [0; 24]);
            }
        };
        timeout(WITHIN, stream.read_exact(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(buffer[..], stun(3));
    }
    drop(shims);
    // The address is free again when the task has ended.
    let freed = async {
        while UdpSocket::bind(addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(WITHIN, freed).await.unwrap();
}

#[tokio::test]
async fn messages_travel_over_tls_to_the_right_server_only() {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = |host: &str| format!("turns:{host}:{port}?transport=tcp");
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();

    let mut shims = TurnShims::new(Arc::new(config));
    let addr = shim(&shims.rewrite(&server(&[url("localhost")]))[0].urls[0]);
    client.send_to(&stun(1), addr).await.unwrap();
    let (stream, _) = timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
    let stream = timeout(WITHIN, acceptor.accept(stream))
        .await
        .unwrap()
        .unwrap();
    exchange(addr, stream, &client).await;

    // Not the name in the certificate, and a certificate nobody vouches for.
    let mut strict = TurnShims::new(crate::ws::tls());
    for addr in [
        shim(&shims.rewrite(&server(&[url("127.0.0.1")]))[0].urls[0]),
        shim(&strict.rewrite(&server(&[url("localhost")]))[0].urls[0]),
    ] {
        client.send_to(&stun(1), addr).await.unwrap();
        let (stream, _) = timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
        let accepted = timeout(WITHIN, acceptor.accept(stream)).await.unwrap();
        let refused = match accepted {
            Err(_) => true,
            // The client's refusal may come after our side is content.
            Ok(mut stream) => timeout(WITHIN, stream.read(&mut [0; 1]))
                .await
                .unwrap()
                .is_err(),
        };
        assert!(refused);
    }
}
