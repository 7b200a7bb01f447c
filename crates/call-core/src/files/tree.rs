//! A file's hash tree: what a group of it hashes to at its place, and what the groups make together.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB whose left side is always the largest power of two
//! that leaves something on the right (BLAKE3 paper, section 2.1). Groups are powers of two of
//! chunks ([`group_bytes`]), so each group but the last is a whole subtree and the last one is one
//! as well; their chaining values are the leaves of the same tree. A file of one group has no
//! parent: its group's value is the file's hash, finalised as the root. An empty file has no group
//! and the hash of nothing.
//!
//! Invariant: whatever came in, nothing here panics; what does not fit has no value.
//!
//! Deliberately not here: reading files, threads, keeping values.

use blake3::hazmat::{self, HasherExt, Mode};
use call_protocol::channel::bulk::HASH_BYTES;
use call_protocol::channel::file::{Digest, group_bytes, group_count};

/// A group's BLAKE3 chaining value at its place in the file; the root hash for a file of one group.
pub type GroupValue = [u8; HASH_BYTES];

/// Hashes one group of a file piece by piece. Groups of a large file can have hundreds of MiB.
#[derive(Clone, Debug)]
pub struct GroupHasher {
    hasher: blake3::Hasher,
    /// Whether the group is the whole file.
    is_root: bool,
    missing_bytes: u64,
    is_overfull: bool,
}

impl GroupHasher {
    /// For group number `group` of a file of `size_bytes`; `None` if it has no such group.
    pub fn new(size_bytes: u64, group: u32) -> Option<Self> {
        let count = group_count(size_bytes);
        if group >= count {
            return None;
        }
        let offset = u64::from(group) * group_bytes(size_bytes);
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        Some(Self {
            hasher,
            is_root: count == 1,
            missing_bytes: (size_bytes - offset).min(group_bytes(size_bytes)),
            is_overfull: false,
        })
    }

    /// Bytes of the group not taken in yet.
    pub fn missing_bytes(&self) -> u64 {
        self.missing_bytes
    }

    /// Takes in the next bytes. More than the group has leave it without a value.
    pub fn update(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u64;
        if len > self.missing_bytes {
            self.is_overfull = true;
        } else {
            self.missing_bytes -= len;
            self.hasher.update(bytes);
        }
    }

    /// The group's value; `None` unless exactly its bytes were taken in.
    pub fn finish(&self) -> Option<GroupValue> {
        if self.missing_bytes > 0 || self.is_overfull {
            return None;
        }
        Some(match self.is_root {
            true => self.hasher.finalize().into(),
            false => self.hasher.finalize_non_root(),
        })
    }
}

/// The value of a whole group in one go; `None` if the file has no such group or it is of another
/// length.
pub fn group_value(size_bytes: u64, group: u32, bytes: &[u8]) -> Option<GroupValue> {
    let mut hasher = GroupHasher::new(size_bytes, group)?;
    hasher.update(bytes);
    hasher.finish()
}

/// The hash of the whole file from the values of all its groups, in order.
pub fn root(values: &[GroupValue]) -> Digest {
    Digest(match values {
        [] => blake3::hash(&[]).into(),
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_count(values.len()));
            let (left, right) = (subtree(left), subtree(right));
            hazmat::merge_subtrees_root(&left, &right, Mode::Hash).into()
        }
    })
}

/// The value above these, of which there is at least one. As deep as the logarithm of their number.
fn subtree(values: &[GroupValue]) -> GroupValue {
    if let [only] = values {
        return *only;
    }
    let (left, right) = values.split_at(left_count(values.len()));
    hazmat::merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// How many of at least two leaves stand on the left: the largest power of two below their number.
fn left_count(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use call_protocol::limits;

    use super::*;

    fn contents(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn values(file: &[u8]) -> Vec<GroupValue> {
        let size = file.len() as u64;
        let groups = file.chunks(limits::GROUP_BYTES as usize);
        let values = groups.enumerate().map(|(group, bytes)| {
            let group = u32::try_from(group).unwrap();
            group_value(size, group, bytes).unwrap()
        });
        values.collect()
    }

    #[test]
    fn the_root_of_the_groups_is_the_hash_of_the_file() {
        let group = limits::GROUP_BYTES as usize;
        let sizes = [0, 1, 1_023, 1_024, 1_025, group - 1, group, group + 1];
        let many = (2..=9).flat_map(|n| [n * group - 1, n * group, n * group + 1]);
        for size in sizes.into_iter().chain(many).chain([33 * group + 77]) {
            let file = contents(size);
            let values = values(&file);
            assert_eq!(values.len(), group_count(size as u64) as usize);
            assert_eq!(root(&values).0, *blake3::hash(&file).as_bytes(), "{size}");
        }
    }

    #[test]
    fn a_group_that_differs_or_stands_elsewhere_has_another_value() {
        let file = vec![7; 4 * limits::GROUP_BYTES as usize];
        let mut moved = values(&file);
        assert!((1..4).all(|group| moved[0] != moved[group]), "same bytes");
        let right = root(&moved);
        moved.swap(1, 2);
        assert_ne!(root(&moved), right);
        let mut file = file;
        file[300_000] ^= 1;
        assert_ne!(root(&values(&file)), right);
    }

    #[test]
    fn pieces_make_the_group_and_other_lengths_have_no_value() {
        let size = limits::GROUP_BYTES + 5_000;
        let file = contents(size as usize);
        let last = &file[limits::GROUP_BYTES as usize..];
        let whole = group_value(size, 1, last).unwrap();
        let mut hasher = GroupHasher::new(size, 1).unwrap();
        for piece in last.chunks(997) {
            assert_eq!(hasher.finish(), None);
            hasher.update(piece);
        }
        assert_eq!(hasher.missing_bytes(), 0);
        assert_eq!(hasher.finish(), Some(whole));
        hasher.update(&[0]);
        assert_eq!(hasher.finish(), None);
        assert!(GroupHasher::new(size, 2).is_none());
        assert!(GroupHasher::new(0, 0).is_none());
        assert_eq!(group_value(size, 0, last), None);
    }

    #[test]
    fn the_largest_file_has_values_too() {
        let size = limits::FILE_BYTES;
        let hasher = GroupHasher::new(size, limits::FILE_GROUPS - 1).unwrap();
        assert_eq!(
            hasher.missing_bytes(),
            size / u64::from(limits::FILE_GROUPS)
        );
        let values: Vec<GroupValue> = (0..limits::FILE_GROUPS)
            .map(|group| group.to_le_bytes().repeat(8).try_into().unwrap())
            .collect();
        let halves = values.split_at(values.len() / 2);
        let whole = hazmat::merge_subtrees_root(&subtree(halves.0), &subtree(halves.1), Mode::Hash);
        assert_eq!(root(&values).0, *whole.as_bytes());
    }
}
