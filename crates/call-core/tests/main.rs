//! Scenarios of whole sessions in virtual time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod chat;
mod data_links;
mod files;
mod joining;
mod links;
mod members;
mod model;
mod network;
mod outages;
mod quality;
mod random_input;
mod reconnecting;
mod sfu;
mod sharing;
mod sound;
mod topology;
mod world;
