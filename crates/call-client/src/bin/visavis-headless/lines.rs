//! The lines on standard output: one JSON object each, with `event` and `at_ms`.
//!
//! A thread of its own writes them, so that a reader that does not read cannot stop the call; past
//! [`PENDING_LINES`] further lines are dropped and counted.

use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use call_client::Observed;
use call_client::stats::CallStats;
use call_core::{CallEvent, LinkPeer};
use call_protocol::care::Door;
use call_protocol::channel::file::{Digest, OfferId};
use call_protocol::ui::TransferState;
use call_protocol::ui::network::{Cause, Severity};
use call_protocol::wire::TopologyMode;
use call_protocol::{ErrorCode, MediaSource, MemberId};
use call_transport::LinkState;
use serde::Serialize;

/// Lines waiting for standard output: minutes of a large call.
const PENDING_LINES: usize = 4_096;

/// One line, apart from its time.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Line {
    Room {
        code: String,
        link: String,
    },
    Joined {
        member: MemberId,
        members: Vec<MemberId>,
    },
    MemberJoined {
        member: MemberId,
        name: String,
    },
    MemberLeft {
        member: MemberId,
        name: String,
    },
    /// One waits to be let in.
    Waiting,
    /// Somebody waits to be let in.
    Knock {
        knock: u32,
        name: String,
    },
    Host {
        member: MemberId,
    },
    Door {
        door: Door,
    },
    AskedToMute {
        member: MemberId,
    },
    /// The host removed somebody.
    Removed {
        member: MemberId,
    },
    Link {
        member: LinkEnd,
        /// Of the link for files beside the call's.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        data: bool,
        state: &'static str,
        path: Option<String>,
        rtt_ms: Option<f64>,
    },
    Topology {
        mode: TopologyMode,
        reason: String,
    },
    Reconnecting,
    Resumed,
    Offline,
    Online,
    FirstFrame {
        member: MemberId,
    },
    /// The first picture of what a member shares.
    FirstScreen {
        member: MemberId,
    },
    /// A member shares something, or no longer.
    Sharing {
        member: MemberId,
        on: bool,
    },
    FirstAudio {
        member: MemberId,
    },
    /// Without a member it is the own picture, for everybody.
    SoundOnly {
        member: Option<MemberId>,
        on: bool,
    },
    Stats(CallStats),
    /// What is the matter with the call changed.
    Diagnosis {
        cause: Option<Cause>,
        member: Option<MemberId>,
        severity: Option<Severity>,
    },
    Chat {
        from: Option<MemberId>,
        name: String,
        text: String,
    },
    FileOffer {
        offer: OfferId,
        from: MemberId,
        name: String,
        size: u64,
    },
    FileProgress {
        offer: OfferId,
        member: MemberId,
        done: u64,
        size: u64,
    },
    FileDone {
        offer: OfferId,
        from: MemberId,
        name: String,
        size: u64,
        path: String,
        blake3: Digest,
    },
    Transfer {
        offer: OfferId,
        member: MemberId,
        outgoing: bool,
        #[serde(flatten)]
        state: TransferState,
    },
    Error {
        code: ErrorCode,
        detail: String,
    },
    Recorded {
        files: Vec<String>,
        dropped_pictures: u64,
        dropped_sound_ms: u64,
    },
    Left {
        reason: String,
    },
}

/// A member's id, or `"sfu"`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum LinkEnd {
    Member(MemberId),
    Sfu(&'static str),
}

impl From<LinkPeer> for LinkEnd {
    fn from(peer: LinkPeer) -> Self {
        match peer {
            LinkPeer::Member(member) | LinkPeer::Data(member) => Self::Member(member),
            LinkPeer::Sfu => Self::Sfu("sfu"),
        }
    }
}

