//! One offer of somebody else's, from being offered to its end.
//!
//! ```text
//! Asking ──accept──► Opening ──disk ready──► Going ──every file in its place──► Done
//!    └ decline, gone      └──────────┴── cancelled by either, corrupt, disk or source failed ──► …
//! ```
//!
//! While it goes, one file after the other is asked for: all of its groups that are not there, until
//! they are. Whatever interrupts that (the link, a pause, the sender's or one's own new seat, a
//! restart) makes it ask again for what is missing then, and nothing else has to be remembered.
//! When the sender's seat is gone, everybody is asked who has the offer ([`FileSignal::Resume`]), most
//! often after anybody appeared; only who offers the very same files is taken for its sender.
//!
//! What is on disk: nothing before accepting; the unfinished files are kept while it is interrupted,
//! when the call ends, and when the app does; they are removed with every final state but `Done`. Files
//! that were finished stay in any case.
//!
//! Invariants: nothing is asked for before the person accepted; after the end nothing but the end is
//! said, to the sender only, and only when asked; an offer is known by its id and, across seats, by its
//! files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use call_protocol::channel::file::{
    Digest, FileEntry, FileSignal, GroupRange, OfferId, group_bytes,
};
use call_protocol::ui::{LinkView, TransferState, TransferView};
use call_protocol::{ErrorCode, MemberId, limits};

use super::groups::GroupSet;
use super::io::{FileEvent, FileOp, FileToReceive, VerifiedFile};
use super::label::Label;
use super::meter::{Meter, Pace};
use super::{Action, Actions, EVENT_EVERY, is_broken, names, peer_code, resume_proof};
use crate::output::CallEvent;

/// A request of which nothing came is repeated after this time, and that of a group at
/// [`SLOWEST_BYTES_PER_S`]. Longer leaves a transfer standing when a request got lost; shorter asks
/// twice for what is on its way over a slow link.
const PATIENCE: Duration = Duration::from_secs(5);
/// See [`PATIENCE`].
const SLOWEST_BYTES_PER_S: u64 = 4 * 1024 * 1024;
/// One's own state is said again this long after it was said last, in case it got lost.
const REPEAT: Duration = Duration::from_secs(20);
/// How often the sender is told how far it is; for its display only.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// A file that arrives corrupt more often is given up.
const CORRUPT_MOST: u8 = 3;
/// Wait before everybody is asked for the first time after somebody appeared; it doubles each time, up
/// to [`RESUME_MOST`].
const RESUME_FIRST: Duration = Duration::from_secs(1);
/// See [`RESUME_FIRST`].
const RESUME_MOST: Duration = Duration::from_secs(60);
/// How long what an earlier run left is looked for in a call, and the end of a transfer whose sender is
/// away is kept for it.
const LOOK_FOR: Duration = Duration::from_secs(10 * 60);

/// One offer of somebody else's.
#[derive(Debug)]
pub(crate) struct Incoming {
    offer: OfferId,
    /// Sorts transfers by age.
    pub(crate) order: u64,
    label: Label,
    /// The sender's seat, or the last one they had.
    pub(crate) member: Option<MemberId>,
    member_name: String,
    is_present: bool,
    phase: Phase,
    files: Vec<IncomingFile>,
    paused_here: bool,
    paused_there: bool,
    /// Left by an earlier run and not found again yet, or dismissed.
    is_hidden: bool,
    asked: Option<Asked>,
    /// Whether one asked for something, and was paused, when one said so last.
    told: Option<(bool, bool)>,
    repeat_at: Instant,
    attached: Option<MemberId>,
    resume_at: Option<Instant>,
    resumes: u32,
    /// When looking for the sender ends, unless the person waits for it.
    look_until: Instant,
    meter: Meter,
    progress: Pace,
    event: Pace,
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asking,
    Opening,
    Going,
    Ended(TransferState),
}

