//! End-to-end tests: real processes, real sockets, real windows; judged by decoded media.

// Tests tell what they measured, and what they skip and why.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod app;
mod calls;
mod chromium;
mod chromium_sfu;
mod cycles;
mod lan;
#[cfg(target_os = "linux")]
mod link;
mod lip_sync;
mod mouth_to_ear;
mod relay;
mod rooms;
mod server_loss;
mod sound;
