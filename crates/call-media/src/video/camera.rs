//! Cameras through nokhwa (V4L2, AVFoundation, Media Foundation).
//!
//! What has to be known about nokhwa 0.10:
//! * A camera is not `Send`; it is opened and read on the capture thread.
//! * Reading waits without a limit. [`super::capture`] notices the silence.
//! * It panics on odd driver answers and when a stream cannot be stopped; the capture thread
//!   catches that, and `CameraSource` catches it when closing.
//! * Opening needs the current V4L2 format to be one it knows, at a whole number of frames per
//!   second, before it lets anybody choose another; the `v4l2` module sees to that.
//! * Its list of V4L2 devices includes metadata and output nodes, and its "closest format" search
//!   compares within one pixel format only; hence [`list_cameras`] and [`choose_mode`].
//!
//! Deliberately not here: camera controls (exposure, focus).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nokhwa::utils::{
    ApiBackend, CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType,
    Resolution,
};
use nokhwa::{Camera, NokhwaError};

use super::capture::{CaptureError, OpenedSource, VideoSource};
use super::convert::Converter;
pub use super::convert::PixelFormat;
use super::mounting::rotation_of;
use super::rotate::{Rotation, Rotator};
use crate::frame::I420Frame;

/// Broken pictures in a row before a camera counts as lost. Webcams send a few after opening.
const BROKEN_FRAMES: u32 = 60;

/// A camera that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraInfo {
    /// What to open it by; stable while it stays plugged in.
    pub id: String,
    /// What to show; unique within a list.
    pub name: String,
    /// The same when the camera comes back with another id: model and socket on Linux, the
    /// system's own identifier elsewhere. `None` where neither is known.
    pub identity: Option<String>,
}

/// One way a camera can deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CameraMode {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
    /// Pixel format.
    pub format: PixelFormat,
}

