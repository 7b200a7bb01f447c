//! Sealing what passes the signalling server: signals between two members, and profiles.
//!
//! Every client draws a random 16-byte *session* per call and counts what it seals. Session and
//! counter are the nonce, and they travel in front of the ciphertext:
//!
//! ```text
//! base64( version 1 | session 16 | counter u64 BE | XChaCha20-Poly1305 ciphertext and tag )
//! signal:  key "signal",  AAD "visavis signal v1"  | from u32 BE | to u32 BE | session of the addressee
//! profile: key "profile", AAD "visavis profile v1"
//! ```
//!
//! What goes over data channels is sealed by the same sessions, see [`crate::channel`].
//!
//! A profile introduces its sender's session; the first one of a member pins it. From then on only
//! that session speaks for that member, and only to the session of ours the signal was sealed for.
//! Invariants:
//!
//! * a signal opens once, at its addressee, from its sender, within the call it was made for;
//! * a member's profile never goes back to an older one, nor to somebody else's: exchanging the
//!   profiles of two members breaks the signals of both;
//! * no nonce is used twice with a key: sessions are random, counters only grow.
//!
//! Deliberately not here: which members exist. The caller forgets a member who left.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use call_protocol::{ErrorCode, MemberId, limits};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::keys::RoomKeys;
use crate::replay::ReplayWindow;

pub(crate) const VERSION: u8 = 1;
pub(crate) const SESSION_BYTES: usize = 16;
pub(crate) const NONCE_BYTES: usize = SESSION_BYTES + 8;
pub(crate) const TAG_BYTES: usize = 16;
const SIGNAL_LABEL: &[u8] = b"visavis signal v1";
const PROFILE_LABEL: &[u8] = b"visavis profile v1";

pub(crate) type Session = [u8; SESSION_BYTES];

/// Why something could not be sealed or opened. Never says what was inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More than the protocol allows to send or accept.
    #[error("too long")]
    TooLong,
    /// Not base64, or not of a form known here.
    #[error("malformed")]
    Malformed,
    /// Sealed with another key, for somebody else, by somebody else, or altered.
    #[error("does not open")]
    Broken,
    /// Seen before, or older than what was seen.
    #[error("replayed")]
    Replayed,
    /// No profile of this member was opened yet, so its session is unknown.
    #[error("the member's session is unknown")]
    UnknownMember,
    /// More members than a room holds.
    #[error("too many members")]
    TooManyMembers,
}

impl SealError {
    /// The stable code for logs and the UI.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::TooLong => ErrorCode::MessageTooLarge,
            Self::UnknownMember | Self::TooManyMembers => ErrorCode::UnknownMember,
            Self::Malformed | Self::Broken | Self::Replayed => ErrorCode::SealBroken,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) session: Session,
    signals: ReplayWindow,
    /// Apart from signals: data channels are slower or faster than the server.
    pub(crate) messages: ReplayWindow,
    newest_profile: u64,
}

/// Seals and opens the signals, profiles and data channel messages of one call.
pub struct SignalSealer {
    signal: XChaCha20Poly1305,
    profile: XChaCha20Poly1305,
    pub(crate) channel: XChaCha20Poly1305,
    pub(crate) session: Session,
    counter: u64,
    pub(crate) peers: BTreeMap<MemberId, Peer>,
}

impl SignalSealer {
    /// Starts a session. `session` must be 16 fresh bytes of a cryptographic generator: nonces are
    /// unique only if it is.
    pub fn new(keys: &RoomKeys, session: [u8; SESSION_BYTES]) -> Self {
        Self {
            signal: XChaCha20Poly1305::new(&keys.signal.into()),
            profile: XChaCha20Poly1305::new(&keys.profile.into()),
            channel: XChaCha20Poly1305::new(&keys.channel.into()),
            session,
            counter: 0,
            peers: BTreeMap::new(),
        }
    }

    /// Seals a signal of one's own (`from`) for the member `to`.
    ///
    /// # Errors
    /// Too long for the protocol, or no profile of `to` was opened.
    pub fn seal(
        &mut self,
        from: MemberId,
        to: MemberId,
        plain: &[u8],
    ) -> Result<String, SealError> {
        let session = self.peers.get(&to).ok_or(SealError::UnknownMember)?.session;
        let aad = signal_aad(from, to, &session);
        let header = self.next_header();
        encrypt(
            &self.signal,
            header,
            plain,
            &aad,
            limits::SEALED_SIGNAL_CHARS,
        )
    }

    /// Opens a signal that the server says comes from `from`; `to` is one's own id.
    ///
    /// # Errors
    /// Any [`SealError`]; nothing changes then.
    pub fn open(&mut self, from: MemberId, to: MemberId, text: &str) -> Result<Vec<u8>, SealError> {
        let sealed = Sealed::parse(text, limits::SEALED_SIGNAL_CHARS)?;
        let peer = self.peers.get_mut(&from).ok_or(SealError::UnknownMember)?;
        if sealed.session != peer.session {
            return Err(SealError::Broken);
        }
        if !peer.signals.is_fresh(sealed.counter) {
            return Err(SealError::Replayed);
        }
        let plain = sealed.decrypt(&self.signal, &signal_aad(from, to, &self.session))?;
        peer.signals.record(sealed.counter);
        Ok(plain)
    }

    /// Seals one's own profile for everybody in the room, now and later.
    ///
    /// # Errors
    /// Too long for the protocol.
    pub fn seal_profile(&mut self, plain: &[u8]) -> Result<String, SealError> {
        let header = self.next_header();
        encrypt(
            &self.profile,
            header,
            plain,
            PROFILE_LABEL,
            limits::SEALED_PROFILE_CHARS,
        )
    }

