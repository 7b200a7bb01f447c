//! Small files of the profile: written whole, so that a crash leaves either the old or the new one, and
//! in the background, where only the newest state is ever written.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Puts `bytes` in the place of a file, readable by its owner only. Blocks on the disk.
///
/// # Errors
/// The disk's.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("json.{}.new", std::process::id()));
    // One that a crash left might be readable by others.
    if let Err(error) = fs::remove_file(&draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(&draft)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&draft, path)
}

/// What can be written to a profile. Blocks on the disk.
pub(crate) type Write<T> = fn(&T, &Path) -> io::Result<()>;

/// Writes states in the background; only the newest are ever written.
#[derive(Debug)]
pub(crate) struct Saver<T> {
    profile: PathBuf,
    write: Write<T>,
    newest: Arc<Mutex<Option<T>>>,
}

impl<T: Send + 'static> Saver<T> {
    pub(crate) fn new(profile: PathBuf, write: Write<T>) -> Self {
        Self {
            profile,
            write,
            newest: Arc::default(),
        }
    }

    /// Takes a state and returns the work of writing it, which blocks on the disk.
    pub(crate) fn save(&self, state: T) -> impl FnOnce() + Send + use<T> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        let (profile, newest) = (self.profile.clone(), Arc::clone(&self.newest));
        let write = self.write;
        move || write_newest(&profile, write, &newest)
    }

    /// Writes what is not written yet. Blocks on the disk.
    pub(crate) fn finish(self) {
        write_newest(&self.profile, self.write, &self.newest);
    }
}

fn write_newest<T>(profile: &Path, write: Write<T>, newest: &Mutex<Option<T>>) {
    // The lock is held while writing: two writers would race for the same file.
    let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(state) = newest.take()
        && let Err(error) = write(&state, profile)
    {
        tracing::warn!(%error, "a file of the profile was not saved");
    }
}
