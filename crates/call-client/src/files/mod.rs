//! Contents of files: read, hashed and sent, received, checked and written. Carries out what the
//! session's file machine wants ([`FileOp`]) and tells it what came of it ([`FileEvent`]).
//!
//! ```text
//! path ─ prepare ─► source ─ blocks read once ─► serve: a task per offer and member ─► link
//! link ─ bounded queue ─► writer: one thread ─► transfer: part file, group by group ─► its place
//! ```
//!
//! Contents never pass the driver: it would stand still whenever a disk does, and everything else of
//! the call with it. Only wishes, and a few events a second, do.
//!
//! * `prepare`, `source`, `serve`: the sending half. `writer` (with `chores`), `load`, `transfer`,
//!   `assembly`, `state`, `place`: the receiving half. `group_set`, `at`: what both are made of.
//!
//! Everything that waits is bounded: [`KEPT_BLOCKS`](source) of what was read, the link's own queue,
//! [`DATA`] messages that arrived. A slow disk thereby holds the link and its sender back; a slow link
//! holds reading back. Nothing is dropped but what nobody asked for.
//!
//! Deliberately not here: what is sent when (call-core), and links.

mod assembly;
mod at;
mod chores;
mod group_set;
mod load;
mod place;
mod prepare;
mod serve;
mod source;
mod state;
mod transfer;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use call_core::{FileEvent, FileOp};
use call_protocol::channel::file::OfferId;
use call_protocol::{ErrorCode, MemberId};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

pub use self::load::downloads_folder;
pub(crate) use self::serve::BulkWay;
use self::serve::{Wanted, Ways};
use self::source::{Blocks, Source};
use self::writer::{Inputs, Wish};

/// Messages of all links that wait for the disk: 8 MiB of the largest. Fewer let a disk that pauses
/// for a moment (it syncs) stop the links, more hold memory.
pub(crate) const DATA: usize = 32;
/// Wishes that wait for a disk that hangs; beyond it a wish fails as if the disk had.
const WISHES: usize = 1_024;
/// How long the engine waits at its end for what is unfinished to be kept.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where messages of the bulk channels go, with the member they came from. Waits while the disk lags.
pub(crate) type BulkSink = mpsc::Sender<(MemberId, Bytes)>;

/// What was prepared, or is being prepared until its flag is set.
type Offers = Arc<Mutex<BTreeMap<OfferId, Offered>>>;

enum Offered {
    Preparing(Arc<AtomicBool>),
    Ready(Source),
}

/// See the module's text. `W` is how contents leave: a link, or a test's stand-in.
pub(crate) struct Disk<W> {
    events: mpsc::Sender<FileEvent>,
    offers: Offers,
    blocks: Arc<Blocks>,
    ways: watch::Sender<Ways<W>>,
    serving: BTreeMap<(OfferId, MemberId), AbortHandle>,
    wishes: mpsc::Sender<Wish>,
    writer: Option<(JoinHandle<()>, oneshot::Receiver<()>)>,
}

impl<W: BulkWay> Disk<W> {
    /// Starts the writer's thread, on the current tokio runtime. `downloads` is where files go unless
    /// said otherwise; `None`: the person's downloads folder.
    pub(crate) fn start(
        downloads: Option<PathBuf>,
        data: mpsc::Receiver<(MemberId, Bytes)>,
        events: mpsc::Sender<FileEvent>,
    ) -> Self {
        let (wishes, received) = mpsc::channel(WISHES);
        let (ended, end) = oneshot::channel();
        let inputs = Inputs {
            wishes: received,
            data,
            events: events.clone(),
            downloads,
        };
        let runtime = Handle::current();
        let work = move || {
            writer::run(runtime, inputs);
            // Nobody waits any more if this fails.
            let _ = ended.send(());
        };
        let thread = std::thread::Builder::new().name("files".into()).spawn(work);
        if let Err(error) = &thread {
            tracing::error!(%error, "no thread to receive files");
        }
        Self {
            events,
            offers: Offers::default(),
            blocks: Arc::default(),
            ways: watch::channel(Ways::new()).0,
            serving: BTreeMap::new(),
            wishes,
            writer: thread.ok().map(|thread| (thread, end)),
        }
    }

    /// The link that leads to a member now; what is being sent over an earlier one ends.
    pub(crate) fn set_way(&self, member: MemberId, way: Option<Weak<W>>) {
        self.ways.send_modify(|ways| {
            match way {
                Some(way) => ways.insert(member, way),
                None => ways.remove(&member),
            };
        });
    }

