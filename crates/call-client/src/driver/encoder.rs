//! The encoder: it runs exactly while a picture is captured and somebody receives it, in the layers
//! that somebody wants and the links carry.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use call_core::{Input, LinkPeer};
use call_media::video::codec::EncoderConfig;
use call_media::video::send::{VideoSender, VideoSenderConfig};
use call_media::video::source_config::VideoSourceConfig;
use call_protocol::VideoCodec;
use call_transport::{LinkState, PathKind};

use super::Driver;
use crate::layer_plan::is_uplink_short;
use crate::stats::picture_bitrate_bps;

/// Seconds in a row before the uplink or the machine counts as short: estimates need some to grow.
const SHORT_AFTER_S: u32 = 4;

/// What is looked at once a second.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    uplink_s: u32,
    cpu_s: u32,
    busy: Duration,
    looked_at: Option<Instant>,
}

impl Shortage {
    fn note_uplink(&mut self, is_short: bool) -> bool {
        self.uplink_s = if is_short { self.uplink_s + 1 } else { 0 };
        self.uplink_s >= SHORT_AFTER_S
    }

    /// `busy`: how long the encoder worked since its start.
    fn note_busy(&mut self, now: Instant, busy: Duration) -> bool {
        let worked = busy.saturating_sub(self.busy);
        let passed = self
            .looked_at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        (self.busy, self.looked_at) = (busy, Some(now));
        // Above four fifths of the time pictures are left out, sooner or later.
        let is_short = passed > Duration::ZERO && worked * 5 > passed * 4;
        self.cpu_s = if is_short { self.cpu_s + 1 } else { 0 };
        self.cpu_s >= SHORT_AFTER_S
    }
}

impl Driver {
    /// Makes the encoder do what is wanted and possible now.
    pub(super) fn update_encoder(&mut self) {
        let codec = self.outlet.codec();
        let (width, height, fps) = picture_box(self.devices.video());
        let links = self.outlet.targets();
        let targets = self.layer_plan.targets(
            Instant::now(),
            self.layers_wanted,
            (width, height),
            fps,
            picture_bitrate_bps(width, height, fps),
            &links,
        );
        let is_wanted = self.devices.camera_runs()
            && self.outlet.has_receivers()
            && targets.iter().any(Option::is_some);
        if self.encoder.is_none() && is_wanted {
            self.encoder = self.start_encoder(codec);
            self.encoder_codec = codec;
        }
        let Some(encoder) = &self.encoder else { return };
        if codec != self.encoder_codec {
            self.encoder_codec = codec;
            encoder.set_codec(codec);
        }
        // Droppable frames are of use to the SFU alone, and cost quality.
        let has_layers = links.sfu_bps.is_some() && codec != VideoCodec::H264;
        encoder.set_temporal_layers(if has_layers { 2 } else { 1 });
        encoder.set_max_size(width, height);
        if is_wanted {
            encoder.set_layers(targets);
        }
        encoder.set_paused(!is_wanted);
    }

    fn start_encoder(&self, codec: VideoCodec) -> Option<VideoSender> {
        let (width, height, fps) = picture_box(self.devices.video());
        let config = VideoSenderConfig {
            codec,
            encoder: EncoderConfig {
                width,
                height,
                fps,
                bitrate_bps: picture_bitrate_bps(width, height, fps),
                ..EncoderConfig::default()
            },
            timestamp_offset: self.timestamp_offset,
        };
        let (outlet, meters) = (self.outlet.clone(), Arc::clone(&self.sent_frames));
        let on_frame = move |frame: call_media::video::codec::EncodedFrame| {
            let mut meters = meters.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(meter) = meters.get_mut(usize::from(frame.layer)) {
                meter.handle_frame(Instant::now(), frame.width, frame.height, frame.data.len());
            }
            drop(meters);
            outlet.send_video(&frame);
        };
        let on_error = |error| tracing::warn!(?error, "the picture was not encoded");
        match VideoSender::start(self.camera_out.clone(), config, on_frame, on_error) {
            Ok(encoder) => Some(encoder),
            Err(error) => {
                tracing::error!(%error, "no encoder thread");
                None
            }
        }
    }

    /// Tells the session how the links do. `sent_bps`: what of the largest layer left in the last
    /// second.
    pub(super) fn report_paths(&mut self, now: Instant, sent_bps: u64) {
        let is_relayed = |state| {
            let path = PathKind::Relay;
            state == LinkState::Connected { path }
        };
        let relayed = self.links.iter().filter_map(|(id, slot)| match id.peer {
            LinkPeer::Member(member) if is_relayed(slot.state) => Some(member),
            _ => None,
        });
        let relayed = relayed.collect();
        let (width, height, fps) = picture_box(self.devices.video());
        let worth_bps = picture_bitrate_bps(width, height, fps);
        let members_bps = self.outlet.targets().members_bps;
        let is_short = is_uplink_short(worth_bps, sent_bps, &members_bps);
        let uplink_short = self.shortage.note_uplink(is_short);
        let busy = self.encoder.as_ref().map(VideoSender::busy);
        let cpu_short = self.shortage.note_busy(now, busy.unwrap_or_default());
        self.session.handle_input(
            now,
            Input::PathReport {
                relayed,
                uplink_short,
                cpu_short,
            },
        );
    }
}

/// Largest picture sent and its rate.
pub(super) fn picture_box(config: &VideoSourceConfig) -> (u32, u32, u32) {
    match config {
        VideoSourceConfig::Pattern { width, height, fps }
        | VideoSourceConfig::Camera {
            width, height, fps, ..
        } => (*width, *height, *fps),
        VideoSourceConfig::File(_) | VideoSourceConfig::None => (1280, 720, 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortage_must_last() {
        let start = Instant::now();
        let mut shortage = Shortage::default();
        let mut busy = Duration::ZERO;
        // Share of each second in which the encoder works, in percent.
        let cases = [
            (90, false),
            (90, false),
            (90, false),
            (90, false),
            (90, true),
            (70, false),
            (95, false),
        ];
        for (second, (percent, want)) in cases.into_iter().enumerate() {
            busy += Duration::from_millis(percent * 10);
            let now = start + Duration::from_secs(second as u64);
            assert_eq!(shortage.note_busy(now, busy), want, "second {second}");
        }
        let uplink = [true, true, true, true, true, false, true];
        let told = uplink.map(|is_short| shortage.note_uplink(is_short));
        assert_eq!(told, [false, false, false, true, true, false, false]);
    }
}
