//! Sealing of media: every RTP payload becomes one SFrame ciphertext (RFC 9605, suite
//! `AES_128_GCM_SHA256_128`) that only members of the room can open, whatever carries it.
//!
//! ```text
//! media key = HKDF-Expand-SHA256(room root, "visavis media key v1")          32 bytes, in RoomKeys
//! base key  = HKDF-Expand-SHA256(media key, "visavis sender v1" | salt)      32 bytes, per sender
//! SFrame key and salt per KID: RFC 9605 §4.4.2
//!
//! sealed    = SFrame header | AES-128-GCM(payload | trailer) | tag 16 bytes
//! KID       = member id << 3 | stream                     0 microphone, 1-3 camera, 4-6 screen
//! CTR       = packets sealed before on that stream
//!
//! trailer, at the end of the plaintext, big-endian, read from its last byte:
//!   timestamp   u32   the sender's RTP timestamp
//!   capture     i64   only with flag 0x01: microseconds of the sender's wall clock at `timestamp`
//!   flags       u8    0x01 capture is there; the other bits are 0, else the packet is refused
//! ```
//!
//! A forwarding server rewrites RTP timestamps and sequence numbers. What receivers order, place
//! and synchronise by is therefore inside: the timestamp, the counter, the capture clock. The same
//! sealed bytes go over every path, so a packet that arrives twice carries the same counter.
//!
//! Invariants:
//!
//! * nothing but ciphertext leaves [`MediaSealer::seal`], and only authentic plaintext leaves
//!   [`MediaOpener::open`]; everything else is dropped;
//! * no nonce is used twice with a key: salts are random and new for every seat and after every
//!   removal, counters only grow;
//! * member and stream are part of the key, so nothing opens under another member's name or as
//!   another stream. Members share the room code, though: one who wants to can seal in another's
//!   name.
//!
//! One buffer serves many packets: there is no allocation per packet, and a packet that is kept
//! keeps its chunk of 32 KiB.
//!
//! Deliberately not here: replays (two paths carry the same packet on purpose; receivers
//! deduplicate by counter) and keys that nobody with the room code can derive from a new salt.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use call_protocol::{MediaSource, MemberId, limits};
use hkdf::Hkdf;
use sframe::CipherSuite;
use sframe::crypto::{DecryptionBufferView, EncryptionBufferView};
use sframe::header::SframeHeader;
use sframe::key::{DecryptionKey, EncryptionKey};
use sha2::Sha256;
use zeroize::Zeroize;

use crate::keys::RoomKeys;

/// Most bytes sealing adds: header 1, KID 5, CTR 8, trailer 13, tag 16. In practice (member ids
/// below 8192, fewer than 2^32 packets) at most 36, mostly 26.
pub const OVERHEAD_BYTES: usize = 1 + 5 + 8 + TRAILER_BYTES + CAPTURE_BYTES + TAG_BYTES;

const SUITE: CipherSuite = CipherSuite::AesGcm128Sha256;
const TAG_BYTES: usize = 16;
/// Without the capture clock.
const TRAILER_BYTES: usize = 5;
const CAPTURE_BYTES: usize = 8;
const HAS_CAPTURE: u8 = 0x01;
/// Streams one member has.
const STREAMS: usize = 7;
/// Sound carries its capture clock this often, in packets: about three times a second. Pictures
/// carry it once per picture.
const SOUND_CAPTURE_EVERY: u64 = 16;
/// Packets are cut from chunks of this size.
const CHUNK_BYTES: usize = 32 * 1024;
const SENDER_LABEL: &[u8] = b"visavis sender v1";

/// One of a member's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaStream {
    /// What it shows or carries.
    pub source: MediaSource,
    /// Simulcast layer of a picture, 0 (largest) to 2; 0 for sound.
    pub layer: u8,
}

