//! Messages on data channels, whichever way they take. Pure.
//!
//! A link to a member carries the message as it is; the link to the SFU carries it framed
//! ([`fanout`]).
//!
//! Deliberately not here: what is said, and sealing it (files and chat seal their own).

use bytes::Bytes;
use call_core::{LinkId, LinkPeer};
use call_protocol::MemberId;
use call_protocol::fanout::{self, Target};

/// Which message goes over which link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) link: LinkId,
    pub(crate) data: Bytes,
}

/// The ways of a message to one member, or to all of `members`. `links` are those whose channels
/// carry messages. The call's own direct link is preferred to the SFU and that to a data link, which
/// files may fill; nobody is addressed twice; who can be reached in no way gets nothing.
pub(crate) fn route(
    to: Option<MemberId>,
    data: &Bytes,
    members: &[MemberId],
    links: &[LinkId],
) -> Vec<Outgoing> {
    let newest = |peer: LinkPeer| {
        let of_peer = links.iter().filter(|link| link.peer == peer);
        of_peer.max_by_key(|link| link.generation).copied()
    };
    let direct = |member: MemberId| newest(LinkPeer::Member(member));
    let sfu = newest(LinkPeer::Sfu);
    let has_direct = members.iter().any(|member| direct(*member).is_some());
    let only = to.map(|member| vec![member]);
    if let (None, Some(link), false) = (to, sfu, has_direct) {
        let data = Bytes::from(fanout::to_sfu(Target::Everybody, data));
        return vec![Outgoing { link, data }];
    }
    let receivers = only.as_deref().unwrap_or(members).iter();
    let way = |member: &MemberId| {
        let plain = |link| Outgoing {
            link,
            data: data.clone(),
        };
        let through_sfu = |link| Outgoing {
            link,
            data: Bytes::from(fanout::to_sfu(Target::Member(*member), data)),
        };
        direct(*member)
            .map(plain)
            .or_else(|| sfu.map(through_sfu))
            .or_else(|| newest(LinkPeer::Data(*member)).map(plain))
    };
    receivers.filter_map(way).collect()
}

/// Who sent a message that came over a link, and what. `None`: too short to say.
pub(crate) fn received(link: LinkId, data: Bytes) -> Option<(MemberId, Bytes)> {
    match link.peer {
        LinkPeer::Member(member) | LinkPeer::Data(member) => Some((member, data)),
        LinkPeer::Sfu => {
            let (from, body) = fanout::at_member(&data)?;
            let body = data.slice_ref(body);
            Some((from, body))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SFU: LinkId = LinkId {
        peer: LinkPeer::Sfu,
        generation: 9,
    };

    fn data(member: u32) -> LinkId {
        let peer = LinkPeer::Data(MemberId(member));
        let generation = 99;
        LinkId { peer, generation }
    }

    fn direct(member: u32, generation: u32) -> LinkId {
        let peer = LinkPeer::Member(MemberId(member));
        LinkId { peer, generation }
    }

    #[test]
    fn messages_find_their_way_in_a_mesh_through_the_sfu_and_in_between() {
        let text = Bytes::from_static(b"hi");
        let members = [2, 3].map(MemberId);
        let plain = |link| (link, b"hi".to_vec());
        let through = |to: u8| (SFU, vec![to, 0, 0, 0, b'h', b'i']);
        type Sent = Vec<(LinkId, Vec<u8>)>;
        let cases: [(Option<u32>, Vec<LinkId>, Sent); 12] = [
            (None, vec![], vec![]),
            (
                None,
                vec![direct(2, 1), direct(3, 2)],
                vec![plain(direct(2, 1)), plain(direct(3, 2))],
            ),
            (None, vec![SFU], vec![through(0)]),
            (
                None,
                vec![SFU, direct(3, 2)],
                vec![through(2), plain(direct(3, 2))],
            ),
            (Some(2), vec![SFU, direct(3, 2)], vec![through(2)]),
            (Some(3), vec![SFU, direct(3, 2)], vec![plain(direct(3, 2))]),
            (
                Some(3),
                vec![direct(3, 2), direct(3, 7)],
                vec![plain(direct(3, 7))],
            ),
            (Some(2), vec![direct(3, 2)], vec![]),
            (Some(4), vec![SFU], vec![through(4)]),
            (
                Some(2),
                vec![data(2), direct(2, 1)],
                vec![plain(direct(2, 1))],
            ),
            (Some(2), vec![data(2), SFU], vec![through(2)]),
            (None, vec![data(2)], vec![plain(data(2))]),
        ];
        for (to, links, want) in cases {
            let got = route(to.map(MemberId), &text, &members, &links);
            let got: Sent = got
                .iter()
                .map(|out| (out.link, out.data.to_vec()))
                .collect();
            assert_eq!(got, want, "to {to:?} over {links:?}");
        }
    }

    #[test]
    fn messages_name_their_sender() {
        type Message<'a> = Option<(u32, &'a [u8])>;
        let cases: [(LinkId, &[u8], Message<'_>); 6] = [
            (direct(2, 1), b"hi", Some((2, b"hi"))),
            (direct(2, 1), b"", Some((2, b""))),
            (SFU, &[2, 1, 0, 0, 7], Some((0x102, &[7]))),
            (SFU, &[2, 0, 0, 0], Some((2, &[]))),
            (SFU, &[0, 0, 0, 0, 7], Some((0, &[7]))),
            (SFU, &[2, 0, 0], None),
        ];
        for (link, data, want) in cases {
            let got = received(link, Bytes::copy_from_slice(data));
            let got = got.as_ref().map(|(from, data)| (from.0, &data[..]));
            assert_eq!(got, want, "{data:?}");
        }
    }
}
