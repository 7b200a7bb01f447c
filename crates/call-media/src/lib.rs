//! Capture, codecs, jitter buffers and playout: everything between devices and encoded packets.
//!
//! * [`frame`]: pictures, and the latest-wins slot they travel in between threads.
//! * [`pool`]: buffers used again and again.
//! * [`video`]: cameras and synthetic pictures, encoders and decoders, RTP payloads, send pipeline.
//! * [`audio`]: microphones, speakers and synthetic sound, Opus, jitter buffer, mixer.
//! * [`screen`]: screens and windows to share.
//! * [`lip_sync`]: what keeps a person's picture and sound together.
//! * [`watch`]: notices that devices come and go.
//!
//! Everything here runs on plain threads and is callable from async code: no runtime, no sockets.
//! This is the only crate that names the camera, sound and codec libraries.
//!
//! Deliberately not here: RTP headers, retransmission and congestion control (call-transport),
//! encryption (call-e2ee), and the policy that picks bit rates and sizes (call-core).

pub mod audio;
pub mod frame;
pub mod lip_sync;
pub mod pool;
pub mod screen;
pub mod video;
pub mod watch;
