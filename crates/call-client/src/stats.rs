//! Figures of a running call, computed once a second. Pure.
//!
//! Deliberately not here: reacting to them (the quality controller's part).

use std::time::{Duration, Instant};

use call_protocol::MemberId;
use serde::Serialize;

/// One second of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallStats {
    /// Everybody else.
    pub members: Vec<MemberStats>,
    /// What we send.
    pub up: UpStats,
    /// Largest round trip time of all links, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Largest share of our packets lost on a link, 0 to 1.
    pub loss: f64,
    /// Received packets that were sealed for somebody else, or whose sender is not in the room,
    /// since the start.
    pub unopened: u64,
    /// From mixing to the speaker's sound: playout ring and device, in milliseconds; 0 while
    /// nothing plays.
    pub playout_delay_ms: f64,
}

/// What arrives from one member.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberStats {
    /// Who.
    pub member: MemberId,
    /// Their camera's picture.
    pub video: VideoStats,
    /// Their screen, while they share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen: Option<ScreenStats>,
    /// Their sound.
    pub audio: AudioStats,
}

/// A picture that arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct VideoStats {
    /// Width in pixels, 0 before the first frame.
    pub width: u32,
    /// Height in pixels, 0 before the first frame.
    pub height: u32,
    /// Complete frames per second.
    pub fps: f64,
    /// Payload bits per second.
    pub bitrate_bps: u64,
    /// Time the picture stood still against its own rhythm since the start, in milliseconds.
    pub frozen_ms: u64,
    /// Packets given up since the start.
    pub lost: u64,
}

/// A shared screen. Its rate follows what happens on it, so nothing tells a freeze.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ScreenStats {
    /// Width in pixels, 0 before the first frame.
    pub width: u32,
    /// Height in pixels, 0 before the first frame.
    pub height: u32,
    /// Complete frames per second.
    pub fps: f64,
    /// Payload bits per second.
    pub bitrate_bps: u64,
}

impl From<VideoStats> for ScreenStats {
    fn from(stats: VideoStats) -> Self {
        Self {
            width: stats.width,
            height: stats.height,
            fps: stats.fps,
            bitrate_bps: stats.bitrate_bps,
        }
    }
}

/// A sound that arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AudioStats {
    /// Payload bits per second.
    pub bitrate_bps: u64,
    /// Share of the last second that was made up for missing packets, 0 to 1.
    pub concealed_ratio: f64,
    /// Interarrival jitter in milliseconds.
    pub jitter_ms: f64,
    /// Time in the jitter buffer: from an arrival without jitter to mixing, in milliseconds.
    pub delay_ms: f64,
    /// Level in dBov: 0 is full scale, -127 silence.
    pub level_dbov: i32,
}

/// What is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UpStats {
    /// The encoded sizes; empty while no picture is sent.
    pub video_layers: Vec<LayerStats>,
    /// What is shared; absent while nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen: Option<ScreenStats>,
    /// Payload bits per second of all layers, the screen and the sound.
    pub bitrate_bps: u64,
    /// From the capture of a sound packet's first sample to its sending: microphone, processing,
    /// and the packet's own 20 ms. In milliseconds, of the last packet.
    pub audio_delay_ms: f64,
    /// What the congestion controller of the slowest link allows, in bit/s; 0 without links.
    pub target_bps: u64,
}

/// One encoding of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LayerStats {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second.
    pub fps: f64,
    /// Payload bits per second.
    pub bitrate_bps: u64,
}

/// Counts the frames of one stream.
#[derive(Debug, Default)]
pub struct FrameMeter {
    width: u32,
    height: u32,
    frames: u32,
    bytes: u64,
    last: Option<Instant>,
    /// Smoothed time between frames.
    rhythm: Option<Duration>,
    frozen: Duration,
    since: Option<Instant>,
}

/// A gap counts as freeze from this much above the stream's own rhythm on (the rule of
/// webrtc-stats `freezeCount`).
const FREEZE: Duration = Duration::from_millis(150);
/// Gaps longer than this are a camera that was off, not a freeze.
const PAUSE: Duration = Duration::from_secs(5);

impl FrameMeter {
    /// A complete frame came or went.
    pub fn handle_frame(&mut self, now: Instant, width: u32, height: u32, bytes: usize) {
        self.since.get_or_insert(now);
        if width > 0 {
            (self.width, self.height) = (width, height);
        }
        self.frames += 1;
        self.bytes += bytes as u64;
        if let Some(last) = self.last {
            let gap = now.saturating_duration_since(last);
            let rhythm = self.rhythm.unwrap_or(gap);
            if gap >= (rhythm * 3).max(rhythm + FREEZE) {
                if gap < PAUSE {
                    self.frozen += gap - rhythm;
                }
            } else {
                self.rhythm = Some((rhythm * 15 + gap) / 16);
            }
        }
        self.last = Some(now);
    }

    /// The figures since the last sample; `lost` is passed through.
    pub fn sample(&mut self, now: Instant, lost: u64) -> VideoStats {
        let elapsed = self
            .since
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        let per_second = |amount: f64| {
            if elapsed.is_zero() {
                0.0
            } else {
                amount / elapsed.as_secs_f64()
            }
        };
        let stats = VideoStats {
            width: self.width,
            height: self.height,
            fps: (per_second(f64::from(self.frames)) * 10.0).round() / 10.0,
            bitrate_bps: per_second(self.bytes as f64 * 8.0) as u64,
            frozen_ms: self.frozen.as_millis() as u64,
            lost,
        };
        self.frames = 0;
        self.bytes = 0;
        self.since = Some(now);
        stats
    }
}

