//! Clients that send what they should not, or do not read.

use call_protocol::wire::{ClientMessage, ServerMessage};
use call_protocol::{ErrorCode, MemberId, limits};
use call_server::{Rate, RoomsConfig, ServerConfig, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{AUTH, Client, join, metric, signal, wait_for_metric, within};

#[tokio::test]
async fn bad_messages_are_answered_and_the_connection_stays() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let (mut client, _) = Client::enter(server.http, 1).await;
    let cases = [
        (Message::text("{"), ErrorCode::BadMessage),
        (Message::text("[]"), ErrorCode::BadMessage),
        (
            Message::text("{\"type\":\"signal\",\"to\":-1}"),
            ErrorCode::BadMessage,
        ),
        (
            Message::text("{\"type\":\"dance\"}"),
            ErrorCode::UnknownType,
        ),
        (Message::binary(vec![1, 2, 3]), ErrorCode::BadMessage),
        (
            Message::text("{\"type\":\"hello\",\"version\":1}"),
            ErrorCode::BadMessage,
        ),
        (
            Message::text("{\"type\":\"sfu_offer\"}"),
            ErrorCode::BadMessage,
        ),
        (
            Message::text("{\"type\":\"moderate\"}"),
            ErrorCode::BadMessage,
        ),
        (
            Message::text("{\"type\":\"signal\",\"to\":9,\"sealed\":\"\"}"),
            ErrorCode::UnknownMember,
        ),
    ];
    for (message, code) in cases {
        client.say_raw(message.clone()).await;
        assert_eq!(client.hear_error().await, (code, false), "{message:?}");
    }
    client.say(&join(1, None)).await;
    assert_eq!(client.hear_error().await, (ErrorCode::AlreadyJoined, false));
    let (_other, seat) = Client::enter(server.http, 1).await;
    assert!(
        matches!(client.hear().await, ServerMessage::MemberJoined { member, .. } if member == seat.member)
    );
}

#[tokio::test]
async fn too_many_bad_messages_close() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let (mut client, _) = Client::enter(server.http, 1).await;
    for count in 1..=20 {
        client.say_raw(Message::text("nonsense")).await;
        assert_eq!(
            client.hear_error().await,
            (ErrorCode::BadMessage, count == 20)
        );
    }
    assert_eq!(client.hear_close().await, 1008);
}

#[tokio::test]
async fn oversized_messages_are_named_and_close() {
    let server = serve(ServerConfig::default()).await.unwrap();
    for len in [limits::MESSAGE_BYTES + 1, 10 * limits::MESSAGE_BYTES] {
        let (mut client, _) = Client::enter(server.http, 1).await;
        client.say_raw(Message::text("x".repeat(len))).await;
        assert_eq!(
            client.hear_error().await,
            (ErrorCode::MessageTooLarge, true),
            "{len}"
        );
        assert_eq!(client.hear_close().await, 1009, "{len}");
    }
    // Beyond what is read at all there is no answer, but an end.
    let (mut client, _) = Client::enter(server.http, 2).await;
    // The server may have dropped the connection before everything is sent.
    let _ =
        futures_util::SinkExt::send(&mut client.socket, Message::text("x".repeat(4 << 20))).await;
    assert!(matches!(
        client.next_frame().await,
        None | Some(Message::Close(_))
    ));
    wait_for_metric(server.http, "visavis_connections", 0).await;
}

#[tokio::test]
async fn hello_must_come_first_and_match() {
    let server = serve(ServerConfig::default()).await.unwrap();
    for first in [
        join(1, None),
        ClientMessage::Leave,
        ClientMessage::Hello { version: 99 },
    ] {
        let mut client = Client::open(server.http).await;
        client.say(&first).await;
        assert_eq!(
            client.hear_error().await,
            (ErrorCode::BadVersion, true),
            "{first:?}"
        );
        assert_eq!(client.hear_close().await, 1008);
    }
}

#[tokio::test]
async fn a_wrong_key_does_not_enter() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let (_anna, _) = Client::enter(server.http, 1).await;
    let mut mallory = Client::open(server.http).await;
    mallory.greet().await;
    let ClientMessage::Join { room, profile, .. } = join(1, None) else {
        unreachable!()
    };
    let auth = AUTH.replace('B', "C");
    mallory
        .say(&ClientMessage::Join {
            room,
            auth,
            profile,
            resume: None,
        })
        .await;
    assert_eq!(
        mallory.hear_error().await,
        (ErrorCode::RoomAuthFailed, false)
    );
    mallory.say(&signal(MemberId(1), "x")).await;
    assert_eq!(mallory.hear_error().await, (ErrorCode::NotJoined, false));
}

#[tokio::test]
async fn a_slow_reader_blocks_nobody_and_is_closed() {
    let loose = Rate::per_second(1_000_000, 1_000_000);
    let rooms = RoomsConfig {
        message_rate: loose,
        ..RoomsConfig::default()
    };
    let config = ServerConfig {
        rooms,
        outbound_bytes: 256 * 1024,
        ..ServerConfig::default()
    };
    let server = serve(config).await.unwrap();
    let mut slow = Client::open_narrow(server.http).await;
    slow.greet().await;
    let slow_seat = slow.join(1, None).await;
    let (mut anna, anna_seat) = Client::enter(server.http, 1).await;
    let (mut ben, ben_seat) = Client::enter(server.http, 1).await;
    assert!(matches!(
        anna.hear().await,
        ServerMessage::MemberJoined { .. }
    ));
    let big = "x".repeat(40 * 1024);
    let too_slow = "visavis_errors_total{code=\"too_slow\"}";
    within("the slow reader's end", async {
        while metric(server.http, too_slow).await == 0 {
            for _ in 0..10 {
                anna.say(&signal(slow_seat.member, &big)).await;
            }
            // Whatever piles up for the slow one, others are served.
            anna.say(&signal(ben_seat.member, "ping")).await;
            let ping = ServerMessage::Signal {
                from: anna_seat.member,
                sealed: "ping".into(),
            };
            assert_eq!(ben.hear().await, ping);
        }
    })
    .await;
    // Once it reads again: what had left before, and then the end.
    while let Some(frame) = slow.next_frame().await {
        if let Message::Text(text) = &frame
            && let Ok(ServerMessage::Error { code, fatal, .. }) = ServerMessage::parse(text)
        {
            assert_eq!((code, fatal), (ErrorCode::TooSlow, true));
        }
    }
    let mut back = Client::open(server.http).await;
    back.greet().await;
    assert!(back.join(1, Some(&slow_seat.resume)).await.resumed);
}

#[tokio::test]
async fn requests_that_are_not_http_are_refused() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(server.http).await.unwrap();
    stream
        .write_all(b"\x16\x03\x01 certainly not HTTP\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within("the end", stream.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
        "{answer:?}"
    );
}
