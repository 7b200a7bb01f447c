//! Files on their way to and from members.

pub(crate) mod io;
pub mod tree;

pub use io::{FileEvent, FileOp, FileToReceive, VerifiedFile};
