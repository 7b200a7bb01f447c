//! Drops packets that were delivered before. Chromium probes for bandwidth by sending old packets
//! again on the RTX stream, and the stack hands them up like any other.

use crate::meter::extend;

/// How far back duplicates are recognised, in packets; older ones count as duplicates too.
const WINDOW: u64 = 1_024;

/// A window over the sequence numbers of one stream.
#[derive(Debug)]
pub(crate) struct Dedup {
    highest: Option<u64>,
    seen: Box<[u64; WINDOW as usize / 64]>,
}

impl Default for Dedup {
    fn default() -> Self {
        Self {
            highest: None,
            seen: Box::new([0; WINDOW as usize / 64]),
        }
    }
}

impl Dedup {
    /// Whether this packet is new; it is remembered.
    pub(crate) fn is_new(&mut self, sequence: u16) -> bool {
        let extended = extend(self.highest, sequence);
        match self.highest {
            None => {}
            Some(highest) if extended > highest => {
                let from = (highest + 1).max(extended.saturating_sub(WINDOW - 1));
                for skipped in from..extended {
                    *self.word(skipped) &= !Self::bit(skipped);
                }
                *self.word(extended) &= !Self::bit(extended);
            }
            Some(highest) if highest - extended >= WINDOW => return false,
            Some(_) => {}
        }
        self.highest = Some(
            self.highest
                .map_or(extended, |highest| highest.max(extended)),
        );
        let is_new = *self.word(extended) & Self::bit(extended) == 0;
        *self.word(extended) |= Self::bit(extended);
        is_new
    }

    fn word(&mut self, extended: u64) -> &mut u64 {
        &mut self.seen[(extended % WINDOW / 64) as usize]
    }

    fn bit(extended: u64) -> u64 {
        1 << (extended % 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_reordering_wrap_and_window() {
        let mut dedup = Dedup::default();
        let cases = [
            (65_530, true),
            (65_530, false),
            (65_534, true),
            (65_532, true),
            (65_532, false),
            (2, true),
            (65_535, true),
            (2, false),
            (1_000, true),
            (900, true),
            (65_533, true),
            (900, false),
            (2_100, true),
            (1_000, false),
            (1_077, true),
            (1_076, false),
        ];
        for (index, (sequence, want)) in cases.into_iter().enumerate() {
            assert_eq!(dedup.is_new(sequence), want, "case {index}: {sequence}");
        }
    }

    #[test]
    fn a_long_run_is_new_once() {
        let mut dedup = Dedup::default();
        for sequence in 0..200_000_u32 {
            assert!(dedup.is_new(sequence as u16));
            assert!(!dedup.is_new(sequence as u16));
        }
    }
}
