//! Ground under the end-to-end tests: displays, windows, networks, processes, recordings.

pub mod chromium;
pub mod display;
pub mod drag;
pub mod engine;
pub mod headless;
#[cfg(target_os = "linux")]
pub mod link;
pub mod namespace;
pub mod network;
#[cfg(target_os = "linux")]
pub mod paint;
pub mod recording;
pub mod sound_server;
#[cfg(target_os = "linux")]
pub mod transfer;
pub mod usage;
#[cfg(target_os = "linux")]
pub mod wayland;
pub mod window;

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
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

/// CPU seconds a process has used so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|t| t.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    // utime and stime, in ticks of 10 ms.
    (ticks(11) + ticks(12)) / 100.0
}

/// The body of a page that a server on loopback serves over HTTP/1.
///
/// # Panics
/// When it does not.
pub fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .expect("a request can be sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer is text");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}
