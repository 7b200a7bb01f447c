//! Who has the floor: one of the others, by how they sounded over the last second.
//!
//! ```text
//! nobody -> A speaks for 0.8 s -> A -> silence -> A -> B outlasts or drowns A for 0.8 s -> B
//! ```
//!
//! Every 100 ms the *candidate* is the loudest member heard right now; while the active speaker is
//! heard too, another is a candidate only when louder by [`MARGIN_DB`]. The candidate gains
//! [`GAIN`] points, everybody else loses: little in the short pauses of speech, much in silence.
//! [`FLOOR`] points take the floor, and a new speaker starts everybody at zero.
//!
//! Invariants: a sound shorter than 0.8 s (a cough, a door, a "yes") never takes the floor; in
//! silence the floor is kept; only a member in the samples has it; one's own voice is not in the
//! samples, so it never wins.
//!
//! **Which levels.** Those of the *decoded* sound, before the volume chosen here. In a mesh every
//! member is decoded anyway, and the decoded sound is what is heard: it shows lost and concealed
//! packets, and nobody can claim to be louder than they are. The level in the RTP header extension
//! (RFC 6464) is the sender's own word; it is for a forwarding server, which cannot decode.
//!
//! Deliberately not here: measuring levels and "is speaking" (call-media), and what a view does
//! with the result.

use std::collections::BTreeMap;

use call_protocol::MemberId;

/// Points for 100 ms as the candidate.
const GAIN: u32 = 2;
/// Points lost in 100 ms of a pause within speech. Raising it makes hesitant speakers wait.
const PAUSE_LOSS: u32 = 1;
/// Points lost in 100 ms of not speaking at all. Lowering it lets two coughs add up to speech.
const SILENCE_LOSS: u32 = 4;
/// Points that take the floor: 0.8 s without a pause. Raising it follows a discussion more
/// slowly; lowering it jumps to every interjection. Users of call apps find 0.6 to 1 s calm.
const FLOOR: u32 = 16;
/// How much louder than an active speaker who goes on speaking another must be, in dB. Two
/// voices at one table differ by less.
const MARGIN_DB: f32 = 6.0;
/// A level above this is heard, in -dBov. Speech at arm's length measures 20 to 40.
const HEARD_DBOV: u8 = 45;
/// Share of the newest level in the smoothed one: an average over about 0.3 s, longer than a
/// syllable.
const SMOOTHING: f32 = 0.3;

/// A member's sound in the last 100 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeakerSample {
    /// Who.
    pub member: MemberId,
    /// Level in -dBov, 0 (loudest) to 127 (silence), RFC 6464 §3.
    pub level_dbov: u8,
    /// Whether they speak, bridging the pauses between words.
    pub speaking: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Voice {
    /// Loudness over silence in dB, smoothed.
    loudness_db: f32,
    points: u32,
}

/// Decides who of the others has the floor: whoever dominated for most of a second, until somebody
/// else does.
#[derive(Clone, Debug, Default)]
pub struct ActiveSpeaker {
    current: Option<MemberId>,
    voices: BTreeMap<MemberId, Voice>,
}

impl ActiveSpeaker {
    /// Nobody has spoken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the sound of all others in the last 100 ms and says who has the floor. Members who are
    /// missing have left.
    pub fn handle_samples(&mut self, samples: &[SpeakerSample]) -> Option<MemberId> {
        self.voices
            .retain(|id, _| samples.iter().any(|sample| sample.member == *id));
        self.current = self.current.filter(|id| self.voices.contains_key(id));
        for sample in samples {
            let voice = self.voices.entry(sample.member).or_default();
            let loudness_db = f32::from(127 - sample.level_dbov.min(127));
            voice.loudness_db += (loudness_db - voice.loudness_db) * SMOOTHING;
        }
        let candidate = self.candidate(samples);
        for sample in samples {
            let Some(voice) = self.voices.get_mut(&sample.member) else {
                continue;
            };
            voice.points = if Some(sample.member) == candidate {
                voice.points + GAIN
            } else if sample.speaking {
                voice.points.saturating_sub(PAUSE_LOSS)
            } else {
                voice.points.saturating_sub(SILENCE_LOSS)
            };
            if voice.points >= FLOOR {
                self.current = Some(sample.member);
            }
        }
        if candidate.is_some() && candidate == self.current {
            // The floor is taken or defended: an interruption starts from nothing.
            for voice in self.voices.values_mut() {
                voice.points = 0;
            }
        }
        self.current
    }

    fn candidate(&self, samples: &[SpeakerSample]) -> Option<MemberId> {
        let loudness = |id: &MemberId| self.voices.get(id).map_or(0.0, |v| v.loudness_db);
        let heard = |sample: &&SpeakerSample| sample.speaking && sample.level_dbov < HEARD_DBOV;
        let loudest = samples
            .iter()
            .filter(heard)
            .map(|sample| sample.member)
            .max_by(|a, b| loudness(a).total_cmp(&loudness(b)).then(b.cmp(a)))?;
        let current = samples
            .iter()
            .filter(heard)
            .map(|sample| sample.member)
            .find(|member| Some(*member) == self.current);
        match current {
            Some(current) if loudness(&loudest) < loudness(&current) + MARGIN_DB => Some(current),
            _ => Some(loudest),
        }
    }
}

#[cfg(test)]
#[path = "active_speaker_tests.rs"]
mod tests;
