//! How much of what was sent arrived, judged from decoded samples alone.
//!
//! Scores compare; they are not opinions of people. Each has a test that it moves the right way.

pub mod sound;
