//! Start, drain, silence, and that nothing is left behind.

use std::time::{Duration, Instant};

use call_protocol::ErrorCode;
use call_protocol::wire::{ClientMessage, LeaveReason, ServerMessage};
use call_server::{RoomsConfig, ServeError, ServerConfig, serve};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::client::{Client, wait_for_metric, within};

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn drain_tells_everybody_and_ends() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let http = server.http;
    let (mut anna, _) = Client::enter(http, 1).await;
    let mut lobby = Client::open(http).await;
    lobby.greet().await;
    let handle = server.shutdown_handle();
    handle.shutdown();
    for client in [&mut anna, &mut lobby] {
        assert_eq!(client.hear_error().await, (ErrorCode::ServerClosing, true));
        assert_eq!(client.hear_close().await, 1001);
    }
    handle.shutdown();
    within("the end", server.wait()).await;
    assert!(TcpStream::connect(http).await.is_err(), "still listening");
    assert_eq!(alive_tasks(), 0);
}

#[tokio::test]
async fn drain_ends_although_a_client_neither_reads_nor_closes() {
    let drain_timeout = Duration::from_millis(200);
    let server = serve(ServerConfig {
        drain_timeout,
        ..ServerConfig::default()
    })
    .await
    .unwrap();
    let (_stuck, _) = Client::enter(server.http, 1).await;
    let idle_http = TcpStream::connect(server.http).await.unwrap();
    let begin = Instant::now();
    within("the end", server.shutdown()).await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    drop(idle_http);
    within("no task left", async {
        while alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn dropping_the_server_drains_it() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let (mut anna, _) = Client::enter(server.http, 1).await;
    drop(server);
    assert_eq!(anna.hear_error().await, (ErrorCode::ServerClosing, true));
    assert_eq!(anna.hear_close().await, 1001);
}

#[tokio::test]
async fn a_taken_address_is_an_error() {
    let first = serve(ServerConfig::default()).await.unwrap();
    let again = ServerConfig {
        http: first.http,
        ..ServerConfig::default()
    };
    assert!(
        matches!(serve(again).await, Err(ServeError::BindHttp { addr, .. }) if addr == first.http)
    );
    let again = ServerConfig {
        media: first.media,
        ..ServerConfig::default()
    };
    assert!(matches!(
        serve(again).await,
        Err(ServeError::BindMedia { .. })
    ));
    first.shutdown().await;
}

#[tokio::test]
async fn a_silent_client_times_out_and_a_quiet_one_does_not() {
    let rooms = RoomsConfig {
        resume_grace: Duration::from_millis(50),
        ..RoomsConfig::default()
    };
    let config = ServerConfig {
        rooms,
        ping_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_millis(500),
        ..ServerConfig::default()
    };
    let server = serve(config).await.unwrap();
    // Says nothing, but reads and so answers pings.
    let (mut quiet, _) = Client::enter(server.http, 1).await;
    // Keeps its socket open and never looks at it.
    let (_silent, seat) = Client::enter(server.http, 1).await;
    let begin = Instant::now();
    assert!(matches!(
        quiet.hear().await,
        ServerMessage::MemberJoined { .. }
    ));
    let left = ServerMessage::MemberLeft {
        member: seat.member,
        reason: LeaveReason::TimedOut,
    };
    assert_eq!(quiet.hear().await, left);
    assert!(
        begin.elapsed() >= Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    quiet.say(&ClientMessage::Leave).await;
    wait_for_metric(server.http, "visavis_members", 0).await;
    server.shutdown().await;
}

#[tokio::test]
async fn two_hundred_joins_and_leaves_leave_no_task_behind() {
    let server = serve(ServerConfig::default()).await.unwrap();
    let (mut anna, _) = Client::enter(server.http, 1).await;
    let before = alive_tasks();
    for cycle in 0..200 {
        let (mut ben, _) = Client::enter(server.http, 1).await;
        assert!(matches!(
            anna.hear().await,
            ServerMessage::MemberJoined { .. }
        ));
        ben.say(&ClientMessage::Leave).await;
        assert!(matches!(
            anna.hear().await,
            ServerMessage::MemberLeft { .. }
        ));
        if cycle % 2 == 0 {
            within("closing", ben.socket.close(None)).await.unwrap();
        }
    }
    wait_for_metric(server.http, "visavis_connections", 1).await;
    within("no task more than before", async {
        while alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.shutdown().await;
}
