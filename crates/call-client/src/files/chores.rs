//! What the writer leaves to a blocking thread, one after the other: syncing takes its time, and an
//! offer's steps must not overtake each other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use call_protocol::channel::file::OfferId;
use cap_std::fs::Dir;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

use super::state::State;
use super::transfer::{Publication, Transfer};
use super::writer::{Done, Published, Writer};

/// Verified groups are told this often at most. Less often makes progress jump; more often wakes the
/// session for every group.
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// States are saved this often at most, and not while other chores wait: what arrived since is asked
/// for again after a crash. Less often repeats more, more often syncs for nothing.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// One piece of work.
pub(super) enum Chore {
    Publish(OfferId, u32, Publication),
    Save(Dir, Box<State>),
    /// Everything of it is in its place.
    Forget(Box<Transfer>),
    /// Nothing of it is wanted.
    Remove(Box<Transfer>),
}

impl Chore {
    /// Tells what became of a whole file.
    fn run(self) -> Option<Published> {
        match self {
            Self::Publish(offer, file, publication) => {
                return Some((offer, file, publication.run()));
            }
            Self::Save(dir, state) => {
                if let Err(error) = state.save(&dir) {
                    tracing::debug!(%error, "the state of a file was not saved");
                }
            }
            Self::Forget(transfer) => State::remove(transfer.folder.dir(), transfer.offer()),
            Self::Remove(transfer) => transfer.remove(),
        }
        None
    }
}

/// Chores that wait, and whether one is being done.
#[derive(Default)]
pub(super) struct Chores {
    // Bounded by the files of all offers, which the session bounds.
    waiting: VecDeque<Chore>,
    is_busy: bool,
}

impl Writer {
    pub(super) fn push(&mut self, chore: Chore) {
        self.chores.waiting.push_back(chore);
        if !self.chores.is_busy {
            self.next_chore();
        }
    }

    /// To be called when a chore is done.
    pub(super) fn next_chore(&mut self) {
        let chore = self.chores.waiting.pop_front();
        self.chores.is_busy = chore.is_some();
        let Some(chore) = chore else { return };
        let done = self.done.clone();
        self.runtime.spawn_blocking(move || {
            // The writer being gone is the only failure.
            let _ = done.send(Done::Chore(chore.run()));
        });
    }

    pub(super) fn save(&mut self, offer: OfferId) {
        let Some(transfer) = self.transfers.get_mut(&offer) else {
            return;
        };
        transfer.is_changed = false;
        match transfer.folder.dir().try_clone() {
            Ok(dir) => {
                let state = Box::new(transfer.state().clone());
                self.push(Chore::Save(dir, state));
            }
            Err(error) => tracing::debug!(%error, "the state of a file was not saved"),
        }
    }

    /// When there is something to report or to save.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let mut transfers = self.transfers.values();
        let report = transfers.any(Transfer::has_report);
        let report = report.then(|| self.reported_at + REPORT_EVERY);
        let mut transfers = self.transfers.values();
        // Whatever ends a chore looks at this again.
        let save = !self.chores.is_busy && transfers.any(|transfer| transfer.is_changed);
        let save = save.then(|| self.saved_at + SAVE_EVERY);
        report.into_iter().chain(save).min()
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if now >= self.reported_at + REPORT_EVERY {
            self.reported_at = now;
            let reports: Vec<_> = self
                .transfers
                .values_mut()
                .filter_map(Transfer::report)
                .collect();
            reports.into_iter().for_each(|report| self.tell(report));
        }
        if !self.chores.is_busy && now >= self.saved_at + SAVE_EVERY {
            self.saved_at = now;
            self.save_changed();
        }
    }

    fn save_changed(&mut self) {
        let changed = self
            .transfers
            .iter()
            .filter(|(_, transfer)| transfer.is_changed);
        let changed: Vec<_> = changed.map(|(offer, _)| *offer).collect();
        changed.into_iter().for_each(|offer| self.save(offer));
    }

    /// Keeps what is unfinished and does all that is left to do.
    pub(super) fn finish(mut self, done: &mut mpsc::UnboundedReceiver<Done>) {
        self.ended.store(true, Ordering::Relaxed);
        for beginning in self.beginning.values() {
            beginning.cancelled.store(true, Ordering::Relaxed);
        }
        self.save_changed();
        while self.chores.is_busy {
            match done.blocking_recv() {
                Some(Done::Chore(_)) => self.next_chore(),
                Some(_) => {}
                None => return,
            }
        }
    }
}
