//! What was prepared and can be read, and the reads that members share.
//!
//! A *block* is [`BLOCK_BYTES`] of a file as messages ready to be sent; they are the same for every
//! member. Whoever wants a block first reads it, whoever wants it meanwhile or soon after gets the
//! same bytes.
//!
//! Invariant: no block is handed out that was read from a file which changed since it was hashed.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use call_protocol::channel::bulk::{
    BulkMessage, HASHES_PER_MESSAGE, PIECE_HEADER_BYTES, piece_header,
};
use call_protocol::channel::file::{GroupRange, OfferId, group_bytes};
use call_protocol::{ErrorCode, limits};
use tokio::sync::OnceCell;

use super::at::{code_of, read_exact_at};
use super::prepare::SourceFile;

/// Bytes read at once: the smallest group, so that no wish reads more than it wants.
pub(super) const BLOCK_BYTES: u64 = limits::GROUP_BYTES;
/// File bytes of a message. Half a block: a message of a whole one would be too large for the
/// channel with its header, and smaller ones cost more per byte.
const PIECE_BYTES: u64 = BLOCK_BYTES / 2;
/// Blocks kept: 4 MiB. More lets members share reads who are further apart.
pub(super) const KEPT_BLOCKS: usize = 16;

/// One offer's files.
pub(super) type Source = Arc<Vec<SourceFile>>;

/// A block's place: offer, file, offset.
type Key = (OfferId, u32, u64);
/// Its messages, once they are read.
type Block = Arc<OnceCell<Result<Vec<Bytes>, ErrorCode>>>;

/// The blocks read last, of all offers.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    kept: Mutex<VecDeque<(Key, Block)>>,
    reads: AtomicU64,
}

impl Blocks {
    /// A block's messages: as somebody else read them, or read now.
    pub(super) async fn get(&self, open: &OpenFile, offset: u64) -> Result<Vec<Bytes>, ErrorCode> {
        let block = self.block((open.offer, open.file, offset));
        let read = || async {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let open = open.clone();
            let reading = tokio::task::spawn_blocking(move || open.read(offset));
            reading.await.unwrap_or(Err(ErrorCode::FileFailed))
        };
        block.get_or_init(read).await.clone()
    }

    fn block(&self, key: Key) -> Block {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, block)) = kept.iter().find(|(known, _)| *known == key) {
            return Arc::clone(block);
        }
        if kept.len() == KEPT_BLOCKS {
            kept.pop_front();
        }
        let block = Block::default();
        kept.push_back((key, Arc::clone(&block)));
        block
    }

    /// Forgets an offer's blocks.
    pub(super) fn forget(&self, offer: OfferId) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|((of, ..), _)| *of != offer);
    }

    /// How often the disk was asked.
    #[cfg(test)]
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

/// A file of an offer, opened for serving.
#[derive(Clone, Debug)]
pub(super) struct OpenFile {
    offer: OfferId,
    file: u32,
    source: Source,
    handle: Arc<File>,
}

impl OpenFile {
    /// Blocks on the disk.
    pub(super) fn open(offer: OfferId, file: u32, source: &Source) -> Result<Self, ErrorCode> {
        let known = source.get(file as usize).ok_or(ErrorCode::FileFailed)?;
        let handle = File::open(&known.path).map_err(|error| code_of(&error))?;
        if !known.is_unchanged(&handle) {
            return Err(ErrorCode::FileChanged);
        }
        Ok(Self {
            offer,
            file,
            source: Arc::clone(source),
            handle: Arc::new(handle),
        })
    }

    fn known(&self) -> &SourceFile {
        // `open` looked it up, and the list never changes.
        &self.source[self.file as usize]
    }

    /// The block at `offset` as messages, read straight into them. Blocks on the disk.
    fn read(&self, offset: u64) -> Result<Vec<Bytes>, ErrorCode> {
        let known = self.known();
        let end = (offset + BLOCK_BYTES).min(known.size_bytes);
        let mut messages = Vec::with_capacity(2);
        let mut at = offset;
        while at < end {
            let len = (end - at).min(PIECE_BYTES) as usize;
            let mut message = piece_header(self.offer, self.file, at, len);
            message.resize(PIECE_HEADER_BYTES + len, 0);
            match read_exact_at(&self.handle, &mut message[PIECE_HEADER_BYTES..], at) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(ErrorCode::FileChanged);
                }
                Err(error) => return Err(code_of(&error)),
            }
            messages.push(message.freeze());
            at += len as u64;
        }
        if known.is_unchanged(&self.handle) {
            Ok(messages)
        } else {
            Err(ErrorCode::FileChanged)
        }
    }

    /// Where the blocks of these groups begin. What the file does not have is left out.
    pub(super) fn blocks(&self, groups: Vec<GroupRange>) -> impl Iterator<Item = u64> + use<> {
        let size = self.known().size_bytes;
        let group = group_bytes(size);
        groups.into_iter().flat_map(move |range| {
            let first = u64::from(range.first) * group;
            let end = first
                .saturating_add(u64::from(range.count) * group)
                .min(size);
            (first..end).step_by(BLOCK_BYTES as usize)
        })
    }

    /// All chaining values as messages.
    pub(super) fn hashes(&self) -> impl Iterator<Item = Bytes> {
        let parts = self.known().values.chunks(HASHES_PER_MESSAGE).enumerate();
        parts.map(|(part, values)| {
            let message = BulkMessage::Hashes {
                offer: self.offer,
                file: self.file,
                first: (part * HASHES_PER_MESSAGE) as u32,
                values: Bytes::from(values.concat()),
            };
            message.to_bytes()
        })
    }
}
