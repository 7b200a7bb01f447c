//! One offer being received: takes its messages, writes and verifies what they bring.
//!
//! One file is *current*: open, with its chaining values and the groups on their way. Bytes of
//! another file of the offer make that one current and drop groups that are not whole; the session
//! asks for one file at a time.
//!
//! Invariants: bytes are written below the folder only, within a file's size and never over a group
//! that is verified; a group counts only if its hash is the one that the file's own hash commits to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use call_core::file_tree::{self, GroupValue};
use call_core::{FileEvent, VerifiedFile};
use call_protocol::channel::bulk::{BulkMessage, HASH_BYTES};
use call_protocol::channel::file::{OfferId, group_bytes, group_count};
use call_protocol::{ErrorCode, MemberId};
use cap_std::fs::Dir;

use super::assembly::Assembly;
use super::at::{code_of, read_exact_at, write_all_at};
use super::group_set::GroupSet;
use super::place::{self, Folder};
use super::state::{Part, State};

/// Groups of a file on their way at once. A sender sends them one after the other.
const ASSEMBLIES: usize = 64;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) folder: Folder,
    state: State,
    /// Of each file; the state's own ranges are brought up to date when it is saved.
    verified: Vec<GroupSet>,
    /// From whom data is taken.
    pub(super) from: Option<MemberId>,
    current: Option<Current>,
    /// Verified since the last report, of the current file.
    unreported: GroupSet,
    /// Messages that were not asked for.
    pub(super) dropped: u64,
    /// Whether there is more to save than was saved.
    pub(super) is_changed: bool,
    /// It cannot go on.
    is_failed: bool,
}

#[derive(Debug)]
struct Current {
    file: u32,
    out: File,
    values: Option<Vec<GroupValue>>,
    arriving: Option<ArrivingValues>,
    groups: BTreeMap<u32, Assembly>,
}

/// Chaining values before all are there.
#[derive(Debug)]
struct ArrivingValues {
    values: Vec<GroupValue>,
    known: GroupSet,
}

/// What a message led to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) events: Vec<FileEvent>,
    /// A file became whole and is to be published.
    pub(super) whole: Option<u32>,
}

/// A whole file on the way to its place. Done elsewhere, because syncing takes its time.
#[derive(Debug)]
pub(super) struct Publication {
    dir: Dir,
    path: PathBuf,
    part: String,
    name: String,
}

impl Publication {
    /// Tells where it is.
    pub(super) fn run(self) -> io::Result<PathBuf> {
        let name = place::publish(&self.dir, &self.part, &self.name)?;
        Ok(self.path.join(name))
    }
}

impl Transfer {
    /// `verified` are the groups found on disk, for each file.
    pub(super) fn new(folder: Folder, state: State, verified: Vec<GroupSet>) -> Self {
        Self {
            folder,
            state,
            verified,
            from: None,
            current: None,
            unreported: GroupSet::default(),
            dropped: 0,
            is_changed: false,
            is_failed: false,
        }
    }

    pub(super) fn offer(&self) -> OfferId {
        self.state.offer
    }

    /// The state as it is to be saved.
    pub(super) fn state(&mut self) -> &State {
        for (file, verified) in self.state.files.iter_mut().zip(&self.verified) {
            file.groups = verified.ranges();
        }
        &self.state
    }

    pub(super) fn verified(&self) -> Vec<VerifiedFile> {
        let files = self.state.files.iter().zip(&self.verified);
        let file = files.map(|(file, verified)| VerifiedFile {
            groups: verified.ranges(),
            has_hashes: file.has_hashes,
            is_finished: file.is_finished,
        });
        file.collect()
    }

    /// Files that are whole and not in their place.
    pub(super) fn whole_files(&self) -> Vec<u32> {
        let files = (0..).zip(self.state.files.iter().zip(&self.verified));
        let is_whole = |(_, (file, verified)): &(u32, (&super::state::FileState, &GroupSet))| {
            !file.is_finished && verified.len() == group_count(file.size_bytes)
        };
        files.filter(is_whole).map(|(file, _)| file).collect()
    }

