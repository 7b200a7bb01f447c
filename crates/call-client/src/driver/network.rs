//! Server connections, finding and hosting rooms, deriving keys.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use call_core::{AttemptId, Input, LocatePurpose, SocketId};
use call_e2ee::{RoomCode, RoomKeys};
use call_protocol::ErrorCode;
use call_protocol::wire::ClientMessage;
use call_transport::{ServerConnection, ServerEvent, ServerSender};
use tokio::task::AbortHandle;

use super::{Answer, Driver, unix_ms};
use crate::interfaces::{self, Addresses};
use crate::lan::{self, Announcement};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Rooms hosted by this process that are remembered.
const HOSTED_TAGS: usize = 16;

/// A connection to the server, or the attempt at one.
pub(super) struct Connection {
    sender: Option<ServerSender>,
    task: AbortHandle,
}

/// A server for a room without a configured one.
pub(super) struct Located {
    url: String,
    /// Tag and announcement, when this process hosts the room.
    hosted: Option<(String, Option<Announcement>)>,
}

impl Driver {
    pub(super) fn derive_keys(&mut self, attempt: AttemptId, code: RoomCode) {
        let answers = self.answers.clone();
        self.deriving = Some(attempt);
        self.background.spawn_blocking(move || {
            let keys = RoomKeys::derive(&code);
            // The driver being gone is the only failure, and then nobody waits for keys.
            let _ = answers.blocking_send(Answer::Keys { attempt, keys });
        });
    }

    pub(super) fn handle_answer(&mut self, now: Instant, answer: Answer) {
        match answer {
            Answer::Keys { attempt, keys } => {
                if self.deriving == Some(attempt) {
                    self.hub.set_keys(&keys);
                    self.keys = Some((attempt, keys.clone()));
                }
                self.session
                    .handle_input(now, Input::KeysReady { attempt, keys });
            }
            Answer::Located { attempt, result } => {
                self.locating = None;
                let input = match result {
                    Ok(Located { url, hosted }) => {
                        self.rooms.handle_located(hosted.is_some());
                        if let Some((tag, announcement)) = hosted {
                            self.remember_hosted(tag);
                            self.announcement = announcement;
                        }
                        Input::ServerLocated { attempt, url }
                    }
                    Err(code) => Input::ServerNotFound { attempt, code },
                };
                self.session.handle_input(now, input);
            }
            Answer::SocketOpened { socket, sender } => {
                if let Some(connection) = self.sockets.get_mut(&socket) {
                    connection.sender = Some(sender);
                    self.session
                        .handle_input(now, Input::SocketOpened { socket });
                }
            }
            Answer::Socket { socket, event } => self.handle_socket(now, socket, event),
            Answer::SoundTest(report) => self.handle_sound_test(now, report),
            Answer::Share(report) => self.handle_share(now, report),
            Answer::DeviceList { kind, listed } => self.handle_device_list(now, kind, listed),
            Answer::DeviceChange(change) => self.handle_device_change(now, change),
            Answer::LinkStats(stats) => self.handle_link_stats(now, &stats),
        }
    }

    fn handle_socket(&mut self, now: Instant, socket: SocketId, event: ServerEvent) {
        if !self.sockets.contains_key(&socket) {
            return;
        }
        match event {
            ServerEvent::Alive => {
                self.session
                    .handle_input(now, Input::SocketAlive { socket });
            }
            ServerEvent::Message(message) => {
                self.session
                    .handle_input(now, Input::Server { socket, message });
            }
            ServerEvent::Closed { code } => {
                self.sockets.remove(&socket);
                self.session
                    .handle_input(now, Input::SocketClosed { socket, code });
            }
        }
    }

    pub(super) fn connect(&mut self, socket: SocketId, url: String) {
        self.include_loopback = is_this_machine(&url);
        let answers = self.answers.clone();
        let task = self.background.spawn(async move {
            let closed = |code| Answer::Socket {
                socket,
                event: ServerEvent::Closed { code },
            };
            match ServerConnection::connect(&url, CONNECT).await {
                Err(error) => {
                    let _ = answers.send(closed(Some(error.code()))).await;
                }
                Ok((sender, mut events)) => {
                    let opened = Answer::SocketOpened { socket, sender };
                    if answers.send(opened).await.is_err() {
                        return;
                    }
                    while let Some(event) = events.recv().await {
                        let last = matches!(event, ServerEvent::Closed { .. });
                        if answers
                            .send(Answer::Socket { socket, event })
                            .await
                            .is_err()
                            || last
                        {
                            return;
                        }
                    }
                    let _ = answers.send(closed(None)).await;
                }
            }
        });
        self.sockets
            .insert(socket, Connection { sender: None, task });
    }

