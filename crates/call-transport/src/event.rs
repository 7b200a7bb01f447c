//! What a link tells its owner: events, states and received media.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use call_protocol::peer::PeerSignal;
use call_protocol::{MediaSource, VideoCodec};

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// What an RTP payload is encoded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus, RFC 7587, 48 kHz clock.
    Opus,
    /// A video codec, 90 kHz clock.
    Video(VideoCodec),
}

impl Codec {
    /// Whether this is sound or picture.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            Self::Video(_) => MediaKind::Video,
        }
    }

    /// Ticks of the RTP timestamp per second.
    pub fn clock_rate_hz(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Video(_) => 90_000,
        }
    }
}

/// How packets reach the peer; the worse end of the selected candidate pair counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// Directly between two host addresses.
    Host,
    /// Through a NAT (server or peer reflexive).
    Srflx,
    /// Through a TURN server.
    Relay,
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Srflx => "srflx",
            Self::Relay => "relay",
        })
    }
}

/// Where a link stands. `Failed` and `Closed` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Looking for a path for the first time.
    Connecting,
    /// Media and channels flow.
    Connected {
        /// Over which kind of path.
        path: PathKind,
    },
    /// Nothing has come for two seconds. The path may come back; a new one is looked for if the owner
    /// wants that.
    Reconnecting,
    /// No path was found in time.
    Failed,
    /// Hung up by either side.
    Closed,
}

/// One of the three data channels every link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelLabel {
    /// Reliable, in order.
    Control,
    /// Reliable, in any order: no head-of-line blocking between pieces of files.
    Bulk,
    /// At most once, in any order: never retransmitted.
    Lossy,
}

impl ChannelLabel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Control, Self::Bulk, Self::Lossy];

    /// The label on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
            Self::Lossy => "lossy",
        }
    }

    /// The SCTP stream both ends agree on beforehand (`negotiated: true` in browsers). Above the
    /// low numbers an in-band channel would take, below the 1024 streams Chromium has.
    pub fn stream_id(self) -> u16 {
        match self {
            Self::Control => 100,
            Self::Bulk => 101,
            Self::Lossy => 102,
        }
    }
}

/// What a link tells its owner, in order. Lossless: the link waits for room.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// To be sent, sealed, to the other member.
    Signal(PeerSignal),
    /// The state changed.
    State(LinkState),
    /// The address the path began at is gone from this machine; the state follows.
    AddressGone,
    /// What [`LinkConfig::large_packets`](crate::LinkConfig::large_packets) allows cannot pass here:
    /// there is a relay, or a peer without the tunnel. The link fails; another without it will do.
    PathNarrow,
    /// What may be sent from now on.
    Codecs {
        /// Negotiated video codecs in our order of preference; empty when we may not send video.
        video: Vec<VideoCodec>,
        /// Whether Opus may be sent.
        audio: bool,
    },
    /// The peer needs a keyframe (PLI, RFC 4585, or FIR, RFC 5104). Several requests at once are
    /// reported once.
    KeyframeRequested {
        /// Of which of our pictures, told by the SSRC the request names.
        source: MediaSource,
        /// Of which of its layers.
        layer: u8,
    },
    /// The channel is open in both directions.
    ChannelOpen(ChannelLabel),
    /// A message arrived.
    ChannelMessage {
        /// On which channel.
        channel: ChannelLabel,
        /// Its content, at most [`call_protocol::limits::CHANNEL_MESSAGE_BYTES`].
        data: Bytes,
        /// Whether the peer sent it as text.
        is_text: bool,
    },
    /// The channel is closed for good.
    ChannelClosed(ChannelLabel),
}

