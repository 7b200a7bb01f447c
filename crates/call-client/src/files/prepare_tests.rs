use std::fs;

use super::*;

type Prepared = Option<Result<Vec<SourceFile>, ErrorCode>>;

fn prepare_all(paths: &[PathBuf]) -> Prepared {
    prepare(paths, &AtomicBool::new(false), |_, _| {})
}

fn names(prepared: Prepared) -> Vec<String> {
    let files = prepared.unwrap().unwrap();
    files.into_iter().map(|file| file.name).collect()
}

#[test]
fn folders_are_walked_in_order_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("trip");
    fs::create_dir_all(top.join("b/deep")).unwrap();
    fs::write(top.join("b/deep/2.txt"), "two").unwrap();
    fs::write(top.join("a.txt"), "one").unwrap();
    fs::write(dir.path().join("outside.txt"), "secret").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(dir.path().join("outside.txt"), top.join("c.txt")).unwrap();
        symlink(dir.path(), top.join("d")).unwrap();
    }
    let single = top.join("a.txt");
    let prepared = prepare_all(&[top.clone(), single]);
    assert_eq!(
        names(prepared),
        ["trip/a.txt", "trip/b/deep/2.txt", "a.txt"]
    );
    #[cfg(unix)]
    assert_eq!(
        prepare_all(&[top.join("c.txt"), top.join("d")])
            .unwrap()
            .err(),
        Some(ErrorCode::FileNotFound),
        "a dropped link is not followed either"
    );
}

#[test]
fn files_are_hashed_and_progress_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let contents: Vec<u8> = (0..700_000_u32).map(|at| (at * 31 / 7) as u8).collect();
    let path = dir.path().join("a.bin");
    fs::write(&path, &contents).unwrap();
    fs::write(dir.path().join("b.bin"), "").unwrap();
    let mut told = Vec::new();
    let cancelled = AtomicBool::new(false);
    let prepared = prepare(&[dir.path().to_owned()], &cancelled, |done, total| {
        told.push((done, total));
    });
    let files = prepared.unwrap().unwrap();
    assert_eq!(told.first(), Some(&(0, 700_000)));
    assert_eq!(files.len(), 2);
    assert_eq!((files[0].size_bytes, files[0].values.len()), (700_000, 3));
    let (first, _) = contents.split_at(262_144);
    assert_eq!(
        files[0].values[0],
        file_tree::group_value(700_000, 0, first).unwrap()
    );
    assert_eq!(files[0].root, file_tree::root(&files[0].values));
    assert!(files[1].values.is_empty());
    let file = File::open(&path).unwrap();
    assert!(files[0].is_unchanged(&file));
    fs::write(&path, &contents[1..]).unwrap();
    assert!(!files[0].is_unchanged(&file));
}

#[test]
fn what_cannot_be_offered_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let code = |paths: &[PathBuf]| prepare_all(paths).unwrap().err();
    assert_eq!(code(&[missing]), Some(ErrorCode::FileNotFound));
    assert_eq!(
        code(&[dir.path().to_owned()]),
        Some(ErrorCode::FileNotFound),
        "empty"
    );
    let large = dir.path().join("large");
    let file = File::create(&large).unwrap();
    // Where the file system has no files that large, this part shows nothing.
    if file.set_len(limits::FILE_BYTES).is_ok() {
        fs::write(dir.path().join("one more byte"), "x").unwrap();
        assert_eq!(
            code(&[dir.path().to_owned()]),
            Some(ErrorCode::FileTooLarge)
        );
    }
    let many = tempfile::tempdir().unwrap();
    for number in 0..=limits::OFFER_FILES {
        fs::write(many.path().join(number.to_string()), "").unwrap();
    }
    assert_eq!(
        code(&[many.path().to_owned()]),
        Some(ErrorCode::TooManyFiles)
    );
    let cancelled = AtomicBool::new(true);
    assert!(prepare(&[many.path().to_owned()], &cancelled, |_, _| {}).is_none());
}

#[test]
fn long_paths_lose_their_outer_folders() {
    let dropped = Path::new("/srv/me/top");
    let long = "d".repeat(120);
    let cases = [
        ("/srv/me/top".to_owned(), "top".to_owned()),
        ("/srv/me/top/a/b.txt".to_owned(), "top/a/b.txt".to_owned()),
        (
            format!("/srv/me/top/{long}/{long}/{long}/b.txt"),
            format!("{long}/{long}/b.txt"),
        ),
    ];
    for (path, want) in cases {
        assert_eq!(relative_name(dropped, Path::new(&path)), want);
    }
}
