//! What is received from everybody, over all links: opened, put together, paced, kept in step. Pure
//! but for the mixer it shares with the playout.
//!
//! A member's state lives from joining to leaving, not as long as a link. Sound goes to the member's
//! one jitter buffer ([`super::sound`]), pictures to one run of frames each ([`super::picture`]).
//! Lip sync compares both five times a second, by the capture clock inside sealed media, or by the
//! path's sender reports.
//!
//! Invariants: what does not open, or belongs to nobody in the room, is dropped and counted; a member
//! without sound, or without a capture clock, is shown as early as the jitter allows; nobody's sound
//! waits for a picture that is off.
//!
//! Deliberately not here: decoding, and the tasks that wait for packets ([`super`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_core::{LinkId, LinkPeer};
use call_e2ee::{MediaOpener, RoomKeys};
use call_media::audio::{Mixer, Red};
use call_media::lip_sync::{Heard, LipSync, Seen};
use call_protocol::limits::ROOM_MEMBERS;
use call_protocol::{MediaSource, MemberId};
use call_transport::{Codec, RtpIn, SenderClock};

use super::picture::{PICTURE_HZ, PictureIn, ReceivedFrame};
use super::sound::{Once, Place, SOUND_HZ, Spliced};
use super::stream::{Origin, PicturePacket};

/// Time between two comparisons of sound and picture. More often follows noise, less often starts
/// out of step for longer.
const SYNC_EVERY: Duration = Duration::from_millis(200);
/// A picture that stood still for this long is off: the sound is no longer held back for it.
const PICTURE_OFF: Duration = Duration::from_secs(2);

/// What the engine is to do about what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Show this frame now.
    Frame {
        member: MemberId,
        source: MediaSource,
        frame: ReceivedFrame,
    },
    /// Ask for a keyframe.
    NeedsKeyframe { link: LinkId, ssrc: u32 },
    /// The first media of this kind came this way, and is played.
    Flows {
        link: LinkId,
        member: MemberId,
        source: MediaSource,
    },
}

/// Counters of one member since they joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberCounters {
    /// Opened payload bytes of sound, each packet once.
    pub(crate) sound_bytes: u64,
    /// Packets of the shown camera picture that were given up.
    pub(crate) lost: u64,
}

/// See the [module documentation](self).
pub(super) struct Receiving {
    mixer: Arc<Mutex<Mixer>>,
    is_sealed: bool,
    opener: Option<MediaOpener>,
    members: BTreeMap<MemberId, Member>,
    outputs: VecDeque<Received>,
    synced_at: Option<Instant>,
    dropped: u64,
}

struct Member {
    sound: SoundIn,
    camera: PictureIn,
    screen: PictureIn,
    /// Capture clocks, which all layers of a picture share.
    camera_clock: Option<CaptureClock>,
    lip_sync: LipSync,
}

#[derive(Default)]
struct SoundIn {
    once: Once,
    spliced: Spliced,
    clock: Option<CaptureClock>,
    flowing: BTreeSet<LinkId>,
    bytes: u64,
}

/// When what bears a timestamp was captured, in microseconds of the sender's wall clock.
#[derive(Clone, Copy, Debug)]
struct CaptureClock {
    timestamp: u32,
    capture_us: i64,
}

impl CaptureClock {
    fn capture_us(self, timestamp: u32, clock_hz: u32) -> i64 {
        let ticks = i64::from(timestamp.wrapping_sub(self.timestamp).cast_signed());
        self.capture_us
            .saturating_add(ticks * 1_000_000 / i64::from(clock_hz))
    }
}

/// A packet whose sender is known.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) member: MemberId,
    pub(super) source: MediaSource,
    pub(super) layer: u8,
    pub(super) codec: Codec,
    pub(super) origin: Origin,
    /// On its path.
    pub(super) sequence: u16,
    pub(super) marker: bool,
    pub(super) payload: Bytes,
    /// The sender's own where there is a counter, else the path's.
    pub(super) timestamp: u32,
    /// The sender's own number, of sealed media.
    pub(super) counter: Option<u64>,
    pub(super) capture_us: Option<i64>,
}

