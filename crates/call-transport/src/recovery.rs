//! When to look for a new path, and when to give up: pure policy over the connection's state.
//!
//! The impolite side restarts ICE first, the polite one a little later in case the other cannot
//! (its signalling may be gone), and both repeat until the link is back or the time is over.
//!
//! Not here: making the offer ([`crate::negotiation`]) and noticing the loss (ICE consent,
//! RFC 7675, in the stack).

use std::time::{Duration, Instant};

/// From opening to the first connection; then the link has failed. Raising it shows "connecting"
/// longer to people behind networks that never work, lowering it fails links over slow TURN.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// From losing the path to giving up. Long enough for changing from cable to Wi-Fi by hand.
pub const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a disconnected path may come back by itself before the impolite side restarts ICE.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How much longer the polite side waits, so that the two rarely cross.
const POLITE_DELAY: Duration = Duration::from_millis(2_000);
/// Between restarts that brought nothing.
const RETRY_AFTER: Duration = Duration::from_millis(6_000);

/// What the stack says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Checks are running.
    Connecting,
    /// Packets flow.
    Connected,
    /// No consent for a while; may come back.
    Disconnected,
    /// Nothing more will be tried without a restart.
    Failed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Restart ICE.
    RestartIce,
    /// The link has failed.
    GiveUp,
}

/// See the module's text.
#[derive(Debug)]
pub struct Recovery {
    polite: bool,
    deadline: Option<Instant>,
    restart_at: Option<Instant>,
}

impl Recovery {
    /// A link opened now.
    pub fn new(now: Instant, polite: bool) -> Self {
        Self {
            polite,
            deadline: Some(now + CONNECT_TIMEOUT),
            restart_at: None,
        }
    }

    /// The state changed.
    pub fn handle_state(&mut self, now: Instant, state: PathState) {
        match state {
            PathState::Connecting => {}
            PathState::Connected => {
                self.deadline = None;
                self.restart_at = None;
            }
            PathState::Disconnected => self.schedule(now, RESTART_AFTER),
            PathState::Failed => self.schedule(now, Duration::ZERO),
        }
    }

    /// A restart began, by us or by the peer: a restart we had in mind waits for what this one
    /// brings. With a path, or on the first try, nothing is planned, and the state will say if
    /// something must be.
    pub fn handle_restart(&mut self, now: Instant) {
        if self.restart_at.is_some() {
            self.restart_at = Some(now + RETRY_AFTER);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.deadline, self.restart_at) {
            (Some(deadline), Some(restart_at)) => Some(deadline.min(restart_at)),
            (deadline, restart_at) => deadline.or(restart_at),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Action> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            self.restart_at = None;
            return Some(Action::GiveUp);
        }
        if self.restart_at.is_some_and(|restart_at| now >= restart_at) {
            self.restart_at = Some(now + RETRY_AFTER);
            return Some(Action::RestartIce);
        }
        None
    }

    fn schedule(&mut self, now: Instant, delay: Duration) {
        let polite_delay = if self.polite {
            POLITE_DELAY
        } else {
            Duration::ZERO
        };
        let at = now + delay + polite_delay;
        self.restart_at = Some(self.restart_at.map_or(at, |earlier| earlier.min(at)));
        self.deadline.get_or_insert(now + RECOVERY_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(recovery: &mut Recovery, from: Instant) -> Vec<(u128, Action)> {
        let mut actions = Vec::new();
        while let Some(at) = recovery.poll_timeout() {
            if let Some(action) = recovery.handle_timeout(at) {
                actions.push(((at - from).as_millis(), action));
            }
        }
        actions
    }

    #[test]
    fn never_connected_gives_up() {
        let start = Instant::now();
        let mut recovery = Recovery::new(start, false);
        assert_eq!(run(&mut recovery, start), vec![(30_000, Action::GiveUp)]);
    }

    #[test]
    fn impolite_restarts_first_and_repeats_until_the_deadline() {
        let start = Instant::now();
        for (polite, first) in [(false, 500), (true, 2_500)] {
            let mut recovery = Recovery::new(start, polite);
            recovery.handle_state(start, PathState::Connected);
            assert_eq!(recovery.poll_timeout(), None);
            recovery.handle_state(start, PathState::Disconnected);
            let actions = run(&mut recovery, start);
            assert_eq!(actions[0], (first, Action::RestartIce));
            assert_eq!(actions[1], (first + 6_000, Action::RestartIce));
            assert_eq!(actions.last(), Some(&(30_000, Action::GiveUp)));
        }
    }

    #[test]
    fn coming_back_cancels() {
        let start = Instant::now();
        let mut recovery = Recovery::new(start, false);
        recovery.handle_state(start, PathState::Failed);
        recovery.handle_state(start, PathState::Connected);
        assert_eq!(recovery.poll_timeout(), None);
    }

    #[test]
    fn a_restart_of_a_good_path_sets_no_deadline() {
        let start = Instant::now();
        let mut recovery = Recovery::new(start, false);
        recovery.handle_state(start, PathState::Connected);
        recovery.handle_restart(start);
        assert_eq!(recovery.poll_timeout(), None);
        recovery.handle_state(start, PathState::Failed);
        assert_eq!(run(&mut recovery, start)[0], (0, Action::RestartIce));
    }

    #[test]
    fn a_restart_by_the_peer_postpones_ours() {
        let start = Instant::now();
        let mut recovery = Recovery::new(start, true);
        recovery.handle_state(start, PathState::Connected);
        recovery.handle_state(start, PathState::Disconnected);
        recovery.handle_restart(start + Duration::from_secs(1));
        let actions = run(&mut recovery, start);
        assert_eq!(actions[0], (7_000, Action::RestartIce));
        assert_eq!(actions.last(), Some(&(30_000, Action::GiveUp)));
    }
}
