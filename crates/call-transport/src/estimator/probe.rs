//! Probes: short bursts above the target that find out what more the path carries.
//!
//! The estimator asks for a [`Cluster`], the pacer sends it, out of pictures that wait and of
//! padding, and says when it did; what the peer reports about the packets of that time is the
//! result. One cluster at a time:
//!
//! ```text
//! idle ── wanted ──(pacer begins)── running ──(bytes sent)── sent ──(all reported)── idle
//! ```
//!
//! A cluster begins with a picture: there is nothing to pad with before, and nobody to profit.
//!
//! Invariants: a result is never above what was sent; a cluster that cannot be finished, or is not
//! reported, ends without one.
//!
//! Deliberately not here: when to probe and what follows from a result (see [`super`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a cluster lasts. Longer is more certain about jitter and queues more when the path
/// carries less (libwebrtc: 15 ms, which 5 ms of jitter make worthless).
pub(crate) const DURATION: Duration = Duration::from_millis(40);
/// Fewer packets have no rate (libwebrtc: 5).
pub(crate) const LEAST_PACKETS: usize = 6;
/// After this what is not reported is lost (libwebrtc: 1 s).
const REPORTED_WITHIN: Duration = Duration::from_secs(1);
/// Of the packets, how many have to arrive (libwebrtc: 80 %).
const LEAST_ARRIVED: f64 = 0.8;
/// What of the sent rate has to arrive for the path to carry it all (libwebrtc: 90 %). Lower takes
/// a queue for jitter.
const PASSED: f64 = 0.9;
/// Or how much longer its arrival may take: jitter. More makes one probe in vain more often.
const SLACK_MS: f64 = 12.0;

/// What the pacer is to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cluster {
    /// At this rate, everything counted.
    pub(crate) rate_bps: f64,
}

impl Cluster {
    /// Its size.
    pub(crate) fn bits(self) -> f64 {
        self.rate_bps * DURATION.as_secs_f64()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Idle,
    Wanted(Cluster),
    Running(Cluster, Instant),
    Sent(Cluster, Instant, Instant),
}

/// What the estimator and the pacer share about probing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes(Arc<Mutex<State>>);

impl Probes {
    /// A poisoned lock is taken over: every state is valid.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a cluster, as the estimator does.
    #[cfg(test)]
    pub(crate) fn want(&self, rate_bps: f64) {
        *self.state() = State::Wanted(Cluster { rate_bps });
    }

    /// What is wanted and not begun.
    pub(crate) fn wanted(&self) -> Option<Cluster> {
        match *self.state() {
            State::Wanted(cluster) => Some(cluster),
            _ => None,
        }
    }

    /// The pacer begins it.
    pub(crate) fn handle_begun(&self, now: Instant) {
        let mut state = self.state();
        if let State::Wanted(cluster) = *state {
            *state = State::Running(cluster, now);
        }
    }

    /// The pacer has sent it, or gives it up for want of packets.
    pub(crate) fn handle_ended(&self, now: Instant, is_complete: bool) {
        let mut state = self.state();
        if let State::Running(cluster, from) = *state {
            *state = if is_complete {
                State::Sent(cluster, from, now)
            } else {
                State::Idle
            };
        }
    }
}

/// A packet the peer reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reported {
    pub(super) sent: Instant,
    pub(super) arrived_ms: Option<f64>,
    pub(super) bytes: usize,
}

/// What a cluster found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    /// What went through, in bits per second.
    pub(super) carried_bps: f64,
    /// What was sent.
    pub(super) sent_bps: f64,
    /// Whether that was all, so that the path may carry more.
    pub(super) is_passed: bool,
}

/// The estimator's side.
#[derive(Debug, Default)]
pub(super) struct Prober {
    probes: Probes,
    reported: Vec<Reported>,
}

impl Prober {
    pub(super) fn new(probes: Probes) -> Self {
        Self {
            probes,
            reported: Vec::new(),
        }
    }

    /// Asks for a cluster instead of one that is not begun; not while one is under way.
    pub(super) fn request(&self, rate_bps: f64) -> bool {
        let mut state = self.probes.state();
        let is_free = matches!(*state, State::Idle | State::Wanted(_));
        if is_free {
            *state = State::Wanted(Cluster { rate_bps });
        }
        is_free
    }

    /// Asks for none any more; one under way goes on.
    pub(super) fn withdraw(&self) {
        let mut state = self.probes.state();
        if matches!(*state, State::Wanted(_)) {
            *state = State::Idle;
        }
    }

    /// Takes what was reported; returns what a cluster found once all of it is known. Of what passes
    /// the bottleneck, `kept` is reported to arrive.
    pub(super) fn handle_reports(
        &mut self,
        now: Instant,
        fresh: &[Reported],
        kept: f64,
    ) -> Option<Finding> {
        let state = *self.probes.state();
        let over = |since: Instant, limit| now.saturating_duration_since(since) > limit;
        match state {
            State::Idle | State::Wanted(_) => {
                self.reported.clear();
                None
            }
            State::Running(_, from) => {
                self.keep(fresh, from);
                if over(from, REPORTED_WITHIN) {
                    *self.probes.state() = State::Idle;
                }
                None
            }
            State::Sent(_, from, until) => {
                self.keep(fresh, from);
                let is_known = fresh.iter().any(|packet| packet.sent > until);
                if !is_known && !over(until, REPORTED_WITHIN) {
                    return None;
                }
                *self.probes.state() = State::Idle;
                self.reported.retain(|packet| packet.sent <= until);
                let finding = evaluate(&mut self.reported, kept);
                self.reported.clear();
                finding
            }
        }
    }

