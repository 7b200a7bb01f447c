//! Tracks and slots come and go with links.

use std::time::Instant;

use call_protocol::limits::{self, SFU_LAYERS};
use call_protocol::{MediaSource, MemberId};

use super::io::{SlotKind, SlotSpec, TrackSpec};
use super::probing::Probing;
use super::slot::Slot;
use super::track::Track;
use super::wanted::Wanted;
use super::{Picture, SfuRoom};

impl SfuRoom {
    pub(super) fn replace_link(
        &mut self,
        now: Instant,
        member: MemberId,
        tracks: &[TrackSpec],
        slots: &[SlotSpec],
    ) {
        self.remove_tracks(member, tracks);
        self.remove_slots(member, slots);
        for spec in tracks.iter().take(limits::SFU_TRACKS) {
            if !self.track_index.contains_key(&spec.track) {
                let index = self.tracks.insert(Track::new(*spec, member));
                self.track_index.insert(spec.track, index);
                self.members.entry(member).or_default().tracks.push(index);
            }
        }
        let most = limits::SFU_AUDIO_SLOTS + limits::SFU_VIDEO_SLOTS;
        for spec in slots.iter().take(most) {
            if !self.slot_index.contains_key(&spec.slot) {
                let index = self.slots.insert(Slot::new(now, *spec, member));
                self.slot_index.insert(spec.slot, index);
                let receiver = self.members.entry(member).or_default();
                match spec.kind {
                    SlotKind::Audio => receiver.audio_slots.push(index),
                    SlotKind::Video => receiver.video_slots.push(index),
                }
            }
        }
        self.order_layers(now, member);
        for (key, picture) in &mut self.pictures {
            if key.0 == member {
                picture.wanted.tell_again(now);
            }
        }
        if let Some(receiver) = self.members.get_mut(&member) {
            receiver.told_slots.clear();
            receiver.probing = Probing::default();
        }
    }

    /// Removes the member's tracks that are not among `kept`.
    fn remove_tracks(&mut self, member: MemberId, kept: &[TrackSpec]) {
        let Some(sender) = self.members.get_mut(&member) else {
            return;
        };
        let tracks = &mut self.tracks;
        let is_kept = |index: usize| {
            tracks
                .get(index)
                .is_some_and(|track| kept.contains(&track.spec))
        };
        let gone: Vec<usize> = sender
            .tracks
            .extract_if(.., |index| !is_kept(*index))
            .collect();
        for index in gone {
            if let Some(track) = self.tracks.remove(index) {
                self.track_index.remove(&track.spec.track);
            }
            for (_, slot) in self.slots.iter_mut() {
                slot.forget_track(index);
            }
        }
    }

    fn remove_slots(&mut self, member: MemberId, kept: &[SlotSpec]) {
        let Some(receiver) = self.members.get_mut(&member) else {
            return;
        };
        let slots = &self.slots;
        let is_kept = |index: usize| {
            slots
                .get(index)
                .is_some_and(|slot| kept.contains(&slot.spec))
        };
        let mut gone: Vec<usize> = Vec::new();
        for indices in [&mut receiver.audio_slots, &mut receiver.video_slots] {
            gone.extend(indices.extract_if(.., |index| !is_kept(*index)));
        }
        for index in gone {
            if let Some(slot) = self.slots.remove(index) {
                self.slot_index.remove(&slot.spec.slot);
            }
        }
    }

    /// Finds the member's pictures and which track is which layer.
    pub(super) fn order_layers(&mut self, now: Instant, member: MemberId) {
        let indices = self
            .members
            .get(&member)
            .map_or(&[][..], |sender| &sender.tracks);
        for source in [MediaSource::Camera, MediaSource::Screen] {
            let mut layers = [None; SFU_LAYERS];
            let mut unordered = Vec::new();
            for index in indices {
                let Some(track) = self.tracks.get(*index).filter(|t| t.spec.source == source)
                else {
                    continue;
                };
                match track.spec.layer.map(usize::from) {
                    Some(layer) if layer < SFU_LAYERS => layers[layer] = Some(*index),
                    Some(_) => {}
                    None => unordered.push((std::cmp::Reverse(track.size()), *index)),
                }
            }
            // Those whose size is not known yet come last.
            unordered.sort();
            for (slot, (_, index)) in layers.iter_mut().filter(|l| l.is_none()).zip(unordered) {
                *slot = Some(index);
            }
            if layers == [None; SFU_LAYERS] {
                self.pictures.remove(&(member, source));
            } else {
                self.pictures
                    .entry((member, source))
                    .or_insert_with(|| Picture {
                        layers,
                        wanted: Wanted::new(now),
                    })
                    .layers = layers;
            }
        }
    }
}
