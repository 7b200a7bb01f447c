use std::sync::mpsc::{Sender, channel};

use super::*;
use crate::video::mark::read_mark;

const DEADLINE: Duration = Duration::from_secs(20);

struct Script(Vec<Result<I420Frame, CaptureError>>);

impl VideoSource for Script {
    fn next_frame(&mut self) -> Result<I420Frame, CaptureError> {
        if self.0.is_empty() {
            panic!("driver bug");
        }
        self.0.remove(0)
    }
}

fn black() -> Result<I420Frame, CaptureError> {
    Ok(I420Frame::black(32, 16, Instant::now()))
}

fn sink<T: Send + 'static>(sender: Sender<T>) -> impl FnMut(T) + Send + 'static {
    move |value| drop(sender.send(value))
}

#[test]
fn a_pattern_runs_until_dropped() {
    let (frames, got_frames) = channel();
    let (states, got_states) = channel();
    let config = "pattern:128x64@60".parse().unwrap();
    let capture = CaptureThread::start(
        config,
        CaptureOptions::default(),
        sink(frames),
        sink(states),
    )
    .unwrap();
    assert_eq!(
        got_states.recv_timeout(DEADLINE),
        Ok(CaptureState::Starting)
    );
    let running = CaptureState::Running {
        width: 128,
        height: 64,
        fps: 60,
    };
    assert_eq!(got_states.recv_timeout(DEADLINE), Ok(running));
    for number in 0..4 {
        let frame = got_frames.recv_timeout(DEADLINE).unwrap();
        assert_eq!(read_mark(&frame).unwrap().frame, number);
    }
    drop(capture);
    // Both callbacks are dropped with their threads, nothing else is reported.
    assert!(got_states.recv_timeout(DEADLINE).is_err());
    while got_frames.try_recv().is_ok() {}
    assert!(got_frames.recv_timeout(DEADLINE).is_err());
}

#[test]
fn errors_and_panics_of_a_driver_are_states_and_retried() {
    let (states, got_states) = channel();
    let mut attempts = 0;
    let open = move || {
        attempts += 1;
        let fps = 30;
        match attempts {
            1 => Err(CaptureError::Busy),
            2 => Ok(OpenedSource {
                source: Box::new(Script(vec![black()])),
                fps,
            }),
            _ => Ok(OpenedSource {
                source: Box::new(Script(vec![black(), Err(CaptureError::Denied)])),
                fps,
            }),
        }
    };
    let capture = CaptureThread::start_with(open, |_| {}, sink(states)).unwrap();
    let running = CaptureState::Running {
        width: 32,
        height: 16,
        fps: 30,
    };
    let want = [
        CaptureState::Starting,
        CaptureState::Failed(ErrorCode::CameraBusy),
        running,
        CaptureState::Lost,
        running,
        CaptureState::Failed(ErrorCode::CameraDenied),
    ];
    for state in want {
        assert_eq!(got_states.recv_timeout(DEADLINE), Ok(state));
    }
    let before = Instant::now();
    drop(capture);
    assert!(
        before.elapsed() < STOP_TIMEOUT,
        "the back-off is interruptible"
    );
}

#[test]
fn a_device_that_came_back_is_opened_without_waiting() {
    // Paused in between, so many failures would take 32 s.
    const FAILURES: u32 = 9;
    let (opens, got_opens) = channel();
    let mut attempts = 0;
    let open = move || {
        attempts += 1;
        let _ = opens.send(attempts);
        if attempts <= FAILURES {
            return Err(CaptureError::NotFound);
        }
        let source = Box::new(Script(vec![black()]));
        Ok(OpenedSource { source, fps: 30 })
    };
    let begun = Instant::now();
    let capture = CaptureThread::start_with(open, |_| {}, |_| {}).unwrap();
    for attempt in 1..=FAILURES + 1 {
        assert_eq!(got_opens.recv_timeout(DEADLINE), Ok(attempt));
        capture.retry_handle().retry_now();
    }
    assert!(begun.elapsed() < DEADLINE);
}

#[test]
fn news_of_the_past_do_not_shorten_a_later_pause() {
    let control = Control::default();
    control.retry_now();
    assert!(matches!(control.pause(DEADLINE), Pause::Retry));
    control.retry_now();
    assert!(control.handle_frame());
    assert!(matches!(control.pause(Duration::ZERO), Pause::Over));
    control.flags().is_stopping = true;
    assert!(matches!(control.pause(DEADLINE), Pause::Stopped));
    assert!(!control.handle_frame());
}

#[test]
fn a_missing_file_is_a_state() {
    let (states, got_states) = channel();
    let config = VideoSourceConfig::File("/nonexistent/x.y4m".into());
    let _capture =
        CaptureThread::start(config, CaptureOptions::default(), |_| {}, sink(states)).unwrap();
    assert_eq!(
        got_states.recv_timeout(DEADLINE),
        Ok(CaptureState::Starting)
    );
    let failed = CaptureState::Failed(ErrorCode::FileFailed);
    assert_eq!(got_states.recv_timeout(DEADLINE), Ok(failed));
}

#[test]
fn a_stall_is_a_loss_once() {
    let start = Instant::now();
    let mut tracker = StateTracker::default();
    let frame = Event::Frame {
        width: 2,
        height: 2,
        fps: 30,
    };
    let running = CaptureState::Running {
        width: 2,
        height: 2,
        fps: 30,
    };
    assert_eq!(tracker.handle_event(start, &Event::Opened), None);
    assert_eq!(tracker.handle_timeout(start + STALL_TIMEOUT), None);
    assert_eq!(tracker.handle_event(start, &frame), Some(running));
    assert_eq!(tracker.handle_event(start, &frame), None);
    assert_eq!(tracker.handle_timeout(start + STALL_TIMEOUT / 2), None);
    assert_eq!(
        tracker.handle_timeout(start + STALL_TIMEOUT),
        Some(CaptureState::Lost)
    );
    assert_eq!(tracker.handle_timeout(start + STALL_TIMEOUT * 2), None);
    assert_eq!(
        tracker.handle_event(start + STALL_TIMEOUT * 3, &frame),
        Some(running)
    );
    let mut tracker = StateTracker::default();
    tracker.handle_event(start, &Event::Opened);
    let failed = CaptureState::Failed(ErrorCode::CameraLost);
    assert_eq!(
        tracker.handle_timeout(start + FIRST_FRAME_TIMEOUT),
        Some(failed)
    );
}
