//! Cuts a TCP or TLS connection into STUN messages and ChannelData (RFC 8656, sections 3.1 and
//! 12.5): each says its own length, and ChannelData is padded to four bytes.

use bytes::{Buf, Bytes, BytesMut};

use super::message::COOKIE;

/// More than any message a client has to send: a datagram and its header.
const LONGEST: usize = 65_536;
const HEAD_BYTES: usize = 4;

/// The stream is not TURN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotTurn;

/// Takes the next whole message out of `buffer`; `None`: more bytes are needed.
pub(crate) fn next_message(buffer: &mut BytesMut) -> Result<Option<Bytes>, NotTurn> {
    let Some(head) = buffer.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (message, padded) = match head[0] {
        0x00..=0x3f if length.is_multiple_of(4) => (20 + length, 20 + length),
        0x40..=0x4f => (
            HEAD_BYTES + length,
            (HEAD_BYTES + length).next_multiple_of(4),
        ),
        _ => return Err(NotTurn),
    };
    let is_other_stun = head[0] < 0x40 && buffer.get(4..8).is_some_and(|cookie| cookie != COOKIE);
    if padded > LONGEST || is_other_stun {
        return Err(NotTurn);
    }
    if buffer.len() < padded {
        return Ok(None);
    }
    let bytes = buffer.split_to(message).freeze();
    buffer.advance(padded - message);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_however_they_arrive() {
        let mut stun = vec![0, 1, 0, 8];
        stun.extend(COOKIE);
        stun.extend([7; 20]);
        let data = [0x40, 0, 0, 5, 1, 2, 3, 4, 5];
        let mut wire = stun.clone();
        wire.extend(data);
        wire.extend([0; 3]);
        wire.extend(&stun);
        for chunk in [1, 2, 3, 7, wire.len()] {
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            for part in wire.chunks(chunk) {
                buffer.extend_from_slice(part);
                while let Some(message) = next_message(&mut buffer).unwrap() {
                    got.push(message.to_vec());
                }
            }
            assert_eq!(got, [stun.clone(), data.to_vec(), stun.clone()], "{chunk}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for bytes in [
            &b"POST / HTTP/1.1"[..],
            &[0x16, 3, 1, 0, 0, 1, 2, 3],
            &[0x50, 0, 0, 0],
            &[0, 1, 0, 3],
        ] {
            let got = next_message(&mut BytesMut::from(bytes));
            assert_eq!(got, Err(NotTurn), "{bytes:?}");
        }
        let long = [0, 1, 0xff, 0xfc];
        assert_eq!(next_message(&mut BytesMut::from(&long[..])), Err(NotTurn));
    }
}