    /// Opens the profile of a member and, the first time, pins the member's session.
    ///
    /// # Errors
    /// Any [`SealError`]; nothing changes then. The same profile may be opened again.
    pub fn open_profile(&mut self, from: MemberId, text: &str) -> Result<Vec<u8>, SealError> {
        let sealed = Sealed::parse(text, limits::SEALED_PROFILE_CHARS)?;
        let plain = sealed.decrypt(&self.profile, PROFILE_LABEL)?;
        // One's own profile under another's name: the server cannot make us talk to ourselves.
        if sealed.session == self.session {
            return Err(SealError::Replayed);
        }
        let is_full = self.peers.len() >= limits::ROOM_MEMBERS;
        match self.peers.get_mut(&from) {
            Some(peer) if peer.session != sealed.session => return Err(SealError::Broken),
            Some(peer) if sealed.counter < peer.newest_profile => return Err(SealError::Replayed),
            Some(peer) => peer.newest_profile = sealed.counter,
            None if is_full => return Err(SealError::TooManyMembers),
            None => {
                let signals = ReplayWindow::default();
                let peer = Peer {
                    session: sealed.session,
                    signals,
                    messages: ReplayWindow::default(),
                    newest_profile: sealed.counter,
                };
                self.peers.insert(from, peer);
            }
        }
        Ok(plain)
    }

    /// Opens the profile of somebody who is no member yet. Pins nothing and remembers nothing: a server
    /// can show one it relayed before.
    ///
    /// # Errors
    /// Too long, malformed, or not of this room.
    pub fn read_profile(&self, text: &str) -> Result<Vec<u8>, SealError> {
        let sealed = Sealed::parse(text, limits::SEALED_PROFILE_CHARS)?;
        sealed.decrypt(&self.profile, PROFILE_LABEL)
    }

    /// Whether this is a profile of the room, but of another session than the one pinned for the
    /// member: somebody else has their id now.
    pub fn introduces_another(&self, from: MemberId, text: &str) -> bool {
        let Some(peer) = self.peers.get(&from) else {
            return false;
        };
        Sealed::parse(text, limits::SEALED_PROFILE_CHARS).is_ok_and(|sealed| {
            let sessions = [peer.session, self.session];
            let opens = sealed.decrypt(&self.profile, PROFILE_LABEL).is_ok();
            opens && !sessions.contains(&sealed.session)
        })
    }

    /// Forgets a member who left.
    pub fn forget(&mut self, member: MemberId) {
        self.peers.remove(&member);
    }

    /// Forgets everybody, for joining the room anew under another id. One's own session and
    /// counter go on.
    pub fn forget_all(&mut self) {
        self.peers.clear();
    }

    pub(crate) fn next_header(&mut self) -> [u8; NONCE_BYTES] {
        let mut header = [0; NONCE_BYTES];
        header[..SESSION_BYTES].copy_from_slice(&self.session);
        header[SESSION_BYTES..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        header
    }
}

impl fmt::Debug for SignalSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalSealer")
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

pub(crate) struct Sealed {
    pub(crate) session: Session,
    pub(crate) counter: u64,
    nonce: [u8; NONCE_BYTES],
    ciphertext: Vec<u8>,
}

impl Sealed {
    fn parse(text: &str, limit_chars: usize) -> Result<Self, SealError> {
        if text.len() > limit_chars {
            return Err(SealError::TooLong);
        }
        Self::parse_bytes(&STANDARD.decode(text).map_err(|_| SealError::Malformed)?)
    }

    pub(crate) fn parse_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let (version, rest) = bytes.split_first().ok_or(SealError::Malformed)?;
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SealError::Malformed)?;
        let (session, counter) = nonce
            .split_first_chunk::<SESSION_BYTES>()
            .ok_or(SealError::Malformed)?;
        if *version != VERSION || ciphertext.len() < TAG_BYTES {
            return Err(SealError::Malformed);
        }
        let counter = counter
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        Ok(Self {
            session: *session,
            counter,
            nonce: *nonce,
            ciphertext: ciphertext.to_vec(),
        })
    }

    pub(crate) fn decrypt(
        &self,
        cipher: &XChaCha20Poly1305,
        aad: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        cipher
            .decrypt(
                &XNonce::from(self.nonce),
                Payload {
                    msg: &self.ciphertext,
                    aad,
                },
            )
            .map_err(|_| SealError::Broken)
    }
}

fn encrypt(
    cipher: &XChaCha20Poly1305,
    header: [u8; NONCE_BYTES],
    plain: &[u8],
    aad: &[u8],
    limit_chars: usize,
) -> Result<String, SealError> {
    if sealed_bytes(plain).div_ceil(3) * 4 > limit_chars {
        return Err(SealError::TooLong);
    }
    Ok(STANDARD.encode(encrypt_bytes(cipher, header, plain, aad)?))
}

pub(crate) fn sealed_bytes(plain: &[u8]) -> usize {
    1 + NONCE_BYTES + plain.len() + TAG_BYTES
}

pub(crate) fn encrypt_bytes(
    cipher: &XChaCha20Poly1305,
    header: [u8; NONCE_BYTES],
    plain: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, SealError> {
    let ciphertext = cipher
        .encrypt(&XNonce::from(header), Payload { msg: plain, aad })
        .map_err(|_| SealError::TooLong)?;
    let mut bytes = Vec::with_capacity(sealed_bytes(plain));
    bytes.push(VERSION);
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&ciphertext);
    Ok(bytes)
}

fn signal_aad(from: MemberId, to: MemberId, session: &Session) -> Vec<u8> {
    [
        SIGNAL_LABEL,
        &from.0.to_be_bytes(),
        &to.0.to_be_bytes(),
        session,
    ]
    .concat()
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
