//! Credentials for the TURN relay that need no database: the user name holds the time it expires,
//! the password is an HMAC of the user name, and whoever has the secret can check both. This is
//! the usual scheme of TURN REST APIs (draft-uberti-behave-turn-rest-00, section 2.2).
//!
//! Invariants: a password is never derived for a user name that is malformed, expired or dated
//! further ahead than [`MAX_TTL_S`]; the secret is never printed. Deliberately not here: who gets a
//! grant and when it is renewed ([`crate::Rooms`]), and TURN itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use call_protocol::limits;
use call_protocol::wire::RelayGrant;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Longest life of a grant, in seconds. Also bounds what a leaked grant is worth.
pub const MAX_TTL_S: u32 = 24 * 60 * 60;
/// Hex digits of a user name that tell grants apart.
const ID_DIGITS: usize = 16;

/// What grants are made from and checked with. [`crate::Rooms`] and the relay make it from the same
/// seed.
#[derive(Clone)]
pub struct RelaySecret {
    key: [u8; 32],
}

impl std::fmt::Debug for RelaySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RelaySecret")
    }
}

impl RelaySecret {
    /// The secret of a server with this seed (the one given to [`crate::Rooms::new`]).
    pub fn new(seed: [u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"visavis relay secret v1");
        hash.update(seed);
        Self {
            key: hash.finalize().into(),
        }
    }

    /// A grant that expires `ttl_s` seconds (at most [`MAX_TTL_S`]) after `unix_s`. `id` tells
    /// grants apart, so that the relay's quotas are per grant; the user name shows only a hash of
    /// it. At most [`limits::RELAY_URLS`] of `urls` are passed on.
    pub fn grant(&self, unix_s: u64, ttl_s: u32, id: u64, urls: &[String]) -> RelayGrant {
        let ttl_s = ttl_s.min(MAX_TTL_S);
        let mut named = Sha256::new();
        named.update(b"visavis relay id v1");
        named.update(self.key);
        named.update(id.to_be_bytes());
        let digits = named
            .finalize()
            .iter()
            .take(ID_DIGITS / 2)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        let username = format!("{}:{digits}", unix_s.saturating_add(ttl_s.into()));
        RelayGrant {
            urls: urls.iter().take(limits::RELAY_URLS).cloned().collect(),
            credential: self.credential(&username),
            username,
            ttl_s,
        }
    }

    /// The password that goes with a user name, for the relay to check requests with. `None`:
    /// malformed, expired, or from further ahead than any grant of ours.
    pub fn password(&self, username: &str, unix_s: u64) -> Option<String> {
        if username.len() > limits::RELAY_SECRET_CHARS {
            return None;
        }
        let (expiry, id) = username.split_once(':')?;
        let is_ours = id.len() == ID_DIGITS
            && id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && expiry.bytes().all(|byte| byte.is_ascii_digit());
        let expiry: u64 = expiry.parse().ok()?;
        let is_current = expiry > unix_s && expiry - unix_s <= u64::from(MAX_TTL_S);
        (is_ours && is_current).then(|| self.credential(username))
    }

    fn credential(&self, username: &str) -> String {
        STANDARD.encode(hmac_sha1(&self.key, username.as_bytes()))
    }
}

/// HMAC-SHA1 (RFC 2104).
fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key)
        .expect("invariant: HMAC takes keys of every length (RFC 2104, section 3)");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_matches_rfc_2202() {
        let hex = |bytes: [u8; 20]| bytes.map(|byte| format!("{byte:02x}")).concat();
        let long = [0xaa; 80];
        let cases: [(&[u8], &[u8], &str); 4] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
            ),
            (
                &long,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ];
        for (key, message, want) in cases {
            assert_eq!(hex(hmac_sha1(key, message)), want);
        }
    }

    #[test]
    fn a_grant_opens_the_relay_until_it_expires() {
        let secret = RelaySecret::new([1; 32]);
        let urls = vec!["turn:192.0.2.1:3478?transport=udp".to_owned(); 6];
        let grant = secret.grant(1_000, 600, 7, &urls);
        assert_eq!((grant.ttl_s, grant.urls.len()), (600, limits::RELAY_URLS));
        assert!(grant.username.starts_with("1600:"), "{}", grant.username);
        assert!(grant.username.len() <= limits::RELAY_SECRET_CHARS);
        let password = |at| secret.password(&grant.username, at);
        assert_eq!(password(1_000).as_ref(), Some(&grant.credential));
        assert_eq!(password(1_599).as_ref(), Some(&grant.credential));
        assert_eq!(password(1_600), None, "expired");
        assert_ne!(secret.grant(1_000, 600, 8, &urls).username, grant.username);
        let other = RelaySecret::new([2; 32]);
        assert_ne!(
            other.password(&grant.username, 1_000),
            Some(grant.credential)
        );
        assert!(!format!("{secret:?}").contains('1'));
    }

    #[test]
    fn foreign_user_names_have_no_password() {
        let secret = RelaySecret::new([1; 32]);
        let id = "0123456789abcdef";
        assert!(secret.password(&format!("2000:{id}"), 1_000).is_some());
        let ahead = format!("{}:{id}", 1_001 + u64::from(MAX_TTL_S));
        let huge = format!("99999999999999999999999:{id}");
        let long = format!("{}2000:{id}", "0".repeat(200));
        for bad in [
            "",
            ":",
            "2000",
            "2000:",
            "2000:7",
            &ahead,
            &huge,
            &long,
            "+2000:0123456789abcdef",
            "2000:0123456789ABCDEF",
            "2000:0123456789abcdef:x",
        ] {
            assert_eq!(secret.password(bad, 1_000), None, "{bad}");
        }
    }
}
