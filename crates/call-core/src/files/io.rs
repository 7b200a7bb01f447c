//! What the file machine asks of a disk and is told by it.
//!
//! Contents never pass the session: whoever carries out [`FileOp`] reads, hashes, sends, checks and
//! writes; the session decides what. All of it is bounded by what a [`FileOp::Receive`] named: bytes
//! that nobody asked for, from somebody else than [`FileOp::Attach`] named, or beyond a file's size
//! are dropped and counted.

use std::path::PathBuf;

use call_protocol::channel::file::{Digest, FileEntry, GroupRange, OfferId};
use call_protocol::{ErrorCode, MemberId};

/// Work for the disk and for data links. In order per offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOp {
    /// Find out what these paths hold, folders with all below them, without following symbolic
    /// links; hash every file. Answer [`FileEvent::Preparing`] now and then, and
    /// [`FileEvent::Prepared`] or [`FileEvent::PrepareFailed`] once. What was prepared stays readable
    /// until [`FileOp::Withdraw`].
    Prepare {
        /// The future offer.
        offer: OfferId,
        /// As the person dropped them.
        paths: Vec<PathBuf>,
    },
    /// Forget what was prepared, or stop preparing.
    Withdraw {
        /// Which offer.
        offer: OfferId,
    },
    /// Send these groups of a prepared file over the data link to a member, chaining values first if
    /// wanted, as fast as the link takes them. Replaces what was being served to that member of this
    /// offer. Members asking for the same groups at about the same time share one read.
    Serve {
        /// Of which offer.
        offer: OfferId,
        /// To whom.
        to: MemberId,
        /// Which file.
        file: u32,
        /// Which groups; may be empty.
        groups: Vec<GroupRange>,
        /// Whether the chaining values of all groups go first.
        hashes: bool,
    },
    /// Send nothing more of an offer to a member.
    StopServing {
        /// Of which offer.
        offer: OfferId,
        /// To whom.
        to: MemberId,
    },
    /// Get ready to receive: check the free space, create what is needed, find what an earlier
    /// attempt left verified. Answer [`FileEvent::Ready`] or [`FileEvent::ReceiveFailed`].
    Receive {
        /// Which offer.
        offer: OfferId,
        /// An existing folder; `None` is the person's downloads folder.
        folder: Option<PathBuf>,
        /// The sender's display name, kept for [`FileEvent::Unfinished`].
        sender_name: String,
        /// The files as they shall be named.
        files: Vec<FileToReceive>,
    },
    /// From now on data of this offer is taken from this member, or from nobody.
    Attach {
        /// Which offer.
        offer: OfferId,
        /// From whom.
        from: Option<MemberId>,
    },
    /// Receiving ends, or is given up.
    StopReceiving {
        /// Which offer.
        offer: OfferId,
        /// Whether unfinished files are kept for a later attempt, or removed.
        keep: bool,
    },
    /// Look for unfinished files of earlier runs in this folder (`None`: downloads); answer
    /// [`FileEvent::Unfinished`] for each offer found, at most 16.
    FindUnfinished {
        /// Where.
        folder: Option<PathBuf>,
    },
}

/// A file to be received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileToReceive {
    /// Folders and name, each safe as one path component on every system; at least one.
    pub parts: Vec<String>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// What it must hash to.
    pub root: Digest,
}

/// What the disk and data links report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// Preparing goes on.
    Preparing {
        /// Which offer.
        offer: OfferId,
        /// Hashed so far.
        done_bytes: u64,
        /// Found so far.
        total_bytes: u64,
    },
    /// The offer can be made.
    Prepared {
        /// Which.
        offer: OfferId,
        /// 1 to [`call_protocol::limits::OFFER_FILES`].
        files: Vec<FileEntry>,
    },
    /// It cannot: [`ErrorCode::FileNotFound`] (also where nothing was in the folders),
    /// [`ErrorCode::FileDenied`], [`ErrorCode::TooManyFiles`], [`ErrorCode::FileTooLarge`],
    /// [`ErrorCode::FileFailed`].
    PrepareFailed {
        /// Which offer.
        offer: OfferId,
        /// Why.
        code: ErrorCode,
    },
    /// All of the last [`FileOp::Serve`] was handed to the link.
    Served {
        /// Of which offer.
        offer: OfferId,
        /// To whom.
        to: MemberId,
    },
    /// A prepared file cannot be read any more: [`ErrorCode::FileChanged`],
    /// [`ErrorCode::FileNotFound`], [`ErrorCode::FileDenied`], [`ErrorCode::FileFailed`].
    SourceFailed {
        /// Of which offer.
        offer: OfferId,
        /// Why.
        code: ErrorCode,
    },
    /// Receiving can begin.
    Ready {
        /// Which offer.
        offer: OfferId,
        /// For each file, in the offer's order, what is verified already.
        verified: Vec<VerifiedFile>,
    },
    /// Chaining values of a file arrived, and are those of its hash.
    HashesTaken {
        /// Of which offer.
        offer: OfferId,
        /// Which file.
        file: u32,
    },
    /// Groups arrived, are what was offered, and are written.
    Verified {
        /// Of which offer.
        offer: OfferId,
        /// Which file.
        file: u32,
        /// Which groups.
        groups: Vec<GroupRange>,
    },
    /// A group arrived whole and is not what was offered, or chaining values are not those of the
    /// file's hash. It was dropped.
    Corrupt {
        /// Of which offer.
        offer: OfferId,
        /// Which file.
        file: u32,
    },
    /// A file is whole, on disk and in its place.
    FileFinished {
        /// Of which offer.
        offer: OfferId,
        /// Which file.
        file: u32,
        /// Where: never what was there before.
        path: PathBuf,
    },
    /// Receiving cannot go on: [`ErrorCode::DiskFull`], [`ErrorCode::FileDenied`],
    /// [`ErrorCode::FileNotFound`] (the folder), [`ErrorCode::FileFailed`].
    ReceiveFailed {
        /// Which offer.
        offer: OfferId,
        /// Why.
        code: ErrorCode,
    },
    /// An earlier run left this unfinished. It is as if [`FileOp::Receive`] had been answered: it
    /// can be attached, or stopped.
    Unfinished {
        /// Which offer.
        offer: OfferId,
        /// As in [`FileOp::Receive`].
        sender_name: String,
        /// Its files.
        files: Vec<FileToReceive>,
        /// What is verified already.
        verified: Vec<VerifiedFile>,
    },
}

/// What is there of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedFile {
    /// Groups that are verified and on disk.
    pub groups: Vec<GroupRange>,
    /// Whether its chaining values are known.
    pub has_hashes: bool,
    /// Whether it is in its place already.
    pub is_finished: bool,
}
