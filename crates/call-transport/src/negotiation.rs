//! Perfect negotiation (W3C WebRTC, section 10.7) as a pure state machine.
//!
//! States: *stable* and *have-local-offer*. A remote offer is answered in one go by whoever runs
//! the [`Step`]s, so there is no lasting have-remote-offer, and as the steps of one input are run
//! to their end before the next input, no "making an offer" race exists either.
//!
//! Invariants:
//! * at most one local offer is outstanding; further wishes are merged into one wait;
//! * the impolite side never rolls back, the polite side always does before it takes an offer that
//!   crossed its own (the stack has no implicit rollback);
//! * a restart that is wanted while an offer is out repeats that offer: signals may be lost with the
//!   server's connection. Repeated offers may be answered twice; an answer to a restart shows new
//!   credentials (RFC 8839, section 4.4.1.1.1), so that one that does not is a late one and ignored;
//! * the impolite side repeats its offer where it ignores a restart: whoever restarts has lost its path,
//!   and may have lost the server, and our offer, with it;
//! * candidates are handed on only while a remote description is set; earlier ones wait, at most
//!   [`limits::PENDING_CANDIDATES`], the oldest dropped first;
//! * candidates that follow an ignored offer are dropped until the next description;
//! * a peer's offer that lacks one of our media sections is answered and followed by our own offer.
//!   The stack's own "negotiation needed" is not used: what we need never changes, and the event
//!   may come after the exchange that made it obsolete.
//!
//! Not here: running the steps, gathering, timers (see [`crate::recovery`]).

use std::collections::VecDeque;

use call_protocol::limits;
use call_protocol::peer::{PeerSignal, SdpKind};

/// A trickled candidate, as in [`PeerSignal::Candidate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The `candidate:` line; empty means the end of candidates.
    pub candidate: String,
    /// Media id.
    pub mid: Option<String>,
    /// Index of the media section.
    pub mline_index: Option<u16>,
}

/// What is to be done to the peer connection, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create an offer, set it locally, send it.
    Offer {
        /// With new ICE credentials (RFC 8445, section 9).
        restart_ice: bool,
    },
    /// Send the offer that is out again, and the candidates gathered for it.
    RepeatOffer,
    /// Withdraw the local offer.
    Rollback,
    /// Set the remote description.
    SetRemote {
        /// Offer or answer.
        kind: SdpKind,
        /// The SDP.
        sdp: String,
    },
    /// Create an answer, set it locally, send it.
    Answer {
        /// Send the candidates gathered so far again: the peer dropped them with our offer.
        resend_candidates: bool,
    },
    /// Hand a remote candidate on.
    AddCandidate(Candidate),
    /// The peer hung up.
    HangUp,
}

impl Step {
    /// A word for logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::RepeatOffer => "repeated offer",
            Self::Rollback => "rollback",
            Self::SetRemote {
                kind: SdpKind::Offer,
                ..
            } => "remote offer",
            Self::SetRemote {
                kind: SdpKind::Answer,
                ..
            } => "remote answer",
            Self::Answer { .. } => "answer",
            Self::AddCandidate(_) => "candidate",
            Self::HangUp => "hang up",
        }
    }

    pub(crate) fn is_offer(&self) -> bool {
        matches!(self, Self::Offer { .. })
    }
}

/// The state machine; see the module's text.
#[derive(Debug)]
pub struct Negotiation {
    polite: bool,
    sections: Vec<&'static str>,
    sdp_bytes: usize,
    outstanding: Option<Outstanding>,
    wanted: Option<Outstanding>,
    is_ignoring: bool,
    remote_ufrag: Option<String>,
    has_remote: bool,
    pending: VecDeque<Candidate>,
    dropped_candidates: u64,
}

/// An offer we made or want to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outstanding {
    restart_ice: bool,
}

impl Negotiation {
    /// A stable machine without descriptions. `sections` are the kinds of media sections this
    /// side has (`audio`, `video`, `application`).
    pub fn new(polite: bool, sections: Vec<&'static str>) -> Self {
        Self {
            polite,
            sections,
            sdp_bytes: limits::SDP_BYTES,
            outstanding: None,
            wanted: None,
            is_ignoring: false,
            remote_ufrag: None,
            has_remote: false,
            pending: VecDeque::new(),
            dropped_candidates: 0,
        }
    }

    /// The same, taking descriptions of up to `bytes` instead of [`limits::SDP_BYTES`].
    pub fn with_sdp_bytes(self, bytes: usize) -> Self {
        Self {
            sdp_bytes: bytes,
            ..self
        }
    }

    /// Whether no offer of ours is outstanding.
    pub fn is_stable(&self) -> bool {
        self.outstanding.is_none()
    }

    /// Whether a remote description was ever set.
    pub fn has_remote(&self) -> bool {
        self.has_remote
    }

    /// Candidates that were dropped: too many waiting, or following an ignored offer.
    pub fn dropped_candidates(&self) -> u64 {
        self.dropped_candidates
    }

    /// We want to offer: something changed, or the path is to be looked for anew.
    pub fn handle_wish(&mut self, restart_ice: bool) -> Vec<Step> {
        let Some(offer) = self.outstanding else {
            let restart_ice = restart_ice || self.wanted.is_some_and(|wanted| wanted.restart_ice);
            self.wanted = Some(Outstanding { restart_ice });
            return self.wanted_offer();
        };
        if !restart_ice {
            return Vec::new();
        }
        // Without a description of theirs there is nothing yet to restart.
        if !offer.restart_ice && self.has_remote {
            self.wanted = Some(Outstanding { restart_ice });
        }
        vec![Step::RepeatOffer]
    }

