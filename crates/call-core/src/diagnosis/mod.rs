//! "Why is it bad?": at most one cause, from figures that come once a second. Pure.
//!
//! ```text
//! StatsSample ─► window of 12 s ─► rules: what this second looks like ─► held: what is told
//! ```
//!
//! *Out* of a link is bad when its loss is, or when the congestion controller allows far less than is
//! wanted and all of that is used. *In* of a member is bad when packets are missing, sound is made up
//! or the picture stands still. Both go by the middle one of three seconds, so that one bad second is
//! none. From what is bad and what is not the cause follows, the first that fits:
//!
//! | cause | out of the links | in of the members |
//! |---|---|---|
//! | my CPU | the encoder or the engine itself comes too late: everything else follows from it | |
//! | bursts | seconds of heavy loss or jitter, at least twice in 12 s with good ones between, with everybody | |
//! | my connection | all bad | all bad, at least two |
//! | between | bad, there is one other | bad |
//! | my uplink | all bad | otherwise |
//! | my downlink | not all bad | all bad, at least two |
//! | the other side | anything that is bad is one member's | |
//! | relay path | not bad, but through a relay with a long round trip | not bad |
//!
//! With one other, one bad direction could be the sender's uplink or the receiver's downlink. The
//! sender's uplink is blamed, at both ends alike: consumer access is several times narrower upwards
//! (FCC, *Measuring Broadband America*, thirteenth fixed broadband report, 2024). Through the SFU *out*
//! is measured up to the server and so only one's own.
//!
//! A cause is told after it held for 2 s and taken back after 5 s without it; another takes its place
//! only then. Where two of many members are bad, or things contradict each other, nothing is told:
//! the figures are there to be looked at.
//!
//! Deliberately not here: reacting (the quality controller's part), measuring, words.

mod held;
mod rules;
mod sample;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use call_protocol::ui::network::Verdict;

use self::held::Held;
pub use self::sample::{LinkSample, MemberSample, StatsSample};
use crate::input::LinkId;

/// Seconds looked back upon. Longer finds rarer bursts, and holds them against the connection for
/// longer.
const WINDOW: usize = 12;
/// A gap between samples after which the past says nothing about now.
const GAP: Duration = Duration::from_secs(5);

/// What is the matter with the call.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis {
    /// Oldest first, at most [`WINDOW`].
    window: VecDeque<StatsSample>,
    /// Seconds that each link is there; only of those in the newest sample.
    ages_s: BTreeMap<LinkId, u32>,
    held: Held,
    sampled_at: Option<Instant>,
}

impl Diagnosis {
    /// Another second is over. Samples are expected once a second.
    pub(crate) fn handle_sample(&mut self, now: Instant, sample: StatsSample) {
        let last = self.sampled_at.replace(now);
        if last.is_some_and(|last| now.saturating_duration_since(last) > GAP) {
            self.window.clear();
            self.ages_s.clear();
        }
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        let ages_s = sample.links.iter().map(|link| {
            let before = self.ages_s.get(&link.id).copied().unwrap_or(0);
            (link.id, before.saturating_add(1))
        });
        self.ages_s = ages_s.collect();
        self.window.push_back(sample);
        self.held.note(rules::judge(&self.window, &self.ages_s));
    }

    /// Whether there was no sample yet.
    pub(crate) fn is_idle(&self) -> bool {
        self.sampled_at.is_none()
    }

    /// What is to be told.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.held.told()
    }
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
