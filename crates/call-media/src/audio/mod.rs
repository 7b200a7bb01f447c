//! Sound: from the microphone to Opus packets, and from packets to the speaker.
//!
//! ```text
//! source (tone, WAV, microphone) -> send: voice processing, mute gate, level, Opus -> packets
//!                                              ^ render reference
//! packets -> jitter -> Opus -> stretch (receive) -> mixer -+-> speaker (device or paced null sink)
//! ```
//!
//! Everything runs at 48 kHz mono in blocks of 10 ms; a packet carries one Opus frame of 20 ms.
//! [`jitter`], [`receive`], [`mixer`], [`voice`], [`level`], [`red`], [`echo_test`], [`analyse`] are
//! pure: they take `now` and touch no clock. [`send`] and [`speaker`] own one thread each; a device's own callback thread only
//! moves samples through a lock-free ring and counts.
//!
//! Deliberately not here: RTP headers and sequence numbers, encryption.

pub mod analyse;
pub mod codec;
pub mod device;
pub mod echo_test;
pub mod format;
pub mod jitter;
pub mod level;
pub mod mixer;
pub mod receive;
pub mod red;
pub mod reference;
mod resample;
pub mod send;
pub mod source;
pub mod speaker;
pub mod test_tone;
pub mod voice;
pub mod wav;

mod capture;
mod delay;
mod drift;
mod echo_shift;
mod ending;
mod latency;
mod microphone;
mod pace;
mod packets;
mod pipeline;
mod playback;
mod stretch;

pub use analyse::tone_strength;
pub use codec::{
    AudioDecoder, AudioEncoder, AudioEncoderConfig, CodecError, OpusDecoder, OpusEncoder,
};
pub use device::{AudioDeviceInfo, AudioDeviceState, list_microphones, list_speakers};
pub use echo_test::{EchoTest, EchoTestState};
pub use format::{BLOCK_SAMPLES, Block, FRAME_SAMPLES, SAMPLE_RATE_HZ};
pub use jitter::{Adjustment, JitterBuffer, JitterStats, Pull};
pub use latency::PlayoutDelay;
pub use level::{SILENCE_DBOV, level_dbov};
pub use mixer::{MemberLevel, Mixer};
pub use pipeline::{EncodedAudio, InputLevel};
pub use receive::{SoundPosition, TrackReceiver};
pub use red::{Red, RedWriter};
pub use reference::{RenderReference, RenderTap, render_reference};
pub use send::{AudioSender, AudioSenderConfig};
pub use source::{AudioSource, AudioSourceConfig, BadAudioSource, SourcePoll};
pub use speaker::{BadSpeaker, PlayoutMixer, Speaker, SpeakerConfig, SpeakerStats};
pub use voice::{VOICE_DELAY_BLOCKS, VoiceOptions, VoiceProcessor};
pub use wav::{WavAudio, WavError, WavWriter, read_wav};
