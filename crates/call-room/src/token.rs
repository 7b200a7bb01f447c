//! Secrets that members present: resume tokens (made here) and room auth keys (made by clients).
//! Both are compared in constant time.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use call_protocol::MemberId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of randomness in a resume token: 192 bits, 48 hex digits.
const TOKEN_BYTES: usize = 24;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Proves the right to a seat: the member's id in decimal, a dot, and what nobody else knows. The id
/// lets a server that lost its memory give the same one again; see
/// [`crate::room::Room::claim`].
#[derive(Clone)]
pub(crate) struct ResumeToken(String);

impl ResumeToken {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn matches(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

/// Whose seat a token says to be for, without any proof.
pub(crate) fn claimed_member(token: &str) -> Option<MemberId> {
    let (member, _) = token.split_once('.')?;
    member.parse().ok().map(MemberId)
}

/// What a client seals everything of one call with: the first bytes of its profiles, in the clear.
pub(crate) type SealSession = [u8; 16];

/// The session a profile was sealed with, `None` where it cannot be told. Proves nothing: the
/// server cannot open profiles.
pub(crate) fn seal_session(profile: &str) -> Option<SealSession> {
    // 24 characters are 18 bytes: the version, the session and a byte of the counter.
    let head = BASE64.decode(profile.get(..24)?).ok()?;
    head.get(1..)?.first_chunk().copied()
}

/// A stream of tokens no outsider can predict, given a secret seed: SHA-256 over the seed and a
/// counter.
pub(crate) struct TokenSource {
    seed: [u8; 32],
    issued: u64,
}

impl TokenSource {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, issued: 0 }
    }

    pub(crate) fn issue(&mut self, member: MemberId) -> ResumeToken {
        self.issued += 1;
        let mut hash = Sha256::new();
        hash.update(b"visavis resume token v1");
        hash.update(self.seed);
        hash.update(self.issued.to_be_bytes());
        let digest = hash.finalize();
        let secret: String = digest
            .iter()
            .take(TOKEN_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        ResumeToken(format!("{member}.{secret}"))
    }
}

/// The key every member of a room must present.
pub(crate) struct AuthKey([u8; 32]);

impl AuthKey {
    /// Reads base64 (standard alphabet, padding optional) of exactly 32 bytes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        BASE64.decode(text).ok()?.try_into().ok().map(Self)
    }

    pub(crate) fn matches(&self, presented: &Self) -> bool {
        self.0.ct_eq(&presented.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_by_seed_and_count() {
        let mut source = TokenSource::new([1; 32]);
        let mut other = TokenSource::new([2; 32]);
        let member = MemberId(u32::MAX);
        let [first, second] = [(); 2].map(|()| source.issue(member));
        let foreign = other.issue(member);
        assert_eq!(first.as_str().len(), 11 + 2 * TOKEN_BYTES);
        assert_eq!(claimed_member(first.as_str()), Some(member));
        for bad in ["", "7", ".a", "x.a", "-1.a", "4294967296.a"] {
            assert_eq!(claimed_member(bad), None, "{bad}");
        }
        assert!(first.matches(first.as_str()));
        assert!(!first.matches(second.as_str()));
        assert!(!first.matches(foreign.as_str()));
        assert!(!first.matches(""));
    }

    #[test]
    fn auth_key_is_32_bytes_of_base64() {
        let key = |text: &str| AuthKey::parse(text);
        let padded = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        assert!(key(padded).is_some());
        assert!(key(padded.trim_end_matches('=')).is_some());
        for bad in [
            "",
            "BwcH",
            "not base64!",
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==",
        ] {
            assert!(key(bad).is_none(), "{bad}");
        }
    }
}