impl MediaStream {
    /// The low three bits of the KID; `None` for a layer there is not.
    fn number(self) -> Option<u8> {
        let base = match self.source {
            MediaSource::Microphone if self.layer == 0 => return Some(0),
            MediaSource::Microphone => return None,
            MediaSource::Camera => 1,
            MediaSource::Screen => 4,
        };
        (usize::from(self.layer) < limits::SFU_LAYERS).then(|| base + self.layer)
    }

    fn from_number(number: u8) -> Option<Self> {
        let (source, layer) = match number {
            0 => (MediaSource::Microphone, 0),
            1..=3 => (MediaSource::Camera, number - 1),
            4..=6 => (MediaSource::Screen, number - 4),
            _ => return None,
        };
        Some(Self { source, layer })
    }
}

/// Where a packet stands in its sender's time, whichever way it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaTime {
    /// The sender's own RTP timestamp: 48 kHz ticks for sound, 90 kHz for pictures.
    pub timestamp: u32,
    /// When `timestamp` was captured, in microseconds of the sender's wall clock, which is the same
    /// for all of the sender's streams and says nothing about anybody else's clock.
    pub capture_us: Option<i64>,
}

/// What was in a sealed payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who sealed it.
    pub member: MemberId,
    /// Which of the member's streams it belongs to.
    pub stream: MediaStream,
    /// Its place in that stream: 0, 1, 2 and so on without gaps at the sender.
    pub counter: u64,
    /// When it belongs; the capture clock is there only now and then.
    pub time: MediaTime,
    /// The RTP payload.
    pub payload: Bytes,
}

/// Seals what one member sends. One per seat: a second one with the same salt would use nonces
/// again.
pub struct MediaSealer {
    streams: Vec<Outgoing>,
    chunk: BytesMut,
}

struct Outgoing {
    key: EncryptionKey,
    kid: u64,
    counter: u64,
    /// Of the newest packet.
    timestamp: Option<u32>,
}

impl MediaSealer {
    /// The sealer of `member` with the salt that its sealed profile announces: random, and new for
    /// every seat.
    pub fn new(keys: &RoomKeys, member: MemberId, salt: [u8; 16]) -> Self {
        let mut base = base_key(&keys.media, &salt);
        let streams = (0..STREAMS as u8).map(|number| {
            let kid = kid(member, number);
            let key = sealing_key(kid, &base);
            Outgoing {
                key,
                kid,
                counter: 0,
                timestamp: None,
            }
        });
        let streams = streams.collect();
        base.zeroize();
        Self {
            streams,
            chunk: BytesMut::new(),
        }
    }

    /// Seals with another salt from now on, as the same member. The counters go on, because receivers
    /// order by them.
    pub fn renew(&mut self, keys: &RoomKeys, salt: [u8; 16]) {
        let mut base = base_key(&keys.media, &salt);
        for outgoing in &mut self.streams {
            outgoing.key = sealing_key(outgoing.kid, &base);
        }
        base.zeroize();
    }

