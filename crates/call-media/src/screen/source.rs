//! What a member shares, as written on a command line and in commands of the UI:
//! `pattern:WxH@FPS | screen[:NAME] | window:ID | chosen`.

use std::fmt;
use std::str::FromStr;

use crate::video::source_config::{BadVideoSource, VideoSourceConfig};

/// A source of a shared picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareSource {
    /// The synthetic pattern, see [`crate::video::synthetic`].
    Pattern {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Frames per second.
        fps: u32,
    },
    /// A whole screen.
    Screen {
        /// As listed by [`super::list`]; the first one when `None`.
        name: Option<String>,
    },
    /// One window.
    Window {
        /// As listed by [`super::list`].
        id: String,
    },
    /// A screen or window that the person chooses in a dialog of the system once it is opened.
    Chosen,
}

/// The text names nothing that could be shared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadShareSource {
    /// Not one of the forms.
    #[error("expected pattern:WxH@FPS, screen[:NAME], window:ID or chosen, not {0:?}")]
    Unknown(String),
    /// What follows `pattern:` is none.
    #[error(transparent)]
    Pattern(#[from] BadVideoSource),
}

impl FromStr for ShareSource {
    type Err = BadShareSource;

    fn from_str(text: &str) -> Result<Self, BadShareSource> {
        if text.starts_with("pattern:") {
            return match text.parse()? {
                VideoSourceConfig::Pattern { width, height, fps } => {
                    Ok(Self::Pattern { width, height, fps })
                }
                _ => Err(unknown(text)),
            };
        }
        if text == "screen" {
            return Ok(Self::Screen { name: None });
        }
        if text == "chosen" {
            return Ok(Self::Chosen);
        }
        let after = |prefix: &str| {
            let name = text.strip_prefix(prefix)?.to_owned();
            Some(name).filter(|name| !name.is_empty())
        };
        if let Some(name) = after("screen:") {
            let name = Some(name);
            return Ok(Self::Screen { name });
        }
        let id = after("window:").ok_or_else(|| unknown(text))?;
        Ok(Self::Window { id })
    }
}

fn unknown(text: &str) -> BadShareSource {
    BadShareSource::Unknown(text.chars().take(100).collect())
}

impl fmt::Display for ShareSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern { width, height, fps } => write!(f, "pattern:{width}x{height}@{fps}"),
            Self::Screen { name: None } => f.write_str("screen"),
            Self::Screen { name: Some(name) } => write!(f, "screen:{name}"),
            Self::Window { id } => write!(f, "window:{id}"),
            Self::Chosen => f.write_str("chosen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_parse_and_print() {
        let screen = |name: Option<&str>| ShareSource::Screen {
            name: name.map(str::to_owned),
        };
        let pattern = ShareSource::Pattern {
            width: 640,
            height: 360,
            fps: 5,
        };
        let id = "0x1:2".to_owned();
        let cases = [
            ("pattern:640x360@5", pattern),
            ("screen", screen(None)),
            ("screen:HDMI-1", screen(Some("HDMI-1"))),
            ("window:0x1:2", ShareSource::Window { id }),
            ("chosen", ShareSource::Chosen),
        ];
        for (text, want) in cases {
            let parsed: ShareSource = text.parse().unwrap();
            assert_eq!(parsed, want);
            assert_eq!(parsed.to_string(), text);
        }
        for text in [
            "",
            "screen:",
            "window",
            "window:",
            "none",
            "camera",
            "pattern:1x1@1",
        ] {
            assert!(text.parse::<ShareSource>().is_err(), "{text}");
        }
    }
}
