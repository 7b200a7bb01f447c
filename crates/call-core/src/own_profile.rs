//! One's own profile as the others have it: with the seat's media salt, sealed once per change, sent
//! at a bounded rate.

use std::time::{Duration, Instant};

use call_e2ee::SignalSealer;
use call_protocol::peer::Profile;

use crate::context::Ctx;
use crate::media_salt::{self, MediaSalt};

/// Shortest time between two profiles. Lower makes a mute mark appear sooner and a nervous finger
/// run into the server's rate limit.
const INTERVAL: Duration = Duration::from_millis(200);

/// What was sealed last, and the salt that goes into it.
#[derive(Default)]
pub(crate) struct OwnProfile {
    salt: Option<MediaSalt>,
    last: Option<Last>,
}

struct Last {
    profile: Profile,
    sealed: String,
    at: Instant,
}

impl std::fmt::Debug for OwnProfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnProfile").finish_non_exhaustive()
    }
}

impl OwnProfile {
    /// The salt of one's media from now on.
    pub(crate) fn set_salt(&mut self, salt: MediaSalt) {
        self.salt = Some(salt);
    }

    pub(crate) fn salt(&self) -> Option<MediaSalt> {
        self.salt
    }

    fn complete(&self, profile: &Profile) -> Profile {
        Profile {
            media_salt: self
                .salt
                .as_ref()
                .map(media_salt::to_text)
                .unwrap_or_default(),
            ..profile.clone()
        }
    }

    /// The sealed text of the profile as it should be. Byte for byte the same as before if nothing
    /// changed: then the others see nothing of a resumed seat.
    pub(crate) fn current(&mut self, ctx: &Ctx<'_>, sealer: &mut SignalSealer) -> String {
        let profile = self.complete(&ctx.profile);
        match &self.last {
            Some(last) if last.profile == profile => last.sealed.clone(),
            _ => {
                let plain = serde_json::to_vec(&profile)
                    .expect("invariant: a profile is strings and booleans");
                let sealed = sealer
                    .seal_profile(&plain)
                    .expect("invariant: a cleaned name keeps the profile within its limit");
                self.last = Some(Last {
                    profile,
                    sealed: sealed.clone(),
                    at: ctx.now,
                });
                sealed
            }
        }
    }

    /// When `wanted` may be sent, if it differs from what the others have.
    pub(crate) fn due(&self, wanted: &Profile) -> Option<Instant> {
        let wanted = self.complete(wanted);
        let last = self.last.as_ref().filter(|last| last.profile != wanted)?;
        Some(last.at + INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use call_e2ee::{RoomKeys, SeedStream};
    use call_protocol::limits;

    use super::*;
    use crate::context::Ids;

    #[test]
    fn the_longest_name_fits_and_only_changes_are_sealed_anew() {
        let (mut out, mut seed) = (VecDeque::new(), SeedStream::new([1; 32]));
        let mut ids = Ids::default();
        let mut sealer = SignalSealer::new(&RoomKeys::from_root([1; 32]), [1; 16]);
        let now = Instant::now();
        let mut own = OwnProfile::default();
        own.set_salt([0xff; 16]);
        let mut seal = |own: &mut OwnProfile, name: String| {
            let profile = Profile {
                name,
                muted: false,
                camera_on: false,
                media_salt: String::new(),
                hand_raised: false,
                sharing: false,
                sound_only: false,
                sound_only_for: Vec::new(),
                tint: None,
                sound_copies: 0,
                host: None,
            };
            let (out, seed, ids) = (&mut out, &mut seed, &mut ids);
            own.current(
                &Ctx {
                    now,
                    out,
                    seed,
                    ids,
                    profile,
                    low_data: false,
                },
                &mut sealer,
            )
        };
        for widest in ["\u{10ffff}", "\"", "\\"] {
            let name = widest.repeat(limits::NAME_CHARS);
            let sealed = seal(&mut own, name.clone());
            assert_eq!(seal(&mut own, name.clone()), sealed);
            assert_ne!(seal(&mut own, "Anna".into()), sealed);
            let wanted = Profile {
                name,
                muted: false,
                camera_on: false,
                media_salt: String::new(),
                hand_raised: false,
                sharing: false,
                sound_only: false,
                sound_only_for: Vec::new(),
                tint: None,
                sound_copies: 0,
                host: None,
            };
            assert_eq!(own.due(&wanted), Some(now + INTERVAL));
            let current = Profile {
                name: "Anna".into(),
                ..wanted
            };
            assert_eq!(own.due(&current), None);
        }
        let current = Profile {
            name: "Anna".into(),
            muted: false,
            camera_on: false,
            media_salt: String::new(),
            hand_raised: false,
            sharing: false,
            sound_only: false,
            sound_only_for: Vec::new(),
            tint: None,
            sound_copies: 0,
            host: None,
        };
        own.set_salt([1; 16]);
        assert_eq!(own.due(&current), Some(now + INTERVAL), "another salt");
    }
}
