//! The thread that runs a picture source and keeps it alive.
//!
//! Two threads per capture. The *source thread* opens the source and reads it, and after an error
//! opens it again with back-off, for as long as the capture lives: a camera that is busy, denied
//! or unplugged never ends a call. The *state thread* is the only caller of the state callback and
//! notices when the source thread hangs inside a driver.
//!
//! ```text
//! Starting -> Running <-> Lost
//!    |           ^
//!    v           |
//! Failed(code) --+
//! ```
//!
//! Invariants: states are reported on change only; a panic inside a driver is a lost camera; no
//! frame is delivered after [`CaptureThread::stop`] returned; stopping takes at most
//! [`STOP_TIMEOUT`], because a thread stuck in a driver is left behind and ends when the driver
//! lets go.
//!
//! Deliberately not here: fan-out and queues. The frame callback runs on the source thread and
//! puts the picture into whatever slots there are.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use call_protocol::ErrorCode;

use super::camera;
pub use super::source_config::VideoSourceConfig;
use super::synthetic::PatternSource;
use super::y4m::Y4mReader;
use crate::frame::I420Frame;
use crate::screen::source::ShareSource;
use crate::screen::{self, SHARE_FPS, ScreenSource};

/// First wait before a failed source is opened again. Shorter annoys a driver that is being
/// closed elsewhere; longer delays a camera that comes back.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait before a failed source is opened again.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// A running source silent for this long counts as lost. Above the slowest rate (1 frame per
/// second) and the exposure change of webcams in the dark.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(4);
/// A source that was opened but delivers nothing for this long counts as lost.
pub const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time [`CaptureThread::stop`] waits for the driver.
pub const STOP_TIMEOUT: Duration = Duration::from_millis(500);
/// Events between the two threads; ticks of frames beyond it are dropped.
const EVENTS: usize = 16;

/// A source of pictures. It is opened and used on one thread.
pub trait VideoSource {
    /// Waits for the next picture.
    ///
    /// # Errors
    /// The source is then closed, and opened again later.
    fn next_frame(&mut self) -> Result<I420Frame, CaptureError>;
}

/// Why a source does not deliver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// There is no such camera.
    #[error("no such camera")]
    NotFound,
    /// Another application holds it.
    #[error("the camera is in use")]
    Busy,
    /// The system denies access.
    #[error("access to the camera is denied")]
    Denied,
    /// It is there but does not deliver.
    #[error("the camera does not deliver: {0}")]
    Lost(String),
    /// The file cannot be played.
    #[error("the file cannot be played: {0}")]
    File(String),
}

impl CaptureError {
    /// The stable code of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::CameraNotFound,
            Self::Busy => ErrorCode::CameraBusy,
            Self::Denied => ErrorCode::CameraDenied,
            Self::Lost(_) => ErrorCode::CameraLost,
            Self::File(_) => ErrorCode::FileFailed,
        }
    }
}

/// How a capture is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureState {
    /// Being opened for the first time.
    Starting,
    /// Delivering.
    Running {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Frames per second the source announced.
        fps: u32,
    },
    /// Could not be opened; tried again by itself.
    Failed(ErrorCode),
    /// Delivered and stopped; tried again by itself.
    Lost,
}

/// What a capture needs besides the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Chooses the colours of the synthetic pattern; members with different seeds look different.
    pub seed: u64,
}

/// An opened source and the rate it announced.
pub(super) struct OpenedSource {
    pub(super) source: Box<dyn VideoSource>,
    pub(super) fps: u32,
}

/// A running capture. Dropping it stops it.
pub struct CaptureThread {
    control: Arc<Control>,
}

