//! What one shares: its capture and its encoder, which live and end together.
//!
//! A share has a capture, a slot and an encoder of its own, so that what replaces it begins without
//! anything of it. Ending one may wait for a driver, so that happens in the background.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use call_core::{Input, PictureFigures, PicturePlan, single_picture_bps};
use call_media::frame::LatestSlot;
use call_media::screen::source::ShareSource;
use call_media::screen::{self, SHARE_BOX_PX, SHARE_FPS};
use call_media::video::capture::{CaptureOptions, CaptureState, CaptureThread};
use call_media::video::codec::{Content, EncodedFrame, EncoderConfig};
use call_media::video::layers::LayerTarget;
use call_media::video::send::{VideoSender, VideoSenderConfig};
use call_protocol::ui::{DeviceState, UiEvent};
use call_protocol::{ErrorCode, MediaSource, VideoCodec};

use super::quality::SentRate;
use super::{Answer, Driver};
use crate::stats::{FrameMeter, RateMeter, ScreenStats};

/// Clock rate of pictures in RTP, per millisecond.
const RTP_TICKS_PER_MS: u32 = 90;

/// Everything about sharing.
pub(super) struct Sharing {
    current: Option<Share>,
    /// Counts shares; news of an earlier one are void.
    run: u64,
    /// What is encoded, as the session last said.
    plan: Option<PicturePlan>,
    /// Of the first picture of all shares, and when that was due: RTP time goes on from one to the
    /// next.
    timestamp_offset: u32,
    began_at: Instant,
    seed: u64,
    pub(super) sent: SentRate,
    frames: Arc<Mutex<FrameMeter>>,
    bytes: RateMeter,
}

struct Share {
    id: String,
    /// The person chooses what it is in a dialog, and may close that.
    is_chosen: bool,
    /// Ends with the share.
    _capture: CaptureThread,
    pictures: LatestSlot<call_media::frame::I420Frame>,
    /// Width, height and rate, once it delivers.
    running: Option<(u32, u32, u32)>,
    encoder: Option<(VideoSender, VideoCodec)>,
}

/// How the capture of a share does.
pub(super) struct ShareReport {
    run: u64,
    state: CaptureState,
}

impl Sharing {
    pub(super) fn new(now: Instant, timestamp_offset: u32, seed: u64) -> Self {
        Self {
            current: None,
            run: 0,
            plan: None,
            timestamp_offset,
            began_at: now,
            seed,
            sent: SentRate::default(),
            frames: Arc::default(),
            bytes: RateMeter::default(),
        }
    }

    /// What takes the picture's place in the quality controller; `None` while nothing is shared.
    pub(super) fn figures(&self, sent_bps: u64) -> Option<PictureFigures> {
        let (width, height, fps) = self.current.as_ref()?.running?;
        Some(PictureFigures {
            layer_sizes: [Some((width, height)), None, None],
            fps,
            sent_bps,
        })
    }

    /// What it could use of a link, in bit/s; 0 while nothing is shared.
    pub(super) fn worth_bps(&self) -> u64 {
        let running = self.current.as_ref().and_then(|share| share.running);
        running.map_or(0, |(width, height, fps)| {
            u64::from(single_picture_bps((width, height), fps))
        })
    }

    /// What it may take, in bit/s.
    pub(super) fn allowed_bps(&self) -> u64 {
        self.plan.map_or(0, |plan| plan.bitrate_bps())
    }

    /// How long its encoder worked.
    pub(super) fn busy(&self) -> Duration {
        let encoder = self.current.as_ref().and_then(|it| it.encoder.as_ref());
        encoder.map_or(Duration::ZERO, |(encoder, _)| encoder.busy())
    }

    pub(super) fn request_keyframe(&self) {
        if let Some((encoder, _)) = self.current.as_ref().and_then(|it| it.encoder.as_ref()) {
            encoder.request_keyframe(0);
        }
    }

    /// The figures of the last second, `bytes` being what left since the start.
    pub(super) fn stats(&mut self, now: Instant, bytes: u64) -> Option<ScreenStats> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = frames.sample(now, 0);
        let bitrate_bps = self.bytes.sample_bps(now, bytes);
        self.current.as_ref().map(|_| ScreenStats {
            bitrate_bps,
            ..ScreenStats::from(stats)
        })
    }

    /// What is left to be dropped where waiting harms nobody.
    pub(super) fn end(&mut self) -> impl Send + use<> {
        self.run += 1;
        self.plan = None;
        self.current.take()
    }
}

