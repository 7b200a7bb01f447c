//! What a room knows of its host, its door, who waits before it and who must not come back.
//!
//! Invariants: a room with seats has a host, who has one of them; nobody waits before a door that is
//! not `Knock`; everything is bounded.
//!
//! Deliberately not here: names. Who waits is a number and a sealed profile.

use std::collections::{BTreeMap, VecDeque};

use call_protocol::care::Door;
use call_protocol::{MemberId, limits};

use crate::connection::ConnId;
use crate::rate::Bucket;
use crate::token::{ResumeToken, SealSession, seal_session};

/// Removed people remembered by a room. The oldest are forgotten; more than a host ever removes in
/// one call.
const BANNED: usize = 64;

/// Somebody who waits to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) conn: ConnId,
    pub(crate) profile: String,
}

struct Banned {
    token: ResumeToken,
    /// By what they sealed their profile with: the same for as long as their client runs the call.
    session: Option<SealSession>,
}

/// See the module documentation.
pub(crate) struct Care {
    pub(crate) host: MemberId,
    pub(crate) door: Door,
    pub(crate) knocks: Bucket,
    waiting: BTreeMap<u32, Waiting>,
    last_knock: u32,
    banned: VecDeque<Banned>,
}

impl Care {
    pub(crate) fn new(host: MemberId) -> Self {
        Self {
            host,
            door: Door::Open,
            knocks: Bucket::default(),
            waiting: BTreeMap::new(),
            last_knock: 0,
            banned: VecDeque::new(),
        }
    }

    /// Somebody waits from now on; gives the number they are named by, `None` where too many do.
    pub(crate) fn knock(&mut self, waiting: Waiting) -> Option<u32> {
        if self.waiting.len() >= limits::WAITING {
            return None;
        }
        self.last_knock = self.last_knock.checked_add(1)?;
        self.waiting.insert(self.last_knock, waiting);
        Some(self.last_knock)
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = (u32, &Waiting)> {
        self.waiting
            .iter()
            .map(|(knock, waiting)| (*knock, waiting))
    }

    pub(crate) fn get(&self, knock: u32) -> Option<&Waiting> {
        self.waiting.get(&knock)
    }

    pub(crate) fn end_knock(&mut self, knock: u32) -> Option<Waiting> {
        self.waiting.remove(&knock)
    }

    /// Somebody was removed who had this token and profile.
    pub(crate) fn ban(&mut self, token: ResumeToken, profile: &str) {
        if self.banned.len() == BANNED {
            self.banned.pop_front();
        }
        let session = seal_session(profile);
        self.banned.push_back(Banned { token, session });
    }

    /// Whether somebody was removed, by their token or by what their profile is sealed with. Compares
    /// with everybody, whatever it finds.
    pub(crate) fn is_banned(&self, token: Option<&str>, profile: &str) -> bool {
        let session = seal_session(profile);
        self.banned.iter().fold(false, |found, banned| {
            let by_token = token.is_some_and(|token| banned.token.matches(token));
            let by_session = session.is_some() && session == banned.session;
            found | by_token | by_session
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenSource;

    #[test]
    fn knocks_are_bounded_and_never_share_a_number() {
        let mut care = Care::new(MemberId(1));
        let waiting = |conn| Waiting {
            conn: ConnId(conn),
            profile: String::new(),
        };
        let numbers: Vec<_> = (0..30)
            .filter_map(|conn| care.knock(waiting(conn)))
            .collect();
        let want: Vec<u32> = (1..=limits::WAITING as u32).collect();
        assert_eq!(numbers, want);
        assert_eq!(care.end_knock(3), Some(waiting(2)));
        assert_eq!(care.end_knock(3), None);
        assert_eq!(care.knock(waiting(99)), Some(limits::WAITING as u32 + 1));
    }

    #[test]
    fn removed_people_are_known_by_token_and_by_session() {
        // Version, 16 bytes of session, counter, and something sealed.
        let profile = |session: char, counter: char| {
            format!("AQ{}{}AAAA", session.to_string().repeat(20), counter)
        };
        let mut tokens = TokenSource::new([1; 32]);
        let [mine, other] = [(); 2].map(|()| tokens.issue(MemberId(2)));
        let mut care = Care::new(MemberId(1));
        care.ban(mine.clone(), &profile('x', 'A'));
        let cases = [
            (Some(mine.as_str()), "", true),
            (Some(mine.as_str()), "not base64", true),
            (Some(other.as_str()), "", false),
            (None, "", false),
            (None, "AQ==", false),
            (None, &profile('x', 'A')[..], true),
            (Some(other.as_str()), &profile('x', 'B')[..], true),
            (None, &profile('y', 'A')[..], false),
        ];
        for (token, profile, want) in cases {
            assert_eq!(care.is_banned(token, profile), want, "{token:?} {profile}");
        }
        for _ in 0..BANNED {
            care.ban(other.clone(), "");
        }
        assert!(!care.is_banned(Some(mine.as_str()), ""), "still bounded");
        assert!(!care.is_banned(None, ""), "no session is nobody's");
    }
}
