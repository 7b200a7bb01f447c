//! What a process and all it started use of the machine: processor time and memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::cpu_seconds;

/// How often memory is looked at: what is there for shorter is not seen.
const SAMPLE: Duration = Duration::from_millis(100);

/// A process and its descendants, as of now.
pub fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some((id, parent)) = id.and_then(|id| Some((id, parent_of(id)?))) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(id) = found.get(at) {
        found.extend(children.get(id).into_iter().flatten().copied());
        at += 1;
    }
    found
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// CPU seconds a process and those it started have used so far, but for those that ended.
pub fn family_cpu_seconds(pid: u32) -> f64 {
    family(pid).into_iter().map(cpu_seconds).sum()
}

/// Bytes a process and those it started have in memory, what they share counted in shares.
pub fn family_memory_bytes(pid: u32) -> u64 {
    family(pid).into_iter().map(memory_bytes).sum()
}

fn memory_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// Watches the memory of a family from its start to [`PeakMemory::above_start_bytes`].
pub struct PeakMemory {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl PeakMemory {
    /// Starts to watch; what is in use now is the floor.
    pub fn watch(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let floor = family_memory_bytes(pid);
            let mut peak = floor;
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(SAMPLE);
                peak = peak.max(family_memory_bytes(pid));
            }
            peak - floor
        });
        Self { stop, thread }
    }

    /// How far the memory went above what it was at the start.
    ///
    /// # Panics
    /// When the watching thread panicked.
    pub fn above_start_bytes(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("watching does not panic")
    }
}
