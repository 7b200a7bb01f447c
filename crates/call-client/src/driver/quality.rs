//! What the quality controller is told, and what it wants done beside the encoder's settings.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use call_core::{Input, LinkFigures, LinkPeer, PictureFigures, QualityReport};
use call_media::video::layers::layer_size;
use call_protocol::{MediaSource, MemberId};

use super::Driver;
use super::encoder::picture_box;

/// Over which time it is judged what leaves. Longer lags behind, shorter takes a keyframe for the
/// rate.
const WINDOW: Duration = Duration::from_secs(1);
/// Reports in one window; more are only made when links change.
const SAMPLES: usize = 32;

/// The rate of a counter over the last [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct SentRate {
    samples: VecDeque<(Instant, u64)>,
}

impl SentRate {
    /// Bits per second of a byte counter that only grows; 0 in the first quarter of a window.
    fn sample_bps(&mut self, now: Instant, bytes: u64) -> u64 {
        // The oldest sample that stays is the youngest that is a window old.
        while self.samples.len() > SAMPLES
            || self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
        self.samples.push_back((now, bytes));
        let (since, before) = self.samples[0];
        let passed = now.saturating_duration_since(since);
        if passed < WINDOW / 4 {
            return 0;
        }
        (bytes.saturating_sub(before) as f64 * 8.0 / passed.as_secs_f64()) as u64
    }
}

impl Driver {
    /// Tells the session how links, encoder and picture do.
    pub(super) fn report_quality(&mut self, now: Instant) {
        let targets = self.outlet.targets();
        let figures = |(link, target_bps): &(call_core::LinkId, u64)| {
            let slot = self.links.get(link);
            LinkFigures {
                link: *link,
                target_bps: *target_bps,
                loss: slot.map_or(0.0, |slot| slot.loss),
                rtt_ms: slot.and_then(|slot| slot.rtt_ms),
                jitter_ms: slot.map_or(0.0, |slot| slot.jitter_ms),
                loss_in: slot.map_or(0.0, |slot| slot.loss_in),
                received_bps: slot.map_or(0, |slot| slot.received_bps),
            }
        };
        let links = targets.links.iter().map(figures).collect();
        let sent = self.outlet.sent();
        let sent_bps = self
            .sent_pictures
            .sample_bps(now, sent.video_bytes.iter().sum());
        let screen_bps = self.sharing.sent.sample_bps(now, sent.screen_bytes);
        let screen = self.sharing.figures(screen_bps);
        let (width, height, fps) = picture_box(self.devices.video());
        let camera = self.devices.camera_runs().then(|| PictureFigures {
            layer_sizes: std::array::from_fn(|layer| layer_size((width, height), layer)),
            fps,
            sent_bps,
        });
        let report = QualityReport {
            links,
            camera,
            screen,
            encoder_busy: self.shortage.busy_share(),
        };
        self.session.handle_input(now, Input::Quality(report));
    }

    pub(super) fn hold_picture(&mut self, source: MediaSource, members: &[MemberId]) {
        if !self.outlet.hold_picture(source, members) {
            return;
        }
        if source == MediaSource::Screen {
            self.sharing.request_keyframe();
        } else if let Some(encoder) = &self.encoder {
            encoder.request_keyframe(0);
        }
    }

    /// Bounds what files take, of links that there are and of later ones.
    pub(super) fn limit_files(&mut self, limit_bps: Option<u64>) {
        self.files_limit_bps = limit_bps;
        for (id, slot) in &self.links {
            if let (LinkPeer::Data(_), Some(link)) = (id.peer, &slot.link) {
                link.set_bulk_limit_bps(limit_bps);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_is_judged_over_a_second() {
        let start = Instant::now();
        let mut rate = SentRate::default();
        let mut rates = Vec::new();
        for quarter in 0..12_u64 {
            // A kilobyte each quarter, and none after two seconds.
            let bytes = quarter.min(8) * 1_000;
            let now = start + WINDOW / 4 * quarter as u32;
            rates.push(rate.sample_bps(now, bytes) / 1_000);
        }
        assert_eq!(rates, [0, 32, 32, 32, 32, 32, 32, 32, 32, 24, 16, 8]);
    }
}