impl Receiving {
    pub(super) fn new(mixer: Arc<Mutex<Mixer>>, is_sealed: bool) -> Self {
        Self {
            mixer,
            is_sealed,
            opener: None,
            members: BTreeMap::new(),
            outputs: VecDeque::new(),
            synced_at: None,
            dropped: 0,
        }
    }

    /// A call begins: nobody is known yet.
    pub(super) fn set_keys(&mut self, keys: &RoomKeys) {
        self.opener = Some(MediaOpener::new(keys));
    }

    /// Opens a member's media from now on.
    pub(super) fn open_member(&mut self, member: MemberId, salt: [u8; 16]) {
        if let Some(opener) = &mut self.opener {
            opener.set_member(member, salt);
        }
    }

    /// Opens nothing of theirs any more.
    pub(super) fn forget_member(&mut self, member: MemberId) {
        if let Some(opener) = &mut self.opener {
            opener.remove_member(member);
        }
    }

    /// Somebody is there; nothing changes for who was.
    pub(super) fn add_member(&mut self, member: MemberId) {
        if self.members.contains_key(&member) || self.members.len() >= ROOM_MEMBERS {
            return;
        }
        if let Err(error) = self.mixer().add_member(member) {
            tracing::error!(?error, "no sound decoder");
        }
        let fresh = Member {
            sound: SoundIn::default(),
            camera: PictureIn::new(self.is_sealed),
            screen: PictureIn::new(self.is_sealed),
            camera_clock: None,
            lip_sync: LipSync::default(),
        };
        self.members.insert(member, fresh);
    }

    /// Somebody left.
    pub(super) fn remove_member(&mut self, member: MemberId) {
        if self.members.remove(&member).is_some() {
            self.mixer().remove_member(member);
        }
        self.forget_member(member);
    }

    /// See [`PictureIn::set_rtt`].
    pub(super) fn set_rtt(&mut self, link: LinkId, rtt: Duration) {
        for member in self.members.values_mut() {
            member.camera.set_rtt(link, rtt);
            member.screen.set_rtt(link, rtt);
        }
    }

    /// Nothing more comes over a link.
    pub(super) fn remove_link(&mut self, now: Instant, link: LinkId) {
        for member in self.members.values_mut() {
            member.sound.flowing.remove(&link);
            member.camera.remove_link(now, link);
            member.screen.remove_link(now, link);
        }
    }

    pub(super) fn handle_packet(&mut self, now: Instant, link: LinkId, packet: RtpIn) {
        match self.open(link, packet) {
            Some(incoming) => self.handle_incoming(now, incoming),
            None => {
                self.dropped += 1;
                tracing::trace!("payload did not open");
            }
        }
    }

    fn open(&mut self, link: LinkId, packet: RtpIn) -> Option<Incoming> {
        let origin = Origin {
            link,
            ssrc: packet.ssrc,
        };
        let by_codec = match packet.codec {
            Codec::Opus => MediaSource::Microphone,
            Codec::Video(_) => MediaSource::Camera,
        };
        let incoming = Incoming {
            member: link.member().unwrap_or(MemberId(0)),
            source: by_codec,
            layer: 0,
            codec: packet.codec,
            origin,
            sequence: packet.sequence,
            marker: packet.marker,
            payload: packet.payload,
            timestamp: packet.timestamp,
            counter: None,
            capture_us: None,
        };
        if !self.is_sealed {
            let member = match link.peer {
                LinkPeer::Member(member) => member,
                LinkPeer::Data(_) => return None,
                LinkPeer::Sfu => MemberId(packet.csrc?),
            };
            return Some(Incoming { member, ..incoming });
        }
        let opened = self.opener.as_mut()?.open(&incoming.payload)?;
        // Nobody forwards the media of others, but the SFU.
        if link.member().is_some_and(|member| member != opened.member) {
            return None;
        }
        let is_sound = opened.stream.source == MediaSource::Microphone;
        if is_sound != (by_codec == MediaSource::Microphone) {
            return None;
        }
        Some(Incoming {
            member: opened.member,
            source: opened.stream.source,
            layer: opened.stream.layer,
            payload: opened.payload,
            timestamp: opened.time.timestamp,
            counter: Some(opened.counter),
            capture_us: opened.time.capture_us,
            ..incoming
        })
    }

