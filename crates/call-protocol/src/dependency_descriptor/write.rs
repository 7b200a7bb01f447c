//! Writing the descriptors of our own streams: one spatial layer, and one or two temporal layers of
//! which the upper one only ever depends on the lower one.
//!
//! Frames of temporal layer 0 form the one chain, and each depends on the one before it, so a
//! receiver that gets layer 0 only sees everything it needs. How far back that is varies, as an
//! encoder may leave frames out; distances without a template of their own are written out.

use bytes::Bytes;

use super::bits::BitWriter;
use super::structure::{Indication, Indications, Resolution, Structure, Template};

/// Frames of temporal layer 1 in a row after which one is described as layer 0. That claims more
/// dependencies than there are, which is safe, and keeps distances within four bits.
const MAX_GAP: u16 = 15;

/// Numbers the frames of one stream and describes them.
#[derive(Debug)]
pub struct DescriptorWriter {
    next_frame_number: u16,
    /// Of the latest keyframe.
    structure: Option<Structure>,
    /// Frame number of the latest frame of temporal layer 0.
    base: u16,
}

impl DescriptorWriter {
    /// A stream whose first frame gets this number; any will do.
    pub fn new(first_frame_number: u16) -> Self {
        Self {
            next_frame_number: first_frame_number,
            structure: None,
            base: first_frame_number.wrapping_sub(1),
        }
    }

    /// Describes the next frame in decoding order. `temporal_layers` (1 or 2) and the size count
    /// at keyframes and hold until the next; sizes are clamped to 1 to 65536. A keyframe is of
    /// temporal layer 0 whatever `temporal_id` says, and in a stream of one layer every frame is.
    pub fn frame(
        &mut self,
        keyframe: bool,
        temporal_id: u8,
        temporal_layers: u8,
        width_px: u32,
        height_px: u32,
    ) -> FrameDescriptor {
        let number = self.next_frame_number;
        self.next_frame_number = number.wrapping_add(1);
        if keyframe {
            self.base = number;
            let structure = self.structure_for(temporal_layers, width_px, height_px);
            let descriptor = FrameDescriptor::new(
                structure.id_offset,
                number,
                Extension::Structure(&structure),
            );
            self.structure = Some(structure);
            return descriptor;
        }
        let gap = number.wrapping_sub(self.base);
        let templates = self
            .structure
            .as_ref()
            .map_or(2, |known| known.templates.len());
        let offset = self.structure.as_ref().map_or(0, |known| known.id_offset);
        let is_upper = temporal_id > 0 && templates > 2 && gap < MAX_GAP;
        if !is_upper {
            self.base = number;
        }
        // The templates are in the order `structure_for` lists them in.
        let (index, template_gap) = match (is_upper, templates > 2, gap) {
            (true, ..) => (3, 1),
            (false, true, 1) => (2, 1),
            (false, true, _) => (1, 2),
            (false, false, _) => (1, 1),
        };
        let extension = if gap == template_gap {
            Extension::None
        } else {
            Extension::Gap(gap)
        };
        FrameDescriptor::new(offset.wrapping_add(index) & 63, number, extension)
    }

    /// A structure may keep its ids only as long as it stays the same (A.8.3).
    fn structure_for(&self, temporal_layers: u8, width_px: u32, height_px: u32) -> Structure {
        let clamped = |px: u32| px.clamp(1, 1 << 16);
        let resolution = Resolution {
            width_px: clamped(width_px),
            height_px: clamped(height_px),
        };
        let mut structure = structure(temporal_layers, resolution);
        if let Some(known) = &self.structure {
            structure.id_offset = known.id_offset;
            if structure != *known {
                let used = u8::try_from(known.templates.len()).unwrap_or_default();
                structure.id_offset = known.id_offset.wrapping_add(used) & 63;
            }
        }
        structure
    }
}

