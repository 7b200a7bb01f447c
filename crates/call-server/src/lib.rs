//! The server: signalling (WebSocket at `/v1/ws`), `/health`, `/metrics`, and on the media port the
//! SFU ([`sfu`]) and STUN.
//!
//! [`serve`] binds both sockets and returns a [`RunningServer`]; the binary `visavis-server` and
//! the app (hosting its own rooms) use the same function. All decisions are made by
//! [`call_room::Rooms`], owned by one task; everything here moves bytes to and from it:
//!
//! ```text
//! TCP → connection task ── bounded queue ──→ actor (owns Rooms)
//!       connection task ←─ bounded queue ── actor          (one per connection)
//! UDP ⇄ media threads (SFU, STUN) ⇄ bounded queues ⇄ actor
//! ```
//!
//! Invariants: every queue is bounded; the actor never waits for a connection, a connection may wait
//! for the actor; every task ends within the drain timeout after shutdown.
//!
//! Deliberately not here: anything that could open a sealed payload, what is in media packets, TURN.

mod accept;
mod actor;
mod config;
mod connection;
mod http;
mod media;
mod metrics;
mod outbound;
mod running;
pub mod sfu;
mod stun;
mod tcp;
mod tls;
mod turn;

pub use call_room::{Rate, RoomsConfig, TopologyChoice};
pub use config::ServerConfig;
pub use media::TurnDatagrams;
pub use running::{RunningServer, ServeError, ShutdownHandle, serve};
pub use stun::handle_stun;
pub use tls::{TlsError, TlsFiles};
pub use turn::{RelayConfig, TurnLimits};
