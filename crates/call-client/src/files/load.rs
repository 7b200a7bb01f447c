//! Begins to receive an offer, or finds what an earlier run left of it. Runs where blocking is
//! allowed, beside the writer.
//!
//! Why groups are hashed again before they count: see [`super::state`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use call_core::FileToReceive;
use call_core::file_tree::GroupHasher;
use call_protocol::ErrorCode;
use call_protocol::channel::file::{OfferId, group_bytes, group_count};

use super::at::{code_of, read_exact_at};
use super::group_set::GroupSet;
use super::place::{self, Folder};
use super::state::{self, State};
use super::transfer::Transfer;

/// Offers found in a folder.
const FOUND: usize = 16;
/// Names looked at in a folder.
const ENTRIES: usize = 100_000;
/// Bytes read at once.
const READ_BYTES: usize = 1024 * 1024;
/// Space left to others, so that a full disk does not stop what else runs: 16 MiB.
const SPARE_BYTES: u64 = 16 * 1024 * 1024;

/// Where files go: the given folder, or the person's downloads, which may be missing still.
pub(super) fn target(
    given: Option<PathBuf>,
    downloads: Option<&Path>,
) -> Result<PathBuf, ErrorCode> {
    if let Some(folder) = given {
        return Ok(folder);
    }
    let folder = downloads.map(Path::to_owned).or_else(downloads_folder);
    folder.ok_or(ErrorCode::FileNotFound)
}

/// The person's downloads folder, which may be missing still; `None` for who has no home.
pub fn downloads_folder() -> Option<PathBuf> {
    let home = || dirs::home_dir().map(|home| home.join("Downloads"));
    dirs::download_dir().or_else(home)
}

/// Opens the folder, takes up what is there of the offer, and checks that there is room for the rest.
/// `None`: cancelled.
pub(super) fn begin(
    offer: OfferId,
    folder: &Path,
    sender_name: String,
    files: Vec<FileToReceive>,
    cancelled: &AtomicBool,
) -> Option<Result<Transfer, ErrorCode>> {
    let opened = Folder::open(folder).map_err(|error| code_of(&error));
    let folder = match opened {
        Ok(folder) => folder,
        Err(code) => return Some(Err(code)),
    };
    let left = State::load(folder.dir(), offer).filter(|left| is_of(left, &files));
    let mut state = left.unwrap_or_else(|| State::new(offer, sender_name, files));
    let verified = verify(&folder, &mut state, cancelled)?;
    let missing = missing_bytes(&state, &verified);
    // Also shows whether the folder can be written to.
    let checked = room_for(&folder, missing).and_then(|()| {
        let saved = state.save(folder.dir());
        saved.map_err(|error| code_of(&error))
    });
    Some(checked.map(|()| Transfer::new(folder, state, verified)))
}

/// Whether these are the same contents.
fn is_of(state: &State, files: &[FileToReceive]) -> bool {
    let left = state.files.iter().map(|file| (file.size_bytes, file.root));
    left.eq(files.iter().map(|file| (file.size_bytes, file.root)))
}

fn missing_bytes(state: &State, verified: &[GroupSet]) -> u64 {
    let files = state.files.iter().zip(verified);
    let missing = files
        .filter(|(file, _)| !file.is_finished)
        .map(|(file, verified)| {
            let there = u64::from(verified.len()) * group_bytes(file.size_bytes);
            file.size_bytes.saturating_sub(there)
        });
    missing.sum()
}

fn room_for(folder: &Folder, bytes: u64) -> Result<(), ErrorCode> {
    match fs4::available_space(folder.path()) {
        Ok(available) if available < bytes.saturating_add(SPARE_BYTES) => Err(ErrorCode::DiskFull),
        Ok(_) => Ok(()),
        // Then writing will tell.
        Err(error) => {
            tracing::debug!(%error, "free space unknown");
            Ok(())
        }
    }
}

/// Hashes what the state says is there; what is not as it should be is forgotten. `None`: cancelled.
fn verify(folder: &Folder, state: &mut State, cancelled: &AtomicBool) -> Option<Vec<GroupSet>> {
    let mut all = Vec::with_capacity(state.files.len());
    let mut buffer = Vec::new();
    for file in 0..state.files.len() {
        let values = match state.files[file].has_hashes {
            true => state.read_hashes(folder.dir(), file),
            false => None,
        };
        let known = &mut state.files[file];
        let count = group_count(known.size_bytes);
        known.has_hashes = values.is_some();
        let claimed = GroupSet::from_ranges(&known.groups, count);
        let opened = known.part.as_ref().map(|part| {
            let dir = folder.below(&part.below)?;
            place::open_part(&dir, &part.name)
        });
        let out = match opened {
            Some(Ok(out)) => out,
            Some(Err(error)) => {
                tracing::debug!(%error, "an unfinished file is gone");
                known.part = None;
                all.push(GroupSet::default());
                continue;
            }
            None => {
                all.push(GroupSet::default());
                continue;
            }
        };
        // Somebody else's bytes behind the end.
        let size = known.size_bytes;
        if out.metadata().is_ok_and(|it| it.len() > size) && out.set_len(size).is_err() {
            known.part = None;
        }
        let mut verified = GroupSet::default();
        for group in claimed.iter() {
            let want = values
                .as_ref()
                .and_then(|values| values.get(group as usize));
            let got = hash_group(&out, size, group, &mut buffer, cancelled)?;
            if want.is_some() && got.ok().flatten().as_ref() == want {
                verified.insert(group);
            }
        }
        all.push(verified);
    }
    Some(all)
}

/// `None`: cancelled.
fn hash_group(
    file: &std::fs::File,
    size_bytes: u64,
    group: u32,
    buffer: &mut Vec<u8>,
    cancelled: &AtomicBool,
) -> Option<io::Result<Option<[u8; 32]>>> {
    let Some(mut hasher) = GroupHasher::new(size_bytes, group) else {
        return Some(Ok(None));
    };
    let mut at = u64::from(group) * group_bytes(size_bytes);
    while hasher.missing_bytes() > 0 {
        if cancelled.load(Ordering::Relaxed) {
            return None;
        }
        let len = hasher.missing_bytes().min(READ_BYTES as u64);
        buffer.resize(len as usize, 0);
        if let Err(error) = read_exact_at(file, buffer, at) {
            return Some(Err(error));
        }
        hasher.update(buffer);
        at += len;
    }
    Some(Ok(hasher.finish()))
}

/// Takes up all unfinished offers of a folder, except those `is_known` says are being received.
/// `found` is told one after the other, as they are verified.
pub(super) fn find(
    folder: &Path,
    cancelled: &AtomicBool,
    is_known: impl Fn(OfferId) -> bool,
    mut found: impl FnMut(Transfer),
) {
    let Ok(opened) = Folder::open(folder) else {
        return;
    };
    let Ok(entries) = opened.dir().entries() else {
        return;
    };
    let names = entries.take(ENTRIES).filter_map(Result::ok);
    let offers = names.filter_map(|entry| state::offer_of(entry.file_name().to_str()?));
    let states = offers
        .filter(|offer| !is_known(*offer))
        .filter_map(|offer| State::load(opened.dir(), offer));
    for mut state in states.take(FOUND) {
        let Ok(folder) = Folder::open(folder) else {
            return;
        };
        let Some(verified) = verify(&folder, &mut state, cancelled) else {
            return;
        };
        found(Transfer::new(folder, state, verified));
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