#[derive(Debug)]
struct IncomingFile {
    parts: Vec<String>,
    size_bytes: u64,
    root: Digest,
    verified: GroupSet,
    has_hashes: bool,
    is_finished: bool,
    corrupt: u8,
}

/// What was asked for last.
#[derive(Debug)]
struct Asked {
    file: usize,
    groups: Vec<GroupRange>,
    repeat_at: Instant,
}

impl Incoming {
    /// A member offers this.
    pub(crate) fn new(
        now: Instant,
        offer: OfferId,
        order: u64,
        (from, name): (MemberId, &str),
        entries: &[FileEntry],
    ) -> Self {
        let parts = names::offer_components(entries);
        let files = entries
            .iter()
            .zip(parts)
            .map(|(entry, parts)| FileToReceive {
                parts,
                size_bytes: entry.size_bytes,
                root: entry.root,
            });
        let mut incoming = Self::with_files(now, offer, order, files.collect());
        incoming.member = Some(from);
        incoming.member_name = name.to_owned();
        incoming.is_present = true;
        incoming
    }

    /// An earlier run left this.
    pub(crate) fn unfinished(
        now: Instant,
        offer: OfferId,
        order: u64,
        sender_name: String,
        files: Vec<FileToReceive>,
        verified: &[VerifiedFile],
    ) -> Self {
        let mut incoming = Self::with_files(now, offer, order, files);
        incoming.member_name = sender_name;
        incoming.is_hidden = true;
        incoming.phase = Phase::Going;
        incoming.take_verified(verified);
        incoming.look_again(now);
        incoming
    }

    fn with_files(now: Instant, offer: OfferId, order: u64, files: Vec<FileToReceive>) -> Self {
        let paths: Vec<_> = files.iter().map(|file| file.parts.clone()).collect();
        // Bounded where it came from.
        let size_bytes = files
            .iter()
            .fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
        let file = |file: FileToReceive| IncomingFile {
            parts: file.parts,
            size_bytes: file.size_bytes,
            root: file.root,
            verified: GroupSet::new(file.size_bytes),
            has_hashes: false,
            is_finished: false,
            corrupt: 0,
        };
        Self {
            offer,
            order,
            label: Label::new(&paths, size_bytes),
            member: None,
            member_name: String::new(),
            is_present: false,
            phase: Phase::Asking,
            files: files.into_iter().map(file).collect(),
            paused_here: false,
            paused_there: false,
            is_hidden: false,
            asked: None,
            told: None,
            repeat_at: now,
            attached: None,
            resume_at: None,
            resumes: 0,
            look_until: now + LOOK_FOR,
            meter: Meter::default(),
            progress: Pace::new(PROGRESS_EVERY),
            event: Pace::new(EVENT_EVERY),
            path: None,
        }
    }

    /// The sender, while they are there.
    pub(crate) fn source(&self) -> Option<MemberId> {
        self.member.filter(|_| self.is_present)
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.phase == Phase::Asking
    }

    /// Whether the person sees it under this member (or any, if none is given).
    pub(crate) fn is_named(&self, member: Option<MemberId>) -> bool {
        !self.is_hidden && (member.is_none() || self.member == member)
    }

    /// Whether it can flow as far as the two persons are concerned.
    pub(crate) fn wants_link(&self) -> bool {
        let is_open = self.phase == Phase::Opening || self.next_file().is_some();
        self.is_present && is_open && !self.is_ended() && !self.paused_here && !self.paused_there
    }

    /// Whether it is to have a place among those that flow; and whether it has.
    pub(crate) fn competes(&self) -> bool {
        self.phase == Phase::Going && self.wants_link()
    }

    pub(crate) fn is_flowing(&self) -> bool {
        self.asked.is_some()
    }

    fn next_file(&self) -> Option<usize> {
        let is_missing = |file: &IncomingFile| !file.is_finished && !file.verified.is_whole();
        match self.phase {
            Phase::Going => self.files.iter().position(is_missing),
            _ => None,
        }
    }