/// A received RTP packet, decrypted, repaired and free of duplicates; in order of arrival.
#[derive(Clone, Debug)]
pub struct RtpIn {
    /// Codec of the payload.
    pub codec: Codec,
    /// The stream it belongs to.
    pub ssrc: u32,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp in ticks of [`Codec::clock_rate_hz`].
    pub timestamp: u32,
    /// RTP marker: last packet of a picture; first packet after a silence.
    pub marker: bool,
    /// The payload without padding.
    pub payload: Bytes,
    /// When it was taken from the connection.
    pub arrived_at: Instant,
    /// Loudness in -dBov, 0 (loudest) to 127 (silence), RFC 6464; `None` where not signalled.
    pub level_dbov: Option<u8>,
    /// The first contributing source (RFC 3550, section 5.1): through the SFU, the member's id.
    pub csrc: Option<u32>,
}

impl RtpIn {
    /// Whether this is sound or picture.
    pub fn kind(&self) -> MediaKind {
        self.codec.kind()
    }
}

/// Where a stream's RTP clock stands on its sender's wall clock, as the sender's last report says
/// (RFC 3550, section 6.4.1). All streams of one sender share the wall clock; it says nothing
/// about ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderClock {
    /// NTP time: seconds since 1900 in the upper 32 bits, their fraction in the lower.
    pub ntp_time: u64,
    /// The RTP timestamp of the same moment.
    pub rtp_time: u32,
}

impl SenderClock {
    /// When what carries `timestamp` was captured, in microseconds of the sender's wall clock.
    /// Right within half the timestamp's range of the report (6 h of video, 12 h of sound).
    pub fn capture_us(self, timestamp: u32, clock_rate_hz: u32) -> i64 {
        let seconds = (self.ntp_time >> 32) as i64;
        let fraction_us = ((self.ntp_time & 0xffff_ffff) * 1_000_000) >> 32;
        let ticks = i64::from(timestamp.wrapping_sub(self.rtp_time).cast_signed());
        let offset_us = ticks * 1_000_000 / i64::from(clock_rate_hz.max(1));
        seconds * 1_000_000 + fraction_us as i64 + offset_us
    }
}

/// An RTP packet to send; payload type, SSRC and sequence number are the link's.
#[derive(Clone, Debug)]
pub struct RtpOut {
    /// RTP timestamp in ticks of [`Codec::clock_rate_hz`].
    pub timestamp: u32,
    /// RTP marker, see [`RtpIn::marker`].
    pub marker: bool,
    /// Whether it is the first of a keyframe. Video only.
    pub starts_keyframe: bool,
    /// The payload, at most [`RtpOut::PAYLOAD_BYTES`]; larger ones are dropped and counted.
    pub payload: Bytes,
    /// Loudness in -dBov, 0 (loudest) to 127 (silence), RFC 6464. Audio only.
    pub level_dbov: Option<u8>,
    /// When the media was captured: what sender reports tie the RTP clock to, so that the peer
    /// can show together what was seen and heard together. `None`: the time of sending counts.
    pub captured_at: Option<Instant>,
    /// Dependency descriptor of the packet, attached where it was negotiated. Video only.
    pub descriptor: Option<Bytes>,
}

impl RtpOut {
    /// Largest payload that fits an unfragmented datagram on every path: 1280 (the smallest IPv6
    /// MTU) less IPv6 40, UDP 8, TURN framing 4, RTP 12, a contributing source or an original
    /// sequence number 4, extensions 16 and the SRTP tag 16. The first packet of a keyframe carries
    /// a longer descriptor and may need some 20 bytes more, which only such a path notices.
    pub const PAYLOAD_BYTES: usize = 1_180;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_clock_dates_what_came_before_and_after_its_report() {
        let clock = SenderClock {
            ntp_time: (10 << 32) | (1 << 31),
            rtp_time: 90_000,
        };
        let cases = [
            (90_000, 10_500_000),
            (180_000, 11_500_000),
            (0, 9_500_000),
            (0_u32.wrapping_sub(90_000), 8_500_000),
        ];
        for (timestamp, want_us) in cases {
            assert_eq!(clock.capture_us(timestamp, 90_000), want_us, "{timestamp}");
        }
        assert_eq!(clock.capture_us(90_000 + 48, 48_000), 10_501_000);
        assert_eq!(clock.capture_us(90_001, 0), 11_500_000);
    }
}
