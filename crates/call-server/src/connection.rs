//! One WebSocket: reads into the actor, writes what the actor queued, pings.
//!
//! It ends when the client is gone, when the actor closes it, when its queue overflowed, or when
//! the drain is over. However it ends, `Disconnected` is the last thing the actor hears of it.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use call_protocol::ErrorCode;
use call_protocol::wire::{ClientMessage, ParseError, ServerMessage};
use call_room::{ClientAddr, ConnId, Input};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::actor::{Command, code_name};
use crate::outbound::{Frame, OutboundFrames, outbound};

/// Largest WebSocket message that is read at all, in bytes. Well above the protocol's limit, so
/// that a client slightly over it gets a `message_too_large` it can read; beyond this one the
/// connection is dropped.
pub(crate) const READ_LIMIT_BYTES: usize = 1024 * 1024;
/// How long a client may take to read the last messages and answer the close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// What one connection needs to know.
pub(crate) struct ConnectionConfig {
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) outbound_messages: usize,
    pub(crate) outbound_bytes: usize,
    /// Cancelled when the drain is over.
    pub(crate) drop_all: CancellationToken,
}

enum End {
    /// The client is gone.
    Gone,
    /// The closing frame was sent.
    Closed,
    /// The queue overflowed.
    Overflowed,
}

pub(crate) async fn run(
    socket: WebSocket,
    conn: ConnId,
    addr: Option<ClientAddr>,
    config: ConnectionConfig,
    commands: mpsc::Sender<Command>,
) {
    let (outbound, mut frames) = outbound(config.outbound_messages, config.outbound_bytes);
    if commands
        .send(Command::Open {
            conn,
            addr,
            outbound,
        })
        .await
        .is_err()
    {
        return;
    }
    let (mut sink, mut stream) = socket.split();
    tokio::select! {
        () = exchange(&mut sink, &mut stream, &mut frames, conn, &config, &commands) => {}
        () = config.drop_all.cancelled() => {}
    }
    drop((sink, stream));
    // Fails only when the actor ended first, which forgets everything anyway.
    let _ = commands
        .send(Command::Input(Input::Disconnected { conn }))
        .await;
}

async fn exchange(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    frames: &mut OutboundFrames,
    conn: ConnId,
    config: &ConnectionConfig,
    commands: &mpsc::Sender<Command>,
) {
    let abandoned = frames.abandoned.clone();
    let end = {
        let both = async {
            let write = write(sink, frames, config.ping_interval);
            tokio::pin!(write);
            tokio::select! {
                is_reported = read(stream, conn, config.ping_timeout, commands) => {
                    // The actor answers a report with a last error and the close.
                    if is_reported && timeout(CLOSE_WAIT, write).await.is_ok() {
                        End::Closed
                    } else {
                        End::Gone
                    }
                }
                () = &mut write => End::Closed,
            }
        };
        tokio::select! {
            end = both => end,
            () = abandoned.cancelled() => End::Overflowed,
        }
    };
    match end {
        End::Gone => {}
        End::Closed => linger(stream).await,
        End::Overflowed => {
            // Usually in vain: the client does not read. It may have begun to.
            let _ = timeout(CLOSE_WAIT, send_last(sink, ErrorCode::TooSlow)).await;
        }
    }
}

/// Reads until the client is gone (false) or something was reported that the actor answers with a
/// close (true).
async fn read(
    stream: &mut SplitStream<WebSocket>,
    conn: ConnId,
    silence: Duration,
    commands: &mpsc::Sender<Command>,
) -> bool {
    loop {
        let input = match timeout(silence, stream.next()).await {
            Err(_) => Input::Silent { conn },
            Ok(Some(Ok(Message::Text(text)))) => match ClientMessage::parse(&text) {
                Ok(message) => Input::Message { conn, message },
                Err(error) => Input::ParseFailed { conn, error },
            },
            Ok(Some(Ok(Message::Binary(_)))) => {
                let detail = "binary messages are not part of the protocol".to_owned();
                Input::ParseFailed {
                    conn,
                    error: ParseError {
                        code: ErrorCode::BadMessage,
                        detail,
                    },
                }
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return false,
        };
        let is_last = matches!(input, Input::Silent { .. });
        if commands.send(Command::Input(input)).await.is_err() {
            return false;
        }
        if is_last {
            return true;
        }
    }
}

/// Writes queued frames and pings until the closing frame or a failure.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    frames: &mut OutboundFrames,
    ping_interval: Duration,
) {
    let mut pings = interval(ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    loop {
        let message = tokio::select! {
            frame = frames.next() => match frame {
                Some(Frame::Text(text)) => Message::Text(text),
                Some(Frame::Close(reason)) => close_message(reason),
                None => return,
            },
            _ = pings.tick() => Message::Ping(Vec::new().into()),
        };
        let is_last = matches!(message, Message::Close(_));
        if sink.send(message).await.is_err() || is_last {
            return;
        }
    }
}

/// Reads and discards until the client has closed, so that closing the socket with unread bytes
/// does not reset the connection before the client has read the last error.
async fn linger(stream: &mut SplitStream<WebSocket>) {
    let _ = timeout(CLOSE_WAIT, async {
        while let Some(Ok(_)) = stream.next().await {}
    })
    .await;
}

async fn send_last(
    sink: &mut SplitSink<WebSocket, Message>,
    code: ErrorCode,
) -> Result<(), axum::Error> {
    let error = ServerMessage::Error {
        code,
        detail: "reads too slowly".into(),
        fatal: true,
    };
    if let Ok(text) = serde_json::to_string(&error) {
        sink.send(Message::Text(text.into())).await?;
    }
    sink.send(close_message(code)).await
}

fn close_message(reason: ErrorCode) -> Message {
    let code = match reason {
        ErrorCode::ServerClosing => close_code::AWAY,
        ErrorCode::MessageTooLarge => close_code::SIZE,
        ErrorCode::ServerFull | ErrorCode::TooSlow => close_code::AGAIN,
        _ => close_code::POLICY,
    };
    Message::Close(Some(CloseFrame {
        code,
        reason: code_name(reason).into(),
    }))
}
