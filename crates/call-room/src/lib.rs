//! The server's state as pure state machines: who is connected, who holds which seat in which
//! room, what each of them is told, how a room's media flows, and what the forwarding unit (SFU)
//! forwards to whom.
//!
//! [`Rooms`] takes [`Input`]s with the time they happened, and returns [`Output`]s to carry out and
//! the next time to be woken. It contains no socket, task, clock or ambient randomness, and iterates
//! only over ordered maps, so that one sequence of inputs always gives the same outputs.
//!
//! Deliberately not here: JSON and WebSocket (the shell parses and serialises), anything that could
//! open a sealed payload (profiles and signals are relayed as they came), the packets themselves.
//!
//! * [`Rooms`]: signalling; [`topology`]: the rule it moves rooms between mesh and SFU by;
//!   [`relay`]: credentials for TURN.
//! * [`sfu`]: forwarding, one value for each room at the SFU.

mod address;
mod care;
mod config;
mod connection;
mod counters;
mod io;
mod rate;
pub mod relay;
mod room;
mod rooms;
pub mod sfu;
mod token;
pub mod topology;

pub use address::ClientAddr;
pub use config::RoomsConfig;
pub use connection::ConnId;
pub use counters::{Counters, Occupancy};
pub use io::{Input, Output, Reason, SfuCommand, SfuEvent};
pub use rate::Rate;
pub use rooms::Rooms;
pub use topology::TopologyChoice;
