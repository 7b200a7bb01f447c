//! The task that owns [`Rooms`]: applies commands in order, carries out outputs, keeps time.
//!
//! It never waits for a connection. It ends when every [`Command`] sender is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use call_protocol::ErrorCode;
use call_protocol::wire::ServerMessage;
use call_room::{ClientAddr, ConnId, Counters, Input, Occupancy, Output, Rooms};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error};

use crate::outbound::Outbound;
use crate::sfu::{Notice, Sfu, SfuFigures};

/// Commands that may wait; a connection that finds the queue full stops reading its socket.
pub(crate) const COMMAND_QUEUE: usize = 1024;

pub(crate) enum Command {
    /// A WebSocket was opened.
    Open {
        conn: ConnId,
        addr: Option<ClientAddr>,
        outbound: Outbound,
    },
    /// Something happened on a connection, or the server drains.
    Input(Input),
    /// Somebody asks for the figures.
    Figures(oneshot::Sender<Figures>),
}

/// Figures for `/metrics`.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) occupancy: Occupancy,
    pub(crate) counters: Counters,
    pub(crate) sfu: SfuFigures,
}

struct Actor {
    rooms: Rooms,
    sfu: Arc<Sfu>,
    connections: BTreeMap<ConnId, Outbound>,
}

pub(crate) async fn run(
    rooms: Rooms,
    sfu: Arc<Sfu>,
    mut notices: mpsc::Receiver<Notice>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut actor = Actor {
        rooms,
        sfu,
        connections: BTreeMap::new(),
    };
    loop {
        let timeout = actor.rooms.poll_timeout().map(|(at, _)| at);
        let due = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => actor.handle(command),
                None => return,
            },
            Some(Notice { room, member, event }) = notices.recv() => {
                actor.input(Input::Sfu { room, member, event });
            }
            () = due => actor.input(Input::Timeout),
        }
    }
}

impl Actor {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Open {
                conn,
                addr,
                outbound,
            } => {
                self.connections.insert(conn, outbound);
                self.input(Input::Connected { conn, addr });
            }
            Command::Input(input) => {
                if let Input::Disconnected { conn } = &input {
                    self.connections.remove(conn);
                }
                self.input(input);
            }
            Command::Figures(answer) => {
                // The asker may have gone meanwhile.
                let _ = answer.send(Figures {
                    occupancy: self.rooms.occupancy(),
                    counters: self.rooms.counters().clone(),
                    sfu: self.sfu.figures(),
                });
            }
        }
    }

    fn input(&mut self, input: Input) {
        let now = Instant::now();
        self.rooms.handle_input(now, input);
        while let Some(output) = self.rooms.poll_output() {
            match output {
                Output::Send { conn, message } => {
                    if self.send(conn, &message).is_err() {
                        self.rooms.handle_input(now, Input::Overflowed { conn });
                    }
                }
                Output::Close { conn, reason } => {
                    debug!(conn = conn.0, ?reason, "closing connection");
                    if let Some(outbound) = self.connections.remove(&conn) {
                        outbound.close(reason);
                    }
                }
                Output::Sfu(command) => self.sfu.command(command),
            }
        }
    }

    fn send(&self, conn: ConnId, message: &ServerMessage) -> Result<(), crate::outbound::Overflow> {
        if let ServerMessage::Error {
            code,
            detail,
            fatal,
        } = message
        {
            debug!(conn = conn.0, ?code, detail, fatal, "error sent");
        }
        let Some(outbound) = self.connections.get(&conn) else {
            return Ok(());
        };
        match serde_json::to_string(message) {
            Ok(text) => outbound.push(text),
            Err(error) => {
                error!(%error, kind = message.kind(), "message could not be serialised");
                Ok(())
            }
        }
    }
}

/// A code as it is written on the wire.
pub(crate) fn code_name(code: ErrorCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "internal".to_owned(),
    }
}
