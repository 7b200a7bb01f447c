use std::fs;

use super::*;

fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    (dir, folder)
}

#[test]
fn names_that_are_taken_get_numbers_before_the_extension() {
    let long = "ä".repeat(200);
    let cut = "ä".repeat(125);
    let cases = [
        ("a.txt", "", "a.txt|a (2).txt|a (3).txt"),
        ("a.tar.gz", "", "a.tar.gz|a.tar (2).gz|a.tar (3).gz"),
        (".profile", "", ".profile|.profile (2)|.profile (3)"),
        (
            "a",
            PART_SUFFIX,
            "a.visavis-part|a (2).visavis-part|a (3).visavis-part",
        ),
    ];
    for (name, suffix, want) in cases {
        let got: Vec<_> = candidates(name, suffix).take(3).collect();
        assert_eq!(got.join("|"), want);
    }
    let names: Vec<_> = candidates(&format!("{long}.txt"), "").take(2).collect();
    assert_eq!(names[0], format!("{cut}.txt"));
    assert!(
        names
            .iter()
            .all(|name| name.len() <= NAME_BYTES && name.ends_with(".txt"))
    );
}

#[test]
fn a_whole_file_never_replaces_anything() {
    let (dir, folder) = folder();
    fs::write(dir.path().join("a.txt"), "mine").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/nowhere", dir.path().join("a (2).txt")).unwrap();
    #[cfg(not(unix))]
    fs::write(dir.path().join("a (2).txt"), "mine too").unwrap();
    let (file, part) = create_part(folder.dir(), "a.txt").unwrap();
    assert_eq!(part, "a.txt.visavis-part");
    let (_, second) = create_part(folder.dir(), "a.txt").unwrap();
    assert_eq!(second, "a (2).txt.visavis-part");
    super::super::at::write_all_at(&file, b"new", 0).unwrap();
    drop(file);
    assert_eq!(publish(folder.dir(), &part, "a.txt").unwrap(), "a (3).txt");
    assert_eq!(
        publish(folder.dir(), &second, "a.txt").unwrap(),
        "a (4).txt"
    );
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(
        (read("a.txt"), read("a (3).txt")),
        ("mine".into(), "new".into())
    );
    assert!(!dir.path().join(part).exists());
}

#[test]
fn folders_are_made_below_and_only_empty_ones_of_ours_removed() {
    let (dir, folder) = folder();
    fs::create_dir(dir.path().join("there")).unwrap();
    let mut made = Vec::new();
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (_, below) = folder.make_below(&parts("there/a/b"), &mut made).unwrap();
    assert_eq!(below, parts("there/a/b"));
    folder.make_below(&parts("there/a/c"), &mut made).unwrap();
    assert_eq!(
        made,
        [parts("there/a"), parts("there/a/b"), parts("there/a/c")]
    );
    fs::write(dir.path().join("there/a/c/kept"), "x").unwrap();
    folder.remove_empty(&made);
    assert!(!dir.path().join("there/a/b").exists());
    assert!(dir.path().join("there/a/c/kept").exists());
}

#[cfg(unix)]
#[test]
fn links_and_files_in_the_way_are_evaded_not_followed() {
    use std::os::unix::fs::symlink;
    let (dir, folder) = folder();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    symlink(".", dir.path().join("in")).unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    for name in ["out", "in", "file"] {
        let wanted = [name.to_owned()];
        let (below, place) = folder.make_below(&wanted, &mut Vec::new()).unwrap();
        assert_eq!(place, [format!("{name} (2)")]);
        create_part(&below, "a").unwrap();
        assert!(folder.below(&wanted).is_err(), "{name}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);

    // A growing file that was replaced by a link.
    let target = outside.path().join("victim");
    fs::write(&target, "precious").unwrap();
    symlink(&target, dir.path().join("b.visavis-part")).unwrap();
    assert!(open_part(folder.dir(), "b.visavis-part").is_err());
    assert!(publish(folder.dir(), "b.visavis-part", "b").is_err());
    let (_, part) = create_part(folder.dir(), "b").unwrap();
    assert_eq!(part, "b (2).visavis-part");
    assert_eq!(fs::read_to_string(target).unwrap(), "precious");
}

#[test]
fn a_missing_folder_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let error = Folder::open(&dir.path().join("missing")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    fs::write(dir.path().join("file"), "x").unwrap();
    assert!(Folder::open(&dir.path().join("file")).is_err());
}
