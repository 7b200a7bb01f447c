//! The room code: 60 random bits as 12 Crockford base32 symbols, shown `XXXX-XXXX-XXXX`.
//!
//! Reading is forgiving (case, `O` for `0`, `I` and `L` for `1`, dashes and spaces anywhere, whole
//! invite links), writing is canonical. There is no check symbol: a wrong code is simply the code
//! of another, empty room.

use std::fmt;

use call_protocol::ErrorCode;
use zeroize::Zeroize;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Symbols of a code.
pub const CODE_SYMBOLS: usize = 12;
/// Characters of a pasted text that are looked at; what follows is ignored.
pub const TEXT_CHARS: usize = 200;
const LINK_PREFIX: &str = "visavis://join/";

/// The secret that opens a room. Wiped from memory when dropped; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct RoomCode([u8; CODE_SYMBOLS]);

/// Why a text is not a room code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Too few or too many symbols.
    #[error("a room code has {CODE_SYMBOLS} symbols, not {0}")]
    Length(usize),
    /// A character outside the alphabet.
    #[error("a character that no room code contains")]
    Character,
}

impl CodeError {
    /// The stable code for the UI.
    pub fn code(self) -> ErrorCode {
        ErrorCode::CodeInvalid
    }
}

impl RoomCode {
    /// Makes a code from the low 60 bits of `entropy` (big-endian). The caller supplies bytes of a
    /// cryptographic generator: guessing them is guessing the room.
    pub fn from_entropy(entropy: [u8; 8]) -> Self {
        let bits = u64::from_be_bytes(entropy);
        Self(std::array::from_fn(|index| {
            let shift = 5 * (CODE_SYMBOLS - 1 - index);
            ALPHABET[(bits >> shift & 31) as usize]
        }))
    }

    /// Reads a code as people type and paste it: the code itself, `visavis://join/CODE`, a link
    /// with `#CODE`, or a text around one of these links.
    ///
    /// # Errors
    /// No 12 symbols, or a character outside the alphabet (`U` is outside).
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let end = text
            .char_indices()
            .nth(TEXT_CHARS)
            .map_or(text.len(), |(end, _)| end);
        let text = &text[..end];
        let mut symbols = [0; CODE_SYMBOLS];
        let mut length = 0;
        for c in candidate(text).chars().filter(|c| !is_separator(*c)) {
            let symbol = symbol(c).ok_or(CodeError::Character)?;
            if let Some(slot) = symbols.get_mut(length) {
                *slot = symbol;
            }
            length += 1;
        }
        if length == CODE_SYMBOLS {
            Ok(Self(symbols))
        } else {
            symbols.zeroize();
            Err(CodeError::Length(length))
        }
    }

    /// The invite link, `visavis://join/XXXX-XXXX-XXXX`.
    pub fn link(&self) -> String {
        format!("{LINK_PREFIX}{self}")
    }

    /// The 12 ASCII symbols without dashes: what the keys are derived from.
    pub(crate) fn canonical(&self) -> &[u8; CODE_SYMBOLS] {
        &self.0
    }
}

/// The part of the text that should be the code.
fn candidate(text: &str) -> &str {
    let link = |rest: &str| {
        rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(rest.len())
    };
    // ASCII lowercasing keeps byte positions.
    let lower = text.to_ascii_lowercase();
    if let Some(at) = lower.find(LINK_PREFIX) {
        let rest = &text[at + LINK_PREFIX.len()..];
        return &rest[..link(rest)];
    }
    if let Some(scheme) = text.find("://") {
        let Some(hash) = text[scheme..].find('#') else {
            return text;
        };
        let rest = &text[scheme + hash + 1..];
        return &rest[..link(rest)];
    }
    text.split_once('#').map_or(text, |(_, rest)| rest)
}

fn is_separator(c: char) -> bool {
    let dash = matches!(
        c,
        '-' | '_' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{00ad}'
    );
    let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    c.is_whitespace() || dash || invisible
}

