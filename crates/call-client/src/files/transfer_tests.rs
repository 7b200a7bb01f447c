use bytes::Bytes;
use call_core::FileToReceive;
use call_protocol::channel::file::{Digest, GroupRange};
use call_protocol::limits::GROUP_BYTES;

use super::*;

const OFFER: OfferId = OfferId([7; 16]);

/// A file of two whole groups and a piece, and its chaining values.
fn contents() -> (Vec<u8>, Vec<GroupValue>) {
    let size = 2 * GROUP_BYTES + 10;
    let file: Vec<u8> = (0..size).map(|at| (at * 11 / 5) as u8).collect();
    let groups = (0..).zip(file.chunks(GROUP_BYTES as usize));
    let values = groups.map(|(group, bytes)| file_tree::group_value(size, group, bytes).unwrap());
    let values = values.collect();
    (file, values)
}

struct Rig {
    dir: tempfile::TempDir,
    transfer: Transfer,
    file: Vec<u8>,
    values: Vec<GroupValue>,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let (file, values) = contents();
    let to_receive = |name: &str, size_bytes, root| FileToReceive {
        parts: vec!["sub".to_owned(), name.to_owned()],
        size_bytes,
        root,
    };
    let files = vec![
        to_receive("a", file.len() as u64, file_tree::root(&values)),
        to_receive(
            "b",
            3,
            Digest(file_tree::group_value(3, 0, b"abc").unwrap()),
        ),
    ];
    let state = State::new(OFFER, "Bo".to_owned(), files);
    let folder = Folder::open(dir.path()).unwrap();
    let verified = vec![GroupSet::default(); 2];
    let transfer = Transfer::new(folder, state, verified);
    Rig {
        dir,
        transfer,
        file,
        values,
    }
}

impl Rig {
    fn hashes(&mut self, first: u32, values: &[GroupValue]) -> Vec<FileEvent> {
        let outcome = self.transfer.handle(BulkMessage::Hashes {
            offer: OFFER,
            file: 0,
            first,
            values: Bytes::from(values.concat()),
        });
        outcome.events
    }

    fn piece(&mut self, file: u32, offset: u64, data: &[u8]) -> Outcome {
        self.transfer.handle(BulkMessage::Piece {
            offer: OFFER,
            file,
            offset,
            data: Bytes::copy_from_slice(data),
        })
    }

    fn group(&mut self, group: u64) -> Outcome {
        let begin = (group * GROUP_BYTES) as usize;
        let end = (begin + GROUP_BYTES as usize).min(self.file.len());
        let data = self.file[begin..end].to_vec();
        self.piece(0, begin as u64, &data)
    }

    fn taken(&mut self) {
        let values = self.values.clone();
        let taken = FileEvent::HashesTaken {
            offer: OFFER,
            file: 0,
        };
        assert_eq!(self.hashes(0, &values), [taken]);
    }
}

const CORRUPT: FileEvent = FileEvent::Corrupt {
    offer: OFFER,
    file: 0,
};

#[test]
fn a_file_comes_together_from_its_groups_in_any_order() {
    let mut rig = rig();
    assert!(!rig.transfer.verified()[0].has_hashes);
    assert!(rig.transfer.verified()[1].has_hashes, "its hash says all");
    rig.taken();
    assert!(rig.group(2).events.is_empty());
    assert!(rig.group(0).events.is_empty());
    let groups = |first, count| GroupRange { first, count };
    let verified = |groups| FileEvent::Verified {
        offer: OFFER,
        file: 0,
        groups,
    };
    let report = rig.transfer.report().unwrap();
    assert_eq!(report, verified(vec![groups(0, 1), groups(2, 1)]));
    assert_eq!(rig.transfer.report(), None);
    let last = rig.group(1);
    assert_eq!(last.events, [verified(vec![groups(1, 1)])]);
    assert_eq!(last.whole, Some(0));
    assert_eq!(rig.transfer.whole_files(), [0]);
    let path = rig.transfer.publication(0).unwrap().run().unwrap();
    assert_eq!(path, rig.dir.path().join("sub/a"));
    assert_eq!(std::fs::read(path).unwrap(), rig.file);
    assert!(!rig.transfer.finish_file(0));
    assert_eq!(rig.transfer.dropped, 0);
    rig.group(0);
    assert_eq!(rig.transfer.dropped, 1, "nothing more is taken of it");
    assert_eq!(rig.piece(1, 0, b"abc").whole, Some(1));
}

#[test]
fn wrong_bytes_and_wrong_values_are_told_and_come_again() {
    let mut rig = rig();
    let mut wrong = rig.values.clone();
    wrong[1][0] ^= 1;
    assert_eq!(rig.hashes(0, &wrong), [CORRUPT]);
    rig.group(0);
    assert_eq!(rig.transfer.dropped, 1, "nothing to check it against");
    let values = rig.values.clone();
    assert!(rig.hashes(1, &values[1..]).is_empty(), "one is missing");
    assert_eq!(rig.hashes(0, &values[..1]).len(), 1);
    let outcome = rig.piece(0, 0, &vec![0; GROUP_BYTES as usize]);
    assert_eq!(outcome.events, [CORRUPT]);
    assert!(rig.transfer.verified()[0].groups.is_empty());
    rig.group(0);
    assert_eq!(rig.transfer.verified()[0].groups.len(), 1);
}

#[test]
fn what_nobody_asked_for_is_dropped() {
    let mut rig = rig();
    rig.taken();
    let values = rig.values.clone();
    let size = rig.file.len() as u64;
    rig.group(0);
    let pieces: [(u32, u64, usize); 7] = [
        (9, 0, 1),
        (0, size, 1),
        (0, size - 1, 2),
        (0, u64::MAX, 1),
        // Over the end of a group.
        (0, 2 * GROUP_BYTES - 1, 2),
        // Verified already.
        (0, 0, 10),
        (1, 0, 4),
    ];
    for (number, (file, offset, len)) in pieces.into_iter().enumerate() {
        let outcome = rig.piece(file, offset, &vec![0; len]);
        // Turning to another file tells what was verified of the one before.
        let is_old = |event: &FileEvent| matches!(event, FileEvent::Verified { file: 0, .. });
        assert!(outcome.events.iter().all(is_old) && outcome.whole.is_none());
        assert_eq!(rig.transfer.dropped, number as u64 + 1, "{offset} + {len}");
    }
    rig.hashes(0, &values);
    assert_eq!(rig.transfer.dropped, 8, "known already");
}

#[test]
fn a_new_source_begins_groups_anew() {
    let mut rig = rig();
    rig.taken();
    let half = rig.file[..1_000].to_vec();
    rig.piece(0, 0, &half);
    rig.transfer.attach(Some(MemberId(3)));
    let rest = rig.file[1_000..GROUP_BYTES as usize].to_vec();
    rig.piece(0, 1_000, &rest);
    assert!(rig.transfer.verified()[0].groups.is_empty());
    rig.piece(0, 0, &half);
    assert_eq!(rig.transfer.verified()[0].groups.len(), 1);
}

#[test]
fn giving_up_leaves_nothing_behind() {
    let mut rig = rig();
    rig.taken();
    rig.group(0);
    let dir = rig.dir.path().to_owned();
    let state = rig.transfer.state().clone();
    state.save(rig.transfer.folder.dir()).unwrap();
    assert!(dir.join("sub/a.visavis-part").exists());
    rig.transfer.remove();
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
}
