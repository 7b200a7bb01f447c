//! Who speaks, from the level in each packet of sound (RFC 6464), and who gets a slot when there
//! are more voices than slots.

use std::time::{Duration, Instant};

use call_protocol::MemberId;

/// Sound above this counts as speech, in dB below overload. Lower (nearer 0) misses quiet voices,
/// higher takes breathing and keyboards for speech.
const LOUD_DBOV: u8 = 45;
/// Loud packets in a row that make a speaker: at 20 ms a packet, a click is none.
const LOUD_PACKETS: u8 = 2;
/// Pause within speech that does not end it.
const HANGOVER: Duration = Duration::from_millis(1_000);
/// Share of a new packet in the smoothed level: about 200 ms of sound count.
const SMOOTHING: f32 = 0.1;
/// How much louder a voice must be to take the slot of somebody who speaks as well, in dB.
const LOUDER_DB: f32 = 6.0;
/// How long a speaker keeps its slot from louder ones.
const HOLD: Duration = Duration::from_secs(2);
/// Level of sound that does not tell its own: loud, so that it is heard.
const UNKNOWN_DBOV: u8 = 40;

/// One member's voice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voice {
    /// Smoothed, in dB relative to overload: 0 is loudest, -127 silence.
    level_db: f32,
    loud_in_a_row: u8,
    last_loud: Option<Instant>,
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            level_db: -127.0,
            loud_in_a_row: 0,
            last_loud: None,
        }
    }
}

impl Voice {
    /// Takes a packet's level; true when a silent voice begins to speak with it.
    pub(super) fn observe(&mut self, now: Instant, level_dbov: Option<u8>) -> bool {
        let level = level_dbov.unwrap_or(UNKNOWN_DBOV).min(127);
        self.level_db += SMOOTHING * (-f32::from(level) - self.level_db);
        if level >= LOUD_DBOV {
            self.loud_in_a_row = 0;
            return false;
        }
        self.loud_in_a_row = self.loud_in_a_row.saturating_add(1);
        if self.loud_in_a_row < LOUD_PACKETS {
            return false;
        }
        let was_silent = !self.is_speaking(now);
        self.last_loud = Some(now);
        was_silent
    }

    pub(super) fn is_speaking(&self, now: Instant) -> bool {
        self.last_loud.is_some_and(|last| now < last + HANGOVER)
    }
}

/// A slot for sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct SoundSlot {
    pub(super) holder: Option<MemberId>,
    /// Since when it has its holder.
    pub(super) since: Instant,
}

/// Fills one receiver's slots from the voices of the others, which are in order of member id.
///
/// Everybody has a slot while there are enough. Beyond that: who begins to speak takes the slot of
/// whoever was silent longest, at once; only when all who have slots speak must a voice be clearly
/// louder than the quietest of them, and wait until that one had its slot for a while.
pub(super) fn assign_sound(
    now: Instant,
    slots: &mut [SoundSlot],
    voices: &[(MemberId, Voice)],
) -> bool {
    let mut changed = false;
    let voice_of = |member: MemberId| voices.iter().find(|(other, _)| *other == member);
    for slot in slots.iter_mut() {
        if slot.holder.is_some_and(|holder| voice_of(holder).is_none()) {
            slot.holder = None;
            changed = true;
        }
    }
    let has_slot =
        |slots: &[SoundSlot], member| slots.iter().any(|slot| slot.holder == Some(member));
    let mut without: Vec<(MemberId, Voice)> = voices
        .iter()
        .filter(|(member, _)| !has_slot(slots, *member))
        .copied()
        .collect();
    // Who spoke last comes first; the sort keeps the order of ids among equals.
    without.sort_by_key(|(_, voice)| std::cmp::Reverse(voice.last_loud));
    for (member, voice) in without {
        let free = slots.iter().position(|slot| slot.holder.is_none());
        let taken = free.or_else(|| {
            if voice.is_speaking(now) {
                victim(now, slots, &voice, &voice_of)
            } else {
                None
            }
        });
        if let Some(slot) = taken.and_then(|index| slots.get_mut(index)) {
            *slot = SoundSlot {
                holder: Some(member),
                since: now,
            };
            changed = true;
        }
    }
    changed
}

