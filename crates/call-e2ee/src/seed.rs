//! Deterministic randomness: a stream of secret bytes expanded from one seed.
//!
//! The pure crates own no randomness. A real client seeds this from the operating system at every
//! start; the simulator seeds it from the number of the test, and every run is the same.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

/// Bytes expanded from a seed with HKDF-Expand (RFC 5869), one `info` per draw: as unpredictable
/// as the seed, never the same twice.
pub struct SeedStream {
    seed: [u8; 32],
    draws: u64,
}

impl SeedStream {
    /// Starts the stream. `seed` must not be used for a second stream of a real client: sealing
    /// relies on the bytes being fresh.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, draws: 0 }
    }

    /// The next `N` bytes, at most 8160 (the bound of HKDF-Expand).
    pub fn draw<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 255 * 32, "HKDF-Expand yields at most 255 blocks") };
        let hkdf = Hkdf::<Sha256>::from_prk(&self.seed)
            .expect("invariant: a 32-byte seed is a full-length key");
        let mut bytes = [0; N];
        hkdf.expand_multi_info(&[b"visavis seed v1", &self.draws.to_be_bytes()], &mut bytes)
            .expect("invariant: the length was checked at compile time");
        self.draws += 1;
        bytes
    }
}

impl fmt::Debug for SeedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedStream")
            .field("draws", &self.draws)
            .finish_non_exhaustive()
    }
}

impl Drop for SeedStream {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams_and_no_draw_repeats() {
        let mut one = SeedStream::new([1; 32]);
        let mut same = SeedStream::new([1; 32]);
        let mut other = SeedStream::new([2; 32]);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let bytes: [u8; 16] = one.draw();
            assert_eq!(bytes, same.draw());
            assert!(seen.insert(bytes) && seen.insert(other.draw()));
        }
        assert!(!format!("{one:?}").contains('['));
    }
}
