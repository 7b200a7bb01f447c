//! The thread that receives: data of all offers, and what the session wants done with them.
//!
//! It waits in one `select!` for wishes ([`Wish`]), data, and what helpers on blocking threads came
//! to. Whatever may take long runs on such a helper: beginning and finding ([`super::load`]), and one
//! after the other ([`super::chores`]) syncing whole files, saving states, and removing. Data waits
//! meanwhile in its bounded queue, and the links with it.
//!
//! Invariants: chores of an offer are done in order; after an offer's end nothing is told of it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use call_core::{FileEvent, FileToReceive};
use call_protocol::channel::bulk::BulkMessage;
use call_protocol::channel::file::OfferId;
use call_protocol::{ErrorCode, MemberId};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::at::code_of;
use super::chores::{Chore, Chores};
use super::load;
use super::transfer::Transfer;

/// Messages taken in a row before wishes are looked at.
const BATCH: usize = 16;

/// What the session wants of receiving; see [`call_core::FileOp`].
#[derive(Debug)]
pub(super) enum Wish {
    Receive {
        offer: OfferId,
        folder: Option<PathBuf>,
        sender_name: String,
        files: Vec<FileToReceive>,
    },
    Attach {
        offer: OfferId,
        from: Option<MemberId>,
    },
    Stop {
        offer: OfferId,
        keep: bool,
    },
    Find {
        folder: Option<PathBuf>,
    },
    End,
}

/// What helpers came to.
#[derive(Debug)]
pub(super) enum Done {
    Begun(OfferId, Arc<AtomicBool>, Box<Result<Transfer, ErrorCode>>),
    Found(Box<Transfer>),
    Chore(Option<Published>),
}

/// Where a whole file is now.
pub(super) type Published = (OfferId, u32, io::Result<PathBuf>);

/// What the thread is given.
pub(super) struct Inputs {
    pub(super) wishes: mpsc::Receiver<Wish>,
    pub(super) data: mpsc::Receiver<(MemberId, Bytes)>,
    pub(super) events: mpsc::Sender<FileEvent>,
    pub(super) downloads: Option<PathBuf>,
}

/// An offer being begun.
pub(super) struct Beginning {
    /// Stops it.
    pub(super) cancelled: Arc<AtomicBool>,
    /// All that an earlier run left is to be removed as soon as it is known.
    is_unwanted: bool,
}

/// See the module's text.
pub(super) struct Writer {
    pub(super) runtime: Handle,
    events: mpsc::Sender<FileEvent>,
    downloads: Option<PathBuf>,
    pub(super) transfers: BTreeMap<OfferId, Transfer>,
    pub(super) beginning: BTreeMap<OfferId, Beginning>,
    /// Stops looking for unfinished offers.
    pub(super) ended: Arc<AtomicBool>,
    // Bounded by the offers being begun or found, and one chore.
    pub(super) done: mpsc::UnboundedSender<Done>,
    pub(super) chores: Chores,
    pub(super) saved_at: Instant,
    pub(super) reported_at: Instant,
    /// Messages of nobody who was asked.
    dropped: u64,
}

