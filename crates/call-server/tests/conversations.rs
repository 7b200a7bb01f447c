//! What well-behaved clients see.

use std::time::Duration;

use call_protocol::MemberId;
use call_protocol::care::Moderation;
use call_protocol::wire::{ClientMessage, LeaveReason, ServerMessage};
use call_server::{RoomsConfig, ServerConfig, serve};

use crate::client::{Client, get, metric, signal, wait_for_metric};

#[tokio::test]
async fn two_members_join_and_signal_each_other() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let (mut anna, anna_seat) = Client::enter(server.http, 1).await;
    let (mut ben, ben_seat) = Client::enter(server.http, 1).await;
    let (mut cleo, _) = Client::enter(server.http, 2).await;
    assert_eq!(ben_seat.others, [anna_seat.member]);
    assert!(
        matches!(anna.hear().await, ServerMessage::MemberJoined { member, .. } if member == ben_seat.member)
    );
    anna.say(&signal(ben_seat.member, "offer")).await;
    let offer = ServerMessage::Signal {
        from: anna_seat.member,
        sealed: "offer".into(),
    };
    assert_eq!(ben.hear().await, offer);
    ben.say(&signal(anna_seat.member, "answer")).await;
    let answer = ServerMessage::Signal {
        from: ben_seat.member,
        sealed: "answer".into(),
    };
    assert_eq!(anna.hear().await, answer);
    ben.say(&ClientMessage::Leave).await;
    let left = ServerMessage::MemberLeft {
        member: ben_seat.member,
        reason: LeaveReason::Left,
    };
    assert_eq!(anna.hear().await, left);
    // The other room heard nothing: the first thing it hears is the answer to its own request.
    cleo.say(&signal(MemberId(99), "nobody")).await;
    assert_eq!(
        cleo.hear_error().await,
        (call_protocol::ErrorCode::UnknownMember, false)
    );
}

#[tokio::test]
async fn resume_keeps_the_seat() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let (mut anna, anna_seat) = Client::enter(server.http, 1).await;
    let (ben, ben_seat) = Client::enter(server.http, 1).await;
    assert!(matches!(
        anna.hear().await,
        ServerMessage::MemberJoined { .. }
    ));
    drop(ben);
    wait_for_metric(server.http, "visavis_connections", 1).await;
    assert_eq!(metric(server.http, "visavis_members").await, 2);
    let mut ben = Client::open(server.http).await;
    ben.greet().await;
    let seat = ben.join(1, Some(&ben_seat.resume)).await;
    assert!(seat.resumed);
    assert_eq!(
        (seat.member, seat.others),
        (ben_seat.member, vec![anna_seat.member])
    );
    // The first thing the other hears since is a signal over the new connection.
    ben.say(&signal(anna_seat.member, "back")).await;
    let back = ServerMessage::Signal {
        from: ben_seat.member,
        sealed: "back".into(),
    };
    assert_eq!(anna.hear().await, back);
    // A second connection with the token takes the seat over.
    let mut again = Client::open(server.http).await;
    again.greet().await;
    assert!(again.join(1, Some(&ben_seat.resume)).await.resumed);
    assert_eq!(
        ben.hear_error().await,
        (call_protocol::ErrorCode::SeatTaken, true)
    );
    assert_eq!(ben.hear_close().await, 1008);
}

#[tokio::test]
async fn a_lost_member_leaves_after_the_grace_time() {
    let resume_grace = Duration::from_millis(50);
    let rooms = RoomsConfig {
        resume_grace,
        ..RoomsConfig::default()
    };
    let server = serve(ServerConfig {
        rooms,
        ..ServerConfig::default()
    })
    .await
    .unwrap();
    let (mut anna, _) = Client::enter(server.http, 1).await;
    let (ben, seat) = Client::enter(server.http, 1).await;
    assert!(matches!(
        anna.hear().await,
        ServerMessage::MemberJoined { .. }
    ));
    drop(ben);
    let left = ServerMessage::MemberLeft {
        member: seat.member,
        reason: LeaveReason::TimedOut,
    };
    assert_eq!(anna.hear().await, left);
}

#[tokio::test]
async fn health_and_metrics_answer() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let (mut anna, _) = Client::enter(server.http, 1).await;
    let (_ben, _) = Client::enter(server.http, 1).await;
    let (_cleo, _) = Client::enter(server.http, 2).await;
    anna.say(&ClientMessage::Moderate {
        action: Moderation::Admit { knock: 1 },
    })
    .await;
    assert!(matches!(
        anna.hear().await,
        ServerMessage::MemberJoined { .. }
    ));
    anna.hear_error().await;
    let (status, body) = get(server.http, "/health").await;
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("HTTP/1.1 200 OK", "ok\n")
    );
    for (series, value) in [
        ("visavis_rooms", 2),
        ("visavis_members", 3),
        ("visavis_connections", 3),
        ("visavis_messages_total{type=\"join\"}", 3),
        ("visavis_messages_total{type=\"moderate\"}", 1),
        ("visavis_errors_total{code=\"unknown_member\"}", 1),
    ] {
        assert_eq!(metric(server.http, series).await, value, "{series}");
    }
    assert_eq!(
        get(server.http, "/nothing").await.0,
        "HTTP/1.1 404 Not Found"
    );
    assert_eq!(
        get(server.http, "/v1/ws").await.0,
        "HTTP/1.1 400 Bad Request"
    );
}

#[tokio::test]
async fn the_media_port_answers_stun() {
    let config = ServerConfig {
        public_ip: Some([127, 0, 0, 1].into()),
        ..ServerConfig::default()
    };
    let server = serve(config).await.unwrap();
    let (_client, seat) = Client::enter(server.http, 1).await;
    assert_eq!(seat.stun, [format!("stun:{}", server.media)]);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([5; 12]);
    socket
        .send_to(b"not STUN at all, no answer", server.media)
        .await
        .unwrap();
    socket.send_to(&request, server.media).await.unwrap();
    let mut answer = [0; 100];
    let received = crate::client::within("STUN", socket.recv_from(&mut answer))
        .await
        .unwrap();
    assert_eq!(received, (32, server.media));
    let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
    let ip = [
        answer[28] ^ 0x21,
        answer[29] ^ 0x12,
        answer[30] ^ 0xa4,
        answer[31] ^ 0x42,
    ];
    assert_eq!(
        (ip, port),
        ([127, 0, 0, 1], socket.local_addr().unwrap().port())
    );
}
