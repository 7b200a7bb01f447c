//! STUN messages (RFC 8489, section 5) as TURN uses them, read and written.
//!
//! Reading bounds everything by the bytes at hand and never fails later. Deliberately not here:
//! FINGERPRINT (optional, and nothing but STUN and ChannelData comes this way) and the SHA-256
//! algorithms, which no client we know of asks for.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

pub(crate) const HEADER_BYTES: usize = 20;
pub(crate) const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const INTEGRITY_BYTES: usize = 24;

pub(crate) const BINDING: u16 = 0x001;
pub(crate) const ALLOCATE: u16 = 0x003;
pub(crate) const REFRESH: u16 = 0x004;
pub(crate) const SEND: u16 = 0x006;
pub(crate) const DATA: u16 = 0x007;
pub(crate) const CREATE_PERMISSION: u16 = 0x008;
pub(crate) const CHANNEL_BIND: u16 = 0x009;

pub(crate) const USERNAME: u16 = 0x0006;
pub(crate) const INTEGRITY: u16 = 0x0008;
pub(crate) const ERROR_CODE: u16 = 0x0009;
pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
pub(crate) const LIFETIME: u16 = 0x000d;
pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
pub(crate) const DATA_ATTRIBUTE: u16 = 0x0013;
pub(crate) const REALM: u16 = 0x0014;
pub(crate) const NONCE: u16 = 0x0015;
pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
pub(crate) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// Attributes below this must be understood (RFC 8489, section 14).
const COMPREHENSION_OPTIONAL: u16 = 0x8000;
/// Unknown attributes listed in an error; bounds the answer.
const UNKNOWN_LISTED: usize = 4;

/// What a message is, besides its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

impl Class {
    fn bits(self) -> u16 {
        match self {
            Self::Request => 0x000,
            Self::Indication => 0x010,
            Self::Success => 0x100,
            Self::Error => 0x110,
        }
    }
}

pub(crate) type TransactionId = [u8; 12];

/// A well-formed message, still in its buffer.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    pub(crate) class: Class,
    pub(crate) method: u16,
    pub(crate) transaction: TransactionId,
}

impl<'a> Message<'a> {
    /// `None`: not STUN, or malformed.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let is_stun = kind < 0x4000
            && header[4..8] == COOKIE
            && length == bytes.len() - HEADER_BYTES
            && length.is_multiple_of(4);
        if !is_stun {
            return None;
        }
        let class = match kind & 0x110 {
            0x000 => Class::Request,
            0x010 => Class::Indication,
            0x100 => Class::Success,
            _ => Class::Error,
        };
        let message = Self {
            bytes,
            class,
            method: (kind & 0x000f) | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2,
            transaction: header[8..].try_into().ok()?,
        };
        let mut attributes = Attributes {
            rest: &bytes[HEADER_BYTES..],
        };
        attributes.by_ref().for_each(drop);
        attributes.rest.is_empty().then_some(message)
    }

    /// Attributes up to and without MESSAGE-INTEGRITY, after which only what is not protected comes
    /// (RFC 8489, section 14.5).
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let all = Attributes {
            rest: &self.bytes[HEADER_BYTES..],
        };
        all.take_while(|(kind, _)| *kind != INTEGRITY)
    }

    pub(crate) fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    }

    pub(crate) fn text(&self, wanted: u16) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(wanted)?).ok()
    }

    pub(crate) fn u32(&self, wanted: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(wanted)?.try_into().ok()?))
    }

    /// The addresses in attributes of this kind; `None` where one is malformed.
    pub(crate) fn peers(&self) -> Option<Vec<SocketAddr>> {
        self.attributes()
            .filter(|(kind, _)| *kind == XOR_PEER_ADDRESS)
            .map(|(_, value)| read_xor_address(value, &self.transaction))
            .collect()
    }

    /// Attributes that must be understood and are not among `understood`.
    pub(crate) fn unknown(&self, understood: &[u16]) -> Vec<u16> {
        self.attributes()
            .map(|(kind, _)| kind)
            .filter(|kind| *kind < COMPREHENSION_OPTIONAL && !understood.contains(kind))
            .take(UNKNOWN_LISTED)
            .collect()
    }

    pub(crate) fn has_integrity(&self) -> bool {
        self.integrity().is_some()
    }

    /// Where MESSAGE-INTEGRITY starts, and its value.
    fn integrity(&self) -> Option<(usize, &'a [u8])> {
        let mut attributes = Attributes {
            rest: &self.bytes[HEADER_BYTES..],
        };
        loop {
            let at = self.bytes.len() - attributes.rest.len();
            let (kind, value) = attributes.next()?;
            if kind == INTEGRITY {
                return Some((at, value));
            }
        }
    }

    /// Whether the message was signed with `key`.
    pub(crate) fn is_signed_with(&self, key: &[u8]) -> bool {
        let Some((at, value)) = self.integrity() else {
            return false;
        };
        let mut mac = hmac(key);
        // The length counts up to the end of the attribute itself.
        mac.update(&self.bytes[..2]);
        mac.update(&length(at + INTEGRITY_BYTES - HEADER_BYTES));
        mac.update(&self.bytes[4..at]);
        mac.verify_slice(value).is_ok()
    }
}

struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    /// Stops in front of what is malformed.
    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        self.rest = rest.get(length.next_multiple_of(4)..)?;
        Some((kind, value))
    }
}

/// A message being written.
pub(crate) struct Builder {
    bytes: Vec<u8>,
    transaction: TransactionId,
}

