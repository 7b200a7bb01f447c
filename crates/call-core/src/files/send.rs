//! One offer of one's own: being prepared, and what became of it with each receiver.
//!
//! ```text
//! Preparing ──► for each receiver:  Offered ──first request──► Accepted ──► Done
//!     └ cancelled, failed                └ declined, gone          └ cancelled by either, failed on either side
//! ```
//!
//! The offer is repeated until it is answered. Then the receiver leads: it says which groups it wants,
//! and what it wanted last is served while the data link is there. A receiver that is silent is asked how
//! it stands by telling it the pause's state again. One that came back on another seat proves
//! to know the offer's id ([`FileSignal::Resume`]) and is offered it again without asking the person; it
//! takes the place of a receiver whose seat is gone, if there is one.
//!
//! What was prepared is withdrawn when no receiver can come back: all are done, declined, cancelled or
//! failed for another reason than that their seat is gone, or were dismissed; and when the call ends.
//!
//! Invariants: nothing is served before a receiver asked, after the end, or while either side paused; a
//! request that is being served is not begun anew; somebody to whom it was not offered gets nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use call_protocol::channel::PeerMessage;
use call_protocol::channel::file::{FileEntry, FileSignal, GroupRange, OfferId, group_count};
use call_protocol::ui::{LinkView, TransferState, TransferView};
use call_protocol::{ErrorCode, MemberId, limits};

use super::io::{FileEvent, FileOp};
use super::label::Label;
use super::meter::{Meter, Pace};
use super::{Action, Actions, EVENT_EVERY, is_broken, names, peer_code};
use crate::output::CallEvent;
use crate::rate::{Bucket, Rate};

/// Wait before an offer is repeated for the first time; it doubles up to [`OFFER_REPEAT_MAX`].
const OFFER_REPEAT: Duration = Duration::from_secs(1);
/// An offer can have 200 KB: more often would load a link for somebody who never answers.
const OFFER_REPEAT_MAX: Duration = Duration::from_secs(60);
/// A receiver silent for this long is asked how it stands. Receivers repeat themselves every 20 s.
const SILENCE: Duration = Duration::from_secs(30);
/// Answers to those who name an offer: not more often, they are large.
const ANSWER_EVERY: Duration = Duration::from_millis(250);
/// Requests served: a folder of small files needs one per file. More let a receiver keep the disk busy
/// with nothing.
const SERVES: Rate = Rate {
    burst: 200,
    refill: Duration::from_millis(5),
};
/// How long one waits that asks for more.
const SERVE_LATER: Duration = Duration::from_millis(100);
/// Receivers of one offer, those whose seat is gone included; beyond it the oldest that are over are
/// forgotten, then nobody new is taken.
const RECEIVERS: usize = 2 * limits::ROOM_MEMBERS;
/// Room that sealing takes in a message.
const SEAL_BYTES: usize = 1_024;

/// One offer of one's own.
#[derive(Debug)]
pub(crate) struct Outgoing {
    offer: OfferId,
    /// Sorts transfers by age.
    pub(crate) order: u64,
    label: Label,
    stage: Stage,
    receivers: Vec<Receiver>,
    is_withdrawn: bool,
    answer_at: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    /// To whom it will be offered.
    Preparing {
        to: Vec<MemberId>,
        done_bytes: u64,
    },
    Offered {
        files: Vec<FileEntry>,
    },
    /// It never came to an offer.
    Void {
        state: TransferState,
        is_hidden: bool,
    },
}

