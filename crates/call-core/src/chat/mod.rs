//! The chat of one call: a log that all members hold, and what they tell each other so that all hold
//! the same.
//!
//! ```text
//! say ──► everybody at once ──► who does not confirm gets it again (1 s, doubling to 15 s)
//! a gap, or somebody has more ──► one member is asked; what comes is confirmed; asked again, another
//! a path to somebody is new ──► both say what they have, one is asked
//! now and then ──► everybody is told what one has, so that a lost last message is noticed
//! newcomer ──► asks one member for the history until it has it or waited long enough
//! ```
//!
//! Invariants: every entry is shown once; the log outlives seats, links and topologies and ends with
//! the call; whatever comes from a member, what is kept for them and sent to them is bounded.
//!
//! Siblings: `log` holds the entries, `peer` what is known of one member, `sync` takes what they say,
//! `care` decides what is sent when. Deliberately not here: sealing and delivery of messages
//! (`call_channels`), and any proof of authorship: whoever holds the room's keys can write in another's
//! name.

mod care;
mod log;
mod peer;
mod sync;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use call_protocol::channel::chat::{AuthorId, ChatEntry, ChatSignal, clean_text};
use call_protocol::ui::{ChatDelivery, ChatMessageView, UiEvent};
use call_protocol::{MemberId, limits};

use log::{Key, Log};
use peer::Peer;

/// Messages of one event for the UI. Bounds the event, not what is shown.
const VIEWS_PER_EVENT: usize = 100;
/// Own messages that wait for the history; more are refused.
const UNSAID: usize = 512;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Chat {
    log: Log,
    me: Option<MemberId>,
    peers: BTreeMap<MemberId, Peer>,
    /// Which member is which author.
    writers: BTreeMap<AuthorId, MemberId>,
    /// How much of one's own everybody has, and somebody has.
    delivered: u32,
    partly: u32,
    /// Until when the history is waited for.
    history_until: Option<Instant>,
    had_seat: bool,
    /// Said while the history is waited for: it goes behind it.
    unsaid: VecDeque<Unsaid>,
    inquiry: Inquiry,
    beat_at: Option<Instant>,
    beats: u32,
    outbox: VecDeque<(Option<MemberId>, ChatSignal)>,
    /// What the UI does not have as it is.
    changed: BTreeSet<Key>,
    is_shown_anew: bool,
    /// What became known, and was not reported yet.
    news: Vec<Key>,
}

#[derive(Debug)]
struct Unsaid {
    name: String,
    text: String,
    sent_at_ms: u64,
}

/// Asking the members, one at a time.
#[derive(Debug)]
struct Inquiry {
    /// When the next one is asked.
    at: Option<Instant>,
    /// How long the present one has.
    wait: Duration,
    asked: Option<MemberId>,
    /// The one who was asked gave something that was missing.
    is_fruitful: bool,
    /// Something may be missing of which nothing is known.
    is_due_anyway: bool,
}

/// Why something cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SayError {
    /// Nothing is left of the text, or it is too long.
    Text,
    /// There was no seat yet.
    NotJoined,
    /// Too much waits already.
    Full,
}

impl Chat {
    pub(crate) fn new(own: AuthorId) -> Self {
        Self {
            log: Log::new(own),
            me: None,
            peers: BTreeMap::new(),
            writers: BTreeMap::new(),
            delivered: 0,
            partly: 0,
            history_until: None,
            had_seat: false,
            unsaid: VecDeque::new(),
            inquiry: Inquiry {
                at: None,
                wait: Duration::ZERO,
                asked: None,
                is_fruitful: false,
                is_due_anyway: false,
            },
            beat_at: None,
            beats: 0,
            outbox: VecDeque::new(),
            changed: BTreeSet::new(),
            is_shown_anew: false,
            news: Vec::new(),
        }
    }

    /// Says something. `name` is clean, `text` as typed.
    pub(crate) fn say(
        &mut self,
        now: Instant,
        name: String,
        text: &str,
        sent_at_ms: u64,
    ) -> Result<(), SayError> {
        let text = clean_text(text);
        if text.is_empty() || text.chars().count() > limits::CHAT_CHARS {
            return Err(SayError::Text);
        }
        if self.me.is_none() {
            return Err(SayError::NotJoined);
        }
        let unsaid = Unsaid {
            name,
            text,
            sent_at_ms,
        };
        if self.history_until.is_none() {
            self.publish(now, unsaid);
        } else if self.unsaid.len() < UNSAID {
            self.unsaid.push_back(unsaid);
        } else {
            return Err(SayError::Full);
        }
        Ok(())
    }

