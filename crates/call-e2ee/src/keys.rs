//! The key schedule: room code → root → one key per purpose.
//!
//! ```text
//! root = Argon2id(password = 12 symbols, salt = "visavis room v1", 64 MiB, t = 3, p = 1)   32 bytes
//! key  = HKDF-Expand-SHA256(prk = root, info = "visavis …")                                per purpose
//! ```
//!
//! The server sees the room id and the auth key, a listener on the local network the LAN tag.
//! Neither leads back to the root but by guessing codes at the price of one Argon2id each, and
//! neither leads to the other.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use call_protocol::RoomId;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::code::RoomCode;

/// Memory one derivation fills, in KiB: 64 MiB, the second recommended set of RFC 9106 §4. More
/// makes guessing dearer for everybody, and joining slower on small machines.
const MEMORY_KIB: u32 = 64 * 1024;
/// Passes over the memory; with [`MEMORY_KIB`] about a tenth of a second on a current desktop.
const PASSES: u32 = 3;
/// The same for all rooms: there is no place to keep a random one before the first contact.
/// Changing it changes every room id, so it carries the version.
const SALT: &[u8] = b"visavis room v1";
const PARAMS: Params = match Params::new(MEMORY_KIB, PASSES, 1, Some(32)) {
    Ok(params) => params,
    Err(_) => panic!("constant Argon2 parameters are within their bounds"),
};

/// Everything derived from a room code. Wiped from memory when dropped; `Debug` shows nothing.
#[derive(Clone)]
pub struct RoomKeys {
    room_id: [u8; 16],
    auth: [u8; 32],
    psk: [u8; 32],
    lan_tag: [u8; 8],
    pub(crate) signal: [u8; 32],
    pub(crate) profile: [u8; 32],
    pub(crate) media: [u8; 32],
    pub(crate) channel: [u8; 32],
}

impl RoomKeys {
    /// Derives the keys. Takes about a tenth of a second of CPU and 64 MiB: call it where blocking
    /// is allowed.
    pub fn derive(code: &RoomCode) -> Self {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS);
        let mut root = [0; 32];
        argon2
            .hash_password_into(code.canonical(), SALT, &mut root)
            .expect("invariant: lengths of password, salt and output are constant and allowed");
        let keys = Self::from_root(root);
        root.zeroize();
        keys
    }

    /// The second half of [`RoomKeys::derive`], for test vectors and simulations that cannot
    /// afford the first.
    pub fn from_root(root: [u8; 32]) -> Self {
        Self {
            room_id: expand(&root, b"visavis room id v1"),
            auth: expand(&root, b"visavis room auth v1"),
            psk: expand(&root, b"visavis psk v1"),
            lan_tag: expand(&root, b"visavis lan tag v1"),
            signal: expand(&root, b"visavis signal key v1"),
            profile: expand(&root, b"visavis profile key v1"),
            media: expand(&root, b"visavis media key v1"),
            channel: expand(&root, b"visavis channel key v1"),
        }
    }

    /// What the server knows the room by.
    pub fn room_id(&self) -> RoomId {
        RoomId::from_bytes(self.room_id)
    }

    /// What proves to the server that the joiner knows the code: 32 bytes in base64.
    pub fn auth(&self) -> String {
        STANDARD.encode(self.auth)
    }

    /// The external pre-shared key of the group key agreement.
    pub fn psk(&self) -> &[u8; 32] {
        &self.psk
    }

    /// What a host announces on the local network: 16 hex digits, unrelated to the room id, so
    /// that a server operator cannot recognise a room announced nearby.
    pub fn lan_tag(&self) -> String {
        self.lan_tag
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn expand<const N: usize>(root: &[u8; 32], info: &[u8]) -> [u8; N] {
    let hkdf =
        Hkdf::<Sha256>::from_prk(root).expect("invariant: a 32-byte root is a full-length key");
    let mut key = [0; N];
    hkdf.expand(info, &mut key)
        .expect("invariant: one block at most");
    key
}

impl fmt::Debug for RoomKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomKeys(…)")
    }
}

impl Drop for RoomKeys {
    fn drop(&mut self) {
        self.room_id.zeroize();
        self.auth.zeroize();
        self.psk.zeroize();
        self.lan_tag.zeroize();
        self.signal.zeroize();
        self.profile.zeroize();
        self.media.zeroize();
        self.channel.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The vectors of `docs/e2ee.md`. They may only change together with the version in the labels.
    #[test]
    fn test_vectors_hold() {
        let keys = RoomKeys::derive(&RoomCode::parse("K7MQ-2X9D-RTB4").unwrap());
        let got = [
            keys.room_id().as_str().to_owned(),
            keys.auth(),
            hex(keys.psk()),
            keys.lan_tag(),
            hex(&keys.signal),
            hex(&keys.profile),
            hex(&keys.media),
            hex(&keys.channel),
        ];
        let text = include_str!("../tests/vectors.txt");
        let want: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(" = ").map(|(_, value)| value))
            .collect();
        assert_eq!(got.as_slice(), &want[..8]);
        let docs = include_str!("../../../docs/e2ee.md");
        assert!(
            want.iter().all(|value| docs.contains(value)),
            "docs/e2ee.md shows other vectors"
        );
    }

    #[test]
    fn the_same_code_however_typed_is_the_same_room_and_another_code_another() {
        let one = RoomKeys::derive(&RoomCode::parse("k7mq2x9drtb4").unwrap());
        let other = RoomKeys::derive(&RoomCode::parse("K7MQ-2X9D-RTB5").unwrap());
        assert_ne!(one.room_id(), other.room_id());
        assert_ne!(one.lan_tag(), other.lan_tag());
        assert_ne!(one.lan_tag(), one.room_id().as_str()[..16]);
        assert_eq!(STANDARD.decode(one.auth()).unwrap().len(), 32);
        assert_eq!(format!("{one:?}"), "RoomKeys(…)");
    }
}
