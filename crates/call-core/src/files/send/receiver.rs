//! What became of an offer with one receiver.

use std::time::{Duration, Instant};

use call_protocol::channel::file::{FileSignal, GroupRange, OfferId};
use call_protocol::ui::{LinkView, TransferState};
use call_protocol::{ErrorCode, MemberId};

use super::super::io::FileOp;
use super::super::meter::{Meter, Pace};
use super::super::{Action, Actions, EVENT_EVERY, is_broken, peer_code};
use crate::output::CallEvent;
use crate::rate::{Bucket, Rate};

/// A receiver silent for this long is asked how it stands. Receivers repeat themselves every 20 s.
const SILENCE: Duration = Duration::from_secs(30);
/// Requests served: a folder of small files needs one per file. More let a receiver keep the disk busy
/// with nothing.
const SERVES: Rate = Rate {
    burst: 200,
    refill: Duration::from_millis(5),
};
/// How long one waits that asks for more.
const SERVE_LATER: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) member: MemberId,
    pub(super) name: String,
    pub(super) is_present: bool,
    pub(super) phase: Phase,
    /// Whether the offer is known to have arrived on that seat.
    pub(super) is_answered: bool,
    pub(super) is_hidden: bool,
    pub(super) paused_here: bool,
    paused_there: bool,
    want: Option<Want>,
    pub(super) serving: Serving,
    /// When the offer is said again, or, once answered, when they are asked how it stands.
    pub(super) speak_at: Instant,
    pub(super) offers: u32,
    serves: Bucket,
    pub(super) serve_at: Instant,
    pub(super) meter: Meter,
    pub(super) event: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Offered,
    Accepted,
    Ended(TransferState),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Want {
    file: u32,
    groups: Vec<GroupRange>,
    hashes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    No,
    Running,
    /// All was handed to the link.
    Handed,
}

impl Receiver {
    pub(super) fn new(now: Instant, member: MemberId, name: String) -> Self {
        Self {
            member,
            name,
            is_present: true,
            phase: Phase::Offered,
            is_answered: false,
            is_hidden: false,
            paused_here: false,
            paused_there: false,
            want: None,
            serving: Serving::No,
            speak_at: now,
            offers: 0,
            serves: Bucket::default(),
            serve_at: now,
            meter: Meter::default(),
            event: Pace::new(EVENT_EVERY),
        }
    }

