//! The command line.

use std::path::PathBuf;

use call_client::{AudioSourceConfig, SpeakerConfig, VideoSourceConfig};
use call_e2ee::RoomCode;
use call_media::screen::source::ShareSource;
use call_protocol::channel::chat::clean_text;
use call_protocol::{ErrorCode, limits};
use clap::{Parser, ValueEnum};

/// A call without windows: for tests, bots and hosts. Prints one JSON object per line.
#[derive(Debug, Parser)]
#[command(name = "visavis-headless", version)]
pub(crate) struct Args {
    /// Signalling server, ws:// or wss://; without it the room is looked for on the local network
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Open a room with a fresh code (what happens without --code, too)
    #[arg(long, conflicts_with = "code")]
    pub(crate) create: bool,
    /// Join the room with this code or invite link
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// Display name
    #[arg(long, default_value = "Guest")]
    pub(crate) name: String,
    /// none, pattern:WxH@FPS, FILE.y4m, camera or camera:ID
    #[arg(long, default_value = "none")]
    pub(crate) video: VideoSourceConfig,
    /// none, tone:HZ, ticks, FILE.wav, mic or mic:ID
    #[arg(long, default_value = "none")]
    pub(crate) audio: AudioSourceConfig,
    /// Send the microphone's sound as it is: no echo cancellation, noise suppression, gain control
    #[arg(long)]
    pub(crate) raw_microphone: bool,
    /// none, default or a device id; without it: default if --audio is a microphone, else none
    #[arg(long, value_name = "SPEAKER", value_parser = speaker)]
    pub(crate) speaker: Option<SpeakerConfig>,
    /// Write every member's decoded picture and sound to DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,
    /// Leave after this long, counted from the start
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<f64>,
    /// Read commands from standard input, one JSON object per line, as the app's UI sends them:
    /// {"type":"set_muted","muted":true}
    #[arg(long)]
    pub(crate) commands: bool,
    /// How media shall flow; what the room does is the server's choice
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) topology: Topology,
    /// Do not seal media from end to end: for tests of interoperability. Who seals and who does not
    /// neither hear nor see each other
    #[arg(long)]
    pub(crate) unsealed: bool,
    /// Show every member's picture at this size, so that the server sends a layer that fits; none
    /// shows nobody. NAME=WxH and NAME=none say so of members of that name
    #[arg(long, value_name = "WxH", value_parser = tile)]
    pub(crate) tile: Vec<Tile>,
    /// Offer a file, or a folder with all below it: a second after the first other member is seen to
    /// all who are there, as one offer, and to each who joins in the quarter of a minute after that
    #[arg(long, value_name = "FILE")]
    pub(crate) send_file: Vec<PathBuf>,
    /// Accept every offer into DIR, made if it is missing, and go on with what is unfinished there
    #[arg(long, value_name = "DIR")]
    pub(crate) accept_files: Option<PathBuf>,
    /// Say this in the chat once somebody else is in the room; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = saying)]
    pub(crate) say: Vec<String>,
    /// Share pattern:WxH@FPS, screen, screen:NAME or window:ID, from joining on
    #[arg(long, value_name = "SOURCE")]
    pub(crate) share: Option<ShareSource>,
}

/// How media shall flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// As the room decides.
    Auto,
    /// Directly: nothing is reported that speaks against it.
    Mesh,
    /// Through the server: the uplink is reported to be too narrow for anything else.
    Sfu,
    /// Over paths through the server's relay only.
    Relay,
}

/// At which size pictures are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Whose; `None`: of everybody who is not named.
    pub(crate) name: Option<String>,
    /// Width and height in pixels; `None` is not shown.
    pub(crate) size: Option<(u32, u32)>,
}

/// The size without `--tile`.
const TILE: (u32, u32) = (1_280, 720);

/// The size at which a member of this name is shown, if at all. The last that fits counts.
pub(crate) fn tile_size(tiles: &[Tile], name: &str) -> Option<(u32, u32)> {
    let named = |tile: &&Tile| tile.name.as_deref() == Some(name);
    let general = |tile: &&Tile| tile.name.is_none();
    let of_name = tiles.iter().rfind(named);
    let tile = of_name.or_else(|| tiles.iter().rfind(general));
    tile.map_or(Some(TILE), |tile| tile.size)
}

fn tile(text: &str) -> Result<Tile, String> {
    let (name, size) = match text.rsplit_once('=') {
        Some((name, size)) => (Some(name.to_owned()), size),
        None => (None, text),
    };
    let side = |text: &str| {
        let side = text.parse::<u32>().ok();
        side.filter(|side| (1..=limits::PICTURE_PX).contains(side))
    };
    let size = match size {
        "none" => None,
        size => {
            let sides = size.split_once('x');
            let sides = sides.and_then(|(width, height)| Some((side(width)?, side(height)?)));
            Some(sides.ok_or_else(|| "none, WxH, or either behind NAME=".to_owned())?)
        }
    };
    Ok(Tile { name, size })
}

