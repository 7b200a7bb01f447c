//! Everything that crosses a process boundary in Visavis.
//!
//! * [`wire`]: JSON messages between a client and `visavis-server` (WebSocket).
//! * [`peer`]: what two members say to each other inside a sealed `signal`.
//! * [`channel`]: what members say to each other on data channels: chat, reactions, files.
//! * [`fanout`]: what stands in front of a data channel message to or from the SFU.
//! * [`ui`]: commands, events and view models between the engine and the web UI, and the binary
//!   frame header ([`ui::frame`]) in front of every picture.
//! * [`dependency_descriptor`]: the RTP header extension a forwarding unit decides by.
//! * [`ids`], [`limits`], [`error`]: the identifiers, bounds and error codes all of them share.
//!
//! Deliberately not here: behaviour. Nothing in this crate opens a socket or reads a clock; it
//! parses, validates and serialises.

pub mod care;
pub mod channel;
pub mod dependency_descriptor;
pub mod error;
pub mod fanout;
pub mod ids;
pub mod limits;
pub mod peer;
pub mod ui;
pub mod wire;

pub use error::ErrorCode;
pub use ids::{MediaSource, MemberId, RoomId, VideoCodec};
