//! The crate's parts together: one binary, one module per topic.

mod audio_chain;
#[cfg(target_os = "linux")]
mod audio_devices;
mod video_codecs;
