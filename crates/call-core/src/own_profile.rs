//! One's own profile as the others have it: sealed once per change, sent at a bounded rate.

use std::time::{Duration, Instant};

use call_e2ee::SignalSealer;
use call_protocol::peer::Profile;

use crate::context::Ctx;

/// Shortest time between two profiles. Lower makes a mute mark appear sooner and a nervous finger
/// run into the server's rate limit.
const INTERVAL: Duration = Duration::from_millis(200);

/// What was sealed last.
#[derive(Debug, Default)]
pub(crate) struct OwnProfile {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    profile: Profile,
    sealed: String,
    at: Instant,
}

impl OwnProfile {
    /// The sealed text of the profile as it should be. Byte for byte the same as before if nothing
    /// changed: then the others see nothing of a resumed seat.
    pub(crate) fn current(&mut self, ctx: &Ctx<'_>, sealer: &mut SignalSealer) -> String {
        match &self.last {
            Some(last) if last.profile == ctx.profile => last.sealed.clone(),
            _ => {
                let plain = serde_json::to_vec(&ctx.profile)
                    .expect("invariant: a profile is strings and booleans");
                let sealed = sealer
                    .seal_profile(&plain)
                    .expect("invariant: a cleaned name keeps the profile within its limit");
                let profile = ctx.profile.clone();
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
        let last = self.last.as_ref().filter(|last| last.profile != *wanted)?;
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
        let mut seal = |own: &mut OwnProfile, name: String| {
            let profile = Profile {
                name,
                muted: false,
                camera_on: false,
                media_salt: String::new(),
            };
            let (out, seed, ids) = (&mut out, &mut seed, &mut ids);
            own.current(
                &Ctx {
                    now,
                    out,
                    seed,
                    ids,
                    profile,
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
            };
            assert_eq!(own.due(&wanted), Some(now + INTERVAL));
            let current = Profile {
                name: "Anna".into(),
                ..wanted
            };
            assert_eq!(own.due(&current), None);
        }
    }
}
