//! The server's state as a pure state machine: who is connected, who holds which seat in which
//! room, and what each of them is told.
//!
//! [`Rooms`] takes [`Input`]s with the time they happened, and returns [`Output`]s to carry out and
//! the next time to be woken. It contains no socket, task, clock or ambient randomness, and iterates
//! only over ordered maps, so that one sequence of inputs always gives the same outputs.
//!
//! Deliberately not here: JSON and WebSocket (the shell parses and serialises), anything that could
//! open a sealed payload (profiles and signals are relayed as they came), media forwarding.

mod address;
mod config;
mod connection;
mod counters;
mod io;
mod rate;
pub mod relay;
mod room;
mod rooms;
mod token;

pub use address::ClientAddr;
pub use config::RoomsConfig;
pub use connection::ConnId;
pub use counters::{Counters, Occupancy};
pub use io::{Input, Output, Reason};
pub use rate::Rate;
pub use rooms::Rooms;
