//! A WebSocket client and an HTTP client for the tests. Every wait has a deadline.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use call_protocol::wire::{ClientMessage, ServerMessage};
use call_protocol::{ErrorCode, MemberId, RoomId};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Base64 of 32 bytes of 7.
pub(crate) const AUTH: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("took too long: {what}"),
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

/// A seat as `joined` described it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) member: MemberId,
    pub(crate) resume: String,
    pub(crate) resumed: bool,
    pub(crate) others: Vec<MemberId>,
    pub(crate) stun: Vec<String>,
}

impl Client {
    /// Opens a WebSocket without saying anything.
    pub(crate) async fn open(http: SocketAddr) -> Self {
        Self::open_over(TcpSocket::new_v4().unwrap(), http).await
    }

    /// Likewise, with a receive buffer that is full after a few kilobytes.
    pub(crate) async fn open_narrow(http: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::open_over(socket, http).await
    }

    async fn open_over(socket: TcpSocket, http: SocketAddr) -> Self {
        within("connecting", async {
            let stream = socket.connect(http).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (socket, _) = client_async(format!("ws://{http}/v1/ws"), stream)
                .await
                .unwrap();
            Self { socket }
        })
        .await
    }

    pub(crate) async fn greet(&mut self) {
        self.say(&ClientMessage::Hello { version: 1 }).await;
        assert_eq!(self.hear().await, ServerMessage::Hello { version: 1 });
    }

    /// Opens, greets and joins.
    pub(crate) async fn enter(http: SocketAddr, room: u8) -> (Self, Seat) {
        let mut client = Self::open(http).await;
        client.greet().await;
        let seat = client.join(room, None).await;
        (client, seat)
    }

    pub(crate) async fn join(&mut self, room: u8, resume: Option<&str>) -> Seat {
        self.say(&join(room, resume)).await;
        match self.hear().await {
            ServerMessage::Joined {
                member,
                resume,
                resumed,
                members,
                stun,
                ..
            } => {
                let others = members.iter().map(|entry| entry.member).collect();
                Seat {
                    member,
                    resume,
                    resumed,
                    others,
                    stun,
                }
            }
            other => panic!("not joined: {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, message: &ClientMessage) {
        self.say_raw(Message::text(serde_json::to_string(message).unwrap()))
            .await;
    }

    pub(crate) async fn say_raw(&mut self, message: Message) {
        within("sending", self.socket.send(message)).await.unwrap();
    }

    /// The next message of the server.
    pub(crate) async fn hear(&mut self) -> ServerMessage {
        match self.next_frame().await {
            Some(Message::Text(text)) => ServerMessage::parse(&text).unwrap(),
            other => panic!("no message: {other:?}"),
        }
    }

    pub(crate) async fn hear_error(&mut self) -> (ErrorCode, bool) {
        match self.hear().await {
            ServerMessage::Error { code, fatal, .. } => (code, fatal),
            other => panic!("no error: {other:?}"),
        }
    }

    /// The close code that comes next, and after it the end of the stream.
    pub(crate) async fn hear_close(&mut self) -> u16 {
        let code = match self.next_frame().await {
            Some(Message::Close(Some(frame))) => frame.code.into(),
            other => panic!("no close: {other:?}"),
        };
        assert_eq!(self.next_frame().await, None);
        code
    }

    /// Whatever comes next except pings; `None` at the end of the stream, however it ended.
    pub(crate) async fn next_frame(&mut self) -> Option<Message> {
        loop {
            match within("receiving", self.socket.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }
}

pub(crate) fn join(room: u8, resume: Option<&str>) -> ClientMessage {
    ClientMessage::Join {
        room: RoomId::from_bytes([room; 16]),
        auth: AUTH.to_owned(),
        profile: "sealed-profile".to_owned(),
        resume: resume.map(str::to_owned),
    }
}

pub(crate) fn signal(to: MemberId, sealed: &str) -> ClientMessage {
    ClientMessage::Signal {
        to,
        sealed: sealed.to_owned(),
    }
}

/// Status line and body of a GET.
pub(crate) async fn get(http: SocketAddr, path: &str) -> (String, String) {
    within("GET", async {
        let mut stream = TcpStream::connect(http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    })
    .await
}

/// The value of one series in `/metrics`, 0 when it is absent.
pub(crate) async fn metric(http: SocketAddr, series: &str) -> u64 {
    let (status, body) = get(http, "/metrics").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let line = body
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Asks until a series has a value.
pub(crate) async fn wait_for_metric(http: SocketAddr, series: &str, wanted: u64) {
    within(series, async {
        while metric(http, series).await != wanted {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