fn symbol(c: char) -> Option<u8> {
    let upper = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let byte = u8::try_from(upper).ok()?;
    ALPHABET.contains(&byte).then_some(byte)
}

impl fmt::Display for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, symbol) in self.0.iter().enumerate() {
            if index > 0 && index % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*symbol))?;
        }
        Ok(())
    }
}

impl fmt::Debug for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomCode(…)")
    }
}

impl Drop for RoomCode {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedStream;

    #[test]
    fn codes_are_read_forgivingly() {
        let want = "K7MQ-2X9D-RTB4";
        let long_tail = format!("K7MQ2X9DRTB4{}", " ".repeat(500));
        let texts = [
            "K7MQ-2X9D-RTB4",
            "k7mq2x9drtb4",
            "  K7MQ 2X9D\tRTB4\n",
            "K7-MQ-2X-9D-RT-B4-",
            "K7MQ–2X9D—RTB4",
            "K7MQ\u{2011}2X9D\u{200b}RTB4",
            "visavis://join/K7MQ-2X9D-RTB4",
            "VISAVIS://JOIN/k7mq2x9drtb4/",
            "Come in: visavis://join/K7MQ-2X9D-RTB4, now!",
            "https://call.example/join#K7MQ-2X9D-RTB4",
            "see https://call.example/join?x=1#k7mq-2x9d-rtb4 (tonight)",
            "#K7MQ-2X9D-RTB4",
            &long_tail,
        ];
        for text in texts {
            let code = RoomCode::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(code.to_string(), want, "{text:?}");
        }
        assert_eq!(
            RoomCode::parse("oOiIlL000000").unwrap().to_string(),
            "0011-1100-0000"
        );
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let late = format!("{}K7MQ2X9DRTB4", " ".repeat(TEXT_CHARS));
        let cases = [
            ("", CodeError::Length(0)),
            ("K7MQ-2X9D-RTB", CodeError::Length(11)),
            ("K7MQ-2X9D-RTB44", CodeError::Length(13)),
            ("K7MQ-2X9D-RTBU", CodeError::Character),
            ("K7MQ-2X9D-RTB!", CodeError::Character),
            ("K7MQ-2X9D-RTBß", CodeError::Character),
            ("https://call.example/join", CodeError::Character),
            ("visavis://join/", CodeError::Length(0)),
            (&late, CodeError::Length(0)),
        ];
        for (text, want) in cases {
            assert_eq!(RoomCode::parse(text), Err(want), "{text:?}");
        }
    }

    #[test]
    fn every_code_survives_being_shown_and_linked() {
        let mut seed = SeedStream::new([3; 32]);
        for _ in 0..500 {
            let code = RoomCode::from_entropy(seed.draw());
            assert_eq!(RoomCode::parse(&code.to_string()), Ok(code.clone()));
            assert_eq!(RoomCode::parse(&code.link().to_lowercase()), Ok(code));
        }
        assert_eq!(RoomCode::from_entropy([0; 8]).to_string(), "0000-0000-0000");
        assert_eq!(
            RoomCode::from_entropy([0xff; 8]).to_string(),
            "ZZZZ-ZZZZ-ZZZZ"
        );
        assert_eq!(
            RoomCode::from_entropy([0, 0, 0, 0, 0, 0, 0, 33]).to_string(),
            "0000-0000-0011"
        );
    }

    #[test]
    fn garbage_never_panics() {
        let alphabet: Vec<char> = "kK7#:/ -visajon\u{200b}ß🦊\0U".chars().collect();
        let mut seed = SeedStream::new([4; 32]);
        for _ in 0..2_000 {
            let bytes: [u8; 32] = seed.draw();
            let text: String = bytes
                .iter()
                .map(|byte| alphabet[usize::from(*byte) % alphabet.len()])
                .collect();
            let _ = RoomCode::parse(&text);
            let _ = RoomCode::parse(&format!("visavis://join/{text}"));
        }
    }

    #[test]
    fn debug_hides_the_code() {
        assert_eq!(
            format!("{:?}", RoomCode::from_entropy([7; 8])),
            "RoomCode(…)"
        );
    }
}
