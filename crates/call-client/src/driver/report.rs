//! Levels ten times a second, figures and the encoder's bit rate once a second.
//!
//! Deliberately not here: what the figures mean (`call_core`'s diagnosis).

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use call_core::{
    Input, LinkId, LinkPeer, LinkSample, MemberSample, SOUND_RESERVE_BPS, SpeakerSample,
    StatsSample, layer_picture_bps, single_picture_bps,
};
use call_media::video::layers::{LAYERS, layer_size};
use call_protocol::ui::network::{LayerView, PathView};
use call_protocol::ui::{MemberLevel, UiEvent};
use call_transport::{LinkState, LinkStats, PathKind};

use super::encoder::picture_box;
use super::links::carries;
use super::{Answer, Driver};
use crate::config::Observed;
use crate::devices::NO_LEVEL_DBOV;
use crate::stats::{
    AudioStats, CallStats, LayerStats, MemberStats, RateMeter, ScreenStats, UpStats, meter_level,
};

/// Ten times a second is as fast as a meter is read.
const LEVELS: Duration = Duration::from_millis(100);
/// The contract of the headless client's `stats`.
const FIGURES: Duration = Duration::from_secs(1);
/// How often the quality controller looks at the estimates: an overload must end before the sound
/// notices.
const QUALITY: Duration = Duration::from_millis(250);

/// When the next levels and figures are due.
pub(super) struct Ticks {
    levels: Instant,
    quality: Instant,
    figures: Instant,
    sent_video: [RateMeter; LAYERS],
    sent_audio: RateMeter,
    /// How late the last figures were begun.
    lag: Duration,
}

impl Ticks {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            levels: now,
            quality: now,
            figures: now,
            sent_video: Default::default(),
            sent_audio: RateMeter::default(),
            lag: Duration::ZERO,
        }
    }

    pub(super) fn next(&self, figures: bool, levels: bool) -> Option<Instant> {
        let figures = figures.then_some(self.figures.min(self.quality));
        let levels = levels.then_some(self.levels);
        figures.into_iter().chain(levels).min()
    }
}

impl Driver {
    /// Whether there is any sound to show the level of.
    pub(super) fn levels_wanted(&self) -> bool {
        self.devices.microphone_runs() || !self.links.is_empty()
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if self.levels_wanted() && now >= self.ticks.levels {
            self.ticks.levels = now + LEVELS;
            self.report_levels();
        }
        if !self.links.is_empty() && now >= self.ticks.quality {
            self.ticks.quality = now + QUALITY;
            self.report_quality(now);
        }
        if !self.links.is_empty() && now >= self.ticks.figures {
            self.ticks.lag = now.saturating_duration_since(self.ticks.figures);
            // From the last due time, so that a late wake-up does not shift all that follow.
            let due = self.ticks.figures + FIGURES;
            self.ticks.figures = if due > now { due } else { now + FIGURES };
            self.collect_figures();
        }
    }

    fn report_levels(&mut self) {
        let microphone = self
            .device_states
            .borrow()
            .level
            .map_or(NO_LEVEL_DBOV, |l| l.level_dbov);
        let mixer = self.mixer.lock().unwrap_or_else(PoisonError::into_inner);
        let levels: Vec<_> = mixer.levels().collect();
        drop(mixer);
        let samples: Vec<_> = levels
            .iter()
            .map(|level| SpeakerSample {
                member: level.member,
                level_dbov: level.level_dbov,
                speaking: level.speaking,
            })
            .collect();
        let active_speaker = self.active_speaker.handle_samples(&samples);
        let members = levels
            .iter()
            .map(|level| MemberLevel {
                member: level.member,
                level: meter_level(level.level_dbov),
                speaking: level.speaking,
            })
            .collect();
        self.ui.event(UiEvent::Levels {
            microphone: meter_level(microphone),
            members,
            active_speaker,
        });
    }

    fn collect_figures(&mut self) {
        let links: Vec<_> = self
            .links
            .iter()
            .filter_map(|(id, slot)| Some((*id, Arc::clone(slot.link.as_ref()?))))
            .collect();
        let answers = self.answers.clone();
        self.background.spawn(async move {
            let mut stats = Vec::with_capacity(links.len());
            for (id, link) in links {
                stats.push((id, link.stats().await));
            }
            let _ = answers.send(Answer::LinkStats(stats)).await;
        });
    }

