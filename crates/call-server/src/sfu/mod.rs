//! The SFU's shell: threads, sockets and WebRTC links around the pure decisions of `call-room`.
//!
//! ```text
//! actor ── bounded queue ──→ shard thread (socket, links, rooms) ←── UDP
//! actor ←─ bounded queue ── shard thread
//!          shard ── bounded queue ──→ other shard (datagrams the system gave to the wrong one)
//!          shard ── bounded queue ──→ TURN
//! ```
//!
//! All shards receive on one port; a room lives on one shard. The SFU never reads payloads: they
//! are sealed, and the unsealed ones of a test mode are none of its business either.
//!
//! Deliberately not here: who receives what (`call_room::sfu`), signalling (the actor), TURN.

mod candidates;
mod channels;
mod clock;
mod counters;
mod cpu;
mod demux;
mod egress;
mod extension;
mod link;
mod negotiate;
mod offer;
mod room;
mod routes;
mod shard;
mod shard_links;
mod shard_media;
mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use call_protocol::{ErrorCode, MemberId, RoomId};
use call_room::sfu::SfuConfig;
use call_room::{SfuCommand, SfuEvent};
use str0m::bwe::Bitrate;
use str0m::{Rtc, RtcConfig};
use tracing::{debug, warn};

pub use counters::SfuFigures;

use crate::media::TurnDatagrams;
use candidates::Reach;
use counters::Counters;
use routes::Routes;
use shard::{Shard, ShardParts, WAKER};

/// Inputs that may wait for one shard.
const INPUT_QUEUE: usize = 1_024;
/// Notices that may wait for the actor.
const NOTICE_QUEUE: usize = 1_024;
/// Datagrams that may wait for TURN.
const TURN_QUEUE: usize = 1_024;
/// The bound media port.
#[derive(Debug)]
pub struct MediaPort {
    sockets: Vec<std::net::UdpSocket>,
    addr: SocketAddr,
}

impl MediaPort {
    /// Binds it; port 0 takes a free one. `threads` is how many threads will serve it, at least 1.
    /// Elsewhere than on Linux there is one, whatever this says: other systems do not spread
    /// datagrams over sockets.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn bind(addr: SocketAddr, threads: usize) -> io::Result<Self> {
        let threads = if cfg!(target_os = "linux") {
            threads.max(1)
        } else {
            1
        };
        let sockets = socket::bind(addr, threads)?;
        let addr = sockets[0].local_addr()?;
        Ok(Self { sockets, addr })
    }

    /// The address, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Something that happened on a member's link.
#[derive(Clone, Debug)]
pub struct Notice {
    /// In which room.
    pub room: RoomId,
    /// On whose link.
    pub member: MemberId,
    /// What.
    pub event: SfuEvent,
}

/// A datagram that belongs to another shard.
#[derive(Debug)]
struct Handed {
    arrived: Instant,
    from: SocketAddr,
    to: IpAddr,
    bytes: Bytes,
}

impl Handed {
    fn received(&self) -> socket::Received<'_> {
        socket::Received {
            arrived: self.arrived,
            from: self.from,
            to: self.to,
            bytes: &self.bytes,
        }
    }
}

#[derive(Debug)]
enum ShardInput {
    Command(SfuCommand),
    Datagrams(Vec<Handed>),
    Stop,
}

/// The way to a shard.
#[derive(Clone, Debug)]
struct Neighbour {
    inputs: mpsc::SyncSender<ShardInput>,
    waker: Arc<mio::Waker>,
}

impl Neighbour {
    /// False when its queue is full or it has ended.
    fn send(&self, input: ShardInput) -> bool {
        if self.inputs.try_send(input).is_err() {
            return false;
        }
        if let Err(error) = self.waker.wake() {
            debug!(%error, "shard not woken");
        }
        true
    }
}

/// A running SFU. Dropping it stops its threads without waiting for them.
#[derive(Debug)]
pub struct Sfu {
    shards: Vec<Neighbour>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    counters: Arc<Counters>,
    notices: tokio::sync::mpsc::Sender<Notice>,
}

/// What a running SFU gives out.
#[derive(Debug)]
pub struct SfuOutputs {
    /// What happens on links.
    pub notices: tokio::sync::mpsc::Receiver<Notice>,
    /// What arrives for TURN.
    pub turn: TurnDatagrams,
}