/// Runs until [`Wish::End`], or until nobody is left to wish anything; unfinished files are kept.
pub(super) fn run(runtime: Handle, inputs: Inputs) {
    let (done, mut finished) = mpsc::unbounded_channel();
    let Inputs {
        mut wishes,
        mut data,
        events,
        downloads,
    } = inputs;
    let mut writer = Writer::new(runtime.clone(), events, downloads, done);
    let mut has_data = true;
    loop {
        enum Wake {
            Wish(Option<Wish>),
            Done(Option<Done>),
            Data(Option<(MemberId, Bytes)>),
            Timeout,
        }
        let timeout = writer.poll_timeout();
        let wake = runtime.block_on(async {
            tokio::select! {
                biased;
                wish = wishes.recv() => Wake::Wish(wish),
                done = finished.recv() => Wake::Done(done),
                message = data.recv(), if has_data => Wake::Data(message),
                () = sleep_until(timeout) => Wake::Timeout,
            }
        });
        match wake {
            Wake::Wish(None | Some(Wish::End)) => break,
            Wake::Wish(Some(wish)) => writer.handle_wish(wish),
            Wake::Done(done) => done.into_iter().for_each(|done| writer.handle_done(done)),
            Wake::Data(None) => has_data = false,
            Wake::Data(Some((from, message))) => {
                writer.handle_data(from, message);
                let more = std::iter::from_fn(|| data.try_recv().ok()).take(BATCH);
                more.for_each(|(from, message)| writer.handle_data(from, message));
            }
            Wake::Timeout => {}
        }
        writer.tick(Instant::now());
    }
    writer.finish(&mut finished);
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl Writer {
    fn new(
        runtime: Handle,
        events: mpsc::Sender<FileEvent>,
        downloads: Option<PathBuf>,
        done: mpsc::UnboundedSender<Done>,
    ) -> Self {
        Self {
            runtime,
            events,
            downloads,
            transfers: BTreeMap::new(),
            beginning: BTreeMap::new(),
            ended: Arc::default(),
            done,
            chores: Chores::default(),
            saved_at: Instant::now(),
            reported_at: Instant::now(),
            dropped: 0,
        }
    }

    pub(super) fn tell(&self, event: FileEvent) {
        // The driver being gone is the only failure, and then nobody listens.
        let _ = self.events.blocking_send(event);
    }

    fn handle_wish(&mut self, wish: Wish) {
        match wish {
            Wish::Receive {
                offer,
                folder,
                sender_name,
                files,
            } => self.begin(offer, folder, sender_name, files),
            Wish::Attach { offer, from } => {
                if let Some(transfer) = self.transfers.get_mut(&offer) {
                    transfer.attach(from);
                }
            }
            Wish::Stop { offer, keep } => self.stop(offer, keep),
            Wish::Find { folder } => self.find(folder),
            Wish::End => {}
        }
    }

    fn begin(
        &mut self,
        offer: OfferId,
        folder: Option<PathBuf>,
        sender_name: String,
        files: Vec<FileToReceive>,
    ) {
        self.stop(offer, true);
        let cancelled = Arc::new(AtomicBool::new(false));
        let beginning = Beginning {
            cancelled: Arc::clone(&cancelled),
            is_unwanted: false,
        };
        self.beginning.insert(offer, beginning);
        let (done, downloads) = (self.done.clone(), self.downloads.clone());
        self.runtime.spawn_blocking(move || {
            let is_own_choice = folder.is_none();
            let begun = match load::target(folder, downloads.as_deref()) {
                Ok(folder) => {
                    if is_own_choice {
                        // If it is not there after this, opening it says why.
                        let _ = std::fs::create_dir_all(&folder);
                    }
                    load::begin(offer, &folder, sender_name, files, &cancelled)
                }
                Err(code) => Some(Err(code)),
            };
            if let Some(begun) = begun {
                // The writer being gone is the only failure.
                let _ = done.send(Done::Begun(offer, cancelled, Box::new(begun)));
            }
        });
    }

    fn find(&mut self, folder: Option<PathBuf>) {
        let known: Vec<_> = self
            .transfers
            .keys()
            .chain(self.beginning.keys())
            .copied()
            .collect();
        let (done, downloads) = (self.done.clone(), self.downloads.clone());
        let ended = Arc::clone(&self.ended);
        self.runtime.spawn_blocking(move || {
            let Ok(folder) = load::target(folder, downloads.as_deref()) else {
                return;
            };
            load::find(
                &folder,
                &ended,
                |offer| known.contains(&offer),
                |transfer| {
                    let _ = done.send(Done::Found(Box::new(transfer)));
                },
            );
        });
    }

    fn stop(&mut self, offer: OfferId, keep: bool) {
        if !keep && let Some(beginning) = self.beginning.get_mut(&offer) {
            beginning.is_unwanted = true;
            return;
        }
        if let Some(beginning) = self.beginning.remove(&offer) {
            beginning.cancelled.store(true, Ordering::Relaxed);
        }
        if keep {
            self.save(offer);
        }
        let Some(transfer) = self.transfers.remove(&offer) else {
            return;
        };
        if transfer.dropped > 0 {
            tracing::debug!(
                dropped = transfer.dropped,
                "messages of files not asked for"
            );
        }
        if !keep {
            self.push(Chore::Remove(Box::new(transfer)));
        }
    }

    fn handle_done(&mut self, done: Done) {
        match done {
            Done::Begun(offer, cancelled, begun) => self.handle_begun(offer, &cancelled, *begun),
            Done::Found(mut transfer) => {
                let offer = transfer.offer();
                if self.transfers.contains_key(&offer) || self.beginning.contains_key(&offer) {
                    return;
                }
                let verified = transfer.verified();
                let state = transfer.state();
                self.tell(FileEvent::Unfinished {
                    offer,
                    sender_name: state.sender_name.clone(),
                    files: state.to_receive(),
                    verified,
                });
                self.add(*transfer);
            }
            Done::Chore(published) => {
                if let Some((offer, file, result)) = published {
                    self.handle_published(offer, file, result);
                }
                self.next_chore();
            }
        }
    }

    fn handle_begun(
        &mut self,
        offer: OfferId,
        cancelled: &AtomicBool,
        begun: Result<Transfer, ErrorCode>,
    ) {
        if cancelled.load(Ordering::Relaxed) {
            return;
        }
        let beginning = self.beginning.remove(&offer);
        let is_unwanted = beginning.is_none_or(|it| it.is_unwanted);
        match begun {
            Ok(transfer) if is_unwanted => self.push(Chore::Remove(Box::new(transfer))),
            Err(_) if is_unwanted => {}
            Ok(transfer) => {
                let verified = transfer.verified();
                self.tell(FileEvent::Ready { offer, verified });
                self.add(transfer);
            }
            Err(code) => self.tell(FileEvent::ReceiveFailed { offer, code }),
        }
    }

    /// Files that are whole already, the empty ones among them, are put into their places.
    fn add(&mut self, transfer: Transfer) {
        let (offer, whole) = (transfer.offer(), transfer.whole_files());
        self.transfers.insert(offer, transfer);
        whole.into_iter().for_each(|file| self.publish(offer, file));
    }

    fn publish(&mut self, offer: OfferId, file: u32) {
        let Some(transfer) = self.transfers.get_mut(&offer) else {
            return;
        };
        match transfer.publication(file) {
            Ok(publication) => self.push(Chore::Publish(offer, file, publication)),
            Err(error) => {
                let event = transfer.fail(code_of(&error));
                self.tell(event);
            }
        }
    }

    fn handle_published(&mut self, offer: OfferId, file: u32, result: io::Result<PathBuf>) {
        let Some(transfer) = self.transfers.get_mut(&offer) else {
            return;
        };
        match result {
            Ok(path) => {
                let is_last = transfer.finish_file(file);
                self.tell(FileEvent::FileFinished { offer, file, path });
                if is_last && let Some(transfer) = self.transfers.remove(&offer) {
                    self.push(Chore::Forget(Box::new(transfer)));
                }
            }
            Err(error) => {
                let event = transfer.fail(code_of(&error));
                self.tell(event);
            }
        }
    }

    fn handle_data(&mut self, from: MemberId, message: Bytes) {
        let Some(message) = BulkMessage::parse(message) else {
            return self.drop_message();
        };
        let (BulkMessage::Hashes { offer, .. } | BulkMessage::Piece { offer, .. }) = message;
        let transfer = self.transfers.get_mut(&offer);
        let Some(transfer) = transfer.filter(|it| it.from == Some(from)) else {
            return self.drop_message();
        };
        let outcome = transfer.handle(message);
        outcome
            .events
            .into_iter()
            .for_each(|event| self.tell(event));
        if let Some(file) = outcome.whole {
            self.publish(offer, file);
        }
    }

    fn drop_message(&mut self) {
        self.dropped += 1;
        tracing::trace!(dropped = self.dropped, "bulk message nobody asked for");
    }
}
