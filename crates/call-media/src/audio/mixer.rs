//! Sums the sound of all members, with a soft limiter.
//!
//! Pure; share it as `Arc<Mutex<Mixer>>` between the task that receives packets and the playout
//! callback (which runs on an ordinary thread and may lock). The mixed block is also what an echo
//! canceller needs as its reference. Bounded by [`ROOM_MEMBERS`] members; more are not heard.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use call_protocol::MemberId;
use call_protocol::limits::ROOM_MEMBERS;

use super::codec::CodecError;
use super::format::{BLOCK_SAMPLES, Block};
use super::receive::TrackReceiver;
use super::red::Red;

/// How loud a member is right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberLevel {
    /// Who.
    pub member: MemberId,
    /// Level of the last 10 ms in -dBov (127 is silence), before volume.
    pub level_dbov: u8,
    /// Whether the member speaks, with hysteresis.
    pub speaking: bool,
}

/// See the [module documentation](self).
#[derive(Default)]
pub struct Mixer {
    receivers: BTreeMap<MemberId, TrackReceiver>,
    output_delay: Duration,
}

impl Mixer {
    /// A mixer without members: it produces silence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member's track; does nothing if it is there already.
    ///
    /// # Errors
    /// The decoder could not be created.
    pub fn add_member(&mut self, member: MemberId) -> Result<(), CodecError> {
        if self.receivers.contains_key(&member) {
            return Ok(());
        }
        if self.receivers.len() >= ROOM_MEMBERS {
            tracing::debug!(%member, "more members than a room holds, not heard");
            return Ok(());
        }
        self.receivers.insert(member, TrackReceiver::new()?);
        Ok(())
    }

    /// Removes a member's track.
    pub fn remove_member(&mut self, member: MemberId) {
        self.receivers.remove(&member);
    }

    /// Hands a packet to a member's track, as [`TrackReceiver::handle_packet`] takes it; dropped if there
    /// is none.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        member: MemberId,
        seq: u16,
        timestamp_48khz: u32,
        sound: impl Into<Red>,
    ) {
        match self.receivers.get_mut(&member) {
            Some(receiver) => receiver.handle_packet(now, seq, timestamp_48khz, sound),
            None => tracing::trace!(%member, "audio packet of an unknown member dropped"),
        }
    }

    /// A member's track.
    pub fn receiver(&self, member: MemberId) -> Option<&TrackReceiver> {
        self.receivers.get(&member)
    }

    /// A member's track, for its volume and local mute.
    pub fn receiver_mut(&mut self, member: MemberId) -> Option<&mut TrackReceiver> {
        self.receivers.get_mut(&member)
    }

    /// Tells how long after mixing a sample leaves the speaker.
    pub fn set_output_delay(&mut self, output_delay: Duration) {
        self.output_delay = output_delay;
    }

    /// Which sample of a member's sound (RTP timestamp, 48 kHz) is heard when; `None` while they
    /// are silent or unknown.
    pub fn heard(&self, member: MemberId) -> Option<(u32, Instant)> {
        let position = self.receivers.get(&member)?.position()?;
        Some((
            position.timestamp_48khz,
            position.pulled_at + self.output_delay,
        ))
    }

    /// Produces the next 10 ms of everybody together. Called every 10 ms of played sound.
    pub fn mix(&mut self, now: Instant, out: &mut Block) {
        self.mix_with(now, out, |_, _| {});
    }

    /// As [`Mixer::mix`], and shows each member's decoded block, before volume, to `tap`.
    pub fn mix_with(
        &mut self,
        now: Instant,
        out: &mut Block,
        mut tap: impl FnMut(MemberId, &Block),
    ) {
        out.fill(0.0);
        let mut block = [0.0; BLOCK_SAMPLES];
        for (member, receiver) in &mut self.receivers {
            receiver.pull_block(now, &mut block);
            tap(*member, &block);
            receiver.apply_volume(&mut block);
            for (sum, sample) in out.iter_mut().zip(&block) {
                *sum += sample;
            }
        }
        for sample in out.iter_mut() {
            *sample = soft_limit(*sample);
        }
    }

    /// Levels of all members, by id.
    pub fn levels(&self) -> impl Iterator<Item = MemberLevel> + '_ {
        self.receivers.iter().map(|(member, receiver)| MemberLevel {
            member: *member,
            level_dbov: receiver.level_dbov(),
            speaking: receiver.is_speaking(),
        })
    }
}

