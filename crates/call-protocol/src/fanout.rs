//! What stands in front of a data channel message on a link to the SFU.
//!
//! Directly between two members a message is its bytes. The SFU serves many, so four bytes tell to
//! whom (towards the SFU) or from whom (from the SFU), a member id in little-endian order. The rest
//! is passed on as it came. Deliberately not here: what the bytes mean, and sealing them.

use crate::ids::MemberId;
use crate::limits;

/// Bytes in front of a message.
pub const HEADER_BYTES: usize = 4;
/// Largest message body, in bytes, so that header and body fit one data channel message.
pub const BODY_BYTES: usize = limits::CHANNEL_MESSAGE_BYTES - HEADER_BYTES;
/// The id that addresses everybody else in the room. Real ids begin at 1.
const EVERYBODY: u32 = 0;

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every other member that has a link to the SFU.
    Everybody,
    /// One member.
    Member(MemberId),
}

/// The message as a member sends it to the SFU.
pub fn to_sfu(target: Target, body: &[u8]) -> Vec<u8> {
    let id = match target {
        Target::Everybody => EVERYBODY,
        Target::Member(member) => member.0,
    };
    framed(id, body)
}

/// Reads what [`to_sfu`] wrote: addressee and body. `None` where it is too short.
pub fn at_sfu(message: &[u8]) -> Option<(Target, &[u8])> {
    let (id, body) = split(message)?;
    let target = match id {
        EVERYBODY => Target::Everybody,
        id => Target::Member(MemberId(id)),
    };
    Some((target, body))
}

/// The message as the SFU passes it on.
pub fn from_sfu(sender: MemberId, body: &[u8]) -> Vec<u8> {
    framed(sender.0, body)
}

/// Reads what [`from_sfu`] wrote: sender, as the server knows it, and body. `None` where it is too
/// short.
pub fn at_member(message: &[u8]) -> Option<(MemberId, &[u8])> {
    let (id, body) = split(message)?;
    Some((MemberId(id), body))
}

fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend(id.to_le_bytes());
    message.extend(body);
    message
}

fn split(message: &[u8]) -> Option<(u32, &[u8])> {
    let (header, body) = message.split_first_chunk::<HEADER_BYTES>()?;
    Some((u32::from_le_bytes(*header), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_a_little_endian_member_id() {
        assert_eq!(to_sfu(Target::Everybody, b"hi"), [0, 0, 0, 0, b'h', b'i']);
        assert_eq!(
            to_sfu(Target::Member(MemberId(0x0102)), b""),
            [2, 1, 0, 0],
            "an empty body is allowed"
        );
        assert_eq!(from_sfu(MemberId(7), b"x"), [7, 0, 0, 0, b'x']);
    }

    #[test]
    fn what_was_written_is_read() {
        for target in [Target::Everybody, Target::Member(MemberId(u32::MAX))] {
            let message = to_sfu(target, b"body");
            assert_eq!(at_sfu(&message), Some((target, &b"body"[..])));
        }
        let message = from_sfu(MemberId(9), b"");
        assert_eq!(at_member(&message), Some((MemberId(9), &b""[..])));
    }

    #[test]
    fn short_messages_are_refused() {
        for len in 0..HEADER_BYTES {
            assert_eq!(at_sfu(&[1; HEADER_BYTES][..len]), None);
            assert_eq!(at_member(&[1; HEADER_BYTES][..len]), None);
        }
    }
}