impl Builder {
    pub(crate) fn new(class: Class, method: u16, transaction: TransactionId) -> Self {
        let kind = (method & 0x00f) | (method & 0x070) << 1 | (method & 0xf80) << 2 | class.bits();
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(transaction);
        Self { bytes, transaction }
    }

    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(length(value.len()));
        self.bytes.extend(value);
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
        let body = length(self.bytes.len() - HEADER_BYTES);
        self.bytes[2..4].copy_from_slice(&body);
        self
    }

    pub(crate) fn address(self, kind: u16, addr: SocketAddr) -> Self {
        let value = write_xor_address(addr, &self.transaction);
        self.attribute(kind, &value)
    }

    /// Without a reason phrase: the code says it, and unauthenticated answers must stay small.
    pub(crate) fn error(self, code: u16) -> Self {
        let [class, number] = [code / 100, code % 100].map(|part| part as u8);
        self.attribute(ERROR_CODE, &[0, 0, class, number])
    }

    pub(crate) fn sign(self, key: &[u8]) -> Self {
        let mut mac = hmac(key);
        let end = self.bytes.len() + INTEGRITY_BYTES - HEADER_BYTES;
        mac.update(&self.bytes[..2]);
        mac.update(&length(end));
        mac.update(&self.bytes[4..]);
        let value = mac.finalize().into_bytes();
        self.attribute(INTEGRITY, &value)
    }

    pub(crate) fn build(self) -> Vec<u8> {
        self.bytes
    }
}

/// The key of long-term credentials (RFC 8489, section 9.2.2).
pub(crate) fn long_term_key(username: &str, realm: &str, password: &str) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in [username, ":", realm, ":", password] {
        hash.update(part);
    }
    hash.finalize().into()
}

fn hmac(key: &[u8]) -> Hmac<Sha1> {
    Hmac::new_from_slice(key).expect("invariant: HMAC takes keys of every length")
}

/// What is written is below 64 KiB: a header and a datagram at most.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// RFC 8489, section 14.2.
fn read_xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (head, address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2] ^ COOKIE[0], head[3] ^ COOKIE[1]]);
    let mask = COOKIE.iter().chain(transaction);
    let plain: Vec<u8> = address.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    let ip = match (head[1], address.len()) {
        (1, 4) => IpAddr::from(<[u8; 4]>::try_from(plain).ok()?),
        (2, 16) => IpAddr::from(<[u8; 16]>::try_from(plain).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn write_xor_address(addr: SocketAddr, transaction: &TransactionId) -> Vec<u8> {
    let (family, address) = match addr.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mask = COOKIE.iter().chain(transaction);
    let port = addr.port().to_be_bytes();
    let mut value = vec![0, family, port[0] ^ COOKIE[0], port[1] ^ COOKIE[1]];
    value.extend(address.iter().zip(mask).map(|(a, b)| a ^ b));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769, section 2.4: a request with long-term credentials.
    const RFC_5769: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e\
        382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b65786\
        16d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap())
            .collect()
    }

    #[test]
    fn reads_and_checks_the_request_of_rfc_5769() {
        let bytes = unhex(RFC_5769);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class, message.method), (Class::Request, BINDING));
        let username = message.text(USERNAME).unwrap();
        assert_eq!(username, "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}");
        let key = long_term_key(username, "example.org", "TheMatrIX");
        assert!(message.is_signed_with(&key));
        assert!(!message.is_signed_with(&long_term_key(username, "example.org", "x")));
        for at in HEADER_BYTES..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let survives = Message::parse(&bad).is_some_and(|bad| bad.is_signed_with(&key));
            assert!(!survives, "byte {at}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        let v4 = "192.0.2.1:32853".parse().unwrap();
        let v6 = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .unwrap();
        for method in [ALLOCATE, CHANNEL_BIND, 0xabc] {
            for class in [
                Class::Request,
                Class::Indication,
                Class::Success,
                Class::Error,
            ] {
                let bytes = Builder::new(class, method, [7; 12])
                    .attribute(USERNAME, b"odd")
                    .address(XOR_PEER_ADDRESS, v4)
                    .address(XOR_PEER_ADDRESS, v6)
                    .error(438)
                    .sign(b"key")
                    .build();
                let message = Message::parse(&bytes).unwrap();
                assert_eq!((message.class, message.method), (class, method));
                assert_eq!(message.text(USERNAME), Some("odd"));
                assert_eq!(message.peers(), Some(vec![v4, v6]));
                assert_eq!(message.u32(ERROR_CODE), Some(0x0426));
                assert!(message.is_signed_with(b"key"));
                assert_eq!(message.unknown(&[USERNAME, ERROR_CODE]), [0x12, 0x12]);
            }
        }
    }

    #[test]
    fn what_follows_the_signature_does_not_count() {
        let bytes = Builder::new(Class::Request, ALLOCATE, [0; 12])
            .sign(b"key")
            .attribute(USERNAME, b"forged")
            .build();
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_signed_with(b"key"));
        assert_eq!(message.text(USERNAME), None);
    }

    #[test]
    fn malformed_messages_are_none() {
        let good = unhex(RFC_5769);
        for len in 0..good.len() {
            assert!(Message::parse(&good[..len]).is_none(), "{len} bytes");
        }
        for (at, value) in [(0, 0x40), (3, 0x5f), (4, 0), (23, 0xff)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Message::parse(&bad).is_none(), "byte {at}");
        }
        for value in [
            &[][..],
            &[0, 1, 0],
            &[0, 1, 0, 0, 1, 2, 3],
            &[0, 3, 0, 0, 1, 2, 3, 4],
        ] {
            assert_eq!(read_xor_address(value, &[0; 12]), None);
        }
    }
}
