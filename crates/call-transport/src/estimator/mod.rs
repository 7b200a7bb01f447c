//! Estimates how much the path carries, from transport-wide feedback: pure, the clock comes in.
//!
//! One budget for everything a link sends: sound, every layer of the picture, retransmissions and
//! probes. Whoever encodes takes the sound off first, which is never paced nor reduced.
//!
//! | Part | Does |
//! |---|---|
//! | [`queue`] | one-way delays → standing queue |
//! | [`window`] | rates that were sent and that arrived |
//! | [`control`] | queue and rates → target: start, climb, drain |
//! | [`feedback`] | when feedback comes → whether some got lost |
//! | [`loss`] | losses by chance or by a full queue → bound |
//! | [`probe`] | bursts that find out what more there is |
//!
//! Here: what is probed when. At first at three times [`START_BPS`], then at twice what went through
//! as long as it does; when the target got beyond the capacity last seen; and every
//! [`LIMITED_EVERY_MS`] while less is sent than the target allows, because nothing else tests it
//! then. Estimates are not lost meanwhile.
//!
//! Why not the stack's, nor Google congestion control to the letter: the first keeps the queue full,
//! the second reacts to growing delay only, gives 15 % away for every reaction, and comes back at
//! 8 % a second.

mod control;
mod feedback;
mod loss;
pub(crate) mod probe;
mod queue;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::interceptor::{BandwidthEstimator, EstimatorStats, PacketReport};

use crate::budget::Budget;

use control::{MAX_BPS, RateControl, Sight};
use feedback::Feedbacks;
use loss::{LossJudge, Told};
use probe::{Prober, Probes, Reported};
use queue::QueueDelay;
use window::RateWindow;

/// Enough for a small picture at once; the first second finds more (libwebrtc: 300 kbit/s). Higher
/// starts sharper and floods those who have less.
pub(crate) const START_BPS: f64 = 600_000.0;
/// First probe, in multiples of the start (libwebrtc: 3, and 6 without waiting for the result).
const FIRST_PROBE: f64 = 3.0;
/// Further probes, in multiples of what is known to go through (libwebrtc: 2).
const NEXT_PROBE: f64 = 2.0;
/// Between probes while less is sent than the target allows (libwebrtc: 5 s).
const LIMITED_EVERY_MS: f64 = 5_000.0;
/// And what is probed then at most, in multiples of what is sent: more would not be used soon.
const LIMITED_PROBE: f64 = 3.0;
/// Between probes out of curiosity: the result of one has to have its effect first.
const CURIOUS_EVERY_MS: f64 = 500.0;
/// Below, a moment brings too few packets for a rate: those that wait for each other tell it. Higher
/// takes what jitter lets through at once for the capacity.
const TRAINS_BELOW_BPS: f64 = 300_000.0;
/// Smaller targets are not probed beyond: the packets a probe needs at least would fill the path for half
/// a second. They grow soon enough without.
const PROBED_LEAST_BPS: f64 = 100_000.0;
/// Rates are measured over this: fifteen pictures. Shorter follows sooner and takes a large picture
/// for a rate.
const RATE_MS: f64 = 500.0;
/// After a sudden drop, where a full queue makes arrivals even.
const JUST_MS: f64 = 200.0;
/// Of a fresh round trip in the smoothed one (RFC 6298: 1/8).
const RTT_GAIN: f64 = 0.125;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Estimator {
    budget: Arc<Budget>,
    epoch: Option<Instant>,
    queue: QueueDelay,
    sent: RateWindow,
    received: RateWindow,
    loss: LossJudge,
    feedbacks: Feedbacks,
    control: RateControl,
    prober: Prober,
    /// What to probe at as soon as possible.
    next_probe_bps: Option<f64>,
    probed_at_ms: f64,
    newest_sent_ms: f64,
    rtt_ms: Option<f64>,
}

impl Estimator {
    /// An estimator that tells `budget` its target after every feedback, and has `probes` sent by
    /// the pacer.
    pub(crate) fn new(budget: Arc<Budget>, probes: Probes) -> Self {
        let prober = Prober::new(probes);
        prober.request(FIRST_PROBE * START_BPS);
        Self {
            budget,
            epoch: None,
            queue: QueueDelay::default(),
            sent: RateWindow::default(),
            received: RateWindow::default(),
            loss: LossJudge::default(),
            feedbacks: Feedbacks::default(),
            control: RateControl::new(START_BPS),
            prober,
            next_probe_bps: None,
            probed_at_ms: 0.0,
            newest_sent_ms: 0.0,
            rtt_ms: None,
        }
    }

    fn handle_packets(&mut self, now: Instant, reports: &[PacketReport], epoch: Instant) {
        let ms = |at: Instant| at.saturating_duration_since(epoch).as_secs_f64() * 1e3;
        for report in reports {
            self.sent.handle_packet(ms(report.departure), report.size);
            self.newest_sent_ms = self.newest_sent_ms.max(ms(report.departure));
        }
        let mut arrived: Vec<(&PacketReport, Duration)> = reports
            .iter()
            .filter(|report| report.arrived)
            .filter_map(|report| report.arrival.map(|arrival| (report, arrival)))
            .collect();
        arrived.sort_by_key(|(_, arrival)| *arrival);
        for (report, arrival) in arrived {
            let arrived_ms = arrival.as_secs_f64() * 1e3;
            self.received.handle_packet(arrived_ms, report.size);
            let delay_ms = arrived_ms - ms(report.departure);
            self.queue.handle_packet(arrived_ms, delay_ms, report.size);
            let rtt_ms = ms(now) - ms(report.departure);
            let smoothed = self.rtt_ms.get_or_insert(rtt_ms);
            *smoothed += RTT_GAIN * (rtt_ms - *smoothed);
        }
    }

