//! Media on its way out: numbered in [`TrackOut::send`], queued, handed to the stack by one task
//! per stream, so that sound never waits behind a picture. A layer of a picture is a stream of its
//! own, with its own SSRC and its own retransmission stream.
//!
//! The queue is bounded and drops the newest packet; as the number is taken before, the receiver
//! sees a gap and not a damaged picture. Of a layer that was [cut](crate::budget::Budget::cut) only a
//! keyframe is sent again, which is asked for as soon as the path has room for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use call_protocol::VideoCodec;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters,
    RtpCodecKind,
};
use tokio::sync::mpsc;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use crate::config::LinkConfig;
use crate::event::{Codec, MediaKind, RtpOut};
use crate::setup;
use crate::shared::Shared;

/// More than a second of sound.
const AUDIO_PACKETS: usize = 64;
/// A large keyframe at full quality.
const VIDEO_PACKETS: usize = 1_024;

/// The SSRCs of what a link sends, drawn once: the interceptors know layers by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutStreams {
    /// Of the sound.
    pub(crate) audio: Option<u32>,
    /// Of the pictures and of their retransmissions, layer 0 first.
    pub(crate) layers: Vec<(u32, u32)>,
    /// The same of the screen.
    pub(crate) screen: Option<(u32, u32)>,
}

impl OutStreams {
    /// Distinct SSRCs for what the link may send.
    pub(crate) fn new(config: &LinkConfig) -> Self {
        let mut taken = Vec::new();
        let mut next = || {
            loop {
                // Zero means "none" in several places of the stack.
                let ssrc = rand::random::<u32>().max(1);
                if !taken.contains(&ssrc) {
                    taken.push(ssrc);
                    return ssrc;
                }
            }
        };
        Self {
            audio: config.sends(MediaKind::Audio).then(&mut next),
            layers: (0..config.video_layers())
                .map(|_| (next(), next()))
                .collect(),
            screen: config.has_screen().then(|| (next(), next())),
        }
    }

    /// The layer whose pictures have this SSRC.
    pub(crate) fn layer(&self, ssrc: u32) -> Option<u8> {
        let layer = self.layers.iter().position(|(media, _)| *media == ssrc)?;
        Some(layer as u8)
    }

    /// Whether this is the SSRC of the screen.
    pub(crate) fn is_screen(&self, ssrc: u32) -> bool {
        self.screen.is_some_and(|(media, _)| media == ssrc)
    }
}

/// One track we send. It lives as long as the link: the stack's `replace_track` leaves a dead
/// sender, so a source changes by sending its packets here.
#[derive(Debug)]
pub(crate) struct TrackOut {
    ssrc: u32,
    sequence: AtomicU16,
    queue: mpsc::Sender<rtp::Packet>,
    shared: Arc<Shared>,
}

impl TrackOut {
    /// The track of the sound; `None` if the link sends none.
    pub(crate) fn audio(shared: &Arc<Shared>) -> Option<NewTrack> {
        let ssrc = shared.streams.audio?;
        let (codec, kind) = (setup::opus(), RtpCodecKind::Audio);
        let label = "audio".to_owned();
        Some(Self::make(
            shared,
            (ssrc, None),
            codec,
            kind,
            label,
            AUDIO_PACKETS,
        ))
    }

    /// The tracks of the pictures, one per layer.
    pub(crate) fn video(codecs: &[VideoCodec], shared: &Arc<Shared>) -> Vec<NewTrack> {
        let layers = shared.streams.layers.iter().enumerate();
        let track = |(layer, &(ssrc, rtx)): (usize, &(u32, u32))| {
            let label = match layer {
                0 => "video".to_owned(),
                _ => format!("video-{layer}"),
            };
            let (codec, kind) = (bound_codec(codecs), RtpCodecKind::Video);
            Self::make(shared, (ssrc, Some(rtx)), codec, kind, label, VIDEO_PACKETS)
        };
        layers.map(track).collect()
    }

