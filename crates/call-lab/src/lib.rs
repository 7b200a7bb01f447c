//! The laboratory: a simulated network, test signals, and scores for what comes out of a call.
//!
//! For tests only; nothing that ships depends on it. Everything but `tun` and `relay` is pure: time is an
//! argument, chance comes from a seed, so a run can be repeated exactly.
//!
//! * [`network`]: a path that delays, reorders, drops and queues packets.
//! * [`link`]: two of them that follow a plan.
//! * [`nat`]: a router that translates addresses, of every kind.
//! * [`homes`]: hosts behind such routers.
//! * [`dumbbell`]: several flows that share one bottleneck in each direction.
//! * [`tcp`]: a flow that fills it until packets get lost.
//! * [`rmcat`]: the test cases for congestion control of RFC 8867, as data.
//! * [`relay`]: such a link in real time between UDP sockets, on any system.
//! * `tun` (Linux): such a link in real time between two network interfaces, for whole programs.
//! * [`signal`]: sound like speech, made from a seed.
//! * [`score`]: how much of what was sent arrived, and how late.
//!
//! Deliberately not here: assertions about any one crate.

pub mod dumbbell;
pub mod homes;
pub mod link;
pub mod nat;
pub mod network;
pub mod random;
pub mod relay;
pub mod rmcat;
pub mod score;
pub mod signal;
pub mod tcp;
#[cfg(target_os = "linux")]
pub mod tun;
