//! What is said of the log without being asked, and when.
//!
//! Whoever wrote something cares for its arrival: it goes to everybody at once and again to those who
//! do not confirm it. Everything else is asked for by whoever lacks it, from one member at a time, so
//! that a room of fifty does not answer fifty times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use call_protocol::MemberId;
use call_protocol::channel::chat::{AuthorId, ChatEntry, ChatSignal, HeadsPurpose};

use super::Chat;
use super::peer::Peer;

/// First wait for an answer or a confirmation, longer than a round trip of any usable call; doubles
/// up to [`LONGEST_WAIT`].
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Raising it sends less to those who cannot be reached, lowering it finds them back sooner.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// What nobody turned out to have by the time the wait is this long is given up: everybody was
/// asked, or said what they have.
const GIVE_UP_WAIT: Duration = Duration::from_secs(4);
/// When everybody is told what one has after a path is new: such a message may be lost while the other
/// end gets ready.
pub(super) const FIRST_BEATS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// And from then on. A last message whose author left is missed for as long. In larger rooms it is
/// [`BEAT_PER_MEMBER`], because everybody hears everybody.
pub(super) const BEAT: Duration = Duration::from_secs(10);
/// With 49 others and as many authors everybody hears 3 kB per second.
const BEAT_PER_MEMBER: Duration = Duration::from_secs(1);
/// Own entries that are sent again at once. Who lacks more finds a gap and asks.
const PUSH_ENTRIES: usize = 16;

impl Chat {
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
