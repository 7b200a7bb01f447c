//! STUN and TURN (RFC 8489, RFC 8656): a relay for members who reach each other, or the SFU, in no
//! other way.
//!
//! [`server`] decides everything and is pure; [`address`] says whom it relays to; [`shell`] moves
//! bytes between it and the sockets; [`stream`] cuts TCP and TLS connections into messages.

mod address;
mod allocation;
mod config;
mod message;
mod nonce;
mod quota;
mod server;
mod shell;
pub(crate) mod start;
mod stream;
pub(crate) mod urls;

pub use config::TurnLimits;
pub(crate) use shell::TurnStreams;
pub use start::RelayConfig;

#[cfg(test)]
mod socket_tests;

/// Whether a datagram at the media port is TURN's: ChannelData, or a STUN message of one of its
/// methods. Binding is left to whoever else listens there.
pub(crate) fn is_turn(bytes: &[u8]) -> bool {
    match bytes {
        [0x40..=0x4f, ..] => true,
        // Methods 3, 4, 6, 8 and 9, as request or indication; the cookie follows the length.
        [
            0x00,
            0x03 | 0x04 | 0x08 | 0x09 | 0x16,
            _,
            _,
            0x21,
            0x12,
            0xa4,
            0x42,
            ..,
        ] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::message::{self, Builder, Class};
    use super::*;

    #[test]
    fn turn_is_told_apart_from_everything_else_at_the_media_port() {
        let stun = |class, method| is_turn(&Builder::new(class, method, [0; 12]).build());
        for method in [
            message::ALLOCATE,
            message::REFRESH,
            message::CREATE_PERMISSION,
            message::CHANNEL_BIND,
        ] {
            assert!(stun(Class::Request, method), "{method}");
            assert!(!stun(Class::Success, method), "{method}");
        }
        assert!(stun(Class::Indication, message::SEND));
        assert!(!stun(Class::Request, message::BINDING));
        assert!(is_turn(&[0x40, 0, 0, 0]) && is_turn(&[0x4f, 0xff, 0, 0]));
        // DTLS, RTP, nothing.
        assert!(!is_turn(&[0x16, 0xfe, 0xfd]) && !is_turn(&[0x80, 0x60]) && !is_turn(&[]));
    }
}
