//! The 16 bytes from which a member's media keys are derived, as they travel in profiles.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// A salt.
pub(crate) type MediaSalt = [u8; 16];

/// As in a profile.
pub(crate) fn to_text(salt: &MediaSalt) -> String {
    STANDARD.encode(salt)
}

/// Reads what a profile says; anything but 16 bytes is none.
pub(crate) fn parse(text: &str) -> Option<MediaSalt> {
    let text = text.trim_end_matches('=');
    // 22 symbols carry 16 bytes; more are not worth decoding.
    let bytes = (text.len() == 22).then(|| STANDARD_NO_PAD.decode(text).ok())??;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_read_back_and_nothing_else_is_read() {
        let salt: MediaSalt = std::array::from_fn(|index| index as u8 * 15);
        let text = to_text(&salt);
        assert_eq!(parse(&text), Some(salt));
        assert_eq!(parse(text.trim_end_matches('=')), Some(salt));
        let long = "A".repeat(100_000);
        let short = STANDARD.encode([1; 15]);
        let more = STANDARD.encode([1; 17]);
        for bad in ["", "=", "%%%%%%%%%%%%%%%%%%%%%%==", &long, &short, &more] {
            assert_eq!(parse(bad), None, "{}", &bad[..bad.len().min(30)]);
        }
    }
}