impl Driver {
    /// Shares this from now on, or nothing.
    pub(super) fn share(&mut self, now: Instant, id: Option<String>) {
        let ended = self.sharing.end();
        // Its threads are joined when it is dropped.
        self.background.spawn_blocking(move || drop(ended));
        let Some(id) = id else { return };
        let failed = |code| DeviceState::Failed { code };
        let state = match id.parse::<ShareSource>() {
            // Unsealed pictures do not say whether they are of a camera or of a screen.
            _ if !self.outlet.is_sealed() => failed(ErrorCode::NotSupported),
            Err(error) => {
                tracing::debug!(%error, "nothing to share");
                failed(ErrorCode::ShareNotFound)
            }
            Ok(source) => match self.start_share(id.clone(), source) {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, "no thread for the screen");
                    failed(ErrorCode::Internal)
                }
            },
        };
        self.session.handle_input(now, Input::Share { id, state });
    }

    fn start_share(&mut self, id: String, source: ShareSource) -> std::io::Result<()> {
        let run = self.sharing.run;
        let pictures = LatestSlot::new();
        let (exit, answers) = (pictures.clone(), self.answers.clone());
        let seed = self.sharing.seed;
        let is_chosen = source == ShareSource::Chosen;
        let capture = CaptureThread::start_share(
            source,
            CaptureOptions { seed },
            move |picture| {
                exit.put(picture);
            },
            move |state| {
                // The driver being gone is the only failure, and then nobody asks any more.
                let _ = answers.blocking_send(Answer::Share(ShareReport { run, state }));
            },
        )?;
        self.sharing.current = Some(Share {
            id,
            is_chosen,
            _capture: capture,
            pictures,
            running: None,
            encoder: None,
        });
        Ok(())
    }

    pub(super) fn handle_share(&mut self, now: Instant, report: ShareReport) {
        let is_current = report.run == self.sharing.run;
        let Some(share) = self.sharing.current.as_mut().filter(|_| is_current) else {
            return;
        };
        let state = match report.state {
            CaptureState::Starting => DeviceState::Starting,
            CaptureState::Running { width, height, fps } => {
                share.running = Some((width, height, fps));
                DeviceState::Running
            }
            CaptureState::Failed(ErrorCode::CameraDenied) if share.is_chosen => DeviceState::Off,
            CaptureState::Failed(code) => DeviceState::Failed {
                code: share_code(code),
            },
            CaptureState::Lost => DeviceState::Failed {
                code: ErrorCode::ShareLost,
            },
        };
        let id = share.id.clone();
        self.session.handle_input(now, Input::Share { id, state });
        self.report_quality(now);
    }

    pub(super) fn set_screen_plan(&mut self, plan: Option<PicturePlan>) {
        self.sharing.plan = plan;
        self.update_screen_encoder();
    }

    /// Makes the screen's encoder do what is wanted and possible now.
    pub(super) fn update_screen_encoder(&mut self) {
        let codec = self.outlet.screen_codec();
        let has_receivers = self.outlet.has_receivers();
        let plan = self.sharing.plan.filter(|_| has_receivers);
        let target = plan.and_then(|plan| plan.layers[0]);
        let timestamp_offset = self.next_timestamp();
        let Some(share) = &mut self.sharing.current else {
            return;
        };
        if share.encoder.is_none() && target.is_some() {
            let frames = Arc::clone(&self.sharing.frames);
            let outlet = self.outlet.clone();
            let on_frame = move |frame: EncodedFrame| {
                let mut meter = frames.lock().unwrap_or_else(PoisonError::into_inner);
                meter.handle_frame(Instant::now(), frame.width, frame.height, frame.data.len());
                drop(meter);
                outlet.send_video(MediaSource::Screen, &frame);
            };
            let on_error = |error| tracing::warn!(?error, "the screen was not encoded");
            let config = VideoSenderConfig {
                codec,
                encoder: EncoderConfig {
                    width: SHARE_BOX_PX.0,
                    height: SHARE_BOX_PX.1,
                    fps: SHARE_FPS,
                    content: Content::Screen,
                    ..EncoderConfig::default()
                },
                timestamp_offset,
            };
            let pictures = share.pictures.clone();
            match VideoSender::start(pictures, config, on_frame, on_error) {
                Ok(encoder) => share.encoder = Some((encoder, codec)),
                Err(error) => tracing::error!(%error, "no encoder thread"),
            }
        }
        let Some((encoder, told_codec)) = &mut share.encoder else {
            return;
        };
        if std::mem::replace(told_codec, codec) != codec {
            encoder.set_codec(codec);
        }
        if let (Some(plan), Some(target)) = (plan, target) {
            encoder.set_max_size(plan.max_width_px, plan.max_height_px);
            let target = LayerTarget {
                bitrate_bps: target.bitrate_bps,
                fps: target.fps,
            };
            encoder.set_layers([Some(target), None, None]);
        }
        encoder.set_paused(target.is_none());
    }

    fn next_timestamp(&self) -> u32 {
        let passed_ms = self.sharing.began_at.elapsed().as_millis() as u32;
        let ticks = passed_ms.wrapping_mul(RTP_TICKS_PER_MS);
        self.sharing.timestamp_offset.wrapping_add(ticks)
    }

    /// Tells the UI what can be shared.
    pub(super) fn list_shares(&mut self) {
        let ui = Arc::clone(&self.ui);
        self.background.spawn_blocking(move || {
            let options = screen::list().unwrap_or_else(|error| {
                tracing::debug!(%error, "nothing can be shared");
                Vec::new()
            });
            ui.event(UiEvent::Shares { options });
        });
    }
}

/// A capture speaks of cameras.
fn share_code(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::CameraNotFound => ErrorCode::ShareNotFound,
        ErrorCode::CameraDenied => ErrorCode::ShareDenied,
        ErrorCode::CameraBusy | ErrorCode::CameraLost => ErrorCode::ShareLost,
        other => other,
    }
}
