//! What was said, by author and in order. Pure data: no time, no members.
//!
//! Of each author there is everything from `from` up to `next`, and perhaps entries behind a gap
//! that wait for it to be filled. What waits is not part of the log yet, so that an author's entries
//! always become known in the order in which they were written.
//!
//! Invariants: the first version of an entry stays; the order of two entries depends on nothing but
//! the entries; entries, authors, bytes and waiting entries are bounded, of the log the oldest are
//! forgotten and of what waits the newcomer.

use std::collections::{BTreeMap, BTreeSet};

use call_protocol::channel::chat::{AuthorId, ChatEntry, ChatHead, clean_text};
use call_protocol::limits;
use call_protocol::peer::clean_name;

/// Entries that wait behind gaps, of all authors. Raising it asks for fewer entries twice after a
/// loss, and lets a hostile member store more (16 KB each at worst).
const WAITING: usize = 256;
/// How far an entry may be ahead of what is known of its author, in entries. As [`WAITING`].
const WINDOW: u32 = 256;
/// How much later than the latest known entry an entry may claim to be. Honest ones are at most as
/// far ahead as there are entries one has not seen, so this is never reached by them; and who leaps
/// as far as allowed with every entry needs 2^30 entries to use up the clock.
const LEAP: u64 = 1 << 32;
/// Up to where a log without any entry follows: whoever joins late finds the clock where the others
/// are.
const FIRST_LEAP: u64 = 1 << 62;
/// Stands for a text of which cleaning leaves nothing, so that its author's numbers go on.
const NOTHING_LEFT: &str = "\u{fffd}";

/// Names an entry and sorts it: the log's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) clock: u64,
    pub(crate) author: AuthorId,
    pub(crate) number: u32,
}

impl Key {
    pub(crate) fn of(entry: &ChatEntry) -> Self {
        Self {
            clock: entry.clock,
            author: entry.author.clone(),
            number: entry.number,
        }
    }

    /// Sorts like the key.
    pub(crate) fn to_text(&self) -> String {
        let (author, number) = (self.author.as_str(), self.number);
        format!("{:016x}-{author}-{number:08x}", self.clock)
    }
}

/// What became of an entry that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is there now, and with it these that waited for it. In the author's order.
    Kept(Vec<Key>),
    /// It waits for earlier ones of its author.
    Waiting,
    /// It was there before, or is not wanted any more.
    Known,
    /// It exceeds a bound.
    Refused,
}

#[derive(Debug, Default)]
struct Author {
    /// What is below is not kept or never came.
    from: u32,
    next: u32,
    entries: BTreeMap<u32, ChatEntry>,
    waiting: BTreeMap<u32, ChatEntry>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Log {
    own: AuthorId,
    authors: BTreeMap<AuthorId, Author>,
    order: BTreeSet<Key>,
    /// The highest of all clocks.
    clock: u64,
    bytes: usize,
    waiting: usize,
}

impl Log {
    /// An empty log with one's own author.
    pub(crate) fn new(own: AuthorId) -> Self {
        Self {
            authors: BTreeMap::from([(own.clone(), Author::default())]),
            own,
            order: BTreeSet::new(),
            clock: 0,
            bytes: 0,
            waiting: 0,
        }
    }

    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    /// What is said from now on comes after this clock, unless it is absurd.
    pub(crate) fn follow(&mut self, clock: u64) {
        if self.is_plausible(clock) {
            self.clock = self.clock.max(clock);
        }
    }

    pub(crate) fn own(&self) -> &AuthorId {
        &self.own
    }

    /// Says something oneself. `name` and `text` are clean.
    pub(crate) fn say(&mut self, name: String, text: String, sent_at_ms: u64) -> ChatEntry {
        let entry = ChatEntry {
            author: self.own.clone(),
            number: self.next(&self.own),
            clock: self.clock.saturating_add(1),
            name,
            text,
            sent_at_ms,
        };
        self.append(entry.clone());
        entry
    }

    /// Takes an entry of somebody else.
    pub(crate) fn insert(&mut self, mut entry: ChatEntry) -> Verdict {
        let is_known = self.authors.contains_key(&entry.author);
        let next = self.next(&entry.author);
        if entry.author == self.own || entry.number < next {
            return Verdict::Known;
        }
        let is_welcome = is_known || self.authors.len() < limits::CHAT_AUTHORS;
        if !is_welcome || entry.number - next > WINDOW || entry.number == u32::MAX {
            return Verdict::Refused;
        }
        clean(&mut entry);
        if entry.number == next {
            if !self.is_plausible(entry.clock) {
                return Verdict::Refused;
            }
            let mut kept = vec![self.append(entry.clone())];
            self.release(&entry.author, &mut kept);
            return Verdict::Kept(kept);
        }
        if self.waiting >= WAITING {
            return Verdict::Refused;
        }
        let author = self.authors.entry(entry.author.clone()).or_default();
        if author.waiting.contains_key(&entry.number) {
            return Verdict::Known;
        }
        author.waiting.insert(entry.number, entry);
        self.waiting += 1;
        Verdict::Waiting
    }

    fn is_plausible(&self, clock: u64) -> bool {
        let leap = if self.order.is_empty() {
            FIRST_LEAP
        } else {
            LEAP
        };
        clock <= self.clock.saturating_add(leap)
    }

