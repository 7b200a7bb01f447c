//! Messages on data channels, whichever way they take. Pure.
//!
//! A link to a member carries the message as it is; the link to the SFU carries it framed
//! ([`fanout`]).
//!
//! Deliberately not here: what is said, and sealing it (files and chat seal their own).

use std::cmp::Reverse;

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

/// A link whose channels take messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenLink {
    pub(crate) id: LinkId,
    /// Nothing comes through now, or what was sent before waits still: what it takes waits, and is lost if
    /// the link is given up.
    pub(crate) is_interrupted: bool,
}

/// The ways of a message to one member, or to all of `members`. One that works now is preferred;
/// among those the call's own direct link to the SFU, and that to a data link, which files may fill.
/// Nobody is addressed twice; who can be reached in no way gets nothing.
pub(crate) fn route(
    to: Option<MemberId>,
    data: &Bytes,
    members: &[MemberId],
    links: &[OpenLink],
) -> Vec<Outgoing> {
    let way = |member: MemberId| {
        let ways = links.iter().filter_map(|link| {
            let rank = match link.id.peer {
                LinkPeer::Member(other) if other == member => 0,
                LinkPeer::Sfu => 1,
                LinkPeer::Data(other) if other == member => 2,
                LinkPeer::Member(_) | LinkPeer::Data(_) => return None,
            };
            Some((
                (link.is_interrupted, rank, Reverse(link.id.generation)),
                link.id,
            ))
        });
        ways.min_by_key(|(order, _)| *order).map(|(_, link)| link)
    };
    let only = to.map(|member| vec![member]);
    let receivers = only.as_deref().unwrap_or(members).iter();
    let ways: Vec<_> = receivers
        .filter_map(|member| Some((*member, way(*member)?)))
        .collect();
    if let (None, Some((_, link))) = (to, ways.first())
        && link.peer == LinkPeer::Sfu
        && ways.iter().all(|(_, other)| other == link)
    {
        let data = Bytes::from(fanout::to_sfu(Target::Everybody, data));
        return vec![Outgoing { link: *link, data }];
    }
    let outgoing = |(member, link): (MemberId, LinkId)| Outgoing {
        link,
        data: match link.peer {
            LinkPeer::Sfu => Bytes::from(fanout::to_sfu(Target::Member(member), data)),
            LinkPeer::Member(_) | LinkPeer::Data(_) => data.clone(),
        },
    };
    ways.into_iter().map(outgoing).collect()
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

    fn working(id: LinkId) -> OpenLink {
        let is_interrupted = false;
        OpenLink { id, is_interrupted }
    }

    fn broken(id: LinkId) -> OpenLink {
        let is_interrupted = true;
        OpenLink { id, is_interrupted }
    }

    type Sent = Vec<(LinkId, Vec<u8>)>;

    fn sent(got: &[Outgoing]) -> Sent {
        let sent = got.iter().map(|out| (out.link, out.data.to_vec()));
        sent.collect()
    }

    #[test]
    fn messages_find_their_way_in_a_mesh_through_the_sfu_and_in_between() {
        let text = Bytes::from_static(b"hi");
        let members = [2, 3].map(MemberId);
        let plain = |link| (link, b"hi".to_vec());
        let through = |to: u8| (SFU, vec![to, 0, 0, 0, b'h', b'i']);
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
            let links: Vec<_> = links.into_iter().map(working).collect();
            let got = route(to.map(MemberId), &text, &members, &links);
            assert_eq!(sent(&got), want, "to {to:?} over {links:?}");
        }
    }

    #[test]
    fn what_is_interrupted_is_used_only_where_nothing_works() {
        let text = Bytes::from_static(b"hi");
        let members = [2, 3].map(MemberId);
        let plain = |link| (link, b"hi".to_vec());
        let through = |to: u8| (SFU, vec![to, 0, 0, 0, b'h', b'i']);
        let (a, b) = (direct(2, 1), direct(3, 2));
        let cases: [(Vec<OpenLink>, Sent); 6] = [
            (vec![broken(a), working(b)], vec![plain(a), plain(b)]),
            (
                vec![broken(a), working(b), working(SFU)],
                vec![through(2), plain(b)],
            ),
            (vec![broken(a), broken(b), working(SFU)], vec![through(0)]),
            (
                vec![broken(a), working(data(2)), broken(SFU)],
                vec![plain(data(2)), through(3)],
            ),
            (vec![broken(SFU)], vec![through(0)]),
            (vec![broken(direct(2, 7)), working(a)], vec![plain(a)]),
        ];
        for (links, want) in cases {
            let got = route(None, &text, &members, &links);
            assert_eq!(sent(&got), want, "over {links:?}");
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
