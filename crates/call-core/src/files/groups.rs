//! Which groups of a file are there.

use std::collections::BTreeMap;

use call_protocol::channel::file::{GroupRange, group_bytes, group_count};

/// A set of the groups of one file, as ranges that neither touch nor overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupSet {
    size_bytes: u64,
    /// End by beginning.
    ranges: BTreeMap<u32, u32>,
    bytes: u64,
}

impl GroupSet {
    /// No group of a file of this size.
    pub(crate) fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            ranges: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Bytes of the groups in the set.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether every group is there; also of a file without any.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes == self.size_bytes
    }

    /// Adds a range; what lies beyond the file is left out.
    pub(crate) fn insert(&mut self, range: GroupRange) {
        let count = group_count(self.size_bytes);
        let (mut first, mut end) = (range.first, range.end().unwrap_or(u32::MAX).min(count));
        if first >= end {
            return;
        }
        // All that begin in or at the end of the range, and the one before if it reaches it.
        while let Some((&begin, &stop)) = self.ranges.range(..=end).next_back() {
            if stop < first {
                break;
            }
            self.ranges.remove(&begin);
            self.bytes -= self.bytes_of(begin, stop);
            first = first.min(begin);
            end = end.max(stop);
        }
        self.ranges.insert(first, end);
        self.bytes += self.bytes_of(first, end);
    }

    /// What is not there: the first `most` ranges of it.
    pub(crate) fn missing(&self, most: usize) -> Vec<GroupRange> {
        let count = group_count(self.size_bytes);
        let gaps_begin = std::iter::once(0).chain(self.ranges.values().copied());
        let gaps_end = self.ranges.keys().copied().chain([count]);
        let gaps = gaps_begin.zip(gaps_end).filter(|(first, end)| first < end);
        let gaps = gaps.map(|(first, end)| GroupRange {
            first,
            count: end - first,
        });
        gaps.take(most).collect()
    }

    /// Whether all of a range is there.
    pub(crate) fn contains(&self, range: GroupRange) -> bool {
        let before = self.ranges.range(..=range.first).next_back();
        before.is_some_and(|(_, end)| range.end().is_some_and(|wanted| wanted <= *end))
    }

    fn bytes_of(&self, first: u32, end: u32) -> u64 {
        let group = group_bytes(self.size_bytes);
        let at = |group_number: u32| (u64::from(group_number) * group).min(self.size_bytes);
        at(end) - at(first)
    }
}

#[cfg(test)]
mod tests {
    use call_protocol::limits::GROUP_BYTES;

    use super::*;

    fn range(first: u32, count: u32) -> GroupRange {
        GroupRange { first, count }
    }

    #[test]
    fn ranges_merge_and_the_last_group_is_short() {
        let size = 9 * GROUP_BYTES + 100;
        let mut set = GroupSet::new(size);
        assert_eq!(set.missing(9), [range(0, 10)]);
        for (first, count) in [(2, 2), (6, 1), (9, 5), (4, 1)] {
            set.insert(range(first, count));
        }
        assert_eq!(set.bytes(), 4 * GROUP_BYTES + 100);
        assert_eq!(set.missing(9), [range(0, 2), range(5, 1), range(7, 2)]);
        assert_eq!(set.missing(1), [range(0, 2)]);
        assert!(set.contains(range(2, 3)) && !set.contains(range(2, 4)));
        assert!(!set.contains(range(0, 1)) && set.contains(range(9, 1)));
        set.insert(range(3, 6));
        set.insert(range(50, 1));
        set.insert(range(u32::MAX, 1));
        set.insert(range(0, 0));
        assert!(!set.is_whole());
        set.insert(range(0, u32::MAX));
        assert!(set.is_whole() && set.missing(9).is_empty());
        assert_eq!(set.bytes(), size);
        assert!(GroupSet::new(0).is_whole());
    }

    #[test]
    fn it_is_what_a_plain_set_is() {
        let mut state = 7_u32;
        let mut below = |count: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % count
        };
        for _ in 0..200 {
            let mut set = GroupSet::new(40 * GROUP_BYTES);
            let mut plain = std::collections::BTreeSet::new();
            for _ in 0..12 {
                let (first, count) = (below(42), 1 + below(6));
                set.insert(range(first, count));
                plain.extend((first..first + count).filter(|group| *group < 40));
                assert_eq!(set.bytes(), plain.len() as u64 * GROUP_BYTES);
                let missing: Vec<u32> = set
                    .missing(99)
                    .into_iter()
                    .flat_map(|gap| gap.first..gap.first + gap.count)
                    .collect();
                let want: Vec<u32> = (0..40).filter(|it| !plain.contains(it)).collect();
                assert_eq!(missing, want);
            }
        }
    }
}
