//! The dependency descriptor as a str0m header extension: raw bytes both ways.

use call_room::sfu::DescriptorBytes;
use str0m::rtp::{Extension, ExtensionMap, ExtensionSerializer, ExtensionValues};

/// <https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension>
const DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// Where the one-byte form ends (RFC 8285, section 4.2).
const ONE_BYTE_FORM_BYTES: usize = 16;

/// A descriptor as it arrived.
#[derive(Debug)]
pub(super) struct DescriptorIn(pub(super) Box<[u8]>);

/// A descriptor to send.
#[derive(Debug)]
pub(super) struct DescriptorOut(pub(super) DescriptorBytes);

#[derive(Debug)]
struct Descriptor;

impl ExtensionSerializer for Descriptor {
    fn write_to(&self, buf: &mut [u8], ev: &ExtensionValues) -> usize {
        ev.user_values
            .get::<DescriptorOut>()
            .and_then(|descriptor| descriptor.0.copy_to(buf))
            .unwrap_or(0)
    }

    fn parse_value(&self, buf: &[u8], ev: &mut ExtensionValues) -> bool {
        ev.user_values.set(DescriptorIn(buf.into()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, ev: &ExtensionValues) -> bool {
        ev.user_values
            .get::<DescriptorOut>()
            .is_some_and(|descriptor| descriptor.0.len() > ONE_BYTE_FORM_BYTES)
    }
}

/// Every extension the SFU reads or writes: sound level, send time, transport-wide sequence number,
/// media and stream ids, orientation, dependency descriptor. The ids are the offerer's in the end.
pub(super) fn extension_map() -> ExtensionMap {
    let mut map = ExtensionMap::standard();
    map.set(5, Extension::with_serializer(DESCRIPTOR_URI, Descriptor));
    map
}