    /// The track of the screen; `None` if the link has none.
    pub(crate) fn screen(codecs: &[VideoCodec], shared: &Arc<Shared>) -> Option<NewTrack> {
        let (ssrc, rtx) = shared.streams.screen?;
        let (codec, kind) = (bound_codec(codecs), RtpCodecKind::Video);
        let label = "screen".to_owned();
        Some(Self::make(
            shared,
            (ssrc, Some(rtx)),
            codec,
            kind,
            label,
            VIDEO_PACKETS,
        ))
    }

    fn make(
        shared: &Arc<Shared>,
        (ssrc, rtx): (u32, Option<u32>),
        codec: RTCRtpCodec,
        kind: RtpCodecKind,
        label: String,
        capacity: usize,
    ) -> NewTrack {
        let rtx = rtx.map(|ssrc| RTCRtpRtxParameters { ssrc });
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                rtx,
                ..RTCRtpCodingParameters::default()
            },
            codec,
            active: true,
            ..RTCRtpEncodingParameters::default()
        };
        let track = MediaStreamTrack::new(
            "visavis".to_owned(),
            format!("visavis-{label}"),
            label,
            kind,
            vec![encoding],
        );
        let (queue, packets) = mpsc::channel(capacity);
        let track_out = Self {
            ssrc,
            sequence: AtomicU16::new(rand::random::<u16>() & 0x7fff),
            queue,
            shared: Arc::clone(shared),
        };
        NewTrack {
            local: Arc::new(TrackLocalStaticRTP::new(track)),
            out: track_out,
            packets,
        }
    }

    /// Lets a packet pass unless it belongs to a picture that cannot be decoded, because its layer was
    /// cut. With a keyframe the layer goes on; without, one is asked for.
    fn admit(&self, packet: &RtpOut) -> bool {
        let Some(layer) = self.shared.cut_layer(self.ssrc) else {
            return true;
        };
        let budget = &self.shared.budget;
        if packet.starts_keyframe {
            // What was lost before is no longer needed.
            self.shared.histories().forget(self.ssrc);
            budget.mend(layer);
            return true;
        }
        if packet.marker && !budget.is_draining() {
            self.shared.want_keyframe(self.ssrc);
        }
        false
    }

    /// Numbers and queues a packet, or drops and counts it.
    pub(crate) fn send(&self, codec: Codec, packet: RtpOut) {
        let formats = self.shared.formats();
        let payload_type = formats.payload_type(codec).filter(|_| {
            self.shared.is_connected.load(Ordering::Relaxed)
                && packet.payload.len() <= RtpOut::PAYLOAD_BYTES
                && self.admit(&packet)
        });
        let Some(payload_type) = payload_type else {
            self.shared.dropped_out.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if let Some(captured_at) = packet.captured_at {
            let mut meter = self.shared.meter();
            meter.handle_captured(self.ssrc, packet.timestamp, captured_at);
        }
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let mut rtp = rtp::Packet {
            header: rtp::Header {
                version: 2,
                marker: packet.marker,
                payload_type,
                sequence_number: sequence,
                timestamp: packet.timestamp,
                ssrc: self.ssrc,
                ..rtp::Header::default()
            },
            payload: packet.payload,
        };
        let level = packet
            .level_dbov
            .map(|level| Bytes::copy_from_slice(&[level.min(127)]))
            .filter(|_| codec.kind() == MediaKind::Audio);
        let descriptor = packet
            .descriptor
            .filter(|_| codec.kind() == MediaKind::Video);
        // The first extension decides the form of all (RFC 8285): a descriptor with a structure is
        // too long for the one-byte form, so it has to come before any other.
        let extensions = [
            (descriptor, formats.descriptor_id),
            (level, formats.audio_level_id),
        ];
        for (value, id) in extensions {
            if let (Some(value), Some(id)) = (value, id)
                && let Err(error) = rtp.header.set_extension(id, value)
            {
                tracing::debug!(%error, "header extension not attached");
            }
        }
        if self.queue.try_send(rtp).is_err() {
            self.shared.dropped_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A track for the stack, its sending end, and its queue for [`run`].
pub(crate) struct NewTrack {
    pub(crate) local: Arc<TrackLocalStaticRTP>,
    pub(crate) out: TrackOut,
    pub(crate) packets: mpsc::Receiver<rtp::Packet>,
}

/// Hands queued packets to the stack until the queue's other end is gone.
pub(crate) async fn run(track: Arc<TrackLocalStaticRTP>, mut packets: mpsc::Receiver<rtp::Packet>) {
    while let Some(packet) = packets.recv().await {
        // The stack accepts everything while it runs and only logs what it refuses later, so an
        // error here means that the connection is closing.
        if track.write_rtp(packet).await.is_err() {
            packets.close();
            while packets.recv().await.is_some() {}
        }
    }
}

/// The codec the stream is announced to the interceptors with. They only read its clock and
/// feedback, which all video codecs share, but it must be one the peer has: every WebRTC endpoint
/// has VP8 and H.264 (RFC 7742).
fn bound_codec(codecs: &[VideoCodec]) -> RTCRtpCodec {
    let everywhere = [VideoCodec::Vp8, VideoCodec::H264];
    let codec = everywhere.into_iter().find(|codec| codecs.contains(codec));
    setup::video(codec.or(codecs.first().copied()).unwrap_or(VideoCodec::Vp8))
}

#[cfg(test)]
mod tests {
    use call_protocol::MediaSource;

    use super::*;
    use crate::formats::Formats;

    const CODEC: Codec = Codec::Video(VideoCodec::Vp8);

    fn shared() -> Arc<Shared> {
        let streams = OutStreams {
            audio: None,
            layers: vec![(1, 2), (3, 4)],
            screen: None,
        };
        let shared = Shared::new(streams, None);
        let mut formats = Formats::default();
        formats.codecs.insert(96, CODEC);
        formats.rtx.insert(96, 97);
        shared.set_formats(formats);
        shared.histories().bind(1, Some(2));
        shared.is_connected.store(true, Ordering::Relaxed);
        Arc::new(shared)
    }

    fn picture(starts_keyframe: bool, timestamp: u32) -> RtpOut {
        RtpOut {
            timestamp,
            marker: true,
            starts_keyframe,
            payload: vec![0x10; 50].into(),
            level_dbov: None,
            captured_at: None,
            descriptor: None,
        }
    }

    #[test]
    fn of_a_layer_that_was_cut_nothing_leaves_before_a_keyframe() {
        let shared = shared();
        let mut tracks = TrackOut::video(&[VideoCodec::Vp8], &shared);
        let mut left = |layer: usize, starts_keyframe, timestamp| {
            let NewTrack { out, packets, .. } = &mut tracks[layer];
            out.send(CODEC, picture(starts_keyframe, timestamp));
            let packet = packets.try_recv().ok()?;
            shared.histories().push(&packet);
            Some(packet.header.sequence_number)
        };
        let wanted = || shared.take_wanted_keyframes().collect::<Vec<_>>();
        let first = left(0, true, 0).expect("it is sent");
        shared.budget.set_estimate(1e5, true, 0.0);
        shared.budget.cut(0);
        assert_eq!(left(0, false, 1), None);
        assert_eq!(wanted(), [], "not while the queue is full");
        assert!(left(1, false, 1).is_some(), "another layer");
        shared.budget.set_estimate(1e5, false, 0.0);
        assert_eq!(left(0, false, 2), None);
        assert_eq!(wanted(), [(MediaSource::Camera, 0)]);
        let next = first.wrapping_add(1);
        assert_eq!(left(0, true, 3), Some(next), "no number is missing");
        assert_eq!(left(0, false, 4), Some(next.wrapping_add(1)));
        assert_eq!(wanted(), []);
        let (now, formats) = (std::time::Instant::now(), shared.formats());
        let again = |sequence| {
            let mut histories = shared.histories();
            histories.repeat(now, (1, sequence), std::time::Duration::ZERO, &formats)
        };
        assert!(again(first).is_none() && again(next).is_some());
    }
}
