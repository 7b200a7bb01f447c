//! The peer's video tracks, and asking for keyframes of their streams.
//!
//! Invariant: at most [`MAX_TRACKS`] tracks are asked; later ones are received all the same. Not
//! here: when to ask again (see [`crate::keyframes`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use call_protocol::limits;
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use webrtc::media_stream::track_remote::TrackRemote;

use crate::keyframes::KeyframeRequests;
use crate::shared::Shared;

/// An SFU link's slots and a few more.
const MAX_TRACKS: usize = limits::SFU_VIDEO_SLOTS + 4;

/// See the module's text.
pub(crate) struct VideoTracks {
    shared: Arc<Shared>,
    tracks: Vec<Arc<dyn TrackRemote>>,
    requests: KeyframeRequests,
}

impl VideoTracks {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tracks: Vec::new(),
            requests: KeyframeRequests::default(),
        }
    }

    pub(crate) fn add(&mut self, track: &Arc<dyn TrackRemote>) {
        if self.tracks.len() < MAX_TRACKS {
            self.tracks.push(Arc::clone(track));
        }
    }

    /// Asks for a keyframe of one stream, or of all. Unknown streams are ignored.
    pub(crate) async fn request_keyframe(&mut self, now: Instant, only: Option<u32>) {
        let mut ask = Vec::new();
        for track in &self.tracks {
            for ssrc in track.ssrcs().await {
                let is_wanted = only.is_none_or(|only| only == ssrc);
                if is_wanted && self.requests.handle_wish(now, ssrc) {
                    ask.push(ssrc);
                }
            }
        }
        self.send(&ask).await;
    }

    /// Asks again where that is due.
    pub(crate) async fn handle_timeout(&mut self, now: Instant) {
        let due = self.requests.handle_timeout(now);
        self.send(&due).await;
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.requests.poll_timeout()
    }

    async fn send(&self, ssrcs: &[u32]) {
        // Any track carries the request; the SSRC in it says which stream is meant.
        let Some(track) = self.tracks.first() else {
            return;
        };
        for &media_ssrc in ssrcs {
            let request = PictureLossIndication {
                sender_ssrc: 0,
                media_ssrc,
            };
            let packets: Vec<Box<dyn rtcp::Packet>> = vec![Box::new(request)];
            if track.write_rtcp(packets).await.is_ok() {
                self.shared
                    .keyframe_requests_out
                    .fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
