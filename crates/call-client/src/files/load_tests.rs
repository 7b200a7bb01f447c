use std::fs;

use call_core::file_tree;
use call_protocol::channel::file::{Digest, GroupRange};
use call_protocol::limits::{FILE_BYTES, GROUP_BYTES};

use super::super::state::Part;
use super::*;

const OFFER: OfferId = OfferId([7; 16]);

fn to_receive(size_bytes: u64) -> FileToReceive {
    FileToReceive {
        parts: vec!["a".to_owned()],
        size_bytes,
        root: Digest([0; 32]),
    }
}

fn begin_in(folder: &Path, files: Vec<FileToReceive>) -> Result<Transfer, ErrorCode> {
    begin(
        OFFER,
        folder,
        "Bo".to_owned(),
        files,
        &AtomicBool::new(false),
    )
    .unwrap()
}

/// A folder in which three of four groups are said to be there, and are.
fn left_behind() -> (tempfile::TempDir, State) {
    let dir = tempfile::tempdir().unwrap();
    let size = 4 * GROUP_BYTES;
    let file: Vec<u8> = (0..size).map(|at| (at * 11 / 5) as u8).collect();
    let groups = (0..).zip(file.chunks(GROUP_BYTES as usize));
    let values = groups.map(|(group, bytes)| file_tree::group_value(size, group, bytes).unwrap());
    let values: Vec<_> = values.collect();
    let mut wanted = to_receive(size);
    wanted.root = file_tree::root(&values);
    let mut state = State::new(OFFER, "Bo".to_owned(), vec![wanted]);
    let folder = Folder::open(dir.path()).unwrap();
    let name = "a.visavis-part".to_owned();
    fs::write(dir.path().join(&name), &file[..3 * GROUP_BYTES as usize]).unwrap();
    let known = &mut state.files[0];
    known.part = Some(Part {
        below: Vec::new(),
        name,
    });
    known.groups = vec![GroupRange { first: 0, count: 3 }];
    known.has_hashes = true;
    state.write_hashes(folder.dir(), 0, &values).unwrap();
    state.save(folder.dir()).unwrap();
    (dir, state)
}

fn ranges(transfer: &Transfer) -> Vec<(u32, u32)> {
    let verified = &transfer.verified()[0];
    let ranges = verified.groups.iter();
    ranges.map(|range| (range.first, range.count)).collect()
}

fn found_in(folder: &Path) -> Vec<Transfer> {
    let mut found = Vec::new();
    find(
        folder,
        &AtomicBool::new(false),
        |_| false,
        |it| found.push(it),
    );
    found
}

#[test]
fn what_is_left_counts_as_far_as_it_is_right() {
    type Spoil = fn(&Path, &mut State);
    let cases: [(Spoil, &[(u32, u32)]); 7] = [
        (|_, _| {}, &[(0, 3)]),
        // A bitmap that says too much.
        (|_, it| it.files[0].groups[0].count = 4, &[(0, 3)]),
        (|_, it| it.files[0].groups[0].count = u32::MAX, &[(0, 3)]),
        // A write that never reached the disk.
        (
            |dir, _| {
                let path = dir.join("a.visavis-part");
                let mut bytes = fs::read(&path).unwrap();
                bytes[GROUP_BYTES as usize + 5] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            &[(0, 1), (2, 1)],
        ),
        (
            |dir, _| fs::remove_file(dir.join("a.visavis-part")).unwrap(),
            &[],
        ),
        (
            |dir, _| {
                let hashes = dir.join(format!(".visavis-{OFFER}.hashes"));
                fs::write(hashes, [1; 128]).unwrap();
            },
            &[],
        ),
        (|_, it| it.files[0].has_hashes = false, &[]),
    ];
    for (number, (spoil, want)) in cases.into_iter().enumerate() {
        let (dir, mut state) = left_behind();
        spoil(dir.path(), &mut state);
        let folder = Folder::open(dir.path()).unwrap();
        state.save(folder.dir()).unwrap();
        let found = found_in(dir.path());
        assert_eq!(found.len(), 1, "{number}");
        assert_eq!(ranges(&found[0]), want, "{number}");
        let begun = begin_in(dir.path(), state.to_receive()).unwrap();
        assert_eq!(ranges(&begun), want, "{number}");
    }
}

#[test]
fn other_contents_of_the_same_offer_begin_anew() {
    let (dir, state) = left_behind();
    let mut files = state.to_receive();
    files[0].root = Digest([9; 32]);
    assert!(ranges(&begin_in(dir.path(), files).unwrap()).is_empty());
}

#[test]
fn hostile_and_torn_states_are_passed_over() {
    let (dir, _) = left_behind();
    let write = |name: &str, text: &[u8]| fs::write(dir.path().join(name), text).unwrap();
    for number in 0..100_u8 {
        write(
            &format!(".visavis-{}.state", OfferId([number; 16])),
            b"{\"version\":1",
        );
    }
    write(".visavis-xyz.state", b"");
    let state = format!(".visavis-{OFFER}.state");
    assert!(found_in(dir.path()).is_empty(), "it was torn as well");
    fs::remove_file(dir.path().join(&state)).unwrap();
    fs::create_dir(dir.path().join(&state)).unwrap();
    assert!(found_in(dir.path()).is_empty());
    assert!(found_in(&dir.path().join("missing")).is_empty());
}

#[test]
fn room_is_looked_for_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let begun = begin_in(dir.path(), vec![to_receive(FILE_BYTES)]);
    assert_eq!(begun.err(), Some(ErrorCode::DiskFull));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let missing = begin_in(&dir.path().join("missing"), vec![to_receive(1)]);
    assert_eq!(missing.err(), Some(ErrorCode::FileNotFound));
}

#[test]
fn the_chosen_folder_goes_before_the_configured_one() {
    let (given, own) = (PathBuf::from("/given"), Path::new("/own"));
    assert_eq!(target(Some(given.clone()), Some(own)), Ok(given));
    assert_eq!(target(None, Some(own)), Ok(own.to_owned()));
}
