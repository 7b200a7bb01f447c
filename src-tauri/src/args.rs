//! The app's command line. Every flag is also an environment variable, so that a launcher or a
//! test driver that cannot pass arguments can still choose.

use std::path::PathBuf;

use call_client::{AudioSourceConfig, SpeakerConfig, VideoSourceConfig};
use clap::Parser;

/// Video calls by a spoken code.
#[derive(Clone, Debug, Parser)]
#[command(name = "visavis", version)]
pub(crate) struct Args {
    /// Signalling server for this run (`wss://host`); unset uses the setting, empty hosts itself.
    #[arg(long, env = "VISAVIS_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Keeps settings and web data apart from other profiles.
    #[arg(long, env = "VISAVIS_PROFILE", value_name = "NAME", default_value = "default",
          value_parser = profile_name)]
    pub(crate) profile: String,
    /// `camera[:ID]`, `none`, `pattern:WxH@FPS` or a `.y4m` file.
    #[arg(
        long,
        env = "VISAVIS_VIDEO",
        value_name = "SOURCE",
        default_value = "camera"
    )]
    pub(crate) video: VideoSourceConfig,
    /// `mic[:ID]`, `none`, `tone:HZ` or a `.wav` file.
    #[arg(
        long,
        env = "VISAVIS_AUDIO",
        value_name = "SOURCE",
        default_value = "mic"
    )]
    pub(crate) audio: AudioSourceConfig,
    /// `system`, `none` or a device id.
    #[arg(
        long,
        env = "VISAVIS_SPEAKER",
        value_name = "DEVICE",
        default_value = "system"
    )]
    pub(crate) speaker: SpeakerConfig,
    /// An invite link or room code to join at once.
    #[arg(value_name = "INVITE")]
    pub(crate) invite: Option<String>,
}

impl Args {
    /// Where this profile lives below the app's data directory.
    pub(crate) fn profile_dir(&self) -> PathBuf {
        PathBuf::from("profiles").join(&self.profile)
    }
}

/// A profile name becomes a directory name, so it is plain: 1–32 letters, digits, `-` or `_`.
fn profile_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=32).contains(&text.len()) && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 32 letters, digits, '-' or '_'".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_names_cannot_leave_their_directory() {
        for bad in ["", "..", "a/b", "a\\b", "nul\0", "x".repeat(33).as_str()] {
            assert!(
                Args::try_parse_from(["visavis", "--profile", bad]).is_err(),
                "{bad:?}"
            );
        }
        let args = Args::try_parse_from(["visavis", "--profile", "second_2"]).unwrap();
        assert_eq!(args.profile_dir(), PathBuf::from("profiles/second_2"));
    }

    #[test]
    fn sources_follow_the_command_line_contract() {
        let args = Args::try_parse_from([
            "visavis",
            "--video",
            "pattern:640x360@30",
            "--audio",
            "tone:440",
            "visavis://join/K7MQ-2X9D-RTB4",
        ])
        .unwrap();
        assert!(args.invite.is_some());
        assert!(Args::try_parse_from(["visavis", "--video", "pattern:9x9@0"]).is_err());
    }
}
