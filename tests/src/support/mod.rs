//! Ground under the end-to-end tests: displays, windows, networks, processes, recordings.

pub mod chromium;
pub mod display;
pub mod engine;
pub mod headless;
pub mod namespace;
pub mod recording;
pub mod sound_server;
pub mod window;

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test that runs media in real time: such tests want the machine for themselves.
/// (`cargo nextest` sees to it by its configuration; this is for plain `cargo test`.)
pub fn real_time() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a scenario that has the machine for itself, on the default runtime, as the app and the
/// headless client use it.
///
/// # Panics
/// When no runtime starts.
pub fn in_real_time(scenario: impl Future<Output = ()>) {
    let _machine = real_time();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(scenario);
}
