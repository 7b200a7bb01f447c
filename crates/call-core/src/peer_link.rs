//! The policy for one peer connection: when to open, restart, give up and open anew.
//!
//! ```text
//! Absent ──open──► Connecting ──► Connected ◄──► Reconnecting (ICE restarts, bounded)
//!                      │ deadline     │ failed        │ restarts used up
//!                      └──────────────┴───────┬───────┘
//!                                             ▼
//!                                          Waiting ──► Connecting …
//! ```
//!
//! Who initiates makes the first offer and opens a link anew: for a call the member with the larger
//! id, so that both never do so at once; towards the SFU always the client; for a data link whoever
//! wants it. The other end is told with a `Bye` that its half is void, and opens a new half when
//! the next offer comes. A half is known by its DTLS certificate: a description of another one shows
//! that the other end began anew, whatever was lost. Both may restart ICE (perfect negotiation settles
//! glare), the initiator first, unless it was our address that went away, of which only we know.
//!
//! A restart gives the old path up at once (the stack binds its sockets anew), so that it is asked for
//! only where the old path is dead or its address gone: a path that works is kept whatever other
//! interfaces come.
//!
//! A link for files alone is opened anew instead once the path was dead for [`STALE_AFTER`]: SCTP doubles
//! its wait with every repetition (RFC 9260, section 6.3.3), so that it would stand still for as long again
//! on a path that is back.
//!
//! Deliberately not here: signals and sealing; whether the link is wanted at all (`call_topology`);
//! and what the server's connection does, except that the caller runs [`PeerLink::handle_timeout`]
//! only while signals can travel.

use std::time::{Duration, Instant};

use call_protocol::ui::LinkView;

use crate::backoff::{RESTARTS_MAX, reopen_delay, restart_delay};
use crate::input::{LinkId, LinkState};

/// Time for a new link to connect. ICE over a bad network with TURN needs up to 10 s; raising it
/// delays the next try, lowering it kills slow successes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the side that does not initiate leaves the first ICE restart to the other.
const RESTART_COURTESY: Duration = Duration::from_secs(3);
/// How long the side that does not initiate waits for a new offer before it says `Bye` again, in
/// case the other half never noticed. Longer than the longest wait of the initiator.
const OFFER_PATIENCE: Duration = Duration::from_secs(45);
/// Shortest time between two openings that the other side can cause.
const REOPEN_FLOOR: Duration = Duration::from_millis(500);
/// Failures in a row from which the link counts as failed, not as being repaired.
const FAILED_AFTER: u32 = 2;
/// How long a path must be dead while others do well before that is blamed on the other end. Paths of
/// one's own network die within half a second of each other (checks go out that often).
const BLAME_AFTER: Duration = Duration::from_secs(1);

/// Dead for so long, a path is not worth keeping for the data of SCTP; see the module's text. Lower opens
/// links anew for the hiccups of a Wi-Fi, higher leaves a file waiting.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The connection to one member, or to the SFU.
#[derive(Debug)]
pub(crate) struct PeerLink {
    initiator: bool,
    /// Whether it carries data and no media.
    is_for_data: bool,
    phase: Phase,
    failures: u32,
    was_connected: bool,
    opened_at: Option<Instant>,
    /// The certificate of the other half, as its descriptions name it.
    their_half: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Absent,
    Connecting {
        link: LinkId,
        deadline: Instant,
    },
    Connected {
        link: LinkId,
        since: Instant,
    },
    Reconnecting {
        link: LinkId,
        since: Instant,
        restarts: u32,
        next: Instant,
        /// Our own address is gone: the other end cannot know before we say so.
        is_ours: bool,
    },
    Waiting {
        last: LinkId,
        until: Instant,
    },
}

/// What the caller must do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Open { link: LinkId, initiator: bool },
    Restart(LinkId),
    Close(LinkId),
    SendBye(LinkId),
}

impl PeerLink {
    /// A link that is not there yet.
    pub(crate) fn new(initiator: bool) -> Self {
        let phase = Phase::Absent;
        Self {
            initiator,
            is_for_data: false,
            phase,
            failures: 0,
            was_connected: false,
            opened_at: None,
            their_half: None,
        }
    }

    /// As [`new`](Self::new), for data alone; nobody initiates yet.
    pub(crate) fn for_data() -> Self {
        Self {
            is_for_data: true,
            ..Self::new(false)
        }
    }

    /// The peer connection there is.
    pub(crate) fn current(&self) -> Option<LinkId> {
        match self.phase {
            Phase::Connecting { link, .. }
            | Phase::Connected { link, .. }
            | Phase::Reconnecting { link, .. } => Some(link),
            Phase::Absent | Phase::Waiting { .. } => None,
        }
    }

    /// Whether nothing is there, nor tried.
    pub(crate) fn is_absent(&self) -> bool {
        self.phase == Phase::Absent
    }

