//! The quality controller: from what the links carry to what is encoded. Pure.
//!
//! Several times a second the driver reports how the links, the encoder and the pictures do
//! ([`QualityReport`]). What each link carries is shared ([`budget`]), each link has a ladder for each
//! picture ([`ladder`], [`picture`]), layers for the SFU are chosen ([`simulcast`]), and sound gets
//! its bit rate and redundancy ([`sound`]). The order in which a call gives way: size and rate of the
//! picture, then the picture itself, then the bit rate of the sound.
//!
//! Invariants: sound has a reserve that nothing else takes; what is told to encoders follows from the
//! reports and their times alone.
//!
//! It is asymmetric: what others are asked to send follows from what of it is lost ([`downlink`]) and
//! from what is shown ([`shown`]).
//!
//! Deliberately not here: estimating what a link carries (call-transport), encoding (call-media).

mod budget;
mod downlink;
mod ladder;
mod lasting;
mod load;
mod picture;
pub(crate) mod shown;
mod simulcast;
mod sound;
mod worth;

use std::collections::BTreeMap;
use std::time::Instant;

use call_protocol::limits::SFU_LAYERS;
use call_protocol::{MediaSource, MemberId};

use crate::input::{LinkId, LinkPeer};
use crate::output::MediaOp;
use crate::subscriptions::SizeLimit;
pub use budget::SOUND_RESERVE_BPS;
use budget::{Worth, split};
use downlink::Downlink;
use load::Load;
use picture::{Bounds, Picture, Share};
pub use sound::SoundPlan;
use sound::{Hearing, Sound};
pub use worth::{layer_picture_bps, single_picture_bps};

/// Round trips this much above the link's shortest mean a queue, in milliseconds. Lower takes jitter
/// for one; higher notices one when the sound already does.
const QUEUE_MS: f64 = 150.0;
/// Jitter moves round trips by so many times itself, of which so much is believed: of normal jitter each
/// way nineteen in twenty round trips are within.
const JITTER_TIMES: f64 = 2.5;
const MOST_JITTER_MS: f64 = 150.0;
/// From this loss on a path is not calm, 0 to 1, nor from this many times what it usually loses,
/// which is at most [`MOST_USUAL`]: a path that always loses a tenth would never be.
const LOSSY: f64 = 0.05;
const TIMES_USUAL: f64 = 2.0;
const MOST_USUAL: f64 = 0.25;
/// Weight of a report in the usual loss: some ten seconds at four a second. More takes a queue that
/// just became full for usual.
const USUAL_WEIGHT: f64 = 0.025;
/// By how much of itself the shortest round trip grows with every report, so that a longer path is
/// believed within some minutes.
const FORGET_RTT: f64 = 0.001;
/// What a picture may take where the person wants to save data, in bit/s: 110 MB an hour.
const LOW_DATA_BPS: u64 = 250_000;

/// How all that quality depends on does. At least twice a second while there is a link for the call;
/// more often reacts sooner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QualityReport {
    /// The links for the call that are connected; at most 32 count.
    pub links: Vec<LinkFigures>,
    /// The camera's picture, while there is one.
    pub camera: Option<PictureFigures>,
    /// The shared screen, while there is one.
    pub screen: Option<PictureFigures>,
    /// Share of the last second in which the encoder worked, 0 to 1.
    pub encoder_busy: f64,
}

/// How one link does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkFigures {
    /// Which.
    pub link: LinkId,
    /// What its congestion controller allows, in bit/s, sound included; 0: not known yet.
    pub target_bps: u64,
    /// Share of one's own packets lost on it, 0 to 1.
    pub loss: f64,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// How much the arrival of one's own sound varies at the other end, in milliseconds (RFC 3550, section
    /// 6.4.1).
    pub jitter_ms: f64,
    /// Share of the others' packets lost on it, 0 to 1.
    pub loss_in: f64,
    /// What comes over it, in bit/s of payload.
    pub received_bps: u64,
}

/// One of one's own pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureFigures {
    /// Sizes of its layers when nothing limits them, in pixels, layer 0 the largest; `None` for those
    /// that are too small to be made.
    pub layer_sizes: [Option<(u32, u32)>; SFU_LAYERS],
    /// Its rate when nothing limits it, in pictures per second.
    pub fps: u32,
    /// What left of all its layers in the last second, in bit/s.
    pub sent_bps: u64,
}

/// What one layer should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTarget {
    /// Target in bits per second.
    pub bitrate_bps: u32,
    /// Highest rate in pictures per second.
    pub fps: u32,
}

/// How to encode a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PicturePlan {
    /// Width of the box the picture is shrunk into, in pixels.
    pub max_width_px: u32,
    /// Height of that box, in pixels.
    pub max_height_px: u32,
    /// Layers 0 (full size), 1 (half) and 2 (a quarter a side); `None` is not encoded.
    pub layers: [Option<LayerTarget>; SFU_LAYERS],
}

