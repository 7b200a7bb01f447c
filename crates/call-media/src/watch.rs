//! Notices that cameras, microphones and speakers come, go and change.
//!
//! One thread looks at a cheap *signature* of the machine's devices every [`PERIOD`] and says two
//! things about a change: that something **stirred**, at once, so that whoever waits for a device
//! tries again; and the new **lists**, once the signature stood still for a period (a device that
//! is plugged in appears in steps: nodes first, permissions later), at the latest after
//! [`SETTLED_AFTER`].
//!
//! On Linux the signature is which device nodes there are, whose they are, and the age of ALSA's
//! configuration files: some file system calls, which wake no device. The nodes' times do not count:
//! playing sound writes to a mapped page and so changes them. Elsewhere it is the lists themselves, taken
//! every three seconds.
//!
//! Deliberately not here: what a change means for the chosen devices (the engine decides).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::audio::{AudioDeviceInfo, list_microphones, list_speakers};
use crate::video::camera::list_cameras;

/// Time between two looks. Shorter finds a device sooner and costs as much more; with 500 ms a
/// picture is back about a second after its camera, most of it the camera's own start. Where
/// looking means listing, three seconds: a list costs milliseconds instead of microseconds.
pub const PERIOD: Duration = if cfg!(target_os = "linux") {
    Duration::from_millis(500)
} else {
    Duration::from_secs(3)
};
/// Lists are told after this long even if the devices never come to rest.
pub const SETTLED_AFTER: Duration = Duration::from_secs(4);

/// A device as the lists tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceEntry {
    /// What it is opened by.
    pub id: String,
    /// What to show.
    pub name: String,
    /// For ids that are given anew when a device is plugged in: what stays the same. `None` where
    /// the id itself does.
    pub identity: Option<String>,
    /// Whether it is the one opened when no id is given. Never set for cameras: a running camera
    /// is not given up for one that is listed before it.
    pub is_default: bool,
}

/// All devices of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceLists {
    /// Cameras, in the system's order.
    pub cameras: Vec<DeviceEntry>,
    /// Microphones, default first.
    pub microphones: Vec<DeviceEntry>,
    /// Speakers, default first.
    pub speakers: Vec<DeviceEntry>,
    /// Differs when the default sound device may have become another one under the same id.
    pub sound_configuration: u64,
}

/// What a watcher tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChange {
    /// Something came, went or changed; the lists follow.
    Stirred,
    /// What there is. Also told once at the beginning.
    Lists(DeviceLists),
}

/// The machine's cameras as list entries. Blocks for tens of milliseconds.
pub fn camera_entries() -> Vec<DeviceEntry> {
    let entry = |camera: crate::video::camera::CameraInfo| DeviceEntry {
        id: camera.id,
        name: camera.name,
        identity: camera.identity,
        is_default: false,
    };
    list_cameras().into_iter().map(entry).collect()
}

/// The machine's microphones as list entries. Blocks for up to some 100 ms.
pub fn microphone_entries() -> Vec<DeviceEntry> {
    list_microphones().into_iter().map(sound_entry).collect()
}

/// The machine's speakers as list entries. Blocks for up to some 100 ms.
pub fn speaker_entries() -> Vec<DeviceEntry> {
    list_speakers().into_iter().map(sound_entry).collect()
}

fn sound_entry(device: AudioDeviceInfo) -> DeviceEntry {
    DeviceEntry {
        id: device.id,
        name: device.name,
        identity: None,
        is_default: device.is_default,
    }
}

fn list() -> DeviceLists {
    DeviceLists {
        cameras: camera_entries(),
        microphones: microphone_entries(),
        speakers: speaker_entries(),
        sound_configuration: sound_configuration(),
    }
}

/// Looks at a machine's devices; replaced by a scripted one in tests.
trait Probe: Send {
    /// Differs from the last answer when any device came, went or changed.
    fn signature(&mut self) -> u64;
    /// What there is.
    fn lists(&mut self) -> DeviceLists;
}

/// A running watcher. Dropping it ends it; no callback begins after that.
pub struct DeviceWatcher {
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    /// Held while a callback runs.
    is_stopping: Mutex<bool>,
    changed: Condvar,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_stopping
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl DeviceWatcher {
    /// Starts watching. `on_change` is called from the watcher's thread, must not drop the watcher,
    /// and keeps it from looking on while it runs.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(on_change: impl FnMut(DeviceChange) + Send + 'static) -> std::io::Result<Self> {
        Self::start_with(SystemProbe, PERIOD, on_change)
    }

