//! STUN binding requests (RFC 8489), answered without state: the client learns the address its
//! packets come from.
//!
//! Answers are 32 bytes (IPv4) or 44 (IPv6) to at least 20, so that a forged sender address gains
//! an attacker next to nothing. Deliberately not here: authentication, TURN, FINGERPRINT (a client
//! that sends one does not need one back).

use std::net::{IpAddr, SocketAddr};

const HEADER_BYTES: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const MAGIC_COOKIE: u32 = 0x2112_a442;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// USERNAME, MESSAGE-INTEGRITY, REALM, NONCE, MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM,
/// USERHASH: understood, and without effect where nothing is authenticated.
const UNDERSTOOD: [u16; 7] = [0x0006, 0x0008, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e];
/// Attributes below this must be understood (RFC 8489, section 14).
const COMPREHENSION_OPTIONAL: u16 = 0x8000;
/// Unknown attributes listed in an error; bounds the answer.
const UNKNOWN_LISTED: usize = 4;

/// The answer to one datagram, or `None` where it is no binding request.
pub fn handle_stun(bytes: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
    let is_request = read_u16(header, 0)? == BINDING_REQUEST
        && usize::from(read_u16(header, 2)?) == body.len()
        && body.len() % 4 == 0
        && header[4..8] == MAGIC_COOKIE.to_be_bytes();
    if !is_request {
        return None;
    }
    let transaction = &header[4..HEADER_BYTES];
    let unknown = unknown_attributes(body)?;
    if unknown.is_empty() {
        let value = xor_mapped_address(from, transaction);
        Some(message(
            BINDING_SUCCESS,
            transaction,
            &[(XOR_MAPPED_ADDRESS, value)],
        ))
    } else {
        let code = vec![0, 0, 4, 20];
        let listed = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        let attributes = [(ERROR_CODE, code), (UNKNOWN_ATTRIBUTES, listed)];
        Some(message(BINDING_ERROR, transaction, &attributes))
    }
}

/// Attributes that must be understood and are not; `None` when the attributes are malformed.
fn unknown_attributes(mut body: &[u8]) -> Option<Vec<u16>> {
    let mut unknown = Vec::new();
    while !body.is_empty() {
        let kind = read_u16(body, 0)?;
        let padded = usize::from(read_u16(body, 2)?).next_multiple_of(4);
        body = body.get(4 + padded..)?;
        let is_unknown = kind < COMPREHENSION_OPTIONAL && !UNDERSTOOD.contains(&kind);
        if is_unknown && unknown.len() < UNKNOWN_LISTED {
            unknown.push(kind);
        }
    }
    Some(unknown)
}

/// RFC 8489, section 14.2. `mask` is the cookie followed by the transaction id.
fn xor_mapped_address(from: SocketAddr, mask: &[u8]) -> Vec<u8> {
    let (family, address) = match from.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(
        from.port()
            .to_be_bytes()
            .iter()
            .zip(mask)
            .map(|(a, b)| a ^ b),
    );
    value.extend(address.iter().zip(mask).map(|(a, b)| a ^ b));
    value
}

fn message(kind: u16, transaction: &[u8], attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend(length(value));
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = kind.to_be_bytes().to_vec();
    message.extend(length(&body));
    message.extend(transaction);
    message.extend(body);
    message
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len())
        .expect("invariant: answers are below 100 bytes")
        .to_be_bytes()
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transaction id of the test vectors in RFC 5769.
    const TRANSACTION: [u8; 12] = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];

    fn request(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut transaction = MAGIC_COOKIE.to_be_bytes().to_vec();
        transaction.extend(TRANSACTION);
        message(BINDING_REQUEST, &transaction, attributes)
    }

    #[test]
    fn answers_with_the_address_of_rfc_5769() {
        // Section 2.2 and 2.3: the XOR-MAPPED-ADDRESS attributes byte by byte.
        let cases: [(&str, &[u8]); 2] = [
            (
                "192.0.2.1:32853",
                &[0x00, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43],
            ),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                &[
                    0x00, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1,
                    0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
                ],
            ),
        ];
        for (from, attribute) in cases {
            let answer = handle_stun(&request(&[]), from.parse().unwrap()).unwrap();
            assert_eq!(answer[..2], [0x01, 0x01], "{from}");
            assert_eq!(usize::from(answer[3]), attribute.len(), "{from}");
            assert_eq!(answer[8..20], TRANSACTION, "{from}");
            assert_eq!(&answer[20..], attribute, "{from}");
        }
    }

    #[test]
    fn mapped_ipv4_is_ipv4() {
        let answer = |from: &str| handle_stun(&request(&[]), from.parse().unwrap()).unwrap();
        assert_eq!(answer("[::ffff:192.0.2.1]:9"), answer("192.0.2.1:9"));
    }

    #[test]
    fn optional_and_understood_attributes_are_accepted() {
        let software = (0x8022, b"test".to_vec());
        let username = (0x0006, b"a:b".to_vec());
        let answer = handle_stun(
            &request(&[software, username]),
            "192.0.2.1:1".parse().unwrap(),
        );
        assert_eq!(answer.unwrap()[..2], [0x01, 0x01]);
    }

    #[test]
    fn unknown_required_attributes_get_420() {
        // CHANGE-REQUEST of RFC 5780, which this server does not do.
        let bytes = request(&[(0x0003, vec![0, 0, 0, 6])]);
        let answer = handle_stun(&bytes, "192.0.2.1:1".parse().unwrap()).unwrap();
        assert_eq!(answer[..2], [0x01, 0x11]);
        assert_eq!(answer[20..28], [0, 9, 0, 4, 0, 0, 4, 20]);
        assert_eq!(answer[28..], [0, 0x0a, 0, 2, 0, 3, 0, 0]);
    }

    #[test]
    fn anything_else_is_ignored() {
        let good = request(&[(0x8022, vec![1; 8])]);
        let from = "192.0.2.1:1".parse().unwrap();
        assert!(handle_stun(&good, from).is_some());
        for len in 0..good.len() {
            assert_eq!(handle_stun(&good[..len], from), None, "{len} bytes");
        }
        for (at, value) in [(0, 0x01), (1, 0x02), (3, 13), (4, 0), (23, 200)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(handle_stun(&bad, from), None, "byte {at}");
        }
        assert_eq!(handle_stun(&[0x80; 200], from), None);
    }
}
