//! What is kept of an unfinished offer beside its files, so that a later run can go on.
//!
//! `.visavis-OFFER.state` is JSON: the offer, its files and which of their groups were verified. It
//! is replaced as a whole. `.visavis-OFFER.hashes` holds chaining values, each file's at its place.
//!
//! Neither is believed. Chaining values must make the file's hash, and groups are hashed again before
//! they count ([`super::load`]): reading costs a second per gigabyte, once, while syncing contents
//! before each claim would cost a stall every few seconds of every transfer, and would still not
//! notice what somebody else wrote into the file. A torn or lost state costs the transfer's bytes,
//! never their truth.
//!
//! Anybody may have put such files into the folder (a download can have any name), so whatever they
//! say stays below the folder, and removing by them takes growing files and empty folders only.

use std::io::{self, Read, Write};

use call_core::FileToReceive;
use call_core::file_tree::{self, GroupValue};
use call_protocol::channel::bulk::HASH_BYTES;
use call_protocol::channel::file::{Digest, GroupRange, OfferId, group_count};
use call_protocol::limits;
use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions};
use serde::{Deserialize, Serialize};

use super::at::{read_exact_at, write_all_at};
use super::place::{Below, PART_SUFFIX};

/// Of this form only.
const VERSION: u32 = 1;
/// Largest state read: 500 files with long names and scattered groups take 2 MiB.
const STATE_BYTES: u64 = 8 * 1024 * 1024;
/// Longest sender's name kept, in bytes.
const SENDER_BYTES: usize = 4 * limits::NAME_CHARS;
/// Folders in a path, and bytes of one name.
const DEPTH: usize = limits::FILE_PATH_CHARS;
const NAME_BYTES: usize = 1_024;

/// An offer's state on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    pub(super) offer: OfferId,
    pub(super) sender_name: String,
    pub(super) files: Vec<FileState>,
    /// Folders that were made for it, outermost first.
    pub(super) made: Vec<Below>,
}

/// One of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileState {
    /// As it shall be named.
    pub(super) parts: Vec<String>,
    pub(super) size_bytes: u64,
    pub(super) root: Digest,
    /// Where it grows, once it does.
    pub(super) part: Option<Part>,
    pub(super) has_hashes: bool,
    pub(super) groups: Vec<GroupRange>,
    pub(super) is_finished: bool,
}

/// A growing file's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) below: Below,
    pub(super) name: String,
}

impl State {
    pub(super) fn new(offer: OfferId, sender_name: String, files: Vec<FileToReceive>) -> Self {
        let file = |file: FileToReceive| FileState {
            parts: file.parts,
            size_bytes: file.size_bytes,
            root: file.root,
            part: None,
            // The only group's value is the file's hash.
            has_hashes: group_count(file.size_bytes) <= 1,
            groups: Vec::new(),
            is_finished: false,
        };
        Self {
            version: VERSION,
            offer,
            sender_name,
            files: files.into_iter().map(file).collect(),
            made: Vec::new(),
        }
    }

    /// The files as they were asked for.
    pub(super) fn to_receive(&self) -> Vec<FileToReceive> {
        let file = |file: &FileState| FileToReceive {
            parts: file.parts.clone(),
            size_bytes: file.size_bytes,
            root: file.root,
        };
        self.files.iter().map(file).collect()
    }

    /// Writes the state, then puts it in place of the one before.
    pub(super) fn save(&self, dir: &Dir) -> io::Result<()> {
        let (name, new) = (
            state_name(self.offer),
            format!("{}.new", state_name(self.offer)),
        );
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options.follow(FollowSymlinks::No);
        let mut file = dir.open_with(&new, &options)?.into_std();
        file.write_all(&serde_json::to_vec(self)?)?;
        // Otherwise a power cut may leave the name on an empty file.
        file.sync_data()?;
        drop(file);
        dir.rename(&new, dir, &name)
    }