    pub(super) fn handle_link_stats(&mut self, now: Instant, stats: &[(LinkId, LinkStats)]) {
        let mut figures = CallStats::default();
        let mut sample = StatsSample::default();
        let wanted = self.wanted();
        for (id, stats) in stats {
            let Some(slot) = self.links.get_mut(id) else {
                continue;
            };
            slot.rtt_ms = stats.rtt_ms;
            slot.jitter_ms = stats.audio_out.jitter_ms;
            let rtt = slot.rtt_ms.map(|ms| Duration::try_from_secs_f64(ms / 1e3));
            if let Some(Ok(rtt)) = rtt {
                self.hub.set_rtt(*id, rtt);
            }
            let wanted_bps = wanted.of(*id);
            let video_packets = [stats.video_out.packets, stats.video_in.packets];
            let before = std::mem::replace(&mut slot.video_packets, video_packets);
            // What was last lost of pictures says nothing once none are sent.
            let of_pictures = |which: usize, loss| {
                let flow = video_packets[which] != before[which];
                if flow { loss } else { 0.0 }
            };
            slot.loss = stats
                .audio_out
                .loss
                .max(of_pictures(0, stats.video_out.loss));
            slot.received_bps = stats.audio_in.bitrate_bps + stats.video_in.bitrate_bps;
            slot.loss_in = stats.audio_in.loss.max(of_pictures(1, stats.video_in.loss));
            let losses = [slot.loss, slot.loss_in];
            sample
                .links
                .extend(link_sample(*id, stats, wanted_bps, losses));
            figures.rtt_ms = larger(figures.rtt_ms, stats.rtt_ms);
            figures.loss = figures.loss.max(slot.loss);
        }
        (figures.members, sample.members) = self.member_stats(now);
        figures.up = self.up_stats(now);
        sample.layers = figures.up.video_layers.iter().map(layer_view).collect();
        sample.bitrate_bps = figures.up.bitrate_bps;
        sample.encoder_busy = self.shortage.busy_share();
        sample.lag_ms = self.ticks.lag.as_secs_f64() * 1e3;
        self.session.handle_input(now, Input::Stats(sample));
        figures.unopened = self.hub.dropped();
        figures.playout_delay_ms = self.devices.playout_delay().as_secs_f64() * 1e3;
        let largest = figures.up.video_layers.first();
        let screen = figures.up.screen.map_or(0, |screen| screen.bitrate_bps);
        let sent_bps = largest.map_or(0, |layer| layer.bitrate_bps) + screen;
        self.observe(Observed::Stats(Box::new(figures)));
        self.report_paths(now, sent_bps);
    }

    fn member_stats(&mut self, now: Instant) -> (Vec<MemberStats>, Vec<MemberSample>) {
        let mut stats = Vec::with_capacity(self.members.len());
        let mut samples = Vec::with_capacity(self.members.len());
        for (member, meters) in &mut self.members {
            let counters = self.hub.counters(*member);
            let mut audio = AudioStats {
                bitrate_bps: meters.sound.sample_bps(now, counters.sound_bytes),
                level_dbov: -i32::from(NO_LEVEL_DBOV),
                ..AudioStats::default()
            };
            let mut sound_loss = 0.0;
            let mixer = self.mixer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(receiver) = mixer.receiver(*member) {
                let jitter = receiver.stats();
                let all = jitter.lost + jitter.received;
                sound_loss = meters.sound_lost.sample(jitter.lost, all);
                audio.concealed_ratio = meters.concealed.sample(jitter.concealed, jitter.played);
                audio.jitter_ms = f64::from(jitter.jitter_ms);
                audio.delay_ms = f64::from(jitter.delay_ms);
                audio.level_dbov = -i32::from(receiver.level_dbov());
            }
            drop(mixer);
            let video = meters.frames.sample(now, counters.lost);
            samples.push(MemberSample {
                id: *member,
                codec: meters.codec,
                width: video.width,
                height: video.height,
                fps: video.fps,
                bitrate_bps: video.bitrate_bps + audio.bitrate_bps,
                frozen: meters.frozen.sample(now, video.frozen_ms),
                sound_loss,
                concealed: audio.concealed_ratio,
                jitter_ms: audio.jitter_ms,
            });
            let screen = meters.screen.as_mut().map(|frames| frames.sample(now, 0));
            stats.push(MemberStats {
                member: *member,
                video,
                screen: screen.map(ScreenStats::from),
                audio,
            });
        }
        (stats, samples)
    }

