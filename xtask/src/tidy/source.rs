//! Rust source split into code and comments, and code without its tests.
//!
//! A lexer of just enough: comments, strings and characters, so that a word in prose or in a
//! literal is not taken for code. Every byte keeps its place, so lines keep their numbers.

/// Rust source seen two ways; each has blanks where the other has content.
#[derive(Debug)]
pub(super) struct Source {
    /// Code with comments and the contents of literals blanked.
    pub(super) code: String,
    /// Comments with everything else blanked.
    pub(super) comments: String,
}

/// Splits `text`. Never fails: what is not Rust ends in one part or the other.
pub(super) fn split(text: &str) -> Source {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut comments = blank(bytes);
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, comment) = if rest.starts_with(b"//") {
            (find(rest, b"\n").unwrap_or(rest.len()), true)
        } else if rest.starts_with(b"/*") {
            (block_comment_length(rest), true)
        } else if let Some(length) = literal_length(rest, at.checked_sub(1).map(|i| bytes[i])) {
            (length, false)
        } else {
            at += 1;
            continue;
        };
        let range = at..at + length;
        code[range.clone()].copy_from_slice(&blank(&bytes[range.clone()]));
        if comment {
            comments[range.clone()].copy_from_slice(&bytes[range]);
        }
        at += length;
    }
    Source {
        code: String::from_utf8_lossy(&code).into_owned(),
        comments: String::from_utf8_lossy(&comments).into_owned(),
    }
}

fn blank(bytes: &[u8]) -> Vec<u8> {
    let keep_line_ends = |byte: &u8| if *byte == b'\n' { b'\n' } else { b' ' };
    bytes.iter().map(keep_line_ends).collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of the string or character literal that begins here, prefix included.
fn literal_length(rest: &[u8], before: Option<u8>) -> Option<usize> {
    // `r` or `b` at the end of a name begins no literal.
    let prefix = if before.is_some_and(is_word) {
        0
    } else {
        rest.iter()
            .take(2)
            .take_while(|byte| matches!(byte, b'r' | b'b' | b'c'))
            .count()
    };
    let raw = rest[..prefix].contains(&b'r');
    let body = &rest[prefix..];
    let hashes = body.iter().take_while(|byte| **byte == b'#').count();
    if raw && body.get(hashes) == Some(&b'"') {
        let mut end = vec![b'"'];
        end.extend(std::iter::repeat_n(b'#', hashes));
        let start = prefix + hashes + 1;
        let length = find(&rest[start..], &end).map(|found| start + found + end.len());
        return Some(length.unwrap_or(rest.len()));
    }
    match body.first()? {
        b'"' => Some(prefix + quoted_length(body)),
        b'\'' if is_character(body) => Some(prefix + quoted_length(body)),
        _ => None,
    }
}

/// A quote begins a character and not a lifetime if it is closed after one (escaped) character.
fn is_character(body: &[u8]) -> bool {
    match body.get(1) {
        Some(b'\\') => true,
        Some(byte) if byte.is_ascii() => body.get(2) == Some(&b'\''),
        // One character beyond ASCII takes two to four bytes.
        Some(_) => body.iter().skip(3).take(3).any(|byte| *byte == b'\''),
        None => false,
    }
}

fn quoted_length(body: &[u8]) -> usize {
    let quote = body[0];
    let mut at = 1;
    while at < body.len() {
        match body[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    body.len()
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Blanks each item under `#[cfg(test)]`, and returns the names of test modules that lie in
/// files of their own. `code` is [`Source::code`].
pub(super) fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &[u8] = b"#[cfg(test)]";
    let bytes = code.as_bytes();
    let mut kept = bytes.to_vec();
    let mut modules = Vec::new();
    let mut at = 0;
    while let Some(found) = find(&bytes[at..], MARK) {
        let start = at + found;
        let end = start + item_length(&bytes[start..]);
        let item = &code[start + MARK.len()..end];
        let mut words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
        if item.ends_with(';') && words.any(|word| word == "mod") {
            modules.extend(words.find(|word| !word.is_empty()).map(str::to_owned));
        }
        kept[start..end].copy_from_slice(&blank(&bytes[start..end]));
        at = end;
    }
    (String::from_utf8_lossy(&kept).into_owned(), modules)
}

/// Up to the item's `;` or closing brace, whatever brackets stand before.
fn item_length(item: &[u8]) -> usize {
    let mut depth = 0i32;
    for (index, byte) in item.iter().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(byte, b';' | b'}') {
            return index + 1;
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_leave_the_code() {
        let text =
            "let a = \"Instant::now\"; // Instant::now\n/* a /* b */ c */ x('\\'', 'y', b'z');";
        let source = split(text);
        assert!(!source.code.contains("Instant"), "{}", source.code);
        assert!(source.comments.contains("// Instant::now"));
        assert!(source.comments.contains("/* a /* b */ c */"));
        assert!(!source.comments.contains("let"));
        assert_eq!(source.code.len(), text.len());
        assert!(source.code.contains("x("), "{}", source.code);
        assert!(!source.code.contains('y') && !source.code.contains('z'));
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        let source = split("f(r#\"a \" // b\"#); HashMap; br\"\\\"; HashSet;");
        assert!(!source.code.contains('b'), "{}", source.code);
        assert!(source.code.contains("HashMap") && source.code.contains("HashSet"));
        assert_eq!(source.comments.trim(), "");
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let source = split("fn f<'a>(x: &'a str) -> HashMap<&'a str, char> { 'é' }");
        assert!(source.code.contains("HashMap"));
        assert!(source.code.contains("&'a str"));
        assert!(!source.code.contains('é'));
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        let source = split(r#"let s = "a\"b"; HashMap"#);
        assert!(source.code.contains("HashMap"));
        assert!(!source.code.contains('b'), "{}", source.code);
    }

    #[test]
    fn test_items_are_left_out() {
        let code = "use a;\n#[cfg(test)]\nmod tests { fn f() { Instant::now() } }\nfn g() {}\n\
                    #[cfg(test)]\n#[path = \"\"]\nmod table_tests;\n#[cfg(test)]\nuse std::b;\nfn h() {}";
        let (kept, modules) = without_tests(code);
        assert!(
            !kept.contains("Instant") && !kept.contains("std::b"),
            "{kept}"
        );
        assert!(kept.contains("fn g()") && kept.contains("fn h()"));
        assert_eq!(modules, ["table_tests"]);
        assert_eq!(kept.lines().count(), code.lines().count());
    }
}
