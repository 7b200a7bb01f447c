//! Who is host, as far as it can be believed, who may come in, who waits, and what the host asks.
//!
//! The server says who is host, and it enforces what a host asks of it. Whom *members* take as host
//! (whose questions they show, whose name carries the mark) must not be the server's to choose while
//! there is a host: see [`Care::settle`].
//!
//! Invariants: there is at most one host; nothing here mutes or unmutes; everything is bounded.
//!
//! Deliberately not here: whether one may do what a host does. The server decides that by whom it
//! takes as host.

use std::collections::BTreeMap;
use std::time::Duration;

use call_protocol::care::Door;
use call_protocol::ui::{CareView, KnockView};
use call_protocol::{MemberId, limits};

use crate::rate::Rate;

/// How often one may be asked to mute, so that a question that was declined does not come at once
/// again. Lower lets a host insist.
pub(crate) const QUESTIONS: Rate = Rate {
    burst: 2,
    refill: Duration::from_secs(10),
};

/// What is known of another member that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether they are in the room and the server knows them.
    pub(crate) is_present: bool,
    /// Who they say is host, sealed.
    pub(crate) says: Option<MemberId>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Care {
    host: Option<MemberId>,
    /// Who was last told to be host.
    told: Option<MemberId>,
    /// Who is host by the server's word.
    claimed: Option<MemberId>,
    /// To whom one hands the role on.
    heir: Option<MemberId>,
    /// Whether the server was told of it.
    heir_is_told: bool,
    pub(crate) door: Door,
    knocks: BTreeMap<u32, String>,
    /// The host asks, and the person has neither muted nor declined.
    pub(crate) asked_to_mute: bool,
}

impl Care {
    pub(crate) fn host(&self) -> Option<MemberId> {
        self.host
    }

    /// A new seat: nothing of the old one holds.
    pub(crate) fn take_seat(&mut self) {
        *self = Self::default();
    }

    /// The same seat at a server without memory: what was known of the host is void.
    pub(crate) fn start_over(&mut self) {
        *self = Self {
            told: self.told,
            ..Self::default()
        };
    }

    /// What `joined` says.
    pub(crate) fn handle_joined(&mut self, host: Option<MemberId>, door: Door) {
        self.claimed = host;
        self.door = door;
        self.heir_is_told = false;
        // Those who still wait are told anew.
        self.knocks.clear();
    }

    /// The server says who is host.
    pub(crate) fn handle_host(&mut self, member: MemberId) {
        self.claimed = Some(member);
    }

    /// Takes the server's word for the host where it is to be believed; gives the host if it is
    /// another one now. `standing` tells of others.
    ///
    /// * Where no host is known, one's own role is believed, and another's when they say it
    ///   themselves, sealed.
    /// * The host's own client gives the role up only to whom the person handed it.
    /// * Another host is believed when the one before is gone, or says so, sealed.
    pub(crate) fn settle(
        &mut self,
        me: MemberId,
        standing: impl Fn(MemberId) -> Standing,
    ) -> Option<MemberId> {
        let claimed = self.claimed.filter(|claimed| Some(*claimed) != self.host)?;
        let is_believed = match self.host {
            None => claimed == me || standing(claimed).says == Some(claimed),
            Some(host) if host == me => self.heir == Some(claimed),
            Some(host) => {
                let before = standing(host);
                !before.is_present || before.says == Some(claimed)
            }
        };
        if !is_believed {
            return None;
        }
        self.host = Some(claimed);
        if claimed == me {
            self.heir = None;
        } else {
            self.knocks.clear();
        }
        let is_news = self.told != self.host;
        self.told = self.host;
        self.host.filter(|_| is_news)
    }

    /// What one's own profile says of the host: nothing, unless one is or was it.
    pub(crate) fn says(&self, me: Option<MemberId>) -> Option<MemberId> {
        let is_host = self.host.is_some() && self.host == me;
        self.heir.or(me.filter(|_| is_host))
    }

    /// The person hands the role on.
    pub(crate) fn hand_on(&mut self, to: MemberId) {
        self.heir = Some(to);
        self.heir_is_told = false;
    }

    /// To whom the role is being handed, while the server was not told.
    pub(crate) fn heir_to_tell(&self, me: MemberId) -> Option<MemberId> {
        let is_mine = self.host == Some(me) && !self.heir_is_told;
        self.heir.filter(|_| is_mine)
    }

    /// The server was told.
    pub(crate) fn heir_is_told(&mut self) {
        self.heir_is_told = true;
    }

    /// Somebody is gone: who is the heir of a host who is still there is not any more.
    pub(crate) fn handle_gone(&mut self, me: Option<MemberId>, gone: MemberId) {
        if self.heir == Some(gone) && self.host == me {
            self.heir = None;
        }
    }

