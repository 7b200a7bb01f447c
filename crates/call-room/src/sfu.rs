//! Forwarding: which of a room's streams go to whom, and with which numbers.
//!
//! One [`SfuRoom`] holds what one room has at the forwarding unit: each member's incoming streams
//! (tracks), outgoing streams (slots), subscriptions and bandwidth estimate. The shell owns sockets,
//! retransmission and encryption of the transport, and asks [`SfuRoom::handle_packet`] for each
//! packet that arrives, where it goes.
//!
//! * Sound: everybody has a slot while there are enough, the ones who speak have them otherwise.
//! * Pictures: a slot for each subscribed tile, largest first; the layer by the tile's size and the
//!   receiver's estimate. Layers change only where a keyframe of the new one begins, and the old one
//!   goes on until then. In between, the upper temporal layers are left out.
//! * Senders are told which layers anybody uses, and asked for keyframes, seldom.
//!
//! Invariants: numbers of a slot have no gap without loss and never run backwards; a request for a
//! keyframe is not repeated within 500 ms; what is kept is bounded by members, tracks and slots, and
//! those by the limits of an offer. Payloads are not even arguments here.
//!
//! Deliberately not here: signalling ([`crate::Rooms`]), negotiation, the estimate itself.

mod allocate;
mod arena;
mod assign;
mod io;
mod keyframe;
mod links;
mod policy;
mod probing;
mod rewrite;
mod slot;
mod track;
mod voice;
mod wanted;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_protocol::limits::{self, SFU_LAYERS};
use call_protocol::wire::Subscription;
use call_protocol::{MediaSource, MemberId};

pub use io::{
    DescriptorBytes, Forward, PacketIn, SfuOutput, SlotId, SlotKind, SlotSpec, TrackId, TrackSpec,
};

use arena::Arena;
use assign::PictureKey;
use probing::Probing;
use slot::Slot;
use track::Track;
use voice::Voice;
use wanted::Wanted;

/// How often decisions are looked at that nothing triggers: keyframes asked for again, layers
/// nobody uses. Shorter costs CPU per room.
const TICK: Duration = Duration::from_millis(100);
/// How often bit rates are measured and bandwidth is shared anew.
const WINDOW: Duration = Duration::from_millis(500);

/// What an [`SfuRoom`] may use.
#[derive(Clone, Copy, Debug)]
pub struct SfuConfig {
    /// Taken for a receiver's bandwidth until its estimator says something, in bits per second.
    /// Larger shows large pictures sooner and floods slow links more.
    pub initial_estimate_bps: u64,
    /// Reserved for each voice before pictures share the rest, in bits per second.
    pub sound_bps: u64,
}

impl Default for SfuConfig {
    fn default() -> Self {
        Self {
            initial_estimate_bps: 1_500_000,
            sound_bps: 50_000,
        }
    }
}

/// What the room knows of one member.
#[derive(Default)]
struct Member {
    has_link: bool,
    tracks: Vec<usize>,
    audio_slots: Vec<usize>,
    video_slots: Vec<usize>,
    tiles: Vec<Subscription>,
    estimate_bps: Option<u64>,
    /// Until when its pictures may not grow, after they had to shrink.
    may_grow_at: Option<Instant>,
    probing: Probing,
    /// What its pictures were given, in bits per second.
    allocated_bps: u64,
    told_slots: Vec<(SlotId, MemberId, MediaSource)>,
    voice: Voice,
}

/// A member's picture: its tracks by layer.
struct Picture {
    layers: [Option<usize>; SFU_LAYERS],
    wanted: Wanted,
}

/// See the module documentation.
pub struct SfuRoom {
    config: SfuConfig,
    members: BTreeMap<MemberId, Member>,
    pictures: BTreeMap<PictureKey, Picture>,
    tracks: Arena<Track>,
    slots: Arena<Slot>,
    track_index: BTreeMap<TrackId, usize>,
    slot_index: BTreeMap<SlotId, usize>,
    /// Bounded by what the members have: the shell empties it after each input.
    outputs: VecDeque<SfuOutput>,
    next_tick: Option<Instant>,
    window_began: Option<Instant>,
}

