//! One half of a peer connection, as far as a session can tell.

use call_core::{LinkId, LinkPeer, LinkState};
use call_protocol::MemberId;
use call_protocol::peer::{PeerSignal, SdpKind};

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remote {
    /// The half of another client.
    Half(usize, LinkId),
    /// This instance of the SFU's end.
    Sfu(u64),
}

/// Its SDP is its identity (as a DTLS fingerprint is): `client member generation call` (or `data`),
/// or `sfu`.
pub(crate) struct FakeLink {
    own: (usize, LinkId),
    polite: bool,
    /// An offer of one's own waits for its answer.
    offers: bool,
    remote: Option<Remote>,
    state: LinkState,
}

impl FakeLink {
    pub(crate) fn new(client: usize, link: LinkId, polite: bool) -> Self {
        Self {
            own: (client, link),
            polite,
            offers: false,
            remote: None,
            state: LinkState::Connecting,
        }
    }

    pub(crate) fn offer(&mut self) -> PeerSignal {
        self.offers = true;
        self.description(SdpKind::Offer)
    }

    fn description(&self, kind: SdpKind) -> PeerSignal {
        let (client, link) = self.own;
        let kind_of_link = if self.is_data() { "data" } else { "call" };
        let member = link.member().unwrap_or(MemberId(0));
        let half = format!("{client} {member} {} {kind_of_link}", link.generation);
        let sdp = format!("{half}\r\na=fingerprint:{half}\r\n");
        PeerSignal::Description { kind, sdp }
    }

    pub(crate) fn remote(&self) -> Option<Remote> {
        self.remote
    }

    pub(crate) fn is_data(&self) -> bool {
        matches!(self.own.1.peer, LinkPeer::Data(_))
    }

    pub(crate) fn is_to(&self, other: usize) -> bool {
        matches!(self.remote, Some(Remote::Half(client, _)) if client == other)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state == LinkState::Connected
    }

    /// Takes a description; gives the answer to an offer. Another identity than before fails the
    /// link, as another fingerprint does. One of the other kind of link must never get here.
    pub(crate) fn take(&mut self, signal: &PeerSignal) -> Result<Option<PeerSignal>, LinkState> {
        let PeerSignal::Description { kind, sdp } = signal else {
            return Ok(None);
        };
        let Some(remote) = identity(sdp) else {
            return Ok(None);
        };
        let is_offer = *kind == SdpKind::Offer;
        if is_offer && self.offers && self.remote.is_none() && !self.polite {
            return Ok(None);
        }
        self.offers = false;
        if let Remote::Half(_, other) = remote {
            let is_data = matches!(other.peer, LinkPeer::Data(_));
            assert_eq!(is_data, self.is_data(), "signals of two links are mixed up");
        }
        if self.remote.is_some_and(|known| known != remote) {
            self.state = LinkState::Failed;
            return Err(LinkState::Failed);
        }
        self.remote = Some(remote);
        Ok(is_offer.then(|| self.description(SdpKind::Answer)))
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

fn identity(sdp: &str) -> Option<Remote> {
    let first = sdp.lines().next()?;
    if let Some(instance) = first.strip_prefix("sfu ") {
        return instance.parse().ok().map(Remote::Sfu);
    }
    let (numbers, kind) = first.rsplit_once(' ')?;
    let numbers: Vec<u32> = numbers.split(' ').filter_map(|n| n.parse().ok()).collect();
    let [client, member, generation] = numbers[..] else {
        return None;
    };
    let peer = match kind {
        "data" => LinkPeer::Data(MemberId(member)),
        _ => LinkPeer::Member(MemberId(member)),
    };
    Some(Remote::Half(client as usize, LinkId { peer, generation }))
}
