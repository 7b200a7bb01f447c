//! Scenarios of whole sessions in virtual time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod joining;
mod links;
mod members;
mod model;
mod reconnecting;
mod sound;
mod world;
