//! What members say to each other, sealed, and what is said to the SFU about its link.
//!
//! A signal that does not open, does not parse or exceeds its limits is dropped and logged. While
//! the server's connection is lost, one's own signals wait for the seat to be resumed, and while the
//! server does not know a member (`call_away`), those for them for their return; those of a link that
//! closes meanwhile are dropped.

use call_protocol::limits;
use call_protocol::peer::{PeerSignal, SdpKind};
use call_protocol::wire::{ClientMessage, TopologyMode};
use call_protocol::{MediaSource, MemberId};

use crate::call::Call;
use crate::context::Ctx;
use crate::input::{LinkId, LinkPeer};
use crate::output::LinkOp;

use call_protocol::wire::SfuTrack;

/// Own signals kept while the connection to the server is lost. A link in setup makes about 20.
pub(crate) const PENDING_SIGNALS: usize = 256;

/// What the sending sections of an offer to the SFU carry: the microphone, the camera's layers from
/// the largest on, the screen.
const TRACKS: [SfuTrack; 2 + limits::SFU_LAYERS] = [
    SfuTrack {
        mline: 0,
        source: MediaSource::Microphone,
        layer: None,
    },
    camera(0),
    camera(1),
    camera(2),
    SfuTrack {
        mline: 1 + limits::SFU_LAYERS as u16,
        source: MediaSource::Screen,
        layer: Some(0),
    },
];

const fn camera(layer: u8) -> SfuTrack {
    SfuTrack {
        mline: 1 + layer as u16,
        source: MediaSource::Camera,
        layer: Some(layer),
    }
}

impl Call {
    /// A sealed signal arrived.
    pub(crate) fn handle_sealed(&mut self, ctx: &mut Ctx<'_>, from: MemberId, sealed: &str) {
        let (Some(me), Some(secured)) = (self.me, &mut self.secured) else {
            return;
        };
        let plain = match secured.sealer.open(from, me, sealed) {
            Ok(plain) => plain,
            Err(error) => {
                tracing::debug!(member = %from, %error, code = ?error.code(), "signal dropped");
                return;
            }
        };
        let signal = serde_json::from_slice(&plain)
            .ok()
            .filter(PeerSignal::is_within_limits);
        let (Some(signal), true) = (signal, self.roster.contains(from)) else {
            tracing::debug!(member = %from, "signal malformed");
            return;
        };
        match signal {
            PeerSignal::Settled { mode } => self.handle_settled(from, mode),
            PeerSignal::AskMute => self.handle_ask_mute(ctx, from),
            PeerSignal::Shown {
                source: MediaSource::Camera,
                width_px,
                height_px,
            } => self.handle_shown(ctx, from, (width_px, height_px)),
            // A screen is sent as large as the path carries it: who looks at it may zoom in.
            PeerSignal::Shown { .. } => {}
            PeerSignal::Bye => self.handle_bye(ctx, from),
            PeerSignal::Data { signal } => self.handle_data_signal(ctx, from, *signal),
            PeerSignal::Description { kind, ref sdp } => {
                let is_offer = kind == SdpKind::Offer;
                if is_offer {
                    self.prepare_for_offer(ctx, from);
                }
                self.compare_halves(ctx, LinkPeer::Member(from), sdp, is_offer);
                self.pass_to_link(ctx, LinkPeer::Member(from), signal);
            }
            PeerSignal::Candidate { .. } => {
                self.pass_to_link(ctx, LinkPeer::Member(from), signal);
            }
            PeerSignal::Need { .. } => tracing::debug!(member = %from, "no link of the call's is"),
        }
    }

    /// Gives our half up where theirs is another one than before.
    pub(crate) fn compare_halves(
        &mut self,
        ctx: &mut Ctx<'_>,
        peer: LinkPeer,
        sdp: &str,
        is_offer: bool,
    ) {
        let now = ctx.now;
        let Some(policy) = self.policy_mut(peer) else {
            return;
        };
        let actions = policy.handle_description(now, sdp, is_offer, || ctx.ids.link(peer));
        self.act(ctx, actions);
        self.drop_failed_data(peer);
    }

    /// Hands a signal to the link it is meant for, unless that was closed meanwhile.
    pub(crate) fn pass_to_link(&mut self, ctx: &mut Ctx<'_>, peer: LinkPeer, signal: PeerSignal) {
        match self.policy_mut(peer).and_then(|policy| policy.current()) {
            Some(link) => ctx.link_op(LinkOp::Signal { link, signal }),
            None => tracing::debug!(?peer, "signal for no link"),
        }
    }

    /// Sends a signal of a link, or keeps it until the seat is resumed.
    pub(crate) fn queue_signal(&mut self, ctx: &mut Ctx<'_>, link: LinkId, signal: PeerSignal) {
        let fits = match link.peer {
            LinkPeer::Member(_) | LinkPeer::Data(_) => signal.is_within_limits(),
            LinkPeer::Sfu => is_within_sfu_limits(&signal),
        };
        if !fits {
            tracing::warn!(?link, "own signal exceeds its limits");
        } else if self.is_joined() && !self.is_away(link.peer) {
            self.send_link_signal(ctx, link, signal);
        } else {
            if self.pending.len() >= PENDING_SIGNALS {
                self.pending.pop_front();
            }
            self.pending.push_back((link, signal));
        }
    }

    /// Sends what was kept.
    pub(crate) fn send_pending(&mut self, ctx: &mut Ctx<'_>) {
        for (link, signal) in std::mem::take(&mut self.pending) {
            self.queue_signal(ctx, link, signal);
        }
    }