impl CaptureThread {
    /// Starts capturing. `on_frame` and `on_state` are called from the capture's threads and must
    /// not block. [`VideoSourceConfig::None`] starts nothing and reports nothing.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        config: VideoSourceConfig,
        options: CaptureOptions,
        on_frame: impl FnMut(I420Frame) + Send + 'static,
        on_state: impl FnMut(CaptureState) + Send + 'static,
    ) -> std::io::Result<Self> {
        if config.is_none() {
            let control = Arc::new(Control::default());
            control.finish();
            return Ok(Self { control });
        }
        Self::start_with(move || open(&config, options), on_frame, on_state)
    }

    /// As [`Self::start`] for something to share.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start_share(
        source: ShareSource,
        options: CaptureOptions,
        on_frame: impl FnMut(I420Frame) + Send + 'static,
        on_state: impl FnMut(CaptureState) + Send + 'static,
    ) -> std::io::Result<Self> {
        let open = move || open_share(&source, options);
        Self::start_with(open, on_frame, on_state)
    }

    fn start_with(
        open: impl FnMut() -> Result<OpenedSource, CaptureError> + Send + 'static,
        on_frame: impl FnMut(I420Frame) + Send + 'static,
        on_state: impl FnMut(CaptureState) + Send + 'static,
    ) -> std::io::Result<Self> {
        let control = Arc::new(Control::default());
        let capture = Self {
            control: Arc::clone(&control),
        };
        let (events, incoming) = sync_channel(EVENTS);
        {
            let control = Arc::clone(&control);
            std::thread::Builder::new()
                .name("capture-state".to_owned())
                .spawn(move || run_states(&control, &incoming, on_state))?;
        }
        std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || {
                run_source(&control, &events, open, on_frame);
                control.finish();
            })?;
        Ok(capture)
    }

    /// Ends the pause before the source is opened again.
    pub fn retry_handle(&self) -> RetryHandle {
        RetryHandle {
            control: Arc::clone(&self.control),
        }
    }

    /// Stops delivering. Returns when the source is closed, at the latest after
    /// [`STOP_TIMEOUT`]. Not to be called, nor the capture dropped, from its own callbacks.
    pub fn stop(&self) {
        self.control.stop();
    }
}

impl Drop for CaptureThread {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Default)]
struct Control {
    flags: Mutex<Flags>,
    changed: Condvar,
    /// Held while a frame is delivered, so that none is in flight when `stop` returns.
    delivery: Mutex<()>,
}

#[derive(Default)]
struct Flags {
    is_stopping: bool,
    is_finished: bool,
    /// Somebody knows better than the back-off.
    is_retrying: bool,
}

impl Control {
    fn flags(&self) -> MutexGuard<'_, Flags> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.flags().is_stopping
    }

    /// Whether a frame may be delivered. What was to be retried works.
    fn handle_frame(&self) -> bool {
        let mut flags = self.flags();
        flags.is_retrying = false;
        !flags.is_stopping
    }

    fn finish(&self) {
        self.flags().is_finished = true;
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.flags().is_stopping = true;
        self.changed.notify_all();
        let wait = self
            .changed
            .wait_timeout_while(self.flags(), STOP_TIMEOUT, |flags| !flags.is_finished);
        let is_stuck = wait.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        drop(self.delivery.lock());
        if is_stuck {
            tracing::debug!("a capture thread is stuck in its driver and left behind");
        }
    }

    fn retry_now(&self) {
        self.flags().is_retrying = true;
        self.changed.notify_all();
    }

    /// Waits for `timeout`, until asked to retry, or until stopping.
    fn pause(&self, timeout: Duration) -> Pause {
        let wait = self
            .changed
            .wait_timeout_while(self.flags(), timeout, |flags| {
                !flags.is_stopping && !flags.is_retrying
            });
        let mut flags = wait.unwrap_or_else(PoisonError::into_inner).0;
        match (flags.is_stopping, std::mem::take(&mut flags.is_retrying)) {
            (true, _) => Pause::Stopped,
            (false, true) => Pause::Retry,
            (false, false) => Pause::Over,
        }
    }
}

/// How a wait ended.
enum Pause {
    Over,
    /// Cut short: the devices of the machine changed.
    Retry,
    Stopped,
}

/// Ends the pause of a capture that waits to open its source again; see
/// [`CaptureThread::retry_handle`].
#[derive(Clone)]
pub struct RetryHandle {
    control: Arc<Control>,
}

impl RetryHandle {
    /// Opens the source at once if it is not open. A source being opened, or lost within moments,
    /// is opened once more without a pause: the news may be younger than what it failed on.
    pub fn retry_now(&self) {
        self.control.retry_now();
    }
}

enum Event {
    Opened,
    Frame { width: u32, height: u32, fps: u32 },
    Error(CaptureError),
}