#[derive(Debug)]
struct Receiver {
    member: MemberId,
    name: String,
    is_present: bool,
    phase: Phase,
    /// Whether the offer is known to have arrived on that seat.
    is_answered: bool,
    is_hidden: bool,
    paused_here: bool,
    paused_there: bool,
    want: Option<Want>,
    serving: Serving,
    /// When the offer is said again, or, once answered, when they are asked how it stands.
    speak_at: Instant,
    offers: u32,
    serves: Bucket,
    serve_at: Instant,
    meter: Meter,
    event: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
enum Serving {
    No,
    Running,
    /// All was handed to the link.
    Handed,
}

impl Outgoing {
    /// Begins to prepare.
    pub(crate) fn prepare(
        offer: OfferId,
        order: u64,
        to: Vec<MemberId>,
        paths: Vec<PathBuf>,
        out: &mut Actions,
    ) -> Self {
        let name = paths.first().and_then(|path| path.file_name()?.to_str());
        let parts = names::components(name.unwrap_or_default());
        out.push_back(Action::Op(FileOp::Prepare { offer, paths }));
        Self {
            offer,
            order,
            label: Label::new(&[parts], 0),
            stage: Stage::Preparing { to, done_bytes: 0 },
            receivers: Vec::new(),
            is_withdrawn: false,
            answer_at: None,
        }
    }

    /// Whether nothing can come of it any more.
    pub(crate) fn is_over(&self) -> bool {
        match &self.stage {
            Stage::Preparing { .. } => false,
            Stage::Void { .. } => true,
            Stage::Offered { .. } => self.is_withdrawn,
        }
    }

    /// Whether data is to flow to this member.
    pub(crate) fn wants_link(&self, member: MemberId) -> bool {
        let receiver = self.receivers.iter().find(|it| it.is(member));
        receiver.is_some_and(|it| it.phase == Phase::Accepted && !it.is_paused())
    }

    /// Whether data is being handed to the link to this member.
    pub(crate) fn is_serving(&self, member: MemberId) -> bool {
        let receiver = self.receivers.iter().find(|it| it.is(member));
        receiver.is_some_and(|it| it.serving == Serving::Running)
    }

    fn receiver(&mut self, member: MemberId) -> Option<&mut Receiver> {
        self.receivers.iter_mut().find(|it| it.is(member))
    }

    /// The receiver the person means: one who is there before one who was.
    fn named(&mut self, member: MemberId) -> Result<&mut Receiver, ErrorCode> {
        let shown = self
            .receivers
            .iter_mut()
            .filter(|it| it.member == member && !it.is_hidden);
        shown
            .max_by_key(|it| it.is_present)
            .ok_or(ErrorCode::BadState)
    }

    /// The disk reports. `names` are those who are there.
    pub(crate) fn handle_event(
        &mut self,
        now: Instant,
        event: FileEvent,
        name_of: impl Fn(MemberId) -> Option<String>,
        out: &mut Actions,
    ) {
        match event {
            FileEvent::Preparing {
                done_bytes: done,
                total_bytes,
                ..
            } => {
                if let Stage::Preparing { done_bytes, .. } = &mut self.stage {
                    *done_bytes = done;
                    self.label.size_bytes = total_bytes;
                }
            }
            FileEvent::Prepared { files, .. } => self.make(now, files, name_of, out),
            FileEvent::PrepareFailed { code, .. } => {
                if matches!(self.stage, Stage::Preparing { .. }) {
                    self.void(TransferState::Failed { code }, out);
                }
            }
            FileEvent::Served { to, .. } => {
                if let Some(receiver) = self.receiver(to)
                    && receiver.serving == Serving::Running
                {
                    receiver.serving = Serving::Handed;
                }
            }
            FileEvent::SourceFailed { code, .. } => {
                let state = TransferState::Failed { code };
                let offer = self.offer;
                for receiver in &mut self.receivers {
                    receiver.end(offer, state, out);
                }
                self.withdraw_if_over(out);
            }
            _ => tracing::debug!("nothing the disk says of an offer of one's own"),
        }
    }

