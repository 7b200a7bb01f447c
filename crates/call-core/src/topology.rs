//! How one pair of members moves from one path to another: make before break.
//!
//! ```text
//! room changes its mode ──► leaving: both paths carry media
//!        new path connected, their media came over it (or 5 s passed) ──► said: we told them
//!        they told us ──► heard
//!        said and heard ──► the old path may close
//! ```
//!
//! Invariants: nothing is decided while the new path is not connected, so that a pair that had a
//! path keeps one; a room that turns back while pairs are on their way starts over with the paths
//! there are.
//!
//! Deliberately not here: opening and closing of links (`call_topology`), and which mode is right
//! (the server's).

use std::time::{Duration, Instant};

use call_protocol::wire::TopologyMode;

/// How long the new path must be connected before a member who sends nothing counts as settled.
/// Sound starts within a second of connecting, also from the slowest device; raising this keeps
/// both paths longer for everybody who is muted.
const QUIET: Duration = Duration::from_secs(5);
/// When the old path closes although the member never said so, if their media came over the new
/// one: then they are there, and only their word was lost.
const WORD_LOST: Duration = Duration::from_secs(10);
/// When it closes although nothing shows that they are on the new path: they cannot reach it, or
/// cannot hear the server. Longer than a seat is held without a connection (30 s), so that whoever
/// merely lost the server keeps the path that works.
const NO_SIGN: Duration = Duration::from_secs(60);

/// Where one pair is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Since when the old path is still needed only until the new one serves.
    leaving: Option<Instant>,
    said: bool,
    heard: bool,
    /// Media of theirs came over the direct link there is.
    direct_flows: bool,
    /// Media of theirs came over the link to the SFU there is.
    sfu_flows: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// Tell them that they reach us over the new path.
    Say,
    /// Leave the old path.
    Leave,
}

impl Passage {
    /// The room changes its mode; `has_old`: there is something to leave.
    pub(crate) fn begin(&mut self, now: Instant, has_old: bool) {
        self.leaving = has_old.then_some(now);
        self.said = false;
        self.heard = false;
    }

    /// The old path is gone, whatever this side thinks.
    pub(crate) fn end(&mut self) {
        self.leaving = None;
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether they were told, and may not have got it.
    pub(crate) fn has_unconfirmed_word(&self) -> bool {
        self.is_leaving() && self.said
    }

    /// A link of this mode is a new one: nothing came over it yet.
    pub(crate) fn handle_opened(&mut self, mode: TopologyMode) {
        *self.flows_mut(mode) = false;
    }

    /// Media of theirs came over the link of this mode.
    pub(crate) fn handle_flows(&mut self, mode: TopologyMode) {
        *self.flows_mut(mode) = true;
    }

    /// They are settled, or hung up the old path.
    pub(crate) fn handle_word(&mut self) {
        self.heard = true;
    }

    /// The next step towards `mode`, whose path is connected since `since`.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        mode: TopologyMode,
        since: Option<Instant>,
    ) -> Step {
        let Some(since) = self.waits_since(since) else {
            return Step::Wait;
        };
        let flows = *self.flows_mut(mode);
        if !self.said {
            if !flows && now < since + QUIET {
                return Step::Wait;
            }
            self.said = true;
            return Step::Say;
        }
        let patience = if flows { WORD_LOST } else { NO_SIGN };
        if self.heard || now >= since + patience {
            self.end();
            return Step::Leave;
        }
        Step::Wait
    }

    /// When [`Passage::step`] has something to do, as far as time alone decides.
    pub(crate) fn timeout(&self, mode: TopologyMode, since: Option<Instant>) -> Option<Instant> {
        let since = self.waits_since(since)?;
        let flows = match mode {
            TopologyMode::Mesh => self.direct_flows,
            TopologyMode::Sfu => self.sfu_flows,
        };
        Some(match (self.said, flows) {
            (false, _) => since + QUIET,
            (true, true) => since + WORD_LOST,
            (true, false) => since + NO_SIGN,
        })
    }

    /// A room that turns back finds the path connected all along, perhaps at this end only: then it
    /// is given as much time as a new one to show that it is dead.
    fn waits_since(&self, connected: Option<Instant>) -> Option<Instant> {
        connected.zip(self.leaving).map(|(a, b)| a.max(b))
    }