fn structure(temporal_layers: u8, resolution: Resolution) -> Structure {
    use Indication::{Discardable, NotPresent, Switch};
    let template = |temporal_id, indications: &[Indication], gap: u8| Template {
        spatial_id: 0,
        temporal_id,
        indications: Indications::of(indications),
        fdiffs: if gap == 0 { Vec::new() } else { vec![gap] },
        chain_fdiffs: vec![gap],
    };
    // Decode target 0 is everything, 1 is temporal layer 0 alone.
    let templates = if temporal_layers > 1 {
        vec![
            template(0, &[Switch, Switch], 0),
            template(0, &[Switch, Switch], 2),
            template(0, &[Switch, Switch], 1),
            template(1, &[Discardable, NotPresent], 1),
        ]
    } else {
        vec![template(0, &[Switch], 0), template(0, &[Switch], 1)]
    };
    let decode_targets = if temporal_layers > 1 { 2 } else { 1 };
    Structure {
        id_offset: 0,
        decode_targets,
        templates,
        protected_by: vec![0; decode_targets.into()],
        chains: 1,
        resolutions: vec![resolution],
    }
}

/// What follows the mandatory fields.
enum Extension<'a> {
    None,
    /// Of the first packet of a keyframe.
    Structure(&'a Structure),
    /// How far back what the frame depends on, and the chain, lies.
    Gap(u16),
}

/// The descriptors of one frame's packets.
#[derive(Clone, Debug)]
pub struct FrameDescriptor {
    /// Two descriptors without a structure (middle, last), then two as for a first packet
    /// (first, first and last).
    all: Bytes,
    plain_bytes: usize,
    frame_number: u16,
    /// Whether the frame is a keyframe.
    is_keyframe: bool,
}

impl FrameDescriptor {
    fn new(template_id: u8, frame_number: u16, extension: Extension<'_>) -> Self {
        let [high, low] = frame_number.to_be_bytes();
        let mut writer = BitWriter::default();
        let (mut on_every, mut on_first) = (Vec::new(), Vec::new());
        match &extension {
            Extension::None => {}
            Extension::Structure(structure) => {
                writer.bits(0b10000, 5);
                structure.write_single(&mut writer);
                on_first = writer.into_bytes();
            }
            Extension::Gap(gap) => {
                writer.bits(0b00011, 5);
                writer.bits(1, 2);
                writer.bits(u32::from(gap.saturating_sub(1)), 4);
                writer.bits(0, 2);
                writer.bits(u32::from(*gap), 8);
                on_every = writer.into_bytes();
            }
        }
        let mut all = Vec::with_capacity(4 * 3 + 4 * on_every.len() + 2 * on_first.len());
        for (flags, rest) in [
            (0x00, &on_every),
            (0x40, &on_every),
            (
                0x80,
                if on_first.is_empty() {
                    &on_every
                } else {
                    &on_first
                },
            ),
            (
                0xc0,
                if on_first.is_empty() {
                    &on_every
                } else {
                    &on_first
                },
            ),
        ] {
            all.extend_from_slice(&[flags | template_id, high, low]);
            all.extend_from_slice(rest);
        }
        Self {
            all: all.into(),
            plain_bytes: 3 + on_every.len(),
            frame_number,
            is_keyframe: matches!(extension, Extension::Structure(_)),
        }
    }

    /// The number the frame got.
    pub fn frame_number(&self) -> u16 {
        self.frame_number
    }

    /// Whether the frame is a keyframe.
    pub fn is_keyframe(&self) -> bool {
        self.is_keyframe
    }

    /// The descriptor of one packet of the frame, by whether it is the frame's first and its last.
    /// Shares memory with the frame's other descriptors. The first of a keyframe has about 16 bytes,
    /// others 3 or, where layers do not alternate, 6.
    pub fn packet(&self, first: bool, last: bool) -> Bytes {
        let plain = self.plain_bytes;
        let leading = self.all.len().saturating_sub(2 * plain) / 2;
        let (start, length) = match (first, last) {
            (false, false) => (0, plain),
            (false, true) => (plain, plain),
            (true, false) => (2 * plain, leading),
            (true, true) => (2 * plain + leading, leading),
        };
        self.all.slice(start..start + length)
    }
}
