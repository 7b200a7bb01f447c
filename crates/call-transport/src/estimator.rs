//! Estimates how much the path carries, from transport-wide feedback: pure, the clock comes in.
//!
//! A send-side estimator after Google congestion control (draft-ietf-rmcat-gcc-02): packets are
//! grouped into bursts ([`Arrivals`]), the trend of their queueing delay is compared with an
//! adaptive threshold ([`Trend`]), and the target follows additively or multiplicatively upwards
//! and to 0.85 of the received rate downwards. Heavy loss bounds it from above.
//!
//! It replaces the stack's estimator, which keeps the queue full (213 ms where this one measured
//! 4 ms), never forgets a ceiling, and lets the target run away from what is really sent.
//!
//! Invariants: `MIN_BPS ≤ target ≤ MAX_BPS`; the target never exceeds 1.5 times what arrived, so
//! that a quiet sender does not earn an estimate it never tested.
//! Not here yet: probing, application-limited regions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtc::interceptor::{BandwidthEstimator, EstimatorStats, PacketReport};

/// Enough for a small picture at once; the first second finds more.
pub(crate) const START_BPS: f64 = 600_000.0;
/// Sound and a slide show.
const MIN_BPS: f64 = 50_000.0;
/// More brings nothing a person sees.
const MAX_BPS: f64 = 8_000_000.0;
/// Packets sent within this belong together (GCC: 5 ms).
const BURST_MS: f64 = 5.0;
/// Delay samples the trend is fitted over (libwebrtc: 20).
const TREND_SAMPLES: usize = 20;
/// How long an overuse must last (GCC: 10 ms).
const OVERUSE_MS: f64 = 10.0;
/// Kept of the received rate after an overuse (GCC: 0.85).
const BACK_OFF: f64 = 0.85;
/// Window of the received rate.
const RATE_WINDOW: Duration = Duration::from_millis(500);
/// Above this share lost the target falls, below the other the bound rises (GCC: 10 %, 2 %).
const HIGH_LOSS: f64 = 0.10;
const LOW_LOSS: f64 = 0.02;

/// Sends and arrivals in milliseconds since the first, on either side's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Burst {
    first_sent_ms: f64,
    last_sent_ms: f64,
    first_arrived_ms: f64,
    last_arrived_ms: f64,
}

/// Joins packets into bursts and returns the delay gradient between complete ones.
#[derive(Debug, Default)]
struct Arrivals {
    current: Option<Burst>,
    previous: Option<Burst>,
}

impl Arrivals {
    /// Returns (sent, arrived) differences of two bursts and the arrival of the later one.
    fn handle_packet(&mut self, sent_ms: f64, arrived_ms: f64) -> Option<(f64, f64, f64)> {
        let fresh = Burst {
            first_sent_ms: sent_ms,
            last_sent_ms: sent_ms,
            first_arrived_ms: arrived_ms,
            last_arrived_ms: arrived_ms,
        };
        let Some(current) = &mut self.current else {
            self.current = Some(fresh);
            return None;
        };
        if sent_ms < current.first_sent_ms {
            return None;
        }
        let arrival_gap = arrived_ms - current.last_arrived_ms;
        let propagation = arrival_gap - (sent_ms - current.last_sent_ms);
        let is_train = propagation < 0.0
            && arrival_gap < BURST_MS
            && arrived_ms - current.first_arrived_ms < 100.0;
        if sent_ms - current.first_sent_ms < BURST_MS || is_train {
            current.last_sent_ms = current.last_sent_ms.max(sent_ms);
            current.last_arrived_ms = current.last_arrived_ms.max(arrived_ms);
            return None;
        }
        let done = std::mem::replace(current, fresh);
        let previous = self.previous.replace(done)?;
        Some((
            done.last_sent_ms - previous.last_sent_ms,
            done.last_arrived_ms - previous.last_arrived_ms,
            done.last_arrived_ms,
        ))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Normal,
    Over,
    Under,
}

/// Fits a line through the smoothed queueing delay and compares its slope with a threshold.
#[derive(Debug)]
struct Trend {
    accumulated_ms: f64,
    smoothed_ms: f64,
    samples: VecDeque<(f64, f64)>,
    count: u32,
    slope: f64,
    threshold: f64,
    updated_ms: Option<f64>,
    over_for_ms: Option<f64>,
    over_count: u32,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            samples: VecDeque::new(),
            count: 0,
            slope: 0.0,
            threshold: 12.5,
            updated_ms: None,
            over_for_ms: None,
            over_count: 0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    fn handle_gradient(&mut self, sent_ms: f64, arrived_ms: f64, at_ms: f64) {
        self.count = (self.count + 1).min(1_000);
        self.accumulated_ms += arrived_ms - sent_ms;
        self.smoothed_ms = 0.9 * self.smoothed_ms + 0.1 * self.accumulated_ms;
        self.samples.push_back((at_ms, self.smoothed_ms));
        if self.samples.len() > TREND_SAMPLES {
            self.samples.pop_front();
        }
        let slope = self.fit().unwrap_or(self.slope);
        let modified = f64::from(self.count.min(60)) * slope * 4.0;
        self.usage = self.judge(modified, slope, sent_ms);
        self.slope = slope;
        self.adapt(modified, at_ms);
    }

