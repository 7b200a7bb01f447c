//! The sound of one member, whichever ways it comes: numbers for one jitter buffer. Pure.
//!
//! Sealed sound carries the sender's own numbers, so packets of all paths are one stream in which
//! each counts once. Unsealed sound has its path's numbers: one path is heard at a time, and those of
//! the next are moved behind those of the one before.
//!
//! Deliberately not here: the jitter buffer itself (the mixer's).

use std::time::{Duration, Instant};

use super::picture::Origin;

/// A path without packets for this long may be left, where numbers are the path's own. Longer is a
/// longer gap when a path dies; shorter changes paths in a pause of DTX (a packet every 400 ms).
const SILENT: Duration = Duration::from_millis(600);
/// Ticks of the clock of sound per second.
pub(super) const SOUND_HZ: u32 = 48_000;
/// Samples of one packet.
const PACKET_TICKS: u32 = SOUND_HZ / 50;

/// Where a packet belongs in the jitter buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
}

/// Packets of the sender's own numbers that arrived, each once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Once {
    highest: Option<u64>,
    /// Bit n: `highest - n` was there.
    seen: u128,
}

impl Once {
    /// Whether this packet is new; it is remembered. Packets 128 (2.5 s) behind the newest count as
    /// known: they could not be played any more.
    pub(super) fn is_new(&mut self, counter: u64) -> bool {
        let Some(highest) = self.highest else {
            (self.highest, self.seen) = (Some(counter), 1);
            return true;
        };
        if let Some(ahead) = counter.checked_sub(highest).filter(|ahead| *ahead > 0) {
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = Some(counter);
            return true;
        }
        let age = u32::try_from(highest - counter).unwrap_or(u32::MAX);
        let Some(bit) = 1_u128.checked_shl(age) else {
            return false;
        };
        let is_new = self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }
}

/// One path at a time, its numbers moved behind those of the path before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spliced {
    path: Option<Path>,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    origin: Origin,
    sequence_offset: u16,
    timestamp_offset: u32,
    newest: Place,
    at: Instant,
}

impl Spliced {
    /// `None`: another path is heard.
    pub(super) fn place(&mut self, now: Instant, origin: Origin, own: Place) -> Option<Place> {
        let path = match &mut self.path {
            Some(path) if path.origin == origin => path,
            Some(path) => {
                let is_silent = now.saturating_duration_since(path.at) >= SILENT;
                if !is_silent && origin.link.generation <= path.origin.link.generation {
                    return None;
                }
                let elapsed = now.saturating_duration_since(path.at).as_micros();
                let ticks = (elapsed * u128::from(SOUND_HZ) / 1_000_000) as u32;
                // Whole packets later, so that it is the pause it is and no loss.
                let ticks = ticks.next_multiple_of(PACKET_TICKS).max(PACKET_TICKS);
                let sequence = path.newest.sequence.wrapping_add(1);
                let timestamp = path.newest.timestamp.wrapping_add(ticks);
                *path = Path {
                    origin,
                    sequence_offset: sequence.wrapping_sub(own.sequence),
                    timestamp_offset: timestamp.wrapping_sub(own.timestamp),
                    ..*path
                };
                path
            }
            None => self.path.insert(Path {
                origin,
                sequence_offset: 0,
                timestamp_offset: 0,
                newest: own,
                at: now,
            }),
        };
        path.at = now;
        let place = Place {
            sequence: own.sequence.wrapping_add(path.sequence_offset),
            timestamp: own.timestamp.wrapping_add(path.timestamp_offset),
        };
        if place
            .sequence
            .wrapping_sub(path.newest.sequence)
            .cast_signed()
            > 0
        {
            path.newest = place;
        }
        Some(place)
    }

    /// Where the path heard now stands: its origin and its own timestamp for one of the spliced
    /// ones.
    pub(super) fn own_timestamp(&self, timestamp: u32) -> Option<(Origin, u32)> {
        let path = self.path?;
        Some((path.origin, timestamp.wrapping_sub(path.timestamp_offset)))
    }
}

#[cfg(test)]
mod tests {
    use call_core::{LinkId, LinkPeer};

    use super::*;

    fn origin(generation: u32, ssrc: u32) -> Origin {
        let peer = LinkPeer::Sfu;
        let link = LinkId { peer, generation };
        Origin { link, ssrc }
    }

    #[test]
    fn each_packet_counts_once_within_the_window() {
        let mut once = Once::default();
        let cases = [
            (70_000, true),
            (70_000, false),
            (69_999, true),
            (70_003, true),
            (70_001, true),
            (70_001, false),
            (70_000, false),
            (69_875, false),
            (69_877, true),
            (1 << 40, true),
            (70_004, false),
            ((1 << 40) - 1, true),
        ];
        for (index, (counter, want)) in cases.into_iter().enumerate() {
            assert_eq!(once.is_new(counter), want, "case {index}: {counter}");
        }
    }

    #[test]
    fn the_next_path_goes_on_behind_the_one_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let own = |sequence, timestamp| Place {
            sequence,
            timestamp,
        };
        let mut spliced = Spliced::default();
        let (old, new) = (origin(1, 5), origin(2, 9));
        assert_eq!(
            spliced.place(at(0), old, own(65_535, 0)),
            Some(own(65_535, 0))
        );
        assert_eq!(spliced.place(at(20), old, own(0, 960)), Some(own(0, 960)));
        // A newer link is heard at once, the older one no more.
        let moved = spliced.place(at(40), new, own(700, 4_000_000_000));
        assert_eq!(moved, Some(own(1, 1_920)));
        assert_eq!(spliced.place(at(41), old, own(1, 1_920)), None);
        let moved = spliced.place(at(60), new, own(701, 4_000_000_960));
        assert_eq!(moved, Some(own(2, 2_880)));
        assert_eq!(spliced.own_timestamp(2_880), Some((new, 4_000_000_960)));
        // Until the newer one is silent.
        assert_eq!(spliced.place(at(659), old, own(30, 28_800)), None);
        let back = spliced.place(at(660), old, own(31, 29_760));
        assert_eq!(back, Some(own(3, 2_880 + 28_800)));
        // Another slot of the same link, likewise.
        assert_eq!(spliced.place(at(700), origin(1, 6), own(8, 8)), None);
    }
}
