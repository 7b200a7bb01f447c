//! Media on its way out: numbered in [`TrackOut::send`], queued, handed to the stack by one task
//! per kind, so that sound never waits behind a picture.
//!
//! The queue is bounded and drops the newest packet; as the number is taken before, the receiver
//! sees a gap and not a damaged picture.

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

use crate::event::{Codec, MediaKind, RtpOut};
use crate::setup;
use crate::shared::Shared;

/// More than a second of sound.
const AUDIO_PACKETS: usize = 64;
/// A large keyframe at full quality.
const VIDEO_PACKETS: usize = 1_024;

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
    /// The track for the stack, its sending end, and its queue for [`run`].
    pub(crate) fn new(
        kind: MediaKind,
        codecs: &[VideoCodec],
        shared: &Arc<Shared>,
    ) -> (Arc<TrackLocalStaticRTP>, Self, mpsc::Receiver<rtp::Packet>) {
        let (codec, rtp_kind, label, capacity) = match kind {
            MediaKind::Audio => (setup::opus(), RtpCodecKind::Audio, "audio", AUDIO_PACKETS),
            MediaKind::Video => (
                bound_codec(codecs),
                RtpCodecKind::Video,
                "video",
                VIDEO_PACKETS,
            ),
        };
        let ssrc = random_ssrc();
        let rtx = (kind == MediaKind::Video).then(|| RTCRtpRtxParameters {
            ssrc: random_ssrc(),
        });
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
            label.to_owned(),
            rtp_kind,
            vec![encoding],
        );
        let (queue, packets) = mpsc::channel(capacity);
        let track_out = Self {
            ssrc,
            sequence: AtomicU16::new(rand::random::<u16>() & 0x7fff),
            queue,
            shared: Arc::clone(shared),
        };
        (
            Arc::new(TrackLocalStaticRTP::new(track)),
            track_out,
            packets,
        )
    }

    /// Numbers and queues a packet, or drops and counts it.
    pub(crate) fn send(&self, codec: Codec, packet: RtpOut) {
        let formats = self.shared.formats();
        let payload_type = formats.payload_type(codec).filter(|_| {
            self.shared.is_connected.load(Ordering::Relaxed)
                && packet.payload.len() <= RtpOut::PAYLOAD_BYTES
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
        if let (Some(level), Some(id)) = (packet.level_dbov, formats.audio_level_id) {
            let level = Bytes::copy_from_slice(&[level.min(127)]);
            if let Err(error) = rtp.header.set_extension(id, level) {
                tracing::debug!(%error, "audio level not attached");
            }
        }
        if self.queue.try_send(rtp).is_err() {
            self.shared.dropped_out.fetch_add(1, Ordering::Relaxed);
        }
    }
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

/// Zero means "none" in several places of the stack.
fn random_ssrc() -> u32 {
    rand::random::<u32>().max(1)
}
