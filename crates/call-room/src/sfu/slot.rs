//! One outgoing stream: what it carries, what it waits for, and the numbers of its packets.
//!
//! A video slot is `Empty` (no picture assigned), `Waiting` (a picture, no stream of it yet),
//! `Flowing` (a current stream, which is the target) or `Switching` (a current stream that goes on
//! until a keyframe of the target begins). `Paused` is a picture without a target: there is no
//! bandwidth for it.

use std::time::Instant;

use bytes::Bytes;
use call_protocol::MemberId;

use super::assign::PictureKey;
use super::io::{DescriptorBytes, Forward, PacketIn, SlotKind, SlotSpec};
use super::rewrite::Rewriter;
use super::track::FrameInfo;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) spec: SlotSpec,
    pub(super) owner: MemberId,
    pub(super) assigned: Option<PictureKey>,
    /// Since when it is assigned.
    pub(super) since: Instant,
    /// Index of the track it follows.
    pub(super) current: Option<usize>,
    /// Index of the track it shall follow.
    pub(super) target: Option<usize>,
    /// Tracks to be content with until the target comes, while there is no current one.
    pub(super) fallbacks: [Option<usize>; 2],
    /// The target's upper temporal layers are to be left out.
    pub(super) base_only: bool,
    /// Those of the current track are, because a smaller one is the target.
    pub(super) makes_room: bool,
    /// Upper temporal layers are left out: follows the two above, and back where decoding allows.
    is_reduced: bool,
    /// Frame of the newest packet, and whether it is left out.
    frame: Option<(u16, bool)>,
    rewriter: Rewriter,
}

impl Slot {
    pub(super) fn new(now: Instant, spec: SlotSpec, owner: MemberId) -> Self {
        let clock_hz = match spec.kind {
            SlotKind::Audio => 48_000,
            SlotKind::Video => 90_000,
        };
        Self {
            spec,
            owner,
            assigned: None,
            since: now,
            current: None,
            target: None,
            fallbacks: [None; 2],
            base_only: false,
            makes_room: false,
            is_reduced: false,
            frame: None,
            rewriter: Rewriter::new(clock_hz),
        }
    }

    /// Carries another picture or sound, or nothing.
    pub(super) fn assign(&mut self, now: Instant, key: Option<PictureKey>) {
        if self.assigned == key {
            return;
        }
        self.assigned = key;
        self.since = now;
        self.stop();
    }

    /// Follows nothing and waits for nothing.
    pub(super) fn stop(&mut self) {
        self.current = None;
        self.target = None;
        self.fallbacks = [None; 2];
        self.base_only = false;
        self.makes_room = false;
        self.is_reduced = false;
        self.frame = None;
        self.rewriter.end();
    }

    /// The track does not exist any more.
    pub(super) fn forget_track(&mut self, track: usize) {
        if self.current == Some(track) {
            self.current = None;
            self.rewriter.end();
        }
        if self.target == Some(track) {
            self.target = None;
        }
        for fallback in &mut self.fallbacks {
            *fallback = fallback.filter(|other| *other != track);
        }
    }

    /// Whether it would begin to follow this track.
    pub(super) fn accepts(&self, track: usize) -> bool {
        if self.current == Some(track) {
            return false;
        }
        self.target == Some(track)
            || (self.current.is_none() && self.fallbacks.contains(&Some(track)))
    }

    /// Whether packets of the track concern it.
    pub(super) fn listens(&self, track: usize) -> bool {
        self.current == Some(track) || self.accepts(track)
    }

    /// The packet of `track` as this slot sends it; `tail` is the descriptor behind its first
    /// three bytes.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        track: usize,
        csrc: MemberId,
        packet: &PacketIn<'_>,
        info: &FrameInfo,
        tail: &Bytes,
    ) -> Option<Forward> {
        let mut begins = false;
        if self.current != Some(track) {
            if !info.is_keyframe || !self.accepts(track) {
                return None;
            }
            begins = true;
            self.current = Some(track);
            self.makes_room = false;
            self.is_reduced = false;
            self.frame = None;
            let (sequence, timestamp) = (packet.sequence, packet.timestamp);
            self.rewriter
                .begin(now, sequence, timestamp, info.mandatory);
        }
        let leave_out = self.leaves_out(info);
        let numbers = self.rewriter.number(
            now,
            packet.sequence,
            packet.timestamp,
            info.mandatory,
            leave_out,
        )?;
        let head = packet.descriptor.and_then(|bytes| bytes.first_chunk());
        Some(Forward {
            member: self.owner,
            slot: self.spec.slot,
            sequence: numbers.sequence,
            timestamp: numbers.timestamp,
            // The first packet of a voice begins a talkspurt (RFC 3551, section 4.1).
            marker: packet.marker || (begins && self.spec.kind == SlotKind::Audio),
            csrc: csrc.0,
            descriptor: head
                .map(|head| DescriptorBytes::new(*head, tail.clone(), numbers.frame_number)),
        })
    }

    /// Whether the packet's frame is left out; decided once per frame.
    fn leaves_out(&mut self, info: &FrameInfo) -> bool {
        let Some(mandatory) = info.mandatory else {
            return false;
        };
        let number = mandatory.frame_number;
        if let Some((newest, is_left_out)) = self.frame {
            if newest == number {
                return is_left_out;
            }
            if number.wrapping_sub(newest) > u16::MAX / 2 {
                // A late packet; the rewriter knows what became of its frame.
                return false;
            }
        }
        if self.base_only || self.makes_room {
            self.is_reduced = true;
        } else if info.temporal_id == 1 || info.is_keyframe {
            // Temporal layer 1 depends on layer 0 only; higher ones may depend on it.
            self.is_reduced = false;
        }
        let is_left_out = self.is_reduced && info.temporal_id > 0;
        self.frame = Some((number, is_left_out));
        is_left_out
    }
}