    fn keep(&mut self, fresh: &[Reported], from: Instant) {
        self.reported
            .extend(fresh.iter().filter(|packet| packet.sent >= from));
    }
}

/// The rate at which the packets of a cluster arrived, or would have without losses by chance.
fn evaluate(packets: &mut [Reported], kept: f64) -> Option<Finding> {
    packets.sort_by_key(|packet| packet.sent);
    let arrived: Vec<(&Reported, f64)> = packets
        .iter()
        .filter_map(|packet| Some((packet, packet.arrived_ms?)))
        .collect();
    if arrived.len() < LEAST_PACKETS
        || (arrived.len() as f64) < LEAST_ARRIVED * kept * packets.len() as f64
    {
        return None;
    }
    let (first, last) = (packets.first()?, packets.last()?);
    let bits = |packets: &[Reported]| packets.iter().map(|p| p.bytes as f64 * 8.0).sum::<f64>();
    let sent_s = last
        .sent
        .saturating_duration_since(first.sent)
        .as_secs_f64();
    let sent_bps = (bits(packets) - last.bytes as f64 * 8.0) / sent_s;
    let (earliest, latest) = arrived
        .iter()
        .fold((f64::MAX, f64::MIN), |(earliest, latest), (_, at)| {
            (earliest.min(*at), latest.max(*at))
        });
    let arrived_bits: f64 = arrived
        .iter()
        .filter(|(_, at)| *at > earliest)
        .map(|(packet, _)| packet.bytes as f64 * 8.0)
        .sum();
    let arrived_bps = arrived_bits / kept / (latest - earliest) * 1e3;
    if !sent_bps.is_finite() || !arrived_bps.is_finite() {
        return None;
    }
    let is_slack = latest - earliest <= sent_s * 1e3 + SLACK_MS;
    Some(Finding {
        carried_bps: arrived_bps.min(sent_bps),
        sent_bps,
        is_passed: arrived_bps >= PASSED * sent_bps || is_slack,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A cluster of 10 packets of 1000 bytes, one every `sent_ms`, arriving one every `arrived_ms`,
    /// and a packet after it; packets in `lost` do not arrive.
    fn probe(sent_ms: u32, arrived_ms: f64, lost: &[u32], kept: f64) -> Option<Finding> {
        let start = Instant::now();
        let probes = Probes::default();
        let mut prober = Prober::new(probes.clone());
        assert!(prober.request(2e6) && prober.request(1e6), "the latest");
        assert_eq!(probes.wanted(), Some(Cluster { rate_bps: 1e6 }));
        probes.handle_begun(start);
        assert_eq!(probes.wanted(), None);
        assert!(!prober.request(2e6), "one at a time");
        prober.withdraw();
        let packet = |index: u32| Reported {
            sent: start + MS * index * sent_ms,
            arrived_ms: (!lost.contains(&index)).then(|| 77.0 + f64::from(index) * arrived_ms),
            bytes: 1_000,
        };
        let first: Vec<Reported> = (0..6).map(packet).collect();
        assert_eq!(prober.handle_reports(start + MS * 90, &first, kept), None);
        probes.handle_ended(start + MS * 9 * sent_ms, true);
        let second: Vec<Reported> = (6..11).map(packet).collect();
        let finding = prober.handle_reports(start + MS * 200, &second, kept);
        assert_eq!(*probes.state(), State::Idle);
        finding
    }

    #[test]
    fn a_cluster_finds_what_went_through() {
        for (sent_ms, arrived_ms, carried, is_passed) in [
            (4, 4.0, 2e6, true),
            (4, 5.0, 1.6e6, true),
            (4, 8.0, 1e6, false),
            // Jitter pressed it together: still no more than was sent.
            (4, 2.0, 2e6, true),
        ] {
            let finding = probe(sent_ms, arrived_ms, &[], 1.0).unwrap();
            assert!((finding.carried_bps - carried).abs() < 1e3, "{finding:?}");
            assert_eq!(finding.is_passed, is_passed, "{finding:?}");
        }
    }

    #[test]
    fn a_cluster_that_lost_much_finds_nothing() {
        assert!(probe(4, 4.0, &[3], 1.0).is_some());
        assert_eq!(probe(4, 4.0, &[1, 3, 5], 1.0), None);
        let at_once = Reported {
            sent: Instant::now(),
            arrived_ms: Some(1.0),
            bytes: 1_000,
        };
        assert_eq!(evaluate(&mut [at_once; 10], 1.0), None, "no time, no rate");
    }

    #[test]
    fn what_the_path_loses_anyway_is_made_up_for() {
        let finding = probe(4, 4.0, &[1, 3, 5], 0.7).unwrap();
        assert!(finding.is_passed, "{finding:?}");
        assert!((finding.carried_bps - 2e6).abs() < 1e5, "{finding:?}");
        let finding = probe(4, 8.0, &[1, 3, 5], 0.7).unwrap();
        assert!(!finding.is_passed, "{finding:?}");
        assert!((finding.carried_bps - 1e6).abs() < 1e5, "{finding:?}");
    }

    #[test]
    fn a_cluster_nobody_sends_or_reports_ends() {
        let start = Instant::now();
        let probes = Probes::default();
        let mut prober = Prober::new(probes.clone());
        prober.request(1e6);
        prober.withdraw();
        assert_eq!(probes.wanted(), None);
        for is_complete in [false, true] {
            prober.request(1e6);
            probes.handle_begun(start);
            probes.handle_ended(start, is_complete);
            assert_eq!(*probes.state() == State::Idle, !is_complete);
            assert_eq!(prober.handle_reports(start + MS * 1_001, &[], 1.0), None);
            assert_eq!(*probes.state(), State::Idle);
        }
    }
}
