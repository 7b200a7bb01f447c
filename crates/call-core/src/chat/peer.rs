//! What is known of one member's chat, and what they are owed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use call_protocol::channel::chat::{AuthorId, ChatHead};
use call_protocol::limits;

use crate::rate::{Bucket, Rate};

/// New entries taken from one member. The burst is two histories and more; the rate lets a member
/// who was away for long catch up with the largest log in two minutes, and a hostile one write as
/// much. What is refused is asked for again later.
const ENTRIES: Rate = Rate {
    burst: 500,
    refill: Duration::from_millis(20),
};
/// Authors that one member may bring up. Everybody is one, and brings those who wrote while one was
/// away; a hostile member must not fill the table for everybody who joins later.
const AUTHORS: Rate = Rate {
    burst: 64,
    refill: Duration::from_secs(60),
};
/// Bytes that are sent to one member because they ask: 100 kB per second after 2 MB. Bounds what a
/// hostile member can make us upload; the largest log of ordinary messages fits into the burst.
const ANSWERS: Rate = Rate {
    burst: 2_000_000,
    refill: Duration::from_micros(10),
};

/// Another member, as far as the chat goes.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Which author they are.
    pub(super) author: Option<AuthorId>,
    /// What they have of others.
    heads: BTreeMap<AuthorId, Known>,
    /// How much of one's own they have.
    pub(super) acked: u32,
    /// A path to them was there once: they can be asked.
    pub(super) is_met: bool,
    /// They said all they have: what is not in `acked` they lack.
    pub(super) is_heard: bool,
    /// They are to be told all there is.
    pub(super) is_owed_state: bool,
    /// Whose entries came from them, and when that is to be confirmed.
    pub(super) owed_acks: BTreeSet<AuthorId>,
    pub(super) ack_at: Option<Instant>,
    /// When they get again what they lack of one's own, and how long to wait after that.
    pub(super) push_at: Option<Instant>,
    pub(super) push_wait: Duration,
    entries: Bucket,
    authors: Bucket,
    answers: Bucket,
}

/// What a member has of one author.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// 0 until they say.
    pub(super) from: u32,
    pub(super) next: u32,
}

impl Peer {
    /// Takes over what they say they have.
    pub(super) fn note_head(&mut self, head: &ChatHead) {
        if head.from <= head.next {
            self.note(&head.author, Some(head.from), head.next);
        }
    }

    /// They have everything of an author up to `next`, or say so; `from` if they tell.
    pub(super) fn note(&mut self, author: &AuthorId, from: Option<u32>, next: u32) {
        let is_full = self.heads.len() >= limits::CHAT_AUTHORS;
        match self.heads.get_mut(author) {
            Some(known) => {
                known.from = from.unwrap_or(known.from);
                known.next = known.next.max(next);
            }
            None if is_full => {}
            None => {
                let from = from.unwrap_or(0);
                self.heads.insert(author.clone(), Known { from, next });
            }
        }
    }

    /// Up to where they are known to have an author's entries.
    pub(super) fn next(&self, author: &AuthorId) -> u32 {
        self.heads.get(author).map_or(0, |known| known.next)
    }

    pub(super) fn heads(&self) -> impl Iterator<Item = (&AuthorId, Known)> {
        self.heads.iter().map(|(author, known)| (author, *known))
    }

    /// Whether one more new entry of theirs is taken.
    pub(super) fn may_add(&mut self, now: Instant) -> bool {
        self.entries.take(now, ENTRIES, 1)
    }

    /// Whether they may bring up one more author.
    pub(super) fn may_introduce(&mut self, now: Instant) -> bool {
        self.authors.take(now, AUTHORS, 1)
    }

    /// Whether they are answered with this much.
    pub(super) fn may_be_told(&mut self, now: Instant, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.answers.take(now, ANSWERS, bytes)
    }
}