    pub(super) fn handle_incoming(&mut self, now: Instant, packet: Incoming) {
        let Some(member) = self.members.get_mut(&packet.member) else {
            self.dropped += 1;
            tracing::trace!("media of somebody who is not there");
            return;
        };
        let clock = packet.capture_us.map(|capture_us| CaptureClock {
            timestamp: packet.timestamp,
            capture_us,
        });
        let picture = match (packet.source, packet.codec) {
            (MediaSource::Microphone, _) | (_, Codec::Opus) => {
                member.sound.clock = clock.or(member.sound.clock);
                return self.handle_sound(now, packet);
            }
            (MediaSource::Camera, Codec::Video(codec)) => {
                member.camera_clock = clock.or(member.camera_clock);
                (&mut member.camera, codec)
            }
            (MediaSource::Screen, Codec::Video(codec)) => (&mut member.screen, codec),
        };
        let (picture, codec) = picture;
        picture.handle_packet(
            now,
            PicturePacket {
                origin: packet.origin,
                layer: packet.layer,
                codec,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                marker: packet.marker,
                payload: packet.payload,
            },
        );
        self.collect(now);
    }

    fn handle_sound(&mut self, now: Instant, packet: Incoming) {
        let Some(member) = self.members.get_mut(&packet.member) else {
            return;
        };
        let red = match packet.counter {
            Some(_) => Red::read(&packet.payload),
            None => Some(packet.payload.clone().into()),
        };
        let Some(red) = red else {
            self.dropped += 1;
            tracing::trace!("sound of another format");
            return;
        };
        let sound = &mut member.sound;
        let link = packet.origin.link;
        let own = Place {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
        };
        let place = match packet.counter {
            Some(counter) => {
                let sequence = counter as u16;
                let place = Place { sequence, ..own };
                sound.once.is_new(counter).then_some(place)
            }
            None => sound.spliced.place(now, packet.origin, own),
        };
        // A packet that came the other way before shows that this way works.
        if (packet.counter.is_some() || place.is_some()) && sound.flowing.insert(link) {
            self.outputs.push_back(Received::Flows {
                link,
                member: packet.member,
                source: MediaSource::Microphone,
            });
        }
        let Some(place) = place else { return };
        sound.bytes += packet.payload.len() as u64;
        self.mixer()
            .handle_packet(now, packet.member, place.sequence, place.timestamp, red);
    }

