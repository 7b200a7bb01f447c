//! A tunnel for data below DTLS, for links that carry nothing else.
//!
//! The stack's SCTP halves its window for every loss (2 Mbit/s at 60 ms and 1 % loss), and nothing
//! above it can change that. So application data of DTLS travels between our own ends in frames of
//! a protocol that repeats what gets lost and hands everything up complete and in order: SCTP sees
//! delay only. A peer that does not know frames never answers the offer, and everything goes as
//! before. ICE, DTLS's handshake and what a TURN relay carries are never touched.
//!
//! ```text
//! SCTP ─ DTLS ─► socket ─► endpoint ─┬─► sender (numbers, losses) ─ rate (pace, window) ─ delay
//!                                    └─► receiver (order, acknowledgements)        frame: bytes
//! ```
//!
//! All but [`socket`] and [`control`] is pure: the time comes in, frames come out. Security is DTLS's
//! alone: whoever can forge frames between the two ends could drop their datagrams as well. An
//! outsider has to guess a tunnel's 32-bit token and both ends' addresses.

pub(crate) mod control;
mod delay;
pub(crate) mod endpoint;
pub(crate) mod frame;
mod rate;
mod receiver;
mod sender;
pub(crate) mod socket;

#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tunnel_tests;