fn speaker(text: &str) -> Result<SpeakerConfig, String> {
    match text {
        "default" => Ok(SpeakerConfig::Device { id: None }),
        other => other
            .parse()
            .map_err(|_| "none, default or a device id".to_owned()),
    }
}

fn saying(text: &str) -> Result<String, String> {
    let text = clean_text(text);
    match text.chars().count() {
        1..=limits::CHAT_CHARS => Ok(text),
        _ => Err(format!("1 to {} characters", limits::CHAT_CHARS)),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && (0.0..=1e7).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds".to_owned()),
    }
}

/// Why the arguments cannot be followed.
pub(crate) type Refusal = (ErrorCode, String);

impl Args {
    /// What clap cannot check.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.share.is_some() && self.unsealed {
            let detail = "what is shared is always sealed".to_owned();
            return Err((ErrorCode::NotSupported, detail));
        }
        if self.send_file.len() > limits::OFFER_FILES {
            let detail = "more files than can be offered".to_owned();
            return Err((ErrorCode::TooManyFiles, detail));
        }
        if let Some(server) = &self.server {
            call_core::websocket_url(server)
                .map_err(|code| (code, "--server is not an address".to_owned()))?;
        }
        match &self.code {
            Some(code) => RoomCode::parse(code)
                .map(|_| ())
                .map_err(|error| (ErrorCode::CodeInvalid, error.to_string())),
            None if self.server.is_none() => Err((
                ErrorCode::BadArgument,
                "this client hosts no rooms: give --server, or --code of a room on the local \
                 network"
                    .to_owned(),
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &str) -> Option<ErrorCode> {
        let words = std::iter::once("visavis-headless").chain(arguments.split_whitespace());
        Args::try_parse_from(words)
            .unwrap()
            .check()
            .err()
            .map(|(code, _)| code)
    }

    #[test]
    fn arguments_are_checked_before_anything_runs() {
        let server = "--server ws://127.0.0.1:1";
        let code = "--code K7MQ-2X9D-RTB4";
        let cases = [
            (format!("{server} --create"), None),
            (server.to_owned(), None),
            (
                format!("{server} {code} --topology mesh --duration 1.5"),
                None,
            ),
            (code.to_owned(), None),
            ("--create".to_owned(), Some(ErrorCode::BadArgument)),
            (String::new(), Some(ErrorCode::BadArgument)),
            (
                format!("{server} --code K7MQ"),
                Some(ErrorCode::CodeInvalid),
            ),
            (
                "--server ftp://x --create".to_owned(),
                Some(ErrorCode::ServerAddressInvalid),
            ),
            (format!("{server} --say hi --say ho"), None),
            (
                format!("{server} --send-file a --send-file b --accept-files d"),
                None,
            ),
            (
                format!("{server} --share screen --unsealed"),
                Some(ErrorCode::NotSupported),
            ),
            (format!("{server} --share pattern:640x360@5"), None),
            (
                format!("{server} --topology sfu --tile 320x180 --tile none --tile Bo=640x360"),
                None,
            ),
            (format!("{server} --topology relay --unsealed"), None),
        ];
        for (arguments, want) in cases {
            assert_eq!(check(&arguments), want, "{arguments}");
        }
        for bad in [
            "--create --code X",
            "--duration -1",
            "--duration x",
            "--speaker=",
            "--say=",
            "--video 1x",
            "--share camera",
            "--tile 0x9",
            "--tile 640",
            "--tile 640x9000",
            "--topology star",
            "--what",
        ] {
            let words = std::iter::once("visavis-headless").chain(bad.split_whitespace());
            assert!(Args::try_parse_from(words).is_err(), "{bad}");
        }
    }

    #[test]
    fn tiles_are_of_everybody_or_of_a_name() {
        let tiles = ["320x180", "Bo=640x360", "a=b=none", "none"].map(|text| tile(text).unwrap());
        let cases = [
            (&tiles[..0], "Bo", Some((1_280, 720))),
            (&tiles[..1], "Bo", Some((320, 180))),
            (&tiles[..2], "Bo", Some((640, 360))),
            (&tiles[..2], "Cy", Some((320, 180))),
            (&tiles[..3], "a=b", None),
            (&tiles, "Cy", None),
            (&tiles, "Bo", Some((640, 360))),
        ];
        for (tiles, name, want) in cases {
            assert_eq!(tile_size(tiles, name), want, "{name} in {tiles:?}");
        }
    }
}