    fn make(
        &mut self,
        now: Instant,
        files: Vec<FileEntry>,
        name_of: impl Fn(MemberId) -> Option<String>,
        out: &mut Actions,
    ) {
        let Stage::Preparing { to, .. } = &self.stage else {
            return;
        };
        let offer = self.offer;
        let to: Vec<_> = to
            .iter()
            .filter_map(|id| Some((*id, name_of(*id)?)))
            .collect();
        let message = PeerMessage::File(FileSignal::Offer {
            offer,
            files: files.clone(),
        });
        let bytes = serde_json::to_vec(&message).map_or(usize::MAX, |json| json.len());
        let code = match () {
            () if to.is_empty() => Some(ErrorCode::ReceiverGone),
            () if bytes > limits::SEALED_MESSAGE_BYTES - SEAL_BYTES => {
                Some(ErrorCode::TooManyFiles)
            }
            () if !message.is_within_limits() => Some(ErrorCode::FileFailed),
            () => None,
        };
        if let Some(code) = code {
            return self.void(TransferState::Failed { code }, out);
        }
        let size_bytes = files.iter().map(|file| file.size_bytes).sum();
        self.label = Label::new(&names::offer_components(&files), size_bytes);
        self.stage = Stage::Offered { files };
        let receivers = to
            .into_iter()
            .map(|(id, name)| Receiver::new(now, id, name));
        self.receivers = receivers.collect();
    }

    /// It ends before it was offered.
    fn void(&mut self, state: TransferState, out: &mut Actions) {
        if let Stage::Preparing { to, .. } = &self.stage {
            for member in to {
                out.push_back(Action::Event(CallEvent::TransferEnded {
                    offer: self.offer,
                    member: *member,
                    outgoing: true,
                    state,
                }));
            }
        }
        let is_hidden = false;
        self.stage = Stage::Void { state, is_hidden };
        self.withdraw(out);
    }

    fn withdraw(&mut self, out: &mut Actions) {
        if !std::mem::replace(&mut self.is_withdrawn, true) {
            let offer = self.offer;
            out.push_back(Action::Op(FileOp::Withdraw { offer }));
        }
    }

    fn withdraw_if_over(&mut self, out: &mut Actions) {
        let is_offered = matches!(self.stage, Stage::Offered { .. });
        if is_offered && self.receivers.iter().all(Receiver::is_over) {
            self.withdraw(out);
        }
    }

    /// A member says something about it.
    pub(crate) fn handle_signal(
        &mut self,
        now: Instant,
        from: MemberId,
        signal: FileSignal,
        out: &mut Actions,
    ) {
        let Stage::Offered { files } = &self.stage else {
            return tracing::debug!(%from, "about an offer that was not made");
        };
        if let FileSignal::Want { file, groups, .. } = &signal
            && !is_of(files, *file, groups)
        {
            return tracing::debug!(%from, "wants what is not there");
        }
        let (offer, size_bytes) = (self.offer, self.label.size_bytes);
        let is_withdrawn = self.is_withdrawn;
        let Some(receiver) = self.receiver(from) else {
            if is_withdrawn && matches!(signal, FileSignal::Want { .. }) {
                // They came back after it ended.
                let (to, code) = (Some(from), None);
                let signal = FileSignal::Cancel { offer, code };
                out.push_back(Action::Send { to, signal });
            }
            return tracing::debug!(%from, "about an offer that was not made to them");
        };
        receiver.handle_signal(now, offer, size_bytes, signal, out);
        self.withdraw_if_over(out);
    }