    pub(super) fn send(&mut self, now: Instant, socket: SocketId, message: &ClientMessage) {
        let sender = self
            .sockets
            .get(&socket)
            .and_then(|connection| connection.sender.as_ref());
        let Some(sender) = sender else {
            tracing::debug!("message for a connection that is not open");
            return;
        };
        if let Err(error) = sender.send(message) {
            // A server that does not drain our messages is as good as gone; the session resumes.
            tracing::debug!(?error, "message not sent");
            self.close_socket(socket);
            let code = Some(ErrorCode::ServerUnreachable);
            self.session
                .handle_input(now, Input::SocketClosed { socket, code });
        }
    }

    pub(super) fn probe(&self, socket: SocketId) {
        let connection = self.sockets.get(&socket);
        if let Some(sender) = connection.and_then(|connection| connection.sender.as_ref())
            && let Err(error) = sender.probe()
        {
            // Nothing will come back, and the session acts on that.
            tracing::debug!(?error, "the server was not asked for a sign of life");
        }
    }

    /// This machine's addresses are these from now on. Whatever used one that is gone is dead.
    pub(super) fn handle_addresses(&mut self, now: Instant, addresses: &Addresses) {
        let before = self.addresses.replace(Arc::clone(addresses));
        let lost_any = before.is_some_and(|before| !before.is_subset(addresses));
        let is_gone = |connection: &Connection| match &connection.sender {
            // It is not told from where an attempt goes out, and starting over costs little.
            None => lost_any,
            Some(sender) => sender
                .own_ip()
                .is_some_and(|own| !own.is_loopback() && !addresses.contains(&own)),
        };
        let gone = self.sockets.iter().filter(|(_, it)| is_gone(it));
        for socket in gone.map(|(socket, _)| *socket).collect::<Vec<_>>() {
            self.close_socket(socket);
            let code = None;
            self.session
                .handle_input(now, Input::SocketClosed { socket, code });
        }
        for link in self.links.values().filter_map(|slot| slot.link.as_ref()) {
            link.handle_addresses(Arc::clone(addresses));
        }
        let online = interfaces::reach_others(addresses);
        self.session.handle_input(now, Input::Network { online });
    }

    /// Tells the session that the machine slept, and the wall clock's new time.
    pub(super) fn notice_sleep(&mut self, now: Instant) {
        let unix_ms = unix_ms();
        if self.sleep.handle_time(now, unix_ms, self.in_call) {
            tracing::info!("the machine slept");
            self.session.handle_input(now, Input::WallClock { unix_ms });
            self.session.handle_input(now, Input::Woken);
        }
    }

    pub(super) fn close_socket(&mut self, socket: SocketId) {
        let Some(Connection { sender, task }) = self.sockets.remove(&socket) else {
            return;
        };
        match sender {
            Some(sender) => {
                self.goodbyes.spawn(async move {
                    sender.close().await;
                    task.abort();
                });
            }
            None => task.abort(),
        }
    }

    pub(super) fn locate(&mut self, attempt: AttemptId, purpose: LocatePurpose, tag: String) {
        self.release_server();
        // A room this process hosted may still be in use by those who stayed.
        let hosts = purpose == LocatePurpose::Host
            || self.hosted_tags.contains(&tag)
            || self.rooms.returns_as_host();
        let answers = self.answers.clone();
        let host = self.host.clone().filter(|_| hosts);
        let task = self.background.spawn(async move {
            let result = match host {
                Some(host) => match host.start().await {
                    Ok(server) => {
                        let announcement = announce(tag.clone(), server.port).await;
                        Ok(Located {
                            url: server.url,
                            hosted: Some((tag, announcement)),
                        })
                    }
                    Err(code) => Err(code),
                },
                None if hosts => Err(ErrorCode::HostFailed),
                None => lan::find(&tag, lan::BROWSE).await.map(|address| Located {
                    url: format!("ws://{address}"),
                    hosted: None,
                }),
            };
            let _ = answers.send(Answer::Located { attempt, result }).await;
        });
        self.locating = Some(task);
    }

    pub(super) fn release_server(&mut self) {
        if let Some(task) = self.locating.take() {
            task.abort();
        }
        self.announcement = None;
    }

    fn remember_hosted(&mut self, tag: String) {
        if self.hosted_tags.len() >= HOSTED_TAGS {
            self.hosted_tags.pop_first();
        }
        self.hosted_tags.insert(tag);
    }
}

/// Without an announcement the room still works for who is told the server's address.
async fn announce(tag: String, port: u16) -> Option<Announcement> {
    let started = tokio::task::spawn_blocking(move || Announcement::start(&tag, port)).await;
    started.ok()?.ok()
}

/// Whether the server, and so maybe other members, run on this very machine.
fn is_this_machine(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_are_recognised() {
        for url in [
            "ws://127.0.0.1:1/v1/ws",
            "ws://[::1]:80/v1/ws",
            "ws://localhost/v1/ws",
        ] {
            assert!(is_this_machine(url), "{url}");
        }
        for url in [
            "wss://host/v1/ws",
            "ws://192.168.1.2:1",
            "ws://[2001:db8::1]:1",
            "",
        ] {
            assert!(!is_this_machine(url), "{url}");
        }
    }
}
