//! Pictures from a device to RTP payloads and back.
//!
//! * [`capture`]: the thread that runs a source and keeps it alive; [`camera`], [`synthetic`] and
//!   [`y4m`] are the sources, [`source_config`] names one.
//! * [`scale`] and [`rotate`]: I420 pictures in another size, or upright.
//! * [`codec`]: VP8, VP9 and H.264 behind two traits.
//! * [`rtp`]: payload formats, reordering and frame assembly; [`bitstream`] and [`h264`] read the
//!   few header fields this needs.
//! * [`layers`]: one picture encoded in several sizes; [`send`] and [`receive`]: the encoder and
//!   decoder threads; [`playout`]: when a received frame is shown.
//! * [`mark`]: frame number and capture time as blocks in a picture.

pub mod bitstream;
pub mod camera;
pub mod capture;
mod capture_rate;
pub mod codec;
pub(crate) mod convert;
mod ffi;
pub mod h264;
mod h264_codec;
pub mod layers;
pub mod mark;
mod mounting;
pub mod playout;
pub mod receive;
pub mod rotate;
pub mod rtp;
pub mod scale;
pub mod send;
pub mod source_config;
pub mod synthetic;
mod vpx;
pub mod y4m;
