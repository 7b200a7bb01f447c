//! Sends what one member wants of one offer over the link to them: a task that ends when all is
//! handed over, the link closes, or it is aborted because something else is wanted.
//!
//! States: waiting for a link; sending chaining values; sending blocks, [`READ_AHEAD`] of them being
//! read meanwhile. The link's own queue is the only other place where contents wait.
//!
//! Deliberately not here: what is wanted (the session) and which link leads there (the driver).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use call_core::FileEvent;
use call_protocol::channel::file::{GroupRange, OfferId};
use call_protocol::{ErrorCode, MemberId};
use call_transport::{ChannelError, ChannelLabel, Link};
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, watch};

use super::source::{Blocks, OpenFile, Source};

/// Blocks read ahead per member: 1 MiB, a hundredth of a second of the fastest links. Fewer leave
/// the link waiting for a slow disk, more only hold memory.
const READ_AHEAD: usize = 4;

/// A way for contents to one member.
pub(crate) trait BulkWay: Send + Sync + 'static {
    /// Waits for room, or for the end.
    fn writable(&self) -> impl Future<Output = ()> + Send;
    /// Hands a message over.
    fn send(&self, data: Bytes) -> Result<(), ChannelError>;
}

impl BulkWay for Link {
    async fn writable(&self) {
        self.channel_writable(ChannelLabel::Bulk).await;
    }

    fn send(&self, data: Bytes) -> Result<(), ChannelError> {
        self.send_channel(ChannelLabel::Bulk, data)
    }
}

/// The link to each member that leads there now. The driver alone keeps links alive.
pub(super) type Ways<W> = BTreeMap<MemberId, Weak<W>>;

/// What a member wants.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) offer: OfferId,
    pub(super) to: MemberId,
    pub(super) file: u32,
    pub(super) groups: Vec<GroupRange>,
    pub(super) hashes: bool,
}

/// Why sending ended early.
enum Stopped {
    /// The receiver will ask again over the next link.
    LinkGone,
    Failed(ErrorCode),
}

/// See the module's text.
pub(super) async fn serve<W: BulkWay>(
    wanted: Wanted,
    source: Source,
    blocks: Arc<Blocks>,
    ways: watch::Receiver<Ways<W>>,
    events: mpsc::Sender<FileEvent>,
) {
    let (offer, to) = (wanted.offer, wanted.to);
    let event = match send(wanted, source, &blocks, ways).await {
        Ok(()) => FileEvent::Served { offer, to },
        Err(Stopped::Failed(code)) => FileEvent::SourceFailed { offer, code },
        Err(Stopped::LinkGone) => return tracing::debug!(%to, "link gone while sending a file"),
    };
    // The driver being gone is the only failure, and then nobody waits for it.
    let _ = events.send(event).await;
}

async fn send<W: BulkWay>(
    wanted: Wanted,
    source: Source,
    blocks: &Blocks,
    mut ways: watch::Receiver<Ways<W>>,
) -> Result<(), Stopped> {
    let (offer, file) = (wanted.offer, wanted.file);
    let opening = tokio::task::spawn_blocking(move || OpenFile::open(offer, file, &source));
    let open = opening.await.unwrap_or(Err(ErrorCode::FileFailed));
    let open = open.map_err(Stopped::Failed)?;
    let way = {
        let known = ways.wait_for(|ways| ways.contains_key(&wanted.to)).await;
        let known = known.map_err(|_| Stopped::LinkGone)?;
        known.get(&wanted.to).cloned().ok_or(Stopped::LinkGone)?
    };
    if wanted.hashes {
        for message in open.hashes() {
            hand_over(&way, message).await?;
        }
    }
    let open = &open;
    let mut reading = stream::iter(open.blocks(wanted.groups))
        .map(|offset| blocks.get(open, offset))
        .buffered(READ_AHEAD);
    while let Some(messages) = reading.next().await {
        for message in messages.map_err(Stopped::Failed)? {
            hand_over(&way, message).await?;
        }
    }
    Ok(())
}

async fn hand_over<W: BulkWay>(way: &Weak<W>, message: Bytes) -> Result<(), Stopped> {
    let way = way.upgrade().ok_or(Stopped::LinkGone)?;
    loop {
        way.writable().await;
        match way.send(message.clone()) {
            Ok(()) => return Ok(()),
            // Another task of the same member was faster.
            Err(ChannelError::Full) => {}
            Err(ChannelError::TooLarge | ChannelError::Closed) => return Err(Stopped::LinkGone),
        }
    }
}