    /// Takes a message of the member that is attached.
    pub(super) fn handle(&mut self, message: BulkMessage) -> Outcome {
        let mut outcome = Outcome::default();
        let handled = match message {
            BulkMessage::Hashes {
                file,
                first,
                values,
                ..
            } => self.handle_hashes(file, first, &values, &mut outcome),
            BulkMessage::Piece {
                file, offset, data, ..
            } => self.handle_piece(file, offset, &data, &mut outcome),
        };
        match handled {
            Ok(true) => {}
            Ok(false) => self.dropped += 1,
            Err(error) => {
                tracing::debug!(%error, "receiving files failed");
                outcome.events.push(self.fail(code_of(&error)));
            }
        }
        outcome
    }

    pub(super) fn fail(&mut self, code: ErrorCode) -> FileEvent {
        self.is_failed = true;
        self.current = None;
        self.unreported = GroupSet::default();
        let offer = self.offer();
        FileEvent::ReceiveFailed { offer, code }
    }

    fn handle_hashes(
        &mut self,
        file: u32,
        first: u32,
        values: &[u8],
        outcome: &mut Outcome,
    ) -> io::Result<bool> {
        if !self.is_wanted(file) {
            return Ok(false);
        }
        let known = &self.state.files[file as usize];
        let (root, count) = (known.root, group_count(known.size_bytes));
        let len = values.len() / HASH_BYTES;
        let end = first as usize + len;
        if known.has_hashes || end > count as usize {
            return Ok(false);
        }
        self.make_current(file, outcome)?;
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let arriving = current.arriving.get_or_insert_with(|| ArrivingValues {
            values: vec![[0; HASH_BYTES]; count as usize],
            known: GroupSet::default(),
        });
        arriving.values[first as usize..end]
            .as_flattened_mut()
            .copy_from_slice(values);
        (first..first + len as u32).for_each(|group| arriving.known.insert(group));
        if arriving.known.len() < count {
            return Ok(true);
        }
        let values = std::mem::take(&mut arriving.values);
        current.arriving = None;
        let offer = self.state.offer;
        if file_tree::root(&values) != root {
            outcome.events.push(FileEvent::Corrupt { offer, file });
            return Ok(true);
        }
        self.state
            .write_hashes(self.folder.dir(), file as usize, &values)?;
        self.state.files[file as usize].has_hashes = true;
        current.values = Some(values);
        self.is_changed = true;
        outcome.events.push(FileEvent::HashesTaken { offer, file });
        Ok(true)
    }

    fn handle_piece(
        &mut self,
        file: u32,
        offset: u64,
        data: &[u8],
        outcome: &mut Outcome,
    ) -> io::Result<bool> {
        if !self.is_wanted(file) {
            return Ok(false);
        }
        let size = self.state.files[file as usize].size_bytes;
        let group = u32::try_from(offset / group_bytes(size)).unwrap_or(u32::MAX);
        if offset >= size || self.verified[file as usize].contains(group) {
            return Ok(false);
        }
        self.make_current(file, outcome)?;
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let Some(want) = current
            .values
            .as_ref()
            .and_then(|it| it.get(group as usize))
        else {
            return Ok(false);
        };
        if !current.groups.contains_key(&group) {
            if current.groups.len() == ASSEMBLIES {
                current.groups.pop_first();
            }
            let Some(assembly) = Assembly::new(size, group) else {
                return Ok(false);
            };
            current.groups.insert(group, assembly);
        }
        let Some(assembly) = current.groups.get_mut(&group) else {
            return Ok(false);
        };
        if !assembly.insert(offset, data) {
            return Ok(false);
        }
        write_all_at(&current.out, data, offset)?;
        if !assembly.is_whole() {
            return Ok(true);
        }
        let Some(assembly) = current.groups.remove(&group) else {
            return Ok(false);
        };
        let out = &current.out;
        let value = assembly.finish(|buffer, offset| read_exact_at(out, buffer, offset))?;
        if value.as_ref() != Some(want) {
            let offer = self.state.offer;
            outcome.events.push(FileEvent::Corrupt { offer, file });
            return Ok(true);
        }
        self.is_changed = true;
        self.unreported.insert(group);
        let verified = &mut self.verified[file as usize];
        verified.insert(group);
        if verified.len() == group_count(size) {
            outcome.events.extend(self.report());
            self.current = None;
            outcome.whole = Some(file);
        }
        Ok(true)
    }

