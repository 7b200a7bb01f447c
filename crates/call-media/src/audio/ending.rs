//! A thread that uses a device, and its end, which is waited for only so long.
//!
//! Closing a device can hang inside its driver. Leaving a call must not: a thread that does not end
//! in time is left behind and ends when the driver lets go of it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for a device thread to end. Closing takes some 100 ms, with a slow sound server a
/// few hundred; longer only delays leaving a call whose driver hangs.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A running device thread.
#[derive(Debug)]
pub(crate) struct DeviceThread {
    thread: JoinHandle<()>,
    /// Closed by the thread when it is done.
    running: Receiver<()>,
}

impl DeviceThread {
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let (is_running, running) = sync_channel(0);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _is_running = is_running;
                work();
            })?;
        Ok(Self { thread, running })
    }

    /// Waits for the end, at most `limit`.
    pub(crate) fn join(self, limit: Duration) {
        if self.running.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            tracing::debug!("a sound thread is stuck in its driver and left behind");
        } else if self.thread.join().is_err() {
            tracing::error!("a sound thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_hangs_is_left_behind_and_others_are_joined() {
        let (release, released) = channel::<()>();
        let hanging = DeviceThread::spawn("hangs", move || {
            let _ = released.recv();
        })
        .unwrap();
        hanging.join(Duration::from_millis(20));
        drop(release);
        let far = Duration::from_secs(60);
        let begun = Instant::now();
        let (done, is_done) = channel();
        let work = move || {
            let _ = done.send(());
        };
        DeviceThread::spawn("ends", work).unwrap().join(far);
        assert_eq!(is_done.try_recv(), Ok(()));
        let work = || panic!("a driver's bug");
        DeviceThread::spawn("panics", work).unwrap().join(far);
        assert!(begun.elapsed() < far);
    }
}