    /// What each kind of link would be sent if it carried everything.
    fn wanted(&self) -> Wanted {
        let others_bps = SOUND_RESERVE_BPS + self.sharing.worth_bps();
        if !self.devices.camera_runs() {
            return Wanted {
                direct_bps: others_bps,
                sfu_bps: others_bps,
            };
        }
        let (width, height, fps) = picture_box(self.devices.video());
        let picture_bps = u64::from(single_picture_bps((width, height), fps));
        let is_wanted = |layer: &usize| self.layers_wanted[*layer];
        let sizes = (0..LAYERS).filter(is_wanted);
        let sizes = sizes.filter_map(|layer| layer_size((width, height), layer));
        let layers_bps: u64 = sizes
            .map(|size| u64::from(layer_picture_bps(size, fps)))
            .sum();
        Wanted {
            direct_bps: others_bps + picture_bps,
            sfu_bps: others_bps + layers_bps,
        }
    }

    fn up_stats(&mut self, now: Instant) -> UpStats {
        let sent = self.outlet.sent();
        let mut meters = self
            .sent_frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let frames = meters.each_mut().map(|meter| meter.sample(now, 0));
        drop(meters);
        let mut video_layers = Vec::with_capacity(LAYERS);
        let mut bitrate_bps = self.ticks.sent_audio.sample_bps(now, sent.audio_bytes);
        for (layer, frames) in frames.iter().enumerate() {
            let video_bps = self.ticks.sent_video[layer].sample_bps(now, sent.video_bytes[layer]);
            bitrate_bps += video_bps;
            if frames.fps > 0.0 {
                video_layers.push(LayerStats {
                    width: frames.width,
                    height: frames.height,
                    fps: frames.fps,
                    bitrate_bps: video_bps,
                });
            }
        }
        let screen = self.sharing.stats(now, sent.screen_bytes);
        bitrate_bps += screen.map_or(0, |screen| screen.bitrate_bps);
        UpStats {
            video_layers,
            screen,
            bitrate_bps,
            audio_delay_ms: sent.audio_delay.as_secs_f64() * 1e3,
            target_bps: self.outlet.targets().least_bps(),
        }
    }
}

/// See [`Driver::wanted`], in bits per second.
struct Wanted {
    direct_bps: u64,
    sfu_bps: u64,
}

impl Wanted {
    fn of(&self, link: LinkId) -> u64 {
        match link.peer {
            LinkPeer::Member(_) => self.direct_bps,
            LinkPeer::Sfu => self.sfu_bps,
            LinkPeer::Data(_) => 0,
        }
    }
}

/// `None`: it does not carry the call, or not yet.
fn link_sample(
    id: LinkId,
    stats: &LinkStats,
    wanted_bps: u64,
    [loss_out, loss_in]: [f64; 2],
) -> Option<LinkSample> {
    if matches!(id.peer, LinkPeer::Data(_)) || !carries(stats.state) {
        return None;
    }
    Some(LinkSample {
        id,
        is_interrupted: stats.state == LinkState::Reconnecting,
        path: match stats.path {
            Some(PathKind::Relay) => PathView::Relay,
            Some(PathKind::Srflx) => PathView::Srflx,
            Some(PathKind::Host) | None => PathView::Host,
        },
        rtt_ms: stats.rtt_ms,
        loss_out,
        loss_in,
        sent_bps: stats.audio_out.bitrate_bps + stats.video_out.bitrate_bps,
        target_bps: stats.target_bps,
        wanted_bps,
    })
}

fn layer_view(layer: &LayerStats) -> LayerView {
    LayerView {
        width: layer.width,
        height: layer.height,
        fps: layer.fps,
        bitrate_bps: layer.bitrate_bps,
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (one, other) => one.or(other),
    }
}
