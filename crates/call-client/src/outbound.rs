//! The way out: encoded once, sealed once, sent on every connected link.
//!
//! Members with a direct link get sound and the largest layer, the SFU gets sound and every layer,
//! described by dependency descriptors; data links get nothing.
//!
//! Runs on the encoder's and the microphone's threads, which must not wait: links take packets
//! without blocking, and the lock is only ever held for the sending of one frame or the change of
//! the set of links.
//!
//! Invariant: in a sealed call nothing leaves before there is a sealer, and nothing unsealed ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call_core::{LinkId, LinkPeer};
use call_e2ee::{MediaSealer, MediaStream, MediaTime, RoomKeys};
use call_media::audio::{EncodedAudio, RedWriter};
use call_media::video::codec::{DEFAULT_VIDEO_CODEC, EncodedFrame};
use call_media::video::layers::LAYERS;
use call_media::video::rtp::VideoPacketizer;
use call_protocol::dependency_descriptor::DescriptorWriter;
use call_protocol::{MediaSource, MemberId, VideoCodec};
use call_transport::{Link, RtpOut};

/// Everybody our media goes to.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Mutex<Inner>>);

struct Inner {
    links: BTreeMap<LinkId, Receiver>,
    sealing: Sealing,
    /// Of the camera's layers.
    layers: [LayerOut; LAYERS],
    screen: LayerOut,
    /// Copies of sealed sound.
    red: RedWriter,
    sent: SentMedia,
}

struct Receiver {
    link: Arc<Link>,
    connected: bool,
    /// Gets no picture of the camera for now.
    is_camera_held: bool,
    /// Gets nothing of the screen for now.
    is_screen_held: bool,
    codecs: Vec<VideoCodec>,
}

impl Receiver {
    fn held_mut(&mut self, source: MediaSource) -> &mut bool {
        match source {
            MediaSource::Screen => &mut self.is_screen_held,
            MediaSource::Camera | MediaSource::Microphone => &mut self.is_camera_held,
        }
    }

    fn is_held(&self, source: MediaSource) -> bool {
        match source {
            MediaSource::Screen => self.is_screen_held,
            MediaSource::Camera | MediaSource::Microphone => self.is_camera_held,
        }
    }
}

/// What numbers the packets of one layer.
struct LayerOut {
    packetizer: VideoPacketizer,
    descriptor: DescriptorWriter,
}

/// How payloads leave.
enum Sealing {
    /// As they are: for tests of what a server could see.
    Off,
    /// Sealed, once there is a seat to seal for.
    On {
        sealer: Option<MediaSealer>,
        clock: CaptureEpoch,
    },
}

/// Turns capture times into the wall clock that sealed media tells.
#[derive(Clone, Copy, Debug)]
struct CaptureEpoch {
    at: Instant,
    unix_us: i64,
}

impl CaptureEpoch {
    fn capture_us(self, captured_at: Instant) -> i64 {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match captured_at.checked_duration_since(self.at) {
            Some(after) => self.unix_us.saturating_add(us(after)),
            None => self
                .unix_us
                .saturating_sub(us(self.at.duration_since(captured_at))),
        }
    }
}

impl Sealing {
    /// `None`: not to be sent.
    fn seal(
        &mut self,
        stream: MediaStream,
        timestamp: u32,
        captured_at: Instant,
        payload: Bytes,
    ) -> Option<Bytes> {
        match self {
            Self::Off => Some(payload),
            Self::On { sealer, clock } => {
                let time = MediaTime {
                    timestamp,
                    capture_us: Some(clock.capture_us(captured_at)),
                };
                let sealed = sealer.as_mut()?.seal(stream, time, &payload);
                (!sealed.is_empty()).then_some(sealed)
            }
        }
    }
}

/// What was sent to one receiver since the start (each is sent the same).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentMedia {
    /// Payload bytes of pictures, by layer.
    pub(crate) video_bytes: [u64; LAYERS],
    /// Payload bytes of the screen.
    pub(crate) screen_bytes: u64,
    /// Payload bytes of sound.
    pub(crate) audio_bytes: u64,
    /// From the capture of the last sound packet's first sample to its sending.
    pub(crate) audio_delay: Duration,
}

