//! What the disk reports of an offer that is received.

use std::path::PathBuf;
use std::time::Instant;

use call_protocol::ErrorCode;
use call_protocol::ui::TransferState;

use super::super::io::{FileEvent, VerifiedFile};
use super::super::{Action, Actions};
use super::{Incoming, Phase, patience};
use crate::output::CallEvent;

/// A file that arrives corrupt more often is given up.
const CORRUPT_MOST: u8 = 3;

impl Incoming {
    /// The disk reports.
    pub(crate) fn handle_event(&mut self, now: Instant, event: FileEvent, out: &mut Actions) {
        match event {
            FileEvent::Ready { verified, .. } if self.phase == Phase::Opening => {
                self.phase = Phase::Going;
                self.take_verified(&verified);
                self.finish_if_whole(now, out);
            }
            FileEvent::ReceiveFailed { code, .. } if !self.is_ended() => {
                self.end(now, TransferState::Failed { code }, out);
            }
            FileEvent::HashesTaken { file, .. } if self.phase == Phase::Going => {
                if let Some(file) = self.files.get_mut(file as usize) {
                    file.has_hashes = true;
                }
                self.be_patient(now);
            }
            FileEvent::Verified { file, groups, .. } if self.phase == Phase::Going => {
                if let Some(file) = self.files.get_mut(file as usize) {
                    groups
                        .into_iter()
                        .for_each(|range| file.verified.insert(range));
                }
                let done_bytes = self.verified_bytes();
                self.meter.set(now, done_bytes);
                self.be_patient(now);
            }
            FileEvent::Corrupt { file, .. } if self.phase == Phase::Going => {
                self.handle_corrupt(now, file as usize, out);
            }
            FileEvent::FileFinished { file, path, .. } if self.phase == Phase::Going => {
                self.handle_finished(now, file as usize, path, out);
            }
            _ => tracing::debug!(offer = ?self.offer, "the disk reports out of turn"),
        }
    }

    pub(super) fn take_verified(&mut self, verified: &[VerifiedFile]) {
        for (file, verified) in self.files.iter_mut().zip(verified) {
            file.has_hashes = verified.has_hashes;
            for range in &verified.groups {
                file.verified.insert(*range);
            }
            if verified.is_finished {
                file.finish();
            }
        }
        self.meter.start_at(self.verified_bytes());
    }

    pub(super) fn verified_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.verified.bytes()).sum()
    }

    /// Something came: what else was asked for may take its time.
    fn be_patient(&mut self, now: Instant) {
        if let Some(asked) = &mut self.asked
            && let Some(file) = self.files.get(asked.file)
        {
            asked.repeat_at = now + patience(file.size_bytes);
        }
    }

    fn handle_corrupt(&mut self, now: Instant, file: usize, out: &mut Actions) {
        let Some(corrupt) = self.files.get_mut(file).map(|file| &mut file.corrupt) else {
            return;
        };
        *corrupt = corrupt.saturating_add(1);
        if *corrupt > CORRUPT_MOST {
            let code = ErrorCode::FileCorrupt;
            return self.end(now, TransferState::Failed { code }, out);
        }
        // The sender would take the same request for one that it is carrying out.
        if self.asked.take().is_some() {
            self.say_waiting(now, out);
        }
    }

    fn handle_finished(&mut self, now: Instant, index: usize, path: PathBuf, out: &mut Actions) {
        let from = self.member;
        let Some(file) = self.files.get_mut(index).filter(|file| !file.is_finished) else {
            return;
        };
        file.finish();
        if let Some(from) = from {
            out.push_back(Action::Event(CallEvent::FileDone {
                offer: self.offer,
                from,
                name: file.parts.join("/"),
                size_bytes: file.size_bytes,
                path: path.clone(),
                root: file.root,
            }));
        }
        let up = match (self.label.files, self.label.is_folder) {
            (_, true) => file.parts.len() - 1,
            (1, false) => 0,
            _ => file.parts.len(),
        };
        if self.path.is_none() {
            self.path = path.ancestors().nth(up).map(PathBuf::from);
        }
        let done_bytes = self.verified_bytes();
        self.meter.set(now, done_bytes);
        self.finish_if_whole(now, out);
    }

    fn finish_if_whole(&mut self, now: Instant, out: &mut Actions) {
        if self.files.iter().all(|file| file.is_finished) {
            self.end(now, TransferState::Done, out);
        }
    }
}
