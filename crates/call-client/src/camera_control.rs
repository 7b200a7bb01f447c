//! Opens and closes the camera, on a thread of its own.
//!
//! That takes up to half a second, so only the newest wish counts. A state told by an earlier
//! opening is void.
//!
//! Deliberately not here: keeping an open camera alive (call-media's capture does).

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use call_media::frame::{I420Frame, LatestSlot, Taken};
use call_media::video::capture::{CaptureOptions, CaptureState, CaptureThread, RetryHandle};
use call_media::video::source_config::VideoSourceConfig;
use call_protocol::ErrorCode;
use call_protocol::ui::DeviceState;
use tokio::sync::watch;

use crate::devices::DeviceStates;

/// See the module's text.
pub(crate) struct CameraControl {
    wishes: LatestSlot<Option<VideoSourceConfig>>,
    /// Of the running capture.
    retry: Arc<Mutex<Option<RetryHandle>>>,
    thread: Option<JoinHandle<()>>,
}

impl CameraControl {
    pub(crate) fn start(
        states: watch::Sender<DeviceStates>,
        seed: u64,
        on_frame: impl FnMut(I420Frame) + Send + 'static,
    ) -> Self {
        let wishes: LatestSlot<Option<VideoSourceConfig>> = LatestSlot::new();
        let inbox = wishes.clone();
        let retry: Arc<Mutex<Option<RetryHandle>>> = Arc::default();
        let for_retry = Arc::clone(&retry);
        // One camera runs at a time, and its successor takes the same exit.
        let on_frame = Arc::new(Mutex::new(on_frame));
        let work = move || {
            let mut capture: Option<CaptureThread> = None;
            loop {
                let wish = match inbox.take_timeout(Duration::from_secs(3_600)) {
                    Taken::Value(wish) => wish,
                    Taken::TimedOut => continue,
                    Taken::Closed => break,
                };
                drop(capture.take());
                let mut run = 0;
                states.send_modify(|states| {
                    states.camera_run += 1;
                    run = states.camera_run;
                    states.camera = if wish.is_some() {
                        DeviceState::Starting
                    } else {
                        DeviceState::Off
                    };
                });
                if let Some(config) = wish {
                    capture = open(config, seed, &on_frame, states.clone(), run);
                }
                *for_retry.lock().unwrap_or_else(PoisonError::into_inner) =
                    capture.as_ref().map(CaptureThread::retry_handle);
            }
        };
        let thread = std::thread::Builder::new()
            .name("camera-control".into())
            .spawn(work);
        if let Err(error) = &thread {
            tracing::error!(%error, "no thread for the camera");
        }
        Self {
            wishes,
            retry,
            thread: thread.ok(),
        }
    }

    /// A capture that is being started knows the newest devices anyway.
    pub(crate) fn retry_now(&self) {
        let retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(retry) = &*retry {
            retry.retry_now();
        }
    }

    pub(crate) fn set(&self, wish: Option<VideoSourceConfig>) {
        self.wishes.put(wish);
    }

    pub(crate) fn stop(mut self) {
        self.wishes.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the camera's thread panicked");
        }
    }
}

impl Drop for CameraControl {
    fn drop(&mut self) {
        self.wishes.close();
    }
}

fn open<F: FnMut(I420Frame) + Send + 'static>(
    config: VideoSourceConfig,
    seed: u64,
    on_frame: &Arc<Mutex<F>>,
    states: watch::Sender<DeviceStates>,
    run: u64,
) -> Option<CaptureThread> {
    let exit = Arc::clone(on_frame);
    let failures = states.clone();
    let report = move |state: CaptureState| {
        states.send_if_modified(|states| {
            let fresh = states.camera_run == run;
            if fresh {
                states.camera = camera_state(&state);
            }
            fresh
        });
    };
    let forward = move |frame| {
        let mut exit = exit.lock().unwrap_or_else(PoisonError::into_inner);
        exit(frame);
    };
    match CaptureThread::start(config, CaptureOptions { seed }, forward, report) {
        Ok(capture) => Some(capture),
        Err(error) => {
            tracing::error!(%error, "no thread for the camera");
            let state = DeviceState::Failed {
                code: ErrorCode::Internal,
            };
            failures.send_modify(|states| states.camera = state);
            None
        }
    }
}

fn camera_state(state: &CaptureState) -> DeviceState {
    match state {
        CaptureState::Starting => DeviceState::Starting,
        CaptureState::Running { .. } => DeviceState::Running,
        CaptureState::Failed(code) => DeviceState::Failed { code: *code },
        CaptureState::Lost => DeviceState::Failed {
            code: ErrorCode::CameraLost,
        },
    }
}
