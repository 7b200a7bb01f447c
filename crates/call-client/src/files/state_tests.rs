use std::fs;

use call_protocol::limits::GROUP_BYTES;
use cap_std::ambient_authority;

use super::*;

const OFFER: OfferId = OfferId([7; 16]);

fn state() -> State {
    let file = |name: &str, groups: u64| FileToReceive {
        parts: vec!["trip".to_owned(), name.to_owned()],
        size_bytes: groups * GROUP_BYTES,
        root: Digest([1; 32]),
    };
    State::new(
        OFFER,
        "Bo".to_owned(),
        vec![file("a", 1), file("b", 3), file("c", 2)],
    )
}

fn dir() -> (tempfile::TempDir, Dir) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient_dir(temporary.path(), ambient_authority()).unwrap();
    (temporary, dir)
}

#[test]
fn states_are_replaced_whole_and_torn_ones_are_none() {
    let (temporary, dir) = dir();
    let mut state = state();
    assert_eq!(State::load(&dir, OFFER), None);
    state.save(&dir).unwrap();
    state.files[1].groups = vec![GroupRange { first: 0, count: 2 }];
    state.files[1].part = Some(Part {
        below: vec!["trip".to_owned()],
        name: format!("b{PART_SUFFIX}"),
    });
    state.save(&dir).unwrap();
    assert_eq!(State::load(&dir, OFFER), Some(state));
    assert_eq!(State::load(&dir, OfferId([8; 16])), None);
    let path = temporary.path().join(state_name(OFFER));
    let text = fs::read(&path).unwrap();
    for len in [0, 1, text.len() / 2, text.len() - 1] {
        fs::write(&path, &text[..len]).unwrap();
        assert_eq!(State::load(&dir, OFFER), None, "{len}");
    }
    State::remove(&dir, OFFER);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn what_leaves_the_folder_or_its_bounds_is_no_state() {
    let (_temporary, dir) = dir();
    type Spoil = fn(&mut State);
    let spoils: [Spoil; 12] = [
        |it| it.version = 2,
        |it| it.offer = OfferId([8; 16]),
        |it| it.files.clear(),
        |it| it.files = vec![it.files[0].clone(); limits::OFFER_FILES + 1],
        |it| it.sender_name = "x".repeat(SENDER_BYTES + 1),
        |it| it.files[0].size_bytes = u64::MAX,
        |it| it.files[0].parts.clear(),
        |it| it.files[0].parts[0] = "..".to_owned(),
        |it| it.files[0].parts[1] = "a/b".to_owned(),
        |it| it.made = vec![vec![String::new()]],
        |it| {
            it.files[0].part = Some(Part {
                below: vec!["..".to_owned()],
                name: format!("a{PART_SUFFIX}"),
            });
        },
        // Removing it would remove a file that is not ours.
        |it| {
            it.files[0].part = Some(Part {
                below: Vec::new(),
                name: "thesis.doc".to_owned(),
            });
        },
    ];
    for (number, spoil) in spoils.into_iter().enumerate() {
        let mut state = state();
        spoil(&mut state);
        let text = serde_json::to_vec(&state).unwrap();
        dir.write(state_name(OFFER), text).unwrap();
        assert_eq!(State::load(&dir, OFFER), None, "{number}");
    }
    state().save(&dir).unwrap();
    assert_eq!(State::load(&dir, OFFER), Some(state()));
}

#[cfg(unix)]
#[test]
fn links_in_place_of_states_are_not_followed() {
    let (temporary, dir) = dir();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("state");
    fs::write(&target, serde_json::to_vec(&state()).unwrap()).unwrap();
    let name = temporary.path().join(state_name(OFFER));
    std::os::unix::fs::symlink(&target, &name).unwrap();
    assert_eq!(State::load(&dir, OFFER), None);
    state().save(&dir).unwrap();
    assert!(
        fs::symlink_metadata(&name).unwrap().is_file(),
        "the link was replaced"
    );
}

#[test]
fn chaining_values_count_only_if_they_make_the_hash() {
    let (temporary, dir) = dir();
    let mut state = state();
    let values = |count: usize, seed: u8| vec![[seed; HASH_BYTES]; count];
    for (file, count) in [(1, 3), (2, 2)] {
        state.files[file].root = file_tree::root(&values(count, file as u8));
        assert_eq!(state.read_hashes(&dir, file), None);
    }
    state.write_hashes(&dir, 2, &values(2, 2)).unwrap();
    assert_eq!(state.read_hashes(&dir, 1), None, "a hole");
    state.write_hashes(&dir, 1, &values(3, 1)).unwrap();
    assert_eq!(state.read_hashes(&dir, 1), Some(values(3, 1)));
    assert_eq!(state.read_hashes(&dir, 2), Some(values(2, 2)));
    assert_eq!(
        state.read_hashes(&dir, 0),
        Some(values(1, 1)),
        "a file of one group"
    );
    let path = temporary.path().join(hashes_name(OFFER));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(state.read_hashes(&dir, 2), None, "torn");
    assert!(state.read_hashes(&dir, 1).is_some());
}

#[test]
fn names_of_states_are_exact() {
    assert_eq!(offer_of(&state_name(OFFER)), Some(OFFER));
    for bad in [
        "",
        ".visavis-.state",
        "a.state",
        ".visavis-07.state",
        &hashes_name(OFFER),
    ] {
        assert_eq!(offer_of(bad), None, "{bad}");
    }
}