    fn is_wanted(&self, file: u32) -> bool {
        let known = self.state.files.get(file as usize);
        !self.is_failed && known.is_some_and(|known| !known.is_finished)
    }

    pub(super) fn has_report(&self) -> bool {
        !self.unreported.is_empty()
    }

    /// Groups verified since the last report.
    pub(super) fn report(&mut self) -> Option<FileEvent> {
        if self.unreported.is_empty() {
            return None;
        }
        let groups = std::mem::take(&mut self.unreported).ranges();
        Some(FileEvent::Verified {
            offer: self.offer(),
            file: self.current.as_ref()?.file,
            groups,
        })
    }

    /// Groups that are not whole will come again from their beginning.
    pub(super) fn attach(&mut self, from: Option<MemberId>) {
        self.from = from;
        if let Some(current) = &mut self.current {
            current.groups.clear();
            current.arriving = None;
        }
    }

    fn make_current(&mut self, file: u32, outcome: &mut Outcome) -> io::Result<()> {
        if self.current.as_ref().is_some_and(|it| it.file == file) {
            return Ok(());
        }
        outcome.events.extend(self.report());
        self.current = None;
        let out = self.open_part(file)?;
        let mut values = None;
        if self.state.files[file as usize].has_hashes {
            values = self.state.read_hashes(self.folder.dir(), file as usize);
            if values.is_none() {
                // They were there when the transfer began, or when they arrived.
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        self.current = Some(Current {
            file,
            out,
            values,
            arriving: None,
            groups: BTreeMap::new(),
        });
        Ok(())
    }

    /// The growing file, made when it is first needed.
    pub(super) fn open_part(&mut self, file: u32) -> io::Result<File> {
        let known = &mut self.state.files[file as usize];
        if let Some(part) = &known.part {
            return place::open_part(&self.folder.below(&part.below)?, &part.name);
        }
        let above = &known.parts[..known.parts.len().saturating_sub(1)];
        let (dir, below) = self.folder.make_below(above, &mut self.state.made)?;
        let (out, name) = place::create_part(&dir, known.name())?;
        known.part = Some(Part { below, name });
        self.is_changed = true;
        Ok(out)
    }

    /// What puts a whole file into its place.
    pub(super) fn publication(&mut self, file: u32) -> io::Result<Publication> {
        // An empty file has not begun to grow.
        drop(self.open_part(file)?);
        let known = &self.state.files[file as usize];
        let part = known.part.clone().ok_or(io::ErrorKind::NotFound)?;
        Ok(Publication {
            dir: self.folder.below(&part.below)?,
            path: part
                .below
                .iter()
                .fold(self.folder.path().to_owned(), |path, it| path.join(it)),
            part: part.name,
            name: known.name().to_owned(),
        })
    }

    /// Removes all that is not finished.
    pub(super) fn remove(mut self) {
        self.current = None;
        for file in &self.state.files {
            let Some(part) = &file.part else { continue };
            let dir = self.folder.below(&part.below);
            if let Err(error) = dir.and_then(|dir| dir.remove_file(&part.name)) {
                tracing::debug!(%error, "an unfinished file was not removed");
            }
        }
        State::remove(self.folder.dir(), self.state.offer);
        self.folder.remove_empty(&self.state.made);
    }

    /// Whether every file is in its place now.
    pub(super) fn finish_file(&mut self, file: u32) -> bool {
        if let Some(known) = self.state.files.get_mut(file as usize) {
            known.is_finished = true;
            known.part = None;
            self.is_changed = true;
        }
        self.state.files.iter().all(|file| file.is_finished)
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
