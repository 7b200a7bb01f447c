//! One link's figures at one moment.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use call_protocol::limits;
use webrtc::peer_connection::{PeerConnection, RTCIceCandidateType};

use crate::event::{LinkState, PathKind};
pub use crate::meter::{InStats, OutStats};

/// See [`Link::stats`](crate::Link::stats). Rates and received loss describe the time since the
/// previous call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkStats {
    /// State at that moment.
    pub state: LinkState,
    /// Kind of path while connected.
    pub path: Option<PathKind>,
    /// Round-trip time in milliseconds, from RTCP or else from ICE checks.
    pub rtt_ms: Option<f64>,
    /// What the congestion controller thinks the path carries, bits per second.
    pub target_bps: u64,
    /// Sound we send.
    pub audio_out: OutStats,
    /// Pictures we send, all layers together.
    pub video_out: OutStats,
    /// Pictures we send, by layer; zero for layers the link does not have.
    pub video_layers_out: [OutStats; limits::SFU_LAYERS],
    /// Sound we receive.
    pub audio_in: InStats,
    /// Pictures we receive.
    pub video_in: InStats,
    /// Packets of ours dropped before sending: not connected, not negotiated, too large, or the
    /// queue was full.
    pub dropped_out: u64,
    /// Received packets dropped because the owner's queue was full.
    pub dropped_in: u64,
    /// Keyframe requests that arrived.
    pub keyframe_requests_in: u64,
    /// Keyframe requests that we sent.
    pub keyframe_requests_out: u64,
    /// The channel for bulk data.
    pub bulk: BulkStats,
}

/// How [`ChannelLabel::Bulk`](crate::ChannelLabel::Bulk) does in our sending direction. All but the
/// backlog is zero or absent while no tunnel is up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BulkStats {
    /// Whether data goes through the crate's tunnel: only on a [`LinkShape::Data`] link to a peer
    /// that takes part, not through a relay.
    ///
    /// [`LinkShape::Data`]: crate::LinkShape::Data
    pub is_tunnelled: bool,
    /// What the path is taken to carry for us at present, bits per second.
    pub rate_bps: u64,
    /// Least round trip of the last 10 to 20 s, milliseconds.
    pub base_rtt_ms: Option<f64>,
    /// Smoothed round trip, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Bytes accepted by [`Link::send_channel`](crate::Link::send_channel) that SCTP does not know
    /// to have arrived.
    pub backlog_bytes: usize,
    /// Repetitions among the packets sent so far, 0.0..=1.0.
    pub repeated: f64,
}

/// From where a connected peer connection sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OwnAddress {
    /// There is no path, or it cannot be told.
    Unknown,
    /// One of this machine's.
    Known(IpAddr),
    /// A relay's; which of ours leads there is not told.
    OfRelay,
}

impl OwnAddress {
    /// Whether it went away with the change from the addresses `before` (if known) to those `now`.
    pub(crate) fn is_gone(self, before: Option<&BTreeSet<IpAddr>>, now: &BTreeSet<IpAddr>) -> bool {
        match self {
            Self::Unknown => false,
            Self::Known(own) => !own.is_loopback() && !now.contains(&own),
            // It may have been any of those that went.
            Self::OfRelay => before.is_some_and(|before| !before.is_subset(now)),
        }
    }
}

pub(crate) async fn own_address(connection: &Arc<dyn PeerConnection>) -> OwnAddress {
    let Some(sctp) = connection.sctp().await else {
        return OwnAddress::Unknown;
    };
    let ice = sctp.transport().ice_transport();
    let Ok(Some(pair)) = ice.get_selected_candidate_pair().await else {
        return OwnAddress::Unknown;
    };
    let local = pair.local();
    let address = match local.typ {
        RTCIceCandidateType::Relay => return OwnAddress::OfRelay,
        RTCIceCandidateType::Host => &local.address,
        // Reflexive ones are related to what they are a reflection of.
        _ => &local.related_address,
    };
    let address = address.parse();
    address.map_or(OwnAddress::Unknown, OwnAddress::Known)
}

/// Which kind of path a connected peer connection uses. `Host` while the stack knows no pair.
pub(crate) async fn path(connection: &Arc<dyn PeerConnection>) -> PathKind {
    let Some(sctp) = connection.sctp().await else {
        return PathKind::Host;
    };
    let ice = sctp.transport().ice_transport();
    let Ok(Some(pair)) = ice.get_selected_candidate_pair().await else {
        return PathKind::Host;
    };
    let kind = |kind: RTCIceCandidateType| match kind {
        RTCIceCandidateType::Relay => PathKind::Relay,
        RTCIceCandidateType::Srflx | RTCIceCandidateType::Prflx => PathKind::Srflx,
        _ => PathKind::Host,
    };
    kind(pair.local().typ).max(kind(pair.remote().typ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_gone_when_the_machine_has_it_no_more() {
        let [one, two, own_loop] = [[10, 0, 0, 1], [10, 0, 0, 2], [127, 0, 0, 1]].map(IpAddr::from);
        let set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
        let (both, only_two) = (set(&[one, two]), set(&[two]));
        let known = OwnAddress::Known;
        let cases = [
            (known(one), Some(&both), &only_two, true),
            (known(one), None, &only_two, true),
            (known(two), Some(&both), &only_two, false),
            (known(one), Some(&only_two), &both, false),
            (known(own_loop), Some(&both), &only_two, false),
            (OwnAddress::OfRelay, Some(&both), &only_two, true),
            (OwnAddress::OfRelay, Some(&only_two), &both, false),
            (OwnAddress::OfRelay, None, &only_two, false),
            (OwnAddress::Unknown, Some(&both), &only_two, false),
        ];
        for (own, before, now, want) in cases {
            assert_eq!(own.is_gone(before, now), want, "{own:?} {before:?} {now:?}");
        }
    }
}
