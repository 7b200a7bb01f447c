//! Reading descriptors of any sender (A.8.2, `dependency_descriptor`).

use super::MAX_BYTES;
use super::bits::BitReader;
use super::structure::{Indications, Resolution, Structure};

/// The three bytes of every descriptor, readable without a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandatory {
    /// The packet begins its frame.
    pub start_of_frame: bool,
    /// The packet ends its frame.
    pub end_of_frame: bool,
    /// Which template, 0 to 63.
    pub template_id: u8,
    /// Grows by one with each frame, modulo 65536.
    pub frame_number: u16,
}

impl Mandatory {
    /// Reads the first three bytes; `None` when there are fewer.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, high, low, ..] = *bytes else {
            return None;
        };
        Some(Self {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
        })
    }
}

/// What a descriptor says, its template resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The packet begins its frame.
    pub start_of_frame: bool,
    /// The packet ends its frame.
    pub end_of_frame: bool,
    /// Grows by one with each frame, modulo 65536.
    pub frame_number: u16,
    /// The template the frame names, 0 to 63.
    pub template_id: u8,
    /// Spatial layer of the frame.
    pub spatial_id: u8,
    /// Temporal layer of the frame.
    pub temporal_id: u8,
    /// The packet carries a structure and its frame depends on no other: decoding can begin here.
    /// Only the first packet of a keyframe says so.
    pub is_keyframe: bool,
    /// The structure that holds from this frame on.
    pub structure: Option<Structure>,
    /// Which decode targets are there from this frame on, bit 0 being the first, when the packet
    /// says so itself.
    pub active_decode_targets: Option<u32>,
    /// What the frame means to each decode target.
    pub indications: Indications,
    /// How many frames back what it depends on lies, where that differs from its template.
    pub custom_fdiffs: Option<Vec<u16>>,
    /// How many frames back the latest frame of each chain lies, likewise.
    pub custom_chain_fdiffs: Option<Vec<u8>>,
    /// Size of the frame's pictures, where the structure tells.
    pub resolution: Option<Resolution>,
}

impl Descriptor {
    /// Reads one descriptor. `known` is the structure the track's latest keyframe carried; a packet
    /// with one of its own does without.
    ///
    /// `None` when the bytes are malformed, or name a template neither structure has (the packet
    /// that carried its structure was lost); [`Mandatory::parse`] may still succeed then.
    pub fn parse(bytes: &[u8], known: Option<&Structure>) -> Option<Self> {
        let mandatory = Mandatory::parse(bytes)?;
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let mut reader = BitReader::new(bytes.get(3..)?);
        let mut extended = Extended::default();
        if bytes.len() > 3 {
            extended = Extended::read(&mut reader, known)?;
        }
        let structure = extended.structure.as_ref().or(known)?;
        let template = structure.template(mandatory.template_id)?;
        let indications = if extended.has_indications {
            Indications::read(&mut reader, structure.decode_targets.into())?
        } else {
            template.indications
        };
        let custom_fdiffs = if extended.has_fdiffs {
            Some(read_fdiffs(&mut reader)?)
        } else {
            None
        };
        let custom_chain_fdiffs = if extended.has_chains {
            let mut chains = Vec::with_capacity(structure.chains.into());
            for _ in 0..structure.chains {
                chains.push(u8::try_from(reader.bits(8)?).ok()?);
            }
            Some(chains)
        } else {
            None
        };
        let depends = custom_fdiffs
            .as_ref()
            .map_or(!template.fdiffs.is_empty(), |fdiffs| !fdiffs.is_empty());
        Some(Self {
            start_of_frame: mandatory.start_of_frame,
            end_of_frame: mandatory.end_of_frame,
            frame_number: mandatory.frame_number,
            template_id: mandatory.template_id,
            spatial_id: template.spatial_id,
            temporal_id: template.temporal_id,
            is_keyframe: extended.structure.is_some() && !depends,
            active_decode_targets: extended.active_decode_targets,
            indications,
            custom_fdiffs,
            custom_chain_fdiffs,
            resolution: structure.resolution(template.spatial_id),
            structure: extended.structure,
        })
    }
}

/// The fields behind the mandatory ones (`extended_descriptor_fields`).
#[derive(Default)]
struct Extended {
    structure: Option<Structure>,
    active_decode_targets: Option<u32>,
    has_indications: bool,
    has_fdiffs: bool,
    has_chains: bool,
}

impl Extended {
    fn read(reader: &mut BitReader<'_>, known: Option<&Structure>) -> Option<Self> {
        let has_structure = reader.flag()?;
        let has_active_targets = reader.flag()?;
        let has_indications = reader.flag()?;
        let has_fdiffs = reader.flag()?;
        let has_chains = reader.flag()?;
        let structure = if has_structure {
            Some(Structure::read(reader)?)
        } else {
            None
        };
        let active_decode_targets = if has_active_targets {
            let targets = structure.as_ref().or(known)?.decode_targets;
            Some(reader.bits(targets.into())?)
        } else {
            None
        };
        Some(Self {
            structure,
            active_decode_targets,
            has_indications,
            has_fdiffs,
            has_chains,
        })
    }
}

fn read_fdiffs(reader: &mut BitReader<'_>) -> Option<Vec<u16>> {
    let mut fdiffs = Vec::new();
    loop {
        let size = reader.bits(2)?;
        if size == 0 {
            return Some(fdiffs);
        }
        fdiffs.push(u16::try_from(reader.bits(4 * size)?).ok()? + 1);
    }
}

/// Replaces the frame number; the rest of a descriptor counts relative to it. Bytes too short for
/// a descriptor stay as they are.
pub fn set_frame_number(bytes: &mut [u8], frame_number: u16) {
    if let Some(field) = bytes.get_mut(1..3) {
        field.copy_from_slice(&frame_number.to_be_bytes());
    }
}