    /// Seals one RTP payload; it grows by at most [`OVERHEAD_BYTES`]. `time.capture_us` may be
    /// given every time: it is carried in the first packet of every picture and in every sixteenth
    /// packet of sound, beginning with the first. Empty, and to be dropped, for a layer that no
    /// stream has.
    pub fn seal(&mut self, stream: MediaStream, time: MediaTime, payload: &[u8]) -> Bytes {
        let Some(number) = stream.number() else {
            return Bytes::new();
        };
        let outgoing = &mut self.streams[usize::from(number)];
        let counter = outgoing.counter;
        let is_capture_due = match stream.source {
            MediaSource::Microphone => counter.is_multiple_of(SOUND_CAPTURE_EVERY),
            MediaSource::Camera | MediaSource::Screen => outgoing.timestamp != Some(time.timestamp),
        };
        let capture_us = time.capture_us.filter(|_| is_capture_due);
        // Counted before anything can fail, so that no way leads to the same nonce again.
        outgoing.counter += 1;
        outgoing.timestamp = Some(time.timestamp);

        let chunk = &mut self.chunk;
        make_room(chunk, payload.len() + OVERHEAD_BYTES);
        let header = SframeHeader::new(outgoing.kid, counter);
        let header_bytes = header.len();
        chunk.put_bytes(0, header_bytes);
        chunk.put_slice(payload);
        chunk.put_u32(time.timestamp);
        if let Some(capture_us) = capture_us {
            chunk.put_i64(capture_us);
        }
        chunk.put_u8(if capture_us.is_some() { HAS_CAPTURE } else { 0 });
        let plain_bytes = chunk.len() - header_bytes;
        chunk.put_bytes(0, TAG_BYTES);
        let (aad, rest) = chunk.split_at_mut(header_bytes);
        let (data, tag) = rest.split_at_mut(plain_bytes);
        let sealed = header.serialize(&mut *aad).and_then(|()| {
            outgoing
                .key
                .encrypt(EncryptionBufferView { aad, data, tag }, counter)
        });
        if sealed.is_err() {
            // Only lengths beyond 64 GiB are refused; whatever the reason, plaintext stays here.
            chunk.clear();
        }
        chunk.split().freeze()
    }
}

impl fmt::Debug for MediaSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaSealer").finish_non_exhaustive()
    }
}

/// Opens what the members of the room send. Replays of a packet open again.
pub struct MediaOpener {
    media: [u8; 32],
    members: BTreeMap<MemberId, Incoming>,
    chunk: BytesMut,
}

/// What opens one member's media.
struct Incoming {
    keys: Vec<DecryptionKey>,
    /// Whether the keys opened anything yet.
    is_used: bool,
    /// What the member sealed with before, until the new keys are used.
    before: Option<Vec<DecryptionKey>>,
}

impl MediaOpener {
    /// An opener that knows no member yet.
    pub fn new(keys: &RoomKeys) -> Self {
        Self {
            media: keys.media,
            members: BTreeMap::new(),
            chunk: BytesMut::new(),
        }
    }

    /// From now on opens what `member` seals with the salt of its profile. What it sealed with the one
    /// before opens until the new one is used: a member announces it a moment ahead. Beyond [`limits::ROOM_MEMBERS`] members nothing is added.
    pub fn set_member(&mut self, member: MemberId, salt: [u8; 16]) {
        if self.members.len() >= limits::ROOM_MEMBERS && !self.members.contains_key(&member) {
            return;
        }
        let mut base = base_key(&self.media, &salt);
        let keys = (0..STREAMS as u8).map(|number| {
            DecryptionKey::derive_from(SUITE, kid(member, number), base)
                .expect("invariant: the lengths of an AES-128-GCM key are constant")
        });
        let keys = keys.collect();
        base.zeroize();
        let before = self.members.remove(&member).and_then(|known| {
            if known.is_used {
                Some(known.keys)
            } else {
                known.before
            }
        });
        let incoming = Incoming {
            keys,
            is_used: false,
            before,
        };
        self.members.insert(member, incoming);
    }

    /// Opens nothing of `member` any more.
    pub fn remove_member(&mut self, member: MemberId) {
        self.members.remove(&member);
    }

