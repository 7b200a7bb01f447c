//! Who else is in the room.

use std::collections::BTreeMap;
use std::time::Instant;

use call_protocol::peer::{Profile, clean_name, clean_tint};
use call_protocol::ui::{LinkView, MemberView};
use call_protocol::{MemberId, VideoCodec, limits};

use crate::input::LinkId;
use crate::media_salt::MediaSalt;
use crate::output::MediaOp;
use crate::peer_link::PeerLink;
use crate::quality::shown::Shown;
use crate::rate::Bucket;
use crate::topology::Passage;

/// The volume everybody starts with.
const UNCHANGED_PERCENT: u16 = 100;

/// Another member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) muted: bool,
    pub(crate) camera_on: bool,
    pub(crate) hand_raised: bool,
    pub(crate) sharing: bool,
    /// Whether their picture is held back from us, because a path carries only sound.
    pub(crate) sound_only: bool,
    pub(crate) tint: Option<u8>,
    /// How many copies of one's sound they ask for, through the server.
    pub(crate) asks_copies: u8,
    pub(crate) codec: Option<VideoCodec>,
    pub(crate) volume_percent: u16,
    pub(crate) muted_here: bool,
    /// Whether a profile of theirs opened: it holds the session to seal for.
    pub(crate) is_known: bool,
    /// Who they say is host.
    pub(crate) says_host: Option<MemberId>,
    /// From which their media keys are derived.
    pub(crate) salt: Option<MediaSalt>,
    /// The link between the two of us that carries the call, in a mesh.
    pub(crate) direct: PeerLink,
    /// Until when a member the server does not know counts as there.
    pub(crate) away_until: Option<Instant>,
    /// The link between the two of us for files, in any topology.
    pub(crate) data: PeerLink,
    /// Whether we need the data link.
    pub(crate) we_want_data: bool,
    /// Whether the data link there is came by an offer of theirs.
    pub(crate) they_want_data: bool,
    pub(crate) passage: Passage,
    /// How large they show our picture, once they said so.
    pub(crate) shows_px: Option<(u32, u32)>,
    /// What they were told about how large we show theirs.
    pub(crate) shown: Shown,
    /// Reactions of theirs.
    pub(crate) reactions: Bucket,
    /// The connection's state as last reported.
    pub(crate) reported: Option<LinkView>,
    /// The data link's, while there is one.
    pub(crate) data_reported: Option<LinkView>,
}

impl Member {
    /// A member of whom nothing could be read yet.
    fn unknown(initiator: bool) -> Self {
        Self {
            name: clean_name(""),
            muted: false,
            camera_on: false,
            hand_raised: false,
            sharing: false,
            sound_only: false,
            tint: None,
            asks_copies: 0,
            codec: None,
            volume_percent: UNCHANGED_PERCENT,
            muted_here: false,
            is_known: false,
            says_host: None,
            salt: None,
            direct: PeerLink::new(initiator),
            away_until: None,
            data: PeerLink::for_data(),
            we_want_data: false,
            they_want_data: false,
            passage: Passage::default(),
            shows_px: None,
            shown: Shown::default(),
            reactions: Bucket::default(),
            reported: None,
            data_reported: None,
        }
    }

    /// Whether anything is different from how the member sends their sound.
    pub(crate) fn is_heard_differently(&self) -> bool {
        self.muted_here || self.volume_percent != UNCHANGED_PERCENT
    }

    /// How the member is to be heard here.
    pub(crate) fn sound(&self, member: MemberId) -> MediaOp {
        MediaOp::SetMemberSound {
            member,
            volume_percent: self.volume_percent,
            muted_here: self.muted_here,
        }
    }

    /// The peer connections there are between the two of us.
    pub(crate) fn links(&self) -> impl Iterator<Item = LinkId> + use<> {
        let direct = self.direct.current();
        direct.into_iter().chain(self.data.current())
    }

    /// Takes over what the member says of itself to us, who are `me`.
    pub(crate) fn apply(&mut self, profile: &Profile, me: MemberId) {
        self.is_known = true;
        self.name = clean_name(&profile.name);
        self.muted = profile.muted;
        self.camera_on = profile.camera_on;
        self.hand_raised = profile.hand_raised;
        self.says_host = profile.host;
        self.sharing = profile.sharing;
        self.sound_only = profile.sound_only || profile.sound_only_for.contains(&me);
        self.asks_copies = profile.sound_copies;
        self.tint = clean_tint(profile.tint);
    }
}

/// The others, in order of joining (ids grow).
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: BTreeMap<MemberId, Member>,
}

impl Roster {
    /// Adds a member if there is room; gives the entry unless they were there already. `me` decides
    /// who initiates.
    pub(crate) fn add(&mut self, id: MemberId, me: MemberId) -> Option<&mut Member> {
        let is_full = self.members.len() + 1 >= limits::ROOM_MEMBERS;
        if id == me || is_full || self.members.contains_key(&id) {
            return None;
        }
        Some(
            self.members
                .entry(id)
                .or_insert_with(|| Member::unknown(me > id)),
        )
    }

    pub(crate) fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    pub(crate) fn get_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn contains(&self, id: MemberId) -> bool {
        self.members.contains_key(&id)
    }

    pub(crate) fn remove(&mut self, id: MemberId) -> Option<Member> {
        self.members.remove(&id)
    }

    pub(crate) fn ids(&self) -> Vec<MemberId> {
        self.members.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// What the person sees; `link` tells how the connection to a member does.
    pub(crate) fn view(&self, link: impl Fn(&Member) -> LinkView) -> Vec<MemberView> {
        self.iter()
            .map(|(id, member)| MemberView {
                id,
                name: member.name.clone(),
                muted: member.muted,
                camera_on: member.camera_on,
                link: link(member),
                codec: member.codec,
                volume_percent: member.volume_percent,
                muted_here: member.muted_here,
                hand_raised: member.hand_raised,
                sharing: member.sharing,
                sound_only: member.sound_only && member.camera_on,
                tint: member.tint,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roster_is_bounded_ordered_and_holds_everybody_once() {
        let mut roster = Roster::default();
        let me = MemberId(40);
        assert!(roster.add(me, me).is_none(), "not oneself");
        for n in (0..100).rev().filter(|n| *n != 40) {
            roster.add(MemberId(n), me);
        }
        assert!(roster.add(MemberId(99), me).is_none(), "nobody twice");
        assert_eq!(roster.ids().len(), limits::ROOM_MEMBERS - 1);
        assert!(roster.ids().is_sorted());
        let view = roster.view(|_| LinkView::Connecting);
        assert_eq!(
            (view[0].name.as_str(), view[0].link),
            ("Guest", LinkView::Connecting)
        );
    }

    #[test]
    fn profiles_are_cleaned() {
        let mut member = Member::unknown(true);
        let name = format!("\u{202e} Eve\u{0000} {}", "x".repeat(10_000));
        let profile = Profile {
            name,
            muted: true,
            camera_on: true,
            media_salt: String::new(),
            hand_raised: true,
            sharing: true,
            sound_only: false,
            host: None,
            sound_only_for: vec![MemberId(3), MemberId(4)],
            tint: Some(limits::TINTS),
            sound_copies: 0,
        };
        member.apply(&profile, MemberId(5));
        assert!(!member.sound_only);
        member.apply(&profile, MemberId(4));
        assert!(member.sound_only);
        assert!(member.name.starts_with("Eve x") && member.muted && member.camera_on);
        assert!(member.hand_raised && member.sharing);
        assert_eq!(member.tint, None, "no colour there is");
        assert!(member.name.chars().count() <= limits::NAME_CHARS);
    }
}
