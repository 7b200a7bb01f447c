//! Offering, accepting and asking for files.
//!
//! One drop is one *offer*: files with relative paths, each with its size and BLAKE3 hash, sent to
//! one member or to several (who each get the same offer and answer for themselves). A file is cut
//! into *groups* ([`group_bytes`]); the receiver asks for groups ([`FileSignal::Want`]) and checks
//! each against the file's hash tree on arrival, so the sender keeps no state per receiver but what
//! was last asked for. After any interruption the receiver asks again for what it has not verified.
//!
//! An offer's id is random and known to its ends only: who proves to know it may go on with it, even
//! from another seat after a restart. So it is never told to anybody else.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::limits;

/// One offer: 32 lowercase hex digits of 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OfferId(pub [u8; 16]);

/// A BLAKE3 hash: 64 lowercase hex digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// Implements the hex form of a byte array.
macro_rules! hex_form {
    ($name:ident, $bytes:literal) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let [a, b, ..] = self.0;
                write!(f, concat!(stringify!($name), "({:02x}{:02x}…)"), a, b)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                const WRONG: &str = concat!("not ", $bytes, " bytes in lowercase hex");
                let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                if text.len() != 2 * $bytes || !text.bytes().all(is_hex) {
                    return Err(WRONG);
                }
                let mut bytes = [0; $bytes];
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| WRONG)?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

hex_form!(OfferId, 16);
hex_form!(Digest, 32);

/// One file of an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it belongs below the folder the receiver chooses, parts separated by `/`; a wish only,
    /// at most [`limits::FILE_PATH_CHARS`] characters.
    pub path: String,
    /// Size in bytes, at most [`limits::FILE_BYTES`].
    pub size_bytes: u64,
    /// BLAKE3 hash of the whole file.
    pub root: Digest,
}

/// Consecutive groups of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupRange {
    /// The first one.
    pub first: u32,
    /// How many, at least 1.
    pub count: u32,
}

/// What is said about files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FileSignal {
    /// Would you like these? Repeated until answered.
    Offer {
        /// Its id.
        offer: OfferId,
        /// 1 to [`limits::OFFER_FILES`].
        files: Vec<FileEntry>,
    },
    /// The offer arrived and waits for the person. Ends the repetition.
    Received {
        /// Which.
        offer: OfferId,
    },
    /// No, thank you. Final.
    Decline {
        /// Which.
        offer: OfferId,
    },
    /// The receiver wants these groups of a file from now on; replaces what it wanted before of this
    /// offer. The first one accepts the offer. Empty `groups`: send nothing for now (paused, or
    /// another file first).
    Want {
        /// Which offer.
        offer: OfferId,
        /// Index into the offer's files.
        file: u32,
        /// At most [`limits::WANT_RANGES`], ascending, not touching.
        groups: Vec<GroupRange>,
        /// Whether the groups' chaining values are needed first.
        hashes: bool,
        /// Bytes of the whole offer verified so far, for the sender's display.
        done_bytes: u64,
        /// Whether the receiver's person paused it.
        paused: bool,
    },
    /// How far the receiver is, about twice a second while something arrives.
    Progress {
        /// Which offer.
        offer: OfferId,
        /// Bytes of the whole offer verified so far.
        done_bytes: u64,
    },
    /// Everything is verified and in its place. Final.
    Done {
        /// Which.
        offer: OfferId,
    },
    /// The sender's person paused or resumed it.
    Pause {
        /// Which.
        offer: OfferId,
        /// New state.
        paused: bool,
    },
    /// The side that says it ends the transfer. Final.
    Cancel {
        /// Which.
        offer: OfferId,
        /// Why, unless the person wished it.
        code: Option<ErrorCode>,
    },
    /// To everybody, from a receiver that came back: who has this offer? Its sender answers with
    /// [`Self::Offer`], anybody else not at all.
    Resume {
        /// That the one who says it knows the offer's id. Means nothing from anybody else, so that
        /// who hears it cannot use it: BLAKE3 of `visavis resume 1`, the id, and the sayer's member
        /// id, u32, little-endian.
        proof: Digest,
    },
}

impl FileSignal {
    /// The offer it is about; `None` where it is not named.
    pub fn offer(&self) -> Option<OfferId> {
        match self {
            Self::Offer { offer, .. }
            | Self::Received { offer }
            | Self::Decline { offer }
            | Self::Want { offer, .. }
            | Self::Progress { offer, .. }
            | Self::Done { offer }
            | Self::Pause { offer, .. }
            | Self::Cancel { offer, .. } => Some(*offer),
            Self::Resume { .. } => None,
        }
    }

