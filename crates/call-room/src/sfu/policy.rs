//! The decisions of [`SfuRoom`], put together from the pure functions beside.

use std::time::{Duration, Instant};

use call_protocol::limits::SFU_LAYERS;
use call_protocol::{MediaSource, MemberId};

use super::allocate::{Request, Step, UPGRADE_PERCENT, allocate, desired_bps, largest_useful};
use super::assign::{PictureKey, assign_pictures};
use super::io::SfuOutput;
use super::track::layer_size;
use super::voice::{SoundSlot, Voice, assign_sound};
use super::{Picture, SfuRoom};

/// How long pictures do not grow after they had to shrink. Longer keeps a link whose estimate
/// recovers slowly from being filled again and again.
const GROWTH_PAUSE: Duration = Duration::from_secs(3);
/// How much of a receiver's estimate is given out, in percent. The rest is for retransmissions,
/// padding and probes, and for a queue to drain: without, a narrow link stays full for ten seconds
/// after its pictures shrank, and sound gets lost in it.
const USABLE_PERCENT: u64 = 85;
/// One receiver's wish for a picture, with the slot that carries it.
struct Wish {
    slot: usize,
    key: PictureKey,
    request: Request,
}

impl SfuRoom {
    /// Looks at everything.
    pub(super) fn decide(&mut self, now: Instant) {
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for member in &members {
            self.order_layers(now, *member);
        }
        self.assign_all_sound(now);
        for member in members {
            self.assign_tiles(now, member);
            self.share_bandwidth(now, member);
        }
        self.request_keyframes(now);
        self.tell_wanted(now);
        self.tell_slots();
    }

    pub(super) fn assign_all_sound(&mut self, now: Instant) {
        let mut voices: Vec<(MemberId, Voice, usize)> = Vec::new();
        for (id, member) in &self.members {
            let sounds =
                |index: &&usize| self.tracks.get(**index).is_some_and(super::Track::is_sound);
            if let Some(track) = member.tracks.iter().find(sounds) {
                voices.push((*id, member.voice, *track));
            }
        }
        for (id, receiver) in &self.members {
            if receiver.audio_slots.is_empty() {
                continue;
            }
            let others: Vec<(MemberId, Voice)> = voices
                .iter()
                .filter(|(other, ..)| other != id)
                .map(|(other, voice, _)| (*other, *voice))
                .collect();
            let mut holders: Vec<SoundSlot> = receiver
                .audio_slots
                .iter()
                .filter_map(|index| self.slots.get(*index))
                .map(|slot| SoundSlot {
                    holder: slot.assigned.map(|(holder, _)| holder),
                    since: slot.since,
                })
                .collect();
            assign_sound(now, &mut holders, &others);
            for (index, holder) in receiver.audio_slots.iter().zip(holders) {
                let Some(slot) = self.slots.get_mut(*index) else {
                    continue;
                };
                slot.assign(
                    now,
                    holder
                        .holder
                        .map(|member| (member, MediaSource::Microphone)),
                );
                let track = voices
                    .iter()
                    .find(|(other, ..)| Some(*other) == holder.holder);
                slot.target = track.map(|(_, _, track)| *track);
                if let Some(track) = slot.target.and_then(|track| self.tracks.get_mut(track))
                    && !track.feeds.contains(index)
                {
                    track.feeds.push(*index);
                }
            }
        }
    }

    fn assign_tiles(&mut self, now: Instant, member: MemberId) {
        let Some(receiver) = self.members.get(&member) else {
            return;
        };
        let slots = &self.slots;
        let before: Vec<Option<PictureKey>> = receiver
            .video_slots
            .iter()
            .map(|index| slots.get(*index)?.assigned)
            .collect();
        let wanted: Vec<(PictureKey, u64)> = receiver
            .tiles
            .iter()
            .map(|tile| {
                let area_px = u64::from(tile.width_px) * u64::from(tile.height_px);
                ((tile.member, tile.source), area_px)
            })
            .filter(|(key, _)| self.pictures.contains_key(key))
            .collect();
        let after = assign_pictures(&before, &wanted);
        for (index, key) in receiver.video_slots.iter().zip(after) {
            if let Some(slot) = self.slots.get_mut(*index) {
                slot.assign(now, key);
            }
        }
    }