    /// Whether these are the same contents in the same order.
    fn is_of(&self, entries: &[FileEntry]) -> bool {
        let own = self.files.iter().map(|file| (file.size_bytes, file.root));
        own.eq(entries.iter().map(|file| (file.size_bytes, file.root)))
    }

    /// The offer came, again or from another seat.
    pub(crate) fn handle_offer(
        &mut self,
        now: Instant,
        (from, name): (MemberId, &str),
        entries: &[FileEntry],
        out: &mut Actions,
    ) {
        if self.source().is_some_and(|source| source != from) {
            return tracing::debug!(%from, "an offer of somebody else's");
        }
        if self.source().is_none() {
            if !self.is_of(entries) {
                return tracing::debug!(%from, "an offer of other files under a known id");
            }
            self.member = Some(from);
            name.clone_into(&mut self.member_name);
            self.is_present = true;
            self.resume_at = None;
            self.paused_there = false;
            self.told = None;
            if !self.is_ended() {
                self.is_hidden = false;
            }
        }
        self.answer(now, out);
    }

    /// Says how it stands; what is asked for is said again.
    fn answer(&mut self, now: Instant, out: &mut Actions) {
        if let (Phase::Ended(state), Some(to)) = (self.phase, self.source()) {
            if let Some(signal) = farewell(self.offer, state) {
                let to = Some(to);
                out.push_back(Action::Send { to, signal });
            }
        } else {
            self.repeat_at = now;
            if let Some(asked) = &mut self.asked {
                asked.repeat_at = now;
            }
        }
    }

    /// The person wants it.
    ///
    /// # Errors
    /// [`ErrorCode::BadState`] if it does not wait for an answer.
    pub(crate) fn accept(
        &mut self,
        folder: Option<PathBuf>,
        out: &mut Actions,
    ) -> Result<(), ErrorCode> {
        if self.phase != Phase::Asking {
            return Err(ErrorCode::BadState);
        }
        self.phase = Phase::Opening;
        let file = |file: &IncomingFile| FileToReceive {
            parts: file.parts.clone(),
            size_bytes: file.size_bytes,
            root: file.root,
        };
        out.push_back(Action::Op(FileOp::Receive {
            offer: self.offer,
            folder,
            sender_name: self.member_name.clone(),
            files: self.files.iter().map(file).collect(),
        }));
        Ok(())
    }

    /// The person does not want it.
    ///
    /// # Errors
    /// [`ErrorCode::BadState`] if it does not wait for an answer.
    pub(crate) fn decline(&mut self, now: Instant, out: &mut Actions) -> Result<(), ErrorCode> {
        if self.phase != Phase::Asking {
            return Err(ErrorCode::BadState);
        }
        self.end(now, TransferState::Declined, out);
        Ok(())
    }

    /// The person pauses or resumes it.
    ///
    /// # Errors
    /// [`ErrorCode::BadState`] unless it was accepted and goes on.
    pub(crate) fn pause(&mut self, paused: bool) -> Result<(), ErrorCode> {
        match self.phase {
            Phase::Opening | Phase::Going => self.paused_here = paused,
            Phase::Asking | Phase::Ended(_) => return Err(ErrorCode::BadState),
        }
        Ok(())
    }

    /// The person ends it.
    ///
    /// # Errors
    /// [`ErrorCode::BadState`] if it is over.
    pub(crate) fn cancel(&mut self, now: Instant, out: &mut Actions) -> Result<(), ErrorCode> {
        if self.is_ended() {
            return Err(ErrorCode::BadState);
        }
        self.end(now, TransferState::Cancelled { by_me: true }, out);
        Ok(())
    }

    /// The person has seen how it ended.
    ///
    /// # Errors
    /// [`ErrorCode::BadState`] if it is not over.
    pub(crate) fn dismiss(&mut self) -> Result<(), ErrorCode> {
        if !self.is_ended() {
            return Err(ErrorCode::BadState);
        }
        self.is_hidden = true;
        Ok(())
    }