    /// Reads an offer's state. `None`: there is none, or none that can be used.
    pub(super) fn load(dir: &Dir, offer: OfferId) -> Option<Self> {
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No);
        let name = state_name(offer);
        // A pipe of that name would block.
        if !dir.symlink_metadata(&name).ok()?.is_file() {
            return None;
        }
        let file = dir.open_with(&name, &options).ok()?.into_std();
        let mut text = Vec::new();
        file.take(STATE_BYTES).read_to_end(&mut text).ok()?;
        let state: Self = serde_json::from_slice(&text).ok()?;
        (state.offer == offer && state.is_sound()).then_some(state)
    }

    /// Whether everything is within its bounds and stays below the folder.
    fn is_sound(&self) -> bool {
        let total = self
            .files
            .iter()
            .try_fold(0_u64, |sum, file| sum.checked_add(file.size_bytes));
        self.version == VERSION
            && self.sender_name.len() <= SENDER_BYTES
            && (1..=limits::OFFER_FILES).contains(&self.files.len())
            && total.is_some_and(|total| total <= limits::FILE_BYTES)
            && self.files.iter().all(FileState::is_sound)
            && self.made.iter().all(|below| is_path(below))
    }

    /// Removes it and the chaining values.
    pub(super) fn remove(dir: &Dir, offer: OfferId) {
        let state = state_name(offer);
        for name in [format!("{state}.new"), state, hashes_name(offer)] {
            // What is not there, or cannot be removed, is only clutter.
            let _ = dir.remove_file(name);
        }
    }

    /// Keeps a file's chaining values.
    pub(super) fn write_hashes(
        &self,
        dir: &Dir,
        file: usize,
        values: &[GroupValue],
    ) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).follow(FollowSymlinks::No);
        let out = dir.open_with(hashes_name(self.offer), &options)?.into_std();
        write_all_at(&out, values.as_flattened(), self.hashes_offset(file))
    }

    /// A file's chaining values, if they are there and right.
    pub(super) fn read_hashes(&self, dir: &Dir, file: usize) -> Option<Vec<GroupValue>> {
        let known = self.files.get(file)?;
        let count = group_count(known.size_bytes);
        if count <= 1 {
            return Some(vec![known.root.0; count as usize]);
        }
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No);
        let name = hashes_name(self.offer);
        if !dir.symlink_metadata(&name).ok()?.is_file() {
            return None;
        }
        let input = dir.open_with(name, &options).ok()?.into_std();
        let mut values = vec![[0; HASH_BYTES]; count as usize];
        read_exact_at(&input, values.as_flattened_mut(), self.hashes_offset(file)).ok()?;
        (file_tree::root(&values) == known.root).then_some(values)
    }

    fn hashes_offset(&self, file: usize) -> u64 {
        let before = &self.files[..file.min(self.files.len())];
        let groups = before
            .iter()
            .map(|file| u64::from(group_count(file.size_bytes)));
        groups.sum::<u64>() * HASH_BYTES as u64
    }
}

impl FileState {
    fn is_sound(&self) -> bool {
        let part = self.part.as_ref();
        !self.parts.is_empty()
            && is_path(&self.parts)
            && part.is_none_or(|part| {
                is_path(&part.below) && is_name(&part.name) && part.name.ends_with(PART_SUFFIX)
            })
    }

    /// Its own name, without folders.
    pub(super) fn name(&self) -> &str {
        // Never empty: neither an offer's nor a sound state's.
        self.parts.last().map_or("file", String::as_str)
    }
}

fn is_path(parts: &[String]) -> bool {
    parts.len() <= DEPTH && parts.iter().all(|part| is_name(part))
}

/// Whether it names something in a folder and nothing else, on any system.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(['/', '\\', ':', '\0'])
}

fn state_name(offer: OfferId) -> String {
    format!(".visavis-{offer}.state")
}

fn hashes_name(offer: OfferId) -> String {
    format!(".visavis-{offer}.hashes")
}

/// The offer a state of this name is of.
pub(super) fn offer_of(name: &str) -> Option<OfferId> {
    let hex = name.strip_prefix(".visavis-")?.strip_suffix(".state")?;
    OfferId::try_from(hex.to_owned()).ok()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
