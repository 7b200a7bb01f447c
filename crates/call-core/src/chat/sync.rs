//! What members say about the log, and what follows from it: what is taken, answered, and has to be
//! done later (`care`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use call_protocol::channel::chat::{AuthorId, ChatEntry, ChatHead, ChatSignal, HeadsPurpose};
use call_protocol::{MemberId, limits};

use super::Chat;
use super::care::{BEAT, FIRST_BEATS, FIRST_WAIT};
use super::log::{self, Verdict};

/// How long confirmations are collected. Raising it sends fewer, lowering it shows a message as
/// delivered sooner.
const ACK_DELAY: Duration = Duration::from_millis(200);
/// Wait after something that may be the first part of what is missing: longer than paths differ in
/// delay, shorter than anybody notices.
const QUIET: Duration = Duration::from_millis(150);
/// How long a newcomer waits for the history before it goes on without. Links take about two seconds;
/// what is missing then is asked for as after an interruption.
const HISTORY_WAIT: Duration = Duration::from_secs(8);
/// Entries and bytes of one answer; who lacks more asks again. Raising them speeds up long absences
/// and makes queues of the data channels longer (they hold 1 MiB).
const ANSWER_ENTRIES: usize = limits::CHAT_HISTORY;
const ANSWER_BYTES: usize = 256 * 1024;
/// Bytes of one head as JSON, about.
const HEAD_BYTES: usize = 64;

impl Chat {
    /// A seat was taken, the first or a new one; the log goes on. `with_others`: somebody was there.
    pub(crate) fn take_seat(&mut self, now: Instant, me: MemberId, with_others: bool) {
        if self.me.replace(me) != Some(me) {
            let own = self.log.own().clone();
            self.change_author(&own);
        }
        if !std::mem::replace(&mut self.had_seat, true) && with_others {
            self.history_until = Some(now + HISTORY_WAIT);
        }
    }

    /// Somebody is there who can be written to.
    pub(crate) fn add_member(&mut self, id: MemberId) {
        self.peers.entry(id).or_default();
    }

    /// Somebody is gone.
    pub(crate) fn remove_member(&mut self, id: MemberId) {
        let author = self.peers.remove(&id).and_then(|peer| peer.author);
        if let Some(author) = author {
            self.writers.remove(&author);
            self.change_author(&author);
        }
    }