    /// Somebody proved to know the offer's id.
    pub(crate) fn handle_resume(
        &mut self,
        now: Instant,
        from: MemberId,
        name: &str,
        out: &mut Actions,
    ) {
        let Stage::Offered { files } = &self.stage else {
            return;
        };
        if self.answer_at.is_some_and(|at| now < at) {
            return tracing::debug!(%from, "asks for an offer too often");
        }
        self.answer_at = Some(now + ANSWER_EVERY);
        let offer = self.offer;
        let signal = FileSignal::Offer {
            offer,
            files: files.clone(),
        };
        let to = Some(from);
        if self.is_withdrawn {
            return out.push_back(Action::Send { to, signal });
        }
        let place = self.place_of(from, name);
        let Some(receiver) = place.and_then(|at| self.receivers.get_mut(at)) else {
            return self.add_receiver(now, from, name);
        };
        receiver.member = from;
        name.clone_into(&mut receiver.name);
        receiver.is_present = true;
        if !receiver.is_over() {
            receiver.offer_again(now, offer, out);
        } else if receiver.phase != Phase::Ended(TransferState::Done) {
            // What they ask for then is answered with the end.
            out.push_back(Action::Send { to, signal });
        }
    }

    /// The receiver who names the offer from this seat: it is theirs; they had another one, by their
    /// name; or else somebody whose seat is gone.
    fn place_of(&self, from: MemberId, name: &str) -> Option<usize> {
        let find = |is_it: &dyn Fn(&Receiver) -> bool| self.receivers.iter().position(is_it);
        find(&|it| it.is(from))
            .or_else(|| find(&|it| !it.is_present && !it.is_over() && it.name == name))
            .or_else(|| find(&|it| !it.is_present && it.name == name))
            .or_else(|| find(&|it| !it.is_present && !it.is_over()))
    }

    fn add_receiver(&mut self, now: Instant, from: MemberId, name: &str) {
        // Their old seat is still there; it will be found to be silent.
        self.receivers.retain(|it| !it.is_hidden || !it.is_over());
        if self.receivers.len() < RECEIVERS {
            let receiver = Receiver::new(now, from, name.to_owned());
            self.receivers.push(receiver);
        }
    }

    /// A member's seat is gone.
    pub(crate) fn handle_left(&mut self, member: MemberId, out: &mut Actions) {
        let offer = self.offer;
        let Some(at) = self.receivers.iter().position(|it| it.is(member)) else {
            return;
        };
        let receiver = &mut self.receivers[at];
        receiver.stop(offer, out);
        receiver.is_present = false;
        let name = receiver.name.clone();
        if receiver.phase == Phase::Offered {
            let code = ErrorCode::ReceiverGone;
            receiver.finish(offer, TransferState::Failed { code }, out);
        }
        // Somebody of that name came back for it before this seat was gone.
        let is_successor = |it: &Receiver| it.is_present && it.member > member && it.name == name;
        if !self.receivers[at].is_over() && self.receivers.iter().any(is_successor) {
            self.receivers.remove(at);
        }
    }

    /// The person pauses or resumes it for a receiver.
    ///
    /// # Errors
    /// [`ErrorCode::BadState`] unless it was accepted there and goes on.
    pub(crate) fn pause(
        &mut self,
        now: Instant,
        member: MemberId,
        paused: bool,
        out: &mut Actions,
    ) -> Result<(), ErrorCode> {
        let offer = self.offer;
        let receiver = self.named(member)?;
        if receiver.phase != Phase::Accepted {
            return Err(ErrorCode::BadState);
        }
        receiver.paused_here = paused;
        if paused {
            receiver.stop(offer, out);
        }
        receiver.say_pause(now, offer, out);
        Ok(())
    }

    /// The person ends it, for one receiver or for everybody.
    ///
    /// # Errors
    /// [`ErrorCode::BadState`] if it is over.
    pub(crate) fn cancel(
        &mut self,
        member: Option<MemberId>,
        out: &mut Actions,
    ) -> Result<(), ErrorCode> {
        let offer = self.offer;
        let state = TransferState::Cancelled { by_me: true };
        if matches!(self.stage, Stage::Preparing { .. }) && member.is_none() {
            self.void(state, out);
            return Ok(());
        }
        if let Some(member) = member {
            let receiver = self.named(member)?;
            if !receiver.end(offer, state, out) {
                return Err(ErrorCode::BadState);
            }
        } else {
            let receivers = self.receivers.iter_mut();
            let ended = receivers.filter_map(|it| it.end(offer, state, out).then_some(()));
            if ended.count() == 0 {
                return Err(ErrorCode::BadState);
            }
        }
        self.withdraw_if_over(out);
        Ok(())
    }

