//! The rooms the person was in: `rooms.json` in the profile directory, readable by its owner only,
//! because a code is a key.
//!
//! Invariants: newest first, one entry for a code, never more than
//! [`limits::RECENT_ROOMS`]; while the person does not want rooms remembered there are none, in memory
//! as on disk. A file that is not understood is replaced at the next change: it holds nothing that
//! is not somewhere else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use call_e2ee::RoomCode;
use call_protocol::limits;
use call_protocol::peer::clean_name;
use call_protocol::ui::RecentRoomView;

use crate::keep::replace;

/// Longest file read, in bytes. A full one has under 20 KiB.
const FILE_BYTES: u64 = 256 * 1024;

/// The rooms, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecentRooms {
    rooms: Vec<RecentRoomView>,
}

impl RecentRooms {
    /// Reads what a profile remembers. Blocks on the disk.
    pub(crate) fn load(profile: &Path) -> Self {
        match read(&file(profile)) {
            Ok(rooms) => Self::validated(rooms),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "the rooms remembered are unreadable");
                }
                Self::default()
            }
        }
    }

    /// Writes them; without any, no file stays. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn save(&self, profile: &Path) -> io::Result<()> {
        let path = file(profile);
        if self.rooms.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        replace(&path, &serde_json::to_vec_pretty(&self.rooms)?)
    }

    pub(crate) fn rooms(&self) -> &[RecentRoomView] {
        &self.rooms
    }

    /// Whether this app hosted a room.
    pub(crate) fn was_hosted(&self, code: &str) -> bool {
        self.rooms
            .iter()
            .any(|room| room.code == code && room.hosted)
    }

    /// The person is, or was until now, in a room, which this app hosts or not.
    pub(crate) fn visit(&mut self, code: &str, at_ms: u64, hosted: bool) {
        let known = self.rooms.iter().position(|room| room.code == code);
        let met = known.map_or_else(Vec::new, |at| self.rooms.remove(at).met);
        let room = RecentRoomView {
            code: code.to_owned(),
            last_at_ms: at_ms,
            hosted,
            met,
        };
        self.rooms.insert(0, room);
        self.rooms.truncate(limits::RECENT_ROOMS);
    }

    /// The person met somebody in a room they visit.
    pub(crate) fn meet(&mut self, code: &str, name: &str) {
        let name = clean_name(name);
        // Whoever gives no name is nobody one remembers.
        if name == clean_name("") {
            return;
        }
        let Some(room) = self.rooms.iter_mut().find(|room| room.code == code) else {
            return;
        };
        room.met.retain(|known| *known != name);
        room.met.insert(0, name);
        room.met.truncate(limits::RECENT_NAMES);
    }

    pub(crate) fn forget(&mut self, code: &str) {
        self.rooms.retain(|room| room.code != code);
    }

    pub(crate) fn forget_all(&mut self) {
        self.rooms.clear();
    }

    /// Entries whose code is one, as this app would have written them.
    fn validated(found: Vec<RecentRoomView>) -> Self {
        let mut kept = Self::default();
        for room in found.into_iter().rev() {
            let Ok(code) = RoomCode::parse(&room.code) else {
                continue;
            };
            let code = code.to_string();
            kept.visit(&code, room.last_at_ms, room.hosted);
            for name in room.met.iter().take(limits::RECENT_NAMES).rev() {
                kept.meet(&code, name);
            }
        }
        kept
    }
}

fn file(profile: &Path) -> PathBuf {
    profile.join("rooms.json")
}

fn read(path: &Path) -> io::Result<Vec<RecentRoomView>> {
    if fs::metadata(path)?.len() > FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too large"));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "K7MQ-2X9D-RTB4";
    const TWO: &str = "0000-0000-0001";

    #[test]
    fn the_newest_room_stands_first_and_knows_whom_one_met() {
        let mut recent = RecentRooms::default();
        recent.visit(ONE, 1, true);
        for name in ["Ada", "Ben", "Ada", ""] {
            recent.meet(ONE, name);
        }
        recent.visit(TWO, 2, false);
        assert!(recent.was_hosted(ONE) && !recent.was_hosted(TWO));
        recent.meet("unknown", "Eve");
        recent.visit(ONE, 3, false);
        let told: Vec<_> = recent
            .rooms()
            .iter()
            .map(|room| (room.code.as_str(), room.last_at_ms, room.met.join(" ")))
            .collect();
        assert_eq!(
            told,
            [(ONE, 3, "Ada Ben".to_owned()), (TWO, 2, String::new())]
        );
        recent.forget(ONE);
        assert_eq!(recent.rooms().len(), 1);
    }

    #[test]
    fn rooms_and_names_are_few() {
        let mut recent = RecentRooms::default();
        for at in 0..limits::RECENT_ROOMS as u64 + 5 {
            recent.visit(&format!("{at}"), at, false);
        }
        assert_eq!(recent.rooms().len(), limits::RECENT_ROOMS);
        assert_eq!(recent.rooms()[0].code, "24");
        for at in 0..20 {
            recent.meet("24", &format!("Name {at}"));
        }
        let met = &recent.rooms()[0].met;
        assert_eq!(
            (met.len(), met[0].as_str()),
            (limits::RECENT_NAMES, "Name 19")
        );
    }

    #[test]
    fn they_outlive_the_app_for_their_owner_only() {
        let profile = tempfile::tempdir().unwrap();
        assert_eq!(RecentRooms::load(profile.path()), RecentRooms::default());
        let mut recent = RecentRooms::default();
        recent.visit(TWO, 1, true);
        recent.visit(ONE, 2, false);
        recent.meet(ONE, "Ada");
        recent.meet(ONE, "Ben");
        recent.save(profile.path()).unwrap();
        assert_eq!(RecentRooms::load(profile.path()), recent);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(file(profile.path()))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        recent.forget_all();
        recent.save(profile.path()).unwrap();
        assert!(!file(profile.path()).exists());
        recent.save(profile.path()).unwrap();
    }

    #[test]
    fn what_is_no_code_is_not_remembered() {
        let profile = tempfile::tempdir().unwrap();
        let text = r#"[{"code":"k7mq2x9drtb4","last_at_ms":1,"met":["A\u0007"]},
                       {"code":"nope","last_at_ms":2,"met":[]}]"#;
        fs::write(file(profile.path()), text).unwrap();
        let recent = RecentRooms::load(profile.path());
        assert_eq!(recent.rooms().len(), 1);
        assert_eq!(
            (
                recent.rooms()[0].code.as_str(),
                recent.rooms()[0].met[0].as_str()
            ),
            (ONE, "A")
        );
        for broken in [&b"{}"[..], b"[", b"[1]"] {
            fs::write(file(profile.path()), broken).unwrap();
            assert_eq!(RecentRooms::load(profile.path()), RecentRooms::default());
        }
    }
}