    /// The call is over; what was said stays to be read.
    pub(crate) fn end(&mut self) {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.remove_member(id));
        self.history_until = None;
        self.unsaid.clear();
        self.beat_at = None;
        self.inquiry.at = None;
        self.outbox.clear();
    }

    /// A path to a member is new or there again.
    pub(crate) fn handle_path(&mut self, now: Instant, id: MemberId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.is_met = true;
        peer.is_owed_state = true;
        if peer.push_at.is_some() {
            (peer.push_at, peer.push_wait) = (Some(now + FIRST_WAIT), FIRST_WAIT);
        }
        self.inquiry.is_due_anyway = true;
        self.ask_soon(now);
        self.beats = 0;
        self.beat_at = Some(now + FIRST_BEATS[0]);
    }

    /// Paths to everybody are new or there again.
    pub(crate) fn handle_paths(&mut self, now: Instant) {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.handle_path(now, id));
    }

    /// Asks somebody soon; what is on its way already comes first.
    pub(super) fn ask_soon(&mut self, now: Instant) {
        if self.inquiry.at.is_none() {
            let delay = match self.history_until {
                Some(_) => Duration::ZERO,
                None => QUIET,
            };
            self.inquiry.at = Some(now + delay);
            self.inquiry.wait = FIRST_WAIT;
        }
    }

    /// A member says something.
    pub(crate) fn handle_signal(&mut self, now: Instant, from: MemberId, signal: ChatSignal) {
        match signal {
            ChatSignal::Heads {
                sender,
                purpose,
                heads,
            } => {
                self.meet_author(from, sender);
                self.handle_heads(now, from, purpose, &heads);
            }
            ChatSignal::History { clock, starts } => {
                self.handle_history(now, from, clock, &starts);
            }
            ChatSignal::Entries { sender, entries } => {
                self.meet_author(from, sender);
                self.handle_entries(now, from, entries);
            }
        }
    }

    /// A member says which author it is. The first who says so is believed, once.
    fn meet_author(&mut self, from: MemberId, author: AuthorId) {
        let is_taken = self.writers.contains_key(&author) || author == *self.log.own();
        if let Some(peer) = self.peers.get_mut(&from)
            && peer.author.is_none()
            && !is_taken
        {
            peer.author = Some(author.clone());
            self.writers.insert(author.clone(), from);
            self.change_author(&author);
        }
    }

    fn handle_heads(
        &mut self,
        now: Instant,
        from: MemberId,
        purpose: HeadsPurpose,
        heads: &[ChatHead],
    ) {
        let own = self.log.own().clone();
        let said = self.log.next(&own);
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let mut is_ahead = false;
        for head in heads {
            if head.author == own {
                let acked = head.next.min(said);
                if acked > peer.acked {
                    peer.acked = acked;
                    peer.push_wait = FIRST_WAIT;
                    peer.push_at = peer.push_at.map(|_| now + FIRST_WAIT);
                }
            } else {
                peer.note_head(head);
                is_ahead |= head.next > self.log.next(&head.author);
            }
        }
        let is_whole = matches!(purpose, HeadsPurpose::State | HeadsPurpose::Missing);
        if is_whole && !std::mem::replace(&mut peer.is_heard, true) {
            // They reach us, so we reach them; and they may not have been told when they came.
            peer.is_met = true;
            peer.is_owed_state |= purpose == HeadsPurpose::State;
        }
        if peer.acked >= said {
            peer.push_at = None;
        } else if peer.is_heard && peer.push_at.is_none() {
            (peer.push_at, peer.push_wait) = (Some(now + FIRST_WAIT), FIRST_WAIT);
        }
        match purpose {
            HeadsPurpose::Missing => self.answer_missing(now, from, heads),
            HeadsPurpose::History => self.answer_history(now, from),
            HeadsPurpose::Ack | HeadsPurpose::State => {}
        }
        if is_ahead {
            self.ask_soon(now);
        }
    }

    fn answer_missing(&mut self, now: Instant, to: MemberId, heads: &[ChatHead]) {
        let heads = heads.iter().map(|head| (head.author.clone(), head.next));
        let entries = self
            .log
            .missing(&heads.collect(), ANSWER_ENTRIES, ANSWER_BYTES);
        let own = self.heads(HeadsPurpose::State);
        self.answer(now, to, own, entries);
    }

    fn answer_history(&mut self, now: Instant, to: MemberId) {
        if self.history_until.is_some() {
            return;
        }
        let clock = self.log.clock();
        let starts = self.log.starts(limits::CHAT_HISTORY);
        let next = starts.iter().map(|head| (head.author.clone(), head.from));
        let next: BTreeMap<_, _> = next.collect();
        let entries = self.log.missing(&next, ANSWER_ENTRIES, ANSWER_BYTES);
        self.answer(now, to, ChatSignal::History { clock, starts }, entries);
    }

    /// Says something, then entries, if the member may be told that much.
    fn answer(&mut self, now: Instant, to: MemberId, first: ChatSignal, entries: Vec<ChatEntry>) {
        let heads = match &first {
            ChatSignal::Heads { heads, .. } | ChatSignal::History { starts: heads, .. } => {
                heads.len()
            }
            ChatSignal::Entries { .. } => 0,
        };
        let bytes: usize = entries.iter().map(log::size).sum();
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        if !peer.may_be_told(now, bytes + HEAD_BYTES * (heads + 1)) {
            return tracing::debug!(%to, "asks for too much");
        }
        self.outbox.push_back((Some(to), first));
        self.send_entries(Some(to), entries);
    }

    pub(super) fn send_entries(&mut self, to: Option<MemberId>, entries: Vec<ChatEntry>) {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let sender = self.log.own().clone();
            let entries = entries.by_ref().take(limits::CHAT_BATCH).collect();
            self.outbox
                .push_back((to, ChatSignal::Entries { sender, entries }));
        }
    }

    pub(super) fn heads(&self, purpose: HeadsPurpose) -> ChatSignal {
        ChatSignal::Heads {
            sender: self.log.own().clone(),
            purpose,
            heads: self.log.heads(),
        }
    }

    fn handle_history(&mut self, now: Instant, from: MemberId, clock: u64, starts: &[ChatHead]) {
        if self.history_until.is_none() || !self.peers.contains_key(&from) {
            return;
        }
        for start in starts.iter().filter(|start| start.from <= start.next) {
            if self.log.next(&start.author) == 0 {
                let known = self.log.skip_to(&start.author, start.from);
                self.show(known);
            }
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.note(&start.author, None, start.next);
            }
        }
        self.log.follow(clock);
        self.inquiry.asked = Some(from);
        self.go_on_from_history(now);
    }

    /// The history is known as far as it will be: from now on nothing is special.
    pub(super) fn go_on_from_history(&mut self, now: Instant) {
        self.history_until = None;
        for unsaid in std::mem::take(&mut self.unsaid) {
            self.publish(now, unsaid);
        }
        for peer in self.peers.values_mut() {
            peer.is_owed_state |= peer.is_met;
        }
        self.inquiry.is_due_anyway = true;
        (self.inquiry.at, self.inquiry.wait) = (Some(now + QUIET), FIRST_WAIT);
    }

    fn handle_entries(&mut self, now: Instant, from: MemberId, entries: Vec<ChatEntry>) {
        let own = self.log.own().clone();
        self.beat_at.get_or_insert(now + BEAT);
        for entry in entries {
            let (author, number) = (entry.author.clone(), entry.number);
            let next = self.log.next(&author);
            let Some(peer) = self.peers.get_mut(&from) else {
                return;
            };
            if author == own || number == u32::MAX {
                continue;
            }
            let is_repair = number < peer.next(&author);
            peer.note(&author, None, number + 1);
            if self.log.head(&author).is_some() || number == 0 {
                peer.owed_acks.insert(author.clone());
                peer.ack_at.get_or_insert(now + ACK_DELAY);
            }
            if number < next {
                continue;
            }
            let is_author_welcome = self.log.knows(&author) || peer.may_introduce(now);
            if !is_author_welcome || !peer.may_add(now) {
                tracing::debug!(%from, "says too much at once");
                self.ask_soon(now);
                continue;
            }
            let verdict = self.log.insert(entry);
            let is_new = matches!(verdict, Verdict::Kept(_) | Verdict::Waiting);
            match verdict {
                Verdict::Kept(known) => self.show(known),
                Verdict::Waiting => self.ask_soon(now),
                Verdict::Known => {}
                Verdict::Refused => tracing::debug!(%from, "an entry out of bounds"),
            }
            if is_new && is_repair && self.inquiry.asked == Some(from) {
                self.inquiry.is_fruitful = true;
                if self.inquiry.at.is_some() {
                    self.inquiry.at = Some(now + QUIET);
                }
            }
        }
    }
}
