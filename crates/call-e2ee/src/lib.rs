//! Keys and sealing: everything that keeps a room's content from whoever carries it.
//!
//! * [`code`]: the room code, the one secret people share.
//! * [`keys`]: what is derived from it, and what of that the server may see.
//! * [`seal`]: signals and profiles, sealed for the members of the room.
//! * [`media`]: media payloads, sealed for the members of the room whatever carries them.
//! * [`seed`]: deterministic randomness, drawn from a seed the caller supplies.
//!
//! `docs/e2ee.md` describes the whole scheme with test vectors. The crate is pure: no clock, no
//! socket, no randomness of its own. Remote input of any shape gives an error value, never a panic.
//!
//! Deliberately not here: who is in the room (call-core's roster) and how sealed bytes travel.
//! The server crates must never depend on this one.

pub mod channel;
pub mod code;
pub mod keys;
pub mod media;
mod replay;
pub mod seal;
pub mod seed;

pub use code::{CodeError, RoomCode};
pub use keys::RoomKeys;
pub use media::{MediaOpener, MediaSealer, MediaStream, MediaTime, Opened};
pub use seal::{SealError, SignalSealer};
pub use seed::SeedStream;