    /// The sender says something else than offering it.
    pub(crate) fn handle_signal(
        &mut self,
        now: Instant,
        from: MemberId,
        signal: &FileSignal,
        out: &mut Actions,
    ) {
        if self.source() != Some(from) {
            return tracing::debug!(%from, "about an offer that is not theirs");
        }
        match signal {
            FileSignal::Pause { paused, .. } => {
                self.paused_there = *paused && !self.is_ended();
                self.answer(now, out);
            }
            FileSignal::Cancel { code, .. } if !self.is_ended() => {
                let state = match code {
                    None => TransferState::Cancelled { by_me: false },
                    Some(code) => TransferState::Failed {
                        code: peer_code(*code),
                    },
                };
                self.finish(now, state, out);
            }
            _ => tracing::debug!(%from, "nothing a sender says"),
        }
    }

    /// The sender's seat is gone.
    pub(crate) fn handle_left(&mut self, now: Instant, out: &mut Actions) {
        self.is_present = false;
        self.asked = None;
        self.told = None;
        self.attach(None, out);
        if self.phase == Phase::Asking {
            let code = ErrorCode::ReceiverGone;
            self.finish(now, TransferState::Failed { code }, out);
        }
        self.look_again(now);
    }

    /// Somebody appeared who may be the sender.
    pub(crate) fn look_again(&mut self, now: Instant) {
        let is_wanted = match self.phase {
            Phase::Asking => false,
            Phase::Opening | Phase::Going => true,
            Phase::Ended(state) => farewell(self.offer, state).is_some() && now < self.look_until,
        };
        if is_wanted && !self.is_present {
            self.resumes = 0;
            self.resume_at = Some(now + RESUME_FIRST);
        }
    }

    /// Whether nobody looks for the rest of an earlier run any more.
    pub(crate) fn is_given_up(&self, now: Instant) -> bool {
        self.is_hidden && !self.is_present && !self.is_ended() && now >= self.look_until
    }

    /// The disk reports.
    pub(crate) fn handle_event(&mut self, now: Instant, event: FileEvent, out: &mut Actions) {
        match event {
            FileEvent::Ready { verified, .. } if self.phase == Phase::Opening => {
                self.phase = Phase::Going;
                self.take_verified(&verified);
                self.finish_if_whole(now, out);
            }
            FileEvent::ReceiveFailed { code, .. } if !self.is_ended() => {
                self.end(now, TransferState::Failed { code }, out);
            }
            FileEvent::HashesTaken { file, .. } if self.phase == Phase::Going => {
                if let Some(file) = self.files.get_mut(file as usize) {
                    file.has_hashes = true;
                }
                self.be_patient(now);
            }
            FileEvent::Verified { file, groups, .. } if self.phase == Phase::Going => {
                if let Some(file) = self.files.get_mut(file as usize) {
                    groups
                        .into_iter()
                        .for_each(|range| file.verified.insert(range));
                }
                let done_bytes = self.verified_bytes();
                self.meter.set(now, done_bytes);
                self.be_patient(now);
            }
            FileEvent::Corrupt { file, .. } if self.phase == Phase::Going => {
                self.handle_corrupt(now, file as usize, out);
            }
            FileEvent::FileFinished { file, path, .. } if self.phase == Phase::Going => {
                self.handle_finished(now, file as usize, path, out);
            }
            _ => tracing::debug!(offer = ?self.offer, "the disk reports out of turn"),
        }
    }

    fn take_verified(&mut self, verified: &[VerifiedFile]) {
        for (file, verified) in self.files.iter_mut().zip(verified) {
            file.has_hashes = verified.has_hashes;
            for range in &verified.groups {
                file.verified.insert(*range);
            }
            if verified.is_finished {
                file.finish();
            }
        }
        self.meter.start_at(self.verified_bytes());
    }

