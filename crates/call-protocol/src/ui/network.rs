//! How the call's connections do, once a second, and what is probably the matter.
//!
//! Figures and stable codes only: the UI owns the words. Nothing in here names a person, a room or
//! an address; members are known by their ids, which mean nothing outside the call.

use serde::{Deserialize, Serialize};

use crate::ids::{MemberId, VideoCodec};

/// One second of a call. Sent once a second while somebody else is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct NetworkView {
    /// What is the matter; `None` while nothing is, or nothing that can be told.
    pub verdict: Option<Verdict>,
    /// Everybody else, in order of joining; at most [`crate::limits::ROOM_MEMBERS`].
    pub members: Vec<MemberNetworkView>,
    /// What one sends.
    pub up: UplinkView,
    /// What arrives from everybody, payload bits per second.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub down_bps: u64,
    /// The program itself, for reports.
    pub app: AppInfo,
}

/// What makes the call bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct Verdict {
    /// What it is.
    pub cause: Cause,
    /// Whom it is about, where the cause says so.
    pub member: Option<MemberId>,
    /// How bad it is.
    pub severity: Severity,
}

/// What can be the matter. How each is told from the others: `call_core::diagnosis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// This machine does not keep up with its own work.
    MyCpu,
    /// The connection breaks off for moments and is fine in between, as Wi-Fi does.
    Bursts,
    /// What one sends gets lost, or is far more than gets through, to everybody.
    MyUplink,
    /// What everybody sends arrives badly here.
    MyDownlink,
    /// Both, with everybody.
    MyConnection,
    /// Both ways are bad with the only other member: whose side it is cannot be told. Names them.
    Between,
    /// One member is badly connected, the others are not. Names them.
    OtherSide,
    /// A detour through a relay takes long. Names a member if it concerns that one only.
    RelayPath,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is noticed.
    Mild,
    /// Talking is hard.
    Severe,
}

/// What arrives from one member, and by which way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct MemberNetworkView {
    /// Who.
    pub id: MemberId,
    /// Of their picture, once one arrived.
    pub codec: Option<VideoCodec>,
    /// Of their picture in pixels, 0 before the first.
    pub width: u32,
    /// Of their picture in pixels, 0 before the first.
    pub height: u32,
    /// Pictures per second.
    pub fps: f64,
    /// Payload bits per second, picture and sound.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub bitrate_bps: u64,
    /// Share of the packets that did not arrive at first, 0 to 1.
    pub loss: f64,
    /// Round trip to them, or to the server that forwards; `None` before it is known.
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter of the sound (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// Share of the sound that was made up, 0 to 1.
    pub concealed: f64,
    /// The way it comes; `None` while there is none.
    pub path: Option<PathView>,
}

/// The kinds of ways to a member. Shown, not decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum PathView {
    /// Directly, by the machines' own addresses.
    Host,
    /// Directly, through address translation.
    Srflx,
    /// Through a relay (TURN), to the member or to the forwarding unit.
    Relay,
    /// Through the server's forwarding unit (SFU).
    Sfu,
}

/// What one sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct UplinkView {
    /// The sizes of one's picture that are sent, at most [`crate::limits::SFU_LAYERS`].
    pub layers: Vec<LayerView>,
    /// Payload bits per second of one copy.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub bitrate_bps: u64,
    /// What the narrowest link carries, as its congestion controller says; 0 while unknown.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub target_bps: u64,
    /// What would be sent to that link if it carried everything.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub wanted_bps: u64,
    /// Largest share of one's packets that a link lost, 0 to 1.
    pub loss: f64,
    /// Share of the time the encoder works, 0 to 1.
    pub encoder_busy: f64,
}

/// One size of one's picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct LayerView {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Pictures per second.
    pub fps: f64,
    /// Payload bits per second.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub bitrate_bps: u64,
}

/// Which program on which kind of system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct AppInfo {
    /// Of the app, as in `Cargo.toml`.
    pub version: String,
    /// `linux`, `macos` or `windows`.
    pub os: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
}
