//! What must hold of everything a room forwarded.

use std::collections::BTreeMap;
use std::time::Duration;

use call_protocol::MemberId;
use call_room::sfu::SlotId;

use super::world::{Got, World};

impl World {
    /// Checks what every slot got. Without loss there must be no gap at all; with loss, a number
    /// never stands for two packets, and order is kept.
    pub(crate) fn verify(&self) {
        for (key, packets) in &self.got {
            let mut by_number: BTreeMap<u64, &Got> = BTreeMap::new();
            for packet in packets {
                let before = by_number.insert(packet.sequence, packet);
                let is_same = before.is_none_or(|before| {
                    (before.track, before.sequence_in) == (packet.track, packet.sequence_in)
                });
                assert!(is_same, "{key:?}: {before:?} and {packet:?} share a number");
            }
            if self.loss_permille == 0 && self.reorder_permille == 0 {
                assert!(
                    packets.is_sorted_by_key(|packet| packet.sequence),
                    "{key:?}: order"
                );
            }
            let ordered: Vec<&Got> = by_number.into_values().collect();
            self.verify_gaps(key, &ordered);
            for pair in ordered.windows(2) {
                self.verify_pair(key, pair[0], pair[1]);
            }
            if let Some(first) = ordered.first().filter(|first| first.layer.is_some()) {
                assert!(
                    first.begins,
                    "{key:?} does not begin with a keyframe: {first:?}"
                );
            }
        }
        for (track, times) in &self.requests {
            let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
            let shortest = gaps.min().unwrap_or(Duration::MAX);
            assert!(
                shortest >= Duration::from_millis(500),
                "{track:?} asked after {shortest:?}"
            );
        }
    }

    /// What is on its way late when a slot changes streams or begins anew or ends is lost, and so is what the network
    /// lost twice; nothing else is missing.
    fn verify_gaps(&self, key: &(MemberId, SlotId), ordered: &[&Got]) {
        let Some(last) = ordered.last() else {
            return;
        };
        let missing = last.sequence as usize - ordered.len();
        let changes = ordered
            .windows(2)
            .filter(|pair| pair[0].track != pair[1].track || pair[1].begins)
            .count();
        let mut allowed = 0;
        if self.reorder_permille > 0 {
            allowed += 3 * (changes + 1);
        }
        if self.loss_permille > 0 {
            allowed += 5 + ordered.len() * self.loss_permille as usize / 2_000 + 5 * changes;
        }
        assert!(
            missing <= allowed,
            "{key:?}: {missing} of {} missing",
            ordered.len()
        );
    }

    fn verify_pair(&self, key: &(MemberId, SlotId), one: &Got, next: &Got) {
        let ahead = next.timestamp.wrapping_sub(one.timestamp);
        assert!(
            ahead < 1 << 31,
            "{key:?}: time runs backwards: {one:?} {next:?}"
        );
        if let (Some(before), Some(after)) = (one.frame_number, next.frame_number) {
            let frames = after.wrapping_sub(before);
            assert!(
                frames < 1 << 15,
                "{key:?}: frames run backwards: {one:?} {next:?}"
            );
            assert_eq!(frames == 0, ahead == 0, "{key:?}: {one:?} {next:?}");
            let is_whole = one.end && next.start;
            // Of a frame that is left out, packets may have numbers kept for them that come late.
            let is_lossy = self.loss_permille > 0 || self.reorder_permille > 0;
            assert!(
                is_whole || frames == 0 || is_lossy || next.begins,
                "{key:?}: a frame in pieces"
            );
        }
        if one.track != next.track && next.layer.is_some() {
            assert!(
                next.begins,
                "{key:?} switches without a keyframe: {one:?} {next:?}"
            );
        }
    }
}