    /// A signal of the peer. Signals beyond their limits are ignored.
    pub fn handle_signal(&mut self, signal: PeerSignal) -> Vec<Step> {
        let is_within_limits = match &signal {
            PeerSignal::Description { sdp, .. } => sdp.len() <= self.sdp_bytes,
            other => other.is_within_limits(),
        };
        if !is_within_limits {
            return Vec::new();
        }
        match signal {
            PeerSignal::Description {
                kind: SdpKind::Offer,
                sdp,
            } => self.handle_offer(sdp),
            PeerSignal::Description {
                kind: SdpKind::Answer,
                sdp,
            } => self.handle_answer(sdp),
            PeerSignal::Candidate {
                candidate,
                mid,
                mline_index,
            } => self.handle_candidate(Candidate {
                candidate,
                mid,
                mline_index,
            }),
            PeerSignal::Bye => vec![Step::HangUp],
            // Between the sessions only.
            PeerSignal::Settled { .. }
            | PeerSignal::Shown { .. }
            | PeerSignal::AskMute
            | PeerSignal::Data { .. }
            | PeerSignal::Need { .. } => Vec::new(),
        }
    }

    /// The peer connection refused a step. Returns what brings both back to stable.
    pub fn handle_failure(&mut self, step: &Step) -> Vec<Step> {
        match step {
            Step::SetRemote {
                kind: SdpKind::Answer,
                ..
            } => {
                self.outstanding = None;
                vec![Step::Rollback]
            }
            Step::Offer { .. } => {
                self.outstanding = None;
                Vec::new()
            }
            Step::SetRemote {
                kind: SdpKind::Offer,
                ..
            }
            | Step::RepeatOffer
            | Step::Rollback
            | Step::Answer { .. }
            | Step::AddCandidate(_)
            | Step::HangUp => Vec::new(),
        }
    }

    fn handle_offer(&mut self, sdp: String) -> Vec<Step> {
        let withdrawn = self.outstanding;
        let ufrag = ice_ufrag(&sdp);
        let is_restart = self.remote_ufrag.is_some() && self.remote_ufrag != ufrag;
        let mut steps = Vec::new();
        if withdrawn.is_some() && !self.polite {
            self.is_ignoring = true;
            if is_restart {
                steps.push(Step::RepeatOffer);
            }
            return steps;
        }
        self.is_ignoring = false;
        if let Some(offer) = withdrawn {
            self.outstanding = None;
            steps.push(Step::Rollback);
            if offer.restart_ice && !is_restart {
                self.wanted = Some(offer);
            }
        }
        self.remote_ufrag = ufrag;
        if self.lacks_sections(&sdp) {
            self.wanted
                .get_or_insert(Outstanding { restart_ice: false });
        }
        steps.push(Step::SetRemote {
            kind: SdpKind::Offer,
            sdp,
        });
        steps.push(Step::Answer {
            resend_candidates: withdrawn.is_some(),
        });
        steps.extend(self.admit_candidates());
        steps.extend(self.wanted_offer());
        steps
    }

    /// Whether an offer has fewer sections of a kind than we need.
    fn lacks_sections(&self, sdp: &str) -> bool {
        let needed = |kind| self.sections.iter().filter(|other| *other == kind).count();
        let mut kinds = self.sections.iter();
        kinds.any(|kind| count_sections(sdp, kind) < needed(kind))
    }

    fn handle_answer(&mut self, sdp: String) -> Vec<Step> {
        let ufrag = ice_ufrag(&sdp);
        let is_known = self.remote_ufrag.is_some() && self.remote_ufrag == ufrag;
        let is_late = |offer: &Outstanding| offer.restart_ice && is_known;
        if self.outstanding.take_if(|offer| !is_late(offer)).is_none() {
            return Vec::new();
        }
        self.is_ignoring = false;
        self.remote_ufrag = ufrag;
        let mut steps = vec![Step::SetRemote {
            kind: SdpKind::Answer,
            sdp,
        }];
        steps.extend(self.admit_candidates());
        steps.extend(self.wanted_offer());
        steps
    }

    fn handle_candidate(&mut self, candidate: Candidate) -> Vec<Step> {
        if self.is_ignoring {
            self.dropped_candidates += 1;
            return Vec::new();
        }
        if self.has_remote {
            return vec![Step::AddCandidate(candidate)];
        }
        if self.pending.len() == limits::PENDING_CANDIDATES {
            self.pending.pop_front();
            self.dropped_candidates += 1;
        }
        self.pending.push_back(candidate);
        Vec::new()
    }

    fn admit_candidates(&mut self) -> impl Iterator<Item = Step> {
        self.has_remote = true;
        std::mem::take(&mut self.pending)
            .into_iter()
            .map(Step::AddCandidate)
    }

    fn wanted_offer(&mut self) -> Vec<Step> {
        if self.outstanding.is_some() {
            return Vec::new();
        }
        self.outstanding = self.wanted.take();
        self.outstanding
            .map(|offer| Step::Offer {
                restart_ice: offer.restart_ice,
            })
            .into_iter()
            .collect()
    }
}

/// The first ICE user name fragment of a description.
fn ice_ufrag(sdp: &str) -> Option<String> {
    sdp.lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .map(|ufrag| ufrag.trim().to_owned())
}

fn count_sections(sdp: &str, kind: &str) -> usize {
    let media = sdp.lines().filter_map(|line| line.strip_prefix("m="));
    media
        .filter(|media| media.split(' ').next() == Some(kind))
        .count()
}

#[cfg(test)]
#[path = "negotiation_tests.rs"]
mod tests;