/// What the connected links for the call carry, in bit/s, as their congestion controllers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) links: Vec<(LinkId, u64)>,
}

impl Targets {
    /// Of the narrowest link; 0 without links.
    pub(crate) fn least_bps(&self) -> u64 {
        let all = self.links.iter().map(|(_, bps)| *bps);
        all.min().unwrap_or(0)
    }

    /// Of each direct link.
    pub(crate) fn members_bps(&self) -> Vec<u64> {
        let links = self.links.iter();
        let direct = links.filter(|(id, _)| matches!(id.peer, LinkPeer::Member(_)));
        direct.map(|(_, bps)| *bps).collect()
    }

    /// Whether there is one to the SFU.
    pub(crate) fn has_sfu(&self) -> bool {
        self.links.iter().any(|(id, _)| id.peer == LinkPeer::Sfu)
    }
}

impl Outlet {
    /// `first_number` should be random: picture ids (RFC 7741 §4.2) and frame numbers begin there.
    pub(crate) fn new(first_number: u16, is_sealed: bool) -> Self {
        let sealing = if is_sealed {
            let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            let clock = CaptureEpoch {
                at: Instant::now(),
                unix_us: i64::try_from(since_1970.as_micros()).unwrap_or(0),
            };
            Sealing::On {
                sealer: None,
                clock,
            }
        } else {
            Sealing::Off
        };
        let out = |stream: usize| {
            let first = first_number.wrapping_add(stream as u16 * 7_919);
            LayerOut {
                packetizer: VideoPacketizer::new(first),
                descriptor: DescriptorWriter::new(first),
            }
        };
        Self(Arc::new(Mutex::new(Inner {
            links: BTreeMap::new(),
            sealing,
            layers: std::array::from_fn(out),
            screen: out(LAYERS),
            red: RedWriter::default(),
            sent: SentMedia::default(),
        })))
    }

    /// Seals from now on with another salt.
    pub(crate) fn renew_sealer(&self, keys: &RoomKeys, salt: [u8; 16]) {
        if let Sealing::On {
            sealer: Some(sealer),
            ..
        } = &mut self.lock().sealing
        {
            sealer.renew(keys, salt);
        }
    }

    /// Seals from now on with this.
    pub(crate) fn set_sealer(&self, fresh: MediaSealer) {
        let mut inner = self.lock();
        inner.red.clear();
        if let Sealing::On { sealer, .. } = &mut inner.sealing {
            *sealer = Some(fresh);
        }
    }

    /// Sends each frame of sound in this many packets more.
    pub(crate) fn set_sound_copies(&self, copies: u8) {
        self.lock().red.set_copies(usize::from(copies));
    }

    /// A link that carries media.
    pub(crate) fn add(&self, id: LinkId, link: Arc<Link>) {
        let receiver = Receiver {
            link,
            connected: false,
            is_camera_held: false,
            is_screen_held: false,
            codecs: Vec::new(),
        };
        self.lock().links.insert(id, receiver);
    }

    pub(crate) fn remove(&self, id: LinkId) {
        self.lock().links.remove(&id);
    }

    pub(crate) fn set_connected(&self, id: LinkId, connected: bool) {
        if let Some(receiver) = self.lock().links.get_mut(&id) {
            receiver.connected = connected;
        }
    }

    pub(crate) fn set_codecs(&self, id: LinkId, codecs: Vec<VideoCodec>) {
        if let Some(receiver) = self.lock().links.get_mut(&id) {
            receiver.codecs = codecs;
        }
    }

