//! Which picture a member sends, as written on a command line:
//! `none | pattern:WxH@FPS | FILE.y4m | camera[:ID]`.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// Allowed width or height of a source, in pixels.
pub const SIDE_PX: RangeInclusive<u32> = 16..=call_protocol::limits::PICTURE_PX;
/// Allowed rate of a source, in frames per second.
pub const FPS: RangeInclusive<u32> = 1..=60;
/// What a camera is asked for unless told otherwise: width, height, frames per second.
pub const CAMERA_DEFAULT: (u32, u32, u32) = (1280, 720, 30);

/// A source of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoSourceConfig {
    /// No picture.
    None,
    /// The synthetic pattern, see [`super::synthetic`].
    Pattern {
        /// Width in pixels, within [`SIDE_PX`].
        width: u32,
        /// Height in pixels, within [`SIDE_PX`].
        height: u32,
        /// Frames per second, within [`FPS`].
        fps: u32,
    },
    /// A YUV4MPEG2 file, looping.
    File(PathBuf),
    /// A camera.
    Camera {
        /// As listed by [`super::camera::list_cameras`]; the first one when `None`.
        id: Option<String>,
        /// Wanted width in pixels; the camera's nearest is used.
        width: u32,
        /// Wanted height in pixels; the camera's nearest is used.
        height: u32,
        /// Wanted frames per second; the camera's nearest is used.
        fps: u32,
    },
}

impl VideoSourceConfig {
    /// A camera at the default size and rate.
    pub fn camera(id: Option<String>) -> Self {
        let (width, height, fps) = CAMERA_DEFAULT;
        Self::Camera {
            id,
            width,
            height,
            fps,
        }
    }

    /// Whether there is no picture at all.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The text names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVideoSource {
    /// Not one of the four forms.
    #[error("expected none, pattern:WxH@FPS, FILE.y4m or camera[:ID], not {0:?}")]
    Unknown(String),
    /// The part after `pattern:` is not `WxH@FPS`.
    #[error("expected pattern:WxH@FPS like pattern:1280x720@30, not {0:?}")]
    PatternSyntax(String),
    /// A side of the pattern is out of [`SIDE_PX`].
    #[error("a picture's sides are 16 to 4096 pixels, not {0}x{1}")]
    Size(u32, u32),
    /// The rate of the pattern is out of [`FPS`].
    #[error("a frame rate is 1 to 60 per second, not {0}")]
    Rate(u32),
    /// `camera:` without an id after it.
    #[error("camera: needs an id; plain camera takes the first one")]
    EmptyCameraId,
}

impl FromStr for VideoSourceConfig {
    type Err = BadVideoSource;

    fn from_str(text: &str) -> Result<Self, BadVideoSource> {
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(pattern) = text.strip_prefix("pattern:") {
            return parse_pattern(pattern);
        }
        if text == "camera" {
            return Ok(Self::camera(None));
        }
        if let Some(id) = text.strip_prefix("camera:") {
            let id = Some(id.to_owned()).filter(|id| !id.is_empty());
            return id
                .map(|id| Self::camera(Some(id)))
                .ok_or(BadVideoSource::EmptyCameraId);
        }
        let stem = text.len().saturating_sub(4);
        if stem > 0
            && text
                .get(stem..)
                .is_some_and(|end| end.eq_ignore_ascii_case(".y4m"))
        {
            return Ok(Self::File(PathBuf::from(text)));
        }
        Err(BadVideoSource::Unknown(text.chars().take(100).collect()))
    }
}

fn parse_pattern(text: &str) -> Result<VideoSourceConfig, BadVideoSource> {
    let parse = || {
        let (size, fps) = text.split_once('@')?;
        let (width, height) = size.split_once('x')?;
        let number = |digits: &str| {
            digits
                .bytes()
                .all(|digit| digit.is_ascii_digit())
                .then(|| digits.parse().ok())?
        };
        Some((number(width)?, number(height)?, number(fps)?))
    };
    let (width, height, fps) =
        parse().ok_or_else(|| BadVideoSource::PatternSyntax(text.chars().take(100).collect()))?;
    if !SIDE_PX.contains(&width) || !SIDE_PX.contains(&height) {
        return Err(BadVideoSource::Size(width, height));
    }
    if !FPS.contains(&fps) {
        return Err(BadVideoSource::Rate(fps));
    }
    Ok(VideoSourceConfig::Pattern { width, height, fps })
}

impl fmt::Display for VideoSourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Pattern { width, height, fps } => write!(f, "pattern:{width}x{height}@{fps}"),
            Self::File(path) => path.display().fmt(f),
            Self::Camera { id: None, .. } => f.write_str("camera"),
            Self::Camera { id: Some(id), .. } => write!(f, "camera:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms_parse_and_print() {
        let cases = [
            ("none", VideoSourceConfig::None),
            (
                "pattern:640x360@15",
                VideoSourceConfig::Pattern {
                    width: 640,
                    height: 360,
                    fps: 15,
                },
            ),
            (
                "/tmp/a b.Y4M",
                VideoSourceConfig::File("/tmp/a b.Y4M".into()),
            ),
            ("camera", VideoSourceConfig::camera(None)),
            ("camera:2", VideoSourceConfig::camera(Some("2".to_owned()))),
        ];
        for (text, want) in cases {
            let parsed: VideoSourceConfig = text.parse().unwrap();
            assert_eq!(parsed, want);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        let syntax = |text: &str| BadVideoSource::PatternSyntax(text.to_owned());
        let cases = [
            ("", BadVideoSource::Unknown(String::new())),
            (".y4m", BadVideoSource::Unknown(".y4m".to_owned())),
            ("é4m", BadVideoSource::Unknown("é4m".to_owned())),
            ("webcam", BadVideoSource::Unknown("webcam".to_owned())),
            ("camera:", BadVideoSource::EmptyCameraId),
            ("pattern:", syntax("")),
            ("pattern:640x360", syntax("640x360")),
            ("pattern:+640x360@30", syntax("+640x360@30")),
            ("pattern:99999999999x1@1", syntax("99999999999x1@1")),
            ("pattern:15x360@30", BadVideoSource::Size(15, 360)),
            ("pattern:640x4097@30", BadVideoSource::Size(640, 4097)),
            ("pattern:640x360@0", BadVideoSource::Rate(0)),
            ("pattern:640x360@61", BadVideoSource::Rate(61)),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<VideoSourceConfig>(), Err(want), "{text}");
        }
    }
}