    /// What of a receiver's estimate is left for pictures.
    pub(super) fn picture_budget(&self, member: MemberId) -> u64 {
        let Some(receiver) = self.members.get(&member) else {
            return 0;
        };
        let estimate = receiver
            .estimate_bps
            .unwrap_or(self.config.initial_estimate_bps);
        let usable = estimate.saturating_mul(USABLE_PERCENT) / 100;
        usable.saturating_sub(self.sound_bps(member))
    }

    pub(super) fn allocated(&self, member: MemberId) -> u64 {
        self.members
            .get(&member)
            .map_or(0, |receiver| receiver.allocated_bps)
    }

    fn sound_bps(&self, member: MemberId) -> u64 {
        let slots = self
            .members
            .get(&member)
            .map_or(&[][..], |receiver| &receiver.audio_slots);
        let used = slots.iter().filter(|index| {
            self.slots
                .get(**index)
                .is_some_and(|slot| slot.assigned.is_some())
        });
        used.count() as u64 * self.config.sound_bps
    }

    fn wishes(&self, now: Instant, member: MemberId) -> Vec<Wish> {
        let Some(receiver) = self.members.get(&member) else {
            return Vec::new();
        };
        let wish = |index: &usize| {
            let slot = self.slots.get(*index)?;
            let key = slot.assigned?;
            let picture = self.pictures.get(&key)?;
            let tile = receiver
                .tiles
                .iter()
                .find(|tile| (tile.member, tile.source) == key)?;
            let mut request = Request {
                area_px: u64::from(tile.width_px) * u64::from(tile.height_px),
                largest: 0,
                layers: [None; SFU_LAYERS],
                current: None,
            };
            if self
                .members
                .get(&key.0)
                .is_some_and(|sender| sender.voice.is_speaking(now))
            {
                request.area_px = request.area_px.saturating_mul(2);
            }
            let mut told = [None; SFU_LAYERS];
            for (layer, track) in picture.layers.iter().enumerate() {
                told[layer] = track.and_then(|track| self.tracks.get(track)?.size());
            }
            let mut sizes = [None; SFU_LAYERS];
            for (layer, track) in picture.layers.iter().enumerate() {
                let Some(track_index) = *track else { continue };
                let Some(track) = self.tracks.get(track_index).filter(|t| t.is_usable(now)) else {
                    continue;
                };
                let size = layer_size(&told, layer);
                sizes[layer] = Some(size);
                request.layers[layer] = Some(track.cost(size));
                if slot.target == Some(track_index) {
                    request.current = Some(Step {
                        layer,
                        base_only: slot.base_only,
                    });
                }
            }
            request.largest = largest_useful(&sizes, (tile.width_px, tile.height_px));
            Some(Wish {
                slot: *index,
                key,
                request,
            })
        };
        receiver.video_slots.iter().filter_map(wish).collect()
    }

    pub(super) fn share_bandwidth(&mut self, now: Instant, member: MemberId) {
        let wishes = self.wishes(now, member);
        let requests: Vec<Request> = wishes.iter().map(|wish| wish.request).collect();
        let budget_bps = self.picture_budget(member);
        let sound_bps = self.sound_bps(member);
        let Some(receiver) = self.members.get_mut(&member) else {
            return;
        };
        if !receiver.has_link {
            return;
        }
        let may_grow = receiver.may_grow_at.is_none_or(|at| now >= at);
        let steps = allocate(budget_bps, may_grow, &requests);
        receiver.allocated_bps = requests.iter().zip(&steps).fold(0, |sum, (request, step)| {
            let cost = step.and_then(|step| Some((step, request.layers[step.layer]?)));
            sum + cost.map_or(0, |(step, cost)| {
                if step.base_only {
                    cost.base_bps
                } else {
                    cost.full_bps
                }
            })
        });
        let shrinks = requests.iter().zip(&steps).any(|(request, step)| {
            let (Some(before), Some(after)) = (request.current, step) else {
                return request.current.is_some();
            };
            before.layer >= request.largest
                && (after.layer > before.layer
                    || (after.layer == before.layer && after.base_only && !before.base_only))
        });
        if shrinks {
            receiver.may_grow_at = Some(now + GROWTH_PAUSE);
        }
        let desired =
            (desired_bps(&requests) * UPGRADE_PERCENT / 100 + sound_bps) * 100 / USABLE_PERCENT;
        let estimate_bps = receiver.estimate_bps;
        if let Some(desired_bps) = receiver.probing.update(now, desired, estimate_bps) {
            self.outputs.push_back(SfuOutput::Bitrate {
                member,
                desired_bps,
            });
        }
        for (wish, step) in wishes.iter().zip(steps) {
            self.aim(now, wish, step);
        }
    }