    fn fit(&self) -> Option<f64> {
        if self.samples.len() < TREND_SAMPLES {
            return None;
        }
        let count = self.samples.len() as f64;
        let mean_x = self.samples.iter().map(|sample| sample.0).sum::<f64>() / count;
        let mean_y = self.samples.iter().map(|sample| sample.1).sum::<f64>() / count;
        let (mut numerator, mut denominator) = (0.0, 0.0);
        for (x, y) in &self.samples {
            numerator += (x - mean_x) * (y - mean_y);
            denominator += (x - mean_x) * (x - mean_x);
        }
        (denominator > 0.0).then(|| numerator / denominator)
    }

    fn judge(&mut self, modified: f64, slope: f64, sent_ms: f64) -> Usage {
        if modified <= self.threshold {
            self.over_for_ms = None;
            self.over_count = 0;
            return if modified < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        let over_for = self
            .over_for_ms
            .map_or(sent_ms / 2.0, |over_for| over_for + sent_ms);
        self.over_for_ms = Some(over_for);
        self.over_count += 1;
        if over_for > OVERUSE_MS && self.over_count > 1 && slope >= self.slope {
            self.over_for_ms = Some(0.0);
            self.over_count = 0;
            return Usage::Over;
        }
        self.usage
    }

    /// Follows slowly upwards and slower downwards, so that a competing flow is not starved and
    /// noise is not taken for a queue (GCC, section 5.4).
    fn adapt(&mut self, modified: f64, at_ms: f64) {
        let elapsed_ms = self
            .updated_ms
            .map_or(0.0, |updated| (at_ms - updated).clamp(0.0, 100.0));
        self.updated_ms = Some(at_ms);
        let distance = modified.abs() - self.threshold;
        if distance > 15.0 {
            return;
        }
        let gain = if distance < 0.0 { 0.039 } else { 0.0087 };
        self.threshold = (self.threshold + gain * distance * elapsed_ms).clamp(6.0, 600.0);
    }
}

/// The capacity seen when the queue last built up: near it the target grows carefully.
#[derive(Clone, Copy, Debug)]
struct Ceiling {
    mean_bps: f64,
    variance: f64,
}

impl Ceiling {
    fn spread(&self) -> f64 {
        3.0 * self.variance.sqrt().max(0.05 * self.mean_bps)
    }

