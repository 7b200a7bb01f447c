//! What goes into [`super::SfuRoom`] and what comes out.

use bytes::Bytes;
use call_protocol::dependency_descriptor::set_frame_number;
use call_protocol::limits::SFU_LAYERS;
use call_protocol::{MediaSource, MemberId};

/// Names one incoming stream: one SSRC with its retransmissions. Never used twice in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u32);

/// Names one outgoing stream of one receiver. Never used twice in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

/// A stream a member sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackSpec {
    /// Its name.
    pub track: TrackId,
    /// What it carries.
    pub source: MediaSource,
    /// Which simulcast layer, 0 being the largest. `None` for sound, and for pictures whose layers
    /// only their sizes tell apart.
    pub layer: Option<u8>,
}

/// What a slot can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A stream a member can receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSpec {
    /// Its name.
    pub slot: SlotId,
    /// What it can carry.
    pub kind: SlotKind,
}

/// A packet that arrived: what is read of its header and extensions.
#[derive(Clone, Copy, Debug)]
pub struct PacketIn<'a> {
    /// Sequence number, extended beyond 16 bits. A retransmission has the number of the original.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Size of the payload, in bytes.
    pub payload_bytes: usize,
    /// Sound level below overload, 0 to 127 (RFC 6464).
    pub level_dbov: Option<u8>,
    /// Dependency descriptor.
    pub descriptor: Option<&'a [u8]>,
}

/// A packet to send: the payload as it came, the rest as told here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// To whom.
    pub member: MemberId,
    /// In which of their slots.
    pub slot: SlotId,
    /// Sequence number of the slot, extended beyond 16 bits.
    pub sequence: u64,
    /// RTP timestamp of the slot.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Member id of the sender, the one CSRC of the packet.
    pub csrc: u32,
    /// Dependency descriptor with the slot's frame number.
    pub descriptor: Option<DescriptorBytes>,
}

/// A descriptor whose frame number was replaced. Receivers share all but its first three bytes, so
/// that forwarding one allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorBytes {
    head: [u8; 3],
    tail: Bytes,
}

impl DescriptorBytes {
    pub(super) fn new(head: [u8; 3], tail: Bytes, frame_number: u16) -> Self {
        let mut head = head;
        set_frame_number(&mut head, frame_number);
        Self { head, tail }
    }

    /// How many bytes it has: 3 to 255.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The first three bytes and the rest.
    pub fn parts(&self) -> (&[u8; 3], &[u8]) {
        (&self.head, &self.tail)
    }

    /// Copies it to the beginning of `out`; `None` where it does not fit, else its length.
    pub fn copy_to(&self, out: &mut [u8]) -> Option<usize> {
        let (head, rest) = out.split_at_mut_checked(self.head.len())?;
        let tail = rest.get_mut(..self.tail.len())?;
        head.copy_from_slice(&self.head);
        tail.copy_from_slice(&self.tail);
        Some(self.len())
    }

    /// As one byte string.
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.head[..], &self.tail].concat()
    }
}

/// What the shell shall do or tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SfuOutput {
    /// Ask a sender for a keyframe (PLI).
    RequestKeyframe {
        /// The sender.
        member: MemberId,
        /// On which stream.
        track: TrackId,
    },
    /// Tell a sender which layers anybody receives.
    Layers {
        /// The sender.
        member: MemberId,
        /// Which of their pictures.
        source: MediaSource,
        /// Largest first.
        wanted: [bool; SFU_LAYERS],
    },
    /// Tell a receiver what its slots carry from now on.
    Slots {
        /// The receiver.
        member: MemberId,
        /// Every slot in use.
        slots: Vec<(SlotId, MemberId, MediaSource)>,
    },
    /// Tell a receiver's bandwidth estimator what is worth probing for.
    Bitrate {
        /// The receiver.
        member: MemberId,
        /// Sound, and what it takes to show every picture as large as its tile.
        desired_bps: u64,
    },
}
