//! Names of received files: what the sender calls them is only a suggestion.
//!
//! A suggested path becomes components that are safe on Windows, macOS and Linux alike, whatever
//! system one is on, so that a folder can be copied anywhere later:
//!
//! * both separators separate; empty components, `.`, `..` and drives are left out, so that nothing
//!   leads out of the folder;
//! * control, bidirectional and invisible characters are removed: a name must look like what it is
//!   (`annexe.txt` must not be `ann\u{202e}txt.exe`). This costs emoji their joiners;
//! * what Windows forbids in names, and what looks like a separator, becomes `_`;
//! * blanks of any kind are spaces; none at either end, and no dot at the end (Windows drops those);
//! * no leading dash (an option to command-line tools) and no leading dot: a file one did not see
//!   arrive, or that a shell or desktop obeys because of its name (`.bashrc`, `.desktop`), is worse
//!   than a repository that arrives with `_git`;
//! * Windows' device names get a `_` in front, with any extension;
//! * NFC: what macOS sends decomposed is written as everybody else writes it, and two spellings of
//!   one name are one name;
//! * [`COMPONENT_BYTES`] at most; the end of a name is cut off in front of its extension.
//!
//! Invariants: every component is not empty and cleaning it again changes nothing; names of one offer
//! differ on every system, also where case does not count.
//!
//! Deliberately not here: what is on disk already (the disk worker never replaces anything), and
//! symbolic links.

use std::collections::BTreeSet;

use call_protocol::channel::file::FileEntry;
use unicode_normalization::UnicodeNormalization;

/// Bytes of one component. Systems take 255 bytes (Linux) or UTF-16 units (Windows, macOS), of which
/// there are never more than bytes; the rest is room for ` (123)` and the suffix of a growing file.
pub(crate) const COMPONENT_BYTES: usize = 215;
/// Bytes of an extension that survives cutting. Longer ones are no extensions.
const EXTENSION_BYTES: usize = 20;
/// Components of one path. Deeper ones lose the folders in the middle of the way.
const DEPTH: usize = 16;
/// What a file is called of which nothing is left.
const NAMELESS: &str = "file";

/// Devices of Windows that any folder seems to hold ("Naming Files, Paths, and Namespaces" of the
/// Win32 documentation, and the console's two); those that end in a digit are in [`is_reserved`].
const DEVICES: [&str; 7] = ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];

/// Components for a path as it was offered, at least one; the last is the file's name.
pub(crate) fn components(offered: &str) -> Vec<String> {
    let mut wanted: Vec<&str> = offered.split(['/', '\\']).collect();
    let name = wanted.pop().unwrap_or_default();
    let folders = wanted.into_iter().filter(|part| !is_drive(part));
    let mut parts: Vec<String> = folders.filter_map(component).collect();
    parts.truncate(DEPTH - 1);
    parts.push(component(name).unwrap_or_else(|| NAMELESS.to_owned()));
    parts
}

/// Components for all files of an offer, in its order, no two of them the same on any system.
pub(crate) fn offer_components(files: &[FileEntry]) -> Vec<Vec<String>> {
    let mut taken = Taken::default();
    let paths = files.iter().map(|file| taken.place(components(&file.path)));
    paths.collect()
}

/// Names that are in use, as a system sees them that tells nothing apart.
#[derive(Default)]
struct Taken {
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Taken {
    fn place(&mut self, parts: Vec<String>) -> Vec<String> {
        let last = parts.len() - 1;
        let mut key = String::new();
        let mut placed = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let is_free = |name: &str| {
                let key = format!("{key}/{}", folded(name));
                !self.files.contains(&key) && (at < last || !self.folders.contains(&key))
            };
            let part = match is_free(&part) {
                true => part,
                // An offer has fewer files than there are numbers.
                false => (2..)
                    .map(|number| numbered(&part, number))
                    .find(|name| is_free(name))
                    .unwrap_or(part),
            };
            key = format!("{key}/{}", folded(&part));
            let kind = if at < last {
                &mut self.folders
            } else {
                &mut self.files
            };
            kind.insert(key.clone());
            placed.push(part);
        }
        placed
    }
}

