//! Media on its way in: one task per remote track takes packets from the stack, whose queue of 256
//! drops when full, and passes them on without ever waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rtc::rtp;
use tokio::sync::mpsc;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::dedup::Dedup;
use crate::event::RtpIn;
use crate::formats::Formats;
use crate::shared::Shared;

/// Streams of one track that are passed on; a foreign peer changes its SSRC now and then.
const MAX_STREAMS: usize = 8;

/// Runs until the track or the connection ends. The newest packet is dropped and counted when the
/// owner's queue is full.
///
/// `OnOpen` comes again with every renegotiation and `OnEnded` may be lost to the queue, so neither
/// means anything here.
pub(crate) async fn run(
    track: Arc<dyn TrackRemote>,
    media: mpsc::Sender<RtpIn>,
    shared: Arc<Shared>,
) {
    let mut streams: BTreeMap<u32, Dedup> = BTreeMap::new();
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else {
            continue;
        };
        let ssrc = packet.header.ssrc;
        if !streams.contains_key(&ssrc) && streams.len() == MAX_STREAMS {
            streams.pop_first();
        }
        let is_new = streams
            .entry(ssrc)
            .or_default()
            .is_new(packet.header.sequence_number);
        let Some(packet) = is_new.then(|| convert(packet, &shared.formats())).flatten() else {
            continue;
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = media.try_send(packet) {
            shared.dropped_in.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// `None` for payload types that are not ours (padding-only probes included: an empty payload is
/// nothing to decode).
fn convert(packet: rtp::Packet, formats: &Formats) -> Option<RtpIn> {
    let codec = *formats.codecs.get(&packet.header.payload_type)?;
    if packet.payload.is_empty() {
        return None;
    }
    let level = formats
        .audio_level_id
        .and_then(|id| packet.header.get_extension(id));
    Some(RtpIn {
        codec,
        ssrc: packet.header.ssrc,
        sequence: packet.header.sequence_number,
        timestamp: packet.header.timestamp,
        marker: packet.header.marker,
        arrived_at: Instant::now(),
        level_dbov: level.and_then(|level| level.first().map(|byte| byte & 0x7f)),
        csrc: packet.header.csrc.first().copied(),
        payload: packet.payload,
    })
}
