//! Where received files lie: below one folder, never through a link, never over anything.
//!
//! A file grows as `NAME.visavis-part` beside its place and takes its name when it is whole. Names
//! that are taken get a number: `NAME (2).ext`. The same goes for folders whose name is taken by
//! something else than a folder.
//!
//! Invariant: no path leaves the folder and no symbolic link is followed, whatever stands there and
//! whatever appears meanwhile: every component is opened relative to the one before (cap-std).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

/// Behind the name of a file that is not whole yet.
pub(super) const PART_SUFFIX: &str = ".visavis-part";
/// Longest name in bytes on common systems.
const NAME_BYTES: usize = 255;
/// Numbers tried before giving up: nobody has that many files of one name.
const CANDIDATES: u32 = 10_000;

/// The folder that was chosen.
#[derive(Debug)]
pub(super) struct Folder {
    dir: Dir,
    path: PathBuf,
}

/// A folder's place below it: names as they are there.
pub(super) type Below = Vec<String>;

impl Folder {
    /// The one place where a path is followed as it is: the person chose it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
        Ok(Self { dir, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// A folder below that is there.
    pub(super) fn below(&self, below: &[String]) -> io::Result<Dir> {
        below.iter().try_fold(self.dir.try_clone()?, |dir, name| {
            dir.open_dir_nofollow(name)
        })
    }

    /// A folder below, made where it is missing; tells its place, and adds what was made to `made`.
    pub(super) fn make_below(
        &self,
        wanted: &[String],
        made: &mut Vec<Below>,
    ) -> io::Result<(Dir, Below)> {
        let mut dir = self.dir.try_clone()?;
        let mut below = Below::new();
        for name in wanted {
            let (next, name, is_new) = enter(&dir, name)?;
            below.push(name);
            dir = next;
            if is_new {
                made.push(below.clone());
            }
        }
        Ok((dir, below))
    }

    /// Removes those of these folders that are empty, innermost first.
    pub(super) fn remove_empty(&self, made: &[Below]) {
        for below in made.iter().rev() {
            let Some((name, above)) = below.split_last() else {
                continue;
            };
            // One that is not empty, or gone, stays as it is.
            let _ = self.below(above).and_then(|dir| dir.remove_dir(name));
        }
    }
}

fn enter(dir: &Dir, name: &str) -> io::Result<(Dir, String, bool)> {
    for candidate in candidates(name, "") {
        let is_new = match dir.create_dir(&candidate) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        match dir.open_dir_nofollow(&candidate) {
            Ok(next) => return Ok((next, candidate, is_new)),
            // A folder without permission is not evaded.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // A file or a link.
            Err(_) => {}
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Makes the growing file of `name`; tells its name.
pub(super) fn create_part(dir: &Dir, name: &str) -> io::Result<(File, String)> {
    for candidate in candidates(name, PART_SUFFIX) {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.follow(FollowSymlinks::No);
        match dir.open_with(&candidate, &options) {
            Ok(file) => return Ok((file.into_std(), candidate)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Opens a growing file again.
pub(super) fn open_part(dir: &Dir, part: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).follow(FollowSymlinks::No);
    let file = dir.open_with(part, &options)?.into_std();
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Gives a whole file its name, or the next free one, and sees to it that it outlives a power cut.
/// Tells the name.
pub(super) fn publish(dir: &Dir, part: &str, name: &str) -> io::Result<String> {
    open_part(dir, part)?.sync_all()?;
    for candidate in candidates(name, "") {
        match link(dir, part, &candidate) {
            Ok(()) => {
                sync_dir(dir);
                return Ok(candidate);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Moves `from` to `to` unless that exists.
fn link(dir: &Dir, from: &str, to: &str) -> io::Result<()> {
    match dir.hard_link(from, dir, to) {
        Ok(()) => dir.remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // FAT and some network file systems have no hard links: the name is taken first, by an empty
        // file of ours, which is then replaced.
        Err(_) => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            drop(dir.open_with(to, &options)?);
            dir.rename(from, dir, to).inspect_err(|_| {
                // Ours and empty; if it stays, it harms nobody.
                let _ = dir.remove_file(to);
            })
        }
    }
}

/// Not every system and file system can; the file itself is safe already.
pub(super) fn sync_dir(dir: &Dir) {
    let synced = dir.open(".").and_then(|dir| dir.into_std().sync_all());
    if let Err(error) = synced {
        tracing::debug!(%error, "a folder was not synced");
    }
}

/// `name`, then `name (2)`, … with the number before the extension and `suffix` behind; cut to what
/// systems take.
fn candidates(name: &str, suffix: &str) -> impl Iterator<Item = String> {
    // A leading dot begins no extension, and a long one is none.
    let at = name
        .rfind('.')
        .filter(|at| *at > 0 && name.len() - at <= 16);
    let (stem, extension) = name.split_at(at.unwrap_or(name.len()));
    (1..=CANDIDATES).map(move |number| {
        let number = match number {
            1 => String::new(),
            number => format!(" ({number})"),
        };
        let room = NAME_BYTES.saturating_sub(number.len() + extension.len() + suffix.len());
        let stem = &stem[..stem.floor_char_boundary(room)];
        format!("{stem}{number}{extension}{suffix}")
    })
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
