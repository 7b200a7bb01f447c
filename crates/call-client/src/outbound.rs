//! The way out: encoded once, sealed once, sent on every connected link.
//!
//! Runs on the encoder's and the microphone's threads, which must not wait: links take packets
//! without blocking, and the lock is only ever held for the sending of one frame or the change of
//! the set of links.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use call_core::LinkId;
use call_e2ee::{Identity, PayloadSealer};
use call_media::audio::EncodedAudio;
use call_media::video::codec::{DEFAULT_VIDEO_CODEC, EncodedFrame};
use call_media::video::rtp::VideoPacketizer;
use call_protocol::{MediaSource, VideoCodec};
use call_transport::{Link, RtpOut};

/// Everybody our media goes to.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Mutex<Inner>>);

struct Inner {
    links: BTreeMap<LinkId, Receiver>,
    sealer: Box<dyn PayloadSealer>,
    packetizer: VideoPacketizer,
    sent: SentMedia,
}

struct Receiver {
    link: Arc<Link>,
    connected: bool,
    codecs: Vec<VideoCodec>,
}

/// What was sent to one receiver since the start (each is sent the same).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentMedia {
    /// Payload bytes of pictures.
    pub(crate) video_bytes: u64,
    /// Payload bytes of sound.
    pub(crate) audio_bytes: u64,
    /// From the capture of the last sound packet's first sample to its sending.
    pub(crate) audio_delay: Duration,
}

impl Outlet {
    /// `first_picture_id` should be random (RFC 7741 §4.2).
    pub(crate) fn new(first_picture_id: u16) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            links: BTreeMap::new(),
            sealer: Box::new(Identity),
            packetizer: VideoPacketizer::new(first_picture_id),
            sent: SentMedia::default(),
        })))
    }

    pub(crate) fn add(&self, id: LinkId, link: Arc<Link>) {
        let receiver = Receiver {
            link,
            connected: false,
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

    /// Whether anybody would receive a frame.
    pub(crate) fn has_receivers(&self) -> bool {
        self.lock()
            .links
            .values()
            .any(|receiver| receiver.connected)
    }

    /// The codec everybody connected can receive.
    pub(crate) fn codec(&self) -> VideoCodec {
        let inner = self.lock();
        let connected = inner.links.values().filter(|receiver| receiver.connected);
        common_codec(connected.map(|receiver| &receiver.codecs[..]))
    }

    /// The congestion controllers' targets of the connected links, in bit/s.
    pub(crate) fn targets_bps(&self) -> Vec<u64> {
        let inner = self.lock();
        let connected = inner.links.values().filter(|receiver| receiver.connected);
        connected
            .map(|receiver| receiver.link.target_bitrate_bps())
            .collect()
    }

    pub(crate) fn sent(&self) -> SentMedia {
        self.lock().sent
    }

    /// Sends one encoded frame.
    pub(crate) fn send_video(&self, frame: &EncodedFrame) {
        let mut inner = self.lock();
        let Inner {
            links,
            sealer,
            packetizer,
            sent,
            ..
        } = &mut *inner;
        let payloads = packetizer.packetize(frame);
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.enumerate() {
            let payload = sealer.seal(MediaSource::Camera, payload);
            sent.video_bytes += payload.len() as u64;
            for receiver in links.values().filter(|receiver| receiver.connected) {
                let packet = RtpOut {
                    timestamp: frame.timestamp_90khz,
                    marker: index == last,
                    payload: payload.clone(),
                    level_dbov: None,
                    captured_at: Some(frame.captured_at),
                    descriptor: None,
                };
                receiver.link.send_video(frame.layer, frame.codec, packet);
            }
        }
    }

    /// Sends one encoded audio packet.
    pub(crate) fn send_audio(&self, audio: EncodedAudio) {
        let mut inner = self.lock();
        let payload = inner.sealer.seal(MediaSource::Microphone, audio.payload);
        inner.sent.audio_bytes += payload.len() as u64;
        inner.sent.audio_delay = audio.captured_at.elapsed();
        for receiver in inner.links.values().filter(|receiver| receiver.connected) {
            receiver.link.send_audio(RtpOut {
                timestamp: audio.timestamp_48khz,
                marker: audio.marker,
                payload: payload.clone(),
                level_dbov: Some(audio.level_dbov),
                captured_at: Some(audio.captured_at),
                descriptor: None,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every critical section leaves the state consistent at each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The default codec when every list has it, else the first of the first list that all have, else
/// the default (who cannot receive it gets no picture, the others do).
pub(crate) fn common_codec<'a>(mut lists: impl Iterator<Item = &'a [VideoCodec]>) -> VideoCodec {
    let Some(first) = lists.next() else {
        return DEFAULT_VIDEO_CODEC;
    };
    let rest: Vec<_> = lists.collect();
    let in_all =
        |codec: &VideoCodec| first.contains(codec) && rest.iter().all(|list| list.contains(codec));
    if in_all(&DEFAULT_VIDEO_CODEC) {
        return DEFAULT_VIDEO_CODEC;
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
            assert_eq!(common_codec(lists.iter().copied()), want, "{lists:?}");
        }
    }
}