    fn publish(&mut self, now: Instant, unsaid: Unsaid) {
        let Unsaid {
            name,
            text,
            sent_at_ms,
        } = unsaid;
        let entry = self.log.say(name, text, sent_at_ms);
        self.show(vec![Key::of(&entry)]);
        self.broadcast(now, entry);
    }

    /// These became known.
    fn show(&mut self, keys: Vec<Key>) {
        self.changed.extend(keys.iter().cloned());
        self.news.extend(keys);
    }

    /// Shows the UI everything again.
    pub(crate) fn show_anew(&mut self) {
        self.is_shown_anew = true;
    }

    /// What the UI is to be told.
    pub(crate) fn poll_views(&mut self) -> Vec<UiEvent> {
        let mut reset = std::mem::take(&mut self.is_shown_anew);
        let mut changed = std::mem::take(&mut self.changed);
        if reset {
            changed = self.log.keys().cloned().collect();
        }
        let views: Vec<_> = changed.iter().filter_map(|key| self.view(key)).collect();
        if views.is_empty() && reset {
            let messages = views;
            return vec![UiEvent::Chat { reset, messages }];
        }
        let event = |messages: &[ChatMessageView]| UiEvent::Chat {
            reset: std::mem::take(&mut reset),
            messages: messages.to_vec(),
        };
        views.chunks(VIEWS_PER_EVENT).map(event).collect()
    }

    /// What became known since the last time: who said it, and what; in the log's order.
    pub(crate) fn poll_news(&mut self) -> Vec<(Option<MemberId>, ChatEntry)> {
        let mut news = std::mem::take(&mut self.news);
        news.sort();
        let entries = news.iter().filter_map(|key| self.log.get(key).cloned());
        entries
            .map(|entry| (self.writer(&entry.author), entry))
            .collect()
    }

    /// What is to be sent, and to whom.
    pub(crate) fn poll_message(&mut self) -> Option<(Option<MemberId>, ChatSignal)> {
        self.outbox.pop_front()
    }

    fn writer(&self, author: &AuthorId) -> Option<MemberId> {
        if author == self.log.own() {
            return self.me;
        }
        self.writers.get(author).copied()
    }

    fn view(&self, key: &Key) -> Option<ChatMessageView> {
        let entry = self.log.get(key)?;
        let mine = entry.author == *self.log.own();
        let delivery = match entry.number {
            n if !mine || n < self.delivered => ChatDelivery::Delivered,
            n if n < self.partly => ChatDelivery::Partly,
            _ => ChatDelivery::Sending,
        };
        Some(ChatMessageView {
            id: format!("{}-{}", entry.author.as_str(), entry.number),
            order: key.to_text(),
            from: self.writer(&entry.author),
            name: entry.name.clone(),
            mine,
            text: entry.text.clone(),
            sent_at_ms: entry.sent_at_ms,
            delivery,
        })
    }

    /// Which member an author is has changed.
    fn change_author(&mut self, author: &AuthorId) {
        self.changed.extend(self.log.keys_of(author, 0));
    }

    /// Follows what the others have of one's own. What once was delivered stays so, whoever comes.
    fn judge_delivery(&mut self, is_joined: bool) {
        let own = self.log.own().clone();
        let said = self.log.next(&own);
        let acked = self.peers.values().map(|peer| peer.acked);
        let least = acked.clone().min();
        let most = acked.max().unwrap_or(0);
        let least = least.unwrap_or(if is_joined { said } else { 0 });
        let (delivered, partly) = (self.delivered.max(least), self.partly.max(most));
        for (old, new) in [(self.delivered, delivered), (self.partly, partly)] {
            if new > old {
                let keys = self.log.keys_of(&own, old);
                self.changed.extend(keys.take_while(|key| key.number < new));
            }
        }
        (self.delivered, self.partly) = (delivered, partly);
    }
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