    /// Whether every field is within its bound.
    pub fn is_within_limits(&self) -> bool {
        match self {
            Self::Offer { files, .. } => {
                let total = files
                    .iter()
                    .try_fold(0_u64, |sum, file| sum.checked_add(file.size_bytes));
                (1..=limits::OFFER_FILES).contains(&files.len())
                    && files.iter().all(FileEntry::is_within_limits)
                    && total.is_some_and(|total| total <= limits::FILE_BYTES)
            }
            Self::Want { file, groups, .. } => {
                let is_ascending = groups
                    .windows(2)
                    .all(|pair| pair[0].end().is_some_and(|end| end < pair[1].first));
                (*file as usize) < limits::OFFER_FILES
                    && groups.len() <= limits::WANT_RANGES
                    && groups
                        .iter()
                        .all(|range| range.count > 0 && range.end().is_some())
                    && is_ascending
            }
            _ => true,
        }
    }
}

impl FileEntry {
    fn is_within_limits(&self) -> bool {
        self.size_bytes <= limits::FILE_BYTES
            && (1..=limits::FILE_PATH_CHARS).contains(&self.path.chars().count())
    }
}

impl GroupRange {
    /// The group after the last one; `None` beyond 2^32.
    pub fn end(self) -> Option<u32> {
        self.first.checked_add(self.count)
    }
}

/// Bytes of a group of a file of this size: the smallest power of two from
/// [`limits::GROUP_BYTES`] on with which the file has at most [`limits::FILE_GROUPS`] groups. The
/// last group is shorter.
pub fn group_bytes(size_bytes: u64) -> u64 {
    let needed = size_bytes.div_ceil(u64::from(limits::FILE_GROUPS));
    needed.next_power_of_two().max(limits::GROUP_BYTES)
}

/// How many groups a file of this size has; an empty file has none.
pub fn group_count(size_bytes: u64) -> u32 {
    let groups = size_bytes.div_ceil(group_bytes(size_bytes));
    u32::try_from(groups).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_grow_with_the_file() {
        let kib = 1024;
        let cases = [
            (0, 256 * kib, 0),
            (1, 256 * kib, 1),
            (256 * kib, 256 * kib, 1),
            (256 * kib + 1, 256 * kib, 2),
            (16 << 30, 256 * kib, 65_536),
            ((16 << 30) + 1, 512 * kib, 32_769),
            (limits::FILE_BYTES, limits::FILE_BYTES / 65_536, 65_536),
        ];
        for (size, bytes, count) in cases {
            assert_eq!(
                (group_bytes(size), group_count(size)),
                (bytes, count),
                "{size}"
            );
        }
    }

    #[test]
    fn hex_forms_are_exact() {
        let id = OfferId([0xab; 16]);
        let text = String::from(id);
        assert_eq!(OfferId::try_from(text.clone()), Ok(id));
        for bad in ["", "ab", &text.to_uppercase(), &format!("{text}0")] {
            assert!(OfferId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(format!("{:?}", Digest([1; 32])), "Digest(0101…)");
    }

    #[test]
    fn signals_out_of_bounds_are_told() {
        let offer = OfferId([1; 16]);
        let file = |size_bytes| FileEntry {
            path: "a".into(),
            size_bytes,
            root: Digest([0; 32]),
        };
        let want = |groups: &[(u32, u32)]| FileSignal::Want {
            offer,
            file: 0,
            groups: groups
                .iter()
                .map(|(first, count)| GroupRange {
                    first: *first,
                    count: *count,
                })
                .collect(),
            hashes: false,
            done_bytes: 0,
            paused: false,
        };
        let offered = |files: Vec<FileEntry>| FileSignal::Offer { offer, files };
        let good = [
            offered(vec![file(0)]),
            offered(vec![file(limits::FILE_BYTES)]),
            want(&[]),
            want(&[(0, 1), (2, 5)]),
            want(&[(u32::MAX - 1, 1)]),
            FileSignal::Done { offer },
        ];
        let bad = [
            offered(vec![]),
            offered(vec![file(limits::FILE_BYTES), file(1)]),
            offered(vec![file(1 << 63)]),
            offered(vec![file(u64::MAX), file(u64::MAX)]),
            offered(vec![file(1); limits::OFFER_FILES + 1]),
            want(&[(0, 0)]),
            want(&[(0, 1), (1, 1)]),
            want(&[(5, 1), (0, 1)]),
            want(&[(u32::MAX, 2)]),
        ];
        assert!(good.iter().all(FileSignal::is_within_limits));
        assert!(!bad.iter().any(FileSignal::is_within_limits));
        let text = serde_json::to_string(&good[3]).unwrap();
        assert_eq!(serde_json::from_str::<FileSignal>(&text).unwrap(), good[3]);
    }
}