    fn flows_mut(&mut self, mode: TopologyMode) -> &mut bool {
        match mode {
            TopologyMode::Mesh => &mut self.direct_flows,
            TopologyMode::Sfu => &mut self.sfu_flows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [TopologyMode; 2] = [TopologyMode::Mesh, TopologyMode::Sfu];

    fn leaving() -> (Passage, Instant) {
        let now = Instant::now();
        let mut passage = Passage::default();
        passage.begin(now, true);
        (passage, now)
    }

    /// Every step up to `until`, with the second after connecting in which it was taken.
    fn steps(passage: &mut Passage, mode: TopologyMode, since: Instant) -> Vec<(u64, Step)> {
        let mut taken = Vec::new();
        for second in 0..100 {
            let now = since + Duration::from_secs(second);
            loop {
                match passage.step(now, mode, Some(since)) {
                    Step::Wait => break,
                    step => taken.push((second, step)),
                }
            }
            let due = passage.timeout(mode, Some(since));
            assert!(due.is_none_or(|at| at > now), "{due:?} is due again");
        }
        taken
    }

    #[test]
    fn a_pair_leaves_by_what_it_sees_and_hears() {
        // (media came over the new path, they said so) and the steps by second.
        let cases = [
            (true, true, [(0, Step::Say), (0, Step::Leave)]),
            (true, false, [(0, Step::Say), (10, Step::Leave)]),
            (false, true, [(5, Step::Say), (5, Step::Leave)]),
            (false, false, [(5, Step::Say), (60, Step::Leave)]),
        ];
        for mode in BOTH {
            for (flows, heard, want) in cases {
                let (mut passage, now) = leaving();
                if flows {
                    passage.handle_flows(mode);
                }
                if heard {
                    passage.handle_word();
                }
                assert_eq!(steps(&mut passage, mode, now), want, "{flows} {heard}");
                assert!(!passage.is_leaving());
            }
        }
    }

    #[test]
    fn nothing_is_left_before_the_new_path_is_connected() {
        for mode in BOTH {
            let (mut passage, now) = leaving();
            passage.handle_flows(mode);
            passage.handle_word();
            let later = now + Duration::from_secs(1_000);
            assert_eq!(passage.step(later, mode, None), Step::Wait);
            assert_eq!(passage.timeout(mode, None), None);
            assert!(passage.is_leaving());
        }
    }

    #[test]
    fn media_on_the_other_path_and_on_an_older_link_proves_nothing() {
        let (mut passage, now) = leaving();
        passage.handle_flows(TopologyMode::Mesh);
        assert_eq!(passage.step(now, TopologyMode::Sfu, Some(now)), Step::Wait);
        passage.handle_flows(TopologyMode::Sfu);
        passage.handle_opened(TopologyMode::Sfu);
        assert_eq!(passage.step(now, TopologyMode::Sfu, Some(now)), Step::Wait);
    }

    #[test]
    fn a_room_that_turns_back_starts_over_with_what_flows_already() {
        let (mut passage, now) = leaving();
        passage.handle_flows(TopologyMode::Mesh);
        passage.handle_flows(TopologyMode::Sfu);
        let to_sfu = passage.step(now, TopologyMode::Sfu, Some(now));
        assert_eq!((to_sfu, passage.has_unconfirmed_word()), (Step::Say, true));
        passage.handle_word();
        let later = now + Duration::from_secs(60);
        passage.begin(later, true);
        assert!(!passage.has_unconfirmed_word());
        let back = |passage: &mut Passage| passage.step(later, TopologyMode::Mesh, Some(now));
        assert_eq!(back(&mut passage), Step::Say, "it flows there all along");
        assert_eq!(
            back(&mut passage),
            Step::Wait,
            "their word was about the other"
        );
        let due = passage.timeout(TopologyMode::Mesh, Some(now));
        assert_eq!(due, Some(later + WORD_LOST));
    }

    #[test]
    fn whoever_has_nothing_to_leave_does_nothing() {
        let mut passage = Passage::default();
        let now = Instant::now();
        passage.begin(now, false);
        passage.handle_flows(TopologyMode::Sfu);
        passage.handle_word();
        assert_eq!(steps(&mut passage, TopologyMode::Sfu, now), []);
    }
}
