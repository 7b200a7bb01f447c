//! The encoder: it runs exactly while a picture is captured, somebody receives it and the session's
//! plan has one, and makes what that plan says.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use call_core::{Input, LinkPeer, SOUND_RESERVE_BPS, single_picture_bps};
use call_media::video::codec::EncoderConfig;
use call_media::video::layers::LayerTarget;
use call_media::video::send::{VideoSender, VideoSenderConfig};
use call_media::video::source_config::VideoSourceConfig;
use call_protocol::{MediaSource, VideoCodec};
use call_transport::{LinkState, PathKind};

use super::Driver;

/// Seconds in a row before the uplink or the machine counts as short: estimates need some to grow.
const SHORT_AFTER_S: u32 = 4;

/// What is looked at once a second.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    uplink_s: u32,
    cpu_s: u32,
    busy: Duration,
    looked_at: Option<Instant>,
    /// Of the last second, 0 to 1.
    busy_share: f64,
}

impl Shortage {
    fn note_uplink(&mut self, is_short: bool) -> bool {
        self.uplink_s = if is_short { self.uplink_s + 1 } else { 0 };
        self.uplink_s >= SHORT_AFTER_S
    }

    /// The share of the last second that was spent encoding, 0 to 1.
    pub(super) fn busy_share(&self) -> f64 {
        self.busy_share
    }

    /// `busy`: how long the encoder worked since its start.
    fn note_busy(&mut self, now: Instant, busy: Duration) -> bool {
        let worked = busy.saturating_sub(self.busy);
        let passed = self
            .looked_at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        (self.busy, self.looked_at) = (busy, Some(now));
        self.busy_share = if passed > Duration::ZERO {
            (worked.as_secs_f64() / passed.as_secs_f64()).min(1.0)
        } else {
            0.0
        };
        // Above four fifths of the time pictures are left out, sooner or later.
        let is_short = passed > Duration::ZERO && worked * 5 > passed * 4;
        self.cpu_s = if is_short { self.cpu_s + 1 } else { 0 };
        self.cpu_s >= SHORT_AFTER_S
    }
}

impl Driver {
    /// Makes the encoder do what is wanted and possible now.
    pub(super) fn update_encoder(&mut self) {
        self.update_screen_encoder();
        let codec = self.outlet.codec();
        let plan = self.picture_plan.filter(|plan| {
            let has_layers = plan.layers.iter().any(Option::is_some);
            has_layers && self.devices.camera_runs() && self.outlet.has_receivers()
        });
        let is_wanted = plan.is_some();
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
        let has_layers = self.outlet.targets().has_sfu() && codec != VideoCodec::H264;
        encoder.set_temporal_layers(if has_layers { 2 } else { 1 });
        if let Some(plan) = plan {
            encoder.set_max_size(plan.max_width_px, plan.max_height_px);
            encoder.set_layers(plan.layers.map(|layer| {
                layer.map(|layer| LayerTarget {
                    bitrate_bps: layer.bitrate_bps,
                    fps: layer.fps,
                })
            }));
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
                bitrate_bps: single_picture_bps((width, height), fps),
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
            outlet.send_video(MediaSource::Camera, &frame);
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

    /// Tells the session how the links do. `sent_bps`: what of the largest layer, and of the screen,
    /// left in the last second.
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
        let camera_bps = if self.devices.camera_runs() {
            single_picture_bps((width, height), fps)
        } else {
            0
        };
        let worth_bps = u64::from(camera_bps) + self.sharing.worth_bps();
        let members_bps = self.outlet.targets().members_bps();
        let allowed_bps = self
            .picture_plan
            .and_then(|plan| plan.layers[0])
            .map_or(0, |layer| u64::from(layer.bitrate_bps))
            + self.sharing.allowed_bps();
        let is_short =
            worth_bps > 0 && is_uplink_short(worth_bps, allowed_bps, sent_bps, &members_bps);
        let uplink_short = self.shortage.note_uplink(is_short);
        let busy = self.encoder.as_ref().map(VideoSender::busy);
        let busy = busy.unwrap_or_default() + self.sharing.busy();
        let cpu_short = self.shortage.note_busy(now, busy);
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

/// Whether the direct links keep one's own pictures below what they are worth, for everybody: together
/// they carry less than three quarters of what is wanted, and the picture (`sent_bps`) fills what it
/// may take (`allowed_bps`, 0: there is none). One that does not, because little moves, leaves
/// estimates low without being short; and a single link is never: a server would not have to be sent
/// less.
fn is_uplink_short(worth_bps: u64, allowed_bps: u64, sent_bps: u64, members_bps: &[u64]) -> bool {
    let wanted_bps = (worth_bps + SOUND_RESERVE_BPS) * members_bps.len() as u64;
    let carried_bps: u64 = members_bps.iter().sum();
    let is_known = members_bps.iter().all(|target| *target > 0);
    let is_full = sent_bps * 5 >= allowed_bps * 4;
    members_bps.len() > 1 && is_known && is_full && carried_bps * 4 < wanted_bps * 3
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
    fn an_uplink_is_short_when_all_links_together_carry_too_little() {
        let cases: [(u64, u64, &[u64], bool); 8] = [
            (100_000, 100_000, &[150_000], false),
            (1_900_000, 1_900_000, &[], false),
            (1_900_000, 1_900_000, &[2_000_000, 2_500_000], false),
            (650_000, 600_000, &[700_000, 700_000], true),
            (650_000, 400_000, &[700_000, 700_000], false),
            (100_000, 50_000, &[4_000_000, 100_000], false),
            (100_000, 90_000, &[0, 100_000], false),
            (0, 0, &[80_000, 90_000], true),
        ];
        for (allowed_bps, sent_bps, targets, want) in cases {
            let got = is_uplink_short(1_935_360, allowed_bps, sent_bps, targets);
            assert_eq!(got, want, "{sent_bps} of {allowed_bps} over {targets:?}");
        }
    }

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