    fn observe(ceiling: Option<Self>, rate_bps: f64) -> Self {
        match ceiling {
            Some(known) if (rate_bps - known.mean_bps).abs() < known.spread() => {
                let mean_bps = 0.95 * known.mean_bps + 0.05 * rate_bps;
                let deviation = rate_bps - mean_bps;
                let variance = 0.95 * known.variance + 0.05 * deviation * deviation;
                Self { mean_bps, variance }
            }
            _ => Self {
                mean_bps: rate_bps,
                variance: (0.05 * rate_bps).powi(2),
            },
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Estimator {
    published: Arc<AtomicU64>,
    target_bps: f64,
    loss_bound_bps: f64,
    epoch: Option<Instant>,
    arrivals: Arrivals,
    trend: Trend,
    received: VecDeque<(Duration, usize)>,
    rtt_s: f64,
    is_starting: bool,
    is_holding: bool,
    ceiling: Option<Ceiling>,
    changed_at: Option<Instant>,
    decreased_at: Option<Instant>,
    losses: VecDeque<(Instant, usize, usize)>,
    loss: f64,
    loss_judged_at: Option<Instant>,
}

impl Estimator {
    /// An estimator that publishes its target, in bits per second, after every feedback.
    pub(crate) fn new(published: Arc<AtomicU64>) -> Self {
        Self {
            published,
            target_bps: START_BPS,
            loss_bound_bps: MAX_BPS,
            epoch: None,
            arrivals: Arrivals::default(),
            trend: Trend::default(),
            received: VecDeque::new(),
            rtt_s: 0.1,
            is_starting: true,
            is_holding: false,
            ceiling: None,
            changed_at: None,
            decreased_at: None,
            losses: VecDeque::new(),
            loss: 0.0,
            loss_judged_at: None,
        }
    }

    fn received_bps(&self) -> Option<f64> {
        let (first, last) = (self.received.front()?, self.received.back()?);
        let span_s = last.0.saturating_sub(first.0).as_secs_f64();
        let bytes: usize = self.received.iter().skip(1).map(|packet| packet.1).sum();
        (span_s >= 0.15).then(|| bytes as f64 * 8.0 / span_s)
    }

    fn handle_arrival(&mut self, now: Instant, report: &PacketReport, arrival: Duration) -> bool {
        let epoch = *self.epoch.get_or_insert(report.departure);
        let round_trip_s = now
            .saturating_duration_since(report.departure)
            .as_secs_f64();
        self.rtt_s = 0.9 * self.rtt_s + 0.1 * round_trip_s;
        self.received.push_back((arrival, report.size));
        while self.received.len() > 2 && arrival.saturating_sub(self.received[0].0) > RATE_WINDOW {
            self.received.pop_front();
        }
        let sent_ms = report
            .departure
            .saturating_duration_since(epoch)
            .as_secs_f64()
            * 1e3;
        let gradient = self
            .arrivals
            .handle_packet(sent_ms, arrival.as_secs_f64() * 1e3);
        let Some((sent_ms, arrived_ms, at_ms)) = gradient else {
            return false;
        };
        self.trend.handle_gradient(sent_ms, arrived_ms, at_ms);
        self.trend.usage == Usage::Over
    }

    fn judge_loss(&mut self, now: Instant, lost: usize, total: usize) {
        self.losses.push_back((now, lost, total));
        let is_old = |entry: &(Instant, usize, usize)| {
            now.saturating_duration_since(entry.0) > Duration::from_secs(1)
        };
        while self.losses.front().is_some_and(is_old) {
            self.losses.pop_front();
        }
        let lost: usize = self.losses.iter().map(|entry| entry.1).sum();
        let total: usize = self.losses.iter().map(|entry| entry.2).sum();
        if total <= 20 {
            return;
        }
        self.loss = lost as f64 / total as f64;
        let is_due = self
            .loss_judged_at
            .is_none_or(|at| now.saturating_duration_since(at) > Duration::from_millis(300));
        if is_due {
            self.loss_judged_at = Some(now);
            if self.loss > HIGH_LOSS {
                let bound = self.loss_bound_bps.min(self.target_bps) * (1.0 - 0.5 * self.loss);
                self.loss_bound_bps = bound.max(MIN_BPS);
            } else if self.loss < LOW_LOSS {
                self.loss_bound_bps = (self.loss_bound_bps * 1.08).min(MAX_BPS);
            }
        }
    }

    fn decrease(&mut self, now: Instant) {
        let wait_s = self.rtt_s.clamp(0.05, 0.3);
        let is_early = self
            .decreased_at
            .is_some_and(|at| now.saturating_duration_since(at).as_secs_f64() <= wait_s);
        if is_early {
            return;
        }
        let received = self.received_bps().unwrap_or(self.target_bps);
        self.ceiling = Some(Ceiling::observe(self.ceiling, received));
        self.target_bps = (BACK_OFF * received).min(self.target_bps);
        self.is_starting = false;
        self.is_holding = true;
        self.decreased_at = Some(now);
        self.changed_at = Some(now);
    }

    fn increase(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_holding) {
            self.changed_at = Some(now);
        }
        let elapsed_s = self
            .changed_at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let elapsed_s = elapsed_s.min(0.3);
        self.changed_at = Some(now);
        let received = self.received_bps();
        if let (Some(ceiling), Some(received)) = (self.ceiling, received)
            && received > ceiling.mean_bps + ceiling.spread()
        {
            self.ceiling = None;
        }
        let is_near = self
            .ceiling
            .is_some_and(|ceiling| self.target_bps > ceiling.mean_bps - ceiling.spread());
        let growth = |per_second: f64| self.target_bps * (per_second.powf(elapsed_s) - 1.0);
        let step = if is_near {
            1_200.0 * 8.0 / (self.rtt_s + 0.1) * elapsed_s
        } else if self.is_starting {
            growth(2.5)
        } else if self.ceiling.is_none() {
            growth(1.45)
        } else {
            growth(1.08)
        };
        let limit = received.map_or(self.target_bps, |received| 1.5 * received + 10_000.0);
        if self.target_bps + step <= limit {
            self.target_bps += step;
        }
    }
}

impl BandwidthEstimator for Estimator {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        let mut arrived: Vec<(&PacketReport, Duration)> = reports
            .iter()
            .filter(|report| report.arrived)
            .filter_map(|report| report.arrival.map(|arrival| (report, arrival)))
            .collect();
        arrived.sort_by_key(|(_, arrival)| *arrival);
        let mut is_over = false;
        for (report, arrival) in &arrived {
            is_over |= self.handle_arrival(now, report, *arrival);
        }
        self.judge_loss(now, reports.len() - arrived.len(), reports.len());
        if arrived.is_empty() {
            return;
        }
        match (is_over, self.trend.usage) {
            (true, _) => self.decrease(now),
            (false, Usage::Normal) => self.increase(now),
            (false, Usage::Over | Usage::Under) => self.changed_at = Some(now),
        }
        self.target_bps = self
            .target_bps
            .min(self.loss_bound_bps)
            .clamp(MIN_BPS, MAX_BPS);
        self.published
            .store(self.target_bps as u64, Ordering::Relaxed);
    }

    fn target_bitrate(&self) -> f64 {
        self.target_bps
    }

    fn stats(&self) -> EstimatorStats {
        let mut stats = EstimatorStats::default();
        stats.delay_based_bitrate = Some(self.target_bps);
        stats.loss_based_bitrate = Some(self.loss_bound_bps);
        stats.packet_loss = Some(self.loss);
        stats.round_trip_time = Some(Duration::from_secs_f64(self.rtt_s));
        stats
    }
}

#[cfg(test)]
#[path = "estimator_tests.rs"]
mod tests;