    fn probe(
        &mut self,
        now: Instant,
        now_ms: f64,
        reports: &[PacketReport],
        kept: f64,
        is_curious: bool,
    ) {
        let reported: Vec<Reported> = reports
            .iter()
            .map(|report| Reported {
                sent: report.departure,
                arrived_ms: report.arrival.map(|at| at.as_secs_f64() * 1e3),
                bytes: report.size,
            })
            .collect();
        if let Some(finding) = self.prober.handle_reports(now, &reported, kept) {
            tracing::debug!(?finding, "probed");
            self.control
                .handle_finding(finding.carried_bps, finding.is_passed);
            self.next_probe_bps = finding
                .is_passed
                .then_some(NEXT_PROBE * finding.carried_bps)
                .filter(|_| finding.carried_bps < 0.9 * MAX_BPS);
        }
        let since_ms = now_ms - self.probed_at_ms;
        let is_due = self.control.is_limited() && since_ms >= LIMITED_EVERY_MS
            || is_curious && since_ms >= CURIOUS_EVERY_MS;
        if is_due && self.next_probe_bps.is_none() {
            let most_bps = match self.sent.bps(RATE_MS) {
                Some(sent_bps) if self.control.is_limited() => LIMITED_PROBE * sent_bps,
                _ => MAX_BPS,
            };
            self.next_probe_bps = Some((NEXT_PROBE * self.control.target_bps()).min(most_bps));
        }
        if self.control.is_draining() || self.control.target_bps() < PROBED_LEAST_BPS {
            self.next_probe_bps = None;
            self.prober.withdraw();
        }
        if let Some(rate_bps) = self.next_probe_bps
            && self.prober.request(rate_bps.min(MAX_BPS))
        {
            self.next_probe_bps = None;
            self.probed_at_ms = now_ms;
        }
    }
}

/// How often a packet was lost whose predecessor was not.
fn bursts(reports: &[PacketReport]) -> usize {
    let begins = |pair: &&[PacketReport]| pair[0].arrived && !pair[1].arrived;
    let first = reports.first().is_some_and(|first| !first.arrived);
    usize::from(first) + reports.windows(2).filter(begins).count()
}

impl BandwidthEstimator for Estimator {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        let Some(first) = reports.first() else {
            return;
        };
        let epoch = *self.epoch.get_or_insert(first.departure);
        let now_ms = now.saturating_duration_since(epoch).as_secs_f64() * 1e3;
        self.handle_packets(now, reports, epoch);
        // What was lost by chance had passed the bottleneck, or would have.
        let kept = self.loss.told_share();
        let received_bps = self.received.bps(RATE_MS).map(|bps| bps / kept);
        let train_bps = self.queue.train_bps();
        let is_slow = self.control.target_bps() < TRAINS_BELOW_BPS;
        let just_received_bps = self.received.bps(JUST_MS).map(|bps| bps / kept);
        let just_received_bps = just_received_bps
            .into_iter()
            .chain(train_bps.filter(|_| is_slow))
            .reduce(f64::max);
        let arrived = reports.iter().filter(|report| report.arrived).count();
        // What lost feedback would have told of comes first.
        let untold = if self.feedbacks.handle_feedback(now_ms) {
            let before = reports.iter().take_while(|report| !report.arrived);
            before.count()
        } else {
            0
        };
        let total = reports.len() - untold;
        let rtt_ms = self.rtt_ms.unwrap_or(0.0);
        // Losses of a queue we see are answered by draining it.
        if !self.control.is_certain() {
            let target_bps = self.control.believed_bps();
            let told = Told {
                lost: total - arrived,
                bursts: bursts(&reports[untold..]),
                total,
                untold,
            };
            let delivered_bps = self.received.bps(RATE_MS).unwrap_or(target_bps);
            let given_back_bps =
                self.loss
                    .handle_reports(now_ms, told, delivered_bps, target_bps, rtt_ms);
            if let Some(bps) = given_back_bps {
                self.control.handle_given_back(bps);
            }
        }
        if arrived == 0 {
            return;
        }
        let sight = Sight {
            now_ms,
            newest_sent_ms: self.newest_sent_ms,
            queue_ms: self.queue.standing_ms(),
            glance_ms: self.queue.glance_ms(),
            clump_ms: received_bps.map_or(0.0, |bps| self.queue.clump_ms(bps)),
            received_bps,
            just_received_bps,
            sent_bps: self.sent.bps(RATE_MS),
            just_sent_bps: self.sent.bps(JUST_MS),
            rtt_ms,
        };
        let advice = self.control.handle_sight(sight, self.loss.bound_bps());
        if advice.is_rebased {
            self.queue.rebase();
        }
        self.probe(now, now_ms, reports, kept, advice.is_curious);
        self.budget.set_estimate(
            self.control.believed_bps(),
            self.control.is_certain(),
            self.loss.share(),
        );
    }

    fn target_bitrate(&self) -> f64 {
        self.control.target_bps()
    }

    fn stats(&self) -> EstimatorStats {
        let mut stats = EstimatorStats::default();
        stats.delay_based_bitrate = Some(self.control.target_bps());
        stats.loss_based_bitrate = self.loss.bound_bps();
        stats.packet_loss = Some(self.loss.share());
        stats.round_trip_time = self.rtt_ms.map(|ms| Duration::from_secs_f64(ms / 1e3));
        stats
    }
}

#[cfg(test)]
#[path = "estimator_tests.rs"]
mod tests;