/// The same for all spellings that any system takes for one name.
fn folded(name: &str) -> String {
    let upper: String = name.nfc().flat_map(char::to_uppercase).collect();
    upper.chars().flat_map(char::to_lowercase).nfc().collect()
}

/// `photo (2).jpg`.
fn numbered(name: &str, number: u32) -> String {
    let (stem, extension) = split_extension(name);
    format!("{stem} ({number}){extension}")
}

/// `C:`, which is no folder.
fn is_drive(part: &str) -> bool {
    matches!(part.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

/// One component; `None` if nothing is left.
fn component(wanted: &str) -> Option<String> {
    let visible: String = wanted.chars().filter_map(visible).collect();
    let mut name: String = visible.nfc().map(written).collect();
    // A folder of Windows with such an ending is shown as something else.
    name = name.replace(".{", "._");
    let trimmed = name.trim_matches(' ').trim_end_matches([' ', '.']);
    let bare = trimmed.trim_start_matches(['.', ' ', '-']);
    if bare.is_empty() {
        return None;
    }
    let mut name = match bare.len() == trimmed.len() && !is_reserved(bare) {
        true => bare.to_owned(),
        false => format!("_{bare}"),
    };
    if name.len() > COMPONENT_BYTES {
        name = shortened(&name);
    }
    Some(name)
}

/// The character as it may stand in a name; `None`: not at all.
fn visible(c: char) -> Option<char> {
    let is_hidden = c.is_control()
        || matches!(c,
            // Soft hyphen, grapheme joiner, Arabic letter mark, fillers, Khmer inherent vowels.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{3164}' | '\u{ffa0}'
            // Mongolian selectors, zero widths, marks, embeddings, isolates, invisible operators.
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            // Variation selectors, byte order mark, annotations, object and replacement characters.
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffd}'
            // Invisible musical and shorthand signs, tags and more selectors.
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || (u32::from(c) & 0xfffe) == 0xfffe
        || ('\u{fdd0}'..='\u{fdef}').contains(&c);
    match c {
        '\t' => Some(' '),
        _ if is_hidden => None,
        // The empty Braille pattern is no blank to Unicode.
        '\u{2800}' => Some(' '),
        _ if c.is_whitespace() => Some(' '),
        _ => Some(c),
    }
}

fn written(c: char) -> char {
    match c {
        '<' | '>' | ':' | '"' | '|' | '?' | '*' | '/' | '\\' => '_',
        // Look like separators, and become them in some old code pages.
        '\u{2044}' | '\u{2215}' | '\u{2216}' | '\u{29f5}' | '\u{29f8}' | '\u{29f9}'
        | '\u{fe68}' | '\u{ff0f}' | '\u{ff3c}' | '\u{ff1a}' => '_',
        _ => c,
    }
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end_matches(' ').to_lowercase();
    let numbered = stem.strip_prefix("com").or(stem.strip_prefix("lpt"));
    let mut number = numbered.unwrap_or_default().chars();
    let is_digit = |c: char| c.is_ascii_digit() || matches!(c, '¹' | '²' | '³');
    let is_numbered = number.next().is_some_and(is_digit) && number.next().is_none();
    is_numbered || DEVICES.contains(&stem.as_str())
}

/// The name in front of its extension, and the extension with its dot, if it is one.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= EXTENSION_BYTES => name.split_at(at),
        _ => (name, ""),
    }
}

fn shortened(name: &str) -> String {
    let (stem, extension) = split_extension(name);
    let mut end = COMPONENT_BYTES - extension.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    let stem = stem[..end].trim_end_matches([' ', '.']);
    let name: String = format!("{stem}{extension}").nfc().collect();
    name
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