    /// Does what is due. Then drain [`Self::poll_output`].
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            for picture in [&mut member.camera, &mut member.screen] {
                if picture.poll_timeout().is_some_and(|at| at <= now) {
                    picture.handle_timeout(now);
                }
            }
        }
        self.collect(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pictures = self
            .members
            .values()
            .flat_map(|member| [&member.camera, &member.screen]);
        pictures.filter_map(PictureIn::poll_timeout).min()
    }

    /// What to do next, in order. Bounded by what arrived since the last call.
    pub(super) fn poll_output(&mut self) -> Option<Received> {
        self.outputs.pop_front()
    }

    /// A decoder cannot go on: asks whoever its picture comes from.
    pub(super) fn request_keyframe(&mut self, now: Instant, member: MemberId, source: MediaSource) {
        let Some(member) = self.members.get_mut(&member) else {
            return;
        };
        let picture = match source {
            MediaSource::Camera => &mut member.camera,
            MediaSource::Screen => &mut member.screen,
            MediaSource::Microphone => return,
        };
        if let Some(Origin { link, ssrc }) = picture.keyframe_source(now) {
            self.outputs
                .push_back(Received::NeedsKeyframe { link, ssrc });
        }
    }

    pub(super) fn counters(&self, member: MemberId) -> MemberCounters {
        self.members
            .get(&member)
            .map(|member| MemberCounters {
                sound_bytes: member.sound.bytes,
                lost: member.camera.lost(),
            })
            .unwrap_or_default()
    }

    /// Packets of nobody, or that did not open, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn collect(&mut self, now: Instant) {
        for (id, member) in &mut self.members {
            let pictures = [
                (MediaSource::Camera, &mut member.camera),
                (MediaSource::Screen, &mut member.screen),
            ];
            for (source, picture) in pictures {
                while let Some(frame) = picture.poll_frame(now) {
                    self.outputs.push_back(Received::Frame {
                        member: *id,
                        source,
                        frame,
                    });
                }
                while let Some(link) = picture.poll_flow() {
                    self.outputs.push_back(Received::Flows {
                        link,
                        member: *id,
                        source,
                    });
                }
                while let Some(Origin { link, ssrc }) = picture.poll_keyframe_request(now) {
                    self.outputs
                        .push_back(Received::NeedsKeyframe { link, ssrc });
                }
            }
        }
    }

    /// Whether [`Self::sync`] is to be called.
    pub(super) fn sync_due(&self, now: Instant) -> bool {
        self.synced_at
            .is_none_or(|at| now.saturating_duration_since(at) >= SYNC_EVERY)
    }

    /// Compares what is heard with what is seen of everybody.
    pub(super) fn sync(
        &mut self,
        now: Instant,
        clock_of: impl Fn(LinkId, u32) -> Option<SenderClock>,
    ) {
        self.synced_at = Some(now);
        let mut mixer = self.mixer.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, member) in &mut self.members {
            let extra_ms = member.sync(now, mixer.heard(*id), &clock_of);
            if let (Some(extra_ms), Some(receiver)) = (extra_ms, mixer.receiver_mut(*id)) {
                receiver.set_extra_delay_ms(extra_ms);
            }
        }
    }

    fn mixer(&self) -> MutexGuard<'_, Mixer> {
        self.mixer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// The sound's extra delay in milliseconds; `None` leaves it as it is.
    fn sync(
        &mut self,
        now: Instant,
        heard: Option<(u32, Instant)>,
        clock_of: &impl Fn(LinkId, u32) -> Option<SenderClock>,
    ) -> Option<u32> {
        let newest = self.camera.newest().filter(|newest| {
            let (.., complete_at) = newest;
            now.saturating_duration_since(*complete_at) < PICTURE_OFF
        });
        let Some((origin, there, here, _)) = newest else {
            self.lip_sync = LipSync::default();
            return Some(0);
        };
        // A pause in the sound leaves both delays as they are.
        let (sound_timestamp, at) = heard?;
        let sound_us = match self.sound.clock {
            Some(clock) => clock.capture_us(sound_timestamp, SOUND_HZ),
            None => {
                let (origin, own) = self.sound.spliced.own_timestamp(sound_timestamp)?;
                clock_of(origin.link, origin.ssrc)?.capture_us(own, SOUND_HZ)
            }
        };
        let picture_us = match self.camera_clock {
            Some(clock) => clock.capture_us(there, PICTURE_HZ),
            None => clock_of(origin.link, origin.ssrc)?.capture_us(there, PICTURE_HZ),
        };
        let heard = Heard {
            capture_us: sound_us,
            at,
        };
        let seen = Seen {
            capture_us: picture_us,
            undelayed_at: self.camera.undelayed_at(here)?,
        };
        let jitter_delay_us = self.camera.jitter_delay_us();
        let plan = self
            .lip_sync
            .handle_observation(heard, seen, jitter_delay_us);
        tracing::trace!(?plan, jitter_delay_us, "lip sync");
        self.camera.set_sync_delay_us(plan.picture_delay_us);
        Some(plan.sound_delay_ms)
    }
}

#[cfg(test)]
#[path = "receiving_tests.rs"]
mod tests;
