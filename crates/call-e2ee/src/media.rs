//! The seam in the media flow where payloads are sealed.
//!
//! Every outgoing RTP payload passes a [`PayloadSealer`] after packetizing, every incoming one a
//! [`PayloadOpener`] before depacketizing; retransmission and forward error correction work on
//! sealed payloads and need not know. Until the room has group keys, [`Identity`] stands in both
//! places: media is then protected hop by hop (DTLS-SRTP, whose fingerprints travel in sealed
//! signals), which in a mesh is end to end. An implementation with group keys must drop what does
//! not open and must never let plaintext through.

use bytes::Bytes;
use call_protocol::{MediaSource, MemberId};

/// Seals the payloads one sends.
pub trait PayloadSealer: Send {
    /// Seals one RTP payload of one's own `source`.
    fn seal(&mut self, source: MediaSource, payload: Bytes) -> Bytes;
}

/// Opens the payloads one receives.
pub trait PayloadOpener: Send {
    /// Opens one RTP payload of a member's `source`; `None` if it does not open and must be
    /// dropped.
    fn open(&mut self, from: MemberId, source: MediaSource, payload: Bytes) -> Option<Bytes>;
}

/// Passes payloads on as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl PayloadSealer for Identity {
    fn seal(&mut self, _source: MediaSource, payload: Bytes) -> Bytes {
        payload
    }
}

impl PayloadOpener for Identity {
    fn open(&mut self, _from: MemberId, _source: MediaSource, payload: Bytes) -> Option<Bytes> {
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_opens_what_identity_sealed() {
        let payload = Bytes::from_static(b"\x90\x80payload");
        let mut stage = Identity;
        let sealed = stage.seal(MediaSource::Camera, payload.clone());
        assert_eq!(
            stage.open(MemberId(1), MediaSource::Camera, sealed),
            Some(payload)
        );
    }
}