    /// Whether it ever was connected, since it was wanted last.
    pub(crate) fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// Since when media can flow without interruption.
    pub(crate) fn connected_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Connected { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Who initiates from now on; leaves the connection there is alone.
    pub(crate) fn set_initiator(&mut self, initiator: bool) {
        self.initiator = initiator;
    }

    /// Nothing is wanted for now: forgets everything but when the last was opened. Gives what must
    /// be closed.
    pub(crate) fn retire(&mut self, initiator: bool) -> Option<LinkId> {
        let link = self.current();
        let opened_at = self.opened_at;
        *self = Self {
            opened_at,
            is_for_data: self.is_for_data,
            ..Self::new(initiator)
        };
        link
    }

    /// What the person sees.
    pub(crate) fn view(&self) -> LinkView {
        match self.phase {
            Phase::Connected { .. } => LinkView::Connected,
            _ if self.is_absent() || self.failures >= FAILED_AFTER => LinkView::Failed,
            _ if self.was_connected => LinkView::Reconnecting,
            _ => LinkView::Connecting,
        }
    }

    /// Opens a peer connection under the id `link`.
    pub(crate) fn open(&mut self, now: Instant, link: LinkId) -> Action {
        self.connect(now, link, self.initiator)
    }

    /// Opens one that waits for the offer there is, whoever initiates otherwise.
    pub(crate) fn open_for_offer(&mut self, now: Instant, link: LinkId) -> Action {
        self.connect(now, link, false)
    }

    fn connect(&mut self, now: Instant, link: LinkId, initiator: bool) -> Action {
        self.phase = Phase::Connecting {
            link,
            deadline: now + CONNECT_TIMEOUT,
        };
        self.opened_at = Some(now);
        self.their_half = None;
        Action::Open { link, initiator }
    }

    /// Whether the last opening is long enough ago for another that the other side causes.
    pub(crate) fn is_rested(&self, now: Instant) -> bool {
        self.opened_at
            .is_none_or(|at| now.duration_since(at) >= REOPEN_FLOOR)
    }

    /// Whether an offer that finds no peer connection may open one.
    pub(crate) fn accepts_offer(&self, now: Instant) -> bool {
        !self.initiator && matches!(self.phase, Phase::Waiting { .. }) && self.is_rested(now)
    }

    /// The transport reports a new state.
    pub(crate) fn handle_state(&mut self, now: Instant, state: LinkState) -> Vec<Action> {
        let is_void = self.initiator && self.is_stale(now) && state == LinkState::Connected;
        if let Phase::Reconnecting { next, .. } = &mut self.phase
            && is_void
        {
            *next = now;
            return Vec::new();
        }
        match (self.phase, state) {
            (
                Phase::Connecting { link, .. } | Phase::Reconnecting { link, .. },
                LinkState::Connected,
            ) => {
                self.phase = Phase::Connected { link, since: now };
                self.was_connected = true;
                self.failures = 0;
                Vec::new()
            }
            (Phase::Connected { link, .. }, LinkState::Reconnecting) => {
                self.lose(now, link, false);
                Vec::new()
            }
            (_, LinkState::Failed | LinkState::Closed) => self.fail(now, true),
            _ => Vec::new(),
        }
    }

    /// The address the link used is gone from this machine.
    pub(crate) fn handle_address_gone(&mut self, now: Instant) {
        if let Phase::Connected { link, .. } | Phase::Reconnecting { link, .. } = self.phase {
            self.lose(now, link, true);
        }
    }

    fn lose(&mut self, now: Instant, link: LinkId, is_ours: bool) {
        let since = match self.phase {
            Phase::Reconnecting { since, .. } => since,
            _ => now,
        };
        self.phase = Phase::Reconnecting {
            link,
            since,
            restarts: 0,
            next: now + self.courtesy(is_ours),
            is_ours,
        };
    }

    /// Whether what is repeated over this path would come too late; see the module's text.
    fn is_stale(&self, now: Instant) -> bool {
        let Phase::Reconnecting { since, .. } = self.phase else {
            return false;
        };
        self.is_for_data && now.saturating_duration_since(since) >= STALE_AFTER
    }

    fn courtesy(&self, is_ours: bool) -> Duration {
        if self.initiator || is_ours {
            Duration::ZERO
        } else {
            RESTART_COURTESY
        }
    }

    /// This machine has a network again, or another one: what waits need not wait longer.
    pub(crate) fn handle_network(&mut self, now: Instant) {
        let is_rested = self.is_rested(now);
        match &mut self.phase {
            Phase::Reconnecting { restarts, next, .. } => (*restarts, *next) = (0, now),
            Phase::Waiting { until, .. } if self.initiator && is_rested => *until = now,
            _ => {}
        }
    }

    /// Whether this end waits for the network to find a way again.
    pub(crate) fn is_reconnecting(&self) -> bool {
        matches!(self.phase, Phase::Reconnecting { .. })
    }

    /// From when on the other end is to blame for a dead path, if others do well.
    pub(crate) fn blame_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Reconnecting { since, .. } => Some(since + BLAME_AFTER),
            _ => None,
        }
    }

    /// A description of the other half came, an offer or not. Where it is another half than before,
    /// ours is void: an offer from an initiator gets a fresh one, anything else ends in our telling
    /// them.
    pub(crate) fn handle_description(
        &mut self,
        now: Instant,
        sdp: &str,
        is_offer: bool,
        fresh: impl FnOnce() -> LinkId,
    ) -> Vec<Action> {
        let (Some(link), Some(half)) = (self.current(), certificate(sdp)) else {
            return Vec::new();
        };
        if self.their_half.as_deref().is_none_or(|known| known == half) {
            self.their_half = Some(half.to_owned());
            return Vec::new();
        }
        // Both may initiate a link for data, and both find it dead.
        let yields = !self.initiator || self.is_stale(now);
        if is_offer && yields && self.is_rested(now) {
            let actions = vec![Action::Close(link), self.open_for_offer(now, fresh())];
            self.their_half = Some(half.to_owned());
            return actions;
        }
        self.fail(now, true)
    }

    /// The member hung up its half.
    pub(crate) fn handle_bye(&mut self, now: Instant) -> Vec<Action> {
        self.fail(now, false)
    }

    /// When [`PeerLink::handle_timeout`] has something to do.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Connecting { deadline, .. } => Some(deadline),
            Phase::Reconnecting { next, .. } => Some(next),
            Phase::Waiting { until, .. } => Some(until),
            Phase::Absent | Phase::Connected { .. } => None,
        }
    }

    /// Does what is due; `fresh` makes the id of a new peer connection.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        fresh: impl FnOnce() -> LinkId,
    ) -> Vec<Action> {
        if self.timeout().is_none_or(|at| now < at) {
            return Vec::new();
        }
        let is_stale = self.is_stale(now);
        match self.phase {
            Phase::Reconnecting { link, .. } if is_stale && self.initiator => {
                vec![Action::Close(link), self.open(now, fresh())]
            }
            Phase::Reconnecting {
                link,
                since,
                restarts,
                is_ours,
                ..
            } if restarts < RESTARTS_MAX && !is_stale => {
                let next = now + restart_delay(restarts);
                self.phase = Phase::Reconnecting {
                    link,
                    since,
                    restarts: restarts + 1,
                    next,
                    is_ours,
                };
                vec![Action::Restart(link)]
            }
            Phase::Connecting { .. } | Phase::Reconnecting { .. } => self.fail(now, true),
            Phase::Waiting { .. } if self.initiator => vec![self.open(now, fresh())],
            Phase::Waiting { last, .. } => {
                self.phase = Phase::Waiting {
                    last,
                    until: now + OFFER_PATIENCE,
                };
                vec![Action::SendBye(last)]
            }
            Phase::Absent | Phase::Connected { .. } => Vec::new(),
        }
    }

    /// Signals travel again after an interruption: what was due meanwhile gets a new chance first,
    /// and an offer that may have been lost is made again.
    pub(crate) fn handle_resumed(&mut self, now: Instant) -> Vec<Action> {
        if let Phase::Reconnecting { link, is_ours, .. } = self.phase {
            self.lose(now, link, is_ours);
        }
        match &mut self.phase {
            Phase::Connecting { link, deadline } => {
                *deadline = now + CONNECT_TIMEOUT;
                if self.initiator {
                    return vec![Action::Restart(*link)];
                }
            }
            Phase::Absent
            | Phase::Connected { .. }
            | Phase::Reconnecting { .. }
            | Phase::Waiting { .. } => {}
        }
        Vec::new()
    }

    fn fail(&mut self, now: Instant, tell: bool) -> Vec<Action> {
        let Some(link) = self.current() else {
            return Vec::new();
        };
        self.failures = self.failures.saturating_add(1);
        let wait = if self.initiator {
            reopen_delay(self.failures)
        } else {
            OFFER_PATIENCE
        };
        self.phase = Phase::Waiting {
            last: link,
            until: now + wait,
        };
        let mut actions = vec![Action::Close(link)];
        if tell {
            actions.push(Action::SendBye(link));
        }
        actions
    }
}

/// The first DTLS fingerprint of a description (RFC 8122). Every peer connection has a certificate of
/// its own.
fn certificate(sdp: &str) -> Option<&str> {
    sdp.lines()
        .find_map(|line| line.strip_prefix("a=fingerprint:"))
        .map(str::trim)
}

#[cfg(test)]
#[path = "peer_link_tests.rs"]
mod tests;