    /// Lets a slot follow what was allocated to it.
    fn aim(&mut self, now: Instant, wish: &Wish, step: Option<Step>) {
        let Some(picture) = self.pictures.get(&wish.key) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(wish.slot) else {
            return;
        };
        let Some(step) = step else {
            slot.stop();
            return;
        };
        slot.target = picture.layers[step.layer];
        let current = picture
            .layers
            .iter()
            .position(|track| track.is_some() && *track == slot.current);
        slot.base_only = step.base_only;
        // Until a smaller layer begins, the current one goes on with less.
        slot.makes_room = current.is_some_and(|current| current < step.layer);
        let tracks = &self.tracks;
        let is_overdue = slot
            .target
            .and_then(|target| tracks.get(target))
            .is_some_and(|track| track.is_overdue(now));
        slot.fallbacks = fallbacks(picture, step.layer, |track| {
            tracks
                .get(track)
                .is_some_and(|track| track.is_live(now) || (is_overdue && track.is_usable(now)))
        });
        for track in slot
            .fallbacks
            .iter()
            .chain([&slot.target])
            .copied()
            .flatten()
        {
            if slot.listens(track)
                && let Some(track) = self.tracks.get_mut(track)
                && !track.feeds.contains(&wish.slot)
            {
                track.feeds.push(wish.slot);
            }
        }
    }

    pub(super) fn request_keyframes(&mut self, now: Instant) {
        let mut awaited = Vec::new();
        for (_, slot) in self.slots.iter() {
            let Some(target) = slot.target.filter(|target| slot.accepts(*target)) else {
                continue;
            };
            awaited.push(target);
            let is_silent = self
                .tracks
                .get(target)
                .is_some_and(|track| !track.is_live(now));
            if slot.current.is_none() && is_silent {
                awaited.extend(slot.fallbacks.iter().flatten());
            }
        }
        awaited.sort_unstable();
        awaited.dedup();
        for (index, track) in self.tracks.iter_mut() {
            if track.is_sound() {
                continue;
            }
            let is_awaited = awaited.binary_search(&index).is_ok();
            if is_awaited {
                track.awaited(now);
            }
            if track.keyframe.poll(now, is_awaited) {
                self.outputs.push_back(SfuOutput::RequestKeyframe {
                    member: track.owner,
                    track: track.spec.track,
                });
            }
        }
    }

    pub(super) fn tell_wanted(&mut self, now: Instant) {
        let mut used: Vec<usize> = Vec::new();
        for (_, slot) in self.slots.iter() {
            used.extend(slot.current.iter().chain(&slot.target));
            let target = slot.target.and_then(|target| self.tracks.get(target));
            if slot.current.is_none() && target.is_some_and(|target| target.is_overdue(now)) {
                used.extend(slot.fallbacks.iter().flatten());
            }
        }
        used.sort_unstable();
        used.dedup();
        for (key, picture) in &mut self.pictures {
            let in_use = picture
                .layers
                .map(|track| track.is_some_and(|track| used.binary_search(&track).is_ok()));
            if let Some(wanted) = picture.wanted.update(now, in_use) {
                self.outputs.push_back(SfuOutput::Layers {
                    member: key.0,
                    source: key.1,
                    wanted,
                });
            }
        }
    }

    pub(super) fn tell_slots(&mut self) {
        for (id, receiver) in &mut self.members {
            let indices = receiver.audio_slots.iter().chain(&receiver.video_slots);
            let slots: Vec<_> = indices
                .filter_map(|index| {
                    let slot = self.slots.get(*index)?;
                    let (member, source) = slot.assigned?;
                    Some((slot.spec.slot, member, source))
                })
                .collect();
            if receiver.has_link && receiver.told_slots != slots {
                receiver.told_slots.clone_from(&slots);
                self.outputs
                    .push_back(SfuOutput::Slots { member: *id, slots });
            }
        }
    }
}

/// What a slot without a picture may begin with while its target is silent: the next smaller layers
/// there are, or else the next larger one.
fn fallbacks(
    picture: &Picture,
    target: usize,
    is_there: impl Fn(usize) -> bool,
) -> [Option<usize>; 2] {
    let there = |layer: usize| picture.layers[layer].filter(|track| is_there(*track));
    let mut smaller = (target + 1..SFU_LAYERS).filter_map(there);
    let first = smaller.next();
    let second = smaller.next();
    let larger = || (0..target).rev().find_map(there);
    [first.or_else(larger), second]
}
