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

/// A descriptor to send that has more than its first three bytes.
#[derive(Debug)]
struct DescriptorOut(DescriptorBytes);

/// Gives a packet its descriptor. Most have three bytes, which go where str0m keeps the value of an
/// extension that is never negotiated here (frame marking): user values cost some allocations for
/// each packet and receiver.
pub(super) fn set_descriptor(extensions: &mut ExtensionValues, descriptor: DescriptorBytes) {
    match descriptor.parts() {
        (&[first, second, third], []) => {
            extensions.frame_mark = Some(u32::from_be_bytes([0, first, second, third]));
        }
        _ => extensions.user_values.set(DescriptorOut(descriptor)),
    }
}

#[derive(Debug)]
struct Descriptor;

impl ExtensionSerializer for Descriptor {
    fn write_to(&self, buf: &mut [u8], ev: &ExtensionValues) -> usize {
        let written = match ev.frame_mark {
            Some(short) => {
                let [_, short @ ..] = short.to_be_bytes();
                buf.get_mut(..short.len()).map(|buf| {
                    buf.copy_from_slice(&short);
                    short.len()
                })
            }
            None => ev
                .user_values
                .get::<DescriptorOut>()
                .and_then(|descriptor| descriptor.0.copy_to(buf)),
        };
        written.unwrap_or(0)
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
