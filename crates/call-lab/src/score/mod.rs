//! How much of what was sent arrived, judged from decoded pictures and samples alone.
//!
//! Scores compare; they are not opinions of people. Each has a test that it moves the right way.

pub mod chirps;
pub mod picture;
pub mod sound;