fn run_source(
    control: &Control,
    events: &SyncSender<Event>,
    mut open: impl FnMut() -> Result<OpenedSource, CaptureError>,
    mut on_frame: impl FnMut(I420Frame),
) {
    let mut retry = RETRY_FIRST;
    while !control.is_stopping() {
        let mut has_delivered = false;
        let attempt = catch_unwind(AssertUnwindSafe(|| -> Result<(), CaptureError> {
            let mut opened = open()?;
            // The state thread always drains, so these sends do not block for long.
            let _ = events.send(Event::Opened);
            loop {
                let frame = opened.source.next_frame()?;
                let (width, height) = (frame.width(), frame.height());
                {
                    let _delivery = control
                        .delivery
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    if !control.handle_frame() {
                        return Ok(());
                    }
                    on_frame(frame);
                }
                let event = Event::Frame {
                    width,
                    height,
                    fps: opened.fps,
                };
                let is_full = matches!(events.try_send(event), Err(TrySendError::Full(_)));
                if !has_delivered && is_full {
                    // The first frame is what makes the state Running.
                    let _ = events.send(Event::Frame {
                        width,
                        height,
                        fps: opened.fps,
                    });
                }
                has_delivered = true;
            }
        }));
        let error = match attempt {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => CaptureError::Lost(panic_text(&*panic)),
        };
        tracing::debug!(%error, "capture failed");
        let _ = events.send(Event::Error(error));
        retry = if has_delivered { RETRY_FIRST } else { retry };
        retry = match control.pause(retry) {
            Pause::Over => (retry * 2).min(RETRY_MAX),
            Pause::Retry => RETRY_FIRST,
            Pause::Stopped => return,
        };
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the driver panicked".to_owned())
}

fn run_states(control: &Control, events: &Receiver<Event>, mut on_state: impl FnMut(CaptureState)) {
    const POLL: Duration = Duration::from_millis(250);
    let mut tracker = StateTracker::default();
    let mut report = |state: Option<CaptureState>| {
        if let Some(state) = state
            && !control.is_stopping()
        {
            on_state(state);
        }
    };
    report(Some(CaptureState::Starting));
    loop {
        match events.recv_timeout(POLL) {
            Ok(event) => report(tracker.handle_event(Instant::now(), &event)),
            Err(RecvTimeoutError::Timeout) if control.is_stopping() => return,
            Err(RecvTimeoutError::Timeout) => report(tracker.handle_timeout(Instant::now())),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Events and the clock to states; returns a state when it changed.
#[derive(Default)]
struct StateTracker {
    state: Option<CaptureState>,
    has_run: bool,
    silent_since: Option<Instant>,
}

impl StateTracker {
    fn handle_event(&mut self, now: Instant, event: &Event) -> Option<CaptureState> {
        match event {
            Event::Opened => {
                self.silent_since = Some(now);
                None
            }
            Event::Frame { width, height, fps } => {
                self.silent_since = Some(now);
                self.has_run = true;
                self.change(CaptureState::Running {
                    width: *width,
                    height: *height,
                    fps: *fps,
                })
            }
            Event::Error(error) => {
                self.silent_since = None;
                let is_lost = self.has_run && error.code() == ErrorCode::CameraLost;
                self.change(if is_lost {
                    CaptureState::Lost
                } else {
                    CaptureState::Failed(error.code())
                })
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<CaptureState> {
        let limit = match self.state {
            Some(CaptureState::Running { .. }) => STALL_TIMEOUT,
            _ => FIRST_FRAME_TIMEOUT,
        };
        if now.saturating_duration_since(self.silent_since?) < limit {
            return None;
        }
        self.silent_since = None;
        self.change(if self.has_run {
            CaptureState::Lost
        } else {
            CaptureState::Failed(ErrorCode::CameraLost)
        })
    }

    fn change(&mut self, state: CaptureState) -> Option<CaptureState> {
        (self.state.replace(state) != Some(state)).then_some(state)
    }
}

fn open(config: &VideoSourceConfig, options: CaptureOptions) -> Result<OpenedSource, CaptureError> {
    match config {
        VideoSourceConfig::None => Err(CaptureError::NotFound),
        VideoSourceConfig::Pattern { width, height, fps } => {
            let source = PatternSource::new(*width, *height, *fps, options.seed);
            Ok(OpenedSource {
                source: Box::new(source),
                fps: *fps,
            })
        }
        VideoSourceConfig::File(path) => {
            let source = Y4mReader::open(path)?;
            let fps = source.fps();
            Ok(OpenedSource {
                source: Box::new(source),
                fps,
            })
        }
        VideoSourceConfig::Camera {
            id,
            width,
            height,
            fps,
        } => camera::open(id.as_deref(), (*width, *height, *fps)),
    }
}

fn open_share(source: &ShareSource, options: CaptureOptions) -> Result<OpenedSource, CaptureError> {
    if let ShareSource::Pattern { width, height, fps } = *source {
        return open(&VideoSourceConfig::Pattern { width, height, fps }, options);
    }
    Ok(OpenedSource {
        source: Box::new(ScreenSource::new(screen::open(source)?)),
        fps: SHARE_FPS,
    })
}

#[cfg(test)]
mod tests;
