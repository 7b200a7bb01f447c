//! When a link counts as connected, interrupted or failed: pure policy over what the stack says.
//!
//! ```text
//! opened ──► connected ⇄ interrupted (2 s of silence, or a restart that brings no path in time)
//!    │ 30 s
//!    └────► failed
//! ```
//!
//! Not here: looking for a new path. That takes signals, of which the owner knows whether they travel,
//! and it costs the old path: the stack binds its sockets anew for an ICE restart. As long as nobody
//! asks for one the stack keeps checking the old path (RFC 7675), so that it comes back by itself
//! after any time. Making the offer is in [`crate::negotiation`].

use std::time::{Duration, Instant};

/// From opening to the first connection; then the link has failed. Raising it shows "connecting"
/// longer to people behind networks that never work, lowering it fails links over slow TURN.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a restart of a path that worked may take before it counts as lost: as long as silence may
/// last. It usually takes a round trip through the server and 0.2 s.
pub const RESTART_TIMEOUT: Duration = Duration::from_secs(2);

/// What the stack says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Checks are running, for the first time or after a restart.
    Connecting,
    /// Packets flow.
    Connected,
    /// Nothing came for a while; may come back.
    Disconnected,
    /// Nothing more will be tried without a restart.
    Failed,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Packets flow.
    Connected,
    /// They did, and do no more.
    Interrupted,
    /// The link has failed.
    GivenUp,
}

/// See the module's text.
#[derive(Debug)]
pub struct Recovery {
    was_connected: bool,
    deadline: Option<Instant>,
}

impl Recovery {
    /// A link opened now.
    pub fn new(now: Instant) -> Self {
        Self {
            was_connected: false,
            deadline: Some(now + CONNECT_TIMEOUT),
        }
    }

    /// The state changed.
    pub fn handle_state(&mut self, now: Instant, state: PathState) -> Option<Change> {
        match state {
            PathState::Connected => {
                self.was_connected = true;
                self.deadline = None;
                Some(Change::Connected)
            }
            // Before the first connection the deadline decides.
            _ if !self.was_connected => None,
            PathState::Connecting => {
                self.deadline.get_or_insert(now + RESTART_TIMEOUT);
                None
            }
            PathState::Disconnected | PathState::Failed => {
                self.deadline = None;
                Some(Change::Interrupted)
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Change> {
        self.deadline.take_if(|deadline| *deadline <= now)?;
        Some(if self.was_connected {
            Change::Interrupted
        } else {
            Change::GivenUp
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_connected_gives_up() {
        let start = Instant::now();
        let mut recovery = Recovery::new(start);
        for state in [
            PathState::Connecting,
            PathState::Failed,
            PathState::Disconnected,
        ] {
            assert_eq!(recovery.handle_state(start, state), None);
        }
        assert_eq!(recovery.poll_timeout(), Some(start + CONNECT_TIMEOUT));
        assert_eq!(recovery.handle_timeout(start), None, "too early");
        let late = start + CONNECT_TIMEOUT;
        assert_eq!(recovery.handle_timeout(late), Some(Change::GivenUp));
        assert_eq!(recovery.poll_timeout(), None);
    }

    #[test]
    fn a_lost_path_waits_for_ever_and_may_come_back() {
        let start = Instant::now();
        let mut recovery = Recovery::new(start);
        for lost in [PathState::Disconnected, PathState::Failed] {
            let connected = recovery.handle_state(start, PathState::Connected);
            assert_eq!(connected, Some(Change::Connected));
            assert_eq!(recovery.poll_timeout(), None);
            let lost = recovery.handle_state(start, lost);
            assert_eq!(lost, Some(Change::Interrupted));
            assert_eq!(recovery.poll_timeout(), None);
        }
    }

    #[test]
    fn a_restart_has_as_long_as_silence_may_last() {
        let start = Instant::now();
        let mut recovery = Recovery::new(start);
        recovery.handle_state(start, PathState::Connected);
        let late = start + RESTART_TIMEOUT;
        assert_eq!(recovery.handle_state(start, PathState::Connecting), None);
        // A second one does not prolong it.
        assert_eq!(recovery.handle_state(late, PathState::Connecting), None);
        assert_eq!(recovery.handle_timeout(late), Some(Change::Interrupted));
        assert_eq!(recovery.handle_state(late, PathState::Connecting), None);
        recovery.handle_state(late, PathState::Connected);
        assert_eq!(recovery.poll_timeout(), None);
    }
}