#[cfg(test)]
mod tests {
    use call_protocol::MediaSource;
    use call_protocol::dependency_descriptor::Mandatory;

    use super::super::io::SlotId;
    use super::*;

    struct Fixture {
        slot: Slot,
        now: Instant,
        sequence: u64,
    }

    impl Fixture {
        /// A slot that waits for track 1.
        fn new() -> Self {
            let now = Instant::now();
            let spec = SlotSpec {
                slot: SlotId(1),
                kind: SlotKind::Video,
            };
            let mut slot = Slot::new(now, spec, MemberId(2));
            slot.assign(now, Some((MemberId(1), MediaSource::Camera)));
            slot.target = Some(1);
            Self {
                slot,
                now,
                sequence: 100,
            }
        }

        /// The next packet of a track; whether it goes out.
        fn packet(&mut self, track: usize, frame_number: u16, temporal_id: u8, key: bool) -> bool {
            self.sequence += 1;
            let packet = PacketIn {
                sequence: self.sequence,
                timestamp: 0,
                marker: false,
                payload_bytes: 100,
                level_dbov: None,
                descriptor: Some(&[0, 0, 0]),
            };
            let info = FrameInfo {
                mandatory: Some(Mandatory {
                    start_of_frame: false,
                    end_of_frame: false,
                    template_id: 0,
                    frame_number,
                }),
                temporal_id,
                is_keyframe: key,
            };
            let tail = Bytes::new();
            self.slot
                .forward(self.now, track, MemberId(1), &packet, &info, &tail)
                .is_some()
        }
    }

    #[test]
    fn frames_are_left_out_whole_and_come_back_where_decoding_allows() {
        let mut fixture = Fixture::new();
        assert!(!fixture.packet(1, 9, 0, false), "no keyframe yet");
        // Frame, temporal layer, whether upper layers are to be left out, whether it goes out.
        let cases = [
            (10, 0, false, true),
            (11, 1, false, true),
            (11, 1, true, true),
            (12, 0, true, true),
            (13, 1, true, false),
            (13, 1, false, false),
            // Layer 2 may depend on the frame of layer 1 that was left out.
            (14, 2, false, false),
            (15, 0, false, true),
            (16, 2, false, false),
            (17, 1, false, true),
            (18, 2, false, true),
        ];
        for (frame, temporal_id, base_only, want) in cases {
            fixture.slot.base_only = base_only;
            let got = fixture.packet(1, frame, temporal_id, frame == 10);
            assert_eq!(got, want, "frame {frame}");
        }
    }

    #[test]
    fn a_track_goes_on_with_less_until_the_target_begins() {
        let mut fixture = Fixture::new();
        assert!(fixture.packet(1, 1, 0, true));
        fixture.slot.target = Some(2);
        fixture.slot.makes_room = true;
        assert!(!fixture.packet(2, 50, 0, false));
        assert!(!fixture.packet(1, 2, 1, false));
        assert!(fixture.packet(1, 3, 0, false));
        assert!(fixture.packet(2, 51, 0, true));
        assert!(!fixture.packet(1, 4, 0, false), "not any more");
        assert!(fixture.packet(2, 52, 1, false), "all of the target");
    }

    #[test]
    fn a_slot_is_content_with_another_layer_only_while_it_has_none() {
        let mut fixture = Fixture::new();
        fixture.slot.fallbacks = [Some(2), None];
        assert!(fixture.packet(2, 1, 0, true));
        fixture.slot.fallbacks = [Some(3), None];
        assert!(!fixture.packet(3, 1, 0, true));
        assert!(fixture.packet(1, 1, 0, true), "the target");
        fixture.slot.forget_track(1);
        assert!(!fixture.packet(1, 2, 0, true));
        assert!(fixture.packet(3, 2, 0, true));
        fixture.slot.stop();
        assert!(!fixture.packet(3, 3, 0, true));
    }
}
