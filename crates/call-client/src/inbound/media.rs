//! The incoming sound and picture of one member: opened, put together, paced, kept in step. Pure
//! but for the mixer it shares with the playout.
//!
//! Sound goes to the mixer as it comes. Pictures are assembled, and leave at the time they are to
//! be shown: [`VideoPlayout`] evens out the path's jitter, [`LipSync`] compares with the sound five
//! times a second.
//!
//! Invariant: a member without sound, or whose reports are missing, is shown as early as the
//! jitter allows; nobody's sound waits for a picture that is off.
//!
//! Deliberately not here: decoding, and reading the reports (the transport's work).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use call_e2ee::{Identity, PayloadOpener};
use call_media::audio::Mixer;
use call_media::lip_sync::{Heard, LipSync, Seen};
use call_media::video::playout::VideoPlayout;
use call_media::video::rtp::{RtpVideoPacket, VideoAssembler};
use call_protocol::{MediaSource, MemberId, VideoCodec};
use call_transport::{Codec, RtpIn, SenderClock};

use super::ReceivedFrame;

/// Shortest time between two keyframe requests for incomplete frames. Shorter asks again before
/// the answer can have arrived; longer freezes the picture for longer.
const KEYFRAME_REQUEST: Duration = Duration::from_millis(300);
/// Time between two comparisons of sound and picture. More often follows noise, less often starts
/// out of step for longer.
const SYNC_EVERY: Duration = Duration::from_millis(200);
/// A picture that stood still for this long is off: the sound is no longer held back for it.
const PICTURE_OFF: Duration = Duration::from_secs(2);
/// Ticks of every video codec's RTP clock per second.
const PICTURE_HZ: u32 = 90_000;

/// See the module's text.
pub(super) struct Inbound {
    member: MemberId,
    opener: Box<dyn PayloadOpener>,
    mixer: Arc<Mutex<Mixer>>,
    stream: Option<Stream>,
    playout: VideoPlayout<ReceivedFrame>,
    sound_ssrc: Option<u32>,
    lip_sync: LipSync,
    synced_at: Option<Instant>,
    clock: MediaClock,
    /// Packets or timeouts since the last look at whether a keyframe is needed.
    touched: bool,
    requested: Option<Instant>,
}

struct Stream {
    codec: VideoCodec,
    ssrc: u32,
    assembler: VideoAssembler,
    /// RTP timestamp of the newest frame and when it was complete.
    newest: Option<(u32, Instant)>,
}

impl Inbound {
    pub(super) fn new(member: MemberId, mixer: Arc<Mutex<Mixer>>) -> Self {
        Self {
            member,
            opener: Box::new(Identity),
            mixer,
            stream: None,
            playout: VideoPlayout::default(),
            sound_ssrc: None,
            lip_sync: LipSync::default(),
            synced_at: None,
            clock: MediaClock::default(),
            touched: false,
            requested: None,
        }
    }

