//! Scenarios over the simulated network, in virtual time.

mod sound;
