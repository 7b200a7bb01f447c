//! A set of a file's groups, kept as ranges. Pure.
//!
//! Invariant: ranges are ascending, not empty, and do not touch.

use std::collections::BTreeMap;

use call_protocol::channel::file::GroupRange;

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupSet {
    /// From the first group of a range to the one after its last.
    ends: BTreeMap<u32, u32>,
}

impl GroupSet {
    /// The groups of `ranges` below `count`, however they come.
    pub(super) fn from_ranges(ranges: &[GroupRange], count: u32) -> Self {
        let mut set = Self::default();
        for range in ranges {
            let end = range.end().unwrap_or(u32::MAX).min(count);
            set.insert_range(range.first, end);
        }
        set
    }

    pub(super) fn insert(&mut self, group: u32) {
        self.insert_range(group, group.saturating_add(1));
    }

    /// Adds the groups from `first` to the one before `end`.
    fn insert_range(&mut self, mut first: u32, mut end: u32) {
        if first >= end {
            return;
        }
        // What touches becomes part of it.
        while let Some((&start, &stop)) = self.ends.range(..=end).next_back() {
            if stop < first {
                break;
            }
            self.ends.remove(&start);
            first = first.min(start);
            end = end.max(stop);
        }
        self.ends.insert(first, end);
    }

    pub(super) fn contains(&self, group: u32) -> bool {
        let before = self.ends.range(..=group).next_back();
        before.is_some_and(|(_, end)| group < *end)
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> u32 {
        self.ends.iter().map(|(first, end)| end - first).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn ranges(&self) -> Vec<GroupRange> {
        let range = |(first, end): (&u32, &u32)| GroupRange {
            first: *first,
            count: end - first,
        };
        self.ends.iter().map(range).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.ends.iter().flat_map(|(first, end)| *first..*end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(groups: &[u32]) -> GroupSet {
        let mut set = GroupSet::default();
        groups.iter().for_each(|group| set.insert(*group));
        set
    }

    fn pairs(set: &GroupSet) -> Vec<(u32, u32)> {
        let ranges = set.ranges();
        ranges.iter().map(|it| (it.first, it.count)).collect()
    }

    #[test]
    fn groups_merge_in_any_order() {
        type Case<'a> = (&'a [u32], &'a [(u32, u32)]);
        let cases: [Case<'_>; 5] = [
            (&[], &[]),
            (&[3], &[(3, 1)]),
            (&[0, 1, 2], &[(0, 3)]),
            (&[2, 0, 1, 1], &[(0, 3)]),
            (&[9, 5, 7, 8, 0], &[(0, 1), (5, 1), (7, 3)]),
        ];
        for (groups, want) in cases {
            let set = set(groups);
            assert_eq!(pairs(&set), want, "{groups:?}");
            let mut sorted = groups.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(set.iter().collect::<Vec<_>>(), sorted);
            assert_eq!(set.len() as usize, sorted.len());
            assert!((0..12).all(|group| set.contains(group) == sorted.contains(&group)));
        }
    }

    #[test]
    fn ranges_from_outside_are_cut_and_merged() {
        let range = |first, count| GroupRange { first, count };
        let ranges = [
            range(4, 2),
            range(0, 5),
            range(8, u32::MAX),
            range(20, 1),
            range(3, 0),
        ];
        assert_eq!(pairs(&GroupSet::from_ranges(&ranges, 10)), [(0, 6), (8, 2)]);
    }
}