/// The rate of a counter that only grows.
#[derive(Debug, Default)]
pub struct RateMeter {
    last: Option<(Instant, u64)>,
}

impl RateMeter {
    /// Bits per second since the last sample of a byte counter; 0 at the first.
    pub fn sample_bps(&mut self, now: Instant, bytes: u64) -> u64 {
        (growth_per_second(&mut self.last, now, bytes) * 8.0) as u64
    }
}

/// The share of `part` in `whole` since the last sample, for counters that only grow.
#[derive(Debug, Default)]
pub struct ShareMeter {
    last: (u64, u64),
}

impl ShareMeter {
    /// 0 to 1; 0 when nothing was counted.
    pub fn sample(&mut self, part: u64, whole: u64) -> f64 {
        let (parts, wholes) = (
            part.saturating_sub(self.last.0),
            whole.saturating_sub(self.last.1),
        );
        self.last = (part, whole);
        if wholes == 0 {
            0.0
        } else {
            (parts as f64 / wholes as f64).min(1.0)
        }
    }
}

/// The share of the time in which a picture stood still.
#[derive(Debug, Default)]
pub struct FrozenMeter {
    last: Option<(Instant, u64)>,
}

impl FrozenMeter {
    /// 0 to 1 of the time since the last sample of [`VideoStats::frozen_ms`]; 0 at the first. A
    /// freeze counts when it ends.
    pub fn sample(&mut self, now: Instant, frozen_ms: u64) -> f64 {
        (growth_per_second(&mut self.last, now, frozen_ms) / 1e3).min(1.0)
    }
}

/// Of a counter that only grows, since it was last looked at; 0 at first.
fn growth_per_second(last: &mut Option<(Instant, u64)>, now: Instant, count: u64) -> f64 {
    last.replace((now, count)).map_or(0.0, |(then, before)| {
        let elapsed = now.saturating_duration_since(then).as_secs_f64();
        if elapsed > 0.0 {
            count.saturating_sub(before) as f64 / elapsed
        } else {
            0.0
        }
    })
}

/// A level in −dBov (RFC 6464) as what a meter shows: 0 at −60 dBov and below, 1 at full scale.
pub fn meter_level(level_dbov: u8) -> f32 {
    (1.0 - f32::from(level_dbov) / 60.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_per_second() {
        let start = Instant::now();
        let mut meter = FrameMeter::default();
        assert_eq!(meter.sample(start, 0), VideoStats::default());
        for index in 0..30u32 {
            meter.handle_frame(start + Duration::from_millis(33) * index, 640, 360, 1_000);
        }
        let stats = meter.sample(start + Duration::from_secs(1), 3);
        assert_eq!(
            (stats.width, stats.height, stats.fps, stats.lost),
            (640, 360, 30.0, 3)
        );
        assert_eq!((stats.bitrate_bps, stats.frozen_ms), (240_000, 0));
        assert_eq!(meter.sample(start + Duration::from_secs(2), 3).fps, 0.0);
    }

    #[test]
    fn a_gap_against_the_rhythm_is_a_freeze_and_a_pause_is_not() {
        let cases = [(100, 0), (180, 0), (250, 217), (1_000, 967), (6_000, 0)];
        for (gap_ms, want_ms) in cases {
            let mut now = Instant::now();
            let mut meter = FrameMeter::default();
            for _ in 0..60 {
                meter.handle_frame(now, 1, 1, 1);
                now += Duration::from_millis(33);
            }
            now += Duration::from_millis(gap_ms - 33);
            meter.handle_frame(now, 1, 1, 1);
            assert_eq!(
                meter.sample(now, 0).frozen_ms,
                want_ms,
                "gap of {gap_ms} ms"
            );
        }
    }

    #[test]
    fn rates_and_shares_are_differences() {
        let start = Instant::now();
        let mut rate = RateMeter::default();
        assert_eq!(rate.sample_bps(start, 1_000), 0);
        assert_eq!(
            rate.sample_bps(start + Duration::from_secs(2), 3_000),
            8_000
        );
        assert_eq!(
            rate.sample_bps(start + Duration::from_secs(3), 0),
            0,
            "a counter started over"
        );
        let mut share = ShareMeter::default();
        assert_eq!(share.sample(5, 50), 0.1);
        assert_eq!(share.sample(5, 50), 0.0);
        assert_eq!(share.sample(10, 60), 0.5);
    }

    #[test]
    fn a_freeze_is_a_share_of_the_time() {
        let start = Instant::now();
        let mut frozen = FrozenMeter::default();
        let cases = [
            (0, 9_000, 0.0),
            (1, 9_000, 0.0),
            (3, 9_500, 0.25),
            (4, 12_500, 1.0),
            (4, 13_000, 0.0),
        ];
        for (second, frozen_ms, want) in cases {
            let now = start + Duration::from_secs(second);
            assert_eq!(frozen.sample(now, frozen_ms), want, "after {second} s");
        }
    }

    #[test]
    fn meters_show_sixty_decibels() {
        assert_eq!(
            [meter_level(0), meter_level(30), meter_level(127)],
            [1.0, 0.5, 0.0]
        );
    }
}
