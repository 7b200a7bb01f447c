//! One half of a peer connection, as far as a session can tell.

use call_core::{LinkId, LinkPeer, LinkState};
use call_protocol::MemberId;
use call_protocol::peer::{PeerSignal, SdpKind};

/// Its SDP is its identity (as a DTLS fingerprint is): `client member generation`.
pub(crate) struct FakeLink {
    own: (usize, LinkId),
    remote: Option<(usize, LinkId)>,
    state: LinkState,
}

impl FakeLink {
    pub(crate) fn new(client: usize, link: LinkId) -> Self {
        Self {
            own: (client, link),
            remote: None,
            state: LinkState::Connecting,
        }
    }

    pub(crate) fn offer(&self) -> PeerSignal {
        self.description(SdpKind::Offer)
    }

    fn description(&self, kind: SdpKind) -> PeerSignal {
        let (client, link) = self.own;
        let sdp = format!("{client} {} {}", link.member().unwrap(), link.generation);
        PeerSignal::Description { kind, sdp }
    }

    pub(crate) fn remote(&self) -> Option<(usize, LinkId)> {
        self.remote
    }

    pub(crate) fn is_to(&self, other: usize) -> bool {
        self.remote.is_some_and(|(client, _)| client == other)
    }

    /// Takes a description; gives the answer to an offer. Another identity than before fails the
    /// link, as another fingerprint does.
    pub(crate) fn take(&mut self, signal: &PeerSignal) -> Result<Option<PeerSignal>, LinkState> {
        let PeerSignal::Description { kind, sdp } = signal else {
            return Ok(None);
        };
        let numbers: Vec<u32> = sdp.split(' ').filter_map(|n| n.parse().ok()).collect();
        let [client, member, generation] = numbers[..] else {
            return Ok(None);
        };
        let remote = (
            client as usize,
            LinkId {
                peer: LinkPeer::Member(MemberId(member)),
                generation,
            },
        );
        if self.remote.is_some_and(|known| known != remote) {
            self.state = LinkState::Failed;
            return Err(LinkState::Failed);
        }
        self.remote = Some(remote);
        Ok((*kind == SdpKind::Offer).then(|| self.description(SdpKind::Answer)))
    }

    /// Whether this is news.
    pub(crate) fn connect(&mut self) -> bool {
        let is_new = matches!(self.state, LinkState::Connecting | LinkState::Reconnecting);
        if is_new {
            self.state = LinkState::Connected;
        }
        is_new
    }

    /// The path is down: whether the state is news.
    pub(crate) fn lose(&mut self, state: LinkState) -> bool {
        let is_new = match state {
            LinkState::Reconnecting => self.state == LinkState::Connected,
            _ => self.state == LinkState::Reconnecting,
        };
        if is_new {
            self.state = state;
        }
        is_new
    }
}