impl PicturePlan {
    /// Of all layers together, in bits per second.
    pub fn bitrate_bps(&self) -> u64 {
        let layers = self.layers.iter().flatten();
        layers.map(|layer| u64::from(layer.bitrate_bps)).sum()
    }
}

/// Links that count in a report: everybody of a full mesh, twice.
const LINKS: usize = 32;

/// What others want: which layers, as [`crate::layers`] says, and how large members with a direct
/// link show the camera's picture, in pixels; whoever is not listed has not said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) camera: [bool; SFU_LAYERS],
    pub(crate) screen: [bool; SFU_LAYERS],
    pub(crate) shown: BTreeMap<MemberId, (u32, u32)>,
    /// Most copies of the sound that a member asks for.
    pub(crate) sound_copies: u8,
}

/// The controller, see the module's documentation.
#[derive(Debug)]
pub(crate) struct Quality {
    camera: Picture,
    screen: Picture,
    sound: Sound,
    hearing: Hearing,
    load: Load,
    downlink: Downlink,
    paths: BTreeMap<LinkId, Path>,
    files_bps: Option<u64>,
    report: QualityReport,
    told: Told,
}

/// What the encoders were told.
#[derive(Debug, Default)]
struct Told {
    camera: Option<PicturePlan>,
    screen: Option<PicturePlan>,
    held: [Vec<MemberId>; 2],
    sound: Option<SoundPlan>,
    files_bps: Option<u64>,
}

/// What is remembered of a link.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    shortest_rtt_ms: Option<f64>,
    usual_loss: f64,
}

impl Path {
    /// Whether there is neither unusual loss nor a queue.
    fn note(&mut self, figures: &LinkFigures) -> bool {
        let is_whole = figures.loss < LOSSY.max(TIMES_USUAL * self.usual_loss);
        if !figures.loss.is_nan() {
            let loss = figures.loss.clamp(0.0, MOST_USUAL);
            self.usual_loss += USUAL_WEIGHT * (loss - self.usual_loss);
        }
        let rtt_ms = figures.rtt_ms.filter(|rtt_ms| rtt_ms.is_finite());
        let Some(rtt_ms) = rtt_ms else {
            return is_whole;
        };
        let shortest_ms = self.shortest_rtt_ms.unwrap_or(rtt_ms) * (1.0 + FORGET_RTT);
        let shortest_ms = shortest_ms.min(rtt_ms);
        self.shortest_rtt_ms = Some(shortest_ms);
        let jitter_ms = match figures.jitter_ms {
            unknown if unknown.is_nan() => 0.0,
            jitter_ms => jitter_ms.clamp(0.0, MOST_JITTER_MS),
        };
        is_whole && rtt_ms < shortest_ms + QUEUE_MS + JITTER_TIMES * jitter_ms
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            camera: Picture::new(MediaSource::Camera),
            screen: Picture::new(MediaSource::Screen),
            sound: Sound::default(),
            hearing: Hearing::default(),
            load: Load::default(),
            downlink: Downlink::default(),
            paths: BTreeMap::new(),
            files_bps: None,
            report: QualityReport::default(),
            told: Told::default(),
        }
    }
}

impl Quality {
    /// A report came.
    pub(crate) fn handle_report(
        &mut self,
        now: Instant,
        mut report: QualityReport,
        wanted: &Wanted,
        saves_data: bool,
    ) {
        report.links.truncate(LINKS);
        self.load.handle(now, report.encoder_busy);
        // The SFU sees by itself what its links carry, and is back at once.
        let direct = report.links.iter();
        let direct = direct.filter(|figures| figures.link.peer != LinkPeer::Sfu);
        let loss_in = direct.map(|figures| figures.loss_in).fold(0.0, f64::max);
        self.downlink.handle(now, loss_in);
        let sfu = report.links.iter().find(|it| it.link.peer == LinkPeer::Sfu);
        match sfu {
            Some(sfu) => self.hearing.handle(now, sfu.loss_in, sfu.received_bps),
            None => self.hearing = Hearing::default(),
        }
        self.report = report;
        self.decide(now, wanted, saves_data);
    }

    /// Others want something else; nothing changed since the last report otherwise.
    pub(crate) fn handle_wanted(&mut self, now: Instant, wanted: &Wanted, saves_data: bool) {
        if !self.report.links.is_empty() {
            self.decide(now, wanted, saves_data);
        }
    }

    /// The camera's picture is on, and nobody gets it because no path carries it.
    pub(crate) fn is_sound_only(&self) -> bool {
        self.camera.is_sound_only()
    }

    /// Members whose path carries no picture, while others get one.
    pub(crate) fn held(&self) -> &[MemberId] {
        self.camera.held()
    }

    /// How many copies of their sound the others are asked for, through the server.
    pub(crate) fn asked_copies(&self) -> u8 {
        self.hearing.copies()
    }

    /// What others are asked for at most.
    pub(crate) fn size_limit(&self, saves_data: bool) -> SizeLimit {
        self.downlink.limit(saves_data)
    }