/// Where limiting begins: below, sound passes unchanged.
const KNEE: f32 = 0.8;

/// Bends what exceeds [`KNEE`] smoothly towards ±1, which it never exceeds. A memoryless curve
/// distorts loud peaks a little instead of pumping quiet voices down with them.
fn soft_limit(sample: f32) -> f32 {
    let magnitude = sample.abs();
    if magnitude <= KNEE {
        return sample;
    }
    if magnitude.is_nan() {
        return 0.0;
    }
    let room = 1.0 - KNEE;
    (KNEE + room * ((magnitude - KNEE) / room).tanh()).copysign(sample)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::audio::codec::{AudioEncoder, AudioEncoderConfig, OpusEncoder};
    use crate::audio::format::FRAME_SAMPLES;
    use crate::audio::tone_strength;

    fn tone(hz: f32, count: usize) -> Vec<Bytes> {
        let mut encoder = OpusEncoder::new(AudioEncoderConfig::default()).unwrap();
        (0..count)
            .map(|i| {
                let frame = std::array::from_fn(|n| {
                    let at = (i * FRAME_SAMPLES + n) as f32;
                    (at * hz * std::f32::consts::TAU / 48_000.0).sin() * 0.5
                });
                encoder.encode(&frame).unwrap().unwrap()
            })
            .collect()
    }

    #[test]
    fn the_limiter_is_transparent_below_the_knee_monotonic_and_bounded() {
        let mut last = -1.0;
        for n in -400i16..=400 {
            let limited = soft_limit(f32::from(n) / 100.0);
            assert!((-1.0..=1.0).contains(&limited) && limited >= last);
            if n.abs() <= 80 {
                assert_eq!(limited, f32::from(n) / 100.0);
            }
            last = limited;
        }
        for extreme in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(soft_limit(extreme).abs() <= 1.0);
        }
    }

    #[test]
    fn an_empty_mixer_is_silent_and_packets_of_strangers_are_dropped() {
        let mut mixer = Mixer::new();
        let now = Instant::now();
        mixer.handle_packet(now, MemberId(9), 1, 1, Bytes::from_static(&[1, 2, 3]));
        let mut out = [1.0; BLOCK_SAMPLES];
        mixer.mix(now, &mut out);
        assert_eq!(out, [0.0; BLOCK_SAMPLES]);
        assert_eq!(mixer.levels().count(), 0);
    }

    #[test]
    fn two_members_are_heard_together_and_apart_and_one_can_be_removed() {
        let start = Instant::now();
        let mut mixer = Mixer::new();
        let members = [
            (MemberId(1), 440.0, tone(440.0, 100)),
            (MemberId(2), 1_000.0, tone(1_000.0, 100)),
        ];
        for (member, ..) in &members {
            mixer.add_member(*member).unwrap();
        }
        let mut taps: BTreeMap<MemberId, Vec<f32>> = BTreeMap::new();
        let (mut mixed, mut out) = (Vec::new(), [0.0; BLOCK_SAMPLES]);
        for tick in 0..200u64 {
            let now = start + Duration::from_millis(tick * 10);
            if tick % 2 == 0 {
                let n = tick as u32 / 2;
                for (member, _, packets) in &members {
                    mixer.handle_packet(
                        now,
                        *member,
                        n as u16,
                        n * 960,
                        packets[n as usize].clone(),
                    );
                }
            }
            mixer.mix_with(now, &mut out, |member, block| {
                taps.entry(member).or_default().extend_from_slice(block);
            });
            mixed.extend_from_slice(&out);
        }
        for (member, hz, _) in &members {
            assert!(tone_strength(&taps[member][9_600..], *hz) > 0.95);
            let share = tone_strength(&mixed[9_600..], *hz);
            assert!((0.4..0.6).contains(&share), "{hz} Hz: {share}");
        }
        assert!(
            mixer
                .levels()
                .all(|level| level.speaking && level.level_dbov < 20)
        );
        mixer.remove_member(MemberId(2));
        assert_eq!(
            mixer.levels().map(|level| level.member).collect::<Vec<_>>(),
            [MemberId(1)]
        );
    }

    #[test]
    fn a_room_full_of_members_is_the_bound() {
        let mut mixer = Mixer::new();
        for id in 0..ROOM_MEMBERS as u32 + 5 {
            mixer.add_member(MemberId(id)).unwrap();
        }
        assert_eq!(mixer.levels().count(), ROOM_MEMBERS);
    }
}
