//! What the stack calls on its driver task: every handler only forwards, none waits, because a
//! handler that waits stops media.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
};

/// What was called.
pub(crate) enum Notice {
    Candidate(RTCPeerConnectionIceEvent),
    State(RTCPeerConnectionState),
    Channel(Arc<dyn DataChannel>),
    Track(Arc<dyn TrackRemote>),
}

/// Room for what a peer can cause between two turns of the link's task. Beyond it the peer floods
/// us (it opens channels or tracks without end) and the link is given up.
pub(crate) const NOTICES: usize = 256;

/// See the module's text.
pub(crate) struct Forwarder {
    notices: mpsc::Sender<Notice>,
    is_flooded: Arc<AtomicBool>,
}

impl Forwarder {
    pub(crate) fn new(notices: mpsc::Sender<Notice>, is_flooded: Arc<AtomicBool>) -> Self {
        Self {
            notices,
            is_flooded,
        }
    }

    fn forward(&self, notice: Notice) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.notices.try_send(notice) {
            self.is_flooded.store(true, Ordering::Relaxed);
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Forwarder {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        self.forward(Notice::Candidate(event));
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.forward(Notice::State(state));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.forward(Notice::Channel(channel));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.forward(Notice::Track(track));
    }
}
