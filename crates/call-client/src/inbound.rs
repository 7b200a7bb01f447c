//! The way in: one task per link opens the peer connection, forwards its events, and turns its RTP
//! into complete video frames (for the driver) and audio packets (for the mixer).
//!
//! Everything that arrives is bounded: the transport drops (and counts) RTP when this task lags,
//! and this task waits when the driver lags.
//!
//! Deliberately not here: decoding (see [`crate::pictures`]) and the mixer's playout.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use call_core::LinkId;
use call_e2ee::{Identity, PayloadOpener};
use call_media::audio::Mixer;
use call_media::video::rtp::{AssembledFrame, RtpVideoPacket, VideoAssembler};
use call_protocol::{MediaSource, VideoCodec};
use call_transport::{Codec, Link, LinkConfig, LinkError, LinkEvent, RtpIn};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

/// Link events waiting for this task; the link waits when it is full.
const EVENTS: usize = 256;
/// RTP packets waiting for this task: a quarter second of 8 Mbit/s. The newest are dropped.
const PACKETS: usize = 1_024;
/// Shortest time between two keyframe requests for incomplete frames. Shorter asks again before
/// the answer can have arrived; longer freezes the picture for longer.
const KEYFRAME_REQUEST: Duration = Duration::from_millis(300);

/// What a link's task tells the driver.
pub(crate) enum LinkReport {
    /// The connection object exists; negotiation goes on.
    Opened(Arc<Link>),
    /// It could not be made.
    NotOpened(LinkError),
    /// The link's own event.
    Event(LinkEvent),
    /// A complete frame of the member's camera.
    Frame(ReceivedFrame),
}

/// A complete encoded frame with its time on the sender's clock.
pub(crate) struct ReceivedFrame {
    pub(crate) frame: AssembledFrame,
    pub(crate) timestamp_us: u64,
}

/// Runs a link until it is closed or the driver is gone.
pub(crate) async fn run(
    id: LinkId,
    config: LinkConfig,
    mixer: Arc<Mutex<Mixer>>,
    reports: mpsc::Sender<(LinkId, LinkReport)>,
) {
    let (events_in, mut events) = mpsc::channel(EVENTS);
    let (packets_in, mut packets) = mpsc::channel(PACKETS);
    let link = match Link::open(config, events_in, packets_in).await {
        Ok(link) => Arc::new(link),
        Err(error) => {
            // The driver being gone is the only failure, and then nobody needs to know.
            let _ = reports.send((id, LinkReport::NotOpened(error))).await;
            return;
        }
    };
    // The driver alone keeps the link alive, so that closing it is its decision.
    let weak = Arc::downgrade(&link);
    if reports.send((id, LinkReport::Opened(link))).await.is_err() {
        return;
    }
    let mut inbound = Inbound::new(id, mixer);
    loop {
        let now = Instant::now();
        while let Some(frame) = inbound.poll_frame() {
            if reports.send((id, LinkReport::Frame(frame))).await.is_err() {
                return;
            }
        }
        if inbound.keyframe_due(now)
            && let Some(link) = weak.upgrade()
        {
            link.request_keyframe();
        }
        let timeout = inbound
            .poll_timeout()
            .unwrap_or(now + Duration::from_secs(3_600));
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return };
                if reports.send((id, LinkReport::Event(event))).await.is_err() {
                    return;
                }
            }
            packet = packets.recv() => {
                // `None`: the link is closing; its events tell so.
                let Some(packet) = packet else {
                    drain(id, &mut events, &reports).await;
                    return;
                };
                inbound.handle_packet(Instant::now(), packet);
            }
            () = sleep_until(timeout.into()) => inbound.handle_timeout(Instant::now()),
        }
    }
}

async fn drain(
    id: LinkId,
    events: &mut mpsc::Receiver<LinkEvent>,
    reports: &mpsc::Sender<(LinkId, LinkReport)>,
) {
    while let Some(event) = events.recv().await {
        if reports.send((id, LinkReport::Event(event))).await.is_err() {
            return;
        }
    }
}

/// The state of one incoming camera stream and the door to the mixer.
struct Inbound {
    id: LinkId,
    opener: Box<dyn PayloadOpener>,
    mixer: Arc<Mutex<Mixer>>,
    stream: Option<Stream>,
    clock: MediaClock,
    /// Packets or timeouts since the last look at whether a keyframe is needed.
    touched: bool,
    requested: Option<Instant>,
}

struct Stream {
    codec: VideoCodec,
    ssrc: u32,
    assembler: VideoAssembler,
}

impl Inbound {
    fn new(id: LinkId, mixer: Arc<Mutex<Mixer>>) -> Self {
        Self {
            id,
            opener: Box::new(Identity),
            mixer,
            stream: None,
            clock: MediaClock::default(),
            touched: false,
            requested: None,
        }
    }

    fn handle_packet(&mut self, now: Instant, packet: RtpIn) {
        let source = match packet.codec {
            Codec::Opus => MediaSource::Microphone,
            Codec::Video(_) => MediaSource::Camera,
        };
        let Some(payload) = self.opener.open(self.id.member, source, packet.payload) else {
            tracing::debug!("payload did not open");
            return;
        };
        match packet.codec {
            Codec::Opus => {
                let mut mixer = self.mixer.lock().unwrap_or_else(PoisonError::into_inner);
                mixer.handle_packet(
                    now,
                    self.id.member,
                    packet.sequence,
                    packet.timestamp,
                    payload,
                );
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
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.touched = true;
        if let Some(stream) = &mut self.stream {
            stream.assembler.handle_timeout(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.stream.as_ref()?.assembler.poll_timeout()
    }

    fn poll_frame(&mut self) -> Option<ReceivedFrame> {
        let frame = self.stream.as_mut()?.assembler.poll_frame()?;
        let timestamp_us = self.clock.unwrap_us(frame.timestamp);
        Some(ReceivedFrame {
            frame,
            timestamp_us,
        })
    }

    /// Whether a keyframe is to be asked for now. Only while packets arrive: a camera that is off
    /// has none to give.
    fn keyframe_due(&mut self, now: Instant) -> bool {
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