    /// The call is over.
    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }

    fn decide(&mut self, now: Instant, wanted: &Wanted, saves_data: bool) {
        let report = std::mem::take(&mut self.report);
        let links = &report.links;
        self.paths
            .retain(|link, _| links.iter().any(|figures| figures.link == *link));
        let bounds = Bounds {
            most_bps: if saves_data { LOW_DATA_BPS } else { u64::MAX },
            least_rung: self.load.least_rung(),
        };
        let (mut camera, mut screen) = (Vec::new(), Vec::new());
        let mut files_bps: Option<u64> = None;
        for figures in links {
            if matches!(figures.link.peer, LinkPeer::Data(_)) {
                continue;
            }
            let is_calm = self.paths.entry(figures.link).or_default().note(figures);
            let worth = Worth {
                screen_bps: report.screen.map(|screen| worth_bps(&screen)),
                camera_bps: report.camera.map(|camera| worth_bps(&camera)),
            };
            let copies = self.sound.plan().copies;
            let budget = split(figures.target_bps, copies, worth);
            if figures.target_bps > 0 {
                let least = files_bps.unwrap_or(u64::MAX);
                files_bps = Some(budget.files_bps.min(least));
            }
            let shown_px = match figures.link.peer {
                LinkPeer::Member(member) => wanted.shown.get(&member).copied(),
                LinkPeer::Sfu | LinkPeer::Data(_) => None,
            };
            let share = |budget_bps, shown_px| Share {
                link: figures.link,
                shown_px,
                target_bps: figures.target_bps,
                budget_bps,
                is_calm,
            };
            camera.push(share(budget.camera_bps, shown_px));
            // Who looks at a screen may zoom in.
            screen.push(share(budget.screen_bps, None));
        }
        let pictures = [
            (&mut self.camera, report.camera, wanted.camera, camera),
            (&mut self.screen, report.screen, wanted.screen, screen),
        ];
        for (picture, figures, wanted, shares) in pictures {
            let Some(figures) = figures else {
                picture.stop();
                continue;
            };
            let mut sizes = figures.layer_sizes;
            for (size, wanted) in sizes.iter_mut().zip(wanted) {
                *size = size.filter(|_| wanted);
            }
            picture.handle(now, &figures, &sizes, &shares, bounds);
        }
        let is_at_best = self.camera.is_at_best() && self.screen.is_at_best();
        self.files_bps = files_bps.filter(|_| !is_at_best);
        self.decide_sound(now, links, wanted.sound_copies);
        self.report = report;
    }

    fn decide_sound(&mut self, now: Instant, links: &[LinkFigures], asked_copies: u8) {
        let known = links.iter().map(|figures| figures.target_bps);
        let largest = |most: f64, figures: &LinkFigures| most.max(figures.loss);
        let signal = sound::Signal {
            target_bps: known.filter(|target| *target > 0).min().unwrap_or(0),
            loss: links.iter().fold(0.0, largest),
            has_picture: [&self.camera, &self.screen]
                .iter()
                .any(|picture| picture.plan().is_some() && !picture.is_sound_only()),
            is_forwarded: links.iter().any(|it| it.link.peer == LinkPeer::Sfu),
            asked_copies,
        };
        self.sound.handle(now, signal);
    }

    /// The next thing the encoders must be told.
    pub(crate) fn poll(&mut self) -> Option<MediaOp> {
        let (camera, screen) = (self.camera.plan(), self.screen.plan());
        let pictures = [
            (&self.camera, MediaSource::Camera),
            (&self.screen, MediaSource::Screen),
        ];
        for ((picture, source), told) in pictures.into_iter().zip(&mut self.told.held) {
            if told != picture.held() {
                let members = picture.held().to_vec();
                told.clone_from(&members);
                return Some(MediaOp::HoldPicture { source, members });
            }
        }
        if self.told.camera != camera {
            self.told.camera = camera;
            let source = MediaSource::Camera;
            let plan = camera;
            return Some(MediaOp::EncodePicture { source, plan });
        }
        if self.told.screen != screen {
            self.told.screen = screen;
            let source = MediaSource::Screen;
            let plan = screen;
            return Some(MediaOp::EncodePicture { source, plan });
        }
        let sound = self.sound.plan();
        if self.told.sound != Some(sound) {
            self.told.sound = Some(sound);
            return Some(MediaOp::EncodeSound { plan: sound });
        }
        if self.told.files_bps != self.files_bps {
            self.told.files_bps = self.files_bps;
            let limit_bps = self.files_bps;
            return Some(MediaOp::LimitFiles { limit_bps });
        }
        None
    }
}

/// What a picture could use of a link. The largest layer with all smaller ones is worth 1.4 times
/// itself at most.
fn worth_bps(figures: &PictureFigures) -> u64 {
    let largest = figures.layer_sizes[0].unwrap_or_default();
    let worth_bps = u64::from(single_picture_bps(largest, figures.fps)) * 7 / 5;
    // A small picture climbs the same ladder as a large one.
    worth_bps.max(ladder::rungs(MediaSource::Screen)[0].enter_bps)
}

#[cfg(test)]
#[path = "quality_tests.rs"]
mod tests;
