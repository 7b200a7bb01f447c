//! The engine: owns the session (call-core), the keys (call-e2ee), media (call-media) and links
//! (call-transport), and runs the loop that drives them.
//!
//! * [`Engine`]: what the app and the headless client hold. Commands in, view models and frames out.
//! * [`frames`]: the binary frame channel to the UI.
//! * [`lan`]: rooms on the local network without a server.
//! * [`settings`]: what outlives the app.
//! * [`stats`]: figures of a running call, once a second.
//!
//! One task owns all state and waits in one `select!` over a closed enum of wake-ups; everything
//! that blocks (devices, codecs, key derivation, disks) runs on threads of its own and reports back
//! through bounded channels or latest-wins cells. Policy lives in call-core; nothing here decides
//! what a call does next.
//!
//! Deliberately not here: the server (the app brings it as a [`RoomHost`]), windows, and words.

mod camera_control;
mod channels;
mod config;
mod device_choice;
mod device_plan;
mod devices;
mod driver;
mod engine;
mod files;
pub mod frames;
mod inbound;
mod interfaces;
pub mod keep;
pub mod lan;
pub mod logging;
pub mod memory;
mod outbound;
mod pictures;
mod recent_rooms;
pub mod settings;
mod sleep;
mod sound_test;
pub mod stats;

pub use call_core::TopologyWish;
pub use call_media::audio::{AudioSourceConfig, SpeakerConfig, VoiceOptions};
pub use call_media::video::source_config::VideoSourceConfig;
pub use config::{
    CallObserver, EngineConfig, HostFuture, HostedServer, NoUi, Observed, RoomHost, UiSink,
    pattern_seed,
};
pub use engine::Engine;
pub use files::downloads_folder;
pub use frames::FrameSink;
