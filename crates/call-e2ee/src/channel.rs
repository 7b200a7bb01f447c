//! Sealing what goes over data channels, directly or through the server's fan-out.
//!
//! ```text
//! version 1 | session 16 | counter u64 BE | XChaCha20-Poly1305 ciphertext and tag
//! key "channel", AAD "visavis channel v1" | from u32 BE | to u32 BE, 0 is everybody
//! ```
//!
//! Session and counter are those of [`crate::seal`]: a member's profile introduced them. Invariants:
//!
//! * a message opens at its addressee, or at everybody, as its sender's only, and once;
//! * a server that passes a message to somebody else than was asked makes it unreadable.
//!
//! Deliberately not here: order and loss. A message more than 64 behind the newest of its sender
//! counts as replayed; who sends repeats what matters.

use call_protocol::{MemberId, limits};

use crate::seal::{SealError, Sealed, SignalSealer, encrypt_bytes, sealed_bytes};

const CHANNEL_LABEL: &[u8] = b"visavis channel v1";
/// Stands for everybody; real ids begin at 1.
const EVERYBODY: MemberId = MemberId(0);

impl SignalSealer {
    /// Seals a message of one's own (`from`) for one member, or for everybody.
    ///
    /// # Errors
    /// Too long for the protocol.
    pub fn seal_message(
        &mut self,
        from: MemberId,
        to: Option<MemberId>,
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        if sealed_bytes(plain) > limits::SEALED_MESSAGE_BYTES {
            return Err(SealError::TooLong);
        }
        let header = self.next_header();
        let aad = aad(from, to.unwrap_or(EVERYBODY));
        encrypt_bytes(&self.channel, header, plain, &aad)
    }

    /// Opens a message that came from `from`; `me` is one's own id.
    ///
    /// # Errors
    /// Anything but a message this member sealed for oneself or for everybody, seen for the first
    /// time.
    pub fn open_message(
        &mut self,
        from: MemberId,
        me: MemberId,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        if sealed.len() > limits::SEALED_MESSAGE_BYTES {
            return Err(SealError::TooLong);
        }
        let sealed = Sealed::parse_bytes(sealed)?;
        let peer = self.peers.get_mut(&from).ok_or(SealError::UnknownMember)?;
        if sealed.session != peer.session {
            return Err(SealError::Broken);
        }
        if !peer.messages.is_fresh(sealed.counter) {
            return Err(SealError::Replayed);
        }
        let plain = sealed
            .decrypt(&self.channel, &aad(from, me))
            .or_else(|_| sealed.decrypt(&self.channel, &aad(from, EVERYBODY)))?;
        peer.messages.record(sealed.counter);
        Ok(plain)
    }
}

fn aad(from: MemberId, to: MemberId) -> Vec<u8> {
    [CHANNEL_LABEL, &from.0.to_be_bytes(), &to.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RoomKeys;

    const A: MemberId = MemberId(1);
    const B: MemberId = MemberId(2);
    const C: MemberId = MemberId(3);

    /// Sealers of A, B and C that know each other.
    fn room() -> [SignalSealer; 3] {
        let keys = RoomKeys::from_root([9; 32]);
        let mut room = [1, 2, 3].map(|byte| SignalSealer::new(&keys, [byte; 16]));
        let profiles = [0, 1, 2].map(|at: usize| room[at].seal_profile(b"profile").unwrap());
        for (mine, sealer) in room.iter_mut().enumerate() {
            for (theirs, id) in [A, B, C].into_iter().enumerate() {
                if mine != theirs {
                    sealer.open_profile(id, &profiles[theirs]).unwrap();
                }
            }
        }
        room
    }

    #[test]
    fn messages_open_where_they_are_meant_for_once() {
        let [mut a, mut b, mut c] = room();
        let to_b = a.seal_message(A, Some(B), b"for you").unwrap();
        assert_eq!(c.open_message(A, C, &to_b), Err(SealError::Broken));
        assert_eq!(b.open_message(C, B, &to_b), Err(SealError::Broken));
        assert_eq!(b.open_message(A, B, &to_b).unwrap(), b"for you");
        assert_eq!(b.open_message(A, B, &to_b), Err(SealError::Replayed));
        let to_all = a.seal_message(A, None, b"for all").unwrap();
        for (sealer, me) in [(&mut b, B), (&mut c, C)] {
            assert_eq!(sealer.open_message(A, me, &to_all).unwrap(), b"for all");
        }
        assert!(a.open_message(A, A, &to_all).is_err(), "reflected");
    }

    #[test]
    fn altered_foreign_and_oversized_messages_do_not_open() {
        let [mut a, mut b, _] = room();
        let sealed = a.seal_message(A, Some(B), b"text").unwrap();
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(b.open_message(A, B, &altered).is_err(), "byte {at}");
        }
        for len in 0..sealed.len() {
            assert!(b.open_message(A, B, &sealed[..len]).is_err(), "{len} bytes");
        }
        let mut stranger = SignalSealer::new(&RoomKeys::from_root([8; 32]), [1; 16]);
        let foreign = stranger.seal_message(A, Some(B), b"text").unwrap();
        assert_eq!(b.open_message(A, B, &foreign), Err(SealError::Broken));
        let huge = vec![0; limits::SEALED_MESSAGE_BYTES];
        assert_eq!(a.seal_message(A, None, &huge), Err(SealError::TooLong));
        assert_eq!(
            b.open_message(MemberId(9), B, &sealed),
            Err(SealError::UnknownMember)
        );
        assert_eq!(
            b.open_message(A, B, &sealed).unwrap(),
            b"text",
            "still fresh"
        );
    }
}