    /// Carries a wish out. Never waits.
    pub(crate) fn handle(&mut self, op: FileOp) {
        match op {
            FileOp::Prepare { offer, paths } => self.prepare(offer, paths),
            FileOp::Withdraw { offer } => self.withdraw(offer),
            FileOp::Serve {
                offer,
                to,
                file,
                groups,
                hashes,
            } => self.serve(Wanted {
                offer,
                to,
                file,
                groups,
                hashes,
            }),
            FileOp::StopServing { offer, to } => self.stop_serving(offer, to),
            FileOp::Receive {
                offer,
                folder,
                sender_name,
                files,
            } => self.wish(Wish::Receive {
                offer,
                folder,
                sender_name,
                files,
            }),
            FileOp::Attach { offer, from } => self.wish(Wish::Attach { offer, from }),
            FileOp::StopReceiving { offer, keep } => self.wish(Wish::Stop { offer, keep }),
            FileOp::FindUnfinished { folder } => self.wish(Wish::Find { folder }),
        }
    }

    fn wish(&self, wish: Wish) {
        let offer = match &wish {
            Wish::Receive { offer, .. } => Some(*offer),
            _ => None,
        };
        if self.wishes.try_send(wish).is_ok() {
            return;
        }
        tracing::error!("the disk hangs: a wish was dropped");
        if let Some(offer) = offer {
            let code = ErrorCode::FileFailed;
            self.tell(FileEvent::ReceiveFailed { offer, code });
        }
    }

    /// From the driver, which must not wait.
    fn tell(&self, event: FileEvent) {
        let events = self.events.clone();
        tokio::spawn(async move {
            // The driver being gone is the only failure, and then nobody listens.
            let _ = events.send(event).await;
        });
    }

    fn prepare(&mut self, offer: OfferId, paths: Vec<PathBuf>) {
        self.withdraw(offer);
        let cancelled = Arc::new(AtomicBool::new(false));
        let preparing = Offered::Preparing(Arc::clone(&cancelled));
        lock(&self.offers).insert(offer, preparing);
        let (events, offers) = (self.events.clone(), Arc::clone(&self.offers));
        tokio::task::spawn_blocking(move || {
            let prepared = prepare::prepare(&paths, &cancelled, |done_bytes, total_bytes| {
                // A busy driver misses some progress.
                let _ = events.try_send(FileEvent::Preparing {
                    offer,
                    done_bytes,
                    total_bytes,
                });
            });
            let mut offers = lock(&offers);
            if cancelled.load(Ordering::Relaxed) {
                return;
            }
            let event = match prepared {
                None => return,
                Some(Ok(files)) => {
                    let entries = files.iter().map(prepare::SourceFile::entry).collect();
                    offers.insert(offer, Offered::Ready(Arc::new(files)));
                    let files = entries;
                    FileEvent::Prepared { offer, files }
                }
                Some(Err(code)) => {
                    offers.remove(&offer);
                    FileEvent::PrepareFailed { offer, code }
                }
            };
            drop(offers);
            // The driver being gone is the only failure, and then nobody offers anything.
            let _ = events.blocking_send(event);
        });
    }

    fn withdraw(&mut self, offer: OfferId) {
        if let Some(Offered::Preparing(cancelled)) = lock(&self.offers).remove(&offer) {
            cancelled.store(true, Ordering::Relaxed);
        }
        self.serving.retain(|(served, _), task| {
            if *served == offer {
                task.abort();
            }
            *served != offer
        });
        self.blocks.forget(offer);
    }

    fn serve(&mut self, wanted: Wanted) {
        let (offer, to) = (wanted.offer, wanted.to);
        self.stop_serving(offer, to);
        let source = match lock(&self.offers).get(&offer) {
            Some(Offered::Ready(source)) => Arc::clone(source),
            _ => return tracing::debug!("nothing prepared to serve"),
        };
        let blocks = Arc::clone(&self.blocks);
        let (ways, events) = (self.ways.subscribe(), self.events.clone());
        let task = tokio::spawn(serve::serve(wanted, source, blocks, ways, events));
        self.serving.insert((offer, to), task.abort_handle());
    }

    fn stop_serving(&mut self, offer: OfferId, to: MemberId) {
        if let Some(task) = self.serving.remove(&(offer, to)) {
            task.abort();
        }
    }

    /// Ends all sending and receiving; waits a moment for unfinished files to be kept.
    pub(crate) async fn finish(mut self) {
        let Some((thread, end)) = self.writer.take() else {
            return;
        };
        // A full queue means a disk that hangs, which is not waited for.
        let asked = self.wishes.try_send(Wish::End).is_ok();
        if !asked || tokio::time::timeout(FAREWELL, end).await.is_err() {
            return tracing::warn!("the disk hangs: unfinished files may have to be sent again");
        }
        if thread.join().is_err() {
            tracing::error!("the thread that receives files panicked");
        }
    }
}

/// However it ends, nothing goes on without it.
impl<W> Drop for Disk<W> {
    fn drop(&mut self) {
        for task in self.serving.values() {
            task.abort();
        }
        for offered in lock(&self.offers).values() {
            if let Offered::Preparing(cancelled) = offered {
                cancelled.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// What is behind the lock is consistent at each step.
fn lock(offers: &Offers) -> std::sync::MutexGuard<'_, BTreeMap<OfferId, Offered>> {
    offers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
