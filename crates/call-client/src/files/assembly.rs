//! One group on its way: which of its bytes arrived, and their hash. Pure but for reading back.
//!
//! Bytes are written where they belong at once and hashed as they come, so a group of any size costs
//! two kilobytes. What comes out of order is written as well and read back for the hash when the
//! group is whole; a link that keeps its order never causes that.
//!
//! Invariant: no byte counts twice. Bytes that come again begin the group anew.

use std::collections::BTreeMap;
use std::io;

use call_core::file_tree::{GroupHasher, GroupValue};
use call_protocol::channel::file::group_bytes;

/// Runs of bytes that wait for what is before them. More means the sender means no good.
const RUNS: usize = 1_024;

/// See the module's text. Offsets are the file's.
#[derive(Debug)]
pub(super) struct Assembly {
    size_bytes: u64,
    group: u32,
    begin: u64,
    end: u64,
    hasher: GroupHasher,
    /// Everything before is hashed.
    hashed_to: u64,
    /// Runs after that, by their beginning, with their ends.
    later: BTreeMap<u64, u64>,
    missing: u64,
}

impl Assembly {
    /// `None`: the file has no such group.
    pub(super) fn new(size_bytes: u64, group: u32) -> Option<Self> {
        let hasher = GroupHasher::new(size_bytes, group)?;
        let begin = u64::from(group) * group_bytes(size_bytes);
        let missing = hasher.missing_bytes();
        Some(Self {
            size_bytes,
            group,
            begin,
            end: begin + missing,
            hasher,
            hashed_to: begin,
            later: BTreeMap::new(),
            missing,
        })
    }

    /// Takes bytes of this group in. `false`: they are not all within it.
    pub(super) fn insert(&mut self, offset: u64, data: &[u8]) -> bool {
        let Some(end) = offset.checked_add(data.len() as u64) else {
            return false;
        };
        if offset < self.begin || end > self.end || data.is_empty() {
            return false;
        }
        let before = self.later.range(..end).next_back();
        let overlaps = before.is_some_and(|(_, stop)| *stop > offset);
        if (offset < self.hashed_to || overlaps || self.later.len() == RUNS)
            && let Some(anew) = Self::new(self.size_bytes, self.group)
        {
            *self = anew;
        }
        self.missing -= data.len() as u64;
        if offset == self.hashed_to {
            self.hasher.update(data);
            self.hashed_to = end;
        } else {
            self.later.insert(offset, end);
        }
        true
    }

    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// The value of a whole group. `read` fills a buffer from an offset.
    pub(super) fn finish(
        mut self,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<Option<GroupValue>> {
        let mut buffer = Vec::new();
        while self.hashed_to < self.end {
            let len = (self.end - self.hashed_to).min(READ_BACK_BYTES);
            buffer.resize(len as usize, 0);
            read(&mut buffer, self.hashed_to)?;
            self.hasher.update(&buffer);
            self.hashed_to += len;
        }
        Ok(self.hasher.finish())
    }
}

/// Bytes read back at once.
const READ_BACK_BYTES: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use call_core::file_tree;
    use call_protocol::limits;

    use super::*;

    const SIZE: u64 = 2 * limits::GROUP_BYTES + 1_000;

    fn contents() -> Vec<u8> {
        (0..SIZE).map(|at| (at * 7 / 3) as u8).collect()
    }

    /// The value of the last group from pieces given by their place within it.
    fn value(pieces: &[(u64, u64)]) -> (Option<GroupValue>, u64) {
        let file = contents();
        let begin = 2 * limits::GROUP_BYTES;
        let mut assembly = Assembly::new(SIZE, 2).unwrap();
        for (from, to) in pieces {
            let (from, to) = (begin + from, begin + to);
            assert!(assembly.insert(from, &file[from as usize..to as usize]));
        }
        if !assembly.is_whole() {
            return (None, 0);
        }
        let mut read_back = 0;
        let value = assembly.finish(|buffer, offset| {
            let offset = offset as usize;
            buffer.copy_from_slice(&file[offset..offset + buffer.len()]);
            read_back += buffer.len() as u64;
            Ok(())
        });
        (value.unwrap(), read_back)
    }

    #[test]
    fn pieces_in_any_order_make_the_group() {
        let begin = 2 * limits::GROUP_BYTES as usize;
        let want = file_tree::group_value(SIZE, 2, &contents()[begin..]);
        assert!(want.is_some());
        type Pieces = &'static [(u64, u64)];
        let cases: [(Pieces, Option<u64>); 8] = [
            (&[(0, 1_000)], Some(0)),
            (&[(0, 400), (400, 1_000)], Some(0)),
            (&[(400, 1_000), (0, 400)], Some(600)),
            (&[(900, 1_000), (0, 10), (10, 900)], Some(100)),
            (&[(0, 400)], None),
            (&[(0, 400), (500, 1_000)], None),
            // What comes again begins anew.
            (&[(0, 400), (0, 400), (400, 1_000)], Some(0)),
            (&[(500, 1_000), (400, 600), (0, 400)], None),
        ];
        for (pieces, read_back) in cases {
            let (got, back) = value(pieces);
            assert_eq!(got, read_back.and(want), "{pieces:?}");
            assert_eq!(back, read_back.unwrap_or_default(), "{pieces:?}");
        }
    }

    #[test]
    fn what_is_not_of_the_group_is_refused() {
        let mut assembly = Assembly::new(SIZE, 1).unwrap();
        let (begin, end) = (limits::GROUP_BYTES, 2 * limits::GROUP_BYTES);
        for (offset, len) in [(begin - 1, 2), (end - 1, 2), (u64::MAX, 2), (begin, 0)] {
            assert!(!assembly.insert(offset, &vec![0; len]), "{offset}");
        }
        assert!(Assembly::new(SIZE, 3).is_none());
        for run in 0..3 * RUNS as u64 {
            assert!(assembly.insert(begin + 1 + 2 * run, &[0]));
            assert!(assembly.later.len() <= RUNS);
        }
    }
}
