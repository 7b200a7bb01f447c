//! The pure client: what a call is, without a socket, a clock or a device.
//!
//! A [`Session`] lives as long as the app. Its driver feeds it every command of the person, every
//! message of the server, every event of a link or a device as an [`Input`], drains the
//! [`Output`]s after each, and arms one timer. Everything it decides is therefore a function of its
//! configuration (with the seed) and of its inputs with their times, and every test runs in virtual
//! time.
//!
//! ```text
//! handle_input(now, Input) ──► Session ──► poll_output()   until None
//!                                    └───► poll_timeout()  when to hand in Input::Timeout
//! ```
//!
//! Inside: `call` is one run from start or join to its end, `signalling` its connection to the
//! server, `roster` who else is there, `peer_link` the policy for the connection to one of them or
//! to the SFU, `topology` how a pair moves from one to the other. `subscriptions`, `layers` and
//! `path_report` are what is said to and heard from the SFU, `quality` what is encoded over paths that
//! carry little, `diagnosis` why a call is bad, `chat` the log that all members hold,
//! `care` who is host and who waits. [`ActiveSpeaker`]
//! stands beside the
//! session: it decides who has the floor from levels ten times a second. `backoff`, `refusal`,
//! `keyframes`, `ice_servers` and `server_url` are the tables those decide by.
//!
//! Deliberately not here: WebRTC negotiation (call-transport does JSEP), media, frames, measuring
//! levels.

mod active_speaker;
mod backoff;
mod call;
mod call_away;
mod call_care;
mod call_channels;
mod call_chat;
mod call_data;
mod call_files;
mod call_links;
mod call_members;
mod call_network;
mod call_quality;
mod call_seat;
mod call_sfu;
mod call_signals;
mod call_topology;
mod care;
mod chat;
mod config;
mod context;
mod diagnosis;
mod files;
mod ice_servers;
mod input;
mod keyframes;
mod layers;
mod media_salt;
mod output;
mod own_profile;
mod path_report;
mod peer_link;
mod quality;
mod rate;
mod refusal;
mod roster;
mod server_url;
mod session;
mod share;
mod signalling;
mod subscriptions;
mod topology;
mod view;

pub use active_speaker::{ActiveSpeaker, SpeakerSample};
pub use config::{SessionConfig, TopologyWish};
pub use diagnosis::{LinkSample, MemberSample, StatsSample};
pub use files::tree as file_tree;
pub use files::{FileEvent, FileOp, FileToReceive, VerifiedFile};
pub use input::{AttemptId, Input, LinkEvent, LinkId, LinkPeer, LinkState, SocketId};
pub use output::{CallEvent, LinkOp, LocatePurpose, MediaOp, Output, Reason, SocketOp};
pub use quality::{
    LayerTarget, LinkFigures, PictureFigures, PicturePlan, QualityReport, SOUND_RESERVE_BPS,
    SoundPlan, layer_picture_bps, single_picture_bps,
};
pub use server_url::websocket_url;
pub use session::Session;
