//! What a transfer is called.

/// Name and size of an offer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The file's name, or that of the folder or the first file of several.
    pub(crate) name: String,
    pub(crate) files: u32,
    pub(crate) is_folder: bool,
    pub(crate) size_bytes: u64,
}

impl Label {
    /// Of files with these cleaned components.
    pub(crate) fn new(paths: &[Vec<String>], size_bytes: u64) -> Self {
        let first = paths.first().map_or(&[][..], Vec::as_slice);
        let folder = first.first().filter(|_| first.len() > 1);
        let is_below = |path: &Vec<String>| path.len() > 1 && path.first() == folder;
        let folder = folder.filter(|_| paths.iter().all(is_below));
        Self {
            name: folder.or(first.last()).cloned().unwrap_or_default(),
            files: u32::try_from(paths.len()).unwrap_or(u32::MAX),
            is_folder: folder.is_some(),
            size_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_one_folder_or_the_first_of_several() {
        let cases: [(&[&str], &str, bool); 5] = [
            (&["a.txt"], "a.txt", false),
            (&["a.txt", "b.txt"], "a.txt", false),
            (&["p/a.txt", "p/q/b.txt"], "p", true),
            (&["p/a.txt", "q/b.txt"], "a.txt", false),
            (&["p/a.txt", "p"], "a.txt", false),
        ];
        for (paths, name, is_folder) in cases {
            let split = |path: &&str| path.split('/').map(str::to_owned).collect();
            let paths: Vec<Vec<String>> = paths.iter().map(split).collect();
            let label = Label::new(&paths, 5);
            assert_eq!((label.name.as_str(), label.is_folder), (name, is_folder));
            assert_eq!(label.files as usize, paths.len());
        }
    }
}