    /// The person has seen how it ended.
    ///
    /// # Errors
    /// [`ErrorCode::BadState`] if it is not over.
    pub(crate) fn dismiss(
        &mut self,
        member: Option<MemberId>,
        out: &mut Actions,
    ) -> Result<(), ErrorCode> {
        match (&mut self.stage, member) {
            (Stage::Void { is_hidden, .. }, _) => *is_hidden = true,
            (Stage::Offered { .. }, Some(member)) => {
                let receiver = self.named(member)?;
                if !matches!(receiver.phase, Phase::Ended(_)) {
                    return Err(ErrorCode::BadState);
                }
                receiver.is_hidden = true;
                self.withdraw_if_over(out);
            }
            _ => return Err(ErrorCode::BadState),
        }
        Ok(())
    }

    /// The call is over.
    pub(crate) fn release(&mut self, out: &mut Actions) {
        self.withdraw(out);
    }

    /// Does all that is due for one receiver. `may_serve`: the data link is connected and there is a
    /// place; `is_connected` without a place.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        member: MemberId,
        (is_connected, may_serve): (bool, bool),
        out: &mut Actions,
    ) {
        let (offer, size_bytes) = (self.offer, self.label.size_bytes);
        let Stage::Offered { files } = &self.stage else {
            return;
        };
        let Some(receiver) = self.receivers.iter_mut().find(|it| it.is(member)) else {
            return;
        };
        if !is_connected && receiver.serving != Serving::No {
            // They ask again for what they did not get.
            receiver.stop(offer, out);
        }
        let to = Some(member);
        match receiver.phase {
            Phase::Ended(_) => return,
            _ if now < receiver.speak_at => {}
            _ if receiver.is_answered => receiver.say_pause(now, offer, out),
            _ => {
                let wait = OFFER_REPEAT * 2_u32.saturating_pow(receiver.offers.min(10));
                receiver.offers += 1;
                receiver.speak_at = now + wait.min(OFFER_REPEAT_MAX);
                let files = files.clone();
                let signal = FileSignal::Offer { offer, files };
                out.push_back(Action::Send { to, signal });
            }
        }
        if may_serve && receiver.serving == Serving::No && now >= receiver.serve_at {
            receiver.serve(now, offer, out);
        }
        let done_bytes = receiver.meter.done_bytes();
        if receiver.event.is_due(now, done_bytes) {
            out.push_back(Action::Event(CallEvent::FileProgress {
                offer,
                member,
                done_bytes,
                size_bytes,
            }));
        }
    }

