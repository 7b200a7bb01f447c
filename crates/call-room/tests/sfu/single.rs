//! One sender, one receiver, packet by packet.

use call_protocol::dependency_descriptor::DescriptorWriter;
use call_protocol::{MediaSource, MemberId};
use call_room::sfu::{
    PacketIn, SfuConfig, SfuOutput, SfuRoom, SlotId, SlotKind, SlotSpec, TrackId, TrackSpec,
};

use super::{SMALL, ms};

/// A room with one receiver, member 2, that has one slot of each kind.
fn with_sender(tracks: Vec<TrackSpec>) -> (SfuRoom, std::time::Instant) {
    let now = std::time::Instant::now();
    let mut room = SfuRoom::new(SfuConfig::default());
    room.handle_link(now, MemberId(1), tracks, Vec::new());
    let slot = |id, kind| SlotSpec {
        slot: SlotId(id),
        kind,
    };
    let slots = vec![slot(1, SlotKind::Audio), slot(2, SlotKind::Video)];
    room.handle_link(now, MemberId(2), Vec::new(), slots);
    let tile = call_protocol::wire::Subscription {
        member: MemberId(1),
        source: MediaSource::Camera,
        width_px: SMALL.0,
        height_px: SMALL.1,
    };
    room.handle_subscribe(now, MemberId(2), &[tile]);
    room.handle_estimate(now, MemberId(2), 5_000_000);
    (room, now)
}

fn camera(track: u32) -> TrackSpec {
    TrackSpec {
        track: TrackId(track),
        source: MediaSource::Camera,
        layer: None,
    }
}

fn packet(sequence: u64, descriptor: Option<&[u8]>) -> PacketIn<'_> {
    PacketIn {
        sequence,
        timestamp: (sequence as u32).wrapping_mul(3_000),
        marker: true,
        payload_bytes: 500,
        level_dbov: None,
        descriptor,
    }
}

#[test]
fn a_track_without_descriptors_is_forwarded_as_it_is() {
    let (mut room, now) = with_sender(vec![camera(1)]);
    let mut out = Vec::new();
    for sequence in 500..510 {
        room.handle_packet(
            now,
            MemberId(1),
            TrackId(1),
            &packet(sequence, None),
            &mut out,
        );
    }
    let numbers: Vec<u64> = out.iter().map(|forward| forward.sequence).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert!(
        out.iter()
            .all(|f| f.descriptor.is_none() && f.marker && f.slot == SlotId(2))
    );
}

#[test]
fn layers_that_share_a_section_are_told_apart_by_their_sizes() {
    let (mut room, start) = with_sender(vec![camera(1), camera(2), camera(3)]);
    // The second is the smallest, and that is what the tile needs.
    let mut writers = [
        DescriptorWriter::new(0),
        DescriptorWriter::new(0),
        DescriptorWriter::new(0),
    ];
    let widths = [640, 320, 1_280];
    let mut late = Vec::new();
    for step in 0..100_u64 {
        let now = start + ms(step * 33);
        room.handle_timeout(now);
        while room.poll_output().is_some() {}
        for (index, writer) in writers.iter_mut().enumerate() {
            let keyframe = step % 10 == 0;
            let frame = writer.frame(keyframe, 0, 1, widths[index], widths[index] * 9 / 16);
            let bytes = frame.packet(true, true);
            let mut out = Vec::new();
            let input = packet(1_000 + step, Some(&bytes));
            room.handle_packet(
                now,
                MemberId(1),
                TrackId(index as u32 + 1),
                &input,
                &mut out,
            );
            if step > 50 {
                late.extend(out.iter().map(|_| index));
            }
        }
    }
    assert_eq!(late.len(), 49);
    assert!(late.iter().all(|index| *index == 1), "{late:?}");
}

#[test]
fn foreign_names_and_broken_descriptors_do_no_harm() {
    let (mut room, now) = with_sender(vec![camera(1)]);
    let mut out = Vec::new();
    room.handle_packet(now, MemberId(2), TrackId(1), &packet(1, None), &mut out);
    room.handle_packet(now, MemberId(1), TrackId(9), &packet(1, None), &mut out);
    room.handle_keyframe_request(now, MemberId(2), SlotId(77));
    room.handle_estimate(now, MemberId(77), 1);
    assert!(out.is_empty());
    // Another member cannot take over a track or a slot.
    let slot = SlotSpec {
        slot: SlotId(2),
        kind: SlotKind::Video,
    };
    room.handle_link(now, MemberId(3), vec![camera(1)], vec![slot]);
    room.handle_packet(now, MemberId(3), TrackId(1), &packet(1, None), &mut out);
    assert!(out.is_empty());
    for bytes in [
        &[][..],
        &[0x80],
        &[0xc0, 0, 1],
        &[0xff; 255],
        &[0x80, 0, 0, 0x80, 0],
    ] {
        room.handle_packet(
            now,
            MemberId(1),
            TrackId(1),
            &packet(2, Some(bytes)),
            &mut out,
        );
    }
    for sequence in [0, u64::MAX, u64::MAX - 1, 1 << 40, 3] {
        room.handle_packet(
            now,
            MemberId(1),
            TrackId(1),
            &packet(sequence, None),
            &mut out,
        );
        room.handle_packet(
            now,
            MemberId(1),
            TrackId(1),
            &packet(sequence, Some(&[0xc0, 0, 1])),
            &mut out,
        );
    }
    room.handle_link_gone(now, MemberId(1));
    while let Some(output) = room.poll_output() {
        if let SfuOutput::Bitrate { member, .. } = output {
            assert!([MemberId(1), MemberId(2), MemberId(3)].contains(&member));
        }
    }
}
