//! The dependency descriptor, an RTP header extension that says of each packet which frame and
//! which layer it belongs to and what that frame depends on (AV1 RTP specification, appendix A.8).
//!
//! A forwarding unit that cannot read payloads decides by it: where a keyframe begins, which frames
//! may be left out, how large a layer is. A keyframe carries a [`Structure`], a table of templates;
//! every other packet names a template and its frame number in three bytes.
//!
//! * [`DescriptorWriter`] for what we send: one spatial layer, one or two temporal layers.
//! * [`Descriptor::parse`] for what anybody sends: any structure within [`MAX_TEMPLATES`].
//!
//! Two-byte header extensions (RFC 8285, section 4.3) are needed wherever it is negotiated: a
//! descriptor with a structure exceeds the 16 bytes an element of the one-byte form can hold.
//!
//! Invariants: no input panics, whatever its bytes; all that is kept of one is bounded by its size
//! and [`MAX_TEMPLATES`]. Deliberately not here: following chains over lost packets, and which
//! structure a packet refers to when several are on their way (the caller keeps the newest).

mod bits;
mod read;
mod structure;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Descriptor, Mandatory, set_frame_number};
pub use structure::{Indication, Indications, Resolution, Structure, Template};
pub use write::{DescriptorWriter, FrameDescriptor};

/// Names the extension in SDP (`a=extmap`).
pub const URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// Templates of one structure: the template id of a packet has six bits.
pub const MAX_TEMPLATES: usize = 64;
/// Decode targets of one structure: their count has five bits.
pub const MAX_DECODE_TARGETS: usize = 32;
/// Longest descriptor, in bytes: the size of an element has one byte (RFC 8285, section 4.3).
pub const MAX_BYTES: usize = 255;
