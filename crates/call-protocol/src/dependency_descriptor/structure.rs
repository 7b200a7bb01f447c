//! The table of templates a keyframe carries (A.8.2, `template_dependency_structure`).

use super::bits::{BitReader, BitWriter};
use super::{MAX_DECODE_TARGETS, MAX_TEMPLATES};

/// What a frame means to a decode target (table A.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// The frame is no part of the target.
    NotPresent,
    /// Part of it, and nothing of it depends on the frame.
    Discardable,
    /// Part of it, and one may switch to the target here.
    Switch,
    /// Part of it, and needed.
    Required,
}

/// One [`Indication`] for each decode target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// The indication for a target; not present for one that does not exist.
    pub fn get(self, target: usize) -> Indication {
        if target >= MAX_DECODE_TARGETS {
            return Indication::NotPresent;
        }
        match self.0 >> (2 * target) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    pub(super) fn of(values: &[Indication]) -> Self {
        let bits = values.iter().take(MAX_DECODE_TARGETS).enumerate();
        Self(bits.fold(0, |all, (index, value)| {
            all | (*value as u64) << (2 * index)
        }))
    }

    pub(super) fn read(reader: &mut BitReader<'_>, targets: usize) -> Option<Self> {
        let mut all = 0;
        for target in 0..targets {
            all |= u64::from(reader.bits(2)?) << (2 * target);
        }
        Some(Self(all))
    }
}

/// What the frames that name a template have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Spatial layer.
    pub spatial_id: u8,
    /// Temporal layer.
    pub temporal_id: u8,
    /// What such a frame means to each decode target.
    pub indications: Indications,
    /// How many frames back the frames it depends on lie, 1 to 16 each.
    pub fdiffs: Vec<u8>,
    /// For each chain, how many frames back its latest frame lies; 0 begins the chain.
    pub chain_fdiffs: Vec<u8>,
}

/// Size of the pictures of a spatial layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// 1 to 65536.
    pub width_px: u32,
    /// 1 to 65536.
    pub height_px: u32,
}

/// The templates of a coded sequence and what they are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Template id of the first template; the others follow modulo 64.
    pub id_offset: u8,
    /// How many decode targets there are, 1 to [`MAX_DECODE_TARGETS`].
    pub decode_targets: u8,
    /// 1 to [`MAX_TEMPLATES`].
    pub templates: Vec<Template>,
    /// Which chain protects each decode target; empty without chains.
    pub protected_by: Vec<u8>,
    /// How many chains there are.
    pub chains: u8,
    /// By spatial layer; empty when the structure does not tell.
    pub resolutions: Vec<Resolution>,
}

impl Structure {
    /// The template a packet names.
    pub fn template(&self, id: u8) -> Option<&Template> {
        let index = (id & 63).wrapping_sub(self.id_offset) & 63;
        self.templates.get(usize::from(index))
    }

    /// Size of a spatial layer's pictures, where told.
    pub fn resolution(&self, spatial_id: u8) -> Option<Resolution> {
        self.resolutions.get(usize::from(spatial_id)).copied()
    }

    pub(super) fn read(reader: &mut BitReader<'_>) -> Option<Self> {
        let id_offset = small(reader.bits(6)?)?;
        let decode_targets = small(reader.bits(5)?)? + 1;
        let targets = usize::from(decode_targets);
        let layers = read_layers(reader)?;
        let mut templates = Vec::with_capacity(layers.len());
        for (spatial_id, temporal_id) in layers {
            templates.push(Template {
                spatial_id,
                temporal_id,
                indications: Indications::read(reader, targets)?,
                fdiffs: Vec::new(),
                chain_fdiffs: Vec::new(),
            });
        }
        for template in &mut templates {
            while reader.flag()? {
                template.fdiffs.push(small(reader.bits(4)?)? + 1);
            }
        }
        let chains = small(reader.non_symmetric(u32::from(decode_targets) + 1)?)?;
        let mut protected_by = Vec::new();
        if chains > 0 {
            for _ in 0..targets {
                protected_by.push(small(reader.non_symmetric(chains.into())?)?);
            }
            for template in &mut templates {
                for _ in 0..chains {
                    template.chain_fdiffs.push(small(reader.bits(4)?)?);
                }
            }
        }
        let mut resolutions = Vec::new();
        if reader.flag()? {
            let last = templates.last().map_or(0, |template| template.spatial_id);
            for _ in 0..=last {
                resolutions.push(Resolution {
                    width_px: reader.bits(16)? + 1,
                    height_px: reader.bits(16)? + 1,
                });
            }
        }
        Some(Self {
            id_offset,
            decode_targets,
            templates,
            protected_by,
            chains,
            resolutions,
        })
    }

    /// Writes a structure with one spatial layer, at most one chain and a resolution.
    pub(super) fn write_single(&self, writer: &mut BitWriter) {
        writer.bits(self.id_offset.into(), 6);
        writer.bits(u32::from(self.decode_targets) - 1, 5);
        let mut temporal_id = 0;
        for template in self.templates.iter().skip(1) {
            writer.bits(u32::from(template.temporal_id > temporal_id), 2);
            temporal_id = template.temporal_id;
        }
        writer.bits(3, 2);
        for template in &self.templates {
            for target in 0..usize::from(self.decode_targets) {
                writer.bits(template.indications.get(target) as u32, 2);
            }
        }
        for template in &self.templates {
            for fdiff in &template.fdiffs {
                writer.flag(true);
                writer.bits(u32::from(*fdiff) - 1, 4);
            }
            writer.flag(false);
        }
        // Which chain protects a target takes no bits where there is one.
        writer.non_symmetric(self.chains.into(), u32::from(self.decode_targets) + 1);
        for fdiff in self
            .templates
            .iter()
            .flat_map(|template| &template.chain_fdiffs)
        {
            writer.bits((*fdiff).into(), 4);
        }
        writer.flag(!self.resolutions.is_empty());
        for resolution in &self.resolutions {
            writer.bits(resolution.width_px - 1, 16);
            writer.bits(resolution.height_px - 1, 16);
        }
    }
}

/// Spatial and temporal layer of each template.
fn read_layers(reader: &mut BitReader<'_>) -> Option<Vec<(u8, u8)>> {
    let (mut spatial_id, mut temporal_id) = (0, 0);
    let mut layers = Vec::new();
    loop {
        if layers.len() == MAX_TEMPLATES {
            return None;
        }
        layers.push((spatial_id, temporal_id));
        match reader.bits(2)? {
            0 => {}
            1 => temporal_id += 1,
            2 => {
                temporal_id = 0;
                spatial_id += 1;
            }
            _ => return Some(layers),
        }
    }
}

/// Values whose field is narrower than a byte.
fn small(value: u32) -> Option<u8> {
    u8::try_from(value).ok()
}
