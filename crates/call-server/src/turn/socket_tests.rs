//! The relay over real sockets on loopback: UDP, TCP, TLS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use call_protocol::wire::RelayGrant;
use call_room::relay::RelaySecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RelayConfig;
use super::address::tests::DENIED;
use super::message::{self, Builder, Class, Message};
use super::server::REALM;
use super::shell::Duplex;
use super::start::{RelayParts, RelayPlace, start};
use super::stream::next_message;
use crate::media::TurnDatagrams;

const WITHIN: Duration = Duration::from_secs(20);
const UNIX_S: u64 = 1_700_000_000;

/// A relay on loopback.
struct Relay {
    media: SocketAddr,
    grant: RelayGrant,
    roots: RootCertStore,
    ice: mpsc::Receiver<(TcpStream, SocketAddr)>,
    tasks: JoinSet<()>,
    tracker: TaskTracker,
    closing: CancellationToken,
}

impl Relay {
    async fn start(allow_private: bool) -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let addr = socket.local_addr().unwrap();
            if let Ok(listener) = TcpListener::bind(addr).await {
                break (socket, listener);
            }
        };
        let media = socket.local_addr().unwrap();
        let std = socket.into_std().unwrap();
        let reader = UdpSocket::from_std(std.try_clone().unwrap()).unwrap();
        let closing = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (sender, receiver) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        let until = closing.clone();
        tasks.spawn(async move {
            let mut buffer = [0; 2_000];
            loop {
                tokio::select! {
                    received = reader.recv_from(&mut buffer) => {
                        if let Ok((len, from)) = received {
                            let bytes = Bytes::copy_from_slice(&buffer[..len]);
                            sender.send((from, bytes)).await.unwrap();
                        }
                    }
                    () = until.cancelled() => return,
                }
            }
        });
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
        let tls = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).unwrap();
        let secret = RelaySecret::new([1; 32]);
        let grant = secret.grant(UNIX_S, 600, 1, &[]);
        let parts = RelayParts {
            place: RelayPlace::new(media, Some(media.ip()), RelayConfig::default()).unwrap(),
            config: RelayConfig {
                allow_private,
                ..RelayConfig::default()
            },
            secret,
            nonce_seed: [2; 32],
            started: (Instant::now(), UNIX_S),
            datagrams: TurnDatagrams {
                receiver,
                socket: Arc::new(std),
            },
            listener: Some(listener),
            tls: Some(TlsAcceptor::from(Arc::new(tls))),
            tracker: tracker.clone(),
            closing: closing.clone(),
        };
        let (_, ice) = start(parts, &mut tasks);
        Self {
            media,
            grant,
            roots,
            ice,
            tasks,
            tracker,
            closing,
        }
    }

    async fn udp(&self) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.media).await.unwrap();
        Client::new(&self.grant, Way::Udp(socket))
    }

    async fn tcp(&self) -> Client {
        let stream = TcpStream::connect(self.media).await.unwrap();
        Client::new(&self.grant, Way::Stream(Box::new(stream), BytesMut::new()))
    }

    async fn tls(&self) -> Client {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let stream = TcpStream::connect(self.media).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = timeout(WITHIN, connector.connect(name, stream)).await;
        let stream = stream.unwrap().unwrap();
        Client::new(&self.grant, Way::Stream(Box::new(stream), BytesMut::new()))
    }

    async fn end(self) {
        self.closing.cancel();
        self.tracker.close();
        timeout(WITHIN, self.tasks.join_all()).await.unwrap();
        timeout(WITHIN, self.tracker.wait()).await.unwrap();
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

enum Way {
    Udp(UdpSocket),
    Stream(Box<dyn Duplex>, BytesMut),
}

struct Client {
    way: Way,
    grant: RelayGrant,
    nonce: Vec<u8>,
    transactions: u32,
}

impl Client {
    fn new(grant: &RelayGrant, way: Way) -> Self {
        Self {
            way,
            grant: grant.clone(),
            nonce: Vec::new(),
            transactions: 0,
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        match &mut self.way {
            Way::Udp(socket) => assert_eq!(socket.send(bytes).await.unwrap(), bytes.len()),
            Way::Stream(stream, _) => {
                let mut padded = bytes.to_vec();
                padded.resize(bytes.len().next_multiple_of(4), 0);
                stream.write_all(&padded).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    }

    async fn receive(&mut self) -> Bytes {
        let receiving = async {
            match &mut self.way {
                Way::Udp(socket) => {
                    let mut buffer = [0; 2_000];
                    let len = socket.recv(&mut buffer).await.unwrap();
                    Bytes::copy_from_slice(&buffer[..len])
                }
                Way::Stream(stream, buffer) => loop {
                    if let Some(message) = next_message(buffer).unwrap() {
                        break message;
                    }
                    assert_ne!(stream.read_buf(buffer).await.unwrap(), 0, "closed");
                },
            }
        };
        timeout(WITHIN, receiving).await.expect("something arrives")
    }

    /// Signs, asks, answers a challenge; the answer's error code (0: success) and bytes.
    async fn ask(&mut self, method: u16, attributes: impl Fn(Builder) -> Builder) -> (u16, Bytes) {
        let key = message::long_term_key(&self.grant.username, REALM, &self.grant.credential);
        loop {
            self.transactions += 1;
            let request = Builder::new(Class::Request, method, transaction(self.transactions));
            let mut request = attributes(request);
            if !self.nonce.is_empty() {
                request = request
                    .attribute(message::USERNAME, self.grant.username.as_bytes())
                    .attribute(message::REALM, REALM.as_bytes())
                    .attribute(message::NONCE, &self.nonce)
                    .sign(&key);
            }
            self.send(&request.build()).await;
            let bytes = self.receive().await;
            let answer = Message::parse(&bytes).unwrap();
            let code = answer.u32(message::ERROR_CODE).unwrap_or(0);
            let code = (code >> 8) as u16 * 100 + (code & 0xff) as u16;
            if code == 401 && self.nonce.is_empty() {
                self.nonce = answer.attribute(message::NONCE).unwrap().to_vec();
                continue;
            }
            assert!(answer.is_signed_with(&key));
            return (code, bytes);
        }
    }

    async fn allocate(&mut self) -> SocketAddr {
        let (code, bytes) = self
            .ask(message::ALLOCATE, |request| {
                request.attribute(message::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            })
            .await;
        assert_eq!(code, 0);
        // The same encoding under another name, which the reader of peers knows.
        let answer = Message::parse(&bytes).unwrap();
        let relayed = answer.attribute(message::XOR_RELAYED_ADDRESS).unwrap();
        let copy = Builder::new(Class::Success, message::ALLOCATE, answer.transaction)
            .attribute(message::XOR_PEER_ADDRESS, relayed)
            .build();
        Message::parse(&copy).unwrap().peers().unwrap()[0]
    }

    async fn permit(&mut self, peer: SocketAddr) -> u16 {
        let with = |request: Builder| request.address(message::XOR_PEER_ADDRESS, peer);
        self.ask(message::CREATE_PERMISSION, with).await.0
    }

    async fn bind(&mut self, number: u16, peer: SocketAddr) -> u16 {
        let [high, low] = number.to_be_bytes();
        let with = |request: Builder| {
            request
                .attribute(message::CHANNEL_NUMBER, &[high, low, 0, 0])
                .address(message::XOR_PEER_ADDRESS, peer)
        };
        self.ask(message::CHANNEL_BIND, with).await.0
    }

    async fn send_indication(&mut self, peer: SocketAddr, data: &[u8]) {
        let bytes = Builder::new(Class::Indication, message::SEND, [0; 12])
            .address(message::XOR_PEER_ADDRESS, peer)
            .attribute(message::DATA_ATTRIBUTE, data)
            .build();
        self.send(&bytes).await;
    }
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_000];
    let received = timeout(WITHIN, socket.recv_from(&mut buffer)).await;
    let (len, from) = received.expect("something arrives").unwrap();
    (buffer[..len].to_vec(), from)
}

#[tokio::test]
async fn data_passes_over_udp_tcp_and_tls() {
    let relay = Relay::start(true).await;
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let peer_addr = peer.local_addr().unwrap();
    let clients = [relay.udp().await, relay.tcp().await, relay.tls().await];
    for mut client in clients {
        let relayed = client.allocate().await;
        assert_eq!(client.permit(peer_addr).await, 0);
        client.send_indication(peer_addr, b"hello").await;
        assert_eq!(receive(&peer).await, (b"hello".to_vec(), relayed));
        peer.send_to(b"answer", relayed).await.unwrap();
        let bytes = client.receive().await;
        let data = Message::parse(&bytes).unwrap();
        assert_eq!(
            (data.class, data.method),
            (Class::Indication, message::DATA)
        );
        assert_eq!(data.peers().unwrap(), [peer_addr]);
        assert_eq!(
            data.attribute(message::DATA_ATTRIBUTE),
            Some(&b"answer"[..])
        );

        assert_eq!(client.bind(0x4000, peer_addr).await, 0);
        client.send(b"\x40\0\0\x05quick").await;
        assert_eq!(receive(&peer).await, (b"quick".to_vec(), relayed));
        peer.send_to(b"back", relayed).await.unwrap();
        assert_eq!(&client.receive().await[..], b"\x40\0\0\x04back");
        let large = [7; 1_400];
        peer.send_to(&large, relayed).await.unwrap();
        assert_eq!(client.receive().await[4..], large);
        // Too large to be one packet; what comes after it passes.
        peer.send_to(&[8; 4_000], relayed).await.unwrap();
        peer.send_to(b"next", relayed).await.unwrap();
        assert_eq!(&client.receive().await[4..], b"next");
    }
    relay.end().await;
}

#[tokio::test]
async fn two_relays_talk_to_each_other() {
    let relay = Relay::start(false).await;
    let (mut a, mut b) = (relay.tcp().await, relay.tls().await);
    let (relay_a, relay_b) = (a.allocate().await, b.allocate().await);
    assert_eq!(a.bind(0x4000, relay_b).await, 0);
    assert_eq!(b.bind(0x4001, relay_a).await, 0);
    a.send(b"\x40\0\0\x02hi").await;
    assert_eq!(&b.receive().await[..], b"\x40\x01\0\x02hi");
    b.send(b"\x40\x01\0\x03you").await;
    assert_eq!(&a.receive().await[..], b"\x40\0\0\x03you");
    // The end of a connection is the end of its relay.
    drop(b);
    while a.bind(0x4002, relay_b).await == 400 {
        tokio::task::yield_now().await;
    }
    relay.end().await;
}

#[tokio::test]
async fn denied_addresses_get_nothing() {
    let relay = Relay::start(false).await;
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = peer.local_addr().unwrap().port();
    for mut client in [relay.udp().await, relay.tcp().await] {
        let relayed = client.allocate().await;
        for (ip, _) in DENIED {
            let ip: IpAddr = ip.parse().unwrap();
            let mut forms = vec![ip];
            if let IpAddr::V4(ip) = ip {
                forms.push(ip.to_ipv6_mapped().into());
            }
            for ip in forms {
                let is_relay = ip == relayed.ip();
                let to = SocketAddr::new(ip, port);
                // The relay's own address may be permitted, for other relays behind it only.
                assert_eq!(
                    client.permit(to).await,
                    if is_relay { 0 } else { 403 },
                    "{to}"
                );
                assert_eq!(client.bind(0x4000, to).await, 403, "{to}");
                client.send_indication(to, b"attack").await;
            }
        }
        peer.send_to(b"unasked", relayed).await.unwrap();
        // In order behind everything sent before: had anything been relayed, it would be there.
        assert_eq!(client.permit("9.9.9.9:1".parse().unwrap()).await, 0);
        let nothing = peer.try_recv_from(&mut [0; 10]);
        assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    relay.end().await;
}

#[tokio::test]
async fn other_protocols_on_the_media_port_find_their_way_or_the_door() {
    let mut relay = Relay::start(true).await;
    let mut ice = TcpStream::connect(relay.media).await.unwrap();
    let from = ice.local_addr().unwrap();
    ice.write_all(&[0]).await.unwrap();
    ice.write_all(&[100, 0, 1]).await.unwrap();
    let (mut handed, peer) = timeout(WITHIN, relay.ice.recv()).await.unwrap().unwrap();
    assert_eq!(peer, from);
    let mut first = [0; 4];
    timeout(WITHIN, handed.read_exact(&mut first))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first, [0, 100, 0, 1], "unread");
    for start in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 1, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        let mut stream = TcpStream::connect(relay.media).await.unwrap();
        stream.write_all(start).await.unwrap();
        let ended = timeout(WITHIN, stream.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
    relay.end().await;
}

#[test]
fn the_relays_place_follows_from_what_is_known() {
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    let public: IpAddr = Ipv4Addr::new(8, 8, 8, 8).into();
    let strict = RelayConfig::default();
    let private = RelayConfig {
        allow_private: true,
        ..strict
    };
    assert!(RelayPlace::new(addr("127.0.0.1:1"), None, strict).is_none());
    assert!(RelayPlace::new(addr("127.0.0.1:1"), None, private).is_some());
    assert!(RelayPlace::new(addr("0.0.0.0:1"), None, private).is_none());
    let place = RelayPlace::new(addr("0.0.0.0:3478"), Some(public), strict).unwrap();
    let config = place.config(RelayConfig::default());
    assert_eq!(config.relay_ips, [public]);
    assert_eq!(
        config.media,
        [(addr("8.8.8.8:3478"), addr("127.0.0.1:3478"))]
    );
    assert!(config.policy.own.contains(&public) && !config.policy.allow_private);
    assert_eq!(place.urls(false, None), ["turn:8.8.8.8:3478?transport=udp"]);
    let place = RelayPlace::new(addr("10.0.0.5:3478"), Some(public), strict).unwrap();
    let config = place.config(RelayConfig::default());
    assert_eq!(
        config.media,
        [(addr("8.8.8.8:3478"), addr("10.0.0.5:3478"))]
    );
}

fn transaction(number: u32) -> message::TransactionId {
    let mut id = [0; 12];
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}