    fn verified_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.verified.bytes()).sum()
    }

    /// Something came: what else was asked for may take its time.
    fn be_patient(&mut self, now: Instant) {
        if let Some(asked) = &mut self.asked
            && let Some(file) = self.files.get(asked.file)
        {
            asked.repeat_at = now + patience(file.size_bytes);
        }
    }

    fn handle_corrupt(&mut self, now: Instant, file: usize, out: &mut Actions) {
        let Some(corrupt) = self.files.get_mut(file).map(|file| &mut file.corrupt) else {
            return;
        };
        *corrupt = corrupt.saturating_add(1);
        if *corrupt > CORRUPT_MOST {
            let code = ErrorCode::FileCorrupt;
            return self.end(now, TransferState::Failed { code }, out);
        }
        // The sender would take the same request for one that it is carrying out.
        if self.asked.take().is_some() {
            self.say_waiting(now, out);
        }
    }

    fn handle_finished(&mut self, now: Instant, index: usize, path: PathBuf, out: &mut Actions) {
        let from = self.member;
        let Some(file) = self.files.get_mut(index).filter(|file| !file.is_finished) else {
            return;
        };
        file.finish();
        if let Some(from) = from {
            out.push_back(Action::Event(CallEvent::FileDone {
                offer: self.offer,
                from,
                name: file.parts.join("/"),
                size_bytes: file.size_bytes,
                path: path.clone(),
                root: file.root,
            }));
        }
        let up = match (self.label.files, self.label.is_folder) {
            (_, true) => file.parts.len() - 1,
            (1, false) => 0,
            _ => file.parts.len(),
        };
        if self.path.is_none() {
            self.path = path.ancestors().nth(up).map(PathBuf::from);
        }
        let done_bytes = self.verified_bytes();
        self.meter.set(now, done_bytes);
        self.finish_if_whole(now, out);
    }

    fn finish_if_whole(&mut self, now: Instant, out: &mut Actions) {
        if self.files.iter().all(|file| file.is_finished) {
            self.end(now, TransferState::Done, out);
        }
    }

    /// Reaches a final state and tells the sender, if they are there.
    fn end(&mut self, now: Instant, state: TransferState, out: &mut Actions) {
        if let Some(signal) = farewell(self.offer, state)
            && let Some(to) = self.source()
        {
            let to = Some(to);
            out.push_back(Action::Send { to, signal });
        }
        self.finish(now, state, out);
    }

    /// Reaches a final state.
    fn finish(&mut self, now: Instant, state: TransferState, out: &mut Actions) {
        let had_disk = matches!(self.phase, Phase::Opening | Phase::Going);
        if had_disk && state != TransferState::Done {
            let (offer, keep) = (self.offer, false);
            out.push_back(Action::Op(FileOp::StopReceiving { offer, keep }));
        }
        self.phase = Phase::Ended(state);
        self.asked = None;
        self.look_until = now + LOOK_FOR;
        // Of those that are over, only what tells them apart is kept.
        for file in &mut self.files {
            file.verified = GroupSet::new(0);
            file.parts = Vec::new();
        }
        if let Some(member) = self.member.filter(|_| !self.is_hidden) {
            out.push_back(Action::Event(CallEvent::TransferEnded {
                offer: self.offer,
                member,
                outgoing: false,
                state,
            }));
        }
    }

    /// The call is over: what is unfinished stays on disk.
    pub(crate) fn keep(&self, out: &mut Actions) {
        if matches!(self.phase, Phase::Opening | Phase::Going) {
            let (offer, keep) = (self.offer, true);
            out.push_back(Action::Op(FileOp::StopReceiving { offer, keep }));
        }
    }

    fn attach(&mut self, from: Option<MemberId>, out: &mut Actions) {
        if std::mem::replace(&mut self.attached, from) != from && !self.is_ended() {
            let offer = self.offer;
            out.push_back(Action::Op(FileOp::Attach { offer, from }));
        }
    }

    /// Does all that is due. `may_flow`: the data link is connected and there is a place.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        me: Option<MemberId>,
        may_flow: bool,
        out: &mut Actions,
    ) {
        let Some(source) = self.source() else {
            return self.look_for_sender(now, me, out);
        };
        match self.phase {
            Phase::Asking | Phase::Opening => {
                if now >= self.repeat_at {
                    self.repeat_at = now + REPEAT;
                    let offer = self.offer;
                    let (to, signal) = (Some(source), FileSignal::Received { offer });
                    out.push_back(Action::Send { to, signal });
                }
            }
            Phase::Going => {
                let may_flow = may_flow && self.competes();
                match self.next_file().filter(|_| may_flow) {
                    Some(file) => self.ask_if_due(now, file, out),
                    None => {
                        let was_asking = self.asked.take().is_some();
                        let is_news = self.told != Some((false, self.paused_here));
                        if was_asking || is_news || now >= self.repeat_at {
                            self.say_waiting(now, out);
                        }
                    }
                }
                self.report(now, source, out);
            }
            Phase::Ended(_) => {}
        }
    }

    fn ask_if_due(&mut self, now: Instant, file: usize, out: &mut Actions) {
        let is_due = self.asked.as_ref().is_none_or(|asked| {
            let verified = &self.files[file].verified;
            let is_there = asked.groups.iter().all(|range| verified.contains(*range));
            asked.file != file || is_there || now >= asked.repeat_at
        });
        if !is_due {
            return;
        }
        self.attach(self.source(), out);
        let known = &self.files[file];
        let groups = known.verified.missing(limits::WANT_RANGES);
        let (hashes, repeat_at) = (!known.has_hashes, now + patience(known.size_bytes));
        self.asked = Some(Asked {
            file,
            groups: groups.clone(),
            repeat_at,
        });
        self.say(now, file, groups, hashes, out);
    }

    fn say_waiting(&mut self, now: Instant, out: &mut Actions) {
        let file = self.next_file().unwrap_or_default();
        self.say(now, file, Vec::new(), false, out);
    }

    fn say(
        &mut self,
        now: Instant,
        file: usize,
        groups: Vec<GroupRange>,
        hashes: bool,
        out: &mut Actions,
    ) {
        self.told = Some((!groups.is_empty(), self.paused_here));
        self.repeat_at = now + REPEAT;
        let done_bytes = self.meter.done_bytes();
        self.progress.mark(now, done_bytes);
        let signal = FileSignal::Want {
            offer: self.offer,
            file: u32::try_from(file).unwrap_or_default(),
            groups,
            hashes,
            done_bytes,
            paused: self.paused_here,
        };
        let to = self.source();
        out.push_back(Action::Send { to, signal });
    }

    fn report(&mut self, now: Instant, source: MemberId, out: &mut Actions) {
        let done_bytes = self.meter.done_bytes();
        if self.progress.is_due(now, done_bytes) {
            let (to, offer) = (Some(source), self.offer);
            let signal = FileSignal::Progress { offer, done_bytes };
            out.push_back(Action::Send { to, signal });
        }
        if self.event.is_due(now, done_bytes) {
            out.push_back(Action::Event(CallEvent::FileProgress {
                offer: self.offer,
                member: source,
                done_bytes,
                size_bytes: self.label.size_bytes,
            }));
        }
    }

    fn look_for_sender(&mut self, now: Instant, me: Option<MemberId>, out: &mut Actions) {
        if self.resume_at.is_none_or(|at| now < at) {
            return;
        }
        self.resumes += 1;
        let wait = RESUME_FIRST * 2_u32.saturating_pow(self.resumes);
        let next = now + wait.min(RESUME_MOST);
        let is_wanted = !self.is_ended() || next < self.look_until;
        self.resume_at = is_wanted.then_some(next);
        if let Some(me) = me {
            let proof = resume_proof(self.offer, me);
            let (to, signal) = (None, FileSignal::Resume { proof });
            out.push_back(Action::Send { to, signal });
        }
    }

    /// When [`Self::settle`] has something to do.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Instant> {
        if self.source().is_none() {
            let is_sought = self.is_hidden && !self.is_ended();
            let given_up = is_sought.then_some(self.look_until);
            return self.resume_at.into_iter().chain(given_up).min();
        }
        if self.is_ended() {
            return None;
        }
        let done_bytes = self.meter.done_bytes();
        let asked = self.asked.as_ref().map(|asked| asked.repeat_at);
        let own = asked.unwrap_or(self.repeat_at);
        if self.phase != Phase::Going {
            return Some(own);
        }
        let progress = self.progress.due_at(now, done_bytes);
        let event = self.event.due_at(now, done_bytes);
        [Some(own), progress, event].into_iter().flatten().min()
    }

    pub(crate) fn is_moving(&self, now: Instant) -> bool {
        !self.is_hidden && !self.is_ended() && self.meter.is_moving(now)
    }

    /// What the person sees; `None`: nothing. `link` is the data link to the sender.
    pub(crate) fn view(&self, now: Instant, link: Option<LinkView>) -> Option<TransferView> {
        if self.is_hidden {
            return None;
        }
        let is_interrupted = !self.is_present || is_broken(link);
        let state = match self.phase {
            Phase::Ended(state) => state,
            Phase::Asking => TransferState::Asking,
            _ if is_interrupted && !(self.is_present && self.is_paused()) => {
                TransferState::Interrupted
            }
            _ if self.is_paused() => TransferState::Paused {
                by_me: self.paused_here,
            },
            _ => TransferState::Running,
        };
        let is_running = state == TransferState::Running;
        let rate = self.meter.rate_bytes_per_s(now);
        let path = self.path.as_ref().filter(|_| state == TransferState::Done);
        Some(TransferView {
            offer: self.offer.to_string(),
            outgoing: false,
            member: self.member,
            member_name: self.member_name.clone(),
            name: self.label.name.clone(),
            files: self.label.files,
            is_folder: self.label.is_folder,
            size_bytes: self.label.size_bytes,
            done_bytes: self.meter.done_bytes(),
            rate_bytes_per_s: if is_running { rate } else { 0 },
            remaining_s: self
                .meter
                .remaining_s(now, self.label.size_bytes)
                .filter(|_| is_running),
            state,
            path: path.and_then(|path| path.to_str()).map(str::to_owned),
        })
    }

    fn is_paused(&self) -> bool {
        self.paused_here || self.paused_there
    }

    /// The offer as the person is told of it.
    pub(crate) fn event(&self) -> Option<CallEvent> {
        Some(CallEvent::FileOffer {
            offer: self.offer,
            from: self.member?,
            name: self.label.name.clone(),
            size_bytes: self.label.size_bytes,
        })
    }
}

impl IncomingFile {
    fn finish(&mut self) {
        self.is_finished = true;
        let (first, count) = (0, u32::MAX);
        self.verified.insert(GroupRange { first, count });
    }
}

/// What a receiver says of an end; `None`: the sender knows, or was not there to be told.
fn farewell(offer: OfferId, state: TransferState) -> Option<FileSignal> {
    let code = match state {
        TransferState::Done => return Some(FileSignal::Done { offer }),
        TransferState::Declined => return Some(FileSignal::Decline { offer }),
        TransferState::Cancelled { by_me: true } => None,
        TransferState::Failed { code } if code != ErrorCode::ReceiverGone => Some(code),
        _ => return None,
    };
    Some(FileSignal::Cancel { offer, code })
}

fn patience(size_bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(group_bytes(size_bytes) / SLOWEST_BYTES_PER_S)
}