    fn start_with(
        mut probe: impl Probe + 'static,
        period: Duration,
        mut on_change: impl FnMut(DeviceChange) + Send + 'static,
    ) -> std::io::Result<Self> {
        let control = Arc::new(Control::default());
        let thread_control = Arc::clone(&control);
        let work = move || {
            let mut settling = Settling::default();
            loop {
                // Drivers and their libraries panic; then this look told nothing.
                let look = AssertUnwindSafe(|| {
                    let step = settling.handle_signature(Instant::now(), probe.signature());
                    let stirred = step.stirred.then_some(DeviceChange::Stirred);
                    (stirred, step.is_settled)
                });
                let (stirred, is_settled) = catch_unwind(look).unwrap_or_default();
                if !tell(&thread_control, stirred, &mut on_change) {
                    return;
                }
                if is_settled {
                    let lists = catch_unwind(AssertUnwindSafe(|| probe.lists()));
                    let lists = lists.ok().map(DeviceChange::Lists);
                    if !tell(&thread_control, lists, &mut on_change) {
                        return;
                    }
                }
                let wait = thread_control.changed.wait_timeout_while(
                    thread_control.lock(),
                    period,
                    |is_stopping| !*is_stopping,
                );
                if *wait.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("device-watch".to_owned())
            .spawn(work)?;
        Ok(Self { control })
    }
}

/// `false` when the watcher is gone.
fn tell(
    control: &Control,
    change: Option<DeviceChange>,
    on_change: &mut impl FnMut(DeviceChange),
) -> bool {
    let is_stopping = control.lock();
    if *is_stopping {
        return false;
    }
    if let Some(change) = change {
        on_change(change);
    }
    true
}

impl Drop for DeviceWatcher {
    fn drop(&mut self) {
        *self.control.lock() = true;
        self.control.changed.notify_all();
    }
}

/// When lists are worth taking.
#[derive(Debug, Default)]
struct Settling {
    signature: Option<u64>,
    /// Since when the devices have been moving.
    moving_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    stirred: bool,
    is_settled: bool,
}

impl Settling {
    fn handle_signature(&mut self, now: Instant, signature: u64) -> Step {
        let before = self.signature.replace(signature);
        let Some(before) = before else {
            return Step {
                stirred: false,
                is_settled: true,
            };
        };
        let stirred = before != signature;
        if stirred {
            self.moving_since.get_or_insert(now);
        }
        let is_settled = self
            .moving_since
            .is_some_and(|since| !stirred || now.saturating_duration_since(since) >= SETTLED_AFTER);
        if is_settled {
            self.moving_since = None;
        }
        Step {
            stirred,
            is_settled,
        }
    }
}

#[cfg(target_os = "linux")]
use nodes::{SystemProbe, sound_configuration};

#[cfg(target_os = "linux")]
mod nodes {
    //! Device nodes and configuration files.

    use std::fs::metadata;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use super::{DefaultHasher, DeviceLists, Hash, Hasher, Probe, list};

    #[derive(Default)]
    pub(super) struct SystemProbe;

    impl Probe for SystemProbe {
        fn signature(&mut self) -> u64 {
            let mut hasher = DefaultHasher::new();
            hash_nodes(Path::new("/dev"), "video", &mut hasher);
            hash_nodes(Path::new("/dev/snd"), "", &mut hasher);
            sound_configuration().hash(&mut hasher);
            hasher.finish()
        }

        fn lists(&mut self) -> DeviceLists {
            list()
        }
    }

    /// Names, identities and permissions of a directory's nodes, independent of their order.
    pub(super) fn hash_nodes(directory: &Path, prefix: &str, hasher: &mut DefaultHasher) {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut nodes: Vec<_> = entries
            .filter(|entry| {
                entry
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(prefix.as_bytes())
            })
            .map(|entry| (entry.file_name(), node_stamp(&entry.path())))
            .collect();
        nodes.sort_unstable();
        nodes.hash(hasher);
    }

    /// Changes when a node is made anew, or given to somebody else.
    fn node_stamp(path: &Path) -> Option<(u64, u32, u32, u32)> {
        let node = metadata(path).ok()?;
        Some((node.ino(), node.mode(), node.uid(), node.gid()))
    }

    /// Changes when a file is replaced or rewritten.
    fn file_stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
        let file = metadata(path).ok()?;
        Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    }

    /// The files ALSA reads its default device from.
    pub(super) fn sound_configuration() -> u64 {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".asoundrc"));
        let files = [PathBuf::from("/etc/asound.conf")].into_iter().chain(home);
        let mut hasher = DefaultHasher::new();
        for file in files {
            file_stamp(&file).hash(&mut hasher);
        }
        hasher.finish()
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Default)]
struct SystemProbe {
    lists: DeviceLists,
}

#[cfg(not(target_os = "linux"))]
impl Probe for SystemProbe {
    fn signature(&mut self) -> u64 {
        self.lists = list();
        let mut hasher = DefaultHasher::new();
        self.lists.hash(&mut hasher);
        hasher.finish()
    }

    fn lists(&mut self) -> DeviceLists {
        self.lists.clone()
    }
}

/// Elsewhere the default device is told by its own id.
#[cfg(not(target_os = "linux"))]
fn sound_configuration() -> u64 {
    0
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
