//! Files on their way to and from members.

pub(crate) mod io;

pub use io::{FileEvent, FileOp, FileToReceive, VerifiedFile};