impl Line {
    /// What an observation is as a line; some are not told.
    pub(crate) fn of(observed: Observed) -> Option<Self> {
        Some(match observed {
            Observed::Call(CallEvent::Room { code, link }) => Self::Room { code, link },
            Observed::Call(CallEvent::Joined { member, members }) => {
                Self::Joined { member, members }
            }
            Observed::Call(CallEvent::MemberJoined { member, name }) => {
                Self::MemberJoined { member, name }
            }
            Observed::Call(CallEvent::MemberLeft { member, name }) => {
                Self::MemberLeft { member, name }
            }
            Observed::Call(CallEvent::Waiting) => Self::Waiting,
            Observed::Call(CallEvent::Knock { knock, name }) => Self::Knock { knock, name },
            Observed::Call(CallEvent::Host { member }) => Self::Host { member },
            Observed::Call(CallEvent::Door { door }) => Self::Door { door },
            Observed::Call(CallEvent::AskedToMute { member }) => Self::AskedToMute { member },
            Observed::Call(CallEvent::Removed { member }) => Self::Removed { member },
            // The transport's own report tells the path as well.
            Observed::Call(CallEvent::Link { .. }) => return None,
            Observed::Call(CallEvent::Topology { mode, reason }) => Self::Topology { mode, reason },
            Observed::Call(CallEvent::Chat { from, name, text }) => Self::Chat { from, name, text },
            Observed::Call(CallEvent::Sharing { member, on }) => Self::Sharing { member, on },
            Observed::Call(CallEvent::SoundOnly { member, on }) => Self::SoundOnly { member, on },
            Observed::Call(CallEvent::FileOffer {
                offer,
                from,
                name,
                size_bytes: size,
            }) => Self::FileOffer {
                offer,
                from,
                name,
                size,
            },
            Observed::Call(CallEvent::FileProgress {
                offer,
                member,
                done_bytes: done,
                size_bytes: size,
            }) => Self::FileProgress {
                offer,
                member,
                done,
                size,
            },
            Observed::Call(CallEvent::FileDone {
                offer,
                from,
                name,
                size_bytes: size,
                path,
                root: blake3,
            }) => Self::FileDone {
                offer,
                from,
                name,
                size,
                path: path.to_string_lossy().into_owned(),
                blake3,
            },
            Observed::Call(CallEvent::TransferEnded {
                offer,
                member,
                outgoing,
                state,
            }) => Self::Transfer {
                offer,
                member,
                outgoing,
                state,
            },
            Observed::Call(CallEvent::Diagnosis { verdict }) => Self::Diagnosis {
                cause: verdict.map(|verdict| verdict.cause),
                member: verdict.and_then(|verdict| verdict.member),
                severity: verdict.map(|verdict| verdict.severity),
            },
            Observed::Call(CallEvent::Reconnecting) => Self::Reconnecting,
            Observed::Call(CallEvent::Resumed) => Self::Resumed,
            Observed::Call(CallEvent::Offline) => Self::Offline,
            Observed::Call(CallEvent::Online) => Self::Online,
            Observed::Call(CallEvent::Error { code, detail }) => Self::Error { code, detail },
            Observed::Call(CallEvent::Left { code }) => Self::Left {
                reason: code.map_or_else(|| "left".to_owned(), code_text),
            },
            Observed::Link {
                peer,
                state,
                rtt_ms,
            } => {
                let (state, path) = match state {
                    LinkState::Connecting => ("connecting", None),
                    LinkState::Connected { path } => ("connected", Some(path.to_string())),
                    LinkState::Reconnecting => ("reconnecting", None),
                    LinkState::Failed => ("failed", None),
                    LinkState::Closed => ("closed", None),
                };
                Self::Link {
                    member: peer.into(),
                    data: matches!(peer, LinkPeer::Data(_)),
                    state,
                    path,
                    rtt_ms,
                }
            }
            Observed::FirstFrame(member, MediaSource::Screen) => Self::FirstScreen { member },
            Observed::FirstFrame(member, _) => Self::FirstFrame { member },
            Observed::FirstAudio(member) => Self::FirstAudio { member },
            Observed::DeviceFailed(code) => Self::Error {
                code,
                detail: "a device does not deliver".to_owned(),
            },
            Observed::Stats(stats) => Self::Stats(*stats),
        })
    }
}

/// The code as on the wire.
fn code_text(code: ErrorCode) -> String {
    let json = serde_json::to_string(&code).unwrap_or_default();
    json.trim_matches('"').to_owned()
}

