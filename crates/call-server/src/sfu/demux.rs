//! What a datagram on the media port is, told from its first bytes (RFC 7983, RFC 8656 section
//! 12.4): pure.
//!
//! Deliberately not here: whether it is genuine. A forged one is found out by whoever gets it.

const STUN_HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const METHOD_BINDING: u16 = 1;
const USERNAME: u16 = 0x0006;

/// Who looks at a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datagram<'a> {
    /// An ICE connectivity check of the link that was given this user name fragment (RFC 8445).
    Check(&'a str),
    /// A binding request of somebody who wants to know their address (RFC 8489).
    Binding,
    /// A message of the TURN protocol, or data in one of its channels.
    Turn,
    /// DTLS, SRTP, SRTCP or the answer to a check: belongs to the link with this sender address.
    Media,
    /// Nobody's.
    Garbage,
}

/// Looks at the first bytes.
pub(super) fn classify(bytes: &[u8]) -> Datagram<'_> {
    match bytes.first() {
        Some(0..=3) => classify_stun(bytes),
        Some(20..=63 | 128..=191) => Datagram::Media,
        Some(64..=79) => Datagram::Turn,
        _ => Datagram::Garbage,
    }
}

fn classify_stun(bytes: &[u8]) -> Datagram<'_> {
    let Some((header, body)) = bytes.split_at_checked(STUN_HEADER_BYTES) else {
        return Datagram::Garbage;
    };
    if header[4..8] != MAGIC_COOKIE {
        return Datagram::Garbage;
    }
    let kind = u16::from_be_bytes([header[0], header[1]]);
    // RFC 8489, section 5: class and method are interleaved.
    let class = (kind >> 4 & 1) | (kind >> 7 & 2);
    let method = (kind & 0xf) | (kind >> 1 & 0x70) | (kind >> 2 & 0xf80);
    if method != METHOD_BINDING {
        return Datagram::Turn;
    }
    if class != 0 {
        return Datagram::Media;
    }
    match username(body) {
        Username::Absent => Datagram::Binding,
        Username::Malformed => Datagram::Garbage,
        // RFC 8445, section 7.2.2: the receiver's fragment comes first.
        Username::Is(name) => match name.split_once(':') {
            Some((local, _)) if !local.is_empty() => Datagram::Check(local),
            _ => Datagram::Garbage,
        },
    }
}

enum Username<'a> {
    Absent,
    Malformed,
    Is(&'a str),
}

fn username(mut body: &[u8]) -> Username<'_> {
    while let Some((header, rest)) = body.split_first_chunk::<4>() {
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let Some(value) = rest.get(..len) else {
            return Username::Malformed;
        };
        if kind == USERNAME {
            return std::str::from_utf8(value).map_or(Username::Malformed, Username::Is);
        }
        let Some(after) = rest.get(len.next_multiple_of(4)..) else {
            return Username::Malformed;
        };
        body = after;
    }
    if body.is_empty() {
        Username::Absent
    } else {
        Username::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stun(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = kind.to_be_bytes().to_vec();
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(MAGIC_COOKIE);
        message.extend([7; 12]);
        message.extend(body);
        message
    }

    #[test]
    fn first_bytes_tell_who_looks() {
        let check = stun(1, &[(0x8022, b"software"), (USERNAME, b"abcd:efg")]);
        assert_eq!(classify(&check), Datagram::Check("abcd"));
        assert_eq!(classify(&stun(1, &[])), Datagram::Binding);
        assert_eq!(classify(&stun(1, &[(0x8022, b"x")])), Datagram::Binding);
        assert_eq!(classify(&stun(0x0101, &[])), Datagram::Media, "an answer");
        for kind in [0x0003, 0x0004, 0x0008, 0x0009, 0x0016, 0x0017, 0x0113] {
            assert_eq!(classify(&stun(kind, &[])), Datagram::Turn, "{kind:#06x}");
        }
        assert_eq!(classify(&[0x40, 0, 0, 4]), Datagram::Turn);
        assert_eq!(classify(&[0x4f]), Datagram::Turn);
        assert_eq!(classify(&[0x50]), Datagram::Garbage);
        for first in [20, 63, 128, 191] {
            assert_eq!(classify(&[first, 1]), Datagram::Media, "{first}");
        }
        for first in [4, 19, 192, 255] {
            assert_eq!(classify(&[first; 40]), Datagram::Garbage, "{first}");
        }
        assert_eq!(classify(&[]), Datagram::Garbage);
    }

    #[test]
    fn damaged_checks_are_garbage() {
        let check = stun(1, &[(USERNAME, b"abcd:efg")]);
        for len in 1..check.len() {
            let kind = classify(&check[..len]);
            assert!(
                matches!(kind, Datagram::Garbage) || len == STUN_HEADER_BYTES,
                "{len} bytes: {kind:?}"
            );
        }
        for name in [&b"nocolon"[..], b":x", b"\xff\xfe:x"] {
            let check = stun(1, &[(USERNAME, name)]);
            assert_eq!(classify(&check), Datagram::Garbage, "{name:?}");
        }
        let mut other = check;
        other[4] = 0;
        assert_eq!(classify(&other), Datagram::Garbage);
    }
}
