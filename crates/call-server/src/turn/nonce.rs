//! Nonces without memory: time and a tag over time and client address.

use std::net::SocketAddr;
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::message::TransactionId;
use super::server::{Client, Transport};

/// A nonce is good for this long; then the client gets a new one (438).
const LIFETIME_S: u64 = 3_600;
const NONCE_BYTES: usize = 16;
/// Letters of which each carries six bits.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(crate) struct NonceKey {
    key: [u8; 32],
}

impl NonceKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Six letters of time and ten (60 bits) of tag.
    pub(crate) fn nonce(&self, unix_s: u64, client: Client) -> [u8; NONCE_BYTES] {
        let time = letters::<6>(unix_s);
        let mut mac = self.mac(b"nonce");
        mac.update(&time);
        mac.update(match client.transport {
            Transport::Udp => b"u",
            Transport::Stream(_) => b"s",
        });
        update_addr(&mut mac, client.addr);
        let tag = mac.finalize().into_bytes();
        let tag = letters::<10>(u64::from_be_bytes(
            *tag.first_chunk()
                .expect("invariant: SHA-1 has more than eight bytes"),
        ));
        let mut nonce = [0; NONCE_BYTES];
        nonce[..6].copy_from_slice(&time);
        nonce[6..].copy_from_slice(&tag);
        nonce
    }

    pub(crate) fn is_valid(&self, nonce: &[u8], unix_s: u64, client: Client) -> bool {
        let Some(made_s) = nonce.get(..6).and_then(number) else {
            return false;
        };
        // Comparing in constant time would protect a value that protects nothing but memory.
        unix_s
            .checked_sub(made_s)
            .is_some_and(|age| age < LIFETIME_S)
            && nonce == self.nonce(made_s, client)
    }

    /// For an indication, which nobody answers: unlikely to repeat is enough.
    pub(crate) fn transaction(&self, now: Instant, peer: SocketAddr) -> TransactionId {
        let mut id = [0; 12];
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&(now, peer), &mut hasher);
        id[4..].copy_from_slice(&std::hash::Hasher::finish(&hasher).to_be_bytes());
        id
    }

    fn mac(&self, purpose: &[u8]) -> Hmac<Sha1> {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.key)
            .expect("invariant: HMAC takes keys of every length");
        mac.update(purpose);
        mac
    }
}

fn update_addr(mac: &mut Hmac<Sha1>, addr: SocketAddr) {
    match addr.ip() {
        std::net::IpAddr::V4(ip) => mac.update(&ip.octets()),
        std::net::IpAddr::V6(ip) => mac.update(&ip.octets()),
    }
    mac.update(&addr.port().to_be_bytes());
}

/// The lowest bits, six per letter, highest first.
fn letters<const N: usize>(number: u64) -> [u8; N] {
    std::array::from_fn(|at| ALPHABET[(number >> (6 * (N - 1 - at)) & 63) as usize])
}

fn number(letters: &[u8]) -> Option<u64> {
    letters.iter().try_fold(0, |number, letter| {
        let value = ALPHABET.iter().position(|known| known == letter)?;
        Some(number << 6 | value as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_for_one_address_and_an_hour() {
        let key = NonceKey::new([1; 32]);
        let client = |transport, addr: &str| Client {
            transport,
            addr: addr.parse().unwrap(),
        };
        let mine = client(Transport::Udp, "192.0.2.1:7");
        let nonce = key.nonce(1_700_000_000, mine);
        let valid = |at, client| key.is_valid(&nonce, at, client);
        assert!(valid(1_700_000_000, mine) && valid(1_700_003_599, mine));
        assert!(!valid(1_700_003_600, mine), "old");
        assert!(!valid(1_699_999_999, mine), "from the future");
        assert!(!valid(1_700_000_000, client(Transport::Udp, "192.0.2.1:8")));
        assert!(!valid(1_700_000_000, client(Transport::Udp, "192.0.2.2:7")));
        assert!(!valid(
            1_700_000_000,
            client(Transport::Stream(1), "192.0.2.1:7")
        ));
        let other = NonceKey::new([2; 32]);
        assert!(!other.is_valid(&nonce, 1_700_000_000, mine), "other key");
        for at in 0..nonce.len() {
            let mut bad = nonce;
            bad[at] ^= 1;
            assert!(!key.is_valid(&bad, 1_700_000_100, mine), "letter {at}");
            assert!(
                !key.is_valid(&nonce[..at], 1_700_000_000, mine),
                "{at} letters"
            );
        }
    }
}