    pub(super) fn handle_packet(&mut self, now: Instant, packet: RtpIn) {
        let source = match packet.codec {
            Codec::Opus => MediaSource::Microphone,
            Codec::Video(_) => MediaSource::Camera,
        };
        let Some(payload) = self.opener.open(self.member, source, packet.payload) else {
            tracing::debug!("payload did not open");
            return;
        };
        match packet.codec {
            Codec::Opus => {
                self.sound_ssrc = Some(packet.ssrc);
                let (member, sequence) = (self.member, packet.sequence);
                self.mixer()
                    .handle_packet(now, member, sequence, packet.timestamp, payload);
            }
            Codec::Video(codec) => {
                self.touched = true;
                let same = |stream: &Stream| stream.codec == codec && stream.ssrc == packet.ssrc;
                if !self.stream.as_ref().is_some_and(same) {
                    let assembler = VideoAssembler::new(codec);
                    self.stream = Some(Stream {
                        codec,
                        ssrc: packet.ssrc,
                        assembler,
                        newest: None,
                    });
                }
                if let Some(stream) = &mut self.stream {
                    let packet = RtpVideoPacket {
                        sequence: packet.sequence,
                        timestamp: packet.timestamp,
                        marker: packet.marker,
                        payload,
                    };
                    stream.assembler.handle_packet(now, packet);
                }
                self.collect(now);
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let stream = self.stream.as_mut();
        if let Some(stream) = stream
            && stream.assembler.poll_timeout().is_some_and(|at| at <= now)
        {
            self.touched = true;
            stream.assembler.handle_timeout(now);
            self.collect(now);
        }
    }

    /// Moves complete frames from the assembler to the playout.
    fn collect(&mut self, now: Instant) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        while let Some(frame) = stream.assembler.poll_frame() {
            let timestamp = frame.timestamp;
            stream.newest = Some((timestamp, now));
            let timestamp_us = self.clock.unwrap_us(timestamp);
            let frame = ReceivedFrame {
                frame,
                timestamp_us,
            };
            self.playout.handle_frame(now, timestamp, frame);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let assembler = self.stream.as_ref().map(|stream| &stream.assembler);
        let assembler = assembler.and_then(VideoAssembler::poll_timeout);
        assembler
            .into_iter()
            .chain(self.playout.poll_timeout())
            .min()
    }

    /// The next frame to be shown by `now`.
    pub(super) fn poll_frame(&mut self, now: Instant) -> Option<ReceivedFrame> {
        self.playout.poll_frame(now)
    }

    /// Whether [`Self::sync`] is to be called.
    pub(super) fn sync_due(&self, now: Instant) -> bool {
        self.synced_at
            .is_none_or(|at| now.saturating_duration_since(at) >= SYNC_EVERY)
    }

    /// Compares what is heard with what is seen, by the peer's reports on both streams.
    pub(super) fn sync(&mut self, now: Instant, clock_of: impl Fn(u32) -> Option<SenderClock>) {
        self.synced_at = Some(now);
        let newest = self.stream.as_ref().and_then(|stream| {
            let (timestamp, complete_at) = stream.newest?;
            let is_on = now.saturating_duration_since(complete_at) < PICTURE_OFF;
            is_on.then_some((stream.ssrc, timestamp))
        });
        let Some((picture_ssrc, timestamp)) = newest else {
            self.lip_sync = LipSync::default();
            self.hold_sound(0);
            return;
        };
        let heard = self.mixer().heard(self.member);
        let observation = heard.and_then(|(sound_timestamp, at)| {
            let clock = clock_of(self.sound_ssrc?)?;
            let capture_us = clock.capture_us(sound_timestamp, Codec::Opus.clock_rate_hz());
            let heard = Heard { capture_us, at };
            let seen = Seen {
                capture_us: clock_of(picture_ssrc)?.capture_us(timestamp, PICTURE_HZ),
                undelayed_at: self.playout.undelayed_at(timestamp)?,
            };
            Some((heard, seen))
        });
        // A pause in the sound leaves both delays as they are.
        let Some((heard, seen)) = observation else {
            return;
        };
        let jitter_delay_us = self.playout.jitter_delay_us();
        let plan = self
            .lip_sync
            .handle_observation(heard, seen, jitter_delay_us);
        tracing::trace!(?plan, jitter_delay_us, "lip sync");
        self.playout.set_sync_delay_us(plan.picture_delay_us);
        self.hold_sound(plan.sound_delay_ms);
    }

    fn hold_sound(&mut self, extra_ms: u32) {
        if let Some(receiver) = self.mixer().receiver_mut(self.member) {
            receiver.set_extra_delay_ms(extra_ms);
        }
    }

    fn mixer(&self) -> MutexGuard<'_, Mixer> {
        self.mixer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a keyframe is to be asked for now. Only while packets arrive: a camera that is off
    /// has none to give.
    pub(super) fn keyframe_due(&mut self, now: Instant) -> bool {
        let touched = std::mem::take(&mut self.touched);
        let needed = self
            .stream
            .as_ref()
            .is_some_and(|stream| stream.assembler.needs_keyframe());
        let early = self
            .requested
            .is_some_and(|at| now.duration_since(at) < KEYFRAME_REQUEST);
        if touched && needed && !early {
            self.requested = Some(now);
        }
        touched && needed && !early
    }
}

/// A 90 kHz RTP clock as microseconds that never wrap.
#[derive(Debug, Default)]
struct MediaClock {
    last: Option<u32>,
    ticks: i64,
}

impl MediaClock {
    fn unwrap_us(&mut self, timestamp: u32) -> u64 {
        if let Some(last) = self.last {
            self.ticks += i64::from(timestamp.wrapping_sub(last).cast_signed());
        }
        self.last = Some(timestamp);
        // 1000/90 = 100/9; the start is offset so that reordered first frames stay positive.
        u64::try_from(self.ticks * 100 / 9 + 1_000_000).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_clock_unwraps() {
        let mut clock = MediaClock::default();
        let start = clock.unwrap_us(u32::MAX - 1_500);
        assert_eq!(
            clock.unwrap_us((u32::MAX - 1_500).wrapping_add(3_000)),
            start + 33_333
        );
        assert_eq!(clock.unwrap_us(u32::MAX - 1_500), start, "and goes back");
    }
}