impl SfuRoom {
    /// A room without members.
    pub fn new(config: SfuConfig) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            pictures: BTreeMap::new(),
            tracks: Arena::default(),
            slots: Arena::default(),
            track_index: BTreeMap::new(),
            slot_index: BTreeMap::new(),
            outputs: VecDeque::new(),
            next_tick: None,
            window_began: None,
        }
    }

    /// A link was opened or negotiated anew: what it has replaces what the member's link had
    /// before. Tracks and slots that keep their name keep their state. Tracks beyond
    /// [`limits::SFU_TRACKS`] and names that another member uses are ignored.
    ///
    /// What is forwarded to a link that is not connected yet is lost, and with it the keyframe a
    /// picture begins with: name the slots only once it is, in a second call with the same tracks.
    pub fn handle_link(
        &mut self,
        now: Instant,
        member: MemberId,
        tracks: Vec<TrackSpec>,
        slots: Vec<SlotSpec>,
    ) {
        self.replace_link(now, member, &tracks, &slots);
        self.members.entry(member).or_default().has_link = true;
        if self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
            self.window_began = Some(now);
        }
        self.decide(now);
    }

    /// The member's link is gone. Its subscriptions wait for a new one.
    pub fn handle_link_gone(&mut self, now: Instant, member: MemberId) {
        self.replace_link(now, member, &[], &[]);
        if let Some(member) = self.members.get_mut(&member) {
            *member = Member {
                tiles: std::mem::take(&mut member.tiles),
                ..Member::default()
            };
        }
        self.decide(now);
        if self.members.values().all(|member| !member.has_link) {
            self.next_tick = None;
        }
    }

    /// The member's seat is gone: forgets the member altogether.
    pub fn handle_member_gone(&mut self, now: Instant, member: MemberId) {
        self.handle_link_gone(now, member);
        self.members.remove(&member);
    }

    /// Which pictures a member wants, and how large; replaces what it wanted before. At most
    /// [`limits::SUBSCRIPTIONS`] count, and of two tiles with one picture the first.
    pub fn handle_subscribe(&mut self, now: Instant, member: MemberId, tiles: &[Subscription]) {
        let kept = &mut self.members.entry(member).or_default().tiles;
        kept.clear();
        for tile in tiles.iter().take(limits::SUBSCRIPTIONS) {
            let is_picture = tile.source != MediaSource::Microphone && tile.member != member;
            let is_new =
                |other: &Subscription| (other.member, other.source) != (tile.member, tile.source);
            if is_picture && kept.iter().all(is_new) {
                kept.push(*tile);
            }
        }
        self.decide(now);
    }

    /// A packet arrived. Appends where it goes to `out`.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        member: MemberId,
        track: TrackId,
        packet: &PacketIn<'_>,
        out: &mut Vec<Forward>,
    ) {
        let Some(&index) = self.track_index.get(&track) else {
            return;
        };
        let Some(track) = self
            .tracks
            .get_mut(index)
            .filter(|track| track.owner == member)
        else {
            return;
        };
        let info = track.observe(now, packet);
        if track.is_sound() {
            self.hear(now, member, packet.level_dbov);
        }
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let tail = packet
            .descriptor
            .and_then(|bytes| bytes.get(3..))
            .filter(|tail| !tail.is_empty() && !track.feeds.is_empty())
            .map_or_else(Bytes::new, Bytes::copy_from_slice);
        let slots = &mut self.slots;
        track.feeds.retain(|slot| {
            let Some(slot) = slots.get_mut(*slot).filter(|slot| slot.listens(index)) else {
                return false;
            };
            out.extend(slot.forward(now, index, member, packet, &info, &tail));
            true
        });
    }

    fn hear(&mut self, now: Instant, member: MemberId, level_dbov: Option<u8>) {
        let begins = self
            .members
            .get_mut(&member)
            .is_some_and(|speaker| speaker.voice.observe(now, level_dbov));
        if begins {
            self.assign_all_sound(now);
            self.tell_slots();
        }
    }

    /// A receiver lost a picture (PLI or FIR for one of its slots).
    pub fn handle_keyframe_request(&mut self, now: Instant, member: MemberId, slot: SlotId) {
        let slot = self
            .slot_index
            .get(&slot)
            .and_then(|index| self.slots.get(*index));
        let Some(slot) = slot.filter(|slot| slot.owner == member) else {
            return;
        };
        if let Some(track) = slot.current.and_then(|index| self.tracks.get_mut(index)) {
            track.keyframe.ask(now);
        }
        self.request_keyframes(now);
    }

    /// What a receiver's link carries, in bits per second.
    pub fn handle_estimate(&mut self, now: Instant, member: MemberId, available_bps: u64) {
        let Some(receiver) = self.members.get_mut(&member) else {
            return;
        };
        receiver.estimate_bps = Some(available_bps);
        // Growing can wait for the next window; a link that is too full cannot.
        if self.picture_budget(member) < self.allocated(member) {
            self.share_bandwidth(now, member);
            self.request_keyframes(now);
            self.tell_wanted(now);
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_tick.is_none_or(|tick| now < tick) {
            return;
        }
        self.next_tick = Some(now + TICK);
        let window = self
            .window_began
            .map_or(WINDOW, |began| now.saturating_duration_since(began));
        if window >= WINDOW {
            self.window_began = Some(now);
            for (_, track) in self.tracks.iter_mut() {
                track.close_window(window);
            }
            self.decide(now);
        } else {
            self.assign_all_sound(now);
            self.request_keyframes(now);
            self.tell_wanted(now);
            self.tell_slots();
        }
    }

    /// The next thing to do or tell.
    pub fn poll_output(&mut self) -> Option<SfuOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; `None` while nobody has a link.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }
}