fn victim<'a>(
    now: Instant,
    slots: &[SoundSlot],
    challenger: &Voice,
    voice_of: &impl Fn(MemberId) -> Option<&'a (MemberId, Voice)>,
) -> Option<usize> {
    let held = || {
        slots.iter().enumerate().filter_map(|(index, slot)| {
            let (_, voice) = voice_of(slot.holder?)?;
            Some((index, slot, voice))
        })
    };
    let silent = held()
        .filter(|(_, _, voice)| !voice.is_speaking(now))
        .min_by_key(|(_, _, voice)| voice.last_loud);
    if let Some((index, ..)) = silent {
        return Some(index);
    }
    held()
        .filter(|(_, slot, voice)| {
            now >= slot.since + HOLD && challenger.level_db >= voice.level_db + LOUDER_DB
        })
        .min_by(|(_, _, one), (_, _, other)| one.level_db.total_cmp(&other.level_db))
        .map(|(index, ..)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_click_is_no_speech_and_a_pause_does_not_end_it() {
        let start = Instant::now();
        let mut voice = Voice::default();
        let cases = [
            (0, Some(127), false, false),
            (20, Some(20), false, false),
            (40, Some(127), false, false),
            (60, Some(44), false, false),
            (80, Some(30), true, true),
            (100, Some(30), false, true),
            (500, Some(120), false, true),
            (1_099, Some(127), false, true),
            (1_100, Some(127), false, false),
            (1_120, Some(30), false, false),
            (1_140, Some(30), true, true),
            (5_000, None, true, true),
        ];
        for (ms, level, begins, speaking) in cases {
            assert_eq!(voice.observe(at(start, ms), level), begins, "at {ms} ms");
            assert_eq!(voice.is_speaking(at(start, ms)), speaking, "at {ms} ms");
        }
    }

    #[test]
    fn slots_go_to_those_who_speak() {
        let start = Instant::now();
        let voice = |level_db: f32, last_ms: Option<u64>| Voice {
            level_db,
            loud_in_a_row: 0,
            last_loud: last_ms.map(|ms| at(start, ms)),
        };
        let now = at(start, 10_000);
        let quiet = |ms| voice(-90.0, Some(ms));
        let loud = |level| voice(level, Some(9_900));
        // Holders by id with the time they got their slot, voices, holders afterwards.
        type Case = (&'static str, [(u32, u64); 2], Vec<(u32, Voice)>, [u32; 2]);
        let cases: [Case; 8] = [
            ("nobody there", [(0, 0), (0, 0)], vec![], [0, 0]),
            (
                "all fit",
                [(0, 0), (0, 0)],
                vec![(1, Voice::default()), (2, Voice::default())],
                [1, 2],
            ),
            (
                "who left makes room",
                [(9, 0), (2, 0)],
                vec![(1, quiet(0)), (2, quiet(0))],
                [1, 2],
            ),
            (
                "silence takes nothing",
                [(1, 0), (2, 0)],
                vec![(1, quiet(1)), (2, quiet(2)), (3, quiet(8_000))],
                [1, 2],
            ),
            (
                "the longest silent one goes",
                [(1, 9_999), (2, 9_999)],
                vec![(1, quiet(6_000)), (2, quiet(5_000)), (3, loud(-40.0))],
                [1, 3],
            ),
            (
                "as loud as the others is not enough",
                [(1, 0), (2, 0)],
                vec![(1, loud(-30.0)), (2, loud(-32.0)), (3, loud(-27.0))],
                [1, 2],
            ),
            (
                "clearly louder takes the quietest",
                [(1, 0), (2, 0)],
                vec![(1, loud(-30.0)), (2, loud(-32.0)), (3, loud(-25.0))],
                [1, 3],
            ),
            (
                "but not at once",
                [(1, 0), (2, 9_000)],
                vec![(1, loud(-30.0)), (2, loud(-40.0)), (3, loud(-25.0))],
                [1, 2],
            ),
        ];
        for (what, before, voices, after) in cases {
            let holder = |id: u32| (id > 0).then_some(MemberId(id));
            let mut slots = before.map(|(id, since)| SoundSlot {
                holder: holder(id),
                since: at(start, since),
            });
            let voices: Vec<_> = voices
                .into_iter()
                .map(|(id, voice)| (MemberId(id), voice))
                .collect();
            let changed = assign_sound(now, &mut slots, &voices);
            assert_eq!(slots.map(|slot| slot.holder), after.map(holder), "{what}");
            assert_eq!(changed, before.map(|(id, _)| id) != after, "{what}");
        }
    }
}