    /// When [`Self::settle`] has something to do.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Instant> {
        let live = self
            .receivers
            .iter()
            .filter(|it| it.is_present && !it.is_ended());
        let due = live.flat_map(|it| {
            let event = it.event.due_at(now, it.meter.done_bytes());
            let serve = (it.want.is_some() && it.serve_at > now).then_some(it.serve_at);
            [Some(it.speak_at), event, serve].into_iter().flatten()
        });
        due.min()
    }

    pub(crate) fn is_moving(&self, now: Instant) -> bool {
        let mut live = self
            .receivers
            .iter()
            .filter(|it| !it.is_ended() && !it.is_hidden);
        live.any(|it| it.meter.is_moving(now))
    }

    /// What the person sees.
    pub(crate) fn views(
        &self,
        now: Instant,
        link: impl Fn(MemberId) -> Option<LinkView>,
    ) -> Vec<TransferView> {
        let view = |member: Option<&Receiver>, state: TransferState, done_bytes: u64| {
            let meter = member.map(|it| &it.meter);
            let meter = meter.filter(|_| state == TransferState::Running);
            let size_bytes = self.label.size_bytes;
            TransferView {
                offer: self.offer.to_string(),
                outgoing: true,
                member: member.map(|it| it.member),
                member_name: member.map(|it| it.name.clone()).unwrap_or_default(),
                name: self.label.name.clone(),
                files: self.label.files,
                is_folder: self.label.is_folder,
                size_bytes,
                done_bytes,
                rate_bytes_per_s: meter.map_or(0, |it| it.rate_bytes_per_s(now)),
                remaining_s: meter.and_then(|it| it.remaining_s(now, size_bytes)),
                state,
                path: None,
            }
        };
        match &self.stage {
            Stage::Preparing { done_bytes, .. } => {
                vec![view(None, TransferState::Preparing, *done_bytes)]
            }
            Stage::Void {
                is_hidden: true, ..
            } => Vec::new(),
            Stage::Void { state, .. } => vec![view(None, *state, 0)],
            Stage::Offered { .. } => {
                let shown = self.receivers.iter().filter(|it| !it.is_hidden);
                let shown = shown
                    .map(|it| view(Some(it), it.state(link(it.member)), it.meter.done_bytes()));
                shown.collect()
            }
        }
    }
}

impl Receiver {
    fn new(now: Instant, member: MemberId, name: String) -> Self {
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
    fn is(&self, member: MemberId) -> bool {
        self.is_present && self.member == member
    }

    fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether nobody will come back for it.
    fn is_over(&self) -> bool {
        let code = ErrorCode::ReceiverGone;
        self.is_ended()
            && (self.is_hidden || self.phase != Phase::Ended(TransferState::Failed { code }))
    }

    fn is_paused(&self) -> bool {
        self.paused_here || self.paused_there
    }

    fn state(&self, link: Option<LinkView>) -> TransferState {
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
    fn offer_again(&mut self, now: Instant, offer: OfferId, out: &mut Actions) {
        if self.is_ended() {
            self.phase = Phase::Offered;
        }
        self.stop(offer, out);
        self.is_answered = false;
        self.offers = 0;
        self.speak_at = now;
    }

    fn handle_signal(
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

    fn serve(&mut self, now: Instant, offer: OfferId, out: &mut Actions) {
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

    /// Serves nothing more until they ask again.
    fn stop(&mut self, offer: OfferId, out: &mut Actions) {
        self.want = None;
        if std::mem::replace(&mut self.serving, Serving::No) != Serving::No {
            let to = self.member;
            out.push_back(Action::Op(FileOp::StopServing { offer, to }));
        }
    }

    /// Tells the pause's state, to which they answer with theirs.
    fn say_pause(&mut self, now: Instant, offer: OfferId, out: &mut Actions) {
        self.speak_at = now + SILENCE;
        if self.is_present {
            let (to, paused) = (Some(self.member), self.paused_here);
            let signal = FileSignal::Pause { offer, paused };
            out.push_back(Action::Send { to, signal });
        }
    }

    /// Reaches a final state and tells them. False if there is one.
    fn end(&mut self, offer: OfferId, state: TransferState, out: &mut Actions) -> bool {
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

    fn finish(&mut self, offer: OfferId, state: TransferState, out: &mut Actions) {
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
fn farewell(offer: OfferId, state: TransferState) -> Option<FileSignal> {
    let code = match state {
        TransferState::Cancelled { by_me: true } => None,
        TransferState::Failed { code } if code != ErrorCode::ReceiverGone => Some(code),
        _ => return None,
    };
    Some(FileSignal::Cancel { offer, code })
}

/// Whether these groups are those of a file of the offer.
fn is_of(files: &[FileEntry], file: u32, groups: &[GroupRange]) -> bool {
    let Some(file) = files.get(file as usize) else {
        return false;
    };
    let count = group_count(file.size_bytes);
    groups
        .iter()
        .all(|range| range.end().is_some_and(|end| end <= count))
}
