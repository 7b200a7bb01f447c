//! `cargo xtask icons`: every icon file of the bundler, drawn from `icons/visavis.svg`.
//!
//! The pictures are rendered by librsvg's `rsvg-convert`; the two containers (Windows' ICO,
//! Apple's ICNS) only wrap PNG files and are written here. The results are committed, because
//! building the app must not need a renderer.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// PNG files by name and edge length in pixels.
const PNG_FILES: [(&str, u32); 4] = [
    ("32x32.png", 32),
    ("128x128.png", 128),
    ("128x128@2x.png", 256),
    ("icon.png", 512),
];

/// Edge lengths in the ICO. 32 comes first: a Windows window shows the first one.
const ICO_SIZES_PX: [u32; 6] = [32, 16, 24, 48, 64, 256];

/// Types and edge lengths in the ICNS; those that Apple defines as PNG.
const ICNS_ENTRIES: [([u8; 4], u32); 8] = [
    (*b"ic11", 32),
    (*b"ic12", 64),
    (*b"ic07", 128),
    (*b"ic13", 256),
    (*b"ic08", 256),
    (*b"ic14", 512),
    (*b"ic09", 512),
    (*b"ic10", 1024),
];

/// Draws all icon files anew.
pub(crate) fn generate(workspace: &Workspace) -> Result<()> {
    if process::find("rsvg-convert").is_none() {
        bail!("icons need rsvg-convert (Debian: librsvg2-bin, macOS: brew install librsvg)");
    }
    let icons = workspace.root().join("icons");
    let source = icons.join("visavis.svg");
    let render = |size_px: u32| -> Result<Vec<u8>> {
        let size = size_px.to_string();
        let output = Command::new("rsvg-convert")
            .args(["--width", &size, "--height", &size])
            .arg(&source)
            .output()
            .context("cannot start rsvg-convert")?;
        if !output.status.success() {
            bail!("rsvg-convert: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    };

    for (name, size_px) in PNG_FILES {
        fs::write(icons.join(name), render(size_px)?)?;
    }
    let pictures = ICO_SIZES_PX
        .into_iter()
        .map(|size_px| Ok((size_px, render(size_px)?)))
        .collect::<Result<Vec<_>>>()?;
    fs::write(icons.join("icon.ico"), ico(&pictures)?)?;
    let pictures = ICNS_ENTRIES
        .into_iter()
        .map(|(kind, size_px)| Ok((kind, render(size_px)?)))
        .collect::<Result<Vec<_>>>()?;
    fs::write(icons.join("icon.icns"), icns(&pictures)?)?;
    Ok(())
}

/// An ICO file: a directory of fixed little-endian entries, then the pictures.
fn ico(pictures: &[(u32, Vec<u8>)]) -> Result<Vec<u8>> {
    const HEADER: usize = 6;
    const ENTRY: usize = 16;
    let mut file = vec![0, 0, 1, 0];
    file.extend(u16::try_from(pictures.len())?.to_le_bytes());
    let mut offset = HEADER + ENTRY * pictures.len();
    for (size_px, png) in pictures {
        // The edge is one byte; 256 is written as 0.
        let edge = if *size_px == 256 {
            0
        } else {
            u8::try_from(*size_px)?
        };
        file.extend([edge, edge, 0, 0, 1, 0, 32, 0]);
        file.extend(u32::try_from(png.len())?.to_le_bytes());
        file.extend(u32::try_from(offset)?.to_le_bytes());
        offset += png.len();
    }
    file.extend(pictures.iter().flat_map(|(_, png)| png));
    Ok(file)
}

/// An ICNS file: type, big-endian length including its own eight bytes, and content, nested once.
fn icns(pictures: &[([u8; 4], Vec<u8>)]) -> Result<Vec<u8>> {
    let block = |kind: [u8; 4], content: &[u8]| -> Result<Vec<u8>> {
        let mut block = kind.to_vec();
        block.extend(u32::try_from(content.len() + 8)?.to_be_bytes());
        block.extend(content);
        Ok(block)
    };
    let mut content = Vec::new();
    for (kind, png) in pictures {
        content.extend(block(*kind, png)?);
    }
    block(*b"icns", &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ico_entries_point_at_their_pictures() {
        let pictures = [(32, vec![1, 2, 3]), (256, vec![4, 5])];
        let file = ico(&pictures).unwrap();
        assert_eq!(file[..6], [0, 0, 1, 0, 2, 0]);
        for (index, (size_px, png)) in pictures.iter().enumerate() {
            let entry = &file[6 + 16 * index..][..16];
            assert_eq!(u32::from(entry[0]), size_px % 256);
            let length = u32::from_le_bytes(entry[8..12].try_into().unwrap()) as usize;
            let offset = u32::from_le_bytes(entry[12..16].try_into().unwrap()) as usize;
            assert_eq!(file[offset..offset + length], png[..]);
        }
        assert!(ico(&[(512, vec![])]).is_err());
    }

    #[test]
    fn icns_lengths_nest() {
        let file = icns(&[(*b"ic07", vec![9; 5]), (*b"ic08", vec![8; 3])]).unwrap();
        assert_eq!(file.len(), 8 + 13 + 11);
        assert_eq!(&file[..8], b"icns\0\0\0\x20");
        assert_eq!(&file[8..16], b"ic07\0\0\0\x0d");
        assert_eq!(&file[21..29], b"ic08\0\0\0\x0b");
    }
}