    /// Opens one sealed payload; `None` for everything that no known member sealed exactly so.
    pub fn open(&mut self, sealed: &[u8]) -> Option<Opened> {
        let Header {
            kid,
            counter,
            bytes,
        } = Header::parse(sealed)?;
        let member = MemberId(u32::try_from(kid >> 3).ok()?);
        let number = (kid & 7) as u8;
        let stream = MediaStream::from_number(number)?;
        let incoming = self.members.get_mut(&member)?;
        let plain_bytes = (sealed.len() - bytes).checked_sub(TAG_BYTES)?;

        let chunk = &mut self.chunk;
        let mut open = |keys: &[DecryptionKey]| {
            let key = keys.get(usize::from(number))?;
            make_room(chunk, sealed.len());
            chunk.put_slice(sealed);
            let (aad, data) = chunk.split_at_mut(bytes);
            let opened = key.decrypt(DecryptionBufferView { aad, data }, counter);
            let plain = &chunk[bytes..bytes + plain_bytes];
            let trailer = opened.ok().and_then(|()| Trailer::parse(plain));
            if trailer.is_none() {
                chunk.clear();
            }
            trailer
        };
        let trailer = if let Some(trailer) = open(&incoming.keys) {
            incoming.is_used = true;
            incoming.before = None;
            trailer
        } else {
            open(incoming.before.as_deref()?)?
        };
        let chunk = &mut self.chunk;
        let mut payload = chunk.split().freeze();
        payload.advance(bytes);
        payload.truncate(plain_bytes - trailer.bytes);
        Some(Opened {
            member,
            stream,
            counter,
            time: trailer.time,
            payload,
        })
    }
}

impl fmt::Debug for MediaOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaOpener")
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl Drop for MediaOpener {
    fn drop(&mut self) {
        self.media.zeroize();
    }
}

fn kid(member: MemberId, number: u8) -> u64 {
    u64::from(member.0) << 3 | u64::from(number)
}

fn base_key(media: &[u8; 32], salt: &[u8; 16]) -> [u8; 32] {
    let hkdf =
        Hkdf::<Sha256>::from_prk(media).expect("invariant: a 32-byte key is a full-length key");
    let mut base = [0; 32];
    hkdf.expand_multi_info(&[SENDER_LABEL, salt], &mut base)
        .expect("invariant: one block");
    base
}

fn sealing_key(kid: u64, base: &[u8; 32]) -> EncryptionKey {
    EncryptionKey::derive_from(SUITE, kid, base)
        .expect("invariant: the lengths of an AES-128-GCM key are constant")
}

/// Room for one packet, in the present chunk or a new one.
fn make_room(chunk: &mut BytesMut, bytes: usize) {
    if chunk.capacity() < bytes {
        chunk.reserve(bytes.max(CHUNK_BYTES));
    }
}

/// An SFrame header (RFC 9605 §4.3), read without the allocations of the crate's own reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    kid: u64,
    counter: u64,
    bytes: usize,
}

impl Header {
    fn parse(sealed: &[u8]) -> Option<Self> {
        let (config, rest) = sealed.split_first()?;
        let (kid, rest) = field(config >> 4, rest)?;
        let (counter, rest) = field(config & 0x0f, rest)?;
        let bytes = sealed.len() - rest.len();
        Some(Self {
            kid,
            counter,
            bytes,
        })
    }
}

/// A value of four bits in the config byte: the value itself, or how many bytes of it follow.
fn field(config: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    let value = config & 0x07;
    if config & 0x08 == 0 {
        return Some((u64::from(value), rest));
    }
    let (bytes, rest) = rest.split_at_checked(usize::from(value) + 1)?;
    let value = bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

struct Trailer {
    time: MediaTime,
    bytes: usize,
}

impl Trailer {
    fn parse(plain: &[u8]) -> Option<Self> {
        let (flags, plain) = plain.split_last()?;
        let (capture_us, plain) = match *flags {
            0 => (None, plain),
            HAS_CAPTURE => {
                let (plain, capture) = plain.split_last_chunk::<CAPTURE_BYTES>()?;
                (Some(i64::from_be_bytes(*capture)), plain)
            }
            _ => return None,
        };
        let (_, timestamp) = plain.split_last_chunk::<4>()?;
        let capture_bytes = capture_us.map_or(0, |_| CAPTURE_BYTES);
        Some(Self {
            time: MediaTime {
                timestamp: u32::from_be_bytes(*timestamp),
                capture_us,
            },
            bytes: TRAILER_BYTES + capture_bytes,
        })
    }
}

#[cfg(test)]
#[path = "media_tests.rs"]
mod tests;