    /// Whether this is the one on that seat now.
    pub(super) fn is(&self, member: MemberId) -> bool {
        self.is_present && self.member == member
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether nobody will come back for it.
    pub(super) fn is_over(&self) -> bool {
        let code = ErrorCode::ReceiverGone;
        self.is_ended()
            && (self.is_hidden || self.phase != Phase::Ended(TransferState::Failed { code }))
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_here || self.paused_there
    }

    pub(super) fn state(&self, link: Option<LinkView>) -> TransferState {
        match self.phase {
            Phase::Ended(state) => state,
            Phase::Offered => TransferState::Offered,
            Phase::Accepted if !self.is_present => TransferState::Interrupted,
            Phase::Accepted if self.is_paused() => TransferState::Paused {
                by_me: self.paused_here,
            },
            Phase::Accepted if is_broken(link) => TransferState::Interrupted,
            Phase::Accepted => TransferState::Running,
        }
    }

    /// Begins again with the offer; whether it was accepted stays.
    pub(super) fn offer_again(&mut self, now: Instant, offer: OfferId, out: &mut Actions) {
        if self.is_ended() {
            self.phase = Phase::Offered;
        }
        self.stop(offer, out);
        self.is_answered = false;
        self.offers = 0;
        self.speak_at = now;
    }

    pub(super) fn handle_signal(
        &mut self,
        now: Instant,
        offer: OfferId,
        size_bytes: u64,
        signal: FileSignal,
        out: &mut Actions,
    ) {
        if let Phase::Ended(state) = self.phase {
            let waits = matches!(
                signal,
                FileSignal::Received { .. } | FileSignal::Want { .. } | FileSignal::Progress { .. }
            );
            if waits && let Some(signal) = farewell(offer, state) {
                let to = Some(self.member);
                out.push_back(Action::Send { to, signal });
            }
            return;
        }
        let was_answered = self.is_answered;
        self.is_answered |= matches!(
            signal,
            FileSignal::Received { .. } | FileSignal::Want { .. }
        );
        // One that waits may do so because it did not hear of a pause's end: it is asked in any case.
        let waits = matches!(&signal, FileSignal::Want { groups, .. } if groups.is_empty());
        if self.is_answered && !(was_answered && waits) {
            self.speak_at = now + SILENCE;
        }
        match signal {
            FileSignal::Received { .. } => {}
            FileSignal::Decline { .. } => self.finish(offer, TransferState::Declined, out),
            FileSignal::Want {
                file,
                groups,
                hashes,
                done_bytes,
                paused,
                ..
            } => {
                if self.phase != Phase::Accepted {
                    self.phase = Phase::Accepted;
                    self.meter.start_at(done_bytes.min(size_bytes));
                }
                self.paused_there = paused;
                self.meter.set(now, done_bytes.min(size_bytes));
                let want = Want {
                    file,
                    groups,
                    hashes,
                };
                self.handle_want(now, offer, want, out);
            }
            FileSignal::Progress { done_bytes, .. } => {
                if self.phase == Phase::Accepted {
                    self.meter.set(now, done_bytes.min(size_bytes));
                }
            }
            FileSignal::Done { .. } => {
                self.meter.set(now, size_bytes);
                self.finish(offer, TransferState::Done, out);
            }
            FileSignal::Cancel { code, .. } => {
                let state = match code {
                    None => TransferState::Cancelled { by_me: false },
                    Some(code) => TransferState::Failed {
                        code: peer_code(code),
                    },
                };
                self.finish(offer, state, out);
            }
            FileSignal::Offer { .. } | FileSignal::Pause { .. } | FileSignal::Resume { .. } => {
                tracing::debug!("nothing a receiver says");
            }
        }
    }

    fn handle_want(&mut self, now: Instant, offer: OfferId, want: Want, out: &mut Actions) {
        if want.groups.is_empty() {
            self.stop(offer, out);
        } else if self.paused_here {
            self.say_pause(now, offer, out);
        } else if self.serving != Serving::Running
            || !self.want.as_ref().is_some_and(|old| old.covers(&want))
        {
            self.want = Some(want);
            self.serving = Serving::No;
        }
    }

    pub(super) fn serve(&mut self, now: Instant, offer: OfferId, out: &mut Actions) {
        let Some(want) = &self.want else { return };
        if !self.serves.take(now, SERVES, 1) {
            self.serve_at = now + SERVE_LATER;
            return;
        }
        self.serving = Serving::Running;
        out.push_back(Action::Op(FileOp::Serve {
            offer,
            to: self.member,
            file: want.file,
            groups: want.groups.clone(),
            hashes: want.hashes,
        }));
    }

    /// When more may be served to one who asked for too much.
    pub(super) fn serve_later(&self, now: Instant) -> Option<Instant> {
        (self.want.is_some() && self.serve_at > now).then_some(self.serve_at)
    }

    /// Serves nothing more until they ask again.
    pub(super) fn stop(&mut self, offer: OfferId, out: &mut Actions) {
        self.want = None;
        if std::mem::replace(&mut self.serving, Serving::No) != Serving::No {
            let to = self.member;
            out.push_back(Action::Op(FileOp::StopServing { offer, to }));
        }
    }

    /// Tells the pause's state, to which they answer with theirs.
    pub(super) fn say_pause(&mut self, now: Instant, offer: OfferId, out: &mut Actions) {
        self.speak_at = now + SILENCE;
        if self.is_present {
            let (to, paused) = (Some(self.member), self.paused_here);
            let signal = FileSignal::Pause { offer, paused };
            out.push_back(Action::Send { to, signal });
        }
    }

    /// Reaches a final state and tells them. False if there is one.
    pub(super) fn end(&mut self, offer: OfferId, state: TransferState, out: &mut Actions) -> bool {
        if self.is_ended() {
            return false;
        }
        if self.is_present
            && let Some(signal) = farewell(offer, state)
        {
            let to = Some(self.member);
            out.push_back(Action::Send { to, signal });
        }
        self.finish(offer, state, out);
        true
    }

    pub(super) fn finish(&mut self, offer: OfferId, state: TransferState, out: &mut Actions) {
        self.stop(offer, out);
        self.phase = Phase::Ended(state);
        out.push_back(Action::Event(CallEvent::TransferEnded {
            offer,
            member: self.member,
            outgoing: true,
            state,
        }));
    }
}

impl Want {
    /// Whether all of the other is in this.
    fn covers(&self, other: &Self) -> bool {
        let is_in = |range: &GroupRange| {
            self.groups.iter().any(|own| {
                own.first <= range.first && range.end().is_some_and(|end| own.end() >= Some(end))
            })
        };
        self.file == other.file && (self.hashes || !other.hashes) && other.groups.iter().all(is_in)
    }
}

/// What a sender says of an end; `None`: the receiver knows, or was not there to be told.
pub(super) fn farewell(offer: OfferId, state: TransferState) -> Option<FileSignal> {
    let code = match state {
        TransferState::Cancelled { by_me: true } => None,
        TransferState::Failed { code } if code != ErrorCode::ReceiverGone => Some(code),
        _ => return None,
    };
    Some(FileSignal::Cancel { offer, code })
}