#[derive(Serialize)]
struct Stamped<'a> {
    at_ms: u64,
    #[serde(flatten)]
    line: &'a Line,
}

/// Standard output.
pub(crate) struct Lines {
    started: Instant,
    writer: Mutex<Option<(SyncSender<String>, JoinHandle<()>)>>,
    dropped: AtomicU64,
}

impl Lines {
    /// Times count from `started`.
    pub(crate) fn start(started: Instant) -> Self {
        let (sender, receiver) = sync_channel::<String>(PENDING_LINES);
        let work = move || {
            let mut out = std::io::stdout();
            for line in receiver {
                // A reader that went away ends the output, not the call.
                if out
                    .write_all(line.as_bytes())
                    .and_then(|()| out.flush())
                    .is_err()
                {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("lines".into()).spawn(work);
        let writer = thread.ok().map(|thread| (sender, thread));
        Self {
            started,
            writer: Mutex::new(writer),
            dropped: AtomicU64::new(0),
        }
    }

    /// Prints a line. Never waits.
    pub(crate) fn print(&self, line: &Line) {
        let text = format_line(self.started.elapsed().as_millis() as u64, line);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sender, _)) = &*writer
            && sender.try_send(text).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything is printed.
    pub(crate) fn finish(&self) {
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((sender, thread)) = writer {
            drop(sender);
            if thread.join().is_err() {
                tracing::error!("the output's thread panicked");
            }
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "lines were not printed");
        }
    }
}

fn format_line(at_ms: u64, line: &Line) -> String {
    let mut text = serde_json::to_string(&Stamped { at_ms, line }).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use call_protocol::ui::network::Verdict;
    use call_transport::PathKind;

    use super::*;

    #[test]
    fn lines_keep_their_contract() {
        let line = |observed| {
            let text = format_line(7, &Line::of(observed).unwrap());
            assert!(text.ends_with('\n') && text.lines().count() == 1);
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let member = MemberId(3);
        let state = LinkState::Connected {
            path: PathKind::Host,
        };
        let link = line(Observed::Link {
            peer: LinkPeer::Member(member),
            state,
            rtt_ms: Some(1.5),
        });
        let want = serde_json::json!({
            "event": "link", "at_ms": 7, "member": 3, "state": "connected", "path": "host",
            "rtt_ms": 1.5
        });
        assert_eq!(link, want);
        let left = line(Observed::Call(CallEvent::Left {
            code: Some(ErrorCode::RoomFull),
        }));
        assert_eq!(left["reason"], "room_full");
        let verdict = Verdict {
            cause: Cause::OtherSide,
            member: Some(member),
            severity: Severity::Mild,
        };
        let told = |verdict| line(Observed::Call(CallEvent::Diagnosis { verdict }));
        let want = serde_json::json!({
            "event": "diagnosis", "at_ms": 7, "cause": "other_side", "member": 3, "severity": "mild"
        });
        assert_eq!(told(Some(verdict)), want);
        let want = serde_json::json!({
            "event": "diagnosis", "at_ms": 7, "cause": null, "member": null, "severity": null
        });
        assert_eq!(told(None), want);
        let stats = line(Observed::Stats(Box::default()));
        assert_eq!(stats["event"], "stats");
        assert!(stats["members"].is_array() && stats["up"]["video_layers"].is_array());
        let sound_only = line(Observed::Call(CallEvent::SoundOnly {
            member: None,
            on: true,
        }));
        assert_eq!(
            sound_only,
            serde_json::json!({"event": "sound_only", "at_ms": 7, "member": null, "on": true})
        );
        let first = line(Observed::FirstFrame(member, MediaSource::Screen));
        assert_eq!(
            first,
            serde_json::json!({"event": "first_screen", "at_ms": 7, "member": 3})
        );
        let first = line(Observed::FirstFrame(member, MediaSource::Camera));
        assert_eq!(
            first,
            serde_json::json!({"event": "first_frame", "at_ms": 7, "member": 3})
        );
    }
}