    /// Somebody waits, and calls themselves this. False when too many do.
    pub(crate) fn add_knock(&mut self, knock: u32, name: String) -> bool {
        let fits = self.knocks.len() < limits::WAITING || self.knocks.contains_key(&knock);
        if fits {
            self.knocks.insert(knock, name);
        }
        fits
    }

    /// Somebody does not wait any more.
    pub(crate) fn end_knock(&mut self, knock: u32) {
        self.knocks.remove(&knock);
    }

    pub(crate) fn view(&self) -> CareView {
        let knocks = self.knocks.iter().map(|(knock, name)| KnockView {
            knock: *knock,
            name: name.clone(),
        });
        CareView {
            host: self.host,
            door: self.door,
            knocks: knocks.collect(),
            asked_to_mute: self.asked_to_mute,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: MemberId = MemberId(1);
    const ANNA: MemberId = MemberId(2);
    const BEN: MemberId = MemberId(3);

    #[test]
    fn the_servers_word_counts_only_where_nobody_else_has_one() {
        let gone = Standing::default();
        let here = |says| Standing {
            is_present: true,
            says,
        };
        // (host, heir, claimed, Anna's standing, Ben's standing, host afterwards)
        let cases = [
            (None, None, ME, here(None), here(None), Some(ME)),
            (None, None, ANNA, here(None), here(None), None),
            (None, None, ANNA, here(Some(ANNA)), here(None), Some(ANNA)),
            (None, None, ANNA, here(Some(BEN)), here(None), None),
            (Some(ME), None, ANNA, here(Some(ANNA)), here(None), Some(ME)),
            (
                Some(ME),
                Some(ANNA),
                ANNA,
                here(None),
                here(None),
                Some(ANNA),
            ),
            (Some(ME), Some(ANNA), BEN, here(None), here(None), Some(ME)),
            (
                Some(ANNA),
                None,
                BEN,
                here(Some(ANNA)),
                here(Some(BEN)),
                Some(ANNA),
            ),
            (
                Some(ANNA),
                None,
                ME,
                here(Some(ANNA)),
                here(None),
                Some(ANNA),
            ),
            (
                Some(ANNA),
                None,
                BEN,
                here(Some(BEN)),
                here(None),
                Some(BEN),
            ),
            (Some(ANNA), None, ME, here(Some(ME)), here(None), Some(ME)),
            (
                Some(ANNA),
                None,
                BEN,
                here(Some(ME)),
                here(None),
                Some(ANNA),
            ),
            (Some(ANNA), None, BEN, gone, here(None), Some(BEN)),
            (Some(ANNA), None, ME, gone, here(None), Some(ME)),
        ];
        for (index, (host, heir, claimed, anna, ben, want)) in cases.into_iter().enumerate() {
            let mut care = Care {
                host,
                told: host,
                heir,
                ..Care::default()
            };
            care.handle_host(claimed);
            let standing = |member| if member == ANNA { anna } else { ben };
            let told = care.settle(ME, standing);
            assert_eq!(care.host(), want, "case {index}");
            assert_eq!(told, want.filter(|_| want != host), "case {index}");
            assert_eq!(care.settle(ME, standing), None, "case {index}: told twice");
        }
    }

    #[test]
    fn only_who_is_or_was_host_says_who_is() {
        let mut care = Care::default();
        assert_eq!(care.says(Some(ME)), None);
        care.handle_joined(Some(ME), Door::Open);
        care.settle(ME, |_| Standing::default());
        assert_eq!(care.says(Some(ME)), Some(ME));
        care.hand_on(ANNA);
        assert_eq!(
            (care.says(Some(ME)), care.heir_to_tell(ME)),
            (Some(ANNA), Some(ANNA))
        );
        care.handle_host(ANNA);
        care.settle(ME, |_| Standing::default());
        assert_eq!(
            (care.says(Some(ME)), care.heir_to_tell(ME)),
            (Some(ANNA), None)
        );
    }

    #[test]
    fn knocks_are_bounded_and_end_with_the_role() {
        let mut care = Care::default();
        care.handle_joined(Some(ME), Door::Knock);
        care.settle(ME, |_| Standing::default());
        let added = (0..50).filter(|knock| care.add_knock(*knock, "Zoë".to_owned()));
        assert_eq!(added.count(), limits::WAITING);
        care.end_knock(0);
        assert_eq!(care.view().knocks.len(), limits::WAITING - 1);
        care.hand_on(ANNA);
        care.handle_host(ANNA);
        care.settle(ME, |_| Standing::default());
        assert_eq!(care.view().knocks, []);
    }
}