    /// Tells the other half of a link that this half is gone.
    pub(crate) fn send_bye(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        self.queue_signal(ctx, link, PeerSignal::Bye);
    }

    /// Tells a member that we reach each other in this way.
    pub(crate) fn send_settled(&mut self, ctx: &mut Ctx<'_>, to: MemberId, mode: TopologyMode) {
        self.send_signal(ctx, to, &PeerSignal::Settled { mode });
    }

    fn send_link_signal(&mut self, ctx: &mut Ctx<'_>, link: LinkId, signal: PeerSignal) {
        match link.peer {
            LinkPeer::Member(to) => self.send_signal(ctx, to, &signal),
            LinkPeer::Data(to) => self.send_data_signal(ctx, to, signal),
            LinkPeer::Sfu => match sfu_message(link.generation, &signal) {
                Some(message) => self.send(ctx, message),
                None => tracing::trace!("nothing the SFU needs"),
            },
        }
    }

    /// Tells a member something about the data link.
    pub(crate) fn send_data_signal(&mut self, ctx: &mut Ctx<'_>, to: MemberId, signal: PeerSignal) {
        let signal = Box::new(signal);
        self.send_signal(ctx, to, &PeerSignal::Data { signal });
    }

    pub(crate) fn send_signal(&mut self, ctx: &mut Ctx<'_>, to: MemberId, signal: &PeerSignal) {
        if self.is_away(LinkPeer::Member(to)) {
            return;
        }
        let (Some(me), Some(secured)) = (self.me, &mut self.secured) else {
            return;
        };
        let plain = serde_json::to_vec(signal).unwrap_or_default();
        match secured.sealer.seal(me, to, &plain) {
            Ok(sealed) => self.send(ctx, ClientMessage::Signal { to, sealed }),
            Err(error) => tracing::warn!(member = %to, %error, "own signal cannot be sealed"),
        }
    }

    /// Sends while there is a seat.
    pub(crate) fn send(&self, ctx: &mut Ctx<'_>, message: ClientMessage) {
        if let Some(signalling) = self.signalling.as_ref().filter(|it| it.is_joined()) {
            signalling.send(ctx.out, message);
        }
    }
}

fn is_within_sfu_limits(signal: &PeerSignal) -> bool {
    match signal {
        PeerSignal::Description { sdp, .. } => sdp.len() <= limits::SFU_SDP_BYTES,
        PeerSignal::Candidate { candidate, mid, .. } => {
            let mid = mid.as_deref().unwrap_or_default();
            candidate.len() <= limits::CANDIDATE_BYTES && mid.len() <= limits::MID_CHARS
        }
        PeerSignal::Settled { .. }
        | PeerSignal::Shown { .. }
        | PeerSignal::AskMute
        | PeerSignal::Bye
        | PeerSignal::Data { .. }
        | PeerSignal::Need { .. } => true,
    }
}

/// The SFU answers, it never offers, and it needs no end of candidates.
fn sfu_message(link: u32, signal: &PeerSignal) -> Option<ClientMessage> {
    match signal.clone() {
        PeerSignal::Description {
            kind: SdpKind::Offer,
            sdp,
        } => Some(ClientMessage::SfuOffer {
            link,
            sdp,
            tracks: TRACKS.to_vec(),
        }),
        PeerSignal::Candidate {
            candidate,
            mid,
            mline_index,
        } if !candidate.is_empty() => Some(ClientMessage::SfuCandidate {
            link,
            candidate,
            mid,
            mline_index,
        }),
        PeerSignal::Bye => Some(ClientMessage::SfuClose { link }),
        PeerSignal::Description { .. }
        | PeerSignal::Candidate { .. }
        | PeerSignal::Settled { .. }
        | PeerSignal::Shown { .. }
        | PeerSignal::AskMute
        | PeerSignal::Data { .. }
        | PeerSignal::Need { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sfu_hears_offers_candidates_and_the_end() {
        let description = |kind| PeerSignal::Description {
            kind,
            sdp: "v=0".into(),
        };
        let candidate = |text: &str| PeerSignal::Candidate {
            candidate: text.into(),
            mid: Some("0".into()),
            mline_index: Some(0),
        };
        let Some(ClientMessage::SfuOffer { link, sdp, tracks }) =
            sfu_message(7, &description(SdpKind::Offer))
        else {
            panic!("no offer")
        };
        assert_eq!((link, sdp.as_str()), (7, "v=0"));
        let tracks: Vec<_> = tracks
            .iter()
            .map(|it| (it.mline, it.source, it.layer))
            .collect();
        let camera = |layer| (u16::from(layer) + 1, MediaSource::Camera, Some(layer));
        let microphone = (0, MediaSource::Microphone, None);
        let screen = (4, MediaSource::Screen, Some(0));
        let cameras = [camera(0), camera(1), camera(2)];
        assert_eq!(tracks, [&[microphone][..], &cameras, &[screen]].concat());
        let sent = sfu_message(7, &candidate("candidate:1"));
        assert!(matches!(
            sent,
            Some(ClientMessage::SfuCandidate { link: 7, .. })
        ));
        let sent = sfu_message(7, &PeerSignal::Bye);
        assert_eq!(sent, Some(ClientMessage::SfuClose { link: 7 }));
        let mode = TopologyMode::Sfu;
        for signal in [
            description(SdpKind::Answer),
            candidate(""),
            PeerSignal::Settled { mode },
        ] {
            assert_eq!(sfu_message(7, &signal), None);
        }
    }
}
