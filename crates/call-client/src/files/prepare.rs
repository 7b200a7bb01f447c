//! Finds what was dropped and hashes it. Runs where blocking is allowed.
//!
//! Deliberately not here: keeping what was found ([`super::source`]).

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use call_core::file_tree::{self, GroupHasher, GroupValue};
use call_protocol::channel::file::{Digest, FileEntry, group_count};
use call_protocol::{ErrorCode, limits};
use walkdir::WalkDir;

use super::at::code_of;

/// Bytes read at once. Above 256 KiB nothing gets faster; below 64 KiB system calls show.
const READ_BYTES: usize = 1024 * 1024;
/// Between two reports of progress: often enough for a bar that moves.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// Folders and files looked at, so that dropping a whole disk of empty folders ends.
const ENTRIES: usize = 100_000;

/// A file that can be offered.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    /// Relative, with `/`.
    pub(super) name: String,
    pub(super) size_bytes: u64,
    pub(super) modified: Option<SystemTime>,
    pub(super) values: Vec<GroupValue>,
    pub(super) root: Digest,
}

impl SourceFile {
    pub(super) fn entry(&self) -> FileEntry {
        FileEntry {
            path: self.name.clone(),
            size_bytes: self.size_bytes,
            root: self.root,
        }
    }

    /// Whether the file is still as it was hashed, as far as size and time tell.
    pub(super) fn is_unchanged(&self, file: &File) -> bool {
        file.metadata()
            .is_ok_and(|it| it.len() == self.size_bytes && it.modified().ok() == self.modified)
    }
}

/// Finds and hashes all files below `paths`. `report` is told bytes hashed and bytes found. `None`:
/// cancelled.
pub(super) fn prepare(
    paths: &[PathBuf],
    cancelled: &AtomicBool,
    mut report: impl FnMut(u64, u64),
) -> Option<Result<Vec<SourceFile>, ErrorCode>> {
    let found = match find(paths, cancelled)? {
        Ok(found) => found,
        Err(code) => return Some(Err(code)),
    };
    let total_bytes = found.iter().map(|file| file.size_bytes).sum();
    let mut done_bytes = 0;
    let mut reported_at = Instant::now();
    report(0, total_bytes);
    let mut files = Vec::with_capacity(found.len());
    let mut buffer = vec![0; READ_BYTES];
    for found in found {
        let hashed = hash(found, &mut buffer, |bytes| {
            done_bytes += bytes;
            if reported_at.elapsed() >= REPORT_EVERY {
                reported_at = Instant::now();
                report(done_bytes, total_bytes);
            }
            !cancelled.load(Ordering::Relaxed)
        });
        match hashed? {
            Ok(file) => files.push(file),
            Err(code) => return Some(Err(code)),
        }
    }
    Some(Ok(files))
}

/// A file that was found, before it is read.
struct Found {
    path: PathBuf,
    name: String,
    size_bytes: u64,
}

fn find(paths: &[PathBuf], cancelled: &AtomicBool) -> Option<Result<Vec<Found>, ErrorCode>> {
    let mut found = Vec::new();
    let mut total_bytes = 0_u64;
    let mut entries = 0;
    for path in paths {
        let walk = WalkDir::new(path)
            .follow_links(false)
            .follow_root_links(false)
            .sort_by_file_name();
        for entry in walk {
            if cancelled.load(Ordering::Relaxed) {
                return None;
            }
            let looked = entry.and_then(|entry| Ok((entry.metadata()?, entry)));
            let (metadata, entry) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    let code = error.io_error().map_or(ErrorCode::FileFailed, code_of);
                    return Some(Err(code));
                }
            };
            entries += 1;
            if entries > ENTRIES {
                return Some(Err(ErrorCode::TooManyFiles));
            }
            if !metadata.is_file() {
                continue;
            }
            if found.len() == limits::OFFER_FILES {
                return Some(Err(ErrorCode::TooManyFiles));
            }
            total_bytes = total_bytes.saturating_add(metadata.len());
            if total_bytes > limits::FILE_BYTES {
                return Some(Err(ErrorCode::FileTooLarge));
            }
            found.push(Found {
                name: relative_name(path, entry.path()),
                path: entry.into_path(),
                size_bytes: metadata.len(),
            });
        }
    }
    if found.is_empty() {
        return Some(Err(ErrorCode::FileNotFound));
    }
    Some(Ok(found))
}

/// The path from what was dropped on, the dropped folder's own name included. Where it is too long,
/// outer folders are left out.
fn relative_name(dropped: &Path, path: &Path) -> String {
    let below = path.strip_prefix(dropped).unwrap_or(Path::new(""));
    let own = dropped
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let below = below
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    let mut parts: VecDeque<String> = own.into_iter().chain(below).collect();
    let chars = |parts: &VecDeque<String>| {
        let names: usize = parts.iter().map(|part| part.chars().count()).sum();
        names + parts.len().saturating_sub(1)
    };
    while parts.len() > 1 && chars(&parts) > limits::FILE_PATH_CHARS {
        parts.pop_front();
    }
    let name = parts.make_contiguous().join("/");
    name.chars().take(limits::FILE_PATH_CHARS).collect()
}

/// `go_on` is told of bytes as they are hashed, and says whether to.
fn hash(
    found: Found,
    buffer: &mut [u8],
    mut go_on: impl FnMut(u64) -> bool,
) -> Option<Result<SourceFile, ErrorCode>> {
    let Found {
        path,
        name,
        size_bytes,
    } = found;
    let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.modified().ok(), file)));
    let (modified, mut file) = match opened {
        Ok(opened) => opened,
        Err(error) => return Some(Err(code_of(&error))),
    };
    let count = group_count(size_bytes);
    let mut values = Vec::with_capacity(count as usize);
    for group in 0..count {
        let mut hasher = GroupHasher::new(size_bytes, group)?;
        while hasher.missing_bytes() > 0 {
            let wanted = usize::try_from(hasher.missing_bytes()).unwrap_or(usize::MAX);
            let wanted = wanted.min(buffer.len());
            match file.read(&mut buffer[..wanted]) {
                // Shorter than it was a moment ago.
                Ok(0) => return Some(Err(ErrorCode::FileFailed)),
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    if !go_on(read as u64) {
                        return None;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(code_of(&error))),
            }
        }
        values.extend(hasher.finish());
    }
    let source = SourceFile {
        root: file_tree::root(&values),
        path,
        name,
        size_bytes,
        modified,
        values,
    };
    if source.is_unchanged(&file) {
        Some(Ok(source))
    } else {
        Some(Err(ErrorCode::FileFailed))
    }
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
