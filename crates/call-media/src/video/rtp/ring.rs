//! Packets by sequence number, in a ring.
//!
//! The ring holds a window of sequence numbers `base..end`, each at most once. It doubles while
//! the window grows, up to [`MAX_SLOTS`], and keeps its memory, so that a steady stream allocates
//! nothing per packet.
//!
//! Deliberately not here: what the packets mean (the assembler).

use std::ops::Range;

/// Widest window, in sequence numbers; 4 MiB of full packets. A stream whose oldest and newest
/// packet are farther apart has lost more than waiting repairs.
pub(super) const MAX_SLOTS: usize = 4096;
/// Slots at first: two frames of a middling stream.
const FIRST_SLOTS: usize = 64;

/// The packet does not fit into the widest window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowExceeded;

/// A window of packets by unwrapped sequence number.
#[derive(Debug)]
pub(super) struct PacketRing<T> {
    /// A power of two, or none at all.
    slots: Vec<Option<T>>,
    base: u64,
    end: u64,
}

impl<T> PacketRing<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            base: 0,
            end: 0,
        }
    }

    /// Lowest sequence number that may be present.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&T> {
        if !(self.base..self.end).contains(&sequence) {
            return None;
        }
        self.slots[self.index(sequence)].as_ref()
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.get(sequence).is_some()
    }

    /// Puts a packet, replacing the one of this number.
    pub(super) fn insert(&mut self, sequence: u64, packet: T) -> Result<(), WindowExceeded> {
        let (base, end) = if self.base == self.end {
            (sequence, sequence + 1)
        } else {
            (self.base.min(sequence), self.end.max(sequence + 1))
        };
        let width = usize::try_from(end - base).map_err(|_| WindowExceeded)?;
        if width > MAX_SLOTS {
            return Err(WindowExceeded);
        }
        if width > self.slots.len() {
            self.grow(width.next_power_of_two().max(FIRST_SLOTS));
        }
        (self.base, self.end) = (base, end);
        let index = self.index(sequence);
        self.slots[index] = Some(packet);
        Ok(())
    }

    /// The packets within `window`, in order.
    pub(super) fn range(&self, window: Range<u64>) -> impl Iterator<Item = (u64, &T)> + Clone {
        (window.start.max(self.base)..window.end.min(self.end))
            .filter_map(|sequence| Some((sequence, self.get(sequence)?)))
    }

    /// Removes all packets below `sequence` and shows each to `visit`.
    pub(super) fn remove_below(&mut self, sequence: u64, mut visit: impl FnMut(T)) {
        for removed in self.base..sequence.min(self.end) {
            let index = self.index(removed);
            if let Some(packet) = self.slots[index].take() {
                visit(packet);
            }
        }
        self.base = self.base.max(sequence.min(self.end));
        while self.base < self.end && !self.contains(self.base) {
            self.base += 1;
        }
    }

    fn index(&self, sequence: u64) -> usize {
        sequence as usize & (self.slots.len() - 1)
    }

    fn grow(&mut self, slots: usize) {
        let mut grown: Vec<Option<T>> = (0..slots).map(|_| None).collect();
        for sequence in self.base..self.end {
            let index = self.index(sequence);
            grown[sequence as usize & (slots - 1)] = self.slots[index].take();
        }
        self.slots = grown;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn behaves_as_a_sorted_map_with_a_window() {
        let mut ring = PacketRing::new();
        let mut map = BTreeMap::new();
        let mut state = 17_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005) + 1;
            (state >> 33) % below
        };
        for step in 0..20_000_u64 {
            let sequence = 70_000 + step / 4 + next(300);
            if ring.insert(sequence, step).is_ok() {
                map.insert(sequence, step);
            }
            if next(9) == 0 {
                let below = 70_000 + step / 4;
                let kept = map.split_off(&below);
                let want: Vec<u64> = std::mem::replace(&mut map, kept).into_values().collect();
                let mut got = Vec::new();
                ring.remove_below(below, |packet| got.push(packet));
                assert_eq!(got, want);
            }
            let from = 70_000 + step / 4 + next(100);
            let got = ring.range(from..u64::MAX).next();
            assert_eq!(
                got.map(|(at, _)| at),
                map.range(from..).next().map(|(at, _)| *at)
            );
            assert_eq!(ring.get(sequence), map.get(&sequence));
        }
        assert!(ring.slots.len() <= 1024);
    }

    #[test]
    fn the_window_is_bounded() {
        let mut ring = PacketRing::new();
        assert!(!ring.contains(0));
        ring.insert(9, 'a').unwrap();
        ring.insert(8 + MAX_SLOTS as u64, 'b').unwrap();
        assert_eq!(ring.insert(9 + MAX_SLOTS as u64, 'c'), Err(WindowExceeded));
        assert_eq!(ring.insert(8, 'c'), Err(WindowExceeded));
        ring.remove_below(u64::MAX, |_| {});
        ring.insert(u64::from(u32::MAX), 'd').unwrap();
        assert_eq!(ring.range(0..u64::MAX).count(), 1);
    }
}
