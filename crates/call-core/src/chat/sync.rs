//! What members tell each other about the log, and when.
//!
//! Whoever wrote something cares for its arrival: it goes to everybody at once and again to those who
//! do not confirm it. Everything else is asked for by whoever lacks it, from one member at a time, so
//! that a room of fifty does not answer fifty times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use call_protocol::channel::chat::{AuthorId, ChatEntry, ChatHead, ChatSignal, HeadsPurpose};
use call_protocol::{MemberId, limits};

use super::Chat;
use super::log::{self, Verdict};
use super::peer::Peer;

/// How long confirmations are collected. Raising it sends fewer, lowering it shows a message as
/// delivered sooner.
const ACK_DELAY: Duration = Duration::from_millis(200);
/// Wait after something that may be the first part of what is missing: longer than paths differ in
/// delay, shorter than anybody notices.
const QUIET: Duration = Duration::from_millis(150);
/// First wait for an answer or a confirmation, longer than a round trip of any usable call; doubles
/// up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Raising it sends less to those who cannot be reached, lowering it finds them back sooner.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// What nobody turned out to have by the time the wait is this long is given up: everybody was
/// asked, or said what they have.
const GIVE_UP_WAIT: Duration = Duration::from_secs(4);
/// How long a newcomer waits for the history before it goes on without. Links take about two seconds;
/// what is missing then is asked for as after an interruption.
const HISTORY_WAIT: Duration = Duration::from_secs(8);
/// When everybody is told what one has after a path is new: such a message may be lost while the other
/// end gets ready.
const FIRST_BEATS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// And from then on. A last message whose author left is missed for as long. In larger rooms it is
/// [`BEAT_PER_MEMBER`], because everybody hears everybody.
const BEAT: Duration = Duration::from_secs(10);
/// With 49 others and as many authors everybody hears 3 kB per second.
const BEAT_PER_MEMBER: Duration = Duration::from_secs(1);
/// Entries and bytes of one answer; who lacks more asks again. Raising them speeds up long absences
/// and makes queues of the data channels longer (they hold 1 MiB).
const ANSWER_ENTRIES: usize = limits::CHAT_HISTORY;
const ANSWER_BYTES: usize = 256 * 1024;
/// Own entries that are sent again at once. Who lacks more finds a gap and asks.
const PUSH_ENTRIES: usize = 16;
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
    fn ask_soon(&mut self, now: Instant) {
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

    fn send_entries(&mut self, to: Option<MemberId>, entries: Vec<ChatEntry>) {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let sender = self.log.own().clone();
            let entries = entries.by_ref().take(limits::CHAT_BATCH).collect();
            self.outbox
                .push_back((to, ChatSignal::Entries { sender, entries }));
        }
    }

    fn heads(&self, purpose: HeadsPurpose) -> ChatSignal {
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
    fn go_on_from_history(&mut self, now: Instant) {
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

    /// Says something new to everybody, and again to those who do not confirm it.
    pub(super) fn broadcast(&mut self, now: Instant, entry: ChatEntry) {
        self.send_entries(None, vec![entry]);
        for peer in self.peers.values_mut().filter(|peer| peer.is_heard) {
            if peer.push_at.is_none() {
                (peer.push_at, peer.push_wait) = (Some(now + FIRST_WAIT), FIRST_WAIT);
            }
        }
        self.beat_at.get_or_insert(now + BEAT);
    }

    /// Does all that is due. `is_joined`: the room's members are known to be these.
    pub(crate) fn care(&mut self, now: Instant, is_joined: bool) {
        self.judge_delivery(is_joined);
        if self.me.is_none() {
            return;
        }
        if self.history_until.is_some_and(|at| at <= now) {
            self.go_on_from_history(now);
        }
        self.send_acks(now);
        if self.inquiry.at.is_some_and(|at| at <= now) {
            self.ask(now);
        }
        if self.history_until.is_none() {
            self.send_states();
            self.push(now);
            self.beat(now);
        }
    }

    /// When [`Chat::care`] has something to do.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let acks = self.peers.values().filter_map(|peer| peer.ack_at);
        let own = [self.history_until, self.inquiry.at];
        let rest = self.history_until.is_none().then(|| {
            let pushes = self.peers.values().filter_map(|peer| peer.push_at);
            pushes.chain(self.beat_at)
        });
        let all = acks.chain(own.into_iter().flatten());
        all.chain(rest.into_iter().flatten()).min()
    }

    fn send_acks(&mut self, now: Instant) {
        for (id, peer) in &mut self.peers {
            if peer.ack_at.is_none_or(|at| at > now) {
                continue;
            }
            peer.ack_at = None;
            let authors = std::mem::take(&mut peer.owed_acks);
            let heads: Vec<_> = authors.iter().filter_map(|it| self.log.head(it)).collect();
            if !heads.is_empty() {
                let signal = ChatSignal::Heads {
                    sender: self.log.own().clone(),
                    purpose: HeadsPurpose::Ack,
                    heads,
                };
                self.outbox.push_back((Some(*id), signal));
            }
        }
    }

    fn send_states(&mut self) {
        let owed = |peer: &Peer| peer.is_met && peer.is_owed_state;
        let ids: Vec<_> = self.peers.iter().filter(|(_, peer)| owed(peer)).collect();
        let mut ids: Vec<_> = ids.into_iter().map(|(id, _)| Some(*id)).collect();
        if ids.len() > 1 && ids.len() == self.peers.len() {
            ids = vec![None];
        }
        for to in ids {
            let state = self.heads(HeadsPurpose::State);
            self.outbox.push_back((to, state));
        }
        for peer in self.peers.values_mut() {
            peer.is_owed_state &= !peer.is_met;
        }
    }

    /// Sends again what was said oneself and not confirmed.
    fn push(&mut self, now: Instant) {
        let own = self.log.own().clone();
        let mut due = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.push_at.is_some_and(|at| at <= now) {
                let wait = peer.push_wait;
                peer.push_wait = (wait * 2).min(LONGEST_WAIT);
                peer.push_at = Some(now + wait);
                due.push((*id, peer.acked));
            }
        }
        for (id, acked) in due {
            let keys = self.log.keys_of(&own, acked).take(PUSH_ENTRIES);
            let entries = keys.filter_map(|key| self.log.get(&key).cloned());
            let entries: Vec<_> = entries.collect();
            if entries.is_empty() {
                // All of it was forgotten meanwhile.
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.push_at = None;
                }
            }
            self.send_entries(Some(id), entries);
        }
    }

    fn beat(&mut self, now: Instant) {
        if self.beat_at.is_none_or(|at| at > now) {
            return;
        }
        let others = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        self.beats = self.beats.saturating_add(1);
        if self.beats as usize <= FIRST_BEATS.len() {
            // What was asked when the path was new may be lost as well.
            self.inquiry.is_due_anyway = true;
            self.ask_soon(now);
        }
        let early = FIRST_BEATS.get(self.beats as usize).copied();
        let next = early.or_else(|| {
            let is_needed = others > 0 && !self.log.heads().is_empty();
            is_needed.then(|| BEAT.max(BEAT_PER_MEMBER * others))
        });
        self.beat_at = next.map(|delay| now + delay);
        if others > 0 {
            let state = self.heads(HeadsPurpose::State);
            self.outbox.push_back((None, state));
        }
    }

    /// Asks the next member who has something that is missing here.
    fn ask(&mut self, now: Instant) {
        let inquiry = &mut self.inquiry;
        if std::mem::take(&mut inquiry.is_fruitful) {
            inquiry.wait = FIRST_WAIT;
        }
        if self.history_until.is_none() && self.inquiry.wait >= GIVE_UP_WAIT {
            self.give_up();
        }
        let is_due = self.inquiry.is_due_anyway || self.history_until.is_some();
        let may_help = |peer: &Peer| peer.is_met && (is_due || self.is_behind(peer));
        let helpers = self.peers.iter().filter(|(_, peer)| may_help(peer));
        let helpers: Vec<MemberId> = helpers.map(|(id, _)| *id).collect();
        let after = |id: &&MemberId| Some(**id) > self.inquiry.asked;
        let next = helpers.iter().find(after).or(helpers.first()).copied();
        let Some(id) = next else {
            self.inquiry.at = None;
            return;
        };
        let purpose = match self.history_until {
            Some(_) => HeadsPurpose::History,
            None => HeadsPurpose::Missing,
        };
        if purpose == HeadsPurpose::Missing {
            self.inquiry.is_due_anyway = false;
        }
        let heads = self.heads(purpose);
        self.outbox.push_back((Some(id), heads));
        let wait = self.inquiry.wait;
        self.inquiry.asked = Some(id);
        self.inquiry.wait = (wait * 2).min(LONGEST_WAIT);
        self.inquiry.at = Some(now + wait);
    }

    fn is_behind(&self, peer: &Peer) -> bool {
        let mut heads = peer.heads();
        heads.any(|(author, known)| known.next > self.log.next(author))
    }

    /// Gives up what nobody has any more of those who wrote more.
    fn give_up(&mut self) {
        let mut nearest: BTreeMap<AuthorId, u32> = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| peer.is_met) {
            for (author, known) in peer.heads() {
                if known.next > self.log.next(author) {
                    let from = nearest.entry(author.clone()).or_insert(known.from);
                    *from = (*from).min(known.from);
                }
            }
        }
        for (author, from) in nearest {
            let known = self.log.skip_to(&author, from);
            self.show(known);
        }
    }
}
