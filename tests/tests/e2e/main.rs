//! End-to-end tests: real processes, real sockets, real windows; judged by decoded media.

// Tests tell what they measured, and what they skip and why.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod app;
#[cfg(unix)]
mod app_chat;
mod app_home;
#[cfg(target_os = "linux")]
mod app_screen;
mod app_walk;
mod calls;
mod care;
mod chat;
#[cfg(target_os = "linux")]
mod chat_loss;
mod chromium;
mod chromium_sfu;
mod cycles;
#[cfg(target_os = "linux")]
mod diagnosis;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod files_bad;
#[cfg(target_os = "linux")]
mod files_call;
mod lan;
#[cfg(target_os = "linux")]
mod link;
mod lip_sync;
mod mouth_to_ear;
#[cfg(target_os = "linux")]
mod quality;
#[cfg(target_os = "linux")]
mod reconnect;
mod relay;
mod rooms;
mod screen;
mod server_loss;
mod sound;
#[cfg(target_os = "linux")]
mod wayland;
