//! The WebSocket client against a server of the test's own.

use std::time::Duration;

use call_protocol::ErrorCode;
use call_protocol::wire::{ClientMessage, ServerMessage};
use call_transport::{ConnectError, SendError, ServerConnection, ServerEvent, ServerSender};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

type Client = (ServerSender, mpsc::Receiver<ServerEvent>);

const WITHIN: Duration = Duration::from_secs(5);

async fn connect() -> (Client, WebSocketStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_tungstenite::accept_async(stream).await.unwrap()
    };
    let (client, server) = tokio::join!(ServerConnection::connect(&url, WITHIN), accept);
    (client.unwrap(), server)
}

fn hello() -> ServerMessage {
    ServerMessage::Hello { version: 1 }
}

fn text(message: &ServerMessage) -> Message {
    Message::text(serde_json::to_string(message).unwrap())
}

#[tokio::test]
async fn messages_pass_and_foreign_ones_are_ignored() {
    let ((sender, mut events), mut server) = connect().await;
    sender.send(&ClientMessage::Hello { version: 1 }).unwrap();
    let got = server.next().await.unwrap().unwrap();
    assert_eq!(
        ClientMessage::parse(got.to_text().unwrap()).unwrap(),
        ClientMessage::Hello { version: 1 }
    );
    for message in [
        Message::text("{\"type\":\"dance\"}"),
        Message::text("nonsense"),
        Message::binary(vec![1]),
    ] {
        server.send(message).await.unwrap();
    }
    server.send(text(&hello())).await.unwrap();
    assert_eq!(events.recv().await, Some(ServerEvent::Message(hello())));
}

#[tokio::test]
async fn pings_are_answered() {
    let (_client, mut server) = connect().await;
    server.send(Message::Ping(vec![7].into())).await.unwrap();
    assert_eq!(
        server.next().await.unwrap().unwrap(),
        Message::Pong(vec![7].into())
    );
}

#[tokio::test]
async fn a_server_that_is_there_answers_a_probe() {
    let ((sender, mut events), mut server) = connect().await;
    assert_eq!(sender.own_ip(), Some([127, 0, 0, 1].into()));
    sender.probe().unwrap();
    let got = server.next().await;
    assert!(matches!(got, Some(Ok(Message::Ping(_)))), "{got:?}");
    // Answered by the protocol layer while the server reads on.
    tokio::select! {
        event = events.recv() => assert_eq!(event, Some(ServerEvent::Alive)),
        got = server.next() => panic!("{got:?}"),
    }
}

#[tokio::test]
async fn a_vanished_or_closing_server_is_reported_with_its_code() {
    let ((sender, mut events), mut server) = connect().await;
    let fatal = ServerMessage::Error {
        code: ErrorCode::RoomFull,
        detail: "full".into(),
        fatal: true,
    };
    server.send(text(&fatal)).await.unwrap();
    server.close(None).await.unwrap();
    assert_eq!(events.recv().await, Some(ServerEvent::Message(fatal)));
    assert_eq!(
        events.recv().await,
        Some(ServerEvent::Closed {
            code: Some(ErrorCode::RoomFull)
        })
    );
    assert_eq!(events.recv().await, None);
    assert_eq!(sender.send(&ClientMessage::Leave), Err(SendError::Closed));

    let ((_sender, mut events), server) = connect().await;
    drop(server);
    assert_eq!(
        events.recv().await,
        Some(ServerEvent::Closed { code: None })
    );
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let ((_sender, mut events), _server) = connect().await;
    tokio::time::pause();
    assert_eq!(
        events.recv().await,
        Some(ServerEvent::Closed {
            code: Some(ErrorCode::TimedOut)
        })
    );
}

#[tokio::test]
async fn closing_sends_what_is_queued_first() {
    let ((sender, _events), mut server) = connect().await;
    for _ in 0..100 {
        sender.send(&ClientMessage::Leave).unwrap();
    }
    let close = tokio::spawn(sender.close());
    let mut received = 0;
    while let Some(Ok(message)) = server.next().await {
        received += usize::from(message.is_text());
    }
    close.await.unwrap();
    assert_eq!(received, 100);
}

#[tokio::test]
async fn failures_to_connect_have_their_code() {
    let within = Duration::from_secs(2);
    let invalid = ServerConnection::connect("http://127.0.0.1", within)
        .await
        .unwrap_err();
    assert_eq!(invalid, ConnectError::ServerAddressInvalid);
    assert_eq!(invalid.code(), ErrorCode::ServerAddressInvalid);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for url in [format!("ws://{address}"), format!("wss://{address}")] {
        let refused = ServerConnection::connect(&url, within).await.unwrap_err();
        assert_eq!(refused, ConnectError::ServerUnreachable);
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}", silent.local_addr().unwrap());
    let mute = ServerConnection::connect(&url, Duration::from_millis(100))
        .await
        .unwrap_err();
    assert_eq!(mute.code(), ErrorCode::ServerUnreachable);
}
