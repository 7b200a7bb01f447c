//! What the end-to-end tests share. See [`support`].

pub mod support;