    /// Puts the next entry of its author into the log; forgets the oldest beyond the bounds.
    fn append(&mut self, entry: ChatEntry) -> Key {
        let key = Key::of(&entry);
        self.clock = self.clock.max(entry.clock);
        self.bytes += size(&entry);
        self.order.insert(key.clone());
        let author = self.authors.entry(entry.author.clone()).or_default();
        author.next = author.next.max(entry.number + 1);
        author.entries.insert(entry.number, entry);
        while self.order.len() > limits::CHAT_ENTRIES || self.bytes > limits::CHAT_BYTES {
            self.forget_oldest();
        }
        key
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.first().cloned() else {
            return;
        };
        let Some(author) = self.authors.get_mut(&oldest.author) else {
            return;
        };
        author.from = author.from.max(oldest.number + 1);
        // An author whose clock goes back loses the earlier ones as well.
        while let Some(first) = author.entries.first_entry()
            && *first.key() <= oldest.number
        {
            let entry = first.remove();
            self.bytes -= size(&entry);
            self.order.remove(&Key::of(&entry));
        }
    }

    /// Takes in what waited for the entry before.
    fn release(&mut self, id: &AuthorId, kept: &mut Vec<Key>) {
        while let Some(author) = self.authors.get_mut(id) {
            let next = author.next;
            let Some(entry) = author.waiting.remove(&next) else {
                return;
            };
            self.waiting -= 1;
            if !self.is_plausible(entry.clock) {
                return;
            }
            kept.push(self.append(entry));
        }
    }

    /// Gives up what is missing of an author below `to`. Gives what that makes known.
    pub(crate) fn skip_to(&mut self, id: &AuthorId, to: u32) -> Vec<Key> {
        let is_known = self.authors.contains_key(id);
        if *id == self.own || to <= self.next(id) {
            return Vec::new();
        }
        if !is_known && self.authors.len() >= limits::CHAT_AUTHORS {
            return Vec::new();
        }
        let author = self.authors.entry(id.clone()).or_default();
        let later = author.waiting.split_off(&to);
        let earlier = std::mem::replace(&mut author.waiting, later);
        (author.from, author.next) = (to, to);
        self.waiting -= earlier.len();
        let mut kept = Vec::new();
        for entry in earlier.into_values() {
            if self.is_plausible(entry.clock) {
                kept.push(self.append(entry));
            }
        }
        self.release(id, &mut kept);
        kept
    }

    pub(crate) fn knows(&self, author: &AuthorId) -> bool {
        self.authors.contains_key(author)
    }

    /// The number after the last entry of an author that is there without a gap.
    pub(crate) fn next(&self, author: &AuthorId) -> u32 {
        self.authors.get(author).map_or(0, |author| author.next)
    }

    pub(crate) fn head(&self, id: &AuthorId) -> Option<ChatHead> {
        let author = self.authors.get(id).filter(|author| author.next > 0)?;
        Some(ChatHead {
            author: id.clone(),
            from: author.from,
            next: author.next,
        })
    }

    /// What is there, by author.
    pub(crate) fn heads(&self) -> Vec<ChatHead> {
        let known = self.authors.keys();
        known.filter_map(|author| self.head(author)).collect()
    }

    /// Where the last `count` entries begin, by author.
    pub(crate) fn starts(&self, count: usize) -> Vec<ChatHead> {
        let mut firsts: BTreeMap<&AuthorId, u32> = BTreeMap::new();
        for key in self.order.iter().rev().take(count) {
            let first = firsts.entry(&key.author).or_insert(key.number);
            *first = (*first).min(key.number);
        }
        let mut heads = self.heads();
        for head in &mut heads {
            let first = firsts.get(&head.author).copied();
            head.from = first.unwrap_or(head.next).max(head.from);
        }
        heads
    }

    /// The first entries, in the log's order, that somebody lacks who has what comes before `next`
    /// of each author and nothing of others; at most `entries` and about `bytes`.
    pub(crate) fn missing(
        &self,
        next: &BTreeMap<AuthorId, u32>,
        entries: usize,
        bytes: usize,
    ) -> Vec<ChatEntry> {
        let lacking = self.authors.iter().flat_map(|(id, author)| {
            let first = next.get(id).copied().unwrap_or(0).max(author.from);
            let range = first..first.max(author.next);
            let of_author = author.entries.range(range).map(|(_, entry)| entry);
            of_author.take(entries)
        });
        let mut lacking: Vec<&ChatEntry> = lacking.collect();
        lacking.sort_by_cached_key(|entry| Key::of(entry));
        let mut sum = 0;
        let fits = |entry: &&&ChatEntry| {
            sum += size(entry);
            sum <= bytes.max(size(entry))
        };
        let first = lacking.iter().take(entries).take_while(fits);
        first.map(|entry| (*entry).clone()).collect()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&ChatEntry> {
        let author = self.authors.get(&key.author)?;
        author.entries.get(&key.number)
    }

    /// All of one author that is there, from a number on.
    pub(crate) fn keys_of(&self, id: &AuthorId, from: u32) -> impl Iterator<Item = Key> {
        let author = self.authors.get(id);
        let entries = author.map(|author| author.entries.range(from..));
        entries.into_iter().flatten().map(|(_, it)| Key::of(it))
    }

    /// The whole log, in its order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.order.iter()
    }
}

/// What an entry takes, in bytes, about.
pub(crate) fn size(entry: &ChatEntry) -> usize {
    entry.text.len() + entry.name.len() + 100
}

fn clean(entry: &mut ChatEntry) {
    entry.name = clean_name(&entry.name);
    entry.text = clean_text(&entry.text);
    if entry.text.is_empty() {
        NOTHING_LEFT.clone_into(&mut entry.text);
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