impl Sfu {
    /// Starts the threads. `public_ip` is where members see the port, where not at the address it is
    /// bound to.
    ///
    /// # Errors
    /// The system has no threads or no randomness to give.
    pub fn start(port: MediaPort, public_ip: Option<IpAddr>) -> io::Result<(Self, SfuOutputs)> {
        let MediaPort { sockets, addr } = port;
        let rtc = rtc_config()?;
        let (notices, notices_out) = tokio::sync::mpsc::channel(NOTICE_QUEUE);
        let (turn, turn_out) = tokio::sync::mpsc::channel(TURN_QUEUE);
        let outputs = SfuOutputs {
            notices: notices_out,
            turn: TurnDatagrams {
                receiver: turn_out,
                socket: Arc::new(sockets[0].try_clone()?),
            },
        };
        let counters = Arc::new(Counters::default());
        let routes = Arc::new(Routes::default());
        let reach = Reach {
            bound: addr,
            public_ip,
        };
        let mut shards = Vec::new();
        let mut ends = Vec::new();
        for _ in &sockets {
            let poll = mio::Poll::new()?;
            let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
            let (inputs, inputs_out) = mpsc::sync_channel(INPUT_QUEUE);
            shards.push(Neighbour { inputs, waker });
            ends.push((poll, inputs_out));
        }
        let sfu = Self {
            shards: shards.clone(),
            threads: Mutex::default(),
            counters: Arc::clone(&counters),
            notices: notices.clone(),
        };
        for (index, ((poll, inputs), socket)) in ends.into_iter().zip(sockets).enumerate() {
            let parts = ShardParts {
                index,
                poll,
                socket: socket::MediaSocket::new(socket)?,
                inputs,
                neighbours: shards.clone(),
                routes: Arc::clone(&routes),
                counters: Arc::clone(&counters),
                notices: notices.clone(),
                turn: turn.clone(),
                reach,
                rtc: rtc.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("media-{index}"))
                .spawn(move || match Shard::new(parts) {
                    Ok(shard) => shard.run(),
                    Err(error) => warn!(%error, "media thread not started"),
                })?;
            sfu.lock_threads().push(thread);
        }
        Ok((sfu, outputs))
    }

    /// Passes a command to the shard of its room. Never waits: with a full queue an offer is
    /// answered with `too_slow`, other commands are lost.
    pub fn command(&self, command: SfuCommand) {
        let room = match &command {
            SfuCommand::Offer { room, .. }
            | SfuCommand::Candidate { room, .. }
            | SfuCommand::Close { room, .. }
            | SfuCommand::Subscribe { room, .. } => room,
        };
        let refused = match &command {
            SfuCommand::Offer {
                room, member, link, ..
            } => Some(Notice {
                room: room.clone(),
                member: *member,
                event: SfuEvent::Closed {
                    link: *link,
                    code: ErrorCode::TooSlow,
                },
            }),
            _ => None,
        };
        let shard = shard_of(room, self.shards.len());
        if !self.shards[shard].send(ShardInput::Command(command)) {
            warn!("media thread too busy for a command");
            if let Some(notice) = refused {
                // Its reader is as busy.
                let _ = self.notices.try_send(notice);
            }
        }
    }

    /// What was done so far.
    pub fn figures(&self) -> SfuFigures {
        self.counters.figures()
    }

    /// Ends all links and threads, and waits for them. Blocks for some milliseconds.
    pub fn stop(&self) {
        self.begin_stop();
        let threads = std::mem::take(&mut *self.lock_threads());
        for thread in threads {
            if thread.join().is_err() {
                warn!("a media thread had failed");
            }
        }
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_stop(&self) {
        for shard in &self.shards {
            // A full queue drains, and then the thread finds nobody at the other end.
            let _ = shard.send(ShardInput::Stop);
        }
    }
}

impl Drop for Sfu {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

/// FNV-1a over the id, so that a room's shard is the same at every look.
fn shard_of(room: &RoomId, shards: usize) -> usize {
    let hash = room
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    // Its low bits depend on the low bits of the input only.
    usize::try_from((hash >> 32) % shards as u64).unwrap_or(0)
}

/// What all links have in common: one certificate, so that opening a link makes no key.
fn rtc_config() -> io::Result<RtcConfig> {
    let crypto = str0m::crypto::from_feature_flags();
    let certificate = crypto
        .dtls_provider
        .generate_certificate()
        .ok_or_else(|| io::Error::other("no certificate for DTLS"))?;
    // Both halves begin with the same assumption.
    let initial_bps = SfuConfig::default().initial_estimate_bps;
    let config = Rtc::builder()
        .set_crypto_provider(Arc::new(crypto))
        .set_dtls_cert(certificate)
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_extension_map(extension::extension_map())
        .enable_bwe(Some(Bitrate::from(initial_bps)))
        .set_send_buffer_video(link::CACHE_PACKETS)
        .set_sctp_max_buffered_amount(channels::SCTP_BYTES)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true)
        .enable_vp9(true)
        .enable_h264(true);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_spread_over_shards() {
        let mut rooms = [0; 4];
        for room in 0..=255 {
            rooms[shard_of(&RoomId::from_bytes([room; 16]), 4)] += 1;
        }
        assert!(rooms.iter().all(|count| *count > 20), "{rooms:?}");
        assert_eq!(shard_of(&RoomId::from_bytes([9; 16]), 1), 0);
    }
}