/// The cameras of this machine, in the system's order. Takes tens of milliseconds. A system that
/// cannot be asked has none.
pub fn list_cameras() -> Vec<CameraInfo> {
    let query = catch_unwind(|| nokhwa::query(ApiBackend::Auto));
    let mut found: Vec<(CameraIndex, String, Option<String>)> = match query {
        Ok(Ok(cameras)) => cameras
            .into_iter()
            .filter_map(|camera| {
                let identity = identity(&camera)?;
                Some((camera.index().clone(), camera.human_name(), identity))
            })
            .collect(),
        Ok(Err(error)) => {
            tracing::debug!(%error, "cameras cannot be listed");
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    let mut cameras: Vec<CameraInfo> = Vec::with_capacity(found.len());
    for (index, name, identity) in found {
        let name: String = name.trim().chars().take(100).collect();
        let name = if name.is_empty() {
            "Camera".to_owned()
        } else {
            name
        };
        let same = |suffix: usize| match suffix {
            1 => name.clone(),
            _ => format!("{name} ({suffix})"),
        };
        let name = (1..)
            .map(same)
            .find(|name| cameras.iter().all(|camera| camera.name != *name))
            .unwrap_or_default();
        cameras.push(CameraInfo {
            id: index.as_string(),
            name,
            identity,
        });
    }
    cameras
}

/// Picks the mode nearest to the wanted size and rate. A mode costs
/// * 100 per halving or 70 per doubling of the area (detail that is missing hurts more than
///   surplus that is scaled away),
/// * 120 per halving of the rate, next to nothing for a higher one,
/// * 40 for another aspect ratio (it is shown with bars),
/// * a little for a format that is dearer to decode.
///
/// Ties go to the larger and faster mode, so the answer does not depend on the order.
pub fn choose_mode(modes: &[CameraMode], wanted: (u32, u32, u32)) -> Option<CameraMode> {
    let (width, height, fps) = (wanted.0.max(1), wanted.1.max(1), wanted.2.max(1));
    let cost = |mode: &CameraMode| {
        let area = f64::from(mode.width) * f64::from(mode.height);
        let area = (area / (f64::from(width) * f64::from(height))).log2();
        let rate = (f64::from(mode.fps) / f64::from(fps)).log2();
        let aspect = (f64::from(mode.width) / f64::from(mode.height)).log2()
            - (f64::from(width) / f64::from(height)).log2();
        let size_cost = if area < 0.0 {
            -100.0 * area
        } else {
            70.0 * area
        };
        let rate_cost = if rate < 0.0 {
            -120.0 * rate
        } else {
            2.0 * rate
        };
        let aspect_cost = if aspect.abs() > 0.1 { 40.0 } else { 0.0 };
        let format_cost = match mode.format {
            PixelFormat::Nv12 => 0.0,
            PixelFormat::Yuyv => 1.0,
            PixelFormat::Mjpeg => 6.0,
        };
        size_cost + rate_cost + aspect_cost + format_cost
    };
    modes
        .iter()
        .filter(|mode| mode.width > 0 && mode.height > 0 && mode.fps > 0)
        .filter(|mode| super::bitstream::is_size_allowed((mode.width, mode.height)))
        .min_by(|a, b| {
            let key = |mode: &CameraMode| (mode.width, mode.height, mode.fps);
            cost(a)
                .total_cmp(&cost(b))
                .then_with(|| key(b).cmp(&key(a)))
        })
        .copied()
}

/// Opens a camera; the first one when `id` is `None`. Call on the thread that reads it.
pub(super) fn open(
    id: Option<&str>,
    wanted: (u32, u32, u32),
) -> Result<OpenedSource, CaptureError> {
    if !nokhwa::nokhwa_check() {
        // Asks the person; the capture thread tries again until they answered.
        nokhwa::nokhwa_initialize(|is_granted| tracing::debug!(is_granted, "camera permission"));
        return Err(CaptureError::Denied);
    }
    let id = match id {
        Some(id) => id.to_owned(),
        None => {
            list_cameras()
                .into_iter()
                .next()
                .ok_or(CaptureError::NotFound)?
                .id
        }
    };
    let index = id
        .parse()
        .map_or(CameraIndex::String(id), CameraIndex::Index);
    settle_device(&index)?;
    let formats = [FrameFormat::NV12, FrameFormat::YUYV, FrameFormat::MJPEG];
    let any = RequestedFormat::with_formats(RequestedFormatType::None, &formats);
    let rotation = rotation_of(&index);
    // From here on the guard closes the camera whatever happens.
    let camera = Camera::new(index, any).map_err(to_capture_error)?;
    let mut source = CameraSource::new(camera, rotation);
    let camera = source.camera();
    let mut modes: Vec<CameraMode> = camera
        .compatible_camera_formats()
        .map_err(to_capture_error)?
        .into_iter()
        .filter_map(to_mode)
        .collect();
    loop {
        let chosen = choose_mode(&modes, wanted)
            .ok_or_else(|| CaptureError::Lost("no usable format".to_owned()))?;
        let request = RequestedFormatType::Exact(to_camera_format(chosen));
        let request = RequestedFormat::with_formats(request, &formats);
        match camera.set_camera_requset(request) {
            Ok(_) => break,
            // Drivers adjust what they are asked for; what they settled on is as good, as long as
            // nokhwa can work with it. Where it cannot (a fractional rate), the next best mode may.
            Err(error) => tracing::debug!(?chosen, %error, "the camera adjusted the format"),
        }
        if camera.refresh_camera_format().is_ok() {
            break;
        }
        modes.retain(|mode| *mode != chosen);
    }
    let mode = to_mode(camera.camera_format())
        .ok_or_else(|| CaptureError::Lost("no usable format".to_owned()))?;
    tracing::debug!(?mode, "camera opened");
    camera.open_stream().map_err(to_capture_error)?;
    Ok(OpenedSource {
        source: Box::new(source),
        fps: mode.fps,
    })
}

/// An open camera.
struct CameraSource {
    /// `None` only while being dropped.
    camera: Option<Camera>,
    converter: Converter,
    rotation: Rotation,
    rotator: Rotator,
}

impl CameraSource {
    fn new(camera: Camera, rotation: Rotation) -> Self {
        Self {
            camera: Some(camera),
            converter: Converter::default(),
            rotation,
            rotator: Rotator::default(),
        }
    }

    fn camera(&mut self) -> &mut Camera {
        self.camera
            .as_mut()
            .expect("invariant: the camera is there until dropped")
    }
}

impl VideoSource for CameraSource {
    fn next_frame(&mut self) -> Result<I420Frame, CaptureError> {
        let mut last_error = String::new();
        for _ in 0..BROKEN_FRAMES {
            let buffer = self.camera().frame().map_err(to_capture_error)?;
            let captured_at = captured_at(buffer.capture_timestamp());
            let Some(format) = to_pixel_format(buffer.source_frame_format()) else {
                return Err(CaptureError::Lost("the format changed".to_owned()));
            };
            let size = (buffer.resolution().width(), buffer.resolution().height());
            let converter = &mut self.converter;
            match converter.convert(format, size, buffer.buffer(), captured_at) {
                Ok(frame) => return Ok(self.rotator.rotate(&frame, self.rotation)),
                Err(error) => last_error = error.to_string(),
            }
        }
        Err(CaptureError::Lost(last_error))
    }
}

impl Drop for CameraSource {
    fn drop(&mut self) {
        let camera = self.camera.take();
        if catch_unwind(AssertUnwindSafe(|| drop(camera))).is_err() {
            tracing::debug!("the camera driver panicked while closing");
        }
    }
}

/// When a picture was taken, from the wall clock time nokhwa states. Ages that cannot be true
/// (clock steps, drivers without time stamps) become now.
fn captured_at(since_epoch: Option<Duration>) -> Instant {
    let now = Instant::now();
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since_epoch
        .and_then(|taken| wall.checked_sub(taken))
        .filter(|age| *age < Duration::from_secs(1))
        .and_then(|age| now.checked_sub(age))
        .unwrap_or(now)
}

fn to_pixel_format(format: FrameFormat) -> Option<PixelFormat> {
    match format {
        FrameFormat::NV12 => Some(PixelFormat::Nv12),
        FrameFormat::YUYV => Some(PixelFormat::Yuyv),
        FrameFormat::MJPEG => Some(PixelFormat::Mjpeg),
        FrameFormat::GRAY | FrameFormat::RAWRGB | FrameFormat::RAWBGR => None,
    }
}

fn to_mode(format: CameraFormat) -> Option<CameraMode> {
    let (width, height) = (format.width(), format.height());
    let pixel_format = to_pixel_format(format.format())?;
    Some(CameraMode {
        width,
        height,
        fps: format.frame_rate(),
        format: pixel_format,
    })
}

fn to_camera_format(mode: CameraMode) -> CameraFormat {
    let format = match mode.format {
        PixelFormat::Nv12 => FrameFormat::NV12,
        PixelFormat::Yuyv => FrameFormat::YUYV,
        PixelFormat::Mjpeg => FrameFormat::MJPEG,
    };
    CameraFormat::new(Resolution::new(mode.width, mode.height), format, mode.fps)
}

/// nokhwa reports system errors as text only.
fn to_capture_error(error: NokhwaError) -> CaptureError {
    classify(&error.to_string())
}

fn classify(text: &str) -> CaptureError {
    let lower = text.to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| lower.contains(needle));
    if has(&[
        "(os error 13)",
        "(os error 1)",
        "denied",
        "not authorized",
        "permission",
    ]) {
        CaptureError::Denied
    } else if has(&["(os error 16)", "busy", "in use", "0xc00d3704"]) {
        CaptureError::Busy
    } else if has(&["(os error 2)", "(os error 6)", "not found", "no such"])
        && !has(&["(os error 19)"])
    {
        CaptureError::NotFound
    } else {
        CaptureError::Lost(text.to_owned())
    }
}

#[cfg(target_os = "linux")]
use v4l2::{identity, settle_device};

/// What the camera is known by for good; `None` when it is no camera.
#[cfg(not(target_os = "linux"))]
fn identity(camera: &nokhwa::utils::CameraInfo) -> Option<Option<String>> {
    Some(Some(camera.misc()).filter(|misc| !misc.is_empty()))
}

#[cfg(not(target_os = "linux"))]
fn settle_device(_index: &CameraIndex) -> Result<(), CaptureError> {
    Ok(())
}

/// What nokhwa leaves out on Linux.
#[cfg(target_os = "linux")]
mod v4l2 {
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use nokhwa::utils::{CameraIndex, CameraInfo};
    use v4l::capability::{Capabilities, Flags};
    use v4l::video::Capture;
    use v4l::video::capture::Parameters;
    use v4l::{Device, FourCC};

    use super::super::capture::CaptureError;
    use super::classify;

    /// Rates a device is asked for until it reports a whole number of frames per second.
    const WHOLE_RATES: [u32; 6] = [30, 25, 15, 10, 5, 1];

    /// Model and socket of a node that delivers pictures; `None` for a node that carries metadata
    /// or takes output. Node numbers are given in order of appearance, so they name nothing.
    pub(super) fn identity(camera: &CameraInfo) -> Option<Option<String>> {
        let number = camera.index().as_index().ok()?;
        match Device::new(number as usize) {
            Ok(device) => {
                let caps = capture_capabilities(&device)?;
                Some(Some(format!("{} at {}", caps.card, caps.bus)))
            }
            // A camera we may not open is still a camera; opening it says why it fails.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(None),
            Err(_) => None,
        }
    }

    fn capture_capabilities(device: &Device) -> Option<Capabilities> {
        let wanted = Flags::VIDEO_CAPTURE | Flags::STREAMING;
        // The crate panics on names that are not UTF-8.
        let caps = catch_unwind(AssertUnwindSafe(|| device.query_caps().ok()));
        let caps = caps.ok().flatten()?;
        caps.capabilities.contains(wanted).then_some(caps)
    }

    /// Puts a device into a format nokhwa can start from. Leaves it alone when it is in one.
    pub(super) fn settle_device(index: &CameraIndex) -> Result<(), CaptureError> {
        let to_error = |error: io::Error| classify(&error.to_string());
        let number = index.as_index().map_err(|_| CaptureError::NotFound)?;
        let device = Device::new(number as usize).map_err(to_error)?;
        if capture_capabilities(&device).is_none() {
            return Err(CaptureError::NotFound);
        }
        let known = [b"NV12", b"YUYV", b"MJPG"].map(FourCC::new);
        let mut format = device.format().map_err(to_error)?;
        if !known.contains(&format.fourcc) {
            let offered = device.enum_formats().map_err(to_error)?;
            format.fourcc = known
                .into_iter()
                .find(|code| offered.iter().any(|offer| offer.fourcc == *code))
                .ok_or_else(|| CaptureError::Lost("no usable format".to_owned()))?;
            device.set_format(&format).map_err(to_error)?;
        }
        // A driver answers with its nearest rate at this size, which may be fractional again.
        for fps in WHOLE_RATES {
            if device.params().map_err(to_error)?.interval.numerator == 1 {
                return Ok(());
            }
            device
                .set_params(&Parameters::with_fps(fps))
                .map_err(to_error)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(width: u32, height: u32, fps: u32, format: PixelFormat) -> CameraMode {
        CameraMode {
            width,
            height,
            fps,
            format,
        }
    }

    #[test]
    fn the_nearest_mode_is_chosen() {
        use PixelFormat::{Mjpeg, Nv12, Yuyv};
        let webcam = [
            mode(640, 480, 30, Yuyv),
            mode(1280, 720, 10, Yuyv),
            mode(640, 480, 30, Mjpeg),
            mode(1280, 720, 30, Mjpeg),
            mode(1920, 1080, 30, Mjpeg),
        ];
        let sizes = [mode(320, 240, 30, Yuyv), mode(1920, 1080, 30, Yuyv)];
        let formats = [mode(1280, 720, 30, Yuyv), mode(1280, 720, 30, Nv12)];
        let unusable = [mode(0, 0, 0, Yuyv), mode(9999, 10, 30, Yuyv)];
        let cases = [
            // The rate is worth decoding JPEG.
            (&webcam[..], (1280, 720, 30), Some(webcam[3])),
            // At the same size and rate the cheap format wins.
            (&webcam, (640, 480, 30), Some(webcam[0])),
            (&webcam, (640, 360, 30), Some(webcam[0])),
            (&webcam, (3840, 2160, 30), Some(webcam[4])),
            // Too large beats too small.
            (&sizes, (1280, 720, 30), Some(sizes[1])),
            (&formats, (1280, 720, 30), Some(formats[1])),
            (&unusable, (1280, 720, 30), None),
            (&[], (1280, 720, 30), None),
        ];
        for (modes, wanted, want) in cases {
            assert_eq!(choose_mode(modes, wanted), want, "{wanted:?}");
            let reversed: Vec<CameraMode> = modes.iter().rev().copied().collect();
            assert_eq!(choose_mode(&reversed, wanted), want, "{wanted:?} reversed");
        }
    }

    #[test]
    fn system_errors_are_told_apart() {
        let lost = |text: &str| CaptureError::Lost(text.to_owned());
        let cases = [
            (
                "V4L2 Error: Permission denied (os error 13)",
                CaptureError::Denied,
            ),
            ("Device or resource busy (os error 16)", CaptureError::Busy),
            (
                "No such file or directory (os error 2)",
                CaptureError::NotFound,
            ),
            (
                "No such device (os error 19)",
                lost("No such device (os error 19)"),
            ),
            (
                "Input/output error (os error 5)",
                lost("Input/output error (os error 5)"),
            ),
        ];
        for (text, want) in cases {
            assert_eq!(classify(text), want, "{text}");
        }
    }

    #[test]
    fn implausible_capture_times_become_now() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = |taken| captured_at(taken).elapsed();
        assert!(age(Some(wall - Duration::from_millis(200))) >= Duration::from_millis(200));
        for taken in [
            None,
            Some(Duration::ZERO),
            Some(wall + Duration::from_secs(60)),
        ] {
            assert!(age(taken) < Duration::from_millis(190));
        }
    }

    #[test]
    fn opening_a_camera_that_is_not_there_says_so() {
        let error = open(Some("217"), (640, 480, 30)).err();
        assert_eq!(error, Some(CaptureError::NotFound));
        // Whatever this machine has, listing it works and names are unique.
        let cameras = list_cameras();
        for (at, camera) in cameras.iter().enumerate() {
            assert!(cameras[..at].iter().all(|other| other.name != camera.name));
        }
    }
}