    /// Whether what leaves is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.lock().sealing, Sealing::On { .. })
    }

    /// Does not send this picture over direct links to exactly these members. Tells whether anybody
    /// gets it again, who can begin with a keyframe only.
    pub(crate) fn hold_picture(&self, source: MediaSource, members: &[MemberId]) -> bool {
        let mut is_released = false;
        for (id, receiver) in &mut self.lock().links {
            let is_held = matches!(id.peer, LinkPeer::Member(member) if members.contains(&member));
            let told = receiver.held_mut(source);
            is_released |= *told && !is_held;
            *told = is_held;
        }
        is_released
    }

    /// Whether anybody would receive a frame.
    pub(crate) fn has_receivers(&self) -> bool {
        self.lock()
            .links
            .values()
            .any(|receiver| receiver.connected)
    }

    /// The codec everybody connected can receive.
    pub(crate) fn codec(&self) -> VideoCodec {
        self.codec_like(DEFAULT_VIDEO_CODEC)
    }

    /// The same for a screen. VP9 makes 1.5 to 2 dB more of the same bits where there is no noise
    /// (docs/media.md), and what it costs more matters less at a screen's rates.
    pub(crate) fn screen_codec(&self) -> VideoCodec {
        self.codec_like(VideoCodec::Vp9)
    }

    fn codec_like(&self, preferred: VideoCodec) -> VideoCodec {
        let inner = self.lock();
        let connected = inner.links.values().filter(|receiver| receiver.connected);
        common_codec(preferred, connected.map(|receiver| &receiver.codecs[..]))
    }

    /// What the connected links carry.
    pub(crate) fn targets(&self) -> Targets {
        let inner = self.lock();
        let counts = |id: &LinkId, receiver: &Receiver| {
            receiver.connected && !matches!(id.peer, LinkPeer::Data(_))
        };
        let links = inner.links.iter();
        let links = links.filter(|(id, receiver)| counts(id, receiver));
        let links = links.map(|(id, receiver)| (*id, receiver.link.target_bitrate_bps()));
        Targets {
            links: links.collect(),
        }
    }

    pub(crate) fn sent(&self) -> SentMedia {
        self.lock().sent
    }

    /// Sends one encoded frame of the camera or of the screen.
    pub(crate) fn send_video(&self, source: MediaSource, frame: &EncodedFrame) {
        let mut inner = self.lock();
        let Inner {
            links,
            sealing,
            layers,
            screen,
            sent,
            red: _,
        } = &mut *inner;
        let layer = usize::from(frame.layer);
        let is_screen = source == MediaSource::Screen;
        let sent_bytes = if is_screen {
            &mut sent.screen_bytes
        } else {
            &mut sent.video_bytes[layer.min(LAYERS - 1)]
        };
        let out = if is_screen {
            screen
        } else {
            &mut layers[layer.min(LAYERS - 1)]
        };
        let stream = MediaStream {
            source,
            layer: frame.layer,
        };
        let descriptor = out.descriptor.frame(
            frame.keyframe,
            frame.temporal_id,
            frame.temporal_layers,
            frame.width,
            frame.height,
        );
        let payloads = out.packetizer.packetize(frame);
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.enumerate() {
            let timestamp = frame.timestamp_90khz;
            let Some(payload) = sealing.seal(stream, timestamp, frame.captured_at, payload) else {
                continue;
            };
            *sent_bytes += payload.len() as u64;
            for (id, receiver) in links.iter().filter(|(_, receiver)| receiver.connected) {
                let descriptor = match id.peer {
                    LinkPeer::Sfu => Some(descriptor.packet(index == 0, index == last)),
                    LinkPeer::Member(_) if layer == 0 && !receiver.is_held(source) => None,
                    LinkPeer::Member(_) | LinkPeer::Data(_) => continue,
                };
                let packet = RtpOut {
                    timestamp,
                    marker: index == last,
                    starts_keyframe: frame.keyframe && index == 0,
                    payload: payload.clone(),
                    level_dbov: None,
                    captured_at: Some(frame.captured_at),
                    descriptor,
                };
                if is_screen {
                    receiver.link.send_screen(frame.codec, packet);
                } else {
                    receiver.link.send_video(frame.layer, frame.codec, packet);
                }
            }
        }
    }

    /// Sends one encoded audio packet.
    pub(crate) fn send_audio(&self, audio: EncodedAudio) {
        let mut inner = self.lock();
        let stream = MediaStream {
            source: MediaSource::Microphone,
            layer: 0,
        };
        let (timestamp, captured_at) = (audio.timestamp_48khz, audio.captured_at);
        let Inner { sealing, red, .. } = &mut *inner;
        // Copies are told apart by the sealer's numbers: what gets none is not copied either.
        let payload = match sealing {
            Sealing::On {
                sealer: Some(_), ..
            } => red.write(timestamp, &audio.payload),
            Sealing::On { sealer: None, .. } | Sealing::Off => audio.payload,
        };
        let sealed = sealing.seal(stream, timestamp, captured_at, payload);
        let Some(payload) = sealed else { return };
        inner.sent.audio_bytes += payload.len() as u64;
        inner.sent.audio_delay = captured_at.elapsed();
        for receiver in inner.links.values().filter(|receiver| receiver.connected) {
            receiver.link.send_audio(RtpOut {
                timestamp,
                marker: audio.marker,
                starts_keyframe: false,
                payload: payload.clone(),
                level_dbov: Some(audio.level_dbov),
                captured_at: Some(captured_at),
                descriptor: None,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every critical section leaves the state consistent at each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The preferred codec when every list has it, else the first of the first list that all have, else
/// the default (who cannot receive it gets no picture, the others do).
pub(crate) fn common_codec<'a>(
    preferred: VideoCodec,
    mut lists: impl Iterator<Item = &'a [VideoCodec]>,
) -> VideoCodec {
    let Some(first) = lists.next() else {
        return preferred;
    };
    let rest: Vec<_> = lists.collect();
    let in_all =
        |codec: &VideoCodec| first.contains(codec) && rest.iter().all(|list| list.contains(codec));
    if in_all(&preferred) {
        return preferred;
    }
    first
        .iter()
        .copied()
        .find(in_all)
        .unwrap_or(DEFAULT_VIDEO_CODEC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use call_e2ee::{MediaOpener, RoomKeys};

    #[test]
    fn the_codec_is_one_that_everybody_receives() {
        use VideoCodec::{H264, Vp8, Vp9};
        let other = if DEFAULT_VIDEO_CODEC == Vp8 { Vp9 } else { Vp8 };
        let cases: [(&[&[VideoCodec]], VideoCodec); 6] = [
            (&[], DEFAULT_VIDEO_CODEC),
            (&[&[other, DEFAULT_VIDEO_CODEC]], DEFAULT_VIDEO_CODEC),
            (&[&[other, H264], &[H264, other]], other),
            (&[&[other, H264], &[H264]], H264),
            (&[&[other], &[H264]], DEFAULT_VIDEO_CODEC),
            (&[&[]], DEFAULT_VIDEO_CODEC),
        ];
        for (lists, want) in cases {
            let got = common_codec(DEFAULT_VIDEO_CODEC, lists.iter().copied());
            assert_eq!(got, want, "{lists:?}");
        }
        let lists: [&[VideoCodec]; 2] = [&[Vp8, Vp9], &[H264, Vp9, Vp8]];
        assert_eq!(common_codec(Vp9, lists.into_iter()), Vp9);
        assert_eq!(common_codec(H264, lists.into_iter()), Vp8);
    }

    #[test]
    fn nothing_leaves_a_sealed_call_in_the_open() {
        let now = Instant::now();
        let plain = Bytes::from_static(b"what was said");
        let stream = MediaStream {
            source: MediaSource::Camera,
            layer: 2,
        };
        let clock = CaptureEpoch {
            at: now,
            unix_us: 1_000_000,
        };
        let mut sealing = Sealing::On {
            sealer: None,
            clock,
        };
        assert_eq!(sealing.seal(stream, 7, now, plain.clone()), None);
        let keys = RoomKeys::from_root([3; 32]);
        sealing = Sealing::On {
            sealer: Some(MediaSealer::new(&keys, MemberId(5), [9; 16])),
            clock,
        };
        let captured_at = now + Duration::from_millis(2);
        let sealed = sealing.seal(stream, 7, captured_at, plain.clone()).unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"what"));
        let mut opener = MediaOpener::new(&keys);
        opener.set_member(MemberId(5), [9; 16]);
        let opened = opener.open(&sealed).unwrap();
        assert_eq!((opened.member, opened.stream), (MemberId(5), stream));
        assert_eq!(opened.time.capture_us, Some(1_002_000));
        assert_eq!(opened.payload, plain);
        let mut open = Sealing::Off;
        assert_eq!(open.seal(stream, 7, now, plain.clone()), Some(plain));
    }
}
